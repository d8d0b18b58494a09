package redact

import (
	"regexp"
	"slices"
	"strings"
)

// marked is what stands in a secret's place already, also in a URI.
var marked = regexp.MustCompile(`(?:\[|%5B)redacted(?::|%3A)[0-9a-f]{8}(?:\]|%5D)`)

// own returns s without what the installation's own patterns match. Matches that
// overlap go as one. One within a mark is left: a pattern of hex digits would take
// the mark for what it stands for.
func (r *Redactor) own(s string) string {
	if len(r.patterns) == 0 {
		return s
	}
	var found [][]int
	marks := marked.FindAllStringIndex(s, -1)
	for _, p := range r.patterns {
		for _, m := range p.FindAllStringIndex(s, -1) {
			within := func(mark []int) bool { return mark[0] <= m[0] && m[1] <= mark[1] }
			if m[0] < m[1] && !slices.ContainsFunc(marks, within) {
				found = append(found, m)
			}
		}
	}
	slices.SortFunc(found, func(a, b []int) int { return a[0] - b[0] })
	var out strings.Builder
	at := 0
	for i := 0; i < len(found); {
		start, end := found[i][0], found[i][1]
		for i++; i < len(found) && found[i][0] < end; i++ {
			end = max(end, found[i][1])
		}
		out.WriteString(s[at:start])
		out.WriteString(r.mark(s[start:end]))
		at = end
	}
	out.WriteString(s[at:])
	return out.String()
}
