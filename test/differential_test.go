package test

import (
	"slices"
	"testing"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
)

// TestConditionsAgreeWithCEL evaluates every shipped rule on recorded events of
// every source by compiled closures behind the index and by cel-go itself. The
// events are as the engine leaves them, all facts filled in. cel-go takes some
// hundred microseconds an event for the whole pack, so of the audit events every
// seventh is compared with all rules; the rules that match are compared on every
// event.
func TestConditionsAgreeWithCEL(t *testing.T) {
	set := compiled(t)
	every := 7
	if testing.Short() {
		every = 70
	}
	sources := map[event.Source]int{}
	hits, compared, n := 0, 0, 0
	for _, r := range recordings(t) {
		c := &comparison{set: set}
		eng := engine.New(smallWindow(), set, c)
		c.compare = func(e *event.Event) {
			n++
			matched := set.Eval(e, nil)
			hits += len(matched)
			for _, i := range matched {
				c.agree(t, r.name, i, e, true)
			}
			if e.Source == event.SourceK8sAudit && n%every != 0 {
				return
			}
			sources[e.Source]++
			for i := range int32(set.Len()) {
				if set.Rule(i).Source == ruleSource(e) {
					compared++
					c.agree(t, r.name, i, e, slices.Contains(matched, i))
				}
			}
		}
		for _, e := range decode(t, records(t, r.inputs)) {
			eng.Push(e)
		}
		eng.Flush()
	}
	t.Logf("%d events, %d hits, %d pairs of rule and event compared, events by source %v", n, hits, compared, sources)
	if hits == 0 || len(sources) < 4 {
		t.Errorf("only %d hits, sources %v", hits, sources)
	}
}

// ruleSource is the source of the rules that see an event: requests to a
// Kubernetes API server are k8s-audit whatever log they came from.
func ruleSource(e *event.Event) event.Source {
	if e.Kind == event.KindAPIRequest {
		return event.SourceK8sAudit
	}
	return e.Source
}

// comparison is a sink that looks at events when the engine is done with them.
type comparison struct {
	set     *detect.Set
	compare func(*event.Event)
}

func (c *comparison) Flag(engine.Flag) uint64 { return 0 }

func (c *comparison) Done(e *event.Event) { c.compare(e) }

func (c *comparison) agree(t *testing.T, recording string, i int32, e *event.Event, compiled bool) {
	t.Helper()
	got, err := c.set.EvalCEL(int(i), e)
	if err != nil {
		got = false // a condition that fails does not match
	}
	if got != compiled {
		t.Errorf("%s: rule %s on %s: closures say %v, cel-go %v (%v)", recording, c.set.Rule(i).ID, e.ID, compiled, got, err)
	}
}
