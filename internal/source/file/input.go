package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// begin opens the compression and reads the first chunk.
func (r *Reader) begin() error {
	r.begun = true
	if err := r.decompress(); err != nil {
		return fmt.Errorf("reading %q: %w", r.name, err)
	}
	r.ensure(headLen)
	r.head = bytes.Clone(r.buf[:min(len(r.buf), headLen)])
	return nil
}

// fill reads more input behind buf. When the chunk is full it begins a new one
// with what is not yet read, so that pos and newline change. It returns io.EOF
// when there is no more.
func (r *Reader) fill() error {
	if r.fail != nil {
		return r.fail
	}
	if r.eof {
		return io.EOF
	}
	if cap(r.buf)-len(r.buf) < minRead {
		r.renew()
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if n > 0 && r.newline == -1 {
			r.newline = unknown
		}
		if errors.Is(err, io.EOF) {
			r.eof = true
		} else if err != nil {
			r.eof = true
			r.fail = fmt.Errorf("reading %q: %w", r.name, err)
		}
		if n > 0 {
			return nil
		}
		if r.fail != nil {
			return r.fail
		}
		if r.eof {
			return io.EOF
		}
	}
	r.eof = true
	r.fail = fmt.Errorf("reading %q: %w", r.name, io.ErrNoProgress)
	return r.fail
}

// maxEmptyReads bounds reads that give neither data nor an error.
const maxEmptyReads = 100

// ensure reads until n bytes stand behind pos or the input ends. An error shows
// again when they are used up.
func (r *Reader) ensure(n int) {
	for len(r.buf)-r.pos < n && r.fill() == nil {
	}
}

// renew replaces the chunk by a new one that begins at pos, less what indent
// may look back at. A record that does not fit doubles it.
func (r *Reader) renew() {
	from := max(0, r.pos-maxIndent-1)
	rest := r.buf[from:]
	next := r.newChunk(len(rest))
	copy(next, rest)
	if r.newline >= from {
		r.newline -= from
	} else if r.newline >= 0 {
		r.newline = unknown
	}
	r.base += int64(from)
	r.buf, r.pos = next, r.pos-from
}

// peek returns the next byte that is not space between values; ok is false at
// the end of the input.
func (r *Reader) peek() (c byte, ok bool, err error) {
	for {
		for r.pos < len(r.buf) {
			c := r.buf[r.pos]
			if c == byteOrderMark[0] && bytes.HasPrefix(r.buf[r.pos:], byteOrderMark) {
				r.pos += len(byteOrderMark)
				continue
			}
			if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
				return c, true, nil
			}
			r.pos++
		}
		if err := r.fill(); errors.Is(err, io.EOF) {
			return 0, false, nil
		} else if err != nil {
			return 0, false, err
		}
	}
}

// skipLine passes over the rest of the line.
func (r *Reader) skipLine() error {
	for {
		if n := bytes.IndexByte(r.buf[r.pos:], '\n'); n >= 0 {
			r.pos += n + 1
			return nil
		}
		r.pos = len(r.buf)
		if err := r.fill(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// skipLong reports the record at pos as too long and passes over it. s has
// scanned its first n bytes; nil says that these are all of it.
func (r *Reader) skipLong(s *scanner, n int) (*RecordError, error) {
	r.record++
	bad := r.bad(r.pos, fmt.Sprintf("longer than %d MiB", MaxRecord>>20))
	r.pos += n
	if s == nil {
		r.itemRead()
		return bad, nil
	}
	s.blind = true
	r.seen = r.seen || s.keys.format() != 0
	inner, err := r.discard(s)
	if inner == nil {
		r.itemRead()
	}
	return bad, err
}

// discard follows the value that s is in to its end and keeps nothing of it.
// When the value turns out not to be JSON it goes on behind it and says so.
func (r *Reader) discard(s *scanner) (*RecordError, error) {
	for {
		n, o := s.scan(r.buf[r.pos:], 0)
		r.pos += n
		switch o {
		case scanDone:
			return nil, nil
		case scanError:
			return r.bad(r.pos, s.reason), r.resync(0)
		}
		if err := r.fill(); errors.Is(err, io.EOF) {
			r.pos = len(r.buf)
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// resync goes to where the next record seems to begin after the bad one at
// pos: a line that begins with "{"; in a list also an item at the same
// indentation, or behind a comma an object that begins with the same key as
// the last good record; outside of lists such an object anywhere behind a "}".
// It looks from skip bytes behind pos on.
func (r *Reader) resync(skip int) error {
	indent := -1
	if n := len(r.lists); n > 0 {
		indent = r.lists[n-1].indent
	}
	at := r.pos + skip
	for {
		for at < len(r.buf) {
			n := bytes.IndexByte(r.buf[at:], '{')
			if n < 0 {
				at = len(r.buf)
				break
			}
			at += n
			if len(r.buf)-at < prefixLen && !r.eof {
				break // too little to compare with the model
			}
			if r.begins(at, indent) {
				r.pos = at
				return nil
			}
			at++
		}
		// Keep the line that at stands on, as far as it may be indentation.
		keep := max(r.pos, min(at, len(r.buf))-maxIndent)
		at -= keep
		r.pos = keep
		atEOF := r.eof
		if err := r.fill(); errors.Is(err, io.EOF) {
			if !atEOF {
				at += r.pos
				continue // look at the last bytes, now that no more follow
			}
			r.pos, r.lists = len(r.buf), nil
			return nil
		} else if err != nil {
			return err
		}
		at += r.pos
	}
}

// maxIndent bounds the indentation that is understood.
const maxIndent = 256

// begins reports whether a record seems to begin at buf[at], and leaves the
// lists that it does not belong to.
func (r *Reader) begins(at, indent int) bool {
	i := at
	for i > 0 && at-i < maxIndent && (r.buf[i-1] == ' ' || r.buf[i-1] == '\t') {
		i--
	}
	atStart := i == 0 && r.base == 0 || i > 0 && r.buf[i-1] == '\n'
	switch {
	case atStart && i == at && indent != 0:
		r.lists = nil
		return true
	case atStart && at-i == indent:
		r.lists[len(r.lists)-1].comma = false
		return true
	case len(r.model) == 0 || i == 0 || !bytes.HasPrefix(r.buf[at:], r.model):
		return false
	case len(r.lists) > 0 && r.buf[i-1] == ',':
		r.lists[len(r.lists)-1].comma = false
		return true
	}
	return len(r.lists) == 0 && r.buf[i-1] == '}'
}

// indent returns how many blanks stand between pos and the beginning of its
// line, -1 when something else does too.
func (r *Reader) indent() int {
	i := r.pos
	for i > 0 && r.pos-i < maxIndent && (r.buf[i-1] == ' ' || r.buf[i-1] == '\t') {
		i--
	}
	if i > 0 && r.buf[i-1] == '\n' {
		return r.pos - i
	}
	return -1
}

// setModel remembers how the good record at pos begins.
func (r *Reader) setModel() {
	b := r.buf[r.pos:min(r.pos+prefixLen, len(r.buf))]
	if n := len(r.model); n > 0 && bytes.HasPrefix(b, r.model) {
		return
	}
	r.model = r.model[:0]
	if i := bytes.IndexByte(b, ':'); i > 0 {
		r.model = append(r.model, b[:i+1]...)
	}
}
