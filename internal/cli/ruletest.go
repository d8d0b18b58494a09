package cli

import (
	"github.com/spf13/cobra"
)

func (c *ruleCommand) test() *cobra.Command {
	return &cobra.Command{Use: "test", RunE: func(*cobra.Command, []string) error { return nil }}
}
func (c *ruleCommand) explain() *cobra.Command {
	return &cobra.Command{Use: "explain", RunE: func(*cobra.Command, []string) error { return nil }}
}
