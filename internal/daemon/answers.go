package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/server/api"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/store/parquet"
	"github.com/clew-sec/clew/internal/store/state"
)

// workers answers for the live data path.
type workers struct{ live *pipeline.Live }

// Status implements api.Workers.
func (w workers) Status() []pipeline.WorkerStatus {
	var out []pipeline.WorkerStatus
	for _, c := range w.live.Clusters() {
		if x, ok := w.live.Worker(c); ok {
			out = append(out, x.Status())
		}
	}
	return out
}

// Ask implements api.Workers.
func (w workers) Ask(ctx context.Context, cluster string, f func(*engine.Engine, *report.Ledger)) error {
	x, ok := w.live.Worker(cluster)
	if !ok {
		return fmt.Errorf("%w: %q", api.ErrNoCluster, cluster)
	}
	return x.Ask(ctx, f)
}

// queue answers for the log.
type queue struct {
	*bus.Log
	kind     string
	maxBytes uint64
}

// Status implements api.Log.
func (q queue) Status(ctx context.Context) *clewv1.LogStatus {
	s := &clewv1.LogStatus{Kind: q.kind, MaxBytes: q.maxBytes, Writable: true}
	var err error
	s.Messages, s.Bytes, err = q.Size(ctx)
	if err = errors.Join(err, q.Writable(ctx)); err != nil {
		s.Writable, s.Problem = false, err.Error()
	}
	return s
}

// history answers from the store of events.
type history struct{ store *parquet.Store }

// Status implements api.History.
func (h history) Status(context.Context) *clewv1.HistoryStatus {
	s := h.store.Status()
	out := &clewv1.HistoryStatus{Segments: uint32(s.Segments), Rows: uint64(s.Rows) + uint64(s.BufferedRows), Bytes: uint64(s.Bytes)}
	if !s.OldestEvent.IsZero() {
		out.Oldest = timestamppb.New(s.OldestEvent)
	}
	for _, d := range s.Damaged {
		out.Damaged = append(out.Damaged, d.Segment)
	}
	return out
}

// Search implements api.History.
func (h history) Search(ctx context.Context, q api.EventQuery) (*clewv1.SearchEventsResponse, error) {
	began := time.Now()
	res, err := h.store.Query(ctx, queryOf(q))
	if errors.Is(err, parquet.ErrQuery) {
		return nil, fmt.Errorf("%w: %w", api.ErrQuery, err)
	}
	if err != nil {
		return nil, err
	}
	out := &clewv1.SearchEventsResponse{NextPageToken: res.Next, Plan: planOf(&res.Plan, time.Since(began))}
	for i := range res.Rows {
		out.Events = append(out.Events, eventOf(&res.Rows[i]))
	}
	return out, nil
}

func queryOf(q api.EventQuery) parquet.Query {
	out := parquet.Query{IDs: q.IDs, Raw: q.Raw, Limit: q.Limit, Cursor: q.Cursor}
	f := q.Filter
	if f == nil {
		return out
	}
	if f.Since != nil {
		out.From = f.Since.AsTime().UnixNano()
	}
	if f.Until != nil {
		out.To = f.Until.AsTime().UnixNano()
	}
	for _, v := range []struct {
		value string
		to    *[]string
	}{
		{f.Kind, &out.Kinds}, {f.Cluster, &out.Clusters}, {f.Namespace, &out.Namespaces}, {f.Pod, &out.Pods}, {f.User, &out.Users},
		{f.Executable, &out.Executables}, {f.Verb, &out.Verbs}, {f.Resource, &out.Resources},
	} {
		if v.value != "" {
			*v.to = []string{v.value}
		}
	}
	var id event.ID
	if n, err := hex.Decode(id[:], []byte(f.Entity)); err == nil && n == len(id) {
		out.Entities = []event.ID{id}
	}
	out.Text = f.Text
	return out
}

func planOf(p *parquet.Plan, took time.Duration) *clewv1.Plan {
	return &clewv1.Plan{
		Segments: uint32(p.Segments), SkippedByTime: uint32(p.SkippedTime), SkippedByStatistics: uint32(p.SkippedStatistics),
		SkippedByBloom: uint32(p.SkippedBloom), SegmentsRead: uint32(p.SegmentsOpened), RowsScanned: uint64(p.RowsScanned + p.MemoryRows),
		Took: durationpb.New(took), Damaged: p.Damaged,
	}
}

func eventOf(r *parquet.Row) *clewv1.Event {
	e := &clewv1.Event{
		Id: r.ID.String(), Time: timestamppb.New(time.Unix(0, r.Time)), Received: timestamppb.New(time.Unix(0, r.Received)),
		Cluster: r.Cluster, Source: r.Source, Plane: r.Plane, Kind: r.Kind, Verb: r.Verb, ApiGroup: r.APIGroup,
		Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name, User: r.User, Groups: r.Groups,
		Credential: r.Credential, SourceIp: r.SourceIP, UserAgent: r.UserAgent, ActorPod: r.ActorPod, Pod: r.Pod, Node: r.Node,
		Code: r.Code, Stage: r.Stage, RequestUri: r.RequestURI, Executable: r.Executable,
		Service: r.CloudService, Action: r.CloudAction, Account: r.CloudAccount, Region: r.CloudRegion, Raw: r.Raw,
	}
	for _, id := range r.Entities {
		e.Entities = append(e.Entities, id.String())
	}
	return e
}

// roles are the roles as the API names them.
var roles = map[auth.Role]clewv1.Role{
	auth.Viewer: clewv1.Role_ROLE_VIEWER, auth.Analyst: clewv1.Role_ROLE_ANALYST, auth.Admin: clewv1.Role_ROLE_ADMIN, auth.Ingest: clewv1.Role_ROLE_INGEST,
	auth.Metrics: clewv1.Role_ROLE_METRICS, auth.Setup: clewv1.Role_ROLE_SETUP,
}

func roleOf(r clewv1.Role) auth.Role {
	for k, v := range roles {
		if v == r {
			return k
		}
	}
	return ""
}

// tokenDesk answers for the tokens.
type tokenDesk struct{ auth *auth.Authenticator }

// List implements api.Tokens.
func (d tokenDesk) List(ctx context.Context) ([]*clewv1.Token, error) {
	records, err := d.auth.List(ctx)
	out := make([]*clewv1.Token, 0, len(records))
	for i := range records {
		out = append(out, tokenOf(&records[i]))
	}
	return out, err
}

// Create implements api.Tokens.
func (d tokenDesk) Create(ctx context.Context, name string, role clewv1.Role, source string, expires time.Time) (*clewv1.Token, string, error) {
	n := auth.NewToken{Name: name, Role: roleOf(role), Source: source}
	if p, ok := auth.FromContext(ctx); ok {
		n.By = p.ID
	}
	if !expires.IsZero() {
		if n.Lives = time.Until(expires); n.Lives <= 0 {
			return nil, "", fmt.Errorf("%w: it would have expired", api.ErrQuery)
		}
	}
	secret, r, err := d.auth.Create(ctx, n)
	if errors.Is(err, auth.ErrAsked) {
		return nil, "", fmt.Errorf("%w: %w", api.ErrQuery, err)
	} else if err != nil {
		return nil, "", err
	}
	return tokenOf(&r), secret, nil
}

// Revoke implements api.Tokens.
func (d tokenDesk) Revoke(ctx context.Context, id string) error {
	err := d.auth.Revoke(ctx, id)
	if errors.Is(err, auth.ErrNotFound) {
		return fmt.Errorf("%w: %w", state.ErrNotFound, err)
	}
	return err
}

func tokenOf(r *auth.Record) *clewv1.Token {
	t := &clewv1.Token{Id: r.ID, Name: r.Name, Role: roles[r.Role], Source: r.Source, Created: timestamppb.New(r.Created)}
	if !r.Expires.IsZero() {
		t.Expires = timestamppb.New(r.Expires)
	}
	return t
}

// actions answers from the trail.
type actions struct{ trail trail }

// List implements api.Trail.
func (a actions) List(ctx context.Context, limit int, cursor string) ([]*clewv1.Action, string, error) {
	entries, next, err := a.trail.List(ctx, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	out := make([]*clewv1.Action, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		out = append(out, &clewv1.Action{
			Time: timestamppb.New(e.At), Who: e.Principal.Name, Role: roles[e.Principal.Role], What: e.Action,
			Target: e.Target, SourceIp: e.From, Outcome: e.Outcome,
		})
	}
	return out, next, nil
}
