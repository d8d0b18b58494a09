//go:build linux || darwin || freebsd

package bus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// FreeBytes returns how much a user may still write to the disk of dir.
func FreeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %q: %w", dir, err)
	}
	return product(s.Bavail, s.Bsize), nil
}

// product spares the differing types of the systems a conversion.
func product[A, B ~int64 | ~uint64 | ~uint32](a A, b B) int64 { return int64(a) * int64(b) }

// lock makes dir this process's own until the file is closed, or the process ends.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the log: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("the log in %q is in use by another process", dir)
	}
	return nil, fmt.Errorf("locking the log in %q: %w", dir, err)
}
