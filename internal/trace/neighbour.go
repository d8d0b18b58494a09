package trace

import "slices"

// LinksOf returns the links that the tracer holds of a unit, as cause or effect, by
// time: those that are open, whole, and of those that wait for evidence the
// latest. The caller owns the slice.
func (t *Tracer) LinksOf(key UnitID) []Edge {
	i, ok := t.byKey[key]
	if !ok {
		return nil
	}
	var out []Edge
	u := t.units.at(i)
	if e := t.evidenceAt(u); e != nil {
		for l := e.links; l != 0; {
			o := t.open.at(l)
			out = append(out, Edge{
				From: t.units.at(o.from).key, To: t.units.at(o.to).key, Type: o.typ, Grade: o.grade,
				Strength: o.strength, First: o.first, Last: o.last, Label: t.labels.text(o.label),
			})
			l = o.next(i)
		}
	}
	for n := range u.ring {
		s := &u.ring[n]
		if s.other == 0 || t.units.at(s.other).gen != s.gen {
			continue
		}
		e := Edge{
			From: t.units.at(s.other).key, To: key, Type: s.typ, Grade: s.grade,
			Strength: s.strength, First: s.first, Last: s.last, Label: t.labels.text(s.label),
		}
		if s.out {
			e.From, e.To = e.To, e.From
		}
		out = append(out, e)
	}
	slices.SortFunc(out, compareEdges)
	return out
}

// Knows reports whether the tracer holds a unit.
func (t *Tracer) Knows(key UnitID) bool {
	_, ok := t.byKey[key]
	return ok
}
