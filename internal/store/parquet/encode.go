package parquet

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	// groupRows is the size of a row group. A row group is the unit of a search: it
	// has one dictionary a column and one filter a keyed column.
	groupRows = 128 << 10
	// pageBytes is the size of a page before compression: what reading one row costs
	// a column. 64 KiB are 16384 dictionary codes or some 150 raw records.
	pageBytes = 64 << 10
	// bloomBits a distinct value gives one false positive in a hundred.
	bloomBits = 10
	// blockBytes is the grain of the checksums over the pages.
	blockBytes = 64 << 10
	// blocksKey is the file's metadata with the CRC-32C of each block, little endian,
	// base64.
	blocksKey = "clew.blocks.crc32c"

	magic = "PAR1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encoder writes row groups. Its buffers are large, so there are few of them and
// they are used again; it serves one goroutine at a time.
type encoder struct {
	w     *parquet.GenericWriter[Row]
	out   bytes.Buffer
	chunk [64]Row
}

func newEncoder() *encoder {
	return &encoder{w: parquet.NewGenericWriter[Row](nil, writerOptions()...)}
}

func writerOptions() []parquet.WriterOption {
	var blooms []parquet.BloomFilterColumn
	options := []parquet.WriterOption{
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(false),
	}
	for i, c := range columns {
		if c.bloom {
			blooms = append(blooms, parquet.SplitBlockFilter(bloomBits, c.name))
		}
		if i == colID || i == colText || i == colRaw || i == colURI {
			options = append(options, parquet.SkipPageBounds(c.name))
		}
	}
	return append(options, parquet.BloomFilters(blooms...))
}

// oldest orders rows of one cluster as segments hold them.
func oldest(a, b *Row) int {
	if c := cmp.Compare(a.Time, b.Time); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// encode returns rows as a table of one row group, oldest first. Rows are not
// changed.
func (e *encoder) encode(parts [][]Row) (*table, error) {
	order := make([]*Row, 0, count(parts))
	for _, p := range parts {
		for i := range p {
			order = append(order, &p[i])
		}
	}
	slices.SortFunc(order, oldest)
	e.out.Reset()
	e.w.Reset(&e.out)
	for part := range slices.Chunk(order, len(e.chunk)) {
		for i, r := range part {
			e.chunk[i] = *r
		}
		if _, err := e.w.Write(e.chunk[:len(part)]); err != nil {
			return nil, fmt.Errorf("encoding rows: %w", err)
		}
	}
	clear(e.chunk[:])
	if err := e.w.Close(); err != nil {
		return nil, fmt.Errorf("encoding a row group: %w", err)
	}
	data := bytes.Clone(e.out.Bytes()) // a table lives until its segment is full
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("reading back a row group: %w", err)
	}
	return newTable(f, data)
}

// splice returns one file that holds the row groups of the tables, which have their
// bytes in memory, and the size of its index: the filters, the page index and the
// footer stand together at the end, where one read gets them. Nothing is encoded
// anew.
func splice(tables []*table) (file []byte, indexBytes int, err error) {
	size := 0
	for _, t := range tables {
		size += len(t.bytes)
	}
	s := splicer{out: append(make([]byte, 0, size+size/8), magic...)}
	for _, t := range tables {
		s.groups(t)
	}
	s.meta.KeyValueMetadata = []format.KeyValue{{Key: blocksKey, Value: checksums(s.out)}}
	pages := len(s.out)
	for i := range s.meta.RowGroups {
		s.filters(&s.meta.RowGroups[i], s.from[i])
	}
	if err := s.footer(); err != nil {
		return nil, 0, fmt.Errorf("writing a segment's footer: %w", err)
	}
	return s.out, len(s.out) - pages, nil
}

type splicer struct {
	out      []byte
	meta     format.FileMetaData
	from     [][]byte             // per row group: the file it comes from
	offsets  []format.OffsetIndex // per column chunk
	protocol thrift.CompactProtocol
}

// groups appends the pages of t's row groups and moves their offsets.
func (s *splicer) groups(t *table) {
	meta := t.file.Metadata()
	s.meta.Version, s.meta.Schema, s.meta.CreatedBy, s.meta.ColumnOrders = meta.Version, meta.Schema, meta.CreatedBy, meta.ColumnOrders
	s.meta.NumRows += meta.NumRows
	offsets := t.file.OffsetIndexes()
	for i, g := range meta.RowGroups {
		start, end := extent(&g)
		shift := int64(len(s.out)) - start
		s.out = append(s.out, t.bytes[start:end]...)
		g.Columns = slices.Clone(g.Columns)
		g.FileOffset += shift
		g.Ordinal = int16(len(s.meta.RowGroups))
		for j := range g.Columns {
			m := &g.Columns[j].MetaData
			m.DataPageOffset += shift
			if m.DictionaryPageOffset != 0 {
				m.DictionaryPageOffset += shift
			}
			s.offsets = append(s.offsets, moved(offsets[i*len(g.Columns)+j], shift))
		}
		s.meta.RowGroups = append(s.meta.RowGroups, g)
		s.from = append(s.from, t.bytes)
	}
}

// extent returns where the pages of a row group begin and end.
func extent(g *format.RowGroup) (start, end int64) {
	for i := range g.Columns {
		m := &g.Columns[i].MetaData
		at := m.DataPageOffset
		if m.DictionaryPageOffset != 0 {
			at = m.DictionaryPageOffset
		}
		if i == 0 || at < start {
			start = at
		}
		end = max(end, at+m.TotalCompressedSize)
	}
	return start, end
}

func moved(o format.OffsetIndex, shift int64) format.OffsetIndex {
	o.PageLocations = slices.Clone(o.PageLocations)
	for i := range o.PageLocations {
		o.PageLocations[i].Offset += shift
	}
	return o
}

func (s *splicer) filters(g *format.RowGroup, from []byte) {
	for i := range g.Columns {
		m := &g.Columns[i].MetaData
		if m.BloomFilterOffset == 0 {
			continue
		}
		at := int64(len(s.out))
		s.out = append(s.out, from[m.BloomFilterOffset:m.BloomFilterOffset+int64(m.BloomFilterLength)]...)
		m.BloomFilterOffset = at
	}
}

// footer appends page index, footer and magic.
func (s *splicer) footer() error {
	n := 0
	for i := range s.meta.RowGroups {
		for j := range s.meta.RowGroups[i].Columns {
			c := &s.meta.RowGroups[i].Columns[j]
			at := int64(len(s.out))
			s.out = append(s.out, s.from[i][c.ColumnIndexOffset:c.ColumnIndexOffset+int64(c.ColumnIndexLength)]...)
			c.ColumnIndexOffset = at
		}
	}
	for i := range s.meta.RowGroups {
		for j := range s.meta.RowGroups[i].Columns {
			c := &s.meta.RowGroups[i].Columns[j]
			b, err := thrift.Marshal(&s.protocol, &s.offsets[n])
			if err != nil {
				return err
			}
			c.OffsetIndexOffset, c.OffsetIndexLength = int64(len(s.out)), int32(len(b))
			s.out = append(s.out, b...)
			n++
		}
	}
	b, err := thrift.Marshal(&s.protocol, &s.meta)
	if err != nil {
		return err
	}
	s.out = append(s.out, b...)
	s.out = binary.LittleEndian.AppendUint32(s.out, uint32(len(b)))
	s.out = append(s.out, magic...)
	return nil
}

func checksums(b []byte) string {
	var sums []byte
	for block := range slices.Chunk(b, blockBytes) {
		sums = binary.LittleEndian.AppendUint32(sums, crc32.Checksum(block, castagnoli))
	}
	return base64.StdEncoding.EncodeToString(sums)
}

// rowKey orders rows: by time, then id, then cluster. No two rows of the history
// have the same.
type rowKey struct {
	time    int64
	id      [16]byte
	cluster string
}

func key(r *Row) rowKey { return rowKey{r.Time, r.ID, r.Cluster} }

func (k rowKey) compare(o rowKey) int {
	if c := cmp.Compare(k.time, o.time); c != 0 {
		return c
	}
	if c := bytes.Compare(k.id[:], o.id[:]); c != 0 {
		return c
	}
	return cmp.Compare(k.cluster, o.cluster)
}
