package detect_test

import (
	"fmt"
	"testing"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
)

var lists = map[string][]string{
	"shells":   {"sh", "bash", "/bin/sh", "/bin/bash", "ash", "zsh", "dash", "ksh"},
	"metadata": {"169.254.169.254", "fd00:ec2::254/128"},
	"nets":     {"10.0.0.0/8", "10.1.0.0/16"},
}

// operators are conditions for every part of the language that has a closure.
var operators = []string{
	`k8s.verb == "create"`,
	`"create" == k8s.verb`,
	`k8s.verb != "create" && k8s.resource == "pods"`,
	`!(k8s.verb == "create" || k8s.succeeded)`,
	`k8s.code == 403 || k8s.code >= 500 && k8s.code < 600`,
	`k8s.code in [401, 403]`,
	`!(k8s.code in [401, 403]) && k8s.code != 0`,
	`k8s.code > 200 ? k8s.verb == "get" : k8s.resource == "pods"`,
	`k8s.verb in ["create", "update", "patch"] && k8s.resource in ["pods", "deployments", "daemonsets", "jobs", "cronjobs", "replicasets", "statefulsets"]`,
	`"system:masters" in user.groups`,
	`!("system:masters" in user.groups) && size(user.groups) > 1`,
	`user.groups.exists(g, g.startsWith("system:") && g != "system:authenticated")`,
	`user.groups.all(g, g.startsWith("system:")) && user.groups.size() > 0`,
	`exec.command.exists(c, c in list.shells)`,
	`exec.line.contains("/etc/shadow") || exec.line.matches("curl .*\\| *(ba)?sh")`,
	`pod.hostPaths.exists(p, p == "/" || p.startsWith("/etc") || pod.images.exists(i, i.endsWith(p)))`,
	`inCIDR(source.ip, list.nets) && !inCIDR(source.ip, ["10.2.0.0/16"])`,
	`inCIDR(source.ip, list.metadata) || inCIDR(k8s.name, service.externalIPs)`,
	`joined(pod.commands).contains("nc -e") || joined(exec.command) == "sh -c id"`,
	`actor.podMismatch && !actor.system`,
	`actor.podMismatch == actor.system`,
	`(k8s.succeeded != k8s.refused) == true`,
	`recent.refusals >= 5 && recent.refusals > recent.secretsRead`,
	`recent.secretsRead < 3 || 2 <= recent.deletes`,
	`user.name == target.creator && user.name != ""`,
	`k8s.namespace in ["kube-system", user.namespace]`,
	`user.name < "m" && user.name >= "a"`,
	`k8s.name.startsWith(user.serviceAccount) && k8s.name.size() == 3`,
	`size(k8s.name) == size("é") && k8s.name.contains("")`,
	`true`,
	`false || user.mfa`,
	`rbac.powers.exists(p, p in rbac.newPowers)`,
	`["a", "b"].exists(x, x == k8s.name)`,
	`list.shells.exists(s, k8s.name.endsWith(s))`,
	`pod.privileged && (pod.hostPID || pod.hostNetwork) && pod.capabilities.exists(c, c in ["SYS_ADMIN", "SYS_PTRACE"])`,
	`csr.organizations.exists(o, o == "system:masters") || csr.commonName.startsWith("system:")`,
	`pod.plainSecrets.size() > 0 || pod.writableHostPaths.size() > 1`,
	`user.agentFamily in ["curl", "python-requests"] && source.public`,
	`k8s.name + "-é" == user.name || list.shells.exists(s, k8s.name.contains("/" + s))`,
	`k8s.verb == "create" && k8s.verb == "delete"`,
	`!(!(k8s.resource == "secrets")) && !(k8s.verb in ["list", "watch"] && k8s.name == "")`,
}

// beyond are conditions that need cel-go, some with an error for some events.
var beyond = []string{
	`user.groups[0] == "system:masters"`,
	`k8s.verb == "create" && user.groups.filter(g, g.startsWith("system:")).size() > 1`,
	`user.groups.exists_one(g, g == "system:masters")`,
	`k8s.code / 100 == 4`,
	`int(k8s.name) > 4 || k8s.verb == "get"`,
	`user.groups == ["system:masters"]`,
	`k8s.name.matches(user.name)`,
	`user.groups.map(g, size(g)).exists(n, n > 3)`,
}

func ruleOf(i int, source event.Source, when string) rule.Rule {
	return rule.Rule{ID: fmt.Sprintf("r-%03d", i), Title: "t", Source: source, When: when, Flag: "{user.name} {k8s.verb}"}
}

func operatorRules() []rule.Rule {
	var out []rule.Rule
	for _, w := range append(append([]string(nil), operators...), beyond...) {
		out = append(out, ruleOf(len(out), event.SourceK8sAudit, w))
	}
	for _, s := range []event.Source{event.SourceCloudTrail, event.SourceGCPAudit, event.SourceAzureActivity} {
		out = append(out, ruleOf(len(out), s, `cloud.action == "GetObject" && !cloud.succeeded`))
		out = append(out, ruleOf(len(out), s, `cloud.params.exists(p, p.startsWith("x")) && cloud.readOnly`))
	}
	return out
}

// syntheticRules are n conditions shaped like a real pack's.
func syntheticRules(n int) []rule.Rule {
	pick := func(i int, s []string) string { return s[i%len(s)] }
	resources := []string{"secrets", "clusterrolebindings", "rolebindings", "daemonsets", "cronjobs", "configmaps", "serviceaccounts", "nodes", "certificatesigningrequests", "mutatingwebhookconfigurations", "namespaces", "networkpolicies"}
	subs := []string{"exec", "attach", "portforward", "proxy", "ephemeralcontainers", "token", "approval", "eviction"}
	verbs := []string{`["create"]`, `["create", "update", "patch"]`, `["get", "list", "watch"]`, `["delete", "deletecollection"]`}
	var out []rule.Rule
	for i := range n {
		src := event.SourceK8sAudit
		var w string
		switch i % 12 {
		case 0, 1:
			w = fmt.Sprintf(`k8s.resource == %q && k8s.verb in %s && k8s.succeeded && !actor.system && recent.listedResources > %d`, pick(i/2, resources), pick(i/3, verbs), i%7)
		case 2, 3:
			w = fmt.Sprintf(`k8s.resource == "pods" && k8s.subresource == %q && k8s.verb in ["create", "get"] && (actor.podMismatch || exec.line.contains("tool-%d"))`, pick(i/2, subs), i)
		case 4, 5:
			w = fmt.Sprintf(`pod.present && k8s.verb in ["create", "update", "patch"] && k8s.succeeded && change.podSpec && pod.hostPaths.exists(p, p == "/etc/%d" || p.startsWith("/var/%d"))`, i, i)
		case 6:
			w = fmt.Sprintf(`pod.present && k8s.verb in ["create", "update"] && pod.commands.exists(c, c.matches("(curl|wget) .*tool%d.*sh"))`, i)
		case 7:
			w = fmt.Sprintf(`user.kind == "serviceaccount" && k8s.refused && recent.refusals >= %d && !actor.controller`, 3+i%9)
		case 8:
			w = fmt.Sprintf(`rbac.newPowers.exists(p, p in ["all", "escalate", "bind"]) && rbac.clusterWide && !rbac.subjectNew && user.name != "u-%d"`, i)
		case 9:
			w = fmt.Sprintf(`k8s.uri.contains("/tool-%d/")`, i)
		case 10:
			src, w = event.SourceCloudTrail, fmt.Sprintf(`cloud.service == "iam" && cloud.action == "Create%d" && cloud.succeeded`, i)
		default:
			src, w = event.SourceCloudTrail, fmt.Sprintf(`cloud.action in ["Get%d", "List%d"] && actor.foreignIssued`, i, i)
		}
		out = append(out, ruleOf(i, src, w))
	}
	return out
}

func compile(tb testing.TB, rules []rule.Rule) *setUnderTest {
	tb.Helper()
	return compileFor(tb, rules, nil)
}
