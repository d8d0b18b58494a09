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
	Recent       activity
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

// credentialKey returns the key of the actor's credential; a user name stands
// for it where the log names none. It is false for an unauthenticated actor.
func (inv *Inventory) credentialKey(a *event.Actor) (event.ID, bool) {
	switch {
	case a.Credential != "" && (a.Name == "" || !strings.HasPrefix(a.Credential, "azure:")):
		return inv.key("credential", a.Credential), true
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
	c := inv.creds.get(k, inv.now)
	if c == nil {
		c = inv.creds.put(k, inv.now, &credential{})
	}
	inv.step.cred, inv.step.fresh = *c, (*c).First == 0
	f := &e.Facts.Actor
	f.FirstSeen = inv.step.fresh
	f.AgeS = (*c).age(e.Time)
	f.System = inv.system(e, *c)
	f.NodeMismatch = inv.nodeMismatch(e)
	f.PodMismatch = inv.podMismatch(e)
	inv.describeNetworks(e, *c)
	f.NewAgent = (*c).newAgent(e.Actor.Agent)
	f.Controller = inv.controller(e, *c)
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

func (inv *Inventory) describeNetworks(e *event.Event, c *credential) {
	f, p := &e.Facts.Actor, inv.step.place
	f.Networks = len(c.Networks) + c.Forgotten
	if !p.known() {
		return
	}
	at := c.network(p.net)
	inside := at >= 0 && c.Networks[at].Cluster || at < 0 && inv.insideCluster(e)
	outside := e.Kind != event.KindCloudCall
	for i := range c.Networks {
		n := &c.Networks[i]
		outside = outside || !n.Cluster
		if i != at && e.Time-n.Last <= int64(window) && (!n.Cluster || !inside && e.Kind != event.KindCloudCall) {
			f.Concurrent = true
		}
	}
	if at > 0 && !c.Networks[at].Cluster && outsideBefore(c.Networks[:at], e) {
		f.NetworkAgeS = ageSeconds(e.Time, c.Networks[at].First)
	}
	if at < 0 {
		f.Networks++
		f.NewNetwork = len(c.Networks) > 0 && !inside && outside
		if f.NewNetwork {
			f.NetworkAgeS = 0
		}
	}
}

func (c *credential) network(n Network) int {
	for i := range c.Networks {
		if c.Networks[i].Net == n {
			return i
		}
	}
	return -1
}

// insideCluster reports whether a machine's credential is used from one of the
// cluster's own places, between which it may move: pods restart on other
// nodes, addresses of pods are translated to those of nodes. People and outside
// machines have no such places.
func (inv *Inventory) insideCluster(e *event.Event) bool {
	p := inv.step.place
	if e.Kind == event.KindCloudCall {
		// A private address means a VPC endpoint: the same machine shows both
		// that address and its NAT gateway's.
		return p.private
	}
	switch e.Actor.Kind {
	case event.ActorServiceAccount, event.ActorNode, event.ActorComponent:
	default:
		return false
	}
	if p.loopback() || inv.control.has(p.addr) {
		return true
	}
	if e.Actor.Credential == "" && p.private {
		return true // one name stands for all pods of the service account
	}
	if e.Facts.Actor.PodMismatch || e.Facts.Actor.NodeMismatch {
		return false
	}
	return e.Actor.PodUID != "" && p.private || inv.clusterAddress(p.addr)
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
	if inv.step.place.known() {
		inv.learnPlaces(e)
		inv.learnNetwork(e, c)
	}
	inv.learnAgent(e, c)
	inv.learnRoutine(e)
}

func (inv *Inventory) learnNetwork(e *event.Event, c *credential) {
	p := inv.step.place
	at := c.network(p.net)
	if at < 0 {
		if len(c.Networks) == maxNetworks {
			c.dropNetwork()
		}
		c.Networks = append(c.Networks, networkUse{Net: p.net, First: e.Time, Cluster: inv.insideCluster(e)})
		at = len(c.Networks) - 1
	}
	n := &c.Networks[at]
	n.Addr, n.Last = p.addr, max(n.Last, e.Time)
}

func (c *credential) dropNetwork() {
	oldest := 0
	for i := range c.Networks {
		if c.Networks[i].Last < c.Networks[oldest].Last {
			oldest = i
		}
	}
	c.Networks = append(c.Networks[:oldest], c.Networks[oldest+1:]...)
	c.Forgotten++
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
	k := inv.key("credential", id)
	c := inv.creds.get(k, inv.now)
	if c == nil {
		c = inv.creds.put(k, inv.now, &credential{})
	}
	if (*c).Issued == 0 {
		(*c).Issued, (*c).Foreign = t, foreign
	}
}

// outsideBefore reports whether one of ns is a place outside the cluster. For
// Kubernetes requests every earlier network counts.
func outsideBefore(ns []networkUse, e *event.Event) bool {
	for i := range ns {
		if !ns[i].Cluster || e.Kind != event.KindCloudCall {
			return true
		}
	}
	return false
}
