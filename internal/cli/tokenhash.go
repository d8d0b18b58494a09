package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/server/auth"
)

// maxTokenText bounds what is read for a token, in bytes.
const maxTokenText = 1 << 10

// tokenHash returns `clew token hash`, which asks no server.
func tokenHash() *cobra.Command {
	var role, source, name string
	cmd := &cobra.Command{
		Use:   "hash",
		Short: "Print the line of a tokens file for a token on standard input",
		Long: `Read a token of the form clew_ID_SECRET from standard input and print the line that
makes it known to a server whose configuration names the file in auth.tokensFile: role,
id, hash and name. The token itself is printed nowhere.`,
		Example: `  clew token hash --role ingest --source k8s-audit --name "API server" < token >> /etc/clew/tokens`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxTokenText))
			if err != nil {
				return fmt.Errorf("reading the token: %w", err)
			}
			r, err := auth.RecordOf(strings.TrimSpace(string(text)), name, auth.Role(role), source)
			if err == nil && r.Role == auth.Setup {
				err = errors.New("set-up tokens are made by the server alone")
			}
			if err != nil {
				return fmt.Errorf("hashing the token: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), r.Line())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "viewer", "the `ROLE`: viewer, analyst, admin, ingest or metrics")
	f.StringVar(&source, "source", "", "the `SOURCE` that an ingest token may send to")
	f.StringVar(&name, "name", "token", "`NAME` of whose token it is")
	return cmd
}
