// Package normalize holds what the decoders of cloud records share: the verdict
// that a record is of no interest, the scalar leaves of request and response
// parameters, and lenient scalars. The decoders themselves are in the folders
// below, one a source.
package normalize

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrIrrelevant says that a record is well formed and known, but no activity
// that clew looks at: CloudTrail Insights and digests, Azure metrics-like
// categories, Google Cloud entries that are not audit entries. Such records
// are skipped without a word.
var ErrIrrelevant = errors.New("record is of no interest")

// Bounds of what Leaves keeps.
const (
	MaxLeaves = 256  // leaves of one document
	MaxValue  = 1024 // bytes of a value; longer ones are cut
	maxPath   = 256  // bytes of a path
	maxDepth  = 32
)

// Redacted stands for a secret's value.
const Redacted = "[redacted]"

// Leaves appends the scalar leaves of the JSON document raw to dst as
// "path=value", the items of a list as "path[]=value", in the order of the
// document. Members below prefix are named prefix.member. Values of members
// whose name says secret are replaced by Redacted, null is left out. What
// does not parse ends the list; dst grows by at most MaxLeaves.
func Leaves(dst []string, prefix string, raw []byte) []string {
	if len(raw) == 0 {
		return dst
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	w := walker{dec: dec, out: dst, most: len(dst) + MaxLeaves}
	w.value(prefix, false, 0)
	return w.out
}

type walker struct {
	dec  *json.Decoder
	out  []string
	most int
}

// value reads one value and reports whether reading may go on.
func (w *walker) value(path string, secret bool, depth int) bool {
	if len(w.out) >= w.most {
		return false
	}
	if len(path) > maxPath || depth > maxDepth {
		var passed json.RawMessage
		return w.dec.Decode(&passed) == nil
	}
	tok, err := w.dec.Token()
	if err != nil {
		return false
	}
	switch t := tok.(type) {
	case json.Delim:
		return w.container(t, path, secret, depth)
	case string:
		w.leaf(path, t, secret)
	case json.Number:
		w.leaf(path, t.String(), secret)
	case bool:
		w.leaf(path, strconv.FormatBool(t), secret)
	}
	return true
}

func (w *walker) container(open json.Delim, path string, secret bool, depth int) bool {
	for w.dec.More() {
		name, hidden := path+"[]", secret
		if open == '{' {
			tok, err := w.dec.Token()
			if err != nil {
				return false
			}
			key, ok := tok.(string)
			if !ok {
				return false
			}
			name, hidden = join(path, key), secret || Secret(key)
		}
		if !w.value(name, hidden, depth+1) {
			return false
		}
	}
	_, err := w.dec.Token()
	return err == nil
}

func (w *walker) leaf(path, value string, secret bool) {
	if secret {
		value = Redacted
	}
	w.out = append(w.out, path+"="+Cut(value))
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Cut shortens s to MaxValue bytes at a rune's border.
func Cut(s string) string {
	if len(s) <= MaxValue {
		return s
	}
	n := MaxValue
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

var (
	// secretParts mark a member as secret wherever they stand in its name.
	secretParts = []string{
		"password", "passwd", "passphrase", "secret", "token", "privatekey", "userdata", "sharedaccesskey",
		"connectionstring", "apikey", "kubeconfig", "samlassertion", "accountkey", "startupscript",
	}
	// openEnds are ends of names that say something about a secret and hold none.
	openEnds = []string{"id", "arn", "name", "names", "type", "version", "issuer", "expiration", "status", "count", "ttl", "uri"}
)

// Secret reports whether a member of this name holds a secret.
func Secret(key string) bool {
	k := strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(key))
	if !slices.ContainsFunc(secretParts, func(p string) bool { return strings.Contains(k, p) }) {
		return false
	}
	return !slices.ContainsFunc(openEnds, func(e string) bool { return strings.HasSuffix(k, e) })
}

// Unmarshal reads a record into a schema struct. A member of another type than
// the schema's is left empty: one odd member must not hide the record.
func Unmarshal(raw []byte, v any) error {
	err := json.Unmarshal(raw, v)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil
	}
	return err
}

// Part reads an object of a record that was read already, so that it is JSON and
// no error is possible. Anything but an object leaves into as it is.
func Part(part json.RawMessage, into any) {
	if len(part) > 0 && part[0] == '{' {
		_ = Unmarshal(part, into)
	}
}

// Text is a string that a record may also write as number, boolean or, as
// Azure does, as {"value": "…"}. Anything else reads as "".
type Text string

// UnmarshalJSON reads any scalar.
func (t *Text) UnmarshalJSON(b []byte) error {
	*t = ""
	switch {
	case len(b) == 0 || string(b) == "null" || b[0] == '[':
		return nil
	case b[0] == '"':
		return json.Unmarshal(b, (*string)(t))
	case b[0] == '{':
		var named struct{ Value string }
		if json.Unmarshal(b, &named) == nil {
			*t = Text(named.Value)
		}
		return nil
	}
	*t = Text(b)
	return nil
}

// True reports whether the text says true.
func (t Text) True() bool { return strings.EqualFold(string(t), "true") }

// Object returns raw as a JSON document: itself, or what a string that holds
// one says. It returns nil for anything but an object or an array.
func Object(raw json.RawMessage) json.RawMessage {
	b := bytes.TrimSpace(raw)
	if len(b) > 0 && b[0] == '"' {
		var s string
		if json.Unmarshal(b, &s) != nil {
			return nil
		}
		b = bytes.TrimSpace([]byte(s))
	}
	if len(b) == 0 || b[0] != '{' && b[0] != '[' || !json.Valid(b) {
		return nil
	}
	return b
}

// Time reads an RFC 3339 time, also one without a zone, which is UTC, as
// nanoseconds since 1970; 0 when it is none.
func Time(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		if t, err = time.Parse("2006-01-02T15:04:05.999999999", s); err != nil {
			return 0
		}
	}
	return t.UnixNano()
}

// Address returns the IP address in s, without port or brackets, "" when there
// is none.
func Address(s string) string {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().String()
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String()
	}
	return ""
}

// AppendNew appends s to list unless it is empty, there already, or the list
// has reached MaxLeaves.
func AppendNew(list []string, s string) []string {
	if s == "" || len(list) >= MaxLeaves || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
