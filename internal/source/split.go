package source

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/clew-sec/clew/internal/source/file"
)

// Reasons of Meter.Dropped that sources share.
const (
	DropUnreadable = "unreadable" // no JSON, cut off, or longer than file.MaxRecord
	DropTooLarge   = "too_large"  // longer than one message of the log may be
	DropUnknown    = "unknown"    // a message that holds nothing known
)

// Split hands the records of r to take one by one. Records that cannot be read are
// counted by m and passed over. It returns nil at the end of r, an
// *file.UnknownFormatError when r holds nothing known, the error of take, or what
// ended the reading; errors other than take's say nothing of what r holds.
func Split(r *file.Reader, m *Meter, take func(file.Record) error) error {
	for {
		rec, err := r.Next()
		switch bad, _ := errors.AsType[*file.RecordError](err); {
		case errors.Is(err, io.EOF):
			return nil
		case bad != nil:
			m.Dropped(DropUnreadable, plain(bad), time.Now())
		case err != nil:
			return Plain(err)
		default:
			if err := take(rec); err != nil {
				return err
			}
		}
	}
}

// Plain is err without what a record holds, fit for a log or a status. It keeps
// the type of an *file.UnknownFormatError, less the bytes that it shows.
func Plain(err error) error {
	if bad, ok := errors.AsType[*file.RecordError](err); ok {
		return plain(bad)
	}
	if none, ok := errors.AsType[*file.UnknownFormatError](err); ok {
		return &file.UnknownFormatError{File: none.File}
	}
	return err
}

func plain(e *file.RecordError) error {
	return fmt.Errorf("%s: record %d at byte %d: %s", e.File, e.Record, e.Offset, e.Plain())
}
