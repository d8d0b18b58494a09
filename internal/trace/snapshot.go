package trace

import (
	"io"
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// snapshotMagic carries the version: a change of layout changes it.
const snapshotMagic = "clewtrc1"

// snapshotter numbers the live units and traces from 1, without the gaps of
// the slabs.
type snapshotter struct {
	*encoder
	t             *Tracer
	units, traces []uint32
}

// Snapshot writes the tracer's whole state. A Tracer restored from it with the
// same Config goes on exactly as this one would.
func (t *Tracer) Snapshot(w io.Writer) error {
	s := &snapshotter{encoder: newEncoder(w), t: t}
	s.raw([]byte(snapshotMagic))
	s.int(t.now)
	s.int(t.next)
	s.writeKinds()
	s.writeUnits()
	s.writeTraces()
	s.writeLinks()
	s.writeBaseline()
	s.writeRecent(t.recent.young)
	s.writeRecent(t.recent.old)
	s.writeSuppressions()
	for _, n := range t.stats.counters() {
		s.uint(*n)
	}
	return s.finish()
}

// counters lists the counts that a snapshot keeps.
func (s *Stats) counters() []*uint64 {
	return []*uint64{
		&s.RingOverflow, &s.SizeRefused, &s.LinksRefused, &s.HubDropped, &s.Folded,
		&s.KindsDropped, &s.Duplicates, &s.EvictedTraces, &s.EvictedUnits,
	}
}

func (s *snapshotter) writeKinds() {
	s.uint(uint64(len(s.t.kinds)))
	for _, k := range s.t.kinds {
		s.str(k.rule)
		s.uint(uint64(k.tactic))
		s.strs(k.techniques)
	}
}

func (s *snapshotter) strs(list []string) {
	s.uint(uint64(len(list)))
	for _, v := range list {
		s.str(v)
	}
}

func (s *snapshotter) writeUnits() {
	t := s.t
	s.units, s.traces = make([]uint32, t.units.top+1), make([]uint32, t.traces.top+1)
	n := uint32(0)
	for i := uint32(1); i <= t.units.top; i++ {
		if t.units.at(i).live {
			n++
			s.units[i] = n
		}
	}
	traces := uint32(0)
	for i := uint32(1); i <= t.traces.top; i++ {
		if t.traces.at(i).live {
			traces++
			s.traces[i] = traces
		}
	}
	s.uint(uint64(n))
	s.uint(uint64(traces))
	for i := uint32(1); i <= t.units.top; i++ {
		if t.units.at(i).live {
			s.writeUnit(t.units.at(i))
		}
	}
}

func (s *snapshotter) writeUnit(u *unit) {
	s.raw(u.key[:])
	s.int(u.seen)
	s.bool(u.learnt)
	s.bool(u.recent)
	s.uint(u.fan)
	s.bool(u.hub != 0)
	if u.hub != 0 {
		h := s.t.hubs.at(u.hub)
		s.raw(h.now[:])
		s.raw(h.before[:])
		s.int(h.since)
	}
	for i := range u.ring {
		s.writeSlot(&u.ring[i])
	}
	s.uint(uint64(s.traces[u.trace]))
	if u.trace != 0 {
		s.writeEvidence(s.t.evid.at(u.evid))
	}
}

// writeSlot leaves out pending links that are stale already: nothing would
// come of them.
func (s *snapshotter) writeSlot(r *slot) {
	if r.other == 0 || s.t.stale(r, s.t.now) {
		s.uint(0)
		return
	}
	s.uint(uint64(s.units[r.other]))
	s.bool(r.out)
	s.writeLink(r.typ, r.grade, r.strength, r.first, r.last, s.t.labels.text(r.label))
}

func (s *snapshotter) writeLink(typ LinkType, g Grade, strength float64, first, last int64, label string) {
	s.uint(uint64(typ))
	s.uint(uint64(g))
	s.float(strength)
	s.int(first)
	s.int(last)
	s.str(label)
}

func (s *snapshotter) writeEvidence(e *evidence) {
	for h := range maxHops {
		s.float(e.fwd[h].z)
		s.int(e.fwd[h].at)
		s.float(e.bwd[h].z)
		s.int(e.bwd[h].at)
	}
	s.float(e.alpha)
	s.int(e.first)
	s.int(e.last)
	s.int(e.trigger.time)
	s.raw(e.trigger.event[:])
	s.raw(e.trigger.shape[:])
	s.bool(e.flagged)
	s.bool(e.named)
}

func (s *snapshotter) writeTraces() {
	for i := uint32(1); i <= s.t.traces.top; i++ {
		if x := s.t.traces.at(i); x.live {
			s.writeTrace(x)
		}
	}
}

func (s *snapshotter) writeTrace(x *record) {
	s.uint(uint64(s.units[x.oldest]))
	s.uint(uint64(s.units[x.origin]))
	s.int(x.last)
	s.int(x.seen)
	s.uint(uint64(x.dropped))
	s.uint(uint64(len(x.seeAlso)))
	for _, id := range x.seeAlso {
		s.raw(id[:])
	}
	s.bool(x.open)
	s.bool(x.alerted)
	for _, p := range []Points{x.score, x.peak, x.reported} {
		s.uint(uint64(p))
	}
	s.uint(uint64(x.tactics))
	s.int(x.belowSince)
	s.uint(uint64(len(x.rows)))
	for i := range x.rows {
		s.writeRow(&x.rows[i])
	}
}

func (s *snapshotter) writeRow(r *row) {
	s.uint(uint64(r.kind))
	s.uint(uint64(s.units[r.unit]))
	s.uint(uint64(r.severity))
	s.uint(uint64(r.planes))
	s.bool(r.suppressed)
	s.float(r.weight)
	s.float(r.peak)
	s.int(r.first)
	s.int(r.last)
	s.uint(uint64(r.distinct))
	for _, h := range r.hashes[:r.distinct] {
		s.uint(uint64(h))
	}
	s.uint(uint64(len(r.counts)))
	for _, c := range r.counts {
		s.uint(uint64(c.shard))
		s.uint(c.n)
	}
	s.uint(uint64(len(r.evidence)))
	for _, e := range r.evidence {
		s.raw(e.Event[:])
		s.int(e.Time)
		s.uint(e.Ref)
	}
}

func (s *snapshotter) writeLinks() {
	s.uint(uint64(s.t.open.count()))
	for i := uint32(1); i <= s.t.open.top; i++ {
		if o := s.t.open.at(i); o.from != 0 {
			s.uint(uint64(s.units[o.from]))
			s.uint(uint64(s.units[o.to]))
			s.writeLink(o.typ, o.grade, o.strength, o.first, o.last, s.t.labels.text(o.label))
		}
	}
}

func (s *snapshotter) writeBaseline() {
	b := &s.t.base
	s.uint(uint64(b.cfg.SketchWidth))
	s.int(b.started)
	s.int(b.learned)
	s.uint(b.missed)
	for i := range b.days {
		s.writeDay(&b.days[i])
	}
	keys := make([]waitKey, 0, len(b.waiting))
	for k := range b.waiting {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareWaitKeys)
	s.uint(uint64(len(keys)))
	for _, k := range keys {
		w := b.waiting[k]
		s.uint(k.hash)
		s.int(k.hour)
		s.bool(w.poison)
		s.uint(uint64(w.n))
		for _, u := range w.units[:w.n] {
			s.raw(u[:])
		}
	}
}

// writeDay writes the counters that are not zero, as gap and count; most are.
func (s *snapshotter) writeDay(d *daySketch) {
	s.int(d.day)
	s.bool(d.cells != nil)
	gap := uint64(0)
	for _, c := range d.cells {
		gap++
		if c != 0 {
			s.uint(gap)
			s.uint(uint64(c))
			gap = 0
		}
	}
	s.uint(0)
}

func (s *snapshotter) writeRecent(set map[uint64]struct{}) {
	hashes := make([]uint64, 0, len(set))
	for h := range set {
		hashes = append(hashes, h)
	}
	slices.Sort(hashes)
	s.uint(uint64(len(hashes)))
	last := uint64(0)
	for _, h := range hashes {
		s.uint(h - last)
		last = h
	}
}

func (s *snapshotter) writeSuppressions() {
	s.uint(uint64(len(s.t.suppress.policies)))
	for _, p := range s.t.suppress.policies {
		s.raw(p.Fingerprint[:])
		s.strs(p.AllowedKinds)
		s.strs(p.Users)
		s.uint(p.Hits)
		s.int(p.Last)
	}
}

// tacticLimit bounds decoded tactics.
const tacticLimit = uint64(event.TacticCount)
