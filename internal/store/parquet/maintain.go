package parquet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// Maintain does what is due: it writes rows older than FlushAge into segments, merges
// small segments, drops what is beyond MaxAge and MaxBytes, and deletes what was
// replaced. It is called every few seconds, from one place; what failed is tried
// again by the next call.
func (s *Store) Maintain(ctx context.Context, now time.Time) error {
	var errs []error
	for _, w := range s.allWriters() {
		errs = append(errs, w.flushOlder(ctx, now.Add(-s.FlushAge)))
	}
	errs = append(errs, s.Compact(ctx), s.Retain(ctx, now))
	return errors.Join(errs...)
}

// flushOlder flushes when the oldest row in memory was taken before limit.
func (w *Writer) flushOlder(ctx context.Context, limit time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == w.Position() || w.since.After(limit) {
		return nil
	}
	return w.flush(ctx)
}

// Retain drops the segments whose newest event is older than MaxAge, then the oldest
// until the rest is no larger than MaxBytes. The sequence a cluster has come to
// survives its rows, in a segment without rows.
func (s *Store) Retain(ctx context.Context, now time.Time) error {
	s.maintain.Lock()
	defer s.maintain.Unlock()
	// A segment that a merge replaced must be gone before its replacement may go: it
	// would come back with the next Open.
	if err := s.sweep(ctx); err != nil {
		return err
	}
	for _, g := range s.expired(now) {
		if err := s.expire(ctx, g); err != nil {
			return err
		}
	}
	return s.sweep(ctx)
}

// SetRetention replaces Config.MaxAge and Config.MaxBytes.
func (s *Store) SetRetention(maxAge time.Duration, maxBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.MaxAge, s.MaxBytes = maxAge, maxBytes
}

// expired returns the segments to drop, and markers that a later segment has made
// needless.
func (s *Store) expired(now time.Time) []*segment {
	s.mu.RLock()
	all := slices.Clone(s.list)
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *segment) int { return cmp.Compare(a.name.maxTime, b.name.maxTime) })
	s.mu.RLock()
	maxAge, maxBytes := s.MaxAge, s.MaxBytes
	s.mu.RUnlock()
	oldest, bytes := int64(math.MinInt64), int64(0)
	if maxAge > 0 {
		oldest = now.Add(-maxAge).UnixNano()
	}
	last := map[string]uint64{}
	for _, g := range all {
		bytes += g.size
		last[g.name.cluster] = max(last[g.name.cluster], g.name.last)
	}
	var out []*segment
	for _, g := range all {
		switch {
		case g.name.rows == 0 && g.name.last == last[g.name.cluster]:
		case g.name.rows == 0, g.name.maxTime < oldest, maxBytes > 0 && bytes > maxBytes:
			out = append(out, g)
			bytes -= g.size
		}
	}
	return out
}

// expire drops a segment. When it is the one that says how far its cluster has come,
// one without rows takes its place first.
func (s *Store) expire(ctx context.Context, g *segment) error {
	var marker []*segment
	if newest := s.newestOf(g.name.cluster); len(newest) > 0 && newest[0] == g {
		m, err := s.store(ctx, segmentName{cluster: g.name.cluster, first: g.name.first, last: g.name.last, generation: g.name.generation + 1}, nil)
		if err != nil {
			return err
		}
		marker = append(marker, m)
	}
	s.replace([]*segment{g}, marker)
	return nil
}

// store puts a segment made of tables.
func (s *Store) store(ctx context.Context, n segmentName, tables []*table) (*segment, error) {
	data, err := seal(&n, tables)
	if err != nil {
		return nil, err
	}
	if err := s.Blobs.Put(ctx, segmentsFolder+n.String(), data); err != nil {
		return nil, fmt.Errorf("storing segment %q: %w", n.String(), err)
	}
	return &segment{name: n, size: int64(len(data))}, nil
}

// replace swaps segments of the list; the old ones are deleted by sweep.
func (s *Store) replace(old, with []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(s.list), func(g *segment) bool { return slices.Contains(old, g) })
	s.list = append(kept, with...)
	for _, g := range old {
		if !g.moved {
			s.retired = append(s.retired, g)
		}
	}
}

// newestOf returns the segments of a cluster by descending sequence.
func (s *Store) newestOf(cluster string) []*segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*segment
	for _, g := range s.list {
		if g.name.cluster == cluster {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *segment) int { return cmp.Compare(b.name.last, a.name.last) })
	return out
}

// eachID calls f with the event ids of a segment.
func (s *Store) eachID(ctx context.Context, g *segment, f func(event.ID)) error {
	t, err := s.segments.open(ctx, g)
	if err != nil {
		return err
	}
	defer s.segments.close(g)
	return recovered(func() error {
		for i := range t.groups {
			var plan Plan
			sc := newScan(&t.groups[i], &plan)
			err := sc.each(colID, func(v vector) {
				for i := range v.len() {
					f(event.ID(v.at(i)))
				}
			})
			sc.done()
			if err != nil {
				return err
			}
		}
		return nil
	})
}
