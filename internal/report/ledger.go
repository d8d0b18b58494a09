package report

import (
	"encoding/gob"
	"fmt"
	"io"

	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/trace"
)

// Ledger takes the flags of a live engine and describes its traces while they
// grow. It keeps the flags that traces point at; Prune drops the others. It
// implements the engine's Sink but for Done. It is not safe for concurrent use.
type Ledger struct {
	describer
	rules Rules
	last  uint64 // handle given out last
	kept  map[uint64]Flag
	buf   []byte
}

// NewLedger returns an empty Ledger. rules is the engine's rule set.
func NewLedger(rules Rules) *Ledger {
	l := &Ledger{rules: rules, kept: map[uint64]Flag{}}
	l.describer = describer{flags: l, units: map[event.ID]unitFlags{}}
	return l
}

// Flag takes a flag and returns its handle. Handles count up, so the same events
// give the same handles.
func (l *Ledger) Flag(f engine.Flag) uint64 {
	l.buf = l.rules.AppendMessage(l.buf[:0], f.Rule, f.Event)
	r := l.rules.Rule(f.Rule)
	l.last++
	l.kept[l.last] = newFlag(r, string(l.buf), f.Event)
	l.note(f.Unit, unitFlags{first: l.last, weighty: r.Severity > event.Info})
	return l.last
}

// User returns who raised the flag of a handle, "" when it is not kept.
func (l *Ledger) User(ref uint64) string { return l.kept[ref].Event.User }

// Kept returns how many flags are kept.
func (l *Ledger) Kept() int { return len(l.kept) }

func (l *Ledger) flag(ref uint64) (Flag, error) {
	f, ok := l.kept[ref]
	if !ok {
		return Flag{}, fmt.Errorf("flag %d is not kept", ref)
	}
	return f, nil
}

// Prune drops what none of the live traces points at.
func (l *Ledger) Prune(live []trace.Trace) {
	refs, units := map[uint64]bool{}, map[event.ID]bool{}
	for i := range live {
		for _, u := range live[i].Flagged {
			units[u.ID] = true
		}
		for _, k := range live[i].Kinds {
			for _, e := range k.Evidence {
				refs[e.Ref] = true
			}
		}
	}
	for id, u := range l.units {
		if units[id] {
			refs[u.first] = true
		} else {
			delete(l.units, id)
		}
	}
	for ref := range l.kept {
		if !refs[ref] {
			delete(l.kept, ref)
		}
	}
}

// ledgerState is what a snapshot of a Ledger holds.
type ledgerState struct {
	Last  uint64
	Kept  map[uint64]Flag
	Units map[event.ID]ledgerUnit
	More  int64
}

type ledgerUnit struct {
	First   uint64
	Weighty bool
}

// Snapshot writes the ledger's state.
func (l *Ledger) Snapshot(w io.Writer) error {
	s := ledgerState{Last: l.last, Kept: l.kept, Units: make(map[event.ID]ledgerUnit, len(l.units)), More: l.more}
	for id, u := range l.units {
		s.Units[id] = ledgerUnit{u.first, u.weighty}
	}
	if err := gob.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("saving the flags of traces: %w", err)
	}
	return nil
}

// Restore replaces the state by a snapshot's.
func (l *Ledger) Restore(r io.Reader) error {
	var s ledgerState
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return fmt.Errorf("restoring the flags of traces: %w", err)
	}
	l.last, l.more = s.Last, s.More
	l.kept, l.units = s.Kept, make(map[event.ID]unitFlags, len(s.Units))
	if l.kept == nil {
		l.kept = map[uint64]Flag{}
	}
	for id, u := range s.Units {
		l.units[id] = unitFlags{u.First, u.Weighty}
	}
	return nil
}
