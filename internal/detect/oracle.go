package detect

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// costLimit bounds one evaluation in cel-go; a condition over every leaf of a
// large request costs some ten thousand.
const costLimit = 1_000_000

// celProgram is a condition planned in cel-go, on first use.
type celProgram struct {
	env  *condition.Env
	ast  *cel.Ast
	once func() (cel.Program, error)
}

func newCEL(env *condition.Env, ast *cel.Ast) *celProgram {
	return &celProgram{env, ast, sync.OnceValues(func() (cel.Program, error) {
		return env.CEL().Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
	})}
}

func (p *celProgram) plan() error {
	if _, err := p.once(); err != nil {
		return fmt.Errorf("planning the condition in cel-go: %w", err)
	}
	return nil
}

func (p *celProgram) eval(e *event.Event) (bool, error) {
	prg, err := p.once()
	if err != nil {
		return false, fmt.Errorf("planning the condition in cel-go: %w", err)
	}
	out, _, err := prg.Eval(activation{p.env, e})
	if err != nil {
		return false, fmt.Errorf("evaluating the condition in cel-go: %w", err)
	}
	b, ok := out.(types.Bool)
	return bool(b), wrongType(ok)
}

func wrongType(ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("evaluating the condition in cel-go: the result is not a bool")
}

// activation shows an event to cel-go as one variable a field.
type activation struct {
	env   *condition.Env
	event *event.Event
}

// ResolveName returns the value of a field or list.
func (a activation) ResolveName(name string) (any, bool) {
	f, ok := a.env.Field(name)
	if !ok {
		if len(name) <= len(condition.ListPrefix) {
			return nil, false
		}
		return a.env.List(name[len(condition.ListPrefix):])
	}
	switch f.Type {
	case event.Int:
		return f.Int(a.event), true
	case event.Bool:
		return f.Bool(a.event), true
	case event.Strings:
		return f.Strings(a.event), true
	default:
		return f.String(a.event), true
	}
}

// Parent returns nil: there is no outer scope.
func (a activation) Parent() cel.Activation { return nil }
