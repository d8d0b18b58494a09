package k8saudit

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

const recordings = "../../../test/recordings/real/"

// readRecords returns the lines of the recordings that match a pattern.
func readRecords(tb testing.TB, pattern string) [][]byte {
	tb.Helper()
	files, err := filepath.Glob(recordings + pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings match %q: %v", pattern, err)
	}
	var out [][]byte
	for _, name := range files {
		out = append(out, readFile(tb, name)...)
	}
	return out
}

func readFile(tb testing.TB, name string) [][]byte {
	tb.Helper()
	f, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	var out [][]byte
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		out = append(out, append([]byte(nil), lines.Bytes()...))
	}
	if err := lines.Err(); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return out
}

// allRecords returns every recorded event.
func allRecords(tb testing.TB) [][]byte {
	return append(readRecords(tb, "*.jsonl.gz"), readRecords(tb, "benign/*.jsonl.gz")...)
}

func newEvent() *event.Event {
	e := new(event.Event)
	e.Reset()
	return e
}

func decode(tb testing.TB, raw []byte) *event.Event {
	tb.Helper()
	e := newEvent()
	if err := new(Decoder).Decode(raw, e); err != nil {
		tb.Fatalf("decoding %.300s: %v", raw, err)
	}
	return e
}

// find returns the events of the recordings that keep accepts, decoded.
func find(t *testing.T, keep func(*event.Event) bool) []*event.Event {
	t.Helper()
	var out []*event.Event
	for _, raw := range allRecords(t) {
		if e := decode(t, raw); keep(e) {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		t.Fatal("no recorded event shows this")
	}
	return out
}

// mustJSON is a document built in a test.
func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
