package trace

import (
	"fmt"
	"math"
	"time"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// Config bounds a Tracer. The zero value of each field means its default.
type Config struct {
	MaxTraces        int   // live traces; default 20,000, then the lowest score times recency goes
	MaxUnits         int   // units with pending links; default 1,000,000
	MaxUnitsPerTrace int   // default 256
	EvidencePerKind  int   // flags pointed at per kind; default 4
	TraceTTL         int64 // nanoseconds without a flag until a trace is dropped; default 30 days
	NodeRingTTL      int64 // nanoseconds a node-plane link waits for evidence; default 15 minutes
	RingTTL          int64 // nanoseconds any other link waits; default 6 hours

	// BaselineHours is the longest history rarity looks at; default 336.
	// MinBaselineHours is taken when less was observed: hours not seen count
	// as hours in which nothing fired, so that a short log does not teach
	// itself; default 168.
	BaselineHours    int
	MinBaselineHours int
	// SketchWidth is the counters per row of a day's sketch (4 rows, 1 byte
	// each, 15 days); a power of two, default 131,072: 7.5 MiB when full.
	SketchWidth int

	// Shard distinguishes the counts of tracers whose state is merged.
	Shard uint16

	Suppressions []Suppression

	// OnChange, when set, is called during Flag, Link, Advance and Merge. It
	// must not call the Tracer.
	OnChange func(Change)
}

func (c *Config) setDefaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.MaxTraces, 20_000)
	def(&c.MaxUnits, 1_000_000)
	def(&c.MaxUnitsPerTrace, 256)
	def(&c.EvidencePerKind, 4)
	def(&c.BaselineHours, 336)
	def(&c.MinBaselineHours, 168)
	def(&c.SketchWidth, 1<<17)
	ttl := func(p *int64, v time.Duration) {
		if *p == 0 {
			*p = int64(v)
		}
	}
	ttl(&c.TraceTTL, 30*24*time.Hour)
	ttl(&c.NodeRingTTL, 15*time.Minute)
	ttl(&c.RingTTL, 6*time.Hour)
}

// Validate reports the first setting that is out of range. Zero values are
// defaults and valid.
func (c Config) Validate() error {
	c.setDefaults()
	switch {
	case c.MaxTraces < 1, c.MaxUnits < 2, c.MaxUnitsPerTrace < 2, c.EvidencePerKind < 1:
		return fmt.Errorf("trace limits must be positive: %d traces, %d units, %d units a trace, %d evidence a kind",
			c.MaxTraces, c.MaxUnits, c.MaxUnitsPerTrace, c.EvidencePerKind)
	case c.BaselineHours < 1 || c.BaselineHours > maxBaselineHours:
		return fmt.Errorf("baseline of %d hours is not in 1 to %d", c.BaselineHours, maxBaselineHours)
	case c.MinBaselineHours < 1 || c.MinBaselineHours > c.BaselineHours:
		return fmt.Errorf("least baseline of %d hours is not in 1 to %d", c.MinBaselineHours, c.BaselineHours)
	case c.SketchWidth < 16 || c.SketchWidth&(c.SketchWidth-1) != 0:
		return fmt.Errorf("sketch width %d is not a power of two from 16", c.SketchWidth)
	case c.TraceTTL < 0, c.RingTTL < 0, c.NodeRingTTL < 0:
		return fmt.Errorf("lifetimes must not be negative")
	}
	return nil
}

// Weights of the score, hand-set starting values in nats.
const (
	zLow      = 0.05
	zMedium   = 0.18
	zHigh     = 0.55
	zCritical = 1.60

	repeatMax   = 1.3 // most that repeats of one kind add
	repeatFlags = 8   // repeats at which repeatMax is reached: 1 + 0.1*log2(8)
	kindsPerZ   = 5   // kinds of a tactic that count
	chainStep   = 0.25
	chainMax    = 2.5
	planeStep   = 0.15

	// chainEvidence is the least evidence of a tactic in the chain: one low,
	// with a quarter of slack. Without slack a low brought in over an exact
	// link (0.95) would never lengthen a chain.
	chainEvidence = 0.75 * zLow

	// weightyEvidence is the least evidence of a tactic that counts for the
	// length of the story in whatever order it came: one medium, with the same
	// slack. Real attacks jump about in the matrix; ordinary work that touches
	// many tactics does so with lows.
	weightyEvidence = 0.75 * zMedium

	alertLine  Points = 500
	closeLine  Points = 300
	updateStep Points = 150
	closeAfter        = int64(time.Hour)

	minStrength   = 0.15
	affinityFloor = 0.3
	maxHops       = 3 // links between a flagged unit and the farthest one it pulls in
	skewNanos     = int64(2 * time.Second)

	maxRows         = 50  // (unit, kind) rows of a trace: 10 tactics of 5 kinds
	maxOpenLinks    = 512 // of a trace
	maxSeeAlso      = 8
	maxMergedFrom   = 32
	evictShare      = 20 // one in so many traces goes when the limit is hit
	recencyHalfLife = float64(24 * time.Hour)

	hubFanOut  = 16  // distinct neighbours from which a unit is damped
	hubScale   = 32  // h = 1/(1+deg/hubScale)
	hubBarrier = 0.1 // below it a unit is a barrier for good
)

func severityWeight(s event.Severity) float64 {
	switch s {
	case event.Low:
		return zLow
	case event.Medium:
		return zMedium
	case event.High:
		return zHigh
	case event.Critical:
		return zCritical
	}
	return 0
}

// rarityFloor is the least a routine flag still counts.
func rarityFloor(s event.Severity) float64 {
	switch s {
	case event.High:
		return 0.25
	case event.Critical:
		return 0.6
	}
	return 0.1
}

// halfLifeHours of the evidence of a tactic. Where the reference gives none,
// what leaves something behind gets two days and what passes gets one.
func halfLifeHours(t event.Tactic) float64 {
	switch t {
	case event.Discovery:
		return 6
	case event.CredentialAccess, event.PrivilegeEscalation, event.DefenseEvasion:
		return 48
	case event.Persistence:
		return 7 * 24
	}
	return 24
}

// ringTTL is how long a link of a type waits for evidence.
func (c *Config) ringTTL(l graph.LinkType) int64 {
	switch l {
	case graph.LinkExec, graph.LinkFile, graph.LinkConnection, graph.LinkMetadata:
		return c.NodeRingTTL
	}
	return c.RingTTL
}

// hub returns h for a number of distinct neighbours.
func hub(degree float64) float64 {
	if degree <= hubFanOut {
		return 1
	}
	return 1 / (1 + degree/hubScale)
}

func hours(nanos int64) float64 { return float64(nanos) / float64(time.Hour) }

func repeatFactor(n int) float64 {
	return math.Min(repeatMax, 1+0.1*math.Log2(float64(max(n, 1))))
}
