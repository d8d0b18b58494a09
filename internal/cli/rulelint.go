package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/rule"
)

func (c *ruleCommand) lint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint [FILE]...",
		Short: "Check rules: format, condition, techniques, tests, exemptions",
		Long: "Check all rules and lists, or the given rule files against the lists of the pack.\n" +
			"Exit code 0: no errors (warnings are printed), 1: errors, 2: unreadable.",
		RunE: func(cmd *cobra.Command, args []string) error { return c.runLint(cmd.OutOrStdout(), args) },
	}
	c.outputFlag(cmd)
	return cmd
}

func (c *ruleCommand) runLint(w io.Writer, files []string) error {
	if err := c.checkOutput(); err != nil {
		return err
	}
	pack, problems, err := c.load()
	if err != nil {
		return err
	}
	checked := len(pack.Rules)
	if len(files) == 0 {
		problems = append(problems, rule.Lint(pack)...)
	} else {
		checked = len(files)
		if problems, err = c.lintFiles(pack, files); err != nil {
			return err
		}
	}
	if err := c.printProblems(w, problems, checked, len(pack.Lists)); err != nil {
		return err
	}
	if problems.Errors() > 0 {
		return ErrFindings
	}
	return nil
}

func (c *ruleCommand) lintFiles(pack *rule.Pack, files []string) (rule.Problems, error) {
	var out rule.Problems
	for _, f := range files {
		text, err := readFile(f)
		if err != nil {
			return nil, err
		}
		r, problems := rule.Parse(f, text, pack.Env, c.deps.Catalogue)
		if r != nil {
			problems = rule.LintRule(r, pack.Env)
		}
		out = append(out, problems...)
	}
	return out, nil
}

// problemView is a problem as -o json and yaml write it.
type problemView struct {
	File     string `json:"file" yaml:"file"`
	Line     int    `json:"line" yaml:"line"`
	Column   int    `json:"column" yaml:"column"`
	Severity string `json:"severity" yaml:"severity"`
	Message  string `json:"message" yaml:"message"`
}

func (c *ruleCommand) printProblems(w io.Writer, problems rule.Problems, rules, lists int) error {
	if c.output != "table" {
		views := make([]problemView, len(problems))
		for i, p := range problems {
			views[i] = problemView{p.File, p.Line, p.Column, "error", p.Message}
			if p.Warning {
				views[i].Severity = "warning"
			}
		}
		return c.encode(w, views)
	}
	for _, p := range problems {
		if _, err := fmt.Fprintf(w, "%s\n\n", p.Error()); err != nil {
			return fmt.Errorf("writing problems: %w", err)
		}
	}
	e := problems.Errors()
	_, err := fmt.Fprintf(w, "%d rules, %d lists: %d errors, %d warnings\n", rules, lists, e, len(problems)-e)
	return err
}
