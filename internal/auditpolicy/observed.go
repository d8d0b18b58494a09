package auditpolicy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Observed is the highest level at which a kind of request was seen in a log.
type Observed struct {
	Group, Resource, Subresource string
	Read                         bool   // get, list or watch; else what changes something
	Level                        string // Metadata, Request or RequestResponse
}

// known is what groups, resources and subresources are made of. Callers may ask for
// resources that are none, and that is logged too.
var known = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (o Observed) known() bool {
	return known.MatchString(o.Resource) && (o.Group == "" || known.MatchString(o.Group)) && (o.Subresource == "" || known.MatchString(o.Subresource))
}

// FromObserved returns the policy that a log speaks of. What was not seen counts as
// logged in full: that nobody did it proves nothing. The order of list does not matter.
func FromObserved(list []Observed) (*Policy, error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Observed) int { return strings.Compare(a.rule(), b.rule()) })
	var b strings.Builder
	b.WriteString("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n")
	for _, o := range list {
		if o.known() {
			b.WriteString(o.rule())
		}
	}
	b.WriteString("- level: RequestResponse\n")
	return Parse("the observed log", []byte(b.String()))
}

func (o Observed) rule() string {
	verbs := `"create", "update", "patch", "delete", "deletecollection"`
	if o.Read {
		verbs = `"get", "list", "watch"`
	}
	resource := o.Resource
	if o.Subresource != "" {
		resource += "/" + o.Subresource
	}
	return fmt.Sprintf("- level: %s\n  verbs: [%s]\n  resources: [{group: %q, resources: [%q]}]\n", o.Level, verbs, o.Group, resource)
}
