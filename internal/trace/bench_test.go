package trace

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

func numbered(n uint64) (k event.ID) {
	binary.LittleEndian.PutUint64(k[:], n*0x9E3779B97F4A7C15)
	binary.LittleEndian.PutUint64(k[8:], n)
	return k
}

// BenchmarkLink is the common case: a link between units without evidence,
// 100,000 units.
func BenchmarkLink(b *testing.B) {
	tr := New(Config{})
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		tr.Link(Link{From: numbered(n % 100_000), To: numbered((n * 7919) % 100_000), Type: LinkObject, Strength: 0.95, Time: t0 + int64(n)*1e6})
	}
}

// BenchmarkFlag is a flag on one of 10,000 traces of four kinds each.
func BenchmarkFlag(b *testing.B) {
	tr := New(Config{})
	rules := []string{"r0", "r1", "r2", "r3"}
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		tr.Flag(Flag{
			Event: numbered(n), Time: t0 + int64(n)*1e6, Unit: numbered(n % 10_000), Rule: rules[n%4],
			Severity: event.Low, Tactic: event.Tactic(n % 4), Plane: event.PlaneK8s, Contexts: [3]event.ID{numbered(n % 500)},
		})
	}
}

// BenchmarkFlood is one kind on one unit.
func BenchmarkFlood(b *testing.B) {
	tr := New(Config{})
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		tr.Flag(Flag{Event: numbered(n), Time: t0 + int64(n)*1e3, Unit: numbered(1), Rule: "r", Severity: event.Medium, Tactic: event.Discovery})
	}
}

// BenchmarkFlagOnLargestTrace is a flag on a trace of 256 linked units.
func BenchmarkFlagOnLargestTrace(b *testing.B) {
	tr := New(Config{})
	for n := range uint64(256) {
		tr.Flag(Flag{Event: numbered(n), Time: t0, Unit: numbered(n), Rule: fmt.Sprint("r", n%10), Severity: event.Low, Tactic: event.Tactic(n % 10)})
		tr.Link(Link{From: numbered(n), To: numbered(n / 8), Type: LinkToken, Strength: 0.95, Time: t0})
	}
	n := uint64(1000)
	for b.Loop() {
		n++
		tr.Flag(Flag{Event: numbered(n), Time: t0 + int64(n)*1e3, Unit: numbered(n % 256), Rule: "r3", Severity: event.Low, Tactic: event.Discovery})
	}
}

// BenchmarkMemory reports what 20,000 traces of four kinds on two linked units
// take.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		tr := New(Config{})
		for n := range uint64(20_000) {
			tr.Link(Link{From: numbered(2 * n), To: numbered(2*n + 1), Type: LinkToken, Strength: 0.95, Time: t0})
			for i := range uint64(4) {
				tr.Flag(Flag{
					Event: numbered(4*n + i), Time: t0, Unit: numbered(2*n + i%2), Rule: fmt.Sprint("r", i),
					Severity: event.Low, Tactic: event.Tactic(i),
				})
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/20_000, "B/trace")
		b.ReportMetric(float64(tr.Stats().Traces), "traces")
		runtime.KeepAlive(tr)
	}
}

// TestLinkDoesNotAllocate holds the hot path: nearly every event makes a link
// between units that are known.
func TestLinkDoesNotAllocate(t *testing.T) {
	tr := New(Config{})
	n := uint64(0)
	if got := testing.AllocsPerRun(5000, func() {
		n++
		tr.Link(Link{From: numbered(n % 50), To: numbered(n % 7), Type: LinkObject, Strength: 0.95, Time: t0 + int64(n), Label: "pod"})
	}); got != 0 {
		t.Errorf("%v allocations a link", got)
	}
}
