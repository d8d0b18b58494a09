package server

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/clew-sec/clew/internal/server/auth"
)

// mountOwn mounts what every server has.
func (s *Server) mountOwn() {
	handle := func(pattern string, least auth.Role, h http.HandlerFunc) { s.Mount(pattern, least, h) }
	handle("GET /healthz", auth.Public, func(w http.ResponseWriter, _ *http.Request) { JSON(w, http.StatusOK, map[string]bool{"healthy": true}) })
	handle("GET /readyz", auth.Public, s.ready)
	s.Mount("GET /metrics", auth.Metrics, promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	handle("POST /v1/setup", auth.Setup, s.setup)
	handle("GET /v1/session", auth.Viewer, s.whoami)
	handle("POST /v1/session", auth.Viewer, s.login)
	handle("DELETE /v1/session", auth.Viewer, s.logout)
}

// readyTime is how long one thing may take to say that it is ready.
const readyTime = 2 * time.Second

// ready says which things are in order, and nothing else: anyone may ask.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	status, checks := http.StatusOK, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Ready)) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		err := s.cfg.Ready[name](ctx)
		cancel()
		checks[name] = err == nil
		if err != nil {
			status = http.StatusServiceUnavailable
			s.log.Warn("not ready", "check", name, "error", err)
		}
	}
	select {
	case <-s.stopping:
		status = http.StatusServiceUnavailable
	default:
	}
	JSON(w, status, map[string]any{"ready": status == http.StatusOK, "checks": checks})
}

// setup makes the first administrator: {"name": …} gives {"token": …}, once.
func (s *Server) setup(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name string `json:"name"`
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		BodyError(w, err)
		return
	}
	token, rec, err := s.cfg.Auth.Redeem(r.Context(), in.Name)
	switch {
	case errors.Is(err, auth.ErrDenied):
		Error(w, http.StatusUnauthorized, "the set-up token was used or has expired")
	case errors.Is(err, auth.ErrStore):
		s.log.Error("the first administrator cannot be made", "error", err)
		Error(w, http.StatusServiceUnavailable, "tokens cannot be made at the moment")
	case err != nil:
		Error(w, http.StatusBadRequest, err.Error())
	default:
		auth.Note(r.Context(), rec.ID)
		JSON(w, http.StatusOK, map[string]string{"token": token, "id": rec.ID})
	}
}

// whoami tells a caller who they are.
func (s *Server) whoami(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	JSON(w, http.StatusOK, map[string]string{"id": p.ID, "name": p.Name, "role": string(p.Role)})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	c, err := s.cfg.Auth.Login(p)
	if err != nil {
		Error(w, http.StatusForbidden, "the token begins no session")
		return
	}
	auth.Note(r.Context(), p.ID)
	http.SetCookie(w, c)
	s.whoami(w, r)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	auth.Note(r.Context(), "")
	http.SetCookie(w, s.cfg.Auth.Logout(r))
	JSON(w, http.StatusOK, map[string]bool{"ended": true})
}
