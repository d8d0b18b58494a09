package engine

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/trace"
)

// Bounds of Neighbours.
const (
	MaxDepth      = 4
	MaxNeighbours = 500
)

// Neighbourhood is an entity with what led to it and what it led to.
type Neighbourhood struct {
	Center    graph.Thing
	Others    []graph.Thing // units, nearest first
	Links     []trace.Edge  // between units of the neighbourhood, by time
	Truncated bool          // there are more within depth
}

// Neighbours returns an entity with the units up to depth links away, at most limit
// of them; both are held to their bounds. False when the entity is not known.
//
// The graph keeps no list of all links that ever were. What is told are the links
// that joined traces, the latest of those that wait for evidence, and what was
// done to units that did nothing since.
func (x *Engine) Neighbours(id event.ID, depth, limit int) (Neighbourhood, bool) {
	center, ok := x.graph.Thing(id)
	if !ok && !x.tracer.Knows(id) {
		return Neighbourhood{}, false
	}
	w := walk{x: x, acts: x.graph.Acts(), limit: min(limit, MaxNeighbours), seen: map[event.ID]bool{center.Unit: true}, links: map[edgeKey]trace.Edge{}}
	w.out.Center = center
	ring := []event.ID{center.Unit}
	for range min(depth, MaxDepth) {
		ring = w.expand(ring)
	}
	for k, l := range w.links {
		if w.seen[k.from] && w.seen[k.to] {
			w.out.Links = append(w.out.Links, l)
		}
	}
	slices.SortFunc(w.out.Links, func(a, b trace.Edge) int {
		return cmp.Or(cmp.Compare(a.First, b.First), bytes.Compare(a.From[:], b.From[:]), bytes.Compare(a.To[:], b.To[:]), cmp.Compare(a.Type, b.Type))
	})
	return w.out, true
}

type edgeKey struct {
	from, to event.ID
	typ      graph.LinkType
}

type walk struct {
	x     *Engine
	acts  map[event.ID][]graph.Link // by cause
	limit int
	seen  map[event.ID]bool
	links map[edgeKey]trace.Edge
	out   Neighbourhood
}

// expand takes up the neighbours of a ring and returns the next one.
func (w *walk) expand(ring []event.ID) []event.ID {
	var next []event.ID
	for _, u := range ring {
		for _, l := range w.linksOf(u) {
			other := l.From
			if other == u {
				other = l.To
			}
			if !w.seen[other] {
				if len(w.out.Others) >= w.limit {
					w.out.Truncated = true
					continue
				}
				w.seen[other] = true
				thing, _ := w.x.graph.Thing(other)
				w.out.Others = append(w.out.Others, thing)
				next = append(next, other)
			}
			w.links[edgeKey{l.From, l.To, l.Type}] = l
		}
	}
	return next
}

func (w *walk) linksOf(u event.ID) []trace.Edge {
	out := w.x.tracer.LinksOf(u)
	for _, acts := range [][]graph.Link{w.x.graph.ActsOn(u), w.acts[u]} {
		for _, l := range acts {
			out = append(out, trace.Edge{From: l.From, To: l.To, Type: l.Type, Grade: l.Grade, Strength: l.Strength, First: l.Time, Last: l.Time, Label: l.Label})
		}
	}
	slices.SortStableFunc(out, func(a, b trace.Edge) int {
		return cmp.Or(cmp.Compare(a.First, b.First), bytes.Compare(a.From[:], b.From[:]), bytes.Compare(a.To[:], b.To[:]))
	})
	return out
}
