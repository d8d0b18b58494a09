package inventory

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/clew-sec/clew/internal/event"
)

// magic begins a snapshot; its digit is the version of the layout.
const magic = "clewinv3"

// ErrSnapshot is wrapped by the errors of Restore when the bytes are not a whole,
// unchanged snapshot of this version.
var ErrSnapshot = errors.New("not an inventory snapshot")

// saved is one entry of a table, in order from the longest unused.
type saved[V any] struct {
	Key event.ID
	At  int64
	Val V
}

// stamp is one entry of a table without values.
type stamp struct {
	Key event.ID
	At  int64
}

type drops struct{ Evicted, Expired uint64 }

// state is what a snapshot holds. Objects are numbered: the tables by name and by
// UID share them.
type state struct {
	Now, Swept int64
	Drops      map[string]drops
	NameDrops  uint64

	Streams  []stamp
	Creds    []saved[*credential]
	Failures []saved[ring]
	Routines []saved[*routine]
	Homes    []saved[*home]
	Pods     []saved[*podPlace]
	Nodes    []saved[*nodePlace]
	Addrs    []saved[addressUse]
	Control  controlPlane
	Platform []string

	Objects []*Object
	ByName  []saved[int]
	ByUID   []saved[int]
	Graves  []saved[event.ID]

	Roles    []saved[*role]
	Bindings []saved[*binding]
	Older    []stamp
	Epoch    uint64
	Cause    Origin // of aggregation
}

func save[V any](t *table[V]) []saved[V] {
	out := make([]saved[V], 0, t.len())
	t.each(func(k event.ID, at int64, v *V) { out = append(out, saved[V]{k, at, *v}) })
	return out
}

func saveKeys(t *table[struct{}]) []stamp {
	out := make([]stamp, 0, t.len())
	t.each(func(k event.ID, at int64, _ *struct{}) { out = append(out, stamp{k, at}) })
	return out
}

func load[V any](t *table[V], from []saved[V]) {
	for _, s := range from {
		t.put(s.Key, s.At, s.Val)
	}
}

func loadKeys(t *table[struct{}], from []stamp) {
	for _, s := range from {
		t.put(s.Key, s.At, struct{}{})
	}
}

// Snapshot writes the whole state to w.
func (inv *Inventory) Snapshot(w io.Writer) error {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(inv.state()); err != nil {
		return fmt.Errorf("encoding inventory snapshot: %w", err)
	}
	head := binary.LittleEndian.AppendUint64([]byte(magic), uint64(body.Len()))
	sum := xxh3.Hash128(body.Bytes()).Bytes()
	head = append(head, sum[:]...)
	for _, part := range [][]byte{head, body.Bytes()} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("writing inventory snapshot: %w", err)
		}
	}
	return nil
}

func (inv *Inventory) state() *state {
	s := &state{
		Now: inv.now, Swept: inv.swept, NameDrops: inv.drops, Drops: map[string]drops{},
		Streams: saveKeys(&inv.streams), Creds: save(&inv.creds), Failures: save(&inv.failures), Routines: save(&inv.routines), Homes: save(&inv.homes),
		Pods: save(&inv.pods), Nodes: save(&inv.nodes), Addrs: save(&inv.addrs), Control: inv.control, Platform: inv.platform,
		Graves: save(&inv.objects.graves),
		Roles:  save(&inv.rbac.roles), Bindings: save(&inv.rbac.bindings), Older: saveKeys(&inv.rbac.older), Epoch: inv.rbac.epoch, Cause: inv.rbac.cause,
	}
	for _, c := range inv.counters() {
		s.Drops[c.name] = drops{*c.evicted, *c.expired}
	}
	numbers := map[*Object]int{}
	number := func(t *table[*Object]) []saved[int] {
		out := make([]saved[int], 0, t.len())
		t.each(func(k event.ID, at int64, o **Object) {
			n, ok := numbers[*o]
			if !ok {
				n = len(s.Objects)
				numbers[*o] = n
				s.Objects = append(s.Objects, *o)
			}
			out = append(out, saved[int]{k, at, n})
		})
		return out
	}
	s.ByName, s.ByUID = number(&inv.objects.byName), number(&inv.objects.byUID)
	return s
}

// Restore replaces the state by that of a snapshot. When it fails the state is
// as it was; an error that wraps ErrSnapshot says that the bytes are not a whole
// snapshot.
func (inv *Inventory) Restore(r io.Reader) error {
	s, err := readState(r)
	if err != nil {
		return err
	}
	inv.reset()
	inv.now, inv.swept, inv.drops = s.Now, s.Swept, s.NameDrops
	loadKeys(&inv.streams, s.Streams)
	load(&inv.creds, s.Creds)
	for _, c := range s.Creds {
		if c.Val.Recent != nil {
			inv.busy = append(inv.busy, c.Val)
		}
	}
	load(&inv.failures, s.Failures)
	load(&inv.routines, s.Routines)
	load(&inv.homes, s.Homes)
	load(&inv.pods, s.Pods)
	load(&inv.nodes, s.Nodes)
	load(&inv.addrs, s.Addrs)
	inv.control, inv.platform = s.Control, s.Platform
	load(&inv.objects.graves, s.Graves)
	inv.loadObjects(s)
	inv.loadGrants(s)
	for _, c := range inv.counters() {
		*c.evicted, *c.expired = s.Drops[c.name].Evicted, s.Drops[c.name].Expired
	}
	return nil
}

func readState(r io.Reader) (*state, error) {
	head := make([]byte, len(magic)+8+16)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("reading inventory snapshot: %w: %w", ErrSnapshot, err)
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("reading inventory snapshot: %w: it begins with %q", ErrSnapshot, head[:len(magic)])
	}
	size := binary.LittleEndian.Uint64(head[len(magic):])
	var body bytes.Buffer // grows with what is there, not with what the header claims
	if n, err := io.Copy(&body, io.LimitReader(r, int64(min(size, 1<<62)))); err != nil || uint64(n) != size {
		return nil, fmt.Errorf("reading inventory snapshot: %w: %d of %d bytes", errors.Join(ErrSnapshot, err), n, size)
	}
	if sum := xxh3.Hash128(body.Bytes()).Bytes(); !bytes.Equal(sum[:], head[len(magic)+8:]) {
		return nil, fmt.Errorf("reading inventory snapshot: %w: checksum differs", ErrSnapshot)
	}
	s := &state{}
	if err := gob.NewDecoder(&body).Decode(s); err != nil {
		return nil, fmt.Errorf("decoding inventory snapshot: %w: %w", ErrSnapshot, err)
	}
	for _, refs := range [][]saved[int]{s.ByName, s.ByUID} {
		for _, x := range refs {
			if x.Val < 0 || x.Val >= len(s.Objects) {
				return nil, fmt.Errorf("decoding inventory snapshot: %w: object %d of %d", ErrSnapshot, x.Val, len(s.Objects))
			}
		}
	}
	return s, nil
}

func (inv *Inventory) loadObjects(s *state) {
	for _, x := range s.ByName {
		inv.objects.byName.put(x.Key, x.At, s.Objects[x.Val])
	}
	for _, x := range s.ByUID {
		inv.objects.byUID.put(x.Key, x.At, s.Objects[x.Val])
	}
}

// loadGrants replaces the default roles too: they may have been deleted.
func (inv *Inventory) loadGrants(s *state) {
	g := &inv.rbac
	g.empty(inv.cfg.Grants, int64(inv.cfg.TTL))
	for _, x := range s.Roles {
		g.setRole(x.Val, x.At)
	}
	for _, x := range s.Bindings {
		g.setBinding(x.Val, x.At)
	}
	loadKeys(&g.older, s.Older)
	g.epoch, g.cause = s.Epoch, s.Cause
}

// Stats tells how full the inventory is and what it had to forget.
type Stats struct {
	Tables   map[string]TableStats
	Interned int    // shared strings held
	Drops    uint64 // times the shared strings were started anew
}

// TableStats is one table's share.
type TableStats struct {
	Entries int
	Evicted uint64 // dropped because the table was full
	Expired uint64 // dropped because they were long unused
}

// Stats returns the present figures.
func (inv *Inventory) Stats() Stats {
	s := Stats{Tables: map[string]TableStats{}, Interned: inv.names.Len(), Drops: inv.drops}
	for _, c := range inv.counters() {
		s.Tables[c.name] = TableStats{c.entries, *c.evicted, *c.expired}
	}
	return s
}

type counter struct {
	name             string
	entries          int
	evicted, expired *uint64
}

func counterOf[V any](name string, t *table[V]) counter {
	return counter{name, t.len(), &t.evicted, &t.expired}
}

func (inv *Inventory) counters() []counter {
	return []counter{
		counterOf("streams", &inv.streams), counterOf("credentials", &inv.creds), counterOf("failures", &inv.failures),
		counterOf("routines", &inv.routines), counterOf("homes", &inv.homes), counterOf("objects", &inv.objects.byName), counterOf("uids", &inv.objects.byUID),
		counterOf("graves", &inv.objects.graves), counterOf("pods", &inv.pods), counterOf("nodes", &inv.nodes), counterOf("addresses", &inv.addrs),
		counterOf("roles", &inv.rbac.roles), counterOf("bindings", &inv.rbac.bindings), counterOf("credits", &inv.rbac.older),
	}
}
