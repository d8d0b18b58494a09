package test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/source/file"
	"github.com/clew-sec/clew/internal/source/redact"
)

// Redaction takes nothing away that detection needs: every recording gives the
// same flags and traces redacted as it does whole.
func TestRedactedRecordings(t *testing.T) {
	set := compiled(t)
	redactor, err := redact.New([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, dir := range logFolders(t) {
		t.Run(dir, func(t *testing.T) {
			logs, err := file.Expand([]string{filepath.Join("recordings", dir)})
			if err != nil {
				t.Fatal(err)
			}
			whole, redacted := t.TempDir(), t.TempDir()
			for _, log := range logs {
				if !strings.Contains(log, ".json") {
					continue
				}
				rel := strings.ReplaceAll(filepath.ToSlash(log), "/", "_") + "l"
				changed += copyRecords(t, log, filepath.Join(whole, rel), func(b []byte) []byte { return b })
				changed += copyRecords(t, log, filepath.Join(redacted, rel), redactor.Record)
			}
			want, got := replay(t, set, whole), replay(t, set, redacted)
			if want.totals.Events == 0 {
				t.Fatal("nothing was replayed")
			}
			got.table = strings.ReplaceAll(got.table, redacted, whole)
			if diff := cmp.Diff(want.table, got.table); diff != "" {
				t.Errorf("traces differ, whole against redacted:\n%s", diff)
			}
			want.totals.Bytes, got.totals.Bytes = 0, 0 // differ by what was redacted
			if diff := cmp.Diff(want.totals, got.totals); diff != "" {
				t.Errorf("totals differ, whole against redacted:\n%s", diff)
			}
		})
	}
	if changed == 0 {
		t.Error("no record holds anything to redact: the test shows nothing")
	}
	t.Logf("%d records were redacted", changed)
}

// logFolders returns the folders of recordings that hold logs, below recordings.
func logFolders(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*/*/*.jsonl*", "*/*.jsonl*", "*/*/*/*.jsonl*", "*/*/*/*.json*", "*/*/*.json*"} {
		logs, err := filepath.Glob(filepath.Join("recordings", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, log := range logs {
			dir, _ := filepath.Rel("recordings", filepath.Dir(log))
			if len(out) == 0 || out[len(out)-1] != dir {
				out = append(out, dir)
			}
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d folders of recordings", len(out))
	}
	return out
}

// copyRecords writes the records of a log, changed by change, one a line, and
// returns how many changed.
func copyRecords(t *testing.T, from, to string, change func([]byte) []byte) (changed int) {
	t.Helper()
	r, err := file.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	for {
		rec, err := r.Next()
		if _, bad := errors.AsType[*file.RecordError](err); bad {
			continue
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return 0 // a golden result, no log
			}
			break
		}
		raw := change(rec.Raw)
		if !bytes.Equal(raw, rec.Raw) {
			changed++
		}
		out.Write(raw)
		out.WriteByte('\n')
	}
	if err := os.WriteFile(to, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}
