package test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/inventory"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source/file"
	"github.com/clew-sec/clew/internal/trace"
)

// TestStateKeepsNoRecord overwrites every record after the engine is done with
// it: what the state holds must be copies, or it shows in a snapshot.
func TestStateKeepsNoRecord(t *testing.T) {
	set := compiled(t)
	for n, r := range recordings(t) {
		if testing.Short() && n%4 != 0 {
			continue
		}
		eng := engine.New(engine.Config{}, set, &discard{})
		d := pipeline.NewDecoder()
		var raws [][]byte
		for _, rec := range records(t, r.inputs) {
			rec.Raw = bytes.Clone(rec.Raw)
			raws = append(raws, rec.Raw)
			e := &event.Event{}
			e.Reset()
			if err := d.Decode(rec, e); errors.Is(err, normalize.ErrIrrelevant) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			eng.Push(e)
		}
		eng.Flush()
		for _, raw := range raws {
			for i := range raw {
				raw[i] = '#'
			}
		}
		var b bytes.Buffer
		if err := eng.Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b.Bytes(), []byte("####")); i >= 0 {
			t.Errorf("%s: the state aliases a record: %q", r.name, b.Bytes()[max(0, i-80):min(b.Len(), i+40)])
		}
	}
}

// floods are streams of events in which everything is new each time.
var floods = map[string]func(n int, at string) string{
	"users and their refusals": func(n int, at string) string {
		return floodRecord(n, at, fmt.Sprintf("user-%d", n), "list", "secrets", "", "", 403, "")
	},
	"objects": func(n int, at string) string {
		body := fmt.Sprintf(`{"kind":"Pod","metadata":{"name":"p-%d","namespace":"ns-%d","uid":"00000000-0000-4000-8000-%012d","labels":{"app":"a-%d"}},"spec":{"serviceAccountName":"sa-%d","containers":[{"name":"c","image":"registry.example/i-%d","securityContext":{"privileged":true}}]}}`, n, n, n, n, n, n)
		return floodRecord(n, at, "alice", "create", "pods", fmt.Sprintf("p-%d", n), fmt.Sprintf("ns-%d", n), 201, body)
	},
	"users, each with its own grant": func(n int, at string) string {
		body := fmt.Sprintf(`{"kind":"ClusterRoleBinding","metadata":{"name":"b-%d","uid":"00000000-0000-4000-8000-%012d"},"roleRef":{"kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","name":"user-%d"}]}`, n, n, n)
		return floodRecord(n, at, fmt.Sprintf("user-%d", n), "create", "clusterrolebindings", fmt.Sprintf("b-%d", n), "", 201, body)
	},
	"secrets read": func(n int, at string) string {
		return floodRecord(n, at, fmt.Sprintf("user-%d", n%1000), "get", "secrets", fmt.Sprintf("s-%d", n), fmt.Sprintf("ns-%d", n), 200, "")
	},
}

func floodRecord(n int, at, user, verb, resource, name, namespace string, code int, body string) string {
	group := ""
	if resource == "clusterrolebindings" {
		group = "rbac.authorization.k8s.io"
	}
	if body != "" {
		body = fmt.Sprintf(`,"requestObject":%s,"responseObject":%s`, body, body)
	}
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a-%d","stage":"ResponseComplete","requestURI":"/api/v1/%s/%s","verb":%q,"user":{"username":%q,"groups":["system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=%s-%d"]}},"sourceIPs":["%d.%d.%d.7"],"userAgent":"agent-%d/1","objectRef":{"resource":%q,"namespace":%q,"name":%q,"apiGroup":%q,"apiVersion":"v1"},"responseStatus":{"code":%d},"requestReceivedTimestamp":%q,"stageTimestamp":%q%s}`,
		n, resource, name, verb, user, user, n, 20+n>>16, n>>8&255, n&255, n, resource, namespace, name, group, code, at, at, body)
}

// flooded feeds events of a flood and returns the engine and the heap in use
// after half of them and after all.
func flooded(t *testing.T, cfg engine.Config, record func(int, string) string, events int) (eng *engine.Engine, half, all uint64) {
	t.Helper()
	before := heapNow()
	sink := &discard{}
	eng = engine.New(cfg, compiled(t), sink)
	d := pipeline.NewDecoder()
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	for n := range events {
		if n == events/2 {
			half = heapNow() - before
		}
		at = at.Add(10 * time.Millisecond)
		e := sink.get()
		rec := file.Record{Raw: []byte(record(n, at.Format("2006-01-02T15:04:05.000000Z"))), Format: file.K8sAudit}
		if err := d.Decode(rec, e); err != nil {
			t.Fatal(err)
		}
		eng.Push(e)
	}
	eng.Flush()
	all = heapNow() - before
	t.Logf("%d flags, %d traces, heap %d MiB, then %d MiB", eng.Stats().Flags, len(eng.Traces()), half>>20, all>>20)
	return eng, half, all
}

// TestFloodIsBounded: with tight limits the heap of every flood stops growing
// long before its end.
func TestFloodIsBounded(t *testing.T) {
	tight := engine.Config{
		MaxHeld:   256,
		Inventory: inventory.Config{Credentials: 1000, Objects: 1000, Pods: 1000, Nodes: 100, Grants: 1000, Shapes: 1000, Streams: 1000},
		Graph:     graph.Config{MaxEntities: 2000, MaxSessions: 1000},
		Trace:     trace.Config{MaxTraces: 500, MaxUnits: 2000},
	}
	const slack = 24 << 20 // duplicate memory, shared strings and the tracer's sketches fill up slowly
	for name, record := range floods {
		t.Run(name, func(t *testing.T) {
			eng, half, all := flooded(t, tight, record, 16_000)
			if all > half+slack {
				t.Errorf("heap %d MiB after half, %d MiB at the end", half>>20, all>>20)
			}
			runtime.KeepAlive(eng)
		})
	}
}

// TestFloodOfUsers: 300,000 users, each with a credential, an address and a flag
// of its own, stay below 512 MiB with the limits of a default installation.
func TestFloodOfUsers(t *testing.T) {
	if testing.Short() {
		t.Skip("feeds 300,000 events")
	}
	eng, _, all := flooded(t, engine.Config{}, floods["users and their refusals"], 300_000)
	if all > 512<<20 {
		t.Errorf("heap of %d MiB", all>>20)
	}
	runtime.KeepAlive(eng)
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
