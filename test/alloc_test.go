package test

import (
	"testing"

	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source/file"
)

// TestReadsHardlyAllocate holds the hot path to its bar: reads, which are most
// of any audit log, go through decoding and the whole engine with at most one
// allocation in twenty events once the engine knows the cluster.
func TestReadsHardlyAllocate(t *testing.T) {
	const warm, measured = 90, 30 // a recording has several rounds
	log, _ := amplified(t, 1)
	rounds := make([][]file.Record, 0, warm+measured+1)
	log, _ = amplified(t, int64(len(log))*(warm+measured)/3)
	var e event.Event
	decoder := pipeline.NewDecoder()
	last := int64(0)
	eachRecord(t, log, func(rec file.Record) {
		e.Reset()
		if err := decoder.Decode(rec, &e); err != nil {
			t.Fatal(err)
		}
		if v := e.K8s.Verb; v != "get" && v != "list" && v != "watch" || len(e.K8s.Command) > 0 {
			return // "get" of pods/exec is no read
		}
		if e.Time-last > int64(60e9) || len(rounds) == 0 { // rounds are minutes apart
			rounds = append(rounds, nil)
		}
		last = max(last, e.Time)
		rounds[len(rounds)-1] = append(rounds[len(rounds)-1], rec)
	})
	t.Log(len(rounds), "rounds of", len(rounds[0]), "reads")

	sink := &discard{}
	// Recordings end while watches run: a small table is full of them soon.
	eng := engine.New(engine.Config{Inventory: inventory.Config{Streams: 256}}, compiled(t), sink)
	round := 0
	next := func() {
		for _, rec := range rounds[round] {
			e := sink.get()
			if err := decoder.Decode(rec, e); err != nil {
				t.Fatal(err)
			}
			eng.Push(e)
		}
		round++
	}
	for round < warm {
		next()
	}
	perRound := testing.AllocsPerRun(len(rounds)-warm-1, next)
	reads := 0
	for _, r := range rounds[warm:] {
		reads += len(r)
	}
	perEvent := perRound * float64(len(rounds)-warm) / float64(reads)
	t.Logf("%.4f allocations a read", perEvent)
	if perEvent > 0.05 {
		t.Errorf("%.3f allocations a read event, want at most 0.05", perEvent)
	}
}
