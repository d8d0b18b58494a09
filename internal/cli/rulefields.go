package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/rule/fielddoc"
)

func (c *ruleCommand) fields() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "fields",
		Short: "Print every field a condition may use, as Markdown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				_, err := io.WriteString(cmd.OutOrStdout(), fielddoc.Page())
				return err
			}
			if err := os.WriteFile(file, []byte(fielddoc.Page()), 0o644); err != nil { //nolint:gosec // a page of documentation is for everyone to read
				return fmt.Errorf("writing the page of fields: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "write", "", "write it to this `FILE` instead")
	return cmd
}
