package trace

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// view builds the value of a trace that callers see.
func (t *Tracer) view(tr uint32) Trace {
	x := t.traces.at(tr)
	v := t.assess(x, x.last, scope{})
	out := Trace{
		ID: t.idOf(tr), Score: points(v.score), Peak: x.peak, Alert: x.peak >= alertLine, Open: x.open,
		Chain: v.chain, Planes: v.planes, Units: len(x.members), Dropped: x.dropped,
		SeeAlso: t.resolve(x.seeAlso, tr),
	}
	contribution := t.contributions(v, out.Score)
	out.Kinds = t.viewKinds(x, contribution)
	out.Tactics = tacticsInOrder(out.Kinds)
	t.viewUnits(x, &out)
	out.Links = t.viewLinks(x)
	if x.oldest != 0 {
		out.Fingerprint = t.evidenceOf(x.oldest).trigger.shape
	}
	return out
}

// contributions splits a score among the kinds in t.tallies so that the parts
// sum to it exactly. Each part is rounded down to a tenth; the tenths left over
// go to the parts with the largest remainders, ties in the order of tallies.
func (t *Tracer) contributions(v verdict, score Points) map[uint32]Points {
	out := make(map[uint32]Points, len(t.tallies))
	if v.z == 0 {
		return out
	}
	type remainder struct {
		kind uint32
		part float64
	}
	var rest []remainder
	left := score
	for i := range t.tallies {
		k := &t.tallies[i]
		exact := float64(score) * k.share / v.z
		whole := math.Floor(exact)
		out[k.kind] = Points(whole)
		left -= Points(whole)
		rest = append(rest, remainder{k.kind, exact - whole})
	}
	slices.SortStableFunc(rest, func(a, b remainder) int {
		switch {
		case a.part > b.part:
			return -1
		case a.part < b.part:
			return 1
		}
		return 0
	})
	// A rounding error of the floating-point shares can leave left one off
	// either way; the loop ends after as many tenths as are left.
	for i := 0; left > 0; i++ {
		out[rest[i%len(rest)].kind]++
		left--
	}
	for i := len(rest) - 1; left < 0; i-- {
		if out[rest[i].kind] > 0 {
			out[rest[i].kind]--
			left++
		}
	}
	return out
}

// viewKinds adds up the rows of each kind, weightiest first.
func (t *Tracer) viewKinds(x *record, contribution map[uint32]Points) []Kind {
	type key struct {
		kind       uint32
		suppressed bool
	}
	at := map[key]int{}
	var out []Kind
	for i := range x.rows {
		r := &x.rows[i]
		k := key{r.kind, r.suppressed}
		n, ok := at[k]
		if !ok {
			n = len(out)
			at[k] = n
			d := &t.kinds[r.kind]
			out = append(out, Kind{Rule: d.rule, Tactic: d.tactic, Techniques: d.techniques, First: r.first, Last: r.last, Suppressed: r.suppressed})
			if !r.suppressed {
				out[n].Contribution = contribution[r.kind]
			}
		}
		t.addToKind(&out[n], r)
	}
	slices.SortFunc(out, compareKinds)
	return out
}

func (t *Tracer) addToKind(k *Kind, r *row) {
	k.Severity = max(k.Severity, r.severity)
	k.Planes |= r.planes
	k.First, k.Last = min(k.First, r.first), max(k.Last, r.last)
	for _, c := range r.counts {
		k.Count += c.n
	}
	for _, e := range r.evidence {
		e.Unit = t.units.at(r.unit).key
		k.Evidence = append(k.Evidence, e)
	}
	slices.SortFunc(k.Evidence, compareEvidence)
	k.Evidence = k.Evidence[:min(len(k.Evidence), t.cfg.EvidencePerKind)]
}

func compareKinds(a, b Kind) int {
	switch {
	case a.Contribution != b.Contribution:
		return int(b.Contribution) - int(a.Contribution)
	case a.First != b.First:
		if a.First < b.First {
			return -1
		}
		return 1
	case a.Rule != b.Rule:
		return strings.Compare(a.Rule, b.Rule)
	case a.Tactic != b.Tactic:
		return int(a.Tactic) - int(b.Tactic)
	case a.Suppressed == b.Suppressed:
		return 0
	case b.Suppressed:
		return -1
	}
	return 1
}

// tacticsInOrder returns the tactics of flags that count or could, first seen
// first. Context (info) and suppressed flags name none.
func tacticsInOrder(kinds []Kind) []event.Tactic {
	first := map[event.Tactic]int64{}
	var out []event.Tactic
	for i := range kinds {
		k := &kinds[i]
		if k.Suppressed || k.Severity == event.Info {
			continue
		}
		at, ok := first[k.Tactic]
		if !ok {
			out = append(out, k.Tactic)
			at = k.First
		}
		first[k.Tactic] = min(at, k.First)
	}
	slices.SortFunc(out, func(a, b event.Tactic) int {
		switch {
		case first[a] < first[b]:
			return -1
		case first[a] > first[b]:
			return 1
		}
		return int(a) - int(b)
	})
	return out
}

// viewUnits fills what follows from the flagged units.
func (t *Tracer) viewUnits(x *record, out *Trace) {
	var flagged []uint32
	for _, m := range x.members {
		if t.evidenceOf(m).flagged {
			flagged = append(flagged, m)
		}
	}
	slices.SortFunc(flagged, func(a, b uint32) int {
		if t.older(a, b) {
			return -1
		}
		return 1
	})
	for n, m := range flagged {
		e := t.evidenceOf(m)
		out.Flagged = append(out.Flagged, Unit{ID: t.units.at(m).key, First: e.first, Last: e.last, Fingerprint: e.trigger.shape, Affinity: e.alpha})
		if n == 0 {
			out.First, out.Last = e.first, e.last
		}
		out.First, out.Last = min(out.First, e.first), max(out.Last, e.last)
		if id := idOfUnit(&t.hasher, t.units.at(m).key); id != out.ID && e.named && len(out.MergedFrom) < maxMergedFrom {
			out.MergedFrom = append(out.MergedFrom, id)
		}
	}
}

// viewLinks returns the open links that lie between flagged units: unflagged
// units at the end of a single link are left out, again and again.
func (t *Tracer) viewLinks(x *record) []Edge {
	degree := map[uint32]int{}
	var links []*openLink
	for _, m := range x.members {
		for l := t.evidenceOf(m).links; l != 0; {
			o := t.open.at(l)
			if o.from == m {
				links = append(links, o)
				degree[o.from]++
				degree[o.to]++
			}
			l = o.next(m)
		}
	}
	for {
		n := len(links)
		links = slices.DeleteFunc(links, func(o *openLink) bool {
			loose := t.loose(o.from, degree) || t.loose(o.to, degree)
			if loose {
				degree[o.from]--
				degree[o.to]--
			}
			return loose
		})
		if len(links) == n {
			break
		}
	}
	out := make([]Edge, 0, len(links))
	for _, o := range links {
		out = append(out, Edge{
			From: t.units.at(o.from).key, To: t.units.at(o.to).key, Type: o.typ, Grade: o.grade,
			Strength: o.strength, First: o.first, Last: o.last, Label: t.labels.text(o.label),
		})
	}
	slices.SortFunc(out, compareEdges)
	return out
}

func (t *Tracer) loose(i uint32, degree map[uint32]int) bool {
	return degree[i] <= 1 && !t.evidenceOf(i).flagged
}

func compareEdges(a, b Edge) int {
	if a.First != b.First {
		if a.First < b.First {
			return -1
		}
		return 1
	}
	if c := bytes.Compare(a.From[:], b.From[:]); c != 0 {
		return c
	}
	if c := bytes.Compare(a.To[:], b.To[:]); c != 0 {
		return c
	}
	return int(a.Type) - int(b.Type)
}

// resolve turns ids noted earlier into the ids they lead to now.
func (t *Tracer) resolve(ids []TraceID, self uint32) []TraceID {
	var out []TraceID
	for _, id := range ids {
		if i, ok := t.byID[id]; ok {
			if t.units.at(i).trace == self {
				continue
			}
			id = t.idOf(t.units.at(i).trace)
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}
