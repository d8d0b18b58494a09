package fielddoc_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/fielddoc"
)

func TestPageIsUpToDate(t *testing.T) {
	got, err := os.ReadFile("../../../docs/fields.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fielddoc.Page(), string(got)); diff != "" {
		t.Errorf("docs/fields.md is stale, run go generate ./internal/rule/fielddoc (-want +got):\n%s", diff)
	}
}

func TestEveryFieldHasADoc(t *testing.T) {
	page := fielddoc.Page()
	for _, f := range event.Fields() {
		if f.Doc == "" || !strings.Contains(page, "| `"+f.Name+"` |") {
			t.Errorf("field %s is not documented", f.Name)
		}
	}
}
