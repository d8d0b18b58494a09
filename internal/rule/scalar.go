package rule

import (
	"strings"
	"unicode/utf8"
)

// place returns where the code point at offset of a scalar's value stands in
// the file. It walks value and source side by side, as YAML's folding and
// escapes leave every character in its order and only change white space and
// what follows a backslash.
func (s *source) place(n *node, offset int) Position {
	value := []rune(n.value)
	offset = min(offset, len(value))
	w := &aligner{src: s, line: n.line, column: n.column}
	w.open(n)
	for i := 0; i < offset && w.line <= len(s.lines); i++ {
		w.step(value[i])
	}
	if offset < len(value) {
		w.settle(value[offset])
	}
	return s.at(min(w.line, len(s.lines)), w.column)
}

// aligner is a place in the source that follows a scalar's value.
type aligner struct {
	src    *source
	line   int // 1-based
	column int // 1-based, in code points
	indent int // white space that a block scalar's lines begin with
	quote  rune
	block  bool
}

// open moves to the first character of the value.
func (w *aligner) open(n *node) {
	w.block = n.block
	if n.block {
		w.line++
		w.indent = w.blockIndent(n.value)
		w.column = w.indent + 1
		return
	}
	if r := w.peek(); r == '"' || r == '\'' {
		w.quote = r
		w.column++
	}
}

// blockIndent is the indentation that YAML took off every line: that of the
// first line with text, less what the value has kept of it.
func (w *aligner) blockIndent(value string) int {
	for i := w.line - 1; i >= 0 && i < len(w.src.lines); i++ {
		if strings.TrimSpace(w.src.lines[i]) != "" {
			text := strings.TrimLeft(value, "\n")
			return max(leadingSpaces(w.src.lines[i])-leadingSpaces(text), 0)
		}
	}
	return 0
}

func leadingSpaces(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// peek returns the character at the place, '\n' at the end of a line.
func (w *aligner) peek() rune {
	if w.line < 1 || w.line > len(w.src.lines) {
		return '\n'
	}
	n := 1
	for _, r := range w.src.lines[w.line-1] {
		if n == w.column {
			return r
		}
		n++
	}
	return '\n'
}

func (w *aligner) newline() {
	w.line++
	w.column = w.indent + 1
	if !w.block {
		for w.peek() == ' ' || w.peek() == '\t' {
			w.column++
		}
	}
}

// settle skips line ends that the value has folded away before r.
func (w *aligner) settle(r rune) {
	for r != '\n' && w.peek() == '\n' && w.line < len(w.src.lines) {
		w.newline()
	}
}

// step passes one character of the value.
func (w *aligner) step(r rune) {
	switch c := w.peek(); {
	case c == '\n':
		if r == '\n' || r == ' ' {
			w.newline()
			return
		}
		w.settle(r)
		w.column++
	case c == '\\' && w.quote == '"':
		w.column += escapeLen(w.src.lines[w.line-1], w.column)
	case c == '\'' && w.quote == '\'':
		w.column += 2
	default:
		w.column++
	}
}

// escapeLen is the length of the escape sequence at a column.
func escapeLen(line string, column int) int {
	rest := line
	for i := 1; i < column && rest != ""; i++ {
		_, n := utf8.DecodeRuneInString(rest)
		rest = rest[n:]
	}
	if len(rest) < 2 {
		return 1
	}
	switch rest[1] {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	default:
		return 2
	}
}
