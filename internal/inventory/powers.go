package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// powers is a set of what a role allows, in the vocabulary that rules use.
type powers uint32

// The order is that of powerNames.
const (
	powerAll powers = 1 << iota
	powerSecretsRead
	powerSecretsWrite
	powerPodsExec
	powerPodsCreate
	powerWorkloadsWrite
	powerEscalate
	powerBind
	powerImpersonate
	powerNodesProxy
	powerTokenCreate
	powerWebhooksWrite
	powerCSRApprove
	powerRBACWrite
	powerNodesWrite
	powerPVWrite
	powerWildcard
)

var powerNames = [...]string{
	"all", "secrets-read", "secrets-write", "pods-exec", "pods-create", "workloads-write", "escalate", "bind", "impersonate",
	"nodes-proxy", "token-create", "webhooks-write", "csr-approve", "rbac-write", "nodes-write", "pv-write", "wildcard",
}

// names appends the names of the powers to dst.
func (p powers) names(dst []string) []string {
	for i, n := range powerNames {
		if p&(1<<i) != 0 {
			dst = append(dst, n)
		}
	}
	return dst
}

// grantTable says which verbs on which resources are which power. A resource
// matches as RBAC matches it: exactly, by "*", or by "*/subresource".
var grantTable = []struct {
	power     powers
	group     string
	resources []string
	verbs     []string
	named     bool // also when the rule is limited to named objects
}{
	{powerSecretsRead, "", []string{"secrets"}, []string{"get", "list", "watch"}, false},
	{powerSecretsWrite, "", []string{"secrets"}, []string{"create", "update", "patch"}, false},
	{powerPodsExec, "", []string{"pods/exec", "pods/attach"}, []string{"create", "get"}, false},
	{powerPodsExec, "", []string{"pods/ephemeralcontainers"}, []string{"create", "patch", "update"}, false},
	{powerPodsCreate, "", []string{"pods"}, []string{"create"}, false},
	{powerWorkloadsWrite, "apps", []string{"deployments", "daemonsets", "statefulsets", "replicasets"}, []string{"create", "update", "patch"}, false},
	{powerWorkloadsWrite, "batch", []string{"jobs", "cronjobs"}, []string{"create", "update", "patch"}, false},
	{powerWorkloadsWrite, "", []string{"replicationcontrollers"}, []string{"create", "update", "patch"}, false},
	{powerEscalate, "rbac.authorization.k8s.io", []string{"roles", "clusterroles"}, []string{"escalate"}, true},
	{powerBind, "rbac.authorization.k8s.io", []string{"roles", "clusterroles"}, []string{"bind"}, true},
	{powerImpersonate, "", []string{"users", "groups", "serviceaccounts"}, []string{"impersonate"}, true},
	{powerImpersonate, "authentication.k8s.io", []string{"userextras", "uids", "users", "groups", "serviceaccounts"}, []string{"impersonate"}, true},
	{powerNodesProxy, "", []string{"nodes/proxy"}, []string{"get", "create"}, true},
	{powerTokenCreate, "", []string{"serviceaccounts/token"}, []string{"create"}, true},
	{powerWebhooksWrite, "admissionregistration.k8s.io", []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"}, []string{"create", "update", "patch"}, false},
	{powerCSRApprove, "certificates.k8s.io", []string{"certificatesigningrequests/approval"}, []string{"update", "patch"}, false},
	{powerRBACWrite, "rbac.authorization.k8s.io", []string{"roles", "clusterroles", "rolebindings", "clusterrolebindings"}, []string{"create", "update", "patch"}, false},
	{powerNodesWrite, "", []string{"nodes"}, []string{"create", "update", "patch", "delete"}, false},
	{powerPVWrite, "", []string{"persistentvolumes"}, []string{"create", "update", "patch"}, false},
}

// powersOf returns the powers of one rule. A rule limited to named objects counts
// only for powers that one name can be enough for.
func powersOf(p *event.PolicyRule) powers {
	if len(p.Resources) == 0 {
		return 0
	}
	var out powers
	anyGroup, anyResource := slices.Contains(p.Groups, "*"), slices.Contains(p.Resources, "*")
	if anyGroup && anyResource && slices.Contains(p.Verbs, "*") && len(p.Names) == 0 {
		out |= powerAll
	}
	if anyResource && (anyGroup || slices.Contains(p.Groups, "")) && len(p.Names) == 0 {
		out |= powerWildcard
	}
	reads := readsOnly(p)
	for i := range grantTable {
		g := &grantTable[i]
		if reads && g.power&(powerSecretsRead|powerPodsExec|powerNodesProxy) == 0 {
			continue
		}
		if out&g.power != 0 || len(p.Names) > 0 && !g.named || !anyGroup && !slices.Contains(p.Groups, g.group) {
			continue
		}
		if allowsVerb(p, g.verbs) && slices.ContainsFunc(g.resources, func(r string) bool {
			resource, sub, _ := strings.Cut(r, "/")
			return matchesResource(p, resource, sub)
		}) {
			out |= g.power
		}
	}
	return out
}

// readsOnly reports whether a rule allows no more than reading, as most do.
func readsOnly(p *event.PolicyRule) bool {
	for _, v := range p.Verbs {
		if v != "get" && v != "list" && v != "watch" {
			return false
		}
	}
	return true
}

// allowsVerb reports whether a rule allows one of verbs; constrained
// impersonation has verbs of its own, "impersonate:...".
func allowsVerb(p *event.PolicyRule, verbs []string) bool {
	return slices.ContainsFunc(p.Verbs, func(v string) bool {
		v, _, _ = strings.Cut(v, ":")
		return v == "*" || slices.Contains(verbs, v)
	})
}

// matchesResource reports whether a rule names a resource and subresource, as
// RBAC compares them.
func matchesResource(p *event.PolicyRule, resource, sub string) bool {
	for _, r := range p.Resources {
		if r == "*" || sub == "" && r == resource {
			return true
		}
		if base, s, ok := strings.Cut(r, "/"); ok && sub != "" && s == sub && (base == "*" || base == resource) {
			return true
		}
	}
	return false
}

// rolePowers returns the powers of a role, those aggregated into it included.
func (inv *Inventory) rolePowers(r *role) powers {
	var out powers
	if r != nil {
		inv.rulesOf(r, func(_ *role, g *grantedRule, _ Origin) bool {
			out |= g.Powers
			return true
		})
	}
	return out
}
