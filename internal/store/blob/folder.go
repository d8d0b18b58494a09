// Package blob keeps named blobs in a local folder or in an S3-compatible bucket.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// File is a blob that is being read.
type File = interface {
	io.ReaderAt
	io.Closer
}

// Folder keeps blobs as files below a folder. Its methods may be called from several
// goroutines.
type Folder struct {
	root *os.Root
	puts atomic.Uint64 // names temporary files
}

// temporary holds files that are being written. They are renamed when they are whole
// and on disk.
const temporary = ".tmp"

// NewFolder opens the folder, which is made when it is missing, and deletes what an
// interrupted Put left. One Folder at a time may write to it.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	err = root.RemoveAll(temporary)
	if err == nil {
		err = root.Mkdir(temporary, 0o700)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clearing temporary files in %q: %w", dir, err), root.Close())
	}
	return &Folder{root: root}, nil
}

// Close releases the folder.
func (f *Folder) Close() error { return f.root.Close() }

// List calls each with the blobs whose names begin with prefix.
func (f *Folder) List(ctx context.Context, prefix string, each func(name string, bytes int64)) error {
	err := fs.WalkDir(f.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.IsDir() {
			if name == temporary {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() && strings.HasPrefix(name, prefix) {
			each(name, info.Size())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("listing %q: %w", prefix, err)
	}
	return nil
}

// Put writes a file under a temporary name, to the disk, and gives it its name.
func (f *Folder) Put(_ context.Context, name string, data []byte) error {
	if err := f.put(name, data); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

func (f *Folder) put(name string, data []byte) error {
	if err := f.makeParent(name); err != nil {
		return err
	}
	tmp := filepath.Join(temporary, strconv.FormatUint(f.puts.Add(1), 10))
	if err := f.write(tmp, data); err != nil {
		return errors.Join(err, f.root.Remove(tmp))
	}
	if err := f.root.Rename(tmp, name); err != nil {
		return err
	}
	return f.syncDir(filepath.Dir(name))
}

func (f *Folder) write(name string, data []byte) error {
	w, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Sync(), w.Close())
}

// makeParent makes the folder of name, and writes the folders above to disk.
func (f *Folder) makeParent(name string) error {
	dir := filepath.Dir(name)
	if _, err := f.root.Stat(dir); err == nil {
		return nil
	}
	if err := f.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for dir != "." {
		dir = filepath.Dir(dir)
		if err := f.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// syncDir writes a folder's names to disk.
func (f *Folder) syncDir(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens a blob for reading.
func (f *Folder) Open(_ context.Context, name string) (File, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", name, err)
	}
	return file, nil
}

// Move renames a blob.
func (f *Folder) Move(_ context.Context, from, to string) error {
	err := f.makeParent(to)
	if err == nil {
		err = f.root.Rename(from, to)
	}
	if err == nil {
		err = f.syncDir(filepath.Dir(to))
	}
	if err != nil {
		return fmt.Errorf("moving %q to %q: %w", from, to, err)
	}
	return nil
}

// Remove deletes a blob. It is no error when there is none.
func (f *Folder) Remove(_ context.Context, name string) error {
	err := f.root.Remove(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting %q: %w", name, err)
	}
	return nil
}
