// Package engine runs the core as one deterministic step: an event goes through
// inventory, graph and detect, and its flags and links go into trace. There is
// no clock, no I/O and no goroutine in it; time is the events' own.
//
// Same events in, same traces out, in whatever order they arrive within the
// window: the engine holds events back until the window has passed them and
// takes them in the order (Time, ID). Duplicates are dropped by ID.
//
// An Engine is not safe for concurrent use.
package engine

import (
	"time"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/inventory"
	"github.com/clew-sec/clew/internal/trace"
)

// Config bounds an Engine. Zero values mean the defaults.
type Config struct {
	// Window is how much later than a younger event an event may arrive and
	// still be put in its place. The default is 30 s.
	Window time.Duration
	// MaxHeld bounds the events held back, whatever their times. The default
	// is 8192: 32 MiB of events, and their raw records, which are 1 to 2 KiB
	// each in most logs.
	MaxHeld int
	// FlagFrom is the event time, in nanoseconds, before which events are
	// learned from but raise no flag; 0 is no bound.
	FlagFrom int64
	// FlagRepeats raises a flag for each match, those that a rule's `once`
	// folds into an earlier flag included. Tests of rules want that.
	FlagRepeats bool

	Inventory inventory.Config
	Graph     graph.Config
	Trace     trace.Config
}

func (c Config) withDefaults() Config {
	if c.Window == 0 {
		c.Window = 30 * time.Second
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 1 << 13
	}
	return c
}

// Flag is a rule that matched an event.
type Flag struct {
	Rule  int32        // index into the rule set
	Unit  event.ID     // where it happened
	Event *event.Event // valid during Sink.Flag only
}

// Sink receives what the engine finds.
type Sink interface {
	// Flag takes a flag and returns a handle under which the sink can find it
	// again; the flag's trace keeps it as evidence.
	Flag(f Flag) uint64
	// Done gives an event back; the sink may Reset and reuse it.
	Done(e *event.Event)
}

// Stats counts what went through an Engine.
type Stats struct {
	Events     int64   // taken in event-time order
	Received   int64   // dropped: a request whose answer was still to come
	Duplicates int64   // dropped: an event with this ID went through lately
	Late       int64   // taken out of order: later than the window
	Cascades   int64   // deletions folded into their cause
	Flags      int64   // flags raised
	Repeats    int64   // matches counted on an earlier flag (once)
	Links      int64   // causal links found
	RuleHits   []int64 // flags by rule
	RuleRepeat []int64 // repeats by rule
}

// Engine is the core. See the package comment.
type Engine struct {
	cfg    Config
	rules  *detect.Set
	sink   Sink
	window *window
	inv    *inventory.Inventory
	graph  *graph.Graph
	tracer *trace.Tracer

	hits  []int32
	hash  event.Hasher
	once  map[event.ID]int64 // rule and session → time of the first flag
	stats Stats
}

// New returns an Engine that evaluates rules and reports to sink.
func New(cfg Config, rules *detect.Set, sink Sink) *Engine {
	cfg = cfg.withDefaults()
	inv := inventory.New(cfg.Inventory)
	n := rules.Len()
	return &Engine{
		cfg: cfg, rules: rules, sink: sink, window: newWindow(int64(cfg.Window), cfg.MaxHeld),
		inv: inv, graph: graph.New(cfg.Graph, inv), tracer: trace.New(cfg.Trace),
		once:  map[event.ID]int64{},
		stats: Stats{RuleHits: make([]int64, n), RuleRepeat: make([]int64, n)},
	}
}

// Push takes an event; it owns e until Sink.Done. What the window lets through
// is processed before Push returns.
//
// Where the audit policy does not omit the stage RequestReceived, each request
// is recorded a second time before anyone knows who it is allowed for and what
// came of it. Such records are dropped: the answer says the same and more.
func (x *Engine) Push(e *event.Event) {
	if e.Kind == event.KindAPIRequest && e.K8s.Stage == event.StageRequestReceived {
		x.stats.Received++
		x.sink.Done(e)
		return
	}
	if !x.window.push(e) {
		x.sink.Done(e)
		return
	}
	for {
		e := x.window.pop(false)
		if e == nil {
			return
		}
		x.step(e)
	}
}

// Flush processes every event still held.
func (x *Engine) Flush() {
	for {
		e := x.window.pop(true)
		if e == nil {
			return
		}
		x.step(e)
	}
}

// step takes one event through the core. Hot path.
func (x *Engine) step(e *event.Event) {
	x.stats.Events++
	x.graph.Identify(e)
	x.inv.Observe(e)
	s := x.graph.Observe(e)
	x.tracer.Advance(e.Time)
	for i := range s.Links {
		x.stats.Links++
		x.tracer.Link(s.Links[i])
	}
	switch {
	case e.Facts.Cascade:
		x.stats.Cascades++
	case !e.Facts.SessionEnd && e.Time >= x.cfg.FlagFrom:
		x.hits = x.rules.Eval(e, x.hits[:0])
		for _, i := range x.hits {
			x.flag(i, s.Unit, e)
		}
	}
	x.sink.Done(e)
}

func (x *Engine) flag(i int32, unit event.ID, e *event.Event) {
	r := x.rules.Rule(i)
	if x.repeats(i, int64(r.Once), e) {
		x.stats.Repeats++
		x.stats.RuleRepeat[i]++
		return
	}
	x.stats.Flags++
	x.graph.MarkFlagged(unit, e.ID, r.Severity)
	x.stats.RuleHits[i]++
	for _, l := range x.graph.Activate(unit) {
		x.stats.Links++
		x.tracer.Link(l)
	}
	ref := x.sink.Flag(Flag{Rule: i, Unit: unit, Event: e})
	x.tracer.Flag(trace.Flag{
		Event: e.ID, Time: e.Time, Unit: unit, Rule: r.ID, Severity: r.Severity, Tactic: r.Tactic,
		Techniques: r.Techniques, Plane: e.Plane(), Contexts: [3]event.ID{x.context(e)}, User: e.Actor.Name, Ref: ref,
	})
}

// maxOnce bounds the memory of rules that flag once per session.
const maxOnce = 1 << 17

// repeats reports whether rule i flagged this session within span.
func (x *Engine) repeats(i int32, span int64, e *event.Event) bool {
	if span == 0 || x.cfg.FlagRepeats {
		return false
	}
	x.hash.Reset()
	x.hash.Int(int64(i))
	x.hash.ID(e.Session)
	k := x.hash.Sum()
	first, ok := x.once[k]
	if ok && e.Time-first < span {
		return true
	}
	if len(x.once) >= maxOnce {
		clear(x.once)
	}
	x.once[k] = e.Time
	return false
}

// context is the workload context of rarity: who does what kind of thing.
func (x *Engine) context(e *event.Event) event.ID {
	a := &e.Actor
	x.hash.Reset()
	x.hash.Str(a.Namespace)
	if a.ServiceAccount != "" {
		x.hash.Str(a.ServiceAccount)
	} else {
		x.hash.Str(a.Name)
	}
	if e.Kind == event.KindCloudCall {
		x.hash.Str(e.Cloud.Service)
		x.hash.Str(e.Cloud.Action)
	} else {
		x.hash.Str(e.K8s.Verb)
		x.hash.Str(e.K8s.Resource)
	}
	return x.hash.Sum()
}

// Traces returns the traces found so far, highest score first. The caller owns
// the slice.
func (x *Engine) Traces() []trace.Trace { return x.tracer.Traces() }

// TraceID returns the id of the trace that a unit's flags belong to.
func (x *Engine) TraceID(unit event.ID) (trace.TraceID, bool) {
	t, ok := x.tracer.Trace(unit)
	return t.ID, ok
}

// Describe says whose a unit is, "" when that is not known.
func (x *Engine) Describe(unit event.ID) string { return x.graph.Describe(unit) }

// Session is graph.Graph.Session.
func (x *Engine) Session(id event.ID) (graph.Span, bool) { return x.graph.Session(id) }

// Stats returns the counters so far. Its slices belong to the engine.
func (x *Engine) Stats() Stats {
	s := x.stats
	s.Duplicates, s.Late = x.window.duplicates, x.window.late
	return s
}
