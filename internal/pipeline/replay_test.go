package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/rule"
)

// names notes the objects of flagged events in order.
type names struct{ got []string }

func (n *names) Flag(f engine.Flag) uint64 {
	n.got = append(n.got, strings.Clone(f.Event.K8s.Name))
	return 0
}

func everything(t *testing.T) *detect.Set {
	t.Helper()
	set, err := detect.Compile([]rule.Rule{{ID: "all", Severity: event.Low, Source: event.SourceK8sAudit, When: "true", Techniques: []string{"T1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var start = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

// logFile writes a log with one record a second given; the object's name is the
// second.
func logFile(t *testing.T, seconds ...int) string {
	t.Helper()
	var b strings.Builder
	for _, s := range seconds {
		at := start.Add(time.Duration(s) * time.Second).Format(time.RFC3339)
		fmt.Fprintf(&b, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a%d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods/%d","verb":"get","user":{"username":"u"},"sourceIPs":["10.0.0.1"],"objectRef":{"resource":"pods","namespace":"a","name":"%d","apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`+"\n", s, s, s, at, at)
	}
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func upTo(from, to int) []int {
	var out []int
	for ; from < to; from++ {
		out = append(out, from)
	}
	return out
}

func backwards(s []int) []int {
	out := make([]int, len(s))
	for i, v := range s {
		out[len(s)-1-i] = v
	}
	return out
}

func run(t *testing.T, cfg pipeline.Config, inputs ...string) (string, pipeline.Totals) {
	t.Helper()
	sink := &names{}
	_, totals, err := pipeline.NewReplay(cfg, everything(t), sink).Run(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(sink.got, " "), totals
}

func inOrder(from, to int) string {
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(upTo(from, to)), "["), "]")
}

// TestMerge gives files in any order and finds their events in order of time,
// with an order buffer of four events: the merge does it, not the buffer.
func TestMerge(t *testing.T) {
	small := pipeline.Config{Engine: engine.Config{Window: time.Hour, MaxHeld: 4}}
	odd, even := []int{}, []int{}
	for i := range 200 {
		if i%2 == 0 {
			even = append(even, i)
		} else {
			odd = append(odd, i)
		}
	}
	tests := []struct {
		name   string
		inputs []string
	}{
		{"one after the other", []string{logFile(t, upTo(0, 100)...), logFile(t, upTo(100, 200)...)}},
		{"named the other way round", []string{logFile(t, upTo(100, 200)...), logFile(t, upTo(0, 100)...)}},
		{"interleaved", []string{logFile(t, odd...), logFile(t, even...)}},
		{"one inside the other", []string{logFile(t, upTo(50, 150)...), logFile(t, append(upTo(0, 50), upTo(150, 200)...)...)}},
		{"an empty one among them", []string{logFile(t), logFile(t, upTo(0, 200)...)}},
		{"many short ones", func() []string {
			var out []string
			for i := 195; i >= 0; i -= 5 {
				out = append(out, logFile(t, upTo(i, i+5)...))
			}
			return out
		}()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, totals := run(t, small, tt.inputs...)
			if diff := cmp.Diff(inOrder(0, 200), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if totals.Engine.Late != 0 || totals.Files != len(tt.inputs) || totals.Events != 200 {
				t.Errorf("%+v", totals)
			}
		})
	}
}

// TestNewestFirst reads files that begin with their newest record, as some
// exports do; the order buffer puts them right.
func TestNewestFirst(t *testing.T) {
	got, totals := run(t, pipeline.Config{Engine: engine.Config{Window: 24 * time.Hour}},
		logFile(t, backwards(upTo(100, 200))...), logFile(t, backwards(upTo(0, 120))...))
	if diff := cmp.Diff(inOrder(0, 200), got); diff != "" || totals.Engine.Duplicates != 20 {
		t.Errorf("%d duplicates, (-want +got):\n%s", totals.Engine.Duplicates, diff)
	}
}

func TestUntil(t *testing.T) {
	cfg := pipeline.Config{Until: start.Add(5 * time.Second).UnixNano()}
	got, totals := run(t, cfg, logFile(t, upTo(0, 10)...))
	if got != inOrder(0, 6) || totals.Outside != 4 {
		t.Errorf("%s, %d outside", got, totals.Outside)
	}
}

// TestBadFiles: what cannot be read is told and counted, the rest is read.
func TestBadFiles(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("\x1f\x8bnot gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(t.TempDir(), "gone")
	if err := os.WriteFile(dangling, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var told []string
	cfg := pipeline.Config{Bad: func(err error) { told = append(told, err.Error()) }}
	got, totals := run(t, cfg, garbage, logFile(t, 0, 1), dangling)
	if got != "0 1" || totals.BadFiles != 1 || len(told) != 1 || !strings.Contains(told[0], "garbage") {
		t.Errorf("flags %s, %d bad files, told %q", got, totals.BadFiles, told)
	}
	if _, _, err := pipeline.NewReplay(cfg, everything(t), &names{}).Run(context.Background(), []string{"not there"}); err == nil || !strings.Contains(err.Error(), "not there") {
		t.Errorf("a path that is not there: %v", err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := pipeline.NewReplay(pipeline.Config{}, everything(t), &names{}).Run(ctx, []string{logFile(t, upTo(0, 5000)...)}); err == nil {
		t.Error("a replay whose context ended gave a result")
	}
}
