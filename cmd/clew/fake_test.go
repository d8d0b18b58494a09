package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
)

// fake answers as a server would, from memory. Its texts hold what an attacker may
// write into them.
type fake struct {
	clewv1connect.UnimplementedTraceServiceHandler
	clewv1connect.UnimplementedEventServiceHandler
	clewv1connect.UnimplementedSystemServiceHandler
}

func startFake(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(clewv1connect.NewTraceServiceHandler(fake{}))
	mux.Handle(clewv1connect.NewEventServiceHandler(fake{}))
	mux.Handle(clewv1connect.NewSystemServiceHandler(fake{}))
	ts := httptest.NewUnstartedServer(authenticated(mux))
	ts.EnableHTTP2 = true
	ts.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts
}

// authenticated knows the tokens clew_viewer_x, clew_admin_x and, for the first
// administrator, clew_setup_x.
func authenticated(next http.Handler) http.Handler {
	forAdmins := []string{"Triage", "CreateSuppression", "DeleteSuppression", "ExportTrace", "ListTokens", "CreateToken", "RevokeToken", "ListActions"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := path.Base(r.URL.Path)
		var err error
		switch r.Header.Get("Authorization") {
		case "Bearer clew_admin_x":
		case "Bearer clew_viewer_x":
			if slices.Contains(forAdmins, method) {
				err = connect.NewError(connect.CodePermissionDenied, fmt.Errorf("role viewer may not %s", method))
			}
		case "Bearer clew_setup_x":
			if method == "setup" {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"token":"clew_admin_x","id":"admin"}`)
				return
			}
			err = connect.NewError(connect.CodePermissionDenied, fmt.Errorf("a set-up token may not %s", method))
		default:
			err = connect.NewError(connect.CodeUnauthenticated, fmt.Errorf("no such token"))
		}
		if err != nil {
			_ = connect.NewErrorWriter().Write(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

var start = time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)

func at(seconds int) *timestamppb.Timestamp {
	return timestamppb.New(start.Add(time.Duration(seconds) * time.Second))
}

// id is an id made of one digit.
func id(digit string) string { return strings.Repeat(digit, 32) }

func attack() *clewv1.Trace {
	return &clewv1.Trace{
		Id: id("a"), Cluster: "prod", Score: 87.25, Peak: 90, Alert: true, Techniques: []string{"MS-TA9006", "MS-TA9019"},
		Tactics: []string{"Execution", "Privilege Escalation"}, Planes: []string{"k8s"}, First: at(0), Last: at(60), Fingerprint: id("f"),
		FlagKinds: 2, Actors: []string{"mallory\x1b[31m"}, Updated: at(61),
		Flags: []*clewv1.Flag{
			{Rule: "k8s-exec", Title: "Exec", Severity: clewv1.Severity_SEVERITY_LOW, Techniques: []string{"MS-TA9006"}, Contribution: 12.25, Count: 3, Unit: "A", First: at(0), Last: at(2), Message: "mallory runs \x1b]0;x\a sh", Source: "webhook@17", Record: 4, Event: &clewv1.FlagEvent{Id: id("e")}},
			{Rule: "k8s-grant", Title: "Grant", Severity: clewv1.Severity_SEVERITY_CRITICAL, Techniques: []string{"MS-TA9019"}, Contribution: 75, Count: 1, Unit: "B", First: at(60), Last: at(60), Message: "cluster-admin\u202e for all"},
		},
		Units: []*clewv1.Unit{{Name: "A", User: "mallory", SourceIp: "203.0.113.9", Id: id("1")}, {Name: "B", User: "system:serviceaccount:shop:web", Pod: "shop/web-0", Id: id("2")}},
		Links: []*clewv1.Link{{From: "A", To: "B", Type: "exec", Grade: "exact", Label: "exec into shop/web-0", First: at(30)}},
		Triage: &clewv1.Triage{State: clewv1.TriageState_TRIAGE_STATE_TRIAGED, Assignee: "bob", By: "bob", At: at(100),
			Comments: []*clewv1.Comment{{Text: "looking\ninto it", By: "bob", At: at(100)}}},
	}
}

func quietTrace() *clewv1.Trace {
	return &clewv1.Trace{Id: id("b"), Cluster: "prod", Score: 10, Peak: 10, First: at(5), Last: at(6), FlagKinds: 1, Actors: []string{"ci"}}
}

// ListTraces gives one trace a page.
func (fake) ListTraces(_ context.Context, r *connect.Request[clewv1.ListTracesRequest]) (*connect.Response[clewv1.ListTracesResponse], error) {
	all := []*clewv1.Trace{attack(), quietTrace()}
	if r.Msg.Filter.GetText() == "quiet" {
		all = all[1:]
	}
	resp := &clewv1.ListTracesResponse{Total: uint32(len(all))}
	i := 0
	if r.Msg.PageToken != "" {
		i = 1
	}
	x := all[i]
	x.Flags, x.Units, x.Links = nil, nil, nil
	resp.Traces = []*clewv1.Trace{x}
	if i+1 < len(all) {
		resp.NextPageToken = "next"
	}
	return connect.NewResponse(resp), nil
}

func (fake) GetTrace(_ context.Context, r *connect.Request[clewv1.GetTraceRequest]) (*connect.Response[clewv1.GetTraceResponse], error) {
	if r.Msg.Id != id("a") {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no trace %s", r.Msg.Id))
	}
	return connect.NewResponse(&clewv1.GetTraceResponse{Trace: attack()}), nil
}

// WatchTraces sends what is there and fails as a server whose token was revoked does; it goes on
// for who asks for the text "wait".
func (fake) WatchTraces(ctx context.Context, r *connect.Request[clewv1.WatchTracesRequest], s *connect.ServerStream[clewv1.WatchTracesResponse]) error {
	if !r.Msg.ChangesOnly {
		if err := s.Send(&clewv1.WatchTracesResponse{Trace: attack(), Initial: true}); err != nil {
			return err
		}
	}
	if r.Msg.Filter.GetText() == "wait" {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := s.Send(&clewv1.WatchTracesResponse{Removed: id("b")}); err != nil {
		return err
	}
	return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the token was revoked\x1b[31m"))
}

func (fake) ExportTrace(_ context.Context, r *connect.Request[clewv1.ExportTraceRequest], s *connect.ServerStream[clewv1.ExportTraceResponse]) error {
	for _, part := range []string{"PK", " around ", r.Msg.Around.AsDuration().String(), "\n"} {
		if err := s.Send(&clewv1.ExportTraceResponse{Chunk: []byte(part)}); err != nil {
			return err
		}
	}
	if r.Msg.Id == id("b") {
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("its records are gone"))
	}
	return nil
}

func (fake) Triage(_ context.Context, r *connect.Request[clewv1.TriageRequest]) (*connect.Response[clewv1.TriageResponse], error) {
	t := &clewv1.Triage{State: r.Msg.State, Assignee: r.Msg.GetAssignee(), By: "alice", At: at(200)}
	if r.Msg.Comment != "" {
		t.Comments = []*clewv1.Comment{{Text: r.Msg.Comment, By: "alice", At: at(200)}}
	}
	return connect.NewResponse(&clewv1.TriageResponse{Triage: t}), nil
}

func (fake) PreviewSuppression(_ context.Context, r *connect.Request[clewv1.PreviewSuppressionRequest]) (*connect.Response[clewv1.PreviewSuppressionResponse], error) {
	return connect.NewResponse(&clewv1.PreviewSuppressionResponse{Considered: 7, Effects: []*clewv1.PreviewSuppressionResponse_Effect{
		{Trace: id("a"), Score: 87.25, ScoreWith: 0, Hidden: r.Msg.Suppression.AllowedKinds},
	}}), nil
}

func (fake) CreateSuppression(_ context.Context, r *connect.Request[clewv1.CreateSuppressionRequest]) (*connect.Response[clewv1.CreateSuppressionResponse], error) {
	r.Msg.Suppression.Id = "s1"
	return connect.NewResponse(&clewv1.CreateSuppressionResponse{Suppression: r.Msg.Suppression}), nil
}

func (fake) ListSuppressions(context.Context, *connect.Request[clewv1.ListSuppressionsRequest]) (*connect.Response[clewv1.ListSuppressionsResponse], error) {
	return connect.NewResponse(&clewv1.ListSuppressionsResponse{Suppressions: []*clewv1.Suppression{
		{Id: "s1", Fingerprint: id("f"), AllowedKinds: []string{"k8s-exec"}, Owner: "bob", Reason: "drill", Expires: at(0)},
	}}), nil
}

func (fake) SearchEvents(_ context.Context, r *connect.Request[clewv1.SearchEventsRequest]) (*connect.Response[clewv1.SearchEventsResponse], error) {
	f := r.Msg.Filter
	resp := &clewv1.SearchEventsResponse{Plan: &clewv1.Plan{Segments: 9, SkippedByTime: 8, SegmentsRead: 1, RowsScanned: 100, BytesRead: 4096, Took: durationpb.New(time.Millisecond), Damaged: []string{"prod/17.parquet"}}}
	for i := range 2 {
		resp.Events = append(resp.Events, &clewv1.Event{
			Id: id("e"), Time: at(i), Cluster: "prod", Plane: "k8s", Kind: "api_request", Verb: f.Verb, Resource: "pods", Subresource: "exec",
			Namespace: f.Namespace, Name: "web-0", User: "mallory\x1b[2J", SourceIp: "203.0.113.9", Code: 101,
		})
	}
	if r.Msg.PageToken == "" && f.Text == "paged" {
		resp.NextPageToken = "next"
	}
	if f.Text == "loop" {
		resp.NextPageToken = "again"
	}
	return connect.NewResponse(resp), nil
}

func (fake) GetEvent(_ context.Context, r *connect.Request[clewv1.GetEventRequest]) (*connect.Response[clewv1.GetEventResponse], error) {
	return connect.NewResponse(&clewv1.GetEventResponse{Event: &clewv1.Event{
		Id: r.Msg.Id, Time: at(0), Cluster: "prod", Service: "s3", Action: "GetObject", User: "mallory", Entities: []string{id("c")},
		Raw: []byte("{\"eventName\":\"GetObject\",\"note\":\"\u009b31m\u202e\"}"),
	}}), nil
}

func (fake) GetEntity(_ context.Context, r *connect.Request[clewv1.GetEntityRequest]) (*connect.Response[clewv1.GetEntityResponse], error) {
	return connect.NewResponse(&clewv1.GetEntityResponse{
		Entity:     &clewv1.Entity{Id: r.Msg.Id, Kind: "session", Description: "mallory\r\nfrom", First: at(0), Last: at(1), Flagged: true, Trace: id("a")},
		Neighbours: []*clewv1.Entity{{Id: id("d"), Kind: "pod", Description: "shop/web-0", First: at(0), Last: at(9)}},
		Links:      []*clewv1.EntityLink{{From: r.Msg.Id, To: id("d"), Type: "exec", Grade: "exact", Label: "sh", Time: at(0)}},
		Truncated:  true,
	}), nil
}

func (fake) GetStatus(_ context.Context, r *connect.Request[clewv1.GetStatusRequest]) (*connect.Response[clewv1.GetStatusResponse], error) {
	dead := r.Header().Get("Authorization") == "Bearer clew_admin_x"
	s := &clewv1.GetStatusResponse{
		Version: "v0.1", Started: timestamppb.New(time.Now().Add(-2 * time.Hour)), Healthy: !dead,
		Sources: []*clewv1.SourceStatus{
			{Name: "webhook", Kind: "k8s", Cluster: "prod", State: "live", Records: 1000, LastEvent: timestamppb.New(time.Now().Add(-90 * time.Second)), LagSeconds: 0.25,
				Dropped: map[string]uint64{"too_big": 2}, Rejected: map[string]uint64{"unauthenticated": 1, "none": 0}, Gaps: 3, LastError: "bad\x1b[0m gzip", LastErrorAt: timestamppb.Now()},
			{Name: "trail", Kind: "sqs", Cluster: "prod", State: "never"},
		},
		Log:     &clewv1.LogStatus{Kind: "embedded", Writable: true, Messages: 5, Bytes: 2048, MaxBytes: 20 << 30},
		Workers: []*clewv1.WorkerStatus{{Cluster: "prod", Backlog: 4, Events: 1000, Flags: 7}},
		History: &clewv1.HistoryStatus{Segments: 2, Rows: 1000, Bytes: 1 << 20, Damaged: []string{"17.parquet"}},
	}
	if dead {
		s.Problems = []string{"source trail has never sent anything"}
	}
	return connect.NewResponse(s), nil
}

func (fake) GetMatrix(context.Context, *connect.Request[clewv1.GetMatrixRequest]) (*connect.Response[clewv1.GetMatrixResponse], error) {
	return connect.NewResponse(&clewv1.GetMatrixResponse{LivePlanes: []string{"k8s"}, Techniques: []*clewv1.Technique{
		{Id: "MS-TA9006", Name: "Exec into container", Coverage: clewv1.Coverage_COVERAGE_PROVEN, Rules: []string{"k8s-exec"}, Flags: 3},
		{Id: "MS-TA9022", Name: "Delete Kubernetes events", Coverage: clewv1.Coverage_COVERAGE_BLIND, Reason: "the audit policy leaves out events"},
	}}), nil
}

func (fake) ListTokens(context.Context, *connect.Request[clewv1.ListTokensRequest]) (*connect.Response[clewv1.ListTokensResponse], error) {
	return connect.NewResponse(&clewv1.ListTokensResponse{Tokens: []*clewv1.Token{{Id: "t1", Name: "alice", Role: clewv1.Role_ROLE_ADMIN, Created: at(0)}}}), nil
}

func (fake) CreateToken(_ context.Context, r *connect.Request[clewv1.CreateTokenRequest]) (*connect.Response[clewv1.CreateTokenResponse], error) {
	secret := "clew_viewer_x"
	if r.Msg.Role == clewv1.Role_ROLE_ADMIN {
		secret = "clew_admin_x"
	}
	return connect.NewResponse(&clewv1.CreateTokenResponse{Token: &clewv1.Token{Id: "t2", Name: r.Msg.Name, Role: r.Msg.Role}, Secret: secret}), nil
}

func (fake) RevokeToken(_ context.Context, r *connect.Request[clewv1.RevokeTokenRequest]) (*connect.Response[clewv1.RevokeTokenResponse], error) {
	if r.Msg.Id != "t1" {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no token %s", r.Msg.Id))
	}
	return connect.NewResponse(&clewv1.RevokeTokenResponse{}), nil
}

func (fake) ListActions(context.Context, *connect.Request[clewv1.ListActionsRequest]) (*connect.Response[clewv1.ListActionsResponse], error) {
	return connect.NewResponse(&clewv1.ListActionsResponse{Actions: []*clewv1.Action{
		{Time: at(0), Who: "alice", Role: clewv1.Role_ROLE_ADMIN, What: "Triage", Target: id("a"), SourceIp: "203.0.113.50", Outcome: "ok"},
	}}), nil
}
