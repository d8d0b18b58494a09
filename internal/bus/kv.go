package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
// parts joined by "/", none of them empty, of any bytes. In a cluster Get and Keys may
// be a moment behind a change; an Update that rests on them then says ErrConflict. Its methods may be
// called from several goroutines.
type KV struct {
	kv     jetstream.KeyValue
	stream jetstream.Stream
	prefix string // of the stream's subjects
	disk   *disk
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
	name := "clew-" + bucket
	kv, err := l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: name, Storage: jetstream.FileStorage, Replicas: l.cfg.Replicas,
		LimitMarkerTTL: markerAge,
	})
	if err != nil {
		return nil, fmt.Errorf("opening bucket %q: %w", bucket, err)
	}
	stream, err := l.js.Stream(ctx, "KV_"+name)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %q: %w", bucket, err)
	}
	return &KV{kv: kv, stream: stream, prefix: "$KV." + name + ".", disk: &l.disk}, nil
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
	there := map[string]bool{}
	err := k.watch(ctx, prefix, func(e Entry) error {
		if e.Key == "" {
			return errAll
		}
		there[e.Key] = !e.Deleted
		return nil
	}, jetstream.MetaOnly())
	if !errors.Is(err, errAll) {
		return nil, err
	}
	maps.DeleteFunc(there, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(there)), nil
}

var errAll = errors.New("that was all")

// Watch calls each for every entry below prefix, then once with an Entry without a
// key, and from then on for every change, until ctx ends or each fails, whose error
// it returns. It outlasts restarts of the log; it may take 20 s to notice one.
func (k *KV) Watch(ctx context.Context, prefix string, each func(Entry) error) error {
	return k.watch(ctx, prefix, each)
}

// watch holds back the entry without a key until all is told that the bucket had
// when the watch began. NATS says "that was all" too early when the server that it
// asks lags behind the others.
func (k *KV) watch(ctx context.Context, prefix string, each func(Entry) error, opts ...jetstream.WatchOpt) error {
	filter, err := keyFilter(prefix)
	if err != nil {
		return err
	}
	missing, err := k.names(ctx, filter)
	if err != nil {
		return fmt.Errorf("watching %q: %w", prefix, err)
	}
	w, err := k.kv.Watch(ctx, filter, opts...)
	if err != nil {
		return fmt.Errorf("watching %q: %w", prefix, err)
	}
	defer func() { _ = w.Stop() }()
	recheck := time.NewTicker(lookAgain)
	defer recheck.Stop()
	for told, all := false, false; ; {
		if all && len(missing) == 0 && !told {
			told = true
			if err := each(Entry{}); err != nil {
				return err
			}
		}
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return fmt.Errorf("watching %q: %w", prefix, cmp.Or(ctx.Err(), errCutOff))
			case e == nil:
				all = true
				continue
			}
			delete(missing, e.Key())
			if err := each(entryOf(e)); err != nil {
				return err
			}
		case <-recheck.C:
			k.dropGone(ctx, filter, missing)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errCutOff = errors.New("cut off")

// names returns what the leader has below filter, deleted keys that are remembered
// included.
func (k *KV) names(ctx context.Context, filter string) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := k.stream.Info(ctx, jetstream.WithSubjectFilter(k.prefix+filter))
	if err != nil {
		return nil, err
	}
	names := make(map[string]uint64, len(info.State.Subjects))
	for subject, n := range info.State.Subjects {
		names[strings.TrimPrefix(subject, k.prefix)] = n
	}
	return names, nil
}

// dropGone removes from missing what the leader has forgotten in the meantime.
func (k *KV) dropGone(ctx context.Context, filter string, missing map[string]uint64) {
	if len(missing) == 0 {
		return
	}
	names, err := k.names(ctx, filter)
	if err != nil {
		return // later
	}
	maps.DeleteFunc(missing, func(name string, _ uint64) bool { return names[name] == 0 })
}

func entryOf(e jetstream.KeyValueEntry) Entry {
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
