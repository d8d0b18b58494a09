package auditpolicy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed policies/clew.yaml
var ownPolicy string

//go:embed policies/gce.yaml
var gcePolicy string

//go:embed policies/openshift.yaml
var openShift string

// distribution is where a policy goes.
type distribution struct {
	name  string
	notes string // printed as comment above the text
	text  string // "": nothing that could be applied or judged
}

// distributions returns what Generate knows. Sources: the documentation of each
// distribution; what is known of the policies of EKS and GKE is in
// docs/audit-policy.md.
func distributions() []distribution {
	return []distribution{
		{"kubeadm", `Audit policy for clew, for clusters made by kubeadm.
On every control-plane node: save as /etc/kubernetes/audit-policy.yaml and give
kube-apiserver (ClusterConfiguration, apiServer.extraArgs and extraVolumes)
  --audit-policy-file=/etc/kubernetes/audit-policy.yaml
  --audit-webhook-config-file=… (a kubeconfig that names clew) or --audit-log-path=…`, ownPolicy},
		{"k3s", `Audit policy for clew, for K3s.
On every server: save as /var/lib/rancher/k3s/server/audit.yaml and put into
/etc/rancher/k3s/config.yaml
  kube-apiserver-arg:
    - audit-policy-file=/var/lib/rancher/k3s/server/audit.yaml
    - audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log`, ownPolicy},
		{"rke2", `Audit policy for clew, for RKE2.
On every server: save as /etc/rancher/rke2/audit-policy.yaml and put into
/etc/rancher/rke2/config.yaml
  audit-policy-file: /etc/rancher/rke2/audit-policy.yaml
Without it RKE2 writes a policy that logs nothing.`, ownPolicy},
		{"eks", `EKS: the audit policy is Amazon's and cannot be changed. The audit log is off
until it is enabled (cluster logging, type "audit"); entries above 256 KB are cut.
What cannot be had: deletions of core events, bodies of ConfigMaps (aws-auth is
said to be an exception).
This is no policy to apply; it is close to what EKS runs, for clew audit-policy lint.`, gcePolicy},
		{"gke", `GKE: the audit policy is Google's and cannot be changed. Reads are Data Access
logs, which are off until they are enabled for the Kubernetes Engine API; without
them get, list and watch are invisible.
What cannot be had: deletions of core events, bodies of ConfigMaps, groups and
extra fields of users (Cloud Audit Logs leave them out).
This is no policy to apply; it is close to what GKE runs, for clew audit-policy lint.`, gcePolicy},
		{"aks", `AKS: the audit policy is Microsoft's, is not public and cannot be changed.
Send the category kube-audit to clew (diagnostic settings). kube-audit-admin leaves
out every get and list, and with them reads of secrets and each exec over WebSocket.
Bodies that are too big become "skipped-too-big-size-object".
There is nothing to apply or to judge with clew audit-policy lint.`, ""},
		{"openshift", `OpenShift: the policy is written by an operator and cannot be given freely; it is
chosen by a profile. Apply this with oc apply -f. Profile Default has no bodies.
What cannot be had with any profile: core events, bodies of secrets and routes.
spec.audit.customRules chooses a profile per group of users; leave it out.`, openShift},
	}
}

// Distributions returns the names that Generate knows.
func Distributions() []string {
	var out []string
	for _, d := range distributions() {
		out = append(out, d.name)
	}
	return out
}

// Generate returns what to do about the audit policy of a distribution: the policy
// to use with comments, or for managed ones what cannot be changed. An unknown name
// is an error that lists the known ones.
func Generate(name string) (string, error) {
	all := distributions()
	i := slices.IndexFunc(all, func(d distribution) bool { return d.name == name })
	if i < 0 {
		return "", fmt.Errorf("%q is not one of %s", name, strings.Join(Distributions(), ", "))
	}
	return "# " + strings.ReplaceAll(all[i].notes, "\n", "\n# ") + "\n" + all[i].text, nil
}
