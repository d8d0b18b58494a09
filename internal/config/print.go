package config

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Effective writes c as a file that Load reads back to the same configuration,
// empty keys left out. Secrets are references and stay so; a password in an
// address, which Load refuses, would be masked.
func (c *Config) Effective(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\n", APIVersion, Kind)
	writeStruct(&b, reflect.ValueOf(c).Elem(), "")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// saysNothing are the kinds of value that are as good as absent when they are zero;
// a source's keys all are.
var saysNothing = [...]reflect.Kind{reflect.String, reflect.Struct, reflect.Slice}

func writeStruct(b *strings.Builder, v reflect.Value, indent string) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() && (v.Type() == reflect.TypeFor[Source]() || slices.Contains(saysNothing[:], f.Kind())) {
			continue
		}
		b.WriteString(indent + v.Type().Field(i).Tag.Get("yaml") + ":")
		switch {
		case f.Kind() == reflect.Struct:
			b.WriteString("\n")
			writeStruct(b, f, indent+"  ")
		case f.Kind() == reflect.Slice:
			b.WriteString("\n")
			writeList(b, f, indent+"  ")
		default:
			b.WriteString(" " + scalar(f) + "\n")
		}
	}
}

func writeList(b *strings.Builder, v reflect.Value, indent string) {
	for i := range v.Len() {
		b.WriteString(indent + "- ")
		if v.Index(i).Kind() != reflect.Struct {
			b.WriteString(scalar(v.Index(i)) + "\n")
			continue
		}
		var item strings.Builder
		writeStruct(&item, v.Index(i), indent+"  ")
		b.WriteString(strings.TrimPrefix(item.String(), indent+"  "))
	}
}

// scalar writes a value; strings are quoted where YAML could take them for
// something else.
func scalar(v reflect.Value) string {
	s := mask(show(v))
	if v.Kind() == reflect.String && !plain.MatchString(s) {
		return strconv.Quote(s)
	}
	return s
}

// plain are strings that mean themselves in YAML.
var plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/._-]*$`)

// userinfo is what stands before @ in an address.
var userinfo = regexp.MustCompile(`://[^/@]*@`)

func mask(s string) string { return userinfo.ReplaceAllString(s, "://***@") }

// Change is a key whose value differs between two configurations.
type Change struct {
	Key      string
	Old, New string // as Effective writes them, lists in one line
	Reload   bool   // a running server takes it; otherwise it takes a restart
}

// Diff returns what changed, in the order of the file. Sources are compared as a
// whole, by name, as sources.<name>.
func Diff(before, after *Config) []Change {
	var out []Change
	was := leaves(reflect.ValueOf(before).Elem(), "", false)
	for i, is := range leaves(reflect.ValueOf(after).Elem(), "", false) {
		if o, n := mask(show(was[i].value)), mask(show(is.value)); o != n {
			out = append(out, Change{Key: is.key, Old: o, New: n, Reload: is.reload})
		}
	}
	return append(out, diffSources(before.Sources, after.Sources)...)
}

func diffSources(before, after []Source) []Change {
	was := make(map[string]string, len(before))
	for _, s := range before {
		was[s.Name] = line(s)
	}
	var out []Change
	for _, s := range after {
		if o, n := was[s.Name], line(s); o != n {
			out = append(out, Change{Key: "sources." + s.Name, Old: o, New: n})
		}
		delete(was, s.Name)
	}
	for _, s := range before {
		if o, gone := was[s.Name]; gone {
			out = append(out, Change{Key: "sources." + s.Name, Old: o})
		}
	}
	return out
}

// line writes a source in one line.
func line(s Source) string {
	var parts []string
	for _, f := range leaves(reflect.ValueOf(s), "", false) {
		if !f.value.IsZero() {
			parts = append(parts, f.key+": "+mask(show(f.value)))
		}
	}
	return strings.Join(parts, ", ")
}
