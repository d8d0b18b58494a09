package matrix

import (
	"cmp"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// Rule is what the matrix needs to know of a detection rule.
type Rule struct {
	ID         string
	Severity   event.Severity
	Techniques []string // ids of the threat matrix and of ATT&CK
}

// State says how well a technique is covered.
type State string

// The states.
const (
	Claimed State = "claimed" // at least one rule names the technique
	Unruled State = "no-rule" // a log that clew reads could show it, but no rule does
	Unseen  State = "blind"   // no log that clew reads shows it
)

// Covered is one technique with the rules that name it.
type Covered struct {
	Technique Technique
	Rules     []Rule // by descending severity, then by id
	State     State
	Reason    string // why there is no rule; empty when there is one
}

// Report is the matrix with rules in its cells. Make one with Cover.
type Report struct {
	matrix *Matrix
	rules  int
	byID   map[string][]Rule
}

// Cover counts rules per technique. Ids that are not in the catalogue are left
// out: refusing them is the rule parser's work.
func (m *Matrix) Cover(rules []Rule) *Report {
	r := &Report{matrix: m, rules: len(rules), byID: make(map[string][]Rule)}
	for _, rule := range rules {
		for _, id := range rule.Techniques {
			if m.Has(id) && !names(r.byID[id], rule.ID) {
				r.byID[id] = append(r.byID[id], rule)
			}
		}
	}
	for id := range r.byID {
		sortRules(r.byID[id])
	}
	return r
}

func names(rules []Rule, id string) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.ID == id })
}

func sortRules(rules []Rule) {
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID))
	})
}

// Technique returns the coverage of one technique; false when the catalogue has
// no such id.
func (r *Report) Technique(id string) (Covered, bool) {
	t, ok := r.matrix.Technique(id)
	if !ok {
		return Covered{}, false
	}
	c := Covered{Technique: t, Rules: r.byID[id], State: Claimed}
	if len(c.Rules) == 0 {
		c.State, c.Reason = whyNot(&t)
	}
	return c, true
}

func whyNot(t *Technique) (State, string) {
	c := t.Coverage
	switch {
	case !t.Microsoft() || c.K8sAudit == Primary || c.CloudAudit == Primary:
		return Unruled, "no rule yet"
	case c.K8sAudit == Supporting || c.CloudAudit == Supporting:
		return Unruled, "no rule yet; the logs only support, primary source: " + primarySources(c)
	default:
		return Unseen, "not in any audit log; primary source: " + primarySources(c)
	}
}

func primarySources(c Coverage) string {
	var out []string
	for _, s := range sources(c) {
		if s.grade == Primary {
			out = append(out, s.name)
		}
	}
	return strings.Join(out, ", ")
}

type sourceGrade struct {
	name  string
	grade Grade
}

func sources(c Coverage) []sourceGrade {
	return []sourceGrade{{"agent", c.Agent}, {"Kubernetes audit", c.K8sAudit}, {"cloud audit", c.CloudAudit},
		{"posture", c.Posture}, {"vulnerabilities", c.Vulnerability}}
}

// Count returns how many cells of the threat matrix have a rule and how many
// there are; a technique in two columns counts twice.
func (r *Report) Count() (covered, total int) {
	for t := range event.Tactic(event.TacticCount) {
		for _, id := range r.matrix.columns[t] {
			total++
			if len(r.byID[id]) > 0 {
				covered++
			}
		}
	}
	return covered, total
}

// CountTechniques is Count with each technique counted once.
func (r *Report) CountTechniques() (covered, total int) {
	for i := range r.matrix.techniques {
		if t := &r.matrix.techniques[i]; t.Microsoft() {
			total++
			if len(r.byID[t.ID]) > 0 {
				covered++
			}
		}
	}
	return covered, total
}

// attackRules returns the rules per ATT&CK technique. A rule that names no
// ATT&CK technique itself counts for those its threat matrix techniques
// correspond to.
func (r *Report) attackRules() map[string][]Rule {
	out := make(map[string][]Rule)
	add := func(id string, rule Rule) {
		if !names(out[id], rule.ID) {
			out[id] = append(out[id], rule)
		}
	}
	for id, rules := range r.byID {
		t := r.matrix.techniques[r.matrix.index[id]]
		for _, rule := range rules {
			switch {
			case !t.Microsoft():
				add(id, rule)
			case !namesAttack(rule):
				for _, a := range t.Attack {
					add(a, rule)
				}
			}
		}
	}
	for id := range out {
		sortRules(out[id])
	}
	return out
}

func namesAttack(r Rule) bool {
	return slices.ContainsFunc(r.Techniques, func(id string) bool { return strings.HasPrefix(id, "T") })
}
