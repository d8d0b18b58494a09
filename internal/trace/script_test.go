package trace

import (
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

var rewrite = goflag.Bool("rewrite", false, "write what the scripts in testdata print into them")

// TestScripts runs each testdata/*.txt. A script is commands, each followed by
// "----" and what it prints. Times are offsets from the start, keys are names.
//
//	unit NAME                                      the trace of a unit
//	flag AT UNIT RULE SEVERITY "TACTIC" [PLANE]    -> id of the trace's oldest unit
//	link AT FROM TO TYPE STRENGTH
//	advance AT
//	traces                                         all traces, with their kinds and links
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// runScript returns the script with the output its commands print now.
func runScript(t *testing.T, text string) string {
	var out, changes strings.Builder
	cfg := small()
	cfg.OnChange = func(c Change) {
		fmt.Fprintf(&changes, "%s %s %s\n", c.Kind, name(c.Trace), c.Trace.Score)
	}
	s := &scripted{t: t, tr: New(cfg), ids: map[TraceID]string{}}
	printing := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			printing = true
		case line == "":
			printing = false
			out.WriteString("\n")
		case strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		case !printing:
			out.WriteString(line + "\n----\n")
			reply := s.command(line)
			out.WriteString(changes.String() + reply)
			changes.Reset()
		}
	}
	return out.String()
}

// name is the name of the unit that a trace's id comes from.
func name(v Trace) string { return unitName(v.Flagged[0].ID) }

func unitName(u UnitID) string { return strings.TrimRight(string(u[:]), "\x00") }

type scripted struct {
	t   *testing.T
	tr  *Tracer
	ids map[TraceID]string
	n   int
}

func (s *scripted) at(arg string) int64 {
	d, err := time.ParseDuration(arg)
	if err != nil {
		s.t.Fatal(err)
	}
	return t0 + int64(d)
}

func (s *scripted) command(line string) string {
	arg := strings.Split(line, " ")
	if q := strings.Split(line, `"`); len(q) == 3 { // one quoted argument
		arg = append(append(strings.Fields(q[0]), q[1]), strings.Fields(q[2])...)
	}
	switch {
	case arg[0] == "unit" && len(arg) == 2:
		v, ok := s.tr.Trace(id(arg[1]))
		if !ok {
			return "none\n"
		}
		return s.show(v)
	case arg[0] == "flag" && len(arg) >= 6:
		return s.flag(arg[1:])
	case arg[0] == "link" && len(arg) == 6:
		return s.link(arg[1:])
	case arg[0] == "advance" && len(arg) == 2:
		s.tr.Advance(s.at(arg[1]))
		return ""
	case arg[0] == "traces" && len(arg) == 1:
		var b strings.Builder
		for _, v := range s.tr.Traces() {
			b.WriteString(s.show(v))
		}
		return b.String()
	}
	s.t.Fatalf("not a command: %q", line)
	return ""
}

func (s *scripted) flag(arg []string) string {
	s.n++
	f := Flag{Event: id(fmt.Sprint("event ", s.n)), Time: s.at(arg[0]), Unit: id(arg[1]), Rule: arg[2], Plane: event.PlaneK8s}
	if err := f.Severity.UnmarshalText([]byte(arg[3])); err != nil {
		s.t.Fatal(err)
	}
	if err := f.Tactic.UnmarshalText([]byte(arg[4])); err != nil {
		s.t.Fatal(err)
	}
	if len(arg) > 5 {
		f.Plane = map[string]event.Plane{"node": event.PlaneNode, "k8s": event.PlaneK8s, "cloud": event.PlaneCloud}[arg[5]]
	}
	s.tr.Flag(f)
	v, _ := s.tr.Trace(f.Unit)
	return fmt.Sprintf("%s %s\n", name(v), v.Score)
}

func (s *scripted) link(arg []string) string {
	l := graph.Link{From: id(arg[1]), To: id(arg[2]), Time: s.at(arg[0]), Label: arg[1] + " -> " + arg[2], Grade: graph.Exact}
	for typ := range graph.LinkTypeCount {
		if typ.String() == arg[3] {
			l.Type = typ
		}
	}
	var err error
	if l.Strength, err = strconv.ParseFloat(arg[4], 64); err != nil {
		s.t.Fatal(err)
	}
	s.tr.Link(l)
	return ""
}

func (s *scripted) show(v Trace) string {
	checkSum(s.t, v)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: score %s peak %s alert %v open %v chain %d units %d\n", name(v), v.Score, v.Peak, v.Alert, v.Open, v.Chain, v.Units)
	for _, k := range v.Kinds {
		fmt.Fprintf(&b, "  %5s %s %s (%s) x%d\n", k.Contribution, k.Severity, k.Rule, k.Tactic, k.Count)
	}
	for _, l := range v.Links {
		fmt.Fprintf(&b, "  %s: %s %s %.2f at %v\n", l.Label, l.Grade, l.Type, l.Strength, time.Duration(l.First-t0))
	}
	return b.String()
}
