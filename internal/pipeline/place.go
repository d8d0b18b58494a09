package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/store/parquet"
)

// Positions in a log mean nothing in another one: its numbers begin anew. So each is
// kept together with the id of the log that it counts, and when a log was deleted or
// restored the new one is read from its beginning. Events that come again are known by
// their ids.

// Mark says which log the positions of a history count.
type Mark struct {
	Log  int64  // id, see bus.Identity
	Base uint64 // the history's position that is the log's position 0
}

// Marks keeps the mark of each cluster.
type Marks interface {
	// LoadMark returns the mark saved last; false when there is none.
	LoadMark(ctx context.Context, cluster string) (Mark, bool, error)
	// SaveMark keeps m for good before it returns.
	SaveMark(ctx context.Context, cluster string, m Mark) error
}

// numbered is the history of a cluster by the numbers of the log as it is now. The
// history's own go on from one log to the next.
type numbered struct {
	Archive
	base atomic.Int64 // -1: not known yet
	log  atomic.Int64 // id of the log
}

func newNumbered(a Archive) *numbered {
	n := &numbered{Archive: a}
	n.base.Store(-1)
	return n
}

// Append implements Archive.
func (n *numbered) Append(ctx context.Context, rows []parquet.Row, seq uint64) error {
	return n.Archive.Append(ctx, rows, seq+uint64(n.base.Load()))
}

// Position implements Archive. It is 0 until the log is known.
func (n *numbered) Position() uint64 {
	base, p := n.base.Load(), n.Archive.Position()
	if base < 0 {
		return 0
	}
	return p - min(p, uint64(base))
}

// place takes up the log. It reports whether that is another one than the history was
// written from, or has lost its end; behind says that a reader has found so.
func (n *numbered) place(ctx context.Context, marks Marks, cluster string, log bus.Identity, behind bool) (replaced bool, err error) {
	m, known, err := marks.LoadMark(ctx, cluster)
	if err != nil {
		return false, err
	}
	if err := n.Flush(ctx); err != nil { // rows in memory have positions too
		return false, err
	}
	p, next := n.Archive.Position(), Mark{Log: log.ID, Base: m.Base}
	switch {
	case behind, known && m.Log != log.ID, p > m.Base && p-m.Base > log.Last:
		replaced, next.Base = true, p-min(p, log.Before)
	case m.Base > p: // the history was taken away
		next.Base = 0
	}
	if next != m || !known {
		if err := marks.SaveMark(ctx, cluster, next); err != nil {
			return false, err
		}
	}
	n.base.Store(int64(next.Base))
	n.log.Store(log.ID)
	return replaced, nil
}

// place takes up the log, behind the position that is returned. When the state was
// built from another log, or this one has lost its end, which behind says, what was
// learnt stays.
func (w *Worker) place(log bus.Identity, behind bool) uint64 {
	replaced := behind || w.log != 0 && w.log != log.ID || w.pos > log.Last
	w.log = log.ID
	w.mu.Lock()
	w.keptLog = log.ID
	if replaced {
		w.status.Saved = 0 // of the log before
	}
	w.mu.Unlock()
	if replaced {
		w.rewind(log.Before)
		w.tellReplaced("engine", log)
	}
	w.note("")
	return w.pos
}

// kept returns the last message in a stored snapshot, and the id of the log that it
// is of.
func (w *Worker) kept() (saved uint64, log int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status.Saved, w.keptLog
}

// tellReplaced says that the log is another one, or was cut, where it is seen: in the
// log of the server, its status and its metrics.
func (w *Worker) tellReplaced(reader string, log bus.Identity) {
	w.cfg.Log.Error("the log was replaced or lost its end: what stood on it and was not read is lost; reading goes on with what it has now",
		"cluster", w.cfg.Cluster, "reader", reader, "made", time.Unix(0, log.ID).UTC(), "messages", log.Last)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Replaced = time.Now()
}

// missed counts messages that were gone from the log, or damaged, before the engine
// had them.
func (w *Worker) missed(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Missed += n
}

// missedByHistory is missed for the history.
func (w *Worker) missedByHistory(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.MissedByHistory += n
}

// reader reads the log of a cluster behind position for f; behind says that it ended
// before that.
func (l *Live) reader(cluster string, after uint64, f func(Reader) error) (behind bool, err error) {
	r, err := l.cfg.Log.Read(l.ctx, cluster, after)
	if err != nil {
		return false, err
	}
	defer r.Close()
	err = f(r)
	_, behind = errors.AsType[*bus.AheadError](err)
	return behind, err
}
