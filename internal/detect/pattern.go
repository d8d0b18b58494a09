package detect

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// pattern is a regular expression that is asked only about strings that hold
// one of the texts without which it cannot match: rules about commands have
// many patterns, and hardly any command matches one.
type pattern struct {
	re    *regexp.Regexp
	needs []string // one of these is in every match; empty: not known
}

// maxNeeds is how many texts are cheaper to look for than the pattern itself.
const maxNeeds = 8

func newPattern(expr string) (pattern, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return pattern{}, err
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return pattern{}, err
	}
	return pattern{re, needsOf(parsed)}, nil
}

func (p *pattern) match(s string) bool {
	if len(p.needs) == 0 {
		return p.re.MatchString(s)
	}
	for _, n := range p.needs {
		if strings.Contains(s, n) {
			return p.re.MatchString(s)
		}
	}
	return false
}

// needsOf returns texts of which every match of re holds at least one, nil when
// there are none of two bytes or more, or too many.
func needsOf(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		// The replacement character matches bytes that are no UTF-8, too.
		s := string(re.Rune)
		if re.Flags&syntax.FoldCase == 0 && len(s) >= 2 && !strings.ContainsRune(s, utf8.RuneError) {
			return []string{s}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return needsOf(re.Sub[0])
	case syntax.OpConcat: // each part is needed: the fewest texts tell best
		var best []string
		for _, sub := range re.Sub {
			if n := needsOf(sub); n != nil && (best == nil || len(n) < len(best) || len(n) == len(best) && len(n[0]) > len(best[0])) {
				best = n
			}
		}
		return best
	case syntax.OpAlternate: // any part will do: all of them have to be known
		var all []string
		for _, sub := range re.Sub {
			n := needsOf(sub)
			if n == nil || len(all)+len(n) > maxNeeds {
				return nil
			}
			all = append(all, n...)
		}
		return all
	}
	return nil
}
