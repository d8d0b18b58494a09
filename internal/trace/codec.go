package trace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/zeebo/xxh3"
)

// ErrSnapshot is wrapped by every error of Restore that says that the bytes
// are not a snapshot this version can read: foreign, cut short or damaged.
var ErrSnapshot = errors.New("not a readable trace snapshot")

// encoder writes the fields of a snapshot and keeps their checksum. The first
// error sticks.
type encoder struct {
	w   *bufio.Writer
	sum *xxh3.Hasher
	buf [binary.MaxVarintLen64]byte
	err error
}

func newEncoder(w io.Writer) *encoder {
	return &encoder{w: bufio.NewWriterSize(w, 64<<10), sum: xxh3.New()}
}

func (e *encoder) raw(b []byte) {
	if e.err != nil {
		return
	}
	_, _ = e.sum.Write(b) // a hash does not fail
	_, e.err = e.w.Write(b)
}

func (e *encoder) uint(v uint64) {
	n := binary.PutUvarint(e.buf[:], v)
	e.raw(e.buf[:n])
}

func (e *encoder) int(v int64) {
	n := binary.PutVarint(e.buf[:], v)
	e.raw(e.buf[:n])
}

func (e *encoder) float(v float64) {
	binary.LittleEndian.PutUint64(e.buf[:8], math.Float64bits(v))
	e.raw(e.buf[:8])
}

func (e *encoder) bool(v bool) {
	n := uint64(0)
	if v {
		n = 1
	}
	e.uint(n)
}

func (e *encoder) str(s string) {
	e.uint(uint64(len(s)))
	e.raw([]byte(s))
}

// finish writes the checksum of everything before it.
func (e *encoder) finish() error {
	var sum [8]byte
	binary.LittleEndian.PutUint64(sum[:], e.sum.Sum64())
	e.raw(sum[:])
	if e.err == nil {
		e.err = e.w.Flush()
	}
	if e.err != nil {
		return fmt.Errorf("writing trace snapshot: %w", e.err)
	}
	return nil
}

// decoder reads what an encoder wrote. After the first error every method
// returns zero values.
type decoder struct {
	r   *bufio.Reader
	sum *xxh3.Hasher
	err error
}

func newDecoder(r io.Reader) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, 64<<10), sum: xxh3.New()}
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
	}
}

// broken notes an error of the reader; the end of input is a snapshot cut short.
func (d *decoder) broken(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		d.fail("cut short")
	} else if d.err == nil {
		d.err = fmt.Errorf("reading trace snapshot: %w", err)
	}
}

func (d *decoder) raw(b []byte) {
	if d.err != nil {
		clear(b)
		return
	}
	if _, err := io.ReadFull(d.r, b); err != nil {
		d.broken(err)
		clear(b)
		return
	}
	_, _ = d.sum.Write(b)
}

// ReadByte serves binary.ReadUvarint.
func (d *decoder) ReadByte() (byte, error) {
	var b [1]byte
	d.raw(b[:])
	return b[0], d.err
}

func (d *decoder) uint() uint64 {
	v, err := binary.ReadUvarint(d)
	if err != nil {
		d.fail("number too long")
		return 0
	}
	return v
}

func (d *decoder) int() int64 {
	v, err := binary.ReadVarint(d)
	if err != nil {
		d.fail("number too long")
		return 0
	}
	return v
}

func (d *decoder) float() float64 {
	var b [8]byte
	d.raw(b[:])
	v := math.Float64frombits(binary.LittleEndian.Uint64(b[:]))
	if math.IsNaN(v) {
		d.fail("not a number")
		return 0
	}
	return v
}

// small reads a number that must be below limit.
func (d *decoder) small(limit uint64, what string) uint64 {
	v := d.uint()
	if v >= limit {
		d.fail("%s %d is not below %d", what, v, limit)
		return 0
	}
	return v
}

func (d *decoder) bool() bool { return d.small(2, "truth value") == 1 }

const maxSnapshotString = 1 << 20

func (d *decoder) str() string {
	b := make([]byte, d.small(maxSnapshotString, "length"))
	d.raw(b)
	return string(b)
}

// finish reads the checksum and compares it.
func (d *decoder) finish() error {
	want := d.sum.Sum64()
	var sum [8]byte
	d.raw(sum[:])
	if binary.LittleEndian.Uint64(sum[:]) != want {
		d.fail("checksum differs")
	}
	return d.err
}
