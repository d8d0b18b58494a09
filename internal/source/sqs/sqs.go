// Package sqs reads log files that AWS puts into S3, as CloudTrail does, told of
// them by a queue: S3 event notifications in SQS, also by way of SNS or EventBridge,
// and CloudTrail's own notifications. A message is deleted only when the sink has
// the records of its files. One that cannot be read is counted and left to the
// queue's redrive policy.
package sqs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// What a zero in Config stands for.
const (
	DefaultVisibility = 2 * time.Minute
	DefaultWorkers    = 2
	DefaultRetry      = time.Second
)

const (
	longPoll    = 20      // seconds a receive waits; the most there is
	maxUnpacked = 1 << 30 // bytes that the layers of one file unpack to
	pieceBytes  = 4 << 20 // of records given to the sink at once
)

// Queue is what is used of *sqs.Client.
type Queue interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
}

// Objects is what is used of *s3.Client.
type Objects interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Config says what to read. Those without a default are required.
type Config struct {
	Name, Cluster string // of the batches
	QueueURL      string
	Queue         Queue
	Objects       Objects
	Sink          source.Sink
	Meter         *source.Meter
	Visibility    time.Duration // for how long a message is ours, whole seconds; extended while it is worked on. 0: DefaultVisibility
	Workers       int           // messages worked on at once; 0: DefaultWorkers
	Retry         time.Duration // pause after an error; 0: DefaultRetry
}

// Reader reads the files that one queue tells of. Use New.
type Reader struct{ Config }

// New returns a Reader.
func New(c Config) *Reader {
	if c.Visibility < time.Second {
		c.Visibility = DefaultVisibility
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	if c.Retry == 0 {
		c.Retry = DefaultRetry
	}
	return &Reader{c}
}

// Run works until ctx ends. Errors of AWS and of the sink are tried again; the
// meter tells.
func (r *Reader) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range r.Workers {
		workers.Go(func() {
			for ctx.Err() == nil {
				r.receive(ctx)
			}
		})
	}
	workers.Wait()
}

// receive takes one message, if one comes, and works on it.
func (r *Reader) receive(ctx context.Context) {
	out, err := r.Queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &r.QueueURL, MaxNumberOfMessages: 1, WaitTimeSeconds: longPoll, VisibilityTimeout: int32(r.Visibility / time.Second),
	})
	if err != nil {
		r.failed(ctx, fmt.Errorf("receiving from the queue: %w", err))
		pause(ctx, r.Retry)
		return
	}
	for _, m := range out.Messages {
		r.message(ctx, m)
	}
}

// message works on m, which stays ours meanwhile, and deletes it when it is done.
func (r *Reader) message(ctx context.Context, m types.Message) {
	working, done := context.WithCancel(ctx)
	var heart sync.WaitGroup
	heart.Go(func() { r.extend(working, m) })
	err := r.read(ctx, m)
	done()
	heart.Wait()
	if err != nil {
		r.poison(ctx, err)
		return
	}
	if _, err := r.Queue.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &r.QueueURL, ReceiptHandle: m.ReceiptHandle}); err != nil {
		r.failed(ctx, fmt.Errorf("deleting a message that is done: %w", err))
	}
}

// extend keeps m invisible to others until ctx ends.
func (r *Reader) extend(ctx context.Context, m types.Message) {
	tick := time.NewTicker(r.Visibility / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := r.Queue.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &r.QueueURL, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: int32(r.Visibility / time.Second),
		})
		if err != nil {
			r.failed(ctx, fmt.Errorf("keeping a message: %w", err))
		}
	}
}

// poison counts a message that stays in the queue: it comes again, until the
// queue's redrive policy sets it aside.
func (r *Reader) poison(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // not the message's fault
	}
	reason := source.DropUnreadable
	_, unknownFile := errors.AsType[*file.UnknownFormatError](err)
	switch {
	case unknownFile, errors.Is(err, errUnknownMessage):
		reason = source.DropUnknown
	case errors.Is(err, errFetch):
		reason = "fetch"
	}
	r.Meter.Rejected(reason, err, time.Now())
}

func (r *Reader) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		r.Meter.Failed(err, time.Now())
	}
}

// read gives the records of the files that m tells of to the sink.
func (r *Reader) read(ctx context.Context, m types.Message) error {
	objects, err := notified(aws.ToString(m.Body))
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := r.object(ctx, o); err != nil {
			return fmt.Errorf("reading s3://%s/%s: %w", o.bucket, o.key, err)
		}
	}
	return nil
}

var (
	errFetch    = errors.New("the file cannot be had")
	errUnpacked = errors.New("the file unpacks to more than is taken")
)

func (r *Reader) object(ctx context.Context, o object) error {
	out, err := r.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return fmt.Errorf("%w: %w", errFetch, err)
	}
	defer func() { _ = out.Body.Close() }() // read only
	records := file.NewReader(r.Name, out.Body)
	defer func() { _ = records.Close() }()
	unpacked, piece := 0, piece{Reader: r}
	records.OnUnpack(func(n int) error {
		if unpacked += n; unpacked > maxUnpacked {
			return errUnpacked
		}
		return nil
	})
	err = source.Split(records, r.Meter, func(rec file.Record) error { return piece.take(ctx, rec) })
	if err != nil {
		return err
	}
	return piece.deliver(ctx)
}

// piece gathers records of one file.
type piece struct {
	*Reader
	records []file.Record
	bytes   int
}

func (p *piece) take(ctx context.Context, rec file.Record) error {
	p.records = append(p.records, rec)
	if p.bytes += len(rec.Raw); p.bytes < pieceBytes {
		return nil
	}
	return p.deliver(ctx)
}

// deliver tries until the sink has the records: a message given back while the log
// is full would use up its receives and be set aside. It fails when ctx ends.
func (p *piece) deliver(ctx context.Context) error {
	for len(p.records) > 0 {
		err := source.Deliver(ctx, p.Sink, p.Meter, source.Batch{
			Source: p.Name, Cluster: p.Cluster, ReceivedNanos: time.Now().UnixNano(), Records: p.records,
		})
		if _, large := errors.AsType[*source.TooLargeError](err); err == nil || large {
			p.records, p.bytes = nil, 0
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		p.Meter.Failed(err, time.Now())
		pause(ctx, p.Retry)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
