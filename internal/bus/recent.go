package bus

import (
	"slices"
	"strconv"
	"sync"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/source"
)

const (
	// recentBytes is how much of what was stored last stays at hand, all clusters
	// together, in bytes of records and what goes with each.
	recentBytes = 32 << 20
	// recordBytes is what goes with a record: it as a struct, and its share of a
	// message of few.
	recordBytes = 128
)

// recent holds the messages stored last by this process, so that a reader who keeps
// up neither asks the log for them nor unpacks them. What is in it was acknowledged
// by the log, and is the same as what the log would answer. Its methods may be
// called from several goroutines.
type recent struct {
	max int // bytes; less than 1: it holds nothing

	mu     sync.Mutex
	bytes  int
	at     map[place]source.Batch
	oldest []place // in the order they came
}

// place is where a message stands.
type place struct {
	cluster string
	seq     uint64
}

func newRecent(maxBytes int) *recent { return &recent{max: maxBytes, at: map[place]source.Batch{}} }

// put takes the batch of the message at seq, whose records nobody changes from now
// on.
func (r *recent) put(seq uint64, b source.Batch) {
	size := sizeOf(b)
	if size > r.max {
		return
	}
	locate(b, seq)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := place{b.Cluster, seq}
	if _, again := r.at[p]; again { // of the log that was there before
		r.drop(b.Cluster)
	}
	r.at[p], r.oldest, r.bytes = b, append(r.oldest, p), r.bytes+size
	for r.bytes > r.max {
		p, r.oldest = r.oldest[0], r.oldest[1:]
		r.bytes -= sizeOf(r.at[p])
		delete(r.at, p)
	}
}

func (r *recent) get(cluster string, seq uint64) (source.Batch, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.at[place{cluster, seq}]
	return b, ok
}

// forget drops what is at hand of a cluster whose log is another one, or has lost its
// end: the same places will have other messages.
func (r *recent) forget(cluster string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(cluster)
}

// drop is forget under the lock.
func (r *recent) drop(cluster string) {
	r.oldest = slices.DeleteFunc(r.oldest, func(p place) bool {
		if p.cluster != cluster {
			return false
		}
		r.bytes -= sizeOf(r.at[p])
		delete(r.at, p)
		return true
	})
}

func sizeOf(b source.Batch) (bytes int) {
	for i := range b.Records {
		bytes += len(b.Records[i].Raw) + recordBytes
	}
	return bytes
}

// locate gives the records of the message at seq their positions.
func locate(b source.Batch, seq uint64) {
	name := b.Source + "@" + strconv.FormatUint(seq, 10)
	for i := range b.Records {
		b.Records[i].Pos = event.Position{File: name, Record: i + 1}
	}
}
