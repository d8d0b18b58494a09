package parquet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
)

// segment is a blob of the history.
type segment struct {
	name  segmentName
	size  int64
	pins  atomic.Int32 // queries and merges that may read it
	moved bool         // set aside: the blob is not to be deleted; guarded by Store.mu

	opening sync.Mutex // one goroutine opens it

	// Guarded by indexes.mu.
	table *table // nil when it is not open
	file  File
	cost  int // bytes of memory
	users int
}

// indexes keeps the indexes of segments in memory, least recently used out first.
type indexes struct {
	blobs Blobs
	max   int // bytes

	mu    sync.Mutex
	lru   []*segment // least recently used first
	bytes int
}

// open returns the table of g, which stays open until close is called as often.
// An error that wraps backendError says nothing about the segment.
func (x *indexes) open(ctx context.Context, g *segment) (*table, error) {
	g.opening.Lock()
	defer g.opening.Unlock()
	if t := x.use(g); t != nil {
		return t, nil
	}
	file, err := x.blobs.Open(ctx, segmentsFolder+g.name.String())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening: %w", err)
	}
	if err != nil {
		return nil, &backendError{fmt.Errorf("opening segment %q: %w", g.name.String(), err)}
	}
	var t *table
	var cost int
	err = recovered(func() (err error) {
		t, cost, err = openTable(file, g.size, g.name)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	g.table, g.file, g.cost, g.users = t, file, cost, 1
	x.lru = append(x.lru, g)
	x.bytes += cost
	x.evict()
	return t, nil
}

// use returns the table of g when it is open already.
func (x *indexes) use(g *segment) *table {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g.table == nil {
		return nil
	}
	g.users++
	i := slices.Index(x.lru, g)
	x.lru = append(slices.Delete(x.lru, i, i+1), g)
	return g.table
}

func (x *indexes) close(g *segment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	g.users--
	x.evict()
}

// evict closes unused segments until the rest fits.
func (x *indexes) evict() {
	for i := 0; i < len(x.lru) && x.bytes > x.max; {
		if x.lru[i].users > 0 {
			i++
			continue
		}
		x.shut(i)
	}
}

// shut closes the i-th open segment.
func (x *indexes) shut(i int) {
	g := x.lru[i]
	x.lru = slices.Delete(x.lru, i, i+1)
	x.bytes -= g.cost
	_ = g.file.Close() // it was only read
	g.table, g.file = nil, nil
}

// drop closes a segment that nobody uses any more.
func (x *indexes) drop(g *segment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i := slices.Index(x.lru, g); i >= 0 {
		x.shut(i)
	}
}

func (x *indexes) closeAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.lru) > 0 {
		x.shut(0)
	}
}

func (x *indexes) size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes
}
