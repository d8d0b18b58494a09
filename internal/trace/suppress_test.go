package trace

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

// TestSuppressionNeverRaisesAScore suppresses kinds of flags in random incidents,
// several kinds of each tactic. Every other incident is of low flags on one unit,
// where the chain of tactics makes much of the score.
func TestSuppressionNeverRaisesAScore(t *testing.T) {
	lowered := 0
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		steps := script(seed, 30)
		for _, s := range steps {
			if s.flag == nil {
				continue
			}
			kind := rng.IntN(8)
			s.flag.Rule, s.flag.Tactic = fmt.Sprint("r", kind), event.Tactic(1+2*(kind%4))
			if seed%2 == 0 {
				s.flag.Unit, s.flag.Severity = id("u1"), event.Low
			}
		}
		var known []string
		for kind := range 8 {
			if rng.IntN(2) == 0 {
				known = append(known, fmt.Sprint("r", kind))
			}
		}
		before, after := unitScores(steps, nil), unitScores(steps, known)
		for u, score := range after {
			if score > before[u] {
				t.Errorf("seed %d: %s scores %s with %v suppressed, %s without", seed, unitName(u), score, known, before[u])
			}
			if score < before[u] {
				lowered++
			}
		}
	}
	if lowered == 0 {
		t.Error("no suppression lowered a score")
	}
}

// unitScores runs steps with rules suppressed on units of any shape and returns
// the score of each unit's trace.
func unitScores(steps []step, rules []string) map[UnitID]Points {
	cfg := small()
	for _, s := range steps {
		if s.flag != nil && rules != nil {
			shape := fingerprint(new(event.Hasher), s.flag.Rule, nil, event.ID{})
			cfg.Suppressions = append(cfg.Suppressions, Suppression{Fingerprint: shape, AllowedKinds: rules})
		}
	}
	tr := New(cfg)
	for _, s := range steps {
		s.run(tr)
	}
	out := map[UnitID]Points{}
	for _, v := range tr.Traces() {
		for _, u := range v.Flagged {
			out[u.ID] = v.Score
		}
	}
	return out
}
