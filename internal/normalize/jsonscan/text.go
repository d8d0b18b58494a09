package jsonscan

import (
	"unicode/utf16"
	"unicode/utf8"
)

// Arena hands out memory for small pieces of text from larger chunks. It never
// takes any back: the garbage collector frees a chunk once nothing points into
// it. The zero Arena is ready. It is not safe for concurrent use.
type Arena struct{ chunk []byte }

// arenaChunk is the size of a chunk in bytes; texts above a quarter of it get
// memory of their own, so that one long text does not waste a chunk.
const arenaChunk = 16 << 10

// Alloc returns an empty slice with room for n bytes. Commit what was appended
// to it before the next Alloc.
func (a *Arena) Alloc(n int) []byte {
	if n > arenaChunk/4 {
		return make([]byte, 0, n)
	}
	if cap(a.chunk)-len(a.chunk) < n {
		a.chunk = make([]byte, 0, arenaChunk)
	}
	end := len(a.chunk)
	return a.chunk[end : end : end+n]
}

// Commit returns b, which came from the last Alloc and was not grown beyond
// its room, as a string.
func (a *Arena) Commit(b []byte) string {
	if cap(b) <= arenaChunk/4 {
		a.chunk = a.chunk[:len(a.chunk)+len(b)]
	}
	return Text(b)
}

// Copy returns a copy of b.
func (a *Arena) Copy(b []byte) string { return a.Commit(append(a.Alloc(len(b)), b...)) }

// CopyString is Copy for a string.
func (a *Arena) CopyString(s string) string { return a.Commit(append(a.Alloc(len(s)), s...)) }

// Join returns x, sep and y as one string.
func (a *Arena) Join(x, sep, y string) string {
	b := a.Alloc(len(x) + len(sep) + len(y))
	b = append(b, x...)
	b = append(b, sep...)
	return a.Commit(append(b, y...))
}

func (a *Arena) unescape(src []byte) string {
	return a.Commit(appendUnescaped(a.Alloc(len(src)), src))
}

// plainEscapes maps the character of a two-byte escape to what it stands for.
var plainEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// appendUnescaped appends the text of a string literal's checked inside. The
// result is never longer than src, as the longest encoding of a \u escape's
// character takes three bytes of its six.
func appendUnescaped(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if src[i] != '\\' {
			start := i
			for i < len(src) && src[i] != '\\' {
				i++
			}
			dst = append(dst, src[start:i]...)
			continue
		}
		if src[i+1] != 'u' {
			dst = append(dst, plainEscapes[src[i+1]])
			i += 2
			continue
		}
		r, n := unescapeRune(src[i:])
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst
}

// unescapeRune reads the \u escape, or pair of them, that b begins with. Half
// a surrogate pair becomes U+FFFD, as in encoding/json.
func unescapeRune(b []byte) (rune, int) {
	v, _ := hex4(b[2:])
	r := rune(v)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		low, _ := hex4(b[8:])
		if full := utf16.DecodeRune(r, rune(low)); full != utf8.RuneError {
			return full, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (uint32, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var v uint32
	for _, c := range b[:4] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case c|0x20-'a' < 6:
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		v = v<<4 | uint32(c)
	}
	return v, true
}
