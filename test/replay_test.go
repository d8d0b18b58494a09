// Package test replays every recording of the repository through the whole
// of clew and compares what comes out with golden results.
package test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/trace"
	"github.com/clew-sec/clew/rules"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files from what the code does now")

// shipped compiles the shipped rules once; that takes a second.
var shipped = sync.OnceValues(func() (*detect.Set, error) {
	pack, err := rule.Load(matrix.Load(), rules.FS)
	if err != nil {
		return nil, err
	}
	return detect.Compile(pack.Rules, pack.ListValues())
})

// compiled returns the shipped rules. Tests that share them do not run in
// parallel.
func compiled(t testing.TB) *detect.Set {
	t.Helper()
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// outcome is what a replay gave.
type outcome struct {
	traces []trace.Trace
	totals pipeline.Totals
	table  string
	bad    []string
	// medium counts events with a flag of medium severity or above.
	medium map[event.ID]bool
}

// tally counts what passes on its way to the collector.
type tally struct {
	*report.Collector
	rules  *detect.Set
	medium map[event.ID]bool
}

func (t *tally) Flag(f engine.Flag) uint64 {
	if t.rules.Rule(f.Rule).Severity >= event.Medium {
		t.medium[f.Event.ID] = true
	}
	return t.Collector.Flag(f)
}

func replay(t testing.TB, set *detect.Set, inputs ...string) outcome {
	t.Helper()
	out := outcome{medium: map[event.ID]bool{}}
	c := report.NewCollector(set)
	defer c.Close()
	cfg := pipeline.Config{Bad: func(err error) { out.bad = append(out.bad, err.Error()) }}
	eng, totals, err := pipeline.NewReplay(cfg, set, &tally{c, set, out.medium}).Run(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	out.traces, out.totals = eng.Traces(), totals
	described, err := c.Describe(out.traces, eng)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	sum := report.Totals{Files: totals.Files, Records: totals.Records, Flags: totals.Engine.Flags, Traces: len(out.traces), Alerts: out.alerts()}
	if err := (report.Table{}).Write(&b, described, sum); err != nil {
		t.Fatal(err)
	}
	out.table = b.String() + "\n" + hits(set, totals)
	return out
}

func (o *outcome) alerts() int {
	n := 0
	for i := range o.traces {
		if o.traces[i].Alert {
			n++
		}
	}
	return n
}

// hits lists the flags by rule.
func hits(set *detect.Set, totals pipeline.Totals) string {
	var lines []string
	for i, n := range totals.Engine.RuleHits {
		if r := set.Rule(int32(i)); n > 0 {
			lines = append(lines, fmt.Sprintf("%6d %-8s %s", n, r.Severity, r.ID))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

// recording is a log with the results it must give.
type recording struct {
	name   string
	attack bool
	inputs []string
	want   string // golden file
}

// recordings returns every recording of the repository.
func recordings(t testing.TB) []recording {
	t.Helper()
	var out []recording
	for _, pattern := range []string{"attack/*", "benign/*", "cloud/*/attack", "cloud/*/benign", "real/benign/*.gz"} {
		paths, err := filepath.Glob(filepath.Join("recordings", pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no recordings %s: %v", pattern, err)
		}
		for _, path := range paths {
			r := recording{name: strings.TrimPrefix(path, "recordings/"), attack: strings.Contains(path, "attack")}
			if base, ok := strings.CutSuffix(path, ".jsonl.gz"); ok {
				r.inputs, r.want = []string{path}, base+".want.txt"
			} else {
				r.inputs, r.want = logs(t, path), filepath.Join(path, "want.txt")
			}
			out = append(out, r)
		}
	}
	return out
}

func TestRecordings(t *testing.T) {
	set := compiled(t)
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			out := replay(t, set, r.inputs...)
			if len(out.bad) > 0 {
				t.Errorf("unreadable: %s", out.bad)
			}
			if r.attack && out.alerts() == 0 {
				t.Errorf("the attack raised no alert")
			}
			if !r.attack {
				checkQuiet(t, &out)
			}
			golden(t, r.want, out.table)
		})
	}
}

// checkQuiet holds benign recordings to the project's bars: no alert, fewer
// than 1 % of the events flagged at medium or above.
func checkQuiet(t *testing.T, out *outcome) {
	t.Helper()
	if n := out.alerts(); n > 0 {
		t.Errorf("%d alerts on benign activity", n)
	}
	if n := len(out.medium); n > 1 && 100*n >= int(out.totals.Engine.Events) {
		t.Errorf("%d of %d events flagged at medium or above, want fewer than 1 %%", n, out.totals.Engine.Events)
	}
}

// logs returns the log files of a recording: all but its texts.
func logs(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".md", ".txt":
		default:
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -rewrite and review it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
