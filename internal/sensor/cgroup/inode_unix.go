//go:build unix

package cgroup

import (
	"os"
	"syscall"
)

// inode returns a folder's inode number, which is the cgroup's id.
func inode(path string) (uint64, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Ino, true
}
