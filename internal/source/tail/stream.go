package tail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

const (
	headBytes = 1024    // of a file that tell it from others: an audit event has its UUID in them
	readBytes = 1 << 20 // read at once
)

// stream reads one file in whole lines.
type stream struct {
	f        *os.File
	r        io.Reader // f, or what is compressed in it
	pos      Position
	head     []byte // the first bytes that the sink has, at most headBytes
	rest     []byte // read, not yet with the sink
	skipping bool   // inside a line that is too long
}

// begin opens the file at path at its beginning.
func begin(path string) (*stream, error) {
	s, err := openStream(path)
	if err != nil {
		return nil, err
	}
	s.identify()
	return s, nil
}

// resume opens the file at path at p, nil when it is not the file that p is in.
func resume(path string, p Position) (*stream, error) {
	s, err := openStream(path)
	if err != nil {
		return nil, err
	}
	if ok, err := s.seek(p); !ok || err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func openStream(path string) (*stream, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	s := &stream{f: f, r: f}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		s.close()
		return nil, fmt.Errorf("opening %q: it is no regular file", path)
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("unpacking %q: %w", path, err)
		}
		s.r = z
	}
	s.pos.Device, s.pos.Inode = inode(f)
	return s, nil
}

// seek goes to p and reports whether p is in this file.
func (s *stream) seek(p Position) (bool, error) {
	if p.HeadBytes == 0 && (p.Device != s.pos.Device || p.Inode != s.pos.Inode) {
		return false, nil
	}
	s.head = make([]byte, p.HeadBytes)
	if _, err := io.ReadFull(s.r, s.head); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading %q: %w", s.f.Name(), err)
	}
	s.identify()
	if s.pos.Head != p.Head {
		return false, nil
	}
	if info, err := s.f.Stat(); err != nil || s.r == io.Reader(s.f) && info.Size() < p.Offset {
		return false, err
	}
	_, err := io.CopyN(io.Discard, s.r, p.Offset-int64(p.HeadBytes))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading %q: %w", s.f.Name(), err)
	}
	s.pos.Offset = p.Offset
	return err == nil, nil
}

// toEnd goes behind the last whole line of a stream that begins; into the last line
// when that is too long already.
func (s *stream) toEnd() error {
	var offset, end int64 // end is behind the last line break
	buf := make([]byte, readBytes)
	for {
		n, err := s.r.Read(buf)
		s.head = append(s.head, buf[:min(n, headBytes-len(s.head))]...)
		offset += int64(n)
		if i := bytes.LastIndexByte(buf[:n], '\n') + 1; i > 0 {
			end, s.rest, s.skipping = offset-int64(n-i), bytes.Clone(buf[i:n]), false
		} else if !s.skipping {
			s.rest = append(s.rest, buf[:n]...)
		}
		if s.skipping = s.skipping || len(s.rest) > file.MaxRecord; s.skipping {
			end, s.rest = offset, nil
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading %q: %w", s.f.Name(), err)
		}
	}
	s.head = s.head[:min(int64(len(s.head)), end)]
	s.identify()
	s.pos.Offset = end
	return nil
}

func (s *stream) close() { _ = s.f.Close() } // read only

// identify notes what the head says.
func (s *stream) identify() {
	sum := sha256.Sum256(s.head)
	s.pos.Head, s.pos.HeadBytes = hex.EncodeToString(sum[:]), len(s.head)
}

// same reports whether the file is the one that info is of.
func (s *stream) same(info os.FileInfo) bool {
	mine := s.info()
	return mine != nil && info != nil && os.SameFile(mine, info)
}

// restart goes back to the beginning of a file that was written anew.
func (s *stream) restart() error {
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("going back in %q: %w", s.f.Name(), err)
	}
	s.head, s.rest, s.skipping, s.pos.Offset = nil, nil, false, 0
	s.identify()
	return nil
}

// info describes the open file, nil when nobody knows it.
func (s *stream) info() os.FileInfo {
	info, err := s.f.Stat()
	if err != nil {
		return nil
	}
	return info
}

// modified returns when the file was written last; zero when nobody knows.
func (s *stream) modified() time.Time {
	info := s.info()
	if info == nil {
		return time.Time{}
	}
	return info.ModTime()
}

var errReplaced = errors.New("the file no longer holds what was read of it")

// unchanged returns errReplaced when the file no longer holds what was read of it.
func (s *stream) unchanged() error {
	info, err := s.f.Stat()
	if err != nil {
		return fmt.Errorf("looking at %q: %w", s.f.Name(), err)
	}
	if info.Size() < s.pos.Offset+int64(len(s.rest)) {
		return errReplaced
	}
	head := make([]byte, len(s.head))
	if _, err := s.f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading %q: %w", s.f.Name(), err)
	}
	if !bytes.Equal(head, s.head) {
		return errReplaced
	}
	return nil
}

// step gives the next lines of s to the sink and returns how many bytes went on,
// 0 when there is no more line. The last line of a file that will not grow needs
// no line break.
func (t *Tail) step(ctx context.Context, s *stream, final bool) (int, error) {
	ended, err := s.fill()
	if err == nil && !final {
		err = s.unchanged() // asked after reading: what was read is of the file that pos is in
	}
	if err != nil {
		if s == t.cur && !errors.Is(err, errReplaced) {
			t.close() // it is opened again where pos is
		}
		return 0, err
	}
	n := bytes.LastIndexByte(s.rest, '\n') + 1
	switch {
	case n == 0 && ended && final:
		n = len(s.rest)
	case n == 0 && len(s.rest) > file.MaxRecord:
		n = len(s.rest)
		t.tooLong(s)
	case s.skipping:
		n = bytes.IndexByte(s.rest, '\n') + 1
	}
	if n == 0 {
		return 0, nil
	}
	if s.skipping {
		s.skipping = s.rest[n-1] != '\n'
	} else if err := t.deliver(ctx, s.rest[:n]); err != nil {
		return 0, err
	}
	s.advance(n)
	t.pos = s.pos
	if err := t.Positions.Save(ctx, t.Name, s.pos); err != nil {
		t.Meter.Failed(fmt.Errorf("saving the position of %q: %w", t.Name, err), time.Now())
	}
	return n, nil
}

func (t *Tail) tooLong(s *stream) {
	if !s.skipping {
		t.Meter.Dropped(source.DropUnreadable, fmt.Errorf("%s: line at byte %d is longer than %d MiB", t.Path, s.pos.Offset, file.MaxRecord>>20), time.Now())
	}
	s.skipping = true
}

// fill reads until rest holds a line break, the file ends or a line is too long.
// It reports whether the file ended.
func (s *stream) fill() (bool, error) {
	seen := 0
	for bytes.IndexByte(s.rest[seen:], '\n') < 0 && len(s.rest) <= file.MaxRecord {
		seen = len(s.rest)
		buf := make([]byte, readBytes)
		n, err := s.r.Read(buf)
		s.rest = append(s.rest, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading %q: %w", s.f.Name(), err)
		}
	}
	return false, nil
}

// advance moves behind the first n bytes of rest. What remains is copied: records
// of the log may alias the rest.
func (s *stream) advance(n int) {
	s.pos.Offset += int64(n)
	if need := headBytes - len(s.head); need > 0 && s.pos.Offset-int64(n) == int64(len(s.head)) {
		s.head = append(s.head, s.rest[:min(need, n)]...)
		s.identify()
	}
	s.rest = bytes.Clone(s.rest[n:])
}

// deliver gives the records in lines to the sink.
func (t *Tail) deliver(ctx context.Context, lines []byte) error {
	r := file.NewReader(t.Path, bytes.NewReader(lines))
	b := source.Batch{Source: t.Name, Cluster: t.Cluster, ReceivedNanos: time.Now().UnixNano()}
	err := source.Split(r, t.Meter, func(rec file.Record) error {
		b.Records = append(b.Records, rec)
		return nil
	})
	if err != nil {
		t.Meter.Dropped(source.DropUnknown, err, time.Now())
	}
	if len(b.Records) == 0 {
		return nil
	}
	err = source.Deliver(ctx, t.Sink, t.Meter, b)
	if _, large := errors.AsType[*source.TooLargeError](err); large {
		return nil // counted
	}
	return err
}
