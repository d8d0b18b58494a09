package event

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fill sets every field below v to something that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(1)
	}
}

// TestResetLeavesNothing fills every field there is, so that a field added to
// an Event and forgotten in Reset shows.
func TestResetLeavesNothing(t *testing.T) {
	var want, got Event
	want.Reset()
	fill(reflect.ValueOf(&got).Elem())
	if got.K8s.Response.Webhooks[1].Operations[1] != "x" || got.Facts.Grants.NewPowers[0] != "x" {
		t.Fatal("the test does not fill every field")
	}
	got.Reset()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if g := got.Actor.Groups[:2]; g[0] != "" || g[1] != "" {
		t.Errorf("Reset holds on to strings: %q", g)
	}
	if cap(got.Actor.Groups) == 0 || cap(got.K8s.Object.Containers) == 0 || cap(got.Facts.Grants.Powers) == 0 {
		t.Error("Reset dropped the memory of slices")
	}
}

// spareIsClear fails for each element kept in the unused capacity of a slice.
func spareIsClear(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			spareIsClear(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		all := v.Slice(0, v.Cap())
		for i := range all.Len() {
			if !all.Index(i).IsZero() {
				t.Errorf("%s keeps element %d in its capacity", name, i)
			}
		}
	}
}

// TestResetLetsGo: strings of an event alias the record it came from, so an
// event that keeps one keeps a whole chunk of input in memory.
func TestResetLetsGo(t *testing.T) {
	e := &Event{}
	fill(reflect.ValueOf(e).Elem())
	e.Reset()
	spareIsClear(t, "event", reflect.ValueOf(e).Elem())
}

func BenchmarkReset(b *testing.B) {
	for _, bc := range []struct {
		name   string
		bodies bool
	}{{"read", false}, {"write", true}} {
		b.Run(bc.name, func(b *testing.B) {
			var e Event
			for b.Loop() {
				e.K8s.Object.Present, e.K8s.Response.Present = bc.bodies, bc.bodies
				e.Reset()
			}
		})
	}
}
