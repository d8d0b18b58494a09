package sensor

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open starts a sensor that watches dir, or skips the test with the reason.
func open(t *testing.T, dir string, tiers []Tier, ring int) *Sensor {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root")
	}
	// PROC_PID_INIT_INO of the kernel's proc_ns.h: elsewhere pids are not those of records.
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != "pid:[4026531836]" {
		t.Skipf("the tests need the host's pid namespace: %s %v", ns, err)
	}
	paths := DefaultPaths()
	if dir != "" {
		paths.Prefixes[dir+"/"] = watchFile
	}
	s, err := Open(Options{Paths: paths, Tiers: tiers, RingBytes: ring})
	if err != nil {
		t.Skipf("this kernel does not take the sensor: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// collector keeps the records of one process and its descendants.
type collector struct {
	mu      sync.Mutex
	ended   bool // the root's end was seen: all it did stands before that
	root    uint32
	tree    map[uint32]bool
	pending []Record // before the root is known
	records []Record
}

func (c *collector) add(r *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.root == 0 {
		if r.Kind != KindFile { // others' floods
			c.pending = append(c.pending, clone(r))
		}
		return
	}
	c.take(clone(r))
}

func (c *collector) take(r Record) {
	if r.Kind == KindFork && c.tree[r.PID] {
		c.tree[r.Fork.Child] = true
	}
	if c.tree[r.PID] {
		c.records = append(c.records, r)
	}
	c.ended = c.ended || r.Kind == KindExit && r.PID == c.root
}

func (c *collector) follow(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.root, c.tree = uint32(pid), map[uint32]bool{uint32(pid): true}
	for _, r := range c.pending {
		c.take(r)
	}
}

// awaitEnd waits until the root's end was read, for at most 20 s.
func (c *collector) awaitEnd() {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(poll) {
		c.mu.Lock()
		ended := c.ended
		c.mu.Unlock()
		if ended {
			return
		}
	}
}

// clone copies what a record's slices point to.
func clone(r *Record) Record {
	c := *r
	for _, b := range []*[]byte{&c.Comm, &c.Exec.Exe, &c.Exec.Cwd, &c.Exec.Filename, &c.Exec.Args, &c.Exec.Cgroup, &c.Exec.CgroupParent,
		&c.Priv.Strings, &c.Net.Path, &c.DNS.Message, &c.File.Path, &c.Name.Path, &c.Name.To, &c.Made.Path} {
		*b = bytes.Clone(*b)
	}
	return c
}

// observe runs the trigger under the sensor and returns its records.
func observe(t *testing.T, s *Sensor, what, arg string) ([]Record, uint32) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var c collector
	var run sync.WaitGroup
	run.Go(func() {
		if err := s.Run(ctx, c.add); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command(os.Args[0], arg)
	cmd.Env = append(os.Environ(), triggerEnv+"="+what)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.follow(cmd.Process.Pid)
	err := cmd.Wait()
	c.awaitEnd()
	stop()
	run.Wait()
	if err != nil {
		t.Fatalf("trigger: %v: %s", err, stderr.String())
	}
	return c.records, uint32(cmd.Process.Pid)
}

func TestSensorSeesEachAct(t *testing.T) {
	for name, tiers := range map[string][]Tier{
		"best tiers":      nil,
		"tracepoints":     {TierTracepoint, TierSyscall, TierCgroup, TierIterator},
		"raw tracepoints": {TierRaw, TierSyscall, TierCgroup, TierProc},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, tiers, 0)
			for _, h := range s.Hooks() {
				t.Logf("%s: %s %v", h.Name, h.Tier, h.Refused)
				if h.Name == "syscall" && h.Tier == TierNone && tiers != nil {
					t.Skipf("this kernel does not take the tier: %v", h.Refused)
				}
			}
			records, root := observe(t, s, "acts", dir)
			for what, is := range expected(dir, root, s) {
				if !slices.ContainsFunc(records, is) {
					t.Errorf("not seen: %s", what)
				}
			}
			if t.Failed() {
				for _, r := range records {
					t.Logf("%s/%s %d %s %v", r.Kind, r.Op, r.PID, r.Comm, fields(&r))
				}
			}
		})
	}
}

// bodies is the number of fields of a Record before its first body, less one.
const bodies = 10

// fields returns the body that r's kind names.
func fields(r *Record) any {
	return reflect.ValueOf(*r).FieldByIndex([]int{bodies + int(r.Kind)}).Interface()
}

func expected(dir string, root uint32, s *Sensor) map[string]func(Record) bool {
	args := func(a ...string) []byte { return []byte(strings.Join(a, "\x00") + "\x00") }
	want := map[string]func(Record) bool{
		"exec with its arguments": func(r Record) bool {
			return r.Kind == KindExec && bytes.Equal(r.Exec.Args, args("/bin/sh", "-c", "exit 7", "arg one", "--flag=x")) && string(r.Exec.Filename) == "/bin/sh" &&
				bytes.HasPrefix(r.Exec.Exe, []byte("/")) && r.Exec.Parent == root && r.Exec.ParentStart != 0 && r.Start > r.Exec.ParentStart && r.Exec.Inode != 0 &&
				r.Exec.Spaces.Net != 0 && r.Exec.Spaces.Mount != 0 && r.Exec.NSPID == r.PID && r.UID == 0 && r.Exec.Effective != 0 && r.Cgroup != 0
		},
		"its end":          func(r Record) bool { return r.Kind == KindExit && r.Exit.Code == 7 && string(r.Comm) == "sh" },
		"a process killed": func(r Record) bool { return r.Kind == KindExit && r.Exit.Signal == 9 && string(r.Comm) == "sleep" },
		"fork":             func(r Record) bool { return r.Kind == KindFork && r.PID == root && r.Fork.ChildStart > r.Start },
		"exec of a memfd": func(r Record) bool {
			return r.Kind == KindExec && r.Flags&FlagMemfd != 0 && bytes.Equal(r.Exec.Args, args("kworker/0:1")) && bytes.HasPrefix(r.Exec.Exe, []byte("/memfd:evil"))
		},
		"exec as another user": func(r Record) bool {
			return r.Kind == KindExec && r.UID == 65534 && r.Exec.EUID == 65534 && r.Exec.Effective == 0 && bytes.Equal(r.Exec.Args, args("/bin/true", "as-nobody"))
		},
		"setuid": func(r Record) bool {
			return r.Kind == KindCred && r.Op == OpSetUID && r.UID == 65534 && r.Cred.SUID == 65534 && r.Cred.Args[0] == 65534 && r.Cred.Result == 0
		},
		"setgid": func(r Record) bool {
			return r.Kind == KindCred && r.Op == OpSetGID && r.GID == 65534 && r.Cred.Result == 0
		},
		"capset": func(r Record) bool {
			return r.Kind == KindCred && r.Op == OpCapset && r.Cred.Result == 0 && r.Cred.Effective != 0
		},
		"listen": func(r Record) bool {
			return r.Kind == KindNet && r.Op == OpListen && r.Net.Local.Port() != 0 && r.Net.NetNS != 0
		},
		"connect": func(r Record) bool {
			return r.Kind == KindNet && r.Op == OpConnect && r.Net.Proto == 6 && r.Net.Asked.Addr().String() == "127.0.0.1" && r.Net.Peer == r.Net.Asked && r.Net.FD >= 0
		},
		"accept": func(r Record) bool {
			return r.Kind == KindNet && r.Op == OpAccept && r.Net.Peer.Addr().String() == "127.0.0.1" && r.Net.Peer.Port() != 0
		},
		"refused connect, IPv6": func(r Record) bool {
			return r.Kind == KindNet && r.Op == OpConnect && r.Net.Asked.String() == "[::1]:9"
		},
		"datagram peer": func(r Record) bool {
			return r.Kind == KindNet && r.Op == OpSendto && r.Net.Asked.String() == "127.0.0.1:9999" && r.Net.Proto == 17
		},
		"raw socket": func(r Record) bool { return r.Kind == KindPriv && r.Op == OpRawSocket && r.Priv.Args[1]&15 == 3 },
		"unix socket": func(r Record) bool {
			return r.Kind == KindNet && r.Op == OpConnect && string(r.Net.Path) == "/run/clew-nobody-listens.sock"
		},
		"read by a relative path": func(r Record) bool {
			return r.Kind == KindFile && string(r.File.Path) == "/etc/shadow" && r.File.OpenFlags&3 == 0 && r.File.Inode != 0
		},
		"write": func(r Record) bool {
			return r.Kind == KindFile && string(r.File.Path) == dir+"/watched" && r.File.OpenFlags&3 == 1
		},
		"read by name anywhere": func(r Record) bool {
			return r.Kind == KindFile && string(r.File.Path) == dir+"/authorized_keys" && r.File.OpenFlags&3 == 0
		},
		"made executable": func(r Record) bool {
			return r.Kind == KindName && r.Op.String() == "chmod" && string(r.Name.Path) == dir+"/watched" && r.Name.Arg&0o111 != 0
		},
		"truncate": func(r Record) bool {
			return r.Kind == KindName && r.Op.String() == "truncate" && string(r.Name.Path) == dir+"/watched"
		},
		"rename, both relative": func(r Record) bool {
			return r.Kind == KindName && r.Op.String() == "rename" && string(r.Name.Path) == dir+"/watched" && string(r.Name.To) == dir+"/moved"
		},
		"unlink": func(r Record) bool {
			return r.Kind == KindName && r.Op.String() == "unlink" && string(r.Name.Path) == dir+"/moved"
		},
		"memfd_create": func(r Record) bool {
			return r.Kind == KindPriv && r.Op == OpMemfd && string(r.Priv.Strings) == "evil\x00"
		},
		"unshare": func(r Record) bool {
			return r.Kind == KindPriv && r.Op == OpUnshare && r.Priv.Result == 0 && r.Priv.Args[0]&0x4000000 != 0
		},
		"setns": func(r Record) bool { return r.Kind == KindPriv && r.Op == OpSetNS && r.Priv.Result == 0 },
		"mount": func(r Record) bool {
			return r.Kind == KindPriv && r.Op == OpMount && string(r.Priv.Strings) == "clew\x00"+dir+"\x00tmpfs\x00"
		},
		"umount": func(r Record) bool {
			return r.Kind == KindPriv && r.Op == OpUmount && string(r.Priv.Strings) == dir+"\x00"
		},
		"ptrace":               func(r Record) bool { return r.Kind == KindPriv && r.Op == OpPtrace && r.Priv.Args[0] == 0x4206 },
		"module load, refused": func(r Record) bool { return r.Kind == KindPriv && r.Op == OpFinitModule && r.Priv.Result < 0 },
		"bpf":                  func(r Record) bool { return r.Kind == KindPriv && r.Op == OpBPF && r.Priv.Args[0] == 5 },
		"io_uring":             func(r Record) bool { return r.Kind == KindPriv && r.Op == OpIOUring },
		"keyctl":               func(r Record) bool { return r.Kind == KindPriv && r.Op == OpKeyctl },
	}
	if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0); err != nil {
		delete(want, "refused connect, IPv6") // a kernel without IPv6
	} else {
		unix.Close(fd)
	}
	for _, h := range s.Hooks() {
		if h.Name == "dns" && h.Tier != TierNone {
			want["DNS by write to a connected socket"] = func(r Record) bool {
				name, kind, ok := AppendQuestion(nil, r.DNS.Message)
				return r.Kind == KindDNS && r.Op == OpDNSQuery && r.PID == root && ok && string(name) == "evil.example.org" && kind == 1
			}
		}
	}
	return want
}

func TestSnapshotFindsThisProcessTree(t *testing.T) {
	sleeper := exec.Command("/bin/sleep", "30")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	starts := map[Tier]uint64{}
	for _, tier := range []Tier{TierIterator, TierProc} {
		s := open(t, "", []Tier{TierTracepoint, TierRaw, tier}, 64<<10)
		if err := s.Snapshot(func(r *Record) {
			if r.Kind == KindExec && int(r.PID) == sleeper.Process.Pid {
				starts[tier] = r.Start
				if r.Exec.Parent != uint32(os.Getpid()) || r.Flags&FlagAtStart == 0 || !bytes.HasPrefix(r.Exec.Exe, []byte("/")) {
					t.Errorf("%s: parent %d, flags %x, exe %q", tier, r.Exec.Parent, r.Flags, r.Exec.Exe)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := starts[TierIterator], starts[TierProc]; b == 0 || a != 0 && a/1e7 != b/1e7 {
		t.Errorf("start by iterator %d, by /proc %d: not the same to 10 ms", a, b)
	}
}

// TestFloodLeavesTheAttack opens watched files at full speed against a small
// ring that is read slowly, and expects all of an attack's records meanwhile.
func TestFloodLeavesTheAttack(t *testing.T) {
	const ring = 256 << 10
	s := open(t, "", nil, ring)
	flooder := exec.Command(os.Args[0])
	flooder.Env = append(os.Environ(), triggerEnv+"=flood")
	var opens bytes.Buffer
	flooder.Stdout = &opens
	end, err := flooder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := flooder.Start(); err != nil {
		t.Fatal(err)
	}
	// Nobody reads: soon the files' half of the ring is full.
	waitForLoss(t, s, KindFile)
	records, root := observe(t, s, "attack", "")
	end.Close()
	if err := flooder.Wait(); err != nil {
		t.Fatal(err)
	}
	for what, is := range map[string]func(Record) bool{
		"exec":   func(r Record) bool { return r.Kind == KindExec && r.UID == 65534 },
		"setuid": func(r Record) bool { return r.Kind == KindCred && r.Op == OpSetUID && r.UID == 65534 },
		"connect": func(r Record) bool {
			return r.Kind == KindNet && r.PID == root && r.Net.Asked.Port() == 9
		},
		"exit": func(r Record) bool { return r.Kind == KindExit && r.UID == 65534 },
	} {
		if !slices.ContainsFunc(records, is) {
			t.Errorf("the flood hid the attack's %s", what)
		}
	}
	l, err := s.Losses()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Kind{KindExec, KindCred, KindNet} {
		if l.Kinds[k].Lost != 0 {
			t.Errorf("%d %s records lost", l.Kinds[k].Lost, k)
		}
	}
	checkBalance(t, l, strings.TrimSpace(opens.String()))
}

// waitForLoss waits until records of a kind were lost.
func waitForLoss(t *testing.T, s *Sensor, k Kind) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(poll) {
		l, err := s.Losses()
		if err != nil {
			t.Fatal(err)
		}
		if l.Kinds[k].Lost > 0 {
			return
		}
	}
	t.Fatalf("no %s record was lost in 20 s", k)
}

// checkBalance: each open was sent or counted as lost, also by cgroup.
func checkBalance(t *testing.T, l *Losses, opens string) {
	t.Helper()
	done, err := strconv.ParseUint(opens, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	files := l.Kinds[KindFile]
	t.Logf("%d opens: %d sent, %d lost", done, files.Sent, files.Lost)
	if files.Sent+files.Lost < done {
		t.Errorf("%d opens, %d sent and %d lost", done, files.Sent, files.Lost)
	}
	var byCgroup uint64
	for _, c := range l.Cgroups {
		byCgroup += c[KindFile]
	}
	if byCgroup != files.Lost {
		t.Errorf("cgroups lost %d file records together, the counter says %d", byCgroup, files.Lost)
	}
}
