package cluster

import (
	"fmt"
	"strings"
)

func namespace(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}"
}

func account(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: %s}", name, namespace)
}

// role is a Role, or without a namespace a ClusterRole. Each rule is
// "group resources verbs", lists with commas, group "-" for the core.
func role(namespace, name string, rules ...string) string {
	var b strings.Builder
	kind := "ClusterRole"
	if namespace != "" {
		kind = "Role"
	}
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata: {name: %s, namespace: %q}\nrules:", kind, name, namespace)
	for _, r := range rules {
		f := strings.Fields(r)
		fmt.Fprintf(&b, "\n- {apiGroups: [%q], resources: [%s], verbs: [%s]}", strings.TrimPrefix(f[0], "-"), f[1], f[2])
	}
	return b.String()
}

// binding binds a Role of the namespace, or a ClusterRole when there is no such role
// marked with "Role/", to subjects: User/x, Group/x, namespace:account.
func binding(namespace, name, to string, subjects ...string) string {
	var b strings.Builder
	kind, ref := "ClusterRoleBinding", "ClusterRole"
	if namespace != "" {
		kind = "RoleBinding"
	}
	if local, ok := strings.CutPrefix(to, "Role/"); ok {
		ref, to = "Role", local
	}
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata: {name: %s, namespace: %q}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: %s, name: %s}\nsubjects:",
		kind, name, namespace, ref, to)
	for _, s := range subjects {
		if k, n, ok := strings.Cut(s, "/"); ok {
			fmt.Fprintf(&b, "\n- {kind: %s, name: %q, apiGroup: rbac.authorization.k8s.io}", k, n)
			continue
		}
		ns, n, _ := strings.Cut(s, ":")
		fmt.Fprintf(&b, "\n- {kind: ServiceAccount, name: %s, namespace: %s}", n, ns)
	}
	return b.String()
}

// deployment runs an image as an account; extra is YAML for the container, in
// braces' notation without them.
func deployment(namespace, name, account, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      serviceAccountName: %[3]s
      containers: [{name: main, image: %[4]q}]`, namespace, name, account, image)
}

func service(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %[2]s, namespace: %[1]s}\nspec: {selector: {app: %[2]s}, ports: [{port: 80}]}", namespace, name)
}

func secret(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData: {key: not-a-secret}", name, namespace)
}

func configMap(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {mode: fast}", name, namespace)
}

// stream is one YAML stream of manifests.
func stream(manifests ...string) string { return strings.Join(manifests, "\n---\n") }
