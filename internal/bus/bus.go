// Package bus is the log: everything a source accepted lies on it before the
// source acknowledges, and every consumer reads it from a position of its own.
//
// It is NATS JetStream, by default in this process with a folder as its only
// set-up and no listening port, otherwise a cluster that somebody runs. Each
// cluster that clew watches has a stream of its own, so that positions are dense
// (a hole is seen) and one cluster's flood fills one cluster's share.
//
// What an acknowledgement is worth: the record is with the operating system, so a
// killed process loses nothing. A power cut loses what was not yet synced, at most
// Config.SyncInterval's worth, unless Config.SyncAlways is set or the log is
// replicated over machines that do not fail together.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/clew-sec/clew/internal/source"
)

// Config says where the log is and how much of it there may be. Either Dir or URLs
// is set.
type Config struct {
	// Dir is the folder of an embedded log; it is made when it is missing, and
	// one process at a time may use it.
	Dir string

	// URLs are servers of a NATS cluster with JetStream. CredsFile is a NATS
	// credentials file, may be "". TLS applies to tls:// addresses and wherever
	// the server asks for it.
	URLs      []string
	CredsFile string
	TLS       TLS

	// MaxBytes is how large one cluster's part of the log may grow, as stored.
	// At it, Accept refuses until a part is trimmed. 0: no bound but the disk.
	MaxBytes int64

	// MinFreeBytes is what Accept leaves free on the disk of Dir, for the state and
	// snapshots that let the log be trimmed; these leave a quarter of it.
	// 0: DefaultMinFree. Not for a cluster, whose servers have limits of their own.
	MinFreeBytes int64

	// MaxAge drops messages older than that, read or not. 0: none.
	MaxAge time.Duration

	// Replicas is how many servers of a cluster hold each message, 1 to 5;
	// 0 is 3. An embedded log has one.
	Replicas int

	// SyncInterval is how long an embedded log may keep what it acknowledged in
	// the operating system's cache; a power cut loses that, kill -9 does not.
	// 0: DefaultSyncInterval. SyncAlways syncs before each acknowledgement, at a
	// third to a tenth of the rate.
	SyncInterval time.Duration
	SyncAlways   bool
}

// TLS names the PEM files of a connection to a cluster. CertFile and KeyFile go
// together; CAFile "" is the system's authorities.
type TLS struct {
	CAFile, CertFile, KeyFile string
}

// What a zero in Config stands for.
const (
	DefaultMinFree      = 512 << 20
	DefaultSyncInterval = time.Second
	defaultReplicas     = 3
)

// Log is an open log. Its methods may be called from several goroutines.
type Log struct {
	cfg      Config
	logger   *slog.Logger
	nc       *nats.Conn
	js       jetstream.JetStream
	embedded *embedded // nil with a cluster
	disk     disk
	recent   *recent

	stop   chan struct{}   // closed: committers take nothing more
	life   context.Context // ended: what still runs is cut off
	endAll context.CancelFunc
	wg     sync.WaitGroup // committers

	mu         sync.Mutex
	closed     bool
	committers map[lane]*committer
	ensured    map[string]bool // clusters whose stream exists
}

// Open opens the log, or waits as long as ctx lives for a cluster to answer. The
// caller closes it.
func Open(ctx context.Context, cfg Config, logger *slog.Logger) (*Log, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg: cfg, logger: logger, recent: newRecent(recentBytes), stop: make(chan struct{}),
		committers: map[lane]*committer{}, ensured: map[string]bool{},
	}
	l.life, l.endAll = context.WithCancel(context.Background())
	if cfg.Dir != "" {
		l.disk = disk{dir: cfg.Dir, min: cfg.MinFreeBytes, free: FreeBytes}
		err = l.openEmbedded()
	} else {
		err = l.openCluster(ctx)
	}
	if err == nil {
		l.js, err = jetstream.New(l.nc)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	return l, nil
}

func (c Config) complete() (Config, error) {
	switch {
	case (c.Dir == "") == (len(c.URLs) == 0):
		return c, errors.New("the log needs either a folder or the addresses of a NATS cluster")
	case c.Replicas < 0 || c.Replicas > 5:
		return c, fmt.Errorf("a log has 1 to 5 replicas, not %d", c.Replicas)
	case c.MaxBytes < 0 || c.MinFreeBytes < 0 || c.MaxAge < 0 || c.SyncInterval < 0:
		return c, errors.New("a size or duration of the log is negative")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return c, errors.New("the log's client certificate and key go together")
	}
	if c.MinFreeBytes == 0 {
		c.MinFreeBytes = DefaultMinFree
	}
	if c.SyncInterval == 0 {
		c.SyncInterval = DefaultSyncInterval
	}
	if c.Replicas == 0 {
		c.Replicas = defaultReplicas
	}
	if c.Dir != "" {
		c.Replicas = 1
	}
	return c, nil
}

// Close lets the messages in work be stored, as long as ctx lives, and closes the
// log. Batches that wait are refused. Readers, buckets and Accept fail from then on.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	wasClosed := l.closed
	l.closed = true
	l.mu.Unlock()
	if wasClosed {
		return nil
	}
	close(l.stop)
	cut := context.AfterFunc(ctx, l.endAll)
	defer cut()
	l.wg.Wait()
	l.endAll()
	if l.nc != nil {
		l.nc.Close()
	}
	if l.embedded != nil {
		return l.embedded.close()
	}
	return nil
}

// unavailable says in words why the log takes nothing now.
func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{source.ErrUnavailable}, args...)...)
}
