package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a bucket answers. Errors of buckets wrap one of these, or
// source.ErrUnavailable when the disk has no room or the log does not answer (what
// was written may then be there or not), or what NATS said.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrConflict = errors.New("changed in the meantime")
)

// markerAge is how long it is remembered that a key was deleted, for watchers that
// were away.
const markerAge = time.Hour

// KV is a bucket of keys and small values that survives like the log. A key is
// parts joined by "/", none of them empty, of any bytes. Its methods may be called
// from several goroutines.
type KV struct {
	kv   jetstream.KeyValue
	disk *disk
}

// Entry is one key of a bucket as it is or became.
type Entry struct {
	Key      string
	Value    []byte // the caller's
	Revision uint64 // ascending within the bucket, changed by each write
	Deleted  bool   // told to watchers only; then Value is empty
}

// KV returns the bucket of that name (letters, digits, "-" and "_"), made when it is
// missing.
func (l *Log) KV(ctx context.Context, bucket string) (*KV, error) {
	kv, err := l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "clew-" + bucket, Storage: jetstream.FileStorage, Replicas: l.cfg.Replicas,
		LimitMarkerTTL: markerAge,
	})
	if err != nil {
		return nil, fmt.Errorf("opening bucket %q: %w", bucket, err)
	}
	return &KV{kv: kv, disk: &l.disk}, nil
}

// Get returns the entry of key, or ErrNotFound.
func (k *KV) Get(ctx context.Context, key string) (Entry, error) {
	name, err := keyName(key)
	if err != nil {
		return Entry{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	e, err := k.kv.Get(ctx, name)
	if err != nil {
		return Entry{}, keyError("reading", key, err)
	}
	return Entry{Key: key, Value: e.Value(), Revision: e.Revision()}, nil
}

// Put writes key, whatever it was, and returns its revision.
func (k *KV) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return k.write(ctx, key, value, func(ctx context.Context, name string) (uint64, error) {
		return k.kv.Put(ctx, name, value)
	})
}

// Create writes key unless it exists; then it returns ErrExists.
func (k *KV) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return k.write(ctx, key, value, func(ctx context.Context, name string) (uint64, error) {
		return k.kv.Create(ctx, name, value)
	})
}

// Update writes key unless its revision is another one; then it returns ErrConflict.
func (k *KV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return k.write(ctx, key, value, func(ctx context.Context, name string) (uint64, error) {
		return k.kv.Update(ctx, name, value, revision)
	})
}

func (k *KV) write(ctx context.Context, key string, value []byte, do func(ctx context.Context, name string) (uint64, error)) (uint64, error) {
	name, err := keyName(key)
	if err != nil {
		return 0, err
	}
	if err := k.disk.check(len(value), k.disk.stateFloor()); err != nil {
		return 0, fmt.Errorf("writing %q: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	revision, err := do(ctx, name)
	if err != nil {
		return 0, keyError("writing", key, err)
	}
	return revision, nil
}

// Delete removes key, which need not exist.
func (k *KV) Delete(ctx context.Context, key string) error {
	name, err := keyName(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := k.kv.Purge(ctx, name, jetstream.PurgeTTL(markerAge)); err != nil {
		return keyError("deleting", key, err)
	}
	return nil
}

// Keys returns the keys below prefix, sorted. The prefix is "" or ends in "/".
func (k *KV) Keys(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	err := k.watch(ctx, prefix, func(e Entry) error {
		if e.Key == "" {
			return errAll
		}
		keys = append(keys, e.Key)
		return nil
	}, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if !errors.Is(err, errAll) {
		return nil, err
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil // a key written meanwhile may be told twice
}

var errAll = errors.New("that was all")

// Watch calls each for every entry below prefix, then once with an Entry without a
// key, and from then on for every change, until ctx ends or each fails, whose error
// it returns. It outlasts restarts of the log.
func (k *KV) Watch(ctx context.Context, prefix string, each func(Entry) error) error {
	return k.watch(ctx, prefix, each)
}

func (k *KV) watch(ctx context.Context, prefix string, each func(Entry) error, opts ...jetstream.WatchOpt) error {
	filter, err := keyFilter(prefix)
	if err != nil {
		return err
	}
	w, err := k.kv.Watch(ctx, filter, opts...)
	if err != nil {
		return fmt.Errorf("watching %q: %w", prefix, err)
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("watching %q: %w", prefix, cmp.Or(ctx.Err(), errCutOff))
			}
			if err := each(entryOf(e)); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errCutOff = errors.New("cut off")

func entryOf(e jetstream.KeyValueEntry) Entry {
	if e == nil {
		return Entry{}
	}
	return Entry{
		Key: keyOf(e.Key()), Value: e.Value(), Revision: e.Revision(),
		Deleted: e.Operation() != jetstream.KeyValuePut,
	}
}

func keyError(doing, key string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		err = ErrNotFound
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = ErrConflict
	case errors.Is(err, jetstream.ErrKeyExists): // also a wrong revision, in older words
		err = ErrExists
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		err = unavailable("it does not answer: %w", err)
	}
	return fmt.Errorf("%s %q: %w", doing, key, err)
}

// maxKey bounds a key, in bytes.
const maxKey = 255

// keyName returns the key as NATS takes it: parts escaped and joined by ".".
func keyName(key string) (string, error) {
	if len(key) > maxKey {
		return "", fmt.Errorf("key %.40q… has more than %d bytes", key, maxKey)
	}
	parts := strings.Split(key, "/")
	for i, p := range parts {
		if p == "" {
			return "", fmt.Errorf("key %q has an empty part", key)
		}
		parts[i] = escape(p)
	}
	return strings.Join(parts, "."), nil
}

// keyOf undoes keyName.
func keyOf(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if part, ok := unescape(p); ok {
			parts[i] = part
		}
	}
	return strings.Join(parts, "/")
}

func keyFilter(prefix string) (string, error) {
	if prefix == "" {
		return ">", nil
	}
	below, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return "", fmt.Errorf("prefix %q does not end in a slash", prefix)
	}
	name, err := keyName(below)
	return name + ".>", err
}
