//go:build linux

package bus_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/source"
)

func TestTheDiskIsNotFilled(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir(), MinFreeBytes: 100 << 20})
	var free atomic.Int64
	l.SetFree(func(string) (int64, error) { return free.Load(), nil })
	kv, err := l.KV(deadline(t), "state")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := l.Objects(deadline(t), "snapshots")
	if err != nil {
		t.Fatal(err)
	}
	write := func() map[string]error {
		_, put := kv.Put(deadline(t), "k", []byte("v"))
		return map[string]error{
			"accept":  l.Accept(deadline(t), batch("c", "x")),
			"tick":    l.Tick(deadline(t), "c", time.Now()),
			"put":     put,
			"objects": objects.Put(deadline(t), "o", strings.NewReader("v")),
		}
	}
	for _, tt := range []struct {
		free    int64
		refused []string
	}{
		{200 << 20, nil},
		{99 << 20, []string{"accept", "tick"}},
		{24 << 20, []string{"accept", "objects", "put", "tick"}},
		{200 << 20, nil},
	} {
		free.Store(tt.free)
		var refused []string
		for what, err := range write() {
			if err == nil {
				continue
			}
			refused = append(refused, what)
			if !errors.Is(err, source.ErrUnavailable) || !strings.Contains(err.Error(), "MiB free, needs") {
				t.Errorf("%s: %v", what, err)
			}
		}
		slices.Sort(refused)
		if !slices.Equal(refused, tt.refused) {
			t.Errorf("with %d MiB free, refused are %v, want %v", tt.free>>20, refused, tt.refused)
		}
	}
}

// smallDisk returns a folder on a disk of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("clew-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestSmallDisk(t *testing.T) {
	dir := smallDisk(t, "48m")
	l := open(t, bus.Config{Dir: filepath.Join(dir, "log"), MinFreeBytes: 16 << 20})
	acknowledged := fill(t, l, 100)
	if len(acknowledged) < 20 {
		t.Errorf("only %d MiB of 48 were used", len(acknowledged))
	}
	if !l.Well() {
		t.Error("the server met the full disk")
	}
	if got := texts(t, l, "c", len(acknowledged)); !slices.Equal(got, acknowledged) {
		t.Error("read something else")
	}
	if err := l.Trim(deadline(t), "c", 10); err != nil {
		t.Fatal(err)
	}
	if more := fill(t, l, 5); len(more) != 5 {
		t.Errorf("%d accepted after trimming 10", len(more))
	}
}

// fill writes up to n records of 1 MiB until one is refused.
func fill(t *testing.T, l *bus.Log, n int) []string {
	t.Helper()
	var acknowledged []string
	for i := range n {
		s := noise(1<<20 + i)
		if err := l.Accept(deadline(t), batch("c", s)); err != nil {
			if !errors.Is(err, source.ErrUnavailable) {
				t.Error(err)
			}
			break
		}
		acknowledged = append(acknowledged, s)
	}
	return acknowledged
}

// TestTheServerMeetsAFullDisk switches the guard off: somebody else was faster.
func TestTheServerMeetsAFullDisk(t *testing.T) {
	dir := smallDisk(t, "64m")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, bus.Config{Dir: filepath.Join(dir, "log"), MinFreeBytes: 8 << 20})
	var blind atomic.Bool
	l.SetFree(func(dir string) (int64, error) {
		if blind.Load() {
			return 1 << 40, nil
		}
		return bus.FreeBytes(dir)
	})
	blind.Store(true)
	before := l.Server()
	acknowledged := fill(t, l, 100)
	if n := len(acknowledged); n < 20 || n == 100 {
		t.Fatalf("%d MiB on a disk of 32", n)
	}
	blind.Store(false)
	if err := l.Accept(deadline(t), batch("c", "x")); !errors.Is(err, source.ErrUnavailable) || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("while it is full: %v", err)
	}
	r := read(t, l, "c", uint64(len(acknowledged))) // waits meanwhile
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the log to take more", func() bool { return l.Accept(deadline(t), batch("c", "after")) == nil })
	for string(next(t, r).Batch.Records[0].Raw) != "after" { // what was not acknowledged may be there
	}
	if l.Server() == before {
		t.Error("the server was not in need of a new start: this test tests nothing")
	}
	got := texts(t, l, "c", len(acknowledged)+1)
	if !slices.Equal(got[:len(acknowledged)], acknowledged) {
		t.Error("an acknowledged record is lost")
	}
}
