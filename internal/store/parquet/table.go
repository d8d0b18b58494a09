package parquet

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
)

// table is an open Parquet file: a segment, or row groups in memory that are not in
// one yet.
type table struct {
	file   *parquet.File
	bytes  []byte // the whole file when it is in memory
	groups []group
}

type group struct {
	rg               parquet.RowGroup
	rows             int
	minTime, maxTime int64
}

var errMalformed = errors.New("not a segment of this format")

// newTable checks that f has the columns of this package.
func newTable(f *parquet.File, inMemory []byte) (*table, error) {
	t := &table{file: f, bytes: inMemory}
	for i, g := range f.Metadata().RowGroups {
		if len(g.Columns) != len(columns) {
			return nil, fmt.Errorf("row group with %d columns, want %d: %w", len(g.Columns), len(columns), errMalformed)
		}
		s := g.Columns[colTime].MetaData.Statistics
		if len(s.MinValue) != 8 || len(s.MaxValue) != 8 {
			return nil, fmt.Errorf("row group without time range: %w", errMalformed)
		}
		t.groups = append(t.groups, group{
			rg: f.RowGroups()[i], rows: int(g.NumRows),
			minTime: int64(binary.LittleEndian.Uint64(s.MinValue)), maxTime: int64(binary.LittleEndian.Uint64(s.MaxValue)),
		})
	}
	return t, nil
}

// File is a blob that is being read. Its ReadAt may be called from several
// goroutines.
type File = interface {
	io.ReaderAt
	io.Closer
}

// openTable reads the index of a segment of the given size, checks it against its
// name and returns the table, which reads pages from r.
func openTable(r io.ReaderAt, size int64, n segmentName) (*table, int, error) {
	if int64(n.index) > size {
		return nil, 0, fmt.Errorf("%d bytes, fewer than the index has: %w", size, errMalformed)
	}
	index := make([]byte, n.index)
	v := &verified{r: r, index: index, pages: size - int64(n.index)}
	if err := v.read(index, v.pages); err != nil {
		return nil, 0, fmt.Errorf("reading the index: %w", err)
	}
	if crc32.Checksum(index, castagnoli) != n.checksum {
		return nil, 0, fmt.Errorf("checksum of the index: %w", errMalformed)
	}
	f, err := parquet.OpenFile(v, size, parquet.SkipMagicBytes(true), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, 0, err
	}
	if err := v.setSums(f); err != nil {
		return nil, 0, err
	}
	t, err := newTable(f, nil)
	return t, indexCost(f, n.index), err
}

// indexCost estimates the memory of an open index of so many bytes. Filters stay as
// they are; decoded, footer and page index take some times their bytes: measured 3-4.
func indexCost(f *parquet.File, bytes int) int {
	filters := 0
	for i := range f.Metadata().RowGroups {
		for j := range f.Metadata().RowGroups[i].Columns {
			filters += int(f.Metadata().RowGroups[i].Columns[j].MetaData.BloomFilterLength)
		}
	}
	return filters + 4*max(0, bytes-filters)
}

// verified reads a segment: the index from memory, the pages from the file, each
// block checked when it is first read. So a flipped bit anywhere is found before it
// can change an answer.
type verified struct {
	r     io.ReaderAt
	index []byte
	pages int64 // bytes in front of the index
	sums  []uint32
	seen  []atomic.Bool
}

func (v *verified) setSums(f *parquet.File) error {
	text, _ := f.Lookup(blocksKey)
	b, err := base64.StdEncoding.DecodeString(text)
	blocks := (v.pages + blockBytes - 1) / blockBytes
	if err != nil || int64(len(b)) != 4*blocks {
		return fmt.Errorf("checksums of its blocks: %w", errMalformed)
	}
	v.sums, v.seen = make([]uint32, blocks), make([]atomic.Bool, blocks)
	for i := range v.sums {
		v.sums[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return nil
}

// ReadAt reads pages and index. It gives io.EOF past the end.
func (v *verified) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("offset %d: %w", off, errMalformed)
	}
	if off < v.pages {
		part := p[:min(int64(len(p)), v.pages-off)]
		if err := v.readPages(part, off); err != nil {
			return 0, err
		}
		n, off = len(part), off+int64(len(part))
	}
	if n == len(p) {
		return n, nil
	}
	if at := off - v.pages; at < int64(len(v.index)) {
		n += copy(p[n:], v.index[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (v *verified) readPages(p []byte, off int64) error {
	for b := off / blockBytes; b*blockBytes < off+int64(len(p)); b++ {
		if !v.seen[b].Load() {
			if err := v.verify(b); err != nil {
				return err
			}
		}
	}
	return v.read(p, off)
}

// read fills p. A file that ends too early is damaged; any other failure is the
// backend's and says nothing about the file.
func (v *verified) read(p []byte, off int64) error {
	n, err := v.r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", errMalformed, io.ErrUnexpectedEOF)
	}
	return &backendError{err}
}

// backendError is a failure to read that is not the segment's fault.
type backendError struct{ err error }

func (e *backendError) Error() string { return e.err.Error() }
func (e *backendError) Unwrap() error { return e.err }

func (v *verified) verify(b int64) error {
	block := make([]byte, min(blockBytes, v.pages-b*blockBytes))
	if err := v.read(block, b*blockBytes); err != nil {
		return fmt.Errorf("reading block %d: %w", b, err)
	}
	if crc32.Checksum(block, castagnoli) != v.sums[b] {
		return fmt.Errorf("checksum of block %d: %w", b, errMalformed)
	}
	v.seen[b].Store(true)
	return nil
}
