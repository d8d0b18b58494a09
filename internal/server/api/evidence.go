package api

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/report/archive"
)

// Evidence keeps what alerts rest on, beyond the memory of workers and the retention
// of log and history. Names are ids of traces.
type Evidence interface {
	// Load returns what was saved, nil when there is none.
	Load(ctx context.Context, id string) ([]byte, error)
	// Save replaces it, all of it or nothing.
	Save(ctx context.Context, id string, b []byte) error
	Delete(ctx context.Context, id string) error
	List(ctx context.Context) (ids []string, err error)
}

// settle is how long a trace stays as it is before its evidence is saved: until then
// the history has the records too. It is also how often what failed is tried again.
const settle = 2 * time.Second

// maxEvidence bounds the records saved of one trace, in bytes.
const maxEvidence = 32 << 20

// evidence is a trace as it was last scored, with its records.
type evidence struct {
	Archive archive.Archive // without Records
	Records map[string]record
}

// record is an event of the history, by its id.
type record struct {
	Time int64 // nanoseconds since 1970 UTC
	Raw  []byte
}

// KeepEvidence saves the evidence of every trace that alerts or that people spoke of,
// and removes it with the trace, until ctx ends. Only one call at a time.
func KeepEvidence(ctx context.Context, cfg Config) error {
	s := &Server{cfg}
	w, err := cfg.Traces.Watch(nil, false)
	if err != nil {
		return fmt.Errorf("keeping evidence: %w", err)
	}
	defer w.Close()
	due := map[string]task{}
	for ctx.Err() == nil {
		wait, cancel := context.WithTimeout(ctx, settle/5)
		c, err := w.Next(wait)
		cancel()
		switch {
		case err != nil: // nothing for a while
		case c.Synced: // what went while nobody listened
			ids, err := cfg.Evidence.List(ctx)
			s.noteEvidence("", err)
			for _, id := range ids {
				if t, ok := cfg.Traces.Get(id); !ok || t.GetId() != id {
					due[id] = task{at: time.Now().Add(2 * settle)}
				}
			}
		case c.Trace == nil: // later than what it became part of, which takes it over
			due[c.Removed] = task{at: time.Now().Add(2 * settle)}
		case c.Trace.GetAlert() || c.Trace.GetTriage().GetAt() != nil:
			due[c.Trace.GetId()] = task{at: time.Now().Add(settle)}
		}
		s.keepDue(ctx, due)
	}
	return nil
}

// task is evidence to be saved or removed.
type task struct {
	at    time.Time
	tries int
}

// maxTries bounds how often records are waited for that the history does not have
// yet, with twice the pause each time: five minutes in all.
const maxTries = 7

// keepDue does what is due. What fails is tried again.
func (s *Server) keepDue(ctx context.Context, due map[string]task) {
	for id, t := range due {
		if time.Now().Before(t.at) || ctx.Err() != nil {
			continue
		}
		complete, err := s.keep(ctx, id)
		if s.noteEvidence(id, err) && (complete || t.tries >= maxTries) {
			delete(due, id)
			continue
		}
		due[id] = task{at: time.Now().Add(settle << min(t.tries, maxTries)), tries: t.tries + 1}
	}
}

// noteEvidence reports whether it went well, and says when it did not.
func (s *Server) noteEvidence(id string, err error) bool {
	if err != nil {
		s.cfg.Log.Warn("keeping the evidence of a trace", "trace", id, "error", err)
	}
	return err == nil
}

// keep saves the evidence of a trace as it is now, with the records that were saved
// before, and reports whether it has all records. A trace that its worker has
// forgotten stays as it was saved; of one that is gone nothing stays.
func (s *Server) keep(ctx context.Context, id string) (complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	known, ok := s.cfg.Traces.Get(id)
	if !ok || known.GetId() != id {
		return true, s.cfg.Evidence.Delete(ctx, id)
	}
	x, err := s.extract(ctx, known)
	if forgotten(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	e, err := s.withRecords(ctx, known, x, 0)
	if err != nil {
		return false, err
	}
	ids, _, _ := archive.Evidence(&x.trace)
	complete = !slices.ContainsFunc(ids, func(id event.ID) bool { return e.Records[id.String()].Raw == nil })
	b, err := e.encode()
	if err != nil {
		return false, err
	}
	return complete, s.cfg.Evidence.Save(ctx, id, b)
}

// forgotten reports whether no worker knows the trace any more.
func forgotten(err error) bool {
	return connect.CodeOf(err) == connect.CodeFailedPrecondition || errors.Is(err, ErrNoCluster)
}

// evidenceOf returns a trace with its records: as its worker scores it, or as it was
// saved.
func (s *Server) evidenceOf(ctx context.Context, known *clewv1.Trace, around time.Duration) (*evidence, error) {
	x, err := s.extract(ctx, known)
	if forgotten(err) {
		saved, loadErr := s.load(ctx, known.GetId())
		if loadErr != nil {
			return nil, loadErr
		}
		if saved == nil {
			return nil, err
		}
		x = &extract{archive: saved.Archive}
		x.archive.Manifest.Clew, x.archive.Manifest.Created = s.cfg.Version, s.cfg.Now().UTC()
		x.trace, err = x.archive.Restore()
	}
	if err != nil {
		return nil, err
	}
	return s.withRecords(ctx, known, x, around)
}

// withRecords adds the records that were saved and those that the history has.
func (s *Server) withRecords(ctx context.Context, known *clewv1.Trace, x *extract, around time.Duration) (*evidence, error) {
	out := &evidence{Archive: x.archive, Records: map[string]record{}}
	for _, id := range append([]string{known.GetId()}, known.GetMergedFrom()...) {
		saved, err := s.load(ctx, id)
		if err != nil {
			return nil, err
		}
		if saved != nil {
			maps.Copy(out.Records, saved.Records)
		}
	}
	found, err := s.records(ctx, known.GetCluster(), &x.trace, around)
	if err != nil {
		return nil, err
	}
	for id, e := range found {
		if len(e.GetRaw()) > 0 {
			out.Records[id] = record{e.GetTime().AsTime().UnixNano(), e.GetRaw()}
		}
	}
	return out, nil
}

// ids returns the ids of the records, oldest first.
func (e *evidence) ids() []string {
	return slices.SortedFunc(maps.Keys(e.Records), func(a, b string) int {
		return cmp.Or(cmp.Compare(e.Records[a].Time, e.Records[b].Time), cmp.Compare(a, b))
	})
}

// raw returns the records, oldest first.
func (e *evidence) raw() [][]byte {
	var out [][]byte
	for _, id := range e.ids() {
		out = append(out, e.Records[id].Raw)
	}
	return out
}

// encode returns what is saved. Records beyond maxEvidence are left out, the newest
// first: how a trace began is what is asked for later.
func (e *evidence) encode() ([]byte, error) {
	left := maxEvidence
	for _, id := range e.ids() {
		if left -= len(e.Records[id].Raw); left < 0 {
			delete(e.Records, id)
		}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(e), z.Close()); err != nil {
		return nil, fmt.Errorf("writing evidence: %w", err)
	}
	return b.Bytes(), nil
}

// load returns what was saved of a trace, nil when there is nothing.
func (s *Server) load(ctx context.Context, id string) (*evidence, error) {
	b, err := s.cfg.Evidence.Load(ctx, id)
	if err != nil || b == nil {
		return nil, err
	}
	e := &evidence{}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err == nil {
		err = json.NewDecoder(z).Decode(e)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the evidence of trace %s: %w", id, err)
	}
	return e, nil
}
