package rule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// FuzzParse holds that any file is either a rule or has problems, each of them
// on a line of the file, and that the records of tests are JSON.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "../../rules/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files[:min(len(files), 30)] {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	for _, s := range []string{"", "a", "a: [", "? a", "&a [*a]", "a: &b {c: *b}", "- - - a", "when: >+\n\n  x\n  y", "when: \"a\\u00e9\\\n  b\"", "<<: *x", "--- a\n--- b"} {
		f.Add([]byte(s))
	}
	env, err := condition.New(map[string][]string{"shells": {"sh"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, problems := rule.Parse("dir/x.yaml", text, env, nil)
		if (r == nil) == (len(problems) == 0) {
			t.Fatalf("rule %v and %d problems: exactly one is wanted", r != nil, len(problems))
		}
		for _, p := range problems {
			if p.Line < 0 || p.Column < 0 || p.Message == "" || p.Error() == "" {
				t.Errorf("problem %+v", p)
			}
		}
		if r != nil {
			checkRecords(t, r)
			rule.LintRule(r, env)
		}
		if l, problems := rule.ParseList("x.yaml", text); (l == nil) == (len(problems) == 0) {
			t.Fatalf("list %v and %d problems: exactly one is wanted", l != nil, len(problems))
		}
	})
}

func checkRecords(t *testing.T, r *rule.Rule) {
	t.Helper()
	for _, tests := range [][]rule.Test{r.Tests.Fires, r.Tests.Silent} {
		for _, test := range tests {
			for _, e := range test.Events {
				if !json.Valid(e.Record) {
					t.Errorf("record of test %q is not JSON: %s", test.Name, e.Record)
				}
			}
		}
	}
}
