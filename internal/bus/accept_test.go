package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/source"
)

// noise does not compress.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return string(b)
}

// texts reads n records of cluster.
func texts(t testing.TB, l *bus.Log, cluster string, n int) []string {
	t.Helper()
	var all []string
	for r := read(t, l, cluster, 0); len(all) < n; {
		for _, rec := range next(t, r).Batch.Records {
			all = append(all, string(rec.Raw))
		}
	}
	return all
}

func TestParallelAcceptsShareMessages(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir(), SyncAlways: true})
	const callers, each = 64, 5
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				accept(t, l, batch("c", fmt.Sprintf("%02d-%d", c, i)))
			}
		})
	}
	wg.Wait()
	messages, err := l.Backlog(deadline(t), "c", 0)
	if err != nil || messages > callers*each/4 {
		t.Errorf("%d events are %d messages, %v", callers*each, messages, err)
	}
	got := texts(t, l, "c", callers*each)
	last := map[string]string{}
	for _, s := range got {
		if last[s[:2]] >= s {
			t.Errorf("%s stands behind %s", s, last[s[:2]])
		}
		last[s[:2]] = s
	}
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != callers*each {
		t.Errorf("%d records", n)
	}
}

func TestBatchesOfSeveralSources(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	b := batch("c", "x")
	b.Source = "other"
	accept(t, l, b)
	accept(t, l, batch("c", "y"))
	r := read(t, l, "c", 0)
	if m := next(t, r); m.Batch.Source != "other" || m.Batch.Records[0].Pos.File != "other@1" {
		t.Errorf("%+v", m)
	}
	if m := next(t, r); m.Batch.Source != "test" || m.Batch.Records[0].Pos.File != "test@2" {
		t.Errorf("%+v", m)
	}
}

func TestLargeBatchesAndRecords(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir(), MinFreeBytes: 1 << 20})
	want := []string{noise(16 << 20), strings.Repeat("a", 16<<20), noise(700 << 10), noise(300 << 10), noise(300<<10 + 1), "x"}
	accept(t, l, batch("c", want...))
	if got := texts(t, l, "c", len(want)); !slices.Equal(got, want) {
		t.Error("read something else")
	}
}

func TestOneTooLargeRecordFailsItsBatchOnly(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir(), SyncAlways: true})
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i := range 16 {
		wg.Go(func() {
			b := batch("c", "small", fmt.Sprint(i))
			if i == 7 {
				b = batch("c", "first", noise(25<<20))
			}
			err := l.Accept(deadline(t), b)
			var tooLarge *source.TooLargeError
			switch {
			case i != 7 && err != nil:
				t.Error(err)
			case i == 7 && (!errors.As(err, &tooLarge) || tooLarge.Record != 1 || errors.Is(err, source.ErrUnavailable)):
				t.Errorf("got %v", err)
			case i == 7:
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if refused.Load() != 1 {
		t.Errorf("%d refused", refused.Load())
	}
	if err := l.Accept(deadline(t), batch("c", string(make([]byte, bus.MaxRaw+1)))); err == nil || errors.Is(err, source.ErrUnavailable) {
		t.Errorf("a record that no reader would take: %v", err)
	}
	for _, s := range texts(t, l, "c", 30) {
		if s == "first" {
			t.Error("a part of the refused batch is on the log")
		}
	}
}

func TestBadNames(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	for _, cluster := range []string{"", strings.Repeat("x", 201), strings.Repeat("/", 100)} {
		if err := l.Accept(deadline(t), batch(cluster, "x")); err == nil || errors.Is(err, source.ErrUnavailable) {
			t.Errorf("cluster %q: %v", cluster, err)
		}
		if _, err := l.Read(deadline(t), cluster, 0); err == nil {
			t.Errorf("cluster %q can be read", cluster)
		}
	}
	for _, cluster := range []string{"../../etc", "a.b", "a_b", "*", ">", "ü"} {
		accept(t, l, batch(cluster, "of "+cluster))
		if got := texts(t, l, cluster, 1); got[0] != "of "+cluster {
			t.Errorf("cluster %q has %q", cluster, got)
		}
	}
}

func TestFullLogRefusesAndRecovers(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir(), MaxBytes: 4 << 20})
	var acknowledged []string
	for i := 0; ; i++ {
		s := noise(200<<10 + i)
		err := l.Accept(deadline(t), batch("c", s))
		if err != nil {
			if !errors.Is(err, source.ErrUnavailable) || !strings.Contains(err.Error(), "4 MiB") {
				t.Fatal(err)
			}
			break
		}
		acknowledged = append(acknowledged, s)
	}
	accept(t, l, batch("other", "has room of its own"))
	if got := texts(t, l, "c", len(acknowledged)); !slices.Equal(got, acknowledged) || len(got) < 15 {
		t.Errorf("%d of %d are there", len(got), len(acknowledged))
	}
	if err := l.Trim(deadline(t), "c", 5); err != nil {
		t.Fatal(err)
	}
	accept(t, l, batch("c", "room again"))
}

func TestAcceptLeavesTheRecordsAloneWhenItGivesUp(t *testing.T) {
	l := open(t, bus.Config{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Microsecond)
				b := batch("c", noise(100<<10))
				err := l.Accept(ctx, b)
				clear(b.Records[0].Raw) // the race detector and the reader below would see
				cancel()
				if err != nil && !errors.Is(err, source.ErrUnavailable) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n, err := l.Backlog(deadline(t), "c", 0)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	r := read(t, l, "c", 0)
	for range n {
		for _, rec := range next(t, r).Batch.Records {
			if string(rec.Raw) != noise(100<<10) {
				t.Fatal("a record changed while it was stored")
			}
		}
	}
}

func TestClosing(t *testing.T) {
	l, err := bus.Open(deadline(t), bus.Config{Dir: t.TempDir(), MinFreeBytes: 1 << 20}, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var stored atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				if err := l.Accept(deadline(t), batch("c", "x")); err != nil {
					if !errors.Is(err, source.ErrUnavailable) {
						t.Error(err)
					}
					return
				}
				stored.Add(1)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	r := read(t, l, "nothing there", 0)
	if err := l.Close(deadline(t)); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if stored.Load() == 0 {
		t.Error("nothing was stored before")
	}
	if _, err := r.Next(deadline(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reader of a closed log: %v", err)
	}
	if err := l.Close(deadline(t)); err != nil {
		t.Error(err)
	}
}
