package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/source/tail"
	"github.com/clew-sec/clew/internal/store/state"
)

// tokens is the bucket of tokens as auth wants it.
type tokens struct{ kv *bus.KV }

// Get implements auth.KV.
func (t tokens) Get(ctx context.Context, key string) ([]byte, error) {
	e, err := t.kv.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, auth.ErrNotFound
	}
	return e.Value, err
}

// Put implements auth.KV.
func (t tokens) Put(ctx context.Context, key string, value []byte) error {
	_, err := t.kv.Put(ctx, key, value)
	return err
}

// Delete implements auth.KV.
func (t tokens) Delete(ctx context.Context, key string) error { return t.kv.Delete(ctx, key) }

// List implements auth.KV.
func (t tokens) List(ctx context.Context) ([]string, error) { return t.kv.Keys(ctx, "") }

// stateKV is the bucket of the state as package state wants it.
type stateKV struct{ kv *bus.KV }

// Get implements state.KV.
func (s stateKV) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := s.kv.Get(ctx, key)
	return e.Value, e.Revision, stateError(err)
}

// Put implements state.KV.
func (s stateKV) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.kv.Put(ctx, key, value)
}

// Create implements state.KV.
func (s stateKV) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := s.kv.Create(ctx, key, value)
	return rev, stateError(err)
}

// Update implements state.KV.
func (s stateKV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := s.kv.Update(ctx, key, value, revision)
	return rev, stateError(err)
}

// Delete implements state.KV.
func (s stateKV) Delete(ctx context.Context, key string) error { return s.kv.Delete(ctx, key) }

// Watch implements state.KV.
func (s stateKV) Watch(ctx context.Context, each func(state.Entry) error) error {
	return s.kv.Watch(ctx, "", func(e bus.Entry) error { return each(state.Entry(e)) })
}

// stateError says what the bus says in the words of package state.
func stateError(err error) error {
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return fmt.Errorf("%w: %w", state.ErrNotFound, err)
	case errors.Is(err, bus.ErrConflict), errors.Is(err, bus.ErrExists):
		return fmt.Errorf("%w: %w", state.ErrConflict, err)
	}
	return err
}

// snapshots keeps the state of workers as objects, one a cluster.
type snapshots struct{ objects *bus.Objects }

// SaveSnapshot implements pipeline.SnapshotStore.
func (s snapshots) SaveSnapshot(ctx context.Context, cluster string, r io.Reader) error {
	return s.objects.Put(ctx, cluster, r)
}

// LoadSnapshot implements pipeline.SnapshotStore.
func (s snapshots) LoadSnapshot(ctx context.Context, cluster string) (io.ReadCloser, error) {
	r, err := s.objects.Get(ctx, cluster)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	return r, err
}

// evidence keeps what alerts rest on as objects, one a trace.
type evidence struct{ objects *bus.Objects }

// Load implements api.Evidence.
func (e evidence) Load(ctx context.Context, id string) ([]byte, error) {
	r, err := e.objects.Get(ctx, id)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// Save implements api.Evidence.
func (e evidence) Save(ctx context.Context, id string, b []byte) error {
	return e.objects.Put(ctx, id, bytes.NewReader(b))
}

// Delete implements api.Evidence.
func (e evidence) Delete(ctx context.Context, id string) error {
	return e.objects.Delete(ctx, id)
}

// List implements api.Evidence.
func (e evidence) List(ctx context.Context) ([]string, error) {
	objects, err := e.objects.List(ctx)
	ids := make([]string, len(objects))
	for i := range objects {
		ids[i] = objects[i].Name
	}
	return ids, err
}

// positions keeps where followed files stand, and what the history's positions count.
type positions struct{ kv *bus.KV }

// Load implements tail.Positions.
func (p positions) Load(ctx context.Context, name string) (pos tail.Position, ok bool, err error) {
	ok, err = p.read(ctx, name, &pos)
	return pos, ok, err
}

// Save implements tail.Positions.
func (p positions) Save(ctx context.Context, name string, pos tail.Position) error {
	return p.write(ctx, name, pos)
}

// LoadMark implements pipeline.Marks.
func (p positions) LoadMark(ctx context.Context, cluster string) (m pipeline.Mark, ok bool, err error) {
	ok, err = p.read(ctx, markKey(cluster), &m)
	return m, ok, err
}

// SaveMark implements pipeline.Marks.
func (p positions) SaveMark(ctx context.Context, cluster string, m pipeline.Mark) error {
	return p.write(ctx, markKey(cluster), m)
}

// markKey is no name of a source: these have no colon.
func markKey(cluster string) string { return "history:" + cluster }

func (p positions) read(ctx context.Context, name string, to any) (bool, error) {
	e, err := p.kv.Get(ctx, name)
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(e.Value, to); err != nil {
		return false, fmt.Errorf("reading the position of %q: %w", name, err)
	}
	return true, nil
}

func (p positions) write(ctx context.Context, name string, position any) error {
	b, err := json.Marshal(position)
	if err != nil {
		return fmt.Errorf("writing the position of %q: %w", name, err)
	}
	_, err = p.kv.Put(ctx, name, b)
	return err
}

// trail keeps what people did, in the order of time.
type trail struct{ kv *bus.KV }

// Append implements auth.Trail. The key is the time, made unique by the request.
func (t trail) Append(ctx context.Context, e auth.Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing the trail: %w", err)
	}
	_, err = t.kv.Put(ctx, fmt.Sprintf("%020d-%s", e.At.UnixNano(), e.RequestID), b)
	return err
}

// maxTrail bounds the entries kept, maxTrailAge their age: the trail is cut when the
// server starts and once a day.
const (
	maxTrail    = 100_000
	maxTrailAge = 400 * 24 * time.Hour
)

// cut drops the oldest entries beyond the bounds.
func (t trail) cut(ctx context.Context, now time.Time) error {
	keys, err := t.kv.Keys(ctx, "")
	if err != nil {
		return err
	}
	oldest := fmt.Sprintf("%020d", now.Add(-maxTrailAge).UnixNano())
	for i, k := range keys {
		if k >= oldest && len(keys)-i <= maxTrail {
			return nil
		}
		if err := t.kv.Delete(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// List returns up to n entries older than before ("" is now), latest first, and the
// key to go on from, "" at the end.
func (t trail) List(ctx context.Context, before string, n int) (entries []auth.Entry, next string, err error) {
	keys, err := t.kv.Keys(ctx, "")
	if err != nil {
		return nil, "", err
	}
	for _, key := range slices.Backward(keys) {
		if before != "" && key >= before {
			continue
		}
		if len(entries) == n {
			return entries, next, nil
		}
		v, err := t.kv.Get(ctx, key)
		if err != nil {
			return nil, "", err
		}
		var e auth.Entry
		if err := json.Unmarshal(v.Value, &e); err != nil {
			return nil, "", fmt.Errorf("reading the trail: %w", err)
		}
		entries, next = append(entries, e), key
	}
	return entries, "", nil
}
