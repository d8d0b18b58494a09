package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

const (
	proxiedPeople = 3       // different people that make a proxy of who acts for them
	ownShare      = 5       // one request in so many may be a proxy's own
	actingSpan    = 1 << 12 // after so many requests older ones count half
)

// acting is how an identity uses impersonation.
type acting struct {
	People     []uint64 // hashes of whom it acted for, up to proxiedPeople
	Other, Own int      // requests for others, and for itself since the first of those
}

func (a *acting) proxy() bool {
	return len(a.People) >= proxiedPeople && a.Own*ownShare <= a.Other+a.Own
}

// Proxy reports whether a user is an authenticating proxy: it acts for at least
// three people by impersonation and does nearly nothing for itself. It says
// nothing of the place a request comes from; Facts.Actor.Proxy does.
func (inv *Inventory) Proxy(user string) bool {
	r, ok := inv.routines.peek(inv.key("routine", user))
	return ok && r.Acting.proxy()
}

// proxy reports whether e comes from a proxy in its own place.
func (inv *Inventory) proxy(e *event.Event) bool {
	f, r := &e.Facts.Actor, inv.step.routine
	return e.Kind == event.KindAPIRequest && r != nil && r.Acting.proxy() && actsFromHome(f)
}

func actsFromHome(f *event.ActorFacts) bool {
	return !f.PodMismatch && !f.NodeMismatch && !f.NewNetwork && !f.YoungNetwork
}

// chooseHistory sets where the step's agents, counters and habits belong. The
// networks stay those of the proxy's credential: acting for somebody new from
// elsewhere must not begin with a clean sheet.
func (inv *Inventory) chooseHistory(e *event.Event, k event.ID) {
	s := &inv.step
	s.history, s.habits = s.cred, s.routine
	if !e.Facts.Actor.Proxy || e.Actor.Impersonated == "" {
		return
	}
	s.acting = true
	s.history = inv.credentialAt(inv.key("acting", string(k[:]), e.Actor.Impersonated))
	s.habits = nil
	if r := inv.routines.get(inv.actingKey(e), inv.now); r != nil {
		s.habits = *r
	}
}

func (inv *Inventory) actingKey(e *event.Event) event.ID {
	return inv.key("acting", e.Actor.Name, e.Actor.Impersonated)
}

// habitsOf returns the routine that e's kind of request is learned in, a new one
// when there is none.
func (inv *Inventory) habitsOf(e *event.Event) *routine {
	s := &inv.step
	if !s.acting {
		return s.routine
	}
	if s.habits == nil {
		s.habits = *inv.routines.put(inv.actingKey(e), inv.now, &routine{})
	}
	return s.habits
}

// learnActing counts requests made for others and for itself, and notes the
// people. A refused request tells of no person: anyone may ask to act as anyone.
func (inv *Inventory) learnActing(e *event.Event, r *routine) {
	a, as := &r.Acting, e.Actor.Impersonated
	if e.Kind != event.KindAPIRequest || !actsFromHome(&e.Facts.Actor) {
		return
	}
	switch {
	case as != "" && as != e.Actor.Name:
		a.Other++
		if e.K8s.Succeeded() && !strings.HasPrefix(as, "system:") {
			a.note(inv.hash(as))
		}
	case a.Other > 0:
		a.Own++
	}
	if a.Other+a.Own >= actingSpan {
		a.Other, a.Own = a.Other/2, a.Own/2
	}
}

func (a *acting) note(person uint64) {
	if len(a.People) < proxiedPeople && !slices.Contains(a.People, person) {
		a.People = append(a.People, person)
	}
}
