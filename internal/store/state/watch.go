package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// MaxSubscriptions bounds those who watch at once.
const MaxSubscriptions = 256

// Change is what became of one trace.
type Change struct {
	Trace   *clewv1.Trace // nil when it is gone or does not match any more
	Initial bool          // it was there before
	Removed string        // id of a trace that is gone, told only to those who know it
	// Revision of the trace, or of its triage when that is later: another one is
	// another state.
	Revision uint64
	Synced   bool // all that was there before is told; nothing else is set
}

// Subscription tells what becomes of traces that match. What waits to be told is
// ids, each once, so a slow reader misses states in between, never the latest; it
// is bounded by the number of traces. It is for one goroutine.
type Subscription struct {
	store   *Store
	filter  *clewv1.TraceFilter
	text    string
	wake    chan struct{}
	initial int // of the queue, how many were there before
	synced  bool

	mu      sync.Mutex
	queue   []string
	waiting map[string]bool
	told    map[string]bool
}

// Watch returns a subscription, which the caller must Close. It begins with all
// that matches unless it is to tell changes only. The error wraps ErrFull when
// too many watch.
func (s *Store) Watch(f *clewv1.TraceFilter, changesOnly bool) (*Subscription, error) {
	w := &Subscription{
		store: s, filter: f, text: strings.ToLower(f.GetText()), wake: make(chan struct{}, 1),
		waiting: map[string]bool{}, told: map[string]bool{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watchers) >= MaxSubscriptions {
		return nil, fmt.Errorf("watching traces: %w", ErrFull)
	}
	s.watchers[w] = true
	order := clewv1.TraceOrder_TRACE_ORDER_SCORE
	all := s.matching(f)
	slices.SortFunc(all, func(a, b *clewv1.Trace) int { return placeOf(a, order).compare(placeOf(b, order)) })
	for _, t := range all {
		if changesOnly {
			w.told[t.GetId()] = true // known, so that its end is told
		} else {
			w.add(t.GetId())
		}
	}
	w.initial = len(w.queue)
	return w, nil
}

// Close ends a subscription.
func (w *Subscription) Close() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.watchers, w)
}

// changed tells all who watch. The lock is held.
func (s *Store) changed(id string) {
	for w := range s.watchers {
		w.add(id)
	}
}

func (w *Subscription) add(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[id] {
		return
	}
	w.waiting[id] = true
	w.queue = append(w.queue, id)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Subscription) pop() (id string, initial, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return "", false, false
	}
	id, w.queue = w.queue[0], w.queue[1:]
	delete(w.waiting, id)
	initial = w.initial > 0
	w.initial = max(0, w.initial-1)
	return id, initial, true
}

func (w *Subscription) allTold() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.initial == 0
}

// Next waits for the next change until ctx ends, whose error it returns.
func (w *Subscription) Next(ctx context.Context) (Change, error) {
	for {
		if !w.synced && w.allTold() {
			w.synced = true
			return Change{Synced: true}, nil
		}
		id, initial, ok := w.pop()
		if !ok {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return Change{}, ctx.Err()
			}
		}
		if c, ok := w.look(id); ok {
			c.Initial = initial
			return c, nil
		}
	}
}

// look says what became of a trace, false when the reader need not know.
func (w *Subscription) look(id string) (Change, bool) {
	s := w.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.traces[id]
	if t != nil && matches(w.filter, w.text, t, s.triage[id]) {
		w.told[id] = true
		return Change{Trace: s.view(t, true), Revision: max(s.revisions[keyTrace+id], s.revisions[keyTriage+id])}, true
	}
	if !w.told[id] {
		return Change{}, false
	}
	delete(w.told, id)
	return Change{Removed: id}, true
}
