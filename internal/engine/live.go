package engine

import (
	"fmt"
	"io"

	"github.com/clew-sec/clew/internal/trace"
)

// Advance says that it is now, in nanoseconds since 1970 UTC, and processes the
// events that the window held only because none younger came. Live sources call
// it with the time at which a batch was received; that time stands in the log, so
// processing the log again gives the same.
func (x *Engine) Advance(now int64) {
	x.window.newest = max(x.window.newest, now)
	for {
		e := x.window.pop(false)
		if e == nil {
			return
		}
		x.step(e)
	}
}

// EventTime returns the time of the latest event that was processed, 0 when there
// was none.
func (x *Engine) EventTime() int64 { return x.window.last.time }

// TakeChanged is trace.Tracer.TakeChanged.
func (x *Engine) TakeChanged() (changed []trace.Trace, gone []trace.TraceID) {
	return x.tracer.TakeChanged()
}

// Trace returns the live trace that an id leads to.
func (x *Engine) Trace(id trace.TraceID) (trace.Trace, bool) { return x.tracer.Lookup(id) }

// SetSuppressions replaces the suppressions; see trace.Tracer.SetSuppressions.
func (x *Engine) SetSuppressions(list []trace.Suppression) { x.tracer.SetSuppressions(list) }

// Preview is trace.Tracer.Preview.
func (x *Engine) Preview(s trace.Suppression, user func(trace.Evidence) string) []trace.Effect {
	return x.tracer.Preview(s, user)
}

// Extract writes the one trace that an id leads to in the form that
// trace.Tracer.Restore reads. False when there is no such trace.
func (x *Engine) Extract(id trace.TraceID, w io.Writer) (bool, error) {
	one, ok := x.tracer.Extract(id)
	if !ok {
		return false, nil
	}
	if err := one.Snapshot(w); err != nil {
		return true, fmt.Errorf("saving trace %s: %w", id, err)
	}
	return true, nil
}

// Due returns the time from which Advance would release the oldest event that is
// held, in nanoseconds since 1970 UTC; false when none is held.
func (x *Engine) Due() (at int64, ok bool) {
	held := x.window.pending()
	if len(held) == 0 {
		return 0, false
	}
	return held[0].time + x.window.spanNanos + 1, true
}
