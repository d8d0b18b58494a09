package graph

import (
	"runtime"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

func mix(x uint64) uint64 { // splitmix64
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// fill inserts n entities, each after a look-up of its parent: 80 % of parents
// are recent, 20 % anywhere.
func fill(tb *Table, n int) {
	for i := range uint64(n) {
		r := mix(i ^ 0xabcdef)
		var parent Ref
		if i > 0 {
			p := (r >> 8) % i
			if r%5 != 0 {
				p = i - 1 - (r>>8)%min(i, 65536)
			}
			parent, _ = tb.Get(key(p))
		}
		tb.Insert(key(i), 1, parent, int64(i))
	}
}

func benchmarkTable(b *testing.B, n int) {
	for b.Loop() {
		start := time.Now()
		tb := NewTable(TableConfig{Max: n + 1})
		fill(tb, n)
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(n), "ns/insert+parent")
		b.ReportMetric(float64(tb.Stats().Bytes)/float64(n), "B/entity")
		keys, refs := make([]event.ID, 64), make([]Ref, 64)
		start = time.Now()
		for i := 0; i < n; i += 64 {
			for j := range keys {
				keys[j] = key(mix(uint64(i+j)) % uint64(n))
			}
			tb.TouchBatch(keys, refs, 9)
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(n), "ns/batched-touch")
		runtime.GC()
		start = time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/forced-GC")
		runtime.KeepAlive(tb)
	}
}

func BenchmarkTable1M(b *testing.B) { benchmarkTable(b, 1_000_000) }

// BenchmarkTable10M takes 1.3 GB; -short leaves it out.
func BenchmarkTable10M(b *testing.B) {
	if testing.Short() {
		b.Skip("1.3 GB")
	}
	benchmarkTable(b, 10_000_000)
}

// BenchmarkFullTable inserts into a table at its limit: each evicts one.
func BenchmarkFullTable(b *testing.B) {
	tb := NewTable(TableConfig{Max: 500_000})
	fill(tb, 500_000)
	n := uint64(500_000)
	for b.Loop() {
		tb.Insert(key(n), 1, Ref{}, int64(n))
		n++
	}
}

// TestTableDoesNotAllocate holds the hot path: inserts into a full table and
// look-ups.
func TestTableDoesNotAllocate(t *testing.T) {
	tb := NewTable(TableConfig{Max: 1000})
	fill(tb, 1000)
	n := uint64(1000)
	if got := testing.AllocsPerRun(5000, func() {
		parent, _ := tb.Get(key(n - 1))
		tb.Insert(key(n), 1, parent, int64(n))
		n++
	}); got != 0 {
		t.Errorf("%v allocations an insert", got)
	}
}
