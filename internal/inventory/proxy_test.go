package inventory

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// acts makes n requests of a as each of the names; "" is itself.
func (l *log) acts(a event.Actor, n int, names ...string) {
	for range n {
		for _, as := range names {
			a.Impersonated = as
			l.see(fact(a, req("list", "pods", "shop", "")))
		}
	}
}

func TestProxy(t *testing.T) {
	proxy := podToken("teleport", "teleport", "u1", "n1", "10.244.0.5")
	stolen := proxy
	stolen.IP = "203.0.113.9"
	cert := person("gate", "10.1.2.3")
	moved := cert
	moved.IP = "203.0.113.9"
	tests := []struct {
		name string
		acts func(l *log)
		ask  event.Actor
		want bool // the fact of the request
		user bool // what Proxy says of its user before
	}{
		{name: "nothing known", acts: func(l *log) { l.acts(proxy, 3, "") }, ask: proxy},
		{name: "three people", acts: func(l *log) { l.acts(proxy, 2, "u-a", "u-b", "u-c") }, ask: proxy, want: true, user: true},
		{name: "itself before it began", acts: func(l *log) { l.acts(proxy, 50, ""); l.acts(proxy, 2, "u-a", "u-b", "u-c") }, ask: proxy, want: true, user: true},
		{name: "a fifth for itself", acts: func(l *log) { l.acts(proxy, 4, "u-a", "u-b", "u-c"); l.acts(proxy, 3, "") }, ask: proxy, want: true, user: true},
		{name: "more for itself", acts: func(l *log) { l.acts(proxy, 4, "u-a", "u-b", "u-c"); l.acts(proxy, 4, "") }, ask: proxy},
		{name: "two people", acts: func(l *log) { l.acts(proxy, 9, "u-a", "u-b") }, ask: proxy},
		{name: "two people and itself", acts: func(l *log) { l.acts(cert, 9, "u-a", "u-b", "gate") }, ask: cert},
		{name: "machines", acts: func(l *log) {
			l.acts(proxy, 3, "system:admin", "system:serviceaccount:a:b", "system:serviceaccount:a:c", "u-a")
		}, ask: proxy},
		{name: "refused", acts: func(l *log) {
			for i := range 9 {
				a, r := proxy, req("list", "secrets", "", "")
				a.Impersonated, r.Code = fmt.Sprint("u-", i), 403
				l.see(fact(a, r))
			}
		}, ask: proxy},
		{name: "stolen", acts: func(l *log) { l.acts(proxy, 2, "u-a", "u-b", "u-c") }, ask: stolen, user: true},
		{name: "never at home", acts: func(l *log) { l.acts(stolen, 9, "u-a", "u-b", "u-c") }, ask: stolen},
		{name: "certificate", acts: func(l *log) { l.acts(cert, 2, "u-a", "u-b", "u-c") }, ask: cert, want: true, user: true},
		{name: "certificate from abroad", acts: func(l *log) { l.acts(cert, 2, "u-a", "u-b", "u-c") }, ask: moved, user: true},
		{name: "learned abroad", acts: func(l *log) { l.acts(cert, 1, ""); l.acts(moved, 9, "u-a", "u-b", "u-c") }, ask: cert},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			tt.acts(l)
			if got := l.inv.Proxy(tt.ask.Name); got != tt.user {
				t.Errorf("Proxy() = %v, want %v", got, tt.user)
			}
			if got := l.see(fact(tt.ask, req("list", "pods", "shop", ""))).Facts.Actor.Proxy; got != tt.want {
				t.Errorf("Facts.Actor.Proxy = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestHistoryOfProxiedPeople: what one does through a proxy is not what the others
// do.
func TestHistoryOfProxiedPeople(t *testing.T) {
	l := newLog(t)
	proxy := podToken("teleport", "teleport", "u1", "n1", "10.244.0.5")
	l.acts(proxy, 3, "u-a", "u-b", "u-c")
	l.wait(time.Hour)
	as := func(who, agent string, r event.Request) event.ActorFacts {
		a := proxy
		a.Impersonated, a.Agent = who, agent
		return l.see(fact(a, r)).Facts.Actor
	}
	for i := range 5 {
		as("u-a", "kubectl/v1", req("get", "secrets", "shop", fmt.Sprint(i)))
	}
	b := as("u-b", "lens/1", req("get", "secrets", "shop", "x"))
	if b.SecretsRead != 1 || b.Requests != 1 || b.NewAgent || b.Usual || b.Controller {
		t.Errorf("u-b: %+v", b)
	}
	if a := as("u-a", "lens/1", req("get", "secrets", "shop", "x")); a.SecretsRead != 6 || a.NewAgent {
		t.Errorf("u-a: %+v", a)
	}
	var snap bytes.Buffer
	if err := l.inv.Snapshot(&snap); err != nil {
		t.Fatal(err)
	}
	l.inv = New(Config{})
	if err := l.inv.Restore(&snap); err != nil {
		t.Fatal(err)
	}
	l.wait(time.Hour)
	a := as("u-a", "kubectl/v1", req("get", "secrets", "shop", "x"))
	c := as("u-c", "kubectl/v1", req("get", "secrets", "shop", "x"))
	if !a.Usual || c.Usual || !a.Proxy || a.FirstSeen {
		t.Errorf("an hour later: u-a %+v, u-c %+v", a, c)
	}
	thief := proxy
	thief.IP, thief.Impersonated = "203.0.113.9", "u-new"
	if f := l.see(fact(thief, req("get", "secrets", "shop", "x"))).Facts.Actor; f.Proxy || !f.NewNetwork || !f.PodMismatch {
		t.Errorf("a thief who acts for somebody new: %+v", f)
	}
}
