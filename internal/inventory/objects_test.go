package inventory

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

// made is a create request with body and answer.
func made(resource, ns, name, uid string, b event.Body) event.Request {
	r := req("create", resource, ns, name)
	r.Code, r.UID = 201, uid
	r.Object = body(b)
	b.UID, b.Name = uid, name
	r.Response = body(b)
	return r
}

func template(containers ...event.Container) event.Body {
	return event.Body{HasPodSpec: true, Containers: containers}
}

func owned(b event.Body, kind, name, uid string) event.Body {
	b.Owners = []event.Owner{{Kind: kind, Name: name, UID: uid, Controller: true}}
	return b
}

var web = event.Container{Name: "web", Image: "web:1"}

// deployment makes a Deployment with its ReplicaSet and one pod, as the
// controllers do.
func deployment(l *log, user event.Actor) {
	pod := template(web)
	pod.ServiceAccount = "web"
	l.see(fact(user, made("apps/deployments", "shop", "web", "d1", pod)))
	l.see(fact(builtin("deployment-controller", "dc", "10.9.0.1"), made("apps/replicasets", "shop", "web-6d9cdbc85f", "r1", owned(pod, "Deployment", "web", "d1"))))
	l.see(fact(builtin("replicaset-controller", "rc", "10.9.0.1"), made("pods", "shop", "web-6d9cdbc85f-ds69h", "p1", owned(pod, "ReplicaSet", "web-6d9cdbc85f", "r1"))))
}

func TestTargetOfAPod(t *testing.T) {
	l := newLog(t)
	alice := person("alice", "10.1.2.3")
	l.see(fact(alice, made("namespaces", "", "shop", "n1", event.Body{})))
	deployment(l, alice)
	l.wait(time.Minute)
	f := l.see(fact(alice, req("get", "pods/exec", "shop", "web-6d9cdbc85f-ds69h"))).Facts.Target
	want := event.TargetFacts{
		Known: true, AgeS: 61, Creator: "system:serviceaccount:kube-system:replicaset-controller",
		NamespaceAgeS: 64, OwnerKind: "Deployment", OwnerName: "web", ServiceAccount: "web", HostPaths: f.HostPaths,
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Error(diff)
	}
	if top, ok := l.inv.TopOwner("p1"); !ok || top != (Owner{"Deployment", "web", "d1"}) {
		t.Errorf("TopOwner = %v, %v", top, ok)
	}
	if p, ok := l.inv.Pod("p1"); !ok || p.Created.User == "" || cmp.Diff([]string{"web:1"}, p.Pod.Images()) != "" {
		t.Errorf("Pod = %+v, %v", p, ok)
	}
	proxy := l.see(fact(alice, req("get", "pods/proxy", "shop", "http:web-6d9cdbc85f-ds69h:80"))).Facts.Target
	if proxy.ServiceAccount != "web" {
		t.Errorf("proxy target: %+v", proxy)
	}
}

func TestNamesBelongToOneObjectAtATime(t *testing.T) {
	l := newLog(t)
	alice, key := person("alice", "10.1.2.3"), ObjectKey{"", "pods", "shop", "db-0"}
	l.see(fact(alice, made("pods", "shop", "db-0", "u1", template(web))))
	l.see(fact(alice, req("delete", "pods", "shop", "db-0")))
	if _, ok := l.inv.Object(key); ok {
		t.Error("a deleted object has its name still")
	}
	l.see(fact(person("bob", "10.1.2.4"), made("pods", "shop", "db-0", "u2", template(web))))
	now, ok := l.inv.Object(key)
	if !ok || now.UID != "u2" || now.Created.User != "bob" {
		t.Errorf("Object = %+v, %v", now, ok)
	}
	if old, ok := l.inv.ObjectByUID("u1"); !ok || old.Deleted == 0 {
		t.Errorf("the deleted object = %+v, %v", old, ok)
	}
	l.wait(2 * time.Hour)
	l.see(fact(alice, req("list", "pods", "shop", "")))
	if _, ok := l.inv.ObjectByUID("u1"); ok {
		t.Error("a deleted object is kept for ever")
	}
}

func TestAgeFromCreationTimestamp(t *testing.T) {
	l := newLog(t)
	r := req("patch", "apps/deployments", "shop", "web")
	r.Response = body(event.Body{UID: "d1", Created: l.now - int64(time.Hour)})
	alice := person("alice", "10.1.2.3")
	if got := l.see(fact(alice, r)).Facts.Target.AgeS; got != -1 {
		t.Errorf("age before it was told = %d", got)
	}
	if got := l.see(fact(alice, r)).Facts.Target.AgeS; got != 3602 {
		t.Errorf("age = %d, want 3602", got)
	}
}

func TestForgedOwner(t *testing.T) {
	pod := owned(template(web), "ReplicaSet", "web-6d9cdbc85f", "r1")
	tests := map[string]struct {
		actor event.Actor
		body  event.Body
		want  bool
	}{
		"person":            {person("eve", "10.1.2.3"), pod, true},
		"controller":        {builtin("replicaset-controller", "rc", "10.9.0.1"), pod, false},
		"other controller":  {builtin("job-controller", "jc", "10.9.0.1"), pod, true},
		"manager":           {manager("10.9.0.1"), pod, false},
		"stolen controller": {builtin("replicaset-controller", "rc", "203.0.113.1"), pod, true},
		"operator's own":    {account("op", "op", "10.244.0.3"), owned(template(web), "Cluster", "db", "c1"), false},
		"mirror pod":        {node("n1", "10.9.0.2"), owned(template(web), "Node", "n1", "n1"), false},
		"forged mirror":     {person("eve", "10.1.2.3"), owned(template(web), "Node", "n1", "n1"), true},
	}
	for name, tt := range tests {
		l := newLog(t)
		if got := l.see(fact(tt.actor, made("pods", "shop", "web-6d9cdbc85f-zzzzz", "p9", tt.body))).Facts.Target.ForgedOwner; got != tt.want {
			t.Errorf("%s: ForgedOwner = %v, want %v", name, got, tt.want)
		}
	}
}

func TestMimics(t *testing.T) {
	forged := owned(template(web), "ReplicaSet", "web-6d9cdbc85f", "r1")
	tests := []struct {
		resource, ns, name string
		body               event.Body
		want               string
	}{
		{"pods", "shop", "web-6d9cdbc85f-xk2p9", template(web), "web"},
		{"pods", "shop", "web-6d9cdbc85f-xk2p9", forged, "web"},
		{"pods", "shop", "web-x7k2p", template(web), "web"},
		{"pods", "other", "web-6d9cdbc85f-xk2p9", template(web), ""},
		{"pods", "shop", "web-canary", template(web), ""},
		{"pods", "shop", "web-1", template(web), ""},
		{"pods", "shop", "db-7", template(web), "db"},
		{"pods", "shop", "web-6d9cdbc85f-xk2p9", owned(template(web), "Cluster", "c", "c1"), ""},
		{"apps/deployments", "shop", "web-blue", template(web), ""},
		{"pods", "kube-system", "coredns-5d78c9869d-abc7x", template(web), "coredns"},
		{"pods", "kube-system", "corends-5d78c9869d-abc7x", template(web), ""},
		{"apps/daemonsets", "kube-system", "kube-proxi", template(web), "kube-proxy"},
		{"apps/deployments", "shop", "corednss", template(web), "coredns"},
		{"apps/deployments", "kube-system", "coredns", template(web), ""},
	}
	for _, tt := range tests {
		l := newLog(t)
		alice := person("alice", "10.1.2.3")
		deployment(l, alice)
		l.see(fact(alice, made("apps/statefulsets", "shop", "db", "s1", template(web))))
		if got := l.see(fact(alice, made(tt.resource, tt.ns, tt.name, "x1", tt.body))).Facts.Target.Mimics; got != tt.want {
			t.Errorf("%s %s/%s: Mimics = %q, want %q", tt.resource, tt.ns, tt.name, got, tt.want)
		}
	}
	l := newLog(t)
	deployment(l, person("alice", "10.1.2.3"))
	genuine := l.see(fact(builtin("replicaset-controller", "rc", "10.9.0.1"), made("pods", "shop", "web-6d9cdbc85f-abcde", "p2", forged)))
	if genuine.Facts.Target.Mimics != "" || genuine.Facts.Target.OwnerName != "web" {
		t.Errorf("a genuine pod: %+v", genuine.Facts.Target)
	}
}

func TestChange(t *testing.T) {
	miner := event.Container{Name: "miner", Image: "miner:1"}
	stored := func(verb string, part event.Body, whole event.Body) event.Request {
		r := req(verb, "apps/deployments", "shop", "web")
		part.ServiceAccount, whole.ServiceAccount = "web", "web" // as deployment makes it
		r.Object, r.Response = body(part), body(whole)
		return r
	}
	patchOnly := func(part event.Body) event.Request {
		r := req("patch", "apps/deployments", "shop", "web")
		r.Object, r.Level = body(part), event.LevelRequest
		return r
	}
	jsonPatch := template(miner)
	jsonPatch.Patch = []string{"add /spec/template/spec/containers/-"}
	type change struct {
		PodSpec         bool
		Images, Added   []string
		Injected        []string
		AttributeFailed bool
	}
	tests := []struct {
		name  string
		known bool
		ask   event.Request
		want  change
	}{
		{"annotation", true, stored("patch", event.Body{}, template(web)), change{}},
		{"same update", true, stored("update", template(web), template(web)), change{}},
		{"new image", true, stored("patch", template(event.Container{Name: "web", Image: "web:2"}), template(event.Container{Name: "web", Image: "web:2"})), change{PodSpec: true, Images: []string{"web:2"}}},
		{"sidecar", true, stored("patch", template(miner), template(web, miner)), change{PodSpec: true, Images: []string{"miner:1"}, Added: []string{"miner"}}},
		{"sidecar below RequestResponse", true, patchOnly(template(miner)), change{PodSpec: true, Images: []string{"miner:1"}, Added: []string{"miner"}}},
		{"JSON patch of an unknown object", false, patchOnly(jsonPatch), change{PodSpec: true, Images: []string{"miner:1"}, Added: []string{"miner"}}},
		{"image of an unknown object", false, patchOnly(template(event.Container{Name: "web", Image: "web:2"})), change{PodSpec: true, Images: []string{"web:2"}}},
		{"annotation of an unknown object", false, stored("patch", event.Body{}, template(web)), change{}},
	}
	for _, tt := range tests {
		l := newLog(t)
		alice := person("alice", "10.1.2.3")
		if tt.known {
			deployment(l, alice)
		}
		f := l.see(fact(alice, tt.ask)).Facts.Change
		if diff := cmp.Diff(tt.want, change{f.PodSpec, f.ImagesAdded, f.ContainersAdded, f.Injected, f.Unattributed}); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestInjection(t *testing.T) {
	side := event.Container{Name: "side", Image: "side:1"}
	token := event.Volume{Name: "kube-api-access-x1", Type: "projected"}
	sent := template(web)
	plain := template(event.Container{Name: "web", Image: "web:1", Mounts: []event.Mount{{Volume: token.Name, Path: "/var/run/secrets/kubernetes.io/serviceaccount"}}})
	plain.Volumes = []event.Volume{token}
	withEnv := template(event.Container{Name: "web", Image: "web:1", EnvNames: []string{"X"}})
	create := func(stored event.Body, by ...string) event.Request {
		r := req("create", "pods", "shop", "web")
		r.Code, r.Object, r.Response, r.MutatedBy = 201, body(sent), body(stored), by
		return r
	}
	patch := create(template(web, side))
	patch.Verb, patch.Code = "patch", 200
	tests := []struct {
		name  string
		ask   event.Request
		names []string
		by    []string
		lost  bool
		age   int
		who   string
	}{
		{"only built-in admission", create(plain), nil, nil, false, -1, ""},
		{"no annotation, container", create(template(web, side)), []string{"side"}, nil, true, -1, ""},
		{"no annotation, env", create(withEnv), nil, nil, true, -1, ""},
		{"webhook", create(template(web, side), "hook", "hook"), []string{"side"}, []string{"hook"}, false, 61, "eve"},
		{"older webhook", create(template(web, side), "istio"), []string{"side"}, []string{"istio"}, false, -1, ""},
		{"a patch is partial", patch, nil, nil, false, -1, ""},
	}
	for _, tt := range tests {
		l := newLog(t)
		l.see(fact(person("eve", "10.1.2.9"), made("admissionregistration.k8s.io/mutatingwebhookconfigurations", "", "hook", "h1", event.Body{})))
		l.wait(time.Minute)
		f := l.see(fact(person("alice", "10.1.2.3"), tt.ask)).Facts.Change
		got := []any{f.Injected, f.InjectedBy, f.Unattributed, f.InjectorAgeS, f.InjectorBy}
		if diff := cmp.Diff([]any{tt.names, tt.by, tt.lost, tt.age, tt.who}, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestForeign(t *testing.T) {
	l := newLog(t)
	sa := podToken("shop", "web", "u1", "n1", "10.244.0.5")
	for ns, want := range map[string]bool{"shop": false, "bank": true, "": false} {
		if got := l.see(fact(sa, req("list", "pods", ns, ""))).Facts.Target.Foreign; got != want {
			t.Errorf("namespace %q: Foreign = %v, want %v", ns, got, want)
		}
	}
}
