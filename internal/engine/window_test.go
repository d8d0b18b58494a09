package engine

import (
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

func numbered(n int) []*event.Event {
	out := make([]*event.Event, n)
	for i := range out {
		out[i] = &event.Event{Time: int64(i/3) * 1e6, ID: event.ID{byte(i), byte(i >> 8), 1}}
	}
	return out
}

func run(w *window, in []*event.Event) []event.ID {
	var out []event.ID
	take := func(drain bool) {
		for e := w.pop(drain); e != nil; e = w.pop(drain) {
			out = append(out, e.ID)
		}
	}
	for _, e := range in {
		w.push(e)
		take(false)
	}
	take(true)
	return out
}

func TestWindowOrdersWhatArrivesShuffled(t *testing.T) {
	events := numbered(500)
	want := run(newWindow(1e9, 1000), events)
	rng := rand.New(rand.NewSource(1))
	for range 20 {
		in := append([]*event.Event(nil), events...)
		for i := range in { // displace by at most 100 places
			j := min(len(in)-1, i+rng.Intn(100))
			in[i], in[j] = in[j], in[i]
		}
		in = append(in, events[rng.Intn(len(events))])
		w := newWindow(1e9, 1000)
		if diff := cmp.Diff(want, run(w, in)); diff != "" {
			t.Fatalf("order after shuffling (-want +got):\n%s", diff)
		}
		if w.duplicates != 1 || w.late != 0 {
			t.Fatalf("duplicates %d, late %d, want 1 and 0", w.duplicates, w.late)
		}
	}
}

func TestWindowReleasesByTimeAndByCount(t *testing.T) {
	w := newWindow(10, 2)
	w.push(&event.Event{Time: 0, ID: event.ID{1}})
	w.push(&event.Event{Time: 10, ID: event.ID{2}})
	if e := w.pop(false); e != nil {
		t.Fatalf("released %v, though neither window is exceeded", e.ID)
	}
	w.push(&event.Event{Time: 11, ID: event.ID{3}})
	if e := w.pop(false); e == nil || e.Time != 0 {
		t.Fatalf("an event beyond the span was not released")
	}
	w.push(&event.Event{Time: 11, ID: event.ID{4}})
	if e := w.pop(false); e == nil || e.Time != 10 {
		t.Fatalf("an event beyond the count was not released")
	}
}

func TestWindowCountsLateEvents(t *testing.T) {
	w := newWindow(10, 100)
	run(w, []*event.Event{{Time: 0, ID: event.ID{1}}, {Time: 100, ID: event.ID{2}}, {Time: 50, ID: event.ID{3}}})
	// 50 arrives after 0 was released and before 100: still in place.
	if w.late != 0 {
		t.Fatalf("late = %d, want 0", w.late)
	}
	w = newWindow(10, 100)
	run(w, []*event.Event{{Time: 0, ID: event.ID{1}}, {Time: 100, ID: event.ID{2}}, {Time: 200, ID: event.ID{3}}, {Time: 50, ID: event.ID{4}}})
	if w.late != 1 {
		t.Fatalf("late = %d, want 1", w.late)
	}
}
