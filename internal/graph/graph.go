// Package graph finds the causes between activities: which identity session an
// event belongs to, which unit (the entities below one barrier) it happens in,
// and which earlier unit led to it. It is deterministic: events in event-time
// order in, units and links out; no clock, no I/O, no goroutine.
//
// The keys a link rests on are those of the API audit log and the cloud logs:
// token ids, certificate hashes, secret names in annotations, object UIDs,
// owner references, pod UIDs, binding names, webhook names, access key ids.
// Names anyone can choose (user agents, Audit-ID, role session names, labels)
// are never keys.
package graph

import (
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
)

// Config bounds what a Graph remembers. Zero values mean the defaults.
type Config struct {
	// MaxEntities caps the entity table. The default is 4 Mi entities.
	MaxEntities int
	// MaxSessions caps identity sessions, credentials and their origins, each;
	// other tables have a half to an eighth of it. Up to twice as many are held
	// for some time. The default is 64 Ki.
	MaxSessions int
	// TTL is how long in event time the origin of a credential, the readers of a
	// secret and the like are remembered after they last mattered; default 30
	// days. Sessions end after an hour without a request, and are forgotten then.
	TTL time.Duration
}

func (c Config) withDefaults() Config {
	if c.MaxEntities == 0 {
		c.MaxEntities = 4 << 20
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 64 << 10
	}
	if c.TTL == 0 {
		c.TTL = 30 * 24 * time.Hour
	}
	return c
}

// origin is the session that brought a credential or object into being, in
// the form that outlives the session itself.
type origin struct {
	Unit      event.ID
	User      string
	Time      int64
	Native    bool // the control plane or a kubelet did it: ordinary
	Barrier   bool
	Ancestors []event.ID
	Users     []string
	Lineage   *lineage // of a cloud credential: how it was issued; never changed, nil for all others
	Label     string
	Approver  *origin // of a certificate: who approved the request
	Suspect   bool    // a lineage fact spoke against its session
	Joins     bool    // of a certificate request: an identity that nodes join with made it
	Made      bool    // of a secret: this origin created it rather than read it
	Listed    bool    // of a secret: it was one of a list
}

// Graph holds the sessions, units and origins. It is not safe for concurrent
// use.
type Graph struct {
	inv   *inventory.Inventory
	table *Table
	hash  event.Hasher
	names *event.Interner

	sessions recent[event.ID, *session] // by Base
	spans    recent[event.ID, Span]     // by session
	origins  recent[event.ID, origin]   // by credential key: how it came to be
	readers  recent[event.ID, []origin] // by secret, by namespace, and cluster-wide
	byCred   recent[event.ID, []peer]
	accounts recent[event.ID, []event.ID] // service account → units of its pods
	fetched  recent[event.ID, origin]     // network → who fetched cluster credentials from the cloud there
	access   recent[event.ID, origin]     // cloud principal → who gave it access to the cluster

	charts   recent[event.ID, bool]   // webhook configuration → came with its service and namespace
	who      recent[event.ID, string] // unit of a session → user and address
	acts     recent[event.ID, []Link] // unit → what was done to it lately, not reported yet
	weighty  recent[event.ID, bool]   // events that raised a flag of medium severity or above
	policies []policy

	swept   int64 // event time of the last sweep
	current *session
	target  target
	links   []Link
}

// New returns an empty Graph that reads object facts from inv, which must
// observe each event before Observe does.
func New(cfg Config, inv *inventory.Inventory) *Graph {
	cfg = cfg.withDefaults()
	n, ttl := cfg.MaxSessions, cfg.TTL
	return &Graph{
		inv: inv, table: NewTable(TableConfig{Max: cfg.MaxEntities}), names: event.NewInterner(),
		sessions: newRecent[event.ID, *session](n, time.Duration(sessionIdleNanos)), spans: newRecent[event.ID, Span](n, ttl), origins: newRecent[event.ID, origin](n, ttl),
		readers: newRecent[event.ID, []origin](n/2, ttl), byCred: newRecent[event.ID, []peer](n, ttl),
		accounts: newRecent[event.ID, []event.ID](n/8, ttl), fetched: newRecent[event.ID, origin](n/8, ttl), access: newRecent[event.ID, origin](n/8, ttl),
		charts: newRecent[event.ID, bool](n/8, ttl), weighty: newRecent[event.ID, bool](n/8, ttl),
		who: newRecent[event.ID, string](n, ttl), acts: newRecent[event.ID, []Link](n/2, ttl),
	}
}

// expire forgets what was not used for long.
func (g *Graph) expire(now int64) {
	g.sessions.expire(now)
	g.spans.expire(now)
	g.origins.expire(now)
	g.readers.expire(now)
	g.byCred.expire(now)
	g.accounts.expire(now)
	g.fetched.expire(now)
	g.access.expire(now)
	g.charts.expire(now)
	g.weighty.expire(now)
	g.who.expire(now)
	g.acts.expire(now)
}

// maxNames bounds the shared copies of user names, labels and the like.
const maxNames = 1 << 17

// keep returns a copy of s that does not alias the event. Equal strings share
// one copy as long as the interner holds it.
func (g *Graph) keep(s string) string {
	if g.names.Len() >= maxNames {
		g.names = event.NewInterner()
	}
	return g.names.Intern(s)
}

// Step is what one event added to the graph.
type Step struct {
	// Unit is the unit that flags on the event belong to.
	Unit event.ID
	// Links are the causes the event proved. The slice is valid until the next
	// Observe.
	Links []Link
}

// Observe adds e, whose session Identify set and whose inventory facts are
// filled, and fills the lineage facts.
func (g *Graph) Observe(e *event.Event) Step {
	s := g.current
	g.links, g.target = g.links[:0], target{}
	if s.Unit == (event.ID{}) {
		g.begin(s, e)
	}
	g.sweep(e.Time)
	g.describe(s, e)
	if e.Kind == event.KindCloudCall {
		g.observeCloud(s, e)
	} else {
		g.observeRequest(s, e)
	}
	return Step{Unit: g.unitOf(s, e), Links: g.links}
}

// begin gives a new session its unit and links it to what issued its
// credential.
func (g *Graph) begin(s *session, e *event.Event) {
	f := &e.Facts.Actor
	s.Foreign = f.YoungNetwork || f.PodMismatch || f.NodeMismatch
	s.Barrier = !s.Foreign && (f.System || f.Controller || e.Actor.Kind == event.ActorNode || e.Actor.Kind == event.ActorCloudService)
	s.Unit = s.Key
	pod := g.podUnit(e)
	if pod != (event.ID{}) && !f.PodMismatch {
		s.Unit = pod
		g.noteAccount(e.Actor.Namespace, e.Actor.ServiceAccount, pod)
	}
	g.table.Insert(s.Key, kindSession, g.tableParent(s), s.First)
	g.who.put(s.Unit, g.keep(e.Actor.Name+" from "+e.Actor.IP))
	if pod != (event.ID{}) && f.PodMismatch {
		g.link(s, pod, Link{Type: LinkPodToken, Grade: Exact, Strength: weightExact, Label: e.Actor.PodName})
	}
	g.linkOrigin(s, e)
	g.linkSameCredential(s, e)
	g.describe(s, e)
	if ref, ok := g.table.Get(s.Key); ok && e.Facts.Actor.Suspect {
		g.table.At(ref).Flags |= flagSuspect
	}
}

// tableParent returns the entity the session hangs below: its pod's unit.
func (g *Graph) tableParent(s *session) Ref {
	if s.Unit == s.Key {
		return Ref{}
	}
	ref, _ := g.table.Get(s.Unit)
	return ref
}

// describe fills the lineage facts that hold for every event of the session.
func (g *Graph) describe(s *session, e *event.Event) {
	f, l := &e.Facts.Actor, &s.Lineage
	f.MintedBy, f.MintedForeign, f.SecretReadBy = l.MintedBy, l.MintedForeign, l.SecretReadBy
	f.CertRequester, f.CertApprover, f.CertForeign = l.CertRequester, l.CertApprover, l.CertForeign
	f.IssuedVia, f.IssuedTo, f.IssuedToPod = l.IssuedVia, l.IssuedTo, l.IssuedToPod
	f.ForeignIssued = foreignIssued(l.IssuedNet, s.Net)
	f.NodeRole = e.Kind == event.KindCloudCall && (e.Cloud.InstanceID != "" || e.Cloud.RoleDelivery != "")
	if e.Actor.Kind != event.ActorServiceAccount || e.Actor.PodUID != "" || f.Settled {
		s.Settled = true
	}
	f.Suspect = s.suspect(f)
	if l.MintedForeign || f.Suspect {
		f.System, f.Controller = false, false
	}
	if f.Suspect { // what a stolen credential sets up is no installation
		e.Facts.Grants.SubjectNew, e.Facts.Grants.WebhookChart = false, false
	}
}

// suspect reports whether a lineage fact speaks against the credential. People
// travel and pipelines change their addresses: what they usually do is no
// reason for suspicion in a new network; what they never did before is.
func (s *session) suspect(f *event.ActorFacts) bool {
	if f.PodMismatch || f.NodeMismatch || f.SecretReadBy != "" || f.CertForeign {
		return true
	}
	if f.MintedForeign && strings.HasPrefix(f.MintedBy, event.ServiceAccountPrefix) {
		return true
	}
	return (s.Foreign && s.Settled || s.Tainted || f.ForeignIssued) && !f.Usual
}

// foreignIssued reports whether a credential issued to one network is used from
// another, both public: inside a cluster's own networks pods, endpoints and
// their NAT differ all the time.
func foreignIssued(issued, used inventory.Network) bool {
	return issued != used && issued.Public() && used.Public()
}

// unitOf returns the unit flags on e belong to: what a controller does belongs
// to the object it reconciles, everything else to the session.
func (g *Graph) unitOf(s *session, e *event.Event) event.ID {
	if !s.Barrier || e.Kind != event.KindAPIRequest || !e.K8s.Mutates() || e.Actor.Kind == event.ActorNode {
		return s.Unit
	}
	if u := g.objectUnit(e); u != (event.ID{}) {
		return u
	}
	return s.Unit
}

// sweepEvery is how often, in event time, a share of the entities is looked
// over for those that have outlived their use.
const (
	sweepEvery = int64(60e9)
	sweepShare = 60 // all of them in an hour
)

func (g *Graph) sweep(now int64) {
	if now-g.swept < sweepEvery {
		return
	}
	g.swept = now
	g.table.Sweep(now, g.table.Len()/sweepShare+1)
	g.expire(now)
}

// MarkFlagged keeps the entities of a unit that holds a flag, so that a slow
// story does not lose its beginning, and remembers events that were of medium
// weight or more.
func (g *Graph) MarkFlagged(unit, flagged event.ID, severity event.Severity) {
	if severity >= event.Medium {
		g.weighty.put(flagged, true)
	}
	if ref, ok := g.table.Get(unit); ok {
		g.table.MarkFlagged(ref)
	}
}

// Describe says whose a unit is: user and address of the session that began
// it; "" when it is none or forgotten.
func (g *Graph) Describe(unit event.ID) string {
	who, _ := g.who.get(unit)
	return who
}

// link records that from led to the session's unit.
func (g *Graph) link(s *session, from event.ID, l Link) {
	if from == s.Unit || from == (event.ID{}) {
		return
	}
	l.From, l.To, l.Time = from, s.Unit, s.Last
	l.Candidates = max(l.Candidates, 1)
	g.activate(from)
	g.links = append(g.links, l)
}

// linkTo notes that the session acted on another unit; see await.
func (g *Graph) linkTo(s *session, to event.ID, l Link) {
	if s.Barrier || to == s.Unit || to == (event.ID{}) || !s.due(to, l.Type, s.Last) {
		return
	}
	l.From, l.To, l.Time = s.Unit, to, s.Last
	g.await(l)
}

// originOf returns s in the form that is kept with what it brought about.
func (s *session) originOf(e *event.Event) origin {
	return origin{
		Unit: s.Unit, User: s.User, Time: e.Time, Barrier: s.Barrier, Ancestors: s.Ancestors, Users: s.Users, Suspect: e.Facts.Actor.Suspect,
		Native: e.Facts.Actor.System || e.Actor.Kind == event.ActorNode && !e.Facts.Actor.NodeMismatch,
	}
}
