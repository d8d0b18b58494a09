package k8saudit

import (
	"strconv"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// query reads the request URI: its parameters as net/url does (pairs that are
// malformed or hold a semicolon do not count) and the path behind a proxy.
func (d *Decoder) query(r *event.Request) {
	path, query, _ := strings.Cut(r.URI, "?")
	if r.Subresource == "proxy" {
		r.ProxyPath = d.proxyPath(path)
	}
	seen := parameters(0)
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" || strings.Contains(pair, ";") {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, keyOK := d.unescapeURL(key, true)
		value, valueOK := d.unescapeURL(value, true)
		if keyOK && valueOK {
			seen |= d.parameter(r, key, value, seen)
		}
	}
}

// parameters is the set of parameters met: the first of each counts, as in the
// API server.
type parameters uint16

const (
	sawContainer parameters = 1 << iota
	sawTTY
	sawStdin
	sawManager
	sawLabels
	sawFields
	sawLimit
)

// parameter takes in one decoded parameter and returns its bit.
func (d *Decoder) parameter(r *event.Request, key, value string, seen parameters) parameters {
	switch key {
	case "command":
		r.Command = append(r.Command, value)
	case "container":
		return firstString(&r.Container, value, seen, sawContainer)
	case "tty":
		return firstBool(&r.TTY, value, seen, sawTTY)
	case "stdin":
		return firstBool(&r.Stdin, value, seen, sawStdin)
	case "cmd", "input": // the kubelet's own names, behind nodes/proxy
		if r.Subresource != "proxy" {
			return 0
		}
		if key == "cmd" {
			r.Command = append(r.Command, value)
			return 0
		}
		return firstBool(&r.Stdin, value, seen, sawStdin)
	case "fieldManager":
		return firstString(&r.FieldManager, value, seen, sawManager)
	case "labelSelector":
		return firstString(&r.LabelSelector, value, seen, sawLabels)
	case "fieldSelector":
		return firstString(&r.FieldSelector, value, seen, sawFields)
	case "limit":
		if n, err := strconv.Atoi(value); err == nil && seen&sawLimit == 0 {
			r.Limit = n
			return sawLimit
		}
	case "dryRun":
		r.DryRun = r.DryRun || value == "All" && honoursDryRun(r)
	}
	return 0
}

func firstString(dst *string, value string, seen, bit parameters) parameters {
	if seen&bit == 0 {
		*dst = value
	}
	return bit
}

// firstBool reads a flag as the API server does: all but "0" and "false" is
// true, "" too.
func firstBool(dst *bool, value string, seen, bit parameters) parameters {
	if seen&bit == 0 {
		*dst = value != "0" && !strings.EqualFold(value, "false")
	}
	return bit
}

// honoursDryRun reports whether the server heeds ?dryRun=All: streaming and
// proxy requests, token requests and reviews act in spite of it.
func honoursDryRun(r *event.Request) bool {
	switch r.Subresource {
	case "exec", "attach", "portforward", "proxy", "token":
		return false
	}
	return r.Mutates() && !isReview(r.Group)
}

// isReview reports whether all objects of a group are questions to the server
// that are answered and not stored.
func isReview(group string) bool {
	return group == "authorization.k8s.io" || group == "authentication.k8s.io"
}

// proxyPath returns the path behind /api/v1/[namespaces/NS/]RESOURCE/NAME/proxy,
// decoded, with a leading slash.
func (d *Decoder) proxyPath(path string) string {
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok {
		return ""
	}
	skip := 2 // resource and name
	if strings.HasPrefix(rest, "namespaces/") {
		skip = 4
	}
	for range skip {
		if _, rest, ok = strings.Cut(rest, "/"); !ok {
			return ""
		}
	}
	rest, ok = strings.CutPrefix(rest, "proxy")
	if !ok || (rest != "" && rest[0] != '/') {
		return ""
	}
	if rest == "" {
		return "/"
	}
	decoded, ok := d.unescapeURL(rest, false)
	if !ok {
		return rest
	}
	return decoded
}

// unescapeURL decodes percent-encoding, and "+" as a space in a query. It
// returns s itself when there is nothing to decode.
func (d *Decoder) unescapeURL(s string, query bool) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && (!query || strings.IndexByte(s, '+') < 0) {
		return s, true
	}
	out := d.scan.Arena.Alloc(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+' && query:
			out = append(out, ' ')
		case c == '%':
			if i+2 >= len(s) || hexDigit(s[i+1]) > 15 || hexDigit(s[i+2]) > 15 {
				return "", false
			}
			out = append(out, hexDigit(s[i+1])<<4|hexDigit(s[i+2]))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return d.scan.Arena.Commit(out), true
}

// hexDigit returns the value of a hexadecimal digit, 255 when c is none.
func hexDigit(c byte) byte {
	switch {
	case c-'0' < 10:
		return c - '0'
	case c|0x20-'a' < 6:
		return c | 0x20 - 'a' + 10
	}
	return 255
}
