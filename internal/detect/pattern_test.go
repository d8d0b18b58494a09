package detect

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPatternNeeds(t *testing.T) {
	for _, c := range []struct {
		expr string
		want []string
	}{
		{`abc`, []string{"abc"}},
		{`(?i)abc`, nil},
		{`(^|-c )tar c\w*f - `, []string{"tar c"}},
		{`:(10250|10255)\b|\bkubeletctl\b`, []string{"1025", "kubeletctl"}},
		{`\b(curl|wget)\b.*\| *sh`, []string{"sh"}},
		{`(foo)?bar*`, []string{"ba"}},
		{`(foo|b)`, nil},
		{`[a-z]+`, nil},
		{`(ab)+`, []string{"ab"}},
		{``, nil},
	} {
		p, err := newPattern(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, p.needs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.expr, diff)
		}
	}
}

// FuzzPattern: a pattern matches what its regular expression matches.
func FuzzPattern(f *testing.F) {
	for _, expr := range []string{`(^|-c )tar c\w*f - `, `:(10250|10255)\b|\bkubeletctl\b`, `a{2,}bc|d+ef`, `(?i)curl|Wget`, `(?s).b(cd|ce)*`, "\xc3\xa9t\xc3\xa9", "a\xef\xbf\xbd"} {
		for _, s := range []string{"sh -c tar cf - /etc", "curl https://10.0.0.1:10250/pods", "aabc", "WGET", "xbcd", "\xc3\xa9t\xc3\xa9", "a\xff"} {
			f.Add(expr, s)
		}
	}
	f.Fuzz(func(t *testing.T, expr, s string) {
		want, err := regexp.Compile(expr)
		p, bad := newPattern(expr)
		if (err == nil) != (bad == nil) {
			t.Fatalf("%q: %v, want %v", expr, bad, err)
		}
		if err == nil && p.match(s) != want.MatchString(s) {
			t.Errorf("%q on %q: %v, needs %q", expr, s, p.match(s), p.needs)
		}
	})
}
