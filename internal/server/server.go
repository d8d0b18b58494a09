// Package server is the HTTPS server: connections and their limits, who may call
// what, the access log, the trail, health and metrics. What is served is mounted by
// others; there is no domain logic here.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/source"
)

// Config is what a Server works with. Zero limits mean the defaults.
type Config struct {
	Auth  *auth.Authenticator
	Trail auth.Trail
	TLS   *tls.Config
	Log   *slog.Logger
	// Version and Revision are told in clew_build_info.
	Version, Revision string
	// Ready are what has to be in order for /readyz, by name; each is asked on every
	// call with a context of two seconds. Why one is not is logged, not told.
	Ready map[string]func(context.Context) error
	// Sources tells how the sources are doing, for /metrics.
	Sources func() []source.Status

	Limits Limits
}

// Limits bound what callers can take. Zero values mean the defaults.
type Limits struct {
	Connections           int           // at once; the default is 2048
	ConnectionsPerAddress int           // at once; the default is 512
	Header                time.Duration // for TLS and the header of a request; the default is 10 s
	HeaderBytes           int           // the default is 64 KiB
	Idle                  time.Duration // of a connection between requests; the default is 2 min
	Body                  int64         // bytes of a request; the default is 1 MiB
	PostBody              int64         // bytes of a request to a source; the default is 128 MiB
	Posts                 int           // requests to sources at once; the default is 512
	// Stall is how long a body may stand still, and a response not be taken; the
	// default is 30 s. A body may also take Stall and a second for each BodyRate
	// bytes of it, by default 16 KiB, not counting the time in which nobody reads.
	Stall    time.Duration
	BodyRate int
}

func (l Limits) withDefaults() Limits {
	def(&l.Connections, 2048)
	def(&l.ConnectionsPerAddress, 512)
	def(&l.Header, 10*time.Second)
	def(&l.HeaderBytes, 64<<10)
	def(&l.Idle, 2*time.Minute)
	def(&l.Body, 1<<20)
	def(&l.PostBody, 128<<20)
	def(&l.Posts, 512)
	def(&l.Stall, 30*time.Second)
	def(&l.BodyRate, 16<<10)
	return l
}

func def[T int | int64 | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Route is a mounted pattern and the least role that may call it.
type Route struct {
	Pattern string
	Role    auth.Role
}

// Server serves what is mounted on it. Mount everything, then Serve, then Stop.
type Server struct {
	cfg     Config
	log     *slog.Logger
	mux     *http.ServeMux
	http    *http.Server
	metrics *metrics
	routes  []Route
	posts   chan struct{} // requests to sources at work

	stopping chan struct{}
	stop     sync.Once
}

// New returns a Server with its own routes: health, metrics, set-up and session.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{
		cfg: cfg, log: cfg.Log, mux: http.NewServeMux(), metrics: newMetrics(&cfg),
		posts: make(chan struct{}, cfg.Limits.Posts), stopping: make(chan struct{}),
	}
	s.http = &http.Server{
		Handler:           s.outer(http.NewCrossOriginProtection().Handler(s.mux)),
		TLSConfig:         cfg.TLS,
		ReadHeaderTimeout: cfg.Limits.Header,
		IdleTimeout:       cfg.Limits.Idle,
		MaxHeaderBytes:    cfg.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: cfg.Limits.Posts, // an API server posts over one connection
			SendPingTimeout:      cfg.Limits.Stall,
			WriteByteTimeout:     cfg.Limits.Stall,
		},
	}
	s.mountOwn()
	return s
}

// Mount adds a handler. The pattern is one of http.ServeMux. Whoever calls needs a
// role that may what least asks for; Public asks for nobody. A pattern for Ingest
// has a wildcard {source}, and its caller must be bound to that source. Wildcards
// are held to letters, digits and ._:@- before the handler sees them.
//
// A call that asks for more than a viewer is put on the trail. It panics, as
// ServeMux does, on a pattern or role that cannot be.
func (s *Server) Mount(pattern string, least auth.Role, h http.Handler) {
	if least != auth.Public && !least.Valid() {
		panic(fmt.Sprintf("server: route %q: there is no role %q", pattern, least))
	}
	names := wildcards(pattern)
	if least == auth.Ingest && !slices.Contains(names, "source") {
		panic(fmt.Sprintf("server: route %q takes posts and has no {source}", pattern))
	}
	s.routes = append(s.routes, Route{pattern, least})
	s.mux.Handle(pattern, &guard{server: s, route: Route{pattern, least}, wildcards: names, next: h})
}

// Routes returns what is mounted, in that order. The caller owns the slice.
func (s *Server) Routes() []Route { return slices.Clone(s.routes) }

// Metrics is where others add their own.
func (s *Server) Metrics() prometheus.Registerer { return s.metrics.registry }

// wildcards returns the names of a pattern's wildcards.
func wildcards(pattern string) []string {
	var out []string
	for part := range strings.SplitSeq(pattern, "{") {
		if name, _, ok := strings.Cut(part, "}"); ok && name != "$" {
			out = append(out, strings.TrimSuffix(name, "..."))
		}
	}
	return out
}

// Serve accepts connections on l, which it closes, until Stop. It returns nil after
// Stop, at once, while requests may still be at work.
func (s *Server) Serve(l net.Listener) error {
	lim := newLimiter(l, s.cfg.Limits, s.metrics)
	if err := s.http.ServeTLS(lim, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTPS: %w", err)
	}
	return nil
}

// Stopping is closed when Stop begins: streams end then.
func (s *Server) Stopping() <-chan struct{} { return s.stopping }

// Stop accepts nothing more, lets requests end until ctx does, and then cuts them
// off, which is the error. What handlers hand requests to must live longer than
// Stop: it is the first step of stopping all.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { close(s.stopping) })
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("waiting for requests to end: %w", errors.Join(err, s.http.Close()))
	}
	return nil
}
