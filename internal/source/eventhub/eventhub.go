// Package eventhub consumes an Azure Event Hub through its Kafka protocol: what AKS
// diagnostic settings and the activity log write there. A message holds a list of
// records. Offsets are committed only when the sink has the records.
package eventhub

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

const (
	// maxPoll is how many messages are taken at once; an Event Hubs message has at
	// most 1 MiB, 20 on dedicated clusters.
	maxPoll = 64
	// maxUnpacked bounds what one message may unpack to, in bytes.
	maxUnpacked = 256 << 20
	quietFor    = 10 * time.Second // without a message until the hub is asked after
	// DefaultRetry is the pause after an error.
	DefaultRetry = time.Second
)

// Config says what to consume. Name, Brokers, Hub, Group, Sink and Meter are required.
type Config struct {
	Name, Cluster string   // of the batches
	Brokers       []string // <namespace>.servicebus.windows.net:9093
	Hub           string   // the Event Hub, which Kafka calls topic
	Group         string   // consumer group
	// ConnectionString of a policy with the right to listen: the password of SASL
	// PLAIN. "" is no authentication, for brokers of tests.
	ConnectionString string
	TLS              *tls.Config // nil: no TLS, which Event Hubs refuses
	Sink             source.Sink
	Meter            *source.Meter
	Retry            time.Duration // 0: DefaultRetry
}

// Consumer consumes one Event Hub. Use New.
type Consumer struct {
	Config
	client *kgo.Client
}

// New returns a Consumer. It connects in Run, and takes up at the oldest message
// that the hub keeps when its group has no offset.
func New(c Config) (*Consumer, error) {
	if c.ConnectionString != "" && c.TLS == nil {
		return nil, errors.New("a connection string is sent over TLS only")
	}
	if c.Retry == 0 {
		c.Retry = DefaultRetry
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ConsumeTopics(c.Hub), kgo.ConsumerGroup(c.Group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxBytes(32 << 20), kgo.FetchMaxPartitionBytes(4 << 20),
		kgo.DisableClientMetrics(), // Event Hubs does not know them
	}
	if c.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.ConnectionString != "" {
		opts = append(opts, kgo.SASL(plain.Auth{User: "$ConnectionString", Pass: c.ConnectionString}.AsMechanism()))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("configuring the consumer of %q: %w", c.Hub, err)
	}
	return &Consumer{c, client}, nil
}

// Run consumes until ctx ends. Errors of the hub and of the sink are tried again;
// the meter tells. It may be called once.
func (c *Consumer) Run(ctx context.Context) {
	defer c.client.CloseAllowingRebalance()
	c.ping(ctx)
	for ctx.Err() == nil {
		fetches := c.poll(ctx)
		c.note(ctx, fetches)
		if fetches.NumRecords() > 0 {
			c.deliver(ctx, fetches)
		}
		c.client.AllowRebalance()
	}
}

// poll waits for messages, and asks after the hub when none come: the client tries
// to connect for ever without a word.
func (c *Consumer) poll(ctx context.Context) kgo.Fetches {
	quiet, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	fetches := c.client.PollRecords(quiet, maxPoll)
	if fetches.NumRecords() > 0 || quiet.Err() == nil {
		return fetches
	}
	c.ping(ctx)
	return nil // the end of quiet is no error of the hub's
}

func (c *Consumer) ping(ctx context.Context) {
	soon, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	if err := c.client.Ping(soon); err != nil && ctx.Err() == nil {
		c.Meter.Failed(fmt.Errorf("connecting to %q: %w", c.Hub, err), time.Now())
	}
}

// note counts what the hub says went wrong. An offset that the hub no longer has
// means that messages expired unread.
func (c *Consumer) note(ctx context.Context, fetches kgo.Fetches) {
	failed := false
	fetches.EachError(func(topic string, partition int32, err error) {
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return
		}
		failed = true
		err = fmt.Errorf("consuming %q, partition %d: %w", topic, partition, err)
		if _, lost := errors.AsType[*kgo.ErrDataLoss](err); lost {
			c.Meter.Gap(err, time.Now())
			return
		}
		c.Meter.Failed(err, time.Now())
	})
	if failed {
		pause(ctx, c.Retry)
	}
}

// deliver gives the records of all messages to the sink, again and again until it
// has them, and then commits.
func (c *Consumer) deliver(ctx context.Context, fetches kgo.Fetches) {
	b := source.Batch{Source: c.Name, Cluster: c.Cluster, ReceivedNanos: time.Now().UnixNano()}
	fetches.EachRecord(func(r *kgo.Record) {
		if err := c.split(r.Value, &b); err != nil {
			reason := source.DropUnreadable
			if _, unknown := errors.AsType[*file.UnknownFormatError](err); unknown {
				reason = source.DropUnknown
			}
			c.Meter.Dropped(reason, err, time.Now())
		}
	})
	if !c.accepted(ctx, b) {
		return
	}
	if err := c.client.CommitRecords(ctx, fetches.Records()...); err != nil && ctx.Err() == nil {
		c.Meter.Failed(fmt.Errorf("committing offsets of %q: %w", c.Hub, err), time.Now())
	}
}

func (c *Consumer) split(message []byte, b *source.Batch) error {
	r := file.NewReader(c.Name, bytes.NewReader(message))
	defer func() { _ = r.Close() }() // decompressors: nothing is written
	unpacked := 0
	r.OnUnpack(func(n int) error {
		if unpacked += n; unpacked > maxUnpacked {
			return errors.New("a message unpacks to more than is taken")
		}
		return nil
	})
	return source.Split(r, c.Meter, func(rec file.Record) error {
		b.Records = append(b.Records, rec)
		return nil
	})
}

// accepted reports whether the sink has b, which it does unless ctx ends.
func (c *Consumer) accepted(ctx context.Context, b source.Batch) bool {
	for len(b.Records) > 0 {
		err := source.Deliver(ctx, c.Sink, c.Meter, b)
		if _, large := errors.AsType[*source.TooLargeError](err); err == nil || large {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		c.Meter.Failed(err, time.Now())
		pause(ctx, c.Retry)
	}
	return true
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
