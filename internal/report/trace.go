package report

import (
	"cmp"
	"slices"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/trace"
)

// Trace is a trace as output writes it. The contributions of its flags add up
// to its score exactly.
type Trace struct {
	Type       string         `json:"type"` // "trace"
	ID         trace.TraceID  `json:"id"`
	Score      trace.Points   `json:"score"`
	Alert      bool           `json:"alert"`
	Techniques []string       `json:"techniques"`
	Tactics    []event.Tactic `json:"tactics"` // in the order of their first flag
	Planes     []string       `json:"planes"`
	Flags      []TraceFlag    `json:"flags"` // one row a kind, in causal order: oldest first
	Units      []Unit         `json:"units"` // where the flags happened, oldest first; then what links lead through
	Links      []Link         `json:"links"` // why they belong together
	First      string         `json:"first"`
	Last       string         `json:"last"`
	// Fingerprint is the shape of the trace's trigger: what a suppression names.
	Fingerprint event.ID `json:"fingerprint"`
	SeeAlso     []string `json:"seeAlso,omitempty"`    // traces not merged because of the size limit
	MergedFrom  []string `json:"mergedFrom,omitempty"` // ids that lead here
}

// TraceFlag is what one rule says in a trace.
type TraceFlag struct {
	Rule         string         `json:"rule"`
	Title        string         `json:"title"`
	Severity     event.Severity `json:"severity"`
	Tactic       event.Tactic   `json:"tactic"`
	Techniques   []string       `json:"techniques"`
	Contribution trace.Points   `json:"contribution"`
	Count        uint64         `json:"count"`
	Suppressed   bool           `json:"suppressed,omitempty"`
	Unit         string         `json:"unit"` // letter of the unit of its first flag
	First        string         `json:"first"`
	Last         string         `json:"last"`
	// Of the first flag.
	Message string `json:"message"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Event   Event  `json:"event"`
	Entity  string `json:"entity"`

	firstNanos int64
}

// Unit is a unit with flags: an identity session, or a workload with its pods.
type Unit struct {
	Name string `json:"name"` // A, B, …
	User string `json:"user"`
	IP   string `json:"sourceIP,omitempty"`
	Pod  string `json:"pod,omitempty"`
	// Object names a unit without flags that a link leads through.
	Object string `json:"object,omitempty"`
}

// Link is a cause that joins two units.
type Link struct {
	From  string      `json:"from"` // letter of a unit
	To    string      `json:"to"`
	Type  string      `json:"type"`
	Grade graph.Grade `json:"grade"`
	Label string      `json:"label,omitempty"`
	First string      `json:"first"`
}

// newTrace describes t with the evidence in the spool.
func (c *Collector) newTrace(t trace.Trace) (Trace, error) {
	out := Trace{
		Type: "trace", ID: t.ID, Score: t.Score, Alert: t.Alert, Tactics: t.Tactics, Planes: planeNames(t.Planes),
		Fingerprint: t.Fingerprint, First: formatTime(t.First), Last: formatTime(t.Last), Techniques: []string{}, Flags: []TraceFlag{}, Units: []Unit{}, Links: []Link{},
	}
	names := unitNames(t.Flagged)
	for i, u := range t.Flagged {
		unit, err := c.unit(unitName(i), u.ID)
		if err != nil {
			return out, err
		}
		out.Units = append(out.Units, unit)
	}
	for i := range t.Kinds {
		f, err := newTraceFlag(&t.Kinds[i], names, &c.spool)
		if err != nil {
			return out, err
		}
		out.Flags = append(out.Flags, f)
		for _, id := range f.Techniques {
			if !slices.Contains(out.Techniques, id) {
				out.Techniques = append(out.Techniques, id)
			}
		}
	}
	slices.SortStableFunc(out.Flags, func(a, b TraceFlag) int { return cmp.Compare(a.firstNanos, b.firstNanos) })
	slices.Sort(out.Techniques)
	out.nameThrough(t.Links, names)
	for _, l := range t.Links {
		out.Links = append(out.Links, Link{
			From: names[l.From], To: names[l.To], Type: l.Type.String(), Grade: l.Grade, Label: clean(l.Label), First: formatTime(l.First),
		})
	}
	for _, id := range t.SeeAlso {
		out.SeeAlso = append(out.SeeAlso, id.String())
	}
	for _, id := range t.MergedFrom {
		out.MergedFrom = append(out.MergedFrom, id.String())
	}
	return out, nil
}

func newTraceFlag(k *trace.Kind, names map[trace.UnitID]string, s *spool) (TraceFlag, error) {
	out := TraceFlag{
		Rule: k.Rule, Severity: k.Severity, Tactic: k.Tactic, Techniques: k.Techniques, Contribution: k.Contribution,
		Count: k.Count, Suppressed: k.Suppressed, First: formatTime(k.First), Last: formatTime(k.Last), firstNanos: k.First,
	}
	if len(k.Evidence) == 0 {
		return out, nil
	}
	f, err := s.flag(k.Evidence[0].Ref)
	if err != nil {
		return out, err
	}
	out.Title, out.Message, out.File, out.Line, out.Event, out.Entity = f.Title, f.Message, f.File, f.Line, f.Event, f.Entity
	out.Unit = names[k.Evidence[0].Unit]
	return out, nil
}

// nameThrough adds the units without flags that links lead through, named by
// the link that says what they are.
func (t *Trace) nameThrough(links []trace.Edge, names map[trace.UnitID]string) {
	add := func(id trace.UnitID, object string) {
		if _, ok := names[id]; ok || object == "" {
			return
		}
		names[id] = unitName(len(t.Units))
		t.Units = append(t.Units, Unit{Name: names[id], Object: clean(object)})
	}
	for _, l := range links {
		switch l.Type {
		case graph.LinkExec:
			add(l.To, "pod "+l.Label)
		case graph.LinkCreated, graph.LinkModified:
			add(l.To, l.Label)
		case graph.LinkPodToken:
			add(l.From, "pod "+l.Label)
		}
	}
	for _, l := range links {
		add(l.From, "an identity without flags")
		add(l.To, "an identity without flags")
	}
}

// unit says whose a unit is, from its first flag.
func (c *Collector) unit(name string, id trace.UnitID) (Unit, error) {
	ref, ok := c.first[id]
	if !ok {
		return Unit{Name: name}, nil
	}
	f, err := c.spool.flag(ref)
	if err != nil {
		return Unit{}, err
	}
	return Unit{Name: name, User: f.Event.User, IP: f.Event.SourceIP, Pod: f.Event.Pod}, nil
}

func unitNames(units []trace.Unit) map[trace.UnitID]string {
	out := make(map[trace.UnitID]string, len(units))
	for i, u := range units {
		out[u.ID] = unitName(i)
	}
	return out
}

// unitName returns A … Z, AA, AB, ….
func unitName(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return unitName(i/26-1) + string(rune('A'+i%26))
}
