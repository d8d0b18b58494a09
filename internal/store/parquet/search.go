package parquet

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// hit is a row that was found and not yet read.
type hit struct {
	key  rowKey
	unit *unit
	row  int  // in the unit's group
	mem  *Row // instead of unit and row
}

// unit is what is searched at once: a row group, or a segment to be opened. A unit
// knows its newest time, so units are taken newest first and the search ends where
// none can hold a wanted row.
type unit struct {
	newest  int64
	segment *segment // nil for a row group in memory
	group   *group   // nil for a segment to be opened
	cluster string
}

type units []*unit

func (u units) Len() int           { return len(u) }
func (u units) Less(i, j int) bool { return u[i].newest > u[j].newest }
func (u units) Swap(i, j int)      { u[i], u[j] = u[j], u[i] }

// Push is heap.Interface.
func (u *units) Push(x any) { *u = append(*u, x.(*unit)) }

// Pop is heap.Interface.
func (u *units) Pop() any {
	last := (*u)[len(*u)-1]
	*u = (*u)[:len(*u)-1]
	return last
}

// maxRound bounds the units searched between two looks at what was found.
const maxRound = 32

// Query returns the rows that q asks for, newest first. It gives up when ctx ends,
// with an error that wraps ctx's and a Result that holds the plan so far. Errors wrap
// ErrQuery when q is at fault. A segment that cannot be read is set aside, named in
// the plan, and the rest is served; a backend that cannot be reached is an error.
func (s *Store) Query(ctx context.Context, q Query) (Result, error) {
	want, err := q.prepare()
	if err != nil {
		return Result{}, err
	}
	view := s.view(want)
	defer view.release()
	r := &run{store: s, want: want, plan: view.plan, units: view.units}
	r.memory(view.rows)
	heap.Init(&r.units)
	defer r.close()
	for round := s.workers; ; round = min(2*round, maxRound) {
		batch := r.next(round)
		if len(batch) == 0 {
			break
		}
		if err := r.search(ctx, batch); err != nil {
			return Result{Plan: r.plan}, fmt.Errorf("searching the history: %w", err)
		}
	}
	next := ""
	if len(r.found) == want.limit {
		next = r.found[len(r.found)-1].key.cursor()
	}
	rows, err := r.rows(ctx)
	if err != nil {
		return Result{Plan: r.plan}, fmt.Errorf("reading rows of the history: %w", err)
	}
	return Result{Rows: rows, Next: next, Plan: r.plan}, nil
}

// run is a query under way.
type run struct {
	store *Store
	want  *search
	units units
	found []hit // newest first, at most the limit
	plan  Plan
	open  []*segment // to be closed
	mu    sync.Mutex // guards found, plan, units and open while units are searched
}

// memory searches rows that are in no row group yet.
func (r *run) memory(tails [][]Row) {
	var hits []hit
	for _, rows := range tails {
		r.plan.MemoryRows += len(rows)
		for i := range rows {
			if r.want.match(&rows[i]) {
				hits = append(hits, hit{key: key(&rows[i]), mem: &rows[i]})
			}
		}
	}
	r.take(hits)
}

// take merges hits into what was found. A row that is found twice, because a crash
// or a repeated delivery left it in two segments, counts once.
func (r *run) take(hits []hit) {
	if len(hits) == 0 {
		return
	}
	r.found = append(r.found, hits...)
	slices.SortFunc(r.found, func(a, b hit) int { return b.key.compare(a.key) })
	r.found = slices.CompactFunc(r.found, func(a, b hit) bool { return a.key == b.key })
	if len(r.found) > r.want.limit {
		clear(r.found[r.want.limit:])
		r.found = r.found[:r.want.limit]
	}
}

// floor returns the time below which no row is wanted any more.
func (r *run) floor() int64 {
	if len(r.found) < r.want.limit {
		return r.want.from
	}
	return max(r.want.from, r.found[len(r.found)-1].key.time)
}

// next takes up to n units that may hold wanted rows.
func (r *run) next(n int) []*unit {
	var batch []*unit
	for len(batch) < n && len(r.units) > 0 && r.units[0].newest >= r.floor() {
		batch = append(batch, heap.Pop(&r.units).(*unit))
	}
	if len(batch) == 0 {
		for _, u := range r.units {
			r.skip(u)
		}
	}
	return batch
}

// skip notes a unit older than all rows that are wanted.
func (r *run) skip(u *unit) {
	if u.group == nil {
		r.plan.SegmentsNotNeeded++
		return
	}
	r.plan.Groups++
	r.plan.GroupsNotNeeded++
}

// search looks into the units of a batch, several at once.
func (r *run) search(ctx context.Context, batch []*unit) error {
	return parallel(r.store.workers, len(batch), func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.guard(ctx, batch[i], func() error { return r.look(ctx, batch[i]) })
	})
}

// guard runs f, which reads u. When u's segment turns out to be damaged it is set
// aside and that is no error.
func (r *run) guard(ctx context.Context, u *unit, f func() error) error {
	err := recovered(f)
	var backend *backendError
	if err == nil || u.segment == nil || ctx.Err() != nil || errors.As(err, &backend) {
		return err
	}
	r.store.setAside(ctx, u.segment, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if name := u.segment.name.String(); !slices.Contains(r.plan.Damaged, name) {
		r.plan.Damaged = append(r.plan.Damaged, name)
	}
	return nil
}

// recovered turns a panic of f into an error: the decoder of Parquet pages panics on
// some malformed pages.
func recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errMalformed, p)
		}
	}()
	return f()
}

// needs reports whether u may still hold a wanted row, and from which time on: the
// batch may have found enough meanwhile.
func (r *run) needs(u *unit) (floor int64, needed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if floor = r.floor(); u.newest < floor {
		r.skip(u)
		return floor, false
	}
	return floor, true
}

func (r *run) look(ctx context.Context, u *unit) error {
	floor, needed := r.needs(u)
	if !needed {
		return nil
	}
	if u.group == nil {
		return r.expand(ctx, u)
	}
	var plan Plan
	hits, err := r.hits(u, floor, &plan)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan.Groups++
	r.plan.add(&plan)
	if err == nil {
		r.take(hits)
	}
	return err
}

// expand opens a segment and puts its row groups among the units.
func (r *run) expand(ctx context.Context, u *unit) error {
	t, err := r.store.segments.open(ctx, u.segment)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = append(r.open, u.segment)
	r.plan.SegmentsOpened++
	for i := range t.groups {
		g := &t.groups[i]
		if g.maxTime < r.want.from || g.minTime > r.want.to {
			r.plan.Groups++
			r.plan.GroupsOutOfTime++
			continue
		}
		heap.Push(&r.units, &unit{newest: min(g.maxTime, r.want.to), segment: u.segment, group: g, cluster: u.cluster})
	}
	return nil
}

func (r *run) close() {
	for _, s := range r.open {
		r.store.segments.close(s)
	}
}

// hits returns the newest rows of a group that are wanted, at most the limit.
func (r *run) hits(u *unit, floor int64, plan *Plan) ([]hit, error) {
	sc := newScan(u.group, plan)
	defer sc.done()
	rows, err := sc.rows(r.want.conds, floor, r.want.to)
	var hits []hit
	for err == nil && len(rows) > 0 && len(hits) < r.want.limit {
		part := rows[max(0, len(rows)-r.want.limit):]
		rows = rows[:len(rows)-len(part)]
		var keys []rowKey
		keys, err = sc.keys(part, u.cluster)
		for i, k := range slices.Backward(keys) {
			if r.want.after == nil || k.compare(*r.want.after) < 0 {
				hits = append(hits, hit{key: k, unit: u, row: part[i]})
			}
		}
	}
	return hits, err
}

// rows reads what was found.
func (r *run) rows(ctx context.Context) ([]Row, error) {
	out := make([]Row, len(r.found))
	groups := map[*unit][]int{}
	for i, h := range r.found {
		if h.mem != nil {
			out[i] = *h.mem
			if !r.want.raw {
				out[i].Raw = nil
			}
			continue
		}
		groups[h.unit] = append(groups[h.unit], i)
	}
	lost, err := r.read(ctx, groups, out)
	if err != nil || len(lost) == 0 {
		return out, err
	}
	kept := out[:0]
	for i := range out {
		if h := r.found[i]; h.mem != nil || !slices.Contains(lost, h.unit) {
			kept = append(kept, out[i])
		}
	}
	return kept, nil
}

// read fills the rows of each group. It returns the groups whose segment is damaged.
func (r *run) read(ctx context.Context, groups map[*unit][]int, out []Row) (lost []*unit, err error) {
	var order []*unit
	for u := range groups {
		order = append(order, u)
	}
	slices.SortFunc(order, func(a, b *unit) int { return cmp.Compare(b.newest, a.newest) })
	err = parallel(r.store.workers, len(order), func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		u, done := order[i], false
		err := r.guard(ctx, u, func() error {
			err := r.fill(u, groups[u], out)
			done = err == nil
			return err
		})
		if err == nil && !done {
			r.mu.Lock()
			defer r.mu.Unlock()
			lost = append(lost, u)
		}
		return err
	})
	return lost, err
}

// fill reads the found rows with the given indices, all of them in u.
func (r *run) fill(u *unit, indices []int, out []Row) error {
	slices.SortFunc(indices, func(a, b int) int { return cmp.Compare(r.found[a].row, r.found[b].row) })
	rows, to := make([]int, len(indices)), make([]*Row, len(indices))
	for i, n := range indices {
		rows[i], to[i] = r.found[n].row, &out[n]
	}
	var plan Plan
	sc := newScan(u.group, &plan)
	defer sc.done()
	err := sc.fill(rows, to, r.want.raw)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan.add(&plan)
	return err
}

// parallel calls f for 0..n-1 from no more than workers goroutines and returns the
// first error once all have ended.
func parallel(workers, n int, f func(i int) error) error {
	var (
		wg    sync.WaitGroup
		index atomic.Int64
		first atomic.Pointer[error]
	)
	work := func() {
		for first.Load() == nil {
			i := int(index.Add(1)) - 1
			if i >= n {
				return
			}
			if err := f(i); err != nil {
				first.CompareAndSwap(nil, &err)
			}
		}
	}
	for range min(workers, n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
