package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file. Line and Column count from 1, Column in code
// points; both are 0 when the problem is the file as a whole.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns file:line:column, or the file alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing wrong with a file of a pack.
type Problem struct {
	Position
	Warning bool // the pack still works
	Message string
	Excerpt string // the line of the file it stands in, "" when there is none
}

// Error returns file:line:column: message, the source line, and a caret.
func (p Problem) Error() string {
	msg := p.Message
	if p.Warning {
		msg = "warning: " + msg
	}
	out := p.String() + ": " + msg
	if p.Excerpt == "" {
		return out
	}
	return out + "\n  " + p.Excerpt + "\n  " + caret(p.Excerpt, p.Column)
}

// caret returns the white space that puts ^ under the column; tabs stay tabs so
// that a terminal lines them up.
func caret(line string, column int) string {
	var b strings.Builder
	n := 1
	for _, r := range line {
		if n >= column {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	for ; n < column; n++ {
		b.WriteByte(' ')
	}
	return b.String() + "^"
}

// Problems are the problems of one or more files. As an error it is all of
// them, a blank line between two.
type Problems []Problem

// Error joins the problems.
func (ps Problems) Error() string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.Error()
	}
	return strings.Join(out, "\n\n")
}

// Errors counts the problems that are not warnings.
func (ps Problems) Errors() int {
	n := 0
	for _, p := range ps {
		if !p.Warning {
			n++
		}
	}
	return n
}

// err returns ps as an error, nil when there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// sorted orders by place and drops exact repetitions.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return slices.Compact(ps)
}

// source is the text of one file and the problems found in it.
type source struct {
	file     string
	text     string
	lines    []string
	problems Problems
}

// maxProblems bounds what one file can report: the rest follows from these.
const maxProblems = 50

func newSource(file, text string) *source {
	return &source{file: file, text: text, lines: strings.Split(text, "\n")}
}

func (s *source) at(line, column int) Position {
	return Position{File: s.file, Line: line, Column: column}
}

func (s *source) report(p Position, warning bool, format string, args ...any) {
	if len(s.problems) >= maxProblems {
		return
	}
	pr := Problem{Position: p, Warning: warning, Message: fmt.Sprintf(format, args...)}
	if p.Line >= 1 && p.Line <= len(s.lines) {
		pr.Excerpt = strings.TrimRight(s.lines[p.Line-1], "\r")
	}
	s.problems = append(s.problems, pr)
}

func (s *source) errorf(p Position, format string, args ...any) { s.report(p, false, format, args...) }
