package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/trace"
)

// Rules is the rule set of a replay. detect.Set implements it.
type Rules interface {
	// Rule returns rule i.
	Rule(i int32) *rule.Rule
	// AppendMessage appends the message of rule i for e to dst, clean for a
	// terminal.
	AppendMessage(dst []byte, i int32, e *event.Event) []byte
}

// Collector takes the flags of a replay and writes them out with their traces
// when it is over. It implements pipeline.FlagSink.
type Collector struct {
	describer
	rules Rules
	spool spool
	buf   []byte
}

// describer turns traces into what output shows, by the flags that it noted.
type describer struct {
	flags interface {
		flag(ref uint64) (Flag, error)
	}
	units map[event.ID]unitFlags
	more  int64 // flags in units beyond maxUnits
}

// unitFlags is what a Collector remembers of a unit.
type unitFlags struct {
	first   uint64 // its first flag
	weighty bool   // it holds a flag that moves a score
}

// maxUnits bounds the units that a Collector can name without a flag of theirs
// among a trace's evidence: 8 MiB.
const maxUnits = 1 << 17

// NewCollector returns an empty Collector. rules is the engine's rule set.
func NewCollector(rules Rules) *Collector {
	c := &Collector{rules: rules}
	c.describer = describer{flags: &c.spool, units: map[event.ID]unitFlags{}}
	return c
}

// Flag implements pipeline.FlagSink.
func (c *Collector) Flag(f engine.Flag) uint64 {
	c.buf = c.rules.AppendMessage(c.buf[:0], f.Rule, f.Event)
	ref := c.spool.add(f.Unit, newFlag(c.rules.Rule(f.Rule), string(c.buf), f.Event))
	c.note(f.Unit, unitFlags{first: ref, weighty: c.rules.Rule(f.Rule).Severity > event.Info})
	return ref
}

// note remembers that a unit holds a flag.
func (d *describer) note(unit event.ID, f unitFlags) {
	u, ok := d.units[unit]
	switch {
	case ok:
		u.weighty = u.weighty || f.weighty
	case len(d.units) >= maxUnits:
		d.more++
		return
	default:
		u = f
	}
	d.units[unit] = u
}

// Unnamed returns how many flags were raised in units beyond those the collector
// remembers; such a unit is named only where the trace's evidence shows it.
func (c *Collector) Unnamed() int64 { return c.more }

// Close frees the temporary file, if there is one.
func (c *Collector) Close() error { return c.spool.close() }

// Units says whose a unit without flags is. engine.Engine implements it.
type Units interface {
	// Describe returns user and address, "" when they are not known.
	Describe(unit event.ID) string
	// Session returns when an identity session was at work, false when the unit is
	// none or that is forgotten.
	Session(unit event.ID) (graph.Span, bool)
}

// Describe returns the traces as output writes them, in the order given.
func (d *describer) Describe(traces []trace.Trace, units Units) ([]Trace, error) {
	out := make([]Trace, 0, len(traces))
	for i := range traces {
		t, err := d.newTrace(traces[i], units)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// Describe is describer.Describe; it fails when flags could not be kept.
func (c *Collector) Describe(traces []trace.Trace, units Units) ([]Trace, error) {
	if c.spool.err != nil {
		return nil, c.spool.err
	}
	return c.describer.Describe(traces, units)
}

// TraceOf finds the trace of a unit. engine.Engine implements it.
type TraceOf interface {
	TraceID(unit event.ID) (trace.TraceID, bool)
}

// WriteJSONLines writes each flag in the order they were raised, then each
// trace, one object a line (design: "What a user types").
func (c *Collector) WriteJSONLines(w io.Writer, of TraceOf, traces []Trace) error {
	if err := c.eachFlag(of, func(b []byte) error {
		_, err := w.Write(append(b, '\n'))
		return err
	}); err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	for i := range traces {
		if err := enc.Encode(&traces[i]); err != nil {
			return fmt.Errorf("writing trace %s: %w", traces[i].ID, err)
		}
	}
	return nil
}

// eachFlag gives the JSON of every flag, its trace filled in.
func (c *Collector) eachFlag(of TraceOf, f func([]byte) error) error {
	if c.spool.err != nil {
		return c.spool.err
	}
	var line []byte
	return c.spool.each(func(unit event.ID, b []byte) error {
		id, _ := of.TraceID(unit)
		line = append(line[:0], b[:len(b)-1]...)
		line = append(line, `,"trace":"`...)
		line = append(append(line, id.String()...), `"}`...)
		return f(line)
	})
}

// Result is the whole outcome of a replay as one JSON object.
type Result struct {
	Traces []Trace           `json:"traces"`
	Flags  []json.RawMessage `json:"flags"`
	Totals Totals            `json:"totals"`
}

// Totals says how much was read and found.
type Totals struct {
	Files      int   `json:"files"`
	BadFiles   int   `json:"badFiles"`
	Strangers  int   `json:"strangers"` // files of a folder that are no logs
	Records    int64 `json:"records"`
	Bytes      int64 `json:"bytes"`
	Unreadable int64 `json:"unreadable"`
	Skipped    int64 `json:"skipped"`
	Outside    int64 `json:"outside"` // beyond the last time asked for
	Duplicates int64 `json:"duplicates"`
	Late       int64 `json:"late"`
	Cascades   int64 `json:"cascades"`
	Flags      int64 `json:"flags"`
	Repeats    int64 `json:"repeats"`
	Traces     int   `json:"traces"`
	Alerts     int   `json:"alerts"`
	Hidden     int   `json:"hidden"`            // traces left out of the output by score
	Unnamed    int64 `json:"unnamed,omitempty"` // flags in units too many to remember, see Collector.Unnamed
}

// WriteJSON writes one indented object with traces, flags and totals.
func (c *Collector) WriteJSON(w io.Writer, of TraceOf, traces []Trace, totals Totals) error {
	res := Result{Traces: traces, Flags: []json.RawMessage{}, Totals: totals}
	if err := c.eachFlag(of, func(b []byte) error {
		res.Flags = append(res.Flags, append(json.RawMessage(nil), b...))
		return nil
	}); err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(res); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}
