package push

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/source"
)

const auditEvent = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a%d","stage":"ResponseComplete","requestURI":"/api","verb":"get"}`
const trail = `{"eventVersion":"1.08","userIdentity":{"type":"Root"},"eventName":"ListUsers","eventSource":"iam.amazonaws.com","eventID":"e%d"}`

// log is a sink that keeps what it took, and fails as told.
type log struct {
	mu      sync.Mutex
	records []string
	batches int
	fail    func(source.Batch) error
	block   chan struct{} // Accept waits for it, or for the end of ctx
}

func (l *log) Accept(ctx context.Context, b source.Batch) error {
	if l.block != nil {
		select {
		case <-l.block:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", source.ErrUnavailable, ctx.Err())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail(b); err != nil {
			return err
		}
	}
	l.batches++
	for _, r := range b.Records {
		l.records = append(l.records, string(r.Raw))
	}
	return nil
}

func (l *log) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}

func config(t *testing.T, sink source.Sink) Config {
	t.Helper()
	auth, err := NewStatic(Credential{Scheme: Bearer, Secret: "right"}, Credential{Scheme: Basic, User: "u", Secret: "right"},
		Credential{Scheme: AccessKey, Secret: "right"})
	if err != nil {
		t.Fatal(err)
	}
	budget := NewBudget(256 << 20)
	t.Cleanup(func() {
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes of the budget were not given back", n)
		}
	})
	return Config{Name: "api", Cluster: "prod", Sink: sink, Meter: source.NewMeter("api", "webhook", "prod"), Auth: auth, Budget: budget}
}

func post(h http.Handler, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Authorization", "Bearer right")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func zipped(b []byte) *bytes.Buffer {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return &out
}

func lines(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return b.String()
}

func list(n int) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` +
		strings.Join(strings.Split(strings.TrimSpace(lines(auditEvent, n)), "\n"), ",") + "]}"
}

func TestAccepted(t *testing.T) {
	big := strings.Replace(fmt.Sprintf(auditEvent, 1), `"verb"`, `"x":"`+strings.Repeat("a", 15<<20)+`","verb"`, 1)
	for _, c := range []struct {
		name    string
		handler func(Config) http.Handler
		body    io.Reader
		headers []string
		want    int
	}{
		{"batch", Webhook, strings.NewReader(list(400)), nil, 400},
		{"blocking", Webhook, strings.NewReader(list(1)), nil, 1},
		{"basic", Webhook, strings.NewReader(list(1)), []string{"Authorization", "Basic dTpyaWdodA=="}, 1},
		{"one event of 15 MiB", Webhook, strings.NewReader(big), nil, 1},
		{"gzip by header", Webhook, zipped([]byte(list(3))), []string{"Content-Encoding", "gzip"}, 3},
		{"gzip by content", Records, zipped([]byte(list(3))), nil, 3},
		{"gzip in gzip", Records, zipped(zipped([]byte(list(3))).Bytes()), []string{"Content-Encoding", "gzip"}, 3},
		{"ndjson of two kinds", Records, strings.NewReader(lines(auditEvent, 5) + lines(trail, 5)), nil, 10},
		{"cluster's token speaks for the cluster only", Webhook, strings.NewReader(lines(auditEvent, 5) + lines(trail, 5)), nil, 5},
		{"bad ones between", Webhook, strings.NewReader(lines(auditEvent, 2) + `{"auditID": x}` + "\n" + lines(auditEvent, 2)), nil, 4},
		{"empty list", Webhook, strings.NewReader(list(0)), nil, 0},
		{"many pieces", Records, strings.NewReader(lines(auditEvent, 100_000)), nil, 100_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &log{}
			cfg := config(t, l)
			w := post(c.handler(cfg), c.body, c.headers...)
			if w.Code != http.StatusOK || l.count() != c.want {
				t.Fatalf("status %d %s, %d records, want %d", w.Code, w.Body, l.count(), c.want)
			}
			if s := cfg.Meter.Status(); s.Accepted != uint64(c.want) {
				t.Errorf("meter counts %d", s.Accepted)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	unavailable := func(source.Batch) error { return fmt.Errorf("log full: %w", source.ErrUnavailable) }
	tooLarge := func(source.Batch) error { return &source.TooLargeError{Bytes: 9, Max: 8} }
	slow := make(chan struct{})
	small := func(c *Config) { c.MaxBody, c.MaxUnpacked = 1000, 10_000 }
	bomb := zipped(bytes.Repeat([]byte(" "), 1<<20)).Bytes()
	for _, c := range []struct {
		name    string
		sink    *log
		set     func(*Config)
		body    io.Reader
		headers []string
		status  int
		reason  string
	}{
		{"no token", &log{}, nil, strings.NewReader(list(1)), []string{"Authorization", ""}, 401, "unauthenticated"},
		{"wrong token", &log{}, nil, strings.NewReader(list(1)), []string{"Authorization", "Bearer wrong"}, 401, "unauthenticated"},
		{"token of another scheme", &log{}, nil, strings.NewReader(list(1)), []string{"Authorization", "Basic OnJpZ2h0"}, 401, "unauthenticated"},
		{"long body", &log{}, small, strings.NewReader(list(400)), nil, 413, "body_too_large"},
		{"long body of unknown length", &log{}, small, io.MultiReader(strings.NewReader(list(400))), nil, 413, "body_too_large"},
		{"bomb", &log{}, func(c *Config) { c.MaxUnpacked = 10_000 }, bytes.NewReader(bomb), nil, 413, "body_too_large"},
		{"bomb by header", &log{}, func(c *Config) { c.MaxUnpacked = 10_000 }, bytes.NewReader(bomb), []string{"Content-Encoding", "gzip"}, 413, "body_too_large"},
		{"bomb in bomb", &log{}, func(c *Config) { c.MaxUnpacked = 100_000 }, zipped(bytes.Repeat(zipped(nil).Bytes(), 100_000)), nil, 413, "body_too_large"},
		{"unknown", &log{}, nil, strings.NewReader(`{"hello":"world"}`), nil, 400, "unknown_format"},
		{"binary", &log{}, nil, strings.NewReader("\x00\x01\x02\x03"), nil, 400, "unknown_format"},
		{"empty", &log{}, nil, strings.NewReader(""), nil, 400, "empty"},
		{"no gzip", &log{}, nil, strings.NewReader(list(1)), []string{"Content-Encoding", "gzip"}, 400, "unreadable_body"},
		{"broken gzip", &log{}, nil, bytes.NewReader(zipped([]byte(list(400))).Bytes()[:300]), nil, 400, "unreadable_body"},
		{"encoding", &log{}, nil, strings.NewReader(list(1)), []string{"Content-Encoding", "br"}, 415, "encoding"},
		{"log full", &log{fail: unavailable}, nil, strings.NewReader(list(1)), nil, 503, "unavailable"},
		{"log fails otherwise", &log{fail: func(source.Batch) error { return errors.New("?") }}, nil, strings.NewReader(list(1)), nil, 503, "unavailable"},
		{"record too large", &log{fail: tooLarge}, nil, strings.NewReader(list(1)), nil, 413, "record_too_large"},
		{"log slow", &log{block: slow}, func(c *Config) { c.Deadline = 20 * time.Millisecond }, strings.NewReader(list(1)), nil, 503, "deadline"},
		{"memory full", &log{}, func(c *Config) { c.Budget = NewBudget(step) }, strings.NewReader(list(1)), nil, 429, "busy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, c.sink)
			if c.set != nil {
				c.set(&cfg)
			}
			w := post(Webhook(cfg), c.body, c.headers...)
			if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.reason {
				t.Errorf("status %d %q, want %d %q", w.Code, w.Body, c.status, c.reason)
			}
			if retry := c.status == 429 || c.status == 503; (w.Header().Get("Retry-After") != "") != retry {
				t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
			}
			s := cfg.Meter.Status()
			if s.Rejected[c.reason] != 1 || s.Accepted != 0 || c.sink.count() != 0 || s.LastError == "" {
				t.Errorf("meter %+v", s)
			}
			if strings.Contains(s.LastError, "hello") || strings.Contains(s.LastError, "wrong") {
				t.Errorf("the last error shows what was sent: %s", s.LastError)
			}
		})
	}
	w := httptest.NewRecorder()
	Webhook(config(t, &log{})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET gives %d", w.Code)
	}
}

// A record that the log never takes must not keep the others away.
func TestTooLargeAmongOthers(t *testing.T) {
	l := &log{fail: func(b source.Batch) error {
		for i, r := range b.Records {
			if bytes.Contains(r.Raw, []byte(`"a7"`)) {
				return &source.TooLargeError{Record: i, Bytes: len(r.Raw), Max: 1}
			}
		}
		return nil
	}}
	cfg := config(t, l)
	if w := post(Webhook(cfg), strings.NewReader(list(20))); w.Code != 200 || l.count() != 19 {
		t.Errorf("status %d, %d records", w.Code, l.count())
	}
	if s := cfg.Meter.Status(); s.Dropped[source.DropTooLarge] != 1 || s.Accepted != 19 {
		t.Errorf("meter %+v", s)
	}
}

// The budget is a bound: with the log stopped, memory is full after some posts, the
// others are told to come again, and all goes on when the log does.
func TestBackpressure(t *testing.T) {
	l := &log{block: make(chan struct{})}
	cfg := config(t, l)
	cfg.Budget = NewBudget(20 * step)
	h := Webhook(cfg)
	codes := make(chan int, 100)
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() { codes <- post(h, strings.NewReader(list(10))).Code })
	}
	refused := 0
	for refused < 90 {
		select {
		case code := <-codes:
			if code != http.StatusTooManyRequests {
				t.Fatalf("status %d while the log is stopped", code)
			}
			refused++
		case <-time.After(10 * time.Second):
			t.Fatalf("%d posts were refused, want 90", refused)
		}
	}
	close(l.block)
	group.Wait()
	if l.count() != (100-refused)*10 || cfg.Budget.Used() != 0 {
		t.Errorf("%d records, %d bytes held", l.count(), cfg.Budget.Used())
	}
	if w := post(h, strings.NewReader(list(1))); w.Code != 200 {
		t.Errorf("status %d after the log came back", w.Code)
	}
}

// A body that stops coming ends at the deadline, over a real connection.
func TestSlowBody(t *testing.T) {
	cfg := config(t, &log{})
	cfg.Deadline = 50 * time.Millisecond
	s := httptest.NewServer(Webhook(cfg))
	defer s.Close()
	body, feed := io.Pipe()
	defer feed.Close()
	go feed.Write([]byte(`{"kind":"EventList",`))
	r, _ := http.NewRequest(http.MethodPost, s.URL, body)
	r.Header.Set("Authorization", "Bearer right")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 503 || cfg.Meter.Status().Rejected["deadline"] != 1 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func BenchmarkWebhook(b *testing.B) {
	body := list(400)
	l := discard{}
	auth, _ := NewStatic(Credential{Scheme: Bearer, Secret: "right"})
	h := Webhook(Config{Sink: l, Meter: source.NewMeter("", "", ""), Auth: auth, Budget: NewBudget(1 << 30)})
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if w := post(h, strings.NewReader(body)); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(400*b.N), "ns/record")
}

type discard struct{}

func (discard) Accept(context.Context, source.Batch) error { return nil }

func FuzzHandlers(f *testing.F) {
	f.Add([]byte(list(2)), "")
	f.Add(zipped([]byte(list(2))).Bytes(), "gzip")
	f.Add([]byte(firehoseBody("id", []byte(list(1)))), "")
	f.Add([]byte(pubsubBody([]byte(list(1)))), "")
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		budget := NewBudget(64 << 20)
		for _, h := range []func(Config) http.Handler{Webhook, Records, Firehose, PubSub} {
			l := &log{}
			m := source.NewMeter("", "", "")
			w := post(h(Config{Sink: l, Meter: m, Budget: budget}), bytes.NewReader(body), "Content-Encoding", encoding,
				"X-Amz-Firehose-Protocol-Version", "1.0", requestIDHeader, "id")
			if n := m.Status().Accepted; n != uint64(l.count()) {
				t.Errorf("%d counted, %d accepted", n, l.count())
			}
			if w.Code >= 500 || budget.Used() != 0 {
				t.Errorf("status %d, %d bytes held", w.Code, budget.Used())
			}
		}
	})
}

// TestSenderIsGone: who hangs up is counted, and is no error of the source.
func TestSenderIsGone(t *testing.T) {
	l := &log{block: make(chan struct{})}
	cfg := config(t, l)
	ctx, hangUp := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, hangUp)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(list(3)))
	r.Header.Set("Authorization", "Bearer right")
	Webhook(cfg).ServeHTTP(httptest.NewRecorder(), r)
	if s := cfg.Meter.Status(); s.Rejected["sender_gone"] != 1 || s.LastError != "" || cfg.Budget.Used() != 0 {
		t.Errorf("%+v, %d bytes held", s, cfg.Budget.Used())
	}
}
