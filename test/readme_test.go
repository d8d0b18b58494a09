package test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/rules"
)

// TestReadmeShowsRealOutput holds the two blocks of output in the README to
// what the commands above them print now. -rewrite writes them.
func TestReadmeShowsRealOutput(t *testing.T) {
	t.Chdir("..") // paths as a reader at the root of the repository sees them
	content := cli.Content{Rules: rules.FS, Catalogue: matrix.Load()}
	replayed := output(t, cli.NewReplayCommand(cli.ReplayDeps{Content: content, Now: time.Now}), "test/recordings/attack/leaked-kubeconfig")
	drawn := output(t, cli.NewMatrixCommand(cli.MatrixDeps{Matrix: matrix.Load, Rules: cli.PackRules(content)}))
	blocks := map[string]string{"replay": trimmed(replayed), "matrix": lastLine(drawn)}

	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(readme)
	for name, want := range blocks {
		before, rest, ok := strings.Cut(text, "<!-- output of "+name+" -->\n```\n")
		got, after, ended := strings.Cut(rest, "```\n")
		if !ok || !ended {
			t.Fatalf("README.md has no block behind <!-- output of %s -->", name)
		}
		if got != want && !*rewrite {
			t.Errorf("README.md shows for %s\n%s\nbut it prints\n%s\ngo test ./test -run Readme -rewrite writes it", name, got, want)
		}
		text = before + "<!-- output of " + name + " -->\n```\n" + want + "```\n" + after
	}
	if *rewrite {
		if err := os.WriteFile("README.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// output runs a command and returns what it prints. That alerts were found is
// no failure.
func output(t *testing.T, cmd *cobra.Command, args ...string) string {
	t.Helper()
	var out, problems bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&problems)
	cmd.SetArgs(append([]string{}, args...)) // nil would mean those of the test
	if err := cmd.Execute(); cli.ExitCode(err) == cli.ExitUsage {
		t.Fatalf("%s: %v\n%s", cmd.Name(), err, &problems)
	}
	return out.String()
}

// minor begins a flag of low severity in a trace's story.
var minor = regexp.MustCompile(`^  \d\d:\d\d:\d\d  \S+ +(low|info) `)

// trimmed returns the first trace of a table and the totals, with an ellipsis
// in the place of flags of low severity.
func trimmed(table string) string {
	first, rest, _ := strings.Cut(table, "\n\n")
	story, _, _ := strings.Cut(rest, "\n\n")
	out := first + "\n\n"
	skipping, elided := false, false
	for line := range strings.Lines(story + "\n") {
		if !strings.HasPrefix(line, "     ") { // not a line's continuation
			skipping = minor.MatchString(line)
		}
		if !skipping {
			out += line
			elided = false
		} else if !elided {
			out += "  …\n"
			elided = true
		}
	}
	last := table[strings.LastIndex(strings.TrimRight(table, "\n"), "\n\n")+2:]
	return out + "\n" + last
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:] + "\n"
}
