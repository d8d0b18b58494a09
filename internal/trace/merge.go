package trace

import "slices"

// Merge joins the state of another tracer into this one: shards, regions, or
// an older state of the same tracer. o is not changed and must not be used
// from elsewhere meanwhile.
//
// Every part of the state joins by an operation that is commutative,
// associative and idempotent: greatest weights, earliest and latest times, sets
// of flag hashes, counts per shard of which the larger is the later. Then
// evidence is carried again until nothing changes. So merged shards end with
// the traces and scores of one tracer that saw everything, except where a
// limit counted in Stats was hit, and except that each shard froze link
// strengths and rarities from what it saw itself.
func (t *Tracer) Merge(o *Tracer) {
	t.tick(o.now)
	for i := uint32(1); i <= o.units.top; i++ {
		if u := o.units.at(i); u.live {
			t.mergeUnit(o, u)
		}
	}
	for tr := uint32(1); tr <= o.traces.top; tr++ {
		if x := o.traces.at(tr); x.live {
			t.mergeRecord(o, x)
		}
	}
	for i := uint32(1); i <= o.units.top; i++ {
		if o.units.at(i).live {
			t.mergeLinks(o, i)
		}
	}
	t.propagate()
	t.base.merge(&o.base)
	for h := range o.recent.old {
		t.recent.add(h)
	}
	for h := range o.recent.young {
		t.recent.add(h)
	}
	t.settle()
}

// mergeUnit joins the evidence and the fan-out of a unit.
func (t *Tracer) mergeUnit(o *Tracer, u *unit) {
	i := t.unitOf(u.key, u.seen)
	v := t.units.at(i)
	v.learnt = v.learnt || u.learnt
	v.fan |= u.fan
	if u.hub != 0 {
		h := o.hubs.at(u.hub)
		if v.hub == 0 {
			v.hub = t.hubs.alloc()
			seedSketch(t.hubs.at(v.hub), v.fan, h.since)
		}
		t.hubs.at(v.hub).join(h)
	}
	e := o.evidenceAt(u)
	if e == nil || !e.flagged {
		return
	}
	tr := t.traceFor(i)
	mine := t.evidenceOf(i)
	if !mine.flagged || e.trigger.before(mine.trigger) {
		mine.trigger = e.trigger
	}
	mine.named = mine.named || e.named
	t.markFlagged(i, tr, &Flag{Unit: u.key, Time: e.first})
	t.markFlagged(i, tr, &Flag{Unit: u.key, Time: e.last})
	if e.fwd[0].z > 0 {
		mine.fwd[0].join(e.fwd[0], true)
		mine.bwd[0].join(e.bwd[0], false)
	}
	t.queue = append(t.queue, i)
}

func (s *hubSketch) join(o *hubSketch) {
	s.since = max(s.since, o.since)
	for i := range s.now {
		s.now[i], s.before[i] = max(s.now[i], o.now[i]), max(s.before[i], o.before[i])
	}
}

// mergeRecord joins the rows of a trace and its alert state.
func (t *Tracer) mergeRecord(o *Tracer, y *record) {
	for _, r := range y.rows {
		k := &o.kinds[r.kind]
		unit := t.byKey[o.units.at(r.unit).key]
		if unit == 0 || t.units.at(unit).trace == 0 {
			continue // it went when this tracer's limits were reached
		}
		r.kind = t.kindOf(&Flag{Rule: k.rule, Tactic: k.tactic, Techniques: k.techniques})
		r.unit = unit
		r.counts, r.evidence = slices.Clone(r.counts), slices.Clone(r.evidence)
		tr := t.units.at(unit).trace
		x := t.traces.at(tr)
		t.addRow(x, r)
		x.last, x.seen = max(x.last, y.lastOf(&r)), max(x.seen, y.seen)
		t.touch(tr, true)
	}
	oldest := t.byKey[o.units.at(y.oldest).key]
	if oldest == 0 || t.units.at(oldest).trace == 0 {
		return
	}
	x := t.traces.at(t.units.at(oldest).trace)
	x.open, x.alerted = x.open || y.open, x.alerted || y.alerted
	x.peak, x.reported = max(x.peak, y.peak), max(x.reported, y.reported)
	x.tactics |= y.tactics
	for _, id := range y.seeAlso {
		x.addSeeAlso(id)
	}
}

// lastOf returns the time a row contributes to its trace's latest evidence.
func (x *record) lastOf(r *row) int64 {
	if r.peak == 0 {
		return 0
	}
	return min(r.last, x.last)
}

// mergeLinks joins the open and pending links of a unit.
func (t *Tracer) mergeLinks(o *Tracer, i uint32) {
	u := o.units.at(i)
	self, ok := t.byKey[u.key]
	if !ok {
		return
	}
	for n := range u.ring {
		r := u.ring[n]
		if r.other == 0 || !r.out && o.pendsAt(r.other, i, &r) || o.stale(&r, t.now) {
			continue
		}
		from, to := self, t.byKey[o.units.at(r.other).key]
		if !r.out {
			from, to = to, from
		}
		t.mergeLink(o, from, to, r)
	}
	e := o.evidenceOf(i)
	if e == nil {
		return
	}
	for l := e.links; l != 0; {
		p := o.open.at(l)
		if p.from == i {
			t.mergeLink(o, self, t.byKey[o.units.at(p.to).key], slot{
				label: p.label, strength: p.strength, first: p.first, last: p.last, typ: p.typ, grade: p.grade,
			})
		}
		l = p.next(i)
	}
}

// pendsAt reports whether the ring of unit i holds the link too, as the cause.
func (t *Tracer) pendsAt(i, other uint32, s *slot) bool {
	for _, r := range t.units.at(i).ring {
		if r.other == other && r.typ == s.typ && r.out {
			return true
		}
	}
	return false
}

func (t *Tracer) mergeLink(o *Tracer, from, to uint32, s slot) {
	if from == 0 || to == 0 {
		return
	}
	s.label = t.labels.hold(o.labels.text(s.label))
	t.addLink(from, to, s)
	t.labels.drop(s.label)
}

// merge joins another baseline: the larger count of each day, all hours that
// wait.
func (b *baseline) merge(o *baseline) {
	if b.started == 0 || o.started != 0 && o.started < b.started {
		b.started = o.started
	}
	for i := range o.days {
		b.mergeDay(&b.days[i], &o.days[i])
	}
	for k, w := range o.waiting {
		for _, u := range w.units[:w.n] {
			b.wait(k, u, w.poison)
		}
	}
}

func (b *baseline) mergeDay(d, o *daySketch) {
	if o.cells == nil || len(o.cells) != sketchRows*b.cfg.SketchWidth || d.cells != nil && o.day < d.day {
		return
	}
	if d.cells == nil || d.day < o.day {
		d.day, d.cells = o.day, slices.Clone(o.cells)
		return
	}
	for i, c := range o.cells {
		d.cells[i] = max(d.cells[i], c)
	}
}
