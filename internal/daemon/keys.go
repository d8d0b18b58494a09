package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// secretFile returns the n random bytes that a file of the installation holds, and
// makes it, for its owner only, when it is missing.
func secretFile(path string, n int) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) != n {
		return nil, fmt.Errorf("reading key %q: it has %d bytes, not %d", path, len(b), n)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	b = make([]byte, n)
	_, _ = rand.Read(b) // never fails
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making key %q: %w", path, err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return nil, fmt.Errorf("making key %q: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("making key %q: %w", path, err)
	}
	return b, nil
}
