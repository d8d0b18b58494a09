package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/trace"
)

// Bounds of what people write.
const (
	maxComments     = 200 // of one trace; the oldest go
	MaxSuppressions = 1000
)

// ErrFull says that no more of a kind are kept.
var ErrFull = errors.New("there are too many already")

// Opinion is what somebody says of a trace. What is left empty stays as it is.
type Opinion struct {
	State    clewv1.TriageState
	Assignee *string
	Comment  string
	By       string
}

// Triage notes an opinion on the trace that an id leads to. The error wraps
// ErrNotFound when there is none.
func (s *Store) Triage(ctx context.Context, id string, o Opinion) (*clewv1.Triage, error) {
	s.write.Lock()
	defer s.write.Unlock()
	t, ok := s.Get(id)
	if !ok {
		return nil, fmt.Errorf("trace %s: %w", id, ErrNotFound)
	}
	key := keyTriage + t.GetId()
	var out *clewv1.Triage
	err := s.change(ctx, key, func(old []byte) ([]byte, error) {
		out = &clewv1.Triage{}
		if err := proto.Unmarshal(old, out); err != nil {
			return nil, err
		}
		s.note(out, o)
		return proto.Marshal(out)
	})
	if err != nil {
		return nil, fmt.Errorf("noting what was said of trace %s: %w", t.GetId(), err)
	}
	return out, nil
}

func (s *Store) note(t *clewv1.Triage, o Opinion) {
	now := timestamppb.New(s.cfg.Now())
	if o.State != clewv1.TriageState_TRIAGE_STATE_UNSPECIFIED {
		t.State = o.State
	}
	t.State = cmp.Or(t.State, clewv1.TriageState_TRIAGE_STATE_NEW)
	if o.Assignee != nil {
		t.Assignee = *o.Assignee
	}
	if o.Comment != "" {
		t.Comments = append(t.Comments, &clewv1.Comment{Text: o.Comment, By: o.By, At: now})
		t.Comments = t.Comments[max(0, len(t.Comments)-maxComments):]
	}
	t.By, t.At = o.By, now
}

// maxTries is how often a value is changed anew when others change it too.
const maxTries = 8

// change replaces the value of a key by what f makes of it, nil when there is none,
// and takes it up.
func (s *Store) change(ctx context.Context, key string, f func(old []byte) ([]byte, error)) error {
	var err error
	for range maxTries {
		var value []byte
		var revision uint64
		value, revision, err = s.cfg.KV.Get(ctx, key)
		absent := errors.Is(err, ErrNotFound)
		if err != nil && !absent {
			return err
		}
		if value, err = f(value); err != nil {
			return err
		}
		if absent {
			revision, err = s.cfg.KV.Create(ctx, key, value)
		} else {
			revision, err = s.cfg.KV.Update(ctx, key, value, revision)
		}
		if err == nil {
			return s.apply(Entry{Key: key, Value: value, Revision: revision})
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

// AddSuppression stores a suppression, whose id and time of creation the caller
// set. The error wraps ErrFull when there are MaxSuppressions.
func (s *Store) AddSuppression(ctx context.Context, p *clewv1.Suppression) error {
	s.write.Lock()
	defer s.write.Unlock()
	if len(s.Suppressions()) >= MaxSuppressions {
		return fmt.Errorf("adding a suppression: %w", ErrFull)
	}
	return s.put(ctx, keySuppression+p.GetId(), p)
}

// DeleteSuppression removes one. The error wraps ErrNotFound when there is none.
func (s *Store) DeleteSuppression(ctx context.Context, id string) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.RLock()
	there := s.suppressions[id] != nil
	s.mu.RUnlock()
	if !there {
		return fmt.Errorf("suppression %s: %w", id, ErrNotFound)
	}
	if err := s.remove(ctx, keySuppression+id); err != nil {
		return err
	}
	s.mu.RLock()
	list := s.policies()
	s.mu.RUnlock()
	s.tell(list)
	return nil
}

// Suppressions returns all suppressions, oldest first. The caller owns the slice.
func (s *Store) Suppressions() []*clewv1.Suppression {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sorted()
}

func (s *Store) sorted() []*clewv1.Suppression {
	out := make([]*clewv1.Suppression, 0, len(s.suppressions))
	for _, p := range s.suppressions {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *clewv1.Suppression) int {
		return cmp.Or(a.GetCreated().AsTime().Compare(b.GetCreated().AsTime()), cmp.Compare(a.GetId(), b.GetId()))
	})
	return out
}

// policies returns the suppressions as a worker takes them. The lock is held. One
// whose fingerprint cannot be read hides nothing.
func (s *Store) policies() []trace.Suppression {
	var out []trace.Suppression
	for _, p := range s.sorted() {
		if t, err := PolicyOf(p); err == nil {
			out = append(out, t)
		}
	}
	return out
}

// PolicyOf returns a suppression as a worker takes it. Flags from before its
// creation score as ever.
func PolicyOf(p *clewv1.Suppression) (trace.Suppression, error) {
	var shape event.ID
	if err := shape.UnmarshalText([]byte(p.GetFingerprint())); err != nil {
		return trace.Suppression{}, fmt.Errorf("reading a suppression's fingerprint: %w", err)
	}
	out := trace.Suppression{Fingerprint: shape, AllowedKinds: p.GetAllowedKinds(), Users: p.GetUsers(), Reason: p.GetReason(), Owner: p.GetOwner()}
	if p.GetCreated() != nil {
		out.From = p.GetCreated().AsTime()
	}
	if p.GetExpires() != nil {
		out.Expires = p.GetExpires().AsTime()
	}
	return out, nil
}
