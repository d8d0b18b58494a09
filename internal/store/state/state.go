// Package state keeps what clew and people know of traces: the traces as their
// workers publish them, what people said of them, and the suppressions. It is
// kept in a KV and, all of it, in memory, so that lists and searches ask nobody.
//
// Messages of package clewv1 are the form in which it is stored, so the rules of
// protocol buffers say what a later version can still read.
//
// # Concurrency
//
// All methods may be called from any goroutine. A message that was handed out or
// taken in is shared and must not be changed by anyone.
package state

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/trace"
)

// Config says how a Store keeps things. KV, Now and Log must be set.
type Config struct {
	KV  KV
	Now func() time.Time
	Log *slog.Logger
	// MaxTraces bounds the traces kept; beyond it those without a word from people
	// go, first those that never alerted. The default is 50,000.
	MaxTraces int
	// Retention is how long a trace is kept after its last flag when nobody said
	// anything of it; the default is 90 days.
	Retention time.Duration
	// Suppressed is told the suppressions whenever they change, and once at the
	// start; nil for nobody. It must not call the Store.
	Suppressed func([]trace.Suppression)
}

// The keys are kind and id.
const (
	keyTrace       = "trace/"
	keyTriage      = "triage/"
	keySuppression = "suppression/"
)

// Store keeps the state. Make one with New, then run Run.
type Store struct {
	cfg Config

	write sync.Mutex // one change of what is stored at a time

	mu           sync.RWMutex // guards all below
	ready        bool
	traces       map[string]*clewv1.Trace
	triage       map[string]*clewv1.Triage
	suppressions map[string]*clewv1.Suppression
	leads        map[string]string // id that was merged → trace that it became part of
	revisions    map[string]uint64 // key → of what is held here, or was last
	watchers     map[*Subscription]bool
}

// New returns a Store that knows nothing until Run has read what is stored.
func New(cfg Config) *Store {
	if cfg.MaxTraces == 0 {
		cfg.MaxTraces = 50_000
	}
	if cfg.Retention == 0 {
		cfg.Retention = 90 * 24 * time.Hour
	}
	return &Store{
		cfg: cfg, traces: map[string]*clewv1.Trace{}, triage: map[string]*clewv1.Triage{}, suppressions: map[string]*clewv1.Suppression{},
		leads: map[string]string{}, revisions: map[string]uint64{}, watchers: map[*Subscription]bool{},
	}
}

// sweepEvery is how often traces past their retention are looked for.
const sweepEvery = time.Hour

// Run reads what is stored, calls ready, and follows the changes that others make
// until ctx ends, which is no error.
func (s *Store) Run(ctx context.Context, ready func()) error {
	var swept time.Time
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	err := s.cfg.KV.Watch(ctx, func(e Entry) error {
		if e.Key == "" {
			s.begin()
			ready()
		} else if err := s.apply(e); err != nil {
			s.cfg.Log.Error("state cannot be read", "key", e.Key, "error", err)
		}
		if now := s.cfg.Now(); s.isReady() && now.Sub(swept) >= sweepEvery {
			swept = now
			sweeping.Go(func() {
				if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
					s.cfg.Log.Warn("removing old traces", "error", err)
				}
			})
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("following the state: %w", err)
}

func (s *Store) isReady() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ready
}

func (s *Store) begin() {
	s.mu.Lock()
	s.ready = true
	list := s.policies()
	s.mu.Unlock()
	s.tell(list)
}

// tell says what the suppressions are.
func (s *Store) tell(list []trace.Suppression) {
	if s.cfg.Suppressed != nil {
		s.cfg.Suppressed(list)
	}
}

// apply takes up an entry, one's own writes and those of others alike. What is
// older than what is held is passed over.
func (s *Store) apply(e Entry) error {
	kind, id, _ := strings.Cut(e.Key, "/")
	s.mu.Lock()
	if e.Revision <= s.revisions[e.Key] {
		s.mu.Unlock()
		return nil
	}
	err := s.take(kind+"/", id, e)
	if e.Deleted {
		delete(s.revisions, e.Key)
	} else {
		s.revisions[e.Key] = e.Revision
	}
	list, tell := s.policies(), s.ready && kind+"/" == keySuppression
	s.mu.Unlock()
	if tell {
		s.tell(list)
	}
	return err
}

// take puts an entry into memory. The lock is held.
func (s *Store) take(kind, id string, e Entry) error {
	switch kind {
	case keyTrace:
		return s.takeTrace(id, e)
	case keyTriage:
		defer s.changed(id)
		return read(e, s.triage, id, &clewv1.Triage{})
	case keySuppression:
		return read(e, s.suppressions, id, &clewv1.Suppression{})
	}
	return fmt.Errorf("there is no state of kind %q", kind)
}

func (s *Store) takeTrace(id string, e Entry) error {
	if old := s.traces[id]; old != nil {
		for _, from := range old.GetMergedFrom() {
			if s.leads[from] == id {
				delete(s.leads, from)
			}
		}
	}
	err := read(e, s.traces, id, &clewv1.Trace{})
	for _, from := range s.traces[id].GetMergedFrom() {
		s.leads[from] = id
	}
	s.changed(id)
	return err
}

// read puts the message of an entry into a map, or removes it.
func read[M proto.Message](e Entry, to map[string]M, id string, m M) error {
	delete(to, id)
	if e.Deleted {
		return nil
	}
	if err := proto.Unmarshal(e.Value, m); err != nil {
		return fmt.Errorf("reading %q: %w", e.Key, err)
	}
	to[id] = m
	return nil
}

// put stores a message and takes it up.
func (s *Store) put(ctx context.Context, key string, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing %q: %w", key, err)
	}
	revision, err := s.cfg.KV.Put(ctx, key, b)
	if err != nil {
		return fmt.Errorf("storing %q: %w", key, err)
	}
	return s.apply(Entry{Key: key, Value: b, Revision: revision})
}

// remove deletes a key and forgets it. The revision stays until the deletion is
// told, so that what is told of earlier writes does not bring it back.
func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.cfg.KV.Delete(ctx, key); err != nil {
		return fmt.Errorf("deleting %q: %w", key, err)
	}
	kind, id, _ := strings.Cut(key, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(kind+"/", id, Entry{Key: key, Deleted: true})
}
