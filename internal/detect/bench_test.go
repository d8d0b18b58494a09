package detect_test

import (
	"math/rand/v2"
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

// apiEvents is a mix like a busy cluster's audit log: mostly controllers'
// reads and status updates, some people, few pod bodies.
func apiEvents() []*event.Event {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	out := make([]*event.Event, 512)
	for i := range out {
		e := blank()
		e.Actor.Kind, e.Actor.Name, e.Actor.IP = event.ActorComponent, "system:kube-controller-manager", "10.0.0.2"
		e.Facts.Actor.System = true
		e.K8s.Verb = pick("get", "get", "list", "watch", "update", "patch", "create")
		e.K8s.Resource = pick("leases", "leases", "pods", "endpointslices", "events", "nodes", "configmaps", "secrets", "deployments")
		e.K8s.Namespace, e.K8s.Name, e.K8s.Code = pick("shop", "kube-system", "default"), "web-7d4b9c", 200
		e.K8s.URI = "/api/v1/namespaces/" + e.K8s.Namespace + "/" + e.K8s.Resource + "/" + e.K8s.Name + "?timeout=10s"
		switch r.IntN(10) {
		case 0:
			e.Actor.Kind, e.Actor.Name, e.Facts.Actor.System = event.ActorUser, "alice", false
		case 1:
			e.Actor.Kind, e.Actor.Name, e.Facts.Actor.System = event.ActorServiceAccount, "system:serviceaccount:shop:web", false
		}
		if e.K8s.Resource == "pods" && r.IntN(8) == 0 {
			e.K8s.Subresource = pick("status", "binding", "exec", "log")
		}
		if e.K8s.Resource == "deployments" {
			e.K8s.Object.Present, e.K8s.Object.HasPodSpec = true, true
			e.K8s.Object.Containers = []event.Container{{Name: "main", Image: "registry.example.com/web:1"}}
		}
		out[i] = e
	}
	return out
}

// BenchmarkRules compares the ways to run 240 rules on one event:
//
//	go test ./internal/detect -run ^$ -bench Rules -benchmem
func BenchmarkRules(b *testing.B) {
	set := compile(b, syntheticRules(240))
	events := apiEvents()
	run := func(name string, f func(e *event.Event)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f(events[i%len(events)])
			}
		})
	}
	hits := make([]int32, 0, 16)
	run("index+closures", func(e *event.Event) { hits = set.Eval(e, hits[:0]) })
	run("all-closures", func(e *event.Event) {
		for i := range set.rules {
			if set.Applies(i, e) {
				set.EvalClosure(i, e)
			}
		}
	})
	run("index+cel-go", func(e *event.Event) { hits = set.EvalIndexedCEL(e, hits[:0]) })
	run("all-cel-go", func(e *event.Event) {
		for i := range set.rules {
			if set.Applies(i, e) {
				if _, err := set.EvalCEL(i, e); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	run("index-alone", func(e *event.Event) { set.Candidates(e) })
}
