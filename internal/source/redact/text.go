package redact

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// shapes find secrets in text. Group 1, where there is one, stays; the last group
// is the secret.
var (
	jwt      = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,3}`)
	pem      = regexp.MustCompile(`(?s)(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)(.*?)(?:-----END|$)`)
	prefixed = regexp.MustCompile(`\b(ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|xox[abprs]-|AIza|glpat-|sk_live_|rk_live_|npm_|hvs\.|dckr_pat_)([A-Za-z0-9_-]{10,})`)
	userinfo = regexp.MustCompile(`(://[^/\s:@"'?#]{0,128}:)([^/\s@"']{1,256})@`)
	bearer   = regexp.MustCompile(`(?i)(\bbearer(?:\s+|%20|\+))([A-Za-z0-9._~+/=-]{8,})`)
	basic    = regexp.MustCompile(`(?i)(\bbasic(?:\s+|%20|\+))([A-Za-z0-9+/]{6,}={0,2})`)
	header   = regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?(?:[a-z][a-z0-9-]*\s+)?)([^\s"',;]{8,})`)
	mysql    = regexp.MustCompile(`(\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^|;&]*?\s-p)([^\s'"|;&]{3,})`)
	sshpass  = regexp.MustCompile(`(\bsshpass\s+-p\s*["']?)([^\s"']+)`)
	curlUser = regexp.MustCompile(`(\bcurl\b[^|;&]*?\s(?:-u|--user)[\s=]*["']?[^\s:"']+:)([^\s"']+)`)
	base64ed = regexp.MustCompile(`[A-Za-z0-9+/]{64,}={0,2}`)
)

// keyWords are "PRIVATE KEY" and "client-key-data" at the three alignments of base64.
var keyWords = []string{
	"UFJJVkFURSBLRV", "BSSVZBVEUgS0VZ", "QUklWQVRFIEtFW",
	"Y2xpZW50LWtleS1kYXRh", "jbGllbnQta2V5LWRhdGE", "NsaWVudC1rZXktZGF0Y",
}

// shaped are the shapes whose every match is a secret, by the class that asks for
// them.
var shaped = []struct {
	class class
	shape *regexp.Regexp
}{
	{jwtLike, jwt}, {pemLike, pem}, {prefixLike, prefixed}, {uriLike, userinfo}, {bearerLike, bearer},
	{commandLike, mysql}, {commandLike, sshpass}, {commandLike, curlUser}, {headerLike, header},
}

// text returns s without what has a secret's shape.
func (r *Redactor) text(s string) (string, bool) {
	out := r.own(s)
	all := classes([]byte(out))
	for _, x := range shaped {
		if all&x.class != 0 {
			out = r.group(x.shape, out, func([]string) bool { return true })
		}
	}
	if all&basicLike != 0 {
		out = r.group(basic, out, func(m []string) bool {
			plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m[2], "="))
			return err == nil && strings.ContainsRune(string(plain), ':')
		})
	}
	if all&base64Like != 0 {
		out = r.group(base64ed, out, func(m []string) bool { return containsAny(m[0], keyWords) })
	}
	if all&named != 0 && strings.ContainsAny(out, "=: ") {
		out = r.assignments(out)
	}
	return out, out != s
}

// assignments replaces what stands behind a name that says secret: NAME=value,
// "name": value, --name value.
func (r *Redactor) assignments(s string) string {
	b := []byte(s)
	var out strings.Builder
	done := 0
	for i, c := next(b, 0); i >= 0; i, c = next(b, i+1) {
		if c != named || i < done {
			continue
		}
		start, end := assignment(s, i)
		if end-start < minSecret || start < done || strings.HasPrefix(s[start:end], "[redacted") || reference(s[start:end]) {
			continue
		}
		out.WriteString(s[done:start])
		out.WriteString(r.mark(s[start:end]))
		done, i = end, end-1
	}
	if done == 0 {
		return s
	}
	out.WriteString(s[done:])
	return out.String()
}

// minSecret is the shortest value behind a name that is taken for a secret.
const minSecret = 3

// assignment returns where the value stands that belongs to the name around s[i];
// nothing when there is none or the name does not say secret.
func assignment(s string, i int) (start, end int) {
	from, to := i, i
	for from > 0 && nameByte(s[from-1]) {
		from--
	}
	for to < len(s) && nameByte(s[to]) {
		to++
	}
	if !namesSecret(s[from:to]) {
		return 0, 0
	}
	at, quotes := skip(s, to, `"'\\`), 0
	if at > to {
		quotes = 1
	}
	sign := skip(s, at, " \t")
	switch {
	case sign < len(s) && s[sign] == '=':
		at = skip(s, sign+1, " \t")
	case sign < len(s) && s[sign] == ':' && (quotes > 0 || sign+1 < len(s) && (s[sign+1] == ' ' || s[sign+1] == '"')):
		at = skip(s, sign+1, " \t")
	case sign > at && s[from] == '-' && sign < len(s) && s[sign] != '-':
		at = sign
	default:
		return 0, 0
	}
	return quotedValue(s, at)
}

// quotedValue returns where the value at s[at] stands, less its quotes.
func quotedValue(s string, at int) (start, end int) {
	start = skip(s, at, `\`)
	stops := " \t\r\n\"',;&"
	if start < len(s) && (s[start] == '"' || s[start] == '\'') {
		stops = s[start:start+1] + "\n"
		start++
	}
	if n := strings.IndexAny(s[start:], stops); n >= 0 {
		return start, start + n
	}
	return start, len(s)
}

func skip(s string, i int, any string) int {
	for i < len(s) && strings.IndexByte(any, s[i]) >= 0 {
		i++
	}
	return i
}

func nameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// namesSecret is secretName for a name in text, where more are short.
func namesSecret(name string) bool {
	name = strings.TrimLeft(name, "- \t\n")
	return secretName(name) || strings.HasSuffix(strings.ToLower(name), "pwd") ||
		strings.EqualFold(strings.NewReplacer("_", "", "-", "").Replace(name), "accesskey")
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// group replaces the last group of each match of shape that is a secret.
func (r *Redactor) group(shape *regexp.Regexp, s string, secret func(match []string) bool) string {
	var out strings.Builder
	at := 0
	for _, m := range shape.FindAllStringSubmatchIndex(s, -1) {
		start, end := m[len(m)-2], m[len(m)-1]
		if strings.HasPrefix(s[start:end], "[redacted") || !secret(groups(s, m)) {
			continue
		}
		out.WriteString(s[at:start])
		out.WriteString(r.mark(s[start:end]))
		at = end
	}
	if at == 0 {
		return s
	}
	out.WriteString(s[at:])
	return out.String()
}

func groups(s string, m []int) []string {
	out := make([]string, len(m)/2)
	for i := range out {
		if m[2*i] >= 0 {
			out[i] = s[m[2*i]:m[2*i+1]]
		}
	}
	return out
}

// uri redacts the path and the parameters of a request: what a command passed to
// exec holds, and parameters whose name says secret. The order of parameters and
// the spelling of the untouched ones stay.
func (r *Redactor) uri(s string) (string, bool) {
	whole := r.own(s) // a pattern may want the name and the value of a parameter
	before, query, ok := strings.Cut(whole, "?")
	before, changed := r.text(before)
	changed = changed || whole != s
	if !ok {
		return before, changed
	}
	var args arguments
	params := strings.Split(query, "&")
	for i, p := range params {
		name, value, _ := strings.Cut(p, "=")
		plain, err := url.QueryUnescape(value)
		if err != nil || plain == "" {
			plain = value
		}
		out, hit := r.param(name, plain, &args)
		if hit {
			params[i] = name + "=" + url.QueryEscape(out)
			changed = true
		}
	}
	return before + "?" + strings.Join(params, "&"), changed
}

func (r *Redactor) param(name, value string, args *arguments) (string, bool) {
	hide := secretName(name)
	if name == "command" {
		literal := []byte(`"` + escaped(value) + `"`)
		hide = args.hides(literal)
		args.note(literal)
	}
	if hide && value != "" && !reference(value) && !strings.HasPrefix(value, markBegin) {
		return tell(value) + r.mark(value), true
	}
	return r.text(value)
}

// arguments follows the arguments of one command, given as JSON strings. Most lists
// of strings are none, and cost nothing but looks at bytes.
type arguments struct {
	begun   bool
	program string // base name of the first argument, where it may be one that matters
	before  []byte // the argument before
}

var secretOption = regexp.MustCompile(`^--?[A-Za-z][\w-]*$`)

// hides reports whether the next argument is a secret, as the one before says.
func (a *arguments) hides(literal []byte) bool {
	switch {
	case a.before == nil && a.program == "":
		return false
	case a.program == "sshpass" && string(a.before) == `"-p"`:
		return true
	case a.program == "curl" && (string(a.before) == `"-u"` || string(a.before) == `"--user"`):
		return true
	case strings.HasPrefix(a.program, "mysql") || a.program == "mariadb":
		if next := unquoted(literal); strings.HasPrefix(next, "-p") && len(next) > 4 {
			return true
		}
	}
	if len(literal) < 2 || literal[1] == '-' || !bytes.HasPrefix(a.before, []byte(`"-`)) && !escapes(a.before) {
		return false
	}
	option := unquoted(a.before)
	return secretOption.MatchString(option) && secretName(strings.TrimLeft(option, "-"))
}

// escapes reports whether a literal has to be read to know what it says.
func escapes(literal []byte) bool { return bytes.IndexByte(literal, '\\') >= 0 }

// note takes in an argument, or another item that ends the command.
func (a *arguments) note(literal []byte) {
	a.before = nil
	if len(literal) < 2 || literal[0] != '"' || len(literal) > 256 {
		return
	}
	a.before = literal
	if !a.begun && (triggered(literal) || escapes(literal)) {
		a.program = path.Base(unquoted(literal))
	}
	a.begun = true
}
