package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
)

// RuleDeps is what the rule commands need from the rest of clew.
type RuleDeps struct {
	Content
	// Engine builds the engine that the tests of rules run through. It is
	// called once for every `rule test`.
	Engine func(*rule.Pack) (ruletest.Engine, error)
}

// NewRuleCommand returns `clew rule` with its subcommands.
func NewRuleCommand(deps RuleDeps) *cobra.Command {
	c := &ruleCommand{deps: deps}
	cmd := &cobra.Command{
		Use:   "rule",
		Short: "Check, test and explain detection rules",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.packs.register(cmd.PersistentFlags())
	cmd.AddCommand(c.lint(), c.test(), c.list(), c.show(), c.explain(), c.fields())
	for _, sub := range cmd.Commands() {
		sub.SilenceUsage, sub.SilenceErrors = true, true
	}
	return cmd
}

type ruleCommand struct {
	deps   RuleDeps
	packs  Packs
	output string
}

// outputFlag adds -o with the formats a command knows; table is the default.
func (c *ruleCommand) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "output `FORMAT`: table, json or yaml")
}

func (c *ruleCommand) checkOutput() error {
	switch c.output {
	case "table", "json", "yaml":
		return nil
	}
	return fmt.Errorf("output format %q is not one of table, json, yaml", c.output)
}

// load reads the pack. Problems of its files come back apart from the error.
func (c *ruleCommand) load() (*rule.Pack, rule.Problems, error) {
	pack, err := c.packs.load(c.deps.Content)
	if problems, ok := errors.AsType[rule.Problems](err); ok {
		return pack, problems, nil
	}
	return pack, nil, err
}

// loadClean is load for commands that need every file to be right.
func (c *ruleCommand) loadClean() (*rule.Pack, error) {
	pack, problems, err := c.load()
	if err != nil {
		return nil, err
	}
	return pack, asError(problems)
}

func asError(ps rule.Problems) error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// pick returns the rule an argument names: an id of the pack, or a file.
func (c *ruleCommand) pick(pack *rule.Pack, arg string) (*rule.Rule, error) {
	if r := pack.Rule(arg); r != nil {
		return r, nil
	}
	if ext := filepath.Ext(arg); ext != ".yaml" && ext != ".yml" {
		return nil, fmt.Errorf("no rule %q; `clew rule list` shows all", arg)
	}
	text, err := os.ReadFile(arg)
	if err != nil {
		return nil, fmt.Errorf("reading rule: %w", err)
	}
	r, problems := rule.Parse(filepath.ToSlash(arg), text, pack.Env, c.deps.Catalogue)
	return r, asError(problems)
}
