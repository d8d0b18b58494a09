package auditpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
)

// State says what a policy leaves of a rule or technique.
type State string

// The states, best first.
const (
	Kept   State = "kept"
	Partly State = "partly"
	Lost   State = "lost"
)

// RuleResult is what a policy leaves of one rule.
type RuleResult struct {
	ID    string `json:"id"`
	State State  `json:"state"` // kept: all firing tests still fire; lost: none
	Tests int    `json:"tests"`
	Fire  int    `json:"fire"` // tests that still fire
	// Reasons say which requests are not logged, or not in full; each once.
	Reasons []string `json:"reasons"`
}

// TechniqueResult is what a policy leaves of one technique of the threat matrix.
type TechniqueResult struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State State  `json:"state"` // kept: all rules are; lost: all rules are
	Rules int    `json:"rules"` // that read the audit log
	Kept  int    `json:"kept"`  // of them in full
}

// Report is what a policy leaves of detection.
type Report struct {
	Techniques []TechniqueResult `json:"techniques"` // with a rule that reads the audit log, by id
	Rules      []RuleResult      `json:"rules"`      // that read the audit log, by id
}

// Lost returns how many techniques are lost.
func (r *Report) Lost() int {
	n := 0
	for _, t := range r.Techniques {
		if t.State == Lost {
			n++
		}
	}
	return n
}

// Check runs the firing tests of the rules through the engine as if the policy had
// been in force when their records were written. A rule without a firing test that
// holds an audit record, and one that is deprecated, is left out. A test that does
// not fire with the full records is an error: it says nothing about a policy.
func (p *Policy) Check(engine ruletest.Engine, m *matrix.Matrix, rules []rule.Rule) (Report, error) {
	var rep Report
	byTechnique := map[string]*TechniqueResult{}
	for i := range rules {
		r := &rules[i]
		if r.Status == rule.Deprecated {
			continue
		}
		res, err := p.checkRule(engine, r)
		if err != nil {
			return rep, err
		}
		if res.Tests == 0 {
			continue
		}
		rep.Rules = append(rep.Rules, res)
		for _, id := range r.Techniques {
			count(byTechnique, m, id, res.State)
		}
	}
	for _, t := range byTechnique {
		rep.Techniques = append(rep.Techniques, *t)
	}
	slices.SortFunc(rep.Techniques, func(a, b TechniqueResult) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(rep.Rules, func(a, b RuleResult) int { return strings.Compare(a.ID, b.ID) })
	return rep, nil
}

// count adds the state of one rule to a technique of the threat matrix.
func count(all map[string]*TechniqueResult, m *matrix.Matrix, id string, s State) {
	t, ok := m.Technique(id)
	if !ok || !t.Microsoft() {
		return
	}
	c := all[id]
	if c == nil {
		c = &TechniqueResult{ID: id, Name: t.Name, State: s}
		all[id] = c
	}
	c.Rules++
	if s == Kept {
		c.Kept++
	}
	if s != c.State {
		c.State = Partly
	}
}

func (p *Policy) checkRule(engine ruletest.Engine, r *rule.Rule) (RuleResult, error) {
	res := RuleResult{ID: r.ID, State: Partly, Reasons: []string{}}
	for _, t := range r.Tests.Fires {
		if !slices.ContainsFunc(t.Events, func(e rule.TestEvent) bool { return e.Format == rule.Audit }) {
			continue
		}
		fires, reasons, err := p.try(engine, r.ID, t)
		if err != nil {
			return res, fmt.Errorf("%s: %s: test %q: %w", t.Position, r.ID, t.Name, err)
		}
		res.Tests++
		if fires {
			res.Fire++
			continue
		}
		for _, reason := range reasons {
			if !slices.Contains(res.Reasons, reason) {
				res.Reasons = append(res.Reasons, reason)
			}
		}
	}
	switch res.Fire {
	case res.Tests:
		res.State = Kept
	case 0:
		res.State = Lost
	}
	return res, nil
}

// try runs one test with what the policy leaves of its records, and says why it
// does not fire.
func (p *Policy) try(engine ruletest.Engine, id string, t rule.Test) (bool, []string, error) {
	var full, left []ruletest.Record
	var reasons []string
	last := false // the last record is logged
	for i, e := range t.Events {
		r, err := ruletest.Expand(e, i)
		if err != nil {
			return false, nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		c := cut{raw: r.Raw}
		if e.Format == rule.Audit {
			if c, err = p.cut(r.Raw); err != nil {
				return false, nil, fmt.Errorf("event %d: %w", i+1, err)
			}
		}
		full = append(full, r)
		if last = c.raw != nil; last {
			left = append(left, ruletest.Record{Format: r.Format, Raw: c.raw})
		}
		if c.reason != "" {
			reasons = append(reasons, c.reason)
		}
	}
	if len(reasons) == 0 {
		return true, nil, nil
	}
	if ok, err := fires(engine, id, full); err != nil {
		return false, nil, err
	} else if !ok {
		return false, nil, errors.New("it does not fire with the full records")
	}
	if !last {
		return false, reasons[len(reasons)-1:], nil
	}
	ok, err := fires(engine, id, left)
	return ok, reasons, err
}

// fires reports whether the last record raises the rule.
func fires(engine ruletest.Engine, id string, records []ruletest.Record) (bool, error) {
	matches, err := engine.Replay(records)
	if err != nil {
		return false, fmt.Errorf("replaying the records: %w", err)
	}
	return len(matches) > 0 && slices.Contains(matches[len(matches)-1], id), nil
}
