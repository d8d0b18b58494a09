package parquet

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
)

const (
	// minMerge is how many small neighbours are worth a merge: each row is written
	// again log4 times at most.
	minMerge = 4
	// maxMerge bounds the segments a merge has open.
	maxMerge = 64
)

// Compact merges small segments that follow one another in the log into one, each
// row once. The new segment is stored before the old ones are deleted; its
// generation tells Open what it replaces.
func (s *Store) Compact(ctx context.Context) error {
	s.maintain.Lock()
	defer s.maintain.Unlock()
	for {
		inputs := s.mergeable()
		if len(inputs) == 0 {
			return s.sweep(ctx)
		}
		if err := s.merge(ctx, inputs); err != nil {
			return err
		}
	}
}

// mergeable returns the next neighbours to merge, pinned; none when all is well.
func (s *Store) mergeable() []*segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	byCluster := map[string][]*segment{}
	for _, g := range s.list {
		byCluster[g.name.cluster] = append(byCluster[g.name.cluster], g)
	}
	for _, all := range byCluster {
		slices.SortFunc(all, func(a, b *segment) int { return cmp.Compare(a.name.first, b.name.first) })
		if run := s.smallRun(all); len(run) >= minMerge {
			for _, g := range run {
				g.pins.Add(1)
			}
			return run
		}
	}
	return nil
}

// smallRun returns the first neighbours, minMerge or more, that are small and of
// which none is much larger than the others: a row is not written again for every
// few that follow it.
func (s *Store) smallRun(all []*segment) []*segment {
	for i := range all {
		rows, bytes, largest, n := 0, int64(0), 0, 0
		for _, g := range all[i:min(len(all), i+maxMerge)] {
			if rows+g.name.rows > s.SegmentRows || bytes+g.size > int64(s.SegmentBytes) {
				break
			}
			rows, bytes, largest, n = rows+g.name.rows, bytes+g.size, max(largest, g.name.rows), n+1
		}
		if n >= minMerge && largest <= rows/2+1 {
			return all[i : i+n]
		}
	}
	return nil
}

func (s *Store) merge(ctx context.Context, inputs []*segment) error {
	defer func() {
		for _, g := range inputs {
			g.pins.Add(-1)
		}
	}()
	n := segmentName{cluster: inputs[0].name.cluster, first: inputs[0].name.first}
	for _, g := range inputs {
		n.last, n.generation = max(n.last, g.name.last), max(n.generation, g.name.generation+1)
	}
	m := &merger{ctx: ctx, store: s}
	defer m.close()
	for _, g := range inputs {
		if err := m.add(g); err != nil {
			return s.mergeFailed(ctx, g, err)
		}
	}
	tables, damaged, err := m.tables()
	if err != nil {
		return s.mergeFailed(ctx, damaged, err)
	}
	out, err := s.store(ctx, n, tables)
	if err != nil {
		return err
	}
	s.replace(inputs, []*segment{out})
	return nil
}

// mergeFailed sets the segment aside that a merge could not read. The next look for
// neighbours does without it.
func (s *Store) mergeFailed(ctx context.Context, g *segment, err error) error {
	var backend *backendError
	if g == nil || ctx.Err() != nil || errors.As(err, &backend) {
		return fmt.Errorf("merging segments: %w", err)
	}
	s.setAside(ctx, g, err)
	return nil
}

// merger reads row groups of several segments as one stream, oldest row first.
type merger struct {
	ctx   context.Context
	store *Store
	open  []*segment
	heads heads
}

// head is a row group that is being read.
type head struct {
	segment *segment
	reader  *parquet.GenericReader[Row]
	rows    []Row // read and not taken
	buffer  []Row
}

type heads []*head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return key(&h[i].rows[0]).compare(key(&h[j].rows[0])) < 0 }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface.
func (h *heads) Push(x any) { *h = append(*h, x.(*head)) }

// Pop is heap.Interface.
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (m *merger) add(g *segment) error {
	if g.name.rows == 0 {
		return nil
	}
	t, err := m.store.segments.open(m.ctx, g)
	if err != nil {
		return err
	}
	m.open = append(m.open, g)
	return recovered(func() error {
		for i := range t.groups {
			h := &head{segment: g, reader: parquet.NewGenericRowGroupReader[Row](t.groups[i].rg), buffer: make([]Row, min(256, t.groups[i].rows))}
			more, err := h.fill()
			if err != nil {
				return errors.Join(err, h.reader.Close())
			}
			if more {
				m.heads = append(m.heads, h)
			}
		}
		return nil
	})
}

// fill reads the next rows; more is false at the end.
func (h *head) fill() (more bool, err error) {
	clear(h.buffer)
	n, err := h.reader.Read(h.buffer)
	if n == 0 && errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading rows: %w", err)
	}
	h.rows = h.buffer[:n]
	return n > 0, nil
}

// tables reads everything and returns it as row groups. A segment that cannot be
// read is returned with the error.
func (m *merger) tables() (out []*table, damaged *segment, err error) {
	heap.Init(&m.heads)
	var rows []Row
	var last rowKey
	for len(m.heads) > 0 {
		h := m.heads[0]
		if k := key(&h.rows[0]); k != last || len(rows) == 0 && len(out) == 0 {
			rows, last = append(rows, h.rows[0]), k
		}
		h.rows = h.rows[1:]
		if err := m.advance(h); err != nil {
			return nil, h.segment, err
		}
		if len(rows) < m.store.groupRows && (len(m.heads) > 0 || len(rows) == 0) {
			continue
		}
		if err := m.ctx.Err(); err != nil {
			return nil, nil, err
		}
		t, err := m.store.encode(rows)
		if err != nil {
			return nil, nil, err
		}
		out, rows = append(out, t), rows[:0]
	}
	return out, nil, nil
}

func (m *merger) advance(h *head) error {
	if len(h.rows) == 0 {
		var more bool
		err := recovered(func() (err error) {
			more, err = h.fill()
			return err
		})
		if err != nil {
			return err
		}
		if !more {
			heap.Pop(&m.heads)
			return h.reader.Close()
		}
	}
	heap.Fix(&m.heads, 0)
	return nil
}

func (m *merger) close() {
	for _, h := range m.heads {
		_ = h.reader.Close() // it was only read
	}
	for _, g := range m.open {
		m.store.segments.close(g)
	}
}
