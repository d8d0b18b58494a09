// Package trace joins flagged units into traces and scores them: units, flags
// and links in, scored and explained traces out.
//
// # Model
//
// A unit is everything below one causal barrier (a pod, an identity session, a
// created object); the graph decides which unit an event belongs to. A flag is
// evidence on a unit. A link says that one unit caused something in another.
// Units are joined into one trace only over links that evidence opens:
//
//   - forward: a unit that is tainted caused something after its taint began;
//   - backward: a unit shows evidence after another one, flagged itself, acted
//     on it. Whoever deployed two workloads that are attacked apart does not
//     join them.
//
// Both travel at most three links from the flagged unit, in the direction of
// time, and only over links strong enough for the evidence they carry. Opening
// is monotone: more flags and more links never close a link. So the set of
// open links is the least fixed point of the set of flags and links seen, and
// does not depend on the order in which they came. What does depend on order is
// counted in Stats: pending links beyond four a unit, traces at their size
// limit, and strengths and rarities, which are frozen when first needed.
//
// # Determinism
//
// A Tracer has no clock, does no I/O but Snapshot and Restore, and starts no
// goroutine. Time is event time in nanoseconds since 1970 UTC throughout. It is
// not safe for concurrent use.
package trace

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// UnitID is the key of the entity at the top of a unit.
type UnitID = event.ID

// TraceID names a trace. It is derived from the trace's oldest flagged unit, so
// it survives restarts and is the same on every replica.
type TraceID [16]byte

// String returns the id as 32 hex digits.
func (id TraceID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the id as 32 hex digits.
func (id TraceID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads 32 hex digits.
func (id *TraceID) UnmarshalText(b []byte) error {
	if _, err := hex.Decode(id[:], b[:min(len(b), 2*len(id))]); err != nil || len(b) != 2*len(id) {
		return fmt.Errorf("trace id %q is not 32 hex digits", b)
	}
	return nil
}

// Points is a score or a part of one in tenths of a point: 423 is 42.3. Whole
// numbers let contributions sum exactly to their score.
type Points int32

// Float returns the points as a number, 42.3.
func (p Points) Float() float64 { return float64(p) / 10 }

// String returns the points with one decimal.
func (p Points) String() string { return strconv.FormatFloat(p.Float(), 'f', 1, 64) }

// MarshalJSON writes the points as a number with one decimal.
func (p Points) MarshalJSON() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Points) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(math.Abs(f) <= 1e6) {
		return fmt.Errorf("points %q are no number", b)
	}
	*p = Points(math.Round(f * 10))
	return nil
}

// Flag is a rule that matched an event of a unit. The tracer copies what it
// keeps; strings may alias the caller's buffers.
type Flag struct {
	Event      event.ID
	Time       int64 // of the event
	Unit       UnitID
	Rule       string // id of the rule: the flag's kind
	Severity   event.Severity
	Tactic     event.Tactic
	Techniques []string // the same for every flag of one rule
	Plane      event.Plane
	User       string   // the acting user, for suppressions limited to users
	Lineage    []string // names of the unit's ancestors up to the barrier, nearest first

	// Contexts are the workload's own rarity context, its image's and its
	// cluster's; a zero key is none. All three learn. NewWorkload says that the
	// first has no history worth asking: then the image's decides, then the
	// cluster's.
	Contexts    [3]event.ID
	NewWorkload bool

	Ref uint64 // opaque handle of the caller, given back as Evidence.Ref
}

// Trace is one scored trace. The caller owns it.
type Trace struct {
	ID          TraceID
	Score       Points // as of the trace's last evidence: decay up to then, not beyond
	Peak        Points // highest score it ever had
	Alert       bool   // Peak reached the alert line
	Open        bool   // alerting and not yet closed
	Chain       int    // tactics in the longest chain that follows the matrix
	Kinds       []Kind // highest contribution first; contributions sum to Score
	Links       []Edge // links on the way between flagged units, by time
	Units       int    // units joined, unflagged ones included
	Flagged     []Unit // flagged units, oldest first
	Tactics     []event.Tactic
	Planes      event.Plane // bits of all planes with evidence
	First, Last int64       // of the flags
	Fingerprint event.ID    // shape of the trigger, what a Suppression names
	SeeAlso     []TraceID   // traces that were not merged because of the size limit
	MergedFrom  []TraceID   // younger ids that lead here
	Dropped     int         // times a flag's row was left out because of the size limit
}

// Unit is one flagged unit of a trace.
type Unit struct {
	ID          UnitID
	First, Last int64    // of its flags
	Fingerprint event.ID // shape of its earliest flag, what a Suppression of its flags names
	Affinity    float64  // how firmly it is tied to the trace's origin, [0.3, 1]
}

// Kind is what one rule says in a trace.
type Kind struct {
	Rule         string
	Severity     event.Severity
	Tactic       event.Tactic
	Techniques   []string // shared, not to be changed
	Planes       event.Plane
	Count        uint64 // flags, duplicates of a recent one not counted
	First, Last  int64
	Contribution Points
	Suppressed   bool
	Evidence     []Evidence // the earliest flags, at most Config.EvidencePerKind
}

// Evidence points at one flag.
type Evidence struct {
	Event event.ID
	Time  int64
	Unit  UnitID
	Ref   uint64 // the caller's handle
}

// Edge is a link that joined two units of a trace.
type Edge struct {
	From, To    UnitID
	Type        graph.LinkType
	Grade       graph.Grade
	Strength    float64 // after hub damping
	First, Last int64   // when it was first and last observed to act
	Label       string
}

// ChangeKind says what happened to a trace.
type ChangeKind uint8

// The changes reported through Config.OnChange.
const (
	Opened  ChangeKind = iota // the score reached the alert line
	Updated                   // an open alert rose by a step or gained a tactic
	Merged                    // Change.From is now part of Change.Trace
	Closed                    // an open alert stayed under the close line for an hour
	Evicted                   // the trace was dropped to bound memory or by age
)

var changeNames = [...]string{"opened", "updated", "merged", "closed", "evicted"}

// String returns the change's name.
func (k ChangeKind) String() string {
	if int(k) >= len(changeNames) {
		return "unknown"
	}
	return changeNames[k]
}

// Change is one report about a trace.
type Change struct {
	Kind  ChangeKind
	Time  int64 // event time at which it was found
	Trace Trace
	From  TraceID // Merged only
}

// Stats counts what the bounds cost. A non-zero exception count means that the
// partition may depend on arrival order.
type Stats struct {
	Units, Traces, OpenLinks int // live

	RingOverflow   uint64 // pending links pushed out by younger ones
	SizeRefused    uint64 // unions not made because of MaxUnitsPerTrace
	LinksRefused   uint64 // links not kept because of the links-per-trace limit
	HubDropped     uint64 // links too weak after damping
	Folded         uint64 // per-unit rows of one kind folded together
	KindsDropped   uint64 // kinds beyond the rows a trace keeps
	Duplicates     uint64 // flags seen before
	EvictedTraces  uint64
	EvictedUnits   uint64
	BaselineMissed uint64 // hours not learned because too many were waiting
}
