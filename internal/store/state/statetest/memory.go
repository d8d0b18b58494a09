// Package statetest holds a KV in memory for tests.
package statetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/clew-sec/clew/internal/store/state"
)

// Memory is a state.KV that forgets when the process ends. The zero value is ready.
type Memory struct {
	mu       sync.Mutex
	revision uint64
	entries  map[string]state.Entry
	watchers map[chan state.Entry]bool
	fail     error // of every write
}

var _ state.KV = (*Memory)(nil)

// SetFail makes every write fail with err, none when it is nil.
func (m *Memory) SetFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Keys returns the keys there are, sorted.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.entries))
}

// Get implements state.KV.
func (m *Memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok {
		return nil, 0, fmt.Errorf("reading %q: %w", key, state.ErrNotFound)
	}
	return slices.Clone(e.Value), e.Revision, nil
}

// Put implements state.KV.
func (m *Memory) Put(_ context.Context, key string, value []byte) (uint64, error) {
	return m.write(key, value, func(uint64) bool { return true })
}

// Create implements state.KV.
func (m *Memory) Create(_ context.Context, key string, value []byte) (uint64, error) {
	return m.write(key, value, func(r uint64) bool { return r == 0 })
}

// Update implements state.KV.
func (m *Memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return m.write(key, value, func(r uint64) bool { return r == revision })
}

func (m *Memory) write(key string, value []byte, may func(revision uint64) bool) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	if !may(m.entries[key].Revision) {
		return 0, fmt.Errorf("writing %q: %w", key, state.ErrConflict)
	}
	m.revision++
	e := state.Entry{Key: key, Value: slices.Clone(value), Revision: m.revision}
	if m.entries == nil {
		m.entries = map[string]state.Entry{}
	}
	m.entries[key] = e
	m.tell(e)
	return e.Revision, nil
}

// Delete implements state.KV.
func (m *Memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.revision++
	delete(m.entries, key)
	m.tell(state.Entry{Key: key, Revision: m.revision, Deleted: true})
	return nil
}

func (m *Memory) tell(e state.Entry) {
	for w := range m.watchers {
		w <- e
	}
}

// maxTold is how many changes a test may make that nobody has read yet.
const maxTold = 1 << 14

// Watch implements state.KV.
func (m *Memory) Watch(ctx context.Context, each func(state.Entry) error) error {
	told := make(chan state.Entry, maxTold)
	m.mu.Lock()
	now := slices.Collect(maps.Values(m.entries))
	if m.watchers == nil {
		m.watchers = map[chan state.Entry]bool{}
	}
	m.watchers[told] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, told)
	}()
	for _, e := range append(now, state.Entry{}) {
		if err := each(e); err != nil {
			return err
		}
	}
	for {
		select {
		case e := <-told:
			if err := each(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
