package api_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/report/archive"
	"github.com/clew-sec/clew/internal/server/api"
	"github.com/clew-sec/clew/internal/source"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files from what the code does now")

func req[T any](m *T) *connect.Request[T] { return connect.NewRequest(m) }

// TestEveryProcedureHasARole compares Access with what the protos define.
func TestEveryProcedureHasARole(t *testing.T) {
	var want []string
	for _, f := range []protoreflect.FileDescriptor{clewv1.File_clew_v1_trace_proto, clewv1.File_clew_v1_event_proto, clewv1.File_clew_v1_system_proto} {
		for s := range f.Services().Len() {
			svc := f.Services().Get(s)
			for m := range svc.Methods().Len() {
				want = append(want, "/"+string(svc.FullName())+"/"+string(svc.Methods().Get(m).Name()))
			}
		}
	}
	slices.Sort(want)
	if diff := gocmp.Diff(want, api.Procedures()); diff != "" {
		t.Errorf("(-protos +Access):\n%s", diff)
	}
	for p, r := range api.Access {
		if r != clewv1.Role_ROLE_VIEWER && r != clewv1.Role_ROLE_ANALYST && r != clewv1.Role_ROLE_ADMIN {
			t.Errorf("%s is for %s", p, r)
		}
	}
}

// firstTrace returns the weightiest trace.
func (w *world) firstTrace(t *testing.T) *clewv1.Trace {
	t.Helper()
	list, err := w.traces.ListTraces(t.Context(), req(&clewv1.ListTracesRequest{PageSize: 1}))
	if err != nil || len(list.Msg.GetTraces()) == 0 {
		t.Fatalf("no trace: %v", err)
	}
	got, err := w.traces.GetTrace(t.Context(), req(&clewv1.GetTraceRequest{Id: list.Msg.GetTraces()[0].GetId()}))
	if err != nil {
		t.Fatal(err)
	}
	return got.Msg.GetTrace()
}

func TestTraces(t *testing.T) {
	w := newWorld(t, leaked)
	one := w.firstTrace(t)
	if !one.GetAlert() || len(one.GetFlags()) == 0 || len(one.GetUnits()) == 0 || len(one.GetActors()) == 0 || one.GetCluster() != "prod" {
		t.Errorf("%v", one)
	}
	sum := 0.0
	for _, f := range one.GetFlags() {
		sum += f.GetContribution()
		if f.GetSeverity() == 0 || f.GetFirst() == nil || f.GetEvent().GetId() == "" {
			t.Errorf("%v", f)
		}
	}
	if diff := sum - one.GetScore(); diff > 0.01 || diff < -0.01 {
		t.Errorf("contributions add up to %.1f, score %.1f", sum, one.GetScore())
	}
	triaged, err := w.traces.Triage(t.Context(), req(&clewv1.TriageRequest{Id: one.GetId(), State: clewv1.TriageState_TRIAGE_STATE_INCIDENT, Comment: " look here "}))
	if err != nil || triaged.Msg.GetTriage().GetComments()[0].GetText() != "look here" || triaged.Msg.GetTriage().GetBy() != "anna" {
		t.Errorf("%v %v", triaged, err)
	}
	if diff := gocmp.Diff([]string{one.GetId()}, w.noted); diff != "" {
		t.Error(diff)
	}
}

// TestSuppression previews one, makes it and removes it.
func TestSuppression(t *testing.T) {
	w := newWorld(t, leaked)
	one := w.firstTrace(t)
	var kinds []string
	for _, f := range one.GetFlags() {
		kinds = append(kinds, f.GetRule())
	}
	top := slices.MaxFunc(one.GetFlags(), func(a, b *clewv1.Flag) int { return cmp.Compare(a.GetContribution(), b.GetContribution()) })
	at := slices.IndexFunc(one.GetUnits(), func(u *clewv1.Unit) bool { return u.GetName() == top.GetUnit() })
	p := &clewv1.Suppression{Fingerprint: one.GetUnits()[at].GetFingerprint(), AllowedKinds: kinds, Reason: "known"}
	got, err := w.traces.PreviewSuppression(t.Context(), req(&clewv1.PreviewSuppressionRequest{Suppression: p}))
	if err != nil || len(got.Msg.GetEffects()) == 0 || got.Msg.GetEffects()[0].GetScoreWith() >= one.GetScore() || got.Msg.GetConsidered() == 0 {
		t.Fatalf("%v %v", got, err)
	}
	made, err := w.traces.CreateSuppression(t.Context(), req(&clewv1.CreateSuppressionRequest{Suppression: p}))
	if err != nil || made.Msg.GetSuppression().GetOwner() != "anna" {
		t.Fatal(err)
	}
	list, err := w.traces.ListSuppressions(t.Context(), req(&clewv1.ListSuppressionsRequest{}))
	if err != nil || len(list.Msg.GetSuppressions()) != 1 {
		t.Fatal(list, err)
	}
	del := &clewv1.DeleteSuppressionRequest{Id: made.Msg.GetSuppression().GetId()}
	if _, err := w.traces.DeleteSuppression(t.Context(), req(del)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.traces.DeleteSuppression(t.Context(), req(del)); connect.CodeOf(err) != connect.CodeNotFound {
		t.Error(err)
	}
}

// TestBadRequestsAreRefused asks for what cannot be.
func TestBadRequestsAreRefused(t *testing.T) {
	w := newWorld(t, "")
	ctx, long, good := t.Context(), strings.Repeat("x", 2000), strings.Repeat("0", 32)
	past := timestamppb.New(now.Add(-time.Hour))
	for name, call := range map[string]func() error{
		"page size": func() error {
			_, err := w.traces.ListTraces(ctx, req(&clewv1.ListTracesRequest{PageSize: 501}))
			return err
		},
		"page token": func() error {
			_, err := w.traces.ListTraces(ctx, req(&clewv1.ListTracesRequest{PageToken: "x"}))
			return err
		},
		"order": func() error { _, err := w.traces.ListTraces(ctx, req(&clewv1.ListTracesRequest{Order: 9})); return err },
		"score": func() error {
			_, err := w.traces.ListTraces(ctx, req(&clewv1.ListTracesRequest{Filter: &clewv1.TraceFilter{MinScore: -1}}))
			return err
		},
		"long text": func() error {
			_, err := w.traces.ListTraces(ctx, req(&clewv1.ListTracesRequest{Filter: &clewv1.TraceFilter{Text: long}}))
			return err
		},
		"times": func() error {
			_, err := w.traces.ListTraces(ctx, req(&clewv1.ListTracesRequest{Filter: &clewv1.TraceFilter{Since: timestamppb.New(now), Until: past}}))
			return err
		},
		"id": func() error {
			_, err := w.traces.GetTrace(ctx, req(&clewv1.GetTraceRequest{Id: "../../etc/passwd"}))
			return err
		},
		"upper case": func() error {
			_, err := w.traces.GetTrace(ctx, req(&clewv1.GetTraceRequest{Id: strings.Repeat("A", 32)}))
			return err
		},
		"nothing": func() error { _, err := w.traces.Triage(ctx, req(&clewv1.TriageRequest{Id: good})); return err },
		"state": func() error {
			_, err := w.traces.Triage(ctx, req(&clewv1.TriageRequest{Id: good, State: 77}))
			return err
		},
		"comment": func() error {
			_, err := w.traces.Triage(ctx, req(&clewv1.TriageRequest{Id: good, Comment: strings.Repeat("x", 17<<10)}))
			return err
		},
		"no rule": func() error {
			_, err := w.traces.PreviewSuppression(ctx, req(&clewv1.PreviewSuppressionRequest{Suppression: &clewv1.Suppression{Fingerprint: good, AllowedKinds: []string{"no-such"}}}))
			return err
		},
		"no kinds": func() error {
			_, err := w.traces.PreviewSuppression(ctx, req(&clewv1.PreviewSuppressionRequest{Suppression: &clewv1.Suppression{Fingerprint: good}}))
			return err
		},
		"no reason": func() error {
			_, err := w.traces.CreateSuppression(ctx, req(&clewv1.CreateSuppressionRequest{Suppression: &clewv1.Suppression{Fingerprint: good, AllowedKinds: []string{"k8s-event-deleted"}}}))
			return err
		},
		"is over": func() error {
			_, err := w.traces.CreateSuppression(ctx, req(&clewv1.CreateSuppressionRequest{Suppression: &clewv1.Suppression{Fingerprint: good, AllowedKinds: []string{"k8s-event-deleted"}, Reason: "x", Expires: past}}))
			return err
		},
		"suppression": func() error {
			_, err := w.traces.DeleteSuppression(ctx, req(&clewv1.DeleteSuppressionRequest{Id: "a/b"}))
			return err
		},
		"event id": func() error { _, err := w.events.GetEvent(ctx, req(&clewv1.GetEventRequest{Id: "1"})); return err },
		"entity": func() error {
			_, err := w.events.SearchEvents(ctx, req(&clewv1.SearchEventsRequest{Filter: &clewv1.EventFilter{Entity: "x"}}))
			return err
		},
		"control": func() error {
			_, err := w.events.SearchEvents(ctx, req(&clewv1.SearchEventsRequest{Filter: &clewv1.EventFilter{User: "a\nb"}}))
			return err
		},
		"page": func() error {
			_, err := w.events.SearchEvents(ctx, req(&clewv1.SearchEventsRequest{PageSize: 1001}))
			return err
		},
		"cursor": func() error {
			_, err := w.events.SearchEvents(ctx, req(&clewv1.SearchEventsRequest{PageToken: "broken"}))
			return err
		},
		"depth": func() error {
			_, err := w.events.GetEntity(ctx, req(&clewv1.GetEntityRequest{Id: good, Depth: 5}))
			return err
		},
		"limit": func() error {
			_, err := w.events.GetEntity(ctx, req(&clewv1.GetEntityRequest{Id: good, Limit: 501}))
			return err
		},
		"rules page": func() error {
			_, err := w.system.ListRules(ctx, req(&clewv1.ListRulesRequest{PageToken: "OTk5OTk5"}))
			return err
		},
		"role": func() error {
			_, err := w.system.CreateToken(ctx, req(&clewv1.CreateTokenRequest{Name: "x"}))
			return err
		},
		"source": func() error {
			_, err := w.system.CreateToken(ctx, req(&clewv1.CreateTokenRequest{Name: "x", Role: clewv1.Role_ROLE_INGEST}))
			return err
		},
		"expired": func() error {
			_, err := w.system.CreateToken(ctx, req(&clewv1.CreateTokenRequest{Name: "x", Role: clewv1.Role_ROLE_VIEWER, Expires: past}))
			return err
		},
		"token id": func() error { _, err := w.system.RevokeToken(ctx, req(&clewv1.RevokeTokenRequest{})); return err },
		"actions": func() error {
			_, err := w.system.ListActions(ctx, req(&clewv1.ListActionsRequest{PageSize: 1001}))
			return err
		},
		"around": func() error {
			return drain(w.traces.ExportTrace(ctx, req(&clewv1.ExportTraceRequest{Id: good, Around: durationpb.New(48 * time.Hour)})))
		},
	} {
		if err := call(); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"trace": func() error { _, err := w.traces.GetTrace(ctx, req(&clewv1.GetTraceRequest{Id: good})); return err },
		"triage": func() error {
			_, err := w.traces.Triage(ctx, req(&clewv1.TriageRequest{Id: good, Comment: "x"}))
			return err
		},
		"event":  func() error { _, err := w.events.GetEvent(ctx, req(&clewv1.GetEventRequest{Id: good})); return err },
		"entity": func() error { _, err := w.events.GetEntity(ctx, req(&clewv1.GetEntityRequest{Id: good})); return err },
		"cluster": func() error {
			_, err := w.events.GetEntity(ctx, req(&clewv1.GetEntityRequest{Id: good, Cluster: "other"}))
			return err
		},
		"token": func() error {
			_, err := w.system.RevokeToken(ctx, req(&clewv1.RevokeTokenRequest{Id: "nope"}))
			return err
		},
		"export": func() error { return drain(w.traces.ExportTrace(ctx, req(&clewv1.ExportTraceRequest{Id: good}))) },
	} {
		if err := call(); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func drain(s *connect.ServerStreamForClient[clewv1.ExportTraceResponse], err error) error {
	if err != nil {
		return err
	}
	defer s.Close()
	for s.Receive() {
	}
	return s.Err()
}

// TestExportScoresTheSame exports the alerts of every recorded attack.
func TestExportScoresTheSame(t *testing.T) {
	folders, _ := filepath.Glob("../../../test/recordings/attack/*")
	clouds, _ := filepath.Glob("../../../test/recordings/cloud/*/attack")
	for _, folder := range append(folders, clouds...) {
		w := newWorld(t, folder)
		list, err := w.traces.ListTraces(t.Context(), req(&clewv1.ListTracesRequest{}))
		if err != nil || list.Msg.GetTotal() == 0 {
			t.Fatalf("%s: no trace: %v", folder, err)
		}
		for _, x := range list.Msg.GetTraces() {
			a := w.export(t, x.GetId())
			again, err := a.Restore()
			if err != nil || again.Score.Float() != x.GetScore() || again.Alert != x.GetAlert() || again.Score != a.Trace.Score {
				t.Errorf("%s: score %s, %v; want %.1f", folder, again.Score, err, x.GetScore())
			}
		}
	}
}

func (w *world) export(t *testing.T, id string) *archive.Archive {
	t.Helper()
	s, err := w.traces.ExportTrace(t.Context(), req(&clewv1.ExportTraceRequest{Id: id}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	for s.Receive() {
		b.Write(s.Msg().GetChunk())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	a, err := archive.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestExportCarriesTheRecords(t *testing.T) {
	w := newWorld(t, leaked)
	one := w.firstTrace(t)
	late, early := one.GetFlags()[0].GetEvent().GetId(), one.GetFlags()[1].GetEvent().GetId()
	w.history.events = []*clewv1.Event{
		{Id: late, Raw: []byte(`{"n":2}`), Time: timestamppb.New(now)}, {Id: early, Raw: []byte(`{"n":1}`), Time: timestamppb.New(now.Add(-1))},
		{Id: strings.Repeat("0", 32), Raw: []byte(`{"other":1}`)},
	}
	a := w.export(t, one.GetId())
	want := []string{`{"n":1}`, `{"n":2}`}
	if late == early {
		want = want[:1]
	}
	if diff := gocmp.Diff(want, strings.Fields(string(bytes.Join(a.Records, []byte("\n"))))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a.Manifest.Clew != "v9" || a.Manifest.Cluster != "prod" {
		t.Errorf("%+v", a.Manifest)
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t, leaked)
	one := w.firstTrace(t)
	s, err := w.traces.WatchTraces(t.Context(), req(&clewv1.WatchTracesRequest{Filter: &clewv1.TraceFilter{AlertsOnly: true}}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Receive() || !s.Msg().GetInitial() || s.Msg().GetTrace().GetId() != one.GetId() || len(s.Msg().GetTrace().GetFlags()) == 0 {
		t.Fatalf("%v %v", s.Msg(), s.Err())
	}
	if _, err := w.traces.Triage(t.Context(), req(&clewv1.TriageRequest{Id: one.GetId(), State: clewv1.TriageState_TRIAGE_STATE_BENIGN})); err != nil {
		t.Fatal(err)
	}
	for s.Receive() && (s.Msg().GetInitial() || s.Msg().GetSynced()) { // other alerts
	}
	if s.Msg().GetTrace().GetTriage().GetState() != clewv1.TriageState_TRIAGE_STATE_BENIGN {
		t.Errorf("%v %v", s.Msg(), s.Err())
	}
	close(w.stop)
	if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeUnavailable {
		t.Errorf("after the server stopped: %v %v", s.Msg(), s.Err())
	}
}

func TestEntity(t *testing.T) {
	w := newWorld(t, leaked)
	found := 0
	for _, x := range w.engine.Traces() {
		for _, l := range x.Links {
			got, err := w.events.GetEntity(t.Context(), req(&clewv1.GetEntityRequest{Id: l.From.String()}))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(got.Msg.GetLinks(), func(e *clewv1.EntityLink) bool { return e.GetTo() == l.To.String() && e.GetType() == l.Type.String() }) {
				t.Errorf("link %v of a trace is not among the entity's", l)
			}
			if got.Msg.GetEntity().GetTrace() != x.ID.String() {
				t.Errorf("entity of trace %q, want %s", got.Msg.GetEntity().GetTrace(), x.ID)
			}
			few, err := w.events.GetEntity(t.Context(), req(&clewv1.GetEntityRequest{Id: l.From.String(), Depth: 4, Limit: 1}))
			if err != nil || len(few.Msg.GetNeighbours()) > 2 { // one, and the unit it is part of
				t.Errorf("limit 1: %d, %v", len(few.Msg.GetNeighbours()), err)
			}
			found++
		}
	}
	if found == 0 {
		t.Error("no link in the recording")
	}
}

func coverage(t *testing.T, w *world) map[string]*clewv1.Technique {
	t.Helper()
	m, err := w.system.GetMatrix(t.Context(), req(&clewv1.GetMatrixRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*clewv1.Technique{}
	for _, x := range m.Msg.GetTechniques() {
		out[x.GetId()] = x
	}
	return out
}

// TestMatrix looks at the technique "delete events" (MS-TA9022) under several sources.
func TestMatrix(t *testing.T) {
	w := newWorld(t, "")
	events := coverage(t, w)["MS-TA9022"]
	if events.GetCoverage() == clewv1.Coverage_COVERAGE_BLIND || len(coverage(t, w)) != 40 {
		t.Errorf("with a webhook: %v", events)
	}
	w.sources[0].Kind = "firehose"
	if got := coverage(t, w)["MS-TA9022"]; !strings.Contains(got.GetReason(), "EKS drops requests for events") {
		t.Errorf("EKS: %v", got)
	}
	if got := coverage(t, w)["MS-TA9019"]; got.GetCoverage() != clewv1.Coverage_COVERAGE_PROVEN {
		t.Errorf("EKS, cluster-admin binding: %v", got)
	}
	w.sources = append(w.sources, source.Status{Name: "own", Kind: "k8s-webhook", LastReceived: now})
	if got := coverage(t, w)["MS-TA9022"]; strings.Contains(got.GetReason(), "EKS") {
		t.Errorf("EKS and a cluster of one's own: %v", got)
	}
	w.sources = nil
	for id, x := range coverage(t, w) {
		if x.GetCoverage() != clewv1.Coverage_COVERAGE_BLIND || x.GetReason() == "" {
			t.Errorf("no source: %s %v", id, x)
		}
	}
}

// TestProvenRules holds proven.txt against the golden results of the recordings.
func TestProvenRules(t *testing.T) {
	hit := regexp.MustCompile(`(?m)^ +\d+ (?:critical|high|medium|low|info) +(\S+)$`)
	var rules []string
	for _, pattern := range []string{"attack/*/want.txt", "cloud/*/attack/want.txt"} {
		paths, _ := filepath.Glob("../../../test/recordings/" + pattern)
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range hit.FindAllSubmatch(text, -1) {
				rules = append(rules, string(m[1]))
			}
		}
	}
	slices.Sort(rules)
	want := strings.Join(slices.Compact(rules), "\n") + "\n"
	if *rewrite {
		if err := os.WriteFile("proven.txt", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("proven.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, string(got)); diff != "" {
		t.Errorf("proven.txt is not what the recordings raise; make golden (-recordings +file):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, leaked)
	got, err := w.system.GetStatus(t.Context(), req(&clewv1.GetStatusRequest{}))
	if err != nil || !got.Msg.GetHealthy() || got.Msg.GetWorkers()[0].GetBacklog() != 4 || got.Msg.GetWorkers()[0].GetFlags() == 0 || got.Msg.GetSources()[0].GetLagSeconds() != 1 {
		t.Errorf("%v %v", got, err)
	}
	w.sources = []source.Status{
		{Name: "a", LastReceived: now.Add(-time.Hour)}, {Name: "b"}, {Name: "c", LastErrorAt: now, LastError: "refused"}, {Name: "d", LastReceived: now, Gaps: 2},
	}
	got, err = w.system.GetStatus(t.Context(), req(&clewv1.GetStatusRequest{}))
	want := []string{"source a has sent nothing since 2026-11-25T11:00:00Z", "source c fails: refused", "source d has 2 gaps"}
	if diff := gocmp.Diff(want, got.Msg.GetProblems()); diff != "" || err != nil || got.Msg.GetHealthy() {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestStatusTellsWhatTheLogLost holds that what readers missed is told and is a fault.
func TestStatusTellsWhatTheLogLost(t *testing.T) {
	w := newWorld(t, leaked)
	w.missed, w.lostLog = 3, now
	got, err := w.system.GetStatus(t.Context(), req(&clewv1.GetStatusRequest{}))
	if err != nil || got.Msg.GetHealthy() || len(got.Msg.GetProblems()) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	if x := got.Msg.GetWorkers()[0]; x.GetMissed() != 3 || x.GetMissedByHistory() != 4 || !x.GetLogReplaced().AsTime().Equal(now) {
		t.Errorf("%v", x)
	}
}

func TestRulesInPages(t *testing.T) {
	w := newWorld(t, leaked)
	var ids []string
	var hits uint64
	for token := ""; ; {
		got, err := w.system.ListRules(t.Context(), req(&clewv1.ListRulesRequest{PageSize: 50, PageToken: token}))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got.Msg.GetRules() {
			ids = append(ids, r.GetId())
			hits += r.GetHits()
		}
		if token = got.Msg.GetNextPageToken(); token == "" {
			break
		}
	}
	if n := compiled(t).Len(); len(ids) != n || hits != uint64(w.engine.Stats().Flags) {
		t.Errorf("%d rules of %d, %d hits", len(ids), n, hits)
	}
}

// TestPlainHTTP calls with net/http alone, as a shell script does.
func TestPlainHTTP(t *testing.T) {
	w := newWorld(t, leaked)
	one := w.firstTrace(t)
	post := func(procedure, body string) (int, map[string]any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+procedure, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var m map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, m
	}
	code, m := post("/clew.v1.TraceService/GetTrace", fmt.Sprintf(`{"id":%q}`, one.GetId()))
	if x, _ := m["trace"].(map[string]any); code != 200 || x["id"] != one.GetId() || x["score"] != one.GetScore() {
		t.Errorf("%d %v", code, m)
	}
	if code, m := post("/clew.v1.TraceService/GetTrace", `{"id":"x"}`); code != 400 || m["code"] != "invalid_argument" {
		t.Errorf("%d %v", code, m)
	}
	if code, _ := post("/clew.v1.TraceService/GetTrace", `{"id":"`+strings.Repeat("x", 2<<20)+`"}`); code != 429 {
		t.Errorf("2 MiB: %d", code)
	}
}

// TestOpenAPIDescribesEveryProcedure compares the description with Access.
func TestOpenAPIDescribesEveryProcedure(t *testing.T) {
	w := newWorld(t, "")
	resp, err := http.Get(w.url + "/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for p := range doc.Paths {
		got = append(got, p)
	}
	slices.Sort(got)
	if diff := gocmp.Diff(api.Procedures(), got); diff != "" {
		t.Errorf("(-Access +OpenAPI); make proto:\n%s", diff)
	}
}

func TestTokensAndActions(t *testing.T) {
	w := newWorld(t, "")
	made, err := w.system.CreateToken(t.Context(), req(&clewv1.CreateTokenRequest{Name: "ci", Role: clewv1.Role_ROLE_INGEST, Source: "audit"}))
	if err != nil || made.Msg.GetSecret() != "secret" {
		t.Fatal(err)
	}
	list, err := w.system.ListTokens(t.Context(), req(&clewv1.ListTokensRequest{}))
	if err != nil || len(list.Msg.GetTokens()) != 1 {
		t.Fatal(list, err)
	}
	if _, err := w.system.RevokeToken(t.Context(), req(&clewv1.RevokeTokenRequest{Id: made.Msg.GetToken().GetId()})); err != nil {
		t.Fatal(err)
	}
	acts, err := w.system.ListActions(t.Context(), req(&clewv1.ListActionsRequest{PageToken: "p"}))
	if err != nil || acts.Msg.GetActions()[0].GetTarget() != "p" || acts.Msg.GetActions()[0].GetWhat() != "100" || acts.Msg.GetNextPageToken() != "next" {
		t.Error(acts, err)
	}
}

// TestADeadlineIsKept asks with a context that has ended.
func TestADeadlineIsKept(t *testing.T) {
	w := newWorld(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := w.events.SearchEvents(ctx, req(&clewv1.SearchEventsRequest{})); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Error(err)
	}
}
