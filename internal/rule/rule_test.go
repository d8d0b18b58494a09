package rule_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/condition"
)

var rewrite = flag.Bool("rewrite", false, "write what was got to the golden files")

// catalogue is a fake of a few techniques.
type catalogue map[string]event.Tactic

func (c catalogue) Has(id string) bool { _, ok := c[id]; return ok }

func (c catalogue) FirstTactic(id string) (event.Tactic, bool) { t, ok := c[id]; return t, ok }

var techniques = catalogue{"MS-TA9006": event.Execution, "MS-TA9025": event.CredentialAccess, "T1609": event.Execution}

func testEnv(t *testing.T) *condition.Env {
	t.Helper()
	env, err := condition.New(map[string][]string{"shells": {"sh", "bash"}})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// golden compares got with testdata/<name>, or writes it with -rewrite.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestProblems reads every testdata/{parse,lint}/*.yaml and compares what is
// said about it with the .want file beside it.
func TestProblems(t *testing.T) {
	env := testEnv(t)
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files, %v", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r, problems := rule.Parse(name, text, env, techniques)
			if r != nil {
				problems = rule.LintRule(r, env)
			}
			got := problems.Error()
			if got != "" {
				got += "\n"
			}
			golden(t, strings.TrimPrefix(strings.TrimSuffix(file, ".yaml"), "testdata/")+".want", got)
		})
	}
}

const good = `id: good
title: Exec
severity: medium
technique: [T1609, MS-TA9025]
source: k8s-audit
status: incubating
description: why
when: k8s.resource == "pods" && k8s.verb in ["create", "get"] && exec.command.exists(c, c in list.shells)
once: 10m
flag: "{user.name} ran {exec.line}"
falsePositives: [people]
response: ask
tests:
  fires:
    - name: one
      events:
        - audit: &exec {verb: get, user: {username: alice}, responseStatus: {code: 101}}
        - at: 90s
          audit:
            <<: *exec
            verb: create
        - cloudtrail: {eventName: X, n: 1.5, b: true, l: [a, ~]}
    - {name: two, events: [{audit: *exec}]}
  silent:
    - {name: one, events: [{gcp: {}}]}
    - {name: two, events: [{azure: {}}]}
`

func TestParse(t *testing.T) {
	r, problems := rule.Parse("k8s/good.yaml", []byte(good), testEnv(t), techniques)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if lint := rule.LintRule(r, testEnv(t)); len(lint) > 0 {
		t.Error(lint)
	}
	type summary struct {
		ID       string
		Severity event.Severity
		Tactic   event.Tactic
		Source   event.Source
		Kind     event.Kind
		Status   rule.Status
		Once     time.Duration
		Ats      []time.Duration
		Records  []string
	}
	got := summary{ID: r.ID, Severity: r.Severity, Tactic: r.Tactic, Source: r.Source, Kind: r.Kind(), Status: r.Status, Once: r.Once}
	for _, e := range r.Tests.Fires[0].Events {
		got.Ats = append(got.Ats, e.At)
		got.Records = append(got.Records, string(e.Record))
	}
	want := summary{
		ID: "good", Severity: event.Medium, Tactic: event.CredentialAccess, Source: event.SourceK8sAudit, Kind: event.KindAPIRequest,
		Status: rule.Incubating, Once: 10 * time.Minute, Ats: []time.Duration{0, 90 * time.Second, 91 * time.Second},
		Records: []string{
			`{"verb":"get","user":{"username":"alice"},"responseStatus":{"code":101}}`,
			`{"verb":"create","user":{"username":"alice"},"responseStatus":{"code":101}}`,
			`{"eventName":"X","n":1.5,"b":true,"l":["a",null]}`,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rule (-want +got):\n%s", diff)
	}
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestLoad(t *testing.T) {
	list := "name: shells\ndescription: d\nsource: s\nvalues: [sh]\n"
	base := fstest.MapFS{
		"k8s/good.yaml": file(good), "lists/shells.yaml": file(list), "README.md": file("x"),
		"_drafts/x.yaml": file("["), ".hidden/x.yaml": file("["), "k8s/_x.yaml": file("["),
	}
	pack, err := rule.Load(techniques, base)
	if err != nil {
		t.Fatal(err)
	}
	if len(pack.Rules) != 1 || pack.Rule("good") == nil || pack.Rule("bad") != nil || len(pack.ListValues()["shells"]) != 1 {
		t.Errorf("pack %+v", pack)
	}
	over := fstest.MapFS{"good.yaml": file(strings.Replace(good, "medium", "high", 1))}
	pack, err = rule.Load(techniques, base, rule.Prefixed(over, "my/rules"))
	if err != nil {
		t.Fatal(err)
	}
	if r := pack.Rule("good"); r.Severity != event.High || r.File != "my/rules/good.yaml" {
		t.Errorf("got %v from %s, want the later layer's", r.Severity, r.File)
	}
}

func TestLoadReportsEveryFile(t *testing.T) {
	_, err := rule.Load(techniques, fstest.MapFS{
		"a/good.yaml": file(good), "b/good.yaml": file(good),
		"c/x.yaml":          file("id: x\n  y: [\n"),
		"lists/shells.yaml": file("name: other\nsource: s\nvalues: [a, a, 3]\n"),
	})
	var problems rule.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	golden(t, "load.want", problems.Error()+"\n")
}

func TestTemplate(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"plain", "nothing", "nothing"},
		{"fields", "{user.name}|{k8s.code}|{k8s.dryRun}|{exec.command}", `bob\x07|201|true|sh, -c`},
		{"braces", "{{user.name}} }}{{", "{user.name} }{"},
		{"long", "{k8s.uri}", strings.Repeat("é", 126) + "…"},
	}
	e := &event.Event{}
	e.Actor.Name, e.K8s.Code, e.K8s.DryRun, e.K8s.Command = "bob\a", 201, true, []string{"sh", "-c"}
	e.K8s.URI = strings.Repeat("é", 400)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tpl, issues := rule.ParseTemplate(tt.text, testEnv(t))
			if len(issues) > 0 {
				t.Fatal(issues)
			}
			if got := string(tpl.Append(nil, e)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzAppendClean(f *testing.F) {
	f.Add("a\x1b[0m", 10)
	f.Add("\xff\u202e…", 256)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 8 + max(limit, -limit)%rule.MaxValueBytes
		got := string(rule.AppendClean(nil, s, limit))
		if len(got) > limit {
			t.Errorf("%d bytes, limit %d", len(got), limit)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\u202e' }) {
			t.Errorf("%q shows a control character", got)
		}
	})
}
