package inventory

import "github.com/clew-sec/clew/internal/event"

// describeTarget fills the facts about the object e acts on, as it was before
// e, and notes it in the step.
func (inv *Inventory) describeTarget(e *event.Event) {
	r, f := &e.K8s, &e.Facts.Target
	if e.Actor.Kind == event.ActorServiceAccount && r.Namespace != "" && !e.Facts.Actor.System {
		f.Foreign = r.Namespace != e.Actor.Namespace
	}
	if r.Namespace != "" && r.Resource != "namespaces" {
		inv.describeNamespace(e)
	}
	if untracked(r.Resource) {
		return
	}
	if r.Resource == "certificatesigningrequests" && r.Verb == "create" {
		f.NodeElsewhere = inv.nodeElsewhere(e)
	}
	if name := r.TargetName(); name != "" {
		inv.step.target = inv.nameKey(r.Group, r.Resource, r.Namespace, name)
		inv.step.object = inv.current(inv.step.target, e)
	}
	if o := inv.step.object; o != nil {
		inv.describeObject(e, o)
	}
	if r.Verb == "create" && r.Subresource == "" {
		inv.describeNew(e)
	}
}

func (inv *Inventory) describeNamespace(e *event.Event) {
	ns := inv.live("", "namespaces", "", e.K8s.Namespace)
	if ns != nil {
		e.Facts.Target.NamespaceAgeS = ageSeconds(e.Time, ns.Born)
	}
}

func (inv *Inventory) describeObject(e *event.Event, o *Object) {
	f := &e.Facts.Target
	f.Known = true
	f.AgeS = ageSeconds(e.Time, o.Born)
	f.Creator = o.Created.User
	f.CreatedByActor = o.Created.Seen() && o.Created.User == e.Actor.Name
	f.ForgedOwner = o.ForgedOwner
	if o.Key.Resource == "namespaces" && o.Key.Group == "" {
		f.NamespaceAgeS = f.AgeS
	}
	if o.Owner != (Owner{}) {
		top := inv.topOf(o.Owner, o.Key.Namespace)
		f.OwnerKind, f.OwnerName = top.Kind, top.Name
	}
	if p := o.Pod; p != nil && o.Key.Resource == "pods" {
		f.ServiceAccount = p.ServiceAccount
		f.Privileged = p.Privileged
		f.HostPaths = append(f.HostPaths, p.HostPaths...)
	}
}

// describeNew fills what a new object claims to be: its owner, and the controller
// whose pods' names it imitates.
func (inv *Inventory) describeNew(e *event.Event) {
	r, f := &e.K8s, &e.Facts.Target
	b := bodyOf(r)
	if c := b.Controller(); c != nil {
		own := Owner{c.Kind, c.Name, c.UID}
		top := inv.topOf(own, r.Namespace)
		f.OwnerKind, f.OwnerName = top.Kind, top.Name
		if r.Group == "" && r.Resource == "pods" {
			f.ForgedOwner = inv.forged(e, own)
		}
	}
	f.Mimics = inv.mimics(e, b)
}

// bodyOf returns what a request says about its object: what was sent or, where
// only the answer was recorded, what was stored.
func bodyOf(r *event.Request) *event.Body {
	if r.Object.Present || !r.Response.Present {
		return &r.Object
	}
	return &r.Response
}

// forged reports whether a pod's creator is not the controller that it claims as
// its owner. Only built-in kinds have a known creator; owners of the same kind
// in another API group are an operator's.
func (inv *Inventory) forged(e *event.Event, own Owner) bool {
	if own.Kind == "Node" { // mirror pods of static pods
		return e.Actor.Kind != event.ActorNode || e.Facts.Actor.NodeMismatch
	}
	for _, k := range builtinKinds {
		if k.kind != own.Kind || k.kind == "Deployment" || k.kind == "CronJob" {
			continue
		}
		if o := inv.byUID(own.UID); o != nil && o.Key.Group != k.group {
			return false
		}
		name := e.Actor.ServiceAccount == k.controller && e.Actor.Namespace == "kube-system" || e.Actor.Name == managerUser
		return !name || !e.Facts.Actor.System
	}
	return false
}
