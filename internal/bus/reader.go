package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/clew-sec/clew/internal/source"
)

const (
	// lookAgain is how long a reader at the end of the log waits before it looks
	// by itself. Who stores a message wakes it, but that call may be lost.
	lookAgain = 500 * time.Millisecond

	// settle is how long a cluster may claim to have less than was read of it: a
	// new leader may not have caught up with its own log yet.
	settle = 15 * time.Second
)

// Message is one message of the log.
type Message struct {
	Seq uint64 // its position: dense and ascending from 1 in each cluster

	// Batch is what was accepted, with positions "<source>@<seq>" and the number in
	// the message. Its records are shared with other readers: nobody changes them.
	Batch source.Batch

	// Tick says that the message has no records but a time, Batch.ReceivedNanos.
	Tick bool
}

// GapError says that messages From to To, both included, are no longer on the log:
// they were trimmed, grew too old or were damaged. Reading goes on behind them.
type GapError struct {
	Cluster  string
	From, To uint64
}

// Error gives the positions.
func (e *GapError) Error() string {
	return fmt.Sprintf("messages %d to %d of cluster %q are no longer on the log", e.From, e.To, e.Cluster)
}

// AheadError says that a position is behind the end of the log: it was replaced, or
// a power cut took messages that had been read. Each further Next says so until the
// log has grown past it; the reader's owner decides what its position is worth.
type AheadError struct {
	Cluster     string
	After, Last uint64
}

// Error gives the positions.
func (e *AheadError) Error() string {
	return fmt.Sprintf("the log of cluster %q ends at message %d, before position %d: it was replaced or lost its end", e.Cluster, e.Last, e.After)
}

// DamagedError says that message Seq cannot be read. Reading goes on behind it.
type DamagedError struct {
	Cluster string
	Seq     uint64
	Err     error
}

// Error gives position and reason.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("message %d of cluster %q: %v", e.Seq, e.Cluster, e.Err)
}

// Unwrap returns the reason.
func (e *DamagedError) Unwrap() error { return e.Err }

// Reader reads the log of one cluster. It is not safe for concurrent use.
type Reader struct {
	log     *Log
	cluster string
	next    uint64
	stream  jetstream.Stream // nil until it was found
	wake    chan struct{}
	sub     *nats.Subscription

	looked  bool      // that nothing is missing was checked since the last message
	ahead   time.Time // since when the log is shorter than what was read
	failing bool      // the last request failed, which was logged
}

// Read returns a reader that begins behind position after; 0 is the beginning. The
// cluster need not have messages yet. The caller closes the reader.
func (l *Log) Read(_ context.Context, cluster string, after uint64) (*Reader, error) {
	if err := checkNames(cluster, ""); err != nil {
		return nil, err
	}
	r := &Reader{log: l, cluster: cluster, next: after + 1, wake: make(chan struct{}, 1)}
	var err error
	r.sub, err = l.nc.Subscribe(wakeSubject(cluster), func(*nats.Msg) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log of cluster %q: %w", cluster, err)
	}
	return r, nil
}

// Position returns where the reader is: behind the message, or the gap, that Next
// told of last.
func (r *Reader) Position() uint64 { return r.next - 1 }

// Close ends the reader.
func (r *Reader) Close() { _ = r.sub.Unsubscribe() }

// Next returns the next message and waits for one as long as ctx lives; then it
// returns ctx's error. A *GapError or *DamagedError is about messages that are
// missing, and the next call goes on behind them; see also AheadError. A log that
// does not answer is waited for: the reader goes on when it is back.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	for {
		if b, ok := r.log.recent.get(r.cluster, r.next); ok && ctx.Err() == nil {
			return r.deliver(Message{Seq: r.next, Batch: b}), nil
		}
		msg, err := r.fetch(ctx, r.next)
		switch {
		case err == nil:
			return r.unpack(msg)
		case ctx.Err() != nil:
			return Message{}, ctx.Err()
		case r.log.nc.IsClosed():
			return Message{}, fmt.Errorf("reading the log of cluster %q: %w", r.cluster, nats.ErrConnectionClosed)
		case notThere(err):
			if err := r.atEnd(ctx); err != nil {
				return Message{}, err
			}
		default:
			r.afterFailure(ctx, err)
		}
	}
}

func notThere(err error) bool {
	return errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// fetch returns the message at seq.
func (r *Reader) fetch(ctx context.Context, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if r.stream == nil {
		stream, err := r.log.js.Stream(ctx, streamOf(r.cluster))
		if err != nil {
			return nil, err
		}
		r.stream = stream
	}
	return r.stream.GetMsg(ctx, seq, opts...)
}

func (r *Reader) unpack(msg *jetstream.RawStreamMsg) (Message, error) {
	b, tick, err := decode(msg.Data)
	if err == nil && b.Cluster != r.cluster {
		err = fmt.Errorf("%w: it is of cluster %q", errMalformed, b.Cluster)
	}
	locate(b, msg.Sequence)
	m := r.deliver(Message{Seq: msg.Sequence, Batch: b, Tick: tick})
	if err != nil {
		return Message{}, &DamagedError{Cluster: r.cluster, Seq: msg.Sequence, Err: err}
	}
	return m, nil
}

// deliver goes on behind m.
func (r *Reader) deliver(m Message) Message {
	r.next++
	r.looked, r.failing, r.ahead = false, false, time.Time{}
	return m
}

// atEnd finds out why there is no next message, once, and waits for one.
func (r *Reader) atEnd(ctx context.Context) error {
	if !r.looked {
		if err := r.look(ctx); err != nil {
			return err
		}
	}
	t := time.NewTimer(lookAgain)
	defer t.Stop()
	select {
	case <-r.wake:
	case <-t.C:
		r.looked = false
	case <-ctx.Done(): // Next says so
	}
	return nil
}

// look compares what the log has with what the reader wants of it.
func (r *Reader) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var state jetstream.StreamState
	stream, err := r.log.js.Stream(ctx, streamOf(r.cluster))
	switch {
	case err == nil:
		state = stream.CachedInfo().State
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil // the next fetch tells
	}
	r.looked = true
	switch {
	case state.LastSeq+1 < r.next:
		return r.isAhead(state.LastSeq)
	case state.FirstSeq > r.next:
		return r.gap(state.FirstSeq)
	case state.LastSeq >= r.next:
		return r.hole(ctx)
	}
	r.ahead = time.Time{}
	return nil
}

func (r *Reader) isAhead(last uint64) error {
	now := time.Now()
	if r.ahead.IsZero() {
		r.ahead = now
	}
	if r.log.embedded == nil && now.Sub(r.ahead) < settle {
		return nil
	}
	r.looked = false
	r.log.recent.forget(r.cluster)
	return &AheadError{Cluster: r.cluster, After: r.next - 1, Last: last}
}

func (r *Reader) gap(first uint64) error {
	err := &GapError{Cluster: r.cluster, From: r.next, To: first - 1}
	r.next, r.looked = first, false
	return err
}

// hole looks for the message behind a hole. A replica that lags has none yet.
func (r *Reader) hole(ctx context.Context) error {
	msg, err := r.fetch(ctx, r.next, jetstream.WithGetMsgSubject(subjectOf(r.cluster)))
	if err != nil || msg.Sequence <= r.next {
		r.looked = false
		return nil //nolint:nilerr // the next fetch tells
	}
	return r.gap(msg.Sequence)
}

func (r *Reader) afterFailure(ctx context.Context, err error) {
	if !r.failing {
		r.log.logger.Warn("the log does not answer, waiting for it", "cluster", r.cluster, "error", err)
		r.failing = true
	}
	r.stream = nil
	sleep(ctx, retryPause)
}
