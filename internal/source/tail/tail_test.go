package tail

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

func line(i int) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a%06d","stage":"ResponseComplete","verb":"get"}`+"\n", i)
}

// sink keeps the audit ids that it took, in order.
type sink struct {
	mu    sync.Mutex
	ids   []string
	fails error
}

func (s *sink) Accept(_ context.Context, b source.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	for _, r := range b.Records {
		_, rest, _ := strings.Cut(string(r.Raw), `"auditID":"a`)
		s.ids = append(s.ids, rest[:6])
	}
	return nil
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *sink) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.ids, " ")
}

func want(from, to int) string {
	var ids []string
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("%06d", i))
	}
	return strings.Join(ids, " ")
}

// memory keeps positions.
type memory struct {
	mu    sync.Mutex
	saved map[string]Position
}

func (m *memory) Load(_ context.Context, name string) (Position, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.saved[name]
	return p, ok, nil
}

func (m *memory) Save(_ context.Context, name string, p Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved[name] = p
	return nil
}

// rig is a log file and what follows it.
type rig struct {
	t    *testing.T
	path string
	*sink
	positions *memory
	meter     *source.Meter
	fromEnd   bool
	stop      func()
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "audit.log"), sink: &sink{}, positions: &memory{saved: map[string]Position{}}, meter: source.NewMeter("log", "file", "prod")}
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
	})
	return r
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	tail := New(Config{Name: "log", Cluster: "prod", Path: r.path, Sink: r.sink, Meter: r.meter, Positions: r.positions, FromEnd: r.fromEnd, Poll: 5 * time.Millisecond})
	go func() { done <- tail.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
		r.stop = nil
	}
}

func (r *rig) write(text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) lines(from, to int) {
	r.t.Helper()
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString(line(i))
	}
	r.write(b.String())
}

func (r *rig) rename(to string) {
	r.t.Helper()
	if err := os.Rename(r.path, filepath.Join(filepath.Dir(r.path), to)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) await(want string) {
	r.t.Helper()
	for range 1000 {
		if r.got() == want {
			time.Sleep(20 * time.Millisecond) // and nothing comes twice
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := r.got(); got != want {
		r.t.Fatalf("got %s\nwant %s\nstatus %+v", got, want, r.meter.Status())
	}
}

// told waits for an error in the status.
func (r *rig) told(want string) {
	r.t.Helper()
	for range 1000 {
		if strings.Contains(r.meter.Status().LastError, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("status %+v", r.meter.Status())
}

func (r *rig) gaps(want uint64) {
	r.t.Helper()
	if s := r.meter.Status(); s.Gaps != want {
		r.t.Errorf("%d gaps, want %d: %s", s.Gaps, want, s.LastError)
	}
}

func TestFollows(t *testing.T) {
	r := newRig(t)
	r.start()
	r.told("audit.log")
	r.lines(0, 3)
	r.await(want(0, 3))
	half := line(3)
	r.write(half[:50])
	time.Sleep(30 * time.Millisecond)
	r.await(want(0, 3))
	r.write(half[50:] + "{broken\n" + line(4))
	r.await(want(0, 5))
	if s := r.meter.Status(); s.Accepted != 5 || s.Dropped[source.DropUnreadable] != 1 {
		t.Errorf("status %+v", s)
	}
	r.gaps(0)
}

// TestFromEnd passes over what a file holds at the first start, and nothing after
// that: not what is written while the process is down, nor a file that comes later.
func TestFromEnd(t *testing.T) {
	for _, before := range []int{0, 1, 3, 20} {
		r := newRig(t)
		r.fromEnd = true
		r.lines(0, before)
		half := line(before)
		r.write(half[:40])
		r.start()
		r.saved(before * len(half))
		r.stop()
		r.write(half[40:])
		r.lines(before+1, before+3)
		r.start()
		r.await(want(before, before+3))
		r.rename("audit.log.1")
		r.lines(before+3, before+6)
		r.await(want(before, before+6))
		r.gaps(0)
	}
	r := newRig(t)
	r.fromEnd = true
	r.start()
	r.told("audit.log")
	r.lines(0, 5)
	r.await(want(0, 5))
}

// TestFromEndInsideALongLine passes over a line that is too long to be a record.
func TestFromEndInsideALongLine(t *testing.T) {
	r := newRig(t)
	r.fromEnd = true
	r.write(line(0) + strings.Repeat("x", file.MaxRecord+10))
	r.start()
	r.saved(len(line(0)) + file.MaxRecord + 10)
	r.write("xxx\n" + line(1))
	r.await(want(1, 2))
}

// saved waits until the position is offset.
func (r *rig) saved(offset int) {
	r.t.Helper()
	for range 1000 {
		if p, ok, _ := r.positions.Load(context.Background(), "log"); ok && p.Offset == int64(offset) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("no position %d: %+v", offset, r.positions.saved)
}

func TestRenamedAndCreated(t *testing.T) {
	for _, name := range []string{"audit.log.1", "audit-2026-01-01T00-00-00.000.log"} {
		r := newRig(t)
		r.lines(0, 20)
		r.start()
		r.await(want(0, 20))
		r.lines(20, 30) // perhaps not yet read when it is renamed
		r.rename(name)
		r.lines(30, 40)
		r.await(want(0, 40))
		time.Sleep(10 * time.Millisecond)           // times of files are coarse
		r.rename(name + ".gz2")                     // no name that is known
		r.write(strings.TrimSuffix(line(40), "\n")) // the last line needs no line break
		r.rename("audit-2026-01-02T00-00-00.000.log")
		r.lines(41, 45)
		r.await(want(0, 45))
		r.gaps(0)
	}
}

// Each restart goes on at the right byte, whatever happened meanwhile.
func TestRestart(t *testing.T) {
	zip := func(r *rig, from, to string) {
		t.Helper()
		dir := filepath.Dir(r.path)
		raw, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		f, _ := os.Create(filepath.Join(dir, to))
		z := gzip.NewWriter(f)
		z.Write(raw)
		z.Close()
		f.Close()
		os.Remove(filepath.Join(dir, from))
	}
	for name, c := range map[string]struct {
		meanwhile func(r *rig)
		want      string
		gaps      uint64
	}{
		"nothing": {func(*rig) {}, want(0, 20), 0},
		"more":    {func(r *rig) { r.lines(20, 30) }, want(0, 30), 0},
		"rotated": {func(r *rig) { r.lines(20, 30); r.rename("audit.log.1"); r.lines(30, 35) }, want(0, 35), 0},
		"rotated three times": {func(r *rig) {
			for i := range 3 {
				r.lines(20+i*10, 30+i*10)
				r.rename(fmt.Sprintf("audit-2026-01-0%dT00-00-00.000.log", i+1))
				time.Sleep(10 * time.Millisecond)
			}
			r.lines(50, 55)
		}, want(0, 55), 0},
		"rotated and compressed": {func(r *rig) {
			r.lines(20, 30)
			r.rename("audit.log.1")
			zip(r, "audit.log.1", "audit.log.1.gz")
			r.lines(30, 35)
		}, want(0, 35), 0},
		"rotated and nothing new": {func(r *rig) { r.lines(20, 30); r.rename("audit.log.1"); r.write("") }, want(0, 30), 0},
		"copied and truncated": {func(r *rig) {
			r.lines(20, 30)
			raw, _ := os.ReadFile(r.path)
			os.WriteFile(r.path+".1", raw, 0o600)
			os.Truncate(r.path, 0)
			r.lines(30, 60)
		}, want(0, 60), 0},
		"rotated and deleted": {func(r *rig) {
			r.lines(20, 30)
			os.Remove(r.path)
			r.lines(30, 35)
		}, want(0, 20) + " " + want(30, 35), 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.lines(0, 20)
			r.start()
			r.await(want(0, 20))
			r.stop()
			c.meanwhile(r)
			r.start()
			r.await(c.want)
			r.gaps(c.gaps)
			r.stop()
			r.start() // the position in the new file holds
			r.await(c.want)
			r.gaps(c.gaps)
		})
	}
}

func TestTruncatedWhileFollowed(t *testing.T) {
	r := newRig(t)
	r.lines(0, 20)
	r.start()
	r.await(want(0, 20))
	if err := os.Truncate(r.path, 0); err != nil {
		t.Fatal(err)
	}
	r.lines(20, 25)
	r.await(want(0, 25))
	r.gaps(1)
	raw, _ := os.ReadFile(r.path)
	os.WriteFile(r.path+".1", raw, 0o600)
	os.Truncate(r.path, 0)
	r.lines(25, 60) // longer than before
	r.await(want(0, 60))
	r.gaps(1)
}

func TestSinkRefuses(t *testing.T) {
	r := newRig(t)
	r.lines(0, 5)
	r.fail(fmt.Errorf("full: %w", source.ErrUnavailable))
	r.start()
	r.told("full")
	if p, _, _ := r.positions.Load(t.Context(), "log"); r.got() != "" || p.Offset != 0 {
		t.Errorf("got %q, position %+v", r.got(), p)
	}
	r.fail(nil)
	r.await(want(0, 5))
	r.fail(&source.TooLargeError{Bytes: 2, Max: 1})
	r.lines(5, 6)
	for range 500 {
		if r.meter.Status().Dropped[source.DropTooLarge] == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.fail(nil)
	r.lines(6, 8)
	r.await(want(0, 5) + " " + want(6, 8))
}

func TestUnreadable(t *testing.T) {
	r := newRig(t)
	if err := os.Mkdir(r.path, 0o700); err != nil { // as root, modes forbid nothing
		t.Fatal(err)
	}
	r.start()
	r.told("no regular file")
	os.Remove(r.path)
	r.lines(0, 3)
	r.await(want(0, 3))
}

func TestLongLine(t *testing.T) {
	r := newRig(t)
	r.write(line(0) + `{"auditID":"` + strings.Repeat("x", 18<<20))
	r.start()
	r.await(want(0, 1))
	r.write(strings.Repeat("x", 1<<20) + "\"}\n" + line(1))
	r.await(want(0, 2))
	if s := r.meter.Status(); s.Dropped[source.DropUnreadable] != 1 {
		t.Errorf("dropped %v", s.Dropped)
	}
}

func TestRotatedName(t *testing.T) {
	for name, want := range map[string]bool{
		"audit.log.1": true, "audit.log.12.gz": true, "audit.log-20260101": true, "audit-2026-01-01T00-00-00.000.log": true, "audit-2026-01-01T00-00-00.000.log.gz": true,
		"audit.log": false, "audit.log.gz": false, "audit.logx": false, "audit-policy.log": false, "other.log.1": false, "audit.log.bak": false,
	} {
		if got := rotatedName("audit.log", name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Random writes, rotations and restarts, with everything arriving once in order.
func TestChurn(t *testing.T) {
	r := newRig(t)
	r.lines(0, 1)
	r.start()
	r.await(want(0, 1))
	next, turns := 1, 0
	for range 60 {
		n := 1 + next%7
		text := ""
		for i := range n {
			text += line(next + i)
		}
		cut := len(text) * (turns % 5) / 5
		r.write(text[:cut])
		r.write(text[cut:])
		next += n
		switch turns++; turns % 6 {
		case 2:
			r.rename(fmt.Sprintf("audit-2026-01-01T00-00-%02d.000.log", turns))
			r.write("")
		case 4:
			r.stop()
			r.start()
		}
		time.Sleep(3 * time.Millisecond)
	}
	r.await(want(0, next))
	r.gaps(0)
}

type broken struct{ memory }

func (*broken) Load(context.Context, string) (Position, bool, error) {
	return Position{}, false, io.ErrUnexpectedEOF
}

func TestPositionCannotBeLoaded(t *testing.T) {
	err := New(Config{Positions: &broken{}}).Run(t.Context())
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
