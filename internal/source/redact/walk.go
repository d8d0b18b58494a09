package redact

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

const (
	maxDepth = 512 // of nesting, as file.Reader takes
	maxInner = 4   // of JSON inside strings of JSON
)

// hide says what happens to strings of a value.
type hide uint8

const (
	hideNone  hide = iota // only what has a secret's shape
	hideThis              // the value, the items of a list, the member "value" of an object
	hideBelow             // everything below
)

// edit is a piece of the document and what replaces it.
type edit struct {
	start, end int
	text       string
}

// walker finds the secrets of one document.
type walker struct {
	*Redactor
	b       []byte
	hits    hits // of b
	command bool // b holds "command=" somewhere
	secrets bool // every "data" is a Secret's
	inner   int  // how many documents this one is inside of
	depth   int
	edits   []edit // in order
}

// document returns b without its secrets; b itself when there is none. What
// stands behind an error of syntax is taken for text.
func (r *Redactor) document(b []byte, h hits, secrets bool, inner int) []byte {
	w := walker{
		Redactor: r, b: b, hits: h, command: bytes.Contains(b, []byte("command=")),
		secrets: secrets || aboutSecrets(b), inner: inner,
	}
	end, ok := w.value(0, nil, hideNone)
	if !ok || w.space(end) < len(b) {
		w.broken()
	}
	return w.apply()
}

// broken redacts a document that is no JSON by shape alone.
func (w *walker) broken() {
	w.edits = nil
	if text, changed := w.text(string(w.b)); changed {
		w.edits = []edit{{0, len(w.b), text}}
	}
}

func (w *walker) apply() []byte {
	if len(w.edits) == 0 {
		return w.b
	}
	slices.SortFunc(w.edits, func(a, b edit) int { return a.start - b.start })
	out := make([]byte, 0, len(w.b)+64)
	at := 0
	for _, e := range w.edits {
		out = append(out, w.b[at:e.start]...)
		out = append(out, e.text...)
		at = e.end
	}
	return append(out, w.b[at:]...)
}

// value reads the value at i, which stands under key, and returns where it ends.
// It reports false at an error of syntax.
func (w *walker) value(i int, key []byte, h hide) (int, bool) {
	i = w.space(i)
	if i >= len(w.b) || w.depth > maxDepth {
		return i, false
	}
	switch w.b[i] {
	case '{', '[':
		w.depth++
		defer func() { w.depth-- }()
		if w.b[i] == '{' {
			return w.object(i+1, h)
		}
		return w.array(i+1, key, h)
	case '"':
		end, ok := w.quote(i + 1)
		if !ok {
			return end, false
		}
		w.str(i+1, end, key, h)
		return end + 1, true
	}
	start := i
	for i < len(w.b) && strings.IndexByte("+-.0123456789aeflnrstuE", w.b[i]) >= 0 {
		i++
	}
	return i, i > start
}

func (w *walker) space(i int) int {
	for i < len(w.b) && (w.b[i] == ' ' || w.b[i] == '\n' || w.b[i] == '\t' || w.b[i] == '\r') {
		i++
	}
	return i
}

// quote returns where the string whose inside begins at i ends.
func (w *walker) quote(i int) (int, bool) {
	for i < len(w.b) {
		n := bytes.IndexByte(w.b[i:], '"')
		if n < 0 {
			return len(w.b), false
		}
		slashes := 0
		for j := i + n - 1; j >= i && w.b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return i + n, true
		}
		i += n + 1
		// The quote was escaped: what stands before it is settled.
	}
	return len(w.b), false
}

// pair is an object that gives something a name: an environment variable, a tag, an
// operation of a JSON patch.
type pair struct {
	secret     bool // the name says secret
	data       bool // the value is a Secret's data
	start, end int  // of its value; 0: none
}

// note takes in a member of the object.
func (p *pair) note(w *walker, key []byte, start, end int) {
	switch string(key) {
	case "name", "Name", "key", "Key":
		p.secret = p.secret || w.mayHold(start, end) && secretName(unquoted(w.b[start:end]))
	case "path":
		if !w.secrets && !w.mayHold(start, end) {
			return
		}
		path := unquoted(w.b[start:end])
		p.data = w.secrets && dataPath(path)
		p.secret = p.secret || p.data || secretName(path[strings.LastIndexByte(path, '/')+1:])
	case "value", "Value":
		p.start, p.end = start, end
	}
}

// object reads the members behind "{".
func (w *walker) object(i int, h hide) (int, bool) {
	var p pair
	for first := true; ; first = false {
		i = w.space(i)
		if first && i < len(w.b) && w.b[i] == '}' {
			return i + 1, true
		}
		if i >= len(w.b) || w.b[i] != '"' {
			return i, false
		}
		end, ok := w.quote(i + 1)
		key, at := w.b[i+1:end], i+1
		i = w.space(end + 1)
		if !ok || i >= len(w.b) || w.b[i] != ':' {
			return i, false
		}
		start := w.space(i + 1)
		if i, ok = w.value(start, key, w.below(key, at, h)); !ok {
			return i, false
		}
		p.note(w, key, start, i)
		i = w.space(i)
		if i >= len(w.b) || w.b[i] != ',' && w.b[i] != '}' {
			return i, false
		}
		if w.b[i] == '}' {
			w.pair(p)
			return i + 1, true
		}
		i++
	}
}

// below says how the member key, which begins at b[at], of an object under h is
// hidden.
func (w *walker) below(key []byte, at int, h hide) hide {
	switch {
	case h == hideBelow || w.secrets && dataMember(string(key)):
		return hideBelow
	case w.hits.within(at, at+len(key)) && secretName(string(key)), h == hideThis && bytes.EqualFold(key, []byte("value")):
		return hideThis
	}
	return hideNone
}

// mayHold reports whether what b[start:end] says may be or name a secret. What is
// escaped was not looked at by its meaning.
func (w *walker) mayHold(start, end int) bool {
	return w.hits.within(start, end) || escapes(w.b[start:end])
}

// pair reads the value of a pair again once its name is known to say secret.
func (w *walker) pair(p pair) {
	if !p.secret || p.end == 0 {
		return
	}
	w.edits = slices.DeleteFunc(w.edits, func(e edit) bool { return e.start >= p.start && e.end <= p.end })
	h := hideThis
	if p.data || w.b[p.start] != '"' {
		h = hideBelow
	}
	w.value(p.start, nil, h)
}

// array reads the items behind "[". Items may be the arguments of a command.
func (w *walker) array(i int, key []byte, h hide) (int, bool) {
	var args arguments
	if at := w.space(i); h == hideThis && at < len(w.b) && w.b[at] == '{' {
		h = hideNone // a list of objects that only has the name
	}
	for first := true; ; first = false {
		i = w.space(i)
		if first && i < len(w.b) && w.b[i] == ']' {
			return i + 1, true
		}
		item := h
		if i < len(w.b) && w.b[i] == '"' && item == hideNone && args.hides(w.b[i:]) {
			item = hideThis
		}
		end, ok := w.value(i, key, item)
		if !ok {
			return end, false
		}
		args.note(w.b[i:end])
		i = w.space(end)
		if i >= len(w.b) || w.b[i] != ',' && w.b[i] != ']' {
			return i, false
		}
		if w.b[i] == ']' {
			return i + 1, true
		}
		i++
	}
}

// str looks at the inside of a string.
func (w *walker) str(start, end int, key []byte, h hide) {
	raw := w.b[start:end]
	if len(raw) == 0 || bytes.HasPrefix(raw, []byte(markBegin)) {
		return
	}
	if h != hideNone {
		w.hidden(start, end, h)
		return
	}
	if w.inner < maxInner && holdsJSON(raw) {
		inner := []byte(unquoted(w.b[start-1 : end+1]))
		if out := w.document(inner, hitsOf(inner), w.secrets, w.inner+1); !bytes.Equal(out, inner) {
			w.replace(start, end, string(out))
		}
		return
	}
	if !w.worthALook(start, end) {
		return
	}
	text := unquoted(w.b[start-1 : end+1])
	redact := w.text
	if k := string(key); k == "requestURI" || k == "requestURL" {
		redact = w.uri
	}
	if out, changed := redact(text); changed {
		w.replace(start, end, out)
	}
}

// worthALook reports whether the text of the string b[start:end] may hold a secret.
func (w *walker) worthALook(start, end int) bool {
	return len(w.patterns) > 0 || w.hits.within(start, end) || w.hits.userinfo && hasUserinfo(w.b[start:end]) ||
		w.command && bytes.Contains(w.b[start:end], []byte("command="))
}

// hidden replaces a whole string.
func (w *walker) hidden(start, end int, h hide) {
	text := unquoted(w.b[start-1 : end+1])
	switch {
	case h == hideThis && (text == "HIDDEN_DUE_TO_SECURITY_REASONS" || reference(text)):
	case h == hideThis:
		w.replace(start, end, tell(text)+w.mark(text))
	default:
		w.replace(start, end, w.mark(text))
	}
}

// replace puts text in the place of the inside of a string.
func (w *walker) replace(start, end int, text string) {
	w.edits = append(w.edits, edit{start, end, escaped(text)})
}

// holdsJSON reports whether a string looks like a document of its own.
func holdsJSON(raw []byte) bool {
	raw = bytes.TrimLeft(raw, " ")
	return len(raw) > 8 && (raw[0] == '{' || raw[0] == '[') && bytes.Contains(raw, []byte(`\"`))
}

// unquoted returns the text of a JSON string with its quotes, "" when it is none.
func unquoted(literal []byte) string {
	if len(literal) >= 2 && literal[0] == '"' && bytes.IndexByte(literal, '\\') < 0 {
		return string(literal[1 : len(literal)-1])
	}
	var s string
	if json.Unmarshal(literal, &s) != nil {
		return string(bytes.Trim(literal, `"`))
	}
	return s
}

// escaped returns the inside of the JSON string that says text.
func escaped(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(text) != nil {
		return "" // a string is always encoded
	}
	out := b.String()
	return out[1 : len(out)-2] // less the quotes and the line break
}
