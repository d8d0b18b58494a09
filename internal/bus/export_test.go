package bus

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// MaxRaw is the bound of a decoder's output.
const MaxRaw = maxRaw

// SetFree replaces what the log thinks its disk has free; before the log is used.
func (l *Log) SetFree(free func(string) (int64, error)) { l.disk.free = free }

// Forget lets nothing stay at hand; before the log is used.
func (l *Log) Forget() { l.recent = newRecent(0) }

// AtHand returns the bytes of the messages that stay at hand.
func (l *Log) AtHand() int {
	l.recent.mu.Lock()
	defer l.recent.mu.Unlock()
	return l.recent.bytes
}

// Server returns the embedded server as it is now.
func (l *Log) Server() *server.Server { return l.embedded.server() }

// ServerLogger lets a NATS server speak to a logger.
func ServerLogger(to *slog.Logger) server.Logger { return serverLogger{to} }

// Well says whether the embedded server stores messages.
func (l *Log) Well() bool { return well(l.embedded.server()) }

// Restart replaces the embedded server.
func (l *Log) Restart() error {
	l.embedded.shutdown()
	return l.embedded.start()
}

// Messages returns how many the bucket's stream has.
func (o *Objects) Messages(t *testing.T) uint64 {
	t.Helper()
	info, err := o.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// Sweep is what opening a bucket does.
func (o *Objects) Sweep(ctx context.Context, age time.Duration) error { return o.sweep(ctx, age) }

// Stray stores a part of no object.
func (l *Log) Stray(t *testing.T, o *Objects, id string) {
	t.Helper()
	if _, err := l.js.Publish(t.Context(), o.parts(id), []byte("part")); err != nil {
		t.Fatal(err)
	}
}

// Lose takes the stream of a cluster away, behind the log's back.
func (l *Log) Lose(t *testing.T, cluster string) {
	t.Helper()
	if err := l.js.DeleteStream(t.Context(), streamOf(cluster)); err != nil {
		t.Fatal(err)
	}
}
