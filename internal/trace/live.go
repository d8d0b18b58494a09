package trace

import (
	"bytes"
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// TakeChanged returns the traces that changed since the last call, and the ids
// that were returned by an earlier call and lead nowhere of their own any more:
// their trace was dropped, or became part of one with another id. A restored
// Tracer begins with all of its traces. The order is that of Traces; the caller
// owns both slices.
func (t *Tracer) TakeChanged() (changed []Trace, gone []TraceID) {
	gone = t.gone
	for _, tr := range t.changed {
		x := t.traces.at(tr)
		if !x.changed { // dropped since
			continue
		}
		x.changed = false
		id := t.idOf(tr)
		if x.told != id && x.told != (TraceID{}) {
			gone = append(gone, x.told)
		}
		if id == (TraceID{}) { // nothing in it is flagged
			continue
		}
		x.told = id
		t.nameOf(tr)
		changed = append(changed, t.view(tr))
	}
	t.changed, t.gone = t.changed[:0], nil
	slices.SortFunc(changed, compareTraces)
	gone = slices.DeleteFunc(gone, func(id TraceID) bool {
		return slices.ContainsFunc(changed, func(c Trace) bool { return c.ID == id })
	})
	return changed, gone
}

// noteChanged remembers a trace for TakeChanged.
func (t *Tracer) noteChanged(tr uint32) {
	if x := t.traces.at(tr); !x.changed {
		x.changed = true
		t.changed = append(t.changed, tr)
	}
}

// noteGone remembers that a trace's slot is about to be released.
func (t *Tracer) noteGone(tr uint32) {
	x := t.traces.at(tr)
	if x.told != (TraceID{}) {
		t.gone = append(t.gone, x.told)
	}
	if x.changed {
		t.changed = slices.DeleteFunc(t.changed, func(c uint32) bool { return c == tr })
	}
}

// compareTraces orders by score, highest first, then earliest, then by id.
func compareTraces(a, b Trace) int {
	switch {
	case a.Score != b.Score:
		return int(b.Score) - int(a.Score)
	case a.First != b.First:
		if a.First < b.First {
			return -1
		}
		return 1
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// Extract returns a Tracer that holds nothing but the trace an id leads to, with
// the weights and strengths that it has here: its Traces are that one trace, its
// score worked out again from the evidence. It is what an export of a trace
// carries. False when there is no such trace.
func (t *Tracer) Extract(id TraceID) (*Tracer, bool) {
	i, ok := t.byID[id]
	if !ok {
		return nil, false
	}
	x := t.traces.at(t.units.at(i).trace)
	cfg := t.cfg
	cfg.Suppressions, cfg.OnChange = nil, nil
	out := New(cfg)
	out.now = t.now
	for _, m := range x.members {
		out.mergeUnit(t, t.units.at(m))
	}
	out.mergeRecord(t, x)
	for _, m := range x.members {
		out.mergeLinks(t, m)
	}
	out.propagate()
	out.settle()
	return out, true
}

// Effect is what a suppression would have done to one trace.
type Effect struct {
	ID          TraceID
	Score, With Points   // without and with the suppression
	Hidden      []string // rules whose flags it would have hidden, sorted
}

// Preview says what a suppression would have done to the live traces had it been
// there from the start; traces that it leaves alone are not in it. A flag counts
// as one of a user as user says of its evidence. The greatest effect comes first.
func (t *Tracer) Preview(s Suppression, user func(Evidence) string) []Effect {
	var out []Effect
	for tr := uint32(1); tr <= t.traces.top; tr++ {
		if x := t.traces.at(tr); x.live {
			if e := t.effect(tr, x, &s, user); len(e.Hidden) > 0 {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b Effect) int {
		if c := int(b.Score-b.With) - int(a.Score-a.With); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return out
}

func (t *Tracer) effect(tr uint32, x *record, s *Suppression, user func(Evidence) string) Effect {
	e := Effect{ID: t.idOf(tr), Score: x.score}
	with := *x
	with.rows = slices.Clone(x.rows)
	for i := range with.rows {
		r := &with.rows[i]
		rule := t.kinds[r.kind].rule
		if r.suppressed || t.evidenceOf(r.unit).trigger.shape != s.Fingerprint || !slices.Contains(s.AllowedKinds, rule) || !s.coversAll(r.evidence, user) {
			continue
		}
		r.suppressed = true
		if !slices.Contains(e.Hidden, rule) {
			e.Hidden = append(e.Hidden, rule)
		}
	}
	slices.Sort(e.Hidden)
	e.With = points(t.assess(&with, x.last, scope{}).score)
	return e
}

// coversAll reports whether the suppression is for the users of all evidence.
func (s *Suppression) coversAll(evidence []Evidence, user func(Evidence) string) bool {
	return len(s.Users) == 0 || !slices.ContainsFunc(evidence, func(e Evidence) bool { return !slices.Contains(s.Users, user(e)) })
}

// AlertLine is the score from which a trace is an alert.
const AlertLine = alertLine

// IDOfUnit returns the id of the trace whose oldest flagged unit is the one given. A
// trace with several flagged units may have been told under any of theirs before
// they were joined.
func IDOfUnit(unit UnitID) TraceID { return idOfUnit(&event.Hasher{}, unit) }
