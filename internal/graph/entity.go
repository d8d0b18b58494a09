package graph

import (
	"slices"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
)

// The kinds of entities.
const (
	kindSession EntityKind = iota
	kindPod
	kindObject
)

// flagSuspect marks a session whose credential has a lineage fact against it.
const flagSuspect = FlagUser

// unit returns the unit of an entity, zero when it is gone.
func (g *Graph) unit(r Ref) event.ID {
	if e := g.table.At(r); e != nil {
		return e.Unit
	}
	return event.ID{}
}

// objectUnit returns the unit of the object a request acts on: that of the top
// of its owner chain. It is zero when inventory does not know the object.
func (g *Graph) objectUnit(e *event.Event) event.ID {
	r := &e.K8s
	o, ok := g.inv.Object(inventory.ObjectKey{Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name})
	if !ok {
		return event.ID{}
	}
	return g.entity(o, e.Time)
}

// podUnit returns the unit of the pod the actor's token is bound to. A pod
// older than the log is a unit by itself.
func (g *Graph) podUnit(e *event.Event) event.ID {
	uid := e.Actor.PodUID
	if uid == "" {
		return event.ID{}
	}
	if o, ok := g.inv.ObjectByUID(uid); ok {
		return g.entity(o, e.Time)
	}
	return g.unit(g.table.Insert(g.key("uid", uid), kindPod, Ref{}, e.Time))
}

// entity puts an object below its owner into the table and returns its unit.
// The parent is fixed when the object is first seen.
func (g *Graph) entity(o inventory.Object, now int64) event.ID {
	k := g.objectKey(o)
	if ref, ok := g.table.Get(k); ok {
		g.table.Touch(ref, now)
		return g.unit(ref)
	}
	parent, kind := Ref{}, kindObject
	if o.Key.Resource == "pods" {
		kind = kindPod
	}
	if top, ok := g.inv.TopOwner(o.UID); ok && !o.ForgedOwner && top.UID != o.UID {
		parent = g.table.Insert(g.key("uid", top.UID), kindObject, Ref{}, now)
	}
	return g.unit(g.table.Insert(k, kind, parent, now))
}

// objectKey names an object for its lifetime: by UID, and by name and creation
// where the log shows no UID. A name that is used again is another object.
func (g *Graph) objectKey(o inventory.Object) event.ID {
	if o.UID != "" {
		return g.key("uid", o.UID)
	}
	g.hash.Reset()
	for _, p := range []string{o.Key.Group, o.Key.Resource, o.Key.Namespace, o.Key.Name} {
		g.hash.Str(p)
	}
	g.hash.Int(o.Created.Time)
	return g.hash.Sum()
}

// noteAccount remembers a workload that runs as a service account, for links
// that name only the account.
func (g *Graph) noteAccount(namespace, name string, unit event.ID) {
	if name == "" {
		return
	}
	k := g.key("account", namespace, name)
	units, _ := g.accounts.get(k)
	if slices.Contains(units, unit) {
		return
	}
	if len(units) >= maxAccountUnits {
		units = units[1:]
	}
	g.accounts.put(k, append(slices.Clone(units), unit))
}
