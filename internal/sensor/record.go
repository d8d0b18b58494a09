// Package sensor loads the programs of bpf/ into the kernel and reads what they
// tell: which process did what on this node.
//
// A record is decoded from the ring's bytes into one reused Record; nothing is
// allocated and nothing is looked up. What a record means for the rest of clew
// is not decided here.
package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Kind is what a record is about; bpf/record.h has the same numbers.
type Kind uint16

// The kinds.
const (
	KindFork   Kind = iota + 1
	KindExec        // a program started; with FlagAtStart a process that ran before the sensor
	KindExit        // the last thread of a process ended
	KindCred        // user, group or capabilities changed
	KindPriv        // namespaces, mounts, ptrace, modules, bpf and the like
	KindNet         // connect, accept, listen, a new datagram peer
	KindDNS         // a DNS message
	KindFile        // a file opened
	KindName        // a name removed, moved, linked; a file truncated or made executable
	KindCgroup      // a cgroup was made
	kindEnd
)

var kindNames = [...]string{"unknown", "fork", "exec", "exit", "cred", "priv", "net", "dns", "file", "name", "cgroup"}

// String returns the kind's name as output writes it.
func (k Kind) String() string {
	if k >= kindEnd {
		return kindNames[0]
	}
	return kindNames[k]
}

// Flags are what is said about a record beside its fields.
type Flags uint32

// The flags; bpf/record.h has the same bits.
const (
	FlagMemfd Flags = 1 << iota
	FlagUnlinked
	FlagSetID
	FlagArgsCut
	FlagArgsFault
	FlagTmpfs
	FlagUpper   // in the upper layer of an overlay: not from the image
	FlagOverlay // on an overlay
	FlagStdin   // descriptor 0 is a socket
	FlagStdout
	FlagStderr
	FlagCompat  // by a 32-bit system call
	FlagAtStart // found by the snapshot, not seen happening
	FlagPathCut // a path longer than 1,023 bytes: its end is kept
)

var flagNames = [...]string{"memfd", "unlinked", "setid", "args-cut", "args-unreadable", "tmpfs", "upper-layer", "overlay", "stdin-socket", "stdout-socket", "stderr-socket", "compat", "at-start", "path-cut"}

// Names calls f with the name of each flag that is set.
func (f Flags) Names(each func(string)) {
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			each(n)
		}
	}
}

// Namespaces are the inode numbers of a process's namespaces.
type Namespaces struct{ PID, Mount, Net, User uint32 }

// Record is one thing that happened. The header is valid for every kind, of
// the bodies only the one that Kind names.
//
// Byte slices alias the bytes given to Decode and are valid until those change.
type Record struct {
	Time   uint64 // nanoseconds since boot, time asleep included
	Start  uint64 // of the process, on the same clock
	Cgroup uint64 // id of the cgroup that tells containers apart on this node
	PID    uint32 // of the process (thread group) in the host's namespace
	TID    uint32
	UID    uint32 // real ids in the host's user namespace
	GID    uint32
	Kind   Kind
	Op     Op // which act, for kinds that have several
	Flags  Flags
	Comm   []byte

	Fork ForkBody
	Exec ExecBody
	Exit ExitBody
	Cred CredBody
	Priv PrivBody
	Net  NetBody
	DNS  DNSBody
	File FileBody
	Name NameBody
	Made CgroupBody
}

// ForkBody is the child that the record's process made. That process stays the
// original parent whatever the child is re-parented to.
type ForkBody struct {
	Child       uint32
	ChildStart  uint64
	ChildNSPID  uint32 // pid in the child's own namespace
	ChildSpaces Namespaces
}

// ExecBody is a started program.
type ExecBody struct {
	Parent             uint32 // parent now; the original one is the fork's
	ParentStart        uint64
	NSPID              uint32
	Spaces             Namespaces
	EUID, EGID         uint32
	Effective          uint64 // capabilities
	Permitted          uint64
	TTY                uint32 // device number, 0 without a terminal
	Inode              uint64
	Dev, Generation    uint32 // kernel's device number (12:20 bits) and the inode's generation
	Mode, Links        uint32
	ArgsTotal          uint32 // bytes argv had; Args holds at most 2,047
	Exe, Cwd, Filename []byte // resolved path, working directory, name given to execve
	Args               []byte // each argument ends with NUL, but for one that was cut
	Cgroup             []byte // last component of the cgroup's path
	CgroupParent       []byte // the one before
}

// ExitBody is how a process ended.
type ExitBody struct {
	Code   uint8
	Signal uint8 // 0 when it exited by itself
	Dumped bool
}

// CredBody is a change of credentials, with those afterwards.
type CredBody struct {
	Result                 int32 // 0 or a negative errno
	Args                   [3]uint32
	EUID, EGID, SUID, SGID uint32
	Effective, Permitted   uint64
}

// PrivBody is a privileged system call, with the namespaces afterwards.
type PrivBody struct {
	Result  int64
	Args    [5]uint64
	Spaces  Namespaces
	Strings []byte // each ends with NUL: source, target, type of a mount; the name of a memfd; the path of a descriptor has none
}

// NetBody is an act on a socket.
type NetBody struct {
	Result int32 // 0, a descriptor or a negative errno; -EINPROGRESS of a connect is usual
	FD     int32 // -1 when seen in a function, not in a system call
	NetNS  uint32
	Family uint16 // 1 unix, 2 IPv4, 10 IPv6
	Proto  uint16 // 6 TCP, 17 UDP
	Local  netip.AddrPort
	Peer   netip.AddrPort // what the socket is connected to
	Asked  netip.AddrPort // what the program asked for, when it gave an address
	Path   []byte         // of a unix socket; a leading '@' is an abstract name
}

// DNSBody is a message from or to port 53.
type DNSBody struct {
	Local   netip.AddrPort
	Peer    netip.Addr
	Message []byte // at most 511 bytes
}

// FileBody is an opened file.
type FileBody struct {
	Inode           uint64
	Dev, Generation uint32
	OpenFlags       uint32 // O_* of the open file
	Mode            uint16
	Path            []byte // from the root of the process's mount namespace
}

// NameBody is a change of names. Path and To are as the program gave them, made
// absolute: links in them are not followed.
type NameBody struct {
	Arg      uint32 // mode of a chmod, flags of an unlinkat
	Path, To []byte
}

// CgroupBody is a new cgroup.
type CgroupBody struct {
	ID   uint64
	Path []byte
}

// Sizes of the fixed parts, as bpf/record.h lays them out.
const (
	headerSize = 72
	forkSize   = headerSize + 32
	execSize   = headerSize + 104
	exitSize   = headerSize + 8
	credSize   = headerSize + 48
	privSize   = headerSize + 72
	netSize    = headerSize + 72
	dnsSize    = headerSize + 40
	fileSize   = headerSize + 24
	nameSize   = headerSize + 8
	cgroupSize = headerSize + 16
)

var sizes = [kindEnd]int{0, forkSize, execSize, exitSize, credSize, privSize, netSize, dnsSize, fileSize, nameSize, cgroupSize}

// ErrRecord is what Decode's errors wrap.
var ErrRecord = errors.New("unreadable sensor record")

// length returns the length that b's header states, or an error when b cannot
// hold a whole record.
func length(b []byte) (int, error) {
	if len(b) < headerSize {
		return 0, fmt.Errorf("%w: %d bytes", ErrRecord, len(b))
	}
	n := int(le32(b, 24))
	if n < headerSize || n > len(b) {
		return 0, fmt.Errorf("%w: says %d bytes of %d", ErrRecord, n, len(b))
	}
	return n, nil
}

// Decode reads b, one record, into r. Errors wrap ErrRecord; r's content is
// then undefined.
func (r *Record) Decode(b []byte) error {
	n, err := length(b)
	if err != nil {
		return err
	}
	b = b[:n]
	r.header(b)
	if r.Kind == 0 || r.Kind >= kindEnd {
		return fmt.Errorf("%w: kind %d", ErrRecord, r.Kind)
	}
	if len(b) < sizes[r.Kind] {
		return fmt.Errorf("%w: %d bytes for a %s", ErrRecord, len(b), r.Kind)
	}
	if !r.body(b, b[sizes[r.Kind]:]) {
		return fmt.Errorf("%w: strings of a %s do not fit", ErrRecord, r.Kind)
	}
	return nil
}

// decodeAll decodes records that stand one behind the other and returns the
// number of those that could not be.
func decodeAll(b []byte, each func(*Record)) (bad uint64) {
	var r Record
	for len(b) > 0 {
		n, err := length(b)
		if err != nil {
			return bad + 1 // where the next one begins is not known
		}
		if r.Decode(b[:n]) == nil {
			each(&r)
		} else {
			bad++
		}
		b = b[n:]
	}
	return bad
}

func (r *Record) header(b []byte) {
	r.Time, r.Start, r.Cgroup = le64(b, 0), le64(b, 8), le64(b, 16)
	r.PID, r.TID, r.UID, r.GID = le32(b, 28), le32(b, 32), le32(b, 36), le32(b, 40)
	r.Kind, r.Op, r.Flags = Kind(le16(b, 44)), Op(le16(b, 46)), Flags(le32(b, 48))
	r.Comm = upToNUL(b[52:68])
}

// body reads what comes after the header; s are the strings. It reports
// whether they had the lengths stated.
func (r *Record) body(b, s []byte) bool {
	switch r.Kind {
	case KindFork:
		r.Fork = ForkBody{ChildStart: le64(b, 72), Child: le32(b, 80), ChildNSPID: le32(b, 84), ChildSpaces: spaces(b, 88)}
	case KindExec:
		return r.Exec.decode(b, s)
	case KindExit:
		code := le32(b, 72)
		r.Exit = ExitBody{Code: uint8(code >> 8), Signal: uint8(code & 0x7f), Dumped: code&0x80 != 0}
	case KindCred:
		r.Cred.decode(b)
	case KindPriv:
		return r.Priv.decode(b, s)
	case KindNet:
		return r.Net.decode(b, s)
	case KindDNS:
		return r.DNS.decode(b, s)
	case KindFile:
		f := &r.File
		f.Inode, f.Dev, f.Generation, f.OpenFlags, f.Mode = le64(b, 72), le32(b, 80), le32(b, 84), le32(b, 88), le16(b, 92)
		return take(&f.Path, &s, le16(b, 94))
	case KindName:
		r.Name.Arg = le32(b, 72)
		ok := take(&r.Name.Path, &s, le16(b, 76)) && take(&r.Name.To, &s, le16(b, 78))
		r.Name.Path, r.Name.To = upToNUL(r.Name.Path), upToNUL(r.Name.To)
		return ok
	case KindCgroup:
		r.Made.ID = le64(b, 72)
		return take(&r.Made.Path, &s, uint16(le32(b, 80)))
	}
	return true
}

func (e *ExecBody) decode(b, s []byte) bool {
	e.ParentStart, e.Inode, e.Effective, e.Permitted = le64(b, 72), le64(b, 80), le64(b, 88), le64(b, 96)
	e.Parent, e.NSPID, e.Spaces = le32(b, 104), le32(b, 108), spaces(b, 112)
	e.Dev, e.Mode, e.Links, e.Generation = le32(b, 128), le32(b, 132), le32(b, 136), le32(b, 140)
	e.EUID, e.EGID, e.TTY, e.ArgsTotal = le32(b, 144), le32(b, 148), le32(b, 152), le32(b, 156)
	return take(&e.Cgroup, &s, le16(b, 168)) && take(&e.CgroupParent, &s, le16(b, 170)) &&
		take(&e.Exe, &s, le16(b, 160)) && take(&e.Cwd, &s, le16(b, 162)) &&
		take(&e.Filename, &s, le16(b, 164)) && take(&e.Args, &s, le16(b, 166))
}

func (c *CredBody) decode(b []byte) {
	c.Result = int32(le32(b, 72))
	c.Args = [3]uint32{le32(b, 76), le32(b, 80), le32(b, 84)}
	c.EUID, c.EGID, c.SUID, c.SGID = le32(b, 88), le32(b, 92), le32(b, 96), le32(b, 100)
	c.Effective, c.Permitted = le64(b, 104), le64(b, 112)
}

func (p *PrivBody) decode(b, s []byte) bool {
	p.Result = int64(le64(b, 72))
	for i := range p.Args {
		p.Args[i] = le64(b, 80+8*i)
	}
	p.Spaces = spaces(b, 120)
	return take(&p.Strings, &s, le16(b, 136))
}

func (n *NetBody) decode(b, s []byte) bool {
	n.Result, n.FD, n.NetNS = int32(le32(b, 72)), int32(le32(b, 76)), le32(b, 80)
	n.Family, n.Proto = le16(b, 84), le16(b, 86)
	n.Local = end(n.Family, b[96:112], le16(b, 88))
	n.Peer = end(n.Family, b[112:128], le16(b, 90))
	n.Asked = netip.AddrPort{}
	if p := le16(b, 92); p != 0 {
		n.Asked = end(n.Family, b[128:144], p)
	}
	ok := take(&n.Path, &s, le16(b, 94))
	n.Path = upToNUL(n.Path)
	return ok
}

func (d *DNSBody) decode(b, s []byte) bool {
	family := le16(b, 104)
	d.Local = end(family, b[72:88], le16(b, 106))
	d.Peer = end(family, b[88:104], 0).Addr()
	return take(&d.Message, &s, le16(b, 108))
}

const (
	afUnix  = 1
	afINET  = 2
	afINET6 = 10
)

func end(family uint16, b []byte, port uint16) netip.AddrPort {
	switch family {
	case afINET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	case afINET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), port)
	}
	return netip.AddrPort{}
}

func spaces(b []byte, at int) Namespaces {
	return Namespaces{PID: le32(b, at), Mount: le32(b, at+4), Net: le32(b, at+8), User: le32(b, at+12)}
}

// take cuts n bytes off s into to and reports whether there were as many.
func take(to, s *[]byte, n uint16) bool {
	if int(n) > len(*s) {
		return false
	}
	*to, *s = (*s)[:n:n], (*s)[n:]
	return true
}

// upToNUL returns b up to its first NUL.
func upToNUL(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

func le16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
func le64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
