package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// strState says what a string literal is made of.
type strState uint8

const (
	plain   strState = iota // no escapes: the bytes are the value
	escaped                 // has escapes, all of them well formed
	broken                  // does not end, or holds a control byte or a bad escape
)

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the bytes of w that end plain string text: a quote, a
// backslash, a control byte. With its second bit flipped a quote is 0x20 and a
// control byte stays below that, while everything else ends above, so one
// comparison finds both. Only the lowest mark is exact (a borrow can mark bytes
// above it), and only that one is used.
func special(w uint64) uint64 {
	slash := w ^ lows*'\\'
	return ((slash-lows)&^slash | ((w^lows*2)-lows*0x21)&^w) & highs
}

// word returns the eight bytes at b[i]. The caller has made sure that they are
// there: checking again is a third of what looking through short strings costs.
func word(b []byte, i int) uint64 {
	p := (*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i)) //nolint:gosec // 0 <= i, i+8 <= len(b)
	return binary.LittleEndian.Uint64(p[:])
}

// plainEnd returns how far plain string text reaches from b[i], up to the last
// few bytes of the input, which it does not look at. It is small enough to be
// inlined where strings are short and many.
func plainEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		if m := special(word(b, i)); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	return i
}

// stringEnd returns the index of the closing quote of the string whose first
// byte after the opening quote is b[i]; with broken, of the first bad byte.
func stringEnd(b []byte, i int) (int, strState) {
	if i = plainEnd(b, i); i < len(b) && b[i] == '"' {
		return i, plain
	}
	return stringEndSlow(b, i)
}

// stringEndSlow goes on where plainEnd met an escape, a bad byte or the last
// few bytes of the input.
func stringEndSlow(b []byte, i int) (int, strState) {
	state := plain
	for i < len(b) {
		if i+8 <= len(b) {
			m := special(word(b, i))
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) >> 3
		}
		switch c := b[i]; {
		case c == '"':
			return i, state
		case c == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return i, broken
			}
			state = escaped
			i += n
		case c < ' ':
			return i, broken
		default:
			i++
		}
	}
	return len(b), broken
}

// escapeLen returns the length of the escape that b begins with, 0 when it is
// malformed or cut.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// stringFault says why stringEnd stopped at b[i].
func stringFault(b []byte, i int) string {
	switch {
	case i >= len(b):
		return "unexpected end of input in a string"
	case b[i] == '\\':
		return "bad escape in a string"
	}
	return "control byte in a string"
}

// skipValue returns the index behind the value at b[i], white space before it
// allowed, or the offset of what is wrong and a message. depth is how many
// containers are open around it.
//
// It is one state machine rather than a function per state: the containers
// open are one bit each (set = object), so it neither recurses nor allocates,
// and position and depth stay in registers. Half of all time goes here.
func skipValue(b []byte, i, depth int) (int, string) {
	var objects [MaxDepth / 64]uint64
	base := depth
value:
	if i = spaceEnd(b, i); i >= len(b) {
		return len(b), "unexpected end of input, want a value"
	}
	switch c := b[i]; c {
	case '"':
		if i = plainEnd(b, i+1); i >= len(b) || b[i] != '"' {
			end, state := stringEndSlow(b, i)
			if state == broken {
				return end, stringFault(b, end)
			}
			i = end
		}
		i++
	case '{', '[':
		if depth >= MaxDepth {
			return i, "nested too deeply"
		}
		i = spaceEnd(b, i+1)
		if c == '[' {
			objects[depth>>6] &^= 1 << (depth & 63)
			depth++
			if i < len(b) && b[i] == ']' {
				i, depth = i+1, depth-1
				break
			}
			goto value
		}
		objects[depth>>6] |= 1 << (depth & 63)
		depth++
		if i < len(b) && b[i] == '}' {
			i, depth = i+1, depth-1
			break
		}
		goto key
	default:
		end, msg := scalarEnd(b, i)
		if msg != "" {
			return end, msg
		}
		i = end
	}
after:
	if depth == base {
		return i, ""
	}
	if i = spaceEnd(b, i); i >= len(b) {
		return len(b), "unexpected end of input in an object or array"
	}
	if objects[(depth-1)>>6]>>((depth-1)&63)&1 == 0 {
		switch b[i] {
		case ',':
			i++
			goto value
		case ']':
			i, depth = i+1, depth-1
			goto after
		}
		return i, `unexpected character, want "," or "]"`
	}
	switch b[i] {
	case ',':
		i++
	case '}':
		i, depth = i+1, depth-1
		goto after
	default:
		return i, `unexpected character, want "," or "}"`
	}
	i = spaceEnd(b, i)
key:
	if i >= len(b) || b[i] != '"' {
		return i, missing(b, i, "a key")
	}
	if i = plainEnd(b, i+1); i >= len(b) || b[i] != '"' {
		end, state := stringEndSlow(b, i)
		if state == broken {
			return end, stringFault(b, end)
		}
		i = end
	}
	if i = spaceEnd(b, i+1); i >= len(b) || b[i] != ':' {
		return i, missing(b, i, `":"`)
	}
	i++
	goto value
}

// spaceEnd returns the index of the first byte from b[i] on that is no space.
func spaceEnd(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && isSpace(b[i]) {
		i++
	}
	return i
}

// missing says that b[i] is not what was wanted.
func missing(b []byte, i int, want string) string {
	if i >= len(b) {
		return "unexpected end of input, want " + want
	}
	return "unexpected character, want " + want
}

// scalarEnd returns the index behind the literal or number at b[i].
func scalarEnd(b []byte, i int) (int, string) {
	switch b[i] {
	case 't':
		return literalEnd(b, i, "true")
	case 'f':
		return literalEnd(b, i, "false")
	case 'n':
		return literalEnd(b, i, "null")
	}
	if kinds[b[i]] != Number {
		return i, "unexpected character, want a value"
	}
	return numberEnd(b, i)
}

func literalEnd(b []byte, i int, want string) (int, string) {
	if len(b)-i < len(want) {
		return len(b), "unexpected end of input in a literal"
	}
	if string(b[i:i+len(want)]) != want {
		return i, "unexpected character, want " + want
	}
	return i + len(want), ""
}

// numberEnd returns the index behind the number at b[i].
func numberEnd(b []byte, i int) (int, string) {
	if b[i] == '-' {
		i++
	}
	start := i
	i = digitsEnd(b, i)
	if i == start || (b[start] == '0' && i > start+1) {
		return start, "malformed number"
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = digitsEnd(b, start); i == start {
			return i, "malformed number"
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		start = i + 1
		if start < len(b) && (b[start] == '+' || b[start] == '-') {
			start++
		}
		if i = digitsEnd(b, start); i == start {
			return i, "malformed number"
		}
	}
	return i, ""
}

func digitsEnd(b []byte, i int) int {
	for i < len(b) && b[i]-'0' < 10 {
		i++
	}
	return i
}
