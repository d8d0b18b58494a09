package graph

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
)

// observeRequest finds the causes a Kubernetes request carries.
func (g *Graph) observeRequest(s *session, e *event.Event) {
	r := &e.K8s
	e.Facts.Cascade = g.isCascade(e)
	g.noteIssue(s, e)
	g.noteSecretRead(s, e)
	g.linkGrant(s, e)
	if !r.Succeeded() || e.Facts.SessionEnd {
		return
	}
	if enters(r) {
		g.linkTo(s, g.enteredUnit(r, e.Time), Link{Type: LinkExec, Grade: Exact, Strength: weightExact, Label: g.keep(r.EnteredPod())})
		return
	}
	if r.Mutates() {
		g.notePolicy(s, e)
		g.noteChart(e)
		g.linkObject(s, e)
	}
}

// isCascade reports whether the control plane deletes as the consequence of an
// earlier request: its namespace or owner is going (L19). Controllers delete
// nothing on their own account.
func (g *Graph) isCascade(e *event.Event) bool {
	r := &e.K8s
	return e.Facts.Actor.System && (r.Verb == "delete" || r.Verb == "deletecollection")
}

// enters reports whether the request opens a way into a pod: exec, attach,
// port-forward, proxy, ephemeral container, or the kubelet's own API by proxy.
func enters(r *event.Request) bool {
	switch r.Resource {
	case "pods":
		switch r.Subresource {
		case "exec", "attach", "portforward", "proxy":
			return true
		case "ephemeralcontainers":
			return r.Mutates() // a read of them enters nothing
		}
	case "nodes":
		return r.Subresource == "proxy" && r.EnteredPod() != ""
	}
	return false
}

func (g *Graph) enteredUnit(r *event.Request, now int64) event.ID {
	namespace, name, _ := strings.Cut(r.EnteredPod(), "/")
	if o, ok := g.inv.Object(inventory.ObjectKey{Resource: "pods", Namespace: namespace, Name: name}); ok {
		return g.entity(o, now)
	}
	return g.unknownPod(namespace, name, now)
}

// linkGrant finds the binding or role, made in this log, without which the
// request would have been refused (L17).
func (g *Graph) linkGrant(s *session, e *event.Event) {
	grant, ok := g.inv.NeededGrant(e)
	if !ok {
		return
	}
	f := &e.Facts.Actor
	by := grant.Origin
	f.NeedsGrant, f.GrantBy = grant.String(), by.User
	f.GrantAgeS = int((e.Time - by.Time) / 1e9)
	unit := g.sessionUnit(by.Session)
	f.SelfGranted = s.grantedItself(unit, by.User)
	if g.tellsOf(by, f.SelfGranted) && s.due(unit, LinkGrant, e.Time) {
		g.link(s, unit, Link{Type: LinkGrant, Grade: Strong, Strength: weightExact, Label: g.keep(grant.String())})
	}
}

// tellsOf reports whether a grant ties its maker to whoever needs it. What an
// administrator gives to a team is no story; what a suspect credential, a
// service account or the user itself gives is, and so is a grant that was
// flagged when it was made.
func (g *Graph) tellsOf(by inventory.Origin, selfGranted bool) bool {
	if selfGranted || strings.HasPrefix(by.User, event.ServiceAccountPrefix) || g.suspect(by.Session) {
		return true
	}
	flagged, _ := g.weighty.get(by.Event)
	return flagged
}

// suspect reports whether a session was known to be suspect when it began.
func (g *Graph) suspect(key event.ID) bool {
	ref, ok := g.table.Get(key)
	return ok && g.table.At(ref).Flags&flagSuspect != 0
}

// sessionUnit returns the unit of a session key as inventory remembers it.
func (g *Graph) sessionUnit(key event.ID) event.ID {
	if ref, ok := g.table.Get(key); ok {
		return g.unit(ref)
	}
	return key
}

// linkObject links a request with the object it created or changed, and the
// object with the webhooks that changed it.
func (g *Graph) linkObject(s *session, e *event.Event) {
	unit := g.objectUnit(e)
	if unit == (event.ID{}) {
		return
	}
	r := &e.K8s
	label := ""
	if !s.Barrier { // else linkTo wants none
		label = g.keep(objectLabel(r))
	}
	switch {
	case r.Verb == "create" && r.Subresource == "":
		g.linkTo(s, unit, Link{Type: LinkCreated, Grade: Exact, Strength: weightExact, Label: label})
		g.linkInjectors(unit, e)
		g.linkRunCommand(unit, e)
	case changesBehaviour(e):
		g.linkTo(s, unit, Link{Type: LinkModified, Grade: Exact, Strength: weightModified, Label: label})
		g.linkInjectors(unit, e)
	}
}

func objectLabel(r *event.Request) string {
	if r.Namespace == "" {
		return r.Resource + "/" + r.Name
	}
	return r.Resource + "/" + r.Namespace + "/" + r.Name
}

// changesBehaviour reports whether an update makes the writer answerable for
// what the object does from now on.
func changesBehaviour(e *event.Event) bool {
	r := &e.K8s
	if r.Subresource != "" && r.Subresource != "scale" || r.Verb != "update" && r.Verb != "patch" {
		return false
	}
	switch r.Group {
	case "rbac.authorization.k8s.io", "admissionregistration.k8s.io":
		return true
	}
	return e.Facts.Change.PodSpec || r.Resource == "configmaps"
}

// linkInjectors links an object with whoever configured the webhooks and
// policies that changed it on its way in (L18).
func (g *Graph) linkInjectors(unit event.ID, e *event.Event) {
	for _, name := range e.K8s.MutatedBy {
		key := inventory.ObjectKey{Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations", Name: name}
		o, ok := g.inv.Object(key)
		if !ok || o.Created.Session == (event.ID{}) {
			continue
		}
		g.linkInjector(unit, e, o, Exact, name)
	}
	if e.Facts.Change.Unattributed {
		g.linkPolicies(unit, e)
	}
}

func (g *Graph) linkInjector(unit event.ID, e *event.Event, o *inventory.Object, grade Grade, name string) {
	if len(e.Facts.Change.Injected) > 0 {
		e.Facts.Change.InjectorBy = o.Created.User
		e.Facts.Change.InjectorChart, _ = g.charts.get(g.key("webhook", name))
	}
	g.linkMutation(unit, g.sessionUnit(o.Created.Session), e.Time, grade, name, 1)
}

func (g *Graph) linkMutation(unit, from event.ID, now int64, grade Grade, name string, candidates int) {
	if from == unit {
		return
	}
	g.await(Link{
		From: from, To: unit, Type: LinkMutated, Grade: grade, Strength: weightExact / float64(candidates),
		Candidates: candidates, Time: now, Label: g.keep(name),
	})
}
