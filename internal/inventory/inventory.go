// Package inventory knows what the cluster and the cloud account looked like at
// an event's time, learned from the log alone, and tells each event about it.
//
// Observe first fills its part of Event.Facts from what was known before the
// event, then learns from the event. What it keeps are credentials with their
// networks, agents and recent activity, objects with their creators and
// owners, addresses of pods and nodes, and the RBAC graph. The graph package
// asks for those by the read methods.
//
// # Time and bounds
//
// The only clock is the events' own time, so the same events give the same
// facts. Every table has a cap and a time to live; what was dropped is counted
// in Stats. Strings that are kept are copies: events may alias their input.
//
// # Concurrency
//
// An Inventory has one owner at a time.
package inventory

import (
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// Config bounds an Inventory. Zero values take the defaults.
type Config struct {
	Credentials int // credentials remembered, default 65536, some 20 MiB by the size of an entry
	Objects     int // Kubernetes objects remembered, default 131072, some 56 MiB by the size of an entry
	Pods        int // pods whose addresses are remembered, default 65536
	Nodes       int // nodes whose addresses are remembered, default 16384
	Grants      int // roles and bindings remembered, default 65536 each
	Shapes      int // request shapes seen allowed by older grants, default 65536
	Streams     int // streaming requests under way, default 65536

	// TTL is how long something is remembered after it was last seen; default
	// 30 days. Deleted objects are kept for Graveyard, default one hour.
	TTL       time.Duration
	Graveyard time.Duration
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&c.Credentials, 1 << 16},
		{&c.Objects, 1 << 17},
		{&c.Pods, 1 << 16},
		{&c.Nodes, 1 << 14},
		{&c.Grants, 1 << 16},
		{&c.Shapes, 1 << 16},
		{&c.Streams, 1 << 16},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.TTL <= 0 {
		c.TTL = 30 * 24 * time.Hour
	}
	if c.Graveyard <= 0 {
		c.Graveyard = time.Hour
	}
	return c
}

// Inventory is the state of cluster and cloud as the log showed it so far.
type Inventory struct {
	cfg   Config
	now   int64 // latest event time seen, nanoseconds
	swept int64 // event time of the last expiry
	h     event.Hasher
	names *event.Interner
	drops uint64 // times the interner was emptied

	streams  table[struct{}]
	creds    table[*credential]
	busy     []*credential // those that have counters
	rested   int64         // event time of the last look at busy
	failures table[ring]   // 401 answers by address
	routines table[*routine]
	homes    table[*home] // by network
	objects  objectStore
	pods     table[*podPlace]
	nodes    table[*nodePlace]
	addrs    table[addressUse]
	control  controlPlane
	platform []string // names of kube-system's workloads
	rbac     rbacGraph
	places   placeCache

	step step
}

// step holds what several parts of one Observe share.
type step struct {
	place   place
	cred    *credential
	routine *routine // of the identity, nil when it has none yet

	// A proxy has a history for each of the people it acts for, all others
	// have one. acting is set when e is a proxy's request for somebody.
	acting  bool
	history *credential
	habits  *routine // nil when there are none yet
	counted bool     // the event is something new that happened, not the end of it

	shape  uint64 // what kind of request it is; see shapeOf
	shaped bool

	target event.ID // name key of the object acted on, where it has a name
	object *Object  // that object as it was before, nil when not known
}

// New returns an empty Inventory that knows the default roles of Kubernetes.
func New(cfg Config) *Inventory {
	inv := &Inventory{cfg: cfg.withDefaults(), names: event.NewInterner()}
	inv.reset()
	return inv
}

// reset empties every table.
func (inv *Inventory) reset() {
	c, ttl := inv.cfg, int64(inv.cfg.TTL)
	inv.streams.init(c.Streams, ttl)
	inv.creds.init(c.Credentials, ttl)
	inv.creds.onDrop = func(c *credential) { c.Recent = nil } // busy holds it for a while
	inv.busy, inv.rested = nil, 0
	inv.failures.init(c.Credentials, int64(window))
	inv.routines.init(c.Credentials, ttl)
	inv.homes.init(c.Credentials, ttl)
	inv.objects.init(c.Objects, ttl)
	inv.pods.init(c.Pods, ttl)
	inv.nodes.init(c.Nodes, ttl)
	inv.addrs.init(c.Pods+c.Nodes, ttl)
	inv.control, inv.platform = controlPlane{}, nil
	inv.rbac.init(c.Grants, c.Shapes, ttl)
}

// Observe fills the inventory's part of e.Facts from the state before e, with
// e itself counted in the sliding windows, then learns from e. e.Session must
// be set. Nothing of e is retained.
func (inv *Inventory) Observe(e *event.Event) {
	inv.advance(e.Time)
	inv.step = step{place: inv.places.of(e.Actor.IP), counted: true}
	if e.Kind == event.KindAPIRequest {
		e.Facts.SessionEnd = inv.endsSession(e)
		inv.step.counted = !e.Facts.SessionEnd && e.K8s.Stage != event.StageRequestReceived
	}
	inv.describeActor(e)
	if e.Kind == event.KindAPIRequest {
		inv.observeRequest(e)
	} else {
		inv.learnIssuedKey(e)
	}
	inv.countActivity(e)
	if e.Kind != event.KindAPIRequest || e.K8s.Stage != event.StageRequestReceived {
		inv.learnActor(e) // what was only received is learned with its answer
	}
}

// observeRequest fills the facts about target, change and grant of a
// Kubernetes request and learns what it did.
func (inv *Inventory) observeRequest(e *event.Event) {
	inv.describeTarget(e)
	if !inv.step.counted {
		return
	}
	if e.K8s.Mutates() {
		inv.describeChange(e, inv.step.object)
		inv.describeGrant(e)
	}
	if !e.K8s.Succeeded() {
		return
	}
	inv.learnCredit(e)
	inv.learnAddresses(e)
	inv.learnObject(e)
	if e.K8s.Mutates() {
		inv.learnGrant(e)
		inv.learnIssue(e)
	}
}

// advance moves the clock and lets old entries expire, at most once a second
// of event time.
func (inv *Inventory) advance(t int64) {
	inv.now = max(inv.now, t)
	if inv.now-inv.swept < int64(time.Second) {
		return
	}
	inv.swept = inv.now
	inv.streams.expire(inv.now)
	inv.creds.expire(inv.now)
	inv.rest()
	inv.failures.expire(inv.now)
	inv.routines.expire(inv.now)
	inv.homes.expire(inv.now)
	inv.objects.expire(inv.now, int64(inv.cfg.Graveyard))
	inv.pods.expire(inv.now)
	inv.nodes.expire(inv.now)
	inv.addrs.expire(inv.now)
	inv.rbac.expire(inv.now)
}

// maxNames bounds the shared copies of user names, namespaces and the like.
const maxNames = 1 << 17

// keep returns a copy of s that does not alias the event. Equal strings share
// one copy as long as the interner holds it.
func (inv *Inventory) keep(s string) string {
	if s == "" {
		return ""
	}
	if inv.names.Len() >= maxNames {
		inv.names = event.NewInterner()
		inv.drops++
	}
	return inv.names.Intern(s)
}

// key hashes fields of one namespace of keys; tag tells the namespaces apart.
func (inv *Inventory) key(tag string, fields ...string) event.ID {
	inv.h.Reset()
	inv.h.Str(tag)
	for _, f := range fields {
		inv.h.Str(f)
	}
	return inv.h.Sum()
}

// Origin says which event did something to an object or made a grant.
type Origin struct {
	Session event.ID // the identity session
	User    string
	Time    int64 // nanoseconds; 0 when the log does not show it
	Event   event.ID
}

// Seen reports whether the log shows the origin.
func (o Origin) Seen() bool { return o.Time != 0 }

func (inv *Inventory) origin(e *event.Event) Origin {
	return Origin{Session: e.Session, User: inv.keep(e.Actor.Name), Time: e.Time, Event: e.ID}
}

// ageSeconds returns the whole seconds from since to t, -1 when since is unknown.
func ageSeconds(t, since int64) int {
	if since == 0 {
		return -1
	}
	return int(max(t-since, 0) / int64(time.Second))
}

func clone(ss []string) []string {
	if len(ss) == 0 {
		return nil
	}
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = strings.Clone(s)
	}
	return out
}
