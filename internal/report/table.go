package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// Table writes traces for a person.
type Table struct {
	Color bool // use terminal colours
	Width int  // columns; 0 is 100
}

// Write writes the traces, highest score first as given, then the totals.
func (t Table) Write(w io.Writer, traces []Trace, totals Totals) error {
	if t.Width <= 0 {
		t.Width = 100
	}
	b := &bytes.Buffer{}
	for i := range traces {
		t.trace(b, &traces[i])
	}
	if len(traces) == 0 {
		fmt.Fprintln(b, "No trace to show.")
		fmt.Fprintln(b)
	}
	t.totals(b, totals)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

func (t Table) trace(b *bytes.Buffer, x *Trace) {
	mark := "trace"
	if x.Alert {
		mark = "ALERT"
	}
	fmt.Fprintf(b, "%s  score %s  %s  %s\n", t.paint(x, mark), t.bold(x.Score.String()), span(x.First, x.Last), strings.Join(x.Planes, "+"))
	tactics := make([]string, len(x.Tactics))
	for i, k := range x.Tactics {
		tactics[i] = k.String()
	}
	t.wrapped(b, "  ", strings.Join(tactics, " → "))
	fmt.Fprintf(b, "  id %s  fingerprint %s\n", x.ID, x.Fingerprint)
	for _, u := range x.Units {
		fmt.Fprintf(b, "  %s = %s\n", u.Name, who(u))
	}
	fmt.Fprintln(b)
	t.story(b, x)
	fmt.Fprintln(b)
}

func who(u Unit) string {
	if u.Object != "" {
		return u.Object
	}
	s := u.User
	if s == "" {
		s = "unauthenticated"
	}
	if u.IP != "" {
		s += " from " + u.IP
	}
	if u.Pod != "" {
		s += " (token of pod " + u.Pod + ")"
	}
	return s
}

// story writes flags and the links between flagged units in order of time.
func (t Table) story(b *bytes.Buffer, x *Trace) {
	links := x.Links
	for i := range x.Flags {
		f := &x.Flags[i]
		for len(links) > 0 && links[0].First <= f.First {
			t.link(b, &links[0])
			links = links[1:]
		}
		t.flag(b, f)
	}
	for i := range links {
		t.link(b, &links[i])
	}
}

func (t Table) flag(b *bytes.Buffer, f *TraceFlag) {
	times := ""
	if f.Count > 1 {
		times = fmt.Sprintf(" (%d times)", f.Count)
	}
	if f.Suppressed {
		times += " (suppressed)"
	}
	fmt.Fprintf(b, "  %s  %s  %s %6s  ", clock(f.First), pad(f.Unit, 2), t.severity(f.Severity), "+"+f.Contribution.String())
	t.hanging(b, 35, f.Message+times)
	fmt.Fprintf(b, "%s%s  %s:%d\n", strings.Repeat(" ", 35), strings.Join(f.Techniques, " "), f.File, f.Line)
}

func (t Table) link(b *bytes.Buffer, l *Link) {
	if l.From == "" || l.To == "" || l.From == l.To {
		return
	}
	fmt.Fprintf(b, "  %s  %s → %s by %s (%s): %s\n", clock(l.First), l.From, l.To, l.Type, l.Grade, l.Label)
}

func (t Table) totals(b *bytes.Buffer, x Totals) {
	fmt.Fprintf(b, "%d records in %d files: %d flags in %d traces, %s\n", x.Records, x.Files, x.Flags, x.Traces, plural(x.Alerts, "alert"))
	var notes []string
	add := func(n int64, what string) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(x.Unreadable, "unreadable")
	add(int64(x.BadFiles), "files not readable at all")
	add(int64(x.Strangers), "files of folders that are no logs")
	add(x.Skipped, "not relevant")
	add(x.Outside, "later than asked for")
	add(x.Duplicates, "duplicates dropped")
	add(x.Late, "too late for their place")
	add(x.Cascades, "deletions folded into their cause")
	add(x.Repeats, "repeats counted on an earlier flag")
	add(int64(x.Hidden), "traces of lower score not shown")
	add(x.Unnamed, "flags whose actor is not named")
	if len(notes) > 0 {
		fmt.Fprintln(b, strings.Join(notes, ", "))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func pad(s string, n int) string {
	if len(s) < n {
		s += strings.Repeat(" ", n-len(s))
	}
	return s
}

// clock returns the time of day of an RFC 3339 time.
func clock(s string) string {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return at.Format("15:04:05")
}

// span returns "2026-11-22 05:33:12 UTC, 8m28s".
func span(first, last string) string {
	a, errA := time.Parse(time.RFC3339Nano, first)
	z, errZ := time.Parse(time.RFC3339Nano, last)
	if errA != nil || errZ != nil {
		return first
	}
	d := z.Sub(a).Round(time.Second)
	return a.Format("2006-01-02 15:04:05 UTC") + ", " + d.String()
}

// hanging writes text wrapped to the width, later lines indented.
func (t Table) hanging(b *bytes.Buffer, indent int, text string) {
	room := max(t.Width-indent, 30)
	first := true
	for len(text) > 0 {
		line := text
		if len(line) > room {
			cut := strings.LastIndexByte(line[:room], ' ')
			if cut <= 0 {
				cut = runeBoundary(line, room)
			}
			line = line[:cut]
		}
		text = strings.TrimPrefix(text[len(line):], " ")
		if !first {
			fmt.Fprint(b, strings.Repeat(" ", indent))
		}
		fmt.Fprintln(b, line)
		first = false
	}
	if first {
		fmt.Fprintln(b)
	}
}

// runeBoundary returns the last boundary between characters at or before n.
func runeBoundary(s string, n int) int {
	for n > 1 && s[n]&0xC0 == 0x80 {
		n--
	}
	return n
}

func (t Table) wrapped(b *bytes.Buffer, indent, text string) {
	fmt.Fprint(b, indent)
	t.hanging(b, len(indent), text)
}

// ANSI colours of severities; a severity is always written out as well.
var severityColors = map[event.Severity]string{
	event.Critical: "1;31", event.High: "31", event.Medium: "33", event.Low: "36", event.Info: "2",
}

func (t Table) severity(s event.Severity) string {
	return t.color(severityColors[s], pad(s.String(), 8))
}

func (t Table) paint(x *Trace, s string) string {
	if x.Alert {
		return t.color("1;31", s)
	}
	return t.bold(s)
}

func (t Table) bold(s string) string { return t.color("1", s) }

func (t Table) color(code, s string) string {
	if !t.Color || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
