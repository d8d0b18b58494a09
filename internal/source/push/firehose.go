package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

const (
	requestIDHeader = "X-Amz-Firehose-Request-Id"
	maxRequestID    = 256 // bytes of an id that is echoed; Firehose sends a UUID of 36
)

// Firehose returns the handler of Amazon Data Firehose's HTTP endpoint delivery
// (protocol version 1.0), with the access key of the delivery stream. Each record
// of a post may hold what file.Reader reads, as a CloudWatch Logs subscription with
// EKS audit events or CloudTrail; one that holds nothing known is counted and
// passed over, for Firehose would send all of the post again for hours.
//
// https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html
func Firehose(c Config) http.Handler {
	return newEndpoint(c, protocol{credential: accessKey, read: readFirehose, reply: firehoseReply})
}

func accessKey(r *http.Request) (Credential, bool) {
	key := r.Header.Get("X-Amz-Firehose-Access-Key")
	return Credential{Scheme: AccessKey, Secret: key}, key != ""
}

// readFirehose reads {"requestId":…,"timestamp":…,"records":[{"data":base64},…]}
// record by record: a post may have 64 MiB.
func readFirehose(r *http.Request, body io.Reader, in *intake) error {
	id := r.Header.Get(requestIDHeader)
	if v := r.Header.Get("X-Amz-Firehose-Protocol-Version"); v != "1.0" || id == "" || len(id) > maxRequestID {
		return refuse(http.StatusBadRequest, "protocol", errors.New("no request of Firehose's protocol 1.0"))
	}
	dec := json.NewDecoder(body)
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	records := false
	for dec.More() {
		key, err := dec.Token()
		switch {
		case err != nil:
		case key == "requestId":
			err = sameID(dec, id)
		case key == "records":
			records, err = true, firehoseRecords(dec, in)
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return fmt.Errorf("reading Firehose's envelope: %w", err)
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return err
	}
	if !records {
		return refuse(http.StatusBadRequest, "protocol", errors.New("a request of Firehose without records"))
	}
	return nil
}

func expect(dec *json.Decoder, want json.Token) error {
	got, err := dec.Token()
	if err != nil {
		return fmt.Errorf("reading Firehose's envelope: %w", err)
	}
	if got != want {
		return refuse(http.StatusBadRequest, "protocol", errors.New("the body is no envelope of Firehose"))
	}
	return nil
}

func sameID(dec *json.Decoder, id string) error {
	var got string
	if err := dec.Decode(&got); err != nil {
		return err
	}
	if got != id {
		return refuse(http.StatusBadRequest, "protocol", errors.New("the request ids of header and body differ"))
	}
	return nil
}

func firehoseRecords(dec *json.Decoder, in *intake) error {
	if err := expect(dec, json.Delim('[')); err != nil {
		return err
	}
	for dec.More() {
		var rec struct {
			Data []byte `json:"data"`
		}
		if err := dec.Decode(&rec); err != nil {
			return err
		}
		if err := in.payload(rec.Data); err != nil {
			return err
		}
	}
	return expect(dec, json.Delim(']'))
}

// payload takes the records of a message inside an envelope. A message that holds
// nothing known, or is broken, is counted and passed over.
func (in *intake) payload(data []byte) error {
	if err := in.read(len(data)); err != nil {
		return err
	}
	err := in.split(bytes.NewReader(data))
	if err == nil || !in.messageIsBad(err) {
		return err
	}
	reason := source.DropUnreadable
	if _, ok := errors.AsType[*file.UnknownFormatError](err); ok {
		reason = source.DropUnknown
	}
	in.Meter.Dropped(reason, source.Plain(err), time.Now())
	return nil
}

// messageIsBad reports whether err came from what the message holds, neither from
// the sink nor from a bound.
func (in *intake) messageIsBad(err error) bool {
	_, sink := errors.AsType[*sinkError](err)
	return !sink && !errors.Is(err, errBusy) && !errors.Is(err, errUnpacked)
}

// firehoseReply writes the answer that Firehose demands. It takes 413 for final and
// tries everything else again.
func firehoseReply(w http.ResponseWriter, r *http.Request, status int, reason string) {
	id := r.Header.Get(requestIDHeader)
	if len(id) > maxRequestID {
		id = ""
	}
	answer := struct {
		RequestID string `json:"requestId"`
		Timestamp int64  `json:"timestamp"` // milliseconds since 1970
		Error     string `json:"errorMessage,omitempty"`
	}{id, time.Now().UnixMilli(), reason}
	out, err := json.Marshal(answer)
	if err != nil {
		panic(err) // strings and a number
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(out) // the sender is gone: it tries again
}
