package pipeline_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/store/blob"
	"github.com/clew-sec/clew/internal/store/parquet"
)

// liveParts is a live data path in a folder.
type liveParts struct {
	log     *bus.Log
	history *parquet.Store
	live    *pipeline.Live
}

func startLive(t *testing.T, dir string, s *state) *liveParts {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	p := &liveParts{}
	var err error
	if p.log, err = bus.Open(t.Context(), bus.Config{Dir: dir + "/log", MinFreeBytes: 1 << 20}, quiet); err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.NewFolder(dir + "/history")
	if err != nil {
		t.Fatal(err)
	}
	if p.history, err = parquet.Open(t.Context(), parquet.Config{Blobs: blobs, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	p.live, err = pipeline.StartLive(t.Context(), pipeline.LiveConfig{
		Log: p.log, Rules: realRules(), Engine: engine.Config{Window: 500 * time.Millisecond},
		Traces: s, Snapshots: s, SnapshotEvery: time.Second, Marks: s, Logger: quiet,
		Archive: func(ctx context.Context, cluster string) (pipeline.Archive, error) {
			return p.history.Writer(ctx, cluster)
		},
		Meter: func(string) *source.Meter { return nil },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *liveParts) stop(t *testing.T) {
	t.Helper()
	p.live.Stop()
	if err := p.history.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := p.log.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestLive sends a recorded attack, each batch twice as an impatient sender does,
// through a real log with a stop in the middle, and finds one set of traces and
// each event once in the history.
func TestLive(t *testing.T) {
	batches := recorded(t, "attack/leaked-kubeconfig/audit.jsonl.gz", 7)
	want := newState()
	w := worker(want, func(time.Time) {})
	records := 0
	for i, b := range batches {
		w.Take(bus.Message{Seq: uint64(i + 1), Batch: b})
		records += len(b.Records)
	}
	w.Publish(t.Context())

	dir, got := t.TempDir(), newState()
	p := startLive(t, dir, got)
	for i, b := range batches {
		for range 2 {
			if err := p.live.Accept(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if i == len(batches)/2 {
			p.stop(t)
			p = startLive(t, dir, got)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) && !cmp.Equal(want.published(), got.published()) {
		time.Sleep(50 * time.Millisecond)
	}
	p.stop(t)
	p = startLive(t, dir, got)
	defer p.stop(t)
	res, err := p.history.Query(t.Context(), parquet.Query{Limit: 1000, Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rows) != records || len(res.Rows[0].Raw) == 0 {
		t.Errorf("%d rows of %d records in the history", len(res.Rows), records)
	}
	if len(want.published()) == 0 {
		t.Error("no trace in the recording of an attack")
	}
	if diff := cmp.Diff(want.published(), got.published()); diff != "" {
		t.Errorf("(-one worker +live):\n%s", diff)
	}
}
