package pipeline_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/store/parquet"
)

func (s *state) LoadMark(_ context.Context, cluster string) (pipeline.Mark, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.marks[cluster]
	return m, ok, nil
}

func (s *state) SaveMark(_ context.Context, cluster string, m pipeline.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks[cluster] = m
	return nil
}

// send gives batches to a live data path, each in a message of its own.
func (p *liveParts) send(t *testing.T, batches []source.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := p.live.Accept(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// status is that of the one worker.
func (p *liveParts) status(t *testing.T) pipeline.WorkerStatus {
	t.Helper()
	w, ok := p.live.Worker(p.live.Clusters()[0])
	if !ok {
		t.Fatal("no worker")
	}
	return w.Status()
}

// tookAll waits until engine and history have what is on the log.
func (p *liveParts) tookAll(t *testing.T, rows int) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		st := p.history.Status()
		left, err := p.log.Backlog(t.Context(), p.live.Clusters()[0], p.status(t).Position)
		if err == nil && left == 0 && int(st.Rows)+st.BufferedRows >= rows {
			return
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("%d messages left, history %+v, %d rows wanted, worker %+v", left, st, rows, p.status(t))
		}
	}
}

// TestLogReplaced takes the log away from beside the history and the snapshot, with
// and without what the positions count, and puts an older one back: nothing that comes
// afterwards is passed over, nothing is there twice, and it is told.
func TestLogReplaced(t *testing.T) {
	batches := recorded(t, "attack/leaked-kubeconfig/audit.jsonl.gz", 7)
	records := func(from, to int) (n int) {
		for _, b := range batches[from:to] {
			n += len(b.Records)
		}
		return n
	}
	first, second, all := len(batches)/3, 2*len(batches)/3, len(batches)
	want := newState()
	w := worker(want, func(time.Time) {})
	for i, b := range batches {
		w.Take(bus.Message{Seq: uint64(i + 1), Batch: b})
	}
	w.Publish(t.Context())
	for name, change := range map[string]func(t *testing.T, dir string, s *state){
		"deleted":           func(t *testing.T, dir string, _ *state) { remove(t, dir+"/log") },
		"deleted with mark": func(t *testing.T, dir string, s *state) { remove(t, dir+"/log"); clear(s.marks) },
		"older one":         func(t *testing.T, dir string, _ *state) { remove(t, dir+"/log"); copyTo(t, dir+"/older", dir+"/log") },
	} {
		t.Run(name, func(t *testing.T) {
			dir, got := t.TempDir(), newState()
			p := startLive(t, dir, got)
			p.send(t, batches[:first])
			p.tookAll(t, records(0, first))
			p.stop(t)
			copyTo(t, dir+"/log", dir+"/older")
			p = startLive(t, dir, got)
			p.send(t, batches[first:second])
			p.tookAll(t, records(0, second))
			p.stop(t)
			change(t, dir, got)

			p = startLive(t, dir, got)
			p.send(t, batches[second:])
			p.tookAll(t, records(0, all))
			for begin := time.Now(); time.Since(begin) < 20*time.Second && !cmp.Equal(want.published(), got.published()); {
				time.Sleep(20 * time.Millisecond)
			}
			if p.status(t).Replaced.IsZero() {
				t.Errorf("it is not told: %+v", p.status(t))
			}
			p.stop(t)
			p = startLive(t, dir, got) // once more: nothing is found replaced again
			defer p.stop(t)
			p.tookAll(t, records(0, all))
			if st := p.status(t); !st.Replaced.IsZero() || st.Missed+st.MissedByHistory != 0 {
				t.Errorf("after another start: %+v", st)
			}
			res, err := p.history.Query(t.Context(), parquet.Query{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Rows) != records(0, all) {
				t.Errorf("%d rows of %d records", len(res.Rows), records(0, all))
			}
			if diff := cmp.Diff(want.published(), got.published()); diff != "" {
				t.Errorf("(-one worker +live):\n%s", diff)
			}
		})
	}
}

// TestMissedIsCounted takes the history away: what is off the log is missed by it.
func TestMissedIsCounted(t *testing.T) {
	batches := recorded(t, "attack/leaked-kubeconfig/audit.jsonl.gz", 7)
	dir, s := t.TempDir(), newState()
	p := startLive(t, dir, s)
	p.send(t, batches[:4])
	p.tookAll(t, 1)
	if err := p.log.Trim(t.Context(), batches[0].Cluster, 3); err != nil {
		t.Fatal(err)
	}
	if err := p.log.Trim(t.Context(), batches[0].Cluster, 1000); err == nil {
		t.Error("messages that nobody has yet could be trimmed")
	}
	p.stop(t)
	remove(t, dir+"/history")
	s.snapshot = nil
	p = startLive(t, dir, s)
	defer p.stop(t)
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		if st := p.status(t); st.Missed == 3 && st.MissedByHistory == 3 {
			return
		}
	}
	t.Errorf("%+v", p.status(t))
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
