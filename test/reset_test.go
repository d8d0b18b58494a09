package test

import (
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source/file"
)

// TestUnreadPartsAreEmpty decodes every recorded event into one Event. Reset
// passes over bodies and cloud calls that say they were not read, so a decoder
// that writes into one without saying so would carry it over to the next event.
func TestUnreadPartsAreEmpty(t *testing.T) {
	var e event.Event
	e.Reset()
	decoder := pipeline.NewDecoder()
	for _, r := range recordings(t) {
		for _, path := range r.inputs {
			in, err := file.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for rec, err := in.Next(); !errors.Is(err, io.EOF); rec, err = in.Next() {
				if err != nil {
					t.Fatal(err)
				}
				if err := decoder.Decode(rec, &e); err != nil && !errors.Is(err, normalize.ErrIrrelevant) {
					t.Fatal(err)
				}
				for _, b := range []*event.Body{&e.K8s.Object, &e.K8s.Response} {
					if !b.Present && !b.Skipped && (b.Replicas != -1 || !empty(b)) {
						t.Fatalf("%s: record %d wrote into a body that it did not read: %s", path, rec.Pos.Record, cmp.Diff(event.Body{Replicas: -1}, *b))
					}
				}
				if c := &e.Cloud; c.Provider == "" && !empty(c) {
					t.Fatalf("%s: record %d wrote into a cloud call that names no provider: %s", path, rec.Pos.Record, cmp.Diff(event.CloudCall{}, *c))
				}
				e.Reset()
			}
			in.Close()
		}
	}
}

// empty reports whether all fields of the struct that part points to but Replicas
// are zero or lists without elements.
func empty(part any) bool {
	v := reflect.ValueOf(part).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Slice && f.Len() > 0 || f.Kind() != reflect.Slice && !f.IsZero() && v.Type().Field(i).Name != "Replicas" {
			return false
		}
	}
	return true
}
