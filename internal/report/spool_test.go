package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

// TestSpoolGivesFlagsBack adds more flags than are held in memory.
func TestSpoolGivesFlagsBack(t *testing.T) {
	for _, n := range []int{0, 1, 100, 3 * memoryLimit / 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var s spool
			defer func() {
				if err := s.close(); err != nil {
					t.Error(err)
				}
			}()
			refs := make([]uint64, n)
			flag := func(i int) Flag { return Flag{Rule: fmt.Sprint("r-", i), Message: strings.Repeat("m", i%1500)} }
			for i := range n {
				refs[i] = s.add(event.ID{byte(i), byte(i >> 8)}, flag(i))
			}
			if s.err != nil || n > 1000 != (s.disk != nil) {
				t.Fatalf("on disk: %v, error %v", s.disk != nil, s.err)
			}
			seen := 0
			if err := s.each(func(unit event.ID, raw []byte) error {
				if want := fmt.Sprintf(`"rule":"r-%d"`, seen); unit != (event.ID{byte(seen), byte(seen >> 8)}) || !strings.Contains(string(raw), want) {
					t.Fatalf("flag %d of unit %s: %s", seen, unit, raw)
				}
				seen++
				return nil
			}); err != nil || seen != n {
				t.Fatalf("%d of %d flags: %v", seen, n, err)
			}
			for i, ref := range refs {
				got, err := s.flag(ref)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(flag(i), got); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

// TestSpoolBadHandle: a handle of no flag is an error.
func TestSpoolBadHandle(t *testing.T) {
	var s spool
	s.add(event.ID{}, Flag{})
	if _, err := s.flag(1 << 40); err == nil {
		t.Error("no error")
	}
}
