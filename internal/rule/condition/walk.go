package condition

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// Walk calls f for e and everything below it, parents first.
func Walk(e ast.Expr, f func(ast.Expr)) {
	f(e)
	for _, c := range children(e) {
		Walk(c, f)
	}
}

func children(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.CallKind:
		c := e.AsCall()
		if c.IsMemberFunction() {
			return append([]ast.Expr{c.Target()}, c.Args()...)
		}
		return c.Args()
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var out []ast.Expr
		for _, en := range e.AsMap().Entries() {
			out = append(out, en.AsMapEntry().Key(), en.AsMapEntry().Value())
		}
		return out
	case ast.StructKind:
		var out []ast.Expr
		for _, f := range e.AsStruct().Fields() {
			out = append(out, f.AsStructField().Value())
		}
		return out
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		return []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()}
	default:
		return nil
	}
}

// Name returns the identifier an expression is, "" when it is something else.
func Name(e ast.Expr) string {
	if e.Kind() != ast.IdentKind {
		return ""
	}
	return e.AsIdent()
}

// StringConst returns the value of a string literal.
func StringConst(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// IntConst returns the value of an int literal.
func IntConst(e ast.Expr) (int64, bool) {
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	n, ok := e.AsLiteral().(types.Int)
	return int64(n), ok
}

// BoolConst returns the value of a bool literal.
func BoolConst(e ast.Expr) (value, ok bool) {
	if e.Kind() != ast.LiteralKind {
		return false, false
	}
	b, ok := e.AsLiteral().(types.Bool)
	return bool(b), ok
}

// unknownName is a dotted name that is neither field nor list.
type unknownName struct {
	path    string
	offset  int
	message string
}

// unknownNames finds, before checking, the dotted names that are not in the
// schema: cel-go itself only says that their first element is undeclared.
func (env *Env) unknownNames(a *ast.AST) []unknownName {
	var out []unknownName
	var visit func(e ast.Expr)
	visit = func(e ast.Expr) {
		if path, root := dotted(e); path != "" {
			if msg := env.unknownMessage(path); msg != "" {
				out = append(out, unknownName{path, offsetOf(a.SourceInfo(), root.ID()), msg})
			}
			return
		}
		for _, c := range children(e) {
			visit(c)
		}
	}
	visit(a.Expr())
	return out
}

// dotted returns the path of an identifier or of selections from one.
func dotted(e ast.Expr) (string, ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), e
	case ast.SelectKind:
		if p, root := dotted(e.AsSelect().Operand()); p != "" {
			return p + "." + e.AsSelect().FieldName(), root
		}
	}
	return "", nil
}

func (env *Env) unknownMessage(path string) string {
	for p := path; p != ""; {
		if _, ok := env.fields[p]; ok {
			return ""
		}
		i := strings.LastIndexByte(p, '.')
		if i < 0 {
			break
		}
		p = p[:i]
	}
	if name, ok := strings.CutPrefix(path, ListPrefix); ok {
		if _, ok := env.lists[name]; ok {
			return ""
		}
		return fmt.Sprintf("unknown list %q%s", name, didYouMean(name, keys(env.lists)))
	}
	return fmt.Sprintf("unknown field %q%s", path, didYouMean(path, keys(env.fields)))
}

// UnknownField returns the message for a name that is not in the schema.
func (env *Env) UnknownField(name string) string {
	return fmt.Sprintf("unknown field %q%s", name, didYouMean(name, keys(env.fields)))
}

// about reports whether cel-go's issue is a consequence of this name.
func (u unknownName) about(is Issue) bool {
	return is.Offset >= u.offset && is.Offset <= u.offset+len(u.path) &&
		(strings.HasPrefix(is.Message, "undeclared reference to") || strings.Contains(is.Message, "does not support field selection"))
}

// nameIssues replaces cel-go's messages about unknown dotted names. Names that
// cel-go did not stumble over are macro variables or types.
func nameIssues(issues []Issue, unknown []unknownName) []Issue {
	var out []Issue
	for _, is := range issues {
		if i := slices.IndexFunc(unknown, func(u unknownName) bool { return u.about(is) }); i >= 0 {
			is = Issue{unknown[i].offset, unknown[i].message}
		}
		if !slices.Contains(out, is) {
			out = append(out, is)
		}
	}
	return out
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// didYouMean returns "; did you mean ...?" for the nearest candidate, "" when
// none is near.
func didYouMean(name string, candidates []string) string {
	best, dist := "", 4
	for _, c := range candidates {
		if d := distance(name, c, dist); d < dist {
			best, dist = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// Suggest is didYouMean for other closed vocabularies of a rule file.
func Suggest(name string, candidates []string) string { return didYouMean(name, candidates) }

// distance is the Levenshtein distance of a and b, or limit when it is not
// smaller or the names are too long to be worth it.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost = 1 + min(diag, row[j], row[j+1])
			}
			diag, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(b)], limit)
}
