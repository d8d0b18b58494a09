// Package detect evaluates rules: it compiles their conditions to typed
// closures behind an index of the constants they require, and runs on an event
// only the few that could match.
//
// Conditions are CEL (package condition). What the closures do not cover runs in
// cel-go itself, rule by rule; Set.Explain says which. EvalCEL runs any rule in
// cel-go and is the oracle of the differential tests.
//
// # Errors
//
// A field that an event does not have reads as its zero value, so compiled
// conditions cannot fail. A condition that fails in cel-go (an index out of
// range, a cost limit) does not match.
package detect

import (
	"fmt"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// Set is a compiled rule pack. It has one owner at a time: evaluation reuses
// its scratch memory. Clone gives another goroutine its own.
type Set struct {
	*program
	frame frame
}

// program is the part of a Set that never changes.
type program struct {
	rules  []compiled
	groups [groupCount]index
	memos  int // fields made on demand, which are read once an event
}

// compiled is one rule.
type compiled struct {
	rule        *rule.Rule
	checked     *condition.Checked
	message     *rule.Template
	needs       condition.Requirements
	prefiltered bool        // test is more than true
	test        test        // whole condition, or what of it must hold before cel is asked
	cel         *celProgram // oracle, and the condition itself when fallback is set
	fallback    []Fallback  // why cel-go is needed, empty when it is not
}

// Fallback is a part of a condition that has no closure.
type Fallback struct {
	Offset int    // code points from the start of the condition
	Reason string // what is not covered
}

// group is a kind of events that rules look at.
type group uint8

// The groups.
const (
	groupAPI group = iota
	groupCloudTrail
	groupGCP
	groupAzure
	groupCount
	groupNone = groupCount
)

func groupOf(kind event.Kind, source event.Source) group {
	if kind == event.KindAPIRequest {
		return groupAPI
	}
	if kind != event.KindCloudCall {
		return groupNone
	}
	switch source {
	case event.SourceCloudTrail:
		return groupCloudTrail
	case event.SourceGCPAudit:
		return groupGCP
	case event.SourceAzureActivity:
		return groupAzure
	}
	return groupNone
}

// Compile compiles rules; lists are those their conditions name. Deprecated
// rules keep their index but never match. The slice must not be changed
// afterwards.
func Compile(rules []rule.Rule, lists map[string][]string) (*Set, error) {
	return CompileFor(rules, lists, nil)
}

// CompileFor is Compile with sample events, from which it learns which fields
// tell rules apart best. Without them it goes by a fixed preference. The sample
// changes the order of work, never the result.
func CompileFor(rules []rule.Rule, lists map[string][]string, sample []*event.Event) (*Set, error) {
	env, err := condition.New(lists)
	if err != nil {
		return nil, fmt.Errorf("compiling rules: %w", err)
	}
	p := &program{rules: make([]compiled, len(rules))}
	c := &compiler{env: env, memos: map[string]int{}}
	for i := range rules {
		if p.rules[i], err = c.rule(&rules[i]); err != nil {
			return nil, fmt.Errorf("compiling rule %q: %w", rules[i].ID, err)
		}
	}
	p.memos = len(c.memos)
	for g := range p.groups {
		p.groups[g] = buildIndex(p.rules, group(g), env, sample)
	}
	return newSet(p), nil
}

func newSet(p *program) *Set {
	s := &Set{program: p}
	s.frame.memo = make([]memo, p.memos)
	s.frame.bits = make([]uint64, (len(p.rules)+63)/64)
	return s
}

// Clone returns a Set with the same rules for another owner.
func (s *Set) Clone() *Set { return newSet(s.program) }

// Len returns the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Rule returns the rule of an index as Eval appends it.
func (s *Set) Rule(i int32) *rule.Rule { return s.rules[i].rule }

// AppendMessage appends the flag message of rule i for e: see rule.Template.
func (s *Set) AppendMessage(dst []byte, i int32, e *event.Event) []byte {
	return s.rules[i].message.Append(dst, e)
}

// Eval appends the indexes of the rules that match e, ascending. Hot path: it
// does not allocate unless a condition reads a field that is itself made on
// demand, or falls back to cel-go.
func (s *Set) Eval(e *event.Event, hits []int32) []int32 {
	g := groupOf(e.Kind, e.Source)
	if g == groupNone {
		return hits
	}
	f := &s.frame
	f.event = e
	f.gen++
	for w, word := range s.groups[g].candidates(e, f.bits) {
		for ; word != 0; word &= word - 1 {
			i := int32(w<<6 + trailing(word))
			if s.rules[i].matches(f) {
				hits = append(hits, i)
			}
		}
	}
	f.release()
	return hits
}

// release forgets the event, so that nothing of it is held until the next one.
func (f *frame) release() {
	f.event = nil
	if f.memoised {
		clear(f.memo)
		f.memoised = false
	}
}

func (c *compiled) matches(f *frame) bool {
	if !c.test(f) {
		return false
	}
	if len(c.fallback) == 0 {
		return true
	}
	ok, err := c.cel.eval(f.event)
	return ok && err == nil
}

// EvalCEL runs the condition of rule i in cel-go, without index and whatever
// the event's kind.
func (s *Set) EvalCEL(i int, e *event.Event) (bool, error) { return s.rules[i].cel.eval(e) }

// EvalClosure runs the closure of rule i without index and whatever the event's
// kind; ok is false when the rule has none of its own.
func (s *Set) EvalClosure(i int, e *event.Event) (match, ok bool) {
	if len(s.rules[i].fallback) > 0 {
		return false, false
	}
	s.frame.event = e
	s.frame.gen++
	return s.rules[i].test(&s.frame), true
}

// Applies reports whether rule i looks at events like e at all.
func (s *Set) Applies(i int, e *event.Event) bool {
	r := s.rules[i].rule
	return r.Status != rule.Deprecated && groupOf(e.Kind, e.Source) == groupOf(r.Kind(), r.Source)
}

// Explanation says what became of a rule.
type Explanation struct {
	Fields    []string               // fields the condition reads
	Lists     []string               // lists it names
	Required  condition.Requirements // what the index can ask for
	Indexed   []string               // fields of these the index does ask, in its order
	Fallback  []Fallback             // parts that run in cel-go; empty: all compiled
	Prefilter bool                   // closures decide before cel-go is asked
	Checked   *condition.Checked
}

// Explain says what the compiler made of rule i.
func (s *Set) Explain(i int) Explanation {
	c := &s.rules[i]
	x := Explanation{Fields: c.checked.Fields, Lists: c.checked.Lists, Required: c.needs, Fallback: c.fallback, Checked: c.checked}
	x.Prefilter = len(c.fallback) > 0 && c.prefiltered
	for _, k := range s.groups[groupOf(c.rule.Kind(), c.rule.Source)].keys {
		if _, ok := c.needs[k.field.Name]; ok {
			x.Indexed = append(x.Indexed, k.field.Name)
		}
	}
	return x
}

// compiler compiles conditions against one environment.
type compiler struct {
	env   *condition.Env
	memos map[string]int // field made on demand → its memo
}

func (c *compiler) rule(r *rule.Rule) (compiled, error) {
	checked, issues := c.env.Check(r.When)
	if len(issues) > 0 {
		return compiled{}, fmt.Errorf("condition, character %d: %s", issues[0].Offset+1, issues[0].Message)
	}
	msg, issues := rule.ParseTemplate(r.Flag, c.env)
	if len(issues) > 0 {
		return compiled{}, fmt.Errorf("flag, character %d: %s", issues[0].Offset+1, issues[0].Message)
	}
	out := compiled{rule: r, checked: checked, message: msg, needs: c.env.Requirements(checked), cel: newCEL(c.env, checked.AST)}
	c.condition(&out)
	if len(out.fallback) > 0 {
		if err := out.cel.plan(); err != nil {
			return compiled{}, err
		}
	}
	return out, nil
}

// condition fills test and fallback. The conjuncts that have a closure run
// first, the cheap ones before the costly: without errors their order does not
// matter.
func (c *compiler) condition(out *compiled) {
	s := scope{compiler: c, checked: out.checked}
	var tests []costed
	for _, term := range conjuncts(out.checked.Root()) {
		t, err := s.boolean(term)
		if err != nil {
			out.fallback = append(out.fallback, *err)
			continue
		}
		tests = append(tests, t)
	}
	out.prefiltered = len(tests) > 0
	out.test = all(tests).test
}
