package trace

import (
	"io"
	"slices"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// restorer rebuilds a tracer. Whatever the bytes say, what it leaves behind
// holds the invariants the rest of the package relies on, or err is set.
type restorer struct {
	*decoder
	t             *Tracer
	units, traces uint64
}

// Restore replaces the tracer's state by a snapshot's. The limits and
// suppressions of its Config stay; of the suppressions' hits those are taken
// over that the snapshot knows. On an error, which wraps ErrSnapshot unless
// reading itself went wrong, the tracer is unchanged.
func (t *Tracer) Restore(r io.Reader) error {
	n := New(t.cfg)
	n.suppress.policies = slices.Clone(t.suppress.policies)
	n.suppress.byShape = t.suppress.byShape
	s := &restorer{decoder: newDecoder(r), t: n}
	magic := make([]byte, len(snapshotMagic))
	s.raw(magic)
	if s.err == nil && string(magic) != snapshotMagic {
		s.fail("begins with %q, not %q", magic, snapshotMagic)
	}
	n.now, n.next = s.int(), s.int()
	s.readKinds()
	s.readUnits()
	s.readTraces()
	s.readLinks()
	s.readBaseline()
	s.readRecent(n.recent.young)
	s.readRecent(n.recent.old)
	s.readSuppressions()
	for _, c := range n.stats.counters() {
		*c = s.uint()
	}
	if err := s.finish(); err != nil {
		return err
	}
	*t = *n
	t.base.cfg = &t.cfg
	return nil
}

func (s *restorer) key() (k [16]byte) {
	s.raw(k[:])
	return k
}

func (s *restorer) strs() []string {
	var out []string
	for n := s.uint(); n > 0 && s.err == nil; n-- {
		out = append(out, s.str())
	}
	return out
}

func (s *restorer) readKinds() {
	for n := s.uint(); n > 0 && s.err == nil; n-- {
		rule, tactic, techniques := s.str(), event.Tactic(s.small(tacticLimit, "tactic")), s.strs()
		if _, twice := s.t.kindBy[kindKey{rule, tactic}]; twice {
			s.fail("kind %q twice", rule)
			return
		}
		s.t.addKind(rule, tactic, techniques)
	}
}

// readUnits reads all units, then completes the references between them: a
// pending link may name a unit that comes later.
func (s *restorer) readUnits() {
	s.units = s.small(1<<31, "number of units")
	s.traces = s.small(1<<31, "number of traces")
	t := s.t
	for n := uint64(0); n < s.units && s.err == nil; n++ {
		s.readUnit()
	}
	if s.err != nil {
		return
	}
	for i := uint32(1); i <= t.units.top; i++ {
		u := t.units.at(i)
		for n := range u.ring {
			if r := &u.ring[n]; r.other != 0 {
				r.gen = t.units.at(r.other).gen
			}
		}
	}
}

func (s *restorer) readUnit() {
	t := s.t
	key := UnitID(s.key())
	if _, twice := t.byKey[key]; twice {
		s.fail("unit %s twice", key)
		return
	}
	i := t.units.alloc()
	u := t.units.at(i)
	t.gen++
	*u = unit{key: key, gen: t.gen, seen: s.int(), live: true, learnt: s.bool(), recent: s.bool(), fan: s.uint()}
	t.byKey[key] = i
	if s.bool() {
		u.hub = t.hubs.alloc()
		h := t.hubs.at(u.hub)
		s.raw(h.now[:])
		s.raw(h.before[:])
		h.since = s.int()
	}
	for n := range u.ring {
		s.readSlot(&u.ring[n])
	}
	tr := uint32(s.small(s.traces+1, "trace"))
	if tr == 0 || s.err != nil {
		return
	}
	for t.traces.top < tr {
		*t.traces.at(t.traces.alloc()) = record{live: true}
	}
	t.enter(i, tr)
	s.readEvidence(t.evid.at(u.evid))
	if t.evid.at(u.evid).flagged {
		t.byID[idOfUnit(&t.hasher, key)] = i
	}
}

func (s *restorer) readSlot(r *slot) {
	other := uint32(s.small(s.units+1, "unit"))
	if other == 0 || s.err != nil {
		return
	}
	*r = slot{other: other, out: s.bool()}
	s.readLink(r)
}

func (s *restorer) readLink(r *slot) {
	r.typ = graph.LinkType(s.small(uint64(graph.LinkTypeCount), "link type"))
	r.grade = graph.Grade(s.small(uint64(graph.GradeCount), "grade"))
	r.strength, r.first, r.last = s.float(), s.int(), s.int()
	if r.strength < 0 || r.strength > 1 {
		s.fail("strength %v is not in 0 to 1", r.strength)
	}
	r.label = s.t.labels.hold(s.str())
}

func (s *restorer) readEvidence(e *evidence) {
	for h := range maxHops {
		e.fwd[h] = reach{s.float(), s.int()}
		e.bwd[h] = reach{s.float(), s.int()}
	}
	if e.alpha = s.float(); !(e.alpha >= 0 && e.alpha <= 1) {
		s.fail("affinity %v is not in 0 to 1", e.alpha)
	}
	e.first, e.last = s.int(), s.int()
	e.trigger.time = s.int()
	e.trigger.event, e.trigger.shape = s.key(), s.key()
	e.flagged, e.named = s.bool(), s.bool()
}

func (s *restorer) readTraces() {
	if uint64(s.t.traces.top) != s.traces {
		s.fail("%d traces have units, not %d", s.t.traces.top, s.traces)
	}
	for tr := uint32(1); uint64(tr) <= s.traces && s.err == nil; tr++ {
		if len(s.t.traces.at(tr).members) == 0 {
			s.fail("trace %d has no units", tr)
			return
		}
		s.readTrace(tr)
		s.t.noteChanged(tr)
	}
}

// member reads a unit that must be in a trace; zero is none if that is allowed.
func (s *restorer) member(tr uint32, optional bool) uint32 {
	i := uint32(s.small(s.units+1, "unit"))
	if s.err == nil && (i != 0 || !optional) && (i == 0 || s.t.units.at(i).trace != tr) {
		s.fail("unit %d is not in trace %d", i, tr)
	}
	return i
}

func (s *restorer) readTrace(tr uint32) {
	x := s.t.traces.at(tr)
	x.oldest, x.origin = s.member(tr, false), s.member(tr, true)
	if s.err == nil && !s.t.evidenceOf(x.oldest).flagged {
		s.fail("trace %d has no flag on its oldest unit", tr)
	}
	x.last, x.seen, x.dropped = s.int(), s.int(), int(s.small(1<<40, "dropped kinds"))
	for n := s.small(maxSeeAlso+1, "see also"); n > 0; n-- {
		x.seeAlso = append(x.seeAlso, s.key())
	}
	x.open, x.alerted = s.bool(), s.bool()
	for _, p := range []*Points{&x.score, &x.peak, &x.reported} {
		*p = Points(s.small(1001, "score"))
	}
	x.tactics, x.belowSince = uint16(s.small(1<<tacticLimit, "tactics")), s.int()
	for n := s.small(maxRows+1, "rows"); n > 0 && s.err == nil; n-- {
		s.readRow(x, tr)
	}
}

func (s *restorer) readRow(x *record, tr uint32) {
	r := row{kind: uint32(s.small(uint64(len(s.t.kinds)), "kind")), unit: s.member(tr, false)}
	r.severity = event.Severity(s.small(uint64(event.Critical)+1, "severity"))
	r.planes = event.Plane(s.small(256, "planes"))
	r.suppressed = s.bool()
	r.weight, r.peak, r.first, r.last = s.float(), s.float(), s.int(), s.int()
	if r.peak < 0 || r.peak > zCritical {
		s.fail("weight %v is not in 0 to %v", r.peak, zCritical)
	}
	for n := s.small(repeatFlags+1, "hashes"); n > 0; n-- {
		r.addHash(uint32(s.small(1<<32, "hash")))
	}
	for n := s.small(1<<16, "shards"); n > 0 && s.err == nil; n-- {
		r.raise(shardCount{uint16(s.small(1<<16, "shard")), s.uint()})
	}
	for n := s.small(1<<16, "evidence"); n > 0 && s.err == nil; n-- {
		r.addEvidence(Evidence{Event: s.key(), Time: s.int(), Ref: s.uint()}, s.t.cfg.EvidencePerKind)
	}
	if x.find(r.kind, r.unit, r.suppressed) != nil {
		s.fail("row of kind %d twice", r.kind)
	}
	x.rows = append(x.rows, r)
}

func (s *restorer) readLinks() {
	t := s.t
	for n := s.uint(); n > 0 && s.err == nil; n-- {
		from, to := uint32(s.small(s.units+1, "unit")), uint32(s.small(s.units+1, "unit"))
		var r slot
		s.readLink(&r)
		if s.err != nil {
			return
		}
		if from == 0 || to == 0 || from == to || t.units.at(from).trace == 0 || t.units.at(from).trace != t.units.at(to).trace {
			s.fail("link between units %d and %d, which are not in one trace", from, to)
			return
		}
		if _, twice := t.openBy[linkKey{from, to, r.typ}]; twice {
			s.fail("link between units %d and %d twice", from, to)
			return
		}
		t.insertOpen(from, to, r)
		t.labels.drop(r.label)
	}
}

func (s *restorer) readBaseline() {
	b := &s.t.base
	if w := s.uint(); s.err == nil && w != uint64(b.cfg.SketchWidth) {
		s.fail("sketch width is %d, configured is %d", w, b.cfg.SketchWidth)
	}
	b.started, b.learned, b.missed = s.int(), s.int(), s.uint()
	for i := range b.days {
		s.readDay(&b.days[i])
	}
	for n := s.small(maxWaiting+1, "waiting hours"); n > 0 && s.err == nil; n-- {
		k := waitKey{s.uint(), s.int()}
		w := waiter{poison: s.bool(), n: uint8(s.small(5, "units"))}
		for i := range w.n {
			w.units[i] = s.key()
		}
		b.waiting[k] = w
	}
}

func (s *restorer) readDay(d *daySketch) {
	d.day = s.int()
	if s.bool() && s.err == nil {
		d.cells = make([]uint8, sketchRows*s.t.cfg.SketchWidth)
	}
	at := uint64(0)
	for s.err == nil {
		gap := s.small(uint64(len(d.cells))-at+1, "counter")
		if gap == 0 {
			return
		}
		at += gap
		d.cells[at-1] = uint8(s.small(25, "hours a day"))
	}
}

func (s *restorer) readRecent(set map[uint64]struct{}) {
	last := uint64(0)
	for n := s.small(recentLimit+1, "recent flags"); n > 0 && s.err == nil; n-- {
		last += s.uint()
		set[last] = struct{}{}
	}
}

func (s *restorer) readSuppressions() {
	for n := s.uint(); n > 0 && s.err == nil; n-- {
		shape, kinds, users, hits, last := event.ID(s.key()), s.strs(), s.strs(), s.uint(), s.int()
		for i := range s.t.suppress.policies {
			p := &s.t.suppress.policies[i]
			if p.Fingerprint == shape && slices.Equal(p.AllowedKinds, kinds) && slices.Equal(p.Users, users) {
				p.Hits, p.Last = hits, last
			}
		}
	}
}
