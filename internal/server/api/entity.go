package api

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/report"
)

// named returns the filter with an identity session, which no event names, as the
// actor whose it is and the time it was at work. Any other filter it returns as it is.
// A worker knows its sessions; past its memory the units of stored traces say who and
// since when, so that later sessions of the same actor are found too.
func (s *Server) named(ctx context.Context, f *clewv1.EventFilter) (*clewv1.EventFilter, error) {
	if f.GetEntity() == "" {
		return f, nil
	}
	span, ok, err := s.session(ctx, f)
	if err != nil || !ok {
		return f, err
	}
	out, _ := proto.Clone(f).(*clewv1.EventFilter) // as it was
	out.Entity = span.Actor.String()
	if first := time.Unix(0, span.First); f.Since == nil || f.Since.AsTime().Before(first) {
		out.Since = timestamppb.New(first)
	}
	if end := time.Unix(0, span.Last+1); span.Last != 0 && (f.Until == nil || f.Until.AsTime().After(end)) {
		out.Until = timestamppb.New(end)
	}
	return out, nil
}

// session looks the entity of a filter up among the sessions.
func (s *Server) session(ctx context.Context, f *clewv1.EventFilter) (span graph.Span, ok bool, err error) {
	id, err := eventID(f.GetEntity())
	if err != nil {
		return span, false, err
	}
	for _, cluster := range s.clusters(f.GetCluster()) {
		err := s.cfg.Workers.Ask(ctx, cluster, func(x *engine.Engine, _ *report.Ledger) { span, ok = x.Session(id) })
		if ok || err != nil && !errors.Is(err, ErrNoCluster) {
			return span, ok, err
		}
	}
	u, ok := s.cfg.Traces.Unit(f.GetEntity())
	if !ok || u.GetActor() == "" {
		return span, false, nil
	}
	span.First = u.GetSince().AsTime().UnixNano()
	return span, true, span.Actor.UnmarshalText([]byte(u.GetActor()))
}

// partOf is the type of the link from a unit to an entity in it.
const partOf = "part-of"

func neighbourhood(x *engine.Engine, n *engine.Neighbourhood) *clewv1.GetEntityResponse {
	out := &clewv1.GetEntityResponse{Entity: entityOf(x, &n.Center), Truncated: n.Truncated}
	for i := range n.Others {
		out.Neighbours = append(out.Neighbours, entityOf(x, &n.Others[i]))
	}
	if n.Center.Unit != n.Center.ID {
		unit := graph.Thing{ID: n.Center.Unit, Unit: n.Center.Unit}
		out.Neighbours = append(out.Neighbours, entityOf(x, &unit))
		out.Links = append(out.Links, &clewv1.EntityLink{From: n.Center.Unit.String(), To: n.Center.ID.String(), Type: partOf, Grade: graph.Exact.String(), Time: nanos(n.Center.First)})
	}
	for _, l := range n.Links {
		out.Links = append(out.Links, &clewv1.EntityLink{
			From: l.From.String(), To: l.To.String(), Type: l.Type.String(), Grade: l.Grade.String(), Label: strings.ToValidUTF8(l.Label, "�"), Time: nanos(l.First),
		})
	}
	return out
}

func entityOf(x *engine.Engine, t *graph.Thing) *clewv1.Entity {
	e := &clewv1.Entity{
		Id: t.ID.String(), Kind: t.Kind, Description: strings.ToValidUTF8(t.Description, "�"),
		First: nanos(t.First), Last: nanos(t.Last), Flagged: t.Flagged,
	}
	if id, ok := x.TraceID(t.Unit); ok {
		e.Trace = id.String()
	}
	return e
}
