package event

import (
	"slices"
	"strings"
)

// addedBinding begins the parameters that tell, as "role member", what a
// SetIamPolicy of Google Cloud added to a policy.
const addedBinding = "bindingDeltas[]=ADD "

// GrantedMembers calls f for each member, as "user:a@b", that an IAM policy change
// of Google Cloud gave a role, until f returns false.
func (c *CloudCall) GrantedMembers(f func(member string) bool) {
	for _, p := range c.Params {
		rest, ok := strings.CutPrefix(p, addedBinding)
		if !ok {
			continue
		}
		if _, member, ok := strings.Cut(rest, " "); ok && !f(member) {
			return
		}
	}
}

// GrantsSelf reports whether an IAM policy change gave its caller a role.
func (e *Event) GrantsSelf() bool {
	found := false
	e.Cloud.GrantedMembers(func(member string) bool {
		_, name, _ := strings.Cut(member, ":")
		found = name != "" && strings.EqualFold(name, e.Actor.Name)
		return !found
	})
	return found
}

// consumerMail are the domains in which anybody gets a Google account for himself.
var consumerMail = []string{"gmail.com", "googlemail.com"}

// OutsideMembers returns the people to whom an IAM policy change gave a role and
// whose addresses are of another domain than their person's who made the change,
// or, where a machine made it, of a domain that is nobody's organisation.
func (e *Event) OutsideMembers() []string {
	var out []string
	_, home, _ := strings.Cut(e.Actor.Name, "@")
	person := e.Actor.Role == "" && home != ""
	e.Cloud.GrantedMembers(func(member string) bool {
		kind, name, _ := strings.Cut(member, ":")
		_, domain, ok := strings.Cut(name, "@")
		if kind == "user" && ok && !strings.EqualFold(domain, home) && (person || slices.Contains(consumerMail, strings.ToLower(domain))) {
			out = append(out, name)
		}
		return true
	})
	return out
}
