package file

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth bounds nesting. Kubernetes objects stay below 100; without a bound
// a stream of opening braces would be one endless record.
const maxDepth = 512

// state is what the scanner expects next.
type state uint8

const (
	wantValue      state = iota
	wantFirstValue       // after "[": a value or "]"
	wantFirstKey         // after "{": a key or "}"
	wantKey
	wantColon
	wantComma // after a member or an item: "," or the end
	inKey
	inString
	inLiteral // number, true, false, null
)

// outcome is why scan returned.
type outcome uint8

const (
	scanMore  outcome = iota // the value goes on behind the input
	scanDone                 // the value ended
	scanList                 // a list of records opened, see memberKey.list
	scanError                // not JSON; scanner.reason says why
)

// scanner finds the end of one JSON value that may arrive in pieces, and notes
// which of the keys that tell record kinds stand in its outermost object. It
// checks the order of tokens, not the spelling of literals and escapes: enough
// to notice a record that was cut off, at more than 1 GB/s.
//
// The zero value is ready for a value's first byte.
type scanner struct {
	state  state
	depth  int
	object [maxDepth/64 + 1]uint64 // bit d: nesting level d is an object
	reason string

	blind    bool // ignore keys: the beginning of the value is no longer there
	keyStart int
	key      memberKey
	keys     keySet
	wraps    [4]int // where values begin that may hold a record inside
	nwraps   int
}

// scan goes on at b[i], b[0] being the value's first byte, and returns where it
// stopped: behind the value, behind the "[" of a list, or at the error.
//
// It is one long function because it is a state machine: the cases share the
// position and nothing else. Each case takes the bytes that usually follow
// along, which halves the turns of the loop.
func (s *scanner) scan(b []byte, i int) (int, outcome) {
	object := s.inObject()
	for i < len(b) {
		c := b[i]
		if c <= ' ' && s.state < inKey {
			if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
				return s.fail(i, "control character between values")
			}
			i++
			continue
		}
		switch s.state {
		case wantKey, wantFirstKey:
			if c == '}' && s.state == wantFirstKey {
				i++
				if s.pop() {
					return i, scanDone
				}
				object = s.inObject()
				continue
			}
			if c != '"' {
				return s.fail(i, "expected a key")
			}
			i++
			s.keyStart, s.state = i, inKey
			fallthrough
		case inKey:
			end, closed := stringEnd(b, i)
			if !closed {
				return end, scanMore
			}
			if s.depth == 1 && !s.blind {
				s.key = keyOf(b[s.keyStart:end])
				s.keys |= 1 << s.key
			}
			i, s.state = end+1, wantColon
			if i < len(b) && b[i] == ':' {
				i++
				s.state = wantValue
			}
		case wantColon:
			if c != ':' {
				return s.fail(i, "expected a colon")
			}
			s.state = wantValue
			i++
		case wantValue, wantFirstValue:
			if s.depth == 1 && object && !s.blind && s.member(i, c) {
				return i + 1, scanList
			}
			if c != '"' {
				switch s.begin(c) {
				case scanDone:
					return i + 1, scanDone
				case scanError:
					return i, scanError
				}
				i++
				object = s.inObject()
				continue
			}
			i, s.state = i+1, inString
			fallthrough
		case inString:
			end, closed := stringEnd(b, i)
			if !closed {
				return end, scanMore
			}
			i = end + 1
			if s.ended() {
				return i, scanDone
			}
		case inLiteral:
			for i < len(b) && literal[b[i]] {
				i++
			}
			if i < len(b) && s.ended() {
				return i, scanDone
			}
		case wantComma:
			i++
			switch {
			case c == ',' && object:
				s.state = wantKey
			case c == ',':
				s.state = wantValue
			case c == '}' && object, c == ']' && !object:
				if s.pop() {
					return i, scanDone
				}
				object = s.inObject()
			default:
				return s.fail(i-1, "expected a comma or the end")
			}
		}
	}
	return i, scanMore
}

// literal marks the bytes of numbers, true, false and null.
var literal = func() (t [256]bool) {
	for _, c := range "0123456789+-.Eaeflnrstu" {
		t[c] = true
	}
	return t
}()

// begin enters a value that begins with c and is no string, or leaves an empty
// array.
func (s *scanner) begin(c byte) outcome {
	switch {
	case c == '{' || c == '[':
		if s.depth == maxDepth {
			s.reason = "nested too deeply"
			return scanError
		}
		s.push(c == '{')
	case c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f' || c == 'n':
		s.state = inLiteral
	case c == ']' && s.state == wantFirstValue:
		if s.pop() {
			return scanDone
		}
	default:
		s.reason = "expected a value"
		return scanError
	}
	return scanMore
}

// member handles the value of a member of the outermost object that begins
// with c at i. It reports whether a list of records opens.
func (s *scanner) member(i int, c byte) bool {
	if c == '[' && s.key.list() {
		s.state = wantComma // as it is behind the list's end
		return true
	}
	if s.key.wraps() && s.nwraps < len(s.wraps) {
		s.wraps[s.nwraps] = i
		s.nwraps++
	}
	return false
}

// pop leaves a nesting level and reports whether the whole value ended.
func (s *scanner) pop() bool {
	s.depth--
	return s.ended()
}

func (s *scanner) fail(i int, reason string) (int, outcome) {
	s.reason = reason
	return i, scanError
}

// ended notes that a value is complete and reports whether it was the whole.
func (s *scanner) ended() bool {
	s.state = wantComma
	return s.depth == 0
}

func (s *scanner) inObject() bool { return s.object[s.depth>>6]>>(s.depth&63)&1 != 0 }

func (s *scanner) push(object bool) {
	s.depth++
	bit := uint64(1) << (s.depth & 63)
	if object {
		s.object[s.depth>>6] |= bit
		s.state = wantFirstKey
	} else {
		s.object[s.depth>>6] &^= bit
		s.state = wantFirstValue
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// stringEnd finds the quote that closes the string whose text goes on at b[i],
// eight bytes at a time. When closed is false the input ended first, and the
// returned index is where to go on with more. Control characters, which JSON
// forbids here, are left to the decoder: a record cut off inside a string is
// noticed at the letter behind the next line's first quote.
func stringEnd(b []byte, i int) (end int, closed bool) {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		quote := w ^ 0x22*ones
		slash := w ^ 0x5c*ones
		// A byte of m has its high bit set where w has a quote or a
		// backslash. Borrows can set bits above the first true one only, and
		// the first is all that is used.
		m := ((quote-ones)&^quote | (slash-ones)&^slash) & highs
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if b[i] == '"' {
			return i, true
		}
		if i+1 == len(b) {
			return i, false
		}
		i += 2
	}
	for ; i < len(b); i++ {
		if b[i] == '"' {
			return i, true
		}
		if b[i] == '\\' {
			if i+1 == len(b) {
				return i, false
			}
			i++
		}
	}
	return i, false
}
