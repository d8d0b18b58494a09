package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
)

// RuleDeps is what the rule commands need from the rest of clew.
type RuleDeps struct {
	Rules     fs.FS          // the built-in pack
	Catalogue rule.Catalogue // nil: techniques are not looked up
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
	cmd.PersistentFlags().StringArrayVar(&c.replace, "rules", nil, "use the rules of this `DIR` instead of the built-in ones (repeatable)")
	cmd.PersistentFlags().StringArrayVar(&c.add, "add-rules", nil, "use the rules of this `DIR` too; same ids replace (repeatable)")
	cmd.AddCommand(c.lint(), c.test(), c.list(), c.show(), c.explain(), c.fields())
	for _, sub := range cmd.Commands() {
		sub.SilenceUsage, sub.SilenceErrors = true, true
	}
	return cmd
}

type ruleCommand struct {
	deps    RuleDeps
	replace []string
	add     []string
	output  string
}

// outputFlag adds -o with the formats a command knows; table is the default.
func (c *ruleCommand) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "output format: table, json or yaml")
}

func (c *ruleCommand) checkOutput() error {
	switch c.output {
	case "table", "json", "yaml":
		return nil
	}
	return fmt.Errorf("output format %q is not one of table, json, yaml", c.output)
}

// layers returns the folders the rules come from, the built-in one first.
func (c *ruleCommand) layers() ([]fs.FS, error) {
	var out []fs.FS
	if len(c.replace) == 0 {
		out = append(out, c.deps.Rules)
	}
	for _, dir := range append(append([]string(nil), c.replace...), c.add...) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("opening rules: %w", err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("opening rules: %q is not a folder", dir)
		}
		out = append(out, rule.Prefixed(os.DirFS(dir), filepath.ToSlash(dir)))
	}
	return out, nil
}

// load reads the pack. Problems of its files come back apart from the error.
func (c *ruleCommand) load() (*rule.Pack, rule.Problems, error) {
	layers, err := c.layers()
	if err != nil {
		return nil, nil, err
	}
	pack, err := rule.LoadAll(layers, c.deps.Catalogue)
	var problems rule.Problems
	if errors.As(err, &problems) {
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
