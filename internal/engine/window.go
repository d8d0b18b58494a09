package engine

import (
	"cmp"
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// window puts events into one canonical order, (Time, Stage, ID), whatever order they
// arrive in, as long as an event is not later than the window holds. Records
// of one log are seconds apart from event-time order at a busy API server, and
// several files interleave. It also drops duplicates. An ID covers the event's
// time, so what lies behind the last released event cannot have been released.
//
// Arrival is nearly sorted, so the insertion point is looked for from the end.
type window struct {
	spanNanos int64 // events older than newest-span are released
	maxHeld   int   // and the oldest ones beyond this many

	held   []heldEvent // ascending; held[:start] has been released
	start  int
	newest int64
	last   mark // last released

	late       int64 // released behind a later event, because they came too late
	duplicates int64
	recent     [2]generation // ids of released events, the younger ones first
}

// mark is a place in the canonical order. Records of one request that share a
// time come in the order of their stages.
type mark struct {
	time  int64
	stage event.Stage
	id    event.ID
}

func markOf(e *event.Event) mark { return mark{e.Time, e.K8s.Stage, e.ID} }

type heldEvent struct {
	mark
	event *event.Event
}

func (a mark) compare(b mark) int {
	if c := cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.stage, b.stage)); c != 0 {
		return c
	}
	return slices.Compare(a.id[:], b.id[:])
}

// generationSize bounds the duplicate memory: an id is remembered for at least
// this many events after its own.
const generationSize = 1 << 16

// generation is a set of ids that is hardly ever asked: where no event is late
// or a duplicate nothing but the list is made.
type generation struct {
	ids   []event.ID
	set   map[event.ID]struct{} // of ids[:known]
	known int
}

func (g *generation) has(id event.ID) bool {
	if g.set == nil {
		g.set = map[event.ID]struct{}{}
	}
	for ; g.known < len(g.ids); g.known++ {
		g.set[g.ids[g.known]] = struct{}{}
	}
	_, ok := g.set[id]
	return ok
}

func (g *generation) clear() {
	g.ids, g.known = g.ids[:0], 0
	clear(g.set)
}

func newWindow(spanNanos int64, maxHeld int) *window {
	return &window{spanNanos: spanNanos, maxHeld: maxHeld}
}

// push takes e. It reports false, and does not keep e, when e is a duplicate.
func (w *window) push(e *event.Event) bool {
	m := markOf(e)
	i, found := w.find(m)
	if found || m.compare(w.last) <= 0 && w.wasReleased(e.ID) {
		w.duplicates++
		return false
	}
	w.held = slices.Insert(w.held, i, heldEvent{m, e})
	w.newest = max(w.newest, e.Time)
	return true
}

// find returns where m belongs and whether it is held already.
func (w *window) find(m mark) (int, bool) {
	n := len(w.held)
	if n == w.start || w.held[n-1].compare(m) < 0 {
		return n, false
	}
	i, found := slices.BinarySearchFunc(w.held[w.start:], m, func(h heldEvent, m mark) int { return h.compare(m) })
	return w.start + i, found
}

// pop returns the oldest event that may be released, nil when there is none.
// With drain it releases whatever is held.
func (w *window) pop(drain bool) *event.Event {
	n := len(w.held) - w.start
	if n == 0 {
		w.held, w.start = w.held[:0], 0
		return nil
	}
	h := w.held[w.start]
	if !drain && n <= w.maxHeld && w.newest-h.time <= w.spanNanos {
		return nil
	}
	w.held[w.start].event = nil
	w.start++
	if w.start > w.maxHeld && w.start > len(w.held)/2 {
		n := copy(w.held, w.held[w.start:])
		clear(w.held[n:])
		w.held, w.start = w.held[:n], 0
	}
	if h.compare(w.last) < 0 {
		w.late++
	} else {
		w.last = h.mark
	}
	w.remember(h.id)
	return h.event
}

func (w *window) wasReleased(id event.ID) bool { return w.recent[0].has(id) || w.recent[1].has(id) }

func (w *window) remember(id event.ID) {
	g := &w.recent[0]
	if len(g.ids) >= generationSize {
		w.recent[0], w.recent[1] = w.recent[1], w.recent[0]
		g.clear()
	}
	g.ids = append(g.ids, id)
}

// pending returns the events still held, in canonical order.
func (w *window) pending() []heldEvent { return w.held[w.start:] }
