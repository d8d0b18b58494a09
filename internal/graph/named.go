package graph

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
)

// AppendNamed appends the entities that e names itself and returns the slice: its
// credential, the actor (the credential in its network), the pods and the object, as
// a Graph keys them. An identity session is none of them: where one ends and the next
// begins follows from the events before; see Graph.Session. Nor is the owner of an
// object.
func AppendNamed(ids []event.ID, h *event.Hasher, e *event.Event) []event.ID {
	a := &e.Actor
	net := inventory.NetworkOf(a.IP)
	actor := func(cred event.ID) { ids = append(ids, cred, actorKey(h, cred, net)) }
	actor(credentialKey(h, a))
	if a.Impersonated != "" { // of both: the log before tells whether a proxy acted
		actor(proxiedKey(h, a))
	}
	switch e.Kind {
	case event.KindAPIRequest:
		ids = appendPod(ids, h, a.PodUID, a.Namespace, a.PodName)
		if r := &e.K8s; r.Resource == "pods" || r.Resource == "nodes" {
			namespace, name, _ := strings.Cut(r.EnteredPod(), "/")
			ids = appendPod(ids, h, "", namespace, name)
		}
		if e.K8s.UID != "" && e.K8s.UID != a.PodUID {
			ids = append(ids, keyOf(h, "uid", e.K8s.UID))
		}
	case event.KindCloudCall:
		ids = appendPod(ids, h, e.Cloud.PodUID, e.Cloud.PodNamespace, e.Cloud.PodName)
	}
	return ids
}

// appendPod appends a pod by UID and, as pods older than the log are known, by name.
func appendPod(ids []event.ID, h *event.Hasher, uid, namespace, name string) []event.ID {
	if uid != "" {
		ids = append(ids, keyOf(h, "uid", uid))
	}
	if name != "" {
		ids = append(ids, keyOf(h, "pod", namespace, name))
	}
	return ids
}

func keyOf(h *event.Hasher, parts ...string) event.ID {
	h.Reset()
	for _, p := range parts {
		h.Str(p)
	}
	return h.Sum()
}

// credentialKey names the credential exactly where the log tells it, else the
// principal. A cloud key behind a Kubernetes request is the cloud's own key, so
// both planes meet in it.
func credentialKey(h *event.Hasher, a *event.Actor) event.ID {
	switch {
	case a.Credential != "":
		return keyOf(h, a.Credential)
	case a.AccessKey != "":
		return keyOf(h, "aws:"+a.AccessKey)
	case a.PodUID != "":
		return keyOf(h, "pod", a.PodUID)
	case a.Kind == event.ActorUnauthenticated || a.Kind == event.ActorAnonymous:
		return keyOf(h, "anonymous")
	}
	return keyOf(h, "user", a.Name)
}

// proxiedKey stands for the credential of somebody for whom a proxy acts.
func proxiedKey(h *event.Hasher, a *event.Actor) event.ID {
	return keyOf(h, "proxied", a.Name, a.Impersonated)
}

func actorKey(h *event.Hasher, cred event.ID, net inventory.Network) event.ID {
	h.Reset()
	h.ID(cred)
	h.ID(net.Prefix().Addr().As16())
	return h.Sum()
}

// Span is when an identity session was at work.
type Span struct {
	Actor event.ID // credential and network, which its events name; see AppendNamed
	First int64    // nanoseconds since 1970 UTC
	Last  int64    // of its latest event, 0 when that is forgotten
}

// Session returns the span of an identity session, false when it is forgotten or
// none. To look changes nothing.
func (g *Graph) Session(id event.ID) (Span, bool) {
	span, ok := g.spans.peek(id)
	if s, there := g.sessions.peek(span.Actor); ok && there && s.Key == id {
		span.Last = s.Last
	}
	return span, ok
}

// latest returns the latest session of an actor or a credential.
func (g *Graph) latest(id event.ID) (session event.ID, ok bool) {
	if peers, _ := g.byCred.peek(id); len(peers) > 0 {
		id = peers[len(peers)-1].Base
	}
	s, ok := g.sessions.peek(id)
	if !ok {
		return event.ID{}, false
	}
	return s.Key, true
}
