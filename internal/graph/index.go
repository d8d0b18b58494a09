package graph

import (
	"encoding/binary"
	"math/bits"

	"github.com/clew-sec/clew/internal/event"
)

// index finds places by the hash of their key: open addressing with linear
// probing, 8 bytes a slot. A slot is tag<<32 | place; 0 is empty.
//
// The tag is the upper half of the hash and a slot's home is the upper bits of
// the tag, so slots move and are compared without a look at the entities.
//
// It grows without a pause: a table of twice the size takes new entries while
// every insert moves a few old ones. An entry is in exactly one of the two
// tables.
type index struct {
	slots []uint64
	shift uint // home = tag >> shift
	used  int  // slots taken in slots

	old      []uint64 // being moved; nil when none is
	oldShift uint
	moved    int // slots of old before this one are moved

	count int // entries in both
	warm  uint64
}

const (
	movesPerInsert = 16
	tombstone      = 1<<32 - 1 // place of a slot of old that was moved or removed
)

func newIndex(size int) index {
	return index{slots: make([]uint64, size), shift: shiftFor(size)}
}

func shiftFor(size int) uint { return uint(32 - bits.TrailingZeros(uint(size))) }

// hashKey mixes a key. Keys are hashes already; the mixing serves keys that
// are not, as in tests.
func hashKey(k event.ID) uint64 {
	h := binary.LittleEndian.Uint64(k[:8]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(k[8:]), 32)
	h *= 0x9E3779B97F4A7C15
	return h ^ h>>29
}

func tagOf(h uint64) uint64 { return (h * 0xBF58476D1CE4E5B9) >> 32 }

// prober goes through the places whose tag matches.
type prober struct {
	ix   *index
	tag  uint64
	at   uint64
	past bool // in old
}

func (ix *index) probe(h uint64) prober {
	tag := tagOf(h)
	return prober{ix: ix, tag: tag, at: tag >> ix.shift}
}

// next returns the next candidate; false after the last.
func (p *prober) next() (uint32, bool) {
	for {
		slots := p.ix.slots
		if p.past {
			slots = p.ix.old
		}
		for mask := uint64(len(slots) - 1); ; {
			s := slots[p.at&mask]
			if s == 0 {
				break
			}
			p.at++
			if s>>32 == p.tag && uint32(s) != tombstone {
				return uint32(s), true
			}
		}
		if p.past || p.ix.old == nil {
			return 0, false
		}
		p.past, p.at = true, p.tag>>p.ix.oldShift
	}
}

// peek reads the home slot of a hash, to bring it into the cache.
func (ix *index) peek(h uint64) uint64 { return ix.slots[tagOf(h)>>ix.shift] }

// insert adds a place; the hash must not be there with the same place.
func (ix *index) insert(h uint64, place uint32) {
	if ix.old != nil {
		ix.move(movesPerInsert)
	}
	if (ix.used+1)*8 > len(ix.slots)*7 {
		ix.move(len(ix.old)) // never more than a few, moving ends long before
		ix.grow()
	}
	ix.put(tagOf(h)<<32 | uint64(place))
	ix.count++
}

func (ix *index) put(slot uint64) {
	mask := uint64(len(ix.slots) - 1)
	i := slot >> 32 >> ix.shift
	for ix.slots[i&mask] != 0 {
		i++
	}
	ix.slots[i&mask] = slot
	ix.used++
}

func (ix *index) grow() {
	ix.old, ix.oldShift, ix.moved = ix.slots, ix.shift, 0
	*ix = index{
		slots: make([]uint64, 2*len(ix.slots)), shift: ix.shift - 1, count: ix.count,
		old: ix.old, oldShift: ix.oldShift, warm: ix.warm,
	}
}

// move takes n slots of the old table over.
func (ix *index) move(n int) {
	for ; n > 0 && ix.moved < len(ix.old); n-- {
		if s := ix.old[ix.moved]; s != 0 && uint32(s) != tombstone {
			ix.put(s)
			ix.old[ix.moved] = s | tombstone
		}
		ix.moved++
	}
	if ix.moved == len(ix.old) {
		ix.old = nil
	}
}

// remove takes a place out; a hash without it is left alone.
func (ix *index) remove(h uint64, place uint32) {
	slot := tagOf(h)<<32 | uint64(place)
	if ix.removeShifting(slot) {
		ix.used--
		ix.count--
		return
	}
	if ix.old == nil {
		return
	}
	mask := uint64(len(ix.old) - 1)
	for i := slot >> 32 >> ix.oldShift; ix.old[i&mask] != 0; i++ {
		if ix.old[i&mask] == slot {
			ix.old[i&mask] = slot | tombstone
			ix.count--
			return
		}
	}
}

// removeShifting takes a slot out of the new table and moves later ones of its
// run back, so that no tombstones are needed there.
func (ix *index) removeShifting(slot uint64) bool {
	mask := uint64(len(ix.slots) - 1)
	i := slot >> 32 >> ix.shift
	for ix.slots[i&mask] != slot {
		if ix.slots[i&mask] == 0 {
			return false
		}
		i++
	}
	hole := i & mask
	for j := hole; ; {
		j = (j + 1) & mask
		s := ix.slots[j]
		if s == 0 {
			break
		}
		home := s >> 32 >> ix.shift
		if (j-home)&mask >= (j-hole)&mask {
			ix.slots[hole] = s
			hole = j
		}
	}
	ix.slots[hole] = 0
	return true
}

func (ix *index) bytes() int { return 8 * (len(ix.slots) + len(ix.old)) }
