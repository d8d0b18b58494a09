package sensor

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

// bytesOf builds a record as the kernel side does.
type bytesOf []byte

func newBytes(kind Kind, op Op, flags Flags, size int) bytesOf {
	b := make(bytesOf, size)
	le := binary.LittleEndian
	le.PutUint64(b[0:], 1111)
	le.PutUint64(b[8:], 2222)
	le.PutUint64(b[16:], 3333)
	for i, v := range []uint32{4, 5, 6, 7} {
		le.PutUint32(b[28+4*i:], v)
	}
	le.PutUint16(b[44:], uint16(kind))
	le.PutUint16(b[46:], uint16(op))
	le.PutUint32(b[48:], uint32(flags))
	copy(b[52:], "comm\x00junk")
	le.PutUint32(b[24:], uint32(size))
	return b
}

func (b bytesOf) u16(at int, v uint16) bytesOf  { binary.LittleEndian.PutUint16(b[at:], v); return b }
func (b bytesOf) u32(at int, v uint32) bytesOf  { binary.LittleEndian.PutUint32(b[at:], v); return b }
func (b bytesOf) u64(at int, v uint64) bytesOf  { binary.LittleEndian.PutUint64(b[at:], v); return b }
func (b bytesOf) raw(at int, v ...byte) bytesOf { copy(b[at:], v); return b }

// with appends strings and mends the length.
func (b bytesOf) with(s string) bytesOf {
	b = append(b, s...)
	return b.u32(24, uint32(len(b)))
}

func header(kind Kind, op Op, flags Flags) Record {
	return Record{Time: 1111, Start: 2222, Cgroup: 3333, PID: 4, TID: 5, UID: 6, GID: 7, Kind: kind, Op: op, Flags: flags, Comm: []byte("comm")}
}

func samples() map[string]struct {
	in   bytesOf
	want Record
} {
	exec := header(KindExec, OpNone, FlagUpper|FlagStdin)
	exec.Exec = ExecBody{Parent: 10, ParentStart: 9, NSPID: 11, Spaces: Namespaces{12, 13, 14, 15}, EUID: 16, EGID: 17, Effective: 18, Permitted: 19, TTY: 20,
		Inode: 21, Dev: 22, Generation: 23, Mode: 24, Links: 25, ArgsTotal: 26, Exe: []byte("/bin/sh"), Cwd: []byte("/tmp"), Filename: []byte("sh"), Args: []byte("sh\x00-c\x00"),
		Cgroup: []byte("cri-containerd-x.scope"), CgroupParent: []byte("pod.slice")}
	fork := header(KindFork, OpNone, 0)
	fork.Fork = ForkBody{Child: 8, ChildStart: 9, ChildNSPID: 10, ChildSpaces: Namespaces{11, 12, 13, 14}}
	exit := header(KindExit, OpNone, 0)
	exit.Exit = ExitBody{Code: 3, Signal: 9, Dumped: true}
	cred := header(KindCred, OpSetRESUID, 0)
	cred.Cred = CredBody{Result: -1, Args: [3]uint32{8, 9, 10}, EUID: 11, EGID: 12, SUID: 13, SGID: 14, Effective: 15, Permitted: 16}
	priv := header(KindPriv, OpMount, FlagCompat)
	priv.Priv = PrivBody{Result: -2, Args: [5]uint64{8, 9, 10, 11, 12}, Spaces: Namespaces{13, 14, 15, 16}, Strings: []byte("a\x00/b\x00tmpfs\x00")}
	net4 := header(KindNet, OpConnect, 0)
	net4.Net = NetBody{Result: -115, FD: 3, NetNS: 9, Family: 2, Proto: 6, Local: netip.MustParseAddrPort("10.0.0.1:4000"), Peer: netip.MustParseAddrPort("10.0.0.2:443"), Asked: netip.MustParseAddrPort("10.96.0.1:443"), Path: []byte{}}
	net6 := header(KindNet, OpListen, 0)
	net6.Net = NetBody{FD: 3, NetNS: 9, Family: 10, Proto: 6, Local: netip.MustParseAddrPort("[::1]:80"), Peer: netip.MustParseAddrPort("[::]:0"), Path: []byte{}}
	unix := header(KindNet, OpConnect, 0)
	unix.Net = NetBody{FD: 3, Family: 1, Path: []byte("/run/docker.sock")}
	dns := header(KindDNS, OpDNSQuery, 0)
	dns.DNS = DNSBody{Local: netip.MustParseAddrPort("10.0.0.1:4000"), Peer: netip.MustParseAddr("10.0.0.53"), Message: []byte("message")}
	file := header(KindFile, OpOpen, FlagOverlay)
	file.File = FileBody{Inode: 8, Dev: 9, Generation: 10, OpenFlags: 0o1001, Mode: 0o100644, Path: []byte("/etc/shadow")}
	name := header(KindName, OpRename, 0)
	name.Name = NameBody{Arg: 8, Path: []byte("/a"), To: []byte("/b")}
	cgroup := header(KindCgroup, OpNone, 0)
	cgroup.Made = CgroupBody{ID: 8, Path: []byte("/kubepods")}
	return map[string]struct {
		in   bytesOf
		want Record
	}{
		"fork": {newBytes(KindFork, OpNone, 0, forkSize).u64(72, 9).u32(80, 8).u32(84, 10).u32(88, 11).u32(92, 12).u32(96, 13).u32(100, 14), fork},
		"exec": {newBytes(KindExec, OpNone, FlagUpper|FlagStdin, execSize).u64(72, 9).u64(80, 21).u64(88, 18).u64(96, 19).u32(104, 10).u32(108, 11).
			u32(112, 12).u32(116, 13).u32(120, 14).u32(124, 15).u32(128, 22).u32(132, 24).u32(136, 25).u32(140, 23).u32(144, 16).u32(148, 17).u32(152, 20).u32(156, 26).
			u16(160, 7).u16(162, 4).u16(164, 2).u16(166, 6).u16(168, 22).u16(170, 9).with("cri-containerd-x.scopepod.slice/bin/sh/tmpshsh\x00-c\x00"), exec},
		"exit":   {newBytes(KindExit, OpNone, 0, exitSize).u32(72, 3<<8|0x80|9), exit},
		"cred":   {newBytes(KindCred, OpSetRESUID, 0, credSize).u32(72, 0xffffffff).u32(76, 8).u32(80, 9).u32(84, 10).u32(88, 11).u32(92, 12).u32(96, 13).u32(100, 14).u64(104, 15).u64(112, 16), cred},
		"priv":   {newBytes(KindPriv, OpMount, FlagCompat, privSize).u64(72, ^uint64(1)).u64(80, 8).u64(88, 9).u64(96, 10).u64(104, 11).u64(112, 12).u32(120, 13).u32(124, 14).u32(128, 15).u32(132, 16).u16(136, 11).with("a\x00/b\x00tmpfs\x00"), priv},
		"net v4": {newBytes(KindNet, OpConnect, 0, netSize).u32(72, ^uint32(114)).u32(76, 3).u32(80, 9).u16(84, 2).u16(86, 6).u16(88, 4000).u16(90, 443).u16(92, 443).raw(96, 10, 0, 0, 1).raw(112, 10, 0, 0, 2).raw(128, 10, 96, 0, 1), net4},
		"net v6": {newBytes(KindNet, OpListen, 0, netSize).u32(76, 3).u32(80, 9).u16(84, 10).u16(86, 6).u16(88, 80).raw(111, 1), net6},
		"unix":   {newBytes(KindNet, OpConnect, 0, netSize).u32(76, 3).u16(84, 1).u16(94, 18).with("/run/docker.sock\x00\x00"), unix},
		"dns":    {newBytes(KindDNS, OpDNSQuery, 0, dnsSize).raw(72, 10, 0, 0, 1).raw(88, 10, 0, 0, 53).u16(104, 2).u16(106, 4000).u16(108, 7).with("message"), dns},
		"file":   {newBytes(KindFile, OpOpen, FlagOverlay, fileSize).u64(72, 8).u32(80, 9).u32(84, 10).u32(88, 0o1001).u16(92, 0o100644).u16(94, 11).with("/etc/shadow"), file},
		"name":   {newBytes(KindName, OpRename, 0, nameSize).u32(72, 8).u16(76, 3).u16(78, 3).with("/a\x00/b\x00"), name},
		"cgroup": {newBytes(KindCgroup, OpNone, 0, cgroupSize).u64(72, 8).u32(80, 9).with("/kubepods"), cgroup},
	}
}

func TestDecode(t *testing.T) {
	for name, c := range samples() {
		var got Record
		if err := got.Decode(c.in); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestDecodeRefusesWhatDoesNotFit(t *testing.T) {
	for name, c := range samples() {
		for cut := range len(c.in) {
			var r Record
			if err := r.Decode(c.in[:cut]); !errors.Is(err, ErrRecord) {
				t.Fatalf("%s cut to %d bytes: %v", name, cut, err)
			}
			short := slices.Clone(c.in[:cut])
			if cut >= headerSize { // a length that is right for the rest, strings that are not
				short = short.u32(24, uint32(cut))
				if err := r.Decode(short); !errors.Is(err, ErrRecord) {
					t.Fatalf("%s that says it has %d bytes: %v", name, cut, err)
				}
			}
		}
	}
	var r Record
	for _, kind := range []Kind{0, kindEnd, 60000} {
		if err := r.Decode(newBytes(kind, 0, 0, 500)); !errors.Is(err, ErrRecord) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	var r Record
	for name, c := range samples() {
		if n := testing.AllocsPerRun(100, func() {
			if r.Decode(c.in) != nil {
				t.Fatal(name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestDecodeAllGoesOnAfterABadRecord(t *testing.T) {
	all := samples()
	stream := slices.Concat(all["exec"].in, newBytes(kindEnd, 0, 0, 80), all["file"].in)
	var kinds []Kind
	if bad := decodeAll(stream, func(r *Record) { kinds = append(kinds, r.Kind) }); bad != 1 || !slices.Equal(kinds, []Kind{KindExec, KindFile}) {
		t.Errorf("%d bad, kinds %v", bad, kinds)
	}
	if bad := decodeAll(stream[:len(stream)-1], func(*Record) {}); bad != 2 {
		t.Errorf("%d bad in a stream that was cut, want 2", bad)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		err := r.Decode(b)
		if err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("error %v does not wrap ErrRecord", err)
		}
		if err == nil && (r.Kind == 0 || r.Kind >= kindEnd) {
			t.Errorf("decoded a record of kind %d", r.Kind)
		}
		decodeAll(b, func(r *Record) { r.Flags.Names(func(string) {}) })
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"exec", "fork", "net v4", "file"} {
		in := samples()[name].in
		b.Run(name, func(b *testing.B) {
			var r Record
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Decode(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestEveryActHasANameAndOneKindOfNumbers(t *testing.T) {
	for op := OpNone + 1; op < opEnd; op++ {
		if op.String() == "" {
			t.Errorf("act %d has no name", op)
		}
	}
	for _, calls := range []map[Op][]int{calls64, calls32} {
		seen := map[int]Op{}
		for op, numbers := range calls {
			for _, n := range numbers {
				if other, twice := seen[n]; twice {
					t.Errorf("system call %d is both %s and %s", n, op, other)
				}
				seen[n] = op
			}
		}
	}
}

func TestDNSMessages(t *testing.T) {
	question := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04EVIL\x07ex\x1bmple\x03org\x00\x00\x1c\x00\x01"
	name, kind, ok := AppendQuestion([]byte("x:"), []byte(question))
	if string(name) != "x:evil.ex?mple.org" || kind != 28 || !ok {
		t.Errorf("AppendQuestion: %q %d %v", name, kind, ok)
	}
	answer := "\x12\x34\x81\x80\x00\x01\x00\x03\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01" +
		"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x03\x01b\x00" +
		"\xc0\x13\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04" +
		"\xc0\x13\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	var got []string
	if code := Answers([]byte(answer), func(a netip.Addr) { got = append(got, a.String()) }); code != 0 || !slices.Equal(got, []string{"1.2.3.4", "2001:db8::1"}) {
		t.Errorf("Answers: code %d, %v", code, got)
	}
	for cut := range len(answer) {
		Answers([]byte(answer[:cut]), func(netip.Addr) {})
		AppendQuestion(nil, []byte(answer[:cut]))
	}
	if code := Answers([]byte(question), func(netip.Addr) { t.Error("an address in a question") }); code != -1 {
		t.Errorf("code %d of a question, want -1", code)
	}
}

func FuzzDNSMessage(f *testing.F) {
	f.Add([]byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, _, ok := AppendQuestion(nil, b)
		if !ok && len(name) != 0 {
			t.Errorf("left %q of an unreadable question", name)
		}
		for _, c := range name {
			if c != '.' && c != '?' && nameByte(c) != c {
				t.Errorf("name %q has byte %#x", name, c)
			}
		}
		Answers(b, func(netip.Addr) {})
	})
}

func TestProcessesKeepTheOriginalParent(t *testing.T) {
	p := NewProcesses()
	parent := ProcessID{PID: 10, Start: 100}
	p.Update(&Record{Kind: KindExec, Flags: FlagAtStart, PID: 10, Start: 100, Exec: ExecBody{Parent: 1, ParentStart: 1, Exe: []byte("/bin/sh")}})
	if got := p.Of(parent); got == nil || got.Original || got.Parent.PID != 1 {
		t.Fatalf("a process from the snapshot: %+v", got)
	}
	p.Update(&Record{Kind: KindFork, PID: 10, Start: 100, Fork: ForkBody{Child: 11, ChildStart: 110}})
	// The daemon's parent ended; init is its parent when it executes.
	p.Update(&Record{Kind: KindExec, PID: 11, Start: 110, Exec: ExecBody{Parent: 1, ParentStart: 1, Exe: []byte("/usr/sbin/d")}})
	got := p.Of(ProcessID{11, 110})
	if got == nil || got.Parent != parent || !got.Original || got.Exe != "/usr/sbin/d" {
		t.Errorf("a daemon: %+v", got)
	}
	p.Update(&Record{Kind: KindExec, Flags: FlagAtStart, PID: 11, Start: 110, Exec: ExecBody{Parent: 1, Exe: []byte("/old")}})
	if got := p.Of(ProcessID{11, 110}); got.Exe != "/usr/sbin/d" {
		t.Errorf("the snapshot overwrote what was seen: %+v", got)
	}
	if p.Of(ProcessID{11, 111}) != nil {
		t.Error("another process with the same pid was taken for it")
	}
	p.Update(&Record{Kind: KindExit, PID: 11, Start: 110})
	if p.Of(ProcessID{11, 110}) != nil || p.Len() != 1 {
		t.Errorf("after its end %d processes are kept, want 1", p.Len())
	}
}

func TestRoomsKeepTheOrderOfWorth(t *testing.T) {
	r := roomsOf(8 << 20)
	if r[KindExec] != 8<<20 || r[KindFile] != 4<<20 || r[KindNet] >= r[KindFork] || r[KindFork] >= r[KindExec] {
		t.Errorf("rooms %v", r)
	}
	for k := KindFork; k < kindEnd; k++ {
		if r[k] == 0 {
			t.Errorf("%s has no room at all", k)
		}
	}
}
