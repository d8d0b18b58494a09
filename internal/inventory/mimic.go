package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// workloads are the resources whose pods carry their names.
var workloads = []struct{ group, resource, kind string }{
	{"apps", "deployments", "Deployment"},
	{"apps", "daemonsets", "DaemonSet"},
	{"apps", "statefulsets", "StatefulSet"},
	{"apps", "replicasets", "ReplicaSet"},
	{"batch", "jobs", "Job"},
	{"batch", "cronjobs", "CronJob"},
}

// mimics returns the existing controller whose pods' names the new object's name
// imitates, "" when none: a name as that controller would generate it on an
// object that is not its own, or one a letter away from a workload of kube-system.
func (inv *Inventory) mimics(e *event.Event, b *event.Body) string {
	r := &e.K8s
	pod := r.Group == "" && r.Resource == "pods"
	if r.Name == "" || e.Facts.Actor.System || !pod && !isWorkload(r) || e.Actor.Kind == event.ActorNode && !e.Facts.Actor.NodeMismatch {
		return ""
	}
	own := b.Controller()
	if own != nil && !e.Facts.Target.ForgedOwner {
		return "" // it is what its owner makes
	}
	for _, base := range bases(r.Name) {
		if base.generated && inv.controllerNamed(r.Namespace, base.name, base.ordinal) {
			return base.name
		}
		if like := inv.nearPlatform(base.name); like != "" {
			return like
		}
	}
	return ""
}

func isWorkload(r *event.Request) bool {
	for _, w := range workloads {
		if w.group == r.Group && w.resource == r.Resource {
			return true
		}
	}
	return false
}

// base is what is left of a name without the parts a controller adds.
type base struct {
	name      string
	generated bool // the cut part looks generated
	ordinal   bool // the cut part is a StatefulSet's number
}

// bases returns the names of the controllers that a pod's name may come from, the
// name itself last.
func bases(name string) []base {
	var out []base
	rest, last, ok := cutLast(name)
	if ok && (generated(last) || ordinal(last)) {
		if outer, hash, ok := cutLast(rest); ok && generated(hash) {
			out = append(out, base{outer, true, false})
		}
		out = append(out, base{rest, true, ordinal(last)})
	}
	return append(out, base{name: name})
}

func cutLast(s string) (before, last string, ok bool) {
	at := strings.LastIndexByte(s, '-')
	if at <= 0 {
		return s, "", false
	}
	return s[:at], s[at+1:], true
}

// generated reports whether a part of a name looks like the hashes and suffixes that
// Kubernetes generates (alphabet bcdfghjklmnpqrstvwxz2456789), or like an
// imitation of them: letters and digits mixed. Words do not.
func generated(s string) bool {
	if len(s) < 5 || len(s) > 10 {
		return false
	}
	letters, digits, vowels := 0, 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case strings.IndexByte("aeiouy", c) >= 0:
			letters++
			vowels++
		case c >= 'a' && c <= 'z':
			letters++
		default:
			return false
		}
	}
	return letters > 0 && (digits > 0 || vowels == 0)
}

func ordinal(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// controllerNamed reports whether a controller of this name exists. Numbers are
// what StatefulSets add and nobody else.
func (inv *Inventory) controllerNamed(namespace, name string, numbered bool) bool {
	for _, w := range workloads {
		if numbered && w.kind != "StatefulSet" {
			continue
		}
		if inv.live(w.group, w.resource, namespace, name) != nil {
			return true
		}
	}
	return !numbered && namespace == "kube-system" && bootstrap().platform[name]
}

// minLookalike is the shortest name compared by distance: shorter ones are near
// each other by chance.
const minLookalike = 6

// nearPlatform returns the workload of kube-system that differs from name by one
// letter put in, left out or changed.
func (inv *Inventory) nearPlatform(name string) string {
	if len(name) < minLookalike || bootstrap().platform[name] {
		return ""
	}
	for _, p := range bootstrap().platformNames {
		if oneApart(p, name) {
			return p
		}
	}
	if inv.live("apps", "deployments", "kube-system", name) != nil {
		return ""
	}
	for _, p := range inv.platform {
		if oneApart(p, name) {
			return p
		}
	}
	return ""
}

// maxPlatform bounds the names of kube-system's workloads.
const maxPlatform = 256

// learnPlatform remembers the names of kube-system's workloads.
func (inv *Inventory) learnPlatform(r *event.Request) {
	if r.Namespace != "kube-system" || !isWorkload(r) || r.Name == "" || len(r.Name) < minLookalike || len(inv.platform) >= maxPlatform {
		return
	}
	if slices.Contains(inv.platform, r.Name) {
		return
	}
	inv.platform = append(inv.platform, strings.Clone(r.Name))
}

// oneApart reports whether a and b differ by exactly one letter put in, left
// out or changed. A digit more or less is a version, not a disguise.
func oneApart(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 || a == b {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:] && (i != len(a) || b[i] < '0' || b[i] > '9')
}
