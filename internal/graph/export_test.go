package graph

import (
	"bytes"
	"cmp"
	"slices"
)

// Awaited returns the links noted at a time that are not told yet.
func (g *Graph) Awaited(now int64) []Link {
	var out []Link
	for _, acts := range g.acts.Young {
		for _, l := range acts {
			if l.Time == now {
				out = append(out, l)
			}
		}
	}
	slices.SortFunc(out, func(a, b Link) int {
		return cmp.Or(bytes.Compare(a.From[:], b.From[:]), bytes.Compare(a.To[:], b.To[:]), cmp.Compare(a.Type, b.Type))
	})
	return out
}
