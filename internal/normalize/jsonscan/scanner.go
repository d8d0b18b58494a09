// Package jsonscan is a single-pass JSON reader for decoders that know their
// schema. The caller walks objects and arrays with a switch over keys and skips
// what it does not want; there is no reflection, no tree and no token type.
//
//	for more := s.Object(); more; more = s.NextKey() {
//		switch string(s.Key()) {
//		case "verb":
//			s.Str(&verb)
//		default:
//			s.Skip()
//		}
//	}
//
// Exactly one value must be consumed after each key and each array element. A
// value of another type than the one asked for is skipped and leaves the
// destination alone, as null does, so records of newer writers still decode.
//
// # Errors
//
// Errors stick: after the first one every method returns at once and every
// loop ends, so a decoder asks End or Err once. All input is checked, skipped
// subtrees too: what a Scanner accepts is what encoding/json accepts, up to
// MaxDepth levels of nesting. As there, bytes that are not UTF-8 pass; unlike
// there, they are kept as they are.
//
// # Ownership
//
// Strings without escapes alias the input. Unescaped ones live in the Scanner's
// Arena, which never reuses memory, so both stay valid as long as they are
// referenced and pin the input or a chunk of the arena. A Scanner is not safe
// for concurrent use. It imports nothing else of clew.
package jsonscan

import (
	"fmt"
	"unsafe"
)

// MaxDepth is how many objects and arrays may be open at once.
const MaxDepth = 1024

// SyntaxError says that the input is not one JSON value.
type SyntaxError struct {
	Offset int    // of the first byte that does not fit, or the length of the input when it ends too early
	Msg    string // what is wrong there
}

// Error returns the message with the offset.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Msg, e.Offset) }

// Kind is the type of a value, told by its first byte.
type Kind uint8

// The kinds of values.
const (
	Invalid Kind = iota // end of input, or a byte that begins no value
	Null
	Bool
	Number
	String
	Array
	Object
)

var kinds = [256]Kind{
	'n': Null, 't': Bool, 'f': Bool, '"': String, '[': Array, '{': Object, '-': Number,
	'0': Number, '1': Number, '2': Number, '3': Number, '4': Number,
	'5': Number, '6': Number, '7': Number, '8': Number, '9': Number,
}

// Scanner reads one JSON value. The zero Scanner is ready for Reset.
type Scanner struct {
	buf   []byte
	pos   int
	depth int

	// The current key stands in buf[keyFrom:keyTo]; scratch holds what it says
	// when it has escapes. Two numbers are stored without a write barrier.
	keyFrom, keyTo int
	keyEscaped     bool
	scratch        []byte

	failed bool
	err    SyntaxError

	Arena Arena // where unescaped strings go
}

// Reset starts on buf, which must not change while strings read from it live.
func (s *Scanner) Reset(buf []byte) {
	s.buf, s.pos, s.depth, s.failed = buf, 0, 0, false
	s.keyFrom, s.keyTo, s.keyEscaped = 0, 0, false
}

// Err returns the first error, a *SyntaxError, or nil.
func (s *Scanner) Err() error {
	if !s.failed {
		return nil
	}
	e := s.err
	return &e
}

// End reports the first error; bytes after the value other than white space
// are one.
func (s *Scanner) End() error {
	if !s.failed && s.peek() != 0 {
		s.fail(s.pos, "unexpected data after the value")
	}
	return s.Err()
}

// fail records the first error and moves to the end, where nothing more is read.
func (s *Scanner) fail(at int, msg string) {
	if !s.failed {
		s.failed = true
		s.err = SyntaxError{Offset: at, Msg: msg}
	}
	s.pos = len(s.buf)
}

// peek moves to the next byte that is no white space and returns it, 0 at the
// end. A control byte is an error.
func (s *Scanner) peek() byte {
	for s.pos < len(s.buf) {
		c := s.buf[s.pos]
		if c > ' ' {
			return c
		}
		if !isSpace(c) {
			s.fail(s.pos, "unexpected control byte")
			return 0
		}
		s.pos++
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// Kind returns the kind of the next value without consuming it.
func (s *Scanner) Kind() Kind { return kinds[s.peek()] }

// Rest returns the input from the next value on.
func (s *Scanner) Rest() []byte {
	s.peek()
	return s.buf[s.pos:]
}

// Pass consumes the first n bytes of Rest, which the caller knows to end where a
// value ends. It returns false after an error.
func (s *Scanner) Pass(n int) bool {
	s.pos += n
	return !s.failed
}

// Between is Since up to the offset end, for a caller that went on behind it.
func (s *Scanner) Between(offset, end int) []byte {
	if s.failed {
		return nil
	}
	return s.buf[offset:end:end]
}

// Since returns the input between an earlier Offset and where the Scanner
// stands; nil after an error.
func (s *Scanner) Since(offset int) []byte {
	if s.failed {
		return nil
	}
	return s.buf[offset:s.pos:s.pos]
}

// Offset returns where the Scanner stands, in bytes from the start of input.
func (s *Scanner) Offset() int { return s.pos }

// Object enters an object and reads its first key. It returns false when the
// object is empty; a value that is no object is skipped and returns false.
func (s *Scanner) Object() bool {
	if s.peek() != '{' {
		s.Skip()
		return false
	}
	if !s.enter() {
		return false
	}
	if s.peek() == '}' {
		s.leave()
		return false
	}
	return s.readKey(s.pos)
}

// NextKey reads the next key of the object entered last, false at its end.
func (s *Scanner) NextKey() bool {
	if i := s.pos; i < len(s.buf) && s.buf[i] == ',' { // as writers of logs do
		return s.readKey(i + 1)
	}
	switch s.peek() {
	case ',':
		return s.readKey(s.pos + 1)
	case '}':
		s.leave()
	default:
		s.unexpected(`"," or "}"`)
	}
	return false
}

// Array enters an array. It returns false when the array is empty; a value
// that is no array is skipped and returns false.
func (s *Scanner) Array() bool {
	if s.peek() != '[' {
		s.Skip()
		return false
	}
	if !s.enter() {
		return false
	}
	if s.peek() == ']' {
		s.leave()
		return false
	}
	return !s.failed
}

// NextElem moves to the next element of the array entered last, false at its end.
func (s *Scanner) NextElem() bool {
	switch s.peek() {
	case ',':
		s.pos++
		return true
	case ']':
		s.leave()
	default:
		s.unexpected(`"," or "]"`)
	}
	return false
}

func (s *Scanner) enter() bool {
	if s.depth >= MaxDepth {
		s.fail(s.pos, "nested too deeply")
		return false
	}
	s.depth++
	s.pos++
	return true
}

func (s *Scanner) leave() {
	s.depth--
	s.pos++
}

func (s *Scanner) unexpected(want string) {
	if s.pos >= len(s.buf) {
		s.fail(len(s.buf), "unexpected end of input, want "+want)
		return
	}
	s.fail(s.pos, "unexpected character, want "+want)
}

// readKey reads a key and its colon from buf[i] on. What nearly all keys are,
// plain text between quotes and with the colon at once, takes no call.
func (s *Scanner) readKey(i int) bool {
	b := s.buf
	if i < len(b) && b[i] == '"' {
		end := plainEnd(b, i+1)
		if end+1 < len(b) && b[end] == '"' && b[end+1] == ':' {
			s.keyFrom, s.keyTo, s.keyEscaped, s.pos = i+1, end, false, end+2
			return true
		}
	}
	s.pos = i
	return s.readKeySlow()
}

// readKeySlow reads any key; s.pos stands before it.
func (s *Scanner) readKeySlow() bool {
	if s.peek() != '"' {
		s.unexpected("a key")
		return false
	}
	start := s.pos + 1
	end, state := stringEnd(s.buf, start)
	if state == broken {
		s.fail(end, stringFault(s.buf, end))
		return false
	}
	s.keyFrom, s.keyTo, s.keyEscaped = start, end, state == escaped
	if s.keyEscaped {
		s.scratch = appendUnescaped(s.scratch[:0], s.buf[start:end])
	}
	s.pos = end + 1
	if s.peek() != ':' {
		s.unexpected(`":"`)
		return false
	}
	s.pos++
	return true
}

// Key returns the current key, unescaped. It is valid until the next key is read.
func (s *Scanner) Key() []byte {
	if s.keyEscaped {
		return s.scratch
	}
	return s.buf[s.keyFrom:s.keyTo]
}

// Member reads the next value, an object, for one member: a string that it sets
// dst to. All others are skipped.
func (s *Scanner) Member(key string, dst *string) {
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) == key {
			s.Str(dst)
		} else {
			s.Skip()
		}
	}
}

// KeyString returns the current key as a string that stays valid.
func (s *Scanner) KeyString() string {
	if s.keyEscaped {
		return s.Arena.Copy(s.scratch)
	}
	return Text(s.Key())
}

// Skip consumes the next value, checking it.
func (s *Scanner) Skip() {
	switch s.peek() {
	case '"':
		end, state := stringEnd(s.buf, s.pos+1)
		if state == broken {
			s.fail(end, stringFault(s.buf, end))
			return
		}
		s.pos = end + 1
	case '{', '[', 0:
		s.moveTo(skipValue(s.buf, s.pos, s.depth))
	default:
		s.moveTo(scalarEnd(s.buf, s.pos))
	}
}

// moveTo takes the outcome of a skip: an error's place and message, or the
// index behind the value.
func (s *Scanner) moveTo(end int, msg string) {
	if msg != "" {
		s.fail(end, msg)
		return
	}
	s.pos = end
}

// Raw consumes the next value and returns its bytes, which alias the input;
// nil after an error.
func (s *Scanner) Raw() []byte {
	s.peek()
	start := s.pos
	s.Skip()
	if s.failed {
		return nil
	}
	return s.buf[start:s.pos:s.pos]
}

// Str reads a string into dst; another kind of value leaves dst alone.
func (s *Scanner) Str(dst *string) {
	b, i := s.buf, s.pos
	if i < len(b) && b[i] == '"' {
		if end := plainEnd(b, i+1); end < len(b) && b[end] == '"' {
			*dst = Text(b[i+1 : end])
			s.pos = end + 1
			return
		}
	}
	s.strSlow(dst)
}

// strSlow reads what is no string, or one with escapes or space before it.
func (s *Scanner) strSlow(dst *string) {
	if s.peek() != '"' {
		s.Skip()
		return
	}
	start := s.pos + 1
	end, state := stringEnd(s.buf, start)
	switch state {
	case plain:
		*dst = Text(s.buf[start:end])
	case escaped:
		*dst = s.Arena.unescape(s.buf[start:end])
	default:
		s.fail(end, stringFault(s.buf, end))
		return
	}
	s.pos = end + 1
}

// Strs reads an array of strings, appended to dst; elements of another kind
// are left out.
func (s *Scanner) Strs(dst []string) []string {
	for more := s.Array(); more; more = s.NextElem() {
		if s.Kind() != String {
			s.Skip()
			continue
		}
		var v string
		s.Str(&v)
		if !s.failed {
			dst = append(dst, v)
		}
	}
	return dst
}

// Bool reads true or false into dst; another kind of value leaves dst alone.
func (s *Scanner) Bool(dst *bool) {
	c := s.peek()
	s.Skip()
	if !s.failed && (c == 't' || c == 'f') {
		*dst = c == 't'
	}
}

// Int reads an integer into dst; another kind of value, a fraction, an
// exponent and what does not fit an int leave dst alone.
func (s *Scanner) Int(dst *int) {
	isNumber := s.Kind() == Number
	raw := s.Raw()
	if !isNumber {
		return
	}
	if v, ok := parseInt(raw); ok {
		*dst = v
	}
}

// parseInt reads a checked JSON number.
func parseInt(b []byte) (int, bool) {
	const cutoff = (1<<63 - 1 - 9) / 10
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		b = b[1:]
	}
	v := 0
	for _, c := range b {
		if c < '0' || c > '9' || v > cutoff {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	if neg {
		v = -v
	}
	return v, len(b) > 0
}

// Text returns b as a string that shares its memory: b must not change any more.
func Text(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // sharing the memory is the point: records are never changed
}
