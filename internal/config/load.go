package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Input is what a configuration is made of. Later ones win: defaults, the file,
// the environment, the flags.
type Input struct {
	File  string            // name of the file, "" for none
	Env   []string          // as os.Environ returns it
	Flags map[string]string // by key, those that were given
}

// Load reads the configuration. The error is Problems, which names every place
// that is wrong, or says why the file cannot be read.
func Load(in Input) (*Config, error) {
	var text []byte
	if in.File != "" {
		var err error
		if text, err = os.ReadFile(in.File); err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	return Parse(in, text)
}

// Parse is Load with the text of the file at hand.
func Parse(in Input, text []byte) (*Config, error) {
	env := environ(in.Env)
	c := Default(func(name string) string { return env[name] })
	r := &report{file: in.File, lines: strings.Split(string(text), "\n"), places: map[string]place{}}
	decoder{r}.decode(text, c)
	r.overlay(c, env, in.Flags)
	if len(r.problems) == 0 { // what was not understood would be complained about twice
		c.derive()
		r.validate(c)
	}
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return c, nil
}

func environ(vars []string) map[string]string {
	out := make(map[string]string, len(vars))
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		out[name] = value
	}
	return out
}

// overlay puts environment and flags over c. A variable that begins like a section
// and names no key of it is a mistake; others that begin with CLEW_ belong to the
// client.
func (r *report) overlay(c *Config, env, flags map[string]string) {
	known := map[string]bool{}
	for _, f := range leaves(reflect.ValueOf(c).Elem(), "", false) {
		name := EnvName(f.key)
		known[name] = true
		if text, ok := env[name]; ok {
			r.set(f, name, text)
		}
		if text, ok := flags[f.key]; ok {
			r.set(f, "flag for "+f.key, text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !known[name] && ofSection(name) {
			r.errorf(place{name: name}, "no key has this variable")
		}
	}
}

func (r *report) set(f field, from, text string) {
	p := place{name: from}
	r.places[f.key] = p
	if err := setText(f.value, text); err != nil {
		r.errorf(p, "%s: %v", f.key, err)
	}
}

// ofSection reports whether a variable begins like those of a section.
func ofSection(name string) bool {
	for f := range reflect.TypeFor[Config]().Fields() {
		if f.Type.Kind() == reflect.Struct && strings.HasPrefix(name, EnvName(f.Tag.Get("yaml"))+"_") {
			return true
		}
	}
	return false
}

// Keys returns every key outside sources, in the order of the file: flags and
// variables exist for these.
func Keys() []string {
	var out []string
	for _, f := range leaves(reflect.ValueOf(&Config{}).Elem(), "", false) {
		out = append(out, f.key)
	}
	return out
}
