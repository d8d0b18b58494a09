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

// target is the unit of the object that the request under observation acts on,
// once it was asked for.
type target struct {
	unit  event.ID
	asked bool
}

// objectUnit returns the unit of the object a request acts on: that of the top
// of its owner chain. It is zero when inventory does not know the object.
func (g *Graph) objectUnit(e *event.Event) event.ID {
	if g.target.asked {
		return g.target.unit
	}
	g.target = target{asked: true}
	r := &e.K8s
	if o, ok := g.inv.Object(inventory.ObjectKey{Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name}); ok {
		g.target.unit = g.entity(o, e.Time)
	}
	return g.target.unit
}

// podUnit returns the unit of the pod the actor's token is bound to, zero when
// it is bound to none.
func (g *Graph) podUnit(e *event.Event) event.ID {
	a := &e.Actor
	if a.PodUID == "" {
		return event.ID{}
	}
	if o, ok := g.inv.ObjectByUID(a.PodUID); ok {
		return g.entity(o, e.Time)
	}
	return g.unknownPod(a.Namespace, a.PodName, e.Time)
}

// unknownPod returns the unit of a pod that is older than the log: its name is
// all that requests for it and requests by its token have in common.
func (g *Graph) unknownPod(namespace, name string, now int64) event.ID {
	return g.unit(g.table.Insert(g.key("pod", namespace, name), kindPod, Ref{}, now))
}

// entity puts an object into the table and returns its unit. An object hangs
// below the top of its owner chain, fixed when it is first seen. A pod is a unit
// of its own, led to by its workload: what happens in one replica says nothing
// of the next.
func (g *Graph) entity(o *inventory.Object, now int64) event.ID {
	k := g.objectKey(o)
	if ref, ok := g.table.Get(k); ok {
		g.table.Touch(ref, now)
		return g.unit(ref)
	}
	owner := Ref{}
	if top, ok := g.inv.TopOwner(o.UID); ok && !o.ForgedOwner && top.UID != o.UID {
		owner = g.table.Insert(g.key("uid", top.UID), kindObject, Ref{}, now)
	}
	if o.Key.Resource != "pods" {
		return g.unit(g.table.Insert(k, kindObject, owner, now))
	}
	pod := g.unit(g.table.Insert(k, kindPod, Ref{}, now))
	if from := g.unit(owner); from != (event.ID{}) {
		g.await(Link{
			From: from, To: pod, Type: LinkCreated, Grade: Exact, Strength: weightExact,
			Time: now, Label: g.keep("pods/" + o.Key.Namespace + "/" + o.Key.Name),
		})
	}
	return pod
}

// objectKey names an object for its lifetime: by UID, and by name and creation
// where the log shows no UID. A name that is used again is another object.
func (g *Graph) objectKey(o *inventory.Object) event.ID {
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
