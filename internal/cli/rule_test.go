package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/rules"
)

// loudEngine matches every rule on every event: firing tests pass, silent ones
// fail.
type loudEngine struct{ ids []string }

func (e loudEngine) Replay(records []ruletest.Record) ([][]string, error) {
	out := make([][]string, len(records))
	for i := range out {
		out[i] = e.ids
	}
	return out, nil
}

func newLoudEngine(p *rule.Pack) (ruletest.Engine, error) {
	var e loudEngine
	for _, r := range p.Rules {
		e.ids = append(e.ids, r.ID)
	}
	return e, nil
}

// run executes `rule` with arguments and returns its exit code and output.
func run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := cli.NewRuleCommand(cli.RuleDeps{Rules: rules.FS, Engine: newLoudEngine})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err != nil {
		out.WriteString(err.Error())
	}
	return cli.ExitCode(err), out.String()
}

const minimal = `id: mine
title: Mine
severity: high
technique: [MS-TA9006]
source: k8s-audit
description: d
when: k8s.verb == "get" && user.groups.filter(g, g == "x").size() > 0
flag: "{user.name}"
falsePositives: [f]
response: r
tests:
  fires: [{name: a, events: [{audit: {user: {username: a}}}]}, {name: b, events: [{audit: {user: {username: a}}}]}]
  silent: [{name: a, events: [{audit: {user: {username: a}}}]}, {name: b, events: [{audit: {user: {username: a}}}]}]
`

func packDir(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRuleCommand(t *testing.T) {
	good := packDir(t, minimal)
	bad := packDir(t, strings.Replace(minimal, "k8s.verb", "k8s.verbs", 1))
	tests := []struct {
		name string
		args []string
		code int
		want []string // each must be in the output
	}{
		{"help", []string{}, 0, []string{"lint", "explain"}},
		{"lint", []string{"lint", "--rules", good}, 0, []string{"1 rules, 0 lists: 0 errors, 0 warnings"}},
		{"lint-bad", []string{"lint", "--rules", bad}, 1, []string{"mine.yaml:7:7: when: unknown field \"k8s.verbs\"; did you mean \"k8s.verb\"?\n  when: k8s.verbs", "\n        ^\n", "1 errors"}},
		{"lint-file", []string{"lint", filepath.Join(bad, "mine.yaml")}, 1, []string{"unknown field"}},
		{"lint-json", []string{"lint", "-o", "json", "--rules", bad}, 1, []string{`"line": 7`, `"severity": "error"`}},
		{"lint-missing", []string{"lint", "--rules", filepath.Join(good, "none")}, 2, []string{"opening rules"}},
		{"lint-missing-file", []string{"lint", "none.yaml"}, 2, []string{"reading rule"}},
		{"lint-output", []string{"lint", "-o", "xml"}, 2, []string{"xml"}},
		{"list", []string{"list", "--rules", good}, 0, []string{"mine", "high", "k8s-audit", "MS-TA9006"}},
		{"list-json", []string{"list", "--rules", good, "-o", "json"}, 0, []string{`"id": "mine"`}},
		{"list-bad", []string{"list", "--rules", bad}, 2, []string{"unknown field"}},
		{"show", []string{"show", "mine", "--rules", good}, 0, []string{"falsePositives: [f]"}},
		{"show-yaml", []string{"show", "mine", "--rules", good, "-o", "yaml"}, 0, []string{"severity: high"}},
		{"show-unknown", []string{"show", "yours", "--rules", good}, 2, []string{`no rule "yours"`}},
		{"explain", []string{"explain", "mine", "--rules", good}, 0, []string{"closures, then cel-go", `k8s.verb in ["get"]  (index)`, "mine.yaml:7:"}},
		{"explain-file", []string{"explain", filepath.Join(good, "mine.yaml")}, 0, []string{"user.groups"}},
		{"explain-json", []string{"explain", "mine", "--rules", good, "-o", "json"}, 0, []string{`"runs": "closures, then cel-go"`}},
		{"test", []string{"test", "--rules", good}, 1, []string{`mine.yaml:13:12: mine: test "a": event 1 of 1 raised the rule`, "4 tests of 1 rules: 2 failed"}},
		{"test-json", []string{"test", "mine", "--rules", good, "-o", "json"}, 1, []string{`"tests": 4`, `"line": 13`}},
		{"test-file", []string{"test", filepath.Join(good, "mine.yaml")}, 1, []string{"4 tests of 1 rules: 2 failed"}},
		{"test-bad", []string{"test", "--rules", bad}, 2, []string{"unknown field"}},
		{"fields", []string{"fields"}, 0, []string{"`k8s.verb`", "secrets-read"}},
		{"add", []string{"list", "--add-rules", good}, 0, []string{"mine"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out := run(t, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, w := range tt.want {
				if !strings.Contains(out, w) {
					t.Errorf("output has no %q:\n%s", w, out)
				}
			}
		})
	}
}

// TestBuiltinRulesLint holds that what ships passes its own lint.
func TestBuiltinRulesLint(t *testing.T) {
	if code, out := run(t, "lint"); code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestListJSONIsJSON(t *testing.T) {
	_, out := run(t, "list", "-o", "json")
	var v []map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil || len(v) == 0 {
		t.Errorf("%d rules, %v", len(v), err)
	}
}
