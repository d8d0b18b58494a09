package detect

import (
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// text compiles an expression of type string and prices it.
func (s scope) text(e ast.Expr) (text, int, *Fallback) {
	if c, ok := condition.StringConst(e); ok {
		return func(*frame) string { return c }, 0, nil
	}
	name := condition.Name(e)
	if i := slices.Index(s.vars, name); i >= 0 && name != "" {
		return func(f *frame) string { return f.vars[i] }, costField, nil
	}
	if f, ok := s.env.Field(name); ok && f.Type == event.String {
		get := f.String
		if condition.Rank(name) < 0 {
			return s.computed(name, get), costCompute, nil
		}
		return func(f *frame) string { return get(f.event) }, costField, nil
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == condition.Joined {
		l, err := s.sequence(e.AsCall().Args()[0])
		return func(f *frame) string { return strings.Join(l(f), " ") }, costRegex, err
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Add {
		return s.concatenation(e.AsCall().Args())
	}
	return nil, 0, s.cannot(e, "a computed string has no closure")
}

// computed reads a field that is made on demand, once an event.
func (s scope) computed(name string, get func(*event.Event) string) text {
	m := s.memo(name)
	return func(f *frame) string {
		c := &f.memo[m]
		if c.gen != f.gen {
			c.text, c.gen = get(f.event), f.gen
			f.memoised = true
		}
		return c.text
	}
}

// memo returns the place of a field in frame.memo.
func (s scope) memo(name string) int {
	m, ok := s.memos[name]
	if !ok {
		m = len(s.memos)
		s.memos[name] = m
	}
	return m
}

func (s scope) concatenation(args []ast.Expr) (text, int, *Fallback) {
	x, cost, err := s.text(args[0])
	if err != nil {
		return nil, 0, err
	}
	y, more, err := s.text(args[1])
	return func(f *frame) string { return x(f) + y(f) }, cost + more + costCompute, err
}

// number compiles an expression of type int.
func (s scope) number(e ast.Expr) (number, *Fallback) {
	if n, ok := condition.IntConst(e); ok {
		return func(*frame) int64 { return n }, nil
	}
	if f, ok := s.env.Field(condition.Name(e)); ok && f.Type == event.Int {
		get := f.Int
		return func(f *frame) int64 { return get(f.event) }, nil
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == "size" {
		return s.size(e)
	}
	return nil, s.cannot(e, "arithmetic has no closure")
}

func (s scope) size(e ast.Expr) (number, *Fallback) {
	call := e.AsCall()
	arg := call.Target()
	if !call.IsMemberFunction() {
		arg = call.Args()[0]
	}
	if s.kind(arg) == event.String {
		t, _, err := s.text(arg)
		return func(f *frame) int64 { return int64(utf8.RuneCountInString(t(f))) }, err
	}
	l, err := s.sequence(arg)
	return func(f *frame) int64 { return int64(len(l(f))) }, err
}

// sequence compiles an expression of type list(string): a field, a list of the
// pack, or a literal of constants.
func (s scope) sequence(e ast.Expr) (sequence, *Fallback) {
	if c, ok := s.env.ConstStrings(e); ok {
		return func(*frame) []string { return c }, nil
	}
	f, ok := s.env.Field(condition.Name(e))
	if !ok || f.Type != event.Strings {
		return nil, s.cannot(e, "a computed list has no closure")
	}
	m, get := s.memo(f.Name), f.Strings
	return func(f *frame) []string {
		c := &f.memo[m]
		if c.gen != f.gen {
			c.list, c.gen = get(f.event), f.gen
			f.memoised = true
		}
		return c.list
	}, nil
}

// maxScan is up to how many constants a linear search beats a map.
const maxScan = 6

func (s scope) in(e, a, b ast.Expr) (costed, *Fallback) {
	switch s.kind(a) {
	case event.String:
		return s.inStrings(a, b)
	case event.Int:
		return s.inInts(e, a, b)
	default:
		return costed{}, s.cannot(e, "in over these types has no closure")
	}
}

func (s scope) inStrings(a, b ast.Expr) (costed, *Fallback) {
	x, cost, err := s.text(a)
	if err != nil {
		return costed{}, err
	}
	if c, ok := s.env.ConstStrings(b); ok {
		return costed{member(x, c), cost + min(len(c)*2, costLookup)}, nil
	}
	if b.Kind() == ast.ListKind {
		return s.inComputed(a, b.AsList().Elements())
	}
	l, err := s.sequence(b)
	return costed{func(f *frame) bool { return slices.Contains(l(f), x(f)) }, cost + costCompute}, err
}

func member(x text, c []string) test {
	if len(c) <= maxScan {
		return func(f *frame) bool {
			v := x(f)
			return slices.Contains(c, v)
		}
	}
	set := make(map[string]struct{}, len(c))
	for _, v := range c {
		set[v] = struct{}{}
	}
	return func(f *frame) bool { _, ok := set[x(f)]; return ok }
}

// inComputed is in over a literal that names fields.
func (s scope) inComputed(a ast.Expr, elements []ast.Expr) (costed, *Fallback) {
	var tests []costed
	for _, el := range elements {
		if s.kind(el) != event.String {
			return costed{}, s.cannot(el, "a list of mixed types has no closure")
		}
		t, err := s.equalStrings(a, el, false)
		if err != nil {
			return costed{}, err
		}
		tests = append(tests, t)
	}
	return some(tests), nil
}

func (s scope) inInts(e, a, b ast.Expr) (costed, *Fallback) {
	x, err := s.number(a)
	if err != nil {
		return costed{}, err
	}
	if b.Kind() != ast.ListKind {
		return costed{}, s.cannot(e, "in over a computed list has no closure")
	}
	var c []int64
	for _, el := range b.AsList().Elements() {
		n, ok := condition.IntConst(el)
		if !ok {
			return costed{}, s.cannot(el, "a list of mixed types has no closure")
		}
		c = append(c, n)
	}
	return costed{func(f *frame) bool { return slices.Contains(c, x(f)) }, costField + len(c)}, nil
}

func (s scope) match(e ast.Expr, fn string, target, arg ast.Expr) (costed, *Fallback) {
	x, cost, err := s.text(target)
	if err != nil {
		return costed{}, err
	}
	if fn == "matches" {
		pattern, ok := condition.StringConst(arg)
		if !ok {
			return costed{}, s.cannot(e, "a pattern that is not constant has no closure")
		}
		p, bad := newPattern(pattern)
		if bad != nil {
			return costed{}, s.cannot(e, "pattern: %v", bad)
		}
		return costed{func(f *frame) bool { return p.match(x(f)) }, cost + costRegex}, nil
	}
	y, more, err := s.text(arg)
	cost += more
	switch fn {
	case "startsWith":
		return costed{func(f *frame) bool { return strings.HasPrefix(x(f), y(f)) }, cost + 1}, err
	case "endsWith":
		return costed{func(f *frame) bool { return strings.HasSuffix(x(f), y(f)) }, cost + 1}, err
	default:
		return costed{func(f *frame) bool { return strings.Contains(x(f), y(f)) }, cost + costScan}, err
	}
}

func (s scope) inCIDR(a, b ast.Expr) (costed, *Fallback) {
	x, cost, err := s.text(a)
	if err != nil {
		return costed{}, err
	}
	if c, ok := s.env.ConstStrings(b); ok {
		nets := condition.KnownNetworks(c)
		firsts := firstBytes(nets)
		return costed{func(f *frame) bool {
			ip := x(f)
			return firsts.mayHold(ip) && condition.Contains(nets, ip)
		}, cost + costCompute}, nil
	}
	l, err := s.sequence(b)
	return costed{func(f *frame) bool { return condition.Contains(condition.KnownNetworks(l(f)), x(f)) }, cost + costRegex}, err
}

// macro compiles list.exists(v, …) and list.all(v, …), by the shape cel-go
// expands them to.
func (s scope) macro(e ast.Expr) (costed, *Fallback) {
	m := e.AsComprehension()
	exists, pred := macroShape(m)
	if pred == nil || len(s.vars) == maxVars || m.HasIterVar2() || s.kind(m.IterRange()) != event.Strings {
		return costed{}, s.cannot(e, "this macro has no closure")
	}
	l, err := s.sequence(m.IterRange())
	if err != nil {
		return costed{}, err
	}
	if slices.Contains(s.vars, m.IterVar()) {
		return costed{}, s.cannot(e, "a macro variable that hides another has no closure")
	}
	inner := s
	inner.vars = append(slices.Clone(s.vars), m.IterVar())
	t, err := inner.boolean(pred)
	if err != nil {
		return costed{}, err
	}
	slot, body := len(s.vars), t.test
	return costed{func(f *frame) bool {
		for _, v := range l(f) {
			f.vars[slot] = v
			if body(f) == exists {
				return exists
			}
		}
		return !exists
	}, costCompute + costEach*t.cost}, nil
}

// macroShape returns the predicate of an exists (true) or all (false), nil when
// the comprehension is neither.
func macroShape(m ast.ComprehensionExpr) (exists bool, pred ast.Expr) {
	start, ok := condition.BoolConst(m.AccuInit())
	step := m.LoopStep()
	if !ok || step.Kind() != ast.CallKind || condition.Name(m.Result()) != m.AccuVar() {
		return false, nil
	}
	want := operators.LogicalOr
	if start {
		want = operators.LogicalAnd
	}
	args := step.AsCall().Args()
	if step.AsCall().FunctionName() != want || len(args) != 2 || condition.Name(args[0]) != m.AccuVar() {
		return false, nil
	}
	return !start, args[1]
}
