package inventory

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// window is the span of event time that the counters of "recent" facts cover.
const window = 10 * time.Minute

const (
	slots     = 10
	slotWidth = int64(window) / slots
)

// ring counts in minutes; its sum covers the last ten, the current one
// included.
type ring struct {
	Head int64 // number of the newest slot
	N    [slots]uint32
}

// add counts one at time t. What is older than the window is ignored.
func (r *ring) add(t int64) {
	slot := t / slotWidth
	r.roll(slot)
	if slot > r.Head-slots {
		r.N[index(slot)]++
	}
}

// sum returns the count of the window that ends at t, or at the newest event
// when t is older.
func (r *ring) sum(t int64) int {
	slot := t / slotWidth
	if r.Head <= slot-slots {
		return 0
	}
	r.roll(slot)
	n := 0
	for _, v := range r.N {
		n += int(v)
	}
	return n
}

func (r *ring) roll(slot int64) {
	if slot <= r.Head {
		return
	}
	for s := max(r.Head+1, slot-slots+1); s <= slot; s++ {
		r.N[index(s)] = 0
	}
	r.Head = slot
}

func index(slot int64) int64 { return (slot%slots + slots) % slots }

// exactMembers is how many distinct members are counted exactly.
const exactMembers = 64

// distinct counts the different members of the window: exactly up to
// exactMembers, beyond that by the smallest hashes kept (KMV estimate, about
// 13 % standard error).
type distinct struct {
	Members   []member
	Displaced int64 // time of the last member that found no room
}

type member struct {
	Hash uint64
	Last int64
}

// add counts hash at time t.
func (d *distinct) add(hash uint64, t int64) {
	largest := 0
	for i := range d.Members {
		m := &d.Members[i]
		if m.Hash == hash {
			m.Last = max(m.Last, t)
			return
		}
		if m.Hash > d.Members[largest].Hash {
			largest = i
		}
	}
	d.insert(member{hash, t}, largest)
}

func (d *distinct) insert(m member, largest int) {
	if len(d.Members) == exactMembers && d.prune(m.Last) > 0 {
		largest = d.largest()
	}
	switch {
	case len(d.Members) < exactMembers:
		d.Members = append(d.Members, m)
	case m.Hash < d.Members[largest].Hash:
		d.Displaced = max(d.Displaced, d.Members[largest].Last)
		d.Members[largest] = m
	default:
		d.Displaced = max(d.Displaced, m.Last)
	}
}

// prune removes what is older than the window that ends at t and returns how
// many went.
func (d *distinct) prune(t int64) int {
	kept := d.Members[:0]
	for _, m := range d.Members {
		if m.Last > t-int64(window) {
			kept = append(kept, m)
		}
	}
	gone := len(d.Members) - len(kept)
	d.Members = kept
	return gone
}

func (d *distinct) largest() int {
	at := 0
	for i := range d.Members {
		if d.Members[i].Hash > d.Members[at].Hash {
			at = i
		}
	}
	return at
}

// count returns the number of different members in the window that ends at t.
func (d *distinct) count(t int64) int {
	n, top := 0, uint64(0)
	for _, m := range d.Members {
		if m.Last > t-int64(window) {
			n++
			top = max(top, m.Hash)
		}
	}
	if d.Displaced <= t-int64(window) || n < 2 {
		return n
	}
	return max(n, int(float64(n-1)*(math.MaxUint64/float64(top))))
}

// The distinct counters of a credential.
const (
	listedResources = iota
	secretsRead
	deletes
	deletedKinds
	dataDeletes
	deletedNamespaces
	execs
	podLogs
	cloudServices
	distinctCount
)

// The plain counters of a credential.
const (
	requests = iota
	refusals
	secretLists
	rulesReviews
	cloudErrors
	ringCount
)

// activity is what a credential did in the last ten minutes.
type activity struct {
	Last  int64 // latest event, nanoseconds
	Rings [ringCount]ring
	Sets  [distinctCount]distinct
}

func (a *activity) count(which int, t int64) { a.Rings[which].add(t) }

func (a *activity) note(which int, hash uint64, t int64) { a.Sets[which].add(hash, t) }

func (a *activity) sum(which int, t int64) int { return a.Rings[which].sum(t) }

func (a *activity) distinct(which int, t int64) int { return a.Sets[which].count(t) }

// recentOf returns the counters of a credential, new ones when it has none.
func (inv *Inventory) recentOf(c *credential) *activity {
	if c.Recent == nil {
		c.Recent = &activity{}
		inv.busy = append(inv.busy, c)
	}
	return c.Recent
}

// rest drops the counters of credentials that did nothing for two windows: they
// count nothing any more, and are the larger part of a credential.
func (inv *Inventory) rest() {
	if inv.now-inv.rested < int64(window)/slots {
		return
	}
	inv.rested = inv.now
	inv.busy = slices.DeleteFunc(inv.busy, func(c *credential) bool {
		if c.Recent != nil && c.Recent.Last >= inv.now-2*int64(window) {
			return false
		}
		c.Recent = nil
		return true
	})
}

// countActivity counts e and fills the facts about recent activity. It runs
// after the target was described, as deletes by the control plane are cascades.
func (inv *Inventory) countActivity(e *event.Event) {
	inv.countAuthFailure(e)
	c := inv.step.history
	if c == nil {
		return
	}
	a, t := inv.recentOf(c), e.Time
	a.Last = max(a.Last, t)
	if inv.step.counted {
		a.count(requests, t)
		if e.Kind == event.KindCloudCall {
			inv.countCall(a, e)
		} else {
			inv.countRequest(a, e)
		}
	}
	f := &e.Facts.Actor
	f.Requests, f.Refusals = a.sum(requests, t), a.sum(refusals, t)
	f.SecretLists, f.RulesReviews = a.sum(secretLists, t), a.sum(rulesReviews, t)
	f.CloudErrors, f.CloudServices = a.sum(cloudErrors, t), a.distinct(cloudServices, t)
	f.ListedResources, f.SecretsRead = a.distinct(listedResources, t), a.distinct(secretsRead, t)
	f.Deletes, f.DeletedKinds = a.distinct(deletes, t), a.distinct(deletedKinds, t)
	f.DataDeletes = a.distinct(dataDeletes, t)
	f.Namespaces, f.Execs, f.PodLogs = a.distinct(deletedNamespaces, t), a.distinct(execs, t), a.distinct(podLogs, t)
}

func (inv *Inventory) countAuthFailure(e *event.Event) {
	failed := e.Kind == event.KindAPIRequest && e.K8s.Code == 401 && inv.step.counted
	if !inv.step.place.known() || !failed && inv.failures.len() == 0 {
		return
	}
	b := inv.step.place.addr.As16()
	r := inv.failures.get(event.ID(b), inv.now)
	if r == nil {
		if !failed {
			return
		}
		r = inv.failures.put(event.ID(b), inv.now, ring{})
	}
	if failed {
		r.add(e.Time)
	}
	e.Facts.Actor.AuthFailures = r.sum(e.Time)
}

func (inv *Inventory) countCall(a *activity, e *event.Event) {
	a.note(cloudServices, inv.hash(e.Cloud.Service), e.Time)
	if !e.Cloud.Succeeded() {
		a.count(cloudErrors, e.Time)
	}
}

func (inv *Inventory) countRequest(a *activity, e *event.Event) {
	r, t := &e.K8s, e.Time
	if r.Code == 403 {
		a.count(refusals, t)
	}
	if !r.Succeeded() {
		return
	}
	switch r.Verb {
	case "list":
		a.note(listedResources, inv.hash(r.Group, r.Resource), t)
		if r.Resource == "secrets" {
			a.count(secretLists, t)
		}
	case "delete", "deletecollection":
		inv.countDelete(a, e)
	}
	inv.countRead(a, e)
}

// countRead counts reads that take one object at a time and self reviews.
func (inv *Inventory) countRead(a *activity, e *event.Event) {
	r, t := &e.K8s, e.Time
	switch {
	case r.Resource == "secrets" && r.Verb == "get":
		a.note(secretsRead, inv.hash(r.Namespace, r.Name), t)
	case r.Resource == "pods" && (r.Subresource == "exec" || r.Subresource == "attach"):
		a.note(execs, inv.hash(r.Namespace, r.Name), t)
	case r.Resource == "pods" && r.Subresource == "log":
		a.note(podLogs, inv.hash(r.Namespace, r.Name), t)
	case r.Resource == "selfsubjectrulesreviews" || r.Resource == "selfsubjectaccessreviews":
		a.count(rulesReviews, t)
	}
}

func (inv *Inventory) countDelete(a *activity, e *event.Event) {
	r, t := &e.K8s, e.Time
	if e.Facts.Cascade || e.Facts.Actor.System || r.Subresource != "" {
		return
	}
	a.note(deletes, inv.hash(r.Group, r.Resource, r.Namespace, r.Name), t)
	a.note(deletedKinds, inv.hash(r.Group, r.Resource), t)
	if holdsData(r) {
		a.note(dataDeletes, inv.hash(r.Group, r.Resource, r.Namespace, r.Name), t)
	}
	if r.Group == "" && r.Resource == "namespaces" {
		a.note(deletedNamespaces, inv.hash(r.Name), t)
	}
}

// holdsData reports whether objects of a resource hold data or bring it back.
// Backup tools use the same few names in groups of their own.
func holdsData(r *event.Request) bool {
	switch r.Resource {
	case "persistentvolumeclaims", "persistentvolumes":
		return r.Group == ""
	case "statefulsets":
		return r.Group == "apps"
	case "schedules", "restores", "recoverypoints", "restorepoints":
		return r.Group != ""
	}
	if strings.HasSuffix(r.Resource, "classes") || r.Group == "" {
		return false // how snapshots are taken, not one of them
	}
	return strings.Contains(r.Resource, "backup") || strings.Contains(r.Resource, "snapshot")
}
