package parquet

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// condition holds for a row when one of the columns has one of the values, or, for a
// text, holds the needle.
type condition struct {
	columns []int
	values  [][]byte
	needle  []byte // lower case; nil when values are compared
}

// matchRow reports whether the condition holds for a row in memory.
func (c *condition) matchRow(r *Row) bool {
	for _, col := range c.columns {
		switch col {
		case colEntities:
			for i := range r.Entities {
				if c.matchBytes(r.Entities[i][:]) {
					return true
				}
			}
		case colID:
			if c.matchBytes(r.ID[:]) {
				return true
			}
		default:
			if c.matchString(*columns[col].str(r)) {
				return true
			}
		}
	}
	return false
}

func (c *condition) matchBytes(b []byte) bool {
	return slices.ContainsFunc(c.values, func(v []byte) bool { return bytes.Equal(v, b) })
}

func (c *condition) matchString(s string) bool {
	if c.needle != nil {
		return containsFold(s, c.needle)
	}
	return slices.ContainsFunc(c.values, func(v []byte) bool { return string(v) == s })
}

// lower folds the case of ASCII letters. It has no branch: text is a mix of cases.
func lower(c byte) byte {
	upper := (uint32(c) - 'A' - 26) >> 31 &^ ((uint32(c) - 'A') >> 31)
	return c | byte(upper)<<5
}

// lowered writes src into dst with the case of ASCII letters folded, eight bytes at a
// time.
func lowered(dst, src []byte) []byte {
	dst = append(dst[:0], src...)
	i := 0
	for ; i+8 <= len(dst); i += 8 {
		b := dst[i : i+8]
		binary.LittleEndian.PutUint64(b, lower8(binary.LittleEndian.Uint64(b)))
	}
	for ; i < len(dst); i++ {
		dst[i] = lower(dst[i])
	}
	return dst
}

// lower8 is lower of eight bytes.
func lower8(w uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	seven := w &^ high
	fromA := seven + (0x80-'A')*ones // high bit: at least A
	pastZ := seven + (0x7f-'Z')*ones // high bit: more than Z
	return w | (fromA&^pastZ&^w&high)>>2
}

func containsFold(s string, needle []byte) bool {
	for i := 0; i+len(needle) <= len(s); i++ {
		n := 0
		for n < len(needle) && lower(s[i+n]) == needle[n] {
			n++
		}
		if n == len(needle) {
			return true
		}
	}
	return false
}

// vector is the values of a page or dictionary, as they lie in memory.
type vector struct {
	data    []byte
	offsets []uint32 // one more than there are values; nil when all have size
	size    int
}

func vectorOf(v encoding.Values) vector {
	if v.Kind() == encoding.FixedLenByteArray {
		data, size := v.FixedLenByteArray()
		return vector{data: data, size: size}
	}
	data, offsets := v.ByteArray()
	return vector{data: data, offsets: offsets}
}

func (v *vector) len() int {
	if v.offsets == nil {
		return len(v.data) / max(v.size, 1)
	}
	return max(0, len(v.offsets)-1)
}

func (v *vector) at(i int) []byte {
	if v.offsets == nil {
		return v.data[i*v.size : (i+1)*v.size]
	}
	return v.data[v.offsets[i]:v.offsets[i+1]]
}

// matches reports for each value whether the condition holds, and how many do. The
// slice is the scratch's and lives until its next use.
func (c *condition) matches(v vector, s *scratch) (ok []bool, n int) {
	s.ok = append(s.ok[:0], make([]bool, v.len())...)
	if c.needle != nil {
		return s.ok, c.find(v, s)
	}
	for i := range s.ok {
		if c.matchBytes(v.at(i)) {
			s.ok[i] = true
			n++
		}
	}
	return s.ok, n
}

// find looks for the needle in all values at once: they lie one after another.
func (c *condition) find(v vector, s *scratch) (n int) {
	if v.offsets == nil || v.len() == 0 {
		return 0
	}
	s.lower = lowered(s.lower, v.data)
	i, pos := 0, int(v.offsets[0])
	for {
		at := bytes.Index(s.lower[pos:], c.needle)
		if at < 0 {
			return n
		}
		pos += at
		for i < v.len() && int(v.offsets[i+1]) <= pos {
			i++
		}
		if i == v.len() {
			return n
		}
		if pos+len(c.needle) > int(v.offsets[i+1]) { // across two values
			pos++
			continue
		}
		s.ok[i] = true
		n++
		pos = int(v.offsets[i+1])
	}
}

// absent reports whether statistics or filter of the chunk rule every value out.
func (c *condition) absent(col int, g *group) (byStatistics, byBloom bool, err error) {
	if c.needle != nil || !columns[col].bloom && columns[col].str == nil {
		return false, false, nil
	}
	chunk := g.rg.ColumnChunks()[col].(*parquet.FileColumnChunk)
	if c.outside(chunk) {
		return true, false, nil
	}
	filter := chunk.BloomFilter()
	if filter == nil {
		return false, false, nil
	}
	for _, v := range c.values {
		here, err := filter.Check(parquet.ByteArrayValue(v))
		if err != nil || here {
			return false, false, err
		}
	}
	return false, true, nil
}

// outside reports whether every value is below the least or above the greatest of
// the chunk.
func (c *condition) outside(chunk *parquet.FileColumnChunk) bool {
	least, greatest, ok := chunk.Bounds()
	if !ok || columns[chunk.Column()].str == nil {
		return false
	}
	return !slices.ContainsFunc(c.values, func(v []byte) bool {
		return bytes.Compare(v, least.ByteArray()) >= 0 && bytes.Compare(v, greatest.ByteArray()) <= 0
	})
}
