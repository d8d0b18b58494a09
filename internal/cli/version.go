package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Version describes the binary that info, of debug.ReadBuildInfo, tells about:
// version, commit and its time, Go version and platform, as far as known.
func Version(info *debug.BuildInfo) string {
	version, commit, at := "unknown", "", ""
	if info != nil {
		version = info.Main.Version
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value[:min(12, len(s.Value))] + commit
			case "vcs.modified":
				if s.Value == "true" {
					commit += "+changes"
				}
			case "vcs.time":
				at = s.Value
			}
		}
	}
	var parts []string
	for _, p := range []string{commit, at, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return version + " (" + strings.Join(parts, ", ") + ")"
}

// NewVersionCommand returns `clew version`, which prints version.
func NewVersionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), "clew", version); err != nil {
				return fmt.Errorf("writing the version: %w", err)
			}
			return nil
		},
	}
}
