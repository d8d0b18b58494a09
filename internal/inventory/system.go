package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// role of a user in the control plane.
type duty uint8

const (
	noDuty     duty = iota
	controller      // a built-in controller's service account in kube-system
	component       // a component that runs on the control plane
	nodeAgent       // a component that runs on every node (kube-proxy)
)

const managerUser = "system:kube-controller-manager"

// maxControlAddresses bounds the addresses the control plane is known by.
const maxControlAddresses = 64

// controlPlane holds the addresses, loopback aside, from which the control plane's
// components were seen.
type controlPlane struct {
	Addrs   []netip.Addr
	Manager bool // the controller manager's own address is among them
}

func (c *controlPlane) has(a netip.Addr) bool { return slices.Contains(c.Addrs, a) }

func (c *controlPlane) anyPrivate() bool {
	return slices.ContainsFunc(c.Addrs, func(a netip.Addr) bool { return placeOf(a.String()).private })
}

// dutyOf classes an actor by its authenticated name. The name alone makes
// nobody genuine: see system.
func dutyOf(a *event.Actor) duty {
	switch a.Kind {
	case event.ActorComponent:
		if teaches, ok := bootstrap().components[a.Name]; ok {
			if teaches {
				return component
			}
			return nodeAgent
		}
	case event.ActorServiceAccount:
		if a.Namespace == "kube-system" && a.PodUID == "" && bootstrap().controllers[a.ServiceAccount] {
			return controller
		}
	}
	return noDuty
}

// system reports whether the actor is a genuine part of the control plane: its
// name says so, its credential was not issued by a stranger, and the request comes
// from a place the control plane uses. Where no such place is known yet a
// private address is believed.
func (inv *Inventory) system(e *event.Event, c *credential) bool {
	d := dutyOf(&e.Actor)
	if d == noDuty || c.Foreign {
		return false
	}
	p := inv.step.place
	if !p.known() || p.loopback() || inv.control.has(p.addr) {
		return true
	}
	switch d {
	case nodeAgent:
		return p.private || inv.clusterAddress(p.addr)
	case component:
		return inv.componentPlace(e, c)
	}
	// The controllers run inside the controller manager, so its own requests tell
	// where. Until there was one they are believed.
	return !inv.control.Manager && p.private && c.only(p.addr) && !inv.podAddress(p.addr)
}

// podAddress reports whether an address is a pod's by that pod's status.
func (inv *Inventory) podAddress(a netip.Addr) bool {
	u, _ := inv.addrs.peek(addressKey(a))
	return u.Pod != (event.ID{})
}

// componentPlace reports whether an address that the control plane was not seen at
// before is believed: control planes fail over and are replaced, with
// certificates of their own. A certificate that is in use elsewhere is not
// believed, and neither is a pod's address.
func (inv *Inventory) componentPlace(e *event.Event, c *credential) bool {
	p := inv.step.place
	if e.Actor.Credential != "" && !c.only(p.addr) {
		return false
	}
	if inv.podAddress(p.addr) {
		return false
	}
	return p.private || !inv.control.anyPrivate() && (len(inv.control.Addrs) == 0 || inv.clusterAddress(p.addr))
}

// only reports whether the credential was used from no other address than a
// and loopback.
func (c *credential) only(a netip.Addr) bool {
	for i := range c.Networks {
		if n := &c.Networks[i]; n.Net != loopback && n.Addr != a {
			return false
		}
	}
	return true
}

// learnControlPlane remembers the address of a genuine component.
func (inv *Inventory) learnControlPlane(e *event.Event) {
	p := inv.step.place
	if !e.Facts.Actor.System || e.Actor.Kind != event.ActorComponent || p.loopback() || dutyOf(&e.Actor) != component {
		return
	}
	if !inv.control.has(p.addr) && len(inv.control.Addrs) < maxControlAddresses {
		inv.control.Addrs = append(inv.control.Addrs, p.addr)
	}
	if e.Actor.Name == managerUser && inv.control.has(p.addr) {
		inv.control.Manager = true
	}
}

// certificateID returns the credential id of a certificate as the API server
// writes it, "" when it cannot be read.
func certificateID(b64 string) string {
	der := event.DecodePEM(b64)
	if der == nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return "X509SHA256=" + hex.EncodeToString(sum[:])
}

const (
	maxPairs  = 32 // informers remembered of a service account
	maxShapes = 96 // verb and resource pairs remembered of a service account

	routineAge  = int64(time.Hour)
	listToWatch = int64(10 * time.Minute) // a reflector watches right after its list; a watch list renews within ten minutes
)

// routine is how a service account usually behaves.
type routine struct {
	Pairs  []informer
	Shapes []shape
}

// informer is a client that lists and then watches a resource, as client-go's
// reflectors do.
type informer struct {
	Client  uint64 // credential and whole user agent
	Target  uint64 // group, resource, namespace
	Listed  int64
	Watched int64 // when the watch that followed a list began
	Stream  bool  // it lists by a watch that begins with the present state
}

// shape is one verb on one resource.
type shape struct {
	Hash        uint64
	First, Last int64
}

// controller reports whether a workload's service account does its routine from
// its own place.
func (inv *Inventory) controller(e *event.Event, c *credential) bool {
	f := &e.Facts.Actor
	if e.Kind != event.KindAPIRequest || e.Actor.Kind != event.ActorServiceAccount || f.System || f.PodMismatch || f.NewNetwork || c.Foreign {
		return false
	}
	r := inv.routines.get(inv.key("routine", e.Actor.Name), inv.now)
	if r == nil {
		return false
	}
	if e.Actor.PodUID != "" && (*r).informs(inv.client(e)) {
		return true
	}
	return (*r).usual(inv.shapeOf(e), e.Time) && inv.usualPlace(e, c)
}

func (inv *Inventory) client(e *event.Event) uint64 {
	return inv.hash(e.Actor.Credential, e.Actor.Agent)
}

func (inv *Inventory) shapeOf(e *event.Event) uint64 {
	return inv.hash(e.K8s.Verb, e.K8s.Group, e.K8s.Resource, e.K8s.Subresource)
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

func (r *routine) usual(h uint64, t int64) bool {
	for i := range r.Shapes {
		if s := &r.Shapes[i]; s.Hash == h {
			return s.First <= t-routineAge
		}
	}
	return false
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

// learnRoutine remembers what a service account does, where it was not used from a
// stranger's place.
func (inv *Inventory) learnRoutine(e *event.Event) {
	f := &e.Facts.Actor
	if e.Kind != event.KindAPIRequest || e.Actor.Kind != event.ActorServiceAccount || f.System || f.PodMismatch ||
		f.NewNetwork || inv.step.cred.Foreign || !inv.step.counted || !e.K8s.Succeeded() {
		return
	}
	k := inv.key("routine", e.Actor.Name)
	r := inv.routines.get(k, inv.now)
	if r == nil {
		r = inv.routines.put(k, inv.now, &routine{})
	}
	(*r).note(inv.shapeOf(e), e.Time)
	if e.K8s.Verb == "list" || e.K8s.Verb == "watch" {
		inv.learnInformer(*r, e)
	}
}

func (r *routine) note(h uint64, t int64) {
	oldest := 0
	for i := range r.Shapes {
		s := &r.Shapes[i]
		if s.Hash == h {
			s.Last = max(s.Last, t)
			return
		}
		if s.Last < r.Shapes[oldest].Last {
			oldest = i
		}
	}
	if len(r.Shapes) < maxShapes {
		r.Shapes = append(r.Shapes, shape{h, t, t})
		return
	}
	r.Shapes[oldest] = shape{h, t, t}
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
