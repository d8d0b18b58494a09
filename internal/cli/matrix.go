package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/clew-sec/clew/internal/matrix"
)

// MatrixDeps is what the matrix command needs from its caller.
type MatrixDeps struct {
	// Matrix returns the technique catalogue.
	Matrix func() *matrix.Matrix
	// Rules returns the rules to draw from the packs chosen; called once per
	// run. See PackRules.
	Rules func(p Packs) ([]matrix.Rule, error)
	// Width returns the terminal width of w in characters, 0 when w is no
	// terminal. Nil means to ask the operating system.
	Width func(w io.Writer) int
	// Remote is for --live.
	Remote RemoteDeps
}

// NewMatrixCommand returns `clew matrix`, which draws the threat matrix with
// the number of rules per technique.
func NewMatrixCommand(deps MatrixDeps) *cobra.Command {
	var format string
	var width int
	var packs Packs
	live := liveMatrix{remote: remote{deps: deps.Remote}}
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Show the threat matrix for Kubernetes with the rules per technique",
		Long: `Show Microsoft's Threat Matrix for Kubernetes with the number of rules per
technique, and why a technique has none.

Formats: text (a table when the terminal is at least 139 characters wide, else a
list), json, markdown, navigator (an ATT&CK Navigator layer, format 4.5).

With --live a server is asked which techniques are proven, claimed or blind with the
sources that it really hears from; formats are then text, json and jsonl.`,
		Example: `  clew matrix
  clew matrix -o navigator > layer.json   # open in the ATT&CK Navigator`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if live.on {
				return live.run(cmd, format)
			}
			rules, err := deps.Rules(packs)
			if err != nil {
				return fmt.Errorf("loading the rules: %w", err)
			}
			out := cmd.OutOrStdout()
			if !cmd.Flags().Changed("width") {
				width = deps.width(out)
			}
			return writeMatrix(out, deps.Matrix().Cover(rules), format, width)
		},
	}
	packs.register(cmd.Flags())
	cmd.Flags().StringVarP(&format, "output", "o", "text", "output `FORMAT`: text, json, markdown or navigator")
	cmd.Flags().IntVar(&width, "width", 0, "width of the text in `COLUMNS` (default: the terminal's)")
	cmd.Flags().BoolVar(&live.on, "live", false, "ask a server for the coverage by live sources")
	live.connectionFlags(cmd)
	return cmd
}

func writeMatrix(w io.Writer, r *matrix.Report, format string, width int) error {
	switch format {
	case "text":
		return r.WriteText(w, width)
	case "json":
		return r.WriteJSON(w)
	case "markdown":
		return r.WriteMarkdown(w)
	case "navigator":
		return r.WriteNavigator(w)
	default:
		return fmt.Errorf("output format %q is not one of text, json, markdown, navigator", format)
	}
}

func (d MatrixDeps) width(w io.Writer) int {
	if d.Width != nil {
		return d.Width(w)
	}
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0 // a file or a pipe
	}
	return width
}
