package parquet

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// recentIDs is how many event ids a Writer remembers at least, to drop records that
// were delivered twice. It is more than a row group holds, so none has a row twice.
const recentIDs = 2 * groupRows

// Writer takes the rows of one cluster. Rows can be queried once Append has
// returned, and are on disk once Position has passed their sequence. Its methods may
// be called from several goroutines; rows come in the order of the log.
type Writer struct {
	store   *Store
	cluster string

	mu     sync.Mutex // one Append or Flush at a time
	recent recent
	first  uint64    // sequence of the first message not in a segment
	last   uint64    // sequence of the last message taken
	since  time.Time // when the oldest of them was taken
	bytes  int64     // memory of rows and tables
	sealed *sealed   // a segment whose Put failed

	// Guarded by Store.mu, changed with mu held.
	rows     [][]Row  // not in a row group yet, as they came; never changed
	tables   []*table // row groups not in a segment yet
	position uint64
}

// sealed is a segment that is ready to be put. It is put under the same name until
// that succeeds: had an earlier attempt reached the bucket after all, this one
// replaces it.
type sealed struct {
	name segmentName
	data []byte
}

// Writer returns the writer of a cluster. It reads the ids of the newest rows. Every
// call with the same name returns the same Writer.
func (s *Store) Writer(ctx context.Context, cluster string) (*Writer, error) {
	if err := checkCluster(cluster); err != nil {
		return nil, err
	}
	w := s.writer(cluster)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.recent.ready {
		return w, nil
	}
	if err := s.remember(ctx, w); err != nil {
		return nil, fmt.Errorf("reading recent ids of cluster %q: %w", cluster, err)
	}
	w.recent.ready = true
	return w, nil
}

func (s *Store) writer(cluster string) *Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writers[cluster]
	if w == nil {
		at := s.positions[cluster]
		w = &Writer{store: s, cluster: cluster, position: at, last: at}
		s.writers[cluster] = w
	}
	return w
}

// Position returns the sequence of the last message whose rows are all in segments:
// the consumer goes on after it. 0 when there is none.
func (w *Writer) Position() uint64 {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	return w.position
}

// Append takes all rows of the log's message seq; none for a message without events.
// Sequences rise; a message taken before is ignored, and so are rows whose event was
// taken lately. The Writer owns rows from then on. An error says that nothing was
// taken and that the same call may be made again: the backend takes no segments and
// memory is full.
func (w *Writer) Append(ctx context.Context, rows []Row, seq uint64) error {
	if err := w.store.makeRoom(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.last {
		return nil
	}
	if w.full() {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	if w.last == w.Position() {
		w.first, w.since = w.last+1, time.Now()
	}
	w.last = seq
	w.take(rows, seq)
	if count(w.rows) >= w.store.groupRows {
		return w.group()
	}
	return nil
}

func count(parts [][]Row) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// full reports whether what is in memory makes a segment.
func (w *Writer) full() bool {
	rows, bytes := count(w.rows), 0
	for _, t := range w.tables {
		rows += int(t.file.NumRows())
		bytes += len(t.bytes)
	}
	return rows >= w.store.SegmentRows || bytes >= w.store.SegmentBytes
}

func (w *Writer) take(rows []Row, seq uint64) {
	bytes := 0
	rows = slices.DeleteFunc(rows, func(r Row) bool { return !w.recent.add(r.ID) })
	for i := range rows {
		rows[i].Cluster, rows[i].Seq = w.cluster, seq
		bytes += rows[i].bytes()
	}
	if len(rows) == 0 {
		return
	}
	w.grow(int64(bytes))
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.rows = append(w.rows, rows)
}

func (w *Writer) grow(bytes int64) {
	w.bytes += bytes
	w.store.buffered.Add(bytes)
}

// group makes a row group of the rows.
func (w *Writer) group() error {
	if len(w.rows) == 0 {
		return nil
	}
	t, err := w.store.encode(w.rows...)
	if err != nil {
		return err
	}
	bytes := int64(len(t.bytes))
	for _, part := range w.rows {
		for i := range part {
			bytes -= int64(part[i].bytes())
		}
	}
	w.grow(bytes)
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.tables, w.rows = append(w.tables, t), nil
	return nil
}

func (s *Store) encode(rows ...[]Row) (*table, error) {
	e := <-s.encoders
	if e == nil {
		e = newEncoder()
	}
	defer func() { s.encoders <- e }()
	return e.encode(rows)
}

// Flush writes what is in memory into a segment. Nothing is lost when it fails.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush(ctx)
}

func (w *Writer) flush(ctx context.Context) error {
	if w.sealed != nil {
		if err := w.put(ctx); err != nil {
			return err
		}
	}
	if w.last == w.Position() {
		return nil
	}
	if err := w.group(); err != nil {
		return err
	}
	n := segmentName{cluster: w.cluster, first: w.first, last: w.last}
	data, err := seal(&n, w.tables)
	if err != nil {
		return err
	}
	w.sealed = &sealed{name: n, data: data}
	return w.put(ctx)
}

// seal makes a segment of tables and completes its name.
func seal(n *segmentName, tables []*table) (data []byte, err error) {
	if len(tables) == 0 {
		t, err := newEncoder().encode(nil)
		if err != nil {
			return nil, err
		}
		tables = []*table{t}
	}
	if data, n.index, err = splice(tables); err != nil {
		return nil, err
	}
	n.checksum = crc32.Checksum(data[len(data)-n.index:], castagnoli)
	for _, t := range tables {
		for _, g := range t.groups {
			if n.rows == 0 {
				n.minTime, n.maxTime = g.minTime, g.maxTime
			}
			n.rows += g.rows
			n.minTime, n.maxTime = min(n.minTime, g.minTime), max(n.maxTime, g.maxTime)
		}
	}
	return data, nil
}

// put stores the sealed segment and lets queries read it instead of the tables it
// was made of.
func (w *Writer) put(ctx context.Context) error {
	n := w.sealed.name
	if err := w.store.Blobs.Put(ctx, segmentsFolder+n.String(), w.sealed.data); err != nil {
		return fmt.Errorf("storing segment %q: %w", n.String(), err)
	}
	g := &segment{name: n, size: int64(len(w.sealed.data))}
	w.sealed = nil
	w.first, w.since = n.last+1, time.Now()
	var freed int64
	w.store.mu.Lock()
	w.store.list = append(w.store.list, g)
	kept := w.tables[:0:0]
	rows := 0
	for _, t := range w.tables {
		if rows >= n.rows { // made after the segment was sealed
			kept = append(kept, t)
			continue
		}
		rows += int(t.file.NumRows())
		freed += int64(len(t.bytes))
	}
	w.tables, w.position = kept, n.last
	w.store.mu.Unlock()
	w.grow(-freed)
	return nil
}

// visible returns the rows in memory. Store.mu is held.
func (w *Writer) visible() int {
	n := count(w.rows)
	for _, t := range w.tables {
		n += int(t.file.NumRows())
	}
	return n
}

// view adds the rows in memory to v. Store.mu is held.
func (w *Writer) view(v *view, want *search) {
	v.rows = append(v.rows, w.rows...)
	for _, t := range w.tables {
		for i := range t.groups {
			if g := &t.groups[i]; g.maxTime >= want.from && g.minTime <= want.to {
				v.units = append(v.units, &unit{newest: min(g.maxTime, want.to), group: g, cluster: w.cluster})
			} else {
				v.plan.Groups++
				v.plan.GroupsOutOfTime++
			}
		}
	}
}

// makeRoom encodes the largest writer's rows, or puts what it has encoded into a
// segment, while all of them are more than memory may hold.
func (s *Store) makeRoom(ctx context.Context) error {
	for s.buffered.Load() > int64(s.MemoryBytes) {
		largest := s.largest()
		before := s.buffered.Load()
		if err := largest.shrink(ctx); err != nil {
			return err
		}
		if s.buffered.Load() >= before {
			return nil // another goroutine was faster
		}
	}
	return nil
}

// shrink makes a row group of the rows, which takes a twentieth of their memory,
// unless what is encoded is the larger part: small segments would be merged, and
// each row encoded again.
func (w *Writer) shrink(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	encoded := int64(0)
	for _, t := range w.tables {
		encoded += int64(len(t.bytes))
	}
	if encoded < w.bytes-encoded {
		return w.group()
	}
	return w.flush(ctx)
}

func (s *Store) largest() *Writer {
	var largest *Writer
	most := int64(-1)
	for _, w := range s.allWriters() {
		w.mu.Lock()
		if w.bytes > most {
			largest, most = w, w.bytes
		}
		w.mu.Unlock()
	}
	return largest
}

// recent is a set of ids that forgets the oldest.
type recent struct {
	ready    bool
	cur, old map[event.ID]struct{}
}

// add adds id; it reports whether it was not there.
func (r *recent) add(id event.ID) bool {
	if _, ok := r.cur[id]; ok {
		return false
	}
	if _, ok := r.old[id]; ok {
		return false
	}
	if r.cur == nil || len(r.cur) >= recentIDs {
		r.cur, r.old = map[event.ID]struct{}{}, r.cur
	}
	r.cur[id] = struct{}{}
	return true
}

// remember puts the ids of the newest segments of the writer's cluster into its set.
func (s *Store) remember(ctx context.Context, w *Writer) error {
	left := recentIDs
	for _, g := range s.newestOf(w.cluster) {
		if left <= 0 {
			break
		}
		err := s.eachID(ctx, g, func(id event.ID) { w.recent.add(id) })
		var backend *backendError
		switch {
		case errors.As(err, &backend) || ctx.Err() != nil:
			return err
		case err != nil:
			s.setAside(ctx, g, err)
		default:
			left -= g.name.rows
		}
	}
	return nil
}
