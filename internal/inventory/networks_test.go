package inventory

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

// standing is what the facts say of the network.
type standing struct {
	New, Young, Concurrent bool
	Age                    int
}

func standingOf(f event.ActorFacts) standing {
	return standing{f.NewNetwork, f.YoungNetwork, f.Concurrent, f.NetworkAgeS}
}

func TestYoungNetwork(t *testing.T) {
	l := newLog(t)
	list := req("list", "pods", "shop", "")
	var got []standing
	see := func(wait time.Duration, ip string) {
		l.wait(wait)
		got = append(got, standingOf(l.see(fact(person("alice", ip), list)).Facts.Actor))
	}
	see(0, "10.1.2.3")
	see(time.Hour, "203.0.113.9")
	see(day, "203.0.113.10")
	see(6*day-time.Minute, "203.0.113.9")
	see(2*time.Minute, "203.0.113.9")
	see(time.Hour, "10.1.2.3")
	want := []standing{{Age: -1}, {New: true, Young: true}, {Young: true, Age: 86401}, {Young: true, Age: 604742}, {Age: 604863}, {Age: -1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestYoungNetworkInCluster(t *testing.T) {
	l := newLog(t)
	get := req("get", "configmaps", "shop", "x")
	l.see(fact(node("n1", "10.9.0.2"), get))
	l.see(fact(podToken("shop", "web", "u1", "n1", "10.244.0.5"), get))
	for range 2 {
		if f := l.see(fact(podToken("shop", "web", "u1", "n1", "10.9.0.2"), get)).Facts.Actor; f.YoungNetwork || f.NewNetwork {
			t.Errorf("a pod on its own node: %+v", f)
		}
	}
}

func TestVouchedNetwork(t *testing.T) {
	const office, flat = "81.2.69.7", "84.1.2.3"
	list := req("list", "pods", "shop", "")
	made := person("made", office)
	csr := req("update", "certificates.k8s.io/certificatesigningrequests/approval", "", "made")
	robot := account("ci", "deploy", "10.1.2.3")
	robot.Credential = "legacy:ci/deploy"
	abroad := robot
	abroad.IP = office
	tests := []struct {
		name    string
		others  []event.Actor
		foreign bool // the credential of "made" was issued in the log
		before  event.Actor
		ask     event.Actor
		want    standing
	}{
		{name: "nobody", before: person("alice", flat), ask: person("alice", office), want: standing{New: true, Young: true, Concurrent: true}},
		{name: "one other", others: []event.Actor{person("bob", office)}, before: person("alice", flat), ask: person("alice", office),
			want: standing{New: true, Young: true, Concurrent: true}},
		{name: "two others", others: []event.Actor{person("bob", office), person("carl", office)}, before: person("alice", flat), ask: person("alice", office),
			want: standing{Age: -1}},
		{name: "one other twice", others: []event.Actor{person("bob", office), func() event.Actor {
			a := person("bob", office)
			a.Credential = "X509SHA256=again"
			return a
		}()}, before: person("alice", flat), ask: person("alice", office), want: standing{New: true, Young: true, Concurrent: true}},
		{name: "two others who came later", others: []event.Actor{person("bob", flat), person("carl", flat), person("bob", office), person("carl", office)},
			before: person("alice", flat), ask: person("alice", office), want: standing{New: true, Young: true, Concurrent: true}},
		{name: "one other and a machine", others: []event.Actor{person("bob", office), account("shop", "web", office)},
			before: person("alice", flat), ask: person("alice", office), want: standing{New: true, Young: true, Concurrent: true}},
		{name: "one other and a made-up one", foreign: true, others: []event.Actor{person("bob", office), made},
			before: person("alice", flat), ask: person("alice", office), want: standing{New: true, Young: true, Concurrent: true}},
		{name: "machine's credential in the office", others: []event.Actor{person("bob", office), person("carl", office)},
			before: robot, ask: abroad, want: standing{New: true, Young: true, Concurrent: true}},
		{name: "back from the office", others: []event.Actor{person("bob", office), person("carl", office), person("alice", flat)},
			before: person("alice", office), ask: person("alice", flat), want: standing{Age: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			if tt.foreign {
				l.see(fact(person("eve", flat), csr))
				l.inv.issued(made.Credential, l.now, true)
			}
			for _, a := range tt.others {
				l.see(fact(a, list))
			}
			l.see(fact(tt.before, list))
			if diff := cmp.Diff(tt.want, standingOf(l.see(fact(tt.ask, list)).Facts.Actor)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestThiefAtHome: that others vouch for an office hides no thief from the owner's
// other places.
func TestThiefAtHome(t *testing.T) {
	const office = "81.2.69.7"
	l := newLog(t)
	list := req("list", "pods", "shop", "")
	for _, who := range []string{"bob", "carl", "alice"} {
		l.see(fact(person(who, office), list))
	}
	thief := l.see(fact(person("alice", "203.0.113.9"), list)).Facts.Actor
	if diff := cmp.Diff(standing{New: true, Young: true, Concurrent: true}, standingOf(thief)); diff != "" {
		t.Error(diff)
	}
	if !l.see(fact(person("alice", office), list)).Facts.Actor.Concurrent {
		t.Error("the owner does not notice the thief")
	}
}

func TestSnapshotOfRoutines(t *testing.T) {
	l := newLog(t)
	secrets := req("list", "secrets", "", "")
	for _, who := range []string{"bob", "carl"} {
		l.see(fact(person(who, "81.2.69.7"), secrets))
	}
	l.see(fact(person("alice", "84.1.2.3"), secrets))
	l.wait(time.Hour)
	var snap bytes.Buffer
	if err := l.inv.Snapshot(&snap); err != nil {
		t.Fatal(err)
	}
	l.inv = New(Config{})
	if err := l.inv.Restore(&snap); err != nil {
		t.Fatal(err)
	}
	if f := l.see(fact(person("alice", "81.2.69.7"), secrets)).Facts.Actor; f.NewNetwork || !f.Usual {
		t.Errorf("after Restore: %+v", f)
	}
}

func TestSettled(t *testing.T) {
	l := newLog(t)
	list := req("list", "pods", "shop", "")
	settled := func(wait time.Duration, a event.Actor) bool {
		l.wait(wait)
		return l.see(fact(a, list)).Facts.Actor.Settled
	}
	job := func(ip string) event.Actor { return account("ci", "deploy", ip) }
	if settled(0, person("alice", "10.1.2.3")) || settled(0, job("20.1.1.1")) {
		t.Error("settled at first sight")
	}
	if settled(2*time.Hour, job("20.1.2.1")) || settled(2*time.Hour, job("20.1.3.1")) {
		t.Error("a machine without a home is settled")
	}
	settled(0, person("alice", "10.1.2.3"))
	if !settled(0, person("alice", "81.2.69.7")) {
		t.Error("four hours at home are not enough")
	}
}

func TestPersonStandsForHourlyTokens(t *testing.T) {
	l := newLog(t)
	list := req("list", "pods", "shop", "")
	with := func(token, ip string) event.Actor {
		a := person("alice", ip)
		a.Credential = "JTI=" + token
		return a
	}
	l.see(fact(with("t1", "10.1.2.3"), list))
	if f := l.see(fact(with("t2", "81.2.69.7"), list)).Facts.Actor; !f.NewNetwork || f.FirstSeen {
		t.Errorf("another token from another network: %+v", f)
	}
}

func TestReachIsPartOfWhatIsUsual(t *testing.T) {
	l := newLog(t)
	everywhere := req("list", "secrets", "", "")
	l.see(fact(person("alice", "10.1.2.3"), req("list", "secrets", "shop", "")))
	l.wait(time.Hour)
	if !l.see(fact(person("alice", "10.1.2.3"), req("list", "secrets", "pay", ""))).Facts.Actor.Usual {
		t.Error("secrets of a namespace are not usual")
	}
	if l.see(fact(person("alice", "10.1.2.3"), everywhere)).Facts.Actor.Usual {
		t.Error("everybody's secrets are usual to who lists those of a namespace")
	}
}
