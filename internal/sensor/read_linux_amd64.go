package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// poll is how often the reader looks into the ring when nothing wakes it: the
// longest a record waits on a quiet node.
const poll = 10 * time.Millisecond

// checkEvery is the number of records after which a busy reader looks whether
// it should stop.
const checkEvery = 1024

// Run calls each with every record, in the order the kernel put them, until
// ctx ends; then it returns nil. The Record and all it holds are valid during
// the call only. An unreadable record is counted and left out.
func (s *Sensor) Run(ctx context.Context, each func(*Record)) error {
	raw := ringbuf.Record{RawSample: make([]byte, 0, 16<<10)}
	var r Record
	s.reader.SetDeadline(time.Now().Add(poll))
	for n := 1; ; n++ {
		if n%checkEvery == 0 && over(ctx) {
			return nil
		}
		err := s.reader.ReadInto(&raw)
		switch {
		case err == nil:
			if r.Decode(raw.RawSample) != nil {
				s.bad.Add(1)
				continue
			}
			each(&r)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if over(ctx) {
				return nil
			}
			s.reader.SetDeadline(time.Now().Add(poll))
		default:
			return fmt.Errorf("reading the ring: %w", err)
		}
	}
}

func over(ctx context.Context) bool { return ctx.Err() != nil }

// Snapshot calls each with the processes that run, as KindExec, and then with
// their network sockets, as KindNet; all have FlagAtStart. The order among
// processes is not that of their birth. Where the kernel has no iterators
// processes come from /proc, with start times of 10 ms resolution.
func (s *Sensor) Snapshot(each func(*Record)) error {
	if p := s.late["snapshot_tasks"]; p != nil {
		if err := s.iterate(p, each); err != nil {
			return fmt.Errorf("listing processes: %w", err)
		}
	} else if err := scanProc("/proc", each); err != nil {
		return err
	}
	if p := s.late["snapshot_sockets"]; p != nil {
		if err := s.iterate(p, each); err != nil {
			return fmt.Errorf("listing sockets: %w", err)
		}
	}
	return nil
}

func (s *Sensor) iterate(p *ebpf.Program, each func(*Record)) error {
	l, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return err
	}
	records, err := l.Open()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	b, err := io.ReadAll(records)
	s.bad.Add(decodeAll(b, each))
	return errors.Join(err, records.Close(), l.Close())
}

// Losses reads the counters of the kernel side.
func (s *Sensor) Losses() (*Losses, error) {
	l := &Losses{Cgroups: map[uint64][kindEnd]uint64{}, Bad: s.bad.Load()}
	for k := range kindEnd {
		var perCPU []struct{ Sent, Lost uint64 }
		if err := s.maps["tallies"].Lookup(uint32(k), &perCPU); err != nil {
			return nil, fmt.Errorf("reading the counters of %s: %w", k, err)
		}
		for _, c := range perCPU {
			l.Kinds[k].Sent += c.Sent
			l.Kinds[k].Lost += c.Lost
		}
	}
	var cgroup uint64
	var lost [kindEnd]uint64
	all := s.maps["cgroup_losses"].Iterate()
	for all.Next(&cgroup, &lost) {
		l.Cgroups[cgroup] = lost
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("reading the losses of cgroups: %w", err)
	}
	return l, nil
}
