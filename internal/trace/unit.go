package trace

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/clew-sec/clew/internal/graph"
)

const ringSlots = 4

// unit is what is kept of a unit: its pending links, how many neighbours it
// has, and its place in a trace if it has one. It holds no pointers.
type unit struct {
	key    UnitID
	gen    uint32 // distinguishes users of one index; slots name units by index and gen
	trace  uint32 // 0: in no trace
	evid   uint32 // set exactly when trace is
	hub    uint32 // sketch of neighbours, from hubFanOut on
	fan    uint64 // linear-counting bitmap of neighbours until then
	seen   int64
	ring   [ringSlots]slot
	live   bool
	learnt bool // a learned barrier: nothing links through it any more
	recent bool // seen since the sweep last passed
}

// slot is a pending link, held by the rings of both its ends.
type slot struct {
	other, gen  uint32 // 0: empty
	label       uint32
	strength    float64 // frozen at the first test
	first, last int64   // when the link was observed to act
	typ         graph.LinkType
	grade       graph.Grade
	out         bool // the ring's unit is the cause
}

// hubSketch counts distinct neighbours of the last 24 to 48 hours: two
// HyperLogLogs of 64 registers that take turns.
type hubSketch struct {
	now, before [64]uint8
	since       int64
}

const day = int64(24 * time.Hour)

// unitOf returns the index of a unit, making it when it is new.
func (t *Tracer) unitOf(key UnitID, at int64) uint32 {
	if i, ok := t.byKey[key]; ok {
		u := t.units.at(i)
		u.seen, u.recent = max(u.seen, at), true
		return i
	}
	if t.units.count() >= t.cfg.MaxUnits {
		t.evictUnit()
	}
	i := t.units.alloc()
	t.gen++
	*t.units.at(i) = unit{key: key, gen: t.gen, seen: at, live: true, recent: true}
	t.byKey[key] = i
	return i
}

// freeUnit forgets a unit that is in no trace.
func (t *Tracer) freeUnit(i uint32) {
	u := t.units.at(i)
	for n := range u.ring {
		t.clearSlot(&u.ring[n])
	}
	if u.hub != 0 {
		t.hubs.release(u.hub)
	}
	delete(t.byKey, u.key)
	t.units.release(i)
}

func (t *Tracer) clearSlot(s *slot) {
	t.labels.drop(s.label)
	*s = slot{}
}

// damping counts other among the neighbours of u and returns h(u).
func (t *Tracer) damping(u *unit, other UnitID, at int64) float64 {
	if u.learnt {
		return 0
	}
	h := mixKey(other)
	register, rank := h&63, uint8(bits.TrailingZeros64(h>>6|1<<57))+1
	if u.hub == 0 {
		u.fan |= 1 << register
		if linearCount(bits.OnesCount64(u.fan)) <= hubFanOut {
			return 1
		}
		u.hub = t.hubs.alloc()
		seedSketch(t.hubs.at(u.hub), u.fan, at)
	}
	s := t.hubs.at(u.hub)
	if at >= s.since+day {
		s.before, s.now, s.since = s.now, [64]uint8{}, at
	}
	s.now[register] = max(s.now[register], rank)
	f := hub(s.estimate())
	if f < hubBarrier {
		u.learnt = true
		return 0
	}
	return f
}

// mixKey spreads a key over 64 bits. Keys are hashes already; the mixing serves
// those that are not.
func mixKey(k UnitID) uint64 {
	h := binary.LittleEndian.Uint64(k[:8]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(k[8:])*0xBF58476D1CE4E5B9, 32)
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// seedSketch starts a sketch with the neighbours of a bitmap; their ranks were
// not kept, and one is the likeliest.
func seedSketch(s *hubSketch, fan uint64, at int64) {
	s.since = at
	for i := range s.now {
		s.now[i] = uint8(fan >> i & 1)
	}
}

// linearCount estimates the distinct keys behind a 64-bit map with n bits set.
func linearCount(n int) float64 {
	if n == 64 {
		return math.Inf(1)
	}
	return 64 * math.Log(64/float64(64-n))
}

// estimate is HyperLogLog with the small-range correction.
func (s *hubSketch) estimate() float64 {
	sum, zeros := 0.0, 0
	for i := range s.now {
		r := max(s.now[i], s.before[i])
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	e := 0.709 * 64 * 64 / sum
	if e <= 2.5*64 && zeros > 0 {
		return linearCount(64 - zeros)
	}
	return e
}

// same reports whether a pending link is between the same units, of the same
// type and direction.
func (s *slot) same(r *slot) bool {
	return s.other == r.other && s.gen == r.gen && s.typ == r.typ && s.out == r.out
}

// widen joins into s what is pending of the same link at unit i.
func (t *Tracer) widen(i uint32, s *slot) {
	u := t.units.at(i)
	for n := range u.ring {
		if r := &u.ring[n]; s.same(r) && !t.stale(r, t.now) {
			s.join(r)
		}
	}
}

func (s *slot) join(r *slot) {
	s.strength = max(s.strength, r.strength)
	s.first, s.last = min(s.first, r.first), max(s.last, r.last)
}

// pend puts a link into the ring of unit i. A link already there widens. When
// the ring is full the four links that acted last stay.
func (t *Tracer) pend(i uint32, s slot, now int64) {
	u := t.units.at(i)
	place := -1
	for n := range u.ring {
		r := &u.ring[n]
		if r.other != 0 && t.stale(r, now) {
			t.clearSlot(r)
		}
		if s.same(r) {
			r.join(&s)
			return
		}
		if r.other == 0 && place < 0 {
			place = n
		}
	}
	if place < 0 {
		t.stats.RingOverflow++
		place = t.oldestSlot(u)
		if !t.younger(&s, &u.ring[place]) {
			return
		}
		t.clearSlot(&u.ring[place])
	}
	s.label = t.labels.holdAgain(s.label)
	u.ring[place] = s
}

func (t *Tracer) oldestSlot(u *unit) int {
	place := 0
	for n := 1; n < ringSlots; n++ {
		if t.younger(&u.ring[place], &u.ring[n]) {
			place = n
		}
	}
	return place
}

// younger orders pending links by when they last acted, ties by key, so that
// which four stay does not depend on arrival order.
func (t *Tracer) younger(a, b *slot) bool {
	if a.last != b.last {
		return a.last > b.last
	}
	if c := bytes.Compare(t.units.at(a.other).key[:], t.units.at(b.other).key[:]); c != 0 {
		return c > 0
	}
	return a.typ > b.typ
}

// stale reports a pending link that waited too long or whose other end is gone.
func (t *Tracer) stale(s *slot, now int64) bool {
	o := t.units.at(s.other)
	return !o.live || o.gen != s.gen || now-s.last > t.cfg.ringTTL(s.typ)
}

// unpend removes a link between two units from the ring of unit i.
func (t *Tracer) unpend(i, other uint32, typ graph.LinkType, out bool) {
	u := t.units.at(i)
	for n := range u.ring {
		if r := &u.ring[n]; r.other == other && r.typ == typ && r.out == out {
			t.clearSlot(r)
		}
	}
}

// sweep passes over up to n units, drops pending links that waited too long
// and the units that hold nothing else.
func (t *Tracer) sweep(n int) {
	for ; n > 0 && t.units.top > 0; n-- {
		t.hand = t.hand%t.units.top + 1
		u := t.units.at(t.hand)
		if !u.live {
			continue
		}
		u.recent = false
		pending := false
		for k := range u.ring {
			if r := &u.ring[k]; r.other != 0 {
				if t.stale(r, t.now) {
					t.clearSlot(r)
				} else {
					pending = true
				}
			}
		}
		if !pending && u.trace == 0 && (u.hub == 0 || t.now-u.seen > day) {
			t.freeUnit(t.hand)
		}
	}
}

// evictTries bounds the search for a unit to evict.
const evictTries = 4096

// evictUnit makes room for one more unit: the next one under the clock hand
// that is in no trace, passing over recently seen ones once. Where traces hold
// nearly all units none may be found; then their limits bound the memory.
func (t *Tracer) evictUnit() {
	for range min(evictTries, 2*int(t.units.top)) {
		t.hand = t.hand%t.units.top + 1
		u := t.units.at(t.hand)
		if !u.live || u.trace != 0 {
			continue
		}
		if u.recent {
			u.recent = false
			continue
		}
		t.stats.EvictedUnits++
		t.freeUnit(t.hand)
		return
	}
}
