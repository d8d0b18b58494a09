package detect_test

import (
	"testing"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
)

// FuzzCompile holds that any condition either is refused, or its index and
// closures agree with cel-go on events made for it.
func FuzzCompile(f *testing.F) {
	for i, w := range append(append([]string(nil), operators...), beyond...) {
		f.Add(w, uint64(i))
	}
	proto := newGenerator(1)
	f.Fuzz(func(t *testing.T, when string, seed uint64) {
		rs := []rule.Rule{ruleOf(0, event.SourceK8sAudit, when)}
		set, err := detect.Compile(rs, lists)
		if err != nil {
			return
		}
		s := describe(t, set, rs, lists)
		g := proto.reseed(seed)
		for range 8 {
			e := s.eventFor(g, 0)
			want, celErr := s.EvalCEL(0, e)
			want = want && celErr == nil
			if got := len(s.Eval(e, nil)) == 1; got != want {
				t.Fatalf("%q: Eval %v, cel-go %v, %v", when, got, want, celErr)
			}
			if got, ok := s.EvalClosure(0, e); ok && got != want {
				t.Fatalf("%q: closure %v, cel-go %v, %v", when, got, want, celErr)
			}
		}
	})
}
