package cli

import (
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// NewTokenCommand returns `clew token` with its subcommands.
func NewTokenCommand(deps RemoteDeps) *cobra.Command {
	c := &remote{deps: deps}
	return group("token", "Make, list and revoke the tokens of a server", c, c.tokenList(), c.tokenCreate(), c.tokenRevoke(), tokenHash())
}

func (r *remote) tokenList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, never their secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := r.dial()
			if err != nil {
				return err
			}
			defer api.Close()
			resp, err := api.System.ListTokens(cmd.Context(), connect.NewRequest(&clewv1.ListTokensRequest{}))
			if err != nil {
				return err
			}
			t := newTable("ID", "NAME", "ROLE", "SOURCE", "CREATED", "EXPIRES", "LAST USED")
			return list(r, cmd.OutOrStdout(), resp.Msg.Tokens, t, func(x *clewv1.Token) []string {
				return []string{x.Id, x.Name, roleName(x.Role), x.Source, moment(x.Created), moment(x.Expires), ago(r.deps.Now, x.LastUsed)}
			})
		},
	}
}

func roleName(r clewv1.Role) string { return enumName(r.String(), "ROLE_") }

func (r *remote) tokenCreate() *cobra.Command {
	var role, source, expires string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it, once",
		Long: `Make a token and print it on standard output. It is not shown again.

Roles: viewer reads, analyst also triages, suppresses and exports, admin also makes
tokens, ingest may only send to one source, metrics may only read /metrics.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, ok := clewv1.Role_value["ROLE_"+strings.ToUpper(role)]
			if !ok || n == 0 {
				return fmt.Errorf("role %q is not one of viewer, analyst, admin, ingest, metrics", role)
			}
			if ingest := clewv1.Role(n) == clewv1.Role_ROLE_INGEST; ingest != (source != "") {
				return errors.New("--source names the source of an ingest token, and only of one")
			}
			until, err := expiry(r.deps.Now, expires)
			if err != nil {
				return err
			}
			return r.createToken(cmd, &clewv1.CreateTokenRequest{Name: args[0], Role: clewv1.Role(n), Source: source, Expires: until})
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "viewer", "the `ROLE`: viewer, analyst, admin, ingest or metrics")
	f.StringVar(&source, "source", "", "`SOURCE` that an ingest token may send to")
	f.StringVar(&expires, "expires", "", "when it ends: a `TIME`, or a duration from now (720h)")
	return cmd
}

func (r *remote) createToken(cmd *cobra.Command, req *clewv1.CreateTokenRequest) error {
	api, err := r.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.System.CreateToken(cmd.Context(), connect.NewRequest(req))
	if err != nil {
		return err
	}
	return r.one(cmd.OutOrStdout(), resp.Msg, func(b *strings.Builder) { b.WriteString(cleanText(resp.Msg.Secret, "") + "\n") })
}

func (r *remote) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := r.dial()
			if err != nil {
				return err
			}
			defer api.Close()
			_, err = api.System.RevokeToken(cmd.Context(), connect.NewRequest(&clewv1.RevokeTokenRequest{Id: args[0]}))
			return err
		},
	}
}

// NewActionsCommand returns `clew actions`.
func NewActionsCommand(deps RemoteDeps) *cobra.Command {
	c := &remote{deps: deps}
	limit := 100
	cmd := &cobra.Command{
		Use:   "actions",
		Short: "Print what people did in clew, latest first",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.actions(cmd, limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "at most this many `ACTIONS`; 0 is all")
	c.register(cmd)
	return cmd
}

func (r *remote) actions(cmd *cobra.Command, limit int) error {
	if err := checkLimit(limit); err != nil {
		return err
	}
	api, err := r.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	var actions []*clewv1.Action
	more, err := pages(limit, 1000, func(size uint32, token string) ([]*clewv1.Action, string, error) {
		resp, err := api.System.ListActions(cmd.Context(), connect.NewRequest(&clewv1.ListActionsRequest{PageSize: size, PageToken: token}))
		if err != nil {
			return nil, "", err
		}
		return resp.Msg.Actions, resp.Msg.NextPageToken, nil
	}, collect(&actions))
	if err != nil {
		return err
	}
	t := newTable("TIME", "WHO", "ROLE", "WHAT", "TARGET", "SOURCE IP", "OUTCOME")
	err = list(r, cmd.OutOrStdout(), actions, t, func(a *clewv1.Action) []string {
		return []string{moment(a.Time), a.Who, roleName(a.Role), a.What, a.Target, a.SourceIp, a.Outcome}
	})
	if more {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "clew: there are more; --limit 0 for all")
	}
	return err
}
