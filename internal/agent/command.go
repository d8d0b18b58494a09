// Package agent is the node side of clew: the commands of clew-agent over the
// sensor. It does not send anything to a server yet.
package agent

import (
	"errors"

	"github.com/spf13/cobra"
)

// ErrBlind says that a check found something that the sensor cannot see on this node.
var ErrBlind = errors.New("the sensor is blind to something on this node")

// NewCommand returns the root command of clew-agent.
func NewCommand(version string) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "clew-agent",
		Short:         "See what runs on this node",
		Long:          "See what runs on this node: programs, credentials, connections, files, namespaces.\nThe agent does not send to a clew server yet: check and tail work on the node alone.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetVersionTemplate("clew-agent {{.Version}}\n")
	cmd.AddCommand(newCheckCommand(), newTailCommand())
	return cmd
}
