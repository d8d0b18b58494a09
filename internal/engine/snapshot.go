package engine

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

// magic opens a snapshot; its last byte is the version of the format.
const magic = "clewsnp\x01"

// Behind magic stands the checksum of all that follows.
const (
	sumSize  = 16
	headSize = len(magic) + sumSize
)

// ErrSnapshot marks a snapshot that cannot be restored: damaged, of another
// version, or not a snapshot.
var ErrSnapshot = errors.New("not a usable snapshot")

// own is the engine's own part of a snapshot.
type own struct {
	Held       []event.Event
	Newest     int64
	LastTime   int64
	LastStage  event.Stage
	LastID     event.ID
	Late       int64
	Duplicates int64
	Recent     [2][]event.ID
	Once       map[event.ID]int64
	Rules      []string // ids, to carry counters over to another rule set
	Stats      Stats
}

// part is one component that can be saved.
type part interface {
	Snapshot(w io.Writer) error
	Restore(r io.Reader) error
}

func (x *Engine) parts() []part { return []part{x.inv, x.graph, x.tracer} }

// Snapshot writes the whole state, events held back included. An Engine
// restored from it goes on exactly as x would.
func (x *Engine) Snapshot(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(magic)
	b.Write(make([]byte, sumSize))
	if err := section(&b, func(w io.Writer) error { return gob.NewEncoder(w).Encode(x.own()) }); err != nil {
		return fmt.Errorf("saving the window: %w", err)
	}
	for _, p := range x.parts() {
		if err := section(&b, p.Snapshot); err != nil {
			return fmt.Errorf("saving %T: %w", p, err)
		}
	}
	out := b.Bytes()
	sum := xxh3.Hash128(out[headSize:]).Bytes()
	copy(out[len(magic):], sum[:])
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return nil
}

// section appends what f writes, behind its length.
func section(b *bytes.Buffer, f func(io.Writer) error) error {
	var s bytes.Buffer
	if err := f(&s); err != nil {
		return err
	}
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(s.Len())))
	b.Write(s.Bytes())
	return nil
}

func (x *Engine) own() own {
	w := x.window
	o := own{
		Newest: w.newest, LastTime: w.last.time, LastID: w.last.id, LastStage: w.last.stage, Late: w.late, Duplicates: w.duplicates,
		Once: x.once, Stats: x.stats,
	}
	for _, h := range w.pending() {
		o.Held = append(o.Held, *h.event)
	}
	for i := range w.recent {
		o.Recent[i] = w.recent[i].ids
	}
	for i := range x.rules.Len() {
		o.Rules = append(o.Rules, x.rules.Rule(int32(i)).ID)
	}
	return o
}

// Restore replaces the state of a new Engine by a snapshot. The rule set may
// differ from the one the snapshot was taken with; counters follow the rules'
// ids. The error wraps ErrSnapshot when the bytes are not usable; then x must
// not be used.
func (x *Engine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("reading the snapshot: %w", err)
	}
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return fmt.Errorf("%w: it does not begin as one of this version", ErrSnapshot)
	}
	if len(b) < headSize {
		return fmt.Errorf("%w: it is cut short", ErrSnapshot)
	}
	sum := xxh3.Hash128(b[headSize:]).Bytes()
	if !bytes.Equal(sum[:], b[len(magic):headSize]) {
		return fmt.Errorf("%w: its checksum differs", ErrSnapshot)
	}
	b = b[headSize:]
	var o own
	if b, err = restoreSection(b, func(r io.Reader) error { return gob.NewDecoder(r).Decode(&o) }); err != nil {
		return err
	}
	x.adopt(o)
	for _, p := range x.parts() {
		if b, err = restoreSection(b, p.Restore); err != nil {
			return err
		}
	}
	return nil
}

func restoreSection(b []byte, f func(io.Reader) error) (rest []byte, err error) {
	if len(b) < 8 || uint64(len(b)-8) < binary.LittleEndian.Uint64(b) {
		return nil, fmt.Errorf("%w: it is cut short", ErrSnapshot)
	}
	n := binary.LittleEndian.Uint64(b)
	if err := f(bytes.NewReader(b[8 : 8+n])); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return b[8+n:], nil
}

func (x *Engine) adopt(o own) {
	w := x.window
	w.newest, w.last, w.late, w.duplicates = o.Newest, mark{o.LastTime, o.LastStage, o.LastID}, o.Late, o.Duplicates
	w.held, w.start = w.held[:0], 0
	for i := range o.Held {
		e := &o.Held[i]
		w.held = append(w.held, heldEvent{markOf(e), e})
	}
	for i := range w.recent {
		w.recent[i] = generation{ids: o.Recent[i]}
	}
	x.once = o.Once
	if x.once == nil {
		x.once = map[event.ID]int64{}
	}
	x.adoptStats(o)
}

func (x *Engine) adoptStats(o own) {
	hits, repeats := x.stats.RuleHits, x.stats.RuleRepeat
	x.stats = o.Stats
	x.stats.RuleHits, x.stats.RuleRepeat = hits, repeats
	old := map[string]int{}
	for i, id := range o.Rules {
		old[id] = i
	}
	for i := range hits {
		if j, ok := old[x.rules.Rule(int32(i)).ID]; ok && j < len(o.Stats.RuleHits) && j < len(o.Stats.RuleRepeat) {
			hits[i], repeats[i] = o.Stats.RuleHits[j], o.Stats.RuleRepeat[j]
		}
	}
}
