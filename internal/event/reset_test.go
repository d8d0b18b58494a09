package event

import (
	"reflect"
	"testing"
)

// fill makes every slice of v three elements long and sets strings, so that
// there is something to let go.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.String:
		v.SetString("of a record")
	}
}

// checkLetGo fails for each string and slice element that v still holds, in the
// unused capacity too.
func checkLetGo(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			checkLetGo(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		if v.Len() != 0 {
			t.Errorf("%s has %d elements after Reset", name, v.Len())
		}
		all := v.Slice(0, v.Cap())
		for i := range all.Len() {
			if !all.Index(i).IsZero() {
				t.Errorf("%s keeps element %d in its capacity", name, i)
			}
		}
	case reflect.String:
		if v.Len() != 0 {
			t.Errorf("%s is %q after Reset", name, v.String())
		}
	}
}

// TestResetLetsGo: strings of an event alias the record it came from, so an
// event that keeps one keeps a whole chunk of input in memory.
func TestResetLetsGo(t *testing.T) {
	e := &Event{}
	fill(reflect.ValueOf(e).Elem())
	e.Reset()
	checkLetGo(t, "event", reflect.ValueOf(e).Elem())
}
