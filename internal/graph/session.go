package graph

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
)

// sessionIdleNanos ends an identity session: one hour without a request.
const sessionIdleNanos = int64(3600e9)

// maxAncestors bounds how far up a session remembers what led to it; maxLinked
// how many links it remembers.
const (
	maxAncestors = 8
	maxLinked    = 64
)

// session is one actor with one credential from one network, until an hour
// passes without a request. Fields are exported for snapshots.
type session struct {
	Key     event.ID // changes when a new session begins
	Base    event.ID // credential and network
	Cred    event.ID // credential
	Unit    event.ID // unit that flags of this session belong to; zero until the first event was linked
	First   int64
	Last    int64
	User    string
	Net     inventory.Network
	Settled bool // people and pods, and machines whose home is known; see inventory
	Foreign bool // began from a network that is new for the credential
	Tainted bool // a suspect session led to it
	Barrier bool // nothing is inherited: control plane, nodes, routine controllers

	Lineage   lineage
	Ancestors []event.ID // units that led here, nearest first
	Users     []string   // their users
	Linked    []linked   // links it was part of, newest last
}

// lineage is what is known of how the session's credential came to be.
type lineage struct {
	MintedBy      string
	MintedForeign bool
	SecretReadBy  string
	CertRequester string
	CertApprover  string
	CertForeign   bool
	IssuedVia     string
	IssuedTo      string
	IssuedToPod   string
	IssuedNet     inventory.Network
}

// Identify sets e.Session. It must run before any other stage sees e.
func (g *Graph) Identify(e *event.Event) {
	cred := credentialKey(&g.hash, &e.Actor)
	if a := &e.Actor; a.Impersonated != "" && g.inv.Proxy(a.Name) {
		cred = proxiedKey(&g.hash, a)
	}
	net := g.inv.Network(e.Actor.IP)
	base := actorKey(&g.hash, cred, net)
	s, ok := g.sessions.get(base)
	if !ok || e.Time-s.Last > sessionIdleNanos {
		if ok {
			g.spans.put(s.Key, Span{Actor: base, First: s.First, Last: s.Last})
		}
		s = &session{Key: g.sessionKey(base, e.Time), Base: base, Cred: cred, First: e.Time, Last: e.Time, Net: net, User: g.keep(e.Actor.Name)}
		g.sessions.put(base, s)
		g.spans.put(s.Key, Span{Actor: base, First: s.First})
	}
	s.Last = max(s.Last, e.Time)
	e.Session = s.Key
	g.current = s
}

func (g *Graph) sessionKey(base event.ID, start int64) event.ID {
	g.hash.Reset()
	g.hash.ID(base)
	g.hash.Int(start)
	return g.hash.Sum()
}

// linked is a link a session was part of lately.
type linked struct {
	Unit event.ID
	Type LinkType
	Last int64
}

// relinkAfter is how often, in event time, the same link is reported again. A
// later act can be what carries evidence on, so once is not enough.
const relinkAfter = int64(10e9)

// due reports whether a link between s and unit is to be reported now, and
// notes it.
func (s *session) due(unit event.ID, typ LinkType, now int64) bool {
	for i := range s.Linked {
		l := &s.Linked[i]
		if l.Unit != unit || l.Type != typ {
			continue
		}
		if now-l.Last < relinkAfter {
			return false
		}
		l.Last = now
		return true
	}
	if len(s.Linked) >= maxLinked {
		s.Linked = append(s.Linked[:0], s.Linked[maxLinked/2:]...)
	}
	s.Linked = append(s.Linked, linked{unit, typ, now})
	return true
}

// inherit notes that an origin led to s.
func (s *session) inherit(o origin) {
	s.Tainted = s.Tainted || o.Suspect
	for _, u := range append([]event.ID{o.Unit}, o.Ancestors...) {
		if len(s.Ancestors) < maxAncestors && u != (event.ID{}) && u != s.Unit && !slices.Contains(s.Ancestors, u) {
			s.Ancestors = append(s.Ancestors, u)
		}
	}
	for _, u := range append([]string{o.User}, o.Users...) {
		if len(s.Users) < maxAncestors && u != "" && !slices.Contains(s.Users, u) {
			s.Users = append(s.Users, u)
		}
	}
}

// grantedItself reports whether a grant made by user in unit is the session's
// own doing: by itself, or by a service account that led to it. A person who
// sets up an account for a machine is not: binding it and minting its token is
// how that is done.
func (s *session) grantedItself(unit event.ID, user string) bool {
	if unit == s.Unit || user == s.User {
		return true
	}
	return strings.HasPrefix(user, event.ServiceAccountPrefix) && (slices.Contains(s.Ancestors, unit) || slices.Contains(s.Users, user))
}
