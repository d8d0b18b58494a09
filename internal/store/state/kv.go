package state

import (
	"context"
	"errors"
)

// KV is where the state is kept. A key is parts joined by "/"; values are small,
// a trace at most some hundred KiB. Its methods may be called from several
// goroutines.
type KV interface {
	// Get returns the value of a key, which the caller owns, and its revision. The
	// error wraps ErrNotFound when there is none.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put stores a value whatever is there and returns its revision.
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	// Create stores a value; the error wraps ErrConflict when the key exists.
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	// Update stores a value; the error wraps ErrConflict when the key has another
	// revision.
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes a key; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Watch calls each for every entry, then once with an Entry without a key, and
	// from then on for every change, until ctx ends or each fails, whose error it
	// returns.
	Watch(ctx context.Context, each func(Entry) error) error
}

// Entry is one key as it is or became.
type Entry struct {
	Key      string
	Value    []byte // the callee's
	Revision uint64 // ascending within the KV, changed by each write
	Deleted  bool
}

// What a KV answers.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed in the meantime")
)
