package trace

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

func link(from, to string, typ graph.LinkType, s float64, at int64) graph.Link {
	return graph.Link{From: id(from), To: id(to), Type: typ, Strength: s, Grade: graph.Strong, Time: at, Label: from + " to " + to}
}

// TestHubsDoNotGlue is hard case 1: a controller's session that touches
// thousands of units, some of them flagged, joins next to nothing.
func TestHubsDoNotGlue(t *testing.T) {
	tr := New(small())
	for n := range 3000 {
		at := t0 + int64(n)*sec
		pod := fmt.Sprint("pod-", n)
		tr.Link(link("controller", pod, graph.LinkCreated, 0.95, at))
		if n > 400 && n%50 == 0 {
			tr.Flag(flag(pod, "rule", event.Medium, event.Execution, at))
		}
	}
	for _, v := range tr.Traces() {
		if v.Alert || len(v.Flagged) != 1 {
			t.Fatalf("a hub joined %d flagged units, score %s", len(v.Flagged), v.Score)
		}
	}
}

// TestTwoAttackersOneServiceAccount is hard case 3: a link that could lead to
// any of n pods is divided by n and joins nothing.
func TestTwoAttackersOneServiceAccount(t *testing.T) {
	tr := New(small())
	for i, name := range []string{"a", "b"} {
		at := t0 + int64(i)*60*sec
		tr.Flag(flag("pod-"+name, "shell", event.High, event.Execution, at))
		for _, pod := range []string{"pod-a", "pod-b", "pod-c", "pod-d"} {
			tr.Link(link(pod, "session-"+name, graph.LinkCloudIdentity, 0.5/4, at+sec))
		}
		tr.Link(link("pod-"+name, "session-"+name, graph.LinkPodToken, 0.95, at+sec))
		tr.Flag(flag("session-"+name, "secrets", event.High, event.CredentialAccess, at+2*sec))
	}
	a, b := mustTrace(t, tr, "pod-a"), mustTrace(t, tr, "pod-b")
	if a.ID == b.ID || len(a.Flagged) != 2 || len(b.Flagged) != 2 {
		t.Errorf("two attackers in traces of %d and %d units, same trace: %v", len(a.Flagged), len(b.Flagged), a.ID == b.ID)
	}
}

// TestLinkBeforeFlag is hard case 4: links wait for evidence that comes later,
// over several units.
func TestLinkBeforeFlag(t *testing.T) {
	tr := New(small())
	tr.Link(link("session", "pod", graph.LinkCreated, 0.95, t0))
	tr.Link(link("pod", "role", graph.LinkCloudIdentity, 0.95, t0+sec))
	if got := tr.Traces(); len(got) != 0 {
		t.Fatalf("%d traces without a flag", len(got))
	}
	tr.Flag(flag("role", "buckets", event.Medium, event.Collection, t0+10*sec))
	tr.Flag(flag("session", "token", event.Medium, event.CredentialAccess, t0-sec))
	v := mustTrace(t, tr, "role")
	if v.Units != 3 || len(v.Links) != 2 || v.ID != idFor("session") {
		t.Errorf("want one trace of three units named after the session, got %+v", v)
	}
}

func idFor(unit string) TraceID { return idOfUnit(new(event.Hasher), id(unit)) }

// TestEffectBeforeCause: what a unit did before its first flag, and who touched
// a unit after its last, is not pulled in.
func TestEffectBeforeCause(t *testing.T) {
	tr := New(small())
	tr.Flag(flag("session", "token", event.High, event.CredentialAccess, t0+60*sec))
	tr.Link(link("session", "old-pod", graph.LinkCreated, 0.95, t0))
	tr.Link(link("responder", "session", graph.LinkExec, 0.95, t0+600*sec))
	tr.Link(link("session", "new-pod", graph.LinkCreated, 0.95, t0+59*sec)) // within clock skew
	if v := mustTrace(t, tr, "session"); v.Units != 2 {
		t.Errorf("%d units, want the session and the new pod", v.Units)
	}
	if _, ok := tr.Trace(id("new-pod")); !ok {
		t.Error("the pod created within the clock skew is not in")
	}
}

func TestWeakLinkNeedsEvidence(t *testing.T) {
	tr := New(small())
	tr.Flag(flag("a", "low", event.Low, event.Execution, t0-sec))
	tr.Link(link("a", "b", graph.LinkConnection, 0.5, t0))
	tr.Flag(flag("b", "low", event.Low, event.Execution, t0+sec))
	if v := mustTrace(t, tr, "b"); v.Units != 1 {
		t.Errorf("a low opened a link of strength 0.5")
	}
	tr.Flag(flag("b", "medium", event.Medium, event.Execution, t0+2*sec))
	if v := mustTrace(t, tr, "b"); v.Units != 2 {
		t.Errorf("a medium did not open a link of strength 0.5")
	}
}

// TestCommonCause: who deployed two workloads that are attacked apart, and has no
// flag of his own, does not join them.
func TestCommonCause(t *testing.T) {
	tr := New(small())
	tr.Link(link("deployer", "blog", graph.LinkCreated, 0.95, t0))
	tr.Link(link("deployer", "forum", graph.LinkCreated, 0.95, t0+sec))
	tr.Flag(flag("blog", "shell", event.High, event.Execution, t0+60*sec))
	tr.Flag(flag("forum", "wipe", event.High, event.Impact, t0+90*sec))
	if n := len(tr.Traces()); n != 2 {
		t.Errorf("%d traces, want 2", n)
	}
}

func TestThreeHops(t *testing.T) {
	tr := New(small())
	tr.Flag(flag("u0", "r", event.High, event.Execution, t0))
	for i := range 5 {
		tr.Link(link(fmt.Sprint("u", i), fmt.Sprint("u", i+1), graph.LinkToken, 0.95, t0+int64(i)*sec))
	}
	if v := mustTrace(t, tr, "u0"); v.Units != 4 {
		t.Errorf("%d units, want the flagged one and three hops", v.Units)
	}
}

// TestSlowAttacker is hard case 6: one step a day for five days.
func TestSlowAttacker(t *testing.T) {
	tr := New(small())
	for i, k := range []event.Tactic{event.InitialAccess, event.Persistence, event.Persistence, event.PrivilegeEscalation, event.CredentialAccess} {
		at := t0 + int64(i)*24*hour
		tr.Advance(at)
		tr.Flag(flag("session", fmt.Sprint("step-", i), event.Medium, k, at))
	}
	if v := mustTrace(t, tr, "session"); !v.Alert || v.Chain != 4 {
		t.Errorf("score %s, chain %d, want an alert over four tactics", v.Score, v.Chain)
	}
}

// TestFlood is hard case 7.
func TestFlood(t *testing.T) {
	tr := New(small())
	for n := range 100_000 {
		tr.Flag(flag("u", "r", event.Medium, event.Discovery, t0+int64(n)*1000))
	}
	v := mustTrace(t, tr, "u")
	if v.Score > 210 || v.Kinds[0].Count != 100_000 || len(v.Kinds[0].Evidence) != 4 {
		t.Errorf("score %s, count %d, %d pieces of evidence", v.Score, v.Kinds[0].Count, len(v.Kinds[0].Evidence))
	}
	if n := len(tr.recent.young) + len(tr.recent.old); n > 2*recentLimit {
		t.Errorf("%d hashes kept", n)
	}
}

// TestStrongUnitIsNotDiluted: joining a critical to an early low over a weak
// link must not bring it below what it scores alone.
func TestStrongUnitIsNotDiluted(t *testing.T) {
	tr := New(small())
	tr.Flag(flag("early", "low", event.Low, event.Discovery, t0))
	tr.Link(link("early", "late", graph.LinkConnection, 0.3, t0+sec))
	tr.Flag(flag("late", "critical", event.Critical, event.Impact, t0+2*sec))
	v := mustTrace(t, tr, "late")
	if v.Units != 2 || v.Score < 798 {
		t.Errorf("%d units, score %s; the critical alone is 79.8", v.Units, v.Score)
	}
}

func TestDuplicateFlagChangesNothing(t *testing.T) {
	tr := New(small())
	var flags []Flag
	for i := range 20 {
		flags = append(flags, flag("u", fmt.Sprint("r", i%2), event.Medium, event.Execution, t0+int64(i)*sec))
	}
	for _, f := range flags {
		tr.Flag(f)
	}
	want := tr.Traces()
	for _, f := range flags {
		tr.Flag(f)
	}
	if diff := cmp.Diff(want, tr.Traces()); diff != "" {
		t.Error(diff)
	}
}

func TestInfoIsContext(t *testing.T) {
	tr := New(small())
	f := flag("u", "context", event.Info, event.Discovery, t0)
	f.Plane = event.PlaneCloud
	tr.Flag(f)
	tr.Flag(flag("u", "low", event.Low, event.Execution, t0))
	if v := mustTrace(t, tr, "u"); v.Score != 49 || v.Planes != event.PlaneK8s || len(v.Kinds) != 2 || len(v.Tactics) != 1 {
		t.Errorf("got %+v", v)
	}
}

func TestSizeLimitRecordsSeeAlso(t *testing.T) {
	cfg := small()
	cfg.MaxUnitsPerTrace = 3
	tr := New(cfg)
	for _, u := range []string{"a1", "a2", "b1", "b2"} {
		tr.Flag(flag(u, "r", event.Medium, event.Execution, t0))
	}
	tr.Link(link("a1", "a2", graph.LinkToken, 0.95, t0))
	tr.Link(link("b1", "b2", graph.LinkToken, 0.95, t0))
	tr.Link(link("a2", "b1", graph.LinkToken, 0.95, t0))
	a, b := mustTrace(t, tr, "a1"), mustTrace(t, tr, "b1")
	if a.ID == b.ID || !cmp.Equal(a.SeeAlso, []TraceID{b.ID}) || !cmp.Equal(b.SeeAlso, []TraceID{a.ID}) {
		t.Errorf("see also %v and %v of %v and %v", a.SeeAlso, b.SeeAlso, a.ID, b.ID)
	}
	if tr.Stats().SizeRefused == 0 {
		t.Error("the refusal was not counted")
	}
}

// TestLifecycle follows one alert: opened once, updated by a step or a tactic,
// merged into an older id, closed after an hour under the line, evicted.
func TestLifecycle(t *testing.T) {
	cfg := small()
	var got []string
	cfg.OnChange = func(c Change) {
		s := fmt.Sprintf("%s %s", c.Kind, c.Trace.Score)
		if c.Kind == Merged {
			s = fmt.Sprintf("merged younger %v", c.From == idFor("young") && c.Trace.ID == idFor("old"))
		}
		got = append(got, s)
	}
	tr := New(cfg)
	tr.Flag(flag("old", "low", event.Low, event.Execution, t0))
	tr.Flag(flag("young", "high", event.High, event.Discovery, t0+sec))
	tr.Flag(flag("young", "high2", event.High, event.Discovery, t0+sec))
	tr.Flag(flag("young", "low", event.Low, event.Discovery, t0+sec))
	tr.Flag(flag("young", "new tactic", event.Low, event.Impact, t0+sec))
	tr.Link(link("old", "young", graph.LinkToken, 0.95, t0+sec))
	for m := range int64(48 * 60) {
		tr.Advance(t0 + m*minute)
	}
	tr.Advance(t0 + 31*24*hour)
	want := []string{"opened 52.5", "updated 64.0", "updated 71.2", "merged younger true", "closed", "evicted"}
	if len(got) != len(want) {
		t.Fatalf("changes %q", got)
	}
	for i, w := range []string{want[0], "updated", "updated", want[3], "closed", "evicted"} {
		if len(got[i]) < len(w) || got[i][:len(w)] != w {
			t.Errorf("change %d is %q, want %q", i, got[i], w)
		}
	}
	if s := tr.Stats(); s.Traces != 0 || s.OpenLinks != 0 {
		t.Errorf("left over: %+v", s)
	}
}

func TestLookupFollowsMergedIDs(t *testing.T) {
	tr := New(small())
	older := tr.Flag(flag("old", "r", event.Medium, event.Execution, t0))
	younger := tr.Flag(flag("young", "r", event.Medium, event.Execution, t0+sec))
	tr.Link(link("old", "young", graph.LinkToken, 0.95, t0+sec))
	v, ok := tr.Lookup(younger)
	if !ok || v.ID != older || !cmp.Equal(v.MergedFrom, []TraceID{younger}) {
		t.Errorf("lookup of the younger id gives %v, merged from %v", v.ID, v.MergedFrom)
	}
}

func TestEvictsLowestScore(t *testing.T) {
	cfg := small()
	cfg.MaxTraces = 40
	tr := New(cfg)
	tr.Flag(flag("keep", "r", event.Critical, event.Impact, t0))
	for n := range 500 {
		tr.Flag(flag(fmt.Sprint("u", n), "r", event.Low, event.Discovery, t0+int64(n)*sec))
	}
	if n := len(tr.Traces()); n > 40 {
		t.Errorf("%d traces, limit 40", n)
	}
	if _, ok := tr.Trace(id("keep")); !ok {
		t.Error("the critical one was evicted")
	}
}

func TestMaxUnits(t *testing.T) {
	cfg := small()
	cfg.MaxUnits = 50
	tr := New(cfg)
	tr.Flag(flag("flagged", "r", event.Medium, event.Impact, t0))
	for n := range 2000 {
		tr.Link(link(fmt.Sprint("a", n), fmt.Sprint("b", n), graph.LinkToken, 0.9, t0+int64(n)*sec))
	}
	if s := tr.Stats(); s.Units > 50 || s.EvictedUnits == 0 {
		t.Errorf("%d units, limit 50", s.Units)
	}
	mustTrace(t, tr, "flagged")
	tr.Advance(t0 + 24*hour)
	tr.Advance(t0 + 25*hour)
	if s := tr.Stats(); s.Units != 1 || tr.labels.slab.count() != 0 {
		t.Errorf("%d units and %d labels left after their time", s.Units, tr.labels.slab.count())
	}
}

func TestSuppression(t *testing.T) {
	w := id("workload")
	shape := fingerprint(new(event.Hasher), "backup", []string{"backup.sh", "cron"}, w)
	cfg := small()
	cfg.Suppressions = []Suppression{{
		Fingerprint: shape, AllowedKinds: []string{"backup", "read secrets"}, Users: []string{"robot"},
		Reason: "nightly backup", Owner: "storage team", Expires: time.Unix(0, t0+hour),
	}}
	tr := New(cfg)
	put := func(rule, user string, at int64) Trace {
		f := flag("u", rule, event.High, event.CredentialAccess, at)
		f.User, f.Lineage, f.Contexts[0] = user, []string{"backup.sh", "cron"}, w
		tr.Flag(f)
		return mustTrace(t, tr, "u")
	}
	put("backup", "robot", t0)
	v := put("read secrets", "robot", t0+sec)
	if v.Score != 0 || !v.Kinds[0].Suppressed || v.Fingerprint != shape {
		t.Errorf("allowed kinds score %s", v.Score)
	}
	if v = put("read secrets", "mallory", t0+2*sec); v.Score != 423 {
		t.Errorf("another user's flag scores %s, want 42.3", v.Score)
	}
	if v = put("shell", "robot", t0+3*sec); v.Score != 525 {
		t.Errorf("a kind that is not allowed brings %s, want 52.5", v.Score)
	}
	put("backup", "robot", t0+2*hour)
	if h := tr.Suppressions()[0]; h.Hits != 2 || h.Last != t0+sec {
		t.Errorf("%d hits, last %d", h.Hits, h.Last-t0)
	}
}

func TestBaselineIsNotTaughtByAlerts(t *testing.T) {
	tr := New(small())
	put := func(unit string, s event.Severity, at int64) {
		f := flag(unit, "r", s, event.Execution, at)
		f.Contexts[0] = id("w")
		tr.Flag(f)
	}
	for h := range int64(100) {
		put(fmt.Sprint("attack", h), event.Critical, t0+h*hour)
	}
	if d := tr.base.firedHours(tr.base.hash(id("w"), "r"), (t0+100*hour)/hour); d != 0 {
		t.Errorf("%d hours learned from alerting traces", d)
	}
	for h := int64(100); h < 120; h++ {
		for range 50 {
			put(fmt.Sprint("routine", h), event.Low, t0+h*hour)
		}
	}
	tr.Advance(t0 + 130*hour)
	if d := tr.base.firedHours(tr.base.hash(id("w"), "r"), (t0+130*hour)/hour); d != 20 {
		t.Errorf("%d hours learned, want 20", d)
	}
}

func TestNewWorkloadBorrows(t *testing.T) {
	tr := New(small())
	for h := range int64(168) {
		f := flag(fmt.Sprint("u", h), "r", event.Medium, event.Execution, t0+h*hour)
		f.Contexts = [3]event.ID{id("old workload"), id("image"), id("cluster")}
		tr.Flag(f)
	}
	for _, tt := range []struct {
		fresh bool
		below Points
	}{{false, 166}, {true, 30}} {
		f := flag(fmt.Sprint("new", tt.fresh), "r", event.Medium, event.Execution, t0+180*hour)
		f.Contexts, f.NewWorkload = [3]event.ID{id(fmt.Sprint("new", tt.fresh)), id("image"), id("cluster")}, tt.fresh
		tr.Flag(f)
		if v := mustTrace(t, tr, fmt.Sprint("new", tt.fresh)); v.Score >= tt.below {
			t.Errorf("new workload %v: score %s, want below %s", tt.fresh, v.Score, tt.below)
		}
	}
}

func TestManyKindsStayBounded(t *testing.T) {
	for _, kinds := range []int{30, 200} {
		tr := New(small())
		for n := range 1000 {
			tr.Flag(flag(fmt.Sprint("u", n%100), fmt.Sprint("r", n%kinds), event.Medium, event.Tactic(n%kinds%10), t0+int64(n)*sec))
			tr.Link(link(fmt.Sprint("u", n%100), fmt.Sprint("u", (n+1)%100), graph.LinkToken, 0.95, t0+int64(n)*sec))
		}
		v := mustTrace(t, tr, "u0")
		if i := tr.units.at(tr.byKey[id("u0")]).trace; len(tr.traces.at(i).rows) > maxRows {
			t.Errorf("%d kinds: %d rows", kinds, len(tr.traces.at(i).rows))
		}
		if folded := tr.Stats().Folded > 0; folded != (kinds == 30) || v.Dropped > 0 != (kinds == 200) {
			t.Errorf("%d kinds: %d folded, %d dropped", kinds, tr.Stats().Folded, v.Dropped)
		}
	}
}

func TestChain(t *testing.T) {
	tests := []struct {
		name  string
		times map[event.Tactic]int64
		want  int
	}{
		{"none", nil, 0},
		{"in order", map[event.Tactic]int64{0: 1, 3: 2, 9: 3}, 3},
		{"against the order", map[event.Tactic]int64{0: 3, 3: 2, 9: 1}, 1},
		{"a gap", map[event.Tactic]int64{0: 1, 9: 2, 3: 3, 5: 4}, 3},
		{"at the same time", map[event.Tactic]int64{5: 1, 3: 1, 1: 1}, 3},
	}
	for _, tt := range tests {
		var first [event.TacticCount]int64
		var set uint16
		for k, at := range tt.times {
			first[k] = at
			set |= 1 << k
		}
		if got := longestChain(set, &first); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestTextForms(t *testing.T) {
	b, err := json.Marshal(struct {
		ID    TraceID
		Score Points
		S     Suppression
	}{TraceID{1}, 423, Suppression{Reason: "r", Owner: "o"}})
	want := `{"ID":"01000000000000000000000000000000","Score":42.3,"S":{"fingerprint":"00000000000000000000000000000000","allowedKinds":null,"reason":"r","owner":"o"}}`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v", b, err)
	}
	var back TraceID
	if err := back.UnmarshalText([]byte("01000000000000000000000000000000")); err != nil || back != (TraceID{1}) {
		t.Errorf("read back %v, %v", back, err)
	}
	if err := back.UnmarshalText([]byte("01")); err == nil {
		t.Error("a short id was read")
	}
}

func TestValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Config{{MaxTraces: -1}, {BaselineHours: 400}, {MinBaselineHours: 337}, {SketchWidth: 1000}, {RingTTL: -1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}
