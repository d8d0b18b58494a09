package trace

import (
	"bytes"
	"math"
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// record is a trace as kept: units, and one row per unit and kind of flag.
type record struct {
	members []uint32
	rows    []row
	oldest  uint32 // unit of the earliest flag: gives the id
	origin  uint32 // unit the affinities are measured from
	links   int
	last    int64 // of the evidence (flags of weight); 0 when none
	seen    int64 // of any flag or link
	dropped int
	seeAlso []TraceID

	live       bool
	queued     bool // in Tracer.touched
	relinked   bool // affinities are out of date
	changed    bool // in Tracer.changed
	open       bool
	alerted    bool
	score      Points
	peak       Points
	reported   Points
	tactics    uint16  // reported
	belowSince int64   // 0: not below the close line
	told       TraceID // id that TakeChanged gave it last
}

// kind is one rule and tactic. Kinds are as many as rules: they are never
// forgotten.
type kind struct {
	rule       string
	tactic     event.Tactic
	techniques []string
}

type kindKey struct {
	rule   string
	tactic event.Tactic
}

// row is what one kind of flag says on one unit. Every part merges by a
// commutative, associative and idempotent operation.
type row struct {
	kind, unit  uint32
	severity    event.Severity
	planes      event.Plane
	suppressed  bool
	weight      float64 // log2 of the greatest forward-decayed weight; -Inf is none
	peak        float64 // greatest undecayed weight
	first, last int64
	distinct    uint8               // hashes used
	hashes      [repeatFlags]uint32 // the smallest hashes of its flags, ascending: exact count up to repeatFlags
	counts      []shardCount
	evidence    []Evidence // Unit left out, it is the row's
}

type shardCount struct {
	shard uint16
	n     uint64
}

func (t *Tracer) kindOf(f *Flag) uint32 {
	if k, ok := t.kindBy[kindKey{f.Rule, f.Tactic}]; ok {
		return k
	}
	return t.addKind(f.Rule, f.Tactic, f.Techniques)
}

func (t *Tracer) addKind(rule string, tactic event.Tactic, techniques []string) uint32 {
	k := kind{rule: string([]byte(rule)), tactic: tactic}
	for _, s := range techniques {
		k.techniques = append(k.techniques, string([]byte(s)))
	}
	n := uint32(len(t.kinds))
	t.kinds = append(t.kinds, k)
	t.kindBy[kindKey{k.rule, tactic}] = n
	return n
}

func (x *record) addSeeAlso(id TraceID) {
	if !slices.Contains(x.seeAlso, id) && len(x.seeAlso) < maxSeeAlso {
		x.seeAlso = append(x.seeAlso, id)
	}
}

// find returns the row of a kind on a unit, nil when there is none.
func (x *record) find(kind, unit uint32, suppressed bool) *row {
	for i := range x.rows {
		if r := &x.rows[i]; r.kind == kind && r.unit == unit && r.suppressed == suppressed {
			return r
		}
	}
	return nil
}

// addRow joins n into the trace's rows.
func (t *Tracer) addRow(x *record, n row) {
	if r := x.find(n.kind, n.unit, n.suppressed); r != nil {
		r.join(&n, t.cfg.EvidencePerKind)
		return
	}
	x.rows = append(x.rows, n)
	if len(x.rows) > maxRows {
		t.fold(x)
	}
}

// join merges o into r.
func (r *row) join(o *row, evidence int) {
	r.severity = max(r.severity, o.severity)
	r.planes |= o.planes
	r.weight, r.peak = math.Max(r.weight, o.weight), math.Max(r.peak, o.peak)
	r.first, r.last = min(r.first, o.first), max(r.last, o.last)
	for _, h := range o.hashes[:o.distinct] {
		r.addHash(h)
	}
	for _, c := range o.counts {
		r.raise(c)
	}
	for _, e := range o.evidence {
		r.addEvidence(e, evidence)
	}
}

// holds reports whether a flag's hash is certainly counted, and whether the
// answer is final: beyond repeatFlags hashes the row has forgotten some.
func (r *row) holds(h uint32) (held, final bool) {
	_, held = slices.BinarySearch(r.hashes[:r.distinct], h)
	return held, held || r.distinct < repeatFlags
}

func (r *row) addHash(h uint32) {
	at, held := slices.BinarySearch(r.hashes[:r.distinct], h)
	if held || at == repeatFlags {
		return
	}
	if r.distinct < repeatFlags {
		r.distinct++
	}
	copy(r.hashes[at+1:r.distinct], r.hashes[at:])
	r.hashes[at] = h
}

// raise merges one shard's count: counts only grow, so the larger is later.
func (r *row) raise(c shardCount) {
	for i := range r.counts {
		if r.counts[i].shard == c.shard {
			r.counts[i].n = max(r.counts[i].n, c.n)
			return
		}
	}
	r.counts = append(r.counts, c)
}

// increment counts one more flag of this shard.
func (r *row) increment(shard uint16) {
	for i := range r.counts {
		if r.counts[i].shard == shard {
			r.counts[i].n++
			return
		}
	}
	r.counts = append(r.counts, shardCount{shard, 1})
}

// take adds the counts of a row that is about to go away.
func (r *row) take(o *row) {
	for _, c := range o.counts {
		i := slices.IndexFunc(r.counts, func(d shardCount) bool { return d.shard == c.shard })
		if i < 0 {
			r.counts = append(r.counts, c)
		} else {
			r.counts[i].n += c.n
		}
	}
}

// addEvidence keeps the earliest flags.
func (r *row) addEvidence(e Evidence, limit int) {
	at, held := slices.BinarySearchFunc(r.evidence, e, compareEvidence)
	if held || at >= limit {
		return
	}
	r.evidence = slices.Insert(r.evidence, at, e)
	if len(r.evidence) > limit {
		r.evidence = r.evidence[:limit]
	}
}

func compareEvidence(a, b Evidence) int {
	if a.Time != b.Time {
		if a.Time < b.Time {
			return -1
		}
		return 1
	}
	return bytes.Compare(a.Event[:], b.Event[:])
}

// fold brings the rows of a trace back under their limit. Rows of one kind on
// several units become one, which costs at most a difference of affinity;
// after that, kinds that their tactic's best five outweigh go.
func (t *Tracer) fold(x *record) {
	slices.SortFunc(x.rows, t.compareRows)
	kept := x.rows[:0]
	for _, r := range x.rows {
		if n := len(kept); n > 0 && kept[n-1].kind == r.kind && kept[n-1].suppressed == r.suppressed {
			counts := kept[n-1].counts
			kept[n-1].join(&r, t.cfg.EvidencePerKind)
			kept[n-1].counts = counts
			kept[n-1].take(&r)
			t.stats.Folded++
			continue
		}
		kept = append(kept, r)
	}
	clear(x.rows[len(kept):])
	x.rows = kept
	for len(x.rows) > maxRows {
		t.dropRow(x)
	}
}

// compareRows brings rows of one kind together, the weightiest first.
func (t *Tracer) compareRows(a, b row) int {
	switch {
	case a.kind != b.kind:
		return int(a.kind) - int(b.kind)
	case a.suppressed != b.suppressed:
		if b.suppressed {
			return -1
		}
		return 1
	case a.weight != b.weight:
		if a.weight > b.weight {
			return -1
		}
		return 1
	}
	return bytes.Compare(t.units.at(a.unit).key[:], t.units.at(b.unit).key[:])
}

// dropRow removes the least row of the tactic with most rows. With more rows
// than ten tactics times five that tactic has at least six, so what goes did
// not count.
func (t *Tracer) dropRow(x *record) {
	var perTactic [event.TacticCount]int
	crowded := event.Tactic(0)
	for i := range x.rows {
		perTactic[t.kinds[x.rows[i].kind].tactic]++
	}
	for k := range perTactic {
		if perTactic[k] > perTactic[crowded] {
			crowded = event.Tactic(k)
		}
	}
	least := -1
	for i := range x.rows {
		r := &x.rows[i]
		if t.kinds[r.kind].tactic == crowded && (least < 0 || t.lighter(r, &x.rows[least])) {
			least = i
		}
	}
	x.rows = slices.Delete(x.rows, least, least+1)
	x.dropped++
	t.stats.KindsDropped++
}

func (t *Tracer) lighter(a, b *row) bool {
	if a.suppressed != b.suppressed {
		return a.suppressed
	}
	if a.weight != b.weight {
		return a.weight < b.weight
	}
	return t.kinds[a.kind].rule > t.kinds[b.kind].rule
}
