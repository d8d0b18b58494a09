// Package pipeline wires sources to the engine. READ THIS FIRST: Replay.Run is
// the whole data path of clew in one function.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/source/file"
)

// Config says what to replay and how.
type Config struct {
	Engine engine.Config
	// Until is the last event time read, in nanoseconds, inclusive; 0 is no
	// bound. For the other end see engine.Config.FlagFrom.
	Until int64
	// Bad is told of each record and each file that cannot be read. It is called
	// from one goroutine at a time.
	Bad func(error)
}

// Totals counts what a replay read.
type Totals struct {
	Files      int   // inputs opened
	Records    int64 // records read
	Bytes      int64 // their bytes, after decompression
	Events     int64 // records that became events
	Skipped    int64 // records that say nothing for detection (digests, insights, other log categories)
	Unreadable int64 // records that could not be read
	BadFiles   int   // inputs that could not be read at all
	Strangers  int   // files of a folder that are no logs, left out
	Outside    int64 // events beyond Until
	Engine     engine.Stats
}

// Replay reads recorded logs and runs them through the engine.
type Replay struct {
	cfg    Config
	rules  *detect.Set
	sink   FlagSink
	pool   sync.Pool
	named  map[string]bool // inputs named by the caller, not found in a folder
	totals Totals

	mu   sync.Mutex // guards progress
	prog Progress
}

// FlagSink receives the flags of a replay; see engine.Sink.
type FlagSink interface {
	Flag(f engine.Flag) uint64
}

// Progress is how far a replay is; see Replay.Progress.
type Progress struct {
	Records, Bytes int64
	File           string
	Flags          int64
}

// NewReplay returns a Replay that evaluates rules and reports flags to sink.
func NewReplay(cfg Config, rules *detect.Set, sink FlagSink) *Replay {
	r := &Replay{cfg: cfg, rules: rules, sink: sink}
	r.pool.New = func() any { e := &event.Event{}; e.Reset(); return e }
	if r.cfg.Bad == nil {
		r.cfg.Bad = func(error) {}
	}
	return r
}

// batchSize is the number of events handed over at once; batches in flight are
// few, so that a slow engine holds reading back.
const (
	batchSize = 256
	inFlight  = 8
)

// Run reads every input named (files, directories, "-"), in event-time order
// across files, and returns the engine with its traces. Records that cannot be
// read are reported to Config.Bad and counted; Run itself fails only when a path
// does not exist or ctx ends.
//
//	inputs → split into records → decode → merge by time → engine → flags, traces
func (r *Replay) Run(ctx context.Context, inputs []string) (*engine.Engine, Totals, error) {
	paths, err := file.Expand(inputs)
	if err != nil {
		return nil, r.totals, err
	}
	r.named = map[string]bool{}
	for _, path := range inputs {
		r.named[path] = true
	}
	eng := engine.New(r.cfg.Engine, r.rules, r)
	batches := make(chan []*event.Event, inFlight)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(batches)
		r.read(ctx, paths, batches)
	}()
	if err := r.feed(ctx, eng, batches); err != nil {
		return nil, Totals{}, err
	}
	if r.totals.Records == 0 && r.totals.Strangers > 0 && r.totals.Strangers == r.totals.Files {
		r.totals.BadFiles++
		r.cfg.Bad(errors.New("no log among the inputs"))
	}
	eng.Flush()
	r.totals.Engine = eng.Stats()
	return eng, r.totals, nil
}

// feed pushes what arrives until there is no more, or until ctx ends: a reader
// may wait for a pipe that nobody writes to, so nobody waits for the reader.
func (r *Replay) feed(ctx context.Context, eng *engine.Engine, batches <-chan []*event.Event) error {
	for {
		select {
		case batch, ok := <-batches:
			if !ok {
				return replaying(ctx.Err())
			}
			for _, e := range batch {
				eng.Push(e)
			}
			r.noteFlags(eng)
		case <-ctx.Done():
			return replaying(ctx.Err())
		}
	}
}

func replaying(err error) error {
	if err != nil {
		return fmt.Errorf("replaying: %w", err)
	}
	return nil
}

// read sends the events of all inputs, oldest first, until ctx ends.
func (r *Replay) read(ctx context.Context, paths []string, out chan<- []*event.Event) {
	m := newMerger(r, paths)
	defer m.close()
	batch := make([]*event.Event, 0, batchSize)
	send := func() bool {
		select {
		case out <- batch:
			batch = make([]*event.Event, 0, batchSize)
			return true
		case <-ctx.Done():
			return false
		}
	}
	for e := m.next(); e != nil; e = m.next() {
		if r.cfg.Until != 0 && e.Time > r.cfg.Until {
			r.totals.Outside++
			r.Done(e)
			continue
		}
		batch = append(batch, e)
		if len(batch) == batchSize && !send() {
			return
		}
	}
	send()
}

// Flag implements engine.Sink.
func (r *Replay) Flag(f engine.Flag) uint64 { return r.sink.Flag(f) }

// Done implements engine.Sink: events are reused.
func (r *Replay) Done(e *event.Event) {
	e.Reset()
	r.pool.Put(e)
}

func (r *Replay) bad(err error) {
	r.totals.Unreadable++
	r.cfg.Bad(err)
}

func (r *Replay) noteFlags(eng *engine.Engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prog.Flags = eng.Stats().Flags
}

func (r *Replay) noteRead(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prog.Records, r.prog.Bytes, r.prog.File = r.totals.Records, r.totals.Bytes, name
}

// Progress says how far the replay is. It may be called from any goroutine.
func (r *Replay) Progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.prog
}
