package archive_test

import (
	"archive/zip"
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/report/archive"
	"github.com/clew-sec/clew/internal/trace"
)

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// sample returns the archive of a trace with one flag.
func sample(t *testing.T) *archive.Archive {
	t.Helper()
	tr := trace.New(trace.Config{})
	id := tr.Flag(trace.Flag{
		Event: event.ID{1}, Time: 1e18, Unit: event.ID{2}, Rule: "k8s-x", Severity: event.Critical,
		Tactic: event.Impact, Techniques: []string{"MS-TA9038"}, Plane: event.PlaneK8s,
	})
	one, ok := tr.Extract(id)
	if !ok {
		t.Fatal("no trace")
	}
	var state bytes.Buffer
	if err := one.Snapshot(&state); err != nil {
		t.Fatal(err)
	}
	x := one.Traces()[0]
	return &archive.Archive{
		Manifest: archive.Manifest{Trace: x.ID, Cluster: "prod", Score: x.Score, Alert: x.Alert, Clew: "v1", Created: time.Unix(1e9, 0).UTC()},
		Trace: report.Trace{
			Type: "trace", ID: x.ID, Score: x.Score, Alert: x.Alert, Tactics: x.Tactics,
			Links: []report.Link{{From: "A", To: "B", Type: "token", Grade: graph.Exact}},
		},
		State: state.Bytes(), Records: [][]byte{[]byte(`{"a":1}`), []byte("{\"b\":\n2}")},
	}
}

func written(t *testing.T, a *archive.Archive) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := archive.Write(&b, a, key); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*archive.Archive, error) {
	return archive.Open(bytes.NewReader(b), int64(len(b)))
}

func TestRoundTrip(t *testing.T) {
	want := sample(t)
	b := written(t, want)
	if !archive.Is(b) || !bytes.Equal(b, written(t, want)) {
		t.Error("not recognised, or not the same twice")
	}
	got, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	want.Records[1] = []byte(`{"b": 2}`)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(archive.Manifest{}, "Format", "Files", "PublicKey", "Fingerprint"), cmpopts.IgnoreUnexported(report.TraceFlag{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Manifest.Fingerprint != archive.Fingerprint(key.Public().(ed25519.PublicKey)) {
		t.Error("another key's fingerprint")
	}
	x, err := got.Restore()
	if err != nil || x.Score != want.Manifest.Score || x.Score == 0 {
		t.Errorf("score %s, %v; want %s", x.Score, err, want.Manifest.Score)
	}
}

// repacked returns an archive with each file as change makes it; nil leaves it out.
func repacked(t *testing.T, b []byte, change func(name string, content []byte) []byte, more ...string) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, content []byte) {
		if content == nil {
			return
		}
		f, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range r.File {
		c, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		add(f.Name, change(f.Name, content))
	}
	for _, name := range more {
		add(name, []byte("x"))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestEveryChangeIsSeen changes each file in turn, leaves it out, and adds one.
func TestEveryChangeIsSeen(t *testing.T) {
	b := written(t, sample(t))
	same := func(_ string, c []byte) []byte { return c }
	if _, err := open(repacked(t, b, same)); err != nil {
		t.Fatalf("packed again as it was: %v", err)
	}
	for _, name := range []string{"manifest.json", "signature.ed25519", "trace.json", "trace.state", "records.jsonl"} {
		changed := repacked(t, b, func(n string, c []byte) []byte {
			if n == name {
				c[len(c)-2] ^= 1
			}
			return c
		})
		if _, err := open(changed); err == nil || name != "manifest.json" && !errors.Is(err, archive.ErrForged) {
			t.Errorf("%s changed: %v", name, err)
		}
		missing := repacked(t, b, func(n string, c []byte) []byte {
			if n == name {
				return nil
			}
			return c
		})
		if _, err := open(missing); err == nil {
			t.Errorf("%s left out: no error", name)
		}
	}
	if _, err := open(repacked(t, b, same, "../../etc/passwd")); !errors.Is(err, archive.ErrForged) {
		t.Errorf("a file too many: %v", err)
	}
	if _, err := open(b[:len(b)/2]); err == nil {
		t.Error("half of it: no error")
	}
}
