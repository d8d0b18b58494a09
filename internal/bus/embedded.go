package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// embeddedPayload is the longest message: a record of 16 MiB that does not
	// compress, with room to spare, and below maxStored.
	embeddedPayload = 24 << 20

	// startTimeout is how long the embedded server may take to read its folder.
	startTimeout = 5 * time.Minute

	// watchEvery is how often it is seen whether the embedded server is well.
	watchEvery = 500 * time.Millisecond
)

// embedded is the NATS server in this process. It stops storing when it meets an
// error of the disk; then it is replaced as soon as there is room.
type embedded struct {
	opts   server.Options
	logger *slog.Logger
	disk   *disk
	lock   *os.File
	stop   context.CancelFunc
	done   chan struct{} // closed when watch has ended

	mu  sync.Mutex
	now *server.Server
}

func (l *Log) openEmbedded() error {
	if err := os.MkdirAll(l.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("making the log's folder: %w", err)
	}
	locked, err := lock(l.cfg.Dir)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &embedded{
		opts: serverOptions(l.cfg), logger: l.logger, disk: &l.disk,
		lock: locked, stop: stop, done: make(chan struct{}),
	}
	if err := e.start(); err != nil {
		close(e.done)
		return errors.Join(err, e.close())
	}
	go e.watch(ctx)
	l.embedded = e
	l.nc, err = nats.Connect("", append(l.connection(), nats.InProcessServer(e), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0))...)
	if err != nil {
		return fmt.Errorf("connecting to the embedded log: %w", err)
	}
	return nil
}

// serverOptions returns those of a server that nobody reaches but this process. How
// much it may store is ours to say, not a share of the disk as it was at the start.
func serverOptions(cfg Config) server.Options {
	return server.Options{
		ServerName:             "clew",
		DontListen:             true,
		NoSigs:                 true,
		MaxPayload:             embeddedPayload,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               cfg.Dir,
		JetStreamMaxStore:      math.MaxInt64,
		JetStreamMaxMemory:     64 << 20,
		SyncInterval:           cfg.SyncInterval,
		SyncAlways:             cfg.SyncAlways,
	}
}

func (e *embedded) start() error {
	opts := e.opts // the server writes to its options
	s, err := server.NewServer(&opts)
	if err != nil {
		return fmt.Errorf("making the embedded log: %w", err)
	}
	s.SetLoggerV2(serverLogger{e.logger}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("the embedded log in %q does not start, see the log", opts.StoreDir)
	}
	e.mu.Lock()
	e.now = s
	e.mu.Unlock()
	return nil
}

func (e *embedded) server() *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// InProcessConn connects to the server as it is now. The client calls it again
// whenever a server is gone.
func (e *embedded) InProcessConn() (net.Conn, error) { return e.server().InProcessConn() }

func (e *embedded) watch(ctx context.Context) {
	defer close(e.done)
	broken := false
	for sleep(ctx, watchEvery) {
		if well(e.server()) {
			continue
		}
		if !broken {
			e.logger.Error("the log stopped at an error of the disk; it is started again when there is room")
			broken = true
		}
		if e.disk.check(0, e.disk.min) != nil {
			continue
		}
		e.shutdown()
		if err := e.start(); err != nil {
			e.logger.Error("starting the log again", "error", err)
			continue
		}
		e.logger.Info("the log is back")
		broken = false
	}
}

// well says whether s stores messages. After an error of the disk either JetStream is
// off or, more often, one stream is deaf until the server starts again. Other
// complaints, such as a stream that is just being made, are no reason to start again.
func well(s *server.Server) bool {
	if !s.JetStreamEnabled() {
		return false
	}
	for _, e := range s.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			return false
		}
	}
	return true
}

func (e *embedded) shutdown() {
	if s := e.server(); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

func (e *embedded) close() error {
	e.stop()
	<-e.done
	e.shutdown()
	if err := e.lock.Close(); err != nil {
		return fmt.Errorf("unlocking the log: %w", err)
	}
	return nil
}

// serverLogger passes on what the server has to say. Fatal is not: the process goes
// on, and what does not start is reported by start and watch.
type serverLogger struct{ to *slog.Logger }

// Noticef is the server's chatter.
func (l serverLogger) Noticef(format string, v ...any) { l.to.Debug(text(format, v)) }

// Warnf passes on a warning.
func (l serverLogger) Warnf(format string, v ...any) { l.to.Warn(text(format, v)) }

// Errorf passes on an error.
func (l serverLogger) Errorf(format string, v ...any) { l.to.Error(text(format, v)) }

// Fatalf passes on an error.
func (l serverLogger) Fatalf(format string, v ...any) { l.to.Error(text(format, v)) }

// Debugf is never called.
func (l serverLogger) Debugf(string, ...any) {}

// Tracef is never called.
func (l serverLogger) Tracef(string, ...any) {}

func text(format string, v []any) string { return "nats: " + fmt.Sprintf(format, v...) }
