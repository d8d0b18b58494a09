package inventory

import (
	"slices"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// A ClusterRole with an aggregation rule takes over the rules of those whose labels
// its selectors name, as kube's clusterrole-aggregation-controller does it: what
// is added to one role, or one label, gives powers to everybody bound to the other.

// aggregateLabel begins the last part of labels that name, by convention, the role
// they feed: rbac.authorization.k8s.io/aggregate-to-edit.
const aggregateLabel = "/aggregate-to-"

// fedByLabel returns the role that a label feeds by convention, "" when none.
func fedByLabel(label string) string {
	key, value, _ := strings.Cut(label, "=")
	_, name, ok := strings.Cut(key, aggregateLabel)
	if !ok || value != "true" {
		return ""
	}
	return name
}

// contributors returns the ClusterRoles aggregated into r.
func (g *rbacGraph) contributors(r *role) []*role {
	if r.Namespace != "" || len(r.From) == 0 {
		return nil
	}
	var out []*role
	for _, selector := range r.From {
		for _, part := range g.candidates(selector) {
			if part != r && selects(selector, part.Labels) && !slices.Contains(out, part) {
				out = append(out, part)
			}
		}
	}
	return out
}

// rulesOf calls f for each rule of a role, those aggregated into it included,
// with the role it stands in and the latest change by which it came from there,
// until f returns false.
func (inv *Inventory) rulesOf(r *role, f func(*role, *grantedRule, Origin) bool) {
	inv.walkRules(r, 0, Origin{}, f)
}

// maxAggregation bounds the nesting of aggregated roles: view in edit in admin.
const maxAggregation = 4

func (inv *Inventory) walkRules(r *role, depth int, via Origin, f func(*role, *grantedRule, Origin) bool) bool {
	for i := range r.Rules {
		if !f(r, &r.Rules[i], via) {
			return false
		}
	}
	if depth == maxAggregation {
		return true
	}
	for _, part := range inv.rbac.contributors(r) {
		if !inv.walkRules(part, depth+1, later(via, later(part.Fed, r.Selecting)), f) {
			return false
		}
	}
	return true
}

func later(a, b Origin) Origin {
	if b.Time > a.Time {
		return b
	}
	return a
}

// candidates returns roles among which those that a selector matches are: those
// with the first label it asks for, else all.
func (g *rbacGraph) candidates(selector string) []*role {
	for want := range strings.SplitSeq(selector, ",") {
		if strings.Contains(want, "=") && !strings.HasPrefix(want, "!") && !strings.Contains(want, "|") {
			return g.byLabel[want]
		}
	}
	var out []*role
	g.roles.each(func(_ event.ID, _ int64, r **role) {
		if (*r).Namespace == "" {
			out = append(out, *r)
		}
	})
	return out
}

// selects reports whether labels meet all requirements of a selector.
func selects(selector string, labels []string) bool {
	if selector == "" {
		return true
	}
	for want := range strings.SplitSeq(selector, ",") {
		want, not := strings.CutPrefix(want, "!")
		key, values, valued := strings.Cut(want, "=")
		met := slices.ContainsFunc(labels, func(l string) bool {
			k, v, _ := strings.Cut(l, "=")
			return k == key && (!valued || slices.Contains(strings.Split(values, "|"), v))
		})
		if met == not {
			return false
		}
	}
	return true
}

// fed returns the known roles that a role with these labels is aggregated into,
// directly or through one another.
func (g *rbacGraph) fed(labels []string, self string) []*role {
	var out []*role
	for range maxAggregation {
		n := len(out)
		for _, r := range g.combined {
			if r.Name == self || slices.Contains(out, r) {
				continue
			}
			feeds := func(labels []string) bool {
				return slices.ContainsFunc(r.From, func(s string) bool { return selects(s, labels) })
			}
			if feeds(labels) || slices.ContainsFunc(out, func(part *role) bool { return feeds(part.Labels) }) {
				out = append(out, r)
			}
		}
		if len(out) == n {
			break
		}
	}
	return out
}

// labelsAfter returns the labels of a role after a request. What a patch does not
// name stays.
func labelsAfter(old *role, b *event.Body, whole bool) []string {
	if whole || old == nil {
		return clone(b.Labels)
	}
	if len(b.Labels) == 0 {
		return old.Labels
	}
	out := clone(b.Labels)
	for _, l := range old.Labels {
		key, _, _ := strings.Cut(l, "=")
		if !slices.ContainsFunc(out, func(n string) bool { return strings.HasPrefix(n, key+"=") }) {
			out = append(out, l)
		}
	}
	return out
}

// fromAfter returns the selectors of a role after a request: those a patch of JSON
// operations names are added.
func fromAfter(old *role, b *event.Body, whole bool) []string {
	switch {
	case old == nil || whole:
		return clone(b.AggregateFrom)
	case len(b.AggregateFrom) == 0:
		return old.From
	case len(b.Patch) > 0:
		return slices.Concat(old.From, clone(b.AggregateFrom))
	}
	return clone(b.AggregateFrom)
}

// describeAggregation tells which powers other roles gain by a change of the role,
// and whether the actor is bound to one of those.
func (inv *Inventory) describeAggregation(e *event.Event, old *role, after powers) {
	r, f := &e.K8s, &e.Facts.Grants
	if r.Namespace != "" {
		return
	}
	b, whole := stateBody(r)
	labels := labelsAfter(old, b, whole)
	var gained powers
	for _, target := range inv.rbac.fed(labels, r.Name) {
		if more := after &^ inv.rolePowers(target); more != 0 {
			gained |= more
			f.Widens = append(f.Widens, target.Name)
			f.SubjectSelf = f.SubjectSelf || more&^inv.actorPowers(e) != 0 && inv.boundTo(e, "", target.Name)
		}
	}
	for _, l := range labels { // of roles older than the log only the label tells
		if name := fedByLabel(l); name != "" && after != 0 && inv.role("", name) == nil {
			gained |= after
			f.Widens = append(f.Widens, name)
		}
	}
	f.AggregatedPowers = gained.names(f.AggregatedPowers)
}

// actorPowers returns the powers the actor has in all namespaces.
func (inv *Inventory) actorPowers(e *event.Event) powers {
	var out powers
	self := selfOf(e)
	for i := range self {
		for _, b := range inv.bindingsOf(&self[i]) {
			if b.Namespace == "" {
				out |= inv.rolePowers(inv.bound(b))
			}
		}
	}
	return out
}

// aggregator copies the rules of labelled roles into those that aggregate them.
const aggregator = "clusterrole-aggregation-controller"

// aggregates reports whether e is the aggregation controller's work.
func aggregates(e *event.Event) bool {
	return e.Actor.ServiceAccount == aggregator && e.Facts.Actor.System
}

// aggregated reports whether the aggregation controller copied a rule from a
// role that is counted as a contributor already.
func (inv *Inventory) aggregated(e *event.Event, p *event.PolicyRule) bool {
	if !aggregates(e) {
		return false
	}
	r := inv.role("", e.K8s.Name)
	if r == nil {
		return false
	}
	found := false
	for _, part := range inv.rbac.contributors(r) {
		inv.rulesOf(part, func(_ *role, g *grantedRule, _ Origin) bool {
			found = found || equalRule(&g.Rule, p)
			return !found
		})
	}
	return found
}

// aggregationDelay is how long after a change of labels or rules the controller
// may take to copy them; it needs seconds.
const aggregationDelay = int64(time.Minute)

// learnAggregation takes over by what request a role came to be aggregated into
// others, or to select others, and remembers who last did such a thing.
func (inv *Inventory) learnAggregation(e *event.Event, old, now *role) {
	if now.Namespace != "" {
		return
	}
	sent := e.K8s.Verb == "patch"
	if old != nil {
		now.Fed, now.Selecting, sent = old.Fed, old.Selecting, true
	}
	if e.Facts.Actor.System {
		return
	}
	var was []string
	if old != nil {
		was = old.Labels
	} else if sent {
		was = slices.DeleteFunc(clone(now.Labels), func(l string) bool { return slices.Contains(e.K8s.Object.Labels, l) })
	}
	if sent && inv.rbac.feedsMore(was, now.Labels, now.Name) {
		now.Fed = inv.origin(e)
	}
	if old != nil && !slices.Equal(old.From, now.From) {
		now.Selecting = inv.origin(e)
	}
	if now.Fed.Event == e.ID || now.Selecting.Event == e.ID || len(now.From)+len(inv.rbac.fed(now.Labels, now.Name)) > 0 {
		inv.rbac.cause = inv.origin(e)
	}
}

// feedsMore reports whether a role with labels now is aggregated into more roles
// than it was, or is said to be by a label.
func (g *rbacGraph) feedsMore(was, now []string, self string) bool {
	for _, l := range now {
		if fedByLabel(l) != "" && !slices.Contains(was, l) {
			return true
		}
	}
	return len(g.fed(now, self)) > len(g.fed(was, self))
}

// aggregationCause returns who is answerable for a rule that the aggregation
// controller copied from a role whose rules the log did not show: whoever changed
// labels, rules or selectors just before. What the controller first shows of a
// default role is old unless it brings powers that role does not have.
func (inv *Inventory) aggregationCause(e *event.Event, old *role, of powers) (Origin, bool) {
	c := inv.rbac.cause
	if !aggregates(e) || old == nil || !c.Seen() || e.Time-c.Time > aggregationDelay {
		return Origin{}, false
	}
	if old.Default && of&^inv.rolePowers(old) == 0 {
		return Origin{}, false
	}
	return c, true
}
