// Package api answers the calls of api/clew/v1: connect, gRPC and JSON over plain
// HTTP. It checks what is asked, and asks others; who may call what is enforced
// outside, by procedure, as Access says.
package api

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/api/openapi"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/store/state"
)

// Workers runs the engines.
type Workers interface {
	// Status returns how far each worker is, one a cluster, by cluster.
	Status() []pipeline.WorkerStatus
	// Ask is pipeline.Worker.Ask of the worker of a cluster. The error wraps
	// ErrNoCluster when there is none.
	Ask(ctx context.Context, cluster string, f func(*engine.Engine, *report.Ledger)) error
}

// History searches events.
type History interface {
	// Search returns the events that match, newest first. The error wraps ErrQuery
	// when a cursor is none of this search.
	Search(ctx context.Context, q EventQuery) (*clewv1.SearchEventsResponse, error)
	// Status returns what the history holds.
	Status(ctx context.Context) *clewv1.HistoryStatus
}

// EventQuery is a search of events. All that is given must hold.
type EventQuery struct {
	Filter *clewv1.EventFilter // checked, nil for no restriction
	IDs    []event.ID          // any of them, at most 64
	Limit  int                 // 1-1000
	Cursor string              // of the page before
	Raw    bool                // with the records
}

// Log is the durable log.
type Log interface {
	// Status returns how the log is doing.
	Status(ctx context.Context) *clewv1.LogStatus
	// Backlog returns how many messages of a cluster stand behind a position.
	Backlog(ctx context.Context, cluster string, after uint64) (messages uint64, err error)
}

// Rules are the rules in use. detect.Set implements it.
type Rules interface {
	Len() int
	Rule(i int32) *rule.Rule
}

// Tokens keeps the tokens.
type Tokens interface {
	List(ctx context.Context) ([]*clewv1.Token, error)
	// Create makes a token and returns it with its secret. The error wraps ErrQuery
	// when it cannot be as asked.
	Create(ctx context.Context, name string, role clewv1.Role, source string, expires time.Time) (*clewv1.Token, string, error)
	// Revoke ends a token. The error wraps state.ErrNotFound when there is none.
	Revoke(ctx context.Context, id string) error
}

// Trail is the record of what people did.
type Trail interface {
	// List returns up to limit actions, latest first, behind a cursor. The error
	// wraps ErrQuery when the cursor is none.
	List(ctx context.Context, limit int, cursor string) (actions []*clewv1.Action, next string, err error)
}

// Errors that those who are asked return.
var (
	ErrNoCluster = errors.New("there is no such cluster")
	ErrQuery     = errors.New("cannot be answered")
)

// Config is what the API answers from. All must be set but Blind.
type Config struct {
	Version string
	Started time.Time
	Now     func() time.Time
	Log     *slog.Logger

	Traces   *state.Store
	Evidence Evidence
	Workers  Workers
	History  History
	Queue    Log
	Sources  func() []source.Status
	Rules    Rules
	Matrix   *matrix.Matrix
	Tokens   Tokens
	Trail    Trail
	// Blind says why a rule sees nothing though its source is live: what the audit
	// policies that were observed leave out. "" when it sees.
	Blind func(ruleID string) string

	Key ed25519.PrivateKey // of the installation, signs archives
	// Who returns the name of whoever calls.
	Who func(ctx context.Context) string
	// Note tells the trail what a call is done to: an id, never content.
	Note func(ctx context.Context, target string)
	// Stopping ends streams when it is closed.
	Stopping <-chan struct{}
}

// Bounds of every call.
const (
	maxRequest = 1 << 20          // bytes
	deadline   = 30 * time.Second // of a call that is no stream
)

// Server implements the three services.
type Server struct{ cfg Config }

var (
	_ clewv1connect.TraceServiceHandler  = (*Server)(nil)
	_ clewv1connect.EventServiceHandler  = (*Server)(nil)
	_ clewv1connect.SystemServiceHandler = (*Server)(nil)
)

// Route is one procedure with the least role that may call it.
type Route struct {
	Procedure string // also the path: /clew.v1.TraceService/ListTraces
	Role      clewv1.Role
	Handler   http.Handler
}

// New returns the procedures of all services, by name. The caller enforces roles.
func New(cfg Config) []Route {
	s := &Server{cfg}
	opts := []connect.HandlerOption{connect.WithReadMaxBytes(maxRequest), connect.WithInterceptors(connect.UnaryInterceptorFunc(s.bounded))}
	mux := http.NewServeMux()
	mux.Handle(clewv1connect.NewTraceServiceHandler(s, opts...))
	mux.Handle(clewv1connect.NewEventServiceHandler(s, opts...))
	mux.Handle(clewv1connect.NewSystemServiceHandler(s, opts...))
	var out []Route
	for _, p := range Procedures() {
		out = append(out, Route{p, Access[p], mux})
	}
	return out
}

// OpenAPI serves the description of the API, which anyone may read.
func OpenAPI() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openapi.JSON) // who does not read it has gone
	})
}

// bounded gives every call a deadline and its error a code.
func (s *Server) bounded(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		resp, err := next(ctx, req)
		if err != nil {
			return nil, s.failed(req.Spec().Procedure, err)
		}
		return resp, nil
	}
}

// failed gives an error its code. What went wrong inside is for the log.
func (s *Server) failed(procedure string, err error) error {
	var known *connect.Error
	code := connect.CodeInternal
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("it took too long"))
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the caller has gone"))
	case errors.Is(err, state.ErrNotFound), errors.Is(err, ErrNoCluster):
		code = connect.CodeNotFound
	case errors.Is(err, state.ErrCursor), errors.Is(err, ErrQuery):
		code = connect.CodeInvalidArgument
	case errors.Is(err, state.ErrFull):
		code = connect.CodeResourceExhausted
	case errors.Is(err, state.ErrConflict):
		code = connect.CodeAborted
	case errors.Is(err, source.ErrUnavailable):
		code = connect.CodeUnavailable
	default:
		s.cfg.Log.Error("a call failed", "procedure", procedure, "error", err)
		return connect.NewError(code, errors.New("internal error; the server's log says more"))
	}
	return connect.NewError(code, err)
}
