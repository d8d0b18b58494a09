package trace

import (
	"math"
	"math/bits"
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// tally is one kind of flag over all units of a trace.
type tally struct {
	kind     uint32
	tactic   event.Tactic
	planes   event.Plane
	z        float64 // decayed, with affinity and repeats
	standing float64 // the same without decay
	share    float64 // what of z counts: z/rank^1.5
	hashes   row     // only its hashes are used: distinct flags over the units
}

// verdict is a trace's score and what it follows from. The shares of the
// tallies in Tracer.tallies sum to z.
type verdict struct {
	score   float64 // [0, 100]
	z       float64
	chain   int
	tactics uint16 // bits of tactics with evidence enough for the chain
	planes  event.Plane
}

// scope says what of a trace is scored.
type scope struct {
	only       uint32 // this unit as if it stood alone; 0 is all units
	suppressed bool   // suppressed flags, too
}

func (s scope) has(r *row) bool {
	return r.peak > 0 && (s.suppressed || !r.suppressed) && (s.only == 0 || s.only == r.unit)
}

// assess scores what of a trace is in scope, at an event time. It leaves the
// tallies of the kinds that count in t.tallies.
func (t *Tracer) assess(x *record, at int64, s scope) verdict {
	t.tally(x, at, s)
	slices.SortFunc(t.tallies, t.compareTallies)
	var v verdict
	var standing [event.TacticCount]float64
	rank := 0
	for i := range t.tallies {
		k := &t.tallies[i]
		if i == 0 || k.tactic != t.tallies[i-1].tactic {
			rank = 0
		}
		rank++
		v.planes |= k.planes
		if rank > kindsPerZ {
			continue
		}
		discount := rankDiscount[rank]
		k.share = k.z / discount
		v.z += k.share
		standing[k.tactic] += k.standing / discount
	}
	weighty := 0
	for k := range standing {
		if standing[k] >= chainEvidence {
			v.tactics |= 1 << k
		}
		if standing[k] >= weightyEvidence {
			weighty++
		}
	}
	v.chain = weighty
	if bits.OnesCount16(v.tactics) > weighty {
		first := t.firstSeen(x, s.only)
		v.chain = max(longestChain(v.tactics, &first), weighty)
	}
	v.score = scoreOf(v.z, v.chain, v.planes)
	return v
}

// rankDiscount is rank^1.5.
var rankDiscount = func() (out [kindsPerZ + 1]float64) {
	for rank := range out {
		out[rank] = math.Pow(float64(rank), 1.5)
	}
	return out
}()

// tally adds up the rows of each kind with evidence.
func (t *Tracer) tally(x *record, at int64, s scope) {
	t.tallies = t.tallies[:0]
	for i := range x.rows {
		r := &x.rows[i]
		if !s.has(r) {
			continue
		}
		alpha := 1.0
		if s.only == 0 {
			alpha = t.evidenceOf(r.unit).alpha
		}
		k := t.tallyOf(r)
		z := math.Exp2(math.Min(0, r.weight-hours(at)/halfLifeHours(k.tactic)-math.Log2(r.peak))) * r.peak
		z = math.Max(z, 0)
		k.z, k.standing = math.Max(k.z, z*alpha), math.Max(k.standing, r.peak*alpha)
		k.planes |= r.planes
		for _, h := range r.hashes[:r.distinct] {
			k.hashes.addHash(h)
		}
	}
	for i := range t.tallies {
		k := &t.tallies[i]
		f := repeatFactor(int(k.hashes.distinct))
		k.z, k.standing = k.z*f, k.standing*f
	}
}

// firstSeen returns when each tactic was first seen, suppressed flags included:
// without them a tactic would seem to begin later, and another order of tactics
// can be a longer chain. Tactics without flags that weigh read as never.
func (t *Tracer) firstSeen(x *record, only uint32) [event.TacticCount]int64 {
	var first [event.TacticCount]int64
	for k := range first {
		first[k] = math.MaxInt64
	}
	for i := range x.rows {
		if r := &x.rows[i]; (scope{only, true}).has(r) {
			k := t.kinds[r.kind].tactic
			first[k] = min(first[k], r.first)
		}
	}
	return first
}

func (t *Tracer) tallyOf(r *row) *tally {
	for i := range t.tallies {
		if t.tallies[i].kind == r.kind {
			return &t.tallies[i]
		}
	}
	t.tallies = append(t.tallies, tally{kind: r.kind, tactic: t.kinds[r.kind].tactic})
	return &t.tallies[len(t.tallies)-1]
}

// compareTallies orders by tactic, then weight, then rule.
func (t *Tracer) compareTallies(a, b tally) int {
	switch {
	case a.tactic != b.tactic:
		return int(a.tactic) - int(b.tactic)
	case a.z != b.z:
		if a.z > b.z {
			return -1
		}
		return 1
	case t.kinds[a.kind].rule < t.kinds[b.kind].rule:
		return -1
	}
	return 1
}

// longestChain returns the length of the longest run of tactics that were
// first seen in the order of the matrix; tactics in between may be missing.
// Tactics first seen at the same time may come in either order.
func longestChain(tactics uint16, first *[event.TacticCount]int64) int {
	var room [event.TacticCount]int
	order := room[:0]
	for k := range first {
		if tactics>>k&1 == 1 {
			order = append(order, k)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { // stable: ties stay in matrix order
		switch {
		case first[a] < first[b]:
			return -1
		case first[a] > first[b]:
			return 1
		}
		return 0
	})
	var length [event.TacticCount]int
	longest := 0
	for i, k := range order {
		length[i] = 1
		for j, earlier := range order[:i] {
			if earlier < k {
				length[i] = max(length[i], length[j]+1)
			}
		}
		longest = max(longest, length[i])
	}
	return longest
}

// points rounds a score to tenths.
func points(score float64) Points { return Points(math.Round(score * 10)) }

// settleNow brings affinities and score of a trace up to date and returns the
// verdict the score is from.
//
// Affinities are measured from the oldest unit with evidence. If one unit
// alone would score more than the trace does that way, they are measured from
// that unit instead: joining a strong unit to something weak and early must
// never lower its score.
//
// Suppressed flags take part in all of that and then weigh nothing: without them
// the affinities would be measured from elsewhere, and the rest could score more.
func (t *Tracer) settleNow(tr uint32) verdict {
	x := t.traces.at(tr)
	if x.relinked || x.origin == 0 {
		t.setOrigin(x, t.oldestEvidence(x))
		x.relinked = false
	} else if o := t.oldestEvidence(x); o != x.origin {
		t.setOrigin(x, o)
	}
	v := t.assess(x, x.last, scope{suppressed: true})
	if best := t.bestAlone(x, v.score); best != 0 {
		t.setOrigin(x, best)
		v = t.assess(x, x.last, scope{suppressed: true})
	}
	if slices.ContainsFunc(x.rows, func(r row) bool { return r.suppressed }) {
		v = t.assess(x, x.last, scope{})
	}
	x.score = points(v.score)
	x.peak = max(x.peak, x.score)
	return v
}

// oldestEvidence returns the unit with the earliest flag of weight, 0 when
// there is none.
func (t *Tracer) oldestEvidence(x *record) uint32 {
	best := uint32(0)
	for _, m := range x.members {
		e := t.evidenceOf(m)
		if e.fwd[0].z == 0 {
			continue
		}
		if best == 0 || e.fwd[0].at < t.evidenceOf(best).fwd[0].at || e.fwd[0].at == t.evidenceOf(best).fwd[0].at && t.older(m, best) {
			best = m
		}
	}
	return best
}

// bestAlone returns the unit below full affinity that scores most by itself,
// if that is more than score.
func (t *Tracer) bestAlone(x *record, score float64) uint32 {
	best := uint32(0)
	for _, m := range x.members {
		e := t.evidenceOf(m)
		if e.fwd[0].z == 0 || e.alpha >= 1 || x.atMostAlone(m) <= score {
			continue
		}
		s := t.assess(x, x.last, scope{m, true}).score
		if s > score || s == score && best != 0 && t.older(m, best) {
			best, score = m, s
		}
	}
	return best
}

// atMostAlone bounds what a unit can score by itself, without the work of
// scoring it.
func (x *record) atMostAlone(unit uint32) float64 {
	z, n, planes := 0.0, 0, event.Plane(0)
	for i := range x.rows {
		if r := &x.rows[i]; (scope{unit, true}).has(r) {
			z += r.peak * repeatMax
			n++
			planes |= r.planes
		}
	}
	return scoreOf(z, n, planes)
}

// scoreOf is the score of evidence z with a chain of n tactics over planes.
func scoreOf(z float64, n int, planes event.Plane) float64 {
	c := math.Min(chainMax, 1+chainStep*float64(max(n-1, 0)))
	b := 1 + planeStep*float64(max(bits.OnesCount8(uint8(planes))-1, 0))
	return 100 * (1 - math.Exp(-z*c*b))
}

// setOrigin measures the affinity of every unit from origin: the greatest
// product of strengths over a path of open links, not below the floor.
func (t *Tracer) setOrigin(x *record, origin uint32) {
	x.origin = origin
	for _, m := range x.members {
		t.evidenceOf(m).alpha = 0
	}
	if origin == 0 {
		return
	}
	t.evidenceOf(origin).alpha = 1
	queue := append(t.reached[:0], origin)
	for at := 0; at < len(queue); at++ {
		i := queue[at]
		a := t.evidenceOf(i)
		for l := a.links; l != 0; {
			o := t.open.at(l)
			far := o.from + o.to - i
			if e := t.evidenceOf(far); a.alpha*o.strength > e.alpha {
				e.alpha = a.alpha * o.strength
				queue = append(queue, far)
			}
			l = o.next(i)
		}
	}
	t.reached = queue[:0]
	for _, m := range x.members {
		e := t.evidenceOf(m)
		e.alpha = max(e.alpha, affinityFloor)
	}
}
