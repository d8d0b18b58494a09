package file

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxLayers bounds compression inside compression: Firehose compresses what
// CloudWatch Logs has compressed already.
const maxLayers = 3

// zstdWindow bounds the memory a zstd frame may ask for.
const zstdWindow = 64 << 20

// Open returns a Reader of the named file; "-" is standard input. The caller
// must Close it.
func Open(path string) (*Reader, error) {
	if path == Stdin {
		return NewReader(Stdin, os.Stdin), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening input: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("is a directory")
	}
	if err != nil {
		_ = f.Close() // read only
		return nil, fmt.Errorf("opening input %q: %w", path, err)
	}
	r := NewReader(path, f)
	r.closers = append(r.closers, f)
	return r, nil
}

// NewReader returns a Reader of r, which is called name in positions and
// errors. It reads nothing before the first Next.
func NewReader(name string, r io.Reader) *Reader {
	return &Reader{name: name, src: r, newline: unknown}
}

// Close closes the file. It does not close a reader given to NewReader.
func (r *Reader) Close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	r.closers, r.end = nil, io.EOF
	return errors.Join(errs...)
}

// OnUnpack makes r call f with the number of bytes that each read unpacks from any
// layer of compression. An error of f ends the reading. It is how a caller bounds
// what compressed input may unpack to. Call it before the first Next.
func (r *Reader) OnUnpack(f func(n int) error) { r.onUnpack = f }

// metered is src, a layer's inside, with every read reported to onUnpack.
func (r *Reader) metered(src io.Reader) io.Reader {
	if r.onUnpack == nil {
		return src
	}
	return meteredReader{src, r.onUnpack}
}

type meteredReader struct {
	io.Reader
	onUnpack func(n int) error
}

func (m meteredReader) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if e := m.onUnpack(n); e != nil {
		return 0, e
	}
	return n, err
}

// decompress replaces the source by what is inside it, as its first bytes say.
func (r *Reader) decompress() error {
	for range maxLayers {
		src := bufio.NewReaderSize(r.src, 64<<10)
		r.src = src
		magic, err := src.Peek(4)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		switch {
		case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
			z, err := gzip.NewReader(src)
			if err != nil {
				return err
			}
			r.src = r.metered(z)
		case string(magic) == "\x28\xb5\x2f\xfd":
			z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return err
			}
			r.closers = append(r.closers, z.IOReadCloser())
			r.src = r.metered(z)
		default:
			return nil
		}
	}
	return nil
}
