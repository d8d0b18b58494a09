package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"

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
