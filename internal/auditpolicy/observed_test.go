package auditpolicy

import (
	"strings"
	"testing"
)

func TestFromObserved(t *testing.T) {
	p, err := FromObserved([]Observed{
		{Resource: "secrets", Level: "Metadata"},
		{Resource: "pods", Subresource: "exec", Read: true, Level: "Request"},
		{Group: `odd" group`, Resource: "x: y", Level: "Metadata"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.rules) != 3 {
		t.Errorf("%d rules of 2 observations that can be and the rest", len(p.rules))
	}
	if _, err := FromObserved([]Observed{{Resource: "secrets", Level: "Loud"}}); err == nil || !strings.Contains(err.Error(), "Loud") {
		t.Errorf("a level that is none: %v", err)
	}
}
