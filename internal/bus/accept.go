package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

const (
	// maxQueued is how many batches wait for one committer; further callers of
	// Accept wait with theirs until there is room.
	maxQueued = 1024

	// maxCommitters bounds the pairs of cluster and source; they come from the
	// configuration, so more is a mistake.
	maxCommitters = 4096
)

// lane is what may share a message.
type lane struct{ cluster, source string }

// committer writes the batches of one lane, one message after the other: order is
// kept, and what arrives while a message is being stored shares the next one. An
// API server in blocking mode posts one event a request, so that matters.
type committer struct {
	log   *Log
	lane  lane
	queue chan *item
	gone  chan struct{} // closed when the committer has ended

	records []file.Record // of the group in work
	packer  packer
}

// item is a batch on its way.
type item struct {
	batch   source.Batch
	bytes   int
	taken   atomic.Bool   // by the committer, or by a caller who gave up
	encoded chan struct{} // closed: the batch's records are no longer read
	done    chan error    // buffered: the result
}

// Accept stores b, as one or more messages, and returns when all are stored. The
// error wraps source.ErrUnavailable when b may be taken later, also when ctx ended
// first; a part of b may then be on the log, and consumers see it twice when it is
// sent again. It is a *source.TooLargeError when one message cannot hold a record.
// It implements source.Sink and may be called from several goroutines; batches of
// one source and cluster that wait are stored together.
func (l *Log) Accept(ctx context.Context, b source.Batch) error {
	if len(b.Records) == 0 {
		return nil
	}
	it := &item{batch: b, encoded: make(chan struct{}), done: make(chan error, 1)}
	for i := range b.Records {
		n := len(b.Records[i].Raw)
		if n > maxRaw {
			return &source.TooLargeError{Record: i, Bytes: n, Max: maxRaw}
		}
		it.bytes += n
	}
	c, err := l.committer(lane{b.Cluster, b.Source})
	if err != nil {
		return err
	}
	select {
	case c.queue <- it:
	case <-ctx.Done():
		return unavailable("waiting for room: %w", context.Cause(ctx))
	case <-c.gone:
		return errClosing
	}
	return c.wait(ctx, it)
}

// wait returns when it is stored or given up and its records are no longer read.
func (c *committer) wait(ctx context.Context, it *item) error {
	select {
	case err := <-it.done:
		return err
	case <-ctx.Done():
	case <-c.gone:
	}
	if it.taken.Swap(true) {
		<-it.encoded
	}
	select {
	case err := <-it.done: // it may just have been stored
		return err
	default:
	}
	if ctx.Err() != nil {
		return unavailable("waiting for it to be stored: %w", context.Cause(ctx))
	}
	return errClosing
}

var errClosing = unavailable("it is closing")

// committer returns the one of k, begun when it is new.
func (l *Log) committer(k lane) (*committer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosing
	}
	if c := l.committers[k]; c != nil {
		return c, nil
	}
	if err := checkNames(k.cluster, k.source); err != nil {
		return nil, err
	}
	if len(l.committers) == maxCommitters {
		return nil, unavailable("it serves %d pairs of cluster and source, no more", maxCommitters)
	}
	c := &committer{log: l, lane: k, queue: make(chan *item, maxQueued), gone: make(chan struct{})}
	l.committers[k] = c
	l.wg.Go(c.run)
	return c, nil
}

func (c *committer) run() {
	defer close(c.gone)
	for {
		select {
		case <-c.log.stop:
			return
		case it := <-c.queue:
			c.commit(c.group(it))
		}
	}
}

// group returns first and what waits behind it, up to about one message. Callers
// who gave up are left out.
func (c *committer) group(first *item) []*item {
	var group []*item
	bytes := 0
	for it := first; ; {
		if !it.taken.Swap(true) {
			group = append(group, it)
			bytes += it.bytes
		}
		if bytes >= softRaw {
			return group
		}
		select {
		case it = <-c.queue:
		default:
			return group
		}
	}
}

// commit stores a group and tells its callers. One record that is too large fails
// its own batch only.
func (c *committer) commit(group []*item) {
	if len(group) == 0 {
		return
	}
	messages, err := c.encode(group)
	var tooLarge *source.TooLargeError
	if errors.As(err, &tooLarge) && len(group) > 1 {
		for i := range group {
			c.commit(group[i : i+1])
		}
		return
	}
	for _, it := range group {
		close(it.encoded)
	}
	for _, m := range messages {
		var seq uint64
		if seq, err = c.log.publish(c.log.life, c.lane.cluster, m.data); err != nil {
			break
		}
		c.log.recent.put(seq, m.batch)
	}
	for _, it := range group {
		it.done <- err
	}
}

// encode returns the messages of a group. They say when the last of its batches was
// received.
func (c *committer) encode(group []*item) ([]packed, error) {
	b := group[0].batch
	if len(group) > 1 {
		b.Records = c.records[:0]
		for _, it := range group {
			b.Records = append(b.Records, it.batch.Records...)
			b.ReceivedNanos = max(b.ReceivedNanos, it.batch.ReceivedNanos)
		}
		c.records = b.Records
		defer clear(c.records) // they would keep the callers' buffers alive
	}
	return c.packer.messages(b, c.log.maxMessage())
}

// Tick stores a message without records that says what time it is, so that the
// windows of all consumers move on deterministically when nothing happens. Errors
// are those of Accept.
func (l *Log) Tick(ctx context.Context, cluster string, at time.Time) error {
	if err := checkNames(cluster, ""); err != nil {
		return err
	}
	_, err := l.publish(ctx, cluster, encodeTick(cluster, at.UnixNano()))
	return err
}
