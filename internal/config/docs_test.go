package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// derived are defaults that depend on where the server runs, or on other keys.
var derived = []string{"dataDir", "log.dir", "log.replicas", "history.dir"}

// rows returns the rows of the table that begins behind a marker, by their first cell.
func rows(t *testing.T, marker string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "<!-- "+marker+" -->\n")
	table, _, end := strings.Cut(after, "<!-- end of "+marker+" -->")
	if !ok || !end {
		t.Fatalf("the page has no table %q", marker)
	}
	out := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out[strings.Trim(cells[0], "`")] = cells
	}
	return out
}

// TestEveryKeyIsDocumented holds docs/configuration.md to the keys, their variables,
// flags, defaults and whether a running server takes them.
func TestEveryKeyIsDocumented(t *testing.T) {
	documented := rows(t, "keys")
	c := Default(func(string) string { return "" })
	fields := leaves(reflect.ValueOf(c).Elem(), "", false)
	for _, f := range fields {
		flag := "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(EnvName(f.key), "CLEW_")), "_", "-")
		value := show(f.value)
		if value != "" {
			value = "`" + value + "`"
		}
		reload := map[bool]string{true: "yes", false: ""}[f.reload]
		want := []string{"`" + f.key + "`", "`" + EnvName(f.key) + "`", "`" + flag + "`", value, reload}
		got := documented[f.key]
		if len(got) == 6 && slices.Contains(derived, f.key) {
			want[3] = got[3]
		}
		if len(got) != 6 || !slices.Equal(got[:5], want) || got[5] == "" || slices.Contains(derived, f.key) && got[3] == "" {
			t.Errorf("%s: the page says %q, it should say %q and what the key means", f.key, got, want)
		}
	}
	if len(documented) != len(fields) {
		t.Errorf("the page has %d keys, there are %d", len(documented), len(fields))
	}
}

// TestEveryKeyOfSourcesIsDocumented is the same for the keys of a source.
func TestEveryKeyOfSourcesIsDocumented(t *testing.T) {
	documented := rows(t, "sources")
	fields := reflect.TypeFor[Source]()
	for f := range fields.Fields() {
		kinds := strings.Fields(f.Tag.Get("kinds"))
		want := "every kind"
		if len(kinds) > 0 {
			want = strings.ReplaceAll(strings.Join(kinds, ", "), "!", " (needed)")
		}
		got := documented[f.Tag.Get("yaml")]
		if len(got) != 3 || got[1] != want || got[2] == "" {
			t.Errorf("%s: the page says %q, it should say %q and what the key means", f.Tag.Get("yaml"), got, want)
		}
	}
	if len(documented) != fields.NumField() {
		t.Errorf("the page has %d keys of sources, there are %d", len(documented), fields.NumField())
	}
}

// TestExampleLoads holds that docs/clew.yaml is a configuration and names every key,
// those that exclude others in a comment.
func TestExampleLoads(t *testing.T) {
	c, err := Load(Input{File: "../../docs/clew.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, s := range c.Sources {
		kinds[s.Kind] = true
	}
	if len(kinds) != len(Kinds) {
		t.Errorf("the example has sources of %d kinds, there are %d", len(kinds), len(Kinds))
	}
	text, err := os.ReadFile("../../docs/clew.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := Keys()
	for f := range reflect.TypeFor[Source]().Fields() {
		names = append(names, f.Tag.Get("yaml"))
	}
	for _, key := range names {
		if name := key[strings.LastIndexByte(key, '.')+1:]; !strings.Contains(string(text), name+":") {
			t.Errorf("the example has no %s", key)
		}
	}
}
