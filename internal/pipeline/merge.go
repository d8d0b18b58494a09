package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/source/file"
)

// peekRecords is how far into a file its beginning in time is looked for. Logs
// are nearly sorted, and some exports begin with the newest record.
const peekRecords = 50

// noteEvery is the number of records between two progress notes.
const noteEvery = 1024

// planned is an input that is opened when the merge reaches its beginning, so
// that thousands of five-minute files need few open at once.
type planned struct {
	path  string
	begin int64 // time of its earliest event near the start; MinInt64 unknown
}

// merger gives the events of many inputs in one sequence, ordered by the time
// of each input's next event.
type merger struct {
	r       *Replay
	decoder *Decoder
	waiting []planned
	open    []*input
}

// input is an open file with its next event.
type input struct {
	reader *file.Reader
	path   string
	head   *event.Event
}

func newMerger(r *Replay, paths []string) *merger {
	m := &merger{r: r, decoder: NewDecoder()}
	for _, p := range paths {
		m.waiting = append(m.waiting, planned{p, m.begin(p, len(paths))})
	}
	slices.SortStableFunc(m.waiting, func(a, b planned) int { return cmp.Compare(a.begin, b.begin) })
	return m
}

// begin looks for the earliest event near the start of a file. Errors are left
// to the real reading. What is no regular file (standard input, a named pipe, the
// shell's <(…)) cannot be read twice, and a single input needs no order.
func (m *merger) begin(path string, inputs int) int64 {
	if inputs == 1 || !regular(path) {
		return math.MinInt64
	}
	reader, err := file.Open(path)
	if err != nil {
		return math.MinInt64
	}
	defer func() { _ = reader.Close() }() // read only
	first := int64(math.MaxInt64)
	e := &event.Event{}
	for range peekRecords {
		rec, err := reader.Next()
		if err != nil {
			if _, ok := errors.AsType[*file.RecordError](err); ok {
				continue
			}
			break
		}
		e.Reset()
		if m.decoder.Decode(rec, e) == nil {
			first = min(first, e.Time)
		}
	}
	return first
}

func regular(path string) bool {
	if path == file.Stdin {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// next returns the next event, nil at the end of all inputs.
func (m *merger) next() *event.Event {
	for {
		i := m.earliest()
		if len(m.waiting) > 0 && (i < 0 || m.waiting[0].begin <= m.open[i].head.Time) {
			m.openNext()
			continue
		}
		if i < 0 {
			return nil
		}
		in := m.open[i]
		e := in.head
		if !m.advance(in) {
			m.open = slices.Delete(m.open, i, i+1)
		}
		return e
	}
}

// earliest returns the open input with the earliest head, -1 when none is open.
func (m *merger) earliest() int {
	best := -1
	for i, in := range m.open {
		if best < 0 || in.head.Time < m.open[best].head.Time {
			best = i
		}
	}
	return best
}

func (m *merger) openNext() {
	p := m.waiting[0]
	m.waiting = m.waiting[1:]
	reader, err := file.Open(p.path)
	if err != nil {
		m.badFile(p.path, err)
		return
	}
	m.r.totals.Files++
	in := &input{reader: reader, path: p.path}
	if m.advance(in) {
		m.open = append(m.open, in)
	}
}

// advance reads up to the input's next event. At the end it closes the input
// and reports false.
func (m *merger) advance(in *input) bool {
	for {
		rec, err := in.reader.Next()
		if err == nil {
			if e := m.decode(in, rec); e != nil {
				in.head = e
				return true
			}
			continue
		}
		if bad, ok := errors.AsType[*file.RecordError](err); ok {
			m.r.totals.Records++
			m.r.bad(bad)
			continue
		}
		if !errors.Is(err, io.EOF) {
			m.badFile(in.path, err)
		}
		m.r.totals.Skipped += int64(in.reader.Skipped())
		m.r.noteRead(in.path)
		_ = in.reader.Close() // read only
		return false
	}
}

// badFile reports an input that cannot be read. What a folder holds beside logs
// is no error: nobody asked for it.
func (m *merger) badFile(path string, err error) {
	var unknown *file.UnknownFormatError
	if errors.As(err, &unknown) && !m.r.named[path] {
		m.r.totals.Strangers++
		m.r.cfg.Bad(fmt.Errorf("skipping %s: not a log", path))
		return
	}
	m.r.totals.BadFiles++
	m.r.cfg.Bad(err)
}

// decode turns a record into an event, nil when it is none.
func (m *merger) decode(in *input, rec file.Record) *event.Event {
	t := &m.r.totals
	t.Records++
	t.Bytes += int64(len(rec.Raw))
	if t.Records%noteEvery == 0 {
		m.r.noteRead(in.path)
	}
	e := m.r.pool.Get().(*event.Event)
	err := m.decoder.Decode(rec, e)
	if err == nil {
		t.Events++
		return e
	}
	m.r.Done(e)
	if errors.Is(err, normalize.ErrIrrelevant) {
		t.Skipped++
		return nil
	}
	m.r.bad(fmt.Errorf("%s: record %d: %w", rec.Pos.File, rec.Pos.Record, err))
	return nil
}

func (m *merger) close() {
	for _, in := range m.open {
		_ = in.reader.Close() // read only
	}
}
