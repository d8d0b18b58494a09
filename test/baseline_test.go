package test

import (
	"encoding/json"
	"testing"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/inventory"
	"github.com/clew-sec/clew/internal/normalize/k8saudit"
	"github.com/clew-sec/clew/internal/source/file"
	"github.com/clew-sec/clew/internal/trace"
)

// The baseline is what one writes first: encoding/json into structs, and every
// rule's CEL condition evaluated by cel-go on every event. Inventory, graph and
// trace are clew's own, so that the comparison is about decoding and matching.

// auditEvent is what clew reads of an audit event, as encoding/json wants it.
type auditEvent struct {
	Kind, APIVersion, Level, AuditID, Stage, RequestURI, Verb, UserAgent string
	User, ImpersonatedUser                                               struct {
		Username, UID string
		Groups        []string
		Extra         map[string][]string
	}
	SourceIPs []string
	ObjectRef struct {
		Resource, Subresource, Namespace, Name, UID, APIGroup, APIVersion string
	}
	ResponseStatus struct {
		Code    int
		Message string
	}
	RequestObject, ResponseObject            object
	RequestReceivedTimestamp, StageTimestamp string
	Annotations                              map[string]string
}

// object is what clew reads of the commonest Kubernetes objects. Rules, webhooks,
// policies, CSRs and more are left out, which is to the baseline's advantage.
type object struct {
	Kind     string
	Metadata struct {
		Name, GenerateName, Namespace, UID, CreationTimestamp string
		Labels, Annotations                                   map[string]string
		OwnerReferences                                       []struct {
			Kind, Name, UID string
			Controller      bool
		}
	}
	Spec struct {
		podSpec
		Replicas *int
		Template struct{ Spec podSpec }
	}
	Status struct{ PodIP, HostIP string }
}

type podSpec struct {
	NodeName, ServiceAccountName  string
	HostPID, HostIPC, HostNetwork bool
	Containers, InitContainers    []container
	Volumes                       []struct {
		Name     string
		HostPath *struct{ Path string }
		Secret   *struct{ SecretName string }
	}
}

type container struct {
	Name, Image   string
	Command, Args []string
	Env           []struct{ Name, Value string }
	VolumeMounts  []struct {
		Name, MountPath string
		ReadOnly        bool
	}
	SecurityContext struct {
		Privileged   bool
		Capabilities struct{ Add []string }
	}
}

// UnmarshalJSON reads objects and leaves anything else, a JSON patch for one,
// alone: encoding/json would give up the whole event for it.
func (o *object) UnmarshalJSON(raw []byte) error {
	if raw[0] != '{' {
		return nil
	}
	type plain object
	_ = json.Unmarshal(raw, (*plain)(o)) // what does not fit stays empty
	return nil
}

// baseline runs events through clew's stages with other rules' evaluation.
type baseline struct {
	set    *detect.Set
	inv    *inventory.Inventory
	graph  *graph.Graph
	tracer *trace.Tracer
	match  func(e *event.Event, flag func(rule int32))
	flags  int
}

func newBaseline(set *detect.Set) *baseline {
	inv := inventory.New(inventory.Config{})
	b := &baseline{set: set, inv: inv, graph: graph.New(graph.Config{}, inv), tracer: trace.New(trace.Config{})}
	b.match = b.everyRule
	return b
}

func (b *baseline) step(e *event.Event) {
	b.graph.Identify(e)
	b.inv.Observe(e)
	s := b.graph.Observe(e)
	b.tracer.Advance(e.Time)
	for _, l := range s.Links {
		b.tracer.Link(l)
	}
	if e.Facts.Cascade || e.Facts.SessionEnd {
		return
	}
	b.match(e, func(i int32) {
		r := b.set.Rule(i)
		b.flags++
		b.tracer.Flag(trace.Flag{Event: e.ID, Time: e.Time, Unit: s.Unit, Rule: r.ID, Severity: r.Severity, Tactic: r.Tactic, Plane: e.Plane(), User: e.Actor.Name})
	})
}

// everyRule asks cel-go about every rule for such events.
func (b *baseline) everyRule(e *event.Event, flag func(rule int32)) {
	for i := range b.set.Len() {
		if !b.set.Applies(i, e) {
			continue
		}
		if ok, err := b.set.EvalCEL(i, e); ok && err == nil {
			flag(int32(i))
		}
	}
}

// BenchmarkPipeline compares clew with the baseline in one run: the ratio of
// their cpu-ns/event is what docs/performance.md states. The baseline's events
// are filled from clew's decoder outside of the clock, so it pays for
// encoding/json alone and nothing for what it would make of the structs.
func BenchmarkPipeline(b *testing.B) {
	set := compiled(b)
	b.Run("clew", func(b *testing.B) {
		log, events := amplified(b, 64<<20)
		started := cpuNanos()
		for b.Loop() {
			runClew(b, set, log)
		}
		reportPerEvent(b, cpuNanos()-started, events)
	})
	log, events := amplified(b, 4<<20)
	b.Run("encodingjson", func(b *testing.B) { // decoding alone
		started := cpuNanos()
		for b.Loop() {
			eachRecord(b, log, func(rec file.Record) { decodeBaseline(b, rec.Raw) })
		}
		reportPerEvent(b, cpuNanos()-started, events)
	})
	b.Run("encodingjson-unindexed-cel", func(b *testing.B) {
		decoded := decodeAll(b, log)
		var fresh event.Event
		fresh.Reset()
		cpu := int64(0)
		for b.Loop() {
			base := newBaseline(set)
			next := 0
			for i := range decoded {
				decoded[i].Facts = fresh.Facts
			}
			started := cpuNanos()
			eachRecord(b, log, func(rec file.Record) {
				decodeBaseline(b, rec.Raw)
				base.step(decoded[next])
				next++
			})
			cpu += cpuNanos() - started
		}
		reportPerEvent(b, cpu, events)
	})
}

func decodeBaseline(tb testing.TB, raw []byte) {
	var e auditEvent
	if err := json.Unmarshal(raw, &e); err != nil {
		tb.Fatal(err)
	}
}

// decodeAll decodes a log with clew's decoder.
func decodeAll(tb testing.TB, log []byte) []*event.Event {
	var out []*event.Event
	d := new(k8saudit.Decoder)
	eachRecord(tb, log, func(rec file.Record) {
		e := &event.Event{}
		e.Reset()
		if err := d.Decode(rec.Raw, e); err != nil {
			tb.Fatal(err)
		}
		out = append(out, e)
	})
	return out
}
