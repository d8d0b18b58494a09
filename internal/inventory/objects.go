package inventory

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// ObjectKey names a Kubernetes object. The name belongs to one object at a time.
type ObjectKey struct{ Group, Resource, Namespace, Name string }

// Object is what the log showed of a Kubernetes object. Its strings and slices
// are the inventory's own and must not be changed; they stay valid.
type Object struct {
	Key     ObjectKey
	UID     string // "" when no record told it
	Created Origin // zero when its creation was not seen
	Born    int64  // when it was created, nanoseconds, also where only a later record told; 0 unknown
	Deleted int64  // when, nanoseconds; 0 while it exists
	Owner   Owner  // controlling owner, zero when none
	Pod     *PodFacts

	// ForgedOwner is set on a pod that claims a built-in controller as its owner
	// but was not created by it.
	ForgedOwner bool
}

// Owner is the controlling owner reference of an object.
type Owner struct{ Kind, Name, UID string }

// objectStore keeps objects by name, the latest of that name, and by UID, the
// deleted ones included for a while.
type objectStore struct {
	byName table[*Object]
	byUID  table[*Object]
	graves table[event.ID] // name keys of deleted objects by UID key, in order of deletion
}

func (s *objectStore) init(capacity int, ttl int64) {
	s.byName.init(capacity, ttl)
	s.byUID.init(capacity, ttl)
	s.graves.init(capacity, ttl)
}

func (s *objectStore) expire(now, graveyard int64) {
	s.byName.expire(now)
	s.byUID.expire(now)
	for e := s.graves.root.next; e != &s.graves.root && e.at < now-graveyard; e = s.graves.root.next {
		s.byUID.remove(e.key)
		if o, ok := s.byName.peek(e.val); ok && o.Deleted != 0 && o.Deleted < now-graveyard {
			s.byName.remove(e.val)
		}
		s.graves.drop(e)
	}
}

// untracked resources are not objects that anyone acts on later, or too many:
// events, leases and reviews.
func untracked(resource string) bool {
	switch resource {
	case "", "events", "leases", "tokenreviews", "subjectaccessreviews", "localsubjectaccessreviews",
		"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews":
		return true
	}
	return false
}

// nameKey is the key of a name. A namespace is cluster-wide, but the API server
// logs its own name as the namespace of every request for it but its creation.
func (inv *Inventory) nameKey(group, resource, namespace, name string) event.ID {
	if resource == "namespaces" && group == "" {
		namespace = ""
	}
	return inv.key("object", group, resource, namespace, name)
}

// live returns the object of a name as it is now, nil when none is known.
func (inv *Inventory) live(group, resource, namespace, name string) *Object {
	if name == "" {
		return nil
	}
	o := inv.objects.byName.get(inv.nameKey(group, resource, namespace, name), inv.now)
	if o == nil || (*o).Deleted != 0 {
		return nil
	}
	return *o
}

// uidOf returns the UID of the object a request is about, as far as known.
func (inv *Inventory) uidOf(r *event.Request) string {
	if o := inv.live(r.Group, r.Resource, r.Namespace, r.TargetName()); o != nil {
		return o.UID
	}
	return ""
}

// Object returns the object that has this name now. It is the inventory's own
// and changes with later events.
func (inv *Inventory) Object(k ObjectKey) (*Object, bool) {
	o, ok := inv.objects.byName.peek(inv.nameKey(k.Group, k.Resource, k.Namespace, k.Name))
	if !ok || o.Deleted != 0 {
		return nil, false
	}
	return o, true
}

// Pod returns the pod of this UID, as Object does.
func (inv *Inventory) Pod(uid string) (*Object, bool) {
	o, ok := inv.ObjectByUID(uid)
	return o, ok && o.Key.Group == "" && o.Key.Resource == "pods"
}

// ObjectByUID returns the object of this UID, as Object does, also for a while
// after its deletion.
func (inv *Inventory) ObjectByUID(uid string) (*Object, bool) {
	o := inv.byUID(uid)
	return o, o != nil
}

func (inv *Inventory) byUID(uid string) *Object {
	if uid == "" {
		return nil
	}
	// Asked for is in use: owners of today's pods are as old as they please.
	if o := inv.objects.byUID.get(inv.key("uid", uid), inv.now); o != nil {
		return *o
	}
	return nil
}

// maxOwners bounds the length of an owner chain: forged references may loop.
const maxOwners = 8

// TopOwner walks the controlling owners of the object of this UID and returns the
// last one: CronJob for Job for Pod, Deployment for ReplicaSet for Pod. It is
// false when the object is unknown or has no owner. Owners that the log does
// not show end the walk.
func (inv *Inventory) TopOwner(uid string) (Owner, bool) {
	o := inv.byUID(uid)
	if o == nil || o.Owner == (Owner{}) {
		return Owner{}, false
	}
	return inv.topOf(o.Owner, o.Key.Namespace), true
}

func (inv *Inventory) topOf(own Owner, namespace string) Owner {
	for range maxOwners {
		o := inv.byUID(own.UID)
		if o == nil {
			o = inv.builtinOwner(own, namespace)
		}
		if o == nil || o.Owner == (Owner{}) {
			break
		}
		own = o.Owner
	}
	return own
}

// builtinOwner finds an owner whose UID no record told by its name.
func (inv *Inventory) builtinOwner(own Owner, namespace string) *Object {
	for _, k := range builtinKinds {
		if k.kind != own.Kind {
			continue
		}
		if o, ok := inv.objects.byName.peek(inv.nameKey(k.group, k.resource, namespace, own.Name)); ok && (own.UID == "" || o.UID == "" || o.UID == own.UID) {
			return o
		}
	}
	return nil
}

// builtinKinds are the kinds that own pods, directly or not, with the service
// account of their controller.
var builtinKinds = []struct{ kind, group, resource, controller string }{
	{"ReplicaSet", "apps", "replicasets", "replicaset-controller"},
	{"DaemonSet", "apps", "daemonsets", "daemon-set-controller"},
	{"StatefulSet", "apps", "statefulsets", "statefulset-controller"},
	{"Job", "batch", "jobs", "job-controller"},
	{"Deployment", "apps", "deployments", "deployment-controller"},
	{"CronJob", "batch", "cronjobs", "cronjob-controller"},
	{"ReplicationController", "", "replicationcontrollers", "replication-controller"},
}

// learnObject updates the object that a successful request was about.
func (inv *Inventory) learnObject(e *event.Event) {
	r := &e.K8s
	name := r.TargetName()
	if name == "" || untracked(r.Resource) || r.Verb == "deletecollection" {
		return
	}
	k, o := inv.step.target, inv.step.object
	if !r.Mutates() {
		if o == nil {
			inv.add(k, e, name)
		}
		return
	}
	switch {
	case r.Verb == "delete" && r.Subresource == "":
		inv.bury(k, o, e)
		return
	case r.Verb == "create" && r.Subresource == "":
		o = inv.add(k, e, name)
		o.Created, o.Born = inv.origin(e), e.Time
	case o == nil:
		o = inv.add(k, e, name)
	}
	inv.refresh(o, e)
}

// current returns the object of a name, nil when the record shows by its UID that
// it is another one. One that was deleted stays current until another is
// created: it may take its time to go.
func (inv *Inventory) current(k event.ID, e *event.Event) *Object {
	p := inv.objects.byName.get(k, inv.now)
	if p == nil || (*p).Deleted != 0 && e.K8s.Verb == "create" && e.K8s.Subresource == "" {
		return nil
	}
	if uid := objectUID(&e.K8s); uid != "" && (*p).UID != "" && uid != (*p).UID {
		return nil
	}
	return *p
}

// objectUID returns the UID a record tells of its target.
func objectUID(r *event.Request) string {
	if r.Response.UID != "" && r.Subresource == "" {
		return r.Response.UID
	}
	if r.Subresource == "eviction" || r.Subresource == "token" {
		return ""
	}
	return r.UID
}

func (inv *Inventory) add(k event.ID, e *event.Event, name string) *Object {
	r := &e.K8s
	if before, ok := inv.objects.byName.peek(k); ok && before.UID != "" && before.Deleted == 0 {
		// Another object has the name, so this one is gone though its end was
		// not seen. Without a grave its UID would be kept as long as one in use.
		inv.objects.graves.put(inv.key("uid", before.UID), inv.now, k)
	}
	o := &Object{Key: ObjectKey{inv.keep(r.Group), inv.keep(r.Resource), inv.keep(r.Namespace), strings.Clone(name)}}
	inv.objects.byName.put(k, inv.now, o)
	inv.learnPlatform(r)
	inv.index(o, objectUID(r))
	return o
}

func (inv *Inventory) index(o *Object, uid string) {
	if uid == "" || o.UID != "" {
		return
	}
	o.UID = strings.Clone(uid)
	inv.objects.byUID.put(inv.key("uid", uid), inv.now, o)
}

// bury marks an object deleted. A delete of a pod or of an object with finalizers
// is a request to go; the name counts as free from then on.
func (inv *Inventory) bury(k event.ID, o *Object, e *event.Event) {
	if o == nil || o.Deleted != 0 {
		return
	}
	o.Deleted = e.Time
	inv.objects.graves.put(inv.key("uid", o.UID), inv.now, k)
	if o.Key.Resource == "pods" && o.Key.Group == "" {
		inv.forgetPod(o.UID)
	}
}

// refresh takes over what a mutating request tells of the object.
func (inv *Inventory) refresh(o *Object, e *event.Event) {
	r := &e.K8s
	inv.index(o, objectUID(r))
	b := &r.Response
	if !b.Present || b.Skipped || r.Subresource != "" && r.Subresource != "ephemeralcontainers" {
		b = &r.Object
	}
	if r.Subresource == "binding" && r.Resource == "pods" {
		if o.Pod != nil && r.Object.TargetNode != "" {
			o.Pod.Node = inv.keep(r.Object.TargetNode)
		}
		return
	}
	if r.Subresource != "" && r.Subresource != "ephemeralcontainers" && r.Subresource != "scale" {
		return
	}
	if o.Born == 0 && r.Response.UID != "" {
		o.Born = r.Response.Created
	}
	if c := b.Controller(); c != nil {
		o.Owner = Owner{inv.keep(c.Kind), inv.keep(c.Name), strings.Clone(c.UID)}
	}
	if r.Verb == "create" && r.Subresource == "" {
		o.ForgedOwner = e.Facts.Target.ForgedOwner
	}
	inv.learnTemplate(o, e)
}
