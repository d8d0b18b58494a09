// Package tail follows an audit log file as it grows. It gives whole lines to the
// sink, remembers where it was by what the file is rather than by its name, and
// reads a rotated file to its end before the new one: renamed and created anew
// (logrotate, the API server's own rotation), copied and truncated, compressed or
// not. What is known to be lost is counted as a gap.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/clew-sec/clew/internal/source"
)

// DefaultPoll is how often the file is looked at when nothing tells that it changed.
const DefaultPoll = time.Second

// Config says what to follow. All but FromEnd and Poll are required.
type Config struct {
	Name, Cluster string // of the batches
	Path          string
	Sink          source.Sink
	Meter         *source.Meter
	Positions     Positions
	// FromEnd passes over what the file holds when it is followed for the first time. A
	// file that comes later is read from its beginning.
	FromEnd bool
	Poll    time.Duration // also the pause after an error; 0: DefaultPoll
}

// Positions keeps where tails are.
type Positions interface {
	// Load returns the position saved last under name; ok is false when there is none.
	Load(ctx context.Context, name string) (p Position, ok bool, err error)
	// Save keeps p. A position that is lost makes lines come again, none go missing.
	Save(ctx context.Context, name string, p Position) error
}

// Position is a place in a file that may since have been renamed or compressed.
type Position struct {
	Device, Inode uint64 // decide while the head is empty; 0 where there are none
	Head          string // SHA-256 of the file's first HeadBytes bytes, in hex
	HeadBytes     int    // at most 1024, and no more than Offset
	Offset        int64  // bytes, before any compression, that the sink has
}

// Tail follows one file. Use New.
type Tail struct {
	Config
	cur   *stream  // the file at Path; nil: to be opened
	pos   Position // where reading stands
	known bool     // pos says where to go on; else the file at Path is new
}

// New returns a Tail.
func New(c Config) *Tail {
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	return &Tail{Config: c}
}

// Run follows the file until ctx ends and returns nil then. It fails only when the
// position cannot be loaded. A file that is missing or cannot be read is waited for,
// a sink that takes nothing is tried again; the meter tells.
func (t *Tail) Run(ctx context.Context) error {
	var err error
	if t.pos, t.known, err = t.Positions.Load(ctx, t.Name); err != nil {
		return fmt.Errorf("loading the position of %q: %w", t.Name, err)
	}
	changes := t.watch()
	if changes != nil {
		defer func() { _ = changes.Close() }()
	}
	defer t.close()
	if _, err := os.Stat(t.Path); t.known || errors.Is(err, fs.ErrNotExist) {
		t.FromEnd = false
	}
	for ctx.Err() == nil {
		more, err := t.turn(ctx)
		if err != nil && ctx.Err() == nil {
			t.Meter.Failed(source.Plain(err), time.Now())
		}
		switch {
		case err != nil:
			pause(ctx, t.Poll)
		case !more:
			t.wait(ctx, changes)
		}
	}
	return nil
}

// watch returns what tells of changes beside the file, nil when nothing can: then
// polling has to do.
func (t *Tail) watch() *fsnotify.Watcher {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		if err = w.Add(filepath.Dir(t.Path)); err == nil {
			return w
		}
		_ = w.Close()
	}
	t.Meter.Failed(fmt.Errorf("watching %q, polling it instead: %w", t.Path, err), time.Now())
	return nil
}

func (t *Tail) wait(ctx context.Context, w *fsnotify.Watcher) {
	if w == nil {
		pause(ctx, t.Poll)
		return
	}
	timer := time.NewTimer(t.Poll)
	defer timer.Stop()
	select {
	case <-w.Events:
	case err := <-w.Errors: // as of too many changes: look
		t.Meter.Failed(fmt.Errorf("watching %q: %w", t.Path, err), time.Now())
	case <-timer.C:
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (t *Tail) close() {
	if t.cur != nil {
		t.cur.close()
		t.cur = nil
	}
}

// turn does the next thing there is to do. It reports whether there may be more to
// do at once.
func (t *Tail) turn(ctx context.Context) (bool, error) {
	if t.cur == nil {
		return true, t.open(ctx)
	}
	n, err := t.step(ctx, t.cur, false)
	if errors.Is(err, errReplaced) {
		return true, t.truncated(ctx)
	}
	if n > 0 || err != nil {
		return true, err
	}
	now, err := os.Stat(t.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // renamed, and not yet created anew
	}
	if err != nil {
		return false, fmt.Errorf("looking for %q: %w", t.Path, err)
	}
	if t.cur.same(now) {
		return false, nil
	}
	return true, t.rotated(ctx)
}

// open opens the file at Path where reading has to go on: behind what is saved if
// it is the same file, else at its beginning once what was rotated is read.
func (t *Tail) open(ctx context.Context) error {
	if t.known {
		s, err := resume(t.Path, t.pos)
		if err != nil {
			return err
		}
		if s != nil {
			t.cur = s
			return nil
		}
		if err := t.catchUp(ctx, nil, time.Time{}, "the file read last is gone: what stood behind the last line read is lost"); err != nil {
			return err
		}
	}
	s, err := begin(t.Path)
	if err != nil {
		return err
	}
	if t.FromEnd {
		err = t.passOver(ctx, s)
	}
	if err != nil {
		s.close()
		return err
	}
	t.cur, t.pos, t.known = s, s.pos, true
	return nil
}

// passOver goes to the end of s and keeps that: what is written from now on is read
// though the process may end before the first line comes.
func (t *Tail) passOver(ctx context.Context, s *stream) error {
	if err := s.toEnd(); err != nil {
		return err
	}
	if err := t.Positions.Save(ctx, t.Name, s.pos); err != nil {
		return fmt.Errorf("saving the position of %q: %w", t.Name, err)
	}
	t.FromEnd = false
	return nil
}

// rotated reads the open file to its end, for another stands at Path, and what was
// rotated after it. The other is opened first: it may be rotated away meanwhile.
func (t *Tail) rotated(ctx context.Context) error {
	s, err := begin(t.Path)
	if err != nil {
		return err
	}
	if err = t.drain(ctx, t.cur); err == nil {
		err = t.catchUp(ctx, s, t.cur.modified(), "")
	}
	if err != nil {
		s.close()
		return err
	}
	t.close()
	t.cur, t.pos = s, s.pos
	return nil
}

// truncated goes back to the beginning of the open file, once a copy of what it
// held is read.
func (t *Tail) truncated(ctx context.Context) error {
	if err := t.catchUp(ctx, nil, time.Time{}, "the file was truncated and there is no copy of it: what stood behind the last line read may be lost"); err != nil {
		return err
	}
	if err := t.cur.restart(); err != nil {
		return err
	}
	t.pos = t.cur.pos
	return nil
}

// catchUp reads, among the rotated files, the one that pos is in from there on and
// those after it. When pos is in none it reads those changed since then, if then is
// not zero, and that is a gap, unless gap is "". The file that is open as other is
// left out.
func (t *Tail) catchUp(ctx context.Context, other *stream, then time.Time, gap string) error {
	parts, err := t.behind(then)
	if err != nil {
		return err
	}
	if len(parts) == 0 && gap != "" {
		t.Meter.Gap(fmt.Errorf("%s: %s", t.Path, gap), time.Now())
	}
	for _, path := range parts {
		s, err := resume(path, t.pos)
		if err == nil && s == nil {
			s, err = begin(path)
		}
		if err == nil && other != nil && s.same(other.info()) {
			s.close()
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Meter.Gap(fmt.Errorf("%s: deleted before it was read", path), time.Now())
			continue
		}
		if err != nil {
			return err
		}
		err = t.drain(ctx, s)
		s.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// drain reads s to its end; its last line may have no line break.
func (t *Tail) drain(ctx context.Context, s *stream) error {
	for {
		n, err := t.step(ctx, s, true)
		if n == 0 || err != nil {
			return err
		}
	}
}
