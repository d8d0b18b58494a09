// Package condition is the rule language: CEL over the fields of event.Fields()
// and the lists of a rule pack, parsed and type-checked by cel-go.
//
// It says where a condition is wrong, which fields and lists it reads, and
// which constants it requires (Requirements), so that an index can leave a rule
// out without running it. Package detect compiles what is checked here.
//
// An Env and a Checked may be used from several goroutines.
package condition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/clew-sec/clew/internal/event"
)

// The limits of one condition. They are far above what a person writes and keep
// a pack from an untrusted place from costing more than its share.
const (
	MaxBytes     = 8 << 10 // of the text
	maxRecursion = 64      // nested expressions
	maxNodes     = 8000    // of the syntax tree, macros expanded
	maxRegexSize = 4000    // instructions of a compiled pattern
)

// ListPrefix precedes the name of a list in a condition.
const ListPrefix = "list."

// Env is the schema conditions are checked against.
type Env struct {
	cel    *cel.Env
	fields map[string]event.Field
	lists  map[string][]string
}

// New returns the Env of the event schema and the given lists, by name without
// prefix. It keeps lists; the caller must not change them.
func New(lists map[string][]string) (*Env, error) {
	env := &Env{fields: map[string]event.Field{}, lists: lists}
	opts := append(functions(),
		cel.ParserExpressionSizeLimit(MaxBytes),
		cel.ParserRecursionLimit(maxRecursion),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexSize),
	)
	for _, f := range event.Fields() {
		env.fields[f.Name] = f
		opts = append(opts, cel.Variable(f.Name, celType(f.Type)))
	}
	for name := range lists {
		opts = append(opts, cel.Variable(ListPrefix+name, cel.ListType(cel.StringType)))
	}
	c, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("building the CEL environment of the event schema: %w", err)
	}
	env.cel = c
	return env, nil
}

func celType(t event.FieldType) *cel.Type {
	switch t {
	case event.Int:
		return cel.IntType
	case event.Bool:
		return cel.BoolType
	case event.Strings:
		return cel.ListType(cel.StringType)
	default:
		return cel.StringType
	}
}

// Field returns the field of that name.
func (env *Env) Field(name string) (event.Field, bool) {
	f, ok := env.fields[name]
	return f, ok
}

// List returns the values of the list of that name, without prefix. The slice
// must not be changed.
func (env *Env) List(name string) ([]string, bool) {
	l, ok := env.lists[name]
	return l, ok
}

// CEL returns the cel-go environment, to plan a program of a Checked.
func (env *Env) CEL() *cel.Env { return env.cel }

// Issue is one thing wrong with a condition. Offset counts code points from the
// start of its text.
type Issue struct {
	Offset  int
	Message string
}

// Checked is a condition that parsed and type-checked as a bool.
type Checked struct {
	Source string
	AST    *cel.Ast
	Fields []string // names read, sorted
	Lists  []string // lists read, without prefix, sorted
}

// Root returns the checked expression. Fields and lists are identifiers with
// dots in it.
func (c *Checked) Root() ast.Expr { return c.AST.NativeRep().Expr() }

// Offset returns where in the text an expression begins, in code points.
func (c *Checked) Offset(e ast.Expr) int { return offsetOf(c.AST.NativeRep().SourceInfo(), e.ID()) }

// Check parses and checks a condition. Either the Checked is not nil or there
// is at least one Issue.
func (env *Env) Check(src string) (*Checked, []Issue) {
	if len(src) > MaxBytes {
		return nil, []Issue{{Message: fmt.Sprintf("the condition has %d bytes, the limit is %d", len(src), MaxBytes)}}
	}
	if strings.TrimSpace(src) == "" {
		return nil, []Issue{{Message: "the condition is empty"}}
	}
	parsed, errs := env.cel.Parse(src)
	if errs.Err() != nil {
		return nil, celIssues(src, errs)
	}
	unknown := env.unknownNames(parsed.NativeRep())
	checked, errs := env.cel.Check(parsed)
	if errs.Err() != nil {
		return nil, nameIssues(celIssues(src, errs), unknown)
	}
	if checked.OutputType().Kind() != types.BoolKind {
		return nil, []Issue{{Message: fmt.Sprintf("the condition is of type %s, it must be bool", checked.OutputType())}}
	}
	c := &Checked{Source: src, AST: checked}
	c.collect()
	if issues := env.constants(c); len(issues) > 0 {
		return nil, issues
	}
	return c, nil
}

// celIssues turns cel-go's errors (1-based line, 0-based column in code points)
// into offsets. cel-go reports some mistakes twice.
func celIssues(src string, errs *cel.Issues) []Issue {
	starts := lineStarts(src)
	var out []Issue
	for _, e := range errs.Errors() {
		is := Issue{Message: e.Message}
		if line := e.Location.Line(); line >= 1 && line <= len(starts) {
			is.Offset = starts[line-1] + max(e.Location.Column(), 0)
		}
		if !slices.Contains(out, is) {
			out = append(out, is)
		}
	}
	return out
}

// lineStarts returns the code point offset at which each line begins.
func lineStarts(src string) []int {
	starts, n := []int{0}, 0
	for _, r := range src {
		n++
		if r == '\n' {
			starts = append(starts, n)
		}
	}
	return starts
}

func offsetOf(info *ast.SourceInfo, id int64) int {
	r, ok := info.GetOffsetRange(id)
	if !ok {
		return 0
	}
	return max(int(r.Start), 0)
}

// collect fills Fields and Lists.
func (c *Checked) collect() {
	Walk(c.Root(), func(e ast.Expr) {
		name := Name(e)
		if l, ok := strings.CutPrefix(name, ListPrefix); ok {
			c.Lists = append(c.Lists, l)
		} else if strings.Contains(name, ".") {
			c.Fields = append(c.Fields, name)
		}
	})
	slices.Sort(c.Fields)
	slices.Sort(c.Lists)
	c.Fields, c.Lists = slices.Compact(c.Fields), slices.Compact(c.Lists)
}

// constants checks the constant arguments that only fail at run time: patterns
// and networks.
func (env *Env) constants(c *Checked) []Issue {
	var out []Issue
	Walk(c.Root(), func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch call.FunctionName() {
		case "matches":
			arg := call.Args()[len(call.Args())-1]
			if p, ok := StringConst(arg); ok {
				if _, err := regexp.Compile(p); err != nil {
					out = append(out, Issue{c.Offset(arg), fmt.Sprintf("pattern %q: %v", p, err)})
				}
			}
		case InCIDR:
			arg := call.Args()[1]
			nets, ok := env.ConstStrings(arg)
			if _, err := Networks(nets); ok && err != nil {
				out = append(out, Issue{c.Offset(arg), err.Error()})
			}
		}
	})
	return out
}

// ConstStrings returns the values of an expression that is a list of the pack
// or a list literal of strings.
func (env *Env) ConstStrings(e ast.Expr) ([]string, bool) {
	if name, ok := strings.CutPrefix(Name(e), ListPrefix); ok {
		return env.List(name)
	}
	if e.Kind() != ast.ListKind {
		return nil, false
	}
	out := make([]string, 0, e.AsList().Size())
	for _, el := range e.AsList().Elements() {
		s, ok := StringConst(el)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}
