package sensor

// Tier is how a hook is attached, from the best to none.
type Tier string

// The tiers.
const (
	TierFunction   Tier = "function"   // fentry, fexit or LSM: needs the BPF trampoline; sees io_uring
	TierTracepoint Tier = "tracepoint" // tp_btf: needs the kernel's BTF
	TierRaw        Tier = "raw"        // raw tracepoint, fields read by helper calls
	TierSyscall    Tier = "syscall"    // by the program at the end of system calls: io_uring passes it
	TierCgroup     Tier = "cgroup"     // at the root of the v2 hierarchy
	TierIterator   Tier = "iterator"
	TierProc       Tier = "proc" // read from /proc
	TierNone       Tier = "blind"
)

// Attempt is one way to attach a hook that this kernel refused.
type Attempt struct {
	Tier   Tier
	Reason string
}

// Hook is what became of one hook.
type Hook struct {
	Name    string
	Sees    string    // what it tells, for a person
	Tier    Tier      // TierNone: what Sees says is not seen on this node
	Refused []Attempt // the better ways, with the kernel's reason
}
