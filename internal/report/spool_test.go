package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/clew-sec/clew/internal/event"
)

func flagNumber(n int) Flag {
	return Flag{Type: "flag", Rule: "r", Message: fmt.Sprintf("flag %d", n), Line: n, Techniques: []string{"T1"}}
}

// TestSpoolOnDisk reads flags back from memory and from disk alike.
func TestSpoolOnDisk(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := &spool{maxMem: 1000}
	const n = 100
	var handles [n]uint64
	for i := range n {
		handles[i] = s.add(event.ID{byte(i)}, flagNumber(i))
	}
	if s.disk == nil || s.err != nil {
		t.Fatalf("nothing went to disk: %v", s.err)
	}
	for i := range n {
		f, err := s.flag(handles[i])
		if err != nil || f.Message != fmt.Sprintf("flag %d", i) {
			t.Errorf("flag %d: %+v, %v", i, f, err)
		}
	}
	if _, err := s.flag(uint64(s.size) + uint64(len(s.mem))); err == nil {
		t.Error("a flag that was never added can be read")
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("the temporary folder holds %v, %v", left, err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestSpoolWithoutRoom: when flags cannot go to disk, they do not pile up in
// memory, and the first error is what the output says.
func TestSpoolWithoutRoom(t *testing.T) {
	full := func(t *testing.T) *spool {
		f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		if err != nil {
			t.Skip(err)
		}
		return &spool{maxMem: 1000, disk: f}
	}
	nowhere := func(t *testing.T) *spool {
		t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "not there"))
		return &spool{maxMem: 1000}
	}
	for name, make := range map[string]func(*testing.T) *spool{"full disk": full, "no folder": nowhere} {
		t.Run(name, func(t *testing.T) {
			s := make(t)
			for i := range 1000 {
				s.add(event.ID{}, flagNumber(i))
			}
			if s.err == nil || cap(s.mem) > 4000 {
				t.Errorf("error %v, %d bytes in memory", s.err, cap(s.mem))
			}
			c := &Collector{spool: *s}
			if _, err := c.Describe(nil, nil); !errors.Is(err, s.err) {
				t.Errorf("Describe: %v", err)
			}
			if err := c.WriteJSONLines(nil, nil, nil); !errors.Is(err, s.err) {
				t.Errorf("WriteJSONLines: %v", err)
			}
		})
	}
}

func TestUnitName(t *testing.T) {
	for i, want := range map[int]string{0: "A", 25: "Z", 26: "AA", 51: "AZ", 52: "BA", 701: "ZZ", 702: "AAA"} {
		if got := unitName(i); got != want {
			t.Errorf("unitName(%d) = %s, want %s", i, got, want)
		}
	}
}
