// Package file reads recorded logs from files and standard input and splits
// them into records: one Kubernetes audit event, one CloudTrail record, one
// Google Cloud log entry or one Azure record each.
//
// What a file holds is recognised by its content, record by record, never by
// its name. Accepted are
//
//   - single objects, one a line (NDJSON), one behind the other without a line
//     break (Firehose), pretty-printed ones, and arrays of them;
//   - lists: audit EventList, CloudTrail {"Records":[…]}, Azure {"records":[…]},
//     CloudWatch Logs subscription payloads {"logEvents":[…]} and what the
//     providers' command lines print ({"Events":…}, {"events":…}, {"entries":…},
//     {"value":…});
//   - wrappers: EventBridge {"detail":{…}}, and log shippers' {"log":"…"},
//     {"message":"…"}, {"event":…}, {"_raw":"…"} around one record;
//   - any of these in gzip (also of several members) or zstd, up to three deep,
//     with or without a UTF-8 byte order mark.
//
// Memory stays flat: lists are read item by item, whatever their length.
package file

import (
	"fmt"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// MaxRecord is the longest record that is read, in bytes. A longer one is
// reported as a bad record and skipped.
const MaxRecord = 16 << 20

// Format is the kind of a record.
type Format uint8

// The kinds of records. The zero value is no format.
const (
	K8sAudit    Format = iota + 1 // audit.k8s.io Event
	CloudTrail                    // one CloudTrail record, Insights and digest files included
	GCPAudit                      // one LogEntry
	AzureRecord                   // activity log, AKS diagnostic, sign-in and other resource log records
)

var formatNames = [...]string{"unknown", "Kubernetes audit", "CloudTrail", "Google Cloud audit", "Azure"}

// String returns the format's name in words.
func (f Format) String() string {
	if int(f) >= len(formatNames) {
		return formatNames[0]
	}
	return formatNames[f]
}

// Record is one record as its source wrote it.
type Record struct {
	// Raw is the JSON object. It is never overwritten unless the reader borrowed its
	// chunks (see Reader.GiveBack), so strings may alias it; keeping one keeps a chunk
	// of at least 256 KiB in memory. The reader checked where it ends but, on the fast
	// path, not that it is valid JSON.
	Raw    []byte
	Pos    event.Position
	Format Format
}

// RecordError says that one record could not be read. Reading goes on behind it.
type RecordError struct {
	File   string // as the user named it
	Record int    // 1-based number of the record in the file
	Offset int64  // where the record begins, in bytes of the decompressed file
	Reason string
}

// Error returns file, record number, offset and reason.
func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: record %d at byte %d: %s", e.File, e.Record, e.Offset, e.Reason)
}

// Plain returns the reason without the excerpt of the record that it may end
// with: what a record holds has no place in logs.
func (e *RecordError) Plain() string {
	reason, _, _ := strings.Cut(e.Reason, `: "`)
	return reason
}

// UnknownFormatError says that a file holds nothing that is known. It is
// returned in place of the errors of its records, and ends the reading.
type UnknownFormatError struct {
	File  string
	Head  []byte       // first bytes of the decompressed file, at most 64
	First *RecordError // what is wrong with the first record; nil for binary data
}

// tried names what the reader recognises.
var tried = []string{
	"Kubernetes audit Event and EventList", "CloudTrail records", "EventBridge and CloudWatch Logs envelopes",
	"Google Cloud LogEntry", "Azure activity log and diagnostic records", "gzip and zstd of these",
}

// Error names what was tried and shows the first bytes of the file.
func (e *UnknownFormatError) Error() string {
	msg := fmt.Sprintf("%s: no record of a known format (tried %s); the file begins with %q", e.File, strings.Join(tried, ", "), e.Head)
	if e.First != nil {
		msg += fmt.Sprintf("; record %d: %s", e.First.Record, e.First.Reason)
	}
	return msg
}
