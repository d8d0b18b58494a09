package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

// log makes events in time order and shows them to an inventory.
type log struct {
	t   *testing.T
	inv *Inventory
	now int64
	n   byte
}

func newLog(t *testing.T) *log {
	return &log{t: t, inv: New(Config{}), now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC).UnixNano()}
}

// wait lets event time pass.
func (l *log) wait(d time.Duration) { l.now += int64(d) }

// see completes e with what every record has and observes it.
func (l *log) see(e *event.Event) *event.Event {
	l.now += int64(time.Second)
	l.n++
	if e.Kind == event.KindUnknown {
		e.Kind = event.KindAPIRequest
	}
	e.ID, e.Time, e.Received = event.ID{1, l.n}, l.now, l.now
	e.Session = event.ID{2, byte(len(e.Actor.Name)), byte(len(e.Actor.Credential))}
	if r := &e.K8s; e.Kind == event.KindAPIRequest {
		if r.Stage == event.StageUnknown {
			r.Stage = event.StageResponseComplete
		}
		if r.Code == 0 {
			r.Code = 200
		}
		if r.Level == event.LevelUnknown {
			r.Level = event.LevelRequestResponse
		}
	}
	l.inv.Observe(e)
	return e
}

// fact makes an event with empty facts, as Reset leaves it.
func fact(a event.Actor, r event.Request) *event.Event {
	e := &event.Event{}
	e.Reset()
	e.Actor, e.K8s = a, r
	return e
}

func person(name, ip string) event.Actor {
	return event.Actor{Kind: event.ActorUser, Name: name, Credential: "X509SHA256=" + name, IP: ip, Agent: "kubectl/v1.36.0", Groups: []string{"system:authenticated"}}
}

func account(ns, name, ip string) event.Actor {
	return event.Actor{Kind: event.ActorServiceAccount, Name: "system:serviceaccount:" + ns + ":" + name, Namespace: ns, ServiceAccount: name, IP: ip, Agent: "app/1"}
}

func podToken(ns, name, uid, node, ip string) event.Actor {
	a := account(ns, name, ip)
	a.Credential, a.PodUID, a.PodName, a.NodeName = "JTI="+uid, uid, name+"-1", node
	return a
}

func node(name, ip string) event.Actor {
	return event.Actor{Kind: event.ActorNode, Name: "system:node:" + name, NodeName: name, Credential: "X509SHA256=node-" + name, IP: ip, Agent: "kubelet/v1.36.0"}
}

func manager(ip string) event.Actor {
	return event.Actor{Kind: event.ActorComponent, Name: "system:kube-controller-manager", Credential: "X509SHA256=kcm", IP: ip, Agent: "kube-controller-manager/v1.36.0"}
}

func builtin(name, jti, ip string) event.Actor {
	a := account("kube-system", name, ip)
	a.Credential, a.Agent = "JTI="+jti, "kube-controller-manager/v1.36.0"
	return a
}

func req(verb, resource, namespace, name string) event.Request {
	group := ""
	if g, rest, ok := strings.Cut(resource, "/"); ok && strings.Contains(g, ".") || g == "apps" || g == "batch" {
		group, resource = g, rest
	}
	resource, sub, _ := strings.Cut(resource, "/")
	return event.Request{Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: namespace, Name: name}
}

const rbacGroup = "rbac.authorization.k8s.io/"

func body(b event.Body) event.Body {
	b.Present = true
	return b
}

func TestNetworks(t *testing.T) {
	l := newLog(t)
	list := req("list", "pods", "shop", "")
	first := l.see(fact(person("alice", "10.1.2.3"), list)).Facts.Actor
	same := l.see(fact(person("alice", "10.1.2.99"), list)).Facts.Actor
	l.wait(time.Minute)
	abroad := l.see(fact(person("alice", "203.0.113.9"), list)).Facts.Actor
	l.wait(time.Hour)
	back := l.see(fact(person("alice", "10.1.2.3"), list)).Facts.Actor
	type seen struct {
		First, New, Concurrent bool
		Networks, Age          int
	}
	of := func(f event.ActorFacts) seen {
		return seen{f.FirstSeen, f.NewNetwork, f.Concurrent, f.Networks, f.AgeS}
	}
	want := []seen{{true, false, false, 1, 0}, {false, false, false, 1, 1}, {false, true, true, 2, 62}, {false, false, false, 2, 3663}}
	if diff := cmp.Diff(want, []seen{of(first), of(same), of(abroad), of(back)}); diff != "" {
		t.Error(diff)
	}
	c, ok := l.inv.Credential("X509SHA256=alice")
	if !ok || len(c.Networks) != 2 || c.Networks[0].Network != "10.1.2.0/24" || len(c.Agents) != 1 || c.Agents[0] != "kubectl" {
		t.Errorf("Credential = %+v, %v", c, ok)
	}
}

// TestPodStandsForCredential: before Kubernetes 1.30 the log names no token, but
// the pod it is bound to.
func TestPodStandsForCredential(t *testing.T) {
	l := newLog(t)
	token := func(uid, ip string) event.Actor {
		a := podToken("shop", "web", uid, "n1", ip)
		a.Credential = ""
		return a
	}
	read := req("get", "secrets", "shop", "a")
	l.see(fact(token("u1", "10.244.0.5"), read))
	other := l.see(fact(token("u2", "10.244.1.5"), req("get", "secrets", "shop", "b"))).Facts.Actor
	if !other.FirstSeen || other.SecretsRead != 1 || other.NewNetwork || other.Concurrent {
		t.Errorf("another pod of the account: %+v", other)
	}
	same := l.see(fact(token("u1", "10.244.0.5"), read)).Facts.Actor
	if same.FirstSeen || same.Networks != 1 {
		t.Errorf("the first pod again: %+v", same)
	}
	stolen := l.see(fact(token("u1", "10.99.0.7"), read)).Facts.Actor
	if !stolen.PodMismatch || !stolen.NewNetwork {
		t.Errorf("a pod's token from another private network: %+v", stolen)
	}
	bare := account("shop", "old", "10.244.0.5")
	l.see(fact(bare, read))
	bare.IP = "10.244.7.5"
	if f := l.see(fact(bare, read)).Facts.Actor; f.FirstSeen || f.NewNetwork {
		t.Errorf("without pod or token the name stands for all: %+v", f)
	}
}

func TestNewAgent(t *testing.T) {
	l := newLog(t)
	a := person("alice", "10.1.2.3")
	if l.see(fact(a, req("list", "pods", "shop", ""))).Facts.Actor.NewAgent {
		t.Error("the first agent is new")
	}
	a.Agent = "Kubectl/v1.99"
	if l.see(fact(a, req("list", "pods", "shop", ""))).Facts.Actor.NewAgent {
		t.Error("another version of the same program is new")
	}
	a.Agent = "curl/8"
	if !l.see(fact(a, req("list", "pods", "shop", ""))).Facts.Actor.NewAgent {
		t.Error("curl is not new")
	}
}

func TestSystem(t *testing.T) {
	list := req("list", "pods", "", "")
	token := req("create", "serviceaccounts/token", "kube-system", "job-controller")
	tests := []struct {
		name   string
		before []*event.Event
		actor  event.Actor
		want   bool
	}{
		{name: "controller on the control plane", before: []*event.Event{fact(manager("10.9.0.1"), list)}, actor: builtin("job-controller", "a", "10.9.0.1"), want: true},
		{name: "nothing known, private", actor: builtin("job-controller", "a", "10.9.0.1"), want: true},
		{name: "loopback", before: []*event.Event{fact(manager("10.9.0.1"), list)}, actor: builtin("job-controller", "a", "::1"), want: true},
		{name: "curl from outside", actor: builtin("job-controller", "a", "203.0.113.7")},
		{name: "scheduler on another machine", before: []*event.Event{fact(event.Actor{
			Kind: event.ActorComponent, Name: "system:kube-scheduler", Credential: "X509SHA256=ks", IP: "10.9.0.3"}, list)},
			actor: builtin("job-controller", "a", "10.9.0.1"), want: true},
		{name: "fail-over", before: []*event.Event{fact(manager("10.9.0.1"), list), fact(func() event.Actor {
			a := manager("10.9.0.3")
			a.Credential += "2"
			return a
		}(), list)}, actor: builtin("job-controller", "b", "10.9.0.3"), want: true},
		{name: "from a pod", before: []*event.Event{fact(manager("10.9.0.1"), list)}, actor: builtin("job-controller", "a", "10.244.0.7")},
		{name: "token in a pod", actor: podToken("kube-system", "job-controller", "u1", "n1", "10.244.0.7")},
		{name: "token minted by a person", before: []*event.Event{fact(person("eve", "10.9.0.1"), func() event.Request {
			r := token
			r.IssuedCredential = "JTI=a"
			return r
		}())}, actor: builtin("job-controller", "a", "10.9.0.1")},
		{name: "token minted by the manager", before: []*event.Event{fact(manager("10.9.0.1"), func() event.Request {
			r := token
			r.IssuedCredential = "JTI=a"
			return r
		}())}, actor: builtin("job-controller", "a", "10.9.0.1"), want: true},
		{name: "same name elsewhere", actor: account("shop", "job-controller", "10.9.0.1")},
		{name: "certificate used elsewhere", before: []*event.Event{fact(manager("10.9.0.1"), list)}, actor: manager("10.9.7.7")},
		{name: "certificate used outside", before: []*event.Event{fact(manager("10.9.0.1"), list)}, actor: manager("203.0.113.7")},
		{name: "kubelet", actor: node("n1", "10.9.0.2")},
		{name: "unknown component", actor: event.Actor{Kind: event.ActorComponent, Name: "system:mine", Credential: "X509SHA256=m", IP: "10.9.0.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, e := range tt.before {
				l.see(e)
			}
			if got := l.see(fact(tt.actor, list)).Facts.Actor.System; got != tt.want {
				t.Errorf("System = %v, want %v", got, tt.want)
			}
		})
	}
}

func podStatus(uid, ip, host string) event.Request {
	r := req("patch", "pods/status", "shop", "web-1")
	r.Response = body(event.Body{Kind: "Pod", UID: uid, PodIPs: []string{ip}, HostIP: host, NodeName: "n1"})
	return r
}

func TestPodMismatch(t *testing.T) {
	get := req("get", "configmaps", "shop", "x")
	kubelet := fact(node("n1", "10.9.0.2"), req("get", "nodes", "", "n1"))
	own := fact(podToken("shop", "web", "u1", "n1", "10.244.0.5"), get)
	status := fact(node("n1", "10.9.0.2"), podStatus("u1", "10.244.0.5", "10.9.0.2"))
	tests := []struct {
		name   string
		before []*event.Event
		ip     string
		want   bool
	}{
		{name: "nothing known, private", ip: "10.244.0.5"},
		{name: "nothing known, public", ip: "203.0.113.5", want: true},
		{name: "own address again", before: []*event.Event{own}, ip: "10.244.0.5"},
		{name: "another network than before", before: []*event.Event{own}, ip: "10.7.7.7", want: true},
		{name: "translated to its node", before: []*event.Event{own, kubelet}, ip: "10.9.0.2"},
		{name: "node known, stranger", before: []*event.Event{kubelet, own}, ip: "192.168.1.1", want: true},
		{name: "status known, own", before: []*event.Event{status}, ip: "10.244.0.5"},
		{name: "status known, node", before: []*event.Event{status}, ip: "10.9.0.2"},
		{name: "status known, neighbour", before: []*event.Event{status}, ip: "10.244.0.6", want: true},
		{name: "status known, public", before: []*event.Event{status}, ip: "203.0.113.5", want: true},
		{name: "public NAT gateway of all nodes", before: []*event.Event{
			fact(node("n1", "203.0.113.1"), get), fact(node("n2", "203.0.113.1"), get),
		}, ip: "203.0.113.1"},
		{name: "public NAT gateway of its node", before: []*event.Event{fact(node("n1", "203.0.113.1"), get)}, ip: "203.0.113.1"},
		{name: "loopback", before: []*event.Event{status}, ip: "127.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, e := range tt.before {
				c := *e
				l.see(&c)
			}
			f := l.see(fact(podToken("shop", "web", "u1", "n1", tt.ip), get)).Facts.Actor
			if f.PodMismatch != tt.want {
				t.Errorf("PodMismatch = %v, want %v", f.PodMismatch, tt.want)
			}
			if !tt.want && f.NewNetwork {
				t.Error("NewNetwork for a move within the cluster")
			}
		})
	}
}

func TestNodeMismatch(t *testing.T) {
	l := newLog(t)
	get := req("get", "nodes", "", "n1")
	l.see(fact(node("n1", "10.9.0.2"), get))
	l.see(fact(node("n2", "203.0.113.1"), get))
	l.see(fact(node("n3", "203.0.113.1"), get))
	for ip, want := range map[string]bool{"10.9.0.2": false, "10.9.0.77": true, "198.51.100.1": true, "203.0.113.1": false, "fd00::2": false} {
		if got := l.see(fact(node("n1", ip), get)).Facts.Actor.NodeMismatch; got != want {
			t.Errorf("from %s: NodeMismatch = %v, want %v", ip, got, want)
		}
	}
	anew := l.see(fact(node("n1", "10.9.0.50"), func() event.Request {
		r := req("create", "nodes", "", "n1")
		r.Code = 201
		return r
	}()))
	if anew.Facts.Actor.NodeMismatch || l.see(fact(node("n1", "10.9.0.50"), get)).Facts.Actor.NodeMismatch {
		t.Error("a node that registered anew does not match")
	}
	if got := l.inv.NodeAddresses("n1"); len(got) != 1 || got[0].String() != "10.9.0.50" {
		t.Errorf("NodeAddresses = %v", got)
	}
}

func TestController(t *testing.T) {
	a := podToken("op", "operator", "u1", "n1", "10.244.0.5")
	list := req("list", "secrets", "", "")
	watch := req("watch", "secrets", "", "")
	watch.URI = "/api/v1/secrets?allowWatchBookmarks=true&resourceVersion=77&timeoutSeconds=400&watch=true"
	kubectl := watch
	kubectl.URI = "/api/v1/secrets?resourceVersion=77&watch=true"
	with := func(a event.Actor, agent, ip string) event.Actor {
		a.Agent, a.IP = agent, ip
		return a
	}
	create := req("create", "apps/deployments", "shop", "db")
	tests := []struct {
		name   string
		before []event.Request
		wait   time.Duration
		actor  event.Actor
		ask    event.Request
		want   bool
	}{
		{name: "first list", actor: a, ask: list},
		{name: "list twice", before: []event.Request{list, list}, actor: a, ask: list},
		{name: "watch only", before: []event.Request{watch}, actor: a, ask: create},
		{name: "list and watch", before: []event.Request{list, watch}, actor: a, ask: create, want: true},
		{name: "kubectl get -w", before: []event.Request{list, kubectl}, actor: a, ask: create},
		{name: "another program in the pod", before: []event.Request{list, watch}, actor: with(a, "curl/8", a.IP), ask: list},
		{name: "stolen", before: []event.Request{list, watch}, actor: with(a, a.Agent, "203.0.113.4"), ask: list},
		{name: "routine of an hour", before: []event.Request{list}, wait: 61 * time.Minute, actor: with(a, "other/1", a.IP), ask: list, want: true},
		{name: "not in the routine", before: []event.Request{list}, wait: 61 * time.Minute, actor: a, ask: create},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, r := range tt.before {
				l.see(fact(a, r))
			}
			l.wait(tt.wait)
			if got := l.see(fact(tt.actor, tt.ask)).Facts.Actor.Controller; got != tt.want {
				t.Errorf("Controller = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRecentActivity(t *testing.T) {
	l := newLog(t)
	a := person("eve", "10.1.2.3")
	refused := req("list", "nodes", "", "")
	refused.Code = 403
	l.see(fact(a, refused))
	for i := range 200 {
		l.see(fact(a, req("get", "secrets", "shop", fmt.Sprint("s", i))))
	}
	l.see(fact(a, req("list", "secrets", "", "")))
	l.see(fact(a, req("list", "apps/deployments", "", "")))
	l.see(fact(a, req("delete", "namespaces", "", "shop")))
	l.see(fact(a, req("get", "pods/exec", "shop", "web-1")))
	l.see(fact(a, req("create", "authorization.k8s.io/selfsubjectrulesreviews", "", "")))
	f := l.see(fact(a, req("get", "pods/log", "shop", "web-1"))).Facts.Actor
	if f.SecretsRead < 140 || f.SecretsRead > 260 {
		t.Errorf("SecretsRead = %d, want about 200", f.SecretsRead)
	}
	got := []int{f.Refusals, f.ListedResources, f.SecretLists, f.Deletes, f.DeletedKinds, f.Namespaces, f.Execs, f.RulesReviews, f.PodLogs, f.Requests}
	if diff := cmp.Diff([]int{1, 2, 1, 1, 1, 1, 1, 1, 1, 207}, got); diff != "" {
		t.Error(diff)
	}
	l.wait(11 * time.Minute)
	f = l.see(fact(a, req("get", "pods", "shop", "web-1"))).Facts.Actor
	if f.Requests != 1 || f.SecretsRead != 0 || f.Refusals != 0 {
		t.Errorf("after the window: %d requests, %d secrets, %d refusals", f.Requests, f.SecretsRead, f.Refusals)
	}
	nobody := event.Actor{Kind: event.ActorUnauthenticated, IP: "203.0.113.3"}
	denied := req("list", "pods", "", "")
	denied.Code, denied.Stage = 401, event.StageResponseStarted
	l.see(fact(nobody, denied))
	if got := l.see(fact(nobody, denied)).Facts.Actor.AuthFailures; got != 2 {
		t.Errorf("AuthFailures = %d, want 2", got)
	}
}

func TestSessionEnd(t *testing.T) {
	l := newLog(t)
	a := person("alice", "10.1.2.3")
	exec := req("get", "pods/exec", "shop", "web-1")
	exec.AuditID, exec.Code, exec.Stage = "x", 101, event.StageResponseStarted
	start := fact(a, exec)
	l.see(start)
	exec.Stage = event.StageResponseComplete
	end := fact(a, exec)
	end.Kind, end.Time, end.Received, end.ID = event.KindAPIRequest, start.Time+1e9, start.Received, event.ID{9}
	l.inv.Observe(end)
	if start.Facts.SessionEnd || !end.Facts.SessionEnd || end.Facts.Actor.Execs != 1 {
		t.Errorf("SessionEnd = %v, %v; execs %d", start.Facts.SessionEnd, end.Facts.SessionEnd, end.Facts.Actor.Execs)
	}
	other := fact(a, exec)
	l.see(other) // same audit id, another time
	if other.Facts.SessionEnd {
		t.Error("another request with the same audit id ends the session")
	}
}

func TestSnapshotOfDamage(t *testing.T) {
	l := newLog(t)
	l.see(fact(person("alice", "10.1.2.3"), req("get", "pods", "shop", "web-1")))
	var whole bytes.Buffer
	if err := l.inv.Snapshot(&whole); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"empty": nil, "short": whole.Bytes()[:whole.Len()-1], "foreign": []byte(strings.Repeat("x", 100)),
		"flipped": func() []byte {
			b := bytes.Clone(whole.Bytes())
			b[len(b)/2] ^= 1
			return b
		}(),
	} {
		if err := l.inv.Restore(bytes.NewReader(raw)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: Restore = %v, want ErrSnapshot", name, err)
		}
	}
	if _, ok := l.inv.Object(ObjectKey{"", "pods", "shop", "web-1"}); !ok {
		t.Error("a failed Restore changed the state")
	}
}

func FuzzRestore(f *testing.F) {
	inv := New(Config{})
	var b bytes.Buffer
	if err := inv.Snapshot(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		inv := New(Config{})
		if err := inv.Restore(bytes.NewReader(raw)); err != nil && !errors.Is(err, ErrSnapshot) {
			t.Errorf("Restore = %v, want ErrSnapshot", err)
		}
	})
}

func TestBounds(t *testing.T) {
	inv := New(Config{Credentials: 8, Objects: 8, Pods: 8, Nodes: 8, Streams: 8})
	l := &log{t: t, inv: inv, now: 1}
	for i := range 100 {
		l.see(fact(person(fmt.Sprint("u", i), "10.1.2.3"), req("get", "pods", "shop", fmt.Sprint("p", i))))
	}
	s := inv.Stats().Tables
	for _, name := range []string{"credentials", "objects"} {
		if s[name].Entries != 8 || s[name].Evicted != 92 {
			t.Errorf("%s: %+v, want 8 entries and 92 evicted", name, s[name])
		}
	}
	l.wait(31 * 24 * time.Hour)
	l.see(fact(person("late", "10.1.2.3"), req("list", "pods", "shop", "")))
	if got := inv.Stats().Tables["objects"]; got.Entries != 0 || got.Expired != 8 {
		t.Errorf("after the time to live: %+v", got)
	}
}

func TestCloudCalls(t *testing.T) {
	l := newLog(t)
	role := event.Actor{Kind: event.ActorUser, Name: "arn:aws:sts::1:assumed-role/app/s", Credential: "aws:ASIA1", IP: "203.0.113.4", Agent: "Boto3/1.4"}
	call := func(a event.Actor, c event.CloudCall) event.ActorFacts {
		e := fact(a, event.Request{})
		e.Kind, e.Cloud = event.KindCloudCall, c
		return l.see(e).Facts.Actor
	}
	issuer := event.Actor{Kind: event.ActorUser, Name: "arn:aws:iam::1:user/dev", Credential: "aws:AKIA1", IP: "203.0.113.9"}
	call(issuer, event.CloudCall{Service: "sts", Action: "AssumeRole", IssuedKey: "ASIA1"})
	l.wait(time.Minute)
	first := call(role, event.CloudCall{Service: "s3", Action: "ListBuckets"})
	endpoint := role
	endpoint.IP = "10.0.1.2"
	private := call(endpoint, event.CloudCall{Service: "ec2", Action: "DescribeInstances", Error: "AccessDenied"})
	stolen := role
	stolen.IP = "198.51.100.8"
	third := call(stolen, event.CloudCall{Service: "s3", Action: "GetObject"})
	type seen struct {
		First, New       bool
		Age              int
		Services, Errors int
	}
	of := func(f event.ActorFacts) seen {
		return seen{f.FirstSeen, f.NewNetwork, f.AgeS, f.CloudServices, f.CloudErrors}
	}
	want := []seen{{true, false, 61, 1, 0}, {false, false, 62, 2, 1}, {false, true, 63, 2, 1}}
	if diff := cmp.Diff(want, []seen{of(first), of(private), of(third)}); diff != "" {
		t.Error(diff)
	}
}

// TestEventsMayBeReused overwrites an event's memory after Observe, as input chunks
// are.
func TestEventsMayBeReused(t *testing.T) {
	l := newLog(t)
	name := []byte("10.1.2.3 alice shop web-1 kubectl")
	view := func(from, to int) string { return unsafe.String(&name[from], to-from) }
	a := event.Actor{Kind: event.ActorUser, Name: view(9, 14), Credential: view(9, 14), IP: view(0, 8), Agent: view(26, 33)}
	r := made("pods", view(15, 19), view(20, 25), view(20, 25), template(event.Container{Name: view(20, 25), Image: view(20, 25)}))
	l.see(fact(a, r))
	for i := range name {
		name[i] = 'x'
	}
	o, ok := l.inv.Object(ObjectKey{"", "pods", "shop", "web-1"})
	if !ok || o.Key != (ObjectKey{"", "pods", "shop", "web-1"}) || o.UID != "web-1" || o.Created.User != "alice" || o.Pod.Containers[0] != (ContainerFacts{"web-1", "web-1"}) {
		t.Errorf("Object = %+v, %v", o, ok)
	}
	if c, ok := l.inv.Credential("alice"); !ok || c.Agents[0] != "kubectl" {
		t.Errorf("Credential = %+v, %v", c, ok)
	}
}
