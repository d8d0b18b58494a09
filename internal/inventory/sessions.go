package inventory

import "github.com/clew-sec/clew/internal/event"

// endsSession reports whether e is the end of a streaming request whose start was
// seen, and remembers starts. The audit id is the client's choice, so the rest
// of the request is part of the key.
func (inv *Inventory) endsSession(e *event.Event) bool {
	r := &e.K8s
	switch r.Stage {
	case event.StageResponseStarted:
		if r.Code != 401 { // a refused authentication never completes
			inv.streams.put(inv.streamKey(e), inv.now, struct{}{})
		}
	case event.StageResponseComplete, event.StagePanic:
		if inv.streams.len() == 0 || r.Verb != "watch" && r.Subresource == "" {
			return false
		}
		k := inv.streamKey(e)
		if inv.streams.get(k, inv.now) != nil {
			inv.streams.remove(k)
			return true
		}
	}
	return false
}

func (inv *Inventory) streamKey(e *event.Event) event.ID {
	inv.h.Reset()
	inv.h.Str("stream")
	inv.h.Str(e.K8s.AuditID)
	inv.h.Str(e.K8s.Verb)
	inv.h.Str(e.K8s.URI)
	inv.h.Int(e.Received)
	inv.h.Str(e.Actor.Name)
	return inv.h.Sum()
}
