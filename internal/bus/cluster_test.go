package bus_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/source"
)

// run starts a NATS server that the test ends.
func run(t *testing.T, opts server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	s.SetLoggerV2(bus.ServerLogger(quiet(t)), false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("a NATS server does not start")
	}
	t.Cleanup(func() { end(s) })
	return s
}

func end(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// alone is a server by itself, always at the same port.
func alone(t *testing.T) server.Options {
	return server.Options{
		ServerName: "alone", Host: "127.0.0.1", Port: freePort(t), NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 20,
	}
}

// three are the options of a cluster's servers.
func three(t *testing.T) []server.Options {
	var routes []string
	var all []server.Options
	for i := range 3 {
		opts := alone(t)
		opts.ServerName = fmt.Sprintf("s%d", i)
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: freePort(t)}
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", opts.Cluster.Port))
		all = append(all, opts)
	}
	for i := range all {
		all[i].Routes = server.RoutesFromStr(strings.Join(routes, ","))
	}
	return all
}

func urls(all ...server.Options) []string {
	var list []string
	for _, o := range all {
		list = append(list, fmt.Sprintf("nats://127.0.0.1:%d", o.Port))
	}
	return list
}

// persistent writes numbered records until each is acknowledged.
type persistent struct {
	attempts     map[string]int // of each acknowledged record
	acknowledged atomic.Int32
	refused      atomic.Int32
	stopped      atomic.Bool
}

func (p *persistent) write(t *testing.T, l *bus.Log) {
	for i := 0; !p.stopped.Load(); i++ {
		name := fmt.Sprintf("%06d", i)
		for attempt := 1; ; attempt++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := l.Accept(ctx, batch("c", name))
			cancel()
			if err == nil {
				p.attempts[name] = attempt
				p.acknowledged.Add(1)
				break
			}
			if !errors.Is(err, source.ErrUnavailable) {
				t.Errorf("refused with %v", err)
				return
			}
			p.refused.Add(1)
			if p.stopped.Load() {
				return
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestClusterLosesItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	opts := three(t)
	servers := map[string]*server.Server{}
	for _, o := range opts {
		s, err := server.NewServer(&o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		servers[o.ServerName] = s
	}
	t.Cleanup(func() {
		for _, s := range servers {
			end(s)
		}
	})
	l := open(t, bus.Config{URLs: urls(opts...)})
	waitFor(t, "the cluster", func() bool { return l.Accept(soon(t), batch("warm", "x")) == nil })
	testKV(t, l)

	p := &persistent{attempts: map[string]int{}}
	var wg sync.WaitGroup
	wg.Go(func() { p.write(t, l) })
	r := read(t, l, "c", 0)
	var c contents
	readSome := func(n int) {
		t.Helper()
		for range n {
			c.take(next(t, r))
		}
	}
	readSome(50)
	for range 2 {
		leader := leaderOf(t, opts)
		t.Logf("killing %s after %d records", leader, len(c.order))
		end(servers[leader])
		readSome(100)
		i := slices.IndexFunc(opts, func(o server.Options) bool { return o.ServerName == leader })
		servers[leader] = run(t, opts[i])
		readSome(20)
	}
	end(servers["s0"])
	end(servers["s1"]) // one of three decides nothing
	before := p.refused.Load()
	waitFor(t, "Accept to be refused", func() bool { return p.refused.Load() > before })
	servers["s0"], servers["s1"] = run(t, opts[0]), run(t, opts[1])
	readSome(100)
	p.stopped.Store(true)
	wg.Wait()
	for left := messagesLeft(t, l, r); left > 0; left-- {
		readSome(1)
	}
	c.check(t, p)
	t.Logf("%d acknowledged, %d attempts refused", len(p.attempts), p.refused.Load())
}

func messagesLeft(t *testing.T, l *bus.Log, r *bus.Reader) (left uint64) {
	t.Helper()
	waitFor(t, "the cluster to know", func() (known bool) {
		var err error
		left, err = l.Backlog(soon(t), "c", r.Position())
		return err == nil
	})
	return left
}

// contents are the records of a log as they were read.
type contents struct {
	seen  map[string]int
	order []string // each where it was seen first
}

func (c *contents) take(m bus.Message) {
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	for _, rec := range m.Batch.Records {
		if c.seen[string(rec.Raw)]++; c.seen[string(rec.Raw)] == 1 {
			c.order = append(c.order, string(rec.Raw))
		}
	}
}

// check holds that each acknowledged record is there, no more often than it was sent,
// and in order.
func (c *contents) check(t *testing.T, p *persistent) {
	t.Helper()
	for name, attempts := range p.attempts {
		if n := c.seen[name]; n < 1 || n > attempts {
			t.Errorf("%s, sent %d times, is on the log %d times", name, attempts, n)
		}
	}
	if !slices.IsSorted(c.order) {
		t.Error("the records are out of order")
	}
}

// leaderOf returns the server that leads the stream.
func leaderOf(t *testing.T, opts []server.Options) (leader string) {
	t.Helper()
	waitForStream(t, opts, "a leader", func(c *jetstream.ClusterInfo) bool {
		leader = c.Leader
		return true
	})
	return leader
}

// waitForStream waits until the stream has a leader and done with what that says.
func waitForStream(t *testing.T, opts []server.Options, what string, done func(*jetstream.ClusterInfo) bool) {
	t.Helper()
	nc, err := nats.Connect(strings.Join(urls(opts...), ","), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, what, func() bool {
		s, err := js.Stream(soon(t), "clew-log-c")
		if err != nil {
			return false
		}
		c := s.CachedInfo().Cluster
		return c != nil && c.Leader != "" && done(c)
	})
}

func TestReaderAndWriterOutlastAServer(t *testing.T) {
	opts := alone(t)
	s := run(t, opts)
	l := open(t, bus.Config{URLs: urls(opts), Replicas: 1})
	p := &persistent{attempts: map[string]int{}}
	var wg sync.WaitGroup
	wg.Go(func() { p.write(t, l) })
	r := read(t, l, "c", 0)
	want := 0
	readSome := func() {
		for range 50 {
			for _, rec := range next(t, r).Batch.Records {
				if string(rec.Raw) == fmt.Sprintf("%06d", want) {
					want++
				}
			}
		}
	}
	readSome()
	end(s)
	waitFor(t, "Accept to be refused", func() bool { return p.refused.Load() > 0 })
	run(t, opts)
	readSome()
	p.stopped.Store(true)
	wg.Wait()
	if want < 90 {
		t.Errorf("%d records in order", want)
	}
}

func TestServerWithASmallPayload(t *testing.T) {
	opts := alone(t) // 1 MiB, the default
	run(t, opts)
	l := open(t, bus.Config{URLs: urls(opts), Replicas: 1})
	var tooLarge *source.TooLargeError
	if err := l.Accept(deadline(t), batch("c", "x", noise(2<<20))); !errors.As(err, &tooLarge) || tooLarge.Record != 1 || tooLarge.Max > 1<<20 {
		t.Errorf("2 MiB that do not compress: %v", err)
	}
	want := []string{strings.Repeat("a", 16<<20), noise(1000 << 10), noise(400 << 10), noise(500 << 10), noise(600 << 10)}
	accept(t, l, batch("c", want...))
	if got := texts(t, l, "c", len(want)); !slices.Equal(got, want) {
		t.Error("read something else")
	}
}

func TestNobodyAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	l, err := bus.Open(ctx, bus.Config{URLs: urls(alone(t))}, quiet(t))
	if !errors.Is(err, context.DeadlineExceeded) || l != nil {
		t.Errorf("opened %v: %v", l, err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, certFile, keyFile := certificate(t, dir)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	opts := alone(t)
	opts.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	opts.TLSTimeout = 10
	run(t, opts)
	url := []string{fmt.Sprintf("tls://127.0.0.1:%d", opts.Port)}
	l := open(t, bus.Config{URLs: url, Replicas: 1, TLS: bus.TLS{CAFile: certFile, CertFile: certFile, KeyFile: keyFile}})
	accept(t, l, batch("c", "x"))

	for name, cfg := range map[string]bus.TLS{
		"no certificate":    {CAFile: certFile},
		"unknown authority": {CertFile: certFile, KeyFile: keyFile},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if _, err := bus.Open(ctx, bus.Config{URLs: url, TLS: cfg}, quiet(t)); err == nil {
			t.Errorf("%s: opened", name)
		}
		cancel()
	}
}

// certificate makes one that signs itself, for both sides.
func certificate(t *testing.T, dir string) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return cert, certFile, keyFile
}

// TestCredentials runs a server that knows only who an operator's account vouches for.
func TestCredentials(t *testing.T) {
	opts, creds := operated(t)
	run(t, opts)
	l := open(t, bus.Config{URLs: urls(opts), Replicas: 1, CredsFile: creds})
	accept(t, l, batch("c", "x"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := bus.Open(ctx, bus.Config{URLs: urls(opts)}, quiet(t)); err == nil {
		t.Error("opened without credentials")
	}
}
