package source

import (
	"context"
	"errors"
	"time"
)

// Deliver gives b to sink and counts it. A record larger than the log takes is
// counted as dropped, and the others of the batch are delivered: a sender told to
// send all of them again would do so forever. Only when b is that one record is
// the *TooLargeError returned. On nil every record is on the log or counted.
func Deliver(ctx context.Context, sink Sink, m *Meter, b Batch) error {
	alone := len(b.Records) == 1
	for len(b.Records) > 0 {
		err := sink.Accept(ctx, b)
		if err == nil {
			m.Accepted(len(b.Records), size(b), time.Unix(0, b.ReceivedNanos))
			return nil
		}
		large, ok := errors.AsType[*TooLargeError](err)
		if !ok || large.Record < 0 || large.Record >= len(b.Records) {
			return err
		}
		m.Dropped(DropTooLarge, err, time.Now())
		if alone {
			return err
		}
		b.Records = append(b.Records[:large.Record:large.Record], b.Records[large.Record+1:]...)
	}
	return nil
}

func size(b Batch) int {
	n := 0
	for _, r := range b.Records {
		n += len(r.Raw)
	}
	return n
}
