package graph

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// maxPolicies bounds the mutating admission policies remembered.
const maxPolicies = 64

// policy is a MutatingAdmissionPolicy made or changed in the log. It leaves no
// annotation on what it changes, so objects with unexplained fields are
// candidates for every policy that matches their resource.
type policy struct {
	Name      string
	Resources []string // group/resource; empty when the level did not tell
	By        origin
}

// notePolicy remembers a mutating admission policy.
func (g *Graph) notePolicy(s *session, e *event.Event) {
	r := &e.K8s
	if r.Resource != "mutatingadmissionpolicies" || r.Subresource != "" || r.Verb == "delete" {
		return
	}
	p := policy{Name: g.keep(r.Name), By: s.originOf(e)}
	for _, x := range r.Object.PolicyResources {
		p.Resources = append(p.Resources, g.keep(x))
	}
	g.policies = slices.DeleteFunc(g.policies, func(x policy) bool { return x.Name == p.Name })
	if len(g.policies) >= maxPolicies {
		g.policies = g.policies[1:]
	}
	g.policies = append(g.policies, p)
}

// matches reports whether the policy sees requests for group/resource.
func (p *policy) matches(group, resource string) bool {
	if len(p.Resources) == 0 {
		return true
	}
	return slices.ContainsFunc(p.Resources, func(x string) bool {
		g, r, _ := strings.Cut(x, "/")
		return (g == group || g == "*") && (r == resource || r == "*" || r == "*/*")
	})
}

// linkPolicies links an object that admission changed without saying so with
// the makers of the policies that may have done it (L18).
func (g *Graph) linkPolicies(unit event.ID, e *event.Event) {
	var from []*policy
	for i := range g.policies {
		if g.policies[i].matches(e.K8s.Group, e.K8s.Resource) {
			from = append(from, &g.policies[i])
		}
	}
	f := &e.Facts.Change
	for _, p := range from {
		age := int((e.Time - p.By.Time) / 1e9)
		if f.InjectorAgeS < 0 || age < f.InjectorAgeS {
			f.InjectorAgeS, f.InjectorBy = age, p.By.User
		}
		g.linkMutation(unit, p.By.Unit, e.Time, Strong, p.Name, len(from))
	}
}

// noteChart remembers whether a webhook configuration came as part of an
// installation.
func (g *Graph) noteChart(e *event.Event) {
	if e.K8s.Resource == "mutatingwebhookconfigurations" && e.K8s.Verb == "create" {
		g.charts.put(g.key("webhook", e.K8s.Name), e.Facts.Grants.WebhookChart)
	}
}
