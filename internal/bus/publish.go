package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// patience is how long a message is tried again before its sender is told to.
	// Senders wait longer than that (the shortest: an audit webhook, 30 s), and
	// a cluster elects a new leader in 4-7 s.
	patience = 5 * time.Second

	// publishTimeout is one attempt. A busy disk may take a second.
	publishTimeout = 2 * time.Second

	// requestTimeout is any other request, however long its caller would wait: one
	// that went to a server just before it ended is never answered.
	requestTimeout = 5 * time.Second

	// retryPause stands between attempts.
	retryPause = 100 * time.Millisecond

	// duplicateWindow is how long the server recognises a message that is sent
	// again; it only has to outlast patience.
	duplicateWindow = 30 * time.Second

	// overhead is what a message has besides its data: the id and its header.
	overhead = 1 << 10

	// maxStored is what JetStream's files take as one message (rlBadThresh of
	// nats-server's filestore.go), less a margin.
	maxStored = 31 << 20
)

// maxMessage returns how long a message may be, in bytes.
func (l *Log) maxMessage() int {
	return int(min(l.nc.MaxPayload(), maxStored)) - overhead
}

// publish stores one message and returns where it stands. All attempts bear the same
// id, so it is stored once.
func (l *Log) publish(ctx context.Context, cluster string, data []byte) (seq uint64, err error) {
	if err := l.disk.check(len(data), l.disk.min); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	msg := &nats.Msg{Subject: subjectOf(cluster), Data: data}
	id := nuid.Next()
	for {
		seq, err := l.publishOnce(ctx, cluster, msg, id)
		if err == nil {
			_ = l.nc.Publish(wakeSubject(cluster), nil) // readers look by themselves, later
			return seq, nil
		}
		if isFull(err) {
			return 0, unavailable("cluster %q fills its %d MiB of the log", cluster, l.cfg.MaxBytes>>20)
		}
		if !sleep(ctx, retryPause) {
			return 0, unavailable("%w; last: %w", context.Cause(ctx), err)
		}
	}
}

var errSlow = fmt.Errorf("not stored within %v", patience)

func (l *Log) publishOnce(ctx context.Context, cluster string, msg *nats.Msg, id string) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := l.ensure(ctx, cluster); err != nil {
		return 0, err
	}
	ack, err := l.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		l.forget(cluster) // its stream is moving, or gone: look again
	}
	if err != nil {
		return 0, fmt.Errorf("storing a message of cluster %q: %w", cluster, err)
	}
	return ack.Sequence, nil
}

// isFull says that the stream has reached its MaxBytes.
func isFull(err error) bool {
	const streamStoreFailed = 10077 // JSStreamStoreFailedF of nats-server
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == streamStoreFailed && api.Description == "maximum bytes exceeded"
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
