package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/sensor"
	"github.com/clew-sec/clew/internal/sensor/cgroup"
)

const container = "3f7c6f9a53bca5a9f0a4f1e1d8d3c1a9b2e4d6f8091a2b3c4d5e6f708192a3b4"

// testView knows one container and a shell that init started before us.
func testView() *view {
	v := &view{boot: time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC), bootID: "b007", processes: sensor.NewProcesses(), cgroups: cgroup.NewTable()}
	v.cgroups.Add(33, []byte("/kubepods/burstable/pod8dbc04a4-1e5a-4b0e-9c3e-0d6a5a1b2c3d/"+container))
	v.learn(&sensor.Record{Kind: sensor.KindExec, Flags: sensor.FlagAtStart, PID: 10, Start: 100, Comm: []byte("sh"), Exec: sensor.ExecBody{Parent: 1, ParentStart: 1}})
	v.learn(&sensor.Record{Kind: sensor.KindFork, PID: 10, Start: 100, Cgroup: 33, Fork: sensor.ForkBody{Child: 11, ChildStart: 110}})
	return v
}

func record(kind sensor.Kind, op sensor.Op) sensor.Record {
	return sensor.Record{Time: 1_500_000_000, Kind: kind, Op: op, PID: 11, TID: 11, Start: 110, UID: 1000, GID: 5, Cgroup: 33, Comm: []byte("curl")}
}

// lines are records and what is printed of them after the common part.
func lines() map[string]sensor.Record {
	exec := record(sensor.KindExec, 0)
	exec.Flags = sensor.FlagUpper
	exec.Exec = sensor.ExecBody{Exe: []byte("/tmp/a b"), Args: []byte("a\x00\x1b[2J\x00\x00"), Parent: 1}
	fork := record(sensor.KindFork, 0)
	fork.Fork.Child = 12
	killed := record(sensor.KindExit, 0)
	killed.Exit.Signal = 9
	setuid := record(sensor.KindCred, sensor.OpSetUID)
	setuid.Cred = sensor.CredBody{Result: -1, EUID: 3, EGID: 4, Effective: 0xff}
	mount := record(sensor.KindPriv, sensor.OpMount)
	mount.Priv = sensor.PrivBody{Args: [5]uint64{1, 2, 3}, Strings: []byte("none\x00/mnt\x00tmpfs\x00")}
	connect := record(sensor.KindNet, sensor.OpConnect)
	connect.Net = sensor.NetBody{Result: -115, Proto: 6, Local: netip.MustParseAddrPort("10.0.0.1:4000"), Peer: netip.MustParseAddrPort("10.0.0.2:443"), Asked: netip.MustParseAddrPort("10.96.0.1:443")}
	unix := record(sensor.KindNet, sensor.OpConnect)
	unix.Net.Path = []byte("/run/docker.sock")
	dns := record(sensor.KindDNS, sensor.OpDNSAnswer)
	dns.DNS = sensor.DNSBody{Peer: netip.MustParseAddr("10.0.0.53"), Message: []byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04")}
	file := record(sensor.KindFile, sensor.OpOpen)
	file.File = sensor.FileBody{Path: []byte("/etc/shadow"), OpenFlags: 0o1001}
	rename := record(sensor.KindName, sensor.OpRename)
	rename.Name = sensor.NameBody{Path: []byte("/a"), To: []byte("/b\n")}
	made := record(sensor.KindCgroup, 0)
	made.Made = sensor.CgroupBody{ID: 5, Path: []byte("/x")}
	return map[string]sensor.Record{
		`"/tmp/a b": a "\x1b[2J" "" [upper-layer]`: exec,
		"child=12":                                      fork,
		"signal=9":                                      killed,
		"result=-1 euid=3 egid=4 caps=ff":               setuid,
		"result=0 0x1 0x2 0x3 none /mnt tmpfs":          mount,
		"tcp 10.0.0.1:4000 > 10.96.0.1:443 result=-115": connect,
		"unix /run/docker.sock result=0":                unix,
		"a type=1 1.2.3.4 server=10.0.0.53":             dns,
		"/etc/shadow write,truncate":                    file,
		`/a -> "/b\n"`:                                  rename,
		"/x":                                            made,
	}
}

func TestTextIsOneReadableLine(t *testing.T) {
	v := testView()
	for want, r := range lines() {
		got := string(v.appendText(nil, &r))
		kind := r.Kind.String()
		if r.Op != 0 {
			kind += "/" + r.Op.String()
		}
		want = "06:00:01.500000 " + kind + " curl[11]<sh[10] uid=1000 container=3f7c6f9a53bc pod=8dbc04a4-1e5a-4b0e-9c3e-0d6a5a1b2c3d " + want
		if got != want {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
	}
}

func TestTextMarksAParentThatWasNotSeenForking(t *testing.T) {
	v := testView()
	r := sensor.Record{Kind: sensor.KindFork, PID: 10, Start: 100, Comm: []byte("sh")}
	if got := string(v.appendText(nil, &r)); !strings.Contains(got, `sh[10]<?""[1] `) {
		t.Errorf("%q does not say that the parent is only known from a look", got)
	}
}

func TestJSONHoldsTheSame(t *testing.T) {
	v := testView()
	for text, r := range lines() {
		got := v.appendJSON(nil, &r)
		var o map[string]any
		if err := json.Unmarshal(got, &o); err != nil {
			t.Errorf("%s: %v in %s", text, err, got)
			continue
		}
		for k, want := range map[string]any{"kind": r.Kind.String(), "pid": 11.0, "start": 110.0, "boot": "b007", "parent_pid": 10.0, "parent_original": true,
			"container": container, "pod": "8dbc04a4-1e5a-4b0e-9c3e-0d6a5a1b2c3d", "time": "2026-11-28T06:00:01.5Z"} {
			if o[k] != want {
				t.Errorf("%s: %s is %v, want %v", text, k, o[k], want)
			}
		}
	}
	exec := record(sensor.KindExec, 0)
	exec.Exec.Args = []byte("a\x00\xff\"\x01\u009bé\x00")
	var o struct{ Args []string }
	line := v.appendJSON(nil, &exec)
	if bytes.ContainsRune(line, 0x9b) {
		t.Errorf("%q moves the cursor of a terminal", line)
	}
	if err := json.Unmarshal(line, &o); err != nil || fmt.Sprintf("%q", o.Args) != `["a" "�\"\x01\u009bé"]` {
		t.Errorf("arguments %q, %v", o.Args, err)
	}
}

func TestPrintingDoesNotAllocateByRecord(t *testing.T) {
	v := testView()
	r := lines()["/etc/shadow write,truncate"]
	line := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { line = v.appendJSON(line[:0], &r) }); n != 0 {
		t.Errorf("JSON: %v allocations", n)
	}
}

func TestReportSaysWhatIsBlind(t *testing.T) {
	hooks := []sensor.Hook{
		{Name: "exec", Sees: "programs started", Tier: sensor.TierTracepoint},
		{Name: "open", Sees: "files opened", Tier: sensor.TierSyscall, Refused: []sensor.Attempt{{Tier: sensor.TierFunction, Reason: "operation not permitted"}}},
		{Name: "dns", Sees: "DNS questions", Tier: sensor.TierNone, Refused: []sensor.Attempt{{Tier: sensor.TierCgroup, Reason: "no v2 hierarchy"}}},
	}
	r := newReport(hooks, report{Kernel: "6.1", BTF: true, Facts: []fact{{"pid namespace", "not the host's", false}}})
	var b bytes.Buffer
	if err := r.write(&b, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kernel", "6.1", "exec  tracepoint", "open, not by function: operation not permitted", "dns, not by cgroup: no v2 hierarchy",
		"blind: DNS questions", "blind: files opened through io_uring", "blind: not the host's"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "blind: programs started") {
		t.Error("the report calls exec blind")
	}
	b.Reset()
	var back report
	if err := errors.Join(r.write(&b, true), json.Unmarshal(b.Bytes(), &back)); err != nil || len(back.Blind) != 3 {
		t.Errorf("as JSON: %v, %+v", err, back)
	}
}

func run(args ...string) (string, error) {
	cmd := NewCommand("v1")
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(context.Background())
	return b.String(), err
}

func TestFlagsAreStrict(t *testing.T) {
	for _, args := range [][]string{{"tail", "--kind", "execs"}, {"tail", "--jsn"}, {"check", "now"}, {"tail", "x"}, {"chekc"}} {
		if _, err := run(args...); err == nil {
			t.Errorf("clew-agent %s: no error", strings.Join(args, " "))
		}
	}
	if out, err := run("--version"); err != nil || out != "clew-agent v1\n" {
		t.Errorf("--version: %q %v", out, err)
	}
}

func TestWithoutRootItSaysSo(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("runs as root")
	}
	for _, c := range []string{"check", "tail"} {
		if _, err := run(c); !errors.Is(err, sensor.ErrPrivilege) && !errors.Is(err, sensor.ErrPlatform) {
			t.Errorf("clew-agent %s: %v", c, err)
		}
	}
}

// TestTailShowsAProgramAndEndsWhenAsked runs the whole agent on this kernel.
func TestTailShowsAProgramAndEndsWhenAsked(t *testing.T) {
	if s, err := sensor.Open(sensor.Options{}); err != nil {
		t.Skipf("the sensor does not run here: %v", err)
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	seen := &watcher{want: []byte(`clew-agent-test-argument`), found: stop}
	cmd := NewCommand("v1")
	cmd.SetOut(seen)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetArgs([]string{"tail", "--json", "--kind", "exec"})
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	for ctx.Err() == nil { // until the sensor is attached there is nothing to see
		if err := exec.Command("/bin/true", "clew-agent-test-argument").Run(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := <-ended; err != nil {
		t.Errorf("tail: %v", err)
	}
	if !seen.done {
		t.Error("the program was not shown")
	}
}

// watcher calls found when what it wants is written.
type watcher struct {
	want  []byte
	found func()
	done  bool
}

func (w *watcher) Write(b []byte) (int, error) {
	if bytes.Contains(b, w.want) {
		w.done = true
		w.found()
	}
	return len(b), nil
}
