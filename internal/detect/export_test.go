package detect

import (
	"math/bits"

	"github.com/clew-sec/clew/internal/event"
)

// EvalIndexedCEL is Eval with cel-go in the place of the closures, for the
// benchmark.
func (s *Set) EvalIndexedCEL(e *event.Event, hits []int32) []int32 {
	for w, word := range s.groups[groupOf(e.Kind, e.Source)].candidates(e, s.frame.bits) {
		for ; word != 0; word &= word - 1 {
			i := w<<6 + trailing(word)
			if ok, err := s.EvalCEL(i, e); ok && err == nil {
				hits = append(hits, int32(i))
			}
		}
	}
	return hits
}

// Candidates returns how many rules the index leaves for e.
func (s *Set) Candidates(e *event.Event) int {
	n := 0
	for _, w := range s.groups[groupOf(e.Kind, e.Source)].candidates(e, s.frame.bits) {
		n += bits.OnesCount64(w)
	}
	return n
}
