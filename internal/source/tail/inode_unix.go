//go:build unix

package tail

import (
	"os"
	"syscall"
)

// inode returns what tells a file from all others that exist now.
func inode(f *os.File) (device, number uint64) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(st.Dev), uint64(st.Ino) //nolint:unconvert // Dev is narrower elsewhere
}
