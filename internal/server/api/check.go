package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/trace"
)

// Bounds of what callers write.
const (
	maxValue   = 1 << 10  // bytes of a filter, name or reason
	maxValues  = 64       // of one filter
	maxComment = 16 << 10 // bytes
)

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// pageSize returns the size of a page: def for 0, never more than most.
func pageSize(n uint32, def, most int) (int, error) {
	switch {
	case n == 0:
		return def, nil
	case int64(n) > int64(most):
		return 0, invalid("page_size %d is not between 1 and %d", n, most)
	}
	return int(n), nil
}

func traceID(s string) (trace.TraceID, error) {
	var id trace.TraceID
	if err := id.UnmarshalText([]byte(s)); err != nil || s != id.String() {
		return id, invalid("id %.40q is not 32 lower-case hex digits", s)
	}
	return id, nil
}

func eventID(s string) (event.ID, error) {
	id, err := traceID(s)
	return event.ID(id), err
}

// line refuses what is too long or has control characters.
func line(name, s string) error {
	if len(s) > maxValue {
		return invalid("%s has %d bytes, more than %d", name, len(s), maxValue)
	}
	if strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return invalid("%s has control characters", name)
	}
	return nil
}

func lines(name string, list []string) error {
	if len(list) > maxValues {
		return invalid("%s has %d values, more than %d", name, len(list), maxValues)
	}
	for _, s := range list {
		if err := line(name, s); err != nil {
			return err
		}
	}
	return nil
}

func times(since, until *timestamppb.Timestamp) error {
	for _, t := range []*timestamppb.Timestamp{since, until} {
		if t != nil && (!t.IsValid() || t.AsTime().Year() < 1970 || t.AsTime().Year() > 2200) {
			return invalid("a time is not between 1970 and 2200")
		}
	}
	if since != nil && until != nil && until.AsTime().Before(since.AsTime()) {
		return invalid("until is before since")
	}
	return nil
}

func checkTraces(f *clewv1.TraceFilter) error {
	if s := f.GetMinScore(); !(s >= 0 && s <= 100) { // not a number is neither
		return invalid("min_score %v is not between 0 and 100", s)
	}
	for _, s := range f.GetStates() {
		if _, ok := clewv1.TriageState_name[int32(s)]; !ok || s == 0 {
			return invalid("there is no state %d", s)
		}
	}
	if len(f.GetStates()) > maxValues {
		return invalid("states has more than %d values", maxValues)
	}
	return errors.Join(lines("clusters", f.GetClusters()), lines("techniques", f.GetTechniques()), line("text", f.GetText()), times(f.GetSince(), f.GetUntil()))
}

func checkEvents(f *clewv1.EventFilter) error {
	if f.GetEntity() != "" {
		if _, err := eventID(f.GetEntity()); err != nil {
			return err
		}
	}
	return errors.Join(line("kind", f.GetKind()), line("cluster", f.GetCluster()), line("namespace", f.GetNamespace()), line("pod", f.GetPod()),
		line("user", f.GetUser()), line("executable", f.GetExecutable()), line("verb", f.GetVerb()), line("resource", f.GetResource()),
		line("text", f.GetText()), times(f.GetSince(), f.GetUntil()))
}

// offset reads and writes the page tokens of lists that do not change.
func offset(token string, of int) (int, error) {
	if token == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	n, err2 := strconv.Atoi(string(b))
	if err != nil || err2 != nil || n < 0 || n > of {
		return 0, invalid("the page token is none of this list")
	}
	return n, nil
}

func offsetToken(n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(n)))
}
