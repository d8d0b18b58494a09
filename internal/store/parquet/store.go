package parquet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Blobs keeps segments. Names are slash-separated paths. Its methods may be called
// from several goroutines. internal/store/blob has a folder and a bucket.
type Blobs interface {
	// List calls f for each blob whose name begins with prefix.
	List(ctx context.Context, prefix string, f func(name string, bytes int64)) error
	// Put stores a blob for good before it returns. A failed Put leaves no blob or all
	// of it. Putting the same name and bytes again is no error.
	Put(ctx context.Context, name string, data []byte) error
	// Open reads a blob; the error wraps fs.ErrNotExist when there is none.
	Open(ctx context.Context, name string) (File, error)
	// Move renames a blob.
	Move(ctx context.Context, from, to string) error
	// Remove deletes a blob; it is no error when there is none.
	Remove(ctx context.Context, name string) error
}

// Config says where the history is kept and how much of it. Zero values are the
// defaults named.
type Config struct {
	Blobs        Blobs
	SegmentRows  int           // a segment is full with so many rows: 1 Mi
	SegmentBytes int           // or so many bytes: 128 MiB
	MemoryBytes  int           // rows not in a segment yet, all clusters: 512 MiB
	IndexBytes   int           // indexes of segments held open: 256 MiB
	FlushAge     time.Duration // Maintain writes rows older than this into a segment: 5 minutes
	MaxAge       time.Duration // Maintain drops segments whose newest event is older; 0: never
	MaxBytes     int64         // Maintain drops the oldest segments beyond this; 0: never
	Workers      int           // goroutines of one query: 2, no more than there are processors
	Log          *slog.Logger  // slog.Default()

	groupRows int // tests make row groups small
}

func (c *Config) setDefaults() {
	c.SegmentRows = cmp.Or(c.SegmentRows, 1<<20)
	c.SegmentBytes = cmp.Or(c.SegmentBytes, 128<<20)
	c.MemoryBytes = cmp.Or(c.MemoryBytes, 512<<20)
	c.IndexBytes = cmp.Or(c.IndexBytes, 256<<20)
	c.FlushAge = cmp.Or(c.FlushAge, 5*time.Minute)
	c.Workers = cmp.Or(c.Workers, min(2, runtime.GOMAXPROCS(0)))
	c.Log = cmp.Or(c.Log, slog.Default())
	c.groupRows = cmp.Or(c.groupRows, groupRows)
}

// Store is the history. Its methods may be called from several goroutines. One Store
// at a time may write to the same blobs.
type Store struct {
	Config
	workers  int
	segments *indexes
	encoders chan *encoder
	buffered atomic.Int64 // bytes of rows not in a segment yet

	maintain sync.Mutex // one merge or retention at a time

	mu        sync.RWMutex
	list      []*segment // all that queries see
	retired   []*segment // no longer in list; deleted once no query reads them
	writers   map[string]*Writer
	positions map[string]uint64 // last sequence in a segment, at Open
	damaged   []Damage          // the latest maxDamaged
	damages   int
}

// Damage is a segment that could not be read.
type Damage struct {
	Segment string // its name; it lies under damaged/
	Reason  string
	At      time.Time
}

// maxDamaged bounds the damaged segments that Status names.
const maxDamaged = 100

// Status is how the history is doing.
type Status struct {
	Segments         int
	Rows             int64     // in segments
	Bytes            int64     // of segments
	OldestEvent      time.Time // zero when there is none
	NewestEvent      time.Time
	BufferedRows     int   // not in a segment yet
	BufferedBytes    int64 // memory they take, estimated
	DamagedSegments  int   // since Open
	Damaged          []Damage
	IndexBytes       int // memory of open segments' indexes, estimated
	SegmentsToDelete int
}

// Open finds the segments that are there, and deletes those that a merge had
// replaced when it was interrupted. The caller keeps cfg.Blobs and closes it after
// the Store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.setDefaults()
	s := &Store{
		Config: cfg, workers: cfg.Workers, segments: &indexes{blobs: cfg.Blobs, max: cfg.IndexBytes},
		encoders: make(chan *encoder, cfg.Workers), writers: map[string]*Writer{}, positions: map[string]uint64{},
	}
	for range cfg.Workers {
		s.encoders <- nil
	}
	if err := cfg.Blobs.List(ctx, segmentsFolder, s.found); err != nil {
		return nil, fmt.Errorf("listing segments: %w", err)
	}
	err := cfg.Blobs.List(ctx, damagedFolder, func(name string, _ int64) {
		if n, ok := parseName(strings.TrimPrefix(name, damagedFolder)); ok {
			s.positions[n.cluster] = max(s.positions[n.cluster], n.last)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing damaged segments: %w", err)
	}
	s.list, s.retired = superseded(s.list)
	return s, s.sweep(ctx)
}

func (s *Store) found(name string, bytes int64) {
	n, ok := parseName(strings.TrimPrefix(name, segmentsFolder))
	if !ok {
		s.Log.Warn("not a segment of the history, left alone", "name", name)
		return
	}
	s.list = append(s.list, &segment{name: n, size: bytes})
	s.positions[n.cluster] = max(s.positions[n.cluster], n.last)
}

// superseded splits off the segments whose sequences a later generation holds: the
// inputs of a merge that was interrupted before they were deleted.
func superseded(all []*segment) (kept, replaced []*segment) {
	slices.SortFunc(all, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.name.cluster, b.name.cluster), cmp.Compare(a.name.first, b.name.first),
			cmp.Compare(b.name.last, a.name.last), cmp.Compare(b.name.generation, a.name.generation))
	})
	var cover segmentName
	for _, g := range all {
		if n := g.name; n.cluster == cover.cluster && n.last <= cover.last && n.generation < cover.generation {
			replaced = append(replaced, g)
			continue
		}
		kept = append(kept, g)
		if g.name.cluster != cover.cluster || g.name.last > cover.last {
			cover = g.name
		}
	}
	return kept, replaced
}

// Close writes what is in memory into segments and closes them. The Store must not
// be used afterwards.
func (s *Store) Close(ctx context.Context) error {
	var errs []error
	for _, w := range s.allWriters() {
		errs = append(errs, w.Flush(ctx))
	}
	errs = append(errs, s.sweep(ctx))
	s.segments.closeAll()
	return errors.Join(errs...)
}

func (s *Store) allWriters() []*Writer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*Writer
	for _, w := range s.writers {
		all = append(all, w)
	}
	return all
}

// Status returns how the history is doing.
func (s *Store) Status() Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Status{
		Segments: len(s.list), BufferedBytes: s.buffered.Load(), DamagedSegments: s.damages, Damaged: slices.Clone(s.damaged),
		IndexBytes: s.segments.size(), SegmentsToDelete: len(s.retired),
	}
	for _, g := range s.list {
		st.Rows += int64(g.name.rows)
		st.Bytes += g.size
		if g.name.rows == 0 {
			continue
		}
		if from := time.Unix(0, g.name.minTime); st.OldestEvent.IsZero() || from.Before(st.OldestEvent) {
			st.OldestEvent = from
		}
		if to := time.Unix(0, g.name.maxTime); to.After(st.NewestEvent) {
			st.NewestEvent = to
		}
	}
	for _, w := range s.writers {
		st.BufferedRows += w.visible()
	}
	return st
}

// view is what a query searches: all rows at one moment. Its segments are not
// deleted until it is released.
type view struct {
	units  units
	rows   [][]Row
	pinned []*segment
	plan   Plan
}

func (s *Store) view(want *search) *view {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := &view{}
	v.plan.Segments = len(s.list)
	for _, g := range s.list {
		switch n := g.name; {
		case !want.wants(n.cluster):
			v.plan.SkippedCluster++
		case n.rows == 0 || n.maxTime < want.from || n.minTime > want.to:
			v.plan.SkippedTime++
		default:
			g.pins.Add(1)
			v.pinned = append(v.pinned, g)
			v.units = append(v.units, &unit{newest: min(n.maxTime, want.to), segment: g, cluster: n.cluster})
		}
	}
	for _, w := range s.writers {
		if want.wants(w.cluster) {
			w.view(v, want)
		}
	}
	return v
}

func (v *view) release() {
	for _, g := range v.pinned {
		g.pins.Add(-1)
	}
}

func (want *search) wants(cluster string) bool {
	return len(want.clusters) == 0 || slices.Contains(want.clusters, cluster)
}

// setAside moves a damaged segment away and says so.
func (s *Store) setAside(ctx context.Context, g *segment, reason error) {
	if !s.remove(g, Damage{Segment: g.name.String(), Reason: reason.Error(), At: time.Now()}) {
		return
	}
	s.Log.Error("a segment of the history is damaged and set aside", "segment", g.name.String(), "rows", g.name.rows, "reason", reason)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := s.Blobs.Move(ctx, segmentsFolder+g.name.String(), damagedFolder+g.name.String())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Log.Error("moving a damaged segment", "segment", g.name.String(), "error", err)
	}
}

// remove takes a damaged segment off the list; it reports whether it was there.
func (s *Store) remove(g *segment, d Damage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.list, g)
	if i < 0 {
		return false
	}
	s.list = slices.Delete(slices.Clone(s.list), i, i+1)
	g.moved = true
	s.retired = append(s.retired, g)
	s.damages++
	s.damaged = append(s.damaged, d)
	if len(s.damaged) > maxDamaged {
		s.damaged = slices.Delete(s.damaged, 0, 1)
	}
	return true
}

// sweep deletes retired segments that no query reads. What cannot be deleted is
// tried again.
func (s *Store) sweep(ctx context.Context) error {
	s.mu.RLock()
	retired := s.retired
	s.mu.RUnlock()
	var errs []error
	gone := map[*segment]bool{}
	for _, g := range retired {
		if g.pins.Load() > 0 {
			continue
		}
		s.segments.drop(g)
		if !g.moved {
			if err := s.Blobs.Remove(ctx, segmentsFolder+g.name.String()); err != nil {
				errs = append(errs, fmt.Errorf("deleting segment %q: %w", g.name.String(), err))
				continue
			}
		}
		gone[g] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = slices.DeleteFunc(slices.Clone(s.retired), func(g *segment) bool { return gone[g] })
	return errors.Join(errs...)
}
