package graph

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/inventory"
)

// observeCloud finds the causes a cloud call carries: credentials it issued,
// cluster access it gave or fetched (L21-L23).
func (g *Graph) observeCloud(s *session, e *event.Event) {
	c := &e.Cloud
	if !c.Succeeded() {
		return
	}
	if c.IssuedKey != "" {
		g.origins.put(g.key(c.IssuedCredential()), g.cloudOrigin(s, e))
	}
	if principal := grantedPrincipal(c); principal != "" {
		g.access.put(g.key("principal", principal), s.originOf(e))
	}
	g.noteMembers(s, e)
	if runsCommand(c) {
		g.fetched.put(g.key("aks-command"), s.originOf(e))
	}
	if fetchesClusterCredential(c) {
		g.fetched.put(g.networkKey(s), s.originOf(e))
	}
}

// noteMembers remembers whom a policy change gave access that is no administrator's
// daily work: people from outside, or anybody where a suspect credential made it.
func (g *Graph) noteMembers(s *session, e *event.Event) {
	for _, name := range e.OutsideMembers() {
		g.access.put(g.key("principal", name), s.originOf(e))
	}
	if !e.Facts.Actor.Suspect {
		return
	}
	e.Cloud.GrantedMembers(func(member string) bool {
		_, name, _ := strings.Cut(member, ":")
		g.access.put(g.key("principal", name), s.originOf(e))
		return true
	})
}

// cloudOrigin says how a cloud credential was issued.
func (g *Graph) cloudOrigin(s *session, e *event.Event) origin {
	c := &e.Cloud
	o := s.originOf(e)
	o.Barrier = false
	o.Label = g.keep(c.IssuedRole)
	l := lineage{IssuedVia: issuedVia(c), IssuedTo: s.User, IssuedNet: s.Net}
	l.IssuedToPod = g.keep(podOf(c))
	// A workload of the cluster has a place; a pipeline elsewhere has not.
	o.Suspect = o.Suspect || s.Foreign && l.IssuedToPod != ""
	o.Lineage = &l
	return o
}

// podOf returns the service account or pod a cloud identity stands for, "" when
// it is none of the cluster's.
func podOf(c *event.CloudCall) string {
	if namespace, name, ok := event.SplitServiceAccount(c.WebIdentity); ok {
		return namespace + "/" + name
	}
	if c.PodSA != "" {
		return c.PodNamespace + "/" + c.PodSA
	}
	if c.PodName != "" {
		return c.PodNamespace + "/" + c.PodName
	}
	return ""
}

// noteIdentity fills the lineage of cloud sessions that carry it themselves:
// instance roles and Google's workload identities, whose first place is taken
// as the one they were issued to.
func (g *Graph) noteIdentity(s *session, e *event.Event) {
	c := &e.Cloud
	switch {
	case c.InstanceID != "":
		s.Lineage.IssuedVia, s.Lineage.IssuedTo = "instance", g.keep(c.InstanceID)
	case c.WebIdentity != "" && c.Provider == "gcp":
		k := g.key("federation", e.Actor.Name, c.WebIdentity)
		o, ok := g.origins.get(k)
		if !ok {
			o = s.originOf(e)
			o.Lineage = &lineage{IssuedVia: "federation", IssuedToPod: g.keep(podOf(c)), IssuedNet: s.Net}
			g.origins.put(k, o)
		}
		s.Lineage = *o.Lineage
		if o.Unit != s.Unit {
			g.link(s, o.Unit, Link{Type: LinkSameCredential, Grade: Strong, Strength: weightForeign, Label: s.Lineage.IssuedToPod})
		}
	}
}

func issuedVia(c *event.CloudCall) string {
	if c.InvokedBy == "pods.eks.amazonaws.com" {
		return "pod-identity"
	}
	switch c.Action {
	case "AssumeRoleWithWebIdentity":
		return "web-identity"
	case "AssumeRoleForPodIdentity":
		return "pod-identity"
	case "AssumeRole":
		return "assume-role"
	case "AssumeRoleWithSAML", "GetFederationToken":
		return "federation"
	}
	return "key"
}

// linkCloudOrigin links a new session with the pods whose identity it is, and
// with whoever gave its principal access to the cluster.
func (g *Graph) linkCloudOrigin(s *session, e *event.Event) {
	g.linkPodIdentity(s, e)
	if e.Kind != event.KindAPIRequest {
		g.noteIdentity(s, e)
		if e.Cloud.Provider == "gcp" {
			g.linkAccess(s, e.Actor.Name)
		}
		return
	}
	g.linkAccess(s, e.Actor.ARN, e.Actor.Role, e.Actor.UID, e.Actor.Name)
	if o, ok := g.fetched.get(g.networkKey(s)); ok && e.Facts.Actor.FirstSeen && e.Time-o.Time < sessionIdleNanos {
		g.link(s, o.Unit, Link{Type: LinkCloudAccess, Grade: Strong, Strength: weightFetched, Label: "cluster credential"})
		s.inherit(o)
	}
}

// linkAccess links a session with whoever gave one of its principals access from
// the cloud: an EKS access entry, a role of Google Cloud.
func (g *Graph) linkAccess(s *session, principals ...string) {
	for _, principal := range principals {
		if principal == "" {
			continue
		}
		if o, ok := g.access.get(g.key("principal", principalName(principal))); ok && !o.Barrier {
			g.link(s, o.Unit, Link{Type: LinkCloudAccess, Grade: Strong, Strength: weightModified, Label: g.keep(principal)})
			s.inherit(o)
			break
		}
	}
}

// linkPodIdentity links a cloud session with the pod or service account it
// acts for. Only Pod Identity names the pod; a web identity names the account,
// so its live workloads share the link.
func (g *Graph) linkPodIdentity(s *session, e *event.Event) {
	c := &e.Cloud
	if c.PodUID != "" || c.PodName != "" {
		o, ok := g.inv.ObjectByUID(c.PodUID)
		if !ok {
			o, ok = g.inv.Object(inventory.ObjectKey{Resource: "pods", Namespace: c.PodNamespace, Name: c.PodName})
		}
		if ok {
			g.link(s, g.entity(o, e.Time), Link{Type: LinkCloudIdentity, Grade: Exact, Strength: weightExact, Label: g.keep(c.PodNamespace + "/" + c.PodName)})
			return
		}
	}
	namespace, name, ok := event.SplitServiceAccount(c.WebIdentity)
	if !ok {
		return
	}
	units, _ := g.accounts.get(g.key("account", namespace, name))
	for _, u := range units {
		g.link(s, u, Link{
			Type: LinkCloudIdentity, Grade: Heuristic, Strength: weightByAccount / float64(len(units)),
			Candidates: len(units), Label: g.keep(namespace + "/" + name),
		})
	}
}

func (g *Graph) networkKey(s *session) event.ID {
	g.hash.Reset()
	g.hash.Str("network")
	g.hash.ID(s.Net.Prefix().Addr().As16())
	return g.hash.Sum()
}

// grantedPrincipal returns the principal an EKS access entry or policy
// association names.
func grantedPrincipal(c *event.CloudCall) string {
	switch c.Action {
	case "CreateAccessEntry", "AssociateAccessPolicy", "UpdateAccessEntry":
	default:
		return ""
	}
	for _, p := range c.Params {
		if arn, ok := strings.CutPrefix(p, "principalArn="); ok {
			return principalName(arn)
		}
	}
	return ""
}

// principalName reduces an ARN to what access entries and assumed-role
// sessions have in common: account and role or user name.
// arn:aws:sts::1:assumed-role/Admin/bob and arn:aws:iam::1:role/path/Admin
// both give "1:Admin".
func principalName(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return arn
	}
	path := strings.Split(parts[5], "/")
	name := path[len(path)-1]
	if path[0] == "assumed-role" && len(path) > 1 {
		name = path[1]
	}
	return parts[4] + ":" + name
}

// fetchesClusterCredential reports whether the call hands out a credential for
// a cluster.
func fetchesClusterCredential(c *event.CloudCall) bool {
	a := strings.ToLower(c.Action)
	return strings.HasSuffix(a, "/listclusteradmincredential/action") || strings.HasSuffix(a, "/listclusterusercredential/action")
}

// runsCommand reports whether the call runs a command in an AKS cluster: it
// appears there as a pod command-… in the namespace aks-command.
func runsCommand(c *event.CloudCall) bool {
	return strings.HasSuffix(strings.ToLower(c.Action), "managedclusters/runcommand/action")
}

// commandDelayNanos is how long after the call its pod may appear.
const commandDelayNanos = int64(120e9)

// linkRunCommand links the pod of an AKS run command with the call.
func (g *Graph) linkRunCommand(unit event.ID, e *event.Event) {
	if e.K8s.Resource != "pods" || e.K8s.Namespace != "aks-command" {
		return
	}
	o, ok := g.fetched.get(g.key("aks-command"))
	if !ok || e.Time-o.Time > commandDelayNanos {
		return
	}
	g.await(Link{
		From: o.Unit, To: unit, Type: LinkCloudAccess, Grade: Strong, Strength: weightModified,
		Candidates: 1, Time: e.Time, Label: "aks-command/" + g.keep(e.K8s.Name),
	})
}
