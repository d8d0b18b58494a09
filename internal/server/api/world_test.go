package api_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/server/api"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/store/state"
	"github.com/clew-sec/clew/internal/store/state/statetest"
	"github.com/clew-sec/clew/rules"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// shipped compiles the shipped rules once; that takes a second.
var shipped = sync.OnceValues(func() (*detect.Set, error) {
	pack, err := rule.Load(matrix.Load(), rules.FS)
	if err != nil {
		return nil, err
	}
	return detect.Compile(pack.Rules, pack.ListValues())
})

func compiled(t *testing.T) *detect.Set {
	t.Helper()
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// world is a server over one cluster that went through a recording.
type world struct {
	traces   clewv1connect.TraceServiceClient
	events   clewv1connect.EventServiceClient
	system   clewv1connect.SystemServiceClient
	url      string
	state    *state.Store
	engine   *engine.Engine
	ledger   *report.Ledger
	history  *history
	evidence evidence
	config   api.Config
	sources  []source.Status
	noted    []string
	missed   uint64    // by the engine; the history one more
	lostLog  time.Time // when the log was found replaced
	stop     chan struct{}
	key      ed25519.PrivateKey
}

const leaked = "../../../test/recordings/attack/leaked-kubeconfig"

// newWorld replays a folder of logs, "" for none.
func newWorld(t *testing.T, folder string) *world {
	t.Helper()
	set := compiled(t)
	w := &world{
		ledger: report.NewLedger(set), history: &history{}, stop: make(chan struct{}),
		sources: []source.Status{{Name: "audit", Kind: "k8s-webhook", Cluster: "prod", LastReceived: now, LastEvent: now.Add(-time.Second), Accepted: 7}},
		key:     ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize)),
	}
	var logs []string
	if folder != "" {
		logs, _ = filepath.Glob(filepath.Join(folder, "*.json*"))
	}
	if len(logs) > 0 {
		x, _, err := pipeline.NewReplay(pipeline.Config{}, set, w.ledger).Run(t.Context(), logs)
		if err != nil {
			t.Fatal(err)
		}
		w.engine = x
	} else {
		w.engine = engine.New(engine.Config{}, set, nil)
	}
	w.open(t, set)
	w.publish(t)
	return w
}

func (w *world) open(t *testing.T, set *detect.Set) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w.state = state.New(state.Config{KV: &statetest.Memory{}, Now: func() time.Time { return now }, Log: log})
	mux := http.NewServeMux()
	w.config = api.Config{
		Version: "v9", Started: now, Now: func() time.Time { return now }, Log: log, Traces: w.state, Workers: w, History: w.history,
		Queue: queue{}, Sources: func() []source.Status { return w.sources }, Rules: set, Matrix: matrix.Load(), Tokens: &tokens{}, Trail: trail{},
		Key: w.key, Who: func(context.Context) string { return "anna" }, Note: func(_ context.Context, id string) { w.noted = append(w.noted, id) },
		Stopping: w.stop, Evidence: &w.evidence,
	}
	for _, r := range api.New(w.config) {
		mux.Handle(r.Procedure, r.Handler)
	}
	mux.Handle("/api/openapi.json", api.OpenAPI())
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.traces = clewv1connect.NewTraceServiceClient(srv.Client(), srv.URL)
	w.events = clewv1connect.NewEventServiceClient(srv.Client(), srv.URL)
	w.system = clewv1connect.NewSystemServiceClient(srv.Client(), srv.URL)
}

// publish tells the state what the engine found, as a worker does.
func (w *world) publish(t *testing.T) {
	t.Helper()
	changed, gone := w.engine.TakeChanged()
	described, err := w.ledger.Describe(changed, w.engine)
	if err != nil {
		t.Fatal(err)
	}
	var live []pipeline.LiveTrace
	for i := range described {
		live = append(live, pipeline.NewLiveTrace(described[i], &changed[i]))
	}
	if err := (api.Publisher{Traces: w.state}).PutTraces(t.Context(), "prod", live, gone); err != nil {
		t.Fatal(err)
	}
}

// Status implements api.Workers.
func (w *world) Status() []pipeline.WorkerStatus {
	s := pipeline.WorkerStatus{Cluster: "prod", Position: 5, Engine: w.engine.Stats(), Missed: w.missed, Replaced: w.lostLog}
	if w.missed > 0 {
		s.MissedByHistory = w.missed + 1
	}
	return []pipeline.WorkerStatus{s}
}

// Ask implements api.Workers.
func (w *world) Ask(_ context.Context, cluster string, f func(*engine.Engine, *report.Ledger)) error {
	if cluster != "prod" {
		return fmt.Errorf("cluster %q: %w", cluster, api.ErrNoCluster)
	}
	f(w.engine, w.ledger)
	return nil
}

// history answers with what it is given, whatever the filter.
type history struct {
	events []*clewv1.Event
	asked  []api.EventQuery
}

// Search implements api.History.
func (h *history) Search(_ context.Context, q api.EventQuery) (*clewv1.SearchEventsResponse, error) {
	h.asked = append(h.asked, q)
	if q.Cursor == "broken" {
		return nil, fmt.Errorf("the cursor %w", api.ErrQuery)
	}
	out := &clewv1.SearchEventsResponse{Plan: &clewv1.Plan{Segments: 1}}
	for _, e := range h.events {
		var id event.ID
		if err := id.UnmarshalText([]byte(e.GetId())); err != nil {
			return nil, err
		}
		if len(q.IDs) == 0 || slices.Contains(q.IDs, id) {
			out.Events = append(out.Events, e)
		}
	}
	return out, nil
}

// Status implements api.History.
func (h *history) Status(context.Context) *clewv1.HistoryStatus {
	return &clewv1.HistoryStatus{Segments: 3}
}

// evidence keeps what is saved in memory.
type evidence struct {
	mu    sync.Mutex
	saved map[string][]byte
}

// Load implements api.Evidence.
func (e *evidence) Load(_ context.Context, id string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.saved[id], nil
}

// Save implements api.Evidence.
func (e *evidence) Save(_ context.Context, id string, b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.saved == nil {
		e.saved = map[string][]byte{}
	}
	e.saved[id] = b
	return nil
}

// Delete implements api.Evidence.
func (e *evidence) Delete(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.saved, id)
	return nil
}

// List implements api.Evidence.
func (e *evidence) List(context.Context) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.saved)), nil
}

type queue struct{}

// Status implements api.Log.
func (queue) Status(context.Context) *clewv1.LogStatus {
	return &clewv1.LogStatus{Kind: "embedded", Writable: true}
}

// Backlog implements api.Log.
func (queue) Backlog(_ context.Context, _ string, after uint64) (uint64, error) {
	return 9 - after, nil
}

type tokens struct{ made []*clewv1.Token }

// List implements api.Tokens.
func (k *tokens) List(context.Context) ([]*clewv1.Token, error) { return k.made, nil }

// Create implements api.Tokens.
func (k *tokens) Create(_ context.Context, name string, role clewv1.Role, source string, expires time.Time) (*clewv1.Token, string, error) {
	t := &clewv1.Token{Id: fmt.Sprint("t", len(k.made)), Name: name, Role: role, Source: source}
	if !expires.IsZero() {
		t.Expires = timestamppb.New(expires)
	}
	k.made = append(k.made, t)
	return t, "secret", nil
}

// Revoke implements api.Tokens.
func (k *tokens) Revoke(_ context.Context, id string) error {
	n := len(k.made)
	k.made = slices.DeleteFunc(k.made, func(t *clewv1.Token) bool { return t.GetId() == id })
	if len(k.made) == n {
		return fmt.Errorf("token %w", state.ErrNotFound)
	}
	return nil
}

type trail struct{}

// List implements api.Trail.
func (trail) List(_ context.Context, limit int, cursor string) ([]*clewv1.Action, string, error) {
	return []*clewv1.Action{{Who: "anna", Target: cmp.Or(cursor, "first"), What: fmt.Sprint(limit)}}, "next", nil
}
