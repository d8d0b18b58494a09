package trace

import (
	"fmt"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

const (
	sec  = int64(time.Second)
	hour = int64(time.Hour)
	t0   = int64(1_767_225_600) * sec // 2026-01-01T00:00:00Z
)

// id makes a key that reads as its name in a dump.
func id(name string) event.ID {
	var k event.ID
	copy(k[:], name)
	return k
}

var flagSerial int

// flag makes a flag with an event of its own.
func flag(unit, rule string, s event.Severity, k event.Tactic, at int64) Flag {
	flagSerial++
	return Flag{Event: id(fmt.Sprintf("event-%d", flagSerial)), Time: at, Unit: id(unit), Rule: rule, Severity: s, Tactic: k, Plane: event.PlaneK8s}
}

func small() Config { return Config{SketchWidth: 1 << 10} }

func mustTrace(t *testing.T, tr *Tracer, unit string) Trace {
	t.Helper()
	v, ok := tr.Trace(id(unit))
	if !ok {
		t.Fatalf("unit %s is in no trace", unit)
	}
	checkSum(t, v)
	return v
}

// checkSum holds the law that contributions add up to the score.
func checkSum(t *testing.T, v Trace) {
	t.Helper()
	sum := Points(0)
	for _, k := range v.Kinds {
		if k.Contribution < 0 || k.Suppressed && k.Contribution != 0 {
			t.Errorf("kind %s contributes %s", k.Rule, k.Contribution)
		}
		sum += k.Contribution
	}
	if sum != v.Score {
		t.Errorf("contributions sum to %s, score is %s", sum, v.Score)
	}
}

// TestGoldenScores holds the rows of the reference scorer. Flags stand in
// matrix order, as its chain length is the number of tactics.
func TestGoldenScores(t *testing.T) {
	type f struct {
		unit string
		s    event.Severity
		k    event.Tactic
		p    event.Plane
	}
	one := func(s event.Severity) []f { return []f{{"u", s, event.Execution, 0}} }
	many := func(n int, s event.Severity) (out []f) {
		for range n {
			out = append(out, f{"u", s, event.Execution, 0})
		}
		return out
	}
	spread := func(n int, s event.Severity) (out []f) {
		for k := range n {
			out = append(out, f{"u", s, event.Tactic(k), 0})
		}
		return out
	}
	tests := []struct {
		name  string
		flags []f
		links []Link
		want  Points
	}{
		{"one low", one(event.Low), nil, 49},
		{"one medium", one(event.Medium), nil, 165},
		{"one high", one(event.High), nil, 423},
		{"one critical", one(event.Critical), nil, 798},
		{"ten mediums, one tactic", many(10, event.Medium), nil, 272},
		{"3 mediums in 3 tactics", spread(3, event.Medium), nil, 555},
		{"2 mediums in 2 tactics", spread(2, event.Medium), nil, 362},
		{"5 lows in 5 tactics", spread(5, event.Low), nil, 393},
		{"2 highs, same tactic", many(2, event.High), nil, 525},
		{"2 highs, different tactics", spread(2, event.High), nil, 747},
		{
			"exec, token read, list secrets, privileged pod",
			[]f{
				{"session", event.Medium, event.Execution, event.PlaneK8s},
				{"pod", event.High, event.PrivilegeEscalation, event.PlaneK8s},
				{"pod", event.High, event.CredentialAccess, event.PlaneNode},
				{"pod", event.Medium, event.CredentialAccess, event.PlaneK8s},
			},
			[]Link{{From: id("session"), To: id("pod"), Type: LinkExec, Strength: 0.95}},
			891,
		},
		{
			"web shell, IMDS, assume role, list buckets",
			[]f{
				{"pod", event.Medium, event.Execution, event.PlaneNode},
				{"pod", event.Medium, event.CredentialAccess, event.PlaneNode},
				{"role", event.Low, event.Discovery, event.PlaneCloud},
				{"role", event.Medium, event.LateralMovement, event.PlaneCloud},
			},
			[]Link{{From: id("pod"), To: id("role"), Type: LinkMetadata, Strength: 0.6}},
			576,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := New(small())
			for i, f := range tt.flags {
				at := t0 + int64(i)*1000 // decay within a test must not show
				for _, l := range tt.links {
					if l.To == id(f.unit) {
						l.Time = at
						tr.Link(l)
					}
				}
				g := flag(f.unit, fmt.Sprintf("rule-%d", i), f.s, f.k, at)
				if f.p != 0 {
					g.Plane = f.p
				}
				tr.Flag(g)
			}
			if got := mustTrace(t, tr, tt.flags[0].unit); got.Score != tt.want {
				t.Errorf("score %s, want %s\n%+v", got.Score, tt.want, got)
			}
		})
	}
}

func TestGoldenSameMedium500Times(t *testing.T) {
	tr := New(small())
	for range 500 {
		tr.Flag(flag("u", "r", event.Medium, event.Execution, t0))
	}
	got := mustTrace(t, tr, "u")
	if got.Score != 209 || got.Kinds[0].Count != 500 {
		t.Errorf("score %s count %d, want 20.9 and 500", got.Score, got.Kinds[0].Count)
	}
}

// TestGoldenRoutine: a high and a medium that fired in every hour of the
// baseline count a quarter and a tenth.
func TestGoldenRoutine(t *testing.T) {
	tr := New(small())
	routine := func(at int64) {
		for _, r := range []struct {
			rule string
			s    event.Severity
			k    event.Tactic
		}{{"high", event.High, event.Execution}, {"medium", event.Medium, event.Persistence}} {
			f := flag(fmt.Sprint("u", at), r.rule, r.s, r.k, at)
			f.Contexts[0] = id("workload")
			tr.Flag(f)
		}
	}
	// Each on a unit of its own: an hour of an alerting trace is not learned.
	for h := range int64(400) {
		f := flag(fmt.Sprint("a", h), "high", event.High, event.Execution, t0+h*hour)
		f.Contexts[0] = id("workload")
		tr.Flag(f)
		f = flag(fmt.Sprint("b", h), "medium", event.Medium, event.Persistence, t0+h*hour)
		f.Contexts[0] = id("workload")
		tr.Flag(f)
	}
	at := t0 + 400*hour
	routine(at)
	if got := mustTrace(t, tr, fmt.Sprint("u", at)); got.Score != 144 {
		t.Errorf("score %s, want 14.4", got.Score)
	}
}
