package bus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// strayAge is how old a part of an object without a name must be before it is no
// object being written by another process.
const strayAge = time.Hour

// Objects is a bucket of large values, such as snapshots. Its methods may be called
// from several goroutines.
type Objects struct {
	store  jetstream.ObjectStore
	stream jetstream.Stream
	prefix string // of the stream's subjects
	disk   *disk
}

// Object describes one object.
type Object struct {
	Name  string
	Bytes uint64
	Time  time.Time // when it was written
}

// Objects returns the bucket of that name (letters, digits, "-" and "_"), made when
// it is missing. What an interrupted Put left behind is removed.
func (l *Log) Objects(ctx context.Context, bucket string) (*Objects, error) {
	name := "clew-" + bucket
	store, err := l.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: name, Storage: jetstream.FileStorage, Replicas: l.cfg.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("opening object bucket %q: %w", bucket, err)
	}
	o := &Objects{store: store, prefix: "$O." + name + ".", disk: &l.disk}
	if o.stream, err = l.js.Stream(ctx, "OBJ_"+name); err == nil {
		err = o.sweep(ctx, strayAge)
	}
	if err != nil {
		return nil, fmt.Errorf("opening object bucket %q: %w", bucket, err)
	}
	return o, nil
}

// sweep removes the parts that belong to no object and are older than age.
func (o *Objects) sweep(ctx context.Context, age time.Duration) error {
	info, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(o.parts("*")))
	if err != nil {
		return fmt.Errorf("looking for stray parts: %w", err)
	}
	stray := info.State.Subjects // first the parts, then the names: what is new is not stray
	objects, err := o.store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return fmt.Errorf("looking for stray parts: %w", err)
	}
	for _, obj := range objects {
		delete(stray, o.parts(obj.NUID))
	}
	for subject := range stray {
		last, err := o.stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && time.Since(last.Time) < age {
			continue
		}
		if err == nil {
			err = o.stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return fmt.Errorf("removing stray parts: %w", err)
		}
	}
	return nil
}

// Put writes an object; one of that name is there unchanged until the new one is
// complete. The error wraps source.ErrUnavailable when the disk has no room.
func (o *Objects) Put(ctx context.Context, name string, r io.Reader) error {
	guarded := &guardedReader{r: r, disk: o.disk}
	if _, err := o.store.Put(ctx, jetstream.ObjectMeta{Name: name}, guarded); err != nil {
		return fmt.Errorf("writing object %q: %w", name, err)
	}
	return nil
}

// guardedReader fails when the disk has no room for what it would return.
type guardedReader struct {
	r    io.Reader
	disk *disk
}

// Read reads on while there is room.
func (g *guardedReader) Read(p []byte) (int, error) {
	if err := g.disk.check(len(p), g.disk.stateFloor()); err != nil {
		return 0, err
	}
	return g.r.Read(p)
}

// Get returns an object, or ErrNotFound. The caller closes it; reading it to the end
// checks it against the digest it was written with.
func (o *Objects) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	obj, err := o.store.Get(ctx, name)
	if err != nil {
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			err = ErrNotFound
		}
		return nil, fmt.Errorf("reading object %q: %w", name, err)
	}
	return obj, nil
}

// Delete removes an object, which need not exist. Unlike the store's own, it leaves no
// marker behind: snapshots have ever new names.
func (o *Objects) Delete(ctx context.Context, name string) error {
	info, err := o.store.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	if err == nil {
		meta := o.prefix + "M." + base64.URLEncoding.EncodeToString([]byte(name))
		err = o.stream.Purge(ctx, jetstream.WithPurgeSubject(meta))
	}
	if err == nil {
		err = o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.parts(info.NUID)))
	}
	if err != nil {
		return fmt.Errorf("deleting object %q: %w", name, err)
	}
	return nil
}

// parts returns the subject of an object's parts.
func (o *Objects) parts(id string) string { return o.prefix + "C." + id }

// List returns all objects, in no order.
func (o *Objects) List(ctx context.Context) ([]Object, error) {
	infos, err := o.store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, fmt.Errorf("listing objects: %w", err)
	}
	objects := make([]Object, len(infos))
	for i, info := range infos {
		objects[i] = Object{Name: info.Name, Bytes: info.Size, Time: info.ModTime}
	}
	return objects, nil
}
