package config

import (
	"fmt"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	// Place is file:line:column, the environment variable or the flag.
	Place   string
	Message string
	// Excerpt is the line of the file and below it a caret; "" where there is no
	// line, or a secret in it.
	Excerpt string
}

// Error returns place: message, the line and a caret.
func (p Problem) Error() string {
	out := p.Message
	if p.Place != "" {
		out = p.Place + ": " + out
	}
	if p.Excerpt != "" {
		out += "\n  " + strings.ReplaceAll(p.Excerpt, "\n", "\n  ")
	}
	return out
}

// Problems are all that is wrong, in the order found.
type Problems []Problem

// Error joins the problems, a blank line between two.
func (ps Problems) Error() string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.Error()
	}
	return strings.Join(out, "\n\n")
}

// maxProblems bounds what is reported: the rest follows from these.
const maxProblems = 30

// place is where a value was given. The zero place is the default.
type place struct {
	name         string // of the variable or flag; "" in the file
	line, column int    // in the file, from 1, column in code points
	secret       bool   // the line is not to be shown
}

// report collects problems of one load.
type report struct {
	file     string
	lines    []string
	places   map[string]place // key → where its value was given
	problems Problems
}

func (r *report) errorf(p place, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		return
	}
	out := Problem{Place: p.name, Message: fmt.Sprintf(format, args...)}
	if p.line > 0 {
		out.Place = fmt.Sprintf("%s:%d:%d", r.file, p.line, p.column)
		if p.line <= len(r.lines) && !p.secret {
			line := strings.TrimRight(r.lines[p.line-1], "\r")
			out.Excerpt = line + "\n" + caret(line, p.column)
		}
	}
	r.problems = append(r.problems, out)
}

// invalid reports what is wrong with the value of a key, or of the nearest section
// above it that was given.
func (r *report) invalid(key, format string, args ...any) {
	p, ok := r.places[key]
	for above := key; !ok && above != ""; {
		above = above[:max(strings.LastIndexByte(above, '.'), 0)]
		p, ok = r.places[above]
	}
	r.errorf(p, "%s: %s", key, fmt.Sprintf(format, args...))
}

// caret puts ^ under the column; tabs stay tabs so that a terminal lines them up.
func caret(line string, column int) string {
	var b strings.Builder
	n := 1
	for _, r := range line {
		if n >= column {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return b.String() + strings.Repeat(" ", max(column-n, 0)) + "^"
}
