package api

import (
	"strings"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/graph"
)

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
