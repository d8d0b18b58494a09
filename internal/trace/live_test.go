package trace

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

// TestTakeChangedFollows keeps a copy of the traces by what TakeChanged says
// alone, asked at random moments, and ends with the tracer's own.
func TestTakeChangedFollows(t *testing.T) {
	for seed := range uint64(30) {
		tr, mirror := New(small()), map[TraceID]Trace{}
		follow := func() {
			changed, gone := tr.TakeChanged()
			for _, id := range gone {
				if _, ok := mirror[id]; !ok {
					t.Fatalf("seed %d: %s is gone, but was never told", seed, id)
				}
				delete(mirror, id)
			}
			for _, c := range changed {
				mirror[c.ID] = c
			}
		}
		for i, s := range script(seed, 200) {
			s.run(tr)
			if i%int(3+seed) == 0 {
				follow()
			}
		}
		follow()
		want := map[TraceID]Trace{}
		for _, x := range tr.Traces() {
			want[x.ID] = x
		}
		if diff := gocmp.Diff(want, mirror); diff != "" {
			t.Fatalf("seed %d (-tracer +mirror):\n%s", seed, diff)
		}
		if changed, gone := tr.TakeChanged(); len(changed)+len(gone) != 0 {
			t.Fatalf("seed %d: asked again, %d changed and %d gone", seed, len(changed), len(gone))
		}
	}
}

func TestTakeChangedAfterRestore(t *testing.T) {
	tr := run(script(4, 100))
	tr.TakeChanged()
	back := New(small())
	if err := back.Restore(bytes.NewReader(snapshot(t, tr))); err != nil {
		t.Fatal(err)
	}
	changed, _ := back.TakeChanged()
	if diff := gocmp.Diff(tr.Traces(), changed); diff != "" {
		t.Errorf("(-traces +changed):\n%s", diff)
	}
}

// TestExtractScoresTheSame takes each trace out alone, through a snapshot.
func TestExtractScoresTheSame(t *testing.T) {
	for seed := range uint64(20) {
		tr := run(script(seed, 150))
		for _, want := range tr.Traces() {
			one, ok := tr.Extract(want.ID)
			if !ok {
				t.Fatalf("seed %d: no trace %s", seed, want.ID)
			}
			back := New(small())
			if err := back.Restore(bytes.NewReader(snapshot(t, one))); err != nil {
				t.Fatal(err)
			}
			got := back.Traces()
			if len(got) != 1 {
				t.Fatalf("seed %d: %d traces in the extract", seed, len(got))
			}
			want.Units, got[0].Units = 0, 0
			want.MergedFrom, got[0].MergedFrom = nil, nil // names given out are not carried over
			if diff := gocmp.Diff(want, got[0]); diff != "" {
				t.Fatalf("seed %d (-live +extract):\n%s", seed, diff)
			}
		}
	}
	if _, ok := New(small()).Extract(TraceID{1}); ok {
		t.Error("extracted what is not there")
	}
}

func (s step) time() int64 {
	if s.flag != nil {
		return s.flag.Time
	}
	return s.link.Time
}

// TestPreviewTellsWhatWouldHaveBeen compares the preview of a suppression with a
// tracer that had it from the start.
func TestPreviewTellsWhatWouldHaveBeen(t *testing.T) {
	hidden := 0
	for seed := range uint64(20) {
		steps := script(seed, 120)
		slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.time(), b.time()) }) // as the engine does
		tr := run(steps)
		shape := tr.Traces()[0].Fingerprint
		s := Suppression{Fingerprint: shape, AllowedKinds: []string{"r0", "r1", "r2", "r3"}}
		before := tr.Traces()
		effects := tr.Preview(s, func(Evidence) string { return "" })
		if diff := gocmp.Diff(before, tr.Traces()); diff != "" {
			t.Fatalf("seed %d: a preview changed the traces:\n%s", seed, diff)
		}
		cfg := small()
		cfg.Suppressions = []Suppression{s}
		with := New(cfg)
		for _, st := range steps {
			st.run(with)
		}
		for _, e := range effects {
			hidden++
			x, _ := with.Lookup(e.ID)
			if len(e.Hidden) == 0 || x.Score != e.With || e.With > e.Score {
				t.Errorf("seed %d: foreseen %+v, came to %s", seed, e, x.Score)
			}
		}
		s.Users = []string{"somebody"}
		if effects := tr.Preview(s, func(Evidence) string { return "another" }); len(effects) != 0 {
			t.Errorf("seed %d: hides flags of another user: %+v", seed, effects)
		}
	}
	if hidden == 0 {
		t.Error("no suppression hid anything")
	}
	tr := New(small())
	f := flag("u", "r", event.High, event.Persistence, t0)
	tr.Flag(f)
	one := tr.Traces()[0]
	got := tr.Preview(Suppression{Fingerprint: one.Fingerprint, AllowedKinds: []string{"r"}}, nil)
	if fmt.Sprint(got) != fmt.Sprint([]Effect{{ID: one.ID, Score: one.Score, With: 0, Hidden: []string{"r"}}}) {
		t.Errorf("%+v", got)
	}
}
