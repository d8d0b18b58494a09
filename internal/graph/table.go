package graph

import (
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// Ref names an entity in a Table. It stays valid until the entity is deleted
// or evicted; then At returns nil, also when the place is taken by another. The
// zero Ref names nothing.
type Ref struct{ Index, Gen uint32 }

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// EntityKind is the class of an entity. The table only uses it to look up a
// lifetime in TableConfig.TTL; its values belong to the graph.
type EntityKind uint8

// EntityFlags are bits on an entity.
type EntityFlags uint16

// The flags of an entity. Bits from FlagUser up are free for the graph's use.
const (
	FlagBarrier  EntityFlags = 1 << iota // children start units of their own
	FlagFlagged                          // a rule flagged it: kept for TableConfig.SkeletonTTL
	FlagSkeleton                         // an ancestor of a flagged entity: kept as long
	flagLive
	flagRecent // touched since the clock hand last passed
	FlagUser
)

// Entity is one thing that acts or is acted on. It holds no pointers, so the
// garbage collector does not look at it. The table owns what the comment of a
// field says; the rest is the graph's to set through At.
type Entity struct {
	Key         event.ID // table's: never change it
	Unit        event.ID // table's: key of the entity at the top of its unit
	Parent      Ref      // table's: causal parent, zero when unknown
	Creator     Ref      // session that created it, zero when unknown
	First, Last int64    // event time of the first and the latest sight, nanoseconds
	Name        uint32   // symbols of the graph's interner, 0 for none
	Namespace   uint32
	Resource    uint32
	Sketch      uint32      // index of a fan-out sketch, 0 for none
	Children    uint32      // table's: live entities whose parent this is
	gen         uint32      //
	Kind        EntityKind  // set at insert
	Depth       uint8       // table's: entities above it in its unit, at most MaxDepth
	Flags       EntityFlags // FlagBarrier and bits from FlagUser are the graph's
	Aux         uint32      // the graph's
}

// MaxDepth is the number of ancestors in one unit at which a new unit begins.
const MaxDepth = 64

const chunkLen = 1 << 15

// TableConfig bounds a Table. Zero fields mean the default.
type TableConfig struct {
	// Max is the number of entities at which the least recently used ones are
	// evicted on insert; default 4,000,000. Skeleton entities go last.
	Max int
	// TTL is the lifetime per kind since the latest sight, in nanoseconds of
	// event time; kinds without one use DefaultTTL, default 24 hours.
	TTL        map[EntityKind]int64
	DefaultTTL int64
	// SkeletonTTL is the lifetime of flagged entities and their ancestors;
	// default 30 days.
	SkeletonTTL int64
}

// Table holds entities in chunks that never move, with an index by key. An
// insert takes constant time whatever the size; the garbage collector sees one
// pointer per 32,768 entities. It is not safe for concurrent use: one goroutine
// owns a table.
type Table struct {
	cfg    TableConfig
	ttl    [256]int64
	chunks []*[chunkLen]Entity
	free   []uint32
	top    uint32 // places ever used; place 0 is not
	hand   uint32 // clock hand of eviction
	index  index
	stats  TableStats
}

// TableStats counts what a table holds and gave up.
type TableStats struct {
	Live    int    // entities
	Expired uint64 // dropped by age
	Evicted uint64 // dropped because the table was full
	Orphans uint64 // of those, dropped although they had children
	Bytes   int64  // of entities and index
}

// NewTable returns an empty table.
func NewTable(cfg TableConfig) *Table {
	if cfg.Max <= 0 {
		cfg.Max = 4_000_000
	}
	if cfg.DefaultTTL <= 0 {
		cfg.DefaultTTL = int64(24 * time.Hour)
	}
	if cfg.SkeletonTTL <= 0 {
		cfg.SkeletonTTL = int64(30 * 24 * time.Hour)
	}
	t := &Table{cfg: cfg, index: newIndex(1024)}
	for k := range t.ttl {
		t.ttl[k] = cfg.DefaultTTL
	}
	for k, v := range cfg.TTL {
		t.ttl[k] = v
	}
	return t
}

func (t *Table) place(i uint32) *Entity { return &t.chunks[i/chunkLen][i%chunkLen] }

// At returns the entity of a reference, nil when it is gone. The pointer is
// valid until the entity is deleted or evicted, which Insert may do.
func (t *Table) At(r Ref) *Entity {
	if r.Index == 0 || r.Index > t.top {
		return nil
	}
	if e := t.place(r.Index); e.gen == r.Gen && e.Flags&flagLive != 0 {
		return e
	}
	return nil
}

// Get returns the reference of a key. It does not count as a sight.
func (t *Table) Get(key event.ID) (Ref, bool) {
	i := t.find(key, hashKey(key))
	if i == 0 {
		return Ref{}, false
	}
	return Ref{i, t.place(i).gen}, true
}

// find returns the place of a key, 0 when it is not held.
func (t *Table) find(key event.ID, h uint64) uint32 {
	for p := t.index.probe(h); ; {
		i, ok := p.next()
		if !ok {
			return 0
		}
		if t.place(i).Key == key {
			return i
		}
	}
}

// Insert adds an entity first seen now below a parent and returns its
// reference; a key already held is only touched, its kind and parent stay. It
// may evict other entities when the table is full, never the parent.
//
// The unit is the entity itself when the parent is unknown, gone, a barrier or
// MaxDepth deep in its unit; else the parent's.
func (t *Table) Insert(key event.ID, kind EntityKind, parent Ref, now int64) Ref {
	h := hashKey(key)
	if i := t.find(key, h); i != 0 {
		e := t.place(i)
		e.see(now)
		return Ref{i, e.gen}
	}
	p := t.At(parent)
	if p != nil {
		p.see(p.Last)
		p.Children++
	}
	if t.index.count >= t.cfg.Max {
		t.makeRoom(parent.Index)
	}
	i := t.alloc()
	e := t.place(i)
	*e = Entity{Key: key, Unit: key, First: now, Last: now, gen: e.gen + 1, Kind: kind, Flags: flagLive | flagRecent}
	if p != nil {
		e.Parent = parent
		if p.Flags&FlagBarrier == 0 && p.Depth < MaxDepth {
			e.Unit, e.Depth = p.Unit, p.Depth+1
		}
	}
	t.index.insert(h, i)
	return Ref{i, e.gen}
}

func (t *Table) alloc() uint32 {
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	t.top++
	if int(t.top/chunkLen) == len(t.chunks) {
		t.chunks = append(t.chunks, new([chunkLen]Entity))
	}
	return t.top
}

func (e *Entity) see(now int64) {
	e.Last = max(e.Last, now)
	e.Flags |= flagRecent
}

// Touch notes a sight of an entity; false when it is gone.
func (t *Table) Touch(r Ref, now int64) bool {
	e := t.At(r)
	if e == nil {
		return false
	}
	e.see(now)
	return true
}

// TouchBatch looks up many keys at once, notes a sight of those that are held
// and fills refs, which must be as long as keys, with their references, zero
// where a key is not held. It makes three passes over the batch so that the
// memory accesses of different keys overlap: with 64 keys of a large table two
// to three times faster than one at a time.
func (t *Table) TouchBatch(keys []event.ID, refs []Ref, now int64) {
	warm := uint64(0)
	for _, k := range keys {
		warm += t.index.peek(hashKey(k))
	}
	for n, k := range keys { // the candidate by tag alone: its key may differ
		p := t.index.probe(hashKey(k))
		i, _ := p.next()
		refs[n] = Ref{Index: i}
		if i != 0 {
			warm += uint64(t.place(i).Key[0])
		}
	}
	t.index.warm = warm // keeps the loads from being optimised away
	for n, k := range keys {
		i := refs[n].Index
		if i != 0 && t.place(i).Key != k {
			i = t.find(k, hashKey(k))
		}
		refs[n] = Ref{}
		if i != 0 {
			e := t.place(i)
			e.see(now)
			refs[n] = Ref{i, e.gen}
		}
	}
}

// MarkFlagged keeps an entity and its ancestors for SkeletonTTL after their
// latest sight. It goes up only to where that was done before.
func (t *Table) MarkFlagged(r Ref) {
	e := t.At(r)
	if e == nil {
		return
	}
	e.Flags |= FlagFlagged
	for e = t.At(e.Parent); e != nil && e.Flags&FlagSkeleton == 0; e = t.At(e.Parent) {
		e.Flags |= FlagSkeleton
	}
}

// Delete removes an entity; false when it is gone. Children keep their unit and
// a parent reference that leads nowhere.
func (t *Table) Delete(r Ref) bool {
	if t.At(r) == nil {
		return false
	}
	t.drop(r.Index)
	return true
}

func (t *Table) drop(i uint32) {
	e := t.place(i)
	if p := t.At(e.Parent); p != nil && p.Children > 0 {
		p.Children--
	}
	t.index.remove(hashKey(e.Key), i)
	*e = Entity{gen: e.gen}
	t.free = append(t.free, i)
}

// Len returns the number of entities.
func (t *Table) Len() int { return t.index.count }

// Stats returns the table's counts.
func (t *Table) Stats() TableStats {
	s := t.stats
	s.Live = t.index.count
	s.Bytes = int64(len(t.chunks))*chunkLen*entitySize + int64(t.index.bytes()) + int64(cap(t.free))*4
	return s
}

func (t *Table) lifetime(e *Entity) int64 {
	if e.Flags&(FlagFlagged|FlagSkeleton) != 0 {
		return t.cfg.SkeletonTTL
	}
	return t.ttl[e.Kind]
}

// Sweep passes over up to n places and drops childless entities that were not
// seen for their lifetime. It returns how many. Call it with a share of Len per
// minute of event time.
func (t *Table) Sweep(now int64, n int) int {
	dropped := 0
	for ; n > 0 && t.top > 0; n-- {
		t.hand = t.hand%t.top + 1
		e := t.place(t.hand)
		if e.Flags&flagLive != 0 && e.Children == 0 && now-e.Last > t.lifetime(e) {
			t.drop(t.hand)
			dropped++
		}
	}
	t.stats.Expired += uint64(dropped)
	return dropped
}

// scanLimit bounds the places one insert into a full table looks at.
const scanLimit = 256

// makeRoom evicts one entity: the first under the clock hand that has no
// children, is not skeleton and was not seen since the hand last passed. If
// none of scanLimit places holds such a one, the oldest of the least worth
// keeping goes. The place keep stays.
func (t *Table) makeRoom(keep uint32) {
	best, worth := uint32(0), 0
	for range scanLimit {
		t.hand = t.hand%t.top + 1
		e := t.place(t.hand)
		if e.Flags&flagLive == 0 || t.hand == keep {
			continue
		}
		w := keepWorth(e)
		e.Flags &^= flagRecent
		if w == 0 {
			best, worth = t.hand, 0
			break
		}
		if best == 0 || w < worth || w == worth && e.Last < t.place(best).Last {
			best, worth = t.hand, w
		}
	}
	if best == 0 {
		return
	}
	if worth >= worthChildren {
		t.stats.Orphans++
	}
	t.stats.Evicted++
	t.drop(best)
}

const (
	worthRecent   = 1
	worthChildren = 2
	worthSkeleton = 4
)

// keepWorth orders entities by what is lost with them.
func keepWorth(e *Entity) int {
	w := 0
	if e.Flags&flagRecent != 0 {
		w += worthRecent
	}
	if e.Children > 0 {
		w += worthChildren
	}
	if e.Flags&(FlagFlagged|FlagSkeleton) != 0 {
		w += worthSkeleton
	}
	return w
}
