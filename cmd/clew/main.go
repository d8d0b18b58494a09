// Command clew detects threats in Kubernetes clusters from recorded logs.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/rules"
)

func main() { os.Exit(run()) }

func run() int {
	root := &cobra.Command{Use: "clew", Short: "Runtime threat detection for Kubernetes", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.NewRuleCommand(cli.RuleDeps{Rules: rules.FS}))
	err := root.Execute()
	if code := cli.ExitCode(err); code == cli.ExitUsage {
		fmt.Fprintln(os.Stderr, "clew:", err)
	}
	return cli.ExitCode(err)
}
