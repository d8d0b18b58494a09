package trace

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// Tracer holds the live traces. See the package comment for its laws.
type Tracer struct {
	cfg  Config
	now  int64  // latest event time seen
	gen  uint32 // of units
	hand uint32 // clock hand over units
	next int64  // event time of the next housekeeping

	byKey  map[UnitID]uint32
	units  slab[unit]
	hubs   slab[hubSketch]
	evid   slab[evidence]
	open   slab[openLink]
	openBy map[linkKey]uint32
	labels labels

	traces slab[record]
	byID   map[TraceID]uint32 // unit whose id it is
	kinds  []kind
	kindBy map[kindKey]uint32

	base     baseline
	recent   recentSet
	suppress suppressor
	stats    Stats

	changed []uint32  // traces that changed since TakeChanged
	gone    []TraceID // ids that lead nowhere since then

	// Scratch of one step, empty between steps.
	queue   []uint32  // units whose evidence changed
	reached []uint32  // units whose affinity changed
	touched []uint32  // traces to score again
	merged  []TraceID // younger ids to report
	tallies []tally
	hasher  event.Hasher
}

// New returns an empty Tracer. cfg must be valid.
func New(cfg Config) *Tracer {
	cfg.setDefaults()
	t := &Tracer{cfg: cfg}
	t.clear()
	t.SetSuppressions(cfg.Suppressions)
	return t
}

func (t *Tracer) clear() {
	*t = Tracer{
		cfg: t.cfg, suppress: t.suppress,
		byKey: map[UnitID]uint32{}, openBy: map[linkKey]uint32{}, labels: labels{byText: map[string]uint32{}},
		byID: map[TraceID]uint32{}, kindBy: map[kindKey]uint32{},
		base: newBaseline(&t.cfg), recent: newRecentSet(),
	}
}

// Flag takes a flag and returns the id of the trace it belongs to now. A flag
// whose Event and Rule were counted before changes nothing.
func (t *Tracer) Flag(f Flag) TraceID {
	t.tick(f.Time)
	i := t.unitOf(f.Unit, f.Time)
	tr := t.traceFor(i)
	kind := t.kindOf(&f)
	own := trigger{time: f.Time, event: f.Event, shape: fingerprint(&t.hasher, f.Rule, f.Lineage, f.Contexts[0])}
	e := t.evidenceOf(i)
	if !e.flagged || own.before(e.trigger) {
		e.trigger = own
	}
	r, fresh := t.newRow(&f, i, kind)
	r.suppressed = t.suppress.covers(e.trigger.shape, &f, fresh)
	if !t.learnRow(tr, &r, &f, fresh) {
		t.settle()
		return t.nameOf(tr)
	}
	t.markFlagged(i, tr, &f)
	if z := r.peak; z > 0 {
		x := t.traces.at(tr)
		x.last = max(x.last, f.Time)
		a := e.fwd[0].join(reach{z, f.Time}, true)
		b := e.bwd[0].join(reach{z, f.Time}, false)
		if a || b {
			t.queue = append(t.queue, i)
			t.propagate()
		}
	}
	t.settle()
	return t.nameOf(t.units.at(i).trace)
}

// newRow makes the row that holds only f; fresh is false when the flag was
// counted lately.
func (t *Tracer) newRow(f *Flag, unit, kind uint32) (r row, fresh bool) {
	h := t.flagHash(f)
	r = row{kind: kind, unit: unit, severity: f.Severity, planes: f.Plane, weight: math.Inf(-1), first: f.Time, last: f.Time}
	r.addHash(uint32(h >> 32))
	r.evidence = []Evidence{{Event: f.Event, Time: f.Time, Ref: f.Ref}}
	return r, t.recent.add(h)
}

// learnRow weighs the row and joins it into the trace; false means that the
// flag is a duplicate.
func (t *Tracer) learnRow(tr uint32, r *row, f *Flag, fresh bool) bool {
	x := t.traces.at(tr)
	had := x.find(r.kind, r.unit, r.suppressed)
	if had != nil {
		held, final := had.holds(r.hashes[0])
		if held || !final && !fresh {
			t.stats.Duplicates++
			return false
		}
	}
	x.seen = max(x.seen, f.Time)
	if z := severityWeight(f.Severity); z > 0 {
		rarity := t.base.rarity(f, f.Unit, x.alerted)
		r.peak = z * rarity
		r.weight = math.Log2(r.peak) + hours(f.Time)/halfLifeHours(f.Tactic)
	}
	if had != nil {
		had.increment(t.cfg.Shard)
	} else {
		r.increment(t.cfg.Shard)
	}
	t.addRow(x, *r)
	t.touch(tr, false)
	return true
}

// markFlagged notes a flag on a unit and keeps the trace's oldest unit.
func (t *Tracer) markFlagged(i, tr uint32, f *Flag) {
	e := t.evidenceOf(i)
	if !e.flagged {
		e.flagged, e.first, e.last = true, f.Time, f.Time
		t.byID[idOfUnit(&t.hasher, f.Unit)] = i
	}
	e.first, e.last = min(e.first, f.Time), max(e.last, f.Time)
	x := t.traces.at(tr)
	if x.oldest == 0 || t.older(i, x.oldest) {
		x.oldest, x.relinked = i, true
	}
}

// older orders flagged units by first flag, ties by key.
func (t *Tracer) older(a, b uint32) bool {
	ea, eb := t.evidenceOf(a), t.evidenceOf(b)
	if ea.first != eb.first {
		return ea.first < eb.first
	}
	ka, kb := t.units.at(a).key, t.units.at(b).key
	return bytes.Compare(ka[:], kb[:]) < 0
}

func (t *Tracer) flagHash(f *Flag) uint64 {
	t.hasher.Reset()
	t.hasher.Str(string(f.Event[:]))
	t.hasher.Str(f.Rule)
	id := t.hasher.Sum()
	return binary.LittleEndian.Uint64(id[:8])
}

func idOfUnit(h *event.Hasher, u UnitID) TraceID {
	h.Reset()
	h.Str("trace")
	h.Str(string(u[:]))
	return TraceID(h.Sum())
}

// idOf returns the id of a trace; the zero id when nothing is flagged.
func (t *Tracer) idOf(tr uint32) TraceID {
	x := t.traces.at(tr)
	if x.oldest == 0 {
		return TraceID{}
	}
	return idOfUnit(&t.hasher, t.units.at(x.oldest).key)
}

// nameOf returns the id of a trace that is about to be told to someone.
func (t *Tracer) nameOf(tr uint32) TraceID {
	if o := t.traces.at(tr).oldest; o != 0 {
		t.evidenceOf(o).named = true
	}
	return t.idOf(tr)
}

// Link takes a cause between two units. Self-links and links without strength
// are nothing. The strength is damped by both units' fan-out as it is now, and
// stays; a link seen again keeps the greater strength and widens in time.
func (t *Tracer) Link(l graph.Link) {
	if l.From == l.To || !(l.Strength >= minStrength) || l.Type >= graph.LinkTypeCount {
		return
	}
	t.tick(l.Time)
	u, v := t.unitOf(l.From, l.Time), t.unitOf(l.To, l.Time)
	if t.units.at(u).key != l.From { // making room for v took u
		u = t.unitOf(l.From, l.Time)
	}
	s := min(l.Strength, 1) * t.damping(t.units.at(u), l.To, l.Time) * t.damping(t.units.at(v), l.From, l.Time)
	if s < minStrength {
		t.stats.HubDropped++
		return
	}
	label := t.labels.hold(l.Label)
	t.addLink(u, v, slot{strength: s, first: l.Time, last: l.Time, typ: l.Type, grade: l.Grade, label: label})
	t.labels.drop(label)
	t.settle()
}

// traceFor returns the trace of a unit, making one when it has none.
func (t *Tracer) traceFor(i uint32) uint32 {
	if tr := t.units.at(i).trace; tr != 0 {
		return tr
	}
	if t.traces.count() >= t.cfg.MaxTraces {
		t.evictLowest()
	}
	tr := t.traces.alloc()
	*t.traces.at(tr) = record{live: true}
	t.enter(i, tr)
	return tr
}

// mergeTraces makes one trace of two and returns it. The one with more units
// keeps its place; the id goes by the oldest unit whichever that is.
func (t *Tracer) mergeTraces(a, b uint32) uint32 {
	if len(t.traces.at(a).members) < len(t.traces.at(b).members) {
		a, b = b, a
	}
	x, y := t.traces.at(a), t.traces.at(b)
	older, younger := t.idOf(a), t.idOf(b)
	for _, m := range y.members {
		t.units.at(m).trace = a
	}
	x.members = append(x.members, y.members...)
	if x.oldest == 0 || y.oldest != 0 && t.older(y.oldest, x.oldest) {
		x.oldest = y.oldest
		older, younger = younger, older
	}
	x.links += y.links
	x.last, x.seen = max(x.last, y.last), max(x.seen, y.seen)
	x.dropped += y.dropped
	x.open, x.alerted = x.open || y.open, x.alerted || y.alerted
	x.peak, x.reported = max(x.peak, y.peak), max(x.reported, y.reported)
	x.tactics |= y.tactics
	for _, id := range y.seeAlso {
		x.addSeeAlso(id)
	}
	rows := y.rows
	t.dropTouched(b)
	t.noteGone(b)
	t.traces.release(b)
	for _, r := range rows {
		t.addRow(x, r)
	}
	t.touch(a, true)
	if t.wasNamed(younger) && younger != older {
		t.merged = append(t.merged, younger)
	}
	return a
}

func (t *Tracer) wasNamed(id TraceID) bool {
	i, ok := t.byID[id]
	return ok && t.evidenceOf(i) != nil && t.evidenceOf(i).named
}

// touch queues a trace to be scored at the end of the step.
func (t *Tracer) touch(tr uint32, relinked bool) {
	x := t.traces.at(tr)
	x.relinked = x.relinked || relinked
	t.noteChanged(tr)
	if !x.queued {
		x.queued = true
		t.touched = append(t.touched, tr)
	}
}

func (t *Tracer) dropTouched(tr uint32) {
	if i := slices.Index(t.touched, tr); i >= 0 {
		t.touched = slices.Delete(t.touched, i, i+1)
	}
}

// settle scores the traces this step touched and reports what changed.
func (t *Tracer) settle() {
	for _, tr := range t.touched { // nothing below touches a trace
		t.traces.at(tr).queued = false
		t.alertOn(tr, t.settleNow(tr).tactics)
	}
	t.touched = t.touched[:0]
	for _, id := range t.merged {
		if i, ok := t.byID[id]; ok {
			t.report(Merged, t.units.at(i).trace, id)
		}
	}
	t.merged = t.merged[:0]
}

// alertOn opens an alert, or reports that an open one rose by a step or gained
// a tactic. The tactics are those of the verdict its score is from.
func (t *Tracer) alertOn(tr uint32, tactics uint16) {
	x := t.traces.at(tr)
	switch {
	case !x.open && x.score >= alertLine:
		x.open, x.alerted, x.reported, x.tactics, x.belowSince = true, true, x.score, tactics, 0
		t.report(Opened, tr, TraceID{})
	case x.open && (x.score >= x.reported+updateStep || tactics&^x.tactics != 0):
		x.reported = max(x.reported, x.score)
		x.tactics |= tactics
		t.report(Updated, tr, TraceID{})
	}
}

func (t *Tracer) report(k ChangeKind, tr uint32, from TraceID) {
	t.nameOf(tr)
	if t.cfg.OnChange != nil {
		t.cfg.OnChange(Change{Kind: k, Time: t.now, Trace: t.view(tr), From: from})
	}
}

const minute = int64(time.Minute)

// tick moves event time forward.
func (t *Tracer) tick(at int64) {
	if at > t.now {
		t.now = at
	}
	t.base.advance(t.now, t.alerting)
}

func (t *Tracer) alerting(u UnitID) bool {
	i, ok := t.byKey[u]
	return ok && t.units.at(i).trace != 0 && t.traces.at(t.units.at(i).trace).alerted
}

// Advance moves event time to now, if that is later, and once an event-minute
// does the housekeeping: closes alerts that decayed, drops traces and pending
// links that are too old. What happens is reported through Config.OnChange.
func (t *Tracer) Advance(now int64) {
	t.tick(now)
	if t.now < t.next {
		return
	}
	t.next = t.now + minute
	// The whole table is passed over in about a quarter of an hour.
	t.sweep(t.units.count()/15 + 64)
	for tr := uint32(1); tr <= t.traces.top; tr++ {
		x := t.traces.at(tr)
		switch {
		case !x.live:
		case t.now-x.seen > t.cfg.TraceTTL:
			t.evictTrace(tr)
		case x.open:
			t.closeIfLow(tr)
		}
	}
}

// closeIfLow closes an alert that has stayed under the close line.
func (t *Tracer) closeIfLow(tr uint32) {
	x := t.traces.at(tr)
	if points(t.assess(x, max(t.now, x.last), scope{}).score) >= closeLine {
		x.belowSince = 0
		return
	}
	if x.belowSince == 0 {
		x.belowSince = t.now
	}
	if t.now-x.belowSince >= closeAfter {
		x.open, x.belowSince, x.reported = false, 0, 0
		t.noteChanged(tr)
		t.report(Closed, tr, TraceID{})
	}
}

// evictLowest drops the traces with the lowest score times recency, enough of
// them that the search pays.
func (t *Tracer) evictLowest() {
	type candidate struct {
		tr    uint32
		value float64
	}
	var all []candidate
	for tr := uint32(1); tr <= t.traces.top; tr++ {
		if x := t.traces.at(tr); x.live {
			all = append(all, candidate{tr, math.Log2(x.score.Float()+0.01) + float64(x.seen)/recencyHalfLife})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.value != b.value {
			if a.value < b.value {
				return -1
			}
			return 1
		}
		ka, kb := t.idOf(a.tr), t.idOf(b.tr)
		return bytes.Compare(ka[:], kb[:])
	})
	for _, c := range all[:max(1, len(all)/evictShare)] {
		t.evictTrace(c.tr)
	}
}

// evictTrace reports and drops a trace. Its units stay while they are hubs or
// wait for links; their evidence goes.
func (t *Tracer) evictTrace(tr uint32) {
	t.stats.EvictedTraces++
	t.report(Evicted, tr, TraceID{})
	t.dropTouched(tr)
	t.noteGone(tr)
	for _, i := range t.traces.at(tr).members {
		u, e := t.units.at(i), t.evidenceOf(i)
		for l := e.links; l != 0; {
			o := t.open.at(l)
			next := o.next(i)
			if o.from == i { // each link is in two lists and freed from the second
				delete(t.openBy, linkKey{o.from, o.to, o.typ})
			}
			if t.units.at(o.from).evid == 0 || t.units.at(o.to).evid == 0 {
				t.labels.drop(o.label)
				t.open.release(l)
			}
			l = next
		}
		if e.flagged {
			delete(t.byID, idOfUnit(&t.hasher, u.key))
		}
		t.evid.release(u.evid)
		u.evid, u.trace = 0, 0
	}
	t.traces.release(tr)
}

// Trace returns the trace of a unit; false when it is in none or nothing in it
// is flagged.
func (t *Tracer) Trace(unit UnitID) (Trace, bool) {
	i, ok := t.byKey[unit]
	if !ok || t.units.at(i).trace == 0 {
		return Trace{}, false
	}
	return t.view(t.units.at(i).trace), true
}

// Lookup returns the trace that an id leads to, its own or one that was merged
// into an older one.
func (t *Tracer) Lookup(id TraceID) (Trace, bool) {
	i, ok := t.byID[id]
	if !ok {
		return Trace{}, false
	}
	return t.view(t.units.at(i).trace), true
}

// Traces returns all live traces, highest score first, then earliest, then by
// id; those that hold only context or suppressed flags, of score 0, too.
func (t *Tracer) Traces() []Trace {
	var out []Trace
	for tr := uint32(1); tr <= t.traces.top; tr++ {
		if t.traces.at(tr).live {
			out = append(out, t.view(tr))
		}
	}
	slices.SortFunc(out, compareTraces)
	return out
}

// Stats returns what is live and what the bounds have cost so far.
func (t *Tracer) Stats() Stats {
	s := t.stats
	s.Units, s.Traces, s.OpenLinks = t.units.count(), t.traces.count(), t.open.count()
	s.BaselineMissed = t.base.missed
	return s
}
