package graph

import (
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

// TestPeekKeepsNothing: what is only looked at is forgotten as if nobody had.
func TestPeekKeepsNothing(t *testing.T) {
	looked, left := newRecent[event.ID, int](2, 0), newRecent[event.ID, int](2, 0)
	for n := range byte(5) {
		looked.put(event.ID{n}, int(n))
		left.put(event.ID{n}, int(n))
		looked.peek(event.ID{0})
	}
	for n := range byte(5) {
		a, okA := looked.peek(event.ID{n})
		b, okB := left.peek(event.ID{n})
		if a != b || okA != okB {
			t.Errorf("%d: %d %v after looking, %d %v without", n, a, okA, b, okB)
		}
	}
	if _, ok := looked.peek(event.ID{0}); ok {
		t.Error("looking kept what was to be forgotten")
	}
	if v, ok := looked.peek(event.ID{2}); !ok || v != 2 {
		t.Error("does not see the older generation")
	}
}

func TestGradeText(t *testing.T) {
	for g := range GradeCount {
		text, _ := g.MarshalText()
		var back Grade
		if err := back.UnmarshalText(text); err != nil || back != g {
			t.Errorf("%s: %s, %v", g, back, err)
		}
	}
	if new(Grade).UnmarshalText([]byte("sure")) == nil {
		t.Error("took a grade that does not exist")
	}
}
