package inventory

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// maxAddresses bounds what is remembered of one pod or node.
const maxAddresses = 8

// podPlace is where a pod's token may come from.
type podPlace struct {
	Addrs    []netip.Addr // from the pod's status
	Accepted []netip.Addr // from earlier requests; a guess
	HostIP   netip.Addr   // from the pod's status
	Node     string
}

// nodePlace is where a node's requests may come from.
type nodePlace struct {
	Status []netip.Addr // from the Node's status
	Seen   []netip.Addr // from where its kubelet works: its own or its NAT gateway's address
}

// addressUse says whose address one is.
type addressUse struct {
	Nodes int      // nodes whose kubelets use it; more than one is a NAT gateway
	Pod   event.ID // pod that has it by its status
}

func addressKey(a netip.Addr) event.ID { return event.ID(a.As16()) }

// clusterAddress reports whether an address is known as a node's, a pod's or
// the control plane's.
func (inv *Inventory) clusterAddress(a netip.Addr) bool {
	_, ok := inv.addrs.peek(addressKey(a))
	return ok || inv.control.has(a)
}

func (inv *Inventory) node(name string) *nodePlace {
	if name == "" {
		return nil
	}
	if n := inv.nodes.get(inv.key("node", name), inv.now); n != nil {
		return *n
	}
	return nil
}

func (inv *Inventory) pod(uid string) *podPlace {
	if uid == "" {
		return nil
	}
	if p := inv.pods.get(inv.key("pod", uid), inv.now); p != nil {
		return *p
	}
	return nil
}

func (n *nodePlace) has(a netip.Addr) bool {
	return slices.Contains(n.Seen, a) || slices.Contains(n.Status, a)
}

func (n *nodePlace) empty() bool { return len(n.Seen)+len(n.Status) == 0 }

// nodeMismatch reports whether a node identity is used from another address
// than that node's. The first address of either family is the node's own; later
// ones are believed when other nodes' kubelets share them (a NAT gateway), and
// when the node registers anew.
func (inv *Inventory) nodeMismatch(e *event.Event) bool {
	p := inv.step.place
	if e.Kind != event.KindAPIRequest || e.Actor.Kind != event.ActorNode || !p.known() || p.loopback() {
		return false
	}
	n := inv.node(e.Actor.NodeName)
	if n == nil || n.has(p.addr) || !sameFamily(n.Seen, p.addr) || registers(e) {
		return false
	}
	u, _ := inv.addrs.peek(addressKey(p.addr))
	return u.Nodes < 2
}

// nodeElsewhere reports whether a certificate is asked for in the name of a node
// whose kubelet works at another address. Nodes that share one behind a NAT
// gateway cannot be told apart.
func (inv *Inventory) nodeElsewhere(e *event.Event) bool {
	name, ok := strings.CutPrefix(e.K8s.Object.CSRCommonName(), "system:node:")
	p := inv.step.place
	n := inv.node(name)
	if !ok || n == nil || !p.known() || p.loopback() || n.has(p.addr) || !sameFamily(n.Seen, p.addr) {
		return false
	}
	u, _ := inv.addrs.peek(addressKey(p.addr))
	return u.Nodes < 2
}

func registers(e *event.Event) bool {
	r := &e.K8s
	return r.Verb == "create" && r.Group == "" && r.Resource == "nodes" && r.Subresource == "" && r.Succeeded()
}

func sameFamily(as []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(as, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
}

// podMismatch reports whether a pod's token is used from neither the pod's nor
// its node's addresses. Without any knowledge of those a private address is the
// pod's own.
func (inv *Inventory) podMismatch(e *event.Event) bool {
	p := inv.step.place
	if e.Kind != event.KindAPIRequest || e.Actor.PodUID == "" || !p.known() || p.loopback() {
		return false
	}
	pod := inv.pod(e.Actor.PodUID)
	if pod != nil && pod.has(p.addr) {
		return false
	}
	node := inv.node(e.Actor.NodeName)
	if node == nil && pod != nil {
		node = inv.node(pod.Node)
	}
	if node != nil && node.has(p.addr) {
		return false
	}
	u, _ := inv.addrs.peek(addressKey(p.addr))
	switch {
	case u.Nodes > 1: // a NAT gateway of the cluster
		return false
	case u.Nodes == 1 && (node == nil || node.empty()): // perhaps its node
		return false
	case pod != nil && len(pod.Addrs) > 0:
		return true
	case u.Pod != (event.ID{}): // another pod's
		return true
	case pod != nil && sameFamily(pod.Accepted, p.addr):
		return !pod.near(p.net)
	}
	return p.public() || u.Nodes == 1
}

func (p *podPlace) has(a netip.Addr) bool {
	return slices.Contains(p.Addrs, a) || slices.Contains(p.Accepted, a) || a == p.HostIP
}

func (p *podPlace) near(n Network) bool {
	return slices.ContainsFunc(p.Accepted, func(a netip.Addr) bool { return networkOf(a) == n })
}

// learnPlaces remembers where control plane, nodes and pods send from.
func (inv *Inventory) learnPlaces(e *event.Event) {
	if e.Kind != event.KindAPIRequest || inv.step.place.loopback() {
		return
	}
	inv.learnControlPlane(e)
	switch {
	case e.Actor.Kind == event.ActorNode && !e.Facts.Actor.NodeMismatch:
		inv.learnNodeUse(e.Actor.NodeName)
	case e.Actor.PodUID != "" && !e.Facts.Actor.PodMismatch:
		inv.learnPodUse(e)
	}
}

func (inv *Inventory) learnNodeUse(name string) {
	a := inv.step.place.addr
	if name == "" {
		return
	}
	n := inv.nodeEntry(name)
	if slices.Contains(n.Seen, a) || len(n.Seen) == maxAddresses {
		return
	}
	n.Seen = append(n.Seen, a)
	inv.markNode(a)
}

func (inv *Inventory) nodeEntry(name string) *nodePlace {
	n := inv.node(name)
	if n == nil {
		n = *inv.nodes.put(inv.key("node", name), inv.now, &nodePlace{})
	}
	return n
}

func (inv *Inventory) podEntry(uid string) *podPlace {
	p := inv.pod(uid)
	if p == nil {
		p = *inv.pods.put(inv.key("pod", uid), inv.now, &podPlace{})
	}
	return p
}

func (inv *Inventory) markNode(a netip.Addr) {
	k := addressKey(a)
	u := inv.addrs.get(k, inv.now)
	if u == nil {
		u = inv.addrs.put(k, inv.now, addressUse{})
	}
	u.Nodes++
}

// learnPodUse takes a pod's first private address of each family for its own
// where its status is not known.
func (inv *Inventory) learnPodUse(e *event.Event) {
	a := inv.step.place.addr
	pod := inv.podEntry(e.Actor.PodUID)
	if pod.Node == "" && e.Actor.NodeName != "" {
		pod.Node = inv.keep(e.Actor.NodeName)
	}
	if pod.has(a) || len(pod.Addrs) > 0 || len(pod.Accepted) == maxAddresses || !inv.step.place.private {
		return
	}
	if u, ok := inv.addrs.peek(addressKey(a)); ok && u.Nodes > 0 {
		return // the node's, which says nothing of the pod's own
	}
	pod.Accepted = append(pod.Accepted, a)
	if k := addressKey(a); inv.addrs.get(k, inv.now) == nil {
		inv.addrs.put(k, inv.now, addressUse{})
	}
}

// learnAddresses takes addresses of pods and nodes from their status, and
// forgets those of deleted ones.
func (inv *Inventory) learnAddresses(e *event.Event) {
	r := &e.K8s
	if r.Group != "" || !r.Mutates() {
		return
	}
	switch {
	case r.Resource == "nodes" && (r.Verb == "delete" || registers(e)):
		inv.forgetNode(r.Name)
	case r.Resource == "nodes":
		inv.learnNodeStatus(e)
	case r.Resource == "pods" && r.Subresource == "binding":
		if r.UID != "" && r.Object.TargetNode != "" {
			inv.podEntry(r.UID).Node = inv.keep(r.Object.TargetNode)
		}
	case r.Resource == "pods":
		// The server's answer is the stored state; the request is believed
		// from those who know.
		if len(r.Response.PodIPs) > 0 || r.Response.NodeName != "" {
			inv.learnPodStatus(r, &r.Response)
		} else if e.Facts.Actor.System || e.Actor.Kind == event.ActorNode && !e.Facts.Actor.NodeMismatch {
			inv.learnPodStatus(r, &r.Object)
		}
	}
}

// learnNodeStatus believes a Node's addresses when its own kubelet or the
// control plane wrote them.
func (inv *Inventory) learnNodeStatus(e *event.Event) {
	r, trusted := &e.K8s, e.Facts.Actor.System
	trusted = trusted || e.Actor.Kind == event.ActorNode && e.Actor.NodeName == e.K8s.Name && !e.Facts.Actor.NodeMismatch
	b := &r.Response
	if len(b.NodeIPs) == 0 {
		b = &r.Object
	}
	if !trusted || len(b.NodeIPs) == 0 || r.Name == "" {
		return
	}
	n := inv.nodeEntry(r.Name)
	for _, s := range b.NodeIPs {
		a := placeOf(s).addr
		if a.IsValid() && !slices.Contains(n.Status, a) && len(n.Status) < maxAddresses {
			n.Status = append(n.Status, a)
			if !slices.Contains(n.Seen, a) {
				inv.markNode(a)
			}
		}
	}
}

func (inv *Inventory) forgetNode(name string) {
	n := inv.node(name)
	if n == nil {
		return
	}
	for _, a := range slices.Concat(n.Seen, n.Status) {
		if u := inv.addrs.get(addressKey(a), inv.now); u != nil {
			if u.Nodes--; u.Nodes <= 0 {
				inv.addrs.remove(addressKey(a))
			}
		}
	}
	inv.nodes.remove(inv.key("node", name))
}

func (inv *Inventory) learnPodStatus(r *event.Request, b *event.Body) {
	if len(b.PodIPs) == 0 && b.HostIP == "" && b.NodeName == "" {
		return
	}
	uid := podUID(r, b)
	if uid == "" {
		uid = inv.uidOf(r)
	}
	if uid == "" {
		return
	}
	pod := inv.podEntry(uid)
	if b.NodeName != "" {
		pod.Node = inv.keep(b.NodeName)
	}
	if a := placeOf(b.HostIP).addr; a.IsValid() {
		pod.HostIP = a
	}
	for _, s := range b.PodIPs {
		inv.learnPodAddress(pod, uid, placeOf(s).addr)
	}
}

func (inv *Inventory) learnPodAddress(pod *podPlace, uid string, a netip.Addr) {
	if !a.IsValid() || slices.Contains(pod.Addrs, a) {
		return
	}
	if len(pod.Addrs) == maxAddresses {
		pod.Addrs = pod.Addrs[1:]
	}
	pod.Addrs = append(pod.Addrs, a)
	k := addressKey(a)
	u := inv.addrs.get(k, inv.now)
	if u == nil {
		u = inv.addrs.put(k, inv.now, addressUse{})
	}
	if a != pod.HostIP {
		u.Pod = inv.key("pod", uid)
	}
}

// forgetPod frees a deleted pod's addresses, which the next pod may get.
func (inv *Inventory) forgetPod(uid string) {
	pod := inv.pod(uid)
	if pod == nil {
		return
	}
	k := inv.key("pod", uid)
	for _, a := range pod.Addrs {
		if u := inv.addrs.get(addressKey(a), inv.now); u != nil && u.Pod == k {
			u.Pod = event.ID{}
		}
	}
}

func podUID(r *event.Request, b *event.Body) string {
	if b.UID != "" {
		return b.UID
	}
	return r.UID
}

// PodAddresses returns the addresses a pod is known by, and whether they come
// from its status (exact) or from its own earlier requests (a guess). The
// slice belongs to the caller.
func (inv *Inventory) PodAddresses(uid string) (addrs []netip.Addr, exact bool) {
	p, ok := inv.pods.peek(inv.key("pod", uid))
	if !ok {
		return nil, false
	}
	if len(p.Addrs) > 0 {
		return slices.Clone(p.Addrs), true
	}
	return slices.Clone(p.Accepted), false
}

// NodeAddresses returns the addresses a node is known by: those of its status
// and those its kubelet sends from. The slice belongs to the caller.
func (inv *Inventory) NodeAddresses(name string) []netip.Addr {
	n, ok := inv.nodes.peek(inv.key("node", name))
	if !ok {
		return nil
	}
	out := slices.Clone(n.Status)
	for _, a := range n.Seen {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
