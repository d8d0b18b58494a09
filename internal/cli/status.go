package cli

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// NewStatusCommand returns `clew status`.
func NewStatusCommand(deps RemoteDeps) *cobra.Command {
	c := &remote{deps: deps}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how a server is doing: sources, log, engine, history",
		Long: `Say how a server is doing: every source with its last event, lag and losses, the
log, the engine of every cluster and the history.

Exit codes: 0 all is well, 1 something that should be alive is not, 2 usage or error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.status(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.one(cmd.OutOrStdout(), s, func(b *strings.Builder) { writeStatus(b, s, c.deps.Now) }); err != nil {
				return err
			}
			if !s.Healthy {
				return ErrFindings
			}
			return nil
		},
	}
	c.register(cmd)
	return cmd
}

// NewSourceCommand returns `clew source` with its subcommands.
func NewSourceCommand(deps RemoteDeps) *cobra.Command {
	c := &remote{deps: deps}
	return group("source", "Look at the sources of a server", c, &cobra.Command{
		Use:   "list",
		Short: "List the sources with last event, lag and losses",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.status(cmd.Context())
			if err != nil {
				return err
			}
			return list(c, cmd.OutOrStdout(), s.Sources, sourceTable(), func(x *clewv1.SourceStatus) []string { return sourceRow(x, c.deps.Now) })
		},
	})
}

func (r *remote) status(ctx context.Context) (*clewv1.GetStatusResponse, error) {
	api, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	resp, err := api.System.GetStatus(ctx, connect.NewRequest(&clewv1.GetStatusRequest{}))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

func writeStatus(b *strings.Builder, s *clewv1.GetStatusResponse, now func() time.Time) {
	health := "healthy"
	if !s.Healthy {
		health = "UNHEALTHY"
	}
	fmt.Fprintf(b, "clew %s, %s, started %s\n", clean(s.Version), health, ago(now, s.Started))
	for _, x := range s.Sources {
		if x.State == "never" {
			fmt.Fprintf(b, "  %s is waiting for its first event\n", clean(x.Name))
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(b, "  ! %s\n", clean(p))
	}
	b.WriteByte('\n')
	t := sourceTable()
	for _, x := range s.Sources {
		t.row(sourceRow(x, now)...)
	}
	t.write(b)
	for _, x := range s.Sources {
		if x.LastError != "" {
			fmt.Fprintf(b, "  %s: %s (%s)\n", clean(x.Name), clean(x.LastError), ago(now, x.LastErrorAt))
		}
	}
	b.WriteByte('\n')
	writeWorkers(b, s.Workers, now)
	writeStores(b, s)
}

func sourceTable() *table {
	return newTable("SOURCE", "KIND", "CLUSTER", "STATE", "LAST EVENT", "LAG", "RECORDS", "LOST", "GAPS")
}

func sourceRow(x *clewv1.SourceStatus, now func() time.Time) []string {
	lag := "-"
	if x.LastEvent != nil {
		lag = short(time.Duration(x.LagSeconds * float64(time.Second)))
	}
	return []string{x.Name, x.Kind, x.Cluster, x.State, ago(now, x.LastEvent), lag, fmt.Sprint(x.Records), losses(x), fmt.Sprint(x.Gaps)}
}

// losses names what a source refused and dropped, by reason.
func losses(x *clewv1.SourceStatus) string {
	var out []string
	for _, m := range []map[string]uint64{x.Dropped, x.Rejected} {
		for _, reason := range slices.Sorted(maps.Keys(m)) {
			if n := m[reason]; n > 0 {
				out = append(out, fmt.Sprintf("%d %s", n, reason))
			}
		}
	}
	if len(out) == 0 {
		return "0"
	}
	return strings.Join(out, ", ")
}

func writeWorkers(b *strings.Builder, workers []*clewv1.WorkerStatus, now func() time.Time) {
	t := newTable("ENGINE OF", "BEHIND", "EVENT TIME", "SAVED", "EVENTS", "FLAGS", "LATE", "DUPLICATES", "UNREADABLE", "MISSED", "ERROR")
	for _, w := range workers {
		t.row(w.Cluster, fmt.Sprint(w.Backlog), ago(now, w.EventTime), ago(now, w.Snapshot), fmt.Sprint(w.Events), fmt.Sprint(w.Flags),
			fmt.Sprint(w.Late), fmt.Sprint(w.Duplicates), fmt.Sprint(w.Unreadable), fmt.Sprint(w.Missed+w.MissedByHistory), w.Error)
	}
	t.write(b)
	b.WriteByte('\n')
}

func writeStores(b *strings.Builder, s *clewv1.GetStatusResponse) {
	if l := s.Log; l != nil {
		state := "writable"
		if !l.Writable {
			state = "NOT WRITABLE " + l.Problem
		}
		fmt.Fprintf(b, "log      %s, %s, %d messages, %s of %s\n", clean(l.Kind), clean(state), l.Messages, amount(l.Bytes), amount(l.MaxBytes))
	}
	if h := s.History; h != nil {
		fmt.Fprintf(b, "history  %d segments, %d rows, %s, oldest %s\n", h.Segments, h.Rows, amount(h.Bytes), moment(h.Oldest))
		for _, d := range h.Damaged {
			fmt.Fprintf(b, "  ! damaged: %s\n", clean(d))
		}
		if h.Error != "" {
			fmt.Fprintf(b, "  ! %s\n", clean(h.Error))
		}
	}
}

// amount is size for what a server says.
func amount(n uint64) string { return size(int64(min(n, math.MaxInt64))) }
