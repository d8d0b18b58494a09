// Package normalizetest compares what a decoder makes of recorded inputs with
// golden files.
package normalizetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// Golden decodes each testdata/<name>.in.json and compares the event, its empty
// members left out, with <name>.want.json.
func Golden(t *testing.T, decode func([]byte, *event.Event) error) {
	t.Helper()
	inputs, err := filepath.Glob("testdata/*.in.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden inputs (%v)", err)
	}
	for _, in := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.json"), func(t *testing.T) {
			raw, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, strings.TrimSuffix(in, ".in.json")+".want.json", result(t, raw, decode))
		})
	}
}

// result renders the event, or the error when there is one.
func result(t *testing.T, raw []byte, decode func([]byte, *event.Event) error) []byte {
	t.Helper()
	var e event.Event
	e.Reset()
	if err := decode(raw, &e); err != nil {
		if errors.Is(err, normalize.ErrIrrelevant) {
			return []byte("\"irrelevant\"\n")
		}
		out, err := json.Marshal("error: " + err.Error())
		if err != nil {
			t.Fatal(err)
		}
		return append(out, '\n')
	}
	out, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(out, &tree); err != nil {
		t.Fatal(err)
	}
	delete(tree, "Facts")
	delete(tree, "Pos")
	delete(tree, "Session")
	tree["Source"], tree["Kind"] = e.Source.String(), [...]string{"unknown", "api request", "cloud call"}[e.Kind]
	tree["Actor"].(map[string]any)["Kind"] = e.Actor.Kind.String()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(prune(tree)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// prune leaves out what is empty: "", 0, false, null, {} and [].
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			if m = prune(m); m == nil {
				delete(v, k)
			} else {
				v[k] = m
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case float64:
		if v == 0 || v == -1 {
			return nil
		}
	}
	return v
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil { //nolint:gosec // a golden file of the repository is for everyone to read
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Seeds adds the golden inputs to a fuzz target.
func Seeds(f *testing.F) {
	f.Helper()
	inputs, err := filepath.Glob("testdata/*.in.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, in := range inputs {
		raw, err := os.ReadFile(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
}
