package k8saudit

import (
	"slices"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

// Each test shows, on recorded events, one way in which an audit log differs
// from what one would expect of it.

func TestExecIsGetOrCreateAndCarriesItsCommand(t *testing.T) {
	verbs := map[string]bool{}
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Subresource == "exec" && len(e.K8s.Command) > 0 }) {
		verbs[e.K8s.Verb] = true
		if strings.Contains(e.K8s.CommandLine(), "%") || strings.Contains(e.K8s.CommandLine(), "+/var") {
			t.Errorf("command %q is not decoded", e.K8s.Command)
		}
	}
	if !verbs["get"] || !verbs["create"] {
		t.Errorf("verbs of exec = %v, want get and create", verbs)
	}
	token := []string{"sh", "-c", "cat /var/run/secrets/kubernetes.io/serviceaccount/token"}
	find(t, func(e *event.Event) bool {
		return slices.Equal(e.K8s.Command, token) && e.K8s.Container == "c" && e.K8s.TTY && e.K8s.Stdin
	})
}

func TestStreamingRequestHasTwoStages(t *testing.T) {
	stages := map[event.Stage]bool{}
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Subresource == "exec" && e.K8s.Code == 101 }) {
		stages[e.K8s.Stage] = true
		if !e.K8s.Succeeded() {
			t.Error("a switch of protocols is a success")
		}
	}
	if !stages[event.StageResponseStarted] || !stages[event.StageResponseComplete] {
		t.Errorf("stages = %v", stages)
	}
}

func TestFailedAuthenticationHasNoUser(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Code == 401 }) {
		if e.Actor.Kind != event.ActorUnauthenticated || e.Actor.Name != "" || e.K8s.Stage != event.StageResponseStarted {
			t.Errorf("401: kind %v, name %q, stage %v", e.Actor.Kind, e.Actor.Name, e.K8s.Stage)
		}
	}
	find(t, func(e *event.Event) bool {
		return e.Actor.Kind == event.ActorAnonymous && e.Actor.Name == "system:anonymous"
	})
}

func TestAllowedDoesNotMeanDone(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Decision == "allow" && e.K8s.Code == 403 }) {
		if e.K8s.Succeeded() || !e.K8s.Refused() {
			t.Errorf("%s %s counts as done", e.K8s.Verb, e.K8s.URI)
		}
	}
}

func TestImpersonation(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Constraint != "" }) {
		if e.Actor.Impersonated == "" || e.Actor.Impersonated == e.Actor.Name || !strings.HasPrefix(e.K8s.Constraint, "impersonate:") {
			t.Errorf("user %q as %q by %q", e.Actor.Name, e.Actor.Impersonated, e.K8s.Constraint)
		}
	}
	for _, e := range find(t, func(e *event.Event) bool { return strings.Contains(e.K8s.Message, "cannot impersonate") }) {
		if e.Actor.Impersonated != "" || e.K8s.Decision != "" || e.K8s.Code != 403 {
			t.Errorf("refused impersonation: as %q, decision %q, code %d", e.Actor.Impersonated, e.K8s.Decision, e.K8s.Code)
		}
	}
}

func TestNameAndUIDOfCreated(t *testing.T) {
	generated := find(t, func(e *event.Event) bool {
		return e.K8s.Verb == "create" && e.K8s.Resource == "pods" && e.K8s.Subresource == "" && e.K8s.Object.GenerateName != "" && e.K8s.Response.UID != ""
	})
	for _, e := range generated {
		if !strings.HasPrefix(e.K8s.Name, e.K8s.Object.GenerateName) || e.K8s.UID != e.K8s.Response.UID {
			t.Errorf("name %q, uid %q for generateName %q", e.K8s.Name, e.K8s.UID, e.K8s.Object.GenerateName)
		}
	}
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Verb == "deletecollection" }) {
		if e.K8s.Name != "" || e.K8s.UID != "" {
			t.Errorf("deletecollection of %q %q", e.K8s.Name, e.K8s.UID)
		}
	}
	for _, e := range find(t, func(e *event.Event) bool {
		return e.K8s.Verb == "delete" && e.K8s.Succeeded() && e.K8s.Level == event.LevelRequestResponse
	}) {
		if e.K8s.UID == "" && e.K8s.Resource != "events" {
			t.Errorf("delete of %s %q tells no uid", e.K8s.Resource, e.K8s.Name)
		}
	}
}

func TestMirrorPodCarriesTheStaticUID(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool {
		return e.K8s.Verb == "create" && e.K8s.Resource == "pods" && e.K8s.Subresource == "" && e.K8s.Level == event.LevelMetadata && e.K8s.UID != ""
	}) {
		if e.Actor.Kind != event.ActorNode || strings.Contains(e.K8s.UID, "-") {
			t.Errorf("uid %q of %q, created by %q", e.K8s.UID, e.K8s.Name, e.Actor.Name)
		}
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return strings.Contains(e.K8s.URI, "dryRun=All") }) {
		if !e.K8s.DryRun || e.K8s.Succeeded() || e.K8s.UID != "" || e.K8s.Response.UID == "" {
			t.Errorf("dry run %v, uid %q, response %q", e.K8s.DryRun, e.K8s.UID, e.K8s.Response.UID)
		}
	}
}

func TestCredentials(t *testing.T) {
	is := func(kind event.ActorKind, prefix string) func(*event.Event) bool {
		return func(e *event.Event) bool {
			return e.Actor.Kind == kind && strings.HasPrefix(e.Actor.Credential, prefix)
		}
	}
	find(t, is(event.ActorServiceAccount, "JTI="))
	find(t, is(event.ActorUser, "X509SHA256="))
	find(t, is(event.ActorComponent, "X509SHA256="))
	for _, e := range find(t, is(event.ActorNode, "X509SHA256=")) {
		if "system:node:"+e.Actor.NodeName != e.Actor.Name {
			t.Errorf("node %q of %q", e.Actor.NodeName, e.Actor.Name)
		}
	}
	for _, e := range find(t, func(e *event.Event) bool { return e.Actor.PodUID != "" }) {
		if e.Actor.PodName == "" || e.Actor.Namespace == "" || e.Actor.ServiceAccount == "" {
			t.Errorf("bound token of %q: pod %q", e.Actor.Name, e.Actor.PodName)
		}
	}
	find(t, func(e *event.Event) bool { return e.Actor.Credential == "legacy:rr/legacy" })
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.IssuedCredential != "" }) {
		if e.K8s.Subresource != "token" || !strings.HasPrefix(e.K8s.IssuedCredential, "JTI=") {
			t.Errorf("issued %q by %s", e.K8s.IssuedCredential, e.K8s.URI)
		}
	}
}

func TestAdmissionAnnotations(t *testing.T) {
	has := func(list func(*event.Request) []string, want string) {
		t.Helper()
		find(t, func(e *event.Event) bool { return slices.Contains(list(&e.K8s), want) })
	}
	has(func(r *event.Request) []string { return r.MutatedBy }, "mwc-evil")
	has(func(r *event.Request) []string { return r.MutatedBy }, "spike-mutate")
	has(func(r *event.Request) []string { return r.FailedOpen }, "mwc-dead/mwc-dead.evil.io")
	has(func(r *event.Request) []string { return r.MutationPatch }, `[{"op":"add","path":"/metadata/labels","value":{"evil":"1"}}]`)
	for _, e := range find(t, func(e *event.Event) bool { return len(e.K8s.FailedOpen) > 0 }) {
		if len(e.K8s.MutatedBy) > 0 {
			t.Errorf("%q failed open and is said to have changed the object", e.K8s.MutatedBy)
		}
	}
	find(t, func(e *event.Event) bool {
		return e.K8s.Resource == "deployments" && e.K8s.Code == 201 && strings.Contains(e.K8s.PSAViolations, "host")
	})
	find(t, func(e *event.Event) bool { return strings.Contains(e.K8s.PolicyFailure, "no-host-pid") })
}

func TestOnlyTheLastAddressIsTheServersOwn(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return len(e.Actor.ForgedIPs) > 0 }) {
		if e.Actor.IP != "127.0.0.1" || slices.Contains(e.Actor.ForgedIPs, "127.0.0.1") {
			t.Errorf("address %q, forged %q", e.Actor.IP, e.Actor.ForgedIPs)
		}
	}
}

func TestAuditIDIsNoKey(t *testing.T) {
	type seen struct {
		id  event.ID
		uri string
	}
	byAuditID := map[string][]seen{}
	reused := false
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Stage == event.StageResponseComplete }) {
		for _, other := range byAuditID[e.K8s.AuditID] {
			reused = reused || other.uri != e.K8s.URI
			if other.id == e.ID && other.uri != e.K8s.URI {
				t.Errorf("%s and %s have one ID", other.uri, e.K8s.URI)
			}
		}
		byAuditID[e.K8s.AuditID] = append(byAuditID[e.K8s.AuditID], seen{e.ID, e.K8s.URI})
	}
	if !reused {
		t.Error("no recorded events share an audit ID")
	}
}

func TestProxyPath(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Subresource == "proxy" }) {
		if !strings.HasPrefix(e.K8s.ProxyPath, "/") {
			t.Errorf("%s: path %q", e.K8s.URI, e.K8s.ProxyPath)
		}
	}
	find(t, func(e *event.Event) bool { return e.K8s.Resource == "nodes" && e.K8s.ProxyPath == "/pods" })
	find(t, func(e *event.Event) bool {
		return e.K8s.ProxyPath == "/run/rr/p1/c" && slices.Equal(e.K8s.Command, []string{"id"})
	})
}

func TestKubeletAsksWhoMayDoWhat(t *testing.T) {
	find(t, func(e *event.Event) bool {
		o := &e.K8s.Object
		return e.Actor.Kind == event.ActorNode && o.ReviewUser != "" && o.ReviewResource == "nodes" && o.ReviewSubresource == "proxy" && o.ReviewVerb != ""
	})
}

func TestPatchAsArray(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return len(e.K8s.Object.Patch) > 0 }) {
		if e.K8s.Object.Patch[0] != "replace /spec/template" || !e.K8s.Object.HasPodSpec || len(e.K8s.Object.Containers) == 0 {
			t.Errorf("patch %q: %d containers", e.K8s.Object.Patch, len(e.K8s.Object.Containers))
		}
	}
}

func TestValuesOfSecretsAreNotKept(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Resource == "secrets" && e.K8s.Object.Present }) {
		for _, a := range append(append([]string(nil), e.K8s.Object.Annotations...), e.K8s.Response.Annotations...) {
			if strings.HasPrefix(a, "kubectl.kubernetes.io/last-applied") {
				t.Errorf("kept %s", a)
			}
		}
	}
}

func TestStatusSubresourceChangesNoSpec(t *testing.T) {
	for _, e := range find(t, func(e *event.Event) bool { return e.K8s.Subresource == "status" && e.K8s.Object.Present }) {
		if e.K8s.Object.HasPodSpec || len(e.K8s.Object.Containers) > 0 {
			t.Errorf("%s: the server ignores the spec there", e.K8s.URI)
		}
	}
}
