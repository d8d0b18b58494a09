package cli

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// writeTrace writes one trace for a person, flags and links in order of time.
func writeTrace(b *strings.Builder, x *clewv1.Trace) {
	fmt.Fprintf(b, "%s  score %s (peak %s)  %s to %s  %s\n", alertMark(x), score(x.Score), score(x.Peak), moment(x.First), moment(x.Last), clean(strings.Join(x.Planes, "+")))
	fmt.Fprintf(b, "  id %s  fingerprint %s  cluster %s\n", clean(x.Id), clean(x.Fingerprint), clean(x.Cluster))
	fmt.Fprintf(b, "  %s\n", clean(strings.Join(x.Tactics, " → ")))
	for _, u := range x.Units {
		fmt.Fprintf(b, "  %s = %s  entity %s\n", clean(u.Name), unitName(u), clean(u.Id))
	}
	b.WriteByte('\n')
	links := x.Links
	for _, f := range x.Flags {
		for len(links) > 0 && !after(links[0].First, f.First) {
			writeLink(b, links[0])
			links = links[1:]
		}
		writeFlag(b, f)
	}
	for _, l := range links {
		writeLink(b, l)
	}
	writeTriage(b, x)
}

func after(a, b *timestamppb.Timestamp) bool { return a.AsTime().After(b.AsTime()) }

func unitName(u *clewv1.Unit) string {
	if u.Object != "" {
		return clean(u.Object)
	}
	s := clean(u.User)
	if s == "" {
		s = "unauthenticated"
	}
	if u.SourceIp != "" {
		s += " from " + clean(u.SourceIp)
	}
	if u.Pod != "" {
		s += " (token of pod " + clean(u.Pod) + ")"
	}
	return s
}

func writeFlag(b *strings.Builder, f *clewv1.Flag) {
	note := ""
	if f.Count > 1 {
		note = fmt.Sprintf(" (%d times)", f.Count)
	}
	if f.Suppressed {
		note += " (suppressed)"
	}
	severity := enumName(f.Severity.String(), "SEVERITY_")
	fmt.Fprintf(b, "  %s  %-2s  %-8s  +%-5s %s%s\n", clock(f.First), clean(f.Unit), severity, score(f.Contribution), cleanText(f.Message, "      "), note)
	fmt.Fprintf(b, "      %s  %s", clean(f.Rule), clean(strings.Join(f.Techniques, " ")))
	if f.Source != "" {
		fmt.Fprintf(b, "  %s:%d", clean(f.Source), f.Record)
	}
	if id := f.GetEvent().GetId(); id != "" {
		fmt.Fprintf(b, "  event %s", clean(id))
	}
	b.WriteByte('\n')
}

func clock(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format("15:04:05") }

func writeLink(b *strings.Builder, l *clewv1.Link) {
	if l.From == "" || l.To == "" || l.From == l.To {
		return
	}
	fmt.Fprintf(b, "  %s  %s → %s by %s (%s): %s\n", clock(l.First), clean(l.From), clean(l.To), clean(l.Type), clean(l.Grade), clean(l.Label))
}

func writeTriage(b *strings.Builder, x *clewv1.Trace) {
	t := x.GetTriage()
	fmt.Fprintf(b, "\n  state %s", stateName(t.GetState()))
	if t.GetAssignee() != "" {
		fmt.Fprintf(b, ", assigned to %s", clean(t.Assignee))
	}
	if t.GetBy() != "" {
		fmt.Fprintf(b, ", by %s at %s", clean(t.By), moment(t.At))
	}
	b.WriteByte('\n')
	for _, c := range t.GetComments() {
		fmt.Fprintf(b, "  %s  %s: %s\n", moment(c.At), clean(c.By), cleanText(c.Text, "    "))
	}
	if len(x.SeeAlso) > 0 {
		fmt.Fprintf(b, "  see also %s\n", clean(strings.Join(x.SeeAlso, " ")))
	}
}
