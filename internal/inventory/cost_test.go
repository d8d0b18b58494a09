package inventory

import (
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

// BenchmarkObserve replays all recordings again and again: ns/op is one event.
func BenchmarkObserve(b *testing.B) {
	events := recorded(b, all(b)...)
	inv := New(Config{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := events[i%len(events)]
		clearFacts(e)
		inv.Observe(e)
	}
}

// BenchmarkNeededGrant asks for every event after it was observed.
func BenchmarkNeededGrant(b *testing.B) {
	events := recorded(b, all(b)...)
	inv := New(Config{})
	for _, e := range events {
		inv.Observe(e)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		inv.NeededGrant(events[i%len(events)])
	}
}

// clearFacts empties the facts as Reset does, keeping the capacity of their slices.
func clearFacts(e *event.Event) {
	f := &e.Facts
	f.SessionEnd, f.Cascade = false, false
	f.Actor = event.ActorFacts{AgeS: -1, GrantAgeS: -1, NetworkAgeS: -1}
	f.Target = event.TargetFacts{AgeS: -1, NamespaceAgeS: -1, HostPaths: f.Target.HostPaths[:0]}
	c, g := &f.Change, &f.Grants
	f.Change = event.ChangeFacts{InjectorAgeS: -1, ImagesAdded: c.ImagesAdded[:0], ContainersAdded: c.ContainersAdded[:0],
		Injected: c.Injected[:0], InjectedBy: c.InjectedBy[:0]}
	f.Grants = event.GrantFacts{WebhookAgeS: -1, Powers: g.Powers[:0], NewPowers: g.NewPowers[:0]}
}

// TestReadsDoNotAllocate is the rule that keeps steady traffic cheap.
func TestReadsDoNotAllocate(t *testing.T) {
	events := recorded(t, all(t)...)
	inv := New(Config{})
	var reads []*event.Event
	for _, e := range events {
		clearFacts(e)
		inv.Observe(e)
		if !e.K8s.Mutates() && e.K8s.Stage == event.StageResponseComplete {
			reads = append(reads, e)
		}
	}
	for _, e := range reads {
		clearFacts(e)
		inv.Observe(e)
	}
	allocs := testing.AllocsPerRun(5, func() {
		for _, e := range reads {
			clearFacts(e)
			inv.Observe(e)
			inv.NeededGrant(e)
		}
	})
	if allocs != 0 {
		t.Errorf("%d reads allocated %.0f times", len(reads), allocs)
	}
}

func TestProxiedReadsDoNotAllocate(t *testing.T) {
	l := newLog(t)
	proxy := podToken("teleport", "teleport", "u1", "n1", "10.244.0.5")
	l.acts(proxy, 3, "u-a", "u-b", "u-c")
	proxy.Impersonated = "u-a"
	e := l.see(fact(proxy, req("get", "secrets", "shop", "x")))
	allocs := testing.AllocsPerRun(5, func() {
		clearFacts(e)
		l.inv.Observe(e)
	})
	if allocs != 0 {
		t.Errorf("a proxied read allocated %.0f times", allocs)
	}
}
