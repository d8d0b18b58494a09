package k8saudit

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// record is a small audit event; change edits its top level.
func record(t testing.TB, change func(map[string]any)) []byte {
	r := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "a", "stage": "ResponseComplete",
		"requestURI": "/api/v1/namespaces/n/pods/p", "verb": "get", "user": map[string]any{"username": "alice"},
		"sourceIPs": []string{"10.0.0.5"}, "responseStatus": map[string]any{"code": 200},
		"objectRef":                map[string]any{"resource": "pods", "namespace": "n", "name": "p", "apiVersion": "v1"},
		"requestReceivedTimestamp": "2026-11-22T05:28:14.341071Z", "stageTimestamp": "2026-11-22T05:28:14.343922Z",
	}
	change(r)
	return mustJSON(t, r)
}

func TestNotAnAuditEvent(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(map[string]any)
		want   string
	}{
		{"list", func(r map[string]any) { r["kind"] = "EventList" }, `kind is "EventList"`},
		{"core event", func(r map[string]any) { r["apiVersion"] = "v1" }, `apiVersion is "v1"`},
		{"no verb", func(r map[string]any) { delete(r, "verb") }, "no verb"},
		{"verb of another type", func(r map[string]any) { r["verb"] = 5 }, "no verb"},
		{"no stage", func(r map[string]any) { delete(r, "stage") }, "no stage"},
		{"neither", func(r map[string]any) { delete(r, "stage"); delete(r, "verb") }, "neither verb nor stage"},
		{"no URI", func(r map[string]any) { delete(r, "requestURI") }, "no requestURI"},
		{"no time", func(r map[string]any) { r["stageTimestamp"] = nil; delete(r, "requestReceivedTimestamp") }, "neither stageTimestamp"},
		{"bad time", func(r map[string]any) { r["stageTimestamp"] = "yesterday" }, `stageTimestamp "yesterday"`},
		{"bad received", func(r map[string]any) { r["requestReceivedTimestamp"] = "2026-13-01T00:00:00Z" }, "requestReceivedTimestamp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := new(Decoder).Decode(record(t, tc.change), newEvent())
			var not *NotAuditError
			if !errors.As(err, &not) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %s", err, tc.want)
			}
		})
	}
	for _, raw := range []string{`[]`, `"text"`, `17`} {
		var not *NotAuditError
		if err := new(Decoder).Decode([]byte(raw), newEvent()); !errors.As(err, &not) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestTimes(t *testing.T) {
	received, staged := "2026-11-22T05:28:14.341071Z", "2026-11-22T05:28:14.343922Z"
	for _, tc := range []struct {
		name           string
		change         func(map[string]any)
		time, received string
	}{
		{"both", func(map[string]any) {}, staged, received},
		{"received only", func(r map[string]any) { r["stageTimestamp"] = nil }, received, received},
		{"stage only", func(r map[string]any) { delete(r, "requestReceivedTimestamp") }, staged, staged},
		{"old v1beta1", func(r map[string]any) {
			delete(r, "requestReceivedTimestamp")
			delete(r, "stageTimestamp")
			r["apiVersion"], r["metadata"], r["timestamp"] = "audit.k8s.io/v1beta1", map[string]any{"creationTimestamp": "2017-11-22T05:28:15Z"}, "2017-11-22T05:28:14Z"
		}, "2017-11-22T05:28:15Z", "2017-11-22T05:28:14Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := decode(t, record(t, tc.change))
			for _, c := range []struct {
				got  int64
				want string
			}{{e.Time, tc.time}, {e.Received, tc.received}} {
				if want, _ := time.Parse(time.RFC3339Nano, c.want); c.got != want.UnixNano() {
					t.Errorf("time %d, want %s", c.got, c.want)
				}
			}
		})
	}
}

func TestParseTimeAgreesWithTime(t *testing.T) {
	for _, s := range []string{
		"2026-11-22T05:28:14Z", "2026-11-22T05:28:14.1Z", "2026-11-22T05:28:14.123456789Z", "2024-02-29T23:59:59.000001+05:30", "1970-01-01T00:00:00-12:45",
		"2000-02-29T00:00:00Z", "1999-12-31T23:59:59.999999999Z", "1678-01-01T00:00:00Z", "2261-12-31T23:59:59Z", "2026-03-01T00:00:00Z",
		"", "Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-11-31T00:00:00Z", "2026-00-10T00:00:00Z", "2026-01-00T00:00:00Z", "2026-11-22T24:00:00Z",
		"2026-11-22T05:60:14Z", "2026-11-22T05:28:60Z", "2026-11-22 05:28:14Z", "2026-11-22T05:28:14", "2026-11-22T05:28:14.Z", "2026-11-22T05:28:14z",
		"2026-11-22T05:28:14+0530", "2026-11-22T05:28:14+05:3a", "202a-11-22T05:28:14Z", "2026-11-22T05:28:14ZZ",
	} {
		want, err := time.Parse(time.RFC3339Nano, s)
		got, ok := parseTime(s)
		if ok != (err == nil) || ok && got != want.UnixNano() {
			t.Errorf("%q = %d, %v, want %d, %v", s, got, ok, want.UnixNano(), err)
		}
	}
	// More digits than time keeps are dropped.
	if got, ok := parseTime("1970-01-01T00:00:00.12345678987654321Z"); !ok || got != 123456789 {
		t.Errorf("long fraction = %d, %v", got, ok)
	}
	for _, s := range []string{"0001-01-01T00:00:00Z", "1677-12-31T00:00:00Z", "2262-01-01T00:00:00Z", "2026-11-22T05:28:14+24:00", "2026-11-22T05:28:14+05:60"} {
		if _, ok := parseTime(s); ok {
			t.Errorf("%q fits no int64 of nanoseconds or no clock", s)
		}
	}
}

func TestKeyOrderDoesNotMatter(t *testing.T) {
	// encoding/json writes maps in alphabetical order, as AKS does.
	for i, raw := range allRecords(t) {
		var tree map[string]any
		mustUnmarshal(t, raw, &tree)
		want, got := decode(t, raw), decode(t, mustJSON(t, tree))
		ignore := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Body{}, "Raw"), cmpopts.IgnoreFields(event.Request{}, "MutationPatch"),
			cmpopts.SortSlices(func(a, b string) bool { return a < b })}
		if diff := cmp.Diff(want, got, ignore); diff != "" {
			t.Fatalf("record %d (-as written +alphabetical):\n%s", i, diff)
		}
	}
}

func TestRepeatedKeys(t *testing.T) {
	body := func(name string) string {
		return `"requestObject":{"kind":"Pod","spec":{"containers":[{"name":"` + name + `"}]}}`
	}
	prefix := `{"stage":"ResponseComplete","requestURI":"/x","stageTimestamp":"2026-11-22T05:28:14Z","verb":"create","objectRef":{"resource":"pods"}`
	for _, tc := range []struct{ name, rest, want string }{
		{"body twice", body("a") + "," + body("b"), "b"},
		{"body thrice", body("a") + "," + body("b") + "," + body("c"), "c"},
		{"body then null", body("a") + `,"requestObject":null`, ""},
		{"verb after body", body("a") + `,"verb":"get"`, ""},
		{"resource after body", body("a") + `,"objectRef":{"resource":"events"}`, ""},
		{"once", body("a"), "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := decode(t, []byte(prefix+","+tc.rest+"}"))
			if got := strings.Join(e.K8s.Object.ContainerNames(), ","); got != tc.want {
				t.Errorf("containers %q, want %q", got, tc.want)
			}
		})
	}
}

func TestActors(t *testing.T) {
	extra := func(kv ...string) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = []string{kv[i+1], "second"}
		}
		return m
	}
	for _, tc := range []struct {
		name        string
		user        map[string]any
		annotations map[string]string
		want        event.Actor
	}{
		{"person", map[string]any{"username": "alice"}, nil, event.Actor{Kind: event.ActorUser, Name: "alice"}},
		{"EKS role", map[string]any{"username": "r:s", "uid": "aws-iam-authenticator:1:AROA", "extra": extra("arn", "arn:aws:sts::123:assumed-role/R/s", "canonicalArn", "arn:aws:iam::123:role/R",
			"sessionName", "s", "accessKeyId", "ASIA1", "principalId", "AROA")}, nil,
			event.Actor{Kind: event.ActorUser, Name: "r:s", UID: "aws-iam-authenticator:1:AROA", ARN: "arn:aws:sts::123:assumed-role/R/s", Role: "arn:aws:iam::123:role/R",
				Session: "s", AccessKey: "ASIA1", Credential: "aws:ASIA1", Account: "123", Type: "AssumedRole"}},
		{"EKS user", map[string]any{"username": "u", "extra": extra("arn", "arn:aws:iam::123:user/u", "canonicalArn", "arn:aws:iam::123:user/u", "accessKeyId", "AKIA1", "principalId", "AIDA")}, nil,
			event.Actor{Kind: event.ActorUser, Name: "u", UID: "AIDA", ARN: "arn:aws:iam::123:user/u", AccessKey: "AKIA1", Credential: "aws:AKIA1", Account: "123", Type: "IAMUser"}},
		{"AKS", map[string]any{"username": "a@b", "extra": extra("oid", "0-0")}, nil, event.Actor{Kind: event.ActorUser, Name: "a@b", UID: "0-0"}},
		{"bootstrap token", map[string]any{"username": "system:bootstrap:07401b"}, nil,
			event.Actor{Kind: event.ActorBootstrap, Name: "system:bootstrap:07401b", Credential: "bootstrap:07401b"}},
		{"legacy token", map[string]any{"username": "system:serviceaccount:ns:sa"}, map[string]string{"authentication.k8s.io/legacy-token": "system:serviceaccount:ns:sa", "authentication.k8s.io/legacy-token-autogenerated-secret": "sa-token-x"},
			event.Actor{Kind: event.ActorServiceAccount, Name: "system:serviceaccount:ns:sa", Namespace: "ns", ServiceAccount: "sa", Credential: "legacy:ns/sa-token-x"}},
		{"node", map[string]any{"username": "system:node:n1", "extra": extra("authentication.kubernetes.io/credential-id", "X509SHA256=ab")}, nil,
			event.Actor{Kind: event.ActorNode, Name: "system:node:n1", NodeName: "n1", Credential: "X509SHA256=ab"}},
		{"component", map[string]any{"username": "system:kube-scheduler"}, nil, event.Actor{Kind: event.ActorComponent, Name: "system:kube-scheduler"}},
		{"half a service account", map[string]any{"username": "system:serviceaccount:x"}, nil, event.Actor{Kind: event.ActorComponent, Name: "system:serviceaccount:x"}},
		{"anonymous", map[string]any{"username": "system:anonymous"}, nil, event.Actor{Kind: event.ActorAnonymous, Name: "system:anonymous"}},
		{"nobody, no 401", map[string]any{}, nil, event.Actor{Kind: event.ActorUnknown}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := decode(t, record(t, func(r map[string]any) { r["user"], r["annotations"] = tc.user, tc.annotations }))
			tc.want.IP = "10.0.0.5"
			if diff := cmp.Diff(tc.want, e.Actor, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	for _, tc := range []struct {
		name, verb, subresource, uri string
		want                         event.Request
	}{
		{"exec", "get", "exec", "/api/v1/namespaces/n/pods/p/exec?command=sh&command=-c&command=a+%26%26+b&container=c&tty=1&stdin=false&stdin=true",
			event.Request{Command: []string{"sh", "-c", "a && b"}, Container: "c", TTY: true}},
		{"escaped key", "get", "exec", "/p/exec?%63ommand=id&tty", event.Request{Command: []string{"id"}, TTY: true}},
		{"what net/url drops", "get", "exec", "/p/exec?command=%zz&command=a;b&&command=%4&command=ok", event.Request{Command: []string{"ok"}}},
		{"list", "list", "", "/api/v1/pods?limit=500&labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn", event.Request{Limit: 500, LabelSelector: "a=b", FieldSelector: "spec.nodeName=n"}},
		{"dry run", "create", "", "/api/v1/pods?dryRun=All&fieldManager=kubectl", event.Request{DryRun: true, FieldManager: "kubectl"}},
		{"dry run of an exec is an exec", "create", "exec", "/p/exec?dryRun=All&command=id", event.Request{Command: []string{"id"}}},
		{"dry run of a token request issues it", "create", "token", "/t?dryRun=All", event.Request{}},
		{"dry run of a read is a read", "get", "", "/p?dryRun=All", event.Request{}},
		{"node proxy", "create", "proxy", "/api/v1/nodes/n/proxy/run/ns/p/c?cmd=cat+%2Fetc%2Fshadow&input=1", event.Request{ProxyPath: "/run/ns/p/c", Command: []string{"cat /etc/shadow"}, Stdin: true}},
		{"encoded proxy path", "get", "proxy", "/api/v1/nodes/n/proxy/%65xec/a+b", event.Request{ProxyPath: "/exec/a+b"}},
		{"service proxy", "get", "proxy", "/api/v1/namespaces/n/services/https:s:443/proxy/", event.Request{ProxyPath: "/"}},
		{"proxy of nothing", "get", "proxy", "/api/v1/namespaces/n/pods/p/proxy", event.Request{ProxyPath: "/"}},
		{"proxy cut short", "get", "proxy", "/api/v1/nodes", event.Request{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := decode(t, record(t, func(r map[string]any) {
				r["verb"], r["requestURI"] = tc.verb, tc.uri
				r["objectRef"].(map[string]any)["subresource"] = tc.subresource
			}))
			got := event.Request{Command: e.K8s.Command, Container: e.K8s.Container, TTY: e.K8s.TTY, Stdin: e.K8s.Stdin, FieldManager: e.K8s.FieldManager,
				LabelSelector: e.K8s.LabelSelector, FieldSelector: e.K8s.FieldSelector, Limit: e.K8s.Limit, ProxyPath: e.K8s.ProxyPath, DryRun: e.K8s.DryRun}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBodiesThatAreNotThere(t *testing.T) {
	mutate := func(change func(map[string]any)) *event.Event {
		return decode(t, record(t, func(r map[string]any) { r["verb"] = "create"; change(r) }))
	}
	if e := mutate(func(r map[string]any) { r["requestObject"] = "skipped-too-big-size-object" }); !e.K8s.Object.Skipped || e.K8s.Object.Present {
		t.Error("a string in place of the body is not seen as skipped")
	}
	e := mutate(func(r map[string]any) { r["annotations"] = map[string]string{"audit.k8s.io/truncated": "true"} })
	if !e.K8s.Truncated || !e.K8s.Object.Skipped || !e.K8s.Response.Skipped {
		t.Error("a truncated event is not seen as such")
	}
	e = decode(t, record(t, func(r map[string]any) { r["responseObject"] = map[string]any{"kind": "Pod"} }))
	if e.K8s.Response.Present {
		t.Error("a read's body was read")
	}
}

func TestCompletion(t *testing.T) {
	stored := map[string]any{"kind": "Pod", "metadata": map[string]any{"name": "p-x7k2p", "uid": "stored"}}
	for _, tc := range []struct {
		name              string
		change            func(r, ref map[string]any)
		wantName, wantUID string
		wantDryRun        bool
	}{
		{"generated name", func(r, ref map[string]any) { r["verb"] = "create"; delete(ref, "name") }, "p-x7k2p", "stored", false},
		{"mirror pod", func(r, ref map[string]any) { r["verb"], ref["uid"] = "create", "static" }, "p", "stored", false},
		{"update keeps its own", func(r, ref map[string]any) { r["verb"], ref["uid"] = "update", "own" }, "p", "own", false},
		{"patch", func(r, _ map[string]any) { r["verb"] = "patch" }, "p", "stored", false},
		{"dry run", func(r, _ map[string]any) { r["verb"], r["requestURI"] = "create", "/x?dryRun=All" }, "p", "", true},
		{"delete answered with a Status", func(r, _ map[string]any) {
			r["verb"], r["responseObject"] = "delete", map[string]any{"kind": "Status", "metadata": map[string]any{}}
			r["responseStatus"] = map[string]any{"code": 200, "details": map[string]any{"uid": "gone"}}
		}, "p", "gone", false},
		{"dry run of a delete, in its body", func(r, _ map[string]any) {
			r["verb"], r["requestObject"] = "delete", map[string]any{"kind": "DeleteOptions", "dryRun": []string{"All"}}
		}, "p", "stored", true},
		{"collection", func(r, ref map[string]any) {
			r["verb"] = "deletecollection"
			delete(ref, "name")
		}, "", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := decode(t, record(t, func(r map[string]any) {
				r["responseObject"] = stored
				tc.change(r, r["objectRef"].(map[string]any))
			}))
			if e.K8s.Name != tc.wantName || e.K8s.UID != tc.wantUID || e.K8s.DryRun != tc.wantDryRun {
				t.Errorf("name %q, uid %q, dry run %v, want %q, %q, %v", e.K8s.Name, e.K8s.UID, e.K8s.DryRun, tc.wantName, tc.wantUID, tc.wantDryRun)
			}
		})
	}
}

func TestValidatingWebhookFailsOpen(t *testing.T) {
	e := decode(t, record(t, func(r map[string]any) {
		r["annotations"] = map[string]string{
			"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "v.example",
			"mutation.webhook.admission.k8s.io/round_0_index_0":               `{"configuration":"c","webhook":"w","mutated":true}`,
			"mutation.webhook.admission.k8s.io/round_0_index_1":               `{"configuration":"broken`,
			"other.webhook.admission.k8s.io/x":                                "y",
			"authentication.k8s.io/stale-token":                               "subject: system:serviceaccount:a:b",
		}
	}))
	if !slices.Equal(e.K8s.FailedOpen, []string{"v.example"}) || !slices.Equal(e.K8s.MutatedBy, []string{"c"}) || !e.K8s.StaleToken {
		t.Errorf("failed open %q, mutated by %q, stale %v", e.K8s.FailedOpen, e.K8s.MutatedBy, e.K8s.StaleToken)
	}
}

func TestIDTellsRecordsApart(t *testing.T) {
	ids := map[event.ID]string{}
	changes := map[string]func(map[string]any){
		"base":        func(map[string]any) {},
		"auditID":     func(r map[string]any) { r["auditID"] = "b" },
		"stage":       func(r map[string]any) { r["stage"] = "ResponseStarted" },
		"verb":        func(r map[string]any) { r["verb"] = "list" },
		"uri":         func(r map[string]any) { r["requestURI"] = "/api/v1/secrets" },
		"user":        func(r map[string]any) { r["user"] = map[string]any{"username": "bob"} },
		"impersonate": func(r map[string]any) { r["impersonatedUser"] = map[string]any{"username": "bob"} },
		"address":     func(r map[string]any) { r["sourceIPs"] = []string{"10.0.0.5", "10.0.0.6"} },
		"received":    func(r map[string]any) { r["requestReceivedTimestamp"] = "2026-11-22T05:28:14.341072Z" },
		"time":        func(r map[string]any) { r["stageTimestamp"] = "2026-11-22T05:28:14.343923Z" },
		"code":        func(r map[string]any) { r["responseStatus"] = map[string]any{"code": 404} },
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		id := decode(t, record(t, changes[name])).ID
		if other, ok := ids[id]; ok {
			t.Errorf("%s and %s have one ID", name, other)
		}
		ids[id] = name
	}
	once, again := decode(t, record(t, changes["base"])), decode(t, record(t, changes["base"]))
	if once.ID != again.ID {
		t.Error("a record delivered twice has two IDs")
	}
}

func TestTruncatedEverywhere(t *testing.T) {
	records := allRecords(t)
	d, e := new(Decoder), newEvent()
	for i := 0; i < len(records); i += len(records)/12 + 1 {
		raw := records[i]
		for cut := range len(raw) {
			e.Reset()
			err := d.Decode(raw[:cut:cut], e)
			var syntax *jsonscan.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset > cut {
				t.Fatalf("record %d cut at %d: %v", i, cut, err)
			}
		}
	}
}

func TestHostileNesting(t *testing.T) {
	deep := strings.Repeat(`{"spec":`, 100_000)
	for _, raw := range []string{deep, `{"requestObject":` + deep, `{"verb":"create","objectRef":{"resource":"pods"},"requestObject":` + deep, strings.Repeat("[", 100_000)} {
		if err := new(Decoder).Decode([]byte(raw), newEvent()); err == nil {
			t.Errorf("%.60s... was accepted", raw)
		}
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	var reads [][]byte
	for _, raw := range allRecords(t) {
		if e := decode(t, raw); !e.K8s.Mutates() {
			reads = append(reads, raw)
		}
	}
	d, e := new(Decoder), newEvent()
	all := func() {
		for _, raw := range reads {
			e.Reset()
			if err := d.Decode(raw, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	all() // grows the slices of e
	// Escapes in messages and reasons go to the arena, one chunk for some hundred events.
	if perEvent := testing.AllocsPerRun(5, all) / float64(len(reads)); perEvent > 0.02 {
		t.Errorf("%.3f allocations per event over %d reads", perEvent, len(reads))
	}
}
