package sensor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestScanProc(t *testing.T) {
	root := t.TempDir()
	write := func(pid, name, text string) {
		t.Helper()
		dir := filepath.Join(root, pid)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("42", "stat", "42 (a) 1 (b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1234 99 9")
	write("42", "status", "Name:\ta\nUid:\t1000\t0\t0\t0\nGid:\t1000\t5\t5\t5\n")
	write("42", "cmdline", "a\x00-x\x00")
	if err := os.Symlink("/bin/a", filepath.Join(root, "42", "exe")); err != nil {
		t.Fatal(err)
	}
	write("43", "stat", "43 (ended while it was read")
	write("self", "stat", "not a process")
	var got []Record
	if err := scanProc(root, func(r *Record) { got = append(got, *r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d processes, want 1: %+v", len(got), got)
	}
	r := got[0]
	if r.PID != 42 || string(r.Comm) != "a) 1 (b" || r.Exec.Parent != 7 || r.Start != 12_340_000_000 || r.UID != 1000 || r.Exec.EUID != 0 ||
		r.Exec.EGID != 5 || string(r.Exec.Args) != "a\x00-x\x00" || string(r.Exec.Exe) != "/bin/a" || r.Flags != FlagAtStart {
		t.Errorf("%+v", r)
	}
}
