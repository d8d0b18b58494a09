package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// Grant is a binding or a role change made in this log.
type Grant struct {
	Kind      string // ClusterRoleBinding, RoleBinding, ClusterRole, Role
	Namespace string
	Name      string
	Origin    Origin // the event that made it

	// Credited is set when the API server itself named the binding as what
	// allowed the request; without it the RBAC graph alone says so.
	Credited bool
}

// Key returns the object that makes the grant.
func (g Grant) Key() ObjectKey {
	return ObjectKey{"rbac.authorization.k8s.io", strings.ToLower(g.Kind) + "s", g.Namespace, g.Name}
}

// String returns the grant as "Kind/name".
func (g Grant) String() string { return g.Kind + "/" + g.Name }

// verdict is the answer to whether a request needed a grant of this log.
type verdict struct {
	grant  Grant
	needed bool
}

// request is what RBAC decides about.
type request struct {
	user      string
	namespace string // of a service account
	account   string
	groups    []string

	verb, group, resource, sub, name, in string
	path                                 string // of a request for no resource
}

// NeededGrant returns the grant without which an allowed request would have been
// refused (link L17). The credited binding is chosen at random among sufficient
// ones, so the request is judged again without the grants made in this log. It
// is false when an older grant suffices or was ever credited for such a request of
// this subject, and when RBAC did not decide: system:masters, the node
// authorizer, other authorizers. Call it after Observe(e); what e itself grants
// does not count.
func (inv *Inventory) NeededGrant(e *event.Event) (Grant, bool) {
	if inv.rbac.fresh == 0 || !inv.rbacDecided(e) {
		return Grant{}, false
	}
	if _, ok := inv.rbac.older.peek(inv.creditKey(e)); ok {
		return Grant{}, false
	}
	if isRole, isBinding, _ := rbacKind(&e.K8s); (isRole || isBinding) && e.K8s.Mutates() {
		v := inv.judge(e)
		return v.grant, v.needed
	}
	return inv.judgeOnce(e)
}

// rbacDecided reports whether RBAC allowed the request, as far as the record says.
func (inv *Inventory) rbacDecided(e *event.Event) bool {
	r := &e.K8s
	if e.Kind != event.KindAPIRequest || r.Refused() || e.Facts.Actor.System || r.Code == 0 {
		return false
	}
	switch {
	case r.Reason != "":
		if !strings.HasPrefix(r.Reason, reasonPrefix) {
			return false
		}
	case r.Decision != "":
		return false
	case e.Actor.Kind == event.ActorNode:
		return false
	}
	return !slices.Contains(subjectGroups(e), "system:masters")
}

func subjectGroups(e *event.Event) []string {
	if e.Actor.Impersonated != "" {
		return e.Actor.ImpersonatedGroups
	}
	return e.Actor.Groups
}

func subjectName(e *event.Event) string {
	if e.Actor.Impersonated != "" {
		return e.Actor.Impersonated
	}
	return e.Actor.Name
}

const reasonPrefix = "RBAC: allowed by "

// creditedBinding parses the authorization reason: RBAC: allowed by
// ClusterRoleBinding "x" of ..., or RoleBinding "name/namespace" of ...
func creditedBinding(reason string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(reason, reasonPrefix)
	if !ok {
		return "", "", false
	}
	kind, rest, ok := strings.Cut(rest, ` "`)
	if !ok {
		return "", "", false
	}
	name, _, ok = strings.Cut(rest, `"`)
	if kind == "RoleBinding" {
		at := strings.LastIndexByte(name, '/')
		if at < 0 {
			return "", "", false
		}
		name, namespace = name[:at], name[at+1:]
	}
	return namespace, name, ok
}

// creditKey is the shape of a request of one subject.
func (inv *Inventory) creditKey(e *event.Event) event.ID {
	r := &e.K8s
	if r.Resource == "" {
		return inv.key("credit", subjectName(e), r.Verb, pathOf(r.URI))
	}
	return inv.key("credit", subjectName(e), r.Verb, r.Group, r.Resource, r.Subresource, r.Namespace)
}

func pathOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	return path
}

// learnCredit remembers that an older grant was credited for such a request.
func (inv *Inventory) learnCredit(e *event.Event) {
	r := &e.K8s
	if r.Reason == "" || e.Facts.Actor.System {
		return
	}
	namespace, name, ok := creditedBinding(r.Reason)
	if !ok || !inv.creditIsOlder(e, namespace, name) {
		return
	}
	k := inv.creditKey(e)
	if inv.rbac.older.get(k, inv.now) == nil {
		inv.rbac.older.put(k, inv.now, struct{}{})
	}
}

// creditIsOlder reports whether the credited binding allows the request by
// subjects and rules that are older than the log.
func (inv *Inventory) creditIsOlder(e *event.Event, namespace, name string) bool {
	if inv.rbac.fresh == 0 {
		return true
	}
	b := inv.binding(namespace, name)
	q := requestOf(e)
	if b == nil { // its creation was not seen, but perhaps a change of its role
		g, allows := inv.allowedByCreditedRole(e, &q)
		return !allows || !g.Origin.Seen()
	}
	if !slices.ContainsFunc(b.Subjects, func(s grantedSubject) bool { return !s.Origin.Seen() && q.is(s.Subject) }) {
		return false
	}
	r := inv.bound(b)
	if r == nil {
		return true
	}
	older := false
	inv.rulesOf(r, func(_ *role, g *grantedRule, via Origin) bool {
		older = older || !g.Origin.Seen() && !via.Seen() && q.allowed(&g.Rule)
		return !older
	})
	return older
}

func requestOf(e *event.Event) request {
	r := &e.K8s
	q := request{
		user: subjectName(e), groups: subjectGroups(e), namespace: "", verb: r.Verb,
		group: r.Group, resource: r.Resource, sub: r.Subresource, name: r.Name, in: r.Namespace,
	}
	q.namespace, q.account, _ = event.SplitServiceAccount(q.user)
	if r.Subresource == "" && (r.Verb == "create" || r.Verb == "deletecollection") {
		q.name = "" // not known when the request was authorized
	}
	if r.Resource == "" {
		q.path = pathOf(r.URI)
	}
	return q
}

// is reports whether the request's user is, or is in, an RBAC subject.
func (q *request) is(s event.Subject) bool {
	switch s.Kind {
	case "User":
		return s.Name == q.user
	case "ServiceAccount":
		return q.account != "" && s.Name == q.account && s.Namespace == q.namespace
	case "Group":
		return q.inGroup(s.Name)
	}
	return false
}

// inGroup also knows the groups that every service account and every
// authenticated user is in, which partial records leave out.
func (q *request) inGroup(g string) bool {
	if slices.Contains(q.groups, g) {
		return true
	}
	switch {
	case g == "system:authenticated":
		return q.user != "" && q.user != "system:anonymous"
	case g == "system:unauthenticated":
		return q.user == "system:anonymous"
	case q.account == "":
		return false
	}
	return g == "system:serviceaccounts" || g == "system:serviceaccounts:"+q.namespace
}

// allowed reports whether a rule allows the request.
func (q *request) allowed(p *event.PolicyRule) bool {
	if !slices.Contains(p.Verbs, "*") && !slices.Contains(p.Verbs, q.verb) {
		return false
	}
	if q.resource == "" {
		return slices.ContainsFunc(p.URLs, func(u string) bool {
			prefix, ok := strings.CutSuffix(u, "*")
			return u == q.path || ok && strings.HasPrefix(q.path, prefix)
		})
	}
	if !slices.Contains(p.Groups, "*") && !slices.Contains(p.Groups, q.group) {
		return false
	}
	return matchesResource(p, q.resource, q.sub) && (len(p.Names) == 0 || q.name != "" && slices.Contains(p.Names, q.name))
}

// judgeOnce remembers verdicts until the RBAC graph changes.
func (inv *Inventory) judgeOnce(e *event.Event) (Grant, bool) {
	g, r := &inv.rbac, &e.K8s
	if g.memoised != g.epoch {
		g.memo.init(maxVerdicts, g.memo.ttl)
		g.memoised = g.epoch
	}
	inv.h.Reset()
	for _, s := range [...]string{subjectName(e), r.Verb, r.Group, r.Resource, r.Subresource, r.Namespace, r.Name, r.Reason} {
		inv.h.Str(s)
	}
	for _, s := range subjectGroups(e) {
		inv.h.Str(s)
	}
	if r.Resource == "" {
		inv.h.Str(pathOf(r.URI))
	}
	k := inv.h.Sum()
	v := g.memo.get(k, inv.now)
	if v == nil {
		v = g.memo.put(k, inv.now, inv.judge(e))
	}
	return v.grant, v.needed
}

// judge evaluates the request against all grants and says which of this log's
// grants it needed.
func (inv *Inventory) judge(e *event.Event) verdict {
	q := requestOf(e)
	namespace, name, credited := creditedBinding(e.K8s.Reason)
	var out verdict
	for _, b := range inv.bindingsOf(&q) {
		if b.Namespace != "" && b.Namespace != q.in {
			continue
		}
		named := credited && b.Namespace == namespace && b.Name == name
		g, allows := inv.allowedBy(e.ID, &q, b, named)
		if !allows {
			continue
		}
		if !g.Origin.Seen() {
			return verdict{}
		}
		g.Credited = named
		if !out.needed || named || !out.grant.Credited && g.Origin.Time < out.grant.Origin.Time {
			out = verdict{g, true}
		}
	}
	if !out.needed && credited && inv.binding(namespace, name) == nil {
		if g, allows := inv.allowedByCreditedRole(e, &q); allows && g.Origin.Seen() {
			g.Credited = true
			out = verdict{g, true}
		}
	}
	return out
}

// allowedByCreditedRole judges a request by the role that the server credited
// through a binding older than the log.
func (inv *Inventory) allowedByCreditedRole(e *event.Event, q *request) (Grant, bool) {
	namespace, _, _ := creditedBinding(e.K8s.Reason)
	kind, name := creditedRole(e.K8s.Reason)
	if kind != "Role" {
		namespace = ""
	}
	r := inv.role(namespace, name)
	if r == nil {
		return Grant{}, false
	}
	return inv.allowedByRole(e.ID, q, r)
}

// creditedRole parses the role out of the authorization reason.
func creditedRole(reason string) (kind, name string) {
	_, rest, ok := strings.Cut(reason, `" of `)
	if !ok {
		return "", ""
	}
	kind, rest, _ = strings.Cut(rest, ` "`)
	name, _, _ = strings.Cut(rest, `"`)
	return kind, name
}

// allowedBy says whether a binding allows the request, and by which grant of this
// log; none when it does so by older subjects and rules. What the event self
// granted is left out.
func (inv *Inventory) allowedBy(self event.ID, q *request, b *binding, credited bool) (Grant, bool) {
	subject, ok := newestNeeded(b, q, self)
	if !ok {
		return Grant{}, false
	}
	byBinding := Grant{Kind: "ClusterRoleBinding", Namespace: b.Namespace, Name: b.Name, Origin: subject}
	if b.Namespace != "" {
		byBinding.Kind = "RoleBinding"
	}
	r := inv.bound(b)
	if r == nil {
		// A role older than the log: the server's credit proves that it
		// allows, an older binding may allow anything.
		return byBinding, credited || !subject.Seen()
	}
	byRole, allows := inv.allowedByRole(self, q, r)
	// Both were needed: what came last made the request possible.
	if !allows || !subject.Seen() || byRole.Origin.Time > subject.Time {
		return byRole, allows
	}
	return byBinding, true
}

// newestNeeded returns the origin by which the user is a subject of the binding:
// zero when an older entry names it.
func newestNeeded(b *binding, q *request, self event.ID) (Origin, bool) {
	var out Origin
	found := false
	for i := range b.Subjects {
		s := &b.Subjects[i]
		if !q.is(s.Subject) || s.Origin.Seen() && s.Origin.Event == self {
			continue
		}
		if !s.Origin.Seen() {
			return Origin{}, true
		}
		if !found || s.Origin.Time < out.Time {
			out, found = s.Origin, true
		}
	}
	return out, found
}

// allowedByRole says whether a role allows the request, and by which change of it.
func (inv *Inventory) allowedByRole(self event.ID, q *request, r *role) (Grant, bool) {
	var out Grant
	allows := false
	inv.rulesOf(r, func(part *role, g *grantedRule, via Origin) bool {
		by := later(g.Origin, via)
		if !q.allowed(&g.Rule) || by.Seen() && by.Event == self {
			return true
		}
		if !by.Seen() {
			out, allows = Grant{}, true
			return false
		}
		if !allows || by.Time < out.Origin.Time {
			out = Grant{Kind: "ClusterRole", Namespace: part.Namespace, Name: part.Name, Origin: by}
			if part.Namespace != "" {
				out.Kind = "Role"
			}
			allows = true
		}
		return true
	})
	return out, allows
}

// bindingsOf returns the bindings that name the user, its service account or one
// of its groups. The slice is valid until the next call.
func (inv *Inventory) bindingsOf(q *request) []*binding {
	g := &inv.rbac
	g.found = g.found[:0]
	g.find("User", "", q.user)
	if q.account != "" {
		g.find("ServiceAccount", q.namespace, q.account)
	}
	for _, name := range q.groups {
		g.find("Group", "", name)
	}
	for _, name := range [...]string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts"} {
		g.findImplied(q, name)
	}
	if q.account != "" {
		g.findImplied(q, "system:serviceaccounts:"+q.namespace)
	}
	return g.found
}

func (g *rbacGraph) find(kind, namespace, name string) {
	k := subjectKey(&g.h, event.Subject{Kind: kind, Namespace: namespace, Name: name})
	g.found = append(g.found, g.bySubject[k]...)
}

func (g *rbacGraph) findImplied(q *request, group string) {
	if !slices.Contains(q.groups, group) && q.inGroup(group) {
		g.find("Group", "", group)
	}
}
