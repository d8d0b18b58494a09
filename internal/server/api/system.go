package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source"
)

// quietAfter is how long a source may be silent before it is told.
const quietAfter = 15 * time.Minute

// GetStatus implements SystemService.
func (s *Server) GetStatus(ctx context.Context, _ *connect.Request[clewv1.GetStatusRequest]) (*connect.Response[clewv1.GetStatusResponse], error) {
	out := &clewv1.GetStatusResponse{Version: s.cfg.Version, Started: at(s.cfg.Started), Log: s.cfg.Queue.Status(ctx), History: s.cfg.History.Status(ctx)}
	for _, m := range s.cfg.Sources() {
		out.Sources = append(out.Sources, s.sourceOf(&m))
	}
	byName(out.Sources, (*clewv1.SourceStatus).GetName)
	for _, w := range s.cfg.Workers.Status() {
		out.Workers = append(out.Workers, s.workerOf(ctx, &w))
	}
	byName(out.Workers, (*clewv1.WorkerStatus).GetCluster)
	out.Problems = problems(out)
	out.Healthy = len(out.Problems) == 0
	return connect.NewResponse(out), nil
}

func (s *Server) sourceOf(m *source.Status) *clewv1.SourceStatus {
	out := &clewv1.SourceStatus{
		Name: m.Name, Kind: m.Kind, Cluster: m.Cluster, State: s.stateOf(m), Records: m.Accepted, Bytes: m.AcceptedBytes,
		Rejected: m.Rejected, Dropped: m.Dropped, Gaps: m.Gaps, LastReceived: at(m.LastReceived), LastEvent: at(m.LastEvent),
		LastError: m.LastError, LastErrorAt: at(m.LastErrorAt),
	}
	if !m.LastReceived.IsZero() && !m.LastEvent.IsZero() {
		out.LagSeconds = max(0, m.LastReceived.Sub(m.LastEvent).Seconds())
	}
	return out
}

// The states of a source.
const (
	sourceLive    = "live"
	sourceQuiet   = "quiet"   // nothing for quietAfter
	sourceNever   = "never"   // nothing since the start: what was wired up a moment ago is no fault
	sourceFailing = "failing" // the last that happened was an error
)

func (s *Server) stateOf(m *source.Status) string {
	switch {
	case m.LastErrorAt.After(m.LastReceived):
		return sourceFailing
	case m.LastReceived.IsZero():
		return sourceNever
	case s.cfg.Now().Sub(m.LastReceived) > quietAfter:
		return sourceQuiet
	}
	return sourceLive
}

func (s *Server) workerOf(ctx context.Context, w *pipeline.WorkerStatus) *clewv1.WorkerStatus {
	out := &clewv1.WorkerStatus{
		Cluster: w.Cluster, Position: w.Position, EventTime: at(w.EventTime), Snapshot: at(w.SavedAt),
		Events: uint64(w.Engine.Events), Flags: uint64(w.Engine.Flags), Late: uint64(w.Engine.Late), Duplicates: uint64(w.Engine.Duplicates),
		Unreadable: uint64(w.Unreadable), Error: w.Err,
		Missed: w.Missed, MissedByHistory: w.MissedByHistory, LogReplaced: at(w.Replaced),
	}
	n, err := s.cfg.Queue.Backlog(ctx, w.Cluster, w.Position)
	if out.Backlog = n; err != nil && out.Error == "" {
		out.Error = err.Error()
	}
	return out
}

// problems says in words what is not as it should be.
func problems(m *clewv1.GetStatusResponse) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if !m.GetLog().GetWritable() {
		add("the log takes nothing: %s", m.GetLog().GetProblem())
	}
	for _, x := range m.GetSources() {
		switch x.GetState() {
		case sourceFailing:
			add("source %s fails: %s", x.GetName(), x.GetLastError())
		case sourceQuiet:
			add("source %s has sent nothing since %s", x.GetName(), x.GetLastReceived().AsTime().Format(time.RFC3339))
		}
		if x.GetGaps() > 0 {
			add("source %s has %d gaps", x.GetName(), x.GetGaps())
		}
	}
	for _, w := range m.GetWorkers() {
		if w.GetError() != "" {
			add("the worker of cluster %s: %s", w.GetCluster(), w.GetError())
		}
		if w.GetLogReplaced() != nil {
			add("the log of cluster %s was replaced, or lost its end, which was found at %s: what stood on it and was not read is lost",
				w.GetCluster(), w.GetLogReplaced().AsTime().Format(time.RFC3339))
		}
		if n := w.GetMissed(); n > 0 {
			add("%d messages of cluster %s were gone from the log before the engine had them", n, w.GetCluster())
		}
		if n := w.GetMissedByHistory(); n > 0 {
			add("%d messages of cluster %s were gone from the log before the history had them", n, w.GetCluster())
		}
	}
	if h := m.GetHistory(); h.GetError() != "" {
		add("the history: %s", h.GetError())
	} else if n := len(h.GetDamaged()); n > 0 {
		add("%d segments of the history are damaged and set aside", n)
	}
	return out
}

// ListRules implements SystemService.
func (s *Server) ListRules(_ context.Context, r *connect.Request[clewv1.ListRulesRequest]) (*connect.Response[clewv1.ListRulesResponse], error) {
	n, err := pageSize(r.Msg.GetPageSize(), 1000, 1000)
	if err != nil {
		return nil, err
	}
	from, err := offset(r.Msg.GetPageToken(), s.cfg.Rules.Len())
	if err != nil {
		return nil, err
	}
	out, hits := &clewv1.ListRulesResponse{}, s.hits()
	to := min(from+n, s.cfg.Rules.Len())
	for i := from; i < to; i++ {
		x := s.cfg.Rules.Rule(int32(i))
		out.Rules = append(out.Rules, &clewv1.Rule{
			Id: x.ID, Title: x.Title, Description: x.Description, Severity: severityOf(x.Severity), Tactic: x.Tactic.String(),
			Techniques: x.Techniques, Source: x.Source.String(), When: x.When, Hits: hits[i],
		})
	}
	if to < s.cfg.Rules.Len() {
		out.NextPageToken = offsetToken(to)
	}
	return connect.NewResponse(out), nil
}

// hits adds up the flags of all workers by rule.
func (s *Server) hits() []uint64 {
	out := make([]uint64, s.cfg.Rules.Len())
	for _, w := range s.cfg.Workers.Status() {
		for i, n := range w.Engine.RuleHits[:min(len(w.Engine.RuleHits), len(out))] {
			out[i] += uint64(n)
		}
	}
	return out
}

// ListTokens implements SystemService.
func (s *Server) ListTokens(ctx context.Context, _ *connect.Request[clewv1.ListTokensRequest]) (*connect.Response[clewv1.ListTokensResponse], error) {
	list, err := s.cfg.Tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.ListTokensResponse{Tokens: list}), nil
}

// CreateToken implements SystemService.
func (s *Server) CreateToken(ctx context.Context, r *connect.Request[clewv1.CreateTokenRequest]) (*connect.Response[clewv1.CreateTokenResponse], error) {
	m := r.Msg
	if _, ok := clewv1.Role_name[int32(m.GetRole())]; !ok || m.GetRole() == 0 {
		return nil, invalid("there is no role %d", m.GetRole())
	}
	if m.GetRole() == clewv1.Role_ROLE_SETUP {
		return nil, invalid("set-up tokens are made by the server alone")
	}
	if (m.GetRole() == clewv1.Role_ROLE_INGEST) != (m.GetSource() != "") {
		return nil, invalid("a source goes with the role ingest, and only with it")
	}
	if err := errors.Join(line("name", m.GetName()), line("source", m.GetSource()), times(m.GetExpires(), nil)); err != nil {
		return nil, err
	}
	if m.GetName() == "" {
		return nil, invalid("name is empty")
	}
	var expires time.Time
	if m.GetExpires() != nil {
		if expires = m.GetExpires().AsTime(); !expires.After(s.cfg.Now()) {
			return nil, invalid("expires is not in the future")
		}
	}
	t, secret, err := s.cfg.Tokens.Create(ctx, m.GetName(), m.GetRole(), m.GetSource(), expires)
	if err != nil {
		return nil, err
	}
	s.cfg.Note(ctx, t.GetId())
	return connect.NewResponse(&clewv1.CreateTokenResponse{Token: t, Secret: secret}), nil
}

// RevokeToken implements SystemService.
func (s *Server) RevokeToken(ctx context.Context, r *connect.Request[clewv1.RevokeTokenRequest]) (*connect.Response[clewv1.RevokeTokenResponse], error) {
	if err := line("id", r.Msg.GetId()); err != nil || r.Msg.GetId() == "" || len(r.Msg.GetId()) > maxTokenID {
		return nil, invalid("id %.40q is none of a token", r.Msg.GetId())
	}
	s.cfg.Note(ctx, r.Msg.GetId())
	if err := s.cfg.Tokens.Revoke(ctx, r.Msg.GetId()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.RevokeTokenResponse{}), nil
}

const maxTokenID = 64

// ListActions implements SystemService.
func (s *Server) ListActions(ctx context.Context, r *connect.Request[clewv1.ListActionsRequest]) (*connect.Response[clewv1.ListActionsResponse], error) {
	n, err := pageSize(r.Msg.GetPageSize(), 100, 1000)
	if err = errors.Join(err, line("page_token", r.Msg.GetPageToken())); err != nil {
		return nil, err
	}
	list, next, err := s.cfg.Trail.List(ctx, n, r.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.ListActionsResponse{Actions: list, NextPageToken: next}), nil
}
