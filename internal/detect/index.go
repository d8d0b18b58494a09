package detect

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// index finds the rules of one group that could match an event.
//
// For each key field and each constant that rules require of it there is a bit
// set of the rules which accept that value; for all other values there is one
// more. The candidates of an event are the intersection over the key fields: a
// rule is run only when every constant it requires is there. That is a lookup
// and a few words ANDed a field, whatever the number of rules, and leaves fewer
// candidates than one best field a rule.
type index struct {
	keyed  []uint64 // rules of the group that a key field constrains
	always []uint64 // the others of the group
	keys   []keyField
}

// keyField is one field the index asks.
type keyField struct {
	field event.Field
	rules int // rules that constrain it
	strs  map[string][]uint64
	empty []uint64 // of "", which most fields of most events are
	ints  map[int64][]uint64
	bools [2][]uint64 // of false and true
	other []uint64    // rules that accept a value no rule names
}

func trailing(w uint64) int { return bits.TrailingZeros64(w) }

// candidates fills set with the rules to run and returns it. Hot path.
func (ix *index) candidates(e *event.Event, set []uint64) []uint64 {
	copy(set, ix.keyed)
	for i := range ix.keys {
		if and(set, ix.keys[i].accepts(e)) <= fewEnough {
			break
		}
	}
	for i, w := range ix.always {
		set[i] |= w
	}
	return set
}

// fewEnough is how many candidates are cheaper to run than to ask about again.
const fewEnough = 2

// and intersects set with mask and returns how many are left.
func and(set, mask []uint64) int {
	left := 0
	for i := range set {
		set[i] &= mask[i]
		left += bits.OnesCount64(set[i])
	}
	return left
}

func (k *keyField) accepts(e *event.Event) []uint64 {
	var m []uint64
	switch k.field.Type {
	case event.String:
		s := k.field.String(e)
		if s == "" {
			return k.empty
		}
		m = k.strs[s]
	case event.Int:
		m = k.ints[k.field.Int(e)]
	default:
		if k.field.Bool(e) {
			return k.bools[1]
		}
		return k.bools[0]
	}
	if m == nil {
		return k.other
	}
	return m
}

// minShare is the least number of rules that must constrain a field for the
// index to ask it: asking costs about as much as starting two conditions. One
// in shareOf rules must, where that is more.
const (
	minShare = 3
	shareOf  = 16
)

func buildIndex(rules []compiled, g group, env *condition.Env, sample []*event.Event) index {
	words := (len(rules) + 63) / 64
	ix := index{keyed: make([]uint64, words), always: make([]uint64, words)}
	var members []int
	for i := range rules {
		r := rules[i].rule
		if r.Status != rule.Deprecated && groupOf(r.Kind(), r.Source) == g {
			members = append(members, i)
		}
	}
	for _, name := range keyFields(rules, members) {
		if f, ok := env.Field(name); ok {
			ix.keys = append(ix.keys, buildKey(rules, members, f))
		}
	}
	ix.order(g, sample)
	for _, i := range members {
		set := ix.always
		if slices.ContainsFunc(ix.keys, func(k keyField) bool { _, ok := rules[i].needs[k.field.Name]; return ok }) {
			set = ix.keyed
		}
		set[i>>6] |= 1 << (i & 63)
	}
	return ix
}

// keyFields returns the fields to ask, by preference: those that enough rules
// constrain, and those without which a rule would always run.
func keyFields(rules []compiled, members []int) []string {
	count := map[string]int{}
	for _, i := range members {
		for name := range rules[i].needs {
			if condition.Rank(name) >= 0 {
				count[name]++
			}
		}
	}
	chosen := map[string]bool{}
	for name, n := range count {
		if n >= max(minShare, len(members)/shareOf) {
			chosen[name] = true
		}
	}
	for _, i := range members {
		if name := lastResort(rules[i].needs, chosen); name != "" {
			chosen[name] = true
		}
	}
	out := make([]string, 0, len(chosen))
	for name := range chosen {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		if d := condition.Rank(a) - condition.Rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return out
}

// lastResort returns the best field for a rule that no chosen field with a
// selective set constrains, "" when there is one or none can be found.
func lastResort(needs condition.Requirements, chosen map[string]bool) string {
	best := ""
	for name, v := range needs {
		if condition.Rank(name) < 0 || !v.Selective() {
			continue
		}
		if chosen[name] {
			return ""
		}
		if best == "" || condition.Rank(name) < condition.Rank(best) || condition.Rank(name) == condition.Rank(best) && name < best {
			best = name
		}
	}
	return best
}

func buildKey(rules []compiled, members []int, f event.Field) keyField {
	k := keyField{field: f, strs: map[string][]uint64{}, ints: map[int64][]uint64{}}
	words := (len(rules) + 63) / 64
	consts := map[condition.Const]bool{}
	if f.Type == event.Bool {
		consts[condition.Const{}], consts[condition.Const{Int: 1}] = true, true
	}
	for _, i := range members {
		v, ok := rules[i].needs[f.Name]
		for _, c := range v.Each {
			consts[c] = true
		}
		if ok {
			k.rules++
		}
	}
	for c := range consts {
		set := acceptors(rules, members, words, func(v condition.Values) bool { return v.Has(c) }, f.Name)
		switch f.Type {
		case event.String:
			k.strs[c.Str] = set
		case event.Int:
			k.ints[c.Int] = set
		default:
			k.bools[c.Int&1] = set
		}
	}
	k.other = acceptors(rules, members, words, func(v condition.Values) bool { return v.Not }, f.Name)
	if k.empty = k.strs[""]; k.empty == nil {
		k.empty = k.other
	}
	return k
}

// acceptors returns the rules that do not constrain the field or whose set
// passes.
func acceptors(rules []compiled, members []int, words int, passes func(condition.Values) bool, field string) []uint64 {
	set := make([]uint64, words)
	for _, i := range members {
		if v, ok := rules[i].needs[field]; !ok || passes(v) {
			set[i>>6] |= 1 << (i & 63)
		}
	}
	return set
}

// order puts the keys that leave fewest rules of a sample first, so that most
// events are done after one or two.
func (ix *index) order(g group, sample []*event.Event) {
	left := map[string]int{}
	for _, e := range sample {
		if groupOf(e.Kind, e.Source) != g {
			continue
		}
		for i := range ix.keys {
			for _, m := range ix.keys[i].accepts(e) {
				left[ix.keys[i].field.Name] += bits.OnesCount64(m)
			}
		}
	}
	slices.SortStableFunc(ix.keys, func(a, b keyField) int { return left[a.field.Name] - left[b.field.Name] })
}
