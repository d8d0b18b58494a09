package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

func (c *traceCommand) export() *cobra.Command {
	var file string
	var around time.Duration
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Save a trace with the records it rests on as a signed archive",
		Long: `Save a trace with the records it rests on as a signed archive (zip). clew replay on
it gives the same score. A file that is there already is not overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			if around < 0 {
				return fmt.Errorf("--around %v is negative", around)
			}
			if file == "" {
				file = "clew-trace-" + args[0] + ".zip"
			}
			req := &clewv1.ExportTraceRequest{Id: args[0]}
			if around > 0 {
				req.Around = durationpb.New(around)
			}
			return c.runExport(cmd, req, file)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` to write, - for standard output (default clew-trace-ID.zip)")
	cmd.Flags().DurationVar(&around, "around", 0, "also what its entities did this `DURATION` before and after")
	return cmd
}

func (c *traceCommand) runExport(cmd *cobra.Command, req *clewv1.ExportTraceRequest, file string) error {
	if file == "-" {
		if width, _ := terminal(cmd.OutOrStdout()); width > 0 {
			return errors.New("the archive is no text for a terminal: give --file or redirect")
		}
		_, err := c.download(cmd, req, cmd.OutOrStdout())
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // evidence: for its owner
	if err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	n, err := c.download(cmd, req, f)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(file) // half an archive; the first error says more
		return err
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d bytes\n", file, n)
	if err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// download writes the archive to w and returns its size in bytes.
func (c *traceCommand) download(cmd *cobra.Command, req *clewv1.ExportTraceRequest, w io.Writer) (int64, error) {
	api, err := c.dial()
	if err != nil {
		return 0, err
	}
	defer api.Close()
	s, err := api.Traces.ExportTrace(cmd.Context(), connect.NewRequest(req))
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.Close() }()
	size := int64(0)
	for s.Receive() {
		n, err := w.Write(s.Msg().Chunk)
		size += int64(n)
		if err != nil {
			return size, fmt.Errorf("writing the archive: %w", err)
		}
	}
	if err := s.Err(); err != nil {
		return size, err
	}
	if size == 0 {
		return 0, errors.New("the server sent an empty archive")
	}
	return size, nil
}
