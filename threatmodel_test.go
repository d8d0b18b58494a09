package clew_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatModelNamesTests holds that each claim of docs/threat-model.md names
// tests, and that these exist.
func TestThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, claims, _ := strings.Cut(string(text), "\n## Claims\n")
	claims, _, found := strings.Cut(claims, "\n## Not claimed\n")
	list := regexp.MustCompile(`(?m)^\* `).Split(claims, -1)
	if !found || len(list) < 20 {
		t.Fatalf("%d claims: the page has another form", len(list)-1)
	}
	named := regexp.MustCompile("`(internal/[a-z0-9/]+): ((?:Test|Fuzz)[A-Za-z0-9]+)`")
	for _, claim := range list[1:] {
		tests := named.FindAllStringSubmatch(claim, -1)
		if len(tests) == 0 {
			t.Errorf("this claim names no test: %s", claim)
		}
		for _, m := range tests {
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("%s has no %s", m[1], m[2])
			}
		}
	}
}

// hasTest reports whether a test file in dir declares name.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
