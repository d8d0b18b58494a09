package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/server/auth"
)

// guard stands before a handler: who calls, may they, is it bounded.
type guard struct {
	server    *Server
	route     Route
	wildcards []string
	next      http.Handler
}

// idPattern is what a wildcard of a path may be: no separator, nothing that a file
// name, subject or log line gives a meaning to.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$`)

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := g.admit(w, r)
	if !ok {
		return
	}
	if !g.bound(w, r) {
		return
	}
	if g.route.Role == auth.Ingest {
		select {
		case g.server.posts <- struct{}{}:
			defer func() { <-g.server.posts }()
		default:
			w.Header().Set("Retry-After", "1")
			Error(w, http.StatusServiceUnavailable, "too many requests at once")
			return
		}
	}
	ctx, noted := auth.WithNote(auth.WithPrincipal(r.Context(), p))
	defer func() {
		if target, set := noted(); set || g.route.Role == auth.Analyst || g.route.Role == auth.Admin || g.route.Role == auth.Setup {
			g.trail(r, p, target, codeOf(w))
		}
	}()
	g.next.ServeHTTP(w, r.WithContext(ctx))
}

// admit finds out who calls and whether they may.
func (g *guard) admit(w http.ResponseWriter, r *http.Request) (auth.Principal, bool) {
	if g.route.Role == auth.Public {
		return auth.Principal{}, true
	}
	p, err := g.server.cfg.Auth.Authenticate(r)
	if err != nil {
		g.refuse(w, r, err)
		return p, false
	}
	recordPrincipal(w, p)
	if !p.Role.May(g.route.Role) || g.route.Role == auth.Ingest && r.PathValue("source") != p.Source {
		g.server.metrics.denied.WithLabelValues("role").Inc()
		Error(w, http.StatusForbidden, "the token may not do this")
		g.trail(r, p, "", http.StatusForbidden)
		return p, false
	}
	return p, true
}

// refuse answers a request of nobody we know. The caller is not told more than
// that; the log is.
func (g *guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code, reason, message := http.StatusUnauthorized, "token", "a valid token is needed"
	switch {
	case errors.Is(err, auth.ErrTooMany):
		code, reason, message = http.StatusTooManyRequests, "attempts", auth.ErrTooMany.Error()
		w.Header().Set("Retry-After", strconv.Itoa(int(auth.RetryAfter/time.Second)))
	case errors.Is(err, auth.ErrStore):
		code, reason, message = http.StatusServiceUnavailable, "store", "tokens cannot be checked at the moment"
		w.Header().Set("Retry-After", "1")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="clew"`)
	}
	g.server.metrics.denied.WithLabelValues(reason).Inc()
	g.server.log.Warn("refused", "route", g.route.Pattern, "from", auth.Address(r).String(), "reason", err.Error(), "request", w.Header().Get(requestIDHeader))
	Error(w, code, message)
}

// bound checks the path and limits the body.
func (g *guard) bound(w http.ResponseWriter, r *http.Request) bool {
	for _, name := range g.wildcards {
		if v := r.PathValue(name); v != "" && !validPath(v, name, g.route.Pattern) {
			Error(w, http.StatusBadRequest, "the path holds what is no id")
			return false
		}
	}
	limit := g.server.cfg.Limits.Body
	if g.route.Role == auth.Ingest {
		limit = g.server.cfg.Limits.PostBody
	}
	if r.ContentLength > limit {
		Error(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	return true
}

// validPath checks a wildcard: an id, or many of them where it is the rest of a path.
func validPath(v, name, pattern string) bool {
	if !strings.Contains(pattern, "{"+name+"...}") {
		return idPattern.MatchString(v)
	}
	for part := range strings.SplitSeq(v, "/") {
		if !idPattern.MatchString(part) {
			return false
		}
	}
	return true
}

// trailTime is how long an entry may take to be kept.
const trailTime = 5 * time.Second

// trail keeps what was done, whether or not the caller is still there. When it
// cannot, the entry goes to the log.
func (g *guard) trail(r *http.Request, p auth.Principal, target string, code int) {
	e := auth.Entry{
		At: time.Now().UTC(), Principal: p, Action: g.route.Pattern, Target: target, From: auth.Address(r).String(),
		RequestID: requestID(r.Context()), Outcome: strconv.Itoa(code),
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), trailTime)
	defer cancel()
	if err := g.server.cfg.Trail.Append(ctx, e); err != nil {
		g.server.metrics.untrailed.Inc()
		g.server.log.Error("an entry of the trail cannot be kept", "error", err, slog.Any("entry", e))
	}
}
