package sensor

import (
	"fmt"
	"os"
	"strings"
)

// BootID returns the kernel's id of this boot: with it a pid and a start time
// name a process for good.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// ProcessID names a process within one boot.
type ProcessID struct {
	PID   uint32 // thread group id in the host's namespace
	Start uint64 // nanoseconds since boot
}

// Process is what is kept of a running process.
type Process struct {
	ID ProcessID
	// Parent made the process, whoever it was handed to since. When the fork
	// was not seen it is the parent it had when first seen, and Original is
	// false.
	Parent   ProcessID
	Original bool
	Cgroup   uint64
	Comm     string
	Exe      string // "" until an exec was seen
}

// maxProcesses bounds the table: as many as pid_max allows on a large node by default.
const maxProcesses = 1 << 18

// Processes keeps the running processes by pid. It is for one goroutine.
type Processes struct {
	byPID map[uint32]*Process
}

// NewProcesses returns an empty table.
func NewProcesses() *Processes { return &Processes{byPID: map[uint32]*Process{}} }

// Update takes a record into the table. What it keeps it copies.
func (t *Processes) Update(r *Record) {
	switch r.Kind {
	case KindFork:
		t.fork(r)
	case KindExec:
		t.exec(r)
	case KindExit:
		if p := t.byPID[r.PID]; p != nil && p.ID.Start <= r.Start {
			delete(t.byPID, r.PID)
		}
	}
}

func (t *Processes) fork(r *Record) {
	child := &Process{ID: ProcessID{r.Fork.Child, r.Fork.ChildStart}, Parent: ProcessID{r.PID, r.Start}, Original: true, Cgroup: r.Cgroup, Comm: string(r.Comm)}
	if parent := t.Of(child.Parent); parent != nil {
		child.Exe = parent.Exe
	}
	t.put(child)
}

func (t *Processes) exec(r *Record) {
	id := ProcessID{r.PID, r.Start}
	p := t.Of(id)
	if p == nil {
		p = &Process{ID: id, Parent: ProcessID{r.Exec.Parent, r.Exec.ParentStart}}
		t.put(p)
	} else if r.Flags&FlagAtStart != 0 {
		return // the snapshot is older than what was seen
	}
	p.Cgroup, p.Comm, p.Exe = r.Cgroup, string(r.Comm), string(r.Exec.Exe)
}

// put adds p; a full table forgets some process first.
func (t *Processes) put(p *Process) {
	if len(t.byPID) >= maxProcesses {
		for pid := range t.byPID {
			delete(t.byPID, pid)
			break
		}
	}
	t.byPID[p.ID.PID] = p
}

// Of returns the process with that id, nil when it is not known or the pid is
// another process's by now.
func (t *Processes) Of(id ProcessID) *Process {
	if p := t.byPID[id.PID]; p != nil && p.ID.Start == id.Start {
		return p
	}
	return nil
}

// Len returns the number of processes kept.
func (t *Processes) Len() int { return len(t.byPID) }
