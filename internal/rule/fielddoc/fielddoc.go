// Package fielddoc writes docs/fields.md, the page of every field a rule's
// condition may use, from the schema in package event.
package fielddoc

import (
	"fmt"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
)

// Power is one word of rbac.powers and rbac.newPowers.
type Power struct{ Name, Doc string }

// Powers returns the vocabulary of rbac.powers, in the order of the page.
func Powers() []Power {
	return []Power{
		{"all", "every verb on every resource of every API group: cluster-admin by another name"},
		{"wildcard", "every resource of the core group or of all groups, for some verb"},
		{"secrets-read", "get, list or watch of secrets"},
		{"secrets-write", "create, update or patch of secrets"},
		{"pods-exec", "enter pods: pods/exec, pods/attach or pods/ephemeralcontainers"},
		{"pods-create", "create of pods"},
		{"workloads-write", "create, update or patch of what makes pods: deployments, daemonsets, statefulsets, replica sets and controllers, jobs, cronjobs"},
		{"escalate", "escalate on roles or clusterroles: may write rules it does not hold"},
		{"bind", "bind on roles or clusterroles: may grant roles it does not hold"},
		{"impersonate", "impersonate users, groups, service accounts, uids or their extras"},
		{"nodes-proxy", "get or create of nodes/proxy: the kubelet's API past the audit log"},
		{"token-create", "create of serviceaccounts/token"},
		{"webhooks-write", "create, update or patch of admission webhook configurations, or of mutating policies and their bindings"},
		{"csr-approve", "update or patch of certificatesigningrequests/approval"},
		{"rbac-write", "create, update or patch of roles, cluster roles or their bindings"},
		{"nodes-write", "create, update, patch or delete of nodes"},
		{"pv-write", "create, update or patch of persistent volumes: a way to any host path"},
	}
}

// Page returns docs/fields.md.
func Page() string {
	var b strings.Builder
	b.WriteString(head)
	group := ""
	for _, f := range event.Fields() {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "\n## %s\n\n| field | type | what it is |\n| --- | --- | --- |\n", upper(group))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, typeName(f.Type), cell(f))
	}
	b.WriteString(powersHead)
	for _, p := range Powers() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", p.Name, p.Doc)
	}
	return b.String()
}

func cell(f event.Field) string {
	doc := strings.ReplaceAll(f.Doc, "|", `\|`)
	if rule.Secret(f.Name) {
		doc += " (not allowed in `flag`)"
	}
	return doc
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func typeName(t event.FieldType) string {
	switch t {
	case event.Int:
		return "int"
	case event.Bool:
		return "bool"
	case event.Strings:
		return "list(string)"
	default:
		return "string"
	}
}

const head = `<!-- Generated from internal/event/fields.go by go generate ./internal/rule/fielddoc. Do not edit. -->
# Fields of rules

These are the names a rule's ` + "`when`" + ` may use, and, in braces, its ` + "`flag`" + ` message.
The condition is [CEL](https://github.com/google/cel-spec); clew checks every name and
type when the rule is loaded. A field that an event does not have reads as the empty
string, 0, false or the empty list, so no condition has to ask whether it is there.
Ages are in seconds, -1 when the beginning was not seen.

Beside CEL's own operators, macros and functions there are:

| function | what it is |
| --- | --- |
| ` + "`inCIDR(string, list(string))`" + ` | the address lies in one of the networks (CIDR or single addresses) |
| ` + "`joined(list(string))`" + ` | the elements with one space between |
| ` + "`list.<name>`" + ` | the values of ` + "`rules/lists/<name>.yaml`" + `, a list(string) |
`

const powersHead = `
## Powers

The words of ` + "`rbac.powers`" + ` and ` + "`rbac.newPowers`" + `:

| power | what it allows |
| --- | --- |
`
