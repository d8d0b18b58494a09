package parquet

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go"
)

// scratch is the memory of one scan.
type scratch struct {
	ok       []bool // of a dictionary's values
	lower    []byte
	all, one []bool // of the rows of a group
	values   []value
}

var scratches = sync.Pool{New: func() any { return &scratch{values: make([]value, 64)} }}

// scan searches one row group.
type scan struct {
	g     *group
	conds []*probe
	plan  *Plan
	s     *scratch
}

func newScan(g *group, plan *Plan) *scan {
	return &scan{g: g, plan: plan, s: scratches.Get().(*scratch)}
}

// done gives the scratch back.
func (sc *scan) done() { scratches.Put(sc.s) }

// probe is a condition with the columns of the group that may fulfil it.
type probe struct {
	*condition
	columns []candidate
}

type candidate struct {
	column int
	pages  *parquet.FilePages
	ok     []bool // per code of the dictionary; nil when it has none
}

// rows returns the rows between from and to, both included, that fulfil all
// conditions, oldest first. It reads as little as it can: first filters and
// statistics, then dictionaries, then pages.
func (sc *scan) rows(conds []condition, from, to int64) ([]int, error) {
	defer sc.close()
	if possible, err := sc.prune(conds); err != nil || !possible {
		return nil, err
	}
	if possible, err := sc.dictionaries(); err != nil || !possible {
		return nil, err
	}
	lo, hi, err := sc.between(from, to)
	if err != nil || lo >= hi {
		return nil, err
	}
	sc.plan.GroupsRead++
	sc.plan.RowsScanned += hi - lo
	all := filled(&sc.s.all, hi-lo, true)
	for _, p := range sc.conds {
		if err := sc.apply(p, lo, hi, all); err != nil {
			return nil, err
		}
		if !slices.Contains(all, true) {
			return nil, nil
		}
	}
	var rows []int
	for i, ok := range all {
		if ok {
			rows = append(rows, lo+i)
		}
	}
	return rows, nil
}

func filled(b *[]bool, n int, v bool) []bool {
	*b = slices.Grow((*b)[:0], n)[:n]
	for i := range *b {
		(*b)[i] = v
	}
	return *b
}

func (sc *scan) close() {
	for _, p := range sc.conds {
		for i := range p.columns {
			if p.columns[i].pages != nil {
				_ = p.columns[i].pages.Close() // it gives its buffers back and nothing else
			}
		}
	}
}

// prune drops the columns that statistics and filters rule out. possible is false
// when a condition has none left.
func (sc *scan) prune(conds []condition) (possible bool, err error) {
	for i := range conds {
		p := &probe{condition: &conds[i]}
		why := &sc.plan.SkippedStatistics
		for _, col := range conds[i].columns {
			byStatistics, byBloom, err := conds[i].absent(col, sc.g)
			if err != nil {
				return false, fmt.Errorf("filter of column %q: %w", columns[col].name, err)
			}
			if byBloom {
				why = &sc.plan.SkippedBloom
			}
			if !byStatistics && !byBloom {
				p.columns = append(p.columns, candidate{column: col})
			}
		}
		if len(p.columns) == 0 {
			*why++
			return false, nil
		}
		sc.conds = append(sc.conds, p)
	}
	return true, nil
}

// dictionaries drops the columns whose dictionaries hold no value that matches, and
// the conditions that every row fulfils.
func (sc *scan) dictionaries() (possible bool, err error) {
	kept := sc.conds[:0:0]
	for _, p := range sc.conds {
		always := false
		left := p.columns[:0:0]
		for _, c := range p.columns {
			n, size, err := sc.dictionary(p.condition, &c)
			if err != nil {
				return false, fmt.Errorf("dictionary of column %q: %w", columns[c.column].name, err)
			}
			always = always || c.ok != nil && n == size && columns[c.column].str != nil
			if c.ok == nil || n > 0 {
				left = append(left, c)
			} else {
				_ = c.pages.Close() // gives its buffers back and nothing else
			}
		}
		p.columns = left
		if len(left) == 0 {
			sc.plan.SkippedDictionary++
			return false, nil
		}
		if !always {
			kept = append(kept, p)
		}
	}
	sc.conds = kept
	return true, nil
}

func (sc *scan) dictionary(c *condition, d *candidate) (n, size int, err error) {
	d.pages = sc.pages(d.column)
	dict, err := d.pages.ReadDictionary()
	if err != nil || dict == nil {
		return 0, 0, err
	}
	sc.plan.PagesRead++
	ok, n := c.matches(vectorOf(dict.Page().Data()), sc.s)
	d.ok = slices.Clone(ok)
	return n, len(ok), nil
}

func (sc *scan) pages(col int) *parquet.FilePages {
	return sc.g.rg.ColumnChunks()[col].Pages().(*parquet.FilePages)
}

// apply clears all[i] where row lo+i does not fulfil p.
func (sc *scan) apply(p *probe, lo, hi int, all []bool) error {
	one := filled(&sc.s.one, hi-lo, false)
	for i := range p.columns {
		if err := sc.mark(p.condition, &p.columns[i], lo, hi, one); err != nil {
			return fmt.Errorf("column %q: %w", columns[p.columns[i].column].name, err)
		}
	}
	for i, ok := range one {
		all[i] = all[i] && ok
	}
	return nil
}

// mark sets one[i] where row lo+i has a matching value in the column.
func (sc *scan) mark(c *condition, d *candidate, lo, hi int, one []bool) error {
	if err := seek(sc.g, d.column, d.pages, lo); err != nil {
		return err
	}
	for row := lo; row < hi; {
		page, err := d.pages.ReadPage()
		if err != nil {
			return early(err)
		}
		sc.plan.PagesRead++
		n := int(page.NumRows())
		if n == 0 {
			parquet.Release(page)
			return fmt.Errorf("page without rows: %w", errMalformed)
		}
		markPage(c, d.ok, page, one[row-lo:], sc.s)
		parquet.Release(page)
		row += n
	}
	return nil
}

func markPage(c *condition, ok []bool, page parquet.Page, one []bool, s *scratch) {
	repeated := page.RepetitionLevels()
	if page.Dictionary() == nil {
		ok, _ = c.matches(vectorOf(page.Data()), s)
		for i := range min(len(ok), len(one)) {
			one[i] = one[i] || ok[i]
		}
		return
	}
	data := page.Data()
	codes := data.Int32()
	if len(repeated) == 0 {
		codes = codes[:min(len(codes), len(one))]
		for i, code := range codes {
			if ok[code] {
				one[i] = true
			}
		}
		return
	}
	row, code := -1, 0
	for i, level := range page.DefinitionLevels() {
		if repeated[i] == 0 {
			row++
		}
		if level == 0 { // the row has no value
			continue
		}
		if row < len(one) && ok[codes[code]] {
			one[row] = true
		}
		code++
	}
}

// early turns the end of a column before the end of its rows into an error.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it ends early: %w", errMalformed)
	}
	return err
}

// seek goes to a row, by way of the page index.
func seek(g *group, col int, pages *parquet.FilePages, row int) error {
	if _, err := g.rg.ColumnChunks()[col].OffsetIndex(); err != nil {
		return fmt.Errorf("page index: %w", err)
	}
	return pages.SeekToRow(int64(row))
}

// between returns the range of rows with times from..to, both included.
func (sc *scan) between(from, to int64) (lo, hi int, err error) {
	lo, hi = 0, sc.g.rows
	if from > sc.g.minTime {
		if lo, err = sc.firstRow(from); err != nil {
			return 0, 0, err
		}
	}
	if to < sc.g.maxTime {
		hi, err = sc.firstRow(to + 1)
	}
	return lo, hi, err
}

// firstRow returns the first row that is not older than at: the page index names its
// page, the page the row.
func (sc *scan) firstRow(at int64) (int, error) {
	chunk := sc.g.rg.ColumnChunks()[colTime]
	bounds, err := chunk.ColumnIndex()
	if err != nil {
		return 0, fmt.Errorf("bounds of pages: %w", err)
	}
	offsets, err := chunk.OffsetIndex()
	if err != nil {
		return 0, fmt.Errorf("page index: %w", err)
	}
	n := 0
	for n < bounds.NumPages() && bounds.MaxValue(n).Int64() < at {
		n++
	}
	if n == bounds.NumPages() {
		return sc.g.rows, nil
	}
	first := int(offsets.FirstRowIndex(n))
	pages := sc.pages(colTime)
	defer pages.Close() //nolint:errcheck // gives its buffers back and nothing else
	if err := pages.SeekToRow(int64(first)); err != nil {
		return 0, err
	}
	page, err := pages.ReadPage()
	if err != nil {
		return 0, early(err)
	}
	defer parquet.Release(page)
	sc.plan.PagesRead++
	times := page.Data()
	in, _ := slices.BinarySearch(times.Int64(), at)
	return first + in, nil
}

// keys returns the keys of the given rows, which ascend.
func (sc *scan) keys(rows []int, cluster string) ([]rowKey, error) {
	keys := make([]rowKey, len(rows))
	err := sc.values(colTime, rows, func(i int, v []value) { keys[i].time, keys[i].cluster = v[0].Int64(), cluster })
	if err != nil {
		return nil, err
	}
	return keys, sc.values(colID, rows, func(i int, v []value) { copy(keys[i].id[:], v[0].ByteArray()) })
}

// values calls f with the values of a column for each of the given rows, which
// ascend. The values live until f returns.
func (sc *scan) values(col int, rows []int, f func(i int, v []value)) error {
	r := &reader{scan: sc, col: col, pages: sc.pages(col)}
	defer r.close()
	for i, row := range rows {
		v, err := r.at(row)
		if err != nil {
			return fmt.Errorf("column %q, row %d: %w", columns[col].name, row, err)
		}
		f(i, v)
	}
	return nil
}

// reader reads single rows of a column, rising, each page once.
type reader struct {
	*scan
	col   int
	pages *parquet.FilePages
	page  parquet.Page
	first int // row the page begins with
}

func (r *reader) at(row int) ([]value, error) {
	if r.page == nil || row-r.first >= int(r.page.NumRows()) {
		if err := r.read(row); err != nil {
			return nil, err
		}
	}
	one := r.page.Slice(int64(row-r.first), int64(row-r.first+1))
	n := int(one.NumValues())
	r.s.values = slices.Grow(r.s.values[:0], n)[:n]
	if n, err := one.Values().ReadValues(r.s.values); n == 0 {
		return nil, early(err)
	}
	return r.s.values, nil
}

func (r *reader) read(row int) (err error) {
	parquet.Release(r.page)
	r.page = nil
	if err := seek(r.g, r.col, r.pages, row); err != nil {
		return err
	}
	if r.page, err = r.pages.ReadPage(); err != nil {
		return early(err)
	}
	r.first = row
	r.plan.PagesRead++
	return nil
}

func (r *reader) close() {
	parquet.Release(r.page)
	_ = r.pages.Close() // gives its buffers back and nothing else
}

// each calls f with each page of a column without dictionary.
func (sc *scan) each(col int, f func(vector)) error {
	pages := sc.pages(col)
	defer pages.Close() //nolint:errcheck // gives its buffers back and nothing else
	for row := 0; row < sc.g.rows; {
		page, err := pages.ReadPage()
		if err != nil {
			return early(err)
		}
		f(vectorOf(page.Data()))
		row += max(1, int(page.NumRows()))
		parquet.Release(page)
	}
	return nil
}

// fill reads the given rows of the group, which ascend, into out. The raw record
// is read when asked for.
func (sc *scan) fill(rows []int, out []*Row, raw bool) error {
	for col := range columns {
		if col == colRaw && !raw {
			continue
		}
		c := &columns[col]
		if v, ok := sc.constant(col); ok {
			for _, r := range out {
				*c.str(r) = v
			}
			continue
		}
		err := sc.values(col, rows, func(i int, v []value) {
			if c.str != nil {
				*c.str(out[i]) = string(v[0].ByteArray())
				return
			}
			c.set(out[i], v)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// constant returns the value of a text column that has the same in all rows, as most
// columns that say nothing of a kind of event do. Nothing is read for it.
func (sc *scan) constant(col int) (string, bool) {
	if columns[col].str == nil {
		return "", false
	}
	least, greatest, ok := sc.g.rg.ColumnChunks()[col].(*parquet.FileColumnChunk).Bounds()
	if !ok || !parquet.Equal(least, greatest) {
		return "", false
	}
	return string(least.ByteArray()), true
}
