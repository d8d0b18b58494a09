package parquet

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/store/blob"
)

var (
	loadRows    = flag.Int("history.rows", 0, "rows that TestLoad writes and searches; 0 skips it")
	loadRaw     = flag.Int("history.raw", 0, "bytes of raw record a row that TestLoad writes")
	loadDir     = flag.String("history.dir", "", "folder that TestLoad keeps its segments in; it is not loaded again")
	loadIndexes = flag.Int("history.indexes", 0, "MiB of indexes that TestLoad holds open; 0 is the default")
	loadQueries = flag.Int("history.queries", 100, "queries of each kind that TestLoad makes")
)

// TestLoad measures the history at a size given by -history.rows: a day's events
// whatever their number. It asserts nothing about speed; people read its log.
//
//	go test ./internal/store/parquet -run TestLoad -v -timeout 2h -history.rows 100000000
func TestLoad(t *testing.T) {
	if *loadRows == 0 {
		t.Skip("give -history.rows")
	}
	ctx := t.Context()
	folder, err := blob.NewFolder(cmp.Or(*loadDir, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	s := open(t, Config{Blobs: folder, IndexBytes: *loadIndexes << 20})
	if s.Status().Segments == 0 {
		load(t, s, *loadRows)
	}
	st := s.Status()
	t.Logf("%d segments, %d rows, %.1f bytes a row", st.Segments, st.Rows, float64(st.Bytes)/float64(st.Rows))
	logColumns(t, s)
	for _, q := range loadKinds(st) {
		measure(ctx, t, s, q.name, q.make)
	}
	t.Logf("indexes in memory: %d MiB", s.Status().IndexBytes>>20)
}

func load(t *testing.T, s *Store, n int) {
	g := newGenerator(7)
	g.step, g.raw = int64(24*time.Hour)/int64(n), *loadRaw
	if g.raw > 0 {
		g.raw = max(g.raw, 430)
	}
	w, err := s.Writer(t.Context(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	var spent time.Duration
	start := time.Now()
	for seq := uint64(1); n > 0; seq++ {
		rows := g.rows(min(n, 5000))
		n -= len(rows)
		before := cpu()
		if err := w.Append(t.Context(), rows, seq); err != nil {
			t.Fatal(err)
		}
		spent += cpu() - before
	}
	before := cpu()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	spent += cpu() - before
	t.Logf("append: %.0f ns of processor a row; %v wall with the generator's share", float64(spent.Nanoseconds())/float64(*loadRows), time.Since(start).Round(time.Second))
}

// logColumns says what each column of the first segment takes.
func logColumns(t *testing.T, s *Store) {
	tab, err := s.segments.open(t.Context(), s.list[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.segments.close(s.list[0])
	var out strings.Builder
	meta := tab.file.Metadata()
	for i := range columns {
		pages, filters := int64(0), int64(0)
		for _, g := range meta.RowGroups {
			pages += g.Columns[i].MetaData.TotalCompressedSize
			filters += int64(g.Columns[i].MetaData.BloomFilterLength)
		}
		fmt.Fprintf(&out, " %s %.2f+%.2f", columns[i].name, float64(pages)/float64(meta.NumRows), float64(filters)/float64(meta.NumRows))
	}
	t.Logf("bytes a row, pages+filter:%s", out.String())
}

type loadKind struct {
	name string
	make func(r *rand.Rand) Query
}

func loadKinds(st Status) []loadKind {
	from, to := st.OldestEvent.UnixNano(), st.NewestEvent.UnixNano()
	hour := func(r *rand.Rand, q Query) Query {
		q.From = from + r.Int64N(max(1, to-from-int64(time.Hour)))
		q.To = q.From + int64(time.Hour)
		return q
	}
	user := func(r *rand.Rand) string { return userName(r.IntN(5000)) }
	return []loadKind{
		{"latest", func(*rand.Rand) Query { return Query{} }},
		{"entity, 24 h", func(r *rand.Rand) Query { return Query{Entities: []event.ID{id(2, uint64(r.IntN(5000)))}} }},
		{"rare entity, 24 h", func(r *rand.Rand) Query { return Query{Entities: []event.ID{id(5, uint64(r.IntN(1000)))}} }},
		{"absent entity, 24 h", func(r *rand.Rand) Query { return Query{Entities: []event.ID{id(9, r.Uint64())}} }},
		{"1 h, verb", func(r *rand.Rand) Query { return hour(r, Query{Verbs: []string{"delete"}}) }},
		{"1 h, user", func(r *rand.Rand) Query { return hour(r, Query{Users: []string{user(r)}}) }},
		{"24 h, user", func(r *rand.Rand) Query { return Query{Users: []string{user(r)}} }},
		{"1 h, pod", func(r *rand.Rand) Query {
			return hour(r, Query{Pods: []string{podName(r.IntN(5000))}})
		}},
		{"24 h, namespace and verb", func(r *rand.Rand) Query {
			return Query{Namespaces: []string{fmt.Sprintf("team-%02d", r.IntN(60))}, Verbs: []string{"delete"}}
		}},
		{"24 h, rare executable", func(r *rand.Rand) Query { return Query{Executables: []string{fmt.Sprintf("/tmp/rare-%d", r.IntN(20))}} }},
		{"24 h, absent executable and a verb", func(*rand.Rand) Query {
			return Query{Executables: []string{"/bin/none"}, Verbs: []string{"get"}}
		}},
		{"1 h, text", func(r *rand.Rand) Query { return hour(r, Query{Text: fmt.Sprintf("LEASES-%d?", r.IntN(300))}) }},
		{"24 h, absent text", func(*rand.Rand) Query { return Query{Text: "xmrig"} }},
		{"one event, its second known", func(r *rand.Rand) Query {
			q := Query{IDs: []event.ID{id(0, 1+r.Uint64N(1000))}, From: from, To: from + int64(5*time.Second)}
			return q
		}},
		{"one event", func(r *rand.Rand) Query { return Query{IDs: []event.ID{id(0, 1+r.Uint64N(uint64(st.Rows)))}} }},
		{"absent event", func(r *rand.Rand) Query { return Query{IDs: []event.ID{id(9, r.Uint64())}} }},
		{"latest with raw", func(*rand.Rand) Query { return Query{Raw: true} }},
	}
}

func measure(ctx context.Context, t *testing.T, s *Store, name string, kind func(*rand.Rand) Query) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var times []time.Duration
	var rows int
	var plan Plan
	n, before := *loadQueries, cpu()
	for i := 0; i < n; i++ {
		q := kind(rnd)
		start := time.Now()
		res, err := s.Query(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		times, rows, plan = append(times, took), rows+len(res.Rows), res.Plan
		if took > 2*time.Second && i == 9 {
			n = 10 // so slow that ten are enough
		}
	}
	spent := (cpu() - before) / time.Duration(len(times))
	slices.Sort(times)
	at := func(p float64) time.Duration { return times[int(p*float64(len(times)-1))].Round(10 * time.Microsecond) }
	t.Logf("%-36s p50 %9v p99 %9v max %9v, processor %9v, %d rows each\n%s",
		name, at(.5), at(.99), at(1), spent.Round(10*time.Microsecond), rows/len(times), plan.String())
}

// BenchmarkAppend measures what a row costs until it is in a segment.
func BenchmarkAppend(b *testing.B) {
	folder, err := blob.NewFolder(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer folder.Close()
	s, err := Open(b.Context(), Config{Blobs: folder, SegmentRows: 256 << 10})
	if err != nil {
		b.Fatal(err)
	}
	w, err := s.Writer(b.Context(), "prod")
	if err != nil {
		b.Fatal(err)
	}
	rows := newGenerator(7).rows(128 << 10)
	b.ReportAllocs()
	n, seq := 0, uint64(0)
	for b.Loop() {
		// A row an iteration, in messages of 4096; ids made new so that none is dropped.
		if n++; n%4096 != 0 {
			continue
		}
		seq++
		at := n % len(rows)
		part := slices.Clone(rows[max(0, at-4096):max(4096, at)])
		for i := range part {
			part[i].ID = id(seq, uint64(i))
		}
		if err := w.Append(b.Context(), part, seq); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}
