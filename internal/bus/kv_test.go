package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/clew-sec/clew/internal/bus"
)

func bucket(t *testing.T, l *bus.Log) *bus.KV {
	t.Helper()
	kv, err := l.KV(deadline(t), "state")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestKV(t *testing.T) { testKV(t, open(t, bus.Config{Dir: t.TempDir()})) }

// testKV is run over an embedded log and over a cluster: their errors differ.
func testKV(t *testing.T, l *bus.Log) {
	kv, ctx := bucket(t, l), deadline(t)
	key := "trace/a b.c/ü:1"
	if _, err := kv.Get(ctx, key); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	first, err := kv.Create(ctx, key, []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(ctx, key, nil); !errors.Is(err, bus.ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	second, err := kv.Update(ctx, key, []byte("2"), first)
	if err != nil || second <= first {
		t.Fatal(second, err)
	}
	if _, err := kv.Update(ctx, key, []byte("3"), first); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("update of an old revision: %v", err)
	}
	waitFor(t, "what was written", func() bool { // another server may lag
		e, err := kv.Get(ctx, key)
		return err == nil && e.Key == key && string(e.Value) == "2" && e.Revision == second
	})
	for _, k := range []string{"trace/b", "other/c", "tracer"} {
		if _, err := kv.Put(ctx, k, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := kv.Keys(ctx, "trace/"); err != nil || !slices.Equal(keys, []string{key, "trace/b"}) {
		t.Errorf("keys %q, %v", keys, err)
	}
	if err := kv.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "what was deleted to be gone", func() bool {
		_, err := kv.Get(ctx, key)
		return errors.Is(err, bus.ErrNotFound)
	})
	waitFor(t, "the three other keys", func() bool {
		keys, err := kv.Keys(ctx, "")
		return err == nil && slices.Equal(keys, []string{"other/c", "trace/b", "tracer"})
	})
	if keys, err := kv.Keys(ctx, "nothing/"); err != nil || len(keys) != 0 {
		t.Errorf("keys %q, %v", keys, err)
	}
	if _, err := kv.Create(ctx, key, []byte("again")); err != nil {
		t.Errorf("created after it was deleted: %v", err)
	}
	for _, bad := range []string{"", "/", "a//b", "a/", string(make([]byte, 256))} {
		if _, err := kv.Put(ctx, bad, nil); err == nil {
			t.Errorf("key %q was taken", bad)
		}
	}
	if _, err := kv.Keys(ctx, "trace"); err == nil {
		t.Error("a prefix that ends inside a part was taken")
	}
}

func TestWatchOutlastsARestart(t *testing.T) {
	t.Parallel() // it takes the watcher 10 s to notice
	l := open(t, bus.Config{Dir: t.TempDir()})
	kv, ctx := bucket(t, l), deadline(t)
	put := func(key, value string) {
		t.Helper()
		if _, err := kv.Put(ctx, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("a/1", "old")
	put("b/1", "not watched")
	told := make(chan string, 100)
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- kv.Watch(watching, "a/", func(e bus.Entry) error {
			told <- fmt.Sprintf("%s=%s %v", e.Key, e.Value, e.Deleted)
			return nil
		})
	}()
	want := func(what string) {
		t.Helper()
		select {
		case got := <-told:
			if got != what {
				t.Errorf("told %q, want %q", got, what)
			}
		case <-ctx.Done():
			t.Fatalf("not told %q", what)
		}
	}
	want("a/1=old false")
	want("= false")
	put("a/1", "new")
	want("a/1=new false")
	if err := l.Restart(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the bucket to answer", func() bool { _, err := kv.Get(ctx, "a/1"); return err == nil })
	put("a/2", "after")
	want("a/2=after false")
	if err := kv.Delete(ctx, "a/1"); err != nil {
		t.Fatal(err)
	}
	want("a/1= true")
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	failed := errors.New("no more")
	if err := kv.Watch(ctx, "", func(bus.Entry) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
}

func TestObjects(t *testing.T) {
	dir := t.TempDir()
	l, err := bus.Open(deadline(t), bus.Config{Dir: dir, MinFreeBytes: 1 << 20}, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	o, err := l.Objects(deadline(t), "snapshots")
	if err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t)
	if _, err := o.Get(ctx, "x"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if list, err := o.List(ctx); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	want := []byte(noise(3<<20 + 5))
	for _, name := range []string{"../x y/1", "z"} {
		if err := o.Put(ctx, name, bytes.NewReader(want)); err != nil {
			t.Fatal(err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := o.Put(ctx, "z", broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("put of what cannot be read: %v", err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}

	l = open(t, bus.Config{Dir: dir})
	if o, err = l.Objects(ctx, "snapshots"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../x y/1", "z"} {
		r, err := o.Get(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q has %d bytes, %v", name, len(got), err)
		}
		_ = r.Close()
	}
	for range 2 {
		if err := o.Delete(ctx, "z"); err != nil {
			t.Error(err)
		}
	}
	if _, err := o.Get(ctx, "z"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("get of what was deleted: %v", err)
	}
	list, err := o.List(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "../x y/1" || list[0].Bytes != uint64(len(want)) || list[0].Time.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestStrayParts leaves what a killed writer leaves: parts without a name.
func TestStrayParts(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	ctx := deadline(t)
	o, err := l.Objects(ctx, "snapshots")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Put(ctx, "whole", bytes.NewReader(make([]byte, 300<<10))); err != nil {
		t.Fatal(err)
	}
	whole := o.Messages(t)
	for range 3 {
		l.Stray(t, o, "x")
	}
	if err := o.Sweep(ctx, time.Hour); err != nil || o.Messages(t) != whole+3 {
		t.Errorf("%d messages are left of %d and 3 new ones: %v", o.Messages(t), whole, err)
	}
	if err := o.Sweep(ctx, 0); err != nil || o.Messages(t) != whole {
		t.Errorf("%d messages are left of %d: %v", o.Messages(t), whole, err)
	}
	if _, err := o.Get(ctx, "whole"); err != nil {
		t.Error(err)
	}
	if err := o.Delete(ctx, "whole"); err != nil || o.Messages(t) != 0 {
		t.Errorf("%d messages are left when all is deleted: %v", o.Messages(t), err)
	}
}
