package api

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/report/archive"
	"github.com/clew-sec/clew/internal/trace"
)

// Bounds of an export.
const (
	maxAround     = 24 * time.Hour
	maxRecords    = 10_000
	chunkBytes    = 64 << 10
	idsAtOnce     = 64
	exportTimeout = 2 * time.Minute
)

// ExportTrace implements TraceService.
func (s *Server) ExportTrace(ctx context.Context, r *connect.Request[clewv1.ExportTraceRequest], out *connect.ServerStream[clewv1.ExportTraceResponse]) error {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	b, err := s.export(ctx, r.Msg)
	if err != nil {
		return s.failed(clewv1connect.TraceServiceExportTraceProcedure, err)
	}
	for chunk := range slices.Chunk(b, chunkBytes) {
		if err := out.Send(&clewv1.ExportTraceResponse{Chunk: chunk}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) export(ctx context.Context, m *clewv1.ExportTraceRequest) ([]byte, error) {
	around := m.GetAround().AsDuration()
	if around < 0 || around > maxAround {
		return nil, invalid("around %s is not between 0 and %s", around, maxAround)
	}
	known, err := s.trace(m.GetId())
	if err != nil {
		return nil, err
	}
	s.cfg.Note(ctx, known.GetId())
	e, err := s.evidenceOf(ctx, known, around)
	if err != nil {
		return nil, err
	}
	e.Archive.Records = e.raw()
	var b bytes.Buffer
	if err := archive.Write(&b, &e.Archive, s.cfg.Key); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type extract struct {
	archive archive.Archive
	trace   trace.Trace
}

// extract asks the worker for state and description of a trace as it is now.
func (s *Server) extract(ctx context.Context, known *clewv1.Trace) (*extract, error) {
	id, err := traceID(known.GetId())
	if err != nil {
		return nil, err
	}
	x, found := &extract{}, false
	var state bytes.Buffer
	var inner error
	err = s.cfg.Workers.Ask(ctx, known.GetCluster(), func(eng *engine.Engine, l *report.Ledger) {
		if x.trace, found = eng.Trace(id); !found {
			return
		}
		_, inner = eng.Extract(id, &state)
		described, err := l.Describe([]trace.Trace{x.trace}, eng)
		if err == nil {
			x.archive.Trace = described[0]
		}
		inner = errors.Join(inner, err)
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, err
	}
	if !found {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the trace never alerted and is past the memory of its worker: it cannot be scored again; get it instead"))
	}
	t := &x.archive.Trace
	x.archive.State = state.Bytes()
	x.archive.Manifest = archive.Manifest{Trace: t.ID, Cluster: known.GetCluster(), Score: t.Score, Alert: t.Alert, Clew: s.cfg.Version, Created: s.cfg.Now().UTC()}
	return x, nil
}

// records returns the records that a trace rests on, and those of its flagged units
// around it, by id. Those that the history no longer has are left out.
func (s *Server) records(ctx context.Context, cluster string, t *trace.Trace, around time.Duration) (map[string]*clewv1.Event, error) {
	ids, first, last := archive.Evidence(t)
	got := map[string]*clewv1.Event{}
	filter := func(entity string, margin time.Duration) *clewv1.EventFilter {
		return &clewv1.EventFilter{
			Cluster: cluster, Entity: entity,
			Since: timestamppb.New(time.Unix(0, first).Add(-margin)), Until: timestamppb.New(time.Unix(0, last).Add(margin + 1)),
		}
	}
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		if err := s.collect(ctx, EventQuery{Filter: filter("", 0), IDs: chunk, Limit: 1000, Raw: true}, got); err != nil {
			return nil, err
		}
	}
	if around > 0 {
		for _, u := range t.Flagged {
			f, err := s.named(ctx, filter(u.ID.String(), around))
			if err != nil {
				return nil, err
			}
			if err := s.collect(ctx, EventQuery{Filter: f, Limit: 1000, Raw: true}, got); err != nil {
				return nil, err
			}
		}
	}
	return got, nil
}

// collect takes all pages of a search, as far as there is room.
func (s *Server) collect(ctx context.Context, q EventQuery, into map[string]*clewv1.Event) error {
	for len(into) < maxRecords {
		page, err := s.cfg.History.Search(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range page.GetEvents() {
			into[e.GetId()] = e
		}
		if q.Cursor = page.GetNextPageToken(); q.Cursor == "" {
			return nil
		}
	}
	return nil
}

// SearchEvents implements EventService.
func (s *Server) SearchEvents(ctx context.Context, r *connect.Request[clewv1.SearchEventsRequest]) (*connect.Response[clewv1.SearchEventsResponse], error) {
	n, err := pageSize(r.Msg.GetPageSize(), 100, 1000)
	if err = errors.Join(err, checkEvents(r.Msg.GetFilter()), line("page_token", r.Msg.GetPageToken())); err != nil {
		return nil, err
	}
	filter, err := s.named(ctx, r.Msg.GetFilter())
	if err != nil {
		return nil, err
	}
	page, err := s.cfg.History.Search(ctx, EventQuery{Filter: filter, Limit: n, Cursor: r.Msg.GetPageToken()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(page), nil
}

// GetEvent implements EventService.
func (s *Server) GetEvent(ctx context.Context, r *connect.Request[clewv1.GetEventRequest]) (*connect.Response[clewv1.GetEventResponse], error) {
	id, err := eventID(r.Msg.GetId())
	if err = errors.Join(err, line("cluster", r.Msg.GetCluster())); err != nil {
		return nil, err
	}
	page, err := s.cfg.History.Search(ctx, EventQuery{Filter: &clewv1.EventFilter{Cluster: r.Msg.GetCluster()}, IDs: []event.ID{id}, Limit: 1, Raw: true})
	if err != nil {
		return nil, err
	}
	if len(page.GetEvents()) == 0 {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such event in the history"))
	}
	return connect.NewResponse(&clewv1.GetEventResponse{Event: page.GetEvents()[0]}), nil
}

// GetEntity implements EventService.
func (s *Server) GetEntity(ctx context.Context, r *connect.Request[clewv1.GetEntityRequest]) (*connect.Response[clewv1.GetEntityResponse], error) {
	m := r.Msg
	id, err := eventID(m.GetId())
	if err = errors.Join(err, line("cluster", m.GetCluster())); err != nil {
		return nil, err
	}
	limit, err := pageSize(m.GetLimit(), 100, engine.MaxNeighbours)
	if err != nil {
		return nil, err
	}
	if m.GetDepth() > engine.MaxDepth {
		return nil, invalid("depth %d is not between 1 and %d", m.GetDepth(), engine.MaxDepth)
	}
	depth := max(1, int(m.GetDepth()))
	for _, cluster := range s.clusters(m.GetCluster()) {
		var out *clewv1.GetEntityResponse
		err := s.cfg.Workers.Ask(ctx, cluster, func(x *engine.Engine, _ *report.Ledger) {
			if n, ok := x.Neighbours(id, depth, limit); ok {
				out = neighbourhood(x, &n)
			}
		})
		if err != nil {
			return nil, err
		}
		if out != nil {
			return connect.NewResponse(out), nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such entity in memory"))
}

// clusters returns the one named, or all.
func (s *Server) clusters(name string) []string {
	if name != "" {
		return []string{name}
	}
	var out []string
	for _, w := range s.cfg.Workers.Status() {
		out = append(out, w.Cluster)
	}
	return out
}
