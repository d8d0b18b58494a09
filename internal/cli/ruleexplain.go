package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/condition"
)

func (c *ruleCommand) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain ID|FILE",
		Short: "Show what the compiler makes of a rule",
		Long: "Show which fields and lists a condition reads, which constants the index asks for\n" +
			"before it runs, and which parts run in cel-go rather than in closures.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.runExplain(cmd.OutOrStdout(), args[0]) },
	}
	c.outputFlag(cmd)
	return cmd
}

// explainView is what explain shows.
type explainView struct {
	Rule     string         `json:"rule" yaml:"rule"`
	File     string         `json:"file" yaml:"file"`
	Events   string         `json:"events" yaml:"events"`
	Runs     string         `json:"runs" yaml:"runs"`
	Fields   []string       `json:"fields" yaml:"fields"`
	Lists    []string       `json:"lists" yaml:"lists"`
	Requires []requireView  `json:"requires" yaml:"requires"`
	CELGo    []fallbackView `json:"celGo" yaml:"celGo"`
}

type requireView struct {
	Field   string   `json:"field" yaml:"field"`
	Not     bool     `json:"not" yaml:"not"` // all values but these
	Values  []string `json:"values" yaml:"values"`
	Indexed bool     `json:"indexed" yaml:"indexed"`
}

type fallbackView struct {
	At     string `json:"at" yaml:"at"`
	Reason string `json:"reason" yaml:"reason"`
}

func (c *ruleCommand) runExplain(w io.Writer, arg string) error {
	if err := c.checkOutput(); err != nil {
		return err
	}
	pack, chosen, err := c.choose([]string{arg})
	if err != nil {
		return err
	}
	set, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(pack.Rules, func(r rule.Rule) bool { return r.ID == chosen[0].ID })
	v := explanationOf(&pack.Rules[i], set.Explain(i), pack.Env)
	if c.output != "table" {
		return c.encode(w, v)
	}
	return printExplanation(w, v)
}

func explanationOf(r *rule.Rule, x detect.Explanation, env *condition.Env) explainView {
	v := explainView{Rule: r.ID, File: r.File, Events: eventsOf(r), Runs: "closures", Fields: x.Fields, Lists: x.Lists}
	switch {
	case x.Prefilter:
		v.Runs = "closures, then cel-go"
	case len(x.Fallback) > 0:
		v.Runs = "cel-go"
	}
	for _, name := range slices.Sorted(maps.Keys(x.Required)) {
		f, _ := env.Field(name)
		need := x.Required[name]
		rv := requireView{Field: name, Not: need.Not, Indexed: slices.Contains(x.Indexed, name)}
		for _, c := range need.Each {
			rv.Values = append(rv.Values, constText(f.Type, c))
		}
		v.Requires = append(v.Requires, rv)
	}
	for _, fb := range x.Fallback {
		v.CELGo = append(v.CELGo, fallbackView{r.ConditionPosition(fb.Offset).String(), fb.Reason})
	}
	return v
}

func eventsOf(r *rule.Rule) string {
	if r.Kind() == event.KindAPIRequest {
		return "Kubernetes API requests of any source"
	}
	return "cloud calls of " + r.Source.String()
}

func constText(t event.FieldType, c condition.Const) string {
	switch t {
	case event.String:
		return strconv.Quote(c.Str)
	case event.Bool:
		return strconv.FormatBool(c.Int != 0)
	default:
		return strconv.FormatInt(c.Int, 10)
	}
}

func printExplanation(w io.Writer, v explainView) error {
	text := &strings.Builder{}
	row := func(key, value string) { fmt.Fprintf(text, "%s\t%s\n", key, value) }
	row("rule", v.Rule)
	row("file", v.File)
	row("looks at", v.Events)
	row("runs in", v.Runs)
	row("fields", strings.Join(v.Fields, ", "))
	if len(v.Lists) > 0 {
		row("lists", strings.Join(v.Lists, ", "))
	}
	key := "requires"
	for _, r := range v.Requires {
		row(key, requireText(r))
		key = ""
	}
	if len(v.Requires) == 0 {
		row(key, "nothing the index can ask for: runs on every event")
	}
	key = "cel-go"
	for _, f := range v.CELGo {
		row(key, f.At+": "+f.Reason)
		key = ""
	}
	return writeColumns(w, text.String())
}

func requireText(r requireView) string {
	op := " in "
	if r.Not {
		op = " not in "
	}
	text := r.Field + op + "[" + strings.Join(r.Values, ", ") + "]"
	if r.Indexed {
		text += "  (index)"
	}
	return text
}
