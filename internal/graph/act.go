package graph

import (
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// maxActs bounds what is remembered of what was done to one unit.
const maxActs = 8

// await keeps a link into a unit until the unit does something itself: is
// flagged, or leads on to another. Two people who enter the same pod or change
// the same workload have nothing to do with each other as long as nothing comes
// of it.
//
// Of those who created or changed an object the latest explains what it does
// next.
func (g *Graph) await(l Link) {
	l.Candidates = max(l.Candidates, 1)
	known, _ := g.acts.get(l.To)
	kept := slices.DeleteFunc(slices.Clone(known), func(x Link) bool {
		return x.From == l.From && x.Type == l.Type || shapes(x.Type) && shapes(l.Type)
	})
	if len(kept) >= maxActs {
		kept = kept[1:]
	}
	g.acts.put(l.To, append(kept, l))
}

// shapes reports whether a link of this type says who made an object what it is.
func shapes(t LinkType) bool { return t == LinkCreated || t == LinkModified }

// activate reports what was done to unit, and what led there in turn.
func (g *Graph) activate(unit event.ID) {
	acts, _ := g.acts.get(unit)
	if len(acts) == 0 {
		return
	}
	g.acts.drop(unit)
	for _, l := range acts {
		g.activate(l.From)
		g.links = append(g.links, l)
	}
}

// Activate returns the links that become telling when unit is flagged. The
// slice is valid until the next Observe.
func (g *Graph) Activate(unit event.ID) []Link {
	n := len(g.links)
	g.activate(unit)
	return g.links[n:]
}
