package cgroup

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// maxCgroups bounds a Table. A node has a few thousand; what is forgotten when
// it is full is found again by Scan or by the next exec.
const maxCgroups = 32768

// Table keeps the cgroups of a node by their ids. It is for one goroutine.
type Table struct {
	byID map[uint64]entry
}

type entry struct {
	path string
	ref  Ref
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{byID: map[uint64]entry{}} }

// Add notes a cgroup's path, which is copied.
func (t *Table) Add(id uint64, path []byte) {
	if e, ok := t.byID[id]; ok && e.path == string(path) {
		return
	}
	t.room()
	p := string(path)
	t.byID[id] = entry{p, Parse(p)}
}

// AddNames notes a cgroup of which only the last component and the one before
// are known, as an exec tells them. What Add and Scan know is better and stays.
func (t *Table) AddNames(id uint64, parent, name []byte) {
	if _, ok := t.byID[id]; ok || len(name) == 0 {
		return
	}
	t.room()
	p := ".../" + string(parent) + "/" + string(name)
	t.byID[id] = entry{p, Parse(p)}
}

// room forgets some cgroup when the table is full.
func (t *Table) room() {
	if len(t.byID) < maxCgroups {
		return
	}
	for id := range t.byID {
		delete(t.byID, id)
		return
	}
}

// Lookup returns what is known of a cgroup; ok is false for an unknown one.
func (t *Table) Lookup(id uint64) (path string, ref Ref, ok bool) {
	e, ok := t.byID[id]
	return e.path, e.ref, ok
}

// Scan adds all cgroups below root, the mount point of a hierarchy. Cgroups
// that go away meanwhile are left out.
func (t *Table) Scan(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if id, ok := inode(path); ok {
			t.Add(id, []byte("/"+trimRoot(path, root)))
		}
		return nil
	})
}

func trimRoot(path, root string) string {
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == "." {
		return ""
	}
	return rel
}
