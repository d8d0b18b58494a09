package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// NewEventCommand returns `clew event` with its subcommands.
func NewEventCommand(deps RemoteDeps) *cobra.Command {
	c := &eventCommand{remote: remote{deps: deps}}
	return group("event", "Search the history of events of a server", &c.remote, c.search(), c.show())
}

type eventCommand struct {
	remote
	filter       clewv1.EventFilter
	since, until string
	limit        int
	plan         bool
}

func (c *eventCommand) search() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Print events that match, newest first",
		Example: `  clew event search --since 1h --namespace shop --verb create --resource pods
  clew event search --text 10.1.2.3 --limit 0 -o jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runSearch(cmd) },
	}
	f, e := cmd.Flags(), &c.filter
	f.StringVar(&c.since, "since", "", "at or after this `TIME`: RFC 3339, a date, or a duration before now (24h)")
	f.StringVar(&c.until, "until", "", "before this `TIME`: as --since")
	f.StringVar(&e.Kind, "kind", "", "`KIND` of event, as api_request")
	f.StringVar(&e.Cluster, "cluster", "", "`CLUSTER`")
	f.StringVarP(&e.Namespace, "namespace", "n", "", "`NAMESPACE`")
	f.StringVar(&e.Pod, "pod", "", "`POD` that acts or is acted on")
	f.StringVar(&e.User, "user", "", "`USER`")
	f.StringVar(&e.Executable, "executable", "", "`PATH` of the executable")
	f.StringVar(&e.Verb, "verb", "", "`VERB`")
	f.StringVar(&e.Resource, "resource", "", "`RESOURCE`, as pods")
	f.StringVar(&e.Entity, "entity", "", "`ID` of an entity")
	f.StringVar(&e.Text, "text", "", "`TEXT` anywhere in URI, names, user, agent")
	f.IntVar(&c.limit, "limit", 100, "at most this many `EVENTS`; 0 is all")
	f.BoolVar(&c.plan, "plan", false, "say on standard error how the search was done")
	return cmd
}

func (c *eventCommand) runSearch(cmd *cobra.Command) error {
	if err := checkLimit(c.limit); err != nil {
		return err
	}
	if c.filter.Entity != "" {
		if err := checkID(c.filter.Entity); err != nil {
			return err
		}
	}
	var err error
	if c.filter.Since, c.filter.Until, err = span(c.deps.Now, c.since, c.until); err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	var events []*clewv1.Event
	take := collect(&events)
	if c.output == "jsonl" { // page by page: there may be more than memory holds
		take = func(page []*clewv1.Event) error { return list(&c.remote, cmd.OutOrStdout(), page, nil, nil) }
	}
	more, err := pages(c.limit, 1000, func(size uint32, token string) ([]*clewv1.Event, string, error) {
		req := &clewv1.SearchEventsRequest{Filter: &c.filter, PageSize: size, PageToken: token}
		resp, err := api.Events.SearchEvents(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return nil, "", err
		}
		c.notes(cmd, resp.Msg.GetPlan(), token == "")
		return resp.Msg.Events, resp.Msg.NextPageToken, nil
	}, take)
	if err != nil {
		return err
	}
	if more {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "clew: there are more; --limit 0 for all")
	}
	if c.output == "jsonl" {
		return nil
	}
	t := newTable("TIME", "ID", "CLUSTER", "USER", "SOURCE IP", "ACTION", "CODE")
	return list(&c.remote, cmd.OutOrStdout(), events, t, func(e *clewv1.Event) []string {
		return []string{moment(e.Time), e.Id, e.Cluster, e.User, e.SourceIp, action(e), fmt.Sprint(e.Code)}
	})
}

// notes says how a page was found, and with the first one always what is missing.
func (c *eventCommand) notes(cmd *cobra.Command, p *clewv1.Plan, first bool) {
	if n := len(p.GetDamaged()); n > 0 && first {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "clew: %d damaged segments are left out: %s\n", n, clean(strings.Join(p.Damaged, ", ")))
	}
	if c.plan {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "plan: %d segments, skipped %d by time, %d by statistics, %d by bloom filter; read %d, %d rows, %d bytes in %v\n",
			p.GetSegments(), p.GetSkippedByTime(), p.GetSkippedByStatistics(), p.GetSkippedByBloom(), p.GetSegmentsRead(), p.GetRowsScanned(), p.GetBytesRead(), p.GetTook().AsDuration())
	}
}

// action names what an event does in one cell.
func action(e *clewv1.Event) string {
	if e.Action != "" {
		return e.Service + ":" + e.Action
	}
	s := e.Verb + " " + e.Resource
	if e.Subresource != "" {
		s += "/" + e.Subresource
	}
	if e.Resource == "" {
		return e.Verb + " " + e.RequestUri
	}
	name := strings.Trim(e.Namespace+"/"+e.Name, "/")
	return strings.TrimSpace(s + " " + name)
}

func (c *eventCommand) show() *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one event with its record, secrets redacted",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return c.runShow(cmd, args[0], cluster) },
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "look in this `CLUSTER` only")
	return cmd
}

func (c *eventCommand) runShow(cmd *cobra.Command, id, cluster string) error {
	if err := checkID(id); err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.Events.GetEvent(cmd.Context(), connect.NewRequest(&clewv1.GetEventRequest{Id: id, Cluster: cluster}))
	if err != nil {
		return err
	}
	e := resp.Msg.Event
	if e == nil {
		return errors.New("the server answered without an event")
	}
	return c.one(cmd.OutOrStdout(), e, func(b *strings.Builder) {
		for _, f := range [][2]string{
			{"id", e.Id}, {"time", moment(e.Time)}, {"cluster", e.Cluster}, {"source", e.Source}, {"user", e.User},
			{"groups", strings.Join(e.Groups, ", ")}, {"credential", e.Credential}, {"from", e.SourceIp}, {"agent", e.UserAgent},
			{"actor pod", e.ActorPod}, {"action", action(e)}, {"code", fmt.Sprint(e.Code)}, {"uri", e.RequestUri},
		} {
			if f[1] != "" {
				fmt.Fprintf(b, "%-11s%s\n", f[0], clean(f[1]))
			}
		}
		for _, id := range e.Entities {
			fmt.Fprintf(b, "%-11s%s\n", "entity", clean(id))
		}
		b.WriteString("\n" + record(e.Raw))
	})
}

// record writes a native record for a person: indented when it is JSON.
func record(raw []byte) string {
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return clean(string(raw)) + "\n"
	}
	return string(escape(out.String())) + "\n"
}

// NewEntityCommand returns `clew entity`.
func NewEntityCommand(deps RemoteDeps) *cobra.Command {
	c := &remote{deps: deps}
	req := &clewv1.GetEntityRequest{}
	cmd := &cobra.Command{
		Use:   "entity ID",
		Short: "Show an entity with its causes and consequences",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Id = args[0]
			return c.runEntity(cmd, req)
		},
	}
	cmd.Flags().Uint32Var(&req.Depth, "depth", 1, "`LINKS` to follow, 1-4")
	cmd.Flags().Uint32Var(&req.Limit, "limit", 100, "`NEIGHBOURS` at most, 1-500")
	cmd.Flags().StringVar(&req.Cluster, "cluster", "", "look in this `CLUSTER` only")
	c.register(cmd)
	return cmd
}

func (c *remote) runEntity(cmd *cobra.Command, req *clewv1.GetEntityRequest) error {
	if err := checkID(req.Id); err != nil {
		return err
	}
	if req.Depth < 1 || req.Depth > 4 || req.Limit < 1 || req.Limit > 500 {
		return errors.New("--depth is 1 to 4 and --limit 1 to 500")
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.Events.GetEntity(cmd.Context(), connect.NewRequest(req))
	if err != nil {
		return err
	}
	return c.one(cmd.OutOrStdout(), resp.Msg, func(b *strings.Builder) { writeEntity(b, resp.Msg) })
}

func writeEntity(b *strings.Builder, m *clewv1.GetEntityResponse) {
	t := newTable("ID", "KIND", "FIRST", "LAST", "FLAGGED", "TRACE", "DESCRIPTION")
	for _, e := range append([]*clewv1.Entity{m.Entity}, m.Neighbours...) {
		t.row(e.GetId(), e.GetKind(), moment(e.GetFirst()), moment(e.GetLast()), yesNo(e.GetFlagged()), e.GetTrace(), e.GetDescription())
	}
	t.write(b)
	if len(m.Links) > 0 {
		b.WriteByte('\n')
		t = newTable("TIME", "FROM", "TO", "BY", "GRADE", "LABEL")
		for _, l := range m.Links {
			t.row(moment(l.Time), l.From, l.To, l.Type, l.Grade, l.Label)
		}
		t.write(b)
	}
	if m.Truncated {
		b.WriteString("\nThere are more neighbours; see --limit.\n")
	}
}
