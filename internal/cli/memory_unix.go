//go:build unix

package cli

import (
	"runtime"
	"syscall"
)

// peakMemory returns the largest resident size so far in bytes, 0 unknown.
func peakMemory() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	most := int64(u.Maxrss)       //nolint:unconvert // 32 bits on some systems
	if runtime.GOOS == "darwin" { // bytes there, KiB elsewhere (getrusage(2))
		return most
	}
	return most << 10
}
