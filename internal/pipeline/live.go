package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/trace"
)

// LiveConfig says what the live data path works with. All must be set.
type LiveConfig struct {
	Log           *bus.Log
	Rules         *detect.Set // each worker has a clone
	Engine        engine.Config
	Traces        TraceSink
	Snapshots     SnapshotStore
	SnapshotEvery time.Duration
	// Archive opens the history of a cluster.
	Archive func(ctx context.Context, cluster string) (Archive, error)
	Marks   Marks
	// Meter returns the meter of a source by its name, nil when it is not known.
	Meter  func(source string) *source.Meter
	Logger *slog.Logger
}

// Live is the data path behind the sources:
//
//	Accept → log ─┬─> worker: decode → engine → traces
//	              └─> archiver: decode → rows → history
//
// with one worker and one archiver a cluster, each at its own position. What both
// have for good is trimmed from the log. Its methods may be called from several
// goroutines.
type Live struct {
	cfg    LiveConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu           sync.Mutex
	clusters     map[string]*live
	suppressions []trace.Suppression
}

// live is the part of one cluster.
type live struct {
	worker  *Worker
	archive *numbered
}

// again is the pause before a part that failed begins anew.
const again = 2 * time.Second

// trimEvery is how often what all readers have is taken off the log.
const trimEvery = 10 * time.Second

// StartLive begins with the clusters that the log has and those named. The caller
// stops it.
func StartLive(ctx context.Context, cfg LiveConfig, clusters []string) (*Live, error) {
	l := &Live{cfg: cfg, clusters: map[string]*live{}}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	known, err := cfg.Log.Clusters(ctx)
	if err != nil {
		l.cancel()
		return nil, err
	}
	for _, c := range append(known, clusters...) {
		if err := l.ensure(ctx, c); err != nil {
			l.Stop()
			return nil, err
		}
	}
	l.wg.Go(l.trim)
	return l, nil
}

// Accept implements source.Sink. A cluster that is seen for the first time gets its
// worker and archiver.
func (l *Live) Accept(ctx context.Context, b source.Batch) error {
	if err := l.ensure(ctx, b.Cluster); err != nil {
		return fmt.Errorf("%w: %w", source.ErrUnavailable, err)
	}
	return l.cfg.Log.Accept(ctx, b)
}

// Stop ends workers and archivers when they have saved where they are. Sources
// must have stopped before.
func (l *Live) Stop() {
	l.cancel()
	l.wg.Wait()
}

// ensure starts the part of a cluster once.
func (l *Live) ensure(ctx context.Context, cluster string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clusters[cluster] != nil {
		return nil
	}
	archive, err := l.cfg.Archive(ctx, cluster)
	if err != nil {
		return fmt.Errorf("opening the history of cluster %q: %w", cluster, err)
	}
	log, err := l.cfg.Log.Identify(ctx, cluster)
	if err != nil {
		return err
	}
	cfg := l.cfg.Engine
	cfg.Trace.Suppressions = l.suppressions
	c := &live{archive: newNumbered(archive), worker: NewWorker(WorkerConfig{
		Cluster: cluster, Engine: cfg, Rules: l.cfg.Rules.Clone(), Traces: l.cfg.Traces, Snapshots: l.cfg.Snapshots,
		SnapshotEvery: l.cfg.SnapshotEvery, Meter: l.cfg.Meter, Log: l.cfg.Logger,
		Tick: func(ctx context.Context, at time.Time) error { return l.cfg.Log.Tick(ctx, cluster, at) },
	})}
	l.clusters[cluster] = c
	l.wg.Go(func() { l.work(cluster, c.worker, log) })
	l.wg.Go(func() { l.archive(cluster, c, log) })
	return nil
}

// work runs a worker until Live stops, from its snapshot again when the log failed.
// log is the one there was before anything was accepted.
func (l *Live) work(cluster string, w *Worker, log bus.Identity) {
	defer w.close()
	behind := false
	l.repeat("worker", cluster, &log, func() error {
		if _, err := w.Load(l.ctx); err != nil {
			return err
		}
		var err error
		behind, err = l.reader(cluster, w.place(log, behind), func(r Reader) error { return w.Run(l.ctx, r) })
		return err
	})
}

func (l *Live) archive(cluster string, c *live, log bus.Identity) {
	behind := false
	l.repeat("archiver", cluster, &log, func() error {
		replaced, err := c.archive.place(l.ctx, l.cfg.Marks, cluster, log, behind)
		if err != nil {
			return err
		}
		if replaced {
			c.worker.tellReplaced("history", log)
		}
		a := &Archiver{Cluster: cluster, Archive: c.archive, Log: l.cfg.Logger, Missed: c.worker.missedByHistory}
		behind, err = l.reader(cluster, c.archive.Position(), func(r Reader) error { return a.Run(l.ctx, r) })
		return err
	})
}

// repeat runs f until Live stops, each time with the log as it is then.
func (l *Live) repeat(what, cluster string, log *bus.Identity, f func() error) {
	for {
		err := f()
		for known := false; !known; known = err == nil {
			if l.ctx.Err() != nil {
				return
			}
			l.cfg.Logger.Error("beginning again", "part", what, "cluster", cluster, "error", err)
			select {
			case <-time.After(again):
			case <-l.ctx.Done():
				return
			}
			*log, err = l.cfg.Log.Identify(l.ctx, cluster)
		}
	}
}

// kept returns up to which message worker and archiver have for good what the log
// has; 0 while one of them has yet to find that it is another log.
func (c *live) kept() uint64 {
	saved, log := c.worker.kept()
	if log != c.archive.log.Load() {
		return 0
	}
	return min(saved, c.archive.Position())
}

// trim takes what worker and archiver have for good off the log.
func (l *Live) trim() {
	done := map[string]uint64{}
	t := time.NewTicker(trimEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.ctx.Done():
			return
		}
		for cluster, c := range l.parts() {
			upTo := c.kept()
			if upTo == 0 || upTo == done[cluster] {
				continue
			}
			if err := l.cfg.Log.Trim(l.ctx, cluster, upTo); err != nil {
				l.cfg.Logger.Warn("trimming the log", "cluster", cluster, "error", err)
				continue
			}
			done[cluster] = upTo
		}
	}
}

func (l *Live) parts() map[string]*live {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.clusters)
}

// Clusters returns the clusters that have a worker, sorted.
func (l *Live) Clusters() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.clusters))
}

// Worker returns the worker of a cluster; false when there is none.
func (l *Live) Worker(cluster string) (*Worker, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.clusters[cluster]
	if !ok {
		return nil, false
	}
	return c.worker, true
}

// SetSuppressions gives every worker, those to come too, these suppressions.
func (l *Live) SetSuppressions(ctx context.Context, list []trace.Suppression) error {
	l.mu.Lock()
	l.suppressions = slices.Clone(list)
	l.mu.Unlock()
	for _, c := range l.parts() {
		if err := c.worker.SetSuppressions(ctx, list); err != nil {
			return err
		}
	}
	return nil
}
