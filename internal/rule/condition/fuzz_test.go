package condition_test

import (
	"testing"

	"github.com/clew-sec/clew/internal/rule/condition"
)

// FuzzCheck holds that any text is either checked or has an issue that lies
// within it.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		`k8s.verb == "create"`, `k8s.verbs == 1`, `list.x.exists(s, s == "é")`, `inCIDR(source.ip, ["10.0.0.0/8"])`,
		`k8s.name.matches("[")`, "\"é\" ==\n\nfoo.bar", `((((((`, `has(k8s.verb)`, `[1,2].map(x, x+1) == [2,3]`, "\x00", `k8s`, `list.y`,
	} {
		f.Add(s)
	}
	env, err := condition.New(map[string][]string{"x": {"a"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, issues := env.Check(src)
		if (c == nil) == (len(issues) == 0) {
			t.Fatalf("checked %v and %d issues: exactly one is wanted", c != nil, len(issues))
		}
		for _, is := range issues {
			if is.Offset < 0 || is.Message == "" {
				t.Errorf("issue %+v", is)
			}
		}
		if c != nil {
			env.Requirements(c)
		}
	})
}
