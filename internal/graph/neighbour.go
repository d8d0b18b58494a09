package graph

import "github.com/clew-sec/clew/internal/event"

// Thing is what a Graph knows of an entity.
type Thing struct {
	ID          event.ID
	Unit        event.ID // the unit that it is part of, ID when it is one itself
	Kind        string   // session, pod, object
	Description string   // user and address of a session, "" when it is none
	First, Last int64    // nanoseconds since 1970 UTC, 0 when they are not known
	Flagged     bool
}

var kindNames = [...]string{kindSession: "session", kindPod: "pod", kindObject: "object"}

// Thing returns an entity, false when it is not known. An actor or credential is the
// latest of its sessions. To look changes nothing: no entity is kept longer because
// somebody looked.
func (g *Graph) Thing(id event.ID) (Thing, bool) {
	if s, ok := g.latest(id); ok {
		id = s
	}
	who, named := g.who.peek(id)
	ref, ok := g.table.Get(id)
	if !ok {
		return Thing{ID: id, Unit: id, Kind: kindNames[kindSession], Description: who}, named
	}
	e := g.table.At(ref)
	return Thing{
		ID: id, Unit: e.Unit, Kind: kindNames[e.Kind], Description: who, First: e.First, Last: e.Last,
		Flagged: e.Flags&FlagFlagged != 0,
	}, true
}

// Acts returns, by cause, the links that are not reported yet because nothing came
// of them. The links are shared; the map is the caller's.
func (g *Graph) Acts() map[event.ID][]Link {
	out := map[event.ID][]Link{}
	for _, m := range []map[event.ID][]Link{g.acts.Young, g.acts.Old} {
		for _, links := range m {
			for _, l := range links {
				out[l.From] = append(out[l.From], l)
			}
		}
	}
	return out
}

// ActsOn returns the links into a unit that are not reported yet. They are shared.
func (g *Graph) ActsOn(unit event.ID) []Link {
	links, _ := g.acts.peek(unit)
	return links
}

// peek returns the value of k and does nothing for its life.
func (r *recent[K, V]) peek(k K) (V, bool) {
	if v, ok := r.Young[k]; ok {
		return v, true
	}
	v, ok := r.Old[k]
	return v, ok
}
