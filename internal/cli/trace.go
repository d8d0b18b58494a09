package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// NewTraceCommand returns `clew trace` with its subcommands.
func NewTraceCommand(deps RemoteDeps) *cobra.Command {
	c := &traceCommand{remote: remote{deps: deps}}
	return group("trace", "Read the traces of a server and say what you think of them", &c.remote,
		c.list(), c.show(), c.watch(), c.export(), c.triage(), c.comment(), c.suppress(), c.suppressions(), c.unsuppress())
}

type traceCommand struct {
	remote
	filter traceFilter
}

// traceFilter holds the flags that choose traces.
type traceFilter struct {
	clusters, states, techniques []string
	minScore                     float64
	alerts, context              bool
	since, until, text           string
}

func (t *traceFilter) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&t.clusters, "cluster", nil, "only these `CLUSTERS`")
	f.StringSliceVar(&t.states, "state", nil, "only these triage `STATES`: new, triaged, benign, incident")
	f.StringSliceVar(&t.techniques, "technique", nil, "only with one of these `TECHNIQUES`, as MS-TA9006 or T1609")
	f.Float64Var(&t.minScore, "min-score", 0, "only of at least this `SCORE`, 0-100")
	f.BoolVar(&t.alerts, "alerts", false, "only alerts")
	f.BoolVar(&t.context, "all", false, "also traces that only inform (score 0)")
	f.StringVar(&t.since, "since", "", "only with a flag at or after this `TIME`: RFC 3339, a date, or a duration before now (24h)")
	f.StringVar(&t.until, "until", "", "only begun at or before this `TIME`: as --since")
	f.StringVar(&t.text, "text", "", "only with this `TEXT` in messages, users, entities or rules")
}

func (c *traceCommand) wanted() (*clewv1.TraceFilter, error) {
	t := &c.filter
	if !(t.minScore >= 0 && t.minScore <= 100) { // not a number is neither
		return nil, fmt.Errorf("--min-score %v is not between 0 and 100", t.minScore)
	}
	out := &clewv1.TraceFilter{
		Clusters: t.clusters, MinScore: t.minScore, AlertsOnly: t.alerts, Techniques: t.techniques, Text: t.text, IncludeContext: t.context,
	}
	for _, s := range t.states {
		state, err := triageState(s)
		if err != nil {
			return nil, err
		}
		out.States = append(out.States, state)
	}
	var err error
	out.Since, out.Until, err = span(c.deps.Now, t.since, t.until)
	return out, err
}

// triageState reads the name of a triage state.
func triageState(s string) (clewv1.TriageState, error) {
	n, ok := clewv1.TriageState_value["TRIAGE_STATE_"+strings.ToUpper(s)]
	if !ok || n == 0 {
		return 0, fmt.Errorf("triage state %q is not one of new, triaged, benign, incident", s)
	}
	return clewv1.TriageState(n), nil
}

// enumName returns the name of an enum's value as people write it.
func enumName(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func stateName(s clewv1.TriageState) string {
	if s == clewv1.TriageState_TRIAGE_STATE_UNSPECIFIED {
		return "new"
	}
	return enumName(s.String(), "TRIAGE_STATE_")
}

func (c *traceCommand) list() *cobra.Command {
	limit, order := 50, "score"
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List traces, highest score first",
		Long:  "List traces.\nExit code 0: no open alert among them, 1: at least one, 2: usage or error. An alert is\nopen while its state is new or incident; triaged and benign ones do not count.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.runList(cmd, limit, order)
		},
	}
	c.filter.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", limit, "at most this many `TRACES`; 0 is all")
	cmd.Flags().StringVar(&order, "order", order, "`ORDER`: score, or last for the latest flag first")
	return cmd
}

func (c *traceCommand) runList(cmd *cobra.Command, limit int, order string) error {
	n, ok := clewv1.TraceOrder_value["TRACE_ORDER_"+strings.ToUpper(order)]
	if !ok || n == 0 {
		return fmt.Errorf("order %q is not one of score, last", order)
	}
	if err := checkLimit(limit); err != nil {
		return err
	}
	filter, err := c.wanted()
	if err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	total := uint32(0)
	var traces []*clewv1.Trace
	more, err := pages(limit, 500, func(size uint32, token string) ([]*clewv1.Trace, string, error) {
		req := &clewv1.ListTracesRequest{Filter: filter, Order: clewv1.TraceOrder(n), PageSize: size, PageToken: token}
		resp, err := api.Traces.ListTraces(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return nil, "", err
		}
		total = resp.Msg.Total
		return resp.Msg.Traces, resp.Msg.NextPageToken, nil
	}, collect(&traces))
	if err != nil {
		return err
	}
	t := newTable("ID", "SCORE", "", "STATE", "LAST", "CLUSTER", "FLAGS", "TECHNIQUES", "ACTORS")
	if err := list(&c.remote, cmd.OutOrStdout(), traces, t, traceRow); err != nil {
		return err
	}
	if more {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "clew: %d of %d traces; --limit 0 for all\n", len(traces), total)
	}
	if slices.ContainsFunc(traces, open) {
		return ErrFindings
	}
	return nil
}

// open reports whether an alert still waits for somebody, or is an incident.
func open(x *clewv1.Trace) bool {
	s := x.GetTriage().GetState()
	return x.Alert && s != clewv1.TriageState_TRIAGE_STATE_TRIAGED && s != clewv1.TriageState_TRIAGE_STATE_BENIGN
}

func traceRow(x *clewv1.Trace) []string {
	return []string{
		x.Id, score(x.Score), alertMark(x), stateName(x.GetTriage().GetState()), moment(x.Last), x.Cluster,
		fmt.Sprint(x.FlagKinds), strings.Join(x.Techniques, ","), strings.Join(x.Actors, ", "),
	}
}

func score(f float64) string { return fmt.Sprintf("%.1f", f) }

func alertMark(x *clewv1.Trace) string {
	if x.Alert {
		return "ALERT"
	}
	return "trace"
}

func (c *traceCommand) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one trace with its flags in causal order",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, done, err := c.get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer done()
			return c.one(cmd.OutOrStdout(), x, func(b *strings.Builder) { writeTrace(b, x) })
		},
	}
}

// get asks for one trace. done ends the connection.
func (c *traceCommand) get(ctx context.Context, id string) (x *clewv1.Trace, done func(), err error) {
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	api, err := c.dial()
	if err != nil {
		return nil, nil, err
	}
	resp, err := api.Traces.GetTrace(ctx, connect.NewRequest(&clewv1.GetTraceRequest{Id: id}))
	if err == nil && resp.Msg.Trace == nil {
		err = errors.New("the server answered without a trace")
	}
	if err != nil {
		api.Close()
		return nil, nil, err
	}
	return resp.Msg.Trace, api.Close, nil
}
