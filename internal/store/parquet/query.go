package parquet

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// Bounds of a query.
const (
	// MaxLimit is the most rows one query returns.
	MaxLimit = 10_000
	// DefaultLimit is the number of rows of a query that names none.
	DefaultLimit = 100
	// MaxValues is the most values one filter has.
	MaxValues = 64
	// maxValueBytes bounds a value and the text.
	maxValueBytes = 4 << 10
)

// ErrQuery is wrapped by errors about what a query asks for.
var ErrQuery = errors.New("bad query")

// Query says which rows are wanted. Filters are joined by and; a filter with several
// values holds for any of them, one without values for every row. Values are compared
// exactly.
type Query struct {
	From, To int64 // event time in nanoseconds since 1970 UTC: From included, To not; 0 leaves that side open

	Clusters    []string
	IDs         []event.ID // event ids; give the time too, or every row's id in it is read
	Entities    []event.ID // see graph.AppendNamed
	Kinds       []string
	Planes      []string
	Namespaces  []string
	Pods        []string // namespace/name: the pod that acted or was acted on
	Users       []string
	Executables []string
	Verbs       []string // verb of a request, or action of a cloud call
	Resources   []string
	Text        string // part of any column of words, letters of either case (ASCII)

	Raw    bool   // return raw records
	Limit  int    // 1..MaxLimit; 0 is DefaultLimit
	Cursor string // Result.Next of the same query
}

// Result is one page of rows.
type Result struct {
	Rows []Row  // newest first, owned by the caller; Raw is nil unless it was asked for
	Next string // cursor of the next page; "" when there is none
	Plan Plan
}

// conditions returns the filters, the ones that most likely leave little first.
func (q *Query) conditions() []condition {
	var out []condition
	add := func(values [][]byte, columns ...int) {
		if len(values) > 0 {
			out = append(out, condition{columns: columns, values: values})
		}
	}
	add(idBytes(q.IDs), colID)
	add(idBytes(q.Entities), colEntities)
	add(stringBytes(q.Executables), colExecutable)
	add(stringBytes(q.Pods), colPod, colActorPod)
	add(stringBytes(q.Users), colUser)
	add(stringBytes(q.Namespaces), colNamespace)
	add(stringBytes(q.Resources), colResource)
	add(stringBytes(q.Verbs), colVerb, colAction)
	add(stringBytes(q.Kinds), colKind)
	add(stringBytes(q.Planes), colPlane)
	if q.Text != "" {
		out = append(out, condition{columns: searched, needle: lowered(nil, []byte(q.Text))})
	}
	return out
}

func idBytes(ids []event.ID) [][]byte {
	var out [][]byte
	for i := range ids {
		out = append(out, ids[i][:])
	}
	return out
}

func stringBytes(values []string) [][]byte {
	var out [][]byte
	for _, v := range values {
		out = append(out, []byte(v))
	}
	return out
}

// search is a query made ready.
type search struct {
	conds    []condition
	from, to int64   // both included
	after    *rowKey // rows are older than this; nil for the first page
	limit    int
	clusters []string
	raw      bool
}

func (q *Query) prepare() (*search, error) {
	s := &search{conds: q.conditions(), from: math.MinInt64, to: math.MaxInt64, limit: q.Limit, clusters: q.Clusters, raw: q.Raw}
	if err := q.check(); err != nil {
		return nil, err
	}
	if s.limit == 0 {
		s.limit = DefaultLimit
	}
	if q.From != 0 {
		s.from = q.From
	}
	if q.To != 0 {
		s.to = q.To - 1
	}
	if q.Cursor != "" {
		k, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, err
		}
		s.after, s.to = &k, min(s.to, k.time)
	}
	return s, nil
}

func (q *Query) check() error {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return fmt.Errorf("%w: limit %d: want 1 to %d", ErrQuery, q.Limit, MaxLimit)
	}
	if len(q.Text) > maxValueBytes {
		return fmt.Errorf("%w: text of %d bytes: want at most %d", ErrQuery, len(q.Text), maxValueBytes)
	}
	if max(len(q.IDs), len(q.Entities)) > MaxValues {
		return fmt.Errorf("%w: more than %d ids", ErrQuery, MaxValues)
	}
	for _, values := range [][]string{q.Clusters, q.Kinds, q.Planes, q.Namespaces, q.Pods, q.Users, q.Executables, q.Verbs, q.Resources} {
		if len(values) > MaxValues {
			return fmt.Errorf("%w: %d values of one filter: want at most %d", ErrQuery, len(values), MaxValues)
		}
		for _, v := range values {
			if len(v) > maxValueBytes {
				return fmt.Errorf("%w: value of %d bytes: want at most %d", ErrQuery, len(v), maxValueBytes)
			}
		}
	}
	return nil
}

// match reports whether a row in memory is wanted.
func (s *search) match(r *Row) bool {
	if r.Time < s.from || r.Time > s.to || s.after != nil && key(r).compare(*s.after) >= 0 {
		return false
	}
	for i := range s.conds {
		if !s.conds[i].matchRow(r) {
			return false
		}
	}
	return true
}

// cursor writes the key of the last row of a page.
func (k rowKey) cursor() string {
	b := binary.BigEndian.AppendUint64([]byte{1}, uint64(k.time))
	b = append(append(b, k.id[:]...), k.cluster...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads what cursor writes.
func parseCursor(s string) (rowKey, error) {
	if len(s) > 1024 {
		return rowKey{}, fmt.Errorf("%w: cursor of %d bytes", ErrQuery, len(s))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 25 || b[0] != 1 {
		return rowKey{}, fmt.Errorf("%w: not a cursor", ErrQuery)
	}
	return rowKey{time: int64(binary.BigEndian.Uint64(b[1:])), id: [16]byte(b[9:25]), cluster: string(b[25:])}, nil
}

// Plan says what a query had to look at, and what let it skip the rest.
type Plan struct {
	Segments          int // in the history
	SkippedCluster    int // segments of other clusters
	SkippedTime       int // segments outside the time range
	SegmentsOpened    int // segments whose row groups were considered
	SegmentsNotNeeded int // older than the rows that were found
	Groups            int // row groups considered, those not yet in a segment included
	GroupsOutOfTime   int // row groups outside the time range
	GroupsNotNeeded   int // older than the rows that were found

	SkippedStatistics int // row groups without the value, by least and greatest
	SkippedBloom      int // by bloom filter
	SkippedDictionary int // by dictionary
	GroupsRead        int // row groups whose pages were read

	PagesRead   int // pages and dictionaries decoded
	RowsScanned int // rows whose values were compared
	MemoryRows  int // rows compared that are in no row group yet

	Damaged []string // segments that could not be read and were set aside
}

func (p *Plan) add(o *Plan) {
	p.GroupsOutOfTime += o.GroupsOutOfTime
	p.SkippedStatistics += o.SkippedStatistics
	p.SkippedBloom += o.SkippedBloom
	p.SkippedDictionary += o.SkippedDictionary
	p.GroupsRead += o.GroupsRead
	p.PagesRead += o.PagesRead
	p.RowsScanned += o.RowsScanned
}

// String tells the plan in two lines.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d segments: %d of other clusters, %d outside the time range, %d opened, %d not needed\n",
		p.Segments, p.SkippedCluster, p.SkippedTime, p.SegmentsOpened, p.SegmentsNotNeeded)
	fmt.Fprintf(&b, "%d row groups: %d outside the time range, %d not needed, skipped %d by statistics, %d by bloom filter, %d by dictionary; %d read: %d pages, %d rows; %d rows in memory",
		p.Groups, p.GroupsOutOfTime, p.GroupsNotNeeded, p.SkippedStatistics, p.SkippedBloom, p.SkippedDictionary, p.GroupsRead, p.PagesRead, p.RowsScanned, p.MemoryRows)
	for _, d := range p.Damaged {
		fmt.Fprintf(&b, "\ndamaged, set aside: %s", d)
	}
	return b.String()
}
