package rule

import (
	"regexp/syntax"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/clew-sec/clew/internal/rule/condition"
)

// minTests is the least number of firing and of silent tests of a rule.
const minTests = 2

// Lint returns what Load lets pass but a pack should not ship with: rules
// without enough tests or text, exemptions by name, conditions no index can
// skip, costly patterns, and lists nobody uses.
func Lint(p *Pack) Problems {
	var out Problems
	used := map[string]bool{}
	for i := range p.Rules {
		out = append(out, lintRule(&p.Rules[i], p.Env, used)...)
	}
	for _, l := range p.Lists {
		if !used[l.Name] {
			out = append(out, Problem{Position: Position{File: l.File}, Warning: true, Message: "no condition uses list." + l.Name})
		}
	}
	return out.sorted()
}

// LintRule is Lint for one rule, which env parsed.
func LintRule(r *Rule, env *condition.Env) Problems {
	return lintRule(r, env, map[string]bool{}).sorted()
}

// lintRule checks one rule and marks the lists it uses.
func lintRule(r *Rule, env *condition.Env, used map[string]bool) Problems {
	l := &linter{rule: r, env: env, src: &source{file: r.src.file, text: r.src.text, lines: r.src.lines}}
	l.text()
	c, issues := env.Check(r.When)
	if len(issues) > 0 { // the Env is another than the rule was parsed with
		l.src.errorf(r.position, "when: %s", issues[0].Message)
		return l.src.problems
	}
	for _, name := range c.Lists {
		used[name] = true
	}
	l.cond = c
	l.exemptions()
	l.index()
	l.patterns()
	return l.src.problems
}

type linter struct {
	rule *Rule
	env  *condition.Env
	cond *condition.Checked
	src  *source
}

func (l *linter) warnf(p Position, format string, args ...any) {
	l.src.report(p, true, format, args...)
}

// place is where an expression of the condition stands.
func (l *linter) place(e ast.Expr) Position {
	return l.src.place(l.rule.whenField, l.cond.Offset(e))
}

func (l *linter) text() {
	r, at := l.rule, l.rule.position
	if n := len(r.Tests.Fires); n < minTests {
		l.src.errorf(at, "%d firing tests, at least %d are needed", n, minTests)
	}
	if n := len(r.Tests.Silent); n < minTests {
		l.src.errorf(at, "%d silent tests, at least %d are needed", n, minTests)
	}
	if r.Description == "" {
		l.src.errorf(at, "no description: say why it matters and what the rule sees")
	}
	if len(r.FalsePositives) == 0 {
		l.src.errorf(at, "no falsePositives: say what harmless activity looks alike")
	}
	if r.Response == "" {
		l.warnf(at, "no response: say what to do about it")
	}
}

// index warns of a condition that must run on every event.
func (l *linter) index() {
	for field, v := range l.env.Requirements(l.cond) {
		if condition.Rank(field) >= 0 && v.Selective() {
			return
		}
	}
	l.warnf(l.src.place(l.rule.whenField, 0), "the condition requires no constant (field == \"…\", in […] or != \"\"), so it runs on every event")
}

// names are fields anyone can choose the value of, or that name an identity
// without proving it.
var names = []string{"user.agent", "user.agentFamily", "user.name", "user.serviceAccount", "user.namespace", "k8s.namespace"}

// exemptions refuses conditions that spare what carries a certain name, unless
// they also ask for the lineage of the credential.
func (l *linter) exemptions() {
	lineage := slices.ContainsFunc(l.cond.Fields, func(f string) bool { return strings.HasPrefix(f, "actor.") })
	if lineage {
		return
	}
	found := false
	l.exempt(l.cond.Root(), false, func(e ast.Expr, field string) {
		found = true
		if l.rule.Reviewed == "" {
			l.src.errorf(l.place(e), "names are never an exemption: %s spares whoever carries that value; ask for an actor.* fact, or give the reason in reviewed:", field)
		}
	})
	if !found && l.rule.Reviewed != "" {
		l.warnf(l.rule.position, "reviewed: the condition has no exemption by name")
	}
}

// exempt calls found for each comparison of a name with constants that has to
// be false for the condition to hold.
func (l *linter) exempt(e ast.Expr, negated bool, found func(ast.Expr, string)) {
	if e.Kind() != ast.CallKind {
		return
	}
	call := e.AsCall()
	args := call.Args()
	switch fn := call.FunctionName(); fn {
	case operators.LogicalNot:
		l.exempt(args[0], !negated, found)
	case operators.LogicalAnd, operators.LogicalOr:
		l.exempt(args[0], negated, found)
		l.exempt(args[1], negated, found)
	case operators.Conditional:
		l.exempt(args[1], negated, found)
		l.exempt(args[2], negated, found)
	case operators.Equals, operators.NotEquals:
		if f := nameCompared(args[0], args[1]); f != "" && negated == (fn == operators.Equals) {
			found(e, f)
		}
	case operators.In:
		if f := condition.Name(args[0]); negated && slices.Contains(names, f) {
			found(e, f)
		}
	case "startsWith", "endsWith", "contains", "matches":
		if call.IsMemberFunction() && negated && slices.Contains(names, condition.Name(call.Target())) {
			found(e, condition.Name(call.Target()))
		}
	}
}

// nameCompared returns the name field compared with a constant; "" is not one,
// as it only asks whether there is a value.
func nameCompared(a, b ast.Expr) string {
	if !slices.Contains(names, condition.Name(a)) {
		a, b = b, a
	}
	s, ok := condition.StringConst(b)
	if f := condition.Name(a); ok && s != "" && slices.Contains(names, f) {
		return f
	}
	return ""
}

// longFields hold long text that a client chooses: a pattern costs most there.
var longFields = []string{"object.raw", "user.agent", "k8s.uri", "k8s.message", "cloud.message", "object.annotations", "object.labels", "cloud.params", "cloud.results", "admission.patch", "policy.expressions"}

// maxPatternSize is how many instructions a compiled pattern may have before
// lint calls it costly; "[a-z]{1,50}" has 100.
const maxPatternSize = 500

func (l *linter) patterns() {
	vars := map[string]string{}
	condition.Walk(l.cond.Root(), func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			c := e.AsComprehension()
			vars[c.IterVar()] = condition.Name(c.IterRange())
			return
		}
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "matches" || !e.AsCall().IsMemberFunction() {
			return
		}
		l.pattern(e, vars)
	})
}

func (l *linter) pattern(e ast.Expr, vars map[string]string) {
	call := e.AsCall()
	field := condition.Name(call.Target())
	if over, ok := vars[field]; ok {
		field = over
	}
	if slices.Contains(longFields, field) {
		l.warnf(l.place(e), "a pattern over %s, which clients fill at will: ask for contains or startsWith first, or instead", field)
	}
	text, ok := condition.StringConst(call.Args()[0])
	if !ok {
		l.warnf(l.place(e), "the pattern is not a constant, so it is compiled for every event")
		return
	}
	if n := patternSize(text); n > maxPatternSize {
		l.warnf(l.place(e), "the pattern compiles to %d instructions, more than %d", n, maxPatternSize)
	}
}

func patternSize(text string) int {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0
	}
	return len(prog.Inst)
}
