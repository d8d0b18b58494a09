package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
)

func (c *ruleCommand) test() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [ID|FILE]...",
		Short: "Run the tests of rules through the whole engine",
		Long: "Run the tests that rules carry: all, or those of the rules named by id or file.\n" +
			"Exit code 0: all pass, 1: some fail, 2: rules cannot be read.",
		RunE: func(cmd *cobra.Command, args []string) error { return c.runTest(cmd.OutOrStdout(), args) },
	}
	c.outputFlag(cmd)
	return cmd
}

func (c *ruleCommand) runTest(w io.Writer, args []string) error {
	if err := c.checkOutput(); err != nil {
		return err
	}
	if c.deps.Engine == nil {
		return errors.New("this program has no engine to run tests with")
	}
	pack, rules, err := c.choose(args)
	if err != nil {
		return err
	}
	engine, err := c.deps.Engine(pack)
	if err != nil {
		return fmt.Errorf("building the engine: %w", err)
	}
	rep := ruletest.Run(engine, rules)
	if err := c.printReport(w, rep); err != nil {
		return err
	}
	if len(rep.Failures) > 0 {
		return ErrFindings
	}
	return nil
}

// choose returns the rules the arguments name, all without arguments, and the
// pack with files among them put in.
func (c *ruleCommand) choose(args []string) (*rule.Pack, []rule.Rule, error) {
	pack, err := c.loadClean()
	if err != nil {
		return nil, nil, err
	}
	if len(args) == 0 {
		return pack, pack.Rules, nil
	}
	var chosen []rule.Rule
	for _, arg := range args {
		r, err := c.pick(pack, arg)
		if err != nil {
			return nil, nil, err
		}
		chosen = append(chosen, *r)
		pack = pack.With(*r)
	}
	return pack, chosen, nil
}

// failureView is a failed test as -o json and yaml write it.
type failureView struct {
	File    string `json:"file" yaml:"file"`
	Line    int    `json:"line" yaml:"line"`
	Rule    string `json:"rule" yaml:"rule"`
	Test    string `json:"test" yaml:"test"`
	Message string `json:"message" yaml:"message"`
}

type reportView struct {
	Rules    int           `json:"rules" yaml:"rules"`
	Tests    int           `json:"tests" yaml:"tests"`
	Failures []failureView `json:"failures" yaml:"failures"`
}

func (c *ruleCommand) printReport(w io.Writer, rep ruletest.Report) error {
	if c.output != "table" {
		v := reportView{Rules: rep.Rules, Tests: rep.Tests, Failures: make([]failureView, 0, len(rep.Failures))}
		for _, f := range rep.Failures {
			v.Failures = append(v.Failures, failureView{f.File, f.Line, f.Rule, f.Test, f.Message})
		}
		return c.encode(w, v)
	}
	for _, f := range rep.Failures {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return fmt.Errorf("writing failures: %w", err)
		}
	}
	_, err := fmt.Fprintf(w, "%d tests of %d rules: %d failed\n", rep.Tests, rep.Rules, len(rep.Failures))
	return err
}
