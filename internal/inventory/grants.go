package inventory

import (
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// describeGrant fills what an RBAC object or webhook configuration gives, before it
// is learned. It does so for refused requests too: an attempt tells as much.
func (inv *Inventory) describeGrant(e *event.Event) {
	r := &e.K8s
	if r.Verb == "delete" || r.Verb == "deletecollection" {
		return
	}
	isRole, isBinding, clusterWide := rbacKind(r)
	e.Facts.Grants.ClusterWide = clusterWide
	switch {
	case isRole:
		inv.describeRole(e)
	case isBinding:
		inv.describeBinding(e)
	case r.Group == "admissionregistration.k8s.io":
		inv.describeWebhook(e)
	}
}

// describeRole compares the role's powers with what it had. Of a role that was not
// known all powers count as new.
func (inv *Inventory) describeRole(e *event.Event) {
	r, f := &e.K8s, &e.Facts.Grants
	old := inv.role(r.Namespace, r.Name)
	if r.Verb == "create" && r.Succeeded() && old != nil && !old.Default {
		old = nil // a new object of the same name
	}
	before := inv.rolePowers(old)
	after := before
	if b, whole := stateBody(r); whole || len(b.Rules) > 0 {
		after = 0
		for i := range b.Rules {
			if g := old.same(i, &b.Rules[i]); g != nil {
				after |= g.Powers
				continue
			}
			after |= powersOf(&b.Rules[i])
		}
		if appends(&r.Object) {
			after |= before
		}
		if old != nil {
			after |= inv.contributed(old)
		}
	}
	if b, whole := stateBody(r); len(b.AggregateFrom) > 0 {
		after |= inv.contributed(&role{Name: r.Name, From: fromAfter(old, b, whole)})
	}
	if old == nil && appends(&r.Object) { // what is added is new, the rest was there
		before = after
		for i := range r.Object.Rules {
			before &^= powersOf(&r.Object.Rules[i])
		}
	}
	f.Powers = after.names(f.Powers)
	f.NewPowers = (after &^ before).names(f.NewPowers)
	f.SubjectSelf = inv.boundTo(e, r.Namespace, r.Name)
	inv.describeAggregation(e, old, after)
}

// contributed returns the powers aggregated into a role.
func (inv *Inventory) contributed(r *role) powers {
	var out powers
	for _, part := range inv.rbac.contributors(r) {
		out |= inv.rolePowers(part)
	}
	return out
}

// boundTo reports whether the actor is bound to a role by a binding of its own:
// one that everyone has by a default group does not make an edit selfish.
func (inv *Inventory) boundTo(e *event.Event, namespace, name string) bool {
	self := selfOf(e)
	for i := range self {
		for _, b := range inv.bindingsOf(&self[i]) {
			if b.RoleName != name || (b.RoleKind == "Role") != (namespace != "") || namespace != "" && b.Namespace != namespace {
				continue
			}
			if slices.ContainsFunc(b.Subjects, func(s grantedSubject) bool { return self.include(s.Subject) }) {
				return true
			}
		}
	}
	return false
}

// self is the actor as RBAC subjects: the real caller and, where it acts for
// another, that one. A caller who takes a group gives to whom it really is.
type self [2]request

func selfOf(e *event.Event) self {
	a := &e.Actor
	s := self{{user: a.Name, groups: a.Groups}}
	if a.Impersonated != "" {
		s[1] = request{user: a.Impersonated, groups: a.ImpersonatedGroups}
	}
	for i := range s {
		s[i].namespace, s[i].account, _ = event.SplitServiceAccount(s[i].user)
	}
	return s
}

// include reports whether a subject is the actor or one of its groups. The API
// server adds the group of everyone to whoever is acted for, which says nothing
// of what the caller wants for itself.
func (s *self) include(subject event.Subject) bool {
	acting := s[1].user != ""
	if subject.Name == "" || acting && subject.Kind == "Group" && subject.Name == "system:authenticated" {
		return false
	}
	return s[0].is(subject) || s[1].is(subject)
}

// describeBinding tells the powers of the bound role, and which of them its
// subjects did not all have.
func (inv *Inventory) describeBinding(e *event.Event) {
	r, f := &e.K8s, &e.Facts.Grants
	b, _ := stateBody(r)
	roleKind, roleName, subjects := b.RoleKind, b.RoleName, b.Subjects
	if old := inv.binding(r.Namespace, r.Name); old != nil && roleName == "" {
		roleKind, roleName = old.RoleKind, old.RoleName
	}
	ref := binding{Namespace: r.Namespace, RoleKind: roleKind, RoleName: roleName}
	given := inv.rolePowers(inv.bound(&ref))
	f.Powers = given.names(f.Powers)
	had := given
	for _, s := range subjects {
		had &= inv.subjectPowers(r.Namespace, s)
	}
	if len(subjects) > 0 {
		f.NewPowers = (given &^ had).names(f.NewPowers)
	}
	inv.describeSubjects(e, subjects)
}

// subjectPowers returns the powers a subject has in a namespace, or cluster-wide
// when namespace is empty.
func (inv *Inventory) subjectPowers(namespace string, s event.Subject) powers {
	q := request{user: s.Name}
	switch s.Kind {
	case "ServiceAccount":
		if s.Namespace == "" {
			s.Namespace = namespace
		}
		q = request{user: event.ServiceAccountUser(s.Namespace, s.Name), namespace: s.Namespace, account: s.Name}
	case "User":
		q.namespace, q.account, _ = event.SplitServiceAccount(s.Name)
	case "Group":
		q = request{groups: []string{s.Name}}
	}
	var out powers
	for _, b := range inv.bindingsOf(&q) {
		if b.Namespace == "" || b.Namespace == namespace {
			out |= inv.rolePowers(inv.bound(b))
		}
	}
	return out
}

func (inv *Inventory) describeSubjects(e *event.Event, subjects []event.Subject) {
	f, self := &e.Facts.Grants, selfOf(e)
	f.SubjectNew = len(subjects) > 0
	for _, s := range subjects {
		if s.Kind == "ServiceAccount" && s.Namespace == "" {
			s.Namespace = e.K8s.Namespace
		}
		f.SubjectSelf = f.SubjectSelf || self.include(s)
		f.SubjectNew = f.SubjectNew && s.Kind == "ServiceAccount" && inv.madeBy(e.Actor.Name, "", "serviceaccounts", s.Namespace, s.Name)
	}
}

// madeBy reports whether a user created an object that exists, in this log.
func (inv *Inventory) madeBy(user, group, resource, namespace, name string) bool {
	o := inv.live(group, resource, namespace, name)
	return o != nil && o.Created.Seen() && o.Created.User == user
}

// describeWebhook tells how old the services behind a webhook configuration are,
// and whether they were installed together with it: one identity made the service
// or its namespace. A chart installed again finds its namespace there.
func (inv *Inventory) describeWebhook(e *event.Event) {
	f := &e.Facts.Grants
	b, _ := stateBody(&e.K8s)
	services := 0
	chart := true
	for i := range b.Webhooks {
		w := &b.Webhooks[i]
		if w.ServiceName == "" {
			chart = false
			continue
		}
		services++
		chart = chart && (inv.madeBy(e.Actor.Name, "", "services", w.ServiceNamespace, w.ServiceName) ||
			inv.madeBy(e.Actor.Name, "", "namespaces", "", w.ServiceNamespace))
		if s := inv.live("", "services", w.ServiceNamespace, w.ServiceName); s != nil && s.Created.Seen() {
			if age := ageSeconds(e.Time, s.Created.Time); f.WebhookAgeS < 0 || age < f.WebhookAgeS {
				f.WebhookAgeS = age
			}
		}
	}
	f.WebhookChart = chart && services > 0
}
