// Package amplify makes large inputs of the recordings of a real cluster, for
// benchmarks and load tests: the same activity over and over, each round moved
// on in time, so that every event is a new one.
package amplify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/clew-sec/clew/internal/source/file"
)

// round is how far each round is moved on: longer than the recordings of the
// repository together, so that rounds do not overlap.
const round = 20 * time.Minute

// Recordings are recorded events in the order of their stageTimestamps, as a
// log has them.
type Recordings struct{ lines []line }

// line is one event, cut where something changes from round to round.
type line struct {
	at    time.Time // stageTimestamp
	parts [][]byte  // texts before, between and behind the holes
	holes []hole    // one fewer
}

// hole is a timestamp or the first eight digits of a UUID.
type hole struct {
	from, to int // in the recorded event
	time     time.Time
	digits   uint32
}

var (
	stamps = [][]byte{[]byte(`"requestReceivedTimestamp":"`), []byte(`"stageTimestamp":"`)}
	uuid   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// Read reads the audit recordings (*.gz) among the named files and directories.
func Read(inputs ...string) (*Recordings, error) {
	paths, err := file.Expand(inputs)
	if err != nil {
		return nil, fmt.Errorf("listing recordings: %w", err)
	}
	out := &Recordings{}
	for _, path := range paths {
		if filepath.Ext(path) != ".gz" {
			continue
		}
		if err := out.read(path); err != nil {
			return nil, fmt.Errorf("reading recording %q: %w", path, err)
		}
	}
	slices.SortStableFunc(out.lines, func(a, b line) int { return a.at.Compare(b.at) })
	return out, nil
}

func (rs *Recordings) read(path string) error {
	r, err := file.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // read only
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l, err := cut(rec.Raw)
		if err != nil {
			return err
		}
		rs.lines = append(rs.lines, l)
	}
}

// cut finds the timestamps and UUIDs of an event.
func cut(raw []byte) (line, error) {
	holes, err := timestamps(raw)
	if err != nil {
		return line{}, err
	}
	for _, at := range uuid.FindAllIndex(raw, -1) {
		v, err := strconv.ParseUint(string(raw[at[0]:at[0]+8]), 16, 32)
		if err != nil {
			return line{}, fmt.Errorf("reading a UUID: %w", err)
		}
		holes = append(holes, hole{from: at[0], to: at[0] + 8, digits: uint32(v)})
	}
	l := line{holes: holes}
	for _, h := range holes {
		if h.time.After(l.at) { // the request was received before
			l.at = h.time
		}
	}
	slices.SortFunc(holes, func(a, b hole) int { return a.from - b.from })
	done := 0
	for _, h := range holes {
		l.parts = append(l.parts, raw[done:h.from])
		done = h.to
	}
	l.parts = append(l.parts, raw[done:])
	return l, nil
}

// timestamps finds the event's own timestamps. They stand behind the bodies,
// which may have some of their own: the last of each counts.
func timestamps(raw []byte) ([]hole, error) {
	var out []hole
	for _, s := range stamps {
		at := bytes.LastIndex(raw, s)
		if at < 0 {
			continue
		}
		at += len(s)
		n := bytes.IndexByte(raw[at:], '"')
		if n < 0 {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, string(raw[at:at+n]))
		if err != nil {
			return nil, fmt.Errorf("reading a timestamp: %w", err)
		}
		out = append(out, hole{from: at, to: at + n, time: t})
	}
	return out, nil
}

// Len returns the number of events of one round.
func (rs *Recordings) Len() int { return len(rs.lines) }

// Write writes at least size bytes of events to w, one a line, whole rounds
// only, and returns how many events these are. With fresh each round has UUIDs
// of its own: other objects, pods and tokens, as if clusters came and went.
func (rs *Recordings) Write(w io.Writer, size int64, fresh bool) (events int, err error) {
	var buf []byte
	for n, written := uint32(0), int64(0); written < size; n++ {
		salt := uint32(0)
		if fresh {
			salt = n
		}
		for i := range rs.lines {
			buf = rs.lines[i].append(buf[:0], time.Duration(n)*round, salt)
			if _, err := w.Write(buf); err != nil {
				return events, fmt.Errorf("writing events: %w", err)
			}
			written += int64(len(buf))
			events++
		}
	}
	return events, nil
}

func (l *line) append(b []byte, shift time.Duration, salt uint32) []byte {
	for i, h := range l.holes {
		b = append(b, l.parts[i]...)
		if h.time.IsZero() {
			b = fmt.Appendf(b, "%08x", h.digits^salt)
		} else {
			b = h.time.Add(shift).AppendFormat(b, "2006-01-02T15:04:05.000000Z")
		}
	}
	b = append(b, l.parts[len(l.holes)]...)
	return append(b, '\n')
}
