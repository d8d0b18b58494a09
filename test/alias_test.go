package test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source/file"
)

// poison overwrites records whose events are done with.
type poison struct{ raw map[*event.Event][]byte }

func (p *poison) Flag(engine.Flag) uint64 { return 0 }

func (p *poison) Done(e *event.Event) {
	raw := p.raw[e]
	delete(p.raw, e)
	copy(raw, bytes.Repeat([]byte("#"), len(raw)))
}

// TestNothingKeptAliasesRecords overwrites each record once its event is done
// with and looks for the traces of that in all that the engine remembers: one
// string kept without a copy pins a whole chunk of input in memory.
func TestNothingKeptAliasesRecords(t *testing.T) {
	sink := &poison{raw: map[*event.Event][]byte{}}
	eng := engine.New(engine.Config{}, compiled(t), sink)
	decoder := pipeline.NewDecoder()
	for _, r := range recordings(t) {
		for _, path := range r.inputs {
			in, err := file.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for rec, err := in.Next(); err == nil; rec, err = in.Next() {
				e := &event.Event{}
				e.Reset()
				rec.Raw = bytes.Clone(rec.Raw)
				if decoder.Decode(rec, e) == nil {
					sink.raw[e] = rec.Raw
					eng.Push(e)
				}
			}
			in.Close()
		}
	}
	eng.Flush()
	w := walker{seen: map[uintptr]bool{}, found: map[string]string{}}
	w.walk("engine", reflect.ValueOf(eng))
	for path, text := range w.found {
		t.Errorf("%s aliases a record: %q", path, text)
	}
}

// walker looks for overwritten strings below a value.
type walker struct {
	seen  map[uintptr]bool
	found map[string]string // by path without indexes
}

func (w *walker) walk(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); strings.HasPrefix(s, "#") && strings.Trim(s, "#") == "" {
			w.found[path] = s
		}
	case reflect.Pointer:
		if !v.IsNil() && !w.seen[v.Pointer()] {
			w.seen[v.Pointer()] = true
			w.walk(path, v.Elem())
		}
	case reflect.Interface:
		w.walk(path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		if !holdsStrings(v.Type().Elem()) {
			return
		}
		for i := range v.Len() {
			w.walk(path+"[]", v.Index(i))
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			w.walk(path+"{key}", it.Key())
			w.walk(fmt.Sprintf("%s{}", path), it.Value())
		}
	}
}

// holdsStrings spares the walk through bytes and numbers.
func holdsStrings(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		return true
	}
	return false
}
