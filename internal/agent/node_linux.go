package agent

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// initPIDNamespace is the inode of the host's own pid namespace: PROC_PID_INIT_INO of the kernel's proc_ns.h.
const initPIDNamespace = "pid:[4026531836]"

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

func pidNamespace() fact {
	ns, err := os.Readlink("/proc/self/ns/pid")
	switch {
	case err != nil:
		return fact{"pid namespace", fmt.Sprintf("not known: %v", err), false}
	case ns != initPIDNamespace:
		return fact{"pid namespace", "not the host's: the agent would observe itself and its pids would be wrong; run it with hostPID", false}
	}
	return fact{"pid namespace", "the host's", true}
}

// bootTime returns when the clock of records, which counts from boot and
// through sleep, was zero.
func bootTime() (time.Time, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Time{}, fmt.Errorf("reading the clock since boot: %w", err)
	}
	return time.Now().Add(-time.Duration(t.Nano())), nil
}
