package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source/file"
	"github.com/clew-sec/clew/test/amplify"
)

// amplified returns at least size bytes of real audit events, one a line.
func amplified(tb testing.TB, size int64) (log []byte, events int) {
	tb.Helper()
	var b bytes.Buffer
	events = writeAmplified(tb, &b, size)
	return b.Bytes(), events
}

func writeAmplified(tb testing.TB, w io.Writer, size int64) (events int) {
	tb.Helper()
	rs, err := amplify.Read("recordings/real/cluster-1.36.jsonl.gz", "recordings/real/benign")
	if err != nil {
		tb.Fatal(err)
	}
	if events, err = rs.Write(w, size, false); err != nil {
		tb.Fatal(err)
	}
	return events
}

// discard is a sink that keeps nothing.
type discard struct{ free []*event.Event }

func (d *discard) Flag(engine.Flag) uint64 { return 0 }

func (d *discard) Done(e *event.Event) {
	e.Reset()
	d.free = append(d.free, e)
}

func (d *discard) get() *event.Event {
	if n := len(d.free); n > 0 {
		e := d.free[n-1]
		d.free = d.free[:n-1]
		return e
	}
	e := &event.Event{}
	e.Reset()
	return e
}

// BenchmarkEngine takes real audit JSON through splitting, decoding and the
// whole engine with all rules on one goroutine, without output: the figure of
// docs/performance.md.
func BenchmarkEngine(b *testing.B) {
	log, events := amplified(b, 64<<20)
	set := compiled(b)
	b.ReportAllocs()
	started := cpuNanos()
	for b.Loop() {
		runClew(b, set, log)
	}
	reportPerEvent(b, cpuNanos()-started, events)
}

// keep is a sink that leaves the events to their owner.
type keep struct{}

func (keep) Flag(engine.Flag) uint64 { return 0 }
func (keep) Done(*event.Event)       {}

// BenchmarkCore takes decoded events through the engine alone: BenchmarkEngine
// without reading, decoding and resetting.
func BenchmarkCore(b *testing.B) {
	log, events := amplified(b, 64<<20)
	set := compiled(b)
	decoded := decodeAll(b, log)
	var fresh event.Event
	fresh.Reset()
	cpu := int64(0)
	for b.Loop() {
		for _, e := range decoded {
			e.Facts = fresh.Facts
		}
		eng := engine.New(engine.Config{}, set, keep{})
		started := cpuNanos()
		for _, e := range decoded {
			eng.Push(e)
		}
		eng.Flush()
		cpu += cpuNanos() - started
	}
	reportPerEvent(b, cpu, events)
	b.ReportMetric(float64(events), "events")
}

// runClew takes a log through the whole of clew but its output.
func runClew(tb testing.TB, set *detect.Set, log []byte) engine.Stats {
	sink := &discard{}
	eng := engine.New(engine.Config{}, set, sink)
	decoder := pipeline.NewDecoder()
	eachRecord(tb, log, func(rec file.Record) {
		e := sink.get()
		if err := decoder.Decode(rec, e); err != nil {
			tb.Fatal(err)
		}
		eng.Push(e)
	})
	eng.Flush()
	return eng.Stats()
}

func eachRecord(tb testing.TB, log []byte, f func(file.Record)) {
	r := file.NewReader("bench", bytes.NewReader(log))
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
		f(rec)
	}
}

// cpuNanos returns the CPU time of the process, which says more than wall time
// on a machine that does other things as well.
func cpuNanos() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func reportPerEvent(b *testing.B, cpu int64, events int) {
	perEvent := float64(cpu) / float64(b.N) / float64(events)
	b.ReportMetric(perEvent, "cpu-ns/event")
	b.ReportMetric(1e9/perEvent, "events/s/core")
}

// TestReplayIsFlatInMemory replays the same activity at two sizes: four times
// the input must not take twice the heap.
func TestReplayIsFlatInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 200 MB")
	}
	set := compiled(t)
	heap := func(size int) uint64 {
		path := filepath.Join(t.TempDir(), "audit.log")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(f)
		writeAmplified(t, w, int64(size))
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		eng, _, err := pipeline.NewReplay(pipeline.Config{}, set, &discard{}).Run(context.Background(), []string{path})
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		runtime.KeepAlive(eng)
		return m.HeapAlloc
	}
	small, large := heap(40<<20), heap(160<<20)
	if large > 2*small {
		t.Errorf("heap after 40 MB of events %d MiB, after 160 MB %d MiB", small>>20, large>>20)
	}
}
