package pipeline

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/trace"
)

// Reader gives the messages of one cluster in the order of the log, without gaps.
type Reader interface {
	// Next waits for the next message until ctx ends; see bus.Reader.
	Next(ctx context.Context) (bus.Message, error)
}

// TraceSink publishes what a worker finds.
type TraceSink interface {
	// PutTraces stores traces as they are now and removes ids that are gone. An
	// error means that nothing is certain: the worker tells it all again.
	PutTraces(ctx context.Context, cluster string, changed []LiveTrace, gone []trace.TraceID) error
}

// LiveTrace is a trace as published while it grows.
type LiveTrace struct {
	report.Trace
	Peak trace.Points `json:"peak"`
	Open bool         `json:"open"`
	// Was are the ids that its flagged units would have as traces of their own. One
	// may have been published under them in a run that was cut off, which the engine
	// does not know of after it was restored.
	Was []trace.TraceID `json:"-"`
}

// NewLiveTrace returns the trace described as it is published.
func NewLiveTrace(described report.Trace, t *trace.Trace) LiveTrace {
	out := LiveTrace{Trace: described, Peak: t.Peak, Open: t.Open}
	for _, u := range t.Flagged {
		if id := trace.IDOfUnit(u.ID); id != t.ID {
			out.Was = append(out.Was, id)
		}
	}
	return out
}

// SnapshotStore keeps the latest snapshot of each worker.
type SnapshotStore interface {
	// SaveSnapshot replaces the snapshot of a cluster, all of it or nothing.
	SaveSnapshot(ctx context.Context, cluster string, r io.Reader) error
	// LoadSnapshot returns the latest one, nil when there is none.
	LoadSnapshot(ctx context.Context, cluster string) (io.ReadCloser, error)
}

// WorkerConfig says how a Worker runs. All but Engine must be set.
type WorkerConfig struct {
	Cluster       string
	Engine        engine.Config
	Rules         *detect.Set // of this worker alone
	Traces        TraceSink
	Snapshots     SnapshotStore
	SnapshotEvery time.Duration
	// Tick puts the time on the log, so that the events held back are released
	// though no younger ones come.
	Tick func(ctx context.Context, at time.Time) error
	// Meter returns the meter of a source by its name, nil when it is not known.
	Meter func(source string) *source.Meter
	Log   *slog.Logger
}

// publishEvery is how long a change of a trace may wait to be published.
const publishEvery = 100 * time.Millisecond

// lastWords is how long what is told at the end may take.
const lastWords = 10 * time.Second

// saveRest is how many times as long as saving took the worker does without it: a
// large state is saved less often, so that a twentieth of the time goes into that. On
// a slow disk maxRest bounds how much is to be read again after a crash.
const (
	saveRest = 20
	maxRest  = 2 * time.Minute
)

// maxAhead bounds how far in the future a sender's clock is believed to be.
const maxAhead = 10 * time.Minute

// Worker runs the engine of one cluster over the log: decode → engine → traces.
// Run owns all of it; the other methods may be called from any goroutine.
type Worker struct {
	cfg     WorkerConfig
	decoder *Decoder
	eng     *engine.Engine
	ledger  *report.Ledger
	free    []*event.Event

	log   int64  // id of the log that positions count; 0: none was read yet
	pos   uint64 // last message taken in
	saved uint64 // last message in a stored snapshot
	ahead int64  // how far the newest event was ahead of its arrival, nanoseconds
	tick  int64  // due time for which a tick is on the log

	changed map[trace.TraceID]LiveTrace // not yet published
	gone    map[trace.TraceID]bool

	asks chan func()
	done chan struct{}

	mu      sync.Mutex
	status  WorkerStatus
	keptLog int64 // id of the log that status.Saved counts
	levels  levels
}

// WorkerStatus is how far a worker is.
type WorkerStatus struct {
	Cluster    string
	Position   uint64    // last message taken in
	Saved      uint64    // last message in a stored snapshot
	EventTime  time.Time // of the newest event processed; zero: none
	SavedAt    time.Time // zero: never
	Unreadable int64     // records that could not be decoded
	Engine     engine.Stats

	Missed          uint64    // messages gone from the log, or damaged, before the engine had them
	MissedByHistory uint64    // the same before the history had them
	Replaced        time.Time // when the log was last found to be another, or cut; zero: never

	Err string // why it does not get on, "" when it does
}

// NewWorker returns a Worker that has seen nothing.
func NewWorker(cfg WorkerConfig) *Worker {
	w := &Worker{
		cfg: cfg, decoder: NewDecoder(), changed: map[trace.TraceID]LiveTrace{}, gone: map[trace.TraceID]bool{},
		asks: make(chan func()), done: make(chan struct{}), levels: levels{},
	}
	w.status.Cluster = cfg.Cluster
	w.reset()
	return w
}

func (w *Worker) reset() {
	w.ledger = report.NewLedger(w.cfg.Rules)
	w.eng = engine.New(w.cfg.Engine, w.cfg.Rules, w)
	w.log, w.pos, w.saved, w.ahead = 0, 0, 0, 0
}

// Load takes up the latest snapshot and returns the position behind which the log
// is to be read, 0 for all of it. A snapshot that cannot be used is reported and
// passed over: the log is read from its beginning.
func (w *Worker) Load(ctx context.Context) (uint64, error) {
	w.reset()
	r, err := w.cfg.Snapshots.LoadSnapshot(ctx, w.cfg.Cluster)
	if err != nil {
		return 0, fmt.Errorf("loading the snapshot of cluster %q: %w", w.cfg.Cluster, err)
	}
	if r == nil {
		return 0, nil
	}
	defer func() { _ = r.Close() }() // read only
	if err := w.restore(r); err != nil {
		w.cfg.Log.Error("cannot use the snapshot; reading the log again", "cluster", w.cfg.Cluster, "error", err)
		w.reset()
	}
	w.saved = w.pos
	return w.pos, nil
}

// Run takes in messages until ctx ends or the log fails, publishes traces as they
// change, and saves the state now and then and at the end.
func (w *Worker) Run(ctx context.Context, r Reader) error {
	messages, failed := w.pump(ctx, r)
	publish, save := time.NewTicker(publishEvery), time.NewTicker(w.cfg.SnapshotEvery)
	defer publish.Stop()
	defer save.Stop()
	for {
		select {
		case m := <-messages:
			w.Take(m)
		case f := <-w.asks:
			f()
		case now := <-publish.C:
			w.Publish(ctx)
			w.tickWhenDue(ctx, now)
		case <-save.C:
			began := time.Now()
			w.save(ctx)
			save.Reset(max(w.cfg.SnapshotEvery, min(saveRest*time.Since(began), maxRest)))
		case err := <-failed:
			// What is told at the end has a moment of its own.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			w.Publish(last)
			w.save(last)
			if ctx.Err() != nil {
				return nil
			}
			w.note(err.Error())
			return fmt.Errorf("reading the log of cluster %q: %w", w.cfg.Cluster, err)
		}
	}
}

// pump reads ahead by a few messages. It ends with the one error it sends.
func (w *Worker) pump(ctx context.Context, r Reader) (<-chan bus.Message, <-chan error) {
	messages, failed := make(chan bus.Message, inFlight), make(chan error, 1)
	go func() {
		for {
			m, err := nextMessage(ctx, r, w.cfg.Log, w.cfg.Cluster, w.missed)
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
	}()
	return messages, failed
}

// Take processes one message. One at or before the position is passed over: it
// was taken in before.
func (w *Worker) Take(m bus.Message) {
	if m.Seq <= w.pos {
		return
	}
	w.pos = m.Seq
	newest := int64(0)
	for _, rec := range m.Batch.Records {
		if e := w.decode(rec); e != nil {
			newest = max(newest, e.Time)
			w.see(e)
			w.eng.Push(e)
		}
	}
	if newest > 0 {
		w.ahead = min(max(w.ahead, newest-m.Batch.ReceivedNanos), int64(maxAhead))
		if meter := w.cfg.Meter(m.Batch.Source); meter != nil {
			meter.Event(time.Unix(0, newest))
		}
	}
	w.eng.Advance(m.Batch.ReceivedNanos + w.ahead)
	w.note("")
}

func (w *Worker) decode(rec source.Record) *event.Event {
	e := w.take()
	err := w.decoder.Decode(rec, e)
	if err == nil {
		return e
	}
	w.Done(e)
	if !errors.Is(err, normalize.ErrIrrelevant) {
		w.mu.Lock()
		w.status.Unreadable++
		w.mu.Unlock()
		w.cfg.Log.Debug("record cannot be decoded", "cluster", w.cfg.Cluster, "source", rec.Pos.File, "record", rec.Pos.Record, "error", err)
	}
	return nil
}

// see remembers at which audit level requests are logged.
func (w *Worker) see(e *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.levels.see(e)
}

func (w *Worker) take() *event.Event {
	if n := len(w.free); n > 0 {
		e := w.free[n-1]
		w.free = w.free[:n-1]
		return e
	}
	e := &event.Event{}
	e.Reset()
	return e
}

// Flag implements engine.Sink.
func (w *Worker) Flag(f engine.Flag) uint64 { return w.ledger.Flag(f) }

// Done implements engine.Sink: events are reused.
func (w *Worker) Done(e *event.Event) {
	e.Reset()
	w.free = append(w.free, e)
}

// Publish tells the sink what changed. What it does not take is told again.
func (w *Worker) Publish(ctx context.Context) {
	w.count()
	changed, gone := w.eng.TakeChanged()
	described, err := w.ledger.Describe(changed, w.eng)
	if err != nil { // a flag that a live trace points at is kept
		w.cfg.Log.Error("describing traces", "cluster", w.cfg.Cluster, "error", err)
		return
	}
	for _, id := range gone {
		w.gone[id] = true
		delete(w.changed, id)
	}
	for i := range described {
		w.changed[changed[i].ID] = NewLiveTrace(described[i], &changed[i])
		delete(w.gone, changed[i].ID)
	}
	if len(w.changed)+len(w.gone) == 0 {
		return
	}
	if err := w.tell(ctx); err != nil {
		w.note(err.Error())
		w.cfg.Log.Warn("publishing traces", "cluster", w.cfg.Cluster, "error", err)
		return
	}
	clear(w.changed)
	clear(w.gone)
	w.note("")
}

func (w *Worker) tell(ctx context.Context) error {
	all := make([]LiveTrace, 0, len(w.changed))
	for _, t := range w.changed {
		all = append(all, t)
	}
	ids := make([]trace.TraceID, 0, len(w.gone))
	for id := range w.gone {
		ids = append(ids, id)
	}
	return w.cfg.Traces.PutTraces(ctx, w.cfg.Cluster, all, ids)
}

// tickWhenDue puts the time on the log when the oldest event held is due and
// nothing that came since released it.
func (w *Worker) tickWhenDue(ctx context.Context, now time.Time) {
	due, ok := w.eng.Due()
	if !ok || due == w.tick || now.UnixNano()+w.ahead < due {
		return
	}
	if err := w.cfg.Tick(ctx, now); err != nil {
		w.cfg.Log.Debug("putting the time on the log", "cluster", w.cfg.Cluster, "error", err)
		return
	}
	w.tick = due
}

// save stores a snapshot when something came since the last one. Traces that are
// not published yet are in it.
func (w *Worker) save(ctx context.Context) {
	if w.pos == w.saved {
		return
	}
	w.ledger.Prune(w.eng.Traces())
	if err := w.store(ctx); err != nil {
		w.note(err.Error())
		w.cfg.Log.Error("saving the state", "cluster", w.cfg.Cluster, "error", err)
		return
	}
	w.saved = w.pos
	w.mu.Lock()
	w.status.Saved, w.status.SavedAt = w.saved, time.Now()
	w.mu.Unlock()
}

// store hands a snapshot to the store as it is made: it is some hundred MiB.
func (w *Worker) store(ctx context.Context) error {
	r, out := io.Pipe()
	made := make(chan struct{})
	go func() {
		defer close(made)
		buffered := bufio.NewWriterSize(out, 128<<10)
		_ = out.CloseWithError(cmp.Or(w.snapshot(buffered), buffered.Flush()))
	}()
	err := w.cfg.Snapshots.SaveSnapshot(ctx, w.cfg.Cluster, r)
	_ = r.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // what is not read ends the writing
	<-made
	return err
}

// snapshotMagic begins a snapshot, and changes with its form.
const snapshotMagic = 0x32_70_61_6e_73_77_6c_63 // "clwsnap2"

// snapshot writes the log's id, position, clock, flags and engine. The flags stand
// behind their length.
func (w *Worker) snapshot(out io.Writer) error {
	var flags bytes.Buffer
	if err := w.ledger.Snapshot(&flags); err != nil {
		return err
	}
	var head []byte
	for _, v := range []uint64{snapshotMagic, uint64(w.log), w.pos, uint64(w.ahead), uint64(flags.Len())} {
		head = binary.LittleEndian.AppendUint64(head, v)
	}
	for _, b := range [][]byte{head, flags.Bytes()} {
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("writing the snapshot: %w", err)
		}
	}
	return w.eng.Snapshot(out)
}

func (w *Worker) restore(r io.Reader) error {
	var head [5]uint64
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return fmt.Errorf("reading the snapshot's head: %w", err)
	}
	if head[0] != snapshotMagic {
		return errors.New("the snapshot is of another version")
	}
	flags := io.LimitReader(r, int64(head[4]))
	if err := w.ledger.Restore(flags); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, flags); err != nil {
		return fmt.Errorf("reading the snapshot's flags: %w", err)
	}
	if err := w.eng.Restore(r); err != nil {
		return err
	}
	w.log, w.pos, w.ahead = int64(head[1]), head[2], int64(head[3])
	return nil
}

// Ask runs f in between two messages, with the engine and the flags to itself, and
// waits for it. f must be quick and keep nothing of what it is given.
func (w *Worker) Ask(ctx context.Context, f func(*engine.Engine, *report.Ledger)) error {
	answered := make(chan struct{})
	select {
	case w.asks <- func() { f(w.eng, w.ledger); close(answered) }:
		<-answered
		return nil
	case <-w.done:
		return fmt.Errorf("the worker of cluster %q has stopped", w.cfg.Cluster)
	case <-ctx.Done():
		return fmt.Errorf("asking the worker of cluster %q: %w", w.cfg.Cluster, ctx.Err())
	}
}

// SetSuppressions replaces the suppressions, those of later runs too.
func (w *Worker) SetSuppressions(ctx context.Context, list []trace.Suppression) error {
	return w.Ask(ctx, func(*engine.Engine, *report.Ledger) {
		w.cfg.Engine.Trace.Suppressions = list
		w.eng.SetSuppressions(list)
	})
}

// rewind goes on with what was learnt behind another position.
func (w *Worker) rewind(after uint64) {
	w.pos, w.saved = after, after+1 // to be saved
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	w.save(ctx)
}

// close says that Run is not called again.
func (w *Worker) close() { close(w.done) }

// Status returns how far the worker is.
func (w *Worker) Status() WorkerStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// note brings the status up to date.
func (w *Worker) note(problem string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Position, w.status.Saved, w.status.Err = w.pos, w.saved, problem
	if at := w.eng.EventTime(); at > 0 {
		w.status.EventTime = time.Unix(0, at)
	}
}

// count brings the engine's counters in the status up to date.
func (w *Worker) count() {
	s := w.eng.Stats()
	s.RuleHits, s.RuleRepeat = slices.Clone(s.RuleHits), slices.Clone(s.RuleRepeat)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Engine = s
}
