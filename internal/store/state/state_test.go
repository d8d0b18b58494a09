package state_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/store/state"
	"github.com/clew-sec/clew/internal/store/state/statetest"
	"github.com/clew-sec/clew/internal/trace"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// open returns a running store over kv.
func open(t *testing.T, kv *statetest.Memory, change func(*state.Config)) *state.Store {
	t.Helper()
	cfg := state.Config{KV: kv, Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	s := state.New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return s
}

func id(n int) string { return fmt.Sprintf("%032x", n) }

func one(n int, score float64, from ...string) *clewv1.Trace {
	at := timestamppb.New(noon.Add(time.Duration(n) * time.Second))
	return &clewv1.Trace{
		Id: id(n), Cluster: "prod", Score: score, Peak: score, Alert: score >= 60, First: at, Last: at, MergedFrom: from,
		Flags: []*clewv1.Flag{{Rule: "k8s-x", Message: fmt.Sprintf("Anna did %d", n)}},
	}
}

func put(t *testing.T, s *state.Store, changed []*clewv1.Trace, gone ...string) {
	t.Helper()
	var found []state.Found
	for _, x := range changed {
		found = append(found, state.Found{Trace: x})
	}
	if err := s.Put(t.Context(), found, gone); err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, s *state.Store, id string, o state.Opinion) {
	t.Helper()
	if _, err := s.Triage(t.Context(), id, o); err != nil {
		t.Fatal(err)
	}
}

// TestTheSameTwiceIsTheSameOnce tells everything twice, as a worker does that was
// killed before it could save that it told.
func TestTheSameTwiceIsTheSameOnce(t *testing.T) {
	kv := &statetest.Memory{}
	s := open(t, kv, nil)
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 20)})
	before, _ := s.Get(id(1))
	_, revision, _ := kv.Get(t.Context(), "trace/"+id(1))
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 20)})
	after, _ := s.Get(id(1))
	if diff := cmp.Diff(before, after, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if _, again, _ := kv.Get(t.Context(), "trace/"+id(1)); again != revision {
		t.Errorf("written again: revision %d after %d", again, revision)
	}
	put(t, s, []*clewv1.Trace{one(3, 80, id(1))}, id(1))
	put(t, s, []*clewv1.Trace{one(3, 80, id(1))}, id(1))
	if diff := cmp.Diff([]string{"trace/" + id(2), "trace/" + id(3)}, kv.Keys()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatWasSaidGoesWithTheTrace(t *testing.T) {
	kv := &statetest.Memory{}
	s := open(t, kv, nil)
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 65)})
	anna := "anna"
	say(t, s, id(1), state.Opinion{State: clewv1.TriageState_TRIAGE_STATE_INCIDENT, Comment: "look", By: "anna", Assignee: &anna})
	say(t, s, id(2), state.Opinion{State: clewv1.TriageState_TRIAGE_STATE_BENIGN, Comment: "known", By: "bob"})
	for range 2 {
		put(t, s, []*clewv1.Trace{one(2, 90, id(1))}, id(1))
	}
	for _, from := range []string{id(1), id(2)} {
		got, ok := s.Get(from)
		if !ok || got.GetId() != id(2) {
			t.Fatalf("%s leads to %v", from, got)
		}
		if tr := got.GetTriage(); tr.GetState() != clewv1.TriageState_TRIAGE_STATE_INCIDENT || tr.GetAssignee() != "anna" || len(tr.GetComments()) != 2 {
			t.Errorf("%s: %v", from, tr)
		}
	}
	if diff := cmp.Diff([]string{"trace/" + id(2), "triage/" + id(2)}, kv.Keys()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again := open(t, kv, nil) // as after a restart
	a, _ := s.Get(id(1))
	b, _ := again.Get(id(1))
	if diff := cmp.Diff(a, b, protocmp.Transform()); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
}

func TestWhatAWorkerForgetsStaysWhenItMatters(t *testing.T) {
	kv := &statetest.Memory{}
	s := open(t, kv, nil)
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 20), one(3, 20)})
	say(t, s, id(3), state.Opinion{Comment: "hm", By: "anna"})
	put(t, s, nil, id(1), id(2), id(3), id(4))
	for n, want := range map[int]bool{1: true, 2: false, 3: true} {
		if _, ok := s.Get(id(n)); ok != want {
			t.Errorf("trace %d is there: %v, want %v", n, ok, want)
		}
	}
}

func TestRetention(t *testing.T) {
	kv := &statetest.Memory{}
	var later atomic.Int64 // read by the store's own goroutine too
	s := open(t, kv, func(c *state.Config) {
		c.Now = func() time.Time { return noon.Add(time.Duration(later.Load())) }
		c.Retention = time.Hour
	})
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 70), one(5000, 70)})
	say(t, s, id(2), state.Opinion{State: clewv1.TriageState_TRIAGE_STATE_BENIGN, By: "anna"})
	later.Store(int64(time.Hour + time.Minute))
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"trace/" + id(2), "trace/" + id(5000), "triage/" + id(2)}, kv.Keys()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBounded(t *testing.T) {
	s := open(t, &statetest.Memory{}, func(c *state.Config) { c.MaxTraces = 32 })
	for n := range 100 {
		put(t, s, []*clewv1.Trace{one(n, float64(n))})
	}
	page, err := s.List(&clewv1.TraceFilter{IncludeContext: true}, 0, 500, "")
	if err != nil || page.Total > 32 || page.Total < 28 {
		t.Fatalf("%d traces kept, %v", page.Total, err)
	}
	if page.Traces[0].GetId() != id(99) || page.Traces[page.Total-1].GetScore() < 60 {
		t.Error("the weightiest are not among those kept")
	}
}

// TestPagesMissNothing changes traces between the pages.
func TestPagesMissNothing(t *testing.T) {
	s := open(t, &statetest.Memory{}, nil)
	var all []*clewv1.Trace
	for n := range 50 {
		all = append(all, one(n, float64(10+n%7)))
	}
	put(t, s, all)
	for _, order := range []clewv1.TraceOrder{clewv1.TraceOrder_TRACE_ORDER_SCORE, clewv1.TraceOrder_TRACE_ORDER_LAST} {
		seen, cursor := map[string]bool{}, ""
		for pages := 0; ; pages++ {
			page, err := s.List(nil, order, 7, cursor)
			if err != nil || pages > 60 {
				t.Fatal(pages, err)
			}
			for _, x := range page.Traces {
				if seen[x.GetId()] {
					t.Fatalf("%s twice", x.GetId())
				}
				if len(x.GetFlags()) > 0 {
					t.Fatal("a list carries flags")
				}
				seen[x.GetId()] = true
			}
			put(t, s, []*clewv1.Trace{one(1000+pages, 99)}) // before all: must disturb nothing
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		for n := range 50 {
			if !seen[id(n)] {
				t.Errorf("%v: trace %d missed", order, n)
			}
		}
	}
	page, _ := s.List(nil, 0, 7, "")
	for _, bad := range []string{"x", "AAAA", page.Next + "A"} {
		if _, err := s.List(nil, 0, 7, bad); !errors.Is(err, state.ErrCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	if _, err := s.List(&clewv1.TraceFilter{AlertsOnly: true}, 0, 7, page.Next); !errors.Is(err, state.ErrCursor) {
		t.Errorf("cursor of another list: %v", err)
	}
}

func TestFilter(t *testing.T) {
	s := open(t, &statetest.Memory{}, nil)
	a, b, c := one(1, 70), one(2, 30), one(3, 0)
	b.Cluster, b.Techniques = "test", []string{"MS-TA9016"}
	put(t, s, []*clewv1.Trace{a, b, c})
	say(t, s, id(2), state.Opinion{State: clewv1.TriageState_TRIAGE_STATE_BENIGN, By: "x"})
	for name, test := range map[string]struct {
		f    *clewv1.TraceFilter
		want []string
	}{
		"nothing":    {nil, []string{id(1), id(2)}},
		"context":    {&clewv1.TraceFilter{IncludeContext: true}, []string{id(1), id(2), id(3)}},
		"cluster":    {&clewv1.TraceFilter{Clusters: []string{"test"}}, []string{id(2)}},
		"score":      {&clewv1.TraceFilter{MinScore: 70}, []string{id(1)}},
		"alerts":     {&clewv1.TraceFilter{AlertsOnly: true}, []string{id(1)}},
		"new":        {&clewv1.TraceFilter{States: []clewv1.TriageState{clewv1.TriageState_TRIAGE_STATE_NEW}}, []string{id(1)}},
		"techniques": {&clewv1.TraceFilter{Techniques: []string{"T1", "MS-TA9016"}}, []string{id(2)}},
		"since":      {&clewv1.TraceFilter{Since: timestamppb.New(noon.Add(2 * time.Second))}, []string{id(2)}},
		"until":      {&clewv1.TraceFilter{Until: timestamppb.New(noon.Add(time.Second))}, []string{id(1)}},
		"text":       {&clewv1.TraceFilter{Text: "ANNA did 2"}, []string{id(2)}},
		"no text":    {&clewv1.TraceFilter{Text: "carol"}, nil},
	} {
		page, err := s.List(test.f, 0, 10, "")
		var got []string
		for _, x := range page.Traces {
			got = append(got, x.GetId())
		}
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// TestASlowReaderGetsTheLatest reads only after a thousand changes.
func TestASlowReaderGetsTheLatest(t *testing.T) {
	s := open(t, &statetest.Memory{}, nil)
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 70)})
	w, err := s.Watch(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for n := range 1000 {
		put(t, s, []*clewv1.Trace{one(1, 70+float64(n%10))})
	}
	put(t, s, []*clewv1.Trace{one(3, 99, id(2))}, id(2))
	score, gone := map[string]float64{}, map[string]bool{}
	for len(score) < 2 {
		c, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Removed != "" {
			gone[c.Removed] = true
			continue
		}
		if c.Synced {
			continue
		}
		score[c.Trace.GetId()] = c.Trace.GetScore()
	}
	if diff := cmp.Diff(map[string]float64{id(1): 79, id(3): 99}, score); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(gone) > 0 {
		t.Errorf("told the end of what it never heard of: %v", gone)
	}
	put(t, s, []*clewv1.Trace{one(4, 99, id(3))}, id(3))
	for !gone[id(3)] {
		c, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		gone[c.Removed] = true
	}
}

func TestAFailedWriteChangesNothing(t *testing.T) {
	kv := &statetest.Memory{}
	s := open(t, kv, nil)
	full := errors.New("disk full")
	kv.SetFail(full)
	if err := s.Put(t.Context(), []state.Found{{Trace: one(1, 70)}}, nil); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if _, ok := s.Get(id(1)); ok {
		t.Error("a trace is there that was not stored")
	}
	kv.SetFail(nil)
	put(t, s, []*clewv1.Trace{one(1, 70)})
	if _, err := s.Triage(t.Context(), id(9), state.Opinion{By: "x"}); !errors.Is(err, state.ErrNotFound) {
		t.Error(err)
	}
}

func TestSuppressionsAreTold(t *testing.T) {
	kv := &statetest.Memory{}
	var last atomic.Pointer[[]trace.Suppression]
	s := open(t, kv, func(c *state.Config) { c.Suppressed = func(l []trace.Suppression) { last.Store(&l) } })
	p := &clewv1.Suppression{Id: "a", Fingerprint: id(7), AllowedKinds: []string{"r"}, Reason: "x", Owner: "y", Created: timestamppb.New(noon)}
	if err := s.AddSuppression(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if told := *last.Load(); len(told) != 1 || told[0].Fingerprint.String() != id(7) || !told[0].From.Equal(noon) {
		t.Errorf("%+v", told)
	}
	if err := s.DeleteSuppression(t.Context(), "a"); err != nil || len(*last.Load()) != 0 {
		t.Error(err, *last.Load())
	}
	if err := s.DeleteSuppression(t.Context(), "a"); !errors.Is(err, state.ErrNotFound) {
		t.Error(err)
	}
}

// TestAPartPublishedByARunThatWasCutOff: the worker was killed after it published
// two traces, and after the restart sees them as one from the start.
func TestAPartPublishedByARunThatWasCutOff(t *testing.T) {
	kv := &statetest.Memory{}
	s := open(t, kv, nil)
	put(t, s, []*clewv1.Trace{one(1, 70), one(2, 65)})
	say(t, s, id(2), state.Opinion{Comment: "mine", By: "anna"})
	for range 2 {
		if err := s.Put(t.Context(), []state.Found{{Trace: one(1, 90), Was: []string{id(2), id(3)}}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	got, ok := s.Get(id(2))
	if !ok || got.GetId() != id(1) || len(got.GetTriage().GetComments()) != 1 {
		t.Errorf("%v", got)
	}
	if diff := cmp.Diff([]string{id(2)}, got.GetMergedFrom()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"trace/" + id(1), "triage/" + id(1)}, kv.Keys()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTwoServersShareTheState changes by one what the other shows.
func TestTwoServersShareTheState(t *testing.T) {
	kv := &statetest.Memory{}
	a, b := open(t, kv, nil), open(t, kv, nil)
	w, err := b.Watch(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	put(t, a, []*clewv1.Trace{one(1, 70)})
	if c, err := w.Next(t.Context()); err != nil || !c.Synced {
		t.Fatal(c, err)
	}
	first, err := w.Next(t.Context())
	if err != nil || first.Trace.GetId() != id(1) {
		t.Fatal(first, err)
	}
	again, err := open(t, kv, nil).Watch(nil, false) // a server that was started anew
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if c, err := again.Next(t.Context()); err != nil || !c.Initial || c.Revision != first.Revision || c.Revision == 0 {
		t.Errorf("after a restart %v, %v, want revision %d", c, err, first.Revision)
	}
	say(t, a, id(1), state.Opinion{Comment: "one", By: "anna"})
	say(t, b, id(1), state.Opinion{Comment: "two", By: "bob"})
	for {
		c, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Trace.GetTriage().GetComments()) == 2 {
			if c.Revision <= first.Revision {
				t.Errorf("revision %d after comments, %d before", c.Revision, first.Revision)
			}
			return
		}
	}
}
