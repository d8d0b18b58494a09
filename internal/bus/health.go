package bus

import (
	"context"
	"fmt"
)

// Size returns how many messages the log holds and how many bytes they take, of all
// clusters together.
func (l *Log) Size(ctx context.Context) (messages, bytes uint64, err error) {
	clusters, err := l.Clusters(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range clusters {
		stream, err := l.js.Stream(ctx, streamOf(c))
		if err != nil {
			return 0, 0, fmt.Errorf("measuring the log of cluster %q: %w", c, err)
		}
		s := stream.CachedInfo().State
		messages += s.Msgs
		bytes += s.Bytes
	}
	return messages, bytes, nil
}

// Writable returns nil when the log would take a batch now. The error wraps
// source.ErrUnavailable.
func (l *Log) Writable(ctx context.Context) error {
	if l.embedded != nil {
		if err := l.disk.check(0, l.disk.min); err != nil {
			return err
		}
	}
	if _, err := l.js.AccountInfo(ctx); err != nil {
		return unavailable("the log does not answer: %w", err)
	}
	return nil
}
