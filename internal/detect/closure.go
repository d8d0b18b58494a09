package detect

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// maxVars is how deep macros may nest in a closure.
const maxVars = 4

// frame is what closures read: the event, and the memory of one evaluation.
type frame struct {
	event *event.Event
	vars  [maxVars]string // macro variables, by nesting

	// Fields that are made on demand are read once an event.
	gen      uint64 // of the event, from 1
	memo     []memo
	memoised bool // memo holds something of the event

	bits []uint64 // candidates
}

// memo is the value of a field made on demand, of type String or Strings.
type memo struct {
	gen  uint64 // event it is of
	text string
	list []string
}

type (
	test     func(*frame) bool
	text     func(*frame) string
	number   func(*frame) int64
	sequence func(*frame) []string
)

// costed is a closure with a rough price in nanoseconds, to run the cheap one
// of two first.
type costed struct {
	test test
	cost int
}

// The prices.
const (
	costField   = 3
	costCompute = 40 // a field that may be made on demand
	costScan    = 30 // contains
	costLookup  = 20 // a set
	costRegex   = 300
	costEach    = 10 // factor of a macro over a list
)

// scope is where an expression stands: which macro variables it sees.
type scope struct {
	*compiler
	checked *condition.Checked
	vars    []string
}

func (s scope) cannot(e ast.Expr, format string, args ...any) *Fallback {
	return &Fallback{s.checked.Offset(e), fmt.Sprintf(format, args...)}
}

// conjuncts splits a && b && c.
func conjuncts(e ast.Expr) []ast.Expr { return flatten(e, operators.LogicalAnd) }

func flatten(e ast.Expr, op string) []ast.Expr {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != op {
		return []ast.Expr{e}
	}
	var out []ast.Expr
	for _, a := range e.AsCall().Args() {
		out = append(out, flatten(a, op)...)
	}
	return out
}

// all is the conjunction of tests, cheapest first.
func all(tests []costed) costed {
	slices.SortStableFunc(tests, func(a, b costed) int { return a.cost - b.cost })
	switch len(tests) {
	case 0:
		return costed{func(*frame) bool { return true }, 0}
	case 1:
		return tests[0]
	}
	fs, cost := closures(tests)
	return costed{func(f *frame) bool {
		for _, t := range fs {
			if !t(f) {
				return false
			}
		}
		return true
	}, cost}
}

// some is the disjunction of tests, cheapest first.
func some(tests []costed) costed {
	slices.SortStableFunc(tests, func(a, b costed) int { return a.cost - b.cost })
	fs, cost := closures(tests)
	return costed{func(f *frame) bool {
		for _, t := range fs {
			if t(f) {
				return true
			}
		}
		return false
	}, cost}
}

func closures(tests []costed) (fs []test, cost int) {
	for _, t := range tests {
		fs, cost = append(fs, t.test), cost+t.cost
	}
	return fs, cost
}

// boolean compiles an expression of type bool.
func (s scope) boolean(e ast.Expr) (costed, *Fallback) {
	switch e.Kind() {
	case ast.LiteralKind:
		if v, ok := condition.BoolConst(e); ok {
			return costed{func(*frame) bool { return v }, 0}, nil
		}
	case ast.IdentKind:
		if f, ok := s.env.Field(e.AsIdent()); ok && f.Type == event.Bool {
			get := f.Bool
			return costed{func(f *frame) bool { return get(f.event) }, costField}, nil
		}
	case ast.ComprehensionKind:
		return s.macro(e)
	case ast.CallKind:
		return s.call(e)
	}
	return costed{}, s.cannot(e, "an expression that has no closure")
}

func (s scope) call(e ast.Expr) (costed, *Fallback) {
	call := e.AsCall()
	args := call.Args()
	switch fn := call.FunctionName(); fn {
	case operators.LogicalAnd, operators.LogicalOr:
		return s.logical(e, fn)
	case operators.LogicalNot:
		t, err := s.boolean(args[0])
		return costed{func(f *frame) bool { return !t.test(f) }, t.cost}, err
	case operators.Conditional:
		return s.conditional(args)
	case operators.Equals:
		return s.equal(e, args[0], args[1], false)
	case operators.NotEquals:
		return s.equal(e, args[0], args[1], true)
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return s.ordered(e, fn, args[0], args[1])
	case operators.In:
		return s.in(e, args[0], args[1])
	case "startsWith", "endsWith", "contains", "matches":
		if call.IsMemberFunction() {
			return s.match(e, fn, call.Target(), args[0])
		}
		return s.match(e, fn, args[0], args[1])
	case condition.InCIDR:
		return s.inCIDR(args[0], args[1])
	default:
		return costed{}, s.cannot(e, "%s has no closure", fn)
	}
}

func (s scope) logical(e ast.Expr, op string) (costed, *Fallback) {
	var tests []costed
	for _, term := range flatten(e, op) {
		t, err := s.boolean(term)
		if err != nil {
			return costed{}, err
		}
		tests = append(tests, t)
	}
	if op == operators.LogicalAnd {
		return all(tests), nil
	}
	return some(tests), nil
}

func (s scope) conditional(args []ast.Expr) (costed, *Fallback) {
	var t [3]costed
	for i := range t {
		var err *Fallback
		if t[i], err = s.boolean(args[i]); err != nil {
			return costed{}, err
		}
	}
	cond, then, other := t[0].test, t[1].test, t[2].test
	return costed{func(f *frame) bool {
		if cond(f) {
			return then(f)
		}
		return other(f)
	}, t[0].cost + max(t[1].cost, t[2].cost)}, nil
}

// kind is the static type of an expression as far as closures know types.
func (s scope) kind(e ast.Expr) event.FieldType {
	t := s.checked.AST.NativeRep().GetType(e.ID())
	switch t.String() {
	case "string":
		return event.String
	case "int":
		return event.Int
	case "bool":
		return event.Bool
	case "list(string)":
		return event.Strings
	default:
		return noType
	}
}

// noType is any type closures do not know.
const noType = event.FieldType(255)

func (s scope) equal(e, a, b ast.Expr, negated bool) (costed, *Fallback) {
	ka, kb := s.kind(a), s.kind(b)
	if ka != kb {
		return costed{}, s.cannot(e, "a comparison of different types has no closure")
	}
	switch ka {
	case event.String:
		return s.equalStrings(a, b, negated)
	case event.Int:
		x, err := s.number(a)
		if err != nil {
			return costed{}, err
		}
		y, err := s.number(b)
		return costed{func(f *frame) bool { return (x(f) == y(f)) != negated }, 2 * costField}, err
	case event.Bool:
		x, err := s.boolean(a)
		if err != nil {
			return costed{}, err
		}
		y, err := s.boolean(b)
		return costed{func(f *frame) bool { return (x.test(f) == y.test(f)) != negated }, x.cost + y.cost}, err
	default:
		return costed{}, s.cannot(e, "a comparison of lists has no closure")
	}
}

func (s scope) equalStrings(a, b ast.Expr, negated bool) (costed, *Fallback) {
	if _, ok := condition.StringConst(a); ok {
		a, b = b, a
	}
	x, cost, err := s.text(a)
	if err != nil {
		return costed{}, err
	}
	if c, ok := condition.StringConst(b); ok {
		if negated {
			return costed{func(f *frame) bool { return x(f) != c }, cost}, nil
		}
		return costed{func(f *frame) bool { return x(f) == c }, cost}, nil
	}
	y, more, err := s.text(b)
	return costed{func(f *frame) bool { return (x(f) == y(f)) != negated }, cost + more}, err
}

func (s scope) ordered(e ast.Expr, op string, a, b ast.Expr) (costed, *Fallback) {
	switch ka, kb := s.kind(a), s.kind(b); {
	case ka == event.Int && kb == event.Int:
		x, err := s.number(a)
		if err != nil {
			return costed{}, err
		}
		y, err := s.number(b)
		return costed{less(op, x, y), 2 * costField}, err
	case ka == event.String && kb == event.String:
		x, cost, err := s.text(a)
		if err != nil {
			return costed{}, err
		}
		y, more, err := s.text(b)
		return costed{less(op, x, y), cost + more}, err
	default:
		return costed{}, s.cannot(e, "an order of these types has no closure")
	}
}

func less[T int64 | string](op string, x, y func(*frame) T) test {
	switch op {
	case operators.Less:
		return func(f *frame) bool { return x(f) < y(f) }
	case operators.LessEquals:
		return func(f *frame) bool { return x(f) <= y(f) }
	case operators.Greater:
		return func(f *frame) bool { return x(f) > y(f) }
	default:
		return func(f *frame) bool { return x(f) >= y(f) }
	}
}
