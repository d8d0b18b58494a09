package sensor

// way is a set of programs that do a hook's work together.
type way struct {
	tier     Tier
	object   object
	programs []string
	usable   func(*kernel) error // nil: no condition but that it attaches
}

type object uint8

const (
	objectWithBTF object = iota
	objectWithoutBTF
	noObject // nothing to attach: another hook's program does it
)

// plan is one hook with its ways, best first.
type plan struct {
	name, sees string
	ways       []way
	taken      func(*constants) // a function hook has it: the program of the system calls leaves it out; nil when it adds to that
	late       bool             // attached when it is run, not before
}

// plans are tried in this order: those that take work off the program of the
// system calls come before it.
func plans() []plan {
	return []plan{
		{name: "exec", sees: "programs started", ways: tracepoint("on_sched_exec")},
		{name: "fork", sees: "processes made", ways: tracepoint("on_sched_fork")},
		{name: "exit", sees: "processes ended", ways: tracepoint("on_sched_exit")},
		{name: "cgroup", sees: "cgroups made, which names containers before they run", ways: tracepoint("on_cgroup_mkdir")},
		{name: "open", sees: "files opened", ways: []way{
			{tier: TierFunction, object: objectWithBTF, programs: []string{"open_lsm"}, usable: (*kernel).lsmListed},
			{tier: TierFunction, object: objectWithBTF, programs: []string{"open_fentry"}},
			{tier: TierSyscall, object: noObject},
		}, taken: func(c *constants) { c.openByFunction = true }},
		{name: "tcp", sees: "TCP connections made and accepted by other ways than the system calls for it", ways: []way{
			{tier: TierFunction, object: objectWithBTF, programs: []string{"connect_fentry", "accept_fexit2"}, usable: (*kernel).acceptHasTwoArguments},
			{tier: TierFunction, object: objectWithBTF, programs: []string{"connect_fentry", "accept_fexit4"}, usable: (*kernel).acceptHasFourArguments},
			{tier: TierSyscall, object: noObject},
		}},
		{name: "syscall", sees: "credentials, namespaces, mounts, ptrace, modules, bpf, names of files, sockets of all kinds", ways: tracepoint("on_syscall")},
		{name: "dns", sees: "DNS questions and answers, however they are sent", ways: []way{
			{tier: TierCgroup, object: objectWithoutBTF, programs: []string{"dns_connect4", "dns_connect6", "dns_sendmsg4", "dns_sendmsg6", "dns_egress", "dns_ingress"}, usable: (*kernel).hasUnified},
		}},
		{name: "processes at start", sees: "processes that ran before the sensor", late: true, ways: []way{
			{tier: TierIterator, object: objectWithBTF, programs: []string{"snapshot_tasks"}},
			{tier: TierProc, object: noObject},
		}},
		{name: "sockets at start", sees: "sockets that were open before the sensor", late: true, ways: []way{
			{tier: TierIterator, object: objectWithBTF, programs: []string{"snapshot_sockets"}},
		}},
	}
}

func tracepoint(program string) []way {
	return []way{
		{tier: TierTracepoint, object: objectWithBTF, programs: []string{program}},
		{tier: TierRaw, object: objectWithoutBTF, programs: []string{program}},
	}
}

// needsSyscall are the hooks whose last way is the program of the system calls.
var needsSyscall = []string{"open", "tcp"}

// withoutSyscall marks those as blind that rested on the program of the system
// calls, when that could not be attached.
func withoutSyscall(hooks []Hook) {
	var reason string
	for _, h := range hooks {
		if h.Name == "syscall" && h.Tier == TierNone && len(h.Refused) > 0 {
			reason = h.Refused[len(h.Refused)-1].Reason
		}
	}
	if reason == "" {
		return
	}
	for i := range hooks {
		for _, n := range needsSyscall {
			if hooks[i].Name == n && hooks[i].Tier == TierSyscall {
				hooks[i].Tier = TierNone
				hooks[i].Refused = append(hooks[i].Refused, Attempt{TierSyscall, reason})
			}
		}
	}
}
