package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// rbacGraph is the roles and bindings as the log showed them, on top of those
// every cluster begins with. Each rule and each subject remembers by what event
// it came, so that a request can be judged as if the log's grants had not been made.
type rbacGraph struct {
	roles    table[*role]
	bindings table[*binding]
	older    table[struct{}] // request shapes that an older binding was credited for

	// epoch grows with every change. What follows is derived from the tables:
	// the rules and subjects granted in this log, of which 0 spares every
	// evaluation, bindings by subject, roles by what they are aggregated into.
	epoch     uint64
	fresh     int
	bySubject map[event.ID][]*binding
	byLabel   map[string][]*role
	combined  []*role // those with an aggregation rule
	cause     Origin  // the latest request that changed what roles are aggregated of
	h         event.Hasher

	found []*binding // scratch of bindingsOf

	memo     table[verdict] // of epoch memoised
	memoised uint64
}

// role is a Role or ClusterRole.
type role struct {
	Namespace, Name string // no namespace: ClusterRole
	Rules           []grantedRule
	Labels          []string // of a ClusterRole, "key=value"
	From            []string // selectors of its aggregation rule; see event.Body
	Fed             Origin   // the change of labels by which it came to be aggregated into others
	Selecting       Origin   // the change of its selectors
	Created         Origin
	Default         bool // as the cluster began with it
}

type grantedRule struct {
	Rule   event.PolicyRule
	Powers powers
	Origin Origin // zero when older than the log
}

// binding is a RoleBinding or ClusterRoleBinding.
type binding struct {
	Namespace, Name    string // no namespace: ClusterRoleBinding
	RoleKind, RoleName string
	Subjects           []grantedSubject
	Created            Origin
}

type grantedSubject struct {
	Subject event.Subject
	Origin  Origin // zero when older than the log
}

const maxVerdicts = 4096

func (g *rbacGraph) init(grants, shapes int, ttl int64) {
	*g = rbacGraph{}
	g.empty(grants, ttl)
	g.older.init(shapes, ttl)
	g.memo.init(maxVerdicts, ttl)
	for _, r := range bootstrap().roles {
		g.setRole(r, 0)
	}
	for _, b := range bootstrap().bindings {
		g.setBinding(b, 0)
	}
	g.epoch = 0
}

// empty forgets all roles and bindings.
func (g *rbacGraph) empty(grants int, ttl int64) {
	g.fresh, g.bySubject, g.byLabel, g.combined = 0, map[event.ID][]*binding{}, map[string][]*role{}, nil
	g.roles.init(grants, ttl)
	g.bindings.init(grants, ttl)
	g.roles.onDrop, g.bindings.onDrop = g.unlinkRole, g.unlinkBinding
}

// setRole stores a role, which must not change afterwards.
func (g *rbacGraph) setRole(r *role, now int64) {
	g.roles.put(grantKey(&g.h, "role", r.Namespace, r.Name), now, r)
	g.fresh += r.grants()
	for _, label := range r.Labels {
		g.byLabel[label] = append(g.byLabel[label], r)
	}
	if len(r.From) > 0 {
		g.combined = append(g.combined, r)
	}
	g.epoch++
}

// grants counts what this log granted by the role.
func (r *role) grants() int {
	n := 0
	for i := range r.Rules {
		if r.Rules[i].Origin.Seen() {
			n++
		}
	}
	if r.Fed.Seen() {
		n++
	}
	if r.Selecting.Seen() {
		n++
	}
	return n
}

func (g *rbacGraph) unlinkRole(r *role) {
	g.fresh -= r.grants()
	for _, label := range r.Labels {
		if g.byLabel[label] = without(g.byLabel[label], r); len(g.byLabel[label]) == 0 {
			delete(g.byLabel, label)
		}
	}
	g.combined = without(g.combined, r)
	g.epoch++
}

// setBinding stores a binding, which must not change afterwards.
func (g *rbacGraph) setBinding(b *binding, now int64) {
	g.bindings.put(grantKey(&g.h, "binding", b.Namespace, b.Name), now, b)
	for _, s := range b.Subjects {
		if s.Origin.Seen() {
			g.fresh++
		}
		k := subjectKey(&g.h, s.Subject)
		g.bySubject[k] = append(g.bySubject[k], b)
	}
	g.epoch++
}

func (g *rbacGraph) unlinkBinding(b *binding) {
	for _, s := range b.Subjects {
		if s.Origin.Seen() {
			g.fresh--
		}
		k := subjectKey(&g.h, s.Subject)
		if g.bySubject[k] = without(g.bySubject[k], b); len(g.bySubject[k]) == 0 {
			delete(g.bySubject, k)
		}
	}
	g.epoch++
}

func without[T comparable](list []T, x T) []T {
	if at := slices.Index(list, x); at >= 0 {
		return slices.Delete(list, at, at+1)
	}
	return list
}

func subjectKey(h *event.Hasher, s event.Subject) event.ID {
	if s.Kind != "ServiceAccount" {
		s.Namespace = ""
	}
	h.Reset()
	h.Str(s.Kind)
	h.Str(s.Namespace)
	h.Str(s.Name)
	return h.Sum()
}

// expire lets only the memory of credits go: a role is valid until deleted.
func (g *rbacGraph) expire(now int64) { g.older.expire(now) }

func grantKey(h *event.Hasher, what, namespace, name string) event.ID {
	h.Reset()
	h.Str(what)
	h.Str(namespace)
	h.Str(name)
	return h.Sum()
}

func (inv *Inventory) role(namespace, name string) *role {
	r, _ := inv.rbac.roles.peek(grantKey(&inv.h, "role", namespace, name))
	return r
}

func (inv *Inventory) binding(namespace, name string) *binding {
	b, _ := inv.rbac.bindings.peek(grantKey(&inv.h, "binding", namespace, name))
	return b
}

// bound returns the role a binding refers to, nil when it is not known.
func (inv *Inventory) bound(b *binding) *role {
	if b.RoleKind == "Role" {
		return inv.role(b.Namespace, b.RoleName)
	}
	return inv.role("", b.RoleName)
}

// rbacKind classes the RBAC resources: what kind of object, and whether it is
// cluster-wide.
func rbacKind(r *event.Request) (isRole, isBinding, clusterWide bool) {
	if r.Group != "rbac.authorization.k8s.io" || r.Subresource != "" {
		return false, false, false
	}
	switch r.Resource {
	case "roles":
		return true, false, false
	case "clusterroles":
		return true, false, true
	case "rolebindings":
		return false, true, false
	case "clusterrolebindings":
		return false, true, true
	}
	return false, false, false
}

// learnGrant updates the RBAC graph from a successful mutation.
func (inv *Inventory) learnGrant(e *event.Event) {
	r := &e.K8s
	isRole, isBinding, _ := rbacKind(r)
	if !isRole && !isBinding || r.Name == "" {
		return
	}
	switch {
	case isRole && r.Verb == "delete":
		inv.rbac.roles.remove(grantKey(&inv.h, "role", r.Namespace, r.Name))
	case isRole:
		inv.learnRole(e)
	case r.Verb == "delete":
		inv.rbac.bindings.remove(grantKey(&inv.h, "binding", r.Namespace, r.Name))
	default:
		inv.learnBinding(e)
	}
}

// grantOrigin returns the origin of what e grants; none for what the control plane
// sets up by itself, which is part of how the cluster began.
func (inv *Inventory) grantOrigin(e *event.Event) Origin {
	if e.Facts.Actor.System {
		return Origin{}
	}
	return inv.origin(e)
}

// stateBody returns the body that shows the object as it is after the request,
// and whether it is the whole object.
func stateBody(r *event.Request) (b *event.Body, whole bool) {
	if r.Response.Present && !r.Response.Skipped && r.Response.Kind != "Status" {
		return &r.Response, true
	}
	return &r.Object, r.Verb == "create" || r.Verb == "update"
}

// learnRole takes over the rules of a role. A rule keeps its origin while it stays;
// rules of a role that was not known before are older than the log, unless a JSON
// patch adds them.
func (inv *Inventory) learnRole(e *event.Event) {
	r := &e.K8s
	b, whole := stateBody(r)
	if !b.Present {
		return
	}
	k := grantKey(&inv.h, "role", r.Namespace, r.Name)
	old, known := inv.rbac.roles.peek(k)
	n := &role{Namespace: inv.keep(r.Namespace), Name: strings.Clone(r.Name), Labels: labelsAfter(old, b, whole), From: fromAfter(old, b, whole)}
	if r.Verb == "create" {
		n.Created = inv.origin(e)
	} else if known {
		n.Created = old.Created
	}
	n.Rules = inv.rulesAfter(e, old, b, whole)
	n.Default = known && old.Default
	if aggregates(e) && known { // it writes rules and nothing else
		n.Labels, n.From = old.Labels, old.From
	}
	inv.learnAggregation(e, old, n)
	inv.rbac.setRole(n, inv.now)
}

// rulesAfter returns the rules of a role after e.
func (inv *Inventory) rulesAfter(e *event.Event, old *role, b *event.Body, whole bool) []grantedRule {
	if whole && old.isAs(b.Rules) {
		return old.Rules
	}
	var out []grantedRule
	if !whole && old != nil && (len(b.Rules) == 0 || appends(&e.K8s.Object)) {
		out = slices.Clone(old.Rules) // the patch leaves them
	}
	origin := inv.ruleOrigin(e, old)
	out = slices.Grow(out, len(b.Rules))
	for i := range b.Rules {
		p := &b.Rules[i]
		if old != nil {
			if g := old.same(i, p); g != nil {
				if whole || !appends(&e.K8s.Object) {
					out = append(out, *g)
				}
				continue
			}
		}
		if inv.aggregated(e, p) {
			continue
		}
		g := grantedRule{Rule: cloneRule(p), Powers: powersOf(p)}
		if by, ok := inv.aggregationCause(e, old, g.Powers); ok {
			g.Origin = by
			out = append(out, g)
			continue
		}
		if old != nil || e.K8s.Verb == "create" || namesRule(&e.K8s.Object, p) {
			g.Origin = origin
		}
		out = append(out, g)
	}
	return out
}

// isAs reports whether the role has these rules in this order. Controllers write
// what is there already, again and again.
func (r *role) isAs(rules []event.PolicyRule) bool {
	if r == nil || len(r.Rules) != len(rules) {
		return false
	}
	for i := range rules {
		if !equalRule(&r.Rules[i].Rule, &rules[i]) {
			return false
		}
	}
	return true
}

// same returns the role's rule that equals p, nil when there is none; at is where
// it most likely stands. A nil role has no rules.
func (r *role) same(at int, p *event.PolicyRule) *grantedRule {
	if r == nil {
		return nil
	}
	if at < len(r.Rules) && equalRule(&r.Rules[at].Rule, p) {
		return &r.Rules[at]
	}
	for i := range r.Rules {
		if equalRule(&r.Rules[i].Rule, p) {
			return &r.Rules[i]
		}
	}
	return nil
}

// namesRule reports whether a patch names a rule itself: of a role that was not
// known, the answer shows older rules beside it.
func namesRule(sent *event.Body, p *event.PolicyRule) bool {
	return slices.ContainsFunc(sent.Rules, func(r event.PolicyRule) bool { return equalRule(&r, p) })
}

// ruleOrigin returns the origin of the rules that e adds to a role.
func (inv *Inventory) ruleOrigin(e *event.Event, old *role) Origin {
	if old == nil && e.K8s.Verb != "create" && !appends(&e.K8s.Object) {
		return Origin{}
	}
	return inv.grantOrigin(e)
}

// appends reports whether a body is a JSON patch that adds elements to rules or
// subjects: the body then holds only what is added.
func appends(b *event.Body) bool {
	return slices.ContainsFunc(b.Patch, func(op string) bool {
		return strings.HasPrefix(op, "add /rules/") || strings.HasPrefix(op, "add /subjects/")
	})
}

func equalRule(a, b *event.PolicyRule) bool {
	return slices.Equal(a.Verbs, b.Verbs) && slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Resources, b.Resources) &&
		slices.Equal(a.Names, b.Names) && slices.Equal(a.URLs, b.URLs)
}

func cloneRule(p *event.PolicyRule) event.PolicyRule {
	return event.PolicyRule{Verbs: clone(p.Verbs), Groups: clone(p.Groups), Resources: clone(p.Resources), Names: clone(p.Names), URLs: clone(p.URLs)}
}

// learnBinding takes over role and subjects of a binding, with the same rules for
// origins as learnRole.
func (inv *Inventory) learnBinding(e *event.Event) {
	r := &e.K8s
	b, whole := stateBody(r)
	if !b.Present {
		return
	}
	k := grantKey(&inv.h, "binding", r.Namespace, r.Name)
	old, known := inv.rbac.bindings.peek(k)
	n := &binding{Namespace: inv.keep(r.Namespace), Name: strings.Clone(r.Name), RoleKind: inv.keep(b.RoleKind), RoleName: inv.keep(b.RoleName)}
	if r.Verb == "create" {
		n.Created, old = inv.origin(e), nil
	} else if known {
		n.Created = old.Created
		if n.RoleName == "" {
			n.RoleKind, n.RoleName = old.RoleKind, old.RoleName
		}
	}
	n.Subjects = inv.subjectsAfter(e, old, b, whole)
	inv.rbac.setBinding(n, inv.now)
}

// subjectsAfter returns the subjects of a binding after e.
func (inv *Inventory) subjectsAfter(e *event.Event, old *binding, b *event.Body, whole bool) []grantedSubject {
	var out []grantedSubject
	appending := appends(&e.K8s.Object)
	adding := !whole && appending
	if !whole && old != nil && (len(b.Subjects) == 0 || adding) {
		out = slices.Clone(old.Subjects)
	}
	origin := Origin{}
	if old != nil || e.K8s.Verb == "create" || appending {
		origin = inv.grantOrigin(e)
	}
	for _, s := range b.Subjects {
		if s.Kind == "ServiceAccount" && s.Namespace == "" {
			s.Namespace = e.K8s.Namespace
		}
		if old != nil {
			if at := slices.IndexFunc(old.Subjects, func(g grantedSubject) bool { return g.Subject == s }); at >= 0 {
				if !adding {
					out = append(out, old.Subjects[at])
				}
				continue
			}
		}
		kept := event.Subject{Kind: inv.keep(s.Kind), Name: inv.keep(s.Name), Namespace: inv.keep(s.Namespace)}
		g := grantedSubject{Subject: kept}
		if old != nil || e.K8s.Verb == "create" || slices.Contains(e.K8s.Object.Subjects, s) {
			g.Origin = origin
		}
		out = append(out, g)
	}
	return out
}
