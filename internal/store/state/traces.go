package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// Found is a trace as its worker sees it.
type Found struct {
	*clewv1.Trace
	// Was are ids under which parts of it may be stored: a worker that was killed
	// may have published what, after it read the log again, it never saw apart.
	Was []string
}

// Put stores traces as they are now, and removes ids that are gone; Triage and
// Updated of a trace are the Store's to set, it owns the messages from now on. The
// same call twice is the same as once.
//
// What people said of a trace that was merged goes to the trace that it became part
// of. A trace that is gone without being merged was forgotten by its worker: it
// stays for its retention when it alerted or people spoke of it.
func (s *Store) Put(ctx context.Context, changed []Found, gone []string) error {
	s.write.Lock()
	defer s.write.Unlock()
	for _, t := range changed {
		s.lead(&t)
		if err := s.putTrace(ctx, t.Trace); err != nil {
			return err
		}
	}
	for _, t := range changed {
		for _, from := range t.GetMergedFrom() {
			if err := s.absorb(ctx, from, t.GetId()); err != nil {
				return err
			}
		}
	}
	for _, id := range gone {
		if s.pinned(id) {
			continue
		}
		if err := s.forget(ctx, id); err != nil {
			return err
		}
	}
	return s.bound(ctx)
}

// lead makes those ids lead to a trace under which parts of it are stored.
func (s *Store) lead(t *Found) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := s.traces[t.GetId()].GetMergedFrom()
	for _, id := range t.Was {
		if !slices.Contains(t.MergedFrom, id) && (s.traces[id] != nil || slices.Contains(known, id)) {
			t.MergedFrom = append(t.MergedFrom, id)
		}
	}
}

func (s *Store) putTrace(ctx context.Context, t *clewv1.Trace) error {
	s.mu.RLock()
	old := s.traces[t.GetId()]
	s.mu.RUnlock()
	t.Triage, t.Updated = nil, old.GetUpdated()
	if old != nil && proto.Equal(old, t) {
		return nil
	}
	t.Updated = timestamppb.New(s.cfg.Now())
	return s.put(ctx, keyTrace+t.GetId(), t)
}

// absorb makes from a part of to.
func (s *Store) absorb(ctx context.Context, from, to string) error {
	if from == to {
		return nil
	}
	s.mu.RLock()
	said, known, there := s.triage[from], s.triage[to], s.traces[from] != nil
	s.mu.RUnlock()
	if said != nil {
		if err := s.put(ctx, keyTriage+to, joined(known, said)); err != nil {
			return err
		}
		if err := s.remove(ctx, keyTriage+from); err != nil {
			return err
		}
	}
	if !there {
		return nil
	}
	return s.remove(ctx, keyTrace+from)
}

// joined adds up what people said of two traces that are one: all comments, the
// graver state, and the assignee of whoever spoke last.
func joined(a, b *clewv1.Triage) *clewv1.Triage {
	if a == nil {
		return b
	}
	if a.GetAt().AsTime().Before(b.GetAt().AsTime()) {
		a, b = b, a
	}
	out := &clewv1.Triage{State: graver(a.GetState(), b.GetState()), Assignee: cmp.Or(a.GetAssignee(), b.GetAssignee()), By: a.GetBy(), At: a.GetAt()}
	for _, c := range slices.Concat(a.GetComments(), b.GetComments()) {
		if !slices.ContainsFunc(out.Comments, func(x *clewv1.Comment) bool { return proto.Equal(x, c) }) {
			out.Comments = append(out.Comments, c)
		}
	}
	slices.SortStableFunc(out.Comments, func(x, y *clewv1.Comment) int { return x.GetAt().AsTime().Compare(y.GetAt().AsTime()) })
	out.Comments = out.Comments[max(0, len(out.Comments)-maxComments):]
	return out
}

// gravity orders the states: what was called benign is not when it joins
// something that is still open.
var gravity = map[clewv1.TriageState]int{
	clewv1.TriageState_TRIAGE_STATE_BENIGN: 1, clewv1.TriageState_TRIAGE_STATE_NEW: 2,
	clewv1.TriageState_TRIAGE_STATE_TRIAGED: 3, clewv1.TriageState_TRIAGE_STATE_INCIDENT: 4,
}

func graver(a, b clewv1.TriageState) clewv1.TriageState {
	if gravity[b] > gravity[a] {
		return b
	}
	return a
}

// pinned reports whether a trace outlives its worker's memory.
func (s *Store) pinned(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, merged := s.leads[id]
	return !merged && (s.traces[id].GetAlert() || s.triage[id] != nil)
}

func (s *Store) forget(ctx context.Context, id string) error {
	s.mu.RLock()
	there, said := s.traces[id] != nil, s.triage[id] != nil
	s.mu.RUnlock()
	if said {
		if err := s.remove(ctx, keyTriage+id); err != nil {
			return err
		}
	}
	if !there {
		return nil
	}
	return s.remove(ctx, keyTrace+id)
}

// Sweep removes the traces whose retention is over. Those that people spoke of
// stay.
func (s *Store) Sweep(ctx context.Context) error {
	s.write.Lock()
	defer s.write.Unlock()
	before := s.cfg.Now().Add(-s.cfg.Retention)
	s.mu.RLock()
	var old []string
	for id, t := range s.traces {
		if s.triage[id] == nil && t.GetLast().AsTime().Before(before) {
			old = append(old, id)
		}
	}
	s.mu.RUnlock()
	slices.Sort(old)
	return s.forgetAll(ctx, old)
}

func (s *Store) forgetAll(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := s.forget(ctx, id); err != nil {
			return fmt.Errorf("removing trace %s: %w", id, err)
		}
	}
	return nil
}

// bound removes the least of the traces when there are too many, some more than it
// must so that it is seldom at work.
func (s *Store) bound(ctx context.Context) error {
	s.mu.RLock()
	var least []*clewv1.Trace
	over := len(s.traces) - s.cfg.MaxTraces
	if over > 0 {
		for id, t := range s.traces {
			if s.triage[id] == nil {
				least = append(least, t)
			}
		}
	}
	s.mu.RUnlock()
	if over <= 0 {
		return nil
	}
	slices.SortFunc(least, func(a, b *clewv1.Trace) int {
		switch {
		case a.GetAlert() != b.GetAlert():
			return cmp.Compare(b2i(a.GetAlert()), b2i(b.GetAlert()))
		case a.GetScore() != b.GetScore():
			return cmp.Compare(a.GetScore(), b.GetScore())
		}
		return a.GetLast().AsTime().Compare(b.GetLast().AsTime())
	})
	ids := make([]string, 0, over)
	for _, t := range least[:min(len(least), over+s.cfg.MaxTraces/16)] {
		ids = append(ids, t.GetId())
	}
	return s.forgetAll(ctx, ids)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Get returns the trace that an id leads to, with what people said of it.
func (s *Store) Get(id string) (*clewv1.Trace, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.get(id)
}

func (s *Store) get(id string) (*clewv1.Trace, bool) {
	for range maxLeads {
		if t := s.traces[id]; t != nil {
			return s.view(t, true), true
		}
		next, ok := s.leads[id]
		if !ok {
			break
		}
		id = next
	}
	return nil, false
}

// Unit returns the unit of a trace that is the entity of an id; false when none is.
func (s *Store) Unit(id string) (*clewv1.Unit, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.traces {
		for _, u := range t.GetUnits() {
			if u.GetId() == id {
				return u, true
			}
		}
	}
	return nil, false
}

// maxLeads bounds how often a trace can have become part of another.
const maxLeads = 16

// view returns a trace with what people said of it; flags, units and links, which
// are shared, only when it is full.
func (s *Store) view(t *clewv1.Trace, full bool) *clewv1.Trace {
	out := &clewv1.Trace{
		Id: t.GetId(), Cluster: t.GetCluster(), Score: t.GetScore(), Peak: t.GetPeak(), Alert: t.GetAlert(),
		Techniques: t.GetTechniques(), Tactics: t.GetTactics(), Planes: t.GetPlanes(), First: t.GetFirst(), Last: t.GetLast(),
		SeeAlso: t.GetSeeAlso(), MergedFrom: t.GetMergedFrom(), Fingerprint: t.GetFingerprint(), FlagKinds: t.GetFlagKinds(),
		Updated: t.GetUpdated(), Actors: t.GetActors(), Triage: s.triage[t.GetId()],
	}
	if out.Triage == nil {
		out.Triage = &clewv1.Triage{State: clewv1.TriageState_TRIAGE_STATE_NEW}
	}
	if full {
		out.Flags, out.Units, out.Links = t.GetFlags(), t.GetUnits(), t.GetLinks()
	}
	return out
}
