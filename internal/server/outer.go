package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/clew-sec/clew/internal/server/auth"
)

const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// headers go out with each response. The console is served from here and loads
// nothing from elsewhere.
var headers = [...][2]string{
	{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	{"Strict-Transport-Security", "max-age=31536000"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
	{"Cache-Control", "no-store"},
}

// outer is around every request: its id, headers and deadlines, the access log,
// the counters, and what happens when a handler panics.
func (s *Server) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		for _, h := range headers {
			rw.Header().Set(h[0], h[1])
		}
		rw.Header().Set(requestIDHeader, id)
		w := &response{ResponseWriter: rw, ctl: http.NewResponseController(rw), stall: s.cfg.Limits.Stall}
		body := s.slowGuard(w.ctl, r)
		start := time.Now()
		s.metrics.inflight.Inc()
		defer func() {
			s.metrics.inflight.Dec()
			v := recover()
			cut := v != nil && !s.panicked(w, v, r.Pattern, id)
			w.extend() // for what net/http writes after the handler
			s.account(w, r, body.read, time.Since(start), id)
			if cut {
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// panicked answers 500, or reports that it is too late for an answer. A panic's value
// may quote what the caller sent, so only those of the runtime are logged as they are.
func (s *Server) panicked(w *response, v any, route, id string) (answered bool) {
	err, _ := v.(error)
	if errors.Is(err, http.ErrAbortHandler) {
		return false
	}
	s.metrics.panics.Inc()
	what := fmt.Sprintf("a value of type %T", v)
	if bug, ok := errors.AsType[runtime.Error](err); ok {
		what = bug.Error()
	}
	s.log.Error("a handler panicked", "route", route, "request", id, "panic", what, "stack", string(debug.Stack()))
	if w.code != 0 {
		return false
	}
	Error(w, http.StatusInternalServerError, "internal error")
	return true
}

// account logs and counts a request. Of the path only the pattern is told, and no
// header: both can hold secrets.
func (s *Server) account(w *response, r *http.Request, read int64, took time.Duration, id string) {
	route, code := r.Pattern, w.status()
	if route == "" {
		route = "unmatched"
	}
	s.metrics.count(route, code)
	level := slog.LevelInfo
	if code < 400 && (w.principal.Role == auth.Ingest || w.principal.Role == "") {
		level = slog.LevelDebug // posts, probes and scrapes come many times a second
	}
	s.log.LogAttrs(r.Context(), level, "request", slog.String("id", id), slog.String("method", method(r)), slog.String("route", route),
		slog.Int("code", code), slog.Int64("in", read), slog.Int64("out", w.written), slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("principal", w.principal.ID), slog.String("from", auth.Address(r).String()))
}

// method returns a known method: others are free text.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// response remembers what went out and gives each write its own deadline.
type response struct {
	http.ResponseWriter
	ctl       *http.ResponseController
	stall     time.Duration
	code      int // 0: no header was written
	written   int64
	principal auth.Principal
}

// extend gives what is written next its time. A connection that has no deadlines
// is one of a test.
func (w *response) extend() { _ = w.ctl.SetWriteDeadline(time.Now().Add(w.stall)) }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
	w.extend()
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	w.extend()
	n, err := w.ResponseWriter.Write(b)
	w.written += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	w.extend()
	_ = w.ctl.Flush() // the next write says what is wrong
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) status() int {
	if w.code == 0 {
		return http.StatusOK // net/http writes it after the handler
	}
	return w.code
}

// codeOf returns the status of w, recordPrincipal says whom it is for. Both are
// called below outer, which wraps every writer.
func codeOf(w http.ResponseWriter) int {
	if r, ok := w.(*response); ok {
		return r.status()
	}
	return 0
}

func recordPrincipal(w http.ResponseWriter, p auth.Principal) {
	if r, ok := w.(*response); ok {
		r.principal = p
	}
}

// slowBody cuts off bodies that come too slowly.
type slowBody struct {
	io.ReadCloser
	ctl    *http.ResponseController
	stall  time.Duration
	rate   int
	read   int64
	waited time.Duration
}

// slowGuard puts a slowBody into r. The first deadline stands before anything is
// read: when the handler reads nothing, net/http does, to keep the connection.
func (s *Server) slowGuard(ctl *http.ResponseController, r *http.Request) *slowBody {
	b := &slowBody{ReadCloser: r.Body, ctl: ctl, stall: s.cfg.Limits.Stall, rate: s.cfg.Limits.BodyRate}
	if r.Body != nil && r.Body != http.NoBody {
		_ = ctl.SetReadDeadline(time.Now().Add(b.stall)) // without deadlines: a test's
		r.Body = b
	}
	return b
}

// Read implements io.Reader.
func (b *slowBody) Read(p []byte) (int, error) {
	start := time.Now()
	left := b.stall + time.Duration(b.read)*time.Second/time.Duration(b.rate) - b.waited
	_ = b.ctl.SetReadDeadline(start.Add(min(left, b.stall)))
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	b.waited += time.Since(start)
	if errors.Is(err, io.EOF) {
		// The connection is read on to see whether the caller leaves; a deadline
		// would look like that.
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
