package rule

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// MaxValueBytes is how much of one value a message shows.
const MaxValueBytes = 256

// Secret reports whether a field's value must never be shown: it may hold
// credentials.
func Secret(field string) bool { return field == "object.raw" || field == "admission.patch" }

// Template is a message with {field} placeholders, compiled. "{{" and "}}" stand
// for the braces themselves. It may be used from several goroutines.
type Template struct{ parts []part }

// part is a literal, then a field.
type part struct {
	text  string
	field *event.Field
}

// ParseTemplate compiles a message. With issues the Template is what could be
// read of it.
func ParseTemplate(text string, env *condition.Env) (*Template, []condition.Issue) {
	t, issues := &Template{}, []condition.Issue(nil)
	var lit strings.Builder
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		double := i+1 < len(runes) && runes[i+1] == r
		switch {
		case (r == '{' || r == '}') && double:
			lit.WriteRune(r)
			i++
		case r == '}':
			issues = append(issues, condition.Issue{Offset: i, Message: `"}" without "{"; write "}}" for the character`})
		case r == '{':
			end := indexRune(runes[i:], '}')
			if end < 0 {
				return t, append(issues, condition.Issue{Offset: i, Message: `"{" without "}"; write "{{" for the character`})
			}
			f, msg := placeholder(string(runes[i+1:i+end]), env)
			if msg != "" {
				issues = append(issues, condition.Issue{Offset: i + 1, Message: msg})
			}
			t.parts = append(t.parts, part{lit.String(), f})
			lit.Reset()
			i += end
		default:
			lit.WriteRune(r)
		}
	}
	t.parts = append(t.parts, part{text: lit.String()})
	return t, issues
}

func indexRune(rs []rune, r rune) int {
	for i := range rs {
		if rs[i] == r {
			return i
		}
	}
	return -1
}

func placeholder(name string, env *condition.Env) (*event.Field, string) {
	f, ok := env.Field(name)
	switch {
	case !ok:
		return nil, env.UnknownField(name)
	case Secret(name):
		return nil, fmt.Sprintf("field %q may hold secrets and is never shown", name)
	}
	return &f, ""
}

// Append appends the message for e to dst. Every value is cut at MaxValueBytes,
// and what a terminal or a log reader would obey rather than show (control and
// formatting characters, bytes that are not UTF-8) is escaped as \xNN or \uNNNN.
func (t *Template) Append(dst []byte, e *event.Event) []byte {
	for _, p := range t.parts {
		dst = append(dst, p.text...)
		if p.field != nil {
			dst = appendField(dst, p.field, e)
		}
	}
	return dst
}

func appendField(dst []byte, f *event.Field, e *event.Event) []byte {
	switch f.Type {
	case event.Int:
		return strconv.AppendInt(dst, f.Int(e), 10)
	case event.Bool:
		return strconv.AppendBool(dst, f.Bool(e))
	case event.Strings:
		start := len(dst)
		for i, s := range f.Strings(e) {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			if len(dst)-start > MaxValueBytes-8 {
				return append(dst, "…"...)
			}
			dst = AppendClean(dst, s, MaxValueBytes-(len(dst)-start))
		}
		return dst
	default:
		return AppendClean(dst, f.String(e), MaxValueBytes)
	}
}

// AppendClean appends s, escaped and at most limit bytes long; where it was
// cut it ends in "…".
func AppendClean(dst []byte, s string, limit int) []byte {
	start, cut := len(dst), len(dst)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		dst = appendRune(dst, r, s[i:i+n])
		if len(dst)-start > limit {
			return append(dst[:cut], "…"...)
		}
		if len(dst)-start <= limit-len("…") {
			cut = len(dst)
		}
		i += n
	}
	return dst
}

func appendRune(dst []byte, r rune, raw string) []byte {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		return fmt.Appendf(dst, `\x%02x`, raw[0])
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return fmt.Appendf(dst, `\x%02x`, r)
	case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
		return fmt.Appendf(dst, `\u%04x`, r)
	default:
		return append(dst, raw...)
	}
}
