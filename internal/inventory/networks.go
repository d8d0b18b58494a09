package inventory

import (
	"encoding/binary"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// youngNetwork is how long a network that is new for a credential or identity is
// held against it: waiting a day must not make a thief's network its owner's.
const youngNetwork = int64(7 * 24 * time.Hour)

// describeNetworks fills the facts about where the credential is used from.
func (inv *Inventory) describeNetworks(e *event.Event, c *credential) {
	f, p := &e.Facts.Actor, inv.step.place
	f.Networks = len(c.Networks) + c.Forgotten
	if !p.known() {
		return
	}
	at := c.network(p.net)
	if at < 0 {
		f.Networks++
	}
	if len(c.Networks) == 0 || at != 0 && inv.vouched(e, p.net) {
		return
	}
	inside := at >= 0 && c.Networks[at].Cluster || at < 0 && inv.insideCluster(e)
	f.Concurrent = inv.concurrent(e, c, at, inside)
	switch {
	case at < 0:
		f.NewNetwork = !inside && outsideBefore(c.Networks, e)
		if f.NewNetwork {
			f.NetworkAgeS = 0
		}
	case at > 0 && !inside && outsideBefore(c.Networks[:at], e):
		f.NetworkAgeS = ageSeconds(e.Time, c.Networks[at].First)
	}
	f.YoungNetwork = f.NetworkAgeS >= 0 && f.NetworkAgeS < int(youngNetwork/int64(time.Second))
}

// homeAge is how long an identity must have been seen in its first network before
// another one says much: shorter, and the log has just begun, or the address
// was a runner's that is gone.
const homeAge = int64(time.Hour)

// settled reports whether it is known where a credential, or its identity, is at
// home.
func (inv *Inventory) settled(c *credential) bool {
	if len(c.Networks) > 0 && c.Networks[0].Last-c.Networks[0].First >= homeAge {
		return true
	}
	r := inv.step.routine
	return r != nil && len(r.Places) > 0 && r.Places[0].Last-r.Places[0].First >= homeAge
}

// concurrent reports whether the credential was used from another network within
// the window. At home that does not count where others vouch for the other one:
// its owner is in the office.
func (inv *Inventory) concurrent(e *event.Event, c *credential, at int, inside bool) bool {
	for i := range c.Networks {
		n := &c.Networks[i]
		if i == at || e.Time-n.Last > int64(window) || n.Cluster && (inside || e.Kind == event.KindCloudCall) {
			continue
		}
		if at != 0 || !inv.vouched(e, n.Net) {
			return true
		}
	}
	return false
}

func (c *credential) network(n Network) int {
	for i := range c.Networks {
		if c.Networks[i].Net == n {
			return i
		}
	}
	return -1
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
	if e.Actor.Credential == "" && e.Actor.PodUID == "" && p.private {
		return true // one name stands for all pods of the service account
	}
	if e.Facts.Actor.PodMismatch || e.Facts.Actor.NodeMismatch {
		return false
	}
	return e.Actor.PodUID != "" && p.private || inv.clusterAddress(p.addr)
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

// dropNetwork forgets the longest unused network but the first: whoever changes
// networks all the time must not make one of them the first.
func (c *credential) dropNetwork() {
	oldest := 1
	for i := range c.Networks {
		if i > 0 && c.Networks[i].Last < c.Networks[oldest].Last {
			oldest = i
		}
	}
	c.Networks = append(c.Networks[:oldest], c.Networks[oldest+1:]...)
	c.Forgotten++
}

const (
	maxResidents   = 6 // people remembered of a network
	vouchersNeeded = 2 // other people at home there who make a network a common one
	visitorsNeeded = 3 // other people who use it, wherever they are at home: a VPN
)

// home is the people who use a network.
type home struct{ People []resident }

type resident struct {
	Who  uint64 // hash of the person
	Last int64  // latest use of the network
	Home bool   // it was first seen there
}

func homeKey(n Network) event.ID {
	var k event.ID
	binary.LittleEndian.PutUint64(k[:], uint64(n))
	return k
}

// resident hashes the person behind e: a role where there is one, as its sessions'
// names are the caller's choice.
func (inv *Inventory) resident(a *event.Actor) uint64 {
	if a.Role != "" {
		return inv.hash(a.Role)
	}
	return inv.hash(a.Name)
}

// vouched reports whether a network is a common place: at least two other people
// were first seen there (an office), or at least three use it (a VPN). Only
// people go there; a machine's credential in an office was taken there.
func (inv *Inventory) vouched(e *event.Event, n Network) bool {
	if e.Actor.Kind != event.ActorUser {
		return false
	}
	h, ok := inv.homes.peek(homeKey(n))
	if !ok {
		return false
	}
	self, others, residents := inv.resident(&e.Actor), 0, 0
	for _, p := range h.People {
		if p.Who != self && e.Time-p.Last <= int64(inv.cfg.TTL) {
			others++
			if p.Home {
				residents++
			}
		}
	}
	return residents >= vouchersNeeded || others >= visitorsNeeded
}

// learnHome remembers a person in a network. A credential whose issue the log
// shows does not count: people can be made up.
func (inv *Inventory) learnHome(e *event.Event, r *routine) {
	n := inv.step.place.net
	if e.Actor.Kind != event.ActorUser || inv.step.cred.Foreign || len(r.Places) == 0 {
		return
	}
	h := inv.homes.get(homeKey(n), inv.now)
	if h == nil {
		h = inv.homes.put(homeKey(n), inv.now, &home{})
	}
	(*h).note(inv.resident(&e.Actor), e.Time, r.Places[0].Net == n)
}

func (h *home) note(who uint64, t int64, resides bool) {
	oldest := 0
	for i := range h.People {
		p := &h.People[i]
		if p.Who == who {
			p.Last, p.Home = max(p.Last, t), p.Home || resides
			return
		}
		if p.Last < h.People[oldest].Last {
			oldest = i
		}
	}
	if len(h.People) < maxResidents {
		h.People = append(h.People, resident{who, t, resides})
		return
	}
	h.People[oldest] = resident{who, t, resides}
}
