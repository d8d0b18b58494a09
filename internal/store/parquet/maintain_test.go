package parquet

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fill writes n segments of one row each, at the hours 1..n of the day 1970-01-01.
func fill(t *testing.T, s *Store, cluster string, n int) *Writer {
	t.Helper()
	w, err := s.Writer(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := Row{Time: int64(i+1) * int64(time.Hour), ID: id(1, uint64(i)), Verb: "get"}
		if err := errors.Join(w.Append(t.Context(), []Row{r}, w.last+1), w.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func times(t *testing.T, s *Store) (hours []int) {
	t.Helper()
	res, err := s.Query(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows {
		hours = append(hours, int(r.Time/int64(time.Hour)))
	}
	return hours
}

func TestRetainByAge(t *testing.T) {
	blobs := newMemory()
	s := open(t, Config{Blobs: blobs, MaxAge: 2 * time.Hour})
	fill(t, s, "prod", 5)
	if err := s.Retain(t.Context(), time.Unix(0, 0).Add(6*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := times(t, s); !slices.Equal(got, []int{5, 4}) {
		t.Fatalf("hours %v", got)
	}
	if err := s.Retain(t.Context(), time.Unix(0, 0).Add(60*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := times(t, s); len(got) != 0 || len(blobs.names("")) != 1 {
		t.Fatalf("hours %v, blobs %v", got, blobs.names(""))
	}
	// The position outlives the rows: the log is not read again.
	s = open(t, Config{Blobs: blobs, MaxAge: 2 * time.Hour})
	w, err := s.Writer(t.Context(), "prod")
	if err != nil || w.Position() != 5 {
		t.Fatalf("position %d, %v", w.Position(), err)
	}
	fill(t, s, "prod", 1)
	if err := s.Retain(t.Context(), time.Unix(0, 0).Add(2*time.Hour)); err != nil || len(blobs.names("")) != 1 {
		t.Fatalf("%v, blobs %v", err, blobs.names(""))
	}
}

func TestRetainBySize(t *testing.T) {
	blobs := newMemory()
	s := open(t, Config{Blobs: blobs})
	fill(t, s, "prod", 3)
	fill(t, s, "other", 3)
	s.MaxBytes = s.Status().Bytes*4/6 + 10
	if err := s.Retain(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := times(t, s); !slices.Equal(got, []int{3, 3, 2, 2}) || s.Status().Bytes > s.MaxBytes {
		t.Fatalf("hours %v, %d bytes of %d", got, s.Status().Bytes, s.MaxBytes)
	}
}

func TestReplacedSegmentsDoNotComeBack(t *testing.T) {
	blobs := newMemory()
	s := open(t, Config{Blobs: blobs})
	fill(t, s, "prod", 6)
	before := blobs.recovered()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := blobs.names(""); len(got) != 1 || !strings.Contains(got[0], "/s1_6_") {
		t.Fatalf("after the merge: %v", got)
	}
	maps.Copy(blobs.blobs, before.blobs) // as if killed before they were deleted
	s = open(t, Config{Blobs: blobs})
	if got := times(t, s); !slices.Equal(got, []int{6, 5, 4, 3, 2, 1}) || len(blobs.names("")) != 1 {
		t.Fatalf("hours %v, blobs %v", got, blobs.names(""))
	}
}

func TestMergeSetsDamagedInputAside(t *testing.T) {
	blobs := newMemory()
	s := open(t, Config{Blobs: blobs})
	fill(t, s, "prod", 6)
	name := blobs.names("")[2]
	blobs.blobs[name][200] ^= 1
	s = open(t, Config{Blobs: blobs})
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := times(t, s); len(got) != 5 || s.Status().DamagedSegments != 1 {
		t.Fatalf("hours %v, %+v", got, s.Status())
	}
}

func TestMaintainWritesOldRows(t *testing.T) {
	s := open(t, Config{Blobs: newMemory(), FlushAge: time.Minute})
	w, _ := s.Writer(t.Context(), "prod")
	if err := w.Append(t.Context(), nil, 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Maintain(t.Context(), time.Now()); err != nil || w.Position() != 0 {
		t.Fatalf("position %d at once, %v", w.Position(), err)
	}
	if err := s.Maintain(t.Context(), time.Now().Add(2*time.Minute)); err != nil || w.Position() != 7 {
		t.Fatalf("position %d after two minutes, %v: a log without events is never trimmed", w.Position(), err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	blobs := newMemory()
	s := open(t, Config{Blobs: blobs, MemoryBytes: 200_000, groupRows: 100})
	g := newGenerator(3)
	for seq := range uint64(40) {
		for _, cluster := range []string{"a", "b", "c"} {
			if err := appendTo(s, message{cluster, seq + 1, g.rows(20)}); err != nil {
				t.Fatal(err)
			}
			if b := s.Status().BufferedBytes; b > 250_000 {
				t.Fatalf("%d bytes in memory", b)
			}
		}
	}
	if s.Status().Segments == 0 {
		t.Fatal("nothing was written")
	}
	blobs.gone = true
	var err error
	for seq := uint64(41); err == nil && seq < 400; seq++ {
		err = appendTo(s, message{"a", seq, g.rows(20)})
	}
	if !errors.Is(err, errCrash) || s.Status().BufferedBytes > 250_000 {
		t.Fatalf("a full memory takes rows: %v, %d bytes", err, s.Status().BufferedBytes)
	}
}

func TestIndexesAreBounded(t *testing.T) {
	s := open(t, Config{Blobs: newMemory(), IndexBytes: 1})
	fill(t, s, "prod", 20)
	if got := times(t, s); len(got) != 20 || s.Status().IndexBytes != 0 {
		t.Fatalf("%d rows, %d bytes of indexes", len(got), s.Status().IndexBytes)
	}
}

func TestBadQueries(t *testing.T) {
	s := open(t, Config{Blobs: newMemory()})
	for _, q := range []Query{
		{Limit: -1}, {Limit: MaxLimit + 1}, {Cursor: "x"}, {Cursor: strings.Repeat("A", 2000)}, {Text: strings.Repeat("x", maxValueBytes+1)},
		{Users: make([]string, MaxValues+1)}, {Users: []string{strings.Repeat("x", maxValueBytes+1)}},
	} {
		if _, err := s.Query(t.Context(), q); !errors.Is(err, ErrQuery) {
			t.Errorf("%.100v: error %v", q, err)
		}
	}
	for _, cluster := range []string{"", strings.Repeat("x", 300)} {
		if _, err := s.Writer(t.Context(), cluster); err == nil {
			t.Errorf("a writer of %.20q", cluster)
		}
	}
}

func TestPlanSaysWhatWasSkipped(t *testing.T) {
	s := open(t, Config{Blobs: newMemory()})
	fill(t, s, "prod", 4)
	fill(t, s, "other", 3)
	res, err := s.Query(t.Context(), Query{Clusters: []string{"prod"}, From: 2 * int64(time.Hour), To: 4 * int64(time.Hour), Verbs: []string{"zzz"}})
	if err != nil {
		t.Fatal(err)
	}
	p := res.Plan
	if p.Segments != 7 || p.SkippedCluster != 3 || p.SkippedTime != 2 || p.SegmentsOpened != 2 || p.SkippedStatistics+p.SkippedBloom != 2 || p.GroupsRead != 0 {
		t.Errorf("plan %+v", p)
	}
	if res, err = s.Query(t.Context(), Query{Limit: 1}); err != nil || res.Plan.SegmentsNotNeeded == 0 {
		t.Errorf("plan of the latest row %+v, %v", res.Plan, err)
	}
}

// TestConcurrentUse is for the race detector: queries run beside everything else and
// never see a row twice or lose one that was taken.
func TestConcurrentUse(t *testing.T) {
	s := open(t, small(newMemory()))
	log := messages(rand.New(rand.NewPCG(1, 1)), 30)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		least := 0
		for {
			select {
			case <-stop:
				return
			default:
			}
			res, err := s.Query(context.Background(), Query{Limit: MaxLimit})
			if err != nil || len(res.Rows) < least {
				t.Errorf("%d rows, %d before: %v", len(res.Rows), least, err)
				return
			}
			least = len(res.Rows)
		}
	})
	for _, m := range log {
		if err := errors.Join(appendTo(s, m), s.Compact(t.Context())); err != nil {
			t.Error(err)
		}
		if w, _ := s.Writer(t.Context(), m.cluster); m.seq%3 == 0 {
			if err := w.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// TestLongConstants: values that all rows share are taken from the statistics, which
// must hold them whole.
func TestLongConstants(t *testing.T) {
	blobs := newMemory()
	s := open(t, small(blobs))
	rows := newGenerator(1).rows(100)
	o := oracle{}
	for i := range rows {
		rows[i].User, rows[i].Namespace, rows[i].Executable = strings.Repeat("u", 3000), "\x00", strings.Repeat("\xff", 40)
		rows[i].Source = ""
	}
	m := message{"prod", 1, rows}
	o.take(m)
	if err := errors.Join(appendTo(s, m), s.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	s = open(t, small(blobs))
	check(t, s, o, Query{})
	check(t, s, o, Query{Users: []string{strings.Repeat("u", 3000)}, Executables: []string{strings.Repeat("\xff", 40)}})
}

func TestLower(t *testing.T) {
	for c := range 256 {
		want := byte(c)
		if c >= 'A' && c <= 'Z' {
			want += 32
		}
		if got := lower(byte(c)); got != want {
			t.Errorf("lower(%q) = %q", byte(c), got)
		}
	}
}
