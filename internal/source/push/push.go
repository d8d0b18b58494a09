// Package push holds the HTTP handlers that senders post records to: the
// Kubernetes audit webhook, Amazon Data Firehose, Google Pub/Sub push and plain
// NDJSON. All of them work alike: who posts is authenticated, the body is unpacked
// within bounds and split into records as it arrives, the records are given to the
// sink in pieces, and the sender hears success only when the sink has all of them.
// A sender that is told to try again sends all of it again; the log's consumers
// know an event by its content, so nothing counts twice.
//
// The handlers need a server that bounds the time of headers and of idle
// connections; the time of a body is bounded here.
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// Bounds that a zero in Config stands for.
const (
	// DefaultMaxBody is the longest body as it is sent, in bytes. Firehose sends up
	// to 64 MiB before base64.
	DefaultMaxBody = 128 << 20
	// DefaultMaxUnpacked is how many bytes all layers of one body may have together:
	// what is sent, and what each compression and encoding in it holds.
	DefaultMaxUnpacked = 1 << 30
	// DefaultDeadline is how long one post may take. The API server waits 30 s.
	DefaultDeadline = 25 * time.Second
)

// retryAfter is what a refused sender is told to wait.
const retryAfter = time.Second

// Config is what the handlers share. Sink, Meter and Budget are required.
type Config struct {
	Name, Cluster string // of the batches
	Sink          source.Sink
	Meter         *source.Meter
	Auth          Authenticator // nil: the server has checked the client's certificate
	Budget        *Budget       // bytes in memory; one for all handlers of a server

	MaxBody     int64         // bytes as sent; 0: DefaultMaxBody
	MaxUnpacked int64         // bytes of all layers; 0: DefaultMaxUnpacked
	Deadline    time.Duration // 0: DefaultDeadline
}

func (c Config) withDefaults() Config {
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxUnpacked == 0 {
		c.MaxUnpacked = DefaultMaxUnpacked
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	return c
}

// Webhook returns the handler of a Kubernetes API server's audit webhook
// (--audit-webhook-config-file), in batch and blocking mode: it takes audit
// events, alone, as EventList or NDJSON, with a bearer token or basic
// authentication. Records of another kind are counted and passed over, for a
// cluster's token must not speak for a cloud account.
func Webhook(c Config) http.Handler {
	return newEndpoint(c, protocol{credential: authorization, read: readRecords(file.K8sAudit), reply: plainReply})
}

// Records returns the handler of anything that file.Reader reads: NDJSON, lists,
// wrappers, compressed or not; with a bearer token or basic authentication.
func Records(c Config) http.Handler {
	return newEndpoint(c, protocol{credential: authorization, read: readRecords(0), reply: plainReply})
}

// protocol is what one kind of sender does its own way.
type protocol struct {
	credential func(*http.Request) (Credential, bool)
	read       func(r *http.Request, body io.Reader, in *intake) error
	reply      func(w http.ResponseWriter, r *http.Request, status int, reason string)
}

type endpoint struct {
	Config
	protocol
	chunks file.Chunks
}

func newEndpoint(c Config, p protocol) *endpoint {
	return &endpoint{Config: c.withDefaults(), protocol: p}
}

// ServeHTTP answers one post.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := e.serve(w, r)
	if err == nil {
		e.reply(w, r, http.StatusOK, "")
		return
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil { // nobody hears the answer
		e.Meter.Rejected("sender_gone", nil, time.Now())
		return
	}
	no := explain(err)
	e.Meter.Rejected(no.reason, source.Plain(err), time.Now())
	switch no.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="clew"`)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	e.reply(w, r, no.status, no.reason)
}

// serve returns nil when the sink has all of the post.
func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "method", errors.New("posts only"))
	}
	if r.ContentLength > e.MaxBody {
		return &http.MaxBytesError{Limit: e.MaxBody}
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Deadline)
	defer cancel()
	if err := e.authenticate(ctx, r); err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	if err := http.NewResponseController(w).SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("bounding the time of a body: %w", err)
	}
	in := &intake{Config: &e.Config, chunks: &e.chunks, ctx: ctx}
	defer in.close()
	body, err := in.open(r.Header.Get("Content-Encoding"), http.MaxBytesReader(w, r.Body, e.MaxBody))
	if err != nil {
		return err
	}
	if err := e.read(r, body, in); err != nil {
		return err
	}
	return in.finish()
}

func (e *endpoint) authenticate(ctx context.Context, r *http.Request) error {
	if e.Auth == nil {
		return nil
	}
	c, ok := e.credential(r)
	if !ok {
		return refuse(http.StatusUnauthorized, "unauthenticated", errors.New("the post carries no credential"))
	}
	err := e.Auth.Authenticate(ctx, c)
	if err == nil || errors.Is(err, source.ErrUnavailable) {
		return err
	}
	return refuse(http.StatusUnauthorized, "unauthenticated", err)
}

// readRecords reads a body of records; only those of format only, unless that is 0.
func readRecords(only file.Format) func(*http.Request, io.Reader, *intake) error {
	return func(_ *http.Request, body io.Reader, in *intake) error {
		in.only = only
		if err := in.split(body); err != nil {
			return err
		}
		if in.total == 0 {
			return refuse(http.StatusBadRequest, "empty", errors.New("the body is empty"))
		}
		return nil
	}
}

func plainReply(w http.ResponseWriter, _ *http.Request, status int, reason string) {
	if status == http.StatusOK {
		w.WriteHeader(status)
		return
	}
	http.Error(w, reason, status)
}

// refusal is an error that says how it is answered.
type refusal struct {
	status int
	reason string // one of few fixed words: it is a label of a metric, and all that a sender is told
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, reason string, err error) *refusal { return &refusal{status, reason, err} }

// explain turns an error of serve into its answer. What is not understood is the
// body's: all that a sink or the network returns is told apart before.
func explain(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	_, longBody := errors.AsType[*http.MaxBytesError](err)
	_, longRecord := errors.AsType[*source.TooLargeError](err)
	_, unknown := errors.AsType[*file.UnknownFormatError](err)
	_, sink := errors.AsType[*sinkError](err)
	switch {
	case longBody, errors.Is(err, errUnpacked):
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", err)
	case longRecord:
		return refuse(http.StatusRequestEntityTooLarge, "record_too_large", err)
	case errors.Is(err, errBusy):
		return refuse(http.StatusTooManyRequests, "busy", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "deadline", err)
	case errors.Is(err, source.ErrUnavailable), sink:
		return refuse(http.StatusServiceUnavailable, "unavailable", err)
	case unknown:
		return refuse(http.StatusBadRequest, "unknown_format", err)
	}
	return refuse(http.StatusBadRequest, "unreadable_body", err)
}

// gunzip is what Content-Encoding: gzip asks for.
func gunzip(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("unpacking the body: %w", err)
	}
	return z, nil
}
