package trace

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

const (
	hourNanos        = int64(time.Hour)
	maxBaselineHours = 336
	sketchRows       = 4
	sketchDays       = maxBaselineHours/24 + 1 // a ring: 14 full days and the one being written
	alertHorizon     = 6                       // hours an hour waits for an alert before it is learned
	maxWaiting       = 1 << 16
)

// baseline knows in how many of the last hours a kind of flag fired in a
// context without an alert following: one Count-Min sketch with conservative
// update a day.
//
// Two guards keep an attacker from teaching it. An hour is learned only six
// hours later, and never when a trace it took part in alerted; and as the
// waiting list is keyed by hour, a count rises by at most one an hour.
type baseline struct {
	cfg     *Config
	days    [sketchDays]daySketch
	started int64 // hour of the first flag, 0 before it
	learned int64 // hours before this one are learned
	waiting map[waitKey]waiter
	hasher  event.Hasher
	missed  uint64
}

// daySketch counts up to 24 hours a day for each key.
type daySketch struct {
	day   int64
	cells []uint8 // sketchRows rows of cfg.SketchWidth, nil until used
}

type waitKey struct {
	hash uint64
	hour int64
}

// waiter says which units an hour's flags were on.
type waiter struct {
	units  [4]UnitID
	n      uint8
	poison bool // a flag was in a trace that had alerted
}

func newBaseline(cfg *Config) baseline {
	return baseline{cfg: cfg, waiting: map[waitKey]waiter{}}
}

// rarity returns r of a flag, [floor, 1], and notes that it fired.
func (b *baseline) rarity(f *Flag, unit UnitID, alerted bool) float64 {
	hour := f.Time / hourNanos
	if b.started == 0 || hour < b.started {
		b.started = hour
	}
	silent := hour - b.started
	span := float64(min(max(silent, int64(b.cfg.MinBaselineHours)), int64(b.cfg.BaselineHours)))
	d := 0
	for i, c := range f.Contexts {
		if c == (event.ID{}) {
			continue
		}
		h := b.hash(c, f.Rule)
		b.wait(waitKey{h, hour}, unit, alerted)
		// A new workload borrows the image's history, then the cluster's.
		if i == 0 || f.NewWorkload && d == 0 {
			d = b.firedHours(h, hour)
		}
	}
	return math.Max(rarityFloor(f.Severity), 1-math.Sqrt(math.Min(1, float64(d)/span)))
}

func (b *baseline) hash(context event.ID, rule string) uint64 {
	b.hasher.Reset()
	b.hasher.Str(string(context[:]))
	b.hasher.Str(rule)
	id := b.hasher.Sum()
	return binary.LittleEndian.Uint64(id[:8])
}

func (b *baseline) wait(k waitKey, unit UnitID, alerted bool) {
	if k.hour < b.learned {
		return // it came too late to be told from an hour already learned
	}
	w, ok := b.waiting[k]
	if !ok && len(b.waiting) >= maxWaiting {
		b.missed++
		return
	}
	w.poison = w.poison || alerted
	if !slices.Contains(w.units[:w.n], unit) && int(w.n) < len(w.units) {
		w.units[w.n] = unit
		w.n++
	}
	b.waiting[k] = w
}

// advance learns the hours that have waited long enough.
func (b *baseline) advance(now int64, alerting func(UnitID) bool) {
	due := now/hourNanos - alertHorizon
	if due <= b.learned {
		return
	}
	b.learned = due
	var ready []waitKey
	for k, w := range b.waiting {
		if k.hour >= due {
			continue
		}
		if !w.poison && !slices.ContainsFunc(w.units[:w.n], alerting) {
			ready = append(ready, k)
		}
		delete(b.waiting, k)
	}
	// Conservative update depends on order where keys collide.
	slices.SortFunc(ready, compareWaitKeys)
	for _, k := range ready {
		b.learn(k)
	}
}

func compareWaitKeys(a, b waitKey) int {
	switch {
	case a.hour < b.hour, a.hour == b.hour && a.hash < b.hash:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// learn raises the day's count of a key by one.
func (b *baseline) learn(k waitKey) {
	d := &b.days[k.hour/24%sketchDays]
	if d.day != k.hour/24 {
		d.day = k.hour / 24
		clear(d.cells)
	}
	if d.cells == nil {
		d.cells = make([]uint8, sketchRows*b.cfg.SketchWidth)
	}
	n := min(d.count(k.hash), 23) + 1
	for r := range sketchRows {
		c := d.cell(k.hash, r)
		*c = max(*c, n)
	}
}

// firedHours returns d: hours before hour, within the baseline.
func (b *baseline) firedHours(hash uint64, hour int64) int {
	n := 0
	oldest := (hour - int64(b.cfg.BaselineHours)) / 24
	for i := range b.days {
		if d := &b.days[i]; d.cells != nil && d.day >= oldest && d.day <= hour/24 {
			n += int(d.count(hash))
		}
	}
	return n
}

func (d *daySketch) count(hash uint64) uint8 {
	n := uint8(math.MaxUint8)
	for r := range sketchRows {
		n = min(n, *d.cell(hash, r))
	}
	return n
}

// cell returns the counter of a key in one row; the rows take 64-bit mixes of
// one hash.
func (d *daySketch) cell(hash uint64, row int) *uint8 {
	h := (hash + uint64(row)*0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9
	h ^= h >> 31
	width := len(d.cells) / sketchRows
	return &d.cells[row*width+int(h&uint64(width-1))]
}

// recentSet remembers the hashes of flags counted lately, so that a redelivered
// flag is not counted twice: two generations of at most recentLimit each. The
// score does not need it, see row.hashes; the count shown does.
type recentSet struct{ young, old map[uint64]struct{} }

const recentLimit = 1 << 15

func newRecentSet() recentSet {
	return recentSet{young: map[uint64]struct{}{}, old: map[uint64]struct{}{}}
}

// add reports whether h is new.
func (s *recentSet) add(h uint64) bool {
	if _, ok := s.young[h]; ok {
		return false
	}
	_, ok := s.old[h]
	s.young[h] = struct{}{}
	if len(s.young) >= recentLimit {
		s.young, s.old = s.old, s.young
		clear(s.young)
	}
	return !ok
}
