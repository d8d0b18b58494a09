package sensor

// Op is an act within a kind; bpf/record.h has the same numbers.
type Op uint16

// The acts, by kind.
const (
	OpNone Op = iota

	OpSetUID
	OpSetGID
	OpSetREUID
	OpSetREGID
	OpSetRESUID
	OpSetRESGID
	OpSetFSUID
	OpSetFSGID
	OpSetGroups
	OpCapset

	OpSetNS
	OpUnshare
	OpMount
	OpUmount
	OpMoveMount
	OpFSMount
	OpOpenTree
	OpPivotRoot
	OpChroot
	OpPtrace
	OpVMRead
	OpVMWrite
	OpInitModule
	OpFinitModule
	OpDeleteModule
	OpBPF
	OpMemfd
	OpKeyctl
	OpAddKey
	OpRequestKey
	OpIOUring
	OpKexec
	OpPidfdGetfd
	OpIopl
	OpIoperm
	OpReboot
	OpRawSocket

	OpConnect
	OpAccept
	OpListen
	OpSendto
	OpSendmsg
	OpSendmmsg
	OpDup // a socket became descriptor 0, 1 or 2
	OpSocketAtStart
	OpSocketcall // in the table of 32-bit calls only

	OpOpen

	OpUnlink
	OpUnlinkat
	OpRename
	OpRenameat
	OpLink
	OpLinkat
	OpSymlink
	OpSymlinkat
	OpTruncate
	OpFtruncate
	OpChmod
	OpFchmod
	OpFchmodat

	OpDNSQuery
	OpDNSAnswer
	opEnd
)

// Names are those of the system calls; calls that do the same have one name.
var opNames = [opEnd]string{
	OpSetUID: "setuid", OpSetGID: "setgid", OpSetREUID: "setreuid", OpSetREGID: "setregid", OpSetRESUID: "setresuid", OpSetRESGID: "setresgid",
	OpSetFSUID: "setfsuid", OpSetFSGID: "setfsgid", OpSetGroups: "setgroups", OpCapset: "capset",
	OpSetNS: "setns", OpUnshare: "unshare", OpMount: "mount", OpUmount: "umount", OpMoveMount: "move_mount", OpFSMount: "fsmount", OpOpenTree: "open_tree",
	OpPivotRoot: "pivot_root", OpChroot: "chroot", OpPtrace: "ptrace", OpVMRead: "process_vm_readv", OpVMWrite: "process_vm_writev",
	OpInitModule: "init_module", OpFinitModule: "finit_module", OpDeleteModule: "delete_module", OpBPF: "bpf", OpMemfd: "memfd_create",
	OpKeyctl: "keyctl", OpAddKey: "add_key", OpRequestKey: "request_key", OpIOUring: "io_uring_setup", OpKexec: "kexec_load",
	OpPidfdGetfd: "pidfd_getfd", OpIopl: "iopl", OpIoperm: "ioperm", OpReboot: "reboot", OpRawSocket: "socket",
	OpConnect: "connect", OpAccept: "accept", OpListen: "listen", OpSendto: "send", OpSendmsg: "send", OpSendmmsg: "send", OpDup: "dup",
	OpSocketAtStart: "socket", OpSocketcall: "socketcall", OpOpen: "open",
	OpUnlink: "unlink", OpUnlinkat: "unlink", OpRename: "rename", OpRenameat: "rename", OpLink: "link", OpLinkat: "link",
	OpSymlink: "symlink", OpSymlinkat: "symlink", OpTruncate: "truncate", OpFtruncate: "truncate",
	OpChmod: "chmod", OpFchmod: "chmod", OpFchmodat: "chmod", OpDNSQuery: "query", OpDNSAnswer: "answer",
}

// String returns the act's name as output writes it, "" for none.
func (o Op) String() string {
	if o >= opEnd {
		return ""
	}
	return opNames[o]
}
