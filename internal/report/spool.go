package report

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/clew-sec/clew/internal/event"
)

// spool keeps flags until the end of a replay, when it is known which trace
// each belongs to. Beyond memoryLimit bytes they go to a temporary file, so
// that a flood of flags does not grow memory. There is no index beside them: a
// flag's handle is where it begins.
//
// A flag is stored as its unit, the length of its JSON, and its JSON.
type spool struct {
	mem  []byte
	disk *os.File
	size int64 // bytes on disk
	err  error // first write error; nothing is kept after it

	maxMem int // bytes of flags held in memory; 0 is memoryLimit
}

const (
	memoryLimit = 4 << 20 // bytes of flags held in memory by default
	headSize    = 16 + 4  // unit and length
)

// add appends a flag and returns its handle.
func (s *spool) add(unit event.ID, f Flag) uint64 {
	b, err := json.Marshal(f)
	if err != nil { // a Flag always marshals
		s.fail(err)
		return 0
	}
	if s.err == nil && len(s.mem)+headSize+len(b) > cmp.Or(s.maxMem, memoryLimit) {
		s.spill()
	}
	if s.err != nil {
		return 0 // nothing can be written out any more: keep nothing
	}
	at := s.size + int64(len(s.mem))
	s.mem = append(s.mem, unit[:]...)
	s.mem = binary.LittleEndian.AppendUint32(s.mem, uint32(len(b)))
	s.mem = append(s.mem, b...)
	return uint64(at)
}

func (s *spool) fail(err error) {
	s.err = err
	s.mem = nil
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
	n, err := s.disk.Write(s.mem)
	if err != nil {
		s.fail(fmt.Errorf("writing flags to a temporary file: %w", err))
		return
	}
	s.size += int64(n)
	s.mem = s.mem[:0]
}

// ReadAt implements io.ReaderAt over what is on disk and what is in memory.
func (s *spool) ReadAt(p []byte, at int64) (n int, err error) {
	if at < s.size {
		n, err = s.disk.ReadAt(p[:min(int64(len(p)), s.size-at)], at)
		if err != nil {
			return n, fmt.Errorf("reading flags from a temporary file: %w", err)
		}
		at += int64(n)
	}
	if rest := at - s.size; rest >= 0 && rest <= int64(len(s.mem)) {
		n += copy(p[n:], s.mem[rest:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// each calls f with every flag's unit and JSON, in the order they were added.
// The slice is valid during the call.
func (s *spool) each(f func(unit event.ID, raw []byte) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(s, 0, s.size+int64(len(s.mem))), 1<<16)
	var head [headSize]byte
	var buf []byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading flag %d back: %w", n, err)
		}
		buf = append(buf[:0], make([]byte, binary.LittleEndian.Uint32(head[16:]))...)
		if _, err := io.ReadFull(r, buf); err != nil {
			return fmt.Errorf("reading flag %d back: %w", n, err)
		}
		if err := f(event.ID(head[:16]), buf); err != nil {
			return fmt.Errorf("writing flag %d: %w", n, err)
		}
	}
}

// flag returns the flag of a handle.
func (s *spool) flag(at uint64) (Flag, error) {
	if s.err != nil {
		return Flag{}, s.err
	}
	var head [headSize]byte
	if _, err := s.ReadAt(head[:], int64(at)); err != nil {
		return Flag{}, fmt.Errorf("reading the flag at %d back: %w", at, err)
	}
	b := make([]byte, binary.LittleEndian.Uint32(head[16:]))
	if _, err := s.ReadAt(b, int64(at)+headSize); err != nil {
		return Flag{}, fmt.Errorf("reading the flag at %d back: %w", at, err)
	}
	var f Flag
	if err := json.Unmarshal(b, &f); err != nil {
		return Flag{}, fmt.Errorf("reading the flag at %d back: %w", at, err)
	}
	return f, nil
}

func (s *spool) close() error {
	if s.disk == nil {
		return nil
	}
	return s.disk.Close()
}
