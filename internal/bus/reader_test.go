package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/clew-sec/clew/internal/bus"
)

func TestReaderResumes(t *testing.T) {
	dir := t.TempDir()
	l, err := bus.Open(deadline(t), bus.Config{Dir: dir}, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		accept(t, l, batch("c", fmt.Sprint(i)))
	}
	if err := l.Close(deadline(t)); err != nil {
		t.Fatal(err)
	}
	l = open(t, bus.Config{Dir: dir})
	r := read(t, l, "c", 7)
	for seq := uint64(8); seq <= 10; seq++ {
		if m := next(t, r); m.Seq != seq || string(m.Batch.Records[0].Raw) != fmt.Sprint(seq-1) {
			t.Errorf("%+v", m)
		}
	}
	if n, err := l.Backlog(deadline(t), "c", 7); n != 3 || err != nil {
		t.Error(n, err)
	}
	accept(t, l, batch("c", "new"))
	if m := next(t, r); m.Seq != 11 {
		t.Errorf("%+v", m)
	}
}

func TestReaderIsWokenAtOnce(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	r := read(t, l, "c", 0) // before there is such a cluster
	stored := make(chan time.Time, 1)
	var slowest time.Duration
	for range 20 {
		go func() {
			time.Sleep(20 * time.Millisecond)
			accept(t, l, batch("c", "x"))
			stored <- time.Now()
		}()
		next(t, r)
		slowest = max(slowest, time.Since(<-stored))
	}
	if slowest > 200*time.Millisecond {
		t.Errorf("woken after %v: as slow as looking by itself", slowest)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := read(t, l, "c", 0).Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func wantGap(t *testing.T, r *bus.Reader, from, to uint64) {
	t.Helper()
	_, err := r.Next(deadline(t))
	var gap *bus.GapError
	if !errors.As(err, &gap) || gap.From != from || gap.To != to || gap.Cluster != "c" {
		t.Errorf("got %v, want the gap from %d to %d", err, from, to)
	}
}

func TestTrimmedMessagesAreAGap(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	for range 10 {
		accept(t, l, batch("c", "x"))
	}
	running := read(t, l, "c", 0)
	next(t, running)
	if err := l.Trim(deadline(t), "c", 6); err != nil {
		t.Fatal(err)
	}
	wantGap(t, running, 2, 6)
	if m := next(t, running); m.Seq != 7 {
		t.Errorf("%d behind the gap", m.Seq)
	}
	if m := next(t, read(t, l, "c", 6)); m.Seq != 7 {
		t.Errorf("%d right behind what was trimmed", m.Seq)
	}
	if n, err := l.Backlog(deadline(t), "c", 2); n != 4 || err != nil {
		t.Error(n, err)
	}

	if err := l.Trim(deadline(t), "c", 10); err != nil { // all
		t.Fatal(err)
	}
	wantGap(t, running, 8, 10)
	if n, err := l.Backlog(deadline(t), "c", 0); n != 0 || err != nil {
		t.Error(n, err)
	}
	accept(t, l, batch("c", "x"))
	if m := next(t, running); m.Seq != 11 {
		t.Errorf("%d after all was trimmed", m.Seq)
	}
	if err := l.Trim(deadline(t), "never seen", 3); err != nil {
		t.Error(err)
	}
}

func TestOldMessagesAreAGap(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir(), MaxAge: 300 * time.Millisecond})
	accept(t, l, batch("c", "old"))
	accept(t, l, batch("c", "old"))
	time.Sleep(time.Second)
	accept(t, l, batch("c", "new"))
	r := read(t, l, "c", 0)
	wantGap(t, r, 1, 2)
	if m := next(t, r); string(m.Batch.Records[0].Raw) != "new" {
		t.Errorf("%+v", m)
	}
}

func TestDamageInTheMiddle(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	for i := range 5 {
		accept(t, l, batch("c", fmt.Sprint(i)))
	}
	nc, err := nats.Connect("", nats.InProcessServer(l.Server()))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(deadline(t), "clew-log-c")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(deadline(t), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(deadline(t), "clew.log.c", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	r := read(t, l, "c", 0)
	next(t, r)
	next(t, r)
	wantGap(t, r, 3, 3)
	next(t, r)
	next(t, r)
	_, err = r.Next(deadline(t))
	var damaged *bus.DamagedError
	if !errors.As(err, &damaged) || damaged.Seq != 6 {
		t.Errorf("a message that is none: %v", err)
	}
	accept(t, l, batch("c", "x"))
	if m := next(t, r); m.Seq != 7 {
		t.Errorf("%d behind the damage", m.Seq)
	}
}

func TestAPositionBehindTheEnd(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	accept(t, l, batch("c", "x"))
	for cluster, last := range map[string]uint64{"c": 1, "never seen": 0} {
		_, err := read(t, l, cluster, 5).Next(deadline(t))
		var ahead *bus.AheadError
		if !errors.As(err, &ahead) || ahead.Last != last || ahead.After != 5 {
			t.Errorf("%s: %v", cluster, err)
		}
	}
}

func TestReaderAndWriterOutlastTheEmbeddedServer(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	const n = 300
	go func() {
		for i := range n {
			accept(t, l, batch("c", fmt.Sprint(i)))
		}
	}()
	r := read(t, l, "c", 0)
	for i := range n {
		if i%100 == 50 {
			if err := l.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		if m := next(t, r); string(m.Batch.Records[0].Raw) != fmt.Sprint(i) {
			t.Fatalf("%s instead of %d", m.Batch.Records[0].Raw, i)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	open(t, bus.Config{Dir: dir})
	if l, err := bus.Open(deadline(t), bus.Config{Dir: dir}, quiet(t)); err == nil {
		_ = l.Close(deadline(t))
		t.Error("opened twice")
	} else if !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
}

// TestNothingListens compares the listening sockets of the process before and after.
func TestNothingListens(t *testing.T) {
	before := listening(t)
	l := open(t, bus.Config{Dir: t.TempDir()})
	accept(t, l, batch("c", "x"))
	if after := listening(t); after > before {
		t.Errorf("%d listening sockets, %d before", after, before)
	}
}

func listening(t *testing.T) int {
	own := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			own[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	n := 0
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, _ := os.ReadFile("/proc/self/net/" + name)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && own[f[9]] && (f[3] == "0A" || strings.HasPrefix(name, "udp")) {
				n++
			}
		}
	}
	return n
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]bus.Config{
		"neither":       {},
		"both":          {Dir: t.TempDir(), URLs: []string{"nats://x"}},
		"negative":      {Dir: t.TempDir(), MaxBytes: -1},
		"many replicas": {URLs: []string{"nats://x"}, Replicas: 6},
		"half a pair":   {URLs: []string{"nats://x"}, TLS: bus.TLS{CertFile: "x"}},
		"no folder":     {Dir: filepath.Join(os.DevNull, "x")},
	} {
		if l, err := bus.Open(deadline(t), cfg, quiet(t)); err == nil {
			_ = l.Close(deadline(t))
			t.Errorf("%s: opened", name)
		}
	}
}
