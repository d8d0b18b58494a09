package k8saudit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clew-sec/clew/internal/event"
)

func decodeBody(t *testing.T, doc string) event.Body {
	t.Helper()
	var b event.Body
	if err := new(Decoder).DecodeBody([]byte(doc), &b); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return b
}

// present is a body that was read and has nothing in it.
func present(change func(*event.Body)) event.Body {
	b := event.Body{Present: true, Replicas: -1}
	change(&b)
	return b
}

func TestDecodeBody(t *testing.T) {
	for _, tc := range []struct {
		name, doc string
		want      event.Body
	}{
		{"cron job", `{"kind":"CronJob","spec":{"schedule":"* * * * *","suspend":true,"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"i"}]}}}}}}`,
			present(func(b *event.Body) {
				b.Kind, b.Schedule, b.Suspend, b.HasPodSpec = "CronJob", "* * * * *", true, true
				b.Containers = []event.Container{{Name: "a", Image: "i"}}
			})},
		{"pod template", `{"kind":"PodTemplate","template":{"spec":{"hostNetwork":true}}}`,
			present(func(b *event.Body) { b.Kind, b.HasPodSpec, b.HostNetwork = "PodTemplate", true, true })},
		{"custom resource with a pod template", `{"kind":"Rollout","spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"a"}]}}}}`,
			present(func(b *event.Body) {
				b.Kind, b.Replicas, b.HasPodSpec, b.Containers = "Rollout", 2, true, []event.Container{{Name: "a"}}
			})},
		{"custom resource with another template", `{"kind":"MachineDeployment","spec":{"template":{"spec":{"bootstrap":{}}}}}`,
			present(func(b *event.Body) { b.Kind = "MachineDeployment" })},
		{"a deployment has no containers beside its template", `{"kind":"Deployment","spec":{"hostPID":true,"containers":[{"name":"decoy"}]}}`,
			present(func(b *event.Body) { b.Kind = "Deployment" })},
		{"capabilities in any form", `{"kind":"Pod","spec":{"containers":[{"securityContext":{"capabilities":{"add":["sys_admin","CAP_NET_RAW","ALL"]}}}]}}`,
			present(func(b *event.Body) {
				b.Kind, b.HasPodSpec = "Pod", true
				b.Containers = []event.Container{{CapsAdd: []string{"SYS_ADMIN", "NET_RAW", "ALL"}}}
			})},
		{"deprecated service account name", `{"kind":"Pod","spec":{"serviceAccountName":"new","serviceAccount":"old"}}`,
			present(func(b *event.Body) { b.Kind, b.HasPodSpec, b.ServiceAccount = "Pod", true, "new" })},
		{"tolerates all", `{"kind":"Pod","spec":{"tolerations":[{"key":"a","operator":"Exists"},{"operator":"Exists"}],"automountServiceAccountToken":false}}`,
			present(func(b *event.Body) { b.Kind, b.HasPodSpec, b.TolerateAll, b.Automount = "Pod", true, true, -1 })},
		{"volumes", `{"kind":"Pod","spec":{"volumes":[{"name":"h","hostPath":{"path":"/","type":"Directory"}},{"name":"n","nfs":{"path":"/x","server":"s"}},{"secret":{"secretName":"s"},"name":"s"},
			{"name":"p","projected":{"sources":[{"serviceAccountToken":{"audience":"vault","path":"t"}},{"secret":{"name":"q"}},{"secret":{"name":"r"}}]}},{"name":"c","persistentVolumeClaim":{"claimName":"data"}}]}}`,
			present(func(b *event.Body) {
				b.Kind, b.HasPodSpec = "Pod", true
				b.Volumes = []event.Volume{
					{Name: "h", Type: "hostPath", HostPath: "/"}, {Name: "n", Type: "nfs"}, {Name: "s", Type: "secret", Secret: "s"},
					{Name: "p", Type: "projected", Secret: "q", Audiences: []string{"vault"}}, {Name: "c", Type: "persistentVolumeClaim", Claim: "data"},
				}
			})},
		{"strategic merge patch", `{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"web"}],"containers":[{"name":"web","securityContext":{"privileged":true}},{"$patch":"delete","name":"old"}],"volumes":[{"$patch":"delete","name":"v"}]}}}}`,
			present(func(b *event.Body) {
				b.HasPodSpec, b.Containers = true, []event.Container{{Name: "web", Privileged: true}}
			})},
		{"repeated list replaces", `{"kind":"Pod","spec":{"containers":[{"name":"a"},{"name":"b"}],"initContainers":[{"name":"i"}],"containers":[{"name":"c"}]}}`,
			present(func(b *event.Body) {
				b.Kind, b.HasPodSpec = "Pod", true
				b.Containers = []event.Container{{Name: "i", Class: event.ContainerInit}, {Name: "c"}}
			})},
		{"repeated label", `{"metadata":{"labels":{"a":"1","ab":"2","a":"3","gone":null}}}`,
			present(func(b *event.Body) { b.Labels = []string{"ab=2", "a=3"} })},
		{"persistent volume", `{"kind":"PersistentVolume","spec":{"capacity":{"storage":"1Gi"},"hostPath":{"path":"/etc"}}}`,
			present(func(b *event.Body) {
				b.Kind, b.Volumes = "PersistentVolume", []event.Volume{{Type: "hostPath", HostPath: "/etc"}}
			})},
		{"token request", `{"kind":"TokenRequest","spec":{"audiences":["a"],"expirationSeconds":3607,"boundObjectRef":{"kind":"Pod","name":"p","uid":"u"}},"status":{"token":"secret"}}`,
			present(func(b *event.Body) {
				b.Kind, b.Audiences, b.ExpirationS, b.BoundKind, b.BoundName, b.BoundUID = "TokenRequest", []string{"a"}, 3607, "Pod", "p", "u"
			})},
		{"secret", `{"kind":"Secret","type":"bootstrap.kubernetes.io/token","data":{"token":"dmFsdWU="},"stringData":{"b":"value"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","x":"y"}}}`,
			present(func(b *event.Body) {
				b.Kind, b.SecretType, b.DataKeys, b.Annotations = "Secret", "bootstrap.kubernetes.io/token", []string{"token", "b"}, []string{"x=y"}
			})},
		{"event is no secret", `{"kind":"Event","type":"Normal"}`, present(func(b *event.Body) { b.Kind = "Event" })},
		{"service", `{"kind":"Service","spec":{"type":"ExternalName","externalName":"evil.example","externalIPs":["192.0.2.1"],"ports":[{"port":80},{"port":443}],"selector":{"app":"x"}}}`,
			present(func(b *event.Body) {
				b.Kind, b.ServiceType, b.ExternalName = "Service", "ExternalName", "evil.example"
				b.ExternalIPs, b.Ports, b.Selector = []string{"192.0.2.1"}, []int{80, 443}, []string{"app=x"}
			})},
		{"binding", `{"kind":"Binding","metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}`,
			present(func(b *event.Body) { b.Kind, b.Name, b.TargetNode = "Binding", "p", "n" })},
		{"eviction", `{"kind":"Eviction","metadata":{"name":"p"},"deleteOptions":{"preconditions":{"uid":"u"}}}`,
			present(func(b *event.Body) { b.Kind, b.Name, b.PreconditionUID = "Eviction", "p", "u" })},
		{"access to a path", `{"kind":"SubjectAccessReview","spec":{"user":"u","nonResourceAttributes":{"path":"/metrics","verb":"get"}}}`,
			present(func(b *event.Body) {
				b.Kind, b.ReviewUser, b.ReviewResource, b.ReviewVerb = "SubjectAccessReview", "u", "/metrics", "get"
			})},
		{"token review answered", `{"kind":"TokenReview","spec":{"token":"secret"},"status":{"user":{"username":"u"}}}`,
			present(func(b *event.Body) { b.Kind, b.ReviewUser = "TokenReview", "u" })},
		{"mutating policy", `{"kind":"MutatingAdmissionPolicy","spec":{"matchConstraints":{"resourceRules":[{"apiGroups":["","apps"],"resources":["pods"]}]},"mutations":[{"patchType":"JSONPatch","jsonPatch":{"expression":"e1"}},{"applyConfiguration":{"expression":"e2"}}]}}`,
			present(func(b *event.Body) {
				b.Kind, b.PolicyResources, b.PolicyExpressions = "MutatingAdmissionPolicy", []string{"/pods", "apps/pods"}, []string{"e1", "e2"}
			})},
		{"webhook", `{"kind":"ValidatingWebhookConfiguration","webhooks":[{"name":"w","clientConfig":{"service":{"namespace":"n","name":"s"}},"failurePolicy":"Ignore","objectSelector":{},"namespaceSelector":{"matchExpressions":[{}]},
			"rules":[{"apiGroups":["*"],"resources":["*"],"operations":["CREATE","UPDATE"]},{"apiGroups":[""],"resources":["secrets"],"operations":["CREATE"]}]}]}`,
			present(func(b *event.Body) {
				b.Kind = "ValidatingWebhookConfiguration"
				b.Webhooks = []event.Webhook{{Name: "w", ServiceNamespace: "n", ServiceName: "s", FailurePolicy: "Ignore",
					Resources: []string{"*/*", "/secrets"}, Operations: []string{"CREATE", "UPDATE"}, NamespaceSelector: true}}
			})},
		{"aggregated role", `{"kind":"ClusterRole","metadata":{"labels":{"rbac.authorization.k8s.io/aggregate-to-view":"true","rbac.authorization.k8s.io/aggregate-to-edit":"false"}},"rules":[{"nonResourceURLs":["/x"],"verbs":["get"]}]}`,
			present(func(b *event.Body) {
				b.Kind, b.AggregateTo = "ClusterRole", []string{"view"}
				b.Labels = []string{"rbac.authorization.k8s.io/aggregate-to-view=true", "rbac.authorization.k8s.io/aggregate-to-edit=false"}
				b.Rules = []event.PolicyRule{{URLs: []string{"/x"}, Verbs: []string{"get"}}}
			})},
		{"aggregating role", `{"kind":"ClusterRole","aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"b":"1","a":"2"},"matchExpressions":[{"key":"c","operator":"In","values":["x","y"]},{"key":"d","operator":"DoesNotExist"}]},{}]}}`,
			present(func(b *event.Body) {
				b.Kind, b.AggregateFrom = "ClusterRole", []string{"a=2,b=1,c=x|y,!d", ""}
			})},
		{"Google's name for a kind", `{"@type":"core.k8s.io/v1.Pod","spec":{"hostPID":true}}`,
			present(func(b *event.Body) { b.HasPodSpec, b.HostPID = true, true })},
		{"skipped", `"skipped-too-big-size-object"`, event.Body{Skipped: true}},
		{"null", `null`, event.Body{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := decodeBody(t, tc.doc)
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Body{}, "Raw")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestJSONPatch(t *testing.T) {
	got := decodeBody(t, `[
		{"op":"test","path":"/spec/hostIPC","value":true},
		{"op":"add","path":"/spec/hostPID","value":true},
		{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"side","image":"evil"}},
		{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"other"},
		{"op":"add","path":"/spec/template/spec/volumes/-","value":{"name":"root","hostPath":{"path":"/"}}},
		{"op":"add","path":"/rules/0/resources/-","value":"secrets"},
		{"op":"add","path":"/subjects/-","value":{"kind":"User","name":"eve"}},
		{"op":"add","path":"/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-admin","value":"true"},
		{"op":"add","path":"/metadata/labels/0","value":"digit"},
		{"op":"add","path":"/metadata/annotations/a~01\"b","value":"v"},
		{"op":"remove","path":"/spec/replicas"},
		{"op":"copy","from":"/a","path":"/b"},
		{"op":"add","path":"no-slash","value":1}
	]`)
	want := present(func(b *event.Body) {
		b.Patch = []string{
			"test /spec/hostIPC", "add /spec/hostPID", "add /spec/template/spec/containers/-", "replace /spec/template/spec/containers/0/image",
			"add /spec/template/spec/volumes/-", "add /rules/0/resources/-", "add /subjects/-",
			"add /metadata/labels/rbac.authorization.k8s.io~1aggregate-to-admin", "add /metadata/labels/0", `add /metadata/annotations/a~01"b`,
			"remove /spec/replicas", "copy /b", "add no-slash",
		}
		b.HasPodSpec, b.HostPID = true, true
		b.Containers = []event.Container{{Name: "side", Image: "evil"}, {Image: "other"}}
		b.Volumes = []event.Volume{{Name: "root", Type: "hostPath", HostPath: "/"}}
		b.Rules = []event.PolicyRule{{Resources: []string{"secrets"}}}
		b.Subjects = []event.Subject{{Kind: "User", Name: "eve"}}
		b.Labels, b.AggregateTo = []string{"rbac.authorization.k8s.io/aggregate-to-admin=true", "0=digit"}, []string{"admin"}
		b.Annotations = []string{`a~1"b=v`}
	})
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Body{}, "Raw")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRuleMadeToBeHuge(t *testing.T) {
	group := `"` + strings.Repeat("g", 100_000) + `"`
	doc := `{"kind":"MutatingWebhookConfiguration","webhooks":[{"rules":[{"apiGroups":[` + group + `,""],"resources":["x"` + strings.Repeat(`,"x"`, 20000) + `,"pods"]}]}]}`
	got := decodeBody(t, doc)
	resources := got.Webhooks[0].Resources
	if len(resources) != 20002 || resources[20001] != "*/pods" {
		t.Errorf("%d resources, last %q", len(resources), resources[len(resources)-1])
	}
}

func TestDecodeBodyRejects(t *testing.T) {
	for _, doc := range []string{``, `{`, `{"kind":"Pod"`, `[{"op":"add"}`, `{"kind":"Pod"}x`, `{"spec":{"containers":[}}`} {
		var b event.Body
		if err := new(Decoder).DecodeBody([]byte(doc), &b); err == nil {
			t.Errorf("%q was accepted", doc)
		}
	}
}
