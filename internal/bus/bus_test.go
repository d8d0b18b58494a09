package bus_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// open opens a log whose readers read what is stored, as those do that lag. The test
// closes it.
func open(t testing.TB, cfg bus.Config) *bus.Log {
	t.Helper()
	l := remembering(t, cfg)
	l.Forget()
	return l
}

// remembering is open, and the last messages stay at hand.
func remembering(t testing.TB, cfg bus.Config) *bus.Log {
	t.Helper()
	if cfg.MinFreeBytes == 0 {
		cfg.MinFreeBytes = 1 << 20
	}
	l, err := bus.Open(deadline(t), cfg, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// quiet is a logger that speaks in the test's output.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// soon is the context of a question that waitFor asks again: a cluster between
// two leaders drops a request without an answer.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// batch returns records that say who they are.
func batch(cluster string, records ...string) source.Batch {
	b := source.Batch{Source: "test", Cluster: cluster, ReceivedNanos: 42}
	for _, r := range records {
		b.Records = append(b.Records, file.Record{Raw: []byte(r), Format: file.K8sAudit})
	}
	return b
}

func accept(t testing.TB, l *bus.Log, b source.Batch) {
	t.Helper()
	if err := l.Accept(deadline(t), b); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, l *bus.Log, cluster string, after uint64) *bus.Reader {
	t.Helper()
	r, err := l.Read(deadline(t), cluster, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func next(t testing.TB, r *bus.Reader) bus.Message {
	t.Helper()
	m, err := r.Next(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			t.Fatal("waiting for " + what)
		}
	}
}

// realBatch returns n audit events of a real API server.
func realBatch(t testing.TB, n int) source.Batch {
	t.Helper()
	f, err := os.Open("../../test/recordings/real/cluster-1.36.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	b := source.Batch{Source: "audit", Cluster: "prod", ReceivedNanos: time.Now().UnixNano()}
	for i := range n {
		b.Records = append(b.Records, file.Record{Raw: lines[i%len(lines)], Format: file.K8sAudit})
	}
	return b
}

func TestWhatIsAcceptedIsRead(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	cluster := "arn:aws:eks:eu-west-1:123456789012:cluster/prod eu"
	accept(t, l, batch(cluster, `{"a":1}`, `{}`))
	at := time.Unix(7, 9)
	if err := l.Tick(deadline(t), cluster, at); err != nil {
		t.Fatal(err)
	}
	accept(t, l, batch("other", "x"))

	r := read(t, l, cluster, 0)
	m := next(t, r)
	if m.Seq != 1 || m.Tick || m.Batch.Cluster != cluster || m.Batch.Source != "test" || m.Batch.ReceivedNanos != 42 || len(m.Batch.Records) != 2 {
		t.Errorf("first message is %+v", m)
	}
	rec := m.Batch.Records[1]
	if string(rec.Raw) != `{}` || rec.Format != file.K8sAudit || rec.Pos.File != "test@1" || rec.Pos.Record != 2 {
		t.Errorf("second record is %+v", rec)
	}
	m = next(t, r)
	if m.Seq != 2 || !m.Tick || m.Batch.ReceivedNanos != at.UnixNano() || len(m.Batch.Records) != 0 {
		t.Errorf("tick is %+v", m)
	}
	clusters, err := l.Clusters(deadline(t))
	if err != nil || fmt.Sprint(clusters) != fmt.Sprint([]string{cluster, "other"}) {
		t.Errorf("clusters %q, %v", clusters, err)
	}
}
