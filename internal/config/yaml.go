package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFileBytes bounds the file: the parser takes quadratic time on long mappings.
const maxFileBytes = 128 << 10

// decoder puts the parser's tree into a Config.
type decoder struct{ *report }

// decode reads text, whose problems it reports, into c.
func (d decoder) decode(text []byte, c *Config) {
	if len(text) > maxFileBytes {
		d.errorf(place{name: d.file}, "the file has %d bytes, the limit is %d", len(text), maxFileBytes)
		return
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		d.syntax(err)
		return
	}
	switch {
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		return // an empty file is the defaults
	case len(file.Docs) > 1:
		d.errorf(at(file.Docs[1].Start), "a second document")
		return
	}
	body := file.Docs[0].Body
	if _, ok := body.(*ast.CommentGroupNode); ok || body.Type() == ast.NullType {
		return
	}
	d.header(body)
	d.section(body, reflect.ValueOf(c).Elem(), "", "")
}

func (d decoder) syntax(err error) {
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		p := at(ye.GetToken())
		p.secret = true // it may be the line of one
		d.errorf(p, "YAML: %s", ye.GetMessage())
		return
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	d.errorf(place{name: d.file}, "YAML: %s", line)
}

func at(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{line: 1, column: 1}
	}
	return place{line: max(t.Position.Line, 1), column: max(t.Position.Column, 1)}
}

// entry is a key of a mapping and its value.
type entry struct {
	name  string
	place place
	value ast.Node
}

// entries returns what a mapping holds, false when n is none.
func (d decoder) entries(n ast.Node, what string) ([]entry, bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		if n.Type() != ast.NullType {
			d.errorf(at(n.GetToken()), "%s must be a mapping, it is %s", orFile(what), describe(n))
		}
		return nil, false
	}
	var out []entry
	for _, v := range m.Values {
		k, ok := v.Key.(*ast.StringNode)
		if !ok {
			d.errorf(at(v.Key.GetToken()), "a key must be a plain string")
			continue
		}
		if slices.ContainsFunc(out, func(e entry) bool { return e.name == k.Value }) {
			d.errorf(at(k.GetToken()), "key %q stands here twice", k.Value)
			continue
		}
		out = append(out, entry{k.Value, at(k.GetToken()), v.Value})
	}
	return out, true
}

func orFile(what string) string {
	if what == "" {
		return "the file"
	}
	return what
}

// header checks apiVersion and kind, which a file that says anything begins with.
func (d decoder) header(n ast.Node) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return // section says so
	}
	for _, want := range [][2]string{{"apiVersion", APIVersion}, {"kind", Kind}} {
		i := slices.IndexFunc(m.Values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == want[0] })
		if i < 0 {
			d.errorf(place{line: 1, column: 1}, "the file has no %s: %s", want[0], want[1])
			continue
		}
		v := m.Values[i].Value
		if s, ok := v.(*ast.StringNode); !ok || s.Value != want[1] {
			d.errorf(at(v.GetToken()), "%s must be %s", want[0], want[1])
		}
	}
}

// section reads a mapping into v, a struct. The keys begin with prefix; kind is
// that of the source that v is.
func (d decoder) section(n ast.Node, v reflect.Value, prefix, kind string) {
	entries, ok := d.entries(n, strings.TrimSuffix(prefix, "."))
	if !ok {
		return
	}
	for _, e := range entries {
		if prefix == "" && (e.name == "apiVersion" || e.name == "kind") {
			continue
		}
		i, names := keyOf(v, e.name)
		if i < 0 {
			d.errorf(e.place, "unknown key %q in %s; there are %s", e.name, orFile(strings.TrimSuffix(prefix, ".")), strings.Join(names, ", "))
			continue
		}
		if of := v.Type().Field(i).Tag.Get("kinds"); of != "" && kind != "" && !slices.Contains(strings.Fields(strings.ReplaceAll(of, "!", "")), kind) {
			d.errorf(e.place, "a source of kind %s has no key %q", kind, e.name)
			continue
		}
		d.places[prefix+e.name] = e.place
		d.value(e.value, v.Field(i), prefix+e.name)
	}
}

// value reads a node into v.
func (d decoder) value(n ast.Node, v reflect.Value, key string) {
	switch {
	case n.Type() == ast.NullType: // as if it were not there
	case v.Kind() == reflect.Struct:
		d.section(n, v, key+".", "")
	case v.Kind() == reflect.Slice:
		d.list(n, v, key)
	default:
		d.scalar(n, v, key)
	}
}

func (d decoder) list(n ast.Node, v reflect.Value, key string) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.errorf(at(n.GetToken()), "%s must be a list, it is %s", key, describe(n))
		return
	}
	if len(s.Values) == 0 {
		v.SetZero()
		return
	}
	out := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
	for i, item := range s.Values {
		k := fmt.Sprintf("%s[%d]", key, i)
		d.places[k] = at(item.GetToken())
		if src, ok := reflect.TypeAssert[*Source](out.Index(i).Addr()); ok {
			d.source(item, src, k)
			continue
		}
		d.scalar(item, out.Index(i), k)
	}
	v.Set(out)
}

// source reads the kind first: it decides which keys there are.
func (d decoder) source(n ast.Node, s *Source, key string) {
	kind := ""
	if m, ok := n.(*ast.MappingNode); ok {
		if len(m.Values) > 0 {
			d.places[key] = at(m.Values[0].Key.GetToken())
		}
		for _, v := range m.Values {
			if k, ok := v.Value.(*ast.StringNode); ok && v.Key.GetToken().Value == "kind" && slices.Contains(Kinds[:], k.Value) {
				kind = k.Value
			}
		}
	}
	d.section(n, reflect.ValueOf(s).Elem(), key+".", kind)
}

func (d decoder) scalar(n ast.Node, v reflect.Value, key string) {
	p := at(n.GetToken())
	p.secret = v.Type() == reflect.TypeFor[Secret]() || p.line <= len(d.lines) && strings.Contains(d.lines[p.line-1], "@")
	d.places[key] = p
	text, ok := scalarText(n, v)
	if !ok {
		d.errorf(p, "%s must be %s, it is %s", key, wanted(v), describe(n))
		return
	}
	if err := set(v, text); err != nil {
		d.errorf(p, "%s: %v", key, err)
	}
}

// scalarText returns what a scalar says, false when it is of another type than v.
func scalarText(n ast.Node, v reflect.Value) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, v.Kind() != reflect.Bool && v.Kind() != reflect.Int
	case *ast.LiteralNode:
		return n.Value.Value, v.Kind() == reflect.String
	case *ast.BoolNode:
		return n.GetToken().Value, v.Kind() == reflect.Bool
	case *ast.IntegerNode:
		t := v.Type()
		return n.GetToken().Value, v.Kind() == reflect.Int || t == reflect.TypeFor[Bytes]() || t == reflect.TypeFor[Duration]()
	}
	return "", false
}

func wanted(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	default:
		return "a string"
	}
}

func describe(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.NullType:
		return "empty"
	case ast.AliasType, ast.AnchorType, ast.TagType:
		return "an alias, anchor or tag, which are not allowed"
	default:
		return "a " + strings.ToLower(n.Type().String())
	}
}
