package matrix_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func sample() []matrix.Rule {
	return []matrix.Rule{
		{ID: "k8s-exec-into-pod", Severity: event.Low, Techniques: []string{"MS-TA9006", "T1609"}},
		{ID: "k8s-exec-shell-unusual", Severity: event.High, Techniques: []string{"MS-TA9006", "MS-TA9007"}},
		{ID: "k8s-token-from-elsewhere", Severity: event.High, Techniques: []string{"MS-TA9016", "T1528", "T1550.001"}},
		{ID: "aws-trail-stopped", Severity: event.Medium, Techniques: []string{"T1562.008", "T1562"}},
		{ID: "aws-eks-admin-policy", Severity: event.Medium, Techniques: []string{"MS-TA9019", "MS-TA9001"}},
		{ID: "wrong-id", Severity: event.Low, Techniques: []string{"MS-TA9999"}},
	}
}

func TestRender(t *testing.T) {
	report := matrix.Load().Cover(sample())
	tests := []struct {
		golden string
		write  func(io.Writer) error
	}{
		{"grid.txt", func(w io.Writer) error { return report.WriteText(w, 160) }},
		{"list.txt", func(w io.Writer) error { return report.WriteText(w, 100) }},
		{"matrix.json", report.WriteJSON},
		{"matrix.md", report.WriteMarkdown},
		{"layer.json", report.WriteNavigator},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			var got bytes.Buffer
			if err := tt.write(&got); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", tt.golden)
			if *rewrite {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextFitsTheWidth(t *testing.T) {
	report := matrix.Load().Cover(sample())
	for _, width := range []int{139, 140, 200, 1000} {
		var b bytes.Buffer
		if err := report.WriteText(&b, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("width %d: line of %d characters: %q", width, n, line)
			}
		}
	}
}

func TestReportReasons(t *testing.T) {
	report := matrix.Load().Cover(sample())
	tests := []struct {
		id, reason string
		state      matrix.State
	}{
		{"MS-TA9006", "", matrix.Claimed},
		{"MS-TA9025", "no rule yet", matrix.Unruled},
		{"MS-TA9034", "no rule yet; the logs only support, primary source: agent", matrix.Unruled},
		{"MS-TA9021", "not in any audit log; primary source: agent", matrix.Unseen},
		{"T1485", "no rule yet", matrix.Unruled},
	}
	for _, tt := range tests {
		got, ok := report.Technique(tt.id)
		if !ok || got.State != tt.state || got.Reason != tt.reason {
			t.Errorf("%s: got %v %q %q, want %q %q", tt.id, ok, got.State, got.Reason, tt.state, tt.reason)
		}
	}
	if _, ok := report.Technique("MS-TA9999"); ok {
		t.Error("an id outside the catalogue has a report")
	}
}

// TestNavigatorLayer checks the layer against the fields and values that layer
// format 4.5 documents.
func TestNavigatorLayer(t *testing.T) {
	m := matrix.Load()
	var b bytes.Buffer
	if err := m.Cover(sample()).WriteNavigator(&b); err != nil {
		t.Fatal(err)
	}
	var layer struct {
		Name     string
		Versions struct{ Attack, Navigator, Layer string }
		Domain   string
		Desc     string `json:"description"`
		Filters  struct{ Platforms []string }
		Sorting  int
		Layout   struct {
			Layout           string
			ShowID, ShowName bool
		}
		HideDisabled bool
		Techniques   []struct {
			TechniqueID, Tactic, Comment string
			Score                        int
			Enabled, ShowSubtechniques   bool
		}
		Gradient struct {
			Colors             []string
			MinValue, MaxValue int
		}
		LegendItems []struct{ Label, Color string }
	}
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	if err := d.Decode(&layer); err != nil {
		t.Fatal(err)
	}
	if layer.Name == "" || layer.Versions.Layer != "4.5" || layer.Domain != "enterprise-attack" || layer.Layout.Layout != "side" {
		t.Errorf("head of the layer: %+v", layer)
	}
	if layer.Gradient.MinValue >= layer.Gradient.MaxValue || len(layer.Gradient.Colors) < 2 {
		t.Errorf("gradient %+v", layer.Gradient)
	}
	seen := map[string]bool{}
	for _, e := range layer.Techniques {
		tech, ok := m.Technique(e.TechniqueID)
		if !ok || tech.Microsoft() || e.Score < 1 || e.Comment == "" || !e.Enabled {
			t.Errorf("entry %+v", e)
		}
		key := e.TechniqueID + " " + e.Tactic
		if seen[key] {
			t.Errorf("%s twice", key)
		}
		seen[key] = true
	}
	for _, want := range []string{"T1609 execution", "T1059 execution", "T1562.008 defense-evasion", "T1550.001 lateral-movement", "T1078.004 initial-access"} {
		if !seen[want] {
			t.Errorf("the layer lacks %s", want)
		}
	}
}
