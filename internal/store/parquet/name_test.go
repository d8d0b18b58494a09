package parquet

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func FuzzSegmentName(f *testing.F) {
	n := segmentName{cluster: "../é_b", first: 1, last: 9, minTime: -5, maxTime: 7, rows: 3, generation: 2, index: 400, checksum: 0xab}
	f.Add(n.String())
	f.Add("prod/s1_2_t3_4_n5_g0_i77_0000000a.parquet")
	f.Add("../s1_2_t3_4_n5_g0_i77_0000000a.parquet")
	f.Add("%/s1_2_t3_4_n5_g0_i77_0000000a.parquet")
	f.Add("a/s01_2_t3_4_n5_g0_i77_0000000a.parquet")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseName(s)
		if !ok {
			return
		}
		if n.String() != s || !n.valid() {
			t.Fatalf("%q reads as %+v, which writes %q", s, n, n.String())
		}
		if path.Clean(segmentsFolder+s) != segmentsFolder+s || strings.Count(s, "/") != 1 || strings.HasPrefix(s, ".") {
			t.Fatalf("%q is not two path elements", s)
		}
	})
}

func FuzzClusterNames(f *testing.F) {
	for _, s := range []string{"prod", "..", ".", "a/b", "%", "é", "A b_c", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cluster string) {
		n := segmentName{cluster: cluster, first: 1, last: 1, index: 12}
		got, ok := parseName(n.String())
		if want := checkCluster(cluster) == nil; ok != want || ok && got != n {
			t.Fatalf("%q: %+v, %v", cluster, got, ok)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(rowKey{time: -1, id: id(1, 2), cluster: "prod"}.cursor())
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseCursor(s)
		if err != nil {
			if !errors.Is(err, ErrQuery) {
				t.Fatalf("%v is not the caller's fault", err)
			}
			return
		}
		if k.cursor() != s {
			t.Fatalf("%q reads as %+v, which writes %q", s, k, k.cursor())
		}
	})
}
