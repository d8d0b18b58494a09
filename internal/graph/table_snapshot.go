package graph

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/zeebo/xxh3"
)

const entitySize = int64(unsafe.Sizeof(Entity{}))

// ErrSnapshot is wrapped by every error of Restore that says that the bytes
// are not a snapshot this version can read: foreign, cut short or damaged.
var ErrSnapshot = errors.New("not a readable entity table snapshot")

// tableMagic carries the version: a change of layout changes it.
const tableMagic = "clewtab1"

// recordSize is an entity in a snapshot: its fields in order, little endian.
const recordSize = 16 + 16 + 8 + 8 + 8 + 8 + 4*6 + 1 + 1 + 2 + 4

// Snapshot writes all entities. References stay valid across it: places and
// generations are kept, those of free places too.
func (t *Table) Snapshot(w io.Writer) error {
	sum := xxh3.New()
	b := bufio.NewWriterSize(w, 256<<10)
	out := io.MultiWriter(b, sum)
	head := binary.LittleEndian.AppendUint32([]byte(tableMagic), t.top)
	head = binary.LittleEndian.AppendUint32(head, t.hand)
	if _, err := out.Write(head); err != nil {
		return fmt.Errorf("writing entity table: %w", err)
	}
	var buf [recordSize]byte
	for i := uint32(1); i <= t.top; i++ {
		if _, err := out.Write(appendEntity(buf[:0], t.place(i))); err != nil {
			return fmt.Errorf("writing entity table: %w", err)
		}
	}
	// The order of free places decides which is taken next.
	for _, i := range t.free {
		if _, err := out.Write(binary.LittleEndian.AppendUint32(buf[:0], i)); err != nil {
			return fmt.Errorf("writing entity table: %w", err)
		}
	}
	if _, err := b.Write(binary.LittleEndian.AppendUint64(nil, sum.Sum64())); err != nil {
		return fmt.Errorf("writing entity table: %w", err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing entity table: %w", err)
	}
	return nil
}

func appendEntity(b []byte, e *Entity) []byte {
	le := binary.LittleEndian
	b = append(append(b, e.Key[:]...), e.Unit[:]...)
	for _, v := range [...]uint32{e.Parent.Index, e.Parent.Gen, e.Creator.Index, e.Creator.Gen} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(le.AppendUint64(b, uint64(e.First)), uint64(e.Last))
	for _, v := range [...]uint32{e.Name, e.Namespace, e.Resource, e.Sketch, e.Children, e.gen} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint16(append(b, byte(e.Kind), e.Depth), uint16(e.Flags))
	return le.AppendUint32(b, e.Aux)
}

func decodeEntity(b []byte) (e Entity) {
	le := binary.LittleEndian
	copy(e.Key[:], b)
	copy(e.Unit[:], b[16:])
	e.Parent = Ref{le.Uint32(b[32:]), le.Uint32(b[36:])}
	e.Creator = Ref{le.Uint32(b[40:]), le.Uint32(b[44:])}
	e.First, e.Last = int64(le.Uint64(b[48:])), int64(le.Uint64(b[56:]))
	e.Name, e.Namespace, e.Resource = le.Uint32(b[64:]), le.Uint32(b[68:]), le.Uint32(b[72:])
	e.Sketch, e.Children, e.gen = le.Uint32(b[76:]), le.Uint32(b[80:]), le.Uint32(b[84:])
	e.Kind, e.Depth, e.Flags = EntityKind(b[88]), b[89], EntityFlags(le.Uint16(b[90:]))
	e.Aux = le.Uint32(b[92:])
	return e
}

// tableReader reads a snapshot and keeps its checksum.
type tableReader struct {
	r   *bufio.Reader
	sum *xxh3.Hasher
}

func (r *tableReader) read(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: cut short", ErrSnapshot)
		}
		return fmt.Errorf("reading entity table: %w", err)
	}
	_, _ = r.sum.Write(b) // a hash does not fail
	return nil
}

// Restore replaces the table's entities by a snapshot's; its limits stay. On an
// error, which wraps ErrSnapshot unless reading itself went wrong, the table is
// unchanged. It allocates no more than in proportion to what it has read.
func (t *Table) Restore(r io.Reader) error {
	in := &tableReader{bufio.NewReaderSize(r, 256<<10), xxh3.New()}
	n := NewTable(t.cfg)
	head := make([]byte, len(tableMagic)+8)
	if err := in.read(head); err != nil {
		return err
	}
	if string(head[:len(tableMagic)]) != tableMagic {
		return fmt.Errorf("%w: begins with %q, not %q", ErrSnapshot, head[:len(tableMagic)], tableMagic)
	}
	top := binary.LittleEndian.Uint32(head[len(tableMagic):])
	n.hand = binary.LittleEndian.Uint32(head[len(tableMagic)+4:])
	if n.hand > top || top == tombstone {
		return fmt.Errorf("%w: hand at %d of %d", ErrSnapshot, n.hand, top)
	}
	free, err := n.readEntities(in, top)
	if err != nil {
		return err
	}
	if err := n.readFree(in, free); err != nil {
		return err
	}
	want := in.sum.Sum64()
	var sum [8]byte
	if err := in.read(sum[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(sum[:]) != want {
		return fmt.Errorf("%w: checksum differs", ErrSnapshot)
	}
	if err := n.checkChildren(); err != nil {
		return err
	}
	n.stats = t.stats
	*t = *n
	return nil
}

// readEntities fills the places and the index; it returns how many are free.
func (t *Table) readEntities(in *tableReader, top uint32) (free int, err error) {
	var buf [recordSize]byte
	for range top {
		if err := in.read(buf[:]); err != nil {
			return 0, err
		}
		e := decodeEntity(buf[:])
		i := t.alloc()
		if e.Flags&flagLive == 0 {
			if e != (Entity{gen: e.gen}) {
				return 0, fmt.Errorf("%w: free place %d is not empty", ErrSnapshot, i)
			}
			t.place(i).gen = e.gen
			free++
			continue
		}
		h := hashKey(e.Key)
		if t.find(e.Key, h) != 0 {
			return 0, fmt.Errorf("%w: key %s twice", ErrSnapshot, e.Key)
		}
		*t.place(i) = e
		t.index.insert(h, i)
	}
	return free, nil
}

func (t *Table) readFree(in *tableReader, n int) error {
	var buf [4]byte
	seen := make(map[uint32]bool, n)
	for range n {
		if err := in.read(buf[:]); err != nil {
			return err
		}
		i := binary.LittleEndian.Uint32(buf[:])
		if i == 0 || i > t.top || t.place(i).Flags&flagLive != 0 || seen[i] {
			return fmt.Errorf("%w: place %d is not free", ErrSnapshot, i)
		}
		seen[i] = true
		t.free = append(t.free, i)
	}
	return nil
}

// checkChildren holds the counts of children against the parents named.
func (t *Table) checkChildren() error {
	have := make([]uint32, t.top+1)
	for i := uint32(1); i <= t.top; i++ {
		if e := t.place(i); e.Flags&flagLive != 0 && t.At(e.Parent) != nil {
			have[e.Parent.Index]++
		}
	}
	for i := uint32(1); i <= t.top; i++ {
		if e := t.place(i); e.Children != have[i] {
			return fmt.Errorf("%w: place %d says %d children, has %d", ErrSnapshot, i, e.Children, have[i])
		}
	}
	return nil
}
