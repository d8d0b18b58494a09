package sensor

import "errors"

// Errors of Open.
var (
	// ErrPrivilege: the caller may not load BPF programs.
	ErrPrivilege = errors.New("the sensor needs root (or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_PTRACE)")
	// ErrPlatform: not Linux on x86-64.
	ErrPlatform = errors.New("the sensor runs on Linux on x86-64 only")
)

// Options of Open. The zero value is what the agent uses.
type Options struct {
	// Paths are the files told about; the zero value means DefaultPaths.
	Paths Paths
	// RingBytes is the size of the ring between kernel and reader, a power of
	// two of at least 64 KiB; 0 means 8 MiB.
	RingBytes int
	// Tiers limits the ways to attach, for tests; nil means all.
	Tiers []Tier
	// ExternalBTF is a file with the kernel's types for kernels that have none
	// of their own; "" means the kernel's.
	ExternalBTF string
}

// Tally counts the records of one kind since Open.
type Tally struct {
	Sent uint64 // put into the ring
	Lost uint64 // the ring was too full for the kind
}

// Losses is what the kernel side could not hand over.
type Losses struct {
	Kinds   [kindEnd]Tally
	Cgroups map[uint64][kindEnd]uint64 // lost records by cgroup and kind; the 4,096 cgroups that lost last
	Bad     uint64                     // records that could not be decoded
}

// Lost returns the number of lost records of all kinds.
func (l *Losses) Lost() uint64 {
	n := l.Bad
	for _, t := range l.Kinds {
		n += t.Lost
	}
	return n
}

// rooms says up to which fill, in 64ths of the ring, a kind is taken: a flood
// of files leaves half of the ring to others, and only what tells a program's
// start, its rights and its reach may fill it to the end.
var rooms = [kindEnd]uint32{
	KindFork: 60, KindExec: 64, KindExit: 60, KindCred: 64, KindPriv: 64,
	KindNet: 56, KindDNS: 48, KindFile: 32, KindName: 32, KindCgroup: 64,
}

func roomsOf(ring uint32) (bytes [kindEnd]uint32) {
	for k, part := range rooms {
		bytes[k] = ring / 64 * part
	}
	return bytes
}

// constants are the programs' constants beside those of every run.
type constants struct {
	selfTGID       uint32
	cgroupV1       bool
	ring           uint32
	openByFunction bool
}

// wakeBytes is the number of unread bytes at which the kernel wakes the reader;
// below that it is found by the reader's polling. A wake-up costs about 10 µs
// of the process that caused it.
const wakeBytes = 64 << 10
