package k8saudit

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// maxPatchDepth bounds the elements of a JSON patch path that is followed; the
// deepest path of interest has ten.
const maxPatchDepth = 32

// jsonPatch reads a JSON patch (RFC 6902). Each operation is listed in
// b.Patch. The value of an add or replace is wrapped into the document that
// its path describes and read like any object, so that every field is found at
// its place; each such document adds to b.
func (d *Decoder) jsonPatch(raw []byte, b *event.Body, want reads) error {
	s := &d.inner
	s.Reset(raw)
	d.adding = true
	for more := s.Array(); more; more = s.NextElem() {
		var op, path string
		var value []byte
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "op":
				s.Str(&op)
			case "path":
				s.Str(&path)
			case "value":
				value = s.Raw()
			default:
				s.Skip()
			}
		}
		if op == "" && path == "" {
			continue
		}
		b.Patch = append(b.Patch, s.Arena.Join(op, " ", path))
		if (op == "add" || op == "replace") && len(value) > 0 {
			d.applyAt(path, value, b, want)
		}
	}
	d.adding = false
	return s.End()
}

// applyAt reads value as what stands at path in an object.
func (d *Decoder) applyAt(path string, value []byte, b *event.Body, want reads) {
	if doc, ok := d.document(path, value); ok {
		d.scan.Reset(doc)
		d.object(b, want)
	}
}

// document wraps value into the objects and arrays that path names. It
// returns memory of its own, as strings of the body will alias it.
func (d *Decoder) document(path string, value []byte) ([]byte, bool) {
	if path == "" {
		return value, true
	}
	if path[0] != '/' || strings.Count(path, "/") > maxPatchDepth {
		return nil, false
	}
	open, closers := d.wrap[:0], [maxPatchDepth]byte{}
	depth, parent := 0, ""
	for rest := path[1:]; ; depth++ {
		element, after, more := strings.Cut(rest, "/")
		if isIndex(element) && !hasFreeKeys(parent) {
			open, closers[depth] = append(open, '['), ']'
		} else {
			open, closers[depth] = appendKey(append(open, '{'), element), '}'
		}
		parent, rest = element, after
		if !more {
			break
		}
	}
	d.wrap = open
	doc := make([]byte, 0, len(open)+len(value)+depth+1)
	doc = append(append(doc, open...), value...)
	for ; depth >= 0; depth-- {
		doc = append(doc, closers[depth])
	}
	return doc, true
}

// isIndex reports whether a path element is a place in a list: a number, or
// "-" for behind its end.
func isIndex(element string) bool {
	if element == "-" {
		return true
	}
	for _, c := range []byte(element) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return element != ""
}

// hasFreeKeys reports whether an object's keys are the user's, so that a
// number under it is a key.
func hasFreeKeys(name string) bool {
	switch name {
	case "labels", "annotations", "data", "stringData", "binaryData", "selector", "matchLabels", "nodeSelector", "limits", "requests":
		return true
	}
	return false
}

// appendKey appends a path element as a JSON key with its colon, its ~1 and ~0
// decoded.
func appendKey(dst []byte, element string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(element); i++ {
		c := element[i]
		if c == '~' && i+1 < len(element) && (element[i+1] == '0' || element[i+1] == '1') {
			i++
			c = '~'
			if element[i] == '1' {
				c = '/'
			}
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"', ':')
}
