package cli

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// parseTime parses a time; false when it is none.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// timeFlag parses a time, or a duration before now, into Unix nanoseconds; "" is 0.
func timeFlag(now func() time.Time, name, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if t, ok := parseTime(s); ok {
		return t.UnixNano(), nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now().Add(-d.Abs()).UnixNano(), nil
	}
	return 0, fmt.Errorf("%s %q is neither a time (2006-01-02T15:04:05Z, 2006-01-02) nor a duration (24h)", name, s)
}

// span parses --since and --until for a request; nil where none is given.
func span(now func() time.Time, since, until string) (from, to *timestamppb.Timestamp, err error) {
	a, err := timeFlag(now, "--since", since)
	if err != nil {
		return nil, nil, err
	}
	b, err := timeFlag(now, "--until", until)
	if err != nil {
		return nil, nil, err
	}
	if a != 0 && b != 0 && a > b {
		return nil, nil, fmt.Errorf("--since %s is after --until %s", since, until)
	}
	return stamp(a), stamp(b), nil
}

func stamp(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, nanos))
}

// expiry parses when something ends: a time, or a duration after now; "" is nil,
// which is never. What is over already is an error.
func expiry(now func() time.Time, s string) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	t, ok := parseTime(s)
	if d, err := time.ParseDuration(s); !ok && err == nil {
		t, ok = now().Add(d), true
	}
	if !ok {
		return nil, fmt.Errorf("--expires %q is neither a time (2006-01-02T15:04:05Z, 2006-01-02) nor a duration (720h)", s)
	}
	if !t.After(now()) {
		return nil, fmt.Errorf("--expires %s is over already", s)
	}
	return timestamppb.New(t), nil
}

// moment writes a time for a table, "never" when it is not set.
func moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return "never"
	}
	return t.AsTime().UTC().Format("2006-01-02 15:04:05")
}

// ago writes how long ago something was, "never" when it was not.
func ago(now func() time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "never"
	}
	d := now().Sub(t.AsTime())
	switch {
	case d < 0:
		return "in " + short(-d)
	default:
		return short(d) + " ago"
	}
}

// short writes a duration with one or two units.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
