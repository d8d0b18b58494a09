package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/clew-sec/clew/internal/event"
)

const (
	// Records alias chunks, so a chunk is not used again unless it was borrowed. It
	// is small enough that clearing it, reading into it and decoding it happen in
	// the cache.
	chunkSize = 256 << 10
	minRead   = 4 << 10 // free space below which a new chunk is begun

	maxLists = 4       // lists in lists, as `jq -s` of CloudTrail files makes them
	maxHeld  = 1 << 16 // errors kept back until the first record that is known; an input that begins with more is no log

	// giveUp is how far a file is read while nothing in it is known.
	giveUp = 16 << 20

	headLen = 64
)

// unknown says that the position of the next line break was not looked for.
const unknown = -2

// Reader splits one file into records. It is not safe for concurrent use.
type Reader struct {
	name     string
	src      io.Reader
	onUnpack func(n int) error // nil: nobody asks
	closers  []io.Closer
	begun    bool
	chunks   *Chunks            // nil: a chunk is never used again
	borrowed []*[chunkSize]byte // of chunks

	buf  []byte // the current chunk as far as it is filled
	pos  int    // next byte of buf
	base int64  // offset of buf[0] in the decompressed file
	eof  bool   // src is used up
	fail error  // src failed; returned when buf is used up
	end  error  // what Next returns from now on

	newline int // index of the next line break, -1 when buf has none, or unknown
	lists   []list
	model   []byte // how the last good record begins, up to its first colon

	record  int // number of the last record
	skipped int
	seen    bool // something known was seen
	head    []byte
	held    []*RecordError // errors kept back while nothing known was seen
	ready   []*RecordError // errors to return before pending
	pending *Record
}

// list is an array whose items are read as records.
type list struct {
	inObject bool    // it is a member of an object
	rest     scanner // then: the scanner that stopped at it
	logs     bool    // items are CloudWatch log lines
	mute     bool    // items say nothing (control message)
	comma    bool    // an item was read: a comma or the end follows
	indent   int     // spaces before an item that begins a line, -1 otherwise
}

// Skipped returns how many items were passed over so far because they are no
// records by design: CloudWatch control messages, and lines of other programs
// in a CloudWatch log group.
func (r *Reader) Skipped() int { return r.skipped }

// Next returns the next record. At the end of the input it returns io.EOF. A
// *RecordError concerns one record, and the next call goes on behind it; after
// any other error reading has ended.
func (r *Reader) Next() (Record, error) {
	for {
		if len(r.ready) > 0 {
			err := r.ready[0]
			r.ready = r.ready[1:]
			return Record{}, err
		}
		if r.pending != nil {
			rec := *r.pending
			r.pending = nil
			return rec, nil
		}
		if r.end != nil {
			return Record{}, r.end
		}
		rec, bad, err := r.next()
		switch {
		case err != nil:
			r.finish(err)
		case bad != nil && !r.seen && len(r.held) < maxHeld:
			r.held = append(r.held, bad)
		case bad != nil && !r.seen:
			r.finish(r.unknownFormat())
		case bad != nil:
			r.ready = append(r.ready, bad)
		case len(r.held) > 0:
			kept := rec
			r.seen, r.pending = true, &kept
			r.release()
		default:
			r.seen = true
			return rec, nil
		}
	}
}

func (r *Reader) release() {
	r.ready = append(r.ready, r.held...)
	r.held = nil
}

// finish ends the reading. Errors kept back are replaced by one that says that
// nothing was known.
func (r *Reader) finish(err error) {
	var none *UnknownFormatError
	switch {
	case errors.As(err, &none):
		r.held = nil
		r.ready, r.end = nil, err
	case errors.Is(err, io.EOF) && len(r.held) > 0 && !r.seen:
		r.end = &UnknownFormatError{File: r.name, Head: r.head, First: r.held[0]}
		r.held = nil
	default:
		r.release()
		r.end = err
	}
}

// next reads up to the end of one record, good or bad.
func (r *Reader) next() (Record, *RecordError, error) {
	if !r.begun {
		if err := r.begin(); err != nil {
			return Record{}, nil, err
		}
	}
	for {
		if !r.seen && r.base+int64(r.pos) > giveUp && len(r.held)+r.record > 0 {
			return Record{}, nil, r.unknownFormat()
		}
		c, ok, err := r.peek()
		if err != nil {
			return Record{}, nil, err
		}
		if !ok {
			if len(r.lists) > 0 {
				r.lists = nil
				r.record++
				return Record{}, r.bad(r.pos, "the input ends inside a list"), nil
			}
			return Record{}, nil, io.EOF
		}
		if len(r.lists) > 0 {
			if done, bad, err := r.inList(c); bad != nil || err != nil {
				return Record{}, bad, err
			} else if done {
				continue
			}
		}
		if c == '[' && len(r.lists) < maxLists {
			r.pos++
			r.lists = append(r.lists, list{indent: -1})
			continue
		}
		rec, bad, err := r.value(c)
		if bad != nil || err != nil || rec.Format != 0 {
			return rec, bad, err
		}
	}
}

// inList handles what stands between the items of a list. It reports whether
// it consumed something; if not, an item begins.
func (r *Reader) inList(c byte) (bool, *RecordError, error) {
	l := &r.lists[len(r.lists)-1]
	switch {
	case c == ',' && l.comma:
		l.comma = false
		r.pos++
		return true, nil, nil
	case c == ']':
		rest, inObject := l.rest, l.inObject
		r.lists = r.lists[:len(r.lists)-1]
		r.pos++
		r.itemRead()
		if !inObject {
			return true, nil, nil
		}
		_, bad, err := r.scan(&rest)
		return true, bad, err
	case l.comma:
		r.record++
		bad := r.bad(r.pos, "expected a comma or the end of the list")
		return true, bad, r.resync(0)
	}
	l.indent = r.indent()
	return false, nil, nil
}

// itemRead notes that an item of the innermost list is complete.
func (r *Reader) itemRead() {
	if n := len(r.lists); n > 0 {
		r.lists[n-1].comma = true
	}
}

// value reads the value that begins at pos. The record's Format is 0 when the
// value was none by itself (a list opened, or it was skipped).
func (r *Reader) value(c byte) (Record, *RecordError, error) {
	if c != '{' {
		return r.stray(c)
	}
	r.ensure(prefixLen)
	f := quick(r.buf[r.pos:])
	if f != 0 {
		r.seen = true
		if len(r.lists) == 0 {
			if n := r.line(); n > 0 {
				return r.emit(r.buf[r.pos:r.pos+n:r.pos+n], n, f), nil, nil
			}
		}
	}
	var s scanner
	return r.scan(&s)
}

// emit makes the record raw, which takes up the next n bytes.
func (r *Reader) emit(raw []byte, n int, f Format) Record {
	r.record++
	r.setModel()
	r.pos += n
	r.itemRead()
	return Record{Raw: raw, Pos: event.Position{File: r.name, Record: r.record}, Format: f}
}

// line returns the length of the record at pos when it is all of its line,
// else 0. It is the fast path: most logs have one record a line, and looking
// for the line break is ten times as fast as following the JSON.
func (r *Reader) line() int {
	if r.newline < r.pos && !r.findLine() {
		return 0
	}
	if r.newline-r.pos > MaxRecord {
		return 0
	}
	b := r.buf[r.pos:r.newline]
	for b[len(b)-1] <= ' ' {
		b = b[:len(b)-1] // it begins with a brace
	}
	if b[len(b)-1] != '}' {
		return 0
	}
	for i := 1; ; i++ { // a second object on the line?
		n := bytes.IndexByte(b[i:], '{')
		if n < 0 {
			return len(b)
		}
		i += n
		if prev := b[i-1]; prev == '}' || prev == ' ' || prev == '\t' {
			return 0
		}
	}
}

// lookAhead is how far a line break is waited for before the JSON is followed
// instead: a file without line breaks must not be searched again and again.
const lookAhead = 128 << 10

// findLine sets newline to the next line break at or behind pos, or to the end
// of the input. It reports false when there is none near.
func (r *Reader) findLine() bool {
	for from := r.pos; ; {
		if r.newline != -1 {
			if n := bytes.IndexByte(r.buf[from:], '\n'); n >= 0 {
				r.newline = from + n
				return true
			}
		}
		r.newline = -1
		if r.eof {
			r.newline = len(r.buf)
			return true
		}
		seen := len(r.buf) - r.pos
		if seen >= lookAhead || r.fill() != nil && !r.eof {
			return false
		}
		from = r.pos + seen
	}
}

// scan follows the value at pos to its end, or, when s stopped at a list
// before, from pos to the end of the object that the list is a member of.
func (r *Reader) scan(s *scanner) (Record, *RecordError, error) {
	rest := s.depth > 0
	at := 0
	for {
		var o outcome
		at, o = s.scan(r.buf[r.pos:], at)
		switch o {
		case scanMore:
			if at > MaxRecord {
				bad, err := r.skipLong(s, at)
				return Record{}, bad, err
			}
			if err := r.fill(); errors.Is(err, io.EOF) {
				r.record++
				bad := r.bad(r.pos, "the input ends inside the record")
				return Record{}, bad, r.resync(1)
			} else if err != nil {
				return Record{}, nil, err
			}
		case scanError:
			r.record++
			bad := r.bad(r.pos, fmt.Sprintf("not JSON: %s at byte %d of the record", s.reason, at))
			return Record{}, bad, r.resync(1)
		case scanList:
			return Record{}, r.open(s, at), nil
		case scanDone:
			if rest {
				r.pos += at
				r.itemRead()
				return Record{}, nil, nil
			}
			if at > MaxRecord {
				bad, err := r.skipLong(nil, at)
				return Record{}, bad, err
			}
			rec, bad := r.complete(s, at)
			return rec, bad, nil
		}
	}
}

// open enters the list that s stopped at, n bytes from pos.
func (r *Reader) open(s *scanner, n int) *RecordError {
	if len(r.lists) == maxLists {
		r.record++
		bad := r.bad(r.pos, "too many lists inside each other")
		r.pos += n
		return bad
	}
	l := list{inObject: true, rest: *s, indent: -1}
	if s.key == keyLogEvents {
		l.logs = true
		l.mute = bytes.Contains(r.buf[r.pos:r.pos+n], []byte(`"CONTROL_MESSAGE"`))
		r.seen = true
	}
	r.pos += n
	r.lists = append(r.lists, l)
	return nil
}

// complete turns the value of n bytes at pos, which s has scanned, into a record.
func (r *Reader) complete(s *scanner, n int) (Record, *RecordError) {
	raw := r.buf[r.pos : r.pos+n : r.pos+n]
	f := found{raw: raw, format: s.keys.format()}
	logs := false
	if len(r.lists) > 0 {
		l := &r.lists[len(r.lists)-1]
		logs = l.logs
		if l.mute {
			f.format = 0
		}
	}
	if f.format == 0 && s.nwraps > 0 {
		f = unwrap(raw, s, 0)
	}
	if f.format != 0 {
		return r.emit(f.raw, n, f.format), nil
	}
	if logs && f.text {
		r.skipped++
		r.pos += n
		r.itemRead()
		return Record{}, nil
	}
	r.record++
	bad := r.bad(r.pos, "no known kind of record: "+excerpt(raw))
	r.pos += n
	r.itemRead()
	return Record{}, bad
}

// stray passes over something that is no object.
func (r *Reader) stray(c byte) (Record, *RecordError, error) {
	r.ensure(headLen)
	if !r.seen && r.base+int64(r.pos) < headLen && looksBinary(r.buf[r.pos:]) {
		return Record{}, nil, r.unknownFormat()
	}
	r.record++
	bad := r.bad(r.pos, "not a JSON object: "+excerpt(r.buf[r.pos:]))
	if len(r.lists) == 0 {
		return Record{}, bad, r.skipLine()
	}
	if c == '"' || c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f' || c == 'n' {
		s := scanner{blind: true}
		if bad2, err := r.discard(&s); bad2 != nil || err != nil {
			return Record{}, bad, err
		}
		r.itemRead()
		return Record{}, bad, nil
	}
	return Record{}, bad, r.resync(1)
}

// bad makes the error of the record that begins at buf[at].
func (r *Reader) bad(at int, reason string) *RecordError {
	return &RecordError{File: r.name, Record: r.record, Offset: r.base + int64(at), Reason: reason}
}

func (r *Reader) unknownFormat() error {
	e := &UnknownFormatError{File: r.name, Head: r.head}
	if len(r.held) > 0 {
		e.First = r.held[0]
	}
	return e
}

// excerpt returns how b begins, quoted.
func excerpt(b []byte) string {
	const most = 48
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}

// looksBinary reports whether b does not begin like text.
func looksBinary(b []byte) bool {
	b = b[:min(len(b), headLen)]
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n == 1 && utf8.FullRune(b[i:]) || c < ' ' && (c < '\t' || c > '\r') && c != 0x1b {
			return true
		}
		i += n
	}
	return false
}
