package api_test

import (
	"testing"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/engine"
)

// TestEventsOfAnEntity: the units of a trace are searched for as the history knows
// them, as long as a worker remembers them and after that.
func TestEventsOfAnEntity(t *testing.T) {
	w := newWorld(t, leaked)
	sessions := 0
	for _, x := range w.engine.Traces() {
		stored, ok := w.state.Get(x.ID.String())
		if !ok {
			continue
		}
		for _, u := range stored.GetUnits() {
			if _, err := w.events.GetEntity(t.Context(), req(&clewv1.GetEntityRequest{Id: u.GetId()})); err != nil {
				t.Errorf("unit %v: %v", u, err)
			}
			if u.GetActor() == "" {
				continue
			}
			sessions++
			if back, err := w.events.GetEntity(t.Context(), req(&clewv1.GetEntityRequest{Id: u.GetActor()})); err != nil || back.Msg.GetEntity().GetKind() != "session" {
				t.Errorf("actor %s: %v, %v", u.GetActor(), back, err)
			}
			live := w.searched(t, u.GetId())
			if live.GetEntity() != u.GetActor() || !live.GetSince().AsTime().Equal(u.GetSince().AsTime()) || live.GetUntil().AsTime().Before(u.GetSince().AsTime()) {
				t.Errorf("unit %v is searched for as %v", u, live)
			}
		}
	}
	if sessions == 0 {
		t.Fatal("no session in the recording")
	}
	one := w.firstTrace(t).GetUnits()[0]
	w.engine = engine.New(engine.Config{}, compiled(t), nil) // what the worker knew is gone
	past := w.searched(t, one.GetId())
	if past.GetEntity() != one.GetActor() || !past.GetSince().AsTime().Equal(one.GetSince().AsTime()) || past.GetUntil() != nil {
		t.Errorf("past the worker's memory unit %v is searched for as %v", one, past)
	}
}

// searched returns the filter that the history is asked with for an entity.
func (w *world) searched(t *testing.T, entity string) *clewv1.EventFilter {
	t.Helper()
	if _, err := w.events.SearchEvents(t.Context(), req(&clewv1.SearchEventsRequest{Filter: &clewv1.EventFilter{Entity: entity}})); err != nil {
		t.Fatal(err)
	}
	return w.history.asked[len(w.history.asked)-1].Filter
}
