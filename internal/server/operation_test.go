package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/source"
)

func TestPanicAnswers500(t *testing.T) {
	w := start(t, server.Config{}, func(s *server.Server) {
		s.Mount("GET /panic", auth.Viewer, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("planted-secret") }))
		s.Mount("GET /bug", auth.Viewer, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _ = []int{}[len(r.Method)] }))
		s.Mount("GET /late", auth.Viewer, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("half"))
			w.(http.Flusher).Flush()
			panic("late")
		}))
	})
	w.want(w.do("GET", "/panic", w.tokens[auth.Viewer], nil), http.StatusInternalServerError)
	w.want(w.do("GET", "/bug", w.tokens[auth.Viewer], nil), http.StatusInternalServerError)
	r, _ := http.NewRequest("GET", "https://"+w.addr+"/late", nil)
	r.Header.Set("Authorization", "Bearer "+w.tokens[auth.Viewer])
	resp, err := w.client.Do(r)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks whole")
	}
	if a := w.do("GET", "/metrics", w.tokens[auth.Metrics], nil); !strings.Contains(a.body, "clew_http_panics_total 3") {
		t.Error("the panics are not counted")
	}
	if log := w.log.String(); strings.Contains(log, "planted-secret") || !strings.Contains(log, "index out of range") {
		t.Error(log)
	}
}

func TestResponseHeaders(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	for _, path := range []string{"/healthz", "/v1/things/a", "/nowhere"} {
		h := w.do("GET", path, "", nil).header
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Strict-Transport-Security") == "" || len(h.Get("X-Request-Id")) != 16 || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestReadiness(t *testing.T) {
	broken := make(chan struct{})
	w := start(t, server.Config{Ready: map[string]func(context.Context) error{
		"log": func(context.Context) error {
			select {
			case <-broken:
				return errors.New("planted-detail")
			default:
				return nil
			}
		},
		"engine": func(context.Context) error { return nil },
	}}, nil)
	w.want(w.do("GET", "/readyz", "", nil), http.StatusOK)
	close(broken)
	a := w.want(w.do("GET", "/readyz", "", nil), http.StatusServiceUnavailable)
	if strings.TrimSpace(a.body) != `{"checks":{"engine":true,"log":false},"ready":false}` || !strings.Contains(w.log.String(), "planted-detail") {
		t.Error(a.body)
	}
	w.want(w.do("GET", "/healthz", "", nil), http.StatusOK)
}

func TestMetrics(t *testing.T) {
	at := time.Unix(1e9, 0)
	many := map[string]uint64{}
	for i := range 100 {
		many[fmt.Sprintf("reason%02d", i)] = 1
	}
	w := start(t, server.Config{Version: "v1", Revision: "abc", Sources: func() []source.Status {
		return []source.Status{
			{Name: "audit", Accepted: 7, AcceptedBytes: 70, Requests: 2, Gaps: 1, Rejected: map[string]uint64{"full": 3}, Dropped: many, LastReceived: at.Add(1500 * time.Millisecond), LastEvent: at},
			{Name: "quiet"},
		}
	}}, mountAll)
	for i := range 50 {
		w.do("GET", fmt.Sprintf("/no/such/%d", i), "", nil)
		w.do("GET", fmt.Sprintf("/v1/things/%d", i), w.tokens[auth.Viewer], nil)
	}
	body := w.want(w.do("GET", "/metrics", w.tokens[auth.Metrics], nil), http.StatusOK).body
	for _, want := range []string{
		`clew_build_info{goversion="go`, `revision="abc",version="v1"} 1`, `clew_http_requests_total{code="404",route="unmatched"} 50`,
		`clew_http_requests_total{code="200",route="GET /v1/things/{id}"} 50`, `clew_source_records_total{source="audit"} 7`, `clew_source_bytes_total{source="audit"} 70`,
		`clew_source_rejected_total{reason="full",source="audit"} 3`, `clew_source_gaps_total{source="audit"} 1`, `clew_source_lag_seconds{source="audit"} 1.5`,
		`clew_source_last_event_timestamp_seconds{source="audit"} 1e+09`, `clew_source_dropped_total{reason="others",source="audit"} 85`, `clew_source_records_total{source="quiet"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, `lag_seconds{source="quiet"}`) || strings.Count(body, "clew_source_dropped_total{") != 16 {
		t.Error("a source without events shows a number, or reasons are not bounded")
	}
	w.want(w.do("GET", "/metrics", "", nil), http.StatusUnauthorized)
}

func TestStopDrains(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	streamed := make(chan struct{})
	w := start(t, server.Config{}, func(s *server.Server) {
		s.Mount("GET /slow", auth.Viewer, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-release
			server.JSON(rw, http.StatusOK, "whole")
		}))
		s.Mount("GET /stream", auth.Viewer, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.(http.Flusher).Flush()
			entered <- struct{}{}
			<-s.Stopping()
			close(streamed)
		}))
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if a := w.do("GET", "/slow", w.tokens[auth.Viewer], nil); a.code != http.StatusOK || !strings.Contains(a.body, "whole") {
			t.Errorf("%+v", a)
		}
	})
	wg.Go(func() { w.do("GET", "/stream", w.tokens[auth.Viewer], nil) })
	<-entered
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- w.Stop(context.Background()) }()
	<-streamed
	deadline := time.Now().Add(patience)
	for {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("it still accepts")
		}
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case err := <-stopped:
		t.Errorf("stopped with a request at work: %v", err)
	default:
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestStopCutsOff(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	w := start(t, server.Config{}, func(s *server.Server) {
		s.Mount("GET /stuck", auth.Viewer, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(gone)
		}))
	})
	r, _ := http.NewRequest("GET", "https://"+w.addr+"/stuck", nil)
	r.Header.Set("Authorization", "Bearer "+w.tokens[auth.Viewer])
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		if resp, err := w.client.Do(r); err == nil {
			resp.Body.Close()
			t.Error("a request that was cut off has an answer")
		}
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-gone
	<-failed
}
