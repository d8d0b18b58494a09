package test

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/source/file"
)

// decode returns the events of records in canonical order, each once.
func decode(t testing.TB, recs []file.Record) []*event.Event {
	t.Helper()
	d := pipeline.NewDecoder()
	var out []*event.Event
	for _, rec := range recs {
		e := &event.Event{}
		e.Reset()
		err := d.Decode(rec, e)
		if errors.Is(err, normalize.ErrIrrelevant) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b *event.Event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// keeper collects flags and leaves events alone.
type keeper struct{ *report.Collector }

func (keeper) Done(*event.Event) {}

// smallWindow lets events through early, so that a snapshot holds both learned
// state and events held back.
func smallWindow() engine.Config { return engine.Config{Window: time.Hour, MaxHeld: 16} }

// steps runs recs through an engine that is saved and restored in a new engine
// after every events (0: never).
func steps(t testing.TB, set *detect.Set, recs []file.Record, every int) (result, engine.Stats) {
	t.Helper()
	c := report.NewCollector(set)
	defer c.Close()
	eng := engine.New(smallWindow(), set, keeper{c})
	for i, e := range decode(t, recs) {
		eng.Push(e)
		if every > 0 && (i+1)%every == 0 {
			eng = restored(t, set, c, eng)
		}
	}
	eng.Flush()
	stats := eng.Stats()
	return finish(t, c, eng, stats), stats
}

func restored(t testing.TB, set *detect.Set, c *report.Collector, eng *engine.Engine) *engine.Engine {
	t.Helper()
	var b bytes.Buffer
	if err := eng.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	next := engine.New(smallWindow(), set, keeper{c})
	if err := next.Restore(&b); err != nil {
		t.Fatal(err)
	}
	return next
}

// TestSnapshotAtAnyEvent restores again and again in one run, so that every
// restored state is the ground of the next.
func TestSnapshotAtAnyEvent(t *testing.T) {
	set := compiled(t)
	const small = 60 // events up to which every one is tried
	for n, r := range recordings(t) {
		recs := records(t, r.inputs)
		if testing.Short() && n%4 != 0 && len(recs) > small {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			want, wantStats := steps(t, set, recs, 0)
			every := 1
			if len(recs) > small {
				every = max(len(recs)/12, 1) | 1
			}
			got, gotStats := steps(t, set, recs, every)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("saved every %d events (-never +so):\n%s", every, shorten(diff))
			}
			if diff := gocmp.Diff(wantStats, gotStats); diff != "" {
				t.Errorf("counters (-never +so):\n%s", diff)
			}
		})
	}
}

// TestSnapshotOfHeldEvents restores in the middle of an attack with a full
// order buffer: everything is still held back.
func TestSnapshotOfHeldEvents(t *testing.T) {
	set := compiled(t)
	recs := records(t, logs(t, "recordings/attack/leaked-kubeconfig"))
	c := report.NewCollector(set)
	defer c.Close()
	var eng *engine.Engine
	fresh := func() *engine.Engine { return engine.New(replayConfig(), set, keeper{c}) }
	eng = fresh()
	for i, e := range decode(t, recs) {
		eng.Push(e)
		if i == len(recs)/2 {
			var b bytes.Buffer
			if err := eng.Snapshot(&b); err != nil {
				t.Fatal(err)
			}
			eng = fresh()
			if err := eng.Restore(&b); err != nil {
				t.Fatal(err)
			}
		}
	}
	eng.Flush()
	want := replayed(t, set, logs(t, "recordings/attack/leaked-kubeconfig")...)
	if diff := gocmp.Diff(want, finish(t, c, eng, eng.Stats())); diff != "" {
		t.Errorf("(-whole +restored):\n%s", shorten(diff))
	}
}

// snapshotOf returns a snapshot in the middle of a recording.
func snapshotOf(t testing.TB, set *detect.Set, dir string) []byte {
	t.Helper()
	c := report.NewCollector(set)
	defer c.Close()
	eng := engine.New(smallWindow(), set, keeper{c})
	for _, e := range decode(t, records(t, logs(t, dir))) {
		eng.Push(e)
	}
	var b bytes.Buffer
	if err := eng.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRestoreOfDamage(t *testing.T) {
	set := compiled(t)
	whole := snapshotOf(t, set, "recordings/cloud/aws-access-entry/attack")
	try := func(name string, b []byte) {
		eng := engine.New(engine.Config{}, set, &discard{})
		if err := eng.Restore(bytes.NewReader(b)); !errors.Is(err, engine.ErrSnapshot) {
			t.Errorf("%s: %v, want ErrSnapshot", name, err)
		}
	}
	try("empty", nil)
	try("foreign", []byte("PK\x03\x04 not a snapshot at all, but long enough for a head"))
	for n := 0; n < len(whole); n += 1 + len(whole)/97 {
		try("cut short", whole[:n])
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x10
		try("flipped", flipped)
	}
	try("longer", append(bytes.Clone(whole), 0))
}
