package eventhub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/clew-sec/clew/internal/source"
)

const connection = "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=k"

type log struct {
	mu    sync.Mutex
	raw   []string
	fails int // how often it refuses first
}

func (l *log) Accept(_ context.Context, b source.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails > 0 {
		l.fails--
		return fmt.Errorf("full: %w", source.ErrUnavailable)
	}
	for _, r := range b.Records {
		l.raw = append(l.raw, string(r.Raw))
	}
	return nil
}

func (l *log) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.raw)
}

// message is what Azure Monitor writes: a list of records.
func message(from, n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`{"time":"2026-01-01T00:00:00Z","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","category":"kube-audit","resourceId":"/x/%d","properties":{"log":"{}"}}`, from+i))
	}
	return `{"records":[` + strings.Join(out, ",") + `]}`
}

func TestConsumer(t *testing.T) {
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS() // for its certificate
	defer pair.Close()
	roots := x509.NewCertPool()
	roots.AddCert(pair.Certificate())
	hub, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "insights-logs-kube-audit"), kfake.TLS(&tls.Config{Certificates: pair.TLS.Certificates}),
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "$ConnectionString", connection))
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	client := &tls.Config{RootCAs: roots}
	produce(t, hub, client, message(0, 3), "hello", message(3, 2), `{"records":[`)

	l := &log{fails: 2}
	meter := source.NewMeter("aks", "eventhub", "prod")
	cfg := Config{Name: "aks", Cluster: "prod", Brokers: hub.ListenAddrs(), Hub: "insights-logs-kube-audit", Group: "clew", ConnectionString: connection,
		TLS: client, Sink: l, Meter: meter, Retry: 10 * time.Millisecond}
	stop := run(t, cfg)
	await(t, l, 5)
	if s := meter.Status(); s.Accepted != 5 || s.Dropped[source.DropUnknown] != 2 {
		t.Errorf("status %+v", s)
	}
	stop()

	produce(t, hub, client, message(5, 4))
	stop = run(t, cfg) // goes on where it was
	await(t, l, 9)
	time.Sleep(50 * time.Millisecond)
	await(t, l, 9)
	stop()

	l.fails = 1 << 30 // what the sink does not have is not committed
	produce(t, hub, client, message(9, 1))
	stop = run(t, cfg)
	for range 500 {
		if strings.Contains(meter.Status().LastError, "full") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	l.fails = 0
	stop = run(t, cfg)
	await(t, l, 10)
	stop()

	cfg.ConnectionString = "wrong"
	cfg.Meter = source.NewMeter("aks", "eventhub", "prod")
	stop = run(t, cfg)
	for range 1000 {
		if cfg.Meter.Status().LastError != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if s := cfg.Meter.Status(); s.LastError == "" || strings.Contains(s.LastError, "wrong") {
		t.Errorf("a wrong connection string is told as %q", s.LastError)
	}
}

func TestConnectionStringNeedsTLS(t *testing.T) {
	if _, err := New(Config{ConnectionString: connection}); err == nil {
		t.Error("a connection string may go without TLS")
	}
}

func produce(t *testing.T, hub *kfake.Cluster, tls *tls.Config, messages ...string) {
	t.Helper()
	p, err := kgo.NewClient(kgo.SeedBrokers(hub.ListenAddrs()...), kgo.DialTLSConfig(tls), kgo.DefaultProduceTopic("insights-logs-kube-audit"),
		kgo.SASL(plain.Auth{User: "$ConnectionString", Pass: connection}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, m := range messages {
		if err := p.ProduceSync(t.Context(), kgo.StringRecord(m)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func run(t *testing.T, cfg Config) (stop func()) {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	return func() { cancel(); <-done }
}

func await(t *testing.T, l *log, want int) {
	t.Helper()
	for range 2000 {
		if l.count() >= want {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if l.count() != want {
		t.Fatalf("%d records, want %d", l.count(), want)
	}
}
