package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/rule"
)

func (c *ruleCommand) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.runList(cmd.OutOrStdout()) },
	}
	c.outputFlag(cmd)
	return cmd
}

// ruleView is a rule as list and show write it in JSON and YAML.
type ruleView struct {
	ID             string   `json:"id" yaml:"id"`
	Title          string   `json:"title" yaml:"title"`
	Severity       string   `json:"severity" yaml:"severity"`
	Technique      []string `json:"technique" yaml:"technique,flow"`
	Tactic         string   `json:"tactic" yaml:"tactic"`
	Source         string   `json:"source" yaml:"source"`
	Status         string   `json:"status" yaml:"status"`
	Description    string   `json:"description,omitempty" yaml:"description,omitempty"`
	When           string   `json:"when,omitempty" yaml:"when,omitempty"`
	Once           string   `json:"once,omitempty" yaml:"once,omitempty"`
	Flag           string   `json:"flag,omitempty" yaml:"flag,omitempty"`
	FalsePositives []string `json:"falsePositives,omitempty" yaml:"falsePositives,omitempty"`
	Response       string   `json:"response,omitempty" yaml:"response,omitempty"`
	File           string   `json:"file" yaml:"file"`
	Tests          int      `json:"tests" yaml:"tests"`
}

func viewOf(r *rule.Rule, full bool) ruleView {
	v := ruleView{
		ID: r.ID, Title: r.Title, Severity: r.Severity.String(), Technique: r.Techniques, Tactic: r.Tactic.String(),
		Source: r.Source.String(), Status: r.Status.String(), File: r.File, Tests: len(r.Tests.Fires) + len(r.Tests.Silent),
	}
	if full {
		v.Description, v.When, v.Flag, v.FalsePositives, v.Response = r.Description, r.When, r.Flag, r.FalsePositives, r.Response
		if r.Once > 0 {
			v.Once = r.Once.String()
		}
	}
	return v
}

func (c *ruleCommand) runList(w io.Writer) error {
	if err := c.checkOutput(); err != nil {
		return err
	}
	pack, err := c.loadClean()
	if err != nil {
		return err
	}
	views := make([]ruleView, len(pack.Rules))
	for i := range pack.Rules {
		views[i] = viewOf(&pack.Rules[i], false)
	}
	if c.output != "table" {
		return c.encode(w, views)
	}
	text := &strings.Builder{}
	fmt.Fprintln(text, "ID\tSEVERITY\tSOURCE\tTACTIC\tTECHNIQUE\tTITLE")
	for _, v := range views {
		fmt.Fprintf(text, "%s\t%s\t%s\t%s\t%s\t%s\n", v.ID, v.Severity, v.Source, v.Tactic, strings.Join(v.Technique, ","), v.Title)
	}
	return writeColumns(w, text.String())
}

// writeColumns writes lines of cells, which tabs separate, as aligned columns.
func writeColumns(w io.Writer, text string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(tw, text); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	return nil
}

func (c *ruleCommand) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID|FILE",
		Short: "Show one rule with its text",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return c.runShow(cmd.OutOrStdout(), args[0]) },
	}
	c.outputFlag(cmd)
	return cmd
}

func (c *ruleCommand) runShow(w io.Writer, arg string) error {
	if err := c.checkOutput(); err != nil {
		return err
	}
	pack, err := c.loadClean()
	if err != nil {
		return err
	}
	r, err := c.pick(pack, arg)
	if err != nil {
		return err
	}
	if c.output != "table" {
		return c.encode(w, viewOf(r, true))
	}
	_, err = io.WriteString(w, strings.TrimRight(r.Text(), "\n")+"\n")
	return err
}
