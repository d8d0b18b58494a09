package graph

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"github.com/clew-sec/clew/internal/event"
)

// key makes the n-th test key.
func key(n uint64) event.ID {
	var k event.ID
	binary.LittleEndian.PutUint64(k[:], n*0x9E3779B97F4A7C15)
	binary.LittleEndian.PutUint64(k[8:], n)
	return k
}

func TestEntityIsSmall(t *testing.T) {
	if entitySize > 128 {
		t.Errorf("an entity takes %d bytes, want at most 128", entitySize)
	}
	if entitySize != recordSize {
		t.Errorf("an entity takes %d bytes, its record %d: a field is missing in one of them", entitySize, recordSize)
	}
}

func TestUnits(t *testing.T) {
	tb := NewTable(TableConfig{})
	root := tb.Insert(key(1), 1, Ref{}, 10)
	child := tb.Insert(key(2), 1, root, 20)
	tb.At(child).Flags |= FlagBarrier
	below := tb.Insert(key(3), 1, child, 30)
	orphan := tb.Insert(key(4), 1, Ref{Index: 77, Gen: 1}, 30)
	for _, tt := range []struct {
		name string
		ref  Ref
		want event.ID
	}{{"no parent", root, key(1)}, {"child", child, key(1)}, {"below a barrier", below, key(3)}, {"parent gone", orphan, key(4)}} {
		if got := tb.At(tt.ref).Unit; got != tt.want {
			t.Errorf("%s: unit %s, want %s", tt.name, got, tt.want)
		}
	}
	at := root
	for n := range uint64(MaxDepth + 1) {
		at = tb.Insert(key(100+n), 1, at, 40)
		want := key(1)
		if n == MaxDepth {
			want = key(100 + n)
		}
		if got := tb.At(at).Unit; got != want {
			t.Fatalf("depth %d: unit %s, want %s", n+1, got, want)
		}
	}
}

func TestInsertAgainOnlyTouches(t *testing.T) {
	tb := NewTable(TableConfig{})
	parent := tb.Insert(key(1), 1, Ref{}, 10)
	a := tb.Insert(key(2), 2, parent, 20)
	b := tb.Insert(key(2), 3, Ref{}, 30)
	e := tb.At(a)
	if a != b || e.Kind != 2 || e.First != 20 || e.Last != 30 || tb.At(parent).Children != 1 {
		t.Errorf("got %v and %v, %+v", a, b, e)
	}
}

func TestStaleReferences(t *testing.T) {
	tb := NewTable(TableConfig{})
	a := tb.Insert(key(1), 1, Ref{}, 10)
	if !tb.Delete(a) || tb.Delete(a) || tb.At(a) != nil || tb.Touch(a, 11) {
		t.Fatal("a deleted entity is still there")
	}
	b := tb.Insert(key(2), 1, a, 12)
	if b.Index != a.Index || b.Gen == a.Gen {
		t.Fatalf("place not reused under a new generation: %v, %v", a, b)
	}
	if tb.At(a) != nil || !tb.At(b).Parent.IsZero() {
		t.Error("the old reference leads to the new entity")
	}
	if tb.At(Ref{Index: 1 << 30, Gen: 1}) != nil {
		t.Error("a reference beyond the table leads somewhere")
	}
}

// TestAgainstMap runs random inserts, deletes and look-ups, many of them while
// the index is growing, against a Go map.
func TestAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tb := NewTable(TableConfig{})
	want := map[uint64]Ref{}
	for step := range 200_000 {
		n := rng.Uint64N(30_000)
		k := key(n)
		switch r, held := want[n]; {
		case rng.IntN(3) > 0:
			got := tb.Insert(k, 1, want[rng.Uint64N(30_000)], int64(step))
			if held && got != r {
				t.Fatalf("step %d: insert moved key %d from %v to %v", step, n, r, got)
			}
			want[n] = got
		default:
			if tb.Delete(r) != held {
				t.Fatalf("step %d: delete of key %d, held %v", step, n, held)
			}
			delete(want, n)
		}
		probe := rng.Uint64N(30_000)
		got, ok := tb.Get(key(probe))
		if r, held := want[probe]; ok != held || got != r {
			t.Fatalf("step %d: key %d: got %v %v, want %v %v", step, probe, got, ok, r, held)
		}
	}
	if tb.Len() != len(want) {
		t.Errorf("%d entities, want %d", tb.Len(), len(want))
	}
	if err := tb.checkChildren(); err != nil {
		t.Error(err)
	}
	checkBatch(t, tb, want)
}

func checkBatch(t *testing.T, tb *Table, want map[uint64]Ref) {
	t.Helper()
	keys, refs := make([]event.ID, 64), make([]Ref, 64)
	for from := uint64(0); from < 30_000; from += 64 {
		for i := range keys {
			keys[i] = key(from + uint64(i))
		}
		tb.TouchBatch(keys, refs, 1<<40)
		for i := range keys {
			if refs[i] != want[from+uint64(i)] {
				t.Fatalf("batch: key %d: got %v, want %v", from+uint64(i), refs[i], want[from+uint64(i)])
			}
		}
	}
}

func TestSweepKeepsParentsAndSkeleton(t *testing.T) {
	tb := NewTable(TableConfig{TTL: map[EntityKind]int64{1: 10, 2: 1000}, SkeletonTTL: 5000})
	parent := tb.Insert(key(1), 1, Ref{}, 0)
	child := tb.Insert(key(2), 2, parent, 0)
	grand := tb.Insert(key(3), 1, Ref{}, 0)
	flagged := tb.Insert(key(4), 1, grand, 0)
	tb.Insert(key(5), 1, Ref{}, 0)
	tb.MarkFlagged(flagged)

	sweep := func(now int64) {
		for range 4 { // ancestors go one generation a pass
			tb.Sweep(now, 10)
		}
	}
	sweep(11)
	if tb.Len() != 4 {
		t.Errorf("%d entities after the short lifetime, want all but the childless one", tb.Len())
	}
	sweep(1001)
	if tb.At(child) != nil || tb.At(parent) != nil || tb.At(flagged) == nil || tb.At(grand) == nil {
		t.Error("after the long lifetime the skeleton and nothing else should be left")
	}
	sweep(5001)
	if tb.Len() != 0 {
		t.Errorf("%d entities after the skeleton's lifetime, want none", tb.Len())
	}
}

func TestFullTable(t *testing.T) {
	const limit = 500
	tb := NewTable(TableConfig{Max: limit})
	kept := tb.Insert(key(0), 1, Ref{}, 0)
	tb.MarkFlagged(kept)
	last := kept
	for n := uint64(1); n < 5000; n++ {
		r := tb.Insert(key(n), 1, last, int64(n))
		if tb.At(r).Parent != last || tb.At(last) == nil {
			t.Fatalf("insert %d evicted its own parent", n)
		}
		if tb.Len() > limit {
			t.Fatalf("%d entities, limit %d", tb.Len(), limit)
		}
		last = r
	}
	if tb.At(kept) == nil {
		t.Error("the flagged entity was evicted although others were not")
	}
	if err := tb.checkChildren(); err != nil {
		t.Error(err)
	}
	all := NewTable(TableConfig{Max: limit})
	for n := range uint64(2000) {
		all.MarkFlagged(all.Insert(key(n), 1, Ref{}, int64(n)))
	}
	if all.Len() != limit {
		t.Errorf("%d entities with everything flagged, limit %d", all.Len(), limit)
	}
}

// grown returns a table with freed places and an index in the middle of growing.
func grown() *Table {
	rng := rand.New(rand.NewPCG(3, 4))
	tb := NewTable(TableConfig{})
	var refs []Ref
	for n := range uint64(950) {
		parent := Ref{}
		if n > 0 {
			parent = refs[rng.IntN(len(refs))]
		}
		refs = append(refs, tb.Insert(key(n), EntityKind(n%5), parent, int64(n)))
		if n%7 == 0 {
			tb.Delete(refs[rng.IntN(len(refs))])
		}
	}
	return tb
}

func TestSnapshotRestore(t *testing.T) {
	a := grown()
	var snap bytes.Buffer
	if err := a.Snapshot(&snap); err != nil {
		t.Fatal(err)
	}
	b := NewTable(TableConfig{})
	if err := b.Restore(bytes.NewReader(snap.Bytes())); err != nil {
		t.Fatal(err)
	}
	for n := uint64(900); n < 1500; n++ { // both go on alike, references included
		ra, rb := a.Insert(key(n), 1, Ref{Index: uint32(n / 2), Gen: 1}, int64(n)), b.Insert(key(n), 1, Ref{Index: uint32(n / 2), Gen: 1}, int64(n))
		if ra != rb {
			t.Fatalf("insert %d: %v in the original, %v in the restored table", n, ra, rb)
		}
		if diff := cmp.Diff(*a.At(ra), *b.At(rb), cmp.AllowUnexported(Entity{})); diff != "" {
			t.Fatal(diff)
		}
	}
	var sa, sb bytes.Buffer
	if err := errors.Join(a.Snapshot(&sa), b.Snapshot(&sb)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sa.Bytes(), sb.Bytes()) {
		t.Error("snapshots differ after the same inserts")
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	var snap bytes.Buffer
	tb := NewTable(TableConfig{})
	tb.Insert(key(2), 1, tb.Insert(key(1), 1, Ref{}, 1), 2)
	if err := tb.Snapshot(&snap); err != nil {
		t.Fatal(err)
	}
	for i := range snap.Len() {
		bad := bytes.Clone(snap.Bytes())
		bad[i] ^= 0x10
		if err := NewTable(TableConfig{}).Restore(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("byte %d changed: error %v", i, err)
		}
		if err := NewTable(TableConfig{}).Restore(bytes.NewReader(snap.Bytes()[:i])); !errors.Is(err, ErrSnapshot) {
			t.Errorf("cut at %d: error %v", i, err)
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

// useRestored restores bytes and, if they are accepted, uses what came out.
func useRestored(t *testing.T, b []byte) {
	t.Helper()
	tb := NewTable(TableConfig{Max: 2000})
	if err := tb.Restore(bytes.NewReader(b)); err != nil {
		if !errors.Is(err, ErrSnapshot) || tb.Len() != 0 {
			t.Fatalf("error %v, %d entities", err, tb.Len())
		}
		return
	}
	for n := range uint64(20) {
		r, _ := tb.Get(key(n))
		tb.MarkFlagged(tb.Insert(key(n+5000), 1, r, int64(n)))
		tb.Delete(r)
	}
	tb.Sweep(1<<60, 100)
}

// tiny is the snapshot of a table with a child, a flag and a free place.
func tiny(t testing.TB) []byte {
	t.Helper()
	tb := NewTable(TableConfig{})
	tb.MarkFlagged(tb.Insert(key(2), 1, tb.Insert(key(1), 1, Ref{}, 1), 2))
	tb.Delete(tb.Insert(key(3), 1, Ref{}, 3))
	var snap bytes.Buffer
	if err := tb.Snapshot(&snap); err != nil {
		t.Fatal(err)
	}
	return snap.Bytes()
}

// TestRestoreOfForgedSnapshots changes every byte of a snapshot behind a valid
// checksum: whatever is accepted must work.
func TestRestoreOfForgedSnapshots(t *testing.T) {
	snap := tiny(t)
	for i := range len(snap) - 8 {
		for _, v := range []byte{snap[i] + 1, snap[i] ^ 0x80, 0, 0xff} {
			bad := bytes.Clone(snap)
			bad[i] = v
			useRestored(t, forge(bad))
		}
	}
}

func FuzzTableRestore(f *testing.F) {
	f.Add(tiny(f), true)
	f.Add([]byte(tableMagic), false)
	f.Fuzz(func(t *testing.T, b []byte, forged bool) {
		if forged {
			b = forge(b)
		}
		useRestored(t, b)
	})
}
