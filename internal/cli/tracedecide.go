package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

func (c *traceCommand) triage() *cobra.Command {
	var state, assign, comment string
	var unassign bool
	cmd := &cobra.Command{
		Use:     "triage ID",
		Short:   "Set state and assignee of a trace",
		Example: "  clew trace triage 0f… --state incident --assign bob --comment \"node isolated\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &clewv1.TriageRequest{Id: args[0], Comment: comment}
			if state != "" {
				s, err := triageState(state)
				if err != nil {
					return err
				}
				req.State = s
			}
			switch {
			case unassign && assign != "":
				return errors.New("--assign and --unassign exclude each other")
			case unassign || assign != "":
				req.Assignee = &assign
			case state == "" && comment == "":
				return errors.New("nothing to set: give --state, --assign, --unassign or --comment")
			}
			return c.decide(cmd, req)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", "", "the `STATE`: new, triaged, benign, incident")
	f.StringVar(&assign, "assign", "", "`WHO` works on it")
	f.BoolVar(&unassign, "unassign", false, "nobody works on it")
	f.StringVar(&comment, "comment", "", "a `TEXT` to add")
	return cmd
}

func (c *traceCommand) comment() *cobra.Command {
	return &cobra.Command{
		Use:   "comment ID TEXT...",
		Short: "Add a comment to a trace",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.decide(cmd, &clewv1.TriageRequest{Id: args[0], Comment: strings.Join(args[1:], " ")})
		},
	}
}

// decide sends what a person says of a trace and prints what stands now.
func (c *traceCommand) decide(cmd *cobra.Command, req *clewv1.TriageRequest) error {
	if err := checkID(req.Id); err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.Traces.Triage(cmd.Context(), connect.NewRequest(req))
	if err != nil {
		return err
	}
	return c.one(cmd.OutOrStdout(), resp.Msg.GetTriage(), func(b *strings.Builder) {
		writeTriage(b, &clewv1.Trace{Triage: resp.Msg.GetTriage()})
	})
}

// suppressFlags are the flags of `clew trace suppress`.
type suppressFlags struct {
	suppression clewv1.Suppression
	expires     string
	yes         bool
}

func (c *traceCommand) suppress() *cobra.Command {
	s := &suppressFlags{}
	cmd := &cobra.Command{
		Use:   "suppress ID",
		Short: "Show what a suppression of this shape would hide; create it with --yes",
		Long: `Show what a suppression of the shape of a trace would have hidden, and create it
with --yes. Only the rules that the trace raised may match, or those given with --rule;
a flag of any other rule scores as ever and re-opens the trace.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.runSuppress(cmd, args[0], s) },
	}
	f := cmd.Flags()
	f.StringVar(&s.suppression.Reason, "reason", "", "`WHY` this is benign (required)")
	f.StringVar(&s.suppression.Owner, "owner", "", "`WHO` answers for it (required)")
	f.StringVar(&s.expires, "expires", "", "when it ends: a `TIME`, or a duration from now (720h)")
	f.StringSliceVar(&s.suppression.AllowedKinds, "rule", nil, "only these `RULES` may match (default: those of the trace)")
	f.StringSliceVar(&s.suppression.Users, "user", nil, "only these `USERS`")
	f.BoolVar(&s.yes, "yes", false, "create it")
	return cmd
}

func (c *traceCommand) runSuppress(cmd *cobra.Command, id string, s *suppressFlags) error {
	want := &s.suppression
	if want.Reason == "" || want.Owner == "" {
		return errors.New("a suppression needs --reason and --owner")
	}
	var err error
	if want.Expires, err = expiry(c.deps.Now, s.expires); err != nil {
		return err
	}
	x, done, err := c.get(cmd.Context(), id)
	if err != nil {
		return err
	}
	done()
	if want.Fingerprint = x.Fingerprint; want.Fingerprint == "" {
		return fmt.Errorf("trace %s has no shape to suppress", id)
	}
	if len(want.AllowedKinds) == 0 {
		want.AllowedKinds = rulesOf(x)
	}
	if s.yes {
		return c.createSuppression(cmd, want)
	}
	return c.previewSuppression(cmd, want)
}

func rulesOf(x *clewv1.Trace) []string {
	var out []string
	for _, f := range x.Flags {
		if !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	return out
}

func (c *traceCommand) previewSuppression(cmd *cobra.Command, s *clewv1.Suppression) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.Traces.PreviewSuppression(cmd.Context(), connect.NewRequest(&clewv1.PreviewSuppressionRequest{Suppression: s}))
	if err != nil {
		return err
	}
	return c.one(cmd.OutOrStdout(), resp.Msg, func(b *strings.Builder) {
		t := newTable("TRACE", "SCORE", "WITH IT", "ALERT WITH IT", "HIDDEN RULES")
		for _, e := range resp.Msg.Effects {
			t.row(e.Trace, score(e.Score), score(e.ScoreWith), yesNo(e.AlertWith), strings.Join(e.Hidden, ", "))
		}
		t.write(b)
		fmt.Fprintf(b, "\n%d of %d traces would change. Nothing was created; --yes creates the suppression.\n", len(resp.Msg.Effects), resp.Msg.Considered)
	})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (c *traceCommand) createSuppression(cmd *cobra.Command, s *clewv1.Suppression) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.Traces.CreateSuppression(cmd.Context(), connect.NewRequest(&clewv1.CreateSuppressionRequest{Suppression: s}))
	if err != nil {
		return err
	}
	return c.one(cmd.OutOrStdout(), resp.Msg.GetSuppression(), func(b *strings.Builder) {
		fmt.Fprintf(b, "suppression %s created, ends %s\n", clean(resp.Msg.GetSuppression().GetId()), moment(resp.Msg.GetSuppression().GetExpires()))
	})
}

func (c *traceCommand) suppressions() *cobra.Command {
	return &cobra.Command{
		Use:   "suppressions",
		Short: "List the suppressions",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.dial()
			if err != nil {
				return err
			}
			defer api.Close()
			resp, err := api.Traces.ListSuppressions(cmd.Context(), connect.NewRequest(&clewv1.ListSuppressionsRequest{}))
			if err != nil {
				return err
			}
			t := newTable("ID", "FINGERPRINT", "RULES", "USERS", "OWNER", "EXPIRES", "REASON")
			return list(&c.remote, cmd.OutOrStdout(), resp.Msg.Suppressions, t, func(s *clewv1.Suppression) []string {
				return []string{s.Id, s.Fingerprint, strings.Join(s.AllowedKinds, ","), strings.Join(s.Users, ","), s.Owner, moment(s.Expires), s.Reason}
			})
		},
	}
}

func (c *traceCommand) unsuppress() *cobra.Command {
	return &cobra.Command{
		Use:   "unsuppress ID",
		Short: "Delete a suppression",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.dial()
			if err != nil {
				return err
			}
			defer api.Close()
			_, err = api.Traces.DeleteSuppression(cmd.Context(), connect.NewRequest(&clewv1.DeleteSuppressionRequest{Id: args[0]}))
			return err
		},
	}
}
