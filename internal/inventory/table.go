package inventory

import "github.com/clew-sec/clew/internal/event"

// table is a bounded map in order of last use: when it is full, or an entry was
// not used for ttl, the longest unused goes.
type table[V any] struct {
	max     int
	ttl     int64 // nanoseconds
	index   map[event.ID]*entry[V]
	root    entry[V]  // sentinel of a ring; root.next is the longest unused
	free    *entry[V] // dropped entries, to be used again; linked by next
	evicted uint64    // for space
	expired uint64    // for age
	onDrop  func(V)   // called with a value that goes or is replaced; nil is none
}

type entry[V any] struct {
	key        event.ID
	at         int64 // clock of the last use
	val        V
	prev, next *entry[V]
}

func (t *table[V]) init(capacity int, ttl int64) {
	*t = table[V]{max: capacity, ttl: ttl, index: map[event.ID]*entry[V]{}}
	t.root.prev, t.root.next = &t.root, &t.root
}

// peek returns the value without marking it used.
func (t *table[V]) peek(k event.ID) (V, bool) {
	if e := t.index[k]; e != nil {
		return e.val, true
	}
	var zero V
	return zero, false
}

// slack is the share of ttl, 79 seconds of 30 days, within which two uses count
// as one: an entry in steady use is then only read.
const slack = 15 // log2

// get returns the place of the value and marks it used at now, nil when absent.
// The place is valid until the entry is dropped; then another may take it.
func (t *table[V]) get(k event.ID, now int64) *V {
	e := t.index[k]
	if e == nil {
		return nil
	}
	if now-e.at <= t.ttl>>slack {
		return &e.val
	}
	e.at = now
	if t.root.prev != e {
		e.unlink()
		t.append(e)
	}
	return &e.val
}

// put sets the value and marks it used at now.
func (t *table[V]) put(k event.ID, now int64, v V) *V {
	if p := t.get(k, now); p != nil {
		if t.onDrop != nil {
			t.onDrop(*p)
		}
		*p = v
		return p
	}
	if len(t.index) >= t.max {
		t.drop(t.root.next)
		t.evicted++
	}
	e := t.free
	if e == nil {
		e = &entry[V]{}
	} else {
		t.free = e.next
	}
	e.key, e.at, e.val = k, now, v
	t.index[k] = e
	t.append(e)
	return &e.val
}

func (t *table[V]) remove(k event.ID) {
	if e := t.index[k]; e != nil {
		t.drop(e)
	}
}

// expire drops what was last used more than ttl before now.
func (t *table[V]) expire(now int64) {
	for e := t.root.next; e != &t.root && e.at < now-t.ttl; e = t.root.next {
		t.drop(e)
		t.expired++
	}
}

// each calls f from the longest unused to the most recent.
func (t *table[V]) each(f func(k event.ID, at int64, v *V)) {
	for e := t.root.next; e != &t.root; e = e.next {
		f(e.key, e.at, &e.val)
	}
}

func (t *table[V]) len() int { return len(t.index) }

func (t *table[V]) drop(e *entry[V]) {
	if t.onDrop != nil {
		t.onDrop(e.val)
	}
	e.unlink()
	delete(t.index, e.key)
	*e = entry[V]{next: t.free}
	t.free = e
}

func (t *table[V]) append(e *entry[V]) {
	last := t.root.prev
	e.prev, e.next = last, &t.root
	last.next, t.root.prev = e, e
}

func (e *entry[V]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }
