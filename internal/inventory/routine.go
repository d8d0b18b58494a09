package inventory

import (
	"slices"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

const (
	maxPairs  = 32 // informers remembered of a service account
	maxShapes = 96 // kinds of requests remembered of an identity
	maxPlaces = 16 // networks remembered of an identity

	routineAge  = int64(time.Hour)
	listToWatch = int64(10 * time.Minute) // a reflector watches right after its list; a watch list renews within ten minutes
)

// routine is how an identity usually behaves.
type routine struct {
	Pairs  []informer // service accounts only
	Shapes []shape
	Places []placeUse // the first is its home
	Acting acting
}

// placeUse is the use of an identity from one network, whatever the credential.
type placeUse struct {
	Net         Network
	First, Last int64
}

// informer is a client that lists and then watches a resource, as client-go's
// reflectors do.
type informer struct {
	Client  uint64 // credential, pod and whole user agent
	Target  uint64 // group, resource, namespace
	Listed  int64
	Watched int64 // when the watch that followed a list began
	Stream  bool  // it lists by a watch that begins with the present state
}

// shape is one verb on one resource, or one action of a cloud service.
type shape struct {
	Hash        uint64
	First       int64 // first use in a service account's routine, 0 when it is none of it
	Established int64 // first use from an established place, 0 when there was none
	Last        int64
}

// identity returns the name under which e's actor is known over all its
// credentials, "" when the name says nothing. In the cloud that is a role where
// there is one: the names of its sessions are the caller's choice.
func identity(e *event.Event) string {
	switch e.Actor.Kind {
	case event.ActorAnonymous, event.ActorUnauthenticated:
		return ""
	}
	if e.Kind == event.KindCloudCall && e.Actor.Role != "" {
		return e.Actor.Role
	}
	return e.Actor.Name
}

// routineOf returns the routine of e's actor, nil when it has none.
func (inv *Inventory) routineOf(e *event.Event) *routine {
	if id := identity(e); id != "" {
		if r := inv.routines.get(inv.key("routine", id), inv.now); r != nil {
			return *r
		}
	}
	return nil
}

// controller reports whether a workload's service account does its routine from
// its own place.
func (inv *Inventory) controller(e *event.Event, c *credential) bool {
	f := &e.Facts.Actor
	if e.Kind != event.KindAPIRequest || e.Actor.Kind != event.ActorServiceAccount || f.System || f.PodMismatch || f.NewNetwork || c.Foreign ||
		inv.step.acting {
		return false
	}
	r := inv.step.routine
	if r == nil {
		return false
	}
	if e.Actor.PodUID != "" && r.informs(inv.client(e)) {
		return true
	}
	s := r.shape(inv.shapeOf(e))
	return s != nil && s.First != 0 && s.First <= e.Time-routineAge && inv.usualPlace(e, c)
}

func (inv *Inventory) client(e *event.Event) uint64 {
	return inv.hash(e.Actor.Credential, e.Actor.PodUID, e.Actor.Agent)
}

// shapeOf returns the step's hash of what kind of request e is.
func (inv *Inventory) shapeOf(e *event.Event) uint64 {
	if s := &inv.step; !s.shaped {
		s.shape, s.shaped = inv.hashShape(e), true
	}
	return inv.step.shape
}

// hashShape hashes what kind of request e is; one made as somebody else is of
// another kind than the identity's own.
func (inv *Inventory) hashShape(e *event.Event) uint64 {
	if e.Kind == event.KindCloudCall {
		return inv.hash("cloud", e.Cloud.Service, e.Cloud.Action)
	}
	as := "self"
	if e.Actor.Impersonated != "" {
		as = "other"
	}
	return inv.hash(as, e.K8s.Verb, e.K8s.Group, e.K8s.Resource, e.K8s.Subresource, reach(&e.K8s))
}

// reach tells kinds of a request apart that weigh differently: who deploys, or
// reads a team's secrets, every day, has not thereby run a pod with the powers of
// its node, or read everybody's.
func reach(r *event.Request) string {
	b := &r.Object
	switch {
	case b.HasPodSpec && (b.Privileged() || b.HostPID || b.HostIPC):
		return "node"
	case r.Resource == "secrets" && r.Verb == "list" && r.Namespace == "":
		return "everywhere"
	}
	return ""
}

// streamsOfRoutine is the number of streaming lists, each of another resource,
// that make a reflector without waiting for a renewal: one alone is what a
// one-shot read with a copied query looks like.
const streamsOfRoutine = 3

func (r *routine) informs(client uint64) bool {
	streams := 0
	for i := range r.Pairs {
		switch in := &r.Pairs[i]; {
		case in.Client != client:
		case in.Watched != 0:
			return true
		case in.Stream:
			streams++
		}
	}
	return streams >= streamsOfRoutine
}

func (r *routine) shape(h uint64) *shape {
	for i := range r.Shapes {
		if r.Shapes[i].Hash == h {
			return &r.Shapes[i]
		}
	}
	return nil
}

// usual reports whether the identity did such a thing before, from a place that
// was established then. What began within the window of the counters does not
// count: the first of a series must not make the rest of it usual.
func (inv *Inventory) usual(e *event.Event) bool {
	r := inv.step.habits
	if r == nil || e.Facts.Actor.System {
		return false
	}
	s := r.shape(inv.shapeOf(e))
	return s != nil && s.Established != 0 && s.Established <= e.Time-int64(window)
}

// established reports whether e comes from a place that its identity is at home
// in: the cluster for its machines, the identity's first network, one that is
// older than a week for it, or one that others vouch for. Call it before the
// place is learned.
func (inv *Inventory) established(e *event.Event) bool {
	f, p, r := &e.Facts.Actor, inv.step.place, inv.step.routine
	switch {
	case f.PodMismatch || f.NodeMismatch:
		return false
	case r == nil || len(r.Places) == 0:
		return true
	case !p.known():
		return false
	case inv.insideCluster(e):
		return true
	}
	for i := range r.Places {
		if u := &r.Places[i]; u.Net == p.net {
			if i == 0 || u.First <= e.Time-youngNetwork {
				return true
			}
			break
		}
	}
	return inv.vouched(e, p.net)
}

// usualPlace reports whether a place is as old as a routine must be. A pod's
// token has been checked against the pod's addresses already.
func (inv *Inventory) usualPlace(e *event.Event, c *credential) bool {
	p := inv.step.place
	if e.Actor.PodUID != "" || !p.known() {
		return true
	}
	if e.Actor.Credential == "" && p.private {
		return true
	}
	at := c.network(p.net)
	return at >= 0 && c.Networks[at].First <= e.Time-routineAge
}

// learnRoutine remembers where an identity works and what it does there.
func (inv *Inventory) learnRoutine(e *event.Event) {
	f, id := &e.Facts.Actor, identity(e)
	if id == "" || f.System || f.PodMismatch || f.NodeMismatch || !inv.step.counted {
		return
	}
	established := inv.established(e)
	if inv.step.routine == nil {
		inv.step.routine = *inv.routines.put(inv.key("routine", id), inv.now, &routine{})
	}
	r := inv.step.routine
	if inv.step.place.known() {
		r.notePlace(inv.step.place.net, e.Time)
		inv.learnHome(e, r)
	}
	inv.learnActing(e, r)
	r = inv.habitsOf(e)
	if e.Kind == event.KindAPIRequest {
		inv.learnRequestShape(r, e, established)
	} else if established && e.Cloud.Succeeded() {
		r.note(inv.shapeOf(e), e.Time, false, true)
	}
}

// learnRequestShape remembers what an identity does with the Kubernetes API. A
// token that a stranger issued teaches nothing about its service account.
func (inv *Inventory) learnRequestShape(r *routine, e *event.Event, established bool) {
	machine := e.Actor.Kind == event.ActorServiceAccount
	if !e.K8s.Succeeded() || machine && inv.step.cred.Foreign {
		return
	}
	regular := machine && !e.Facts.Actor.NewNetwork && !inv.step.acting
	if regular || established {
		r.note(inv.shapeOf(e), e.Time, regular, established)
	}
	if regular && (e.K8s.Verb == "list" || e.K8s.Verb == "watch") {
		inv.learnInformer(r, e)
	}
}

// note remembers a kind of request as part of a service account's routine, as
// done from an established place, or both. A full memory gives up what was never
// done from such a place first, and nothing else for what is not either.
func (r *routine) note(h uint64, t int64, regular, established bool) {
	s := r.shape(h)
	if s == nil {
		if s = r.room(established); s == nil {
			return
		}
		*s = shape{Hash: h}
	}
	s.Last = max(s.Last, t)
	if regular && s.First == 0 {
		s.First = t
	}
	if established && s.Established == 0 {
		s.Established = t
	}
}

// room returns the place for another shape, nil when there is none.
func (r *routine) room(established bool) *shape {
	if len(r.Shapes) < maxShapes {
		r.Shapes = append(r.Shapes, shape{})
		return &r.Shapes[len(r.Shapes)-1]
	}
	var out *shape
	for i := range r.Shapes {
		s := &r.Shapes[i]
		if s.Established != 0 && !established {
			continue
		}
		if out == nil || out.Established != 0 && s.Established == 0 || (out.Established == 0) == (s.Established == 0) && s.Last < out.Last {
			out = s
		}
	}
	return out
}

// notePlace remembers the use of a network; a full memory gives up the longest
// unused but the first.
func (r *routine) notePlace(n Network, t int64) {
	oldest := 1
	for i := range r.Places {
		p := &r.Places[i]
		if p.Net == n {
			p.Last = max(p.Last, t)
			return
		}
		if i > 0 && p.Last < r.Places[oldest].Last {
			oldest = i
		}
	}
	if len(r.Places) < maxPlaces {
		r.Places = append(r.Places, placeUse{n, t, t})
		return
	}
	r.Places = append(slices.Delete(r.Places, oldest, oldest+1), placeUse{n, t, t})
}

// learnInformer recognises a reflector: a list, or a watch that begins with the
// present state, and then a watch from the version it gave. A watch of one
// object by name is what kubectl's wait and rollout commands do.
func (inv *Inventory) learnInformer(r *routine, e *event.Event) {
	uri := e.K8s.URI
	named := e.K8s.Name != "" || strings.Contains(e.K8s.FieldSelector, "metadata.name")
	if named || e.Actor.PodUID == "" {
		return
	}
	target := inv.hash(e.K8s.Group, e.K8s.Resource, e.K8s.Namespace)
	in := r.informer(inv.client(e), target)
	switch {
	case e.K8s.Verb == "list":
		in.Listed = e.Time
	case strings.Contains(uri, "sendInitialEvents=true"):
		in.Listed = e.Time
		in.Stream = strings.Contains(uri, "allowWatchBookmarks=true")
	case !strings.Contains(uri, "allowWatchBookmarks=true") || !fromVersion(uri):
	case in.Listed != 0 && e.Time-in.Listed <= listToWatch:
		in.Watched = e.Time
	}
}

// informer returns the entry of a client and target, a new one in the place of the
// oldest when there is none.
func (r *routine) informer(client, target uint64) *informer {
	oldest := 0
	for i := range r.Pairs {
		in := &r.Pairs[i]
		if in.Client == client && in.Target == target {
			return in
		}
		if max(in.Listed, in.Watched) < max(r.Pairs[oldest].Listed, r.Pairs[oldest].Watched) {
			oldest = i
		}
	}
	if len(r.Pairs) < maxPairs {
		r.Pairs = append(r.Pairs, informer{})
		oldest = len(r.Pairs) - 1
	}
	r.Pairs[oldest] = informer{Client: client, Target: target}
	return &r.Pairs[oldest]
}

// fromVersion reports whether a URI asks for changes since a resource version,
// which only a list can have told.
func fromVersion(uri string) bool {
	const param = "resourceVersion="
	at := strings.Index(uri, param)
	return at >= 0 && at+len(param) < len(uri) && uri[at+len(param)] >= '1' && uri[at+len(param)] <= '9'
}
