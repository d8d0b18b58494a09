package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/trace"
)

const head = "apiVersion: clew/v1\nkind: Suppressions\nsuppressions:\n"

func TestReadSuppressions(t *testing.T) {
	entry := func(more string) string {
		return head + "  - fingerprint: 000102030405060708090a0b0c0d0e0f\n    allowedKinds: [k8s-exec-into-pod]\n    reason: drill\n    owner: red team\n" + more
	}
	want := trace.Suppression{
		Fingerprint:  event.ID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		AllowedKinds: []string{"k8s-exec-into-pod"}, Reason: "drill", Owner: "red team",
	}
	until := want
	until.Expires = time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name, text string
		want       []trace.Suppression
		wantErr    string // part of the error
	}{
		{"for ever", entry(""), []trace.Suppression{want}, ""},
		{"until a date", entry("    expires: 2027-01-02\n"), []trace.Suppression{until}, ""},
		{"until a time", entry("    expires: 2027-01-02T00:00:00Z\n"), []trace.Suppression{until}, ""},
		{"no date", entry("    expires: tomorrow\n"), nil, `suppression 1 expires "tomorrow", which is neither a date`},
		{"unknown key", entry("    until: 2027-01-02\n"), nil, "until"},
		{"nothing but a shape", head + "  - fingerprint: 000102030405060708090a0b0c0d0e0f\n", nil, "suppression 1 has no allowedKinds"},
		{"no shape", head + "  - reason: a\n    owner: b\n    allowedKinds: [c]\n", nil, "suppression 1 has no fingerprint"},
		{"broken shape", head + "  - fingerprint: abc\n", nil, "32 hex digits"},
		{"another kind", "apiVersion: v1\nkind: List\n", nil, "want apiVersion clew/v1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "suppressions.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readSuppressions(path)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one about %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("suppressions (-want +got):\n%s", diff)
			}
		})
	}
}
