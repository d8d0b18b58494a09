package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/clew-sec/clew/internal/event"
)

// spool keeps flags until the end of a replay, when it is known which trace
// each belongs to. Beyond memoryLimit bytes they go to a temporary file, so
// that a flood of flags does not grow memory.
type spool struct {
	index []spooled
	mem   bytes.Buffer
	disk  *os.File
	size  int64 // bytes on disk
	err   error // first write error; nothing is kept after it

	maxMem int // bytes of flags held in memory; 0 is memoryLimit
}

type spooled struct {
	unit   event.ID
	offset int64
	length int32
}

// memoryLimit is the number of bytes of flags held in memory by default.
const memoryLimit = 16 << 20

// add appends a flag and returns its handle.
func (s *spool) add(unit event.ID, f Flag) uint64 {
	b, err := json.Marshal(f)
	if err != nil { // a Flag always marshals
		s.fail(err)
		return 0
	}
	if s.err == nil && s.mem.Len()+len(b) > cmp.Or(s.maxMem, memoryLimit) {
		s.spill()
	}
	if s.err != nil {
		return 0 // nothing can be written out any more: keep nothing
	}
	s.index = append(s.index, spooled{unit, s.size + int64(s.mem.Len()), int32(len(b))})
	s.mem.Write(b)
	return uint64(len(s.index) - 1)
}

func (s *spool) fail(err error) {
	s.err = err
	s.index, s.mem = nil, bytes.Buffer{}
}

func (s *spool) spill() {
	if s.disk == nil {
		f, err := os.CreateTemp("", "clew-flags-")
		if err != nil {
			s.fail(fmt.Errorf("making room for flags: %w", err))
			return
		}
		s.disk = f
		// The file has no name from here on, so nothing is left behind.
		if err := os.Remove(f.Name()); err != nil {
			s.fail(fmt.Errorf("unlinking the temporary file of flags: %w", err))
			return
		}
	}
	n, err := s.disk.Write(s.mem.Bytes())
	if err != nil {
		s.fail(fmt.Errorf("writing flags to a temporary file: %w", err))
		return
	}
	s.size += int64(n)
	s.mem.Reset()
}

// raw returns the JSON of flag i. The slice is valid until the next call.
func (s *spool) raw(i uint64, buf []byte) ([]byte, error) {
	if i >= uint64(len(s.index)) {
		return nil, fmt.Errorf("flag %d of %d: %w", i, len(s.index), io.ErrUnexpectedEOF)
	}
	x := s.index[i]
	if x.offset >= s.size {
		from := x.offset - s.size
		return s.mem.Bytes()[from : from+int64(x.length)], nil
	}
	buf = append(buf[:0], make([]byte, x.length)...)
	if _, err := s.disk.ReadAt(buf, x.offset); err != nil {
		return nil, fmt.Errorf("reading flags from a temporary file: %w", err)
	}
	return buf, nil
}

// flag returns flag i.
func (s *spool) flag(i uint64) (Flag, error) {
	b, err := s.raw(i, nil)
	if err != nil {
		return Flag{}, err
	}
	var f Flag
	if err := json.Unmarshal(b, &f); err != nil {
		return Flag{}, fmt.Errorf("reading flag %d back: %w", i, err)
	}
	return f, nil
}

func (s *spool) close() error {
	if s.disk == nil {
		return nil
	}
	return s.disk.Close()
}
