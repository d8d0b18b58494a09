package condition

import (
	"slices"
	"strings"
)

// preference is the order in which the index asks: first what throws out most.
// Only fields that cost a load are in it or below the prefixes of cheapPrefixes.
var preference = []string{"k8s.resource", "cloud.action", "k8s.subresource", "k8s.verb", "cloud.service", "k8s.succeeded", "cloud.succeeded", "k8s.refused", "user.kind", "k8s.code", "actor.system", "object.present", "pod.present", "k8s.group", "k8s.dryRun", "user.type", "cloud.provider"}

// cheapPrefixes begin the names of fields that are a load from the event;
// others are computed and never asked by the index.
var cheapPrefixes = []string{"actor.", "recent.", "change.", "target.", "rbac.role", "rbac.clusterWide", "rbac.subject", "review.", "token.issued", "token.bound", "service.type", "policy.name", "csr.signer", "csr.approved", "k8s.namespace", "k8s.name", "user.name", "user.impersonated", "cloud.", "pod.host", "object.kind", "exec.tty", "exec.stdin"}

// Rank is a field's place in the order in which an index asks fields: first
// what tells rules apart best. It is -1 for fields an index must not ask, as they
// are computed.
func Rank(field string) int {
	if i := slices.Index(preference, field); i >= 0 {
		return i
	}
	if slices.ContainsFunc(cheapPrefixes, func(p string) bool { return strings.HasPrefix(field, p) }) {
		return len(preference)
	}
	return -1
}
