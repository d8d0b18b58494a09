package k8saudit

import (
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// rules reads the rules of a Role or ClusterRole.
func (d *Decoder) rules(b *event.Body) {
	s := &d.scan
	b.Rules = restart(d, b.Rules)
	for more := s.Array(); more; more = s.NextElem() {
		var r *event.PolicyRule
		b.Rules, r = slot(b.Rules)
		*r = event.PolicyRule{
			Verbs: r.Verbs[:0], Groups: r.Groups[:0], Resources: r.Resources[:0], Names: r.Names[:0], URLs: r.URLs[:0],
		}
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "verbs":
				r.Verbs = s.Strs(r.Verbs[:0])
			case "apiGroups":
				r.Groups = s.Strs(r.Groups[:0])
			case "resources":
				r.Resources = s.Strs(r.Resources[:0])
			case "resourceNames":
				r.Names = s.Strs(r.Names[:0])
			case "nonResourceURLs":
				r.URLs = s.Strs(r.URLs[:0])
			default:
				s.Skip()
			}
		}
	}
}

func (d *Decoder) roleRef(b *event.Body) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "kind":
			s.Str(&b.RoleKind)
		case "name":
			s.Str(&b.RoleName)
		default:
			s.Skip()
		}
	}
}

func (d *Decoder) subjects(b *event.Body) {
	s := &d.scan
	b.Subjects = restart(d, b.Subjects)
	for more := s.Array(); more; more = s.NextElem() {
		var subject event.Subject
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "kind":
				s.Str(&subject.Kind)
			case "name":
				s.Str(&subject.Name)
			case "namespace":
				s.Str(&subject.Namespace)
			default:
				s.Skip()
			}
		}
		b.Subjects = append(b.Subjects, subject)
	}
}

func (d *Decoder) webhooks(b *event.Body) {
	s := &d.scan
	b.Webhooks = restart(d, b.Webhooks)
	for more := s.Array(); more; more = s.NextElem() {
		if s.Kind() != jsonscan.Object {
			s.Skip()
			continue
		}
		var w *event.Webhook
		b.Webhooks, w = slot(b.Webhooks)
		*w = event.Webhook{Resources: w.Resources[:0], Operations: w.Operations[:0]}
		if deleted := d.webhook(w); deleted {
			b.Webhooks = b.Webhooks[:len(b.Webhooks)-1]
		}
	}
}

// webhook reads one entry of a webhook configuration. It reports whether the
// element is a strategic merge patch's order to delete the entry of that name.
func (d *Decoder) webhook(w *event.Webhook) (deleted bool) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "name":
			s.Str(&w.Name)
		case "clientConfig":
			d.clientConfig(w)
		case "failurePolicy":
			s.Str(&w.FailurePolicy)
		case "rules":
			w.Resources, w.Operations = w.Resources[:0], w.Operations[:0]
			for more := s.Array(); more; more = s.NextElem() {
				w.Operations = d.resourceRule(&w.Resources, w.Operations)
			}
		case "namespaceSelector", "objectSelector":
			if d.narrows() {
				w.NamespaceSelector = true
			}
		case "$patch":
			var v string
			s.Str(&v)
			deleted = v == "delete"
		default:
			s.Skip()
		}
	}
	return deleted
}

func (d *Decoder) clientConfig(w *event.Webhook) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "url":
			s.Str(&w.URL)
		case "service":
			for more := s.Object(); more; more = s.NextKey() {
				switch string(s.Key()) {
				case "namespace":
					s.Str(&w.ServiceNamespace)
				case "name":
					s.Str(&w.ServiceName)
				default:
					s.Skip()
				}
			}
		default:
			s.Skip()
		}
	}
}

// narrows reads a label selector and reports whether it leaves anything out.
func (d *Decoder) narrows() bool {
	s := &d.scan
	found := false
	for more := s.Object(); more; more = s.NextKey() {
		switch s.Kind() {
		case jsonscan.Object:
			for more := s.Object(); more; more = s.NextKey() {
				found = true
				s.Skip()
			}
		case jsonscan.Array:
			for more := s.Array(); more; more = s.NextElem() {
				found = true
				s.Skip()
			}
		default:
			s.Skip()
		}
	}
	return found
}

// resourceRule reads one rule of a webhook or an admission policy: it appends
// each "group/resource" to resources and returns operations with the rule's
// own, each once.
func (d *Decoder) resourceRule(resources *[]string, operations []string) []string {
	s := &d.scan
	start := s.Offset()
	d.groups, d.plurals = d.groups[:0], d.plurals[:0]
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "apiGroups":
			d.groups = s.Strs(d.groups[:0])
		case "resources":
			d.plurals = s.Strs(d.plurals[:0])
		case "operations":
			for more := s.Array(); more; more = s.NextElem() {
				var op string
				s.Str(&op)
				operations = addOnce(operations, op)
			}
		default:
			s.Skip()
		}
	}
	*resources = d.crossed(*resources, s.Offset()-start)
	return operations
}

// maxCrossed bounds the memory that the product of groups and resources may
// take, as a multiple of the rule's size.
const maxCrossed = 8

// crossed appends each group with each resource. A rule built to make that
// product huge is taken as one of all groups, so that none of it is missed.
func (d *Decoder) crossed(list []string, size int) []string {
	total := 0
	for _, group := range d.groups {
		total += len(d.plurals) * (len(group) + 1)
	}
	for _, plural := range d.plurals {
		total += len(d.groups) * len(plural)
	}
	if total > maxCrossed*size {
		d.groups = append(d.groups[:0], "*")
	}
	for _, group := range d.groups {
		for _, plural := range d.plurals {
			list = append(list, d.scan.Arena.Join(group, "/", plural))
		}
	}
	return list
}

// policyField reads a field of an admission policy or of its binding and
// reports whether the key is one.
func (d *Decoder) policyField(b *event.Body) bool {
	s := &d.scan
	switch string(s.Key()) {
	case "policyName":
		s.Str(&b.PolicyName)
	case "matchConstraints", "matchResources":
		for more := s.Object(); more; more = s.NextKey() {
			if string(s.Key()) != "resourceRules" {
				s.Skip()
				continue
			}
			b.PolicyResources = restart(d, b.PolicyResources)
			for more := s.Array(); more; more = s.NextElem() {
				d.resourceRule(&b.PolicyResources, nil)
			}
		}
	case "validations", "variables", "matchConditions":
		for more := s.Array(); more; more = s.NextElem() {
			d.expression(b)
		}
	case "mutations":
		for more := s.Array(); more; more = s.NextElem() {
			for more := s.Object(); more; more = s.NextKey() {
				d.expression(b) // applyConfiguration or jsonPatch
			}
		}
	default:
		return false
	}
	return true
}

// expression reads an object that has a CEL expression; other values are skipped.
func (d *Decoder) expression(b *event.Body) {
	var text string
	d.nameOf(&text, "expression")
	if text != "" {
		b.PolicyExpressions = append(b.PolicyExpressions, text)
	}
}
