package condition

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/clew-sec/clew/internal/event"
)

// Const is a constant a field is compared with: Str for a String field, Int for
// an Int field, Int 0 or 1 for a Bool field.
type Const struct {
	Str string
	Int int64
}

// Values is a set of constants, or with Not all values but those.
type Values struct {
	Not  bool
	Each []Const // sorted, without duplicates
}

// Finite reports whether the set is a list of values rather than all but some.
func (v Values) Finite() bool { return !v.Not }

// Selective reports whether the set leaves out what most events have: it is
// finite, or lacks the zero value.
func (v Values) Selective() bool { return v.Finite() || !v.Has(Const{}) }

// Has reports whether the set holds c.
func (v Values) Has(c Const) bool {
	_, in := slices.BinarySearchFunc(v.Each, c, compareConst)
	return in != v.Not
}

func compareConst(a, b Const) int {
	switch {
	case a.Str != b.Str && a.Str < b.Str, a.Str == b.Str && a.Int < b.Int:
		return -1
	case a == b:
		return 0
	default:
		return 1
	}
}

func values(not bool, cs ...Const) Values {
	slices.SortFunc(cs, compareConst)
	return Values{not, slices.Compact(cs)}
}

// intersect returns the values in both sets.
func (v Values) intersect(w Values) Values {
	switch {
	case v.Not && w.Not:
		return values(true, slices.Concat(v.Each, w.Each)...)
	case v.Not:
		return w.intersect(v)
	default:
		return values(false, slices.DeleteFunc(slices.Clone(v.Each), func(c Const) bool { return !w.Has(c) })...)
	}
}

func (v Values) complement() Values { return Values{!v.Not, v.Each} }

// union is De Morgan's dual of intersect.
func (v Values) union(w Values) Values {
	return v.complement().intersect(w.complement()).complement()
}

// Requirements says, for each field named in it, which values the field must
// have for a condition to hold. Fields not in it are unconstrained.
type Requirements map[string]Values

// Requirements derives what a condition requires of String, Int and Bool
// fields. It is sound, not complete: when an event's value is outside the set,
// the condition cannot be true.
func (env *Env) Requirements(c *Checked) Requirements { return env.require(c.Root(), false) }

// require returns the requirements of e, or of its negation.
func (env *Env) require(e ast.Expr, negated bool) Requirements {
	if f, ok := env.fields[Name(e)]; ok && f.Type == event.Bool {
		return Requirements{f.Name: values(negated, Const{Int: 1})}
	}
	if e.Kind() != ast.CallKind {
		return nil
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalNot:
		return env.require(args[0], !negated)
	case operators.LogicalAnd:
		return combine(env.require(args[0], negated), env.require(args[1], negated), !negated)
	case operators.LogicalOr:
		return combine(env.require(args[0], negated), env.require(args[1], negated), negated)
	case operators.Conditional:
		then := combine(env.require(args[0], false), env.require(args[1], negated), true)
		other := combine(env.require(args[0], true), env.require(args[2], negated), true)
		return combine(then, other, false)
	case operators.Equals:
		return env.equals(args[0], args[1], negated)
	case operators.NotEquals:
		return env.equals(args[0], args[1], !negated)
	case operators.In:
		return env.member(args[0], args[1], negated)
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return env.order(call.FunctionName(), args[0], args[1], negated)
	case "startsWith", "endsWith", "contains":
		return env.part(call, negated)
	}
	return nil
}

// combine joins the requirements of two operands of && (both) or ||.
func combine(a, b Requirements, both bool) Requirements {
	out := Requirements{}
	for f, v := range a {
		w, shared := b[f]
		switch {
		case shared && both:
			out[f] = v.intersect(w)
		case shared:
			out[f] = v.union(w)
		case both:
			out[f] = v
		}
	}
	if both {
		for f, w := range b {
			if _, shared := a[f]; !shared {
				out[f] = w
			}
		}
	}
	return out
}

func (env *Env) equals(a, b ast.Expr, negated bool) Requirements {
	if _, ok := env.fields[Name(a)]; !ok {
		a, b = b, a
	}
	f, ok := env.fields[Name(a)]
	c, isConst := constOf(b)
	if !ok || !isConst || f.Type == event.Strings {
		return nil
	}
	return Requirements{f.Name: values(negated, c)}
}

func constOf(e ast.Expr) (Const, bool) {
	if s, ok := StringConst(e); ok {
		return Const{Str: s}, true
	}
	if n, ok := IntConst(e); ok {
		return Const{Int: n}, true
	}
	if b, ok := BoolConst(e); ok {
		if b {
			return Const{Int: 1}, true
		}
		return Const{}, true
	}
	return Const{}, false
}

// member handles field in [constants] and field in list.x.
func (env *Env) member(a, b ast.Expr, negated bool) Requirements {
	f, ok := env.fields[Name(a)]
	if !ok || f.Type == event.Strings {
		return nil
	}
	if strs, ok := env.ConstStrings(b); ok && f.Type == event.String {
		cs := make([]Const, len(strs))
		for i, s := range strs {
			cs[i] = Const{Str: s}
		}
		return Requirements{f.Name: values(negated, cs...)}
	}
	if b.Kind() != ast.ListKind {
		return nil
	}
	var cs []Const
	for _, el := range b.AsList().Elements() {
		c, ok := constOf(el)
		if !ok {
			return nil
		}
		cs = append(cs, c)
	}
	return Requirements{f.Name: values(negated, cs...)}
}

// order excludes the everyday values -1 and 0 (unknown, none) from an Int field
// compared with a constant: counters are nearly always 0.
func (env *Env) order(op string, a, b ast.Expr, negated bool) Requirements {
	f, ok := env.fields[Name(a)]
	n, isConst := IntConst(b)
	if !ok || !isConst || f.Type != event.Int {
		return nil
	}
	var out []Const
	for _, v := range []int64{-1, 0} {
		if holds(op, v, n) == negated {
			out = append(out, Const{Int: v})
		}
	}
	if len(out) == 0 {
		return nil
	}
	return Requirements{f.Name: values(true, out...)}
}

func holds(op string, a, b int64) bool {
	switch op {
	case operators.Less:
		return a < b
	case operators.LessEquals:
		return a <= b
	case operators.Greater:
		return a > b
	default:
		return a >= b
	}
}

// part excludes "" from a String field that must contain something.
func (env *Env) part(call ast.CallExpr, negated bool) Requirements {
	if negated || !call.IsMemberFunction() {
		return nil
	}
	f, ok := env.fields[Name(call.Target())]
	s, isConst := StringConst(call.Args()[0])
	if !ok || !isConst || s == "" || f.Type != event.String {
		return nil
	}
	return Requirements{f.Name: values(true, Const{})}
}
