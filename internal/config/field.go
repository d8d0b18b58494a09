package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// field is a key that holds a value: no section, no list of sources.
type field struct {
	key    string
	value  reflect.Value
	reload bool
}

// leaves returns the keys below v, a struct, in the order of its fields.
func leaves(v reflect.Value, prefix string, reload bool) []field {
	var out []field
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		f := field{key: prefix + tag.Get("yaml"), value: v.Field(i), reload: reload || tag.Get("reload") == "true"}
		switch {
		case f.value.Kind() == reflect.Struct:
			out = append(out, leaves(f.value, f.key+".", f.reload)...)
		case f.value.Type() != reflect.TypeFor[[]Source]():
			out = append(out, f)
		}
	}
	return out
}

// EnvName returns the environment variable of a key: CLEW_LOG_MAX_BYTES of
// log.maxBytes.
func EnvName(key string) string {
	out := []rune("CLEW_")
	runes := []rune(key)
	for i, r := range runes {
		switch {
		case r == '.':
			r = '_'
		case unicode.IsUpper(r) && !unicode.IsUpper(runes[i-1]):
			out = append(out, '_')
		case unicode.IsUpper(r) && i+1 < len(runes) && unicode.IsLower(runes[i+1]):
			out = append(out, '_') // the last capital of CAFile begins a word
		}
		out = append(out, unicode.ToUpper(r))
	}
	return string(out)
}

// set reads text into a value that is no list.
func set(v reflect.Value, text string) error {
	var x any
	var err error
	switch v.Interface().(type) {
	case string:
		x = text
	case int:
		if x, err = strconv.Atoi(text); err != nil {
			err = errors.New("not a whole number")
		}
	case bool:
		if x, err = strconv.ParseBool(text); err != nil {
			err = errors.New("neither true nor false")
		}
	case Duration:
		x, err = ParseDuration(text)
	case Bytes:
		x, err = ParseBytes(text)
	case Secret:
		x, err = ParseSecret(text)
	default:
		panic(fmt.Sprintf("config: no reader of %s", v.Type()))
	}
	if err == nil {
		v.Set(reflect.ValueOf(x))
	}
	return err
}

// setText is set for what stands outside the file: lists are separated by commas.
func setText(v reflect.Value, text string) error {
	if v.Kind() != reflect.Slice {
		return set(v, text)
	}
	var list []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	v.Set(reflect.ValueOf(list))
	return nil
}

// show writes a value as the file would.
func show(v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	return strings.Join(v.Interface().([]string), ", ")
}

// keyOf finds the field of a struct with a name, and the names there are.
func keyOf(v reflect.Value, name string) (at int, names []string) {
	at = -1
	for i := range v.NumField() {
		n := v.Type().Field(i).Tag.Get("yaml")
		if n == name {
			at = i
		}
		names = append(names, n)
	}
	return at, names
}
