package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/client"
)

// restarting is a server whose streams end: each has a script.
type restarting struct {
	clewv1connect.UnimplementedTraceServiceHandler
	scripts [][]*clewv1.WatchTracesResponse
	done    func()
	streams atomic.Int32
}

// WatchTraces implements clewv1connect.TraceServiceHandler.
func (s *restarting) WatchTraces(_ context.Context, _ *connect.Request[clewv1.WatchTracesRequest], out *connect.ServerStream[clewv1.WatchTracesResponse]) error {
	n := int(s.streams.Add(1)) - 1
	if n >= len(s.scripts) {
		s.done()
		return connect.NewError(connect.CodeUnavailable, errors.New("over"))
	}
	for _, m := range s.scripts[n] {
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the stream ends; watch again"))
}

func told(id string, revision uint64) *clewv1.WatchTracesResponse {
	return &clewv1.WatchTracesResponse{Trace: &clewv1.Trace{Id: id}, Revision: revision}
}

// watched runs `clew trace watch` until the scripts are over and returns the ids it
// printed, in order.
func watched(t *testing.T, s *restarting, flags ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s.done = cancel
	mux := http.NewServeMux()
	mux.Handle(clewv1connect.NewTraceServiceHandler(s))
	srv := httptest.NewUnstartedServer(mux)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := NewTraceCommand(RemoteDeps{Now: time.Now, Env: func(k string) string { return map[string]string{"CLEW_TOKEN": "t", "HOME": t.TempDir()}[k] }})
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(append([]string{"watch", "--server", srv.URL, "--ca-file", ca}, flags...))
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var ids []string
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(line)
		if f[0] == "gone" {
			ids = append(ids, "gone "+f[1])
			continue
		}
		ids = append(ids, f[2])
	}
	return ids
}

// TestWatchOutlivesTheServer: across two restarts each state is printed once and none
// is missed.
func TestWatchOutlivesTheServer(t *testing.T) {
	synced := &clewv1.WatchTracesResponse{Synced: true}
	scripts := [][]*clewv1.WatchTracesResponse{
		{told("a", 1), told("b", 2), told("c", 3), synced, told("a", 4)},
		{told("a", 4)}, // ends before all is told: nothing is gone yet
		{told("a", 4), told("b", 7), told("d", 6), synced, told("d", 8)},
	}
	for _, tt := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"all", nil, []string{"a", "b", "c", "a", "b", "d", "gone c", "d"}},
		{"changes only", []string{"--changes-only"}, []string{"a", "b", "d", "gone c", "d"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, watched(t, &restarting{scripts: scripts}, tt.flags...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWatchGivesUpWhatDoesNotPass(t *testing.T) {
	for code, want := range map[connect.Code]bool{
		connect.CodeUnavailable: true, connect.CodeResourceExhausted: true,
		connect.CodeUnauthenticated: false, connect.CodePermissionDenied: false, connect.CodeInvalidArgument: false,
	} {
		if got := passing(connect.NewError(code, errors.New("x"))); got != want {
			t.Errorf("%v: tries again %v, want %v", code, got, want)
		}
	}
}

func TestOpenAlerts(t *testing.T) {
	for _, tt := range []struct {
		alert bool
		state clewv1.TriageState
		want  bool
	}{
		{true, clewv1.TriageState_TRIAGE_STATE_UNSPECIFIED, true},
		{true, clewv1.TriageState_TRIAGE_STATE_NEW, true},
		{true, clewv1.TriageState_TRIAGE_STATE_INCIDENT, true},
		{true, clewv1.TriageState_TRIAGE_STATE_TRIAGED, false},
		{true, clewv1.TriageState_TRIAGE_STATE_BENIGN, false},
		{false, clewv1.TriageState_TRIAGE_STATE_INCIDENT, false},
	} {
		x := &clewv1.Trace{Alert: tt.alert, Triage: &clewv1.Triage{State: tt.state}}
		if got := open(x); got != tt.want {
			t.Errorf("alert %v, %v: open %v", tt.alert, tt.state, got)
		}
	}
}

// TestWatchTakesTheNextTokenOfAFolder: a server that starts again leaves another token
// in its folder, a moment after it answers.
func TestWatchTakesTheNextTokenOfAFolder(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	s := &restarting{scripts: [][]*clewv1.WatchTracesResponse{{told("a", 1)}, {told("a", 1), told("b", 2)}}, done: cancel}
	mux := http.NewServeMux()
	mux.Handle(clewv1connect.NewTraceServiceHandler(s))
	var refused atomic.Int32
	srv := httptest.NewUnstartedServer(nil)
	profile := func(token string) client.Profile {
		sum := sha256.Sum256(srv.Certificate().Raw)
		return client.Profile{Server: srv.URL, Token: token, Fingerprint: "sha256:" + hex.EncodeToString(sum[:])}
	}
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "Bearer first"
		if s.streams.Load() > 0 {
			want = "Bearer second"
		}
		if r.Header.Get("Authorization") == want {
			mux.ServeHTTP(w, r)
			return
		}
		refused.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		if err := profile("second").Write(filepath.Join(dir, client.DataProfile)); err != nil {
			t.Error(err)
		}
	})
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	if err := profile("first").Write(filepath.Join(dir, client.DataProfile)); err != nil {
		t.Fatal(err)
	}
	cmd := NewTraceCommand(RemoteDeps{Now: time.Now, Env: func(string) string { return "" }})
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs([]string{"watch", "--data", dir})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	if n := strings.Count(out.String(), "\n"); n != 2 || refused.Load() != 1 {
		t.Errorf("%d lines, refused %d times:\n%s%s", n, refused.Load(), out.String(), errs.String())
	}
}
