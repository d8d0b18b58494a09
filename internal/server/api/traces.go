package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/store/state"
	"github.com/clew-sec/clew/internal/trace"
)

// ListTraces implements TraceService.
func (s *Server) ListTraces(_ context.Context, r *connect.Request[clewv1.ListTracesRequest]) (*connect.Response[clewv1.ListTracesResponse], error) {
	n, err := pageSize(r.Msg.GetPageSize(), 50, 500)
	if err = errors.Join(err, checkTraces(r.Msg.GetFilter())); err != nil {
		return nil, err
	}
	if _, ok := clewv1.TraceOrder_name[int32(r.Msg.GetOrder())]; !ok {
		return nil, invalid("there is no order %d", r.Msg.GetOrder())
	}
	page, err := s.cfg.Traces.List(r.Msg.GetFilter(), r.Msg.GetOrder(), n, r.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.ListTracesResponse{Traces: page.Traces, NextPageToken: page.Next, Total: uint32(page.Total)}), nil
}

// GetTrace implements TraceService.
func (s *Server) GetTrace(_ context.Context, r *connect.Request[clewv1.GetTraceRequest]) (*connect.Response[clewv1.GetTraceResponse], error) {
	t, err := s.trace(r.Msg.GetId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.GetTraceResponse{Trace: t}), nil
}

func (s *Server) trace(id string) (*clewv1.Trace, error) {
	if _, err := traceID(id); err != nil {
		return nil, err
	}
	t, ok := s.cfg.Traces.Get(id)
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such trace"))
	}
	return t, nil
}

// WatchTraces implements TraceService.
func (s *Server) WatchTraces(ctx context.Context, r *connect.Request[clewv1.WatchTracesRequest], out *connect.ServerStream[clewv1.WatchTracesResponse]) error {
	if err := checkTraces(r.Msg.GetFilter()); err != nil {
		return s.failed(clewv1connect.TraceServiceWatchTracesProcedure, err)
	}
	w, err := s.cfg.Traces.Watch(r.Msg.GetFilter(), r.Msg.GetChangesOnly())
	if err != nil {
		return s.failed(clewv1connect.TraceServiceWatchTracesProcedure, err)
	}
	defer w.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-s.cfg.Stopping:
			stop()
		case <-ctx.Done():
		}
	}()
	defer func() { stop(); <-stopped }()
	if err := out.Send(nil); err != nil { // headers: the caller knows that it watches
		return err
	}
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return connect.NewError(connect.CodeUnavailable, errors.New("the stream ends; watch again"))
		}
		if err := out.Send(&clewv1.WatchTracesResponse{Trace: c.Trace, Initial: c.Initial, Removed: c.Removed, Revision: c.Revision, Synced: c.Synced}); err != nil {
			return err
		}
	}
}

// Triage implements TraceService.
func (s *Server) Triage(ctx context.Context, r *connect.Request[clewv1.TriageRequest]) (*connect.Response[clewv1.TriageResponse], error) {
	m := r.Msg
	if _, err := traceID(m.GetId()); err != nil {
		return nil, err
	}
	if _, ok := clewv1.TriageState_name[int32(m.GetState())]; !ok {
		return nil, invalid("there is no state %d", m.GetState())
	}
	if len(m.GetComment()) > maxComment {
		return nil, invalid("the comment has %d bytes, more than %d", len(m.GetComment()), maxComment)
	}
	if err := line("assignee", m.GetAssignee()); err != nil {
		return nil, err
	}
	if m.GetState() == 0 && m.Assignee == nil && strings.TrimSpace(m.GetComment()) == "" {
		return nil, invalid("neither state nor assignee nor comment is given")
	}
	s.cfg.Note(ctx, m.GetId())
	t, err := s.cfg.Traces.Triage(ctx, m.GetId(), state.Opinion{
		State: m.GetState(), Assignee: m.Assignee, Comment: strings.TrimSpace(m.GetComment()), By: s.cfg.Who(ctx),
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.TriageResponse{Triage: t}), nil
}

// PreviewSuppression implements TraceService.
func (s *Server) PreviewSuppression(ctx context.Context, r *connect.Request[clewv1.PreviewSuppressionRequest]) (*connect.Response[clewv1.PreviewSuppressionResponse], error) {
	p, err := s.policy(r.Msg.GetSuppression())
	if err != nil {
		return nil, err
	}
	out := &clewv1.PreviewSuppressionResponse{}
	for _, w := range s.cfg.Workers.Status() {
		var effects []trace.Effect
		err := s.cfg.Workers.Ask(ctx, w.Cluster, func(x *engine.Engine, l *report.Ledger) {
			effects = x.Preview(p, func(e trace.Evidence) string { return l.User(e.Ref) })
			out.Considered += uint32(len(x.Traces()))
		})
		if err != nil {
			return nil, err
		}
		for _, e := range effects {
			out.Effects = append(out.Effects, &clewv1.PreviewSuppressionResponse_Effect{
				Trace: e.ID.String(), Score: e.Score.Float(), ScoreWith: e.With.Float(), Hidden: e.Hidden, AlertWith: e.With >= trace.AlertLine,
			})
		}
	}
	slices.SortStableFunc(out.Effects, func(a, b *clewv1.PreviewSuppressionResponse_Effect) int {
		return int(10*(b.Score-b.ScoreWith) - 10*(a.Score-a.ScoreWith))
	})
	return connect.NewResponse(out), nil
}

// policy checks what a suppression is about: its shape, kinds and users.
func (s *Server) policy(m *clewv1.Suppression) (trace.Suppression, error) {
	if _, err := eventID(m.GetFingerprint()); err != nil {
		return trace.Suppression{}, err
	}
	if len(m.GetAllowedKinds()) == 0 {
		return trace.Suppression{}, invalid("allowed_kinds is empty: a suppression says which rules it is about")
	}
	for _, id := range m.GetAllowedKinds() {
		if !s.hasRule(id) {
			return trace.Suppression{}, invalid("there is no rule %.100q", id)
		}
	}
	if err := errors.Join(lines("allowed_kinds", m.GetAllowedKinds()), lines("users", m.GetUsers())); err != nil {
		return trace.Suppression{}, err
	}
	return state.PolicyOf(m)
}

func (s *Server) hasRule(id string) bool {
	for i := range s.cfg.Rules.Len() {
		if s.cfg.Rules.Rule(int32(i)).ID == id {
			return true
		}
	}
	return false
}

// CreateSuppression implements TraceService.
func (s *Server) CreateSuppression(ctx context.Context, r *connect.Request[clewv1.CreateSuppressionRequest]) (*connect.Response[clewv1.CreateSuppressionResponse], error) {
	m := r.Msg.GetSuppression()
	if _, err := s.policy(m); err != nil {
		return nil, err
	}
	if err := errors.Join(line("reason", m.GetReason()), line("owner", m.GetOwner()), times(m.GetExpires(), nil)); err != nil {
		return nil, err
	}
	if strings.TrimSpace(m.GetReason()) == "" {
		return nil, invalid("reason is empty")
	}
	if m.GetExpires() != nil && !m.GetExpires().AsTime().After(s.cfg.Now()) {
		return nil, invalid("expires is not in the future")
	}
	p, _ := proto.Clone(m).(*clewv1.Suppression) // as it was
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	p.Id, p.Created = hex.EncodeToString(id[:]), timestamppb.New(s.cfg.Now())
	if p.Owner == "" {
		p.Owner = s.cfg.Who(ctx)
	}
	s.cfg.Note(ctx, p.Id)
	if err := s.cfg.Traces.AddSuppression(ctx, p); err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.CreateSuppressionResponse{Suppression: p}), nil
}

// ListSuppressions implements TraceService.
func (s *Server) ListSuppressions(context.Context, *connect.Request[clewv1.ListSuppressionsRequest]) (*connect.Response[clewv1.ListSuppressionsResponse], error) {
	return connect.NewResponse(&clewv1.ListSuppressionsResponse{Suppressions: s.cfg.Traces.Suppressions()}), nil
}

// DeleteSuppression implements TraceService.
func (s *Server) DeleteSuppression(ctx context.Context, r *connect.Request[clewv1.DeleteSuppressionRequest]) (*connect.Response[clewv1.DeleteSuppressionResponse], error) {
	if id, err := hex.DecodeString(r.Msg.GetId()); err != nil || len(id) != 8 {
		return nil, invalid("id %.40q is not 16 hex digits", r.Msg.GetId())
	}
	s.cfg.Note(ctx, r.Msg.GetId())
	if err := s.cfg.Traces.DeleteSuppression(ctx, r.Msg.GetId()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&clewv1.DeleteSuppressionResponse{}), nil
}
