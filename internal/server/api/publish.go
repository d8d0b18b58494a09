package api

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/store/state"
	"github.com/clew-sec/clew/internal/trace"
)

// Publisher puts what workers find into the state. It implements
// pipeline.TraceSink.
type Publisher struct{ Traces *state.Store }

var _ pipeline.TraceSink = Publisher{}

// PutTraces implements pipeline.TraceSink.
func (p Publisher) PutTraces(ctx context.Context, cluster string, changed []pipeline.LiveTrace, gone []trace.TraceID) error {
	traces := make([]state.Found, len(changed))
	for i := range changed {
		traces[i] = state.Found{Trace: messageOf(cluster, &changed[i])}
		for _, id := range changed[i].Was {
			traces[i].Was = append(traces[i].Was, id.String())
		}
	}
	ids := make([]string, len(gone))
	for i := range gone {
		ids[i] = gone[i].String()
	}
	return p.Traces.Put(ctx, traces, ids)
}

// maxActors bounds the users named in lists.
const maxActors = 8

// messageOf returns a trace as the API tells it.
func messageOf(cluster string, t *pipeline.LiveTrace) *clewv1.Trace {
	out := &clewv1.Trace{
		Id: t.ID.String(), Cluster: cluster, Score: t.Score.Float(), Peak: t.Peak.Float(), Alert: t.Alert,
		Techniques: t.Techniques, Planes: t.Planes, First: stamp(t.First), Last: stamp(t.Last),
		SeeAlso: t.SeeAlso, MergedFrom: t.MergedFrom, Fingerprint: t.Fingerprint.String(), FlagKinds: uint32(len(t.Flags)),
	}
	for _, tactic := range t.Tactics {
		out.Tactics = append(out.Tactics, tactic.String())
	}
	for i := range t.Flags {
		out.Flags = append(out.Flags, flagOf(&t.Flags[i]))
	}
	for _, u := range t.Units {
		unit := &clewv1.Unit{Name: u.Name, User: u.User, SourceIp: u.IP, Pod: u.Pod, Object: u.Object}
		if u.ID != (event.ID{}) {
			unit.Id = u.ID.String()
		}
		if u.Session.First != 0 {
			unit.Actor, unit.Since = u.Session.Actor.String(), nanos(u.Session.First)
		}
		if u.Fingerprint != (event.ID{}) {
			unit.Fingerprint = u.Fingerprint.String()
		}
		out.Units = append(out.Units, unit)
		if u.User != "" && len(out.Actors) < maxActors && !slices.Contains(out.Actors, u.User) {
			out.Actors = append(out.Actors, u.User)
		}
	}
	for _, l := range t.Links {
		out.Links = append(out.Links, &clewv1.Link{From: l.From, To: l.To, Type: l.Type, Grade: l.Grade.String(), Label: l.Label, First: stamp(l.First)})
	}
	return out
}

func flagOf(f *report.TraceFlag) *clewv1.Flag {
	e := &f.Event
	return &clewv1.Flag{
		Rule: f.Rule, Title: f.Title, Severity: severityOf(f.Severity), Tactic: f.Tactic.String(), Techniques: f.Techniques,
		Contribution: f.Contribution.Float(), Count: f.Count, Suppressed: f.Suppressed, Unit: f.Unit, First: stamp(f.First), Last: stamp(f.Last),
		Message: f.Message, Source: f.File, Record: uint32(f.Line), Entity: f.Entity,
		Event: &clewv1.FlagEvent{
			Id: e.ID.String(), Source: e.Source, Plane: e.Plane, User: e.User, Impersonated: e.Impersonated, Credential: e.Credential,
			Pod: e.Pod, SourceIp: e.SourceIP, UserAgent: e.UserAgent, Action: e.Action, Outcome: e.Outcome, AuditId: e.AuditID,
		},
	}
}

// severityOf relies on both scales having the same steps in the same order.
func severityOf(s event.Severity) clewv1.Severity {
	return clewv1.Severity(int32(s-event.Info) + int32(clewv1.Severity_SEVERITY_INFO))
}

// stamp reads a time as package report writes it; nil when it is none.
func stamp(s string) *timestamppb.Timestamp {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return nil
	}
	return timestamppb.New(t)
}

// at returns a time, nil for the zero one.
func at(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// nanos returns a time in nanoseconds since 1970, nil for 0.
func nanos(n int64) *timestamppb.Timestamp {
	if n == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, n))
}

// byName orders what has names.
func byName[T any](list []T, name func(T) string) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
}
