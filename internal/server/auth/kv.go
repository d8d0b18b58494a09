package auth

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// KV is where records are kept. Keys are letters, digits and dots. Its methods may
// be called from several goroutines.
type KV interface {
	// Get returns the value of a key, which the caller owns. The error wraps
	// ErrNotFound when there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores a value, and does not keep the slice.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a key; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List returns the keys there are, in any order.
	List(ctx context.Context) ([]string, error)
}

// ErrNotFound says that a key is not there.
var ErrNotFound = errors.New("not found")

// Memory is a KV that forgets when the process ends.
type Memory struct {
	mu sync.Mutex
	m  map[string][]byte
}

var _ KV = (*Memory)(nil)

// Get implements KV.
func (s *Memory) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[key]
	if !ok {
		return nil, ErrNotFound
	}
	return slices.Clone(v), nil
}

// Put implements KV.
func (s *Memory) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string][]byte{}
	}
	s.m[key] = slices.Clone(value)
	return nil
}

// Delete implements KV.
func (s *Memory) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
	return nil
}

// List implements KV.
func (s *Memory) List(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.m)), nil
}
