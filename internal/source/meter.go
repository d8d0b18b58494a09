package source

import (
	"maps"
	"sync"
	"time"
)

// Meter counts what one live source does. All methods may be called from several
// goroutines.
type Meter struct {
	name, kind, cluster string

	mu sync.Mutex
	s  Status
}

// Status is how a source is doing.
type Status struct {
	Name, Kind, Cluster string

	Accepted      uint64            // records that the log has
	AcceptedBytes uint64            // their bytes
	Requests      uint64            // posts, messages or reads that carried them
	Rejected      map[string]uint64 // requests refused, by reason (few, fixed words)
	Dropped       map[string]uint64 // records that could not be read, by reason
	Gaps          uint64            // places where the source knows that something is missing

	LastReceived time.Time // when the last accepted batch was received; zero: never
	LastEvent    time.Time // time of the newest event decoded from it; zero: never
	LastError    string    // the last refusal or failure, "" when there was none
	LastErrorAt  time.Time
}

// NewMeter returns the meter of the source called name; kind says how it is
// connected (webhook, file, firehose, …).
func NewMeter(name, kind, cluster string) *Meter {
	return &Meter{name: name, kind: kind, cluster: cluster}
}

// Accepted counts a batch that is on the log.
func (m *Meter) Accepted(records, bytes int, received time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.Requests++
	m.s.Accepted += uint64(records)
	m.s.AcceptedBytes += uint64(bytes)
	m.s.LastReceived = received
}

// Rejected counts a request that was refused for reason, one of few fixed words;
// err is kept as the last error.
func (m *Meter) Rejected(reason string, err error, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add(&m.s.Rejected, reason)
	m.fail(err, at)
}

// Dropped counts a record that cannot be read.
func (m *Meter) Dropped(reason string, err error, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add(&m.s.Dropped, reason)
	m.fail(err, at)
}

// Failed notes an error that cost nothing: the source tries again.
func (m *Meter) Failed(err error, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail(err, at)
}

// Gap counts a place where something is known to be missing.
func (m *Meter) Gap(err error, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.Gaps++
	m.fail(err, at)
}

// Event notes the time of an event decoded from the source.
func (m *Meter) Event(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.s.LastEvent) {
		m.s.LastEvent = at
	}
}

// Status returns the counters so far; the caller owns it.
func (m *Meter) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.s
	s.Name, s.Kind, s.Cluster = m.name, m.kind, m.cluster
	s.Rejected, s.Dropped = maps.Clone(s.Rejected), maps.Clone(s.Dropped)
	return s
}

func (m *Meter) fail(err error, at time.Time) {
	if err != nil {
		m.s.LastError, m.s.LastErrorAt = err.Error(), at
	}
}

func add(counts *map[string]uint64, key string) {
	if *counts == nil {
		*counts = map[string]uint64{}
	}
	(*counts)[key]++
}
