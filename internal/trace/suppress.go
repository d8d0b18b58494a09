package trace

import (
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// Suppression says that traces of one shape are known and which kinds of flags
// are expected in them. Those kinds weigh nothing on units of that shape; any
// other kind scores as usual, so the trace re-opens when something new happens.
// What a trace consists of and when its tactics began does not change, so no
// suppression raises a score.
//
// The shape is that of the unit's trigger, its earliest flag: the rule, the
// names of the ancestors and the workload. Trace.Fingerprint prints it.
type Suppression struct {
	Fingerprint  event.ID  `json:"fingerprint"`
	AllowedKinds []string  `json:"allowedKinds"`    // rule ids
	Users        []string  `json:"users,omitempty"` // empty: any user
	Reason       string    `json:"reason"`
	Owner        string    `json:"owner"`
	From         time.Time `json:"from,omitzero"`    // flags before it score as ever; zero: from the beginning
	Expires      time.Time `json:"expires,omitzero"` // flags from then on score again; zero: never
}

// SuppressionHits is how often a suppression silenced a flag.
type SuppressionHits struct {
	Suppression
	Hits uint64 // duplicates not counted
	Last int64  // event time of the latest, 0 for none
}

type suppressor struct {
	policies []SuppressionHits
	byShape  map[event.ID][]int
}

// fingerprint returns the shape of a trigger: its rule, the names of its
// ancestors up to the barrier, nearest first, and its workload context.
func fingerprint(h *event.Hasher, rule string, lineage []string, context event.ID) event.ID {
	h.Reset()
	h.Str(rule)
	h.Int(int64(len(lineage)))
	for _, name := range lineage {
		h.Str(name)
	}
	h.Str(string(context[:]))
	return h.Sum()
}

// SetSuppressions replaces the suppressions. Hits of those that stay are kept.
// Flags seen before keep the weight they were given.
func (t *Tracer) SetSuppressions(list []Suppression) {
	old := t.suppress.policies
	t.suppress = suppressor{byShape: map[event.ID][]int{}}
	for _, s := range list {
		p := SuppressionHits{Suppression: s}
		for _, o := range old {
			if o.Fingerprint == s.Fingerprint && slices.Equal(o.AllowedKinds, s.AllowedKinds) && slices.Equal(o.Users, s.Users) {
				p.Hits, p.Last = o.Hits, o.Last
			}
		}
		t.suppress.byShape[s.Fingerprint] = append(t.suppress.byShape[s.Fingerprint], len(t.suppress.policies))
		t.suppress.policies = append(t.suppress.policies, p)
	}
}

// Suppressions returns the suppressions with their hits, in the order given.
func (t *Tracer) Suppressions() []SuppressionHits { return slices.Clone(t.suppress.policies) }

// covers reports whether a flag on a unit of a shape is suppressed, and counts
// the hit of one not seen before.
func (s *suppressor) covers(shape event.ID, f *Flag, fresh bool) bool {
	for _, i := range s.byShape[shape] {
		p := &s.policies[i]
		outside := !p.Expires.IsZero() && f.Time >= p.Expires.UnixNano() || !p.From.IsZero() && f.Time < p.From.UnixNano()
		if outside || !slices.Contains(p.AllowedKinds, f.Rule) || len(p.Users) > 0 && !slices.Contains(p.Users, f.User) {
			continue
		}
		if fresh {
			p.Hits++
			p.Last = max(p.Last, f.Time)
		}
		return true
	}
	return false
}
