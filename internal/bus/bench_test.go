//go:build unix

package bus_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/source"
)

// report gives the rates of events, and the process's CPU time for each.
func report(b *testing.B, begin time.Time, cpu time.Duration, events, bytes int) {
	spent := time.Since(begin)
	b.ReportMetric(float64(events)/spent.Seconds(), "events/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(events), "cpu-ns/event")
	b.ReportMetric(float64(bytes)/spent.Seconds()/1e6, "raw-MB/s")
	b.ReportMetric(0, "ns/op")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func size(b source.Batch) int {
	n := 0
	for _, r := range b.Records {
		n += len(r.Raw)
	}
	return n
}

func BenchmarkAccept400(b *testing.B) {
	for name, always := range map[string]bool{"sync=1s": false, "sync=always": true} {
		b.Run(name, func(b *testing.B) {
			l := open(b, bus.Config{Dir: b.TempDir(), SyncAlways: always})
			events := realBatch(b, 400)
			accept(b, l, events)
			begin, cpu := time.Now(), cpuTime()
			for b.Loop() {
				if err := l.Accept(context.Background(), events); err != nil {
					b.Fatal(err)
				}
			}
			report(b, begin, cpu, 400*b.N, size(events)*b.N)
		})
	}
}

func BenchmarkAccept1Parallel64(b *testing.B) {
	for name, always := range map[string]bool{"sync=1s": false, "sync=always": true} {
		b.Run(name, func(b *testing.B) {
			l := open(b, bus.Config{Dir: b.TempDir(), SyncAlways: always})
			all := realBatch(b, 400)
			accept(b, l, all)
			var slowest atomic.Int64
			begin, cpu := time.Now(), cpuTime()
			b.SetParallelism(32) // times two cores
			b.RunParallel(func(pb *testing.PB) {
				one := all
				for i := 0; pb.Next(); i++ {
					one.Records = all.Records[i%400 : i%400+1]
					at := time.Now()
					if err := l.Accept(context.Background(), one); err != nil {
						b.Error(err)
						return
					}
					took := int64(time.Since(at))
					for s := slowest.Load(); took > s && !slowest.CompareAndSwap(s, took); s = slowest.Load() {
					}
				}
			})
			report(b, begin, cpu, b.N, size(all)/400*b.N)
			n, _ := l.Backlog(context.Background(), all.Cluster, 1)
			b.ReportMetric(float64(b.N)/float64(n), "events/message")
			b.ReportMetric(float64(slowest.Load())/1e6, "slowest-ms")
		})
	}
}

func BenchmarkRead400(b *testing.B) {
	l := open(b, bus.Config{Dir: b.TempDir()})
	events := realBatch(b, 400)
	const stored = 2000
	for range stored {
		accept(b, l, events)
	}
	r := read(b, l, events.Cluster, 0)
	begin, cpu := time.Now(), cpuTime()
	for i := 0; b.Loop(); i++ {
		if i%stored == stored-1 {
			r = read(b, l, events.Cluster, 0)
		}
		if m, err := r.Next(context.Background()); err != nil || len(m.Batch.Records) != 400 {
			b.Fatal(err)
		}
	}
	report(b, begin, cpu, 400*b.N, size(events)*b.N)
}
