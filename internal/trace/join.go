package trace

import (
	"bytes"
	"math"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// reach is evidence that arrived at a unit over some number of links.
type reach struct {
	z  float64 // greatest weight of a flag behind it, undecayed; 0 is none
	at int64   // forward: tainted since; backward: implicated until
}

// evidence is what a unit in a trace carries. Index h of fwd and bwd is what
// came over h links; what came over maxHops links goes no further.
type evidence struct {
	fwd, bwd    [maxHops]reach
	alpha       float64 // affinity to the trace's origin
	links       uint32  // head of the list of open links
	first, last int64   // of the unit's flags
	trigger     trigger
	flagged     bool
	named       bool // its id was given out as a trace's id
}

// trigger is the unit's earliest flag.
type trigger struct {
	time  int64
	event event.ID
	shape event.ID // fingerprint
}

func (a trigger) before(b trigger) bool {
	if a.time != b.time {
		return a.time < b.time
	}
	return bytes.Compare(a.event[:], b.event[:]) < 0
}

// openLink is a link that joined two units. It is in the lists of both.
type openLink struct {
	from, to         uint32
	nextFrom, nextTo uint32
	label            uint32
	strength         float64
	first, last      int64
	typ              graph.LinkType
	grade            graph.Grade
}

type linkKey struct {
	from, to uint32
	typ      graph.LinkType
}

// opensWith says whether a link of strength s may join units on evidence of
// weight z: a weak link needs stronger evidence.
func opensWith(s, z float64) bool {
	const slack = 1e-9 // products of decimal fractions fall a hair below the line
	return z > 0 && s*math.Min(1, z/zMedium) >= minStrength-slack
}

// forward carries evidence from a cause to its effect: what the cause did
// after its taint began. It reports whether the link opens and whether the
// effect learnt something. to is nil for a unit without evidence.
func forward(from, to *evidence, s float64, first, last int64) (opens, news bool) {
	for h, r := range from.fwd {
		if !opensWith(s, r.z) || r.at > last+skewNanos {
			continue
		}
		opens = true
		if h+1 < maxHops && to != nil {
			news = to.fwd[h+1].join(reach{r.z, max(r.at, first)}, true) || news
		}
	}
	return opens, news
}

// backward carries evidence from an effect to its cause: who acted on the unit
// before it showed evidence.
func backward(from, to *evidence, s float64, first, last int64) (opens, news bool) {
	for h, r := range to.bwd {
		if !opensWith(s, r.z) || r.at < first-skewNanos {
			continue
		}
		opens = true
		if h+1 < maxHops && from != nil {
			news = from.bwd[h+1].join(reach{r.z, min(r.at, last)}, false) || news
		}
	}
	return opens, news
}

// join widens r by n and reports whether that changed it. Both parts only ever
// grow towards more evidence: that makes the closure independent of order.
func (r *reach) join(n reach, earliest bool) bool {
	if r.z == 0 {
		*r = n
		return true
	}
	old := *r
	r.z = max(r.z, n.z)
	if earliest {
		r.at = min(r.at, n.at)
	} else {
		r.at = max(r.at, n.at)
	}
	return *r != old
}

func (t *Tracer) evidenceOf(i uint32) *evidence {
	return t.evidenceAt(t.units.at(i))
}

func (t *Tracer) evidenceAt(u *unit) *evidence {
	if u.evid == 0 {
		return nil
	}
	return t.evid.at(u.evid)
}

// addLink takes a link whose strength is final: widens the open one, or opens
// it, or leaves it pending.
func (t *Tracer) addLink(u, v uint32, s slot) {
	if l, ok := t.openBy[linkKey{u, v, s.typ}]; ok {
		o := t.open.at(l)
		old := *o
		o.strength = max(o.strength, s.strength)
		o.first, o.last = min(o.first, s.first), max(o.last, s.last)
		if *o != old {
			t.queue = append(t.queue, u, v)
			t.touch(t.units.at(u).trace, o.strength != old.strength)
			t.propagate()
		}
		return
	}
	s.other, s.gen, s.out = v, t.units.at(v).gen, true
	t.widen(u, &s)
	if t.tryOpen(u, s) {
		t.propagate()
		return
	}
	t.pend(u, s, t.now)
	s.other, s.gen, s.out = u, t.units.at(u).gen, false
	t.pend(v, s, t.now)
}

// tryOpen tests a link in the ring of unit i and opens it if evidence allows.
func (t *Tracer) tryOpen(i uint32, s slot) bool {
	u, v := i, s.other
	if !s.out {
		u, v = v, u
	}
	opens := false
	if e := t.evidenceOf(u); e != nil {
		opens, _ = forward(e, nil, s.strength, s.first, s.last)
	}
	if e := t.evidenceOf(v); e != nil && !opens && t.weighs(u) {
		opens, _ = backward(nil, e, s.strength, s.first, s.last)
	}
	return opens && t.unite(u, v, s)
}

// weighs reports whether a unit holds a flag of its own that moves a score. A
// cause without one is no part of a trace: whoever deployed two workloads that
// are attacked apart would join them.
func (t *Tracer) weighs(i uint32) bool {
	e := t.evidenceOf(i)
	return e != nil && e.fwd[0].z > 0
}

// unite puts both ends of a link into one trace, unless a limit forbids it.
func (t *Tracer) unite(u, v uint32, s slot) bool {
	a, b := t.units.at(u).trace, t.units.at(v).trace
	switch {
	case a != 0 && b != 0 && a != b:
		if len(t.traces.at(a).members)+len(t.traces.at(b).members) > t.cfg.MaxUnitsPerTrace {
			t.noteSeeAlso(a, b)
			return false
		}
		a = t.mergeTraces(a, b)
	case a == b:
		if t.traces.at(a).links >= maxOpenLinks {
			t.stats.LinksRefused++
			return false
		}
	default:
		joined, newcomer := a, v
		if a == 0 {
			joined, newcomer = b, u
		}
		if len(t.traces.at(joined).members) >= t.cfg.MaxUnitsPerTrace {
			t.stats.SizeRefused++
			return false
		}
		t.enter(newcomer, joined)
		a = joined
	}
	t.recordOpen(u, v, s, a)
	return true
}

func (t *Tracer) recordOpen(u, v uint32, s slot, tr uint32) {
	t.insertOpen(u, v, s)
	t.unpend(u, v, s.typ, true)
	t.unpend(v, u, s.typ, false)
	t.queue = append(t.queue, u, v)
	t.touch(tr, true)
}

// insertOpen puts a link into the lists of both ends, which are in one trace.
func (t *Tracer) insertOpen(u, v uint32, s slot) {
	l := t.open.alloc()
	eu, ev := t.evidenceOf(u), t.evidenceOf(v)
	*t.open.at(l) = openLink{
		from: u, to: v, nextFrom: eu.links, nextTo: ev.links, label: t.labels.holdAgain(s.label),
		strength: s.strength, first: s.first, last: s.last, typ: s.typ, grade: s.grade,
	}
	eu.links, ev.links = l, l
	t.openBy[linkKey{u, v, s.typ}] = l
	t.traces.at(t.units.at(u).trace).links++
}

// propagate carries evidence along open links and opens pending ones until
// nothing changes. Units to start from are in t.queue.
func (t *Tracer) propagate() {
	for len(t.queue) > 0 {
		i := t.queue[len(t.queue)-1]
		t.queue = t.queue[:len(t.queue)-1]
		e := t.evidenceOf(i)
		if e == nil {
			continue
		}
		for l := e.links; l != 0; {
			o := t.open.at(l)
			t.relay(o)
			l = o.next(i)
		}
		for n := range t.units.at(i).ring {
			s := t.units.at(i).ring[n]
			if s.other != 0 && !t.stale(&s, t.now) {
				t.tryOpen(i, s)
			}
		}
	}
}

// next returns the link after o in the list of unit i.
func (o *openLink) next(i uint32) uint32 {
	if o.from == i {
		return o.nextFrom
	}
	return o.nextTo
}

// relay carries evidence over an open link both ways.
func (t *Tracer) relay(o *openLink) {
	from, to := t.evidenceOf(o.from), t.evidenceOf(o.to)
	if _, news := forward(from, to, o.strength, o.first, o.last); news {
		t.queue = append(t.queue, o.to)
	}
	if _, news := backward(from, to, o.strength, o.first, o.last); news {
		t.queue = append(t.queue, o.from)
	}
}

// enter puts a unit into a trace.
func (t *Tracer) enter(i, tr uint32) {
	u := t.units.at(i)
	u.trace, u.evid = tr, t.evid.alloc()
	x := t.traces.at(tr)
	x.members = append(x.members, i)
}

func (t *Tracer) noteSeeAlso(a, b uint32) {
	t.stats.SizeRefused++
	t.traces.at(a).addSeeAlso(t.idOf(b))
	t.traces.at(b).addSeeAlso(t.idOf(a))
}
