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
	SeeAlso    []string       `json:"seeAlso,omitempty"`    // traces not merged because of the size limit
	MergedFrom []string       `json:"mergedFrom,omitempty"` // ids that lead here

	// Fingerprint is the shape of the trace's first unit, for a suppression
	// (docs/suppressions.md). The other units have their own.
	Fingerprint event.ID `json:"fingerprint"`
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

	Fingerprint event.ID `json:"fingerprint,omitzero"` // shape, for a suppression of its flags

	ID      event.ID   `json:"-"` // the entity
	Session graph.Span `json:"-"` // zero when it is no identity session
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

// newTrace describes t with the evidence in the spool. Units that only inform
// are no actors of a story that has others: their flags stay out of it.
func (d *describer) newTrace(t trace.Trace, units Units) (Trace, error) {
	out := Trace{
		Type: "trace", ID: t.ID, Score: t.Score, Alert: t.Alert, Tactics: t.Tactics, Planes: planeNames(t.Planes),
		Fingerprint: t.Fingerprint, First: formatTime(t.First), Last: formatTime(t.Last), Techniques: []string{}, Flags: []TraceFlag{}, Units: []Unit{}, Links: []Link{},
	}
	if out.Tactics == nil { // every flag is suppressed
		out.Tactics = []event.Tactic{}
	}
	names := map[trace.UnitID]string{}
	for _, u := range t.Flagged {
		known := d.flagsOf(u.ID, t.Kinds)
		if t.Score > 0 && (known == nil || !known.weighty) {
			continue
		}
		unit, err := d.unit(unitName(len(names)), known)
		if err != nil {
			return out, err
		}
		unit.Fingerprint = u.Fingerprint
		names[u.ID] = unit.Name
		out.Units = append(out.Units, unit)
	}
	if len(out.Units) > 0 {
		out.Fingerprint = out.Units[0].Fingerprint
	}
	if err := out.addFlags(t.Kinds, names, d.flags.flag); err != nil {
		return out, err
	}
	out.nameThrough(t.Links, names, units)
	out.identify(names, units)
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

// addFlags adds the rows that have evidence in a named unit, oldest first.
func (t *Trace) addFlags(kinds []trace.Kind, names map[trace.UnitID]string, flag flagByRef) error {
	for i := range kinds {
		k := &kinds[i]
		n := slices.IndexFunc(k.Evidence, func(e trace.Evidence) bool { return names[e.Unit] != "" })
		if n < 0 && k.Contribution == 0 && k.Severity == event.Info {
			continue
		}
		f, err := newTraceFlag(k, max(n, 0), names, flag)
		if err != nil {
			return err
		}
		t.Flags = append(t.Flags, f)
		for _, id := range f.Techniques {
			if !slices.Contains(t.Techniques, id) {
				t.Techniques = append(t.Techniques, id)
			}
		}
	}
	slices.SortStableFunc(t.Flags, func(a, b TraceFlag) int { return cmp.Compare(a.firstNanos, b.firstNanos) })
	slices.Sort(t.Techniques)
	if len(t.Flags) > 0 {
		t.First = t.Flags[0].First
	}
	return nil
}

// flagByRef returns the flag of a handle.
type flagByRef func(ref uint64) (Flag, error)

// newTraceFlag describes a row by its n-th evidence.
func newTraceFlag(k *trace.Kind, n int, names map[trace.UnitID]string, flag flagByRef) (TraceFlag, error) {
	out := TraceFlag{
		Rule: k.Rule, Severity: k.Severity, Tactic: k.Tactic, Techniques: k.Techniques, Contribution: k.Contribution,
		Count: k.Count, Suppressed: k.Suppressed, First: formatTime(k.First), Last: formatTime(k.Last), firstNanos: k.First,
	}
	if len(k.Evidence) == 0 {
		return out, nil
	}
	e := k.Evidence[n]
	f, err := flag(e.Ref)
	if err != nil {
		return out, err
	}
	out.Title, out.Message, out.File, out.Line, out.Event, out.Entity = f.Title, f.Message, f.File, f.Line, f.Event, f.Entity
	out.Unit, out.First, out.firstNanos = names[e.Unit], formatTime(e.Time), e.Time
	return out, nil
}

// identify says which entities the units are.
func (t *Trace) identify(names map[trace.UnitID]string, units Units) {
	for id, name := range names {
		u := &t.Units[slices.IndexFunc(t.Units, func(u Unit) bool { return u.Name == name })]
		u.ID = id
		if units != nil {
			u.Session, _ = units.Session(id)
		}
	}
}

// nameThrough adds the units without flags that links lead through, named by
// the link that says what they are.
func (t *Trace) nameThrough(links []trace.Edge, names map[trace.UnitID]string, units Units) {
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
		for _, id := range []trace.UnitID{l.From, l.To} {
			if who := units.Describe(id); who != "" {
				add(id, who+", without flags")
			} else {
				add(id, "an identity without flags")
			}
		}
	}
}

// flagsOf returns what is known of a unit's flags, nil when that is nothing.
func (d *describer) flagsOf(id trace.UnitID, kinds []trace.Kind) *unitFlags {
	if u, ok := d.units[id]; ok {
		return &u
	}
	var out *unitFlags
	for i := range kinds {
		n := slices.IndexFunc(kinds[i].Evidence, func(e trace.Evidence) bool { return e.Unit == id })
		if n < 0 {
			continue
		}
		if out == nil {
			out = &unitFlags{first: kinds[i].Evidence[n].Ref}
		}
		out.weighty = out.weighty || kinds[i].Severity > event.Info
	}
	return out
}

// unit says whose a unit is, from its first flag.
func (d *describer) unit(name string, u *unitFlags) (Unit, error) {
	if u == nil {
		return Unit{Name: name}, nil
	}
	f, err := d.flags.flag(u.first)
	if err != nil {
		return Unit{}, err
	}
	return Unit{Name: name, User: f.Event.User, IP: f.Event.SourceIP, Pod: f.Event.Pod}, nil
}

// unitName returns A … Z, AA, AB, ….
func unitName(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return unitName(i/26-1) + string(rune('A'+i%26))
}
