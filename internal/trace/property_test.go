package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// step is one call of a random script.
type step struct {
	flag *Flag
	link *graph.Link
}

func (s step) run(t *Tracer) {
	if s.flag != nil {
		t.Flag(*s.flag)
	} else {
		t.Link(*s.link)
	}
}

// script makes a random incident mix: n steps over few units within a few
// minutes. Fan-outs and kinds stay below where hub damping begins and few links meet at
// one unit, so that no limit makes the result depend on order.
func script(seed uint64, n int) []step {
	rng := rand.New(rand.NewPCG(seed, 99))
	severities := []event.Severity{event.Info, event.Low, event.Low, event.Medium, event.Medium, event.High, event.Critical}
	var out []step
	pending := map[int]int{}
	for i := range n {
		at := t0 + rng.Int64N(300)*sec
		if rng.IntN(3) > 0 {
			rule := rng.IntN(4)
			f := flag(fmt.Sprint("u", rng.IntN(12)), fmt.Sprint("r", rule), severities[rng.IntN(len(severities))], event.Tactic(2*rule+1), at)
			f.Event = id(fmt.Sprint("e", seed, "-", i))
			f.Plane = event.Plane(1 << rng.IntN(3))
			out = append(out, step{flag: &f})
			continue
		}
		from, to := rng.IntN(12), rng.IntN(12)
		if from == to || pending[from] >= ringSlots || pending[to] >= ringSlots {
			continue
		}
		pending[from]++
		pending[to]++
		l := link(fmt.Sprint("u", from), fmt.Sprint("u", to), graph.LinkToken, 0.2+0.75*rng.Float64(), at)
		out = append(out, step{link: &l})
	}
	return out
}

// essence is what must not depend on arrival order: everything but what was
// told while events came in.
func essence(t *testing.T, tr *Tracer) []Trace {
	t.Helper()
	if s := tr.Stats(); s.RingOverflow+s.SizeRefused+s.LinksRefused+s.Folded+s.KindsDropped != 0 {
		t.Fatalf("the script hits a limit: %+v", s)
	}
	traces := tr.Traces()
	for i := range traces {
		checkSum(t, traces[i])
		traces[i].Peak, traces[i].Alert, traces[i].Open, traces[i].MergedFrom = 0, false, false, nil
	}
	return traces
}

func run(steps []step) *Tracer {
	tr := New(small())
	for _, s := range steps {
		s.run(tr)
	}
	return tr
}

func TestArrivalOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(30) {
		steps := script(seed, 120)
		want := essence(t, run(steps))
		rng := rand.New(rand.NewPCG(seed, 7))
		for range 4 {
			rng.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
			if diff := cmp.Diff(want, essence(t, run(steps))); diff != "" {
				t.Fatalf("seed %d, another order (-want +got):\n%s", seed, diff)
			}
		}
	}
}

func TestDuplicatesDoNotMatter(t *testing.T) {
	for seed := range uint64(30) {
		steps := script(seed, 150)
		want := essence(t, run(steps))
		rng := rand.New(rand.NewPCG(seed, 8))
		twice := slices.Concat(steps, steps)
		rng.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
		if diff := cmp.Diff(want, essence(t, run(twice))); diff != "" {
			t.Fatalf("seed %d, every step twice (-want +got):\n%s", seed, diff)
		}
	}
}

// TestMergedShardsAgree splits scripts over four tracers and merges these, in
// different orders and twice.
func TestMergedShardsAgree(t *testing.T) {
	for seed := range uint64(40) {
		steps := script(seed, 120)
		want := essence(t, run(steps))
		rng := rand.New(rand.NewPCG(seed, 9))
		var shards [4]*Tracer
		for i := range shards {
			cfg := small()
			cfg.Shard = uint16(i)
			shards[i] = New(cfg)
		}
		for _, s := range steps {
			s.run(shards[rng.IntN(4)])
		}
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 1, 0, 2, 1, 3}} {
			cfg := small()
			cfg.Shard = 9
			all := New(cfg)
			for _, i := range order {
				all.Merge(shards[i])
			}
			if diff := cmp.Diff(want, essence(t, all)); diff != "" {
				t.Fatalf("seed %d, shards merged in order %v (-want +got):\n%s", seed, order, diff)
			}
		}
	}
}

func snapshot(t testing.TB, tr *Tracer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tr.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRestoreAtEveryStep replaces the tracer by its restored snapshot after
// every step.
func TestRestoreAtEveryStep(t *testing.T) {
	for seed := range uint64(3) {
		steps := script(seed, 100)
		whole := run(steps)
		whole.Advance(t0 + 3*hour)
		cfg := small()
		tr := New(cfg)
		for _, s := range steps {
			s.run(tr)
			next := New(cfg)
			if err := next.Restore(bytes.NewReader(snapshot(t, tr))); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tr.Traces(), next.Traces()); diff != "" {
				t.Fatalf("seed %d (-before +restored):\n%s", seed, diff)
			}
			tr = next
		}
		tr.Advance(t0 + 3*hour)
		if diff := cmp.Diff(whole.Traces(), tr.Traces()); diff != "" {
			t.Fatalf("seed %d (-whole +restored):\n%s", seed, diff)
		}
	}
}

// busy is a tracer with something in every part of its state.
func busy() *Tracer {
	cfg := small()
	cfg.SketchWidth = 16
	cfg.Suppressions = []Suppression{{Fingerprint: fingerprint(new(event.Hasher), "r", nil, id("w")), AllowedKinds: []string{"r"}, Users: []string{"x"}}}
	tr := New(cfg)
	for _, s := range script(5, 80) {
		if s.flag != nil {
			s.flag.Contexts[0] = id("w")
			s.flag.Techniques = []string{"MS-TA9001"}
		}
		s.run(tr)
	}
	for n := range 40 {
		tr.Link(link("hub", fmt.Sprint("x", n), graph.LinkCreated, 0.95, t0+400*sec))
	}
	f := flag("u1", "late", event.Low, event.Discovery, t0+9*hour)
	f.Contexts[0] = id("w")
	tr.Flag(f)
	return tr
}

func TestSnapshotIsStable(t *testing.T) {
	tr := busy()
	a := snapshot(t, tr)
	next := New(tr.cfg)
	if err := next.Restore(bytes.NewReader(a)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, snapshot(t, next)) {
		t.Error("the snapshot of a restored tracer differs")
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	tr := busy()
	snap := snapshot(t, tr)
	for i := 0; i < len(snap); i += 37 {
		bad := bytes.Clone(snap)
		bad[i] ^= 0x20
		if err := New(tr.cfg).Restore(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("byte %d changed: error %v", i, err)
		}
		if err := New(tr.cfg).Restore(bytes.NewReader(snap[:i])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut at %d: error %v", i, err)
		}
	}
}

// forge gives bytes a valid checksum.
func forge(b []byte) []byte {
	if len(b) < 8 {
		return b
	}
	return binary.LittleEndian.AppendUint64(bytes.Clone(b[:len(b)-8]), xxh3.Hash(b[:len(b)-8]))
}

// tiny is a tracer with little of everything, for a short snapshot.
func tiny() *Tracer {
	cfg := small()
	cfg.SketchWidth = 16
	tr := New(cfg)
	f := flag("u", "r", event.Medium, event.Execution, t0)
	f.Contexts[0], f.Techniques = id("w"), []string{"T1"}
	tr.Flag(f)
	tr.Link(link("u", "v", graph.LinkToken, 0.9, t0))
	tr.Link(link("x", "y", graph.LinkToken, 0.9, t0))
	tr.Advance(t0 + 8*hour)
	tr.Link(link("y", "z", graph.LinkToken, 0.9, t0+8*hour))
	tr.Flag(flag("v", "low", event.Low, event.Impact, t0+8*hour))
	return tr
}

// useRestored restores bytes and, if they are accepted, uses what came out.
func useRestored(t *testing.T, cfg Config, b []byte) {
	t.Helper()
	n := New(cfg)
	if err := n.Restore(bytes.NewReader(b)); err != nil {
		if !errors.Is(err, ErrSnapshot) || len(n.Traces()) != 0 {
			t.Fatalf("error %v", err)
		}
		return
	}
	n.Traces()
	for _, s := range script(6, 30) {
		s.run(n)
	}
	n.Advance(n.now + 40*day)
}

// TestRestoreOfForgedSnapshots changes every byte of a snapshot behind a valid
// checksum: whatever is accepted must work.
func TestRestoreOfForgedSnapshots(t *testing.T) {
	tr := tiny()
	snap := snapshot(t, tr)
	for i := range len(snap) - 8 {
		for _, v := range []byte{snap[i] + 1, snap[i] ^ 0x80} {
			bad := bytes.Clone(snap)
			bad[i] = v
			useRestored(t, tr.cfg, forge(bad))
		}
	}
}

func FuzzRestore(f *testing.F) {
	tr := tiny()
	f.Add(snapshot(f, tr), true)
	f.Add(snapshot(f, New(tr.cfg)), false)
	f.Fuzz(func(t *testing.T, b []byte, forged bool) {
		if forged {
			b = forge(b)
		}
		useRestored(t, tr.cfg, b)
	})
}
