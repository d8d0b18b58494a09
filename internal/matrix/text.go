package matrix

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// minColumn is the narrowest column, in characters, in which technique names
// still read: "configuration", the longest word of a name, just fits.
const minColumn = 13

// maxColumn keeps the table together on very wide terminals.
const maxColumn = 26

// WriteText draws the matrix for a terminal: a table of ten columns when width
// (in characters) allows at least 13 each, else a list by tactic. Width 0 or
// less means that the output is no terminal and gets the list.
func (r *Report) WriteText(w io.Writer, width int) error {
	b := &bytes.Buffer{}
	column := (width - (event.TacticCount - 1)) / event.TacticCount
	if column >= minColumn {
		r.writeGrid(b, min(column, maxColumn))
	} else {
		r.writeList(b)
	}
	r.writeTotals(b)
	return writeText(w, b.Bytes())
}

func writeText(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("writing the matrix: %w", err)
	}
	return nil
}

func (r *Report) writeTotals(b *bytes.Buffer) {
	cells, allCells := r.Count()
	techniques, all := r.CountTechniques()
	fmt.Fprintf(b, "\n%d rules; %d of %d techniques have a rule (%d of %d cells).  %s\n", r.rules, techniques, all, cells, allCells, r.matrix.name)
}

func (r *Report) writeGrid(b *bytes.Buffer, column int) {
	var header [][]string
	for t := range event.Tactic(event.TacticCount) {
		header = append(header, wrap(strings.ToUpper(t.String()), column))
	}
	writeRow(b, header, column)
	b.WriteString(strings.TrimRight(strings.Repeat(strings.Repeat("─", column)+" ", event.TacticCount), " ") + "\n")
	for row := range r.rows() {
		cells := make([][]string, event.TacticCount)
		for t := range cells {
			if ids := r.matrix.columns[t]; row < len(ids) {
				cells[t] = wrap(r.cell(ids[row]), column)
			}
		}
		writeRow(b, cells, column)
		b.WriteByte('\n')
	}
	b.WriteString("number of rules in brackets; · no rule, – not in any audit log\n")
}

func (r *Report) rows() int {
	n := 0
	for _, ids := range r.matrix.columns {
		n = max(n, len(ids))
	}
	return n
}

func (r *Report) cell(id string) string {
	c, _ := r.Technique(id)
	return c.Technique.Name + " [" + mark(&c) + "]"
}

func mark(c *Covered) string {
	switch c.State {
	case Claimed:
		return fmt.Sprint(len(c.Rules))
	case Unseen:
		return "–"
	default:
		return "·"
	}
}

// writeRow prints cells of several lines side by side, cut of trailing space.
func writeRow(b *bytes.Buffer, cells [][]string, column int) {
	height := 0
	for _, c := range cells {
		height = max(height, len(c))
	}
	for line := range height {
		var s strings.Builder
		for _, c := range cells {
			text := ""
			if line < len(c) {
				text = c[line]
			}
			fmt.Fprintf(&s, "%-*s ", column, text)
		}
		b.WriteString(strings.TrimRight(s.String(), " ") + "\n")
	}
}

// wrap breaks s at spaces into lines of at most width characters; a longer word
// is cut hard.
func wrap(s string, width int) []string {
	var lines []string
	line := []rune{}
	for word := range strings.FieldsSeq(s) {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) > width {
			lines, line = append(lines, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		for len(w) > width {
			lines, w = append(lines, string(w[:width])), w[width:]
		}
		line = append(line, w...)
	}
	return append(lines, string(line))
}

func (r *Report) writeList(b *bytes.Buffer) {
	for t := range event.Tactic(event.TacticCount) {
		if t > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%s\n", t)
		for _, id := range r.matrix.columns[t] {
			c, _ := r.Technique(id)
			fmt.Fprintf(b, "  %3s  %s  %s%s\n", mark(&c), id, c.Technique.Name, reason(&c))
		}
	}
}

func reason(c *Covered) string {
	if c.Reason == "" {
		return ""
	}
	return "  (" + c.Reason + ")"
}
