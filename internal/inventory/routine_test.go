package inventory

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

const day = 24 * time.Hour

func TestUsual(t *testing.T) {
	const home, abroad = "10.1.2.3", "203.0.113.9"
	secrets, pods := req("list", "secrets", "", ""), req("list", "pods", "shop", "")
	refused := secrets
	refused.Code = 403
	at := func(ip string) event.Actor { return person("alice", ip) }
	other := at(home)
	other.Credential = "X509SHA256=renewed"
	as := at(home)
	as.Impersonated = "bob"
	nobody := event.Actor{Kind: event.ActorAnonymous, Name: "system:anonymous", IP: home}
	mismatched := podToken("shop", "web", "u1", "n1", "203.0.113.5")
	type step struct {
		wait time.Duration
		a    event.Actor
		r    event.Request
	}
	tests := []struct {
		name   string
		before []step
		ask    step
		want   bool
	}{
		{name: "nothing before", ask: step{0, at(home), secrets}},
		{name: "at home", before: []step{{0, at(home), secrets}}, ask: step{time.Hour, at(home), secrets}, want: true},
		{name: "another namespace is no other kind", before: []step{{0, at(home), req("get", "secrets", "a", "x")}}, ask: step{time.Hour, at(home), req("get", "secrets", "b", "y")}, want: true},
		{name: "in the same burst", before: []step{{0, at(home), secrets}}, ask: step{time.Minute, at(home), secrets}},
		{name: "another kind", before: []step{{0, at(home), pods}}, ask: step{time.Hour, at(home), secrets}},
		{name: "was refused", before: []step{{0, at(home), refused}}, ask: step{time.Hour, at(home), secrets}},
		{name: "by the same person with another credential", before: []step{{0, at(home), secrets}}, ask: step{time.Hour, other, secrets}, want: true},
		{name: "as somebody else", before: []step{{0, at(home), secrets}}, ask: step{time.Hour, as, secrets}},
		{name: "asked from abroad", before: []step{{0, at(home), secrets}}, ask: step{time.Hour, at(abroad), secrets}, want: true},
		{name: "done abroad only", before: []step{{0, at(home), pods}, {0, at(abroad), secrets}}, ask: step{time.Hour, at(abroad), secrets}},
		{name: "done abroad for six days", before: []step{{0, at(home), pods}, {0, at(abroad), secrets}, {6 * day, at(abroad), secrets}},
			ask: step{time.Hour, at(abroad), secrets}},
		{name: "done abroad after a week", before: []step{{0, at(home), pods}, {0, at(abroad), pods}, {7*day + time.Hour, at(abroad), secrets}},
			ask: step{time.Hour, at(abroad), secrets}, want: true},
		{name: "done abroad with a fresh credential", before: []step{{0, at(home), pods}, {0, func() event.Actor { a := other; a.IP = abroad; return a }(), secrets}},
			ask: step{time.Hour, at(home), secrets}},
		{name: "anonymous", before: []step{{0, nobody, secrets}}, ask: step{time.Hour, nobody, secrets}},
		{name: "pod's token abroad", before: []step{{0, mismatched, secrets}}, ask: step{time.Hour, mismatched, secrets}},
		{name: "account without a pod", before: []step{{0, account("ci", "deploy", abroad), secrets}}, ask: step{time.Hour, account("ci", "deploy", abroad), secrets}, want: true},
		{name: "account's token abroad", before: []step{{0, account("ci", "deploy", home), pods}, {0, account("ci", "deploy", abroad), secrets}},
			ask: step{time.Hour, account("ci", "deploy", home), secrets}},
		{name: "control plane", before: []step{{0, manager("10.9.0.1"), secrets}}, ask: step{time.Hour, manager("10.9.0.1"), secrets}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, s := range tt.before {
				l.wait(s.wait)
				l.see(fact(s.a, s.r))
			}
			l.wait(tt.ask.wait)
			if got := l.see(fact(tt.ask.a, tt.ask.r)).Facts.Actor.Usual; got != tt.want {
				t.Errorf("Usual = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestUsualCloudCall(t *testing.T) {
	l := newLog(t)
	call := func(session, service, action string) bool {
		e := fact(event.Actor{Kind: event.ActorUser, Name: "arn:aws:sts::1:assumed-role/dev/" + session, Role: "arn:aws:iam::1:role/dev",
			Credential: "aws:ASIA" + session, IP: "203.0.113.4"}, event.Request{})
		e.Kind, e.Cloud = event.KindCloudCall, event.CloudCall{Service: service, Action: action}
		return l.see(e).Facts.Actor.Usual
	}
	got := []bool{call("a", "s3", "GetObject")}
	l.wait(time.Hour)
	got = append(got, call("a", "s3", "GetObject"), call("b", "s3", "GetObject"), call("a", "s3", "DeleteBucket"), call("a", "ec2", "GetObject"))
	if diff := cmp.Diff([]bool{false, true, true, false, false}, got); diff != "" {
		t.Error(diff)
	}
}

// TestShapesAreBounded floods an identity's memory from abroad, which must not
// displace what it learned at home.
func TestShapesAreBounded(t *testing.T) {
	r := &routine{}
	for h := range uint64(10) {
		r.note(h, int64(h+1), false, true)
	}
	for h := range uint64(1000) {
		r.note(1000+h, int64(1000+h), true, false)
	}
	if len(r.Shapes) != maxShapes {
		t.Errorf("%d shapes, want %d", len(r.Shapes), maxShapes)
	}
	for h := range uint64(10) {
		if r.shape(h) == nil {
			t.Errorf("shape %d of home is gone", h)
		}
	}
	for h := range uint64(200) {
		r.note(5000+h, int64(5000+h), false, true)
	}
	r.note(1, 9000, true, false)
	r.note(9999, 9999, true, false)
	if len(r.Shapes) != maxShapes || r.shape(5199) == nil || r.shape(9999) != nil {
		t.Error("a full memory of established shapes takes the established only")
	}
}

func TestPlacesAreBounded(t *testing.T) {
	l := newLog(t)
	l.see(fact(person("olga", "10.1.2.3"), req("list", "pods", "shop", "")))
	for i := range 40 {
		e := l.see(fact(person("olga", fmt.Sprintf("203.0.%d.1", i)), req("list", "pods", "shop", "")))
		if f := e.Facts.Actor; !f.NewNetwork || !f.YoungNetwork || f.Networks != i+2 {
			t.Fatalf("network %d: %+v", i, f)
		}
	}
	if f := l.see(fact(person("olga", "203.0.39.1"), req("list", "pods", "shop", ""))).Facts.Actor; !f.YoungNetwork {
		t.Error("the first network was forgotten")
	}
}
