package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/k8saudit"
	"github.com/clew-sec/clew/internal/rule"
)

// sink counts flags and drops events.
type sink struct {
	flags []event.ID
	done  int
}

func (s *sink) Flag(f engine.Flag) uint64 {
	s.flags = append(s.flags, f.Event.ID)
	return uint64(len(s.flags))
}

func (s *sink) Done(*event.Event) { s.done++ }

// rules compiles one rule a condition.
func rules(t testing.TB, when ...string) *detect.Set {
	t.Helper()
	var out []rule.Rule
	for i, w := range when {
		out = append(out, rule.Rule{
			ID: fmt.Sprintf("r-%d", i), Title: "t", Severity: event.High, Source: event.SourceK8sAudit, When: w, Flag: "{user.name}",
			Techniques: []string{"T1609"}, Tactic: event.Execution,
		})
	}
	set, err := detect.Compile(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// audit returns an audit event: second n, of alice from an address, at a stage.
func audit(t testing.TB, n int, user, verb, uri, resource, sub, stage string, code int) *event.Event {
	t.Helper()
	raw := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-%s-%s","stage":%q,"requestURI":%q,"verb":%q,
		"user":{"username":%q,"groups":["system:authenticated"]},"sourceIPs":["10.0.0.9"],"userAgent":"kubectl/v1",
		"objectRef":{"resource":%q,"subresource":%q,"namespace":"shop","name":"web-1","apiVersion":"v1"},
		"responseStatus":{"code":%d},"requestReceivedTimestamp":"2026-01-15T10:00:00.%06dZ","stageTimestamp":"2026-01-15T10:%02d:%02d.%06dZ"}`,
		verb, uri, stage, uri, verb, user, resource, sub, code, len(uri), n/60%60, n%60, len(stage))
	e := &event.Event{}
	e.Reset()
	if err := (&k8saudit.Decoder{}).Decode([]byte(raw), e); err != nil {
		t.Fatal(err)
	}
	return e
}

func someEvents(t testing.TB) []*event.Event {
	t.Helper()
	const pods = "/api/v1/namespaces/shop/pods/web-1"
	return []*event.Event{
		audit(t, 0, "alice", "get", pods, "pods", "", "ResponseComplete", 200),
		audit(t, 1, "alice", "create", pods+"/exec", "pods", "exec", "ResponseStarted", 101),
		audit(t, 2, "system:serviceaccount:shop:web", "list", "/api/v1/secrets", "secrets", "", "ResponseComplete", 403),
		audit(t, 50, "system:serviceaccount:shop:web", "get", "/api/v1/namespaces/shop/secrets/web-1", "secrets", "", "ResponseComplete", 200),
		audit(t, 99, "alice", "create", pods+"/exec", "pods", "exec", "ResponseComplete", 101),
	}
}

func snapshot(t testing.TB, x *engine.Engine) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzRestore feeds damaged snapshots whose checksum was made right again: an
// engine either refuses them or goes on from what they say.
func FuzzRestore(f *testing.F) {
	set := rules(f, `k8s.resource == "secrets"`, `k8s.subresource == "exec"`)
	f.Add(snapshot(f, engine.New(engine.Config{}, set, &sink{})))
	x := engine.New(engine.Config{MaxHeld: 2}, set, &sink{})
	for _, e := range someEvents(f) {
		x.Push(e)
		f.Add(snapshot(f, x))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		const sum, head = 8, 24 // where the checksum and what it covers begin
		if len(raw) >= head {
			raw = bytes.Clone(raw)
			s := xxh3.Hash128(raw[head:]).Bytes()
			copy(raw[sum:], s[:])
		}
		x := engine.New(engine.Config{}, set, &sink{})
		if err := x.Restore(bytes.NewReader(raw)); err != nil {
			if !errors.Is(err, engine.ErrSnapshot) {
				t.Fatalf("error %v, want ErrSnapshot", err)
			}
			return
		}
		for _, e := range someEvents(t) {
			x.Push(e)
		}
		x.Flush()
		x.Traces()
	})
}

type failingReader struct{}

var errDisk = errors.New("disk on fire")

func (failingReader) Read([]byte) (int, error) { return 0, errDisk }

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errDisk }

func TestSnapshotPassesErrorsOn(t *testing.T) {
	x := engine.New(engine.Config{}, rules(t), &sink{})
	if err := x.Snapshot(failingWriter{}); !errors.Is(err, errDisk) {
		t.Errorf("Snapshot to a failing writer: %v", err)
	}
	if err := x.Restore(failingReader{}); !errors.Is(err, errDisk) || errors.Is(err, engine.ErrSnapshot) {
		t.Errorf("Restore from a failing reader: %v", err)
	}
}

// TestRestoreWithOtherRules carries counters over by the rules' ids.
func TestRestoreWithOtherRules(t *testing.T) {
	old := rules(t, `k8s.resource == "pods"`, `k8s.resource == "secrets"`)
	x := engine.New(engine.Config{}, old, &sink{})
	for _, e := range someEvents(t) {
		x.Push(e)
	}
	x.Flush()
	next := engine.New(engine.Config{}, rules(t, `k8s.verb == "none"`), &sink{})
	if err := next.Restore(bytes.NewReader(snapshot(t, x))); err != nil {
		t.Fatal(err)
	}
	if got, want := next.Stats().RuleHits, x.Stats().RuleHits[:1]; len(got) != 1 || got[0] != want[0] {
		t.Errorf("hits %v, want %v", got, want)
	}
}

// TestReceivedStage: a policy that does not omit RequestReceived records every
// request twice. The first record raises nothing, counts nothing, and neither
// begins nor ends a session.
func TestReceivedStage(t *testing.T) {
	set := rules(t, `k8s.resource == "secrets"`, `k8s.subresource == "exec"`, `recent.secretLists >= 2`, `k8s.resource == "secrets" && recent.requests >= 3`)
	const secrets = "/api/v1/secrets"
	const exec = "/api/v1/namespaces/shop/pods/web-1/exec"
	plain := []*event.Event{
		audit(t, 0, "alice", "list", secrets, "secrets", "", "ResponseComplete", 200),
		audit(t, 10, "alice", "create", exec, "pods", "exec", "ResponseStarted", 101),
		audit(t, 20, "alice", "create", exec, "pods", "exec", "ResponseComplete", 101),
		audit(t, 30, "alice", "list", secrets+"?limit=5", "secrets", "", "ResponseComplete", 200),
	}
	both := append([]*event.Event{
		audit(t, 0, "alice", "list", secrets, "secrets", "", "RequestReceived", 0),
		audit(t, 9, "alice", "create", exec, "pods", "exec", "RequestReceived", 0),
		audit(t, 29, "alice", "list", secrets+"?limit=5", "secrets", "", "RequestReceived", 0),
		audit(t, 40, "alice", "list", secrets+"?limit=6", "secrets", "", "RequestReceived", 0),
	}, plain...)
	run := func(events []*event.Event) (engine.Stats, []event.ID) {
		s := &sink{}
		x := engine.New(engine.Config{}, set, s)
		for _, e := range events {
			e.Facts = event.Facts{}
			x.Push(e)
		}
		x.Flush()
		if s.done != len(events) {
			t.Errorf("%d of %d events given back", s.done, len(events))
		}
		return x.Stats(), s.flags
	}
	want, wantFlags := run(plain)
	got, gotFlags := run(both)
	if len(wantFlags) != 5 { // two lists, one exec, the second list, the third request
		t.Errorf("%d flags, want 5", len(wantFlags))
	}
	if fmt.Sprint(gotFlags) != fmt.Sprint(wantFlags) || got.Events != want.Events || got.Received != 4 {
		t.Errorf("with RequestReceived: %+v flags %v\nwithout: %+v flags %v", got, gotFlags, want, wantFlags)
	}
}
