package cli_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/report/archive"
	"github.com/clew-sec/clew/internal/trace"
)

// archived writes the archive of a trace with one flag of a severity.
func archived(t *testing.T, severity event.Severity, key ed25519.PrivateKey) string {
	t.Helper()
	tr := trace.New(trace.Config{})
	id := tr.Flag(trace.Flag{
		Event: event.ID{1}, Time: 1e18, Unit: event.ID{2}, Rule: "k8s-x", Severity: severity,
		Tactic: event.Impact, Techniques: []string{"MS-TA9038"}, Plane: event.PlaneK8s,
	})
	one, _ := tr.Extract(id)
	var state bytes.Buffer
	if err := one.Snapshot(&state); err != nil {
		t.Fatal(err)
	}
	x := one.Traces()[0]
	a := &archive.Archive{
		Manifest: archive.Manifest{Trace: x.ID, Cluster: "prod", Score: x.Score, Alert: x.Alert},
		Trace: report.Trace{
			Type: "trace", ID: x.ID, Score: x.Score, Alert: x.Alert, Tactics: x.Tactics, Planes: []string{"k8s"}, Techniques: []string{"MS-TA9038"},
			First: "2001-09-09T01:46:40Z", Last: "2001-09-09T01:46:40Z", Units: []report.Unit{{Name: "A", User: "anna"}},
			Flags: []report.TraceFlag{{Rule: "k8s-x", Severity: severity, Contribution: x.Score, Unit: "A", Message: "anna wiped it", First: "2001-09-09T01:46:40Z"}},
		},
		State: state.Bytes(),
	}
	path := filepath.Join(t.TempDir(), "trace.zip")
	var b bytes.Buffer
	if err := archive.Write(&b, a, key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplayArchive(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	print := archive.Fingerprint(key.Public().(ed25519.PublicKey))
	alert, quiet := archived(t, event.Critical, key), archived(t, event.Low, key)
	got := replay(t, alert)
	if got.code != 1 || !strings.Contains(got.stdout, "ALERT") || !strings.Contains(got.stdout, "anna wiped it") {
		t.Errorf("code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if !strings.Contains(got.stderr, print) {
		t.Errorf("no note about a key nobody knows: %q", got.stderr)
	}
	if got := replay(t, quiet, "--trusted-key", print); got.code != 0 || got.stderr != "" {
		t.Errorf("code %d, %q", got.code, got.stderr)
	}
	got = replay(t, alert, "-o", "json")
	var result report.Result
	if err := json.Unmarshal([]byte(got.stdout), &result); err != nil || len(result.Traces) != 1 || result.Totals.Alerts != 1 {
		t.Errorf("%v: %s", err, got.stdout)
	}
	if got := replay(t, alert, file(t, record(0, "a", "b"))); got.code != 2 || !strings.Contains(got.stderr, "cannot be replayed together") {
		t.Errorf("with a log: code %d, %q", got.code, got.stderr)
	}
	b, err := os.ReadFile(alert)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("signature.ed25519"))+40] ^= 1
	if err := os.WriteFile(alert, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := replay(t, alert); got.code != 2 || got.stdout != "" {
		t.Errorf("changed: code %d, %q %q", got.code, got.stdout, got.stderr)
	}
}
