// Package ruletest runs the tests that rules carry: it completes their partial
// records, lets an engine see them and compares which rules matched.
package ruletest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/rule"
)

// Record is one complete native record.
type Record struct {
	Format rule.Format
	Raw    []byte
}

// Engine runs records through everything that comes before a flag.
type Engine interface {
	// Replay forgets what it saw before, takes the records in their order and
	// returns, for each, the ids of the rules that matched it. The error is for
	// a record that cannot be read.
	Replay(records []Record) ([][]string, error)
}

// Failure is one test that did not do what it says.
type Failure struct {
	rule.Position        // of the test
	Rule          string // id
	Test          string // name
	Message       string
}

// String returns file:line:column: rule: test "name": message.
func (f Failure) String() string {
	return fmt.Sprintf("%s: %s: test %q: %s", f.Position, f.Rule, f.Test, f.Message)
}

// Report is what a run of tests came to.
type Report struct {
	Rules    int // rules that have tests
	Tests    int
	Failures []Failure
}

// Run runs all tests of the rules, in order. Deprecated rules are left out, as
// they never match.
func Run(engine Engine, rules []rule.Rule) Report {
	var rep Report
	for i := range rules {
		r := &rules[i]
		n := len(r.Tests.Fires) + len(r.Tests.Silent)
		if n == 0 || r.Status == rule.Deprecated {
			continue
		}
		rep.Rules++
		rep.Tests += n
		for _, t := range r.Tests.Fires {
			rep.add(r, t, fires(engine, r.ID, t))
		}
		for _, t := range r.Tests.Silent {
			rep.add(r, t, silent(engine, r.ID, t))
		}
	}
	return rep
}

func (rep *Report) add(r *rule.Rule, t rule.Test, message string) {
	if message != "" {
		rep.Failures = append(rep.Failures, Failure{t.Position, r.ID, t.Name, message})
	}
}

// fires returns why the last event did not raise the rule, "" when it did.
func fires(engine Engine, id string, t rule.Test) string {
	matches, err := replay(engine, t)
	if err != nil {
		return err.Error()
	}
	last := matches[len(matches)-1]
	if slices.Contains(last, id) {
		return ""
	}
	why := "the last event did not raise the rule"
	for i, ids := range matches {
		if slices.Contains(ids, id) {
			return fmt.Sprintf("%s, event %d of %d did", why, i+1, len(matches))
		}
	}
	if len(last) > 0 {
		why += "; it raised " + strings.Join(last, ", ")
	}
	return why
}

// silent returns which event raised the rule, "" when none did.
func silent(engine Engine, id string, t rule.Test) string {
	matches, err := replay(engine, t)
	if err != nil {
		return err.Error()
	}
	for i, ids := range matches {
		if slices.Contains(ids, id) {
			return fmt.Sprintf("event %d of %d raised the rule", i+1, len(matches))
		}
	}
	return ""
}

func replay(engine Engine, t rule.Test) ([][]string, error) {
	records := make([]Record, len(t.Events))
	for i, e := range t.Events {
		r, err := Expand(e, i)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		records[i] = r
	}
	matches, err := engine.Replay(records)
	if err != nil {
		return nil, fmt.Errorf("replaying the events: %w", err)
	}
	if len(matches) != len(records) || len(records) == 0 {
		return nil, fmt.Errorf("the engine answered for %d of %d events", len(matches), len(records))
	}
	return matches, nil
}
