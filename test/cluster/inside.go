package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"
)

// The addresses that everybody works from. Those on the internet are of the
// ranges that RFC 5737 keeps for documentation.
const (
	controlPlane = "10.99.0.1"    // API server, its controllers, clew
	kubelets     = "10.99.0.2"    // the node's
	office       = "192.0.2.10"   // people
	opsDesk      = "192.0.2.5"    // administrators, another desk of the same office
	runner       = "198.51.100.7" // CI
	appHost      = "198.51.100.21"
	thief        = "203.0.113.66"
	thiefToo     = "203.0.113.130"
	// stranger is another thief, in a network of his own (RFC 2544): three people in
	// one network are a VPN to clew, and the thieves of one test take more.
	stranger = "198.18.7.66"
)

const insideVar = "CLEW_CLUSTER_INSIDE"

// Inside runs f in user, network and process namespaces of its own, in a second
// process of the same program with the same arguments, and returns what f
// returned. Whatever f started is gone when it returns, or when this process is
// killed: the second process is the first of its namespace and dies with its parent.
//
// prepare runs before, outside, where the network is; what it sets in the
// environment f finds there. main calls Inside before anything else.
func Inside(prepare func() error, f func() int) int {
	if os.Getenv(insideVar) != "" {
		if err := haveAddresses(); err != nil {
			fmt.Fprintln(os.Stderr, "giving the network namespace its addresses:", err)
			return 1
		}
		return f()
	}
	code, err := 1, prepare()
	if err == nil {
		code, err = again()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// again runs this program in namespaces of its own.
func again() (int, error) {
	runtime.LockOSThread() // the parent that Pdeathsig watches is the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec // this very program
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("making user, network and process namespaces (the kernel must let %d): %w", os.Getuid(), err)
	}
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		return 1, err
	}
	return 0, err
}

// haveAddresses brings the loopback interface up with every address there is.
func haveAddresses() error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s) //nolint:errcheck // nothing was written
	if err := loUp(s); err != nil {
		return err
	}
	for i, a := range []string{controlPlane, kubelets, office, opsDesk, runner, appHost, thief, thiefToo, stranger, podAddress} {
		if err := loAddress(s, i, netip.MustParseAddr(a)); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

// ifreq is struct ifreq of <net/if.h> on 64-bit machines.
type ifreq struct {
	name [syscall.IFNAMSIZ]byte
	data [24]byte
}

func loUp(s int) error {
	r := ifreq{}
	copy(r.name[:], "lo")
	const up = syscall.IFF_UP | syscall.IFF_RUNNING
	r.data[0], r.data[1] = up&0xff, up>>8
	return ioctl(s, syscall.SIOCSIFFLAGS, &r)
}

// loAddress adds the nth address beside 127.0.0.1, alone in its network.
func loAddress(s, n int, a netip.Addr) error {
	r := ifreq{}
	copy(r.name[:], fmt.Sprintf("lo:%d", n))
	r.data[0] = syscall.AF_INET
	b := a.As4()
	copy(r.data[4:], b[:])
	if err := ioctl(s, syscall.SIOCSIFADDR, &r); err != nil {
		return err
	}
	copy(r.data[4:], []byte{255, 255, 255, 255})
	return ioctl(s, syscall.SIOCSIFNETMASK, &r)
}

func ioctl(s int, request uintptr, r *ifreq) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), request, uintptr(unsafe.Pointer(r))); errno != 0 { //nolint:gosec // the call wants a pointer
		return errno
	}
	return nil
}
