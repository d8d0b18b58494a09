package sensor

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// triggerEnv makes the test binary do one of each act instead of running tests.
const triggerEnv = "CLEW_SENSOR_TRIGGER"

func TestMain(m *testing.M) {
	switch os.Getenv(triggerEnv) {
	case "":
		os.Exit(m.Run())
	case "acts":
		acts(os.Args[1])
	case "attack":
		attack(os.Args[1])
	case "flood":
		flood()
	}
}

// must ends the trigger with what failed: the test then fails by that and not
// by an event that is missing.
func must(what string, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, what+":", err)
		os.Exit(3)
	}
}

// dnsQuestion asks for evil.example.org.
var dnsQuestion = []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x07example\x03org\x00\x00\x01\x00\x01")

// acts does one of each act that the test expects. Acts that this machine may
// refuse are done all the same: a refused one is told, too.
func acts(dir string) {
	runtime.LockOSThread()
	exec.Command("/bin/sh", "-c", "exit 7", "arg one", "--flag=x").Run() // ends with 7
	sockets()
	files(dir)
	privileged(dir)
}

func sockets() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must("listen", err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			time.Sleep(5 * time.Millisecond)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp4", l.Addr().String())
	must("connect", err)
	<-done
	c.Close()
	l.Close()
	if c, err := net.Dial("tcp6", "[::1]:9"); err == nil {
		c.Close()
	}
	u, err := net.Dial("udp4", "127.0.0.1:53") // Go writes to a connected socket
	must("udp", err)
	u.Write(dnsQuestion)
	u.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must("socket", err)
	unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9999, Addr: [4]byte{127, 0, 0, 1}})
	unix.Close(fd)
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); err == nil {
		unix.Close(fd)
	}
	net.Dial("unix", "/run/clew-nobody-listens.sock")
}

func files(dir string) {
	cwd, _ := os.Getwd()
	must("chdir", os.Chdir("/etc/ssl"))
	f, err := os.Open("../shadow")
	must("open /etc/shadow", err)
	f.Close()
	must("chdir", os.Chdir(cwd))
	watched := filepath.Join(dir, "watched")
	must("write", os.WriteFile(watched, []byte("x"), 0o644))
	must("chmod", os.Chmod(watched, 0o755))
	must("truncate", os.Truncate(watched, 0))
	must("chdir", os.Chdir(dir))
	must("rename", os.Rename("watched", "moved"))
	must("unlink", os.Remove("moved"))
	must("write", os.WriteFile("authorized_keys", []byte("x"), 0o644))
	f, err = os.Open("authorized_keys")
	must("open authorized_keys", err)
	f.Close()
}

func privileged(dir string) {
	fd, err := unix.MemfdCreate("evil", 0)
	must("memfd_create", err)
	self, err := os.ReadFile("/bin/true")
	must("read /bin/true", err)
	_, err = unix.Write(fd, self)
	must("write", err)
	c := exec.Command("/proc/self/fd/3")
	c.Args = []string{"kworker/0:1"}
	c.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "memfd")}
	must("exec of a memfd", c.Run())
	must("unshare", unix.Unshare(unix.CLONE_NEWUTS|unix.CLONE_NEWNS))
	ns, err := os.Open("/proc/self/ns/uts")
	must("open namespace", err)
	must("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWUTS))
	must("private mounts", unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must("mount", unix.Mount("clew", dir, "tmpfs", 0, ""))
	must("umount", unix.Unmount(dir, 0))
	sleeper := exec.Command("/bin/sleep", "9")
	must("sleep", sleeper.Start())
	must("ptrace", unix.PtraceSeize(sleeper.Process.Pid))
	sleeper.Process.Kill()
	sleeper.Wait()
	unix.FinitModule(int(ns.Fd()), "", 0)
	unix.Syscall(unix.SYS_BPF, 5, 0, 0)
	unix.Syscall(unix.SYS_IO_URING_SETUP, 0, 0, 0)
	unix.Syscall(unix.SYS_KEYCTL, 0, 0, 0)
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	must("capget", unix.Capget(&h, &caps[0]))
	must("capset", unix.Capset(&h, &caps[0]))
	attack("")
}

// attack is what has to be seen during a flood: another user, a program, a
// connection.
func attack(string) {
	c := exec.Command("/bin/true", "as-nobody")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	must("exec as nobody", c.Run())
	if c, err := net.Dial("tcp4", "127.0.0.1:9"); err == nil {
		c.Close()
	}
}

// flood opens files as fast as it can until its input ends, and says how many.
func flood() {
	runtime.LockOSThread()
	name, err := unix.BytePtrFromString("/etc/shadow")
	must("name", err)
	var over atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	opens := 0
	for !over.Load() {
		for range 500 {
			if fd, _, e := unix.RawSyscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(name)), 0, 0, 0, 0); e == 0 {
				unix.Close(int(fd))
				opens++
			}
		}
	}
	fmt.Println(opens)
}
