package sensor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// ticksPerSecond is USER_HZ, in which /proc counts: 100 on every architecture Linux runs on today.
const ticksPerSecond = 100

// scanProc calls each with the processes of a mounted proc, as KindExec with
// FlagAtStart. A process that ends while it is read is left out.
func scanProc(root string, each func(*Record)) error {
	names, err := filepath.Glob(filepath.Join(root, "[0-9]*"))
	if err != nil {
		return fmt.Errorf("listing %q: %w", root, err)
	}
	for _, dir := range names {
		var r Record
		if readProcess(dir, &r) {
			each(&r)
		}
	}
	return nil
}

func readProcess(dir string, r *Record) bool {
	pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
	if err != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil || !r.stat(stat) {
		return false
	}
	r.Kind, r.Flags, r.PID, r.TID = KindExec, FlagAtStart, uint32(pid), uint32(pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return false
	}
	r.status(status)
	r.Exec.Args = Cmdline(dir)
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil { // kernel threads have none
		r.Exec.Exe = []byte(exe)
	}
	if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); err == nil {
		r.Exec.Cwd = []byte(cwd)
	}
	return true
}

// stat reads /proc/PID/stat: the name stands in parentheses and may hold any byte.
func (r *Record) stat(b []byte) bool {
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || shut < open {
		return false
	}
	r.Comm = b[open+1 : shut]
	f := bytes.Fields(b[shut+1:])
	if len(f) < 20 {
		return false
	}
	parent, err := strconv.ParseUint(string(f[1]), 10, 32)
	if err != nil {
		return false
	}
	ticks, err := strconv.ParseUint(string(f[19]), 10, 64)
	r.Exec.Parent, r.Start = uint32(parent), ticks*(1e9/ticksPerSecond)
	return err == nil
}

func (r *Record) status(b []byte) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 3 {
			continue
		}
		id, _ := strconv.ParseUint(string(f[1]), 10, 32)
		effective, _ := strconv.ParseUint(string(f[2]), 10, 32)
		switch string(f[0]) {
		case "Uid:":
			r.UID, r.Exec.EUID = uint32(id), uint32(effective)
		case "Gid:":
			r.GID, r.Exec.EGID = uint32(id), uint32(effective)
		}
	}
}

// Cmdline returns the arguments of the process with that folder of proc, each
// ended by NUL and at most as many bytes as an exec tells; nil when it has none.
func Cmdline(dir string) []byte {
	b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || len(b) == 0 {
		return nil
	}
	return b[:min(len(b), 2047)]
}
