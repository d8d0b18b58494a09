// Package source holds what the live sources share: the batch that a source
// hands to the log, the sink that takes it, and the meter that says how a source
// is doing. Each source has a package of its own below; file reads recorded logs.
package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/clew-sec/clew/internal/source/file"
)

// Batch is what a source accepted at once. It becomes one or more messages of the
// log, all of them or none.
type Batch struct {
	Source        string        // configured name of the source
	Cluster       string        // cluster whose activity it is; partitions the log
	ReceivedNanos int64         // when the source had all of it, nanoseconds since 1970 UTC
	Records       []file.Record // in the order received; Raw is owned by the batch until Accept returns
}

// Sink takes batches. The log implements it.
type Sink interface {
	// Accept returns nil when the batch is on the log for good: only then may a
	// source acknowledge it to its sender. The error wraps ErrUnavailable when the
	// same batch may be taken later, and is a *TooLargeError when it never will.
	// It may be called from several goroutines and blocks while the log is slow, no
	// longer than ctx lives.
	Accept(ctx context.Context, b Batch) error
}

// ErrUnavailable says that the log takes nothing at the moment: it is full, slow or
// gone. The sender is told to try again; nothing was accepted.
var ErrUnavailable = errors.New("the log takes nothing at the moment")

// TooLargeError says that a record is larger than one message of the log may be.
type TooLargeError struct {
	Record     int // index in the batch
	Bytes, Max int
}

// Error gives the sizes.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("record %d has %d bytes, more than the log's %d", e.Record, e.Bytes, e.Max)
}

// Record is one record as its sender wrote it.
type Record = file.Record
