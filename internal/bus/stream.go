package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamPrefix  = "clew-log-"
	subjectPrefix = "clew.log."
	wakePrefix    = "clew.wake."
)

func streamOf(cluster string) string    { return streamPrefix + escape(cluster) }
func subjectOf(cluster string) string   { return subjectPrefix + escape(cluster) }
func wakeSubject(cluster string) string { return wakePrefix + escape(cluster) }

// escape returns s in letters, digits and "-", all else as "_" and two hexadecimal
// digits: what NATS takes as a name and as one token of a subject, and what is safe
// as the name of a folder.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-':
			b.WriteByte(c)
		default:
			const digits = "0123456789abcdef"
			b.Write([]byte{'_', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// unescape returns what was escaped; false for what escape never returns.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '_' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

// maxClusterName is what a file system and NATS leave for an escaped name.
const maxClusterName = 200

func checkNames(cluster, source string) error {
	if cluster == "" {
		return errors.New("the log needs the name of a cluster")
	}
	if n := len(escape(cluster)); n > maxClusterName {
		return fmt.Errorf("the name of cluster %.40q… takes %d bytes, more than %d", cluster, n, maxClusterName)
	}
	if len(source) > maxName {
		return fmt.Errorf("the name of source %.40q… has more than %d bytes", source, maxName)
	}
	return nil
}

// ensure makes or adapts the stream of cluster once.
func (l *Log) ensure(ctx context.Context, cluster string) error {
	l.mu.Lock()
	known := l.ensured[cluster]
	l.mu.Unlock()
	if known {
		return nil
	}
	if _, err := l.js.CreateOrUpdateStream(ctx, l.streamConfig(cluster)); err != nil {
		return fmt.Errorf("making the stream of cluster %q: %w", cluster, err)
	}
	l.mu.Lock()
	l.ensured[cluster] = true
	l.mu.Unlock()
	return nil
}

func (l *Log) forget(cluster string) {
	l.mu.Lock()
	delete(l.ensured, cluster)
	l.mu.Unlock()
}

func (l *Log) streamConfig(cluster string) jetstream.StreamConfig {
	maxBytes := l.cfg.MaxBytes
	if maxBytes == 0 {
		maxBytes = -1
	}
	duplicates := duplicateWindow
	if l.cfg.MaxAge > 0 {
		duplicates = min(duplicates, l.cfg.MaxAge) // NATS wants that
	}
	return jetstream.StreamConfig{
		Name:        streamOf(cluster),
		Description: "clew: the log of one cluster",
		Subjects:    []string{subjectOf(cluster)},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    maxBytes,
		MaxAge:      l.cfg.MaxAge,
		Storage:     jetstream.FileStorage,
		Replicas:    l.cfg.Replicas,
		Duplicates:  duplicates,
		AllowDirect: true,
	}
}

// Identity tells a cluster's log from one that had its name before.
type Identity struct {
	ID     int64  // when it was made, Unix nanoseconds
	Before uint64 // position before its first message
	Last   uint64 // position of its last message, 0 when it never had one
}

// Identify returns the identity of a cluster's log, which is made when there is none.
func (l *Log) Identify(ctx context.Context, cluster string) (Identity, error) {
	if err := checkNames(cluster, ""); err != nil {
		return Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, streamOf(cluster))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		l.forget(cluster)
		if err = l.ensure(ctx, cluster); err == nil {
			stream, err = l.js.Stream(ctx, streamOf(cluster))
		}
	}
	if err != nil {
		return Identity{}, fmt.Errorf("identifying the log of cluster %q: %w", cluster, err)
	}
	info := stream.CachedInfo()
	return Identity{ID: info.Created.UnixNano(), Before: max(info.State.FirstSeq, 1) - 1, Last: info.State.LastSeq}, nil
}

// Clusters returns the clusters that the log has or had messages of, sorted.
func (l *Log) Clusters(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	names := l.js.StreamNames(ctx, jetstream.WithStreamListSubject(subjectPrefix+"*"))
	var clusters []string
	for name := range names.Name() {
		escaped, ours := strings.CutPrefix(name, streamPrefix)
		if cluster, ok := unescape(escaped); ours && ok {
			clusters = append(clusters, cluster)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("listing the log's clusters: %w", err)
	}
	slices.Sort(clusters)
	return clusters, nil
}

// Trim drops the messages of cluster up to and including upTo. The caller knows
// that every consumer is past it. A position behind the end is of another log: the
// messages here were read by nobody, and stay.
func (l *Log) Trim(ctx context.Context, cluster string, upTo uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, streamOf(cluster))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil && upTo > stream.CachedInfo().State.LastSeq {
		err = fmt.Errorf("it ends at message %d, before position %d", stream.CachedInfo().State.LastSeq, upTo)
	}
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
	}
	if err != nil {
		return fmt.Errorf("trimming the log of cluster %q: %w", cluster, err)
	}
	return nil
}

// Backlog returns how many messages of cluster stand behind position after.
func (l *Log) Backlog(ctx context.Context, cluster string, after uint64) (messages uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, streamOf(cluster))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("measuring the log of cluster %q: %w", cluster, err)
	}
	state := stream.CachedInfo().State
	read := max(after, state.FirstSeq-min(state.FirstSeq, 1))
	return state.LastSeq - min(read, state.LastSeq), nil
}
