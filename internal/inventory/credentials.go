package inventory

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

const (
	maxNetworks = 16 // networks remembered of a credential
	maxAgents   = 16 // user-agent families remembered of a credential
)

// credential is what is known of one credential, or of one user name where the
// log names no credential.
type credential struct {
	First        int64 // first use; 0 when it was only seen being issued
	FirstSession event.ID
	Issued       int64
	Foreign      bool // issued by something else than the control plane's own issuers
	Networks     []networkUse
	Forgotten    int // networks dropped for space
	Agents       []agentUse
	Recent       *activity // nil when nothing was done within the window; see rest
}

type networkUse struct {
	Net         Network
	Addr        netip.Addr // the latest
	First, Last int64
	Cluster     bool // the cluster's own: a pod's, a node's, the control plane's
}

type agentUse struct {
	Hash   uint64
	Family string
	Last   int64
}

// Credential is what the inventory knows of a credential.
type Credential struct {
	FirstSeen    int64 // nanoseconds, 0 when it was only seen being issued
	FirstSession event.ID
	Issued       int64        // when the log shows it being issued, else 0
	Networks     []NetworkUse // up to 16
	Agents       []string     // user-agent families, up to 16
}

// NetworkUse is the use of a credential from one network.
type NetworkUse struct {
	Network     string // CIDR, or "loopback"
	First, Last int64  // nanoseconds
	Cluster     bool   // the address was known as a pod's, a node's or the control plane's
}

// Credential returns what is known of a credential by its id as in
// Actor.Credential. The result belongs to the caller.
func (inv *Inventory) Credential(id string) (Credential, bool) {
	p, ok := inv.creds.peek(inv.key("credential", id))
	if !ok {
		return Credential{}, false
	}
	out := Credential{FirstSeen: p.First, FirstSession: p.FirstSession, Issued: p.Issued}
	for _, n := range p.Networks {
		out.Networks = append(out.Networks, NetworkUse{Network: n.Net.String(), First: n.First, Last: n.Last, Cluster: n.Cluster})
	}
	for _, a := range p.Agents {
		out.Agents = append(out.Agents, a.Family)
	}
	return out, true
}

// credentialKey returns the key of the actor's credential. Where the log names
// none the pod that a token is bound to stands for it, so that two pods of one
// service account stay two, and then the user name. It is false for an
// unauthenticated actor.
func (inv *Inventory) credentialKey(a *event.Actor) (event.ID, bool) {
	switch {
	case a.Kind == event.ActorUser && strings.HasPrefix(a.Credential, "JTI="):
		// A person's token lives for an hour: it is the person who is known.
		return inv.key("user", a.Name), true
	case a.Credential != "" && (a.Name == "" || !strings.HasPrefix(a.Credential, "azure:")):
		return inv.key("credential", a.Credential), true
	case a.Credential == "" && a.PodUID != "":
		return inv.key("pod credential", a.PodUID), true
	case a.Name != "":
		return inv.key("user", a.Name), true
	}
	return event.ID{}, false
}

// hash returns a 64-bit hash of fields.
func (inv *Inventory) hash(fields ...string) uint64 {
	inv.h.Reset()
	for _, f := range fields {
		inv.h.Str(f)
	}
	sum := inv.h.Sum()
	return binary.LittleEndian.Uint64(sum[:])
}

// describeActor fills the lineage facts of e's credential and sets up the step.
func (inv *Inventory) describeActor(e *event.Event) {
	k, ok := inv.credentialKey(&e.Actor)
	if !ok {
		return
	}
	c := inv.credentialAt(k)
	inv.step.cred, inv.step.routine = c, inv.routineOf(e)
	f := &e.Facts.Actor
	f.FirstSeen = c.First == 0
	f.AgeS = c.age(e.Time)
	f.System = inv.system(e, c)
	f.NodeMismatch = inv.nodeMismatch(e)
	f.PodMismatch = inv.podMismatch(e)
	inv.describeNetworks(e, c)
	f.Settled = inv.settled(c)
	f.Proxy = inv.proxy(e)
	inv.chooseHistory(e, k)
	f.NewAgent = !f.Proxy && c.newAgent(e.Actor.Agent)
	f.Controller = inv.controller(e, c)
	f.Usual = inv.usual(e)
}

// credentialAt returns the entry of a key, a new one when there is none.
func (inv *Inventory) credentialAt(k event.ID) *credential {
	if c := inv.creds.get(k, inv.now); c != nil {
		return *c
	}
	return *inv.creds.put(k, inv.now, &credential{})
}

// age returns the seconds since the credential was issued or first used: 0 on
// a first use whose issue was not seen.
func (c *credential) age(t int64) int {
	switch {
	case c.Issued != 0:
		return ageSeconds(t, c.Issued)
	case c.First != 0:
		return ageSeconds(t, c.First)
	}
	return 0
}

// agentHash hashes the family of a user agent without allocating.
func agentHash(agent string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(agent); i++ {
		b := agent[i]
		if b == '/' || b == ' ' || b == '(' {
			break
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

func (c *credential) newAgent(agent string) bool {
	return agent != "" && len(c.Agents) > 0 && c.agent(agentHash(agent)) < 0
}

func (c *credential) agent(h uint64) int {
	for i := range c.Agents {
		if c.Agents[i].Hash == h {
			return i
		}
	}
	return -1
}

// learnActor remembers from where and with what the credential was used.
func (inv *Inventory) learnActor(e *event.Event) {
	c := inv.step.cred
	if c == nil {
		return
	}
	if c.First == 0 {
		c.First, c.FirstSession = e.Time, e.Session
	}
	inv.learnRoutine(e) // its place is judged by what was known before
	if inv.step.place.known() {
		inv.learnPlaces(e)
		inv.learnNetwork(e, c)
	}
	inv.learnAgent(e, inv.step.history)
}

func (inv *Inventory) learnAgent(e *event.Event, c *credential) {
	if e.Actor.Agent == "" {
		return
	}
	h := agentHash(e.Actor.Agent)
	if at := c.agent(h); at >= 0 {
		c.Agents[at].Last = max(c.Agents[at].Last, e.Time)
		return
	}
	a := agentUse{Hash: h, Family: inv.keep(event.AgentFamily(e.Actor.Agent)), Last: e.Time}
	if len(c.Agents) < maxAgents {
		c.Agents = append(c.Agents, a)
		return
	}
	oldest := 0
	for i := range c.Agents {
		if c.Agents[i].Last < c.Agents[oldest].Last {
			oldest = i
		}
	}
	c.Agents[oldest] = a
}

// learnIssue remembers when a token or certificate was issued, and whether a
// genuine issuer did it.
func (inv *Inventory) learnIssue(e *event.Event) {
	r := &e.K8s
	switch {
	case r.IssuedCredential != "":
		genuine := e.Facts.Actor.System || e.Actor.Kind == event.ActorNode && !e.Facts.Actor.NodeMismatch
		inv.issued(r.IssuedCredential, e.Time, !genuine)
	case r.Resource == "certificatesigningrequests" && r.Response.CSRCert != "":
		// The control plane's own certificates never come from the CSR API.
		if id := certificateID(r.Response.CSRCert); id != "" {
			inv.issued(id, e.Time, true)
		}
	}
}

// learnIssuedKey remembers when a cloud call handed out a credential.
func (inv *Inventory) learnIssuedKey(e *event.Event) {
	if e.Cloud.IssuedKey != "" && e.Cloud.Succeeded() {
		inv.issued(e.Cloud.IssuedCredential(), e.Time, true)
	}
}

func (inv *Inventory) issued(id string, t int64, foreign bool) {
	if c := inv.credentialAt(inv.key("credential", id)); c.Issued == 0 {
		c.Issued, c.Foreign = t, foreign
	}
}
