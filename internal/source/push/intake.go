package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

var (
	errBusy     = errors.New("too many bytes of posts are in memory")
	errUnpacked = errors.New("the body unpacks to more than is taken")
)

// Budget bounds the bytes of posts in memory. A post that would go beyond it is
// refused at once rather than made to wait: its sender keeps it and comes again,
// and what waits here would be memory too. It may be used from several goroutines.
type Budget struct {
	used atomic.Int64
	max  int64
}

// NewBudget returns a budget of that many bytes. Below about 48 MiB a post with an
// event of 16 MiB never fits.
func NewBudget(bytes int64) *Budget { return &Budget{max: bytes} }

// Used returns the bytes in memory now.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) take(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

const (
	// pieceBytes is how much of a post is given to the sink at once. A post of any
	// length needs little more memory than this.
	pieceBytes = 4 << 20
	// step is how much of the budget is taken at once: what the smallest post needs
	// for its buffers.
	step = 128 << 10
	// maxIdle is how many bytes of all layers may pass without a piece of records:
	// several times what a record of 16 MiB takes that is packed twice. A bomb of
	// white space would take the whole budget, and all other posts be turned away.
	maxIdle = 128 << 20
)

// intake takes in one post.
type intake struct {
	*Config
	chunks *file.Chunks
	ctx    context.Context // an intake lives no longer than its request
	only   file.Format     // 0: any

	total   int64 // bytes of all layers so far
	pending int64 // of these since the last delivery
	held    int64 // taken from the budget

	reader  *file.Reader  // lent its chunks to records[copied:]; nil before the first
	records []file.Record // not yet delivered
	copied  int           // how many of records are in memory of their own
	bytes   int           // of records
	sent    bool          // a piece is on the log
	large   error         // a record was too large for the log
}

// open returns the body, unpacked as encoding says and counted.
func (in *intake) open(encoding string, body io.Reader) (io.Reader, error) {
	if err := in.hold(); err != nil {
		return nil, err
	}
	body = counted{body, in.read}
	switch strings.ToLower(encoding) {
	case "", "identity":
		return body, nil
	case "gzip":
		z, err := gunzip(body)
		return counted{z, in.read}, err
	}
	return nil, refuse(http.StatusUnsupportedMediaType, "encoding", errors.New("the body's Content-Encoding is neither gzip nor identity"))
}

// counted reports each read.
type counted struct {
	io.Reader
	read func(n int) error
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if e := c.read(n); e != nil {
		return 0, e
	}
	return n, err
}

// read notes n more bytes of some layer.
func (in *intake) read(n int) error {
	in.total += int64(n)
	in.pending += int64(n)
	if in.total > in.MaxUnpacked || in.pending > maxIdle {
		return errUnpacked
	}
	return in.hold()
}

// hold takes what is pending from the budget, in steps.
func (in *intake) hold() error {
	for in.held < in.pending+step {
		if !in.Budget.take(step) {
			return errBusy
		}
		in.held += step
	}
	return nil
}

// release gives back to the budget what was delivered.
func (in *intake) release() {
	in.Budget.used.Add(-in.held)
	in.held, in.pending = 0, 0
}

func (in *intake) close() {
	in.release()
	if in.reader != nil {
		in.reader.Return() // what the sink took it copied
	}
}

// copyOut copies the records that are still in the chunks of the reader before: each
// message of an envelope has a reader of its own, and a chunk for each small message
// would be far more than the budget knows of.
func (in *intake) copyOut() {
	if in.reader == nil {
		return
	}
	for i := in.copied; i < len(in.records); i++ {
		in.records[i].Raw = bytes.Clone(in.records[i].Raw)
	}
	in.copied = len(in.records)
	in.reader.Return()
}

// split takes the records of r, delivering full pieces on the way.
func (in *intake) split(r io.Reader) error {
	in.copyOut()
	records := file.NewReader(in.Name, r)
	records.OnUnpack(in.read)
	records.Borrow(in.chunks)
	in.reader = records
	defer func() { _ = records.Close() }() // decompressors: nothing is written
	return source.Split(records, in.Meter, in.take)
}

func (in *intake) take(rec file.Record) error {
	if in.only != 0 && rec.Format != in.only {
		in.Meter.Dropped("foreign", fmt.Errorf("a record of %s where only %s is taken", rec.Format, in.only), time.Now())
		if len(in.records) == 0 {
			in.release() // nothing of what was read is kept
		}
		return nil
	}
	in.records = append(in.records, rec)
	in.bytes += len(rec.Raw)
	if in.bytes < pieceBytes {
		return nil
	}
	return in.deliver()
}

// finish delivers the rest. A record that is larger than the log takes is an error
// only when it is all there was.
func (in *intake) finish() error {
	if len(in.records) > 0 {
		if err := in.deliver(); err != nil {
			return err
		}
	}
	if in.large != nil && !in.sent {
		return in.large
	}
	return nil
}

// deliver gives the records so far to the sink.
func (in *intake) deliver() error {
	err := source.Deliver(in.ctx, in.Sink, in.Meter, source.Batch{
		Source: in.Name, Cluster: in.Cluster, ReceivedNanos: time.Now().UnixNano(), Records: in.records,
	})
	if _, large := errors.AsType[*source.TooLargeError](err); large {
		in.large = err
	} else if err != nil {
		return &sinkError{err}
	} else {
		in.sent = true
	}
	clear(in.records)
	in.records, in.copied, in.bytes = in.records[:0], 0, 0
	in.reader.GiveBack()
	in.release()
	return nil
}

// sinkError is an error of the sink. Whatever it is, the sender may try again.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }
