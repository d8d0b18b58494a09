package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
	"github.com/clew-sec/clew/internal/trace"
	"github.com/clew-sec/clew/rules"
)

// log is a log in memory.
type log struct {
	mu       sync.Mutex
	messages []bus.Message
	more     chan struct{}
}

func newLog() *log { return &log{more: make(chan struct{}, 1)} }

func (l *log) put(b source.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, bus.Message{Seq: uint64(len(l.messages) + 1), Batch: b})
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *log) after(pos uint64) *logReader { return &logReader{l, pos} }

type logReader struct {
	log *log
	pos uint64
}

func (r *logReader) Next(ctx context.Context) (bus.Message, error) {
	for {
		r.log.mu.Lock()
		if int(r.pos) < len(r.log.messages) {
			m := r.log.messages[r.pos]
			r.pos++
			r.log.mu.Unlock()
			return m, nil
		}
		r.log.mu.Unlock()
		select {
		case <-r.log.more:
		case <-ctx.Done():
			return bus.Message{}, ctx.Err()
		}
	}
}

// state is what a worker publishes and saves, in memory. refuse makes it fail.
type state struct {
	mu       sync.Mutex
	traces   map[trace.TraceID]string
	snapshot []byte
	marks    map[string]pipeline.Mark
	refuse   bool
}

func newState() *state {
	return &state{traces: map[trace.TraceID]string{}, marks: map[string]pipeline.Mark{}}
}

func (s *state) PutTraces(_ context.Context, _ string, changed []pipeline.LiveTrace, gone []trace.TraceID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse {
		return errors.New("no space left")
	}
	for _, id := range gone {
		delete(s.traces, id)
	}
	for _, t := range changed {
		t.MergedFrom = nil // ids told at other moments
		t.Flags = slices.Clone(t.Flags)
		for i := range t.Flags {
			t.Flags[i].File, t.Flags[i].Line = "", 0 // positions are the log's
		}
		b, err := json.MarshalIndent(t, "", " ")
		if err != nil {
			return err
		}
		s.traces[t.ID] = string(b)
	}
	return nil
}

func (s *state) SaveSnapshot(_ context.Context, _ string, r io.Reader) error {
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = b
	return err
}

func (s *state) LoadSnapshot(context.Context, string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot == nil {
		return nil, nil
	}
	return io.NopCloser(bytes.NewReader(s.snapshot)), nil
}

func (s *state) published() map[trace.TraceID]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.traces)
}

var realRules = sync.OnceValue(func() *detect.Set {
	pack, err := rule.Load(nil, rules.FS)
	if err != nil {
		panic(err)
	}
	set, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		panic(err)
	}
	return set
})

// recorded cuts a recording into batches as a webhook would post them.
func recorded(t *testing.T, name string, size int) []source.Batch {
	t.Helper()
	r, err := file.Open("../../test/recordings/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []source.Batch
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(out); n == 0 || len(out[n-1].Records) == size {
			out = append(out, source.Batch{Source: "webhook", Cluster: "c"})
		}
		b := &out[len(out)-1]
		rec.Raw = bytes.Clone(rec.Raw)
		b.Records = append(b.Records, rec)
		var at struct{ StageTimestamp time.Time }
		if err := json.Unmarshal(rec.Raw, &at); err != nil {
			t.Fatal(err)
		}
		b.ReceivedNanos = max(b.ReceivedNanos, at.StageTimestamp.Add(20*time.Millisecond).UnixNano())
	}
	slices.SortStableFunc(out, func(a, b source.Batch) int { return int(a.ReceivedNanos - b.ReceivedNanos) })
	return out
}

func worker(s *state, tick func(time.Time)) *pipeline.Worker {
	return pipeline.NewWorker(pipeline.WorkerConfig{
		Cluster: "c", Rules: realRules().Clone(), Engine: engine.Config{Window: 500 * time.Millisecond},
		Traces: s, Snapshots: s, SnapshotEvery: time.Second,
		Tick:  func(_ context.Context, at time.Time) error { tick(at); return nil },
		Meter: func(string) *source.Meter { return nil },
		Log:   slog.New(slog.DiscardHandler),
	})
}

// play runs a worker over the log until it has taken in all of it.
func play(t *testing.T, s *state, l *log, until uint64) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := worker(s, func(time.Time) {})
	pos, err := w.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, l.after(pos)) }()
	for w.Status().Position < until {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func attack(t *testing.T) *log {
	l := newLog()
	last := int64(0)
	for _, b := range recorded(t, "attack/leaked-kubeconfig/audit.jsonl.gz", 7) {
		l.put(b)
		last = b.ReceivedNanos
	}
	l.put(source.Batch{Cluster: "c", ReceivedNanos: last + int64(time.Minute)})
	return l
}

// TestWorkerAfterRestarts ends with the same traces however often the worker was
// ended and taken up again, with its snapshots old or lost.
func TestWorkerAfterRestarts(t *testing.T) {
	l := attack(t)
	n := uint64(len(l.messages))
	want := newState()
	synctest.Test(t, func(t *testing.T) { l.more = make(chan struct{}, 1); play(t, want, l, n) })
	if len(want.published()) == 0 {
		t.Fatal("no trace in the recording of an attack")
	}
	for seed := range uint64(6) {
		got := newState()
		for i := uint64(1); i <= 4; i++ {
			part := &log{messages: l.messages[:min(n, n*i/4+seed)]}
			synctest.Test(t, func(t *testing.T) {
				part.more = make(chan struct{}, 1)
				play(t, got, part, uint64(len(part.messages)))
			})
			switch {
			case seed == 1 && i == 2:
				got.snapshot = nil
			case seed == 2 && i == 2:
				got.snapshot = got.snapshot[:len(got.snapshot)/2]
			}
		}
		if diff := cmp.Diff(want.published(), got.published()); diff != "" {
			t.Fatalf("seed %d (-uninterrupted +interrupted):\n%s", seed, diff)
		}
	}
}

// TestWorkerReleasesWhatIsHeld shows the last events though none follow them: the
// worker puts the time on the log.
func TestWorkerReleasesWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := newLog(), newState()
		ctx, stop := context.WithCancel(t.Context())
		w := worker(s, func(at time.Time) { l.put(source.Batch{Cluster: "c", ReceivedNanos: at.UnixNano()}) })
		ended := make(chan error)
		go func() { ended <- w.Run(ctx, l.after(0)) }()
		b := source.Batch{Source: "webhook", Cluster: "c", ReceivedNanos: time.Now().UnixNano()}
		at := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
		b.Records = []source.Record{{Format: file.K8sAudit, Raw: fmt.Appendf(nil, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods/p/exec?command=sh&stdin=true&tty=true","verb":"create","user":{"username":"u","groups":["system:authenticated"]},"sourceIPs":["10.0.0.1"],"objectRef":{"resource":"pods","namespace":"a","name":"p","apiVersion":"v1","subresource":"exec"},"responseStatus":{"code":101},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`, at, at)}}
		l.put(b)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.published()) != 1 {
			t.Errorf("%d traces after a second", len(s.published()))
		}
		if n := len(l.messages); n != 2 {
			t.Errorf("%d messages on the log, want the event and one tick", n)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWorkerTellsAgain publishes what the sink refused before.
func TestWorkerTellsAgain(t *testing.T) {
	l := attack(t)
	synctest.Test(t, func(t *testing.T) {
		l.more = make(chan struct{}, 1)
		s := newState()
		s.refuse = true
		ctx, stop := context.WithCancel(t.Context())
		w := worker(s, func(time.Time) {})
		ended := make(chan error)
		go func() { ended <- w.Run(ctx, l.after(0)) }()
		time.Sleep(3 * time.Second)
		if s := w.Status(); s.Err == "" {
			t.Error("no problem in the status")
		}
		s.mu.Lock()
		s.refuse = false
		s.mu.Unlock()
		time.Sleep(time.Second)
		if len(s.published()) == 0 || w.Status().Err != "" {
			t.Errorf("%d traces after the sink recovered, problem %q", len(s.published()), w.Status().Err)
		}
		var live int
		if err := w.Ask(ctx, func(e *engine.Engine, _ *report.Ledger) { live = len(e.Traces()) }); err != nil || live == 0 {
			t.Errorf("%d live traces, %v", live, err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := w.Ask(ctx, func(*engine.Engine, *report.Ledger) {}); err == nil {
			t.Error("a stopped worker answered")
		}
	})
}

// TestSnapshotThatIsNotTaken: a store that fails before it reads anything, or in the
// middle, costs the snapshot and nothing else.
func TestSnapshotThatIsNotTaken(t *testing.T) {
	l := attack(t)
	for _, taken := range []int64{0, 100} {
		got := newState()
		synctest.Test(t, func(t *testing.T) {
			w := pipeline.NewWorker(pipeline.WorkerConfig{
				Cluster: "c", Rules: realRules().Clone(), Engine: engine.Config{Window: 500 * time.Millisecond},
				Traces: got, Snapshots: full{got, taken}, SnapshotEvery: time.Second,
				Tick:  func(context.Context, time.Time) error { return nil },
				Meter: func(string) *source.Meter { return nil },
				Log:   slog.New(slog.DiscardHandler),
			})
			l.more = make(chan struct{}, 1)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- w.Run(ctx, l.after(0)) }()
			time.Sleep(3 * time.Second)
			if s := w.Status(); s.Position != uint64(len(l.messages)) || s.Saved != 0 || s.Err == "" {
				t.Errorf("%d bytes taken: %+v", taken, s)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		if len(got.published()) == 0 {
			t.Error("no trace")
		}
	}
}

// full is a store on a disk that is full after so many bytes.
type full struct {
	*state
	room int64
}

func (f full) SaveSnapshot(_ context.Context, _ string, r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, f.room); err != nil {
		return err
	}
	return errors.New("the disk is full")
}
