package parquet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// generator makes rows like those of a cluster's audit log: few users and verbs, many
// pods, names that repeat, an id that never does. Of one seed it makes the same rows.
type generator struct {
	rnd    *rand.Rand
	n      uint64
	time   int64
	step   int64 // mean nanoseconds between events
	jitter int64 // events are out of order by as much
	raw    int   // bytes of raw record
	pods   int
}

var (
	genVerbs     = []string{"get", "get", "get", "watch", "list", "update", "patch", "create", "delete"}
	genResources = []string{"pods", "leases", "configmaps", "secrets", "endpointslices", "nodes", "deployments", "events", "serviceaccounts"}
)

func newGenerator(seed uint64) *generator {
	return &generator{rnd: rand.New(rand.NewPCG(seed, 1)), time: 1_700_000_000_000_000_000, step: 864_000, jitter: 2_000_000_000, raw: 430, pods: 5000}
}

// pick returns 0..n-1, small numbers more often.
func (g *generator) pick(n int) int { return int(float64(n) * g.rnd.Float64() * g.rnd.Float64()) }

// id returns the n-th id of a kind.
func id(kind, n uint64) event.ID {
	var h event.Hasher
	h.Int(int64(kind))
	h.Int(int64(n))
	return h.Sum()
}

func userName(pod int) string {
	return fmt.Sprintf("system:serviceaccount:team-%02d:app-%d", pod%60, pod%400)
}

func podName(pod int) string {
	return fmt.Sprintf("team-%02d/app-%d-7d9f-%05d", pod%60, pod%400, pod)
}

func (g *generator) row() Row {
	g.n++
	g.time += g.rnd.Int64N(2 * g.step)
	pod, target := g.rnd.IntN(g.pods), g.pick(g.pods)
	user, ns := pod%400, pod%60
	t := (g.time - g.rnd.Int64N(g.jitter)) / 1000 * 1000 // audit logs have microseconds
	r := Row{
		Time: t, Received: t - int64(g.rnd.IntN(20_000))*1000, ID: id(0, g.n), Source: "k8s-audit", Plane: "k8s", Kind: "api-request",
		Verb: genVerbs[g.rnd.IntN(len(genVerbs))], Resource: genResources[g.pick(len(genResources))], Stage: "ResponseComplete",
		Namespace: fmt.Sprintf("team-%02d", ns), Code: 200, User: userName(pod),
		Groups:     []string{"system:serviceaccounts", "system:authenticated"},
		Credential: "JTI=" + id(1, uint64(pod)).String(), SourceIP: fmt.Sprintf("10.0.%d.%d", pod>>8, pod&255),
		UserAgent: fmt.Sprintf("app-%d/v1.2.3 (linux/amd64) kubernetes/abcdef", user%40), ActorPod: podName(pod),
		ActorPodUID: id(2, uint64(pod)).String(),
	}
	object := g.pick(100)
	r.Name = fmt.Sprintf("%s-%d", r.Resource, object)
	r.ObjectUID = id(3, uint64(ns)<<32|uint64(object)<<8|uint64(len(r.Resource))).String()
	if r.Resource == "pods" {
		r.Pod = podName(target)
		_, r.Name, _ = strings.Cut(r.Pod, "/")
		r.ObjectUID = id(2, uint64(target)).String()
	}
	if g.rnd.IntN(50_000) == 0 {
		r.Executable = fmt.Sprintf("/tmp/rare-%d", g.rnd.IntN(20))
	}
	r.RequestURI = "/api/v1/namespaces/" + r.Namespace + "/" + r.Resource + "/" + r.Name + "?timeout=10s"
	if g.rnd.IntN(20) == 0 {
		r.Code, r.Text = 403, r.User+` cannot `+r.Verb+` resource "`+r.Resource+`" in the namespace `+r.Namespace
	}
	r.Entities = []event.ID{id(1, uint64(pod)), id(2, uint64(pod)), id(4, uint64(user*60+ns)), id(6, uint64(ns)<<32|uint64(object)<<8|uint64(len(r.Resource)))}
	if g.rnd.IntN(10_000) == 0 {
		r.Entities = append(r.Entities, id(5, uint64(g.rnd.IntN(1000)))) // rare
	}
	if g.raw > 0 {
		r.Raw = g.record(&r)
	}
	return r
}

// record returns a raw record that says what the row says and some words that do not
// repeat, raw bytes of it.
func (g *generator) record(r *Row) []byte {
	b := fmt.Appendf(make([]byte, 0, g.raw+100), `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%x","verb":%q,"requestURI":%q,"user":{"username":%q},"userAgent":%q,"ip":%q`,
		binary.LittleEndian.Uint64(r.ID[:8]), r.Verb, r.RequestURI, r.User, r.UserAgent, r.SourceIP)
	for len(b) < g.raw {
		b = append(b, `,"annotations":{"authorization.k8s.io/decision":"allow"}`...)
	}
	return append(b[:g.raw-1], '}')
}

func (g *generator) rows(n int) []Row {
	out := make([]Row, n)
	for i := range out {
		out[i] = g.row()
	}
	return out
}
