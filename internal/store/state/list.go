package state

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/proto"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// ErrCursor says that a page token is none, or is one of another list.
var ErrCursor = errors.New("the page token does not belong to this list")

// Page is a part of a list.
type Page struct {
	Traces []*clewv1.Trace // without flags, units and links
	Next   string          // "" at the end
	Total  int             // that match
}

// List returns up to limit traces that match, in order, behind a cursor. A cursor
// stays good while traces change: it names a place in the order, not a number.
func (s *Store) List(f *clewv1.TraceFilter, order clewv1.TraceOrder, limit int, cursor string) (Page, error) {
	if order == clewv1.TraceOrder_TRACE_ORDER_UNSPECIFIED {
		order = clewv1.TraceOrder_TRACE_ORDER_SCORE
	}
	after, err := parseCursor(f, order, cursor)
	if err != nil {
		return Page{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := s.matching(f)
	slices.SortFunc(all, func(a, b *clewv1.Trace) int { return placeOf(a, order).compare(placeOf(b, order)) })
	page := Page{Total: len(all)}
	from := 0
	if after != nil {
		from, _ = slices.BinarySearchFunc(all, *after, func(t *clewv1.Trace, p place) int {
			return cmp.Or(placeOf(t, order).compare(p), -1) // behind it
		})
	}
	to := min(len(all), from+limit)
	for _, t := range all[from:to] {
		page.Traces = append(page.Traces, s.view(t, false))
	}
	if to < len(all) {
		page.Next = placeOf(all[to-1], order).cursor(f, order)
	}
	return page, nil
}

func (s *Store) matching(f *clewv1.TraceFilter) []*clewv1.Trace {
	text := strings.ToLower(f.GetText())
	var out []*clewv1.Trace
	for id, t := range s.traces {
		if matches(f, text, t, s.triage[id]) {
			out = append(out, t)
		}
	}
	return out
}

// place is where a trace stands in an order: highest key first, then by id.
type place struct {
	key float64
	id  string
}

func placeOf(t *clewv1.Trace, order clewv1.TraceOrder) place {
	if order == clewv1.TraceOrder_TRACE_ORDER_LAST {
		return place{float64(t.GetLast().AsTime().UnixMicro()), t.GetId()} // exact below 2^53
	}
	return place{t.GetScore(), t.GetId()}
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(q.key, p.key), strings.Compare(p.id, q.id))
}

// sum tells lists apart.
func sum(f *clewv1.TraceFilter, order clewv1.TraceOrder) []byte {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(f) // cannot fail: strings were checked when it was read
	return binary.BigEndian.AppendUint64(nil, xxh3.Hash(append(b, byte(order))))
}

func (p place) cursor(f *clewv1.TraceFilter, order clewv1.TraceOrder) string {
	b := binary.BigEndian.AppendUint64(sum(f, order), math.Float64bits(p.key))
	return base64.RawURLEncoding.EncodeToString(append(b, p.id...))
}

func parseCursor(f *clewv1.TraceFilter, order clewv1.TraceOrder, cursor string) (*place, error) {
	if cursor == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) != 16+32 || !bytes.Equal(b[:8], sum(f, order)) {
		return nil, ErrCursor
	}
	return &place{math.Float64frombits(binary.BigEndian.Uint64(b[8:])), string(b[16:])}, nil
}

// matches reports whether a trace is one that f, whose text is in lower case, is
// about.
func matches(f *clewv1.TraceFilter, text string, t *clewv1.Trace, said *clewv1.Triage) bool {
	state := cmp.Or(said.GetState(), clewv1.TriageState_TRIAGE_STATE_NEW)
	switch {
	case len(f.GetClusters()) > 0 && !slices.Contains(f.GetClusters(), t.GetCluster()),
		t.GetScore() < f.GetMinScore(),
		t.GetScore() == 0 && !f.GetIncludeContext(),
		f.GetAlertsOnly() && !t.GetAlert(),
		len(f.GetStates()) > 0 && !slices.Contains(f.GetStates(), state),
		len(f.GetTechniques()) > 0 && !slices.ContainsFunc(f.GetTechniques(), func(id string) bool { return slices.Contains(t.GetTechniques(), id) }),
		f.GetSince() != nil && t.GetLast().AsTime().Before(f.GetSince().AsTime()),
		f.GetUntil() != nil && t.GetFirst().AsTime().After(f.GetUntil().AsTime()):
		return false
	}
	return text == "" || says(t, text)
}

// says reports whether text, in lower case, stands in a trace.
func says(t *clewv1.Trace, text string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	for _, f := range t.GetFlags() {
		if has(f.GetMessage()) || has(f.GetRule()) || has(f.GetTitle()) || has(f.GetEntity()) || has(f.GetEvent().GetUser()) || has(f.GetEvent().GetSourceIp()) {
			return true
		}
	}
	for _, u := range t.GetUnits() {
		if has(u.GetUser()) || has(u.GetPod()) || has(u.GetObject()) || has(u.GetSourceIp()) {
			return true
		}
	}
	return has(t.GetId())
}
