package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/client"
)

func (c *traceCommand) watch() *cobra.Command {
	changesOnly := false
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print traces as they are, then each change, until interrupted",
		Long: `Print a line for every trace that matches as it is, then one for each change, until
interrupted. -o json and jsonl print whole traces, one a line. When the server goes away
it is asked again, after a second at first and half a minute at most, and what changed
meanwhile is printed, once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runWatch(cmd, changesOnly) },
	}
	c.filter.register(cmd)
	cmd.Flags().BoolVar(&changesOnly, "changes-only", false, "not what is there already")
	return cmd
}

// The pause before a server that went away is asked again; it doubles.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

func (c *traceCommand) runWatch(cmd *cobra.Command, changesOnly bool) error {
	filter, err := c.wanted()
	if err != nil {
		return err
	}
	w := &watcher{quiet: changesOnly, told: map[string]uint64{}, print: func(m *clewv1.WatchTracesResponse) error {
		return c.change(cmd.OutOrStdout(), m)
	}}
	refused := false
	for pause := firstPause; cmd.Context().Err() == nil; pause = min(2*pause, maxPause) {
		began := w.streams
		err := c.stream(cmd.Context(), w, filter)
		// The token in a data folder changes when its server starts; the file may do so a
		// moment after the server answers.
		late := c.settings.Data != "" && !refused && connect.CodeOf(err) == connect.CodeUnauthenticated
		refused = late
		if cmd.Context().Err() == nil && (w.streams == 0 || !passing(err) && !late) {
			return err
		}
		if w.streams > began {
			pause = firstPause
		}
		rest(cmd, err, pause)
	}
	return nil // interrupted: the ordinary end
}

// rest says why the server is asked again, and waits until then.
func rest(cmd *cobra.Command, err error, pause time.Duration) {
	if cmd.Context().Err() != nil {
		return
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "clew: %v; trying again in %v\n", err, pause)
	select {
	case <-time.After(pause):
	case <-cmd.Context().Done():
	}
}

// stream watches once, with what the profile says now.
func (c *traceCommand) stream(ctx context.Context, w *watcher, filter *clewv1.TraceFilter) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	return w.stream(ctx, api, filter)
}

// watcher follows traces over several streams and prints each state once.
type watcher struct {
	quiet   bool              // what is there at the beginning is not printed
	told    map[string]uint64 // trace → revision of the state that is known
	streams int               // that began
	print   func(*clewv1.WatchTracesResponse) error
}

// errPrint is wrapped by errors of the output.
var errPrint = errors.New("writing the output")

// stream follows one stream to its end, which is always an error.
func (w *watcher) stream(ctx context.Context, api *client.Client, filter *clewv1.TraceFilter) error {
	s, err := api.Traces.WatchTraces(ctx, connect.NewRequest(&clewv1.WatchTracesRequest{Filter: filter}))
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	here := map[string]bool{} // told by this stream
	for s.Receive() {
		m := s.Msg()
		if len(here) == 0 {
			w.streams++
		}
		here[m.GetTrace().GetId()] = true
		if err := w.take(m, here); err != nil {
			return fmt.Errorf("%w: %w", errPrint, err)
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the server ended the stream"))
}

func (w *watcher) take(m *clewv1.WatchTracesResponse, here map[string]bool) error {
	switch id := m.GetTrace().GetId(); {
	case m.GetSynced():
		w.quiet = false
		return w.gone(here)
	case m.GetTrace() == nil:
		delete(w.told, m.GetRemoved())
		return w.print(m)
	default:
		known, ok := w.told[id]
		w.told[id] = m.GetRevision()
		if w.quiet || ok && known == m.GetRevision() {
			return nil
		}
		return w.print(m)
	}
}

// gone tells which traces ended while nobody listened.
func (w *watcher) gone(here map[string]bool) error {
	for _, id := range slices.Sorted(maps.Keys(w.told)) {
		if here[id] {
			continue
		}
		delete(w.told, id)
		if err := w.print(&clewv1.WatchTracesResponse{Removed: id}); err != nil {
			return err
		}
	}
	return nil
}

// passing reports whether a stream that ended so may come back.
func passing(err error) bool {
	if errors.Is(err, errPrint) {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeInternal, connect.CodeAborted, connect.CodeResourceExhausted,
		connect.CodeDeadlineExceeded, connect.CodeCanceled:
		_, untrusted := errors.AsType[*client.UntrustedError](err)
		return !untrusted
	}
	return false
}

// change writes one message of a watch.
func (c *traceCommand) change(w io.Writer, m *clewv1.WatchTracesResponse) error {
	if c.output != "table" {
		text, err := marshal(m, false)
		if err != nil {
			return err
		}
		return writeText(w, string(text)+"\n")
	}
	x := m.Trace
	if x == nil {
		return writeText(w, fmt.Sprintf("gone   %s\n", clean(m.Removed)))
	}
	last := ""
	if n := len(x.Flags); n > 0 {
		last = x.Flags[n-1].Message
	}
	return writeText(w, fmt.Sprintf("%s  %5s  %s  %s  %s  %s\n", alertMark(x), score(x.Score), clean(x.Id), moment(x.Last), clean(strings.Join(x.Actors, ", ")), clean(last)))
}
