package sensor

// Numbers of the system calls that are looked at: the kernel's
// arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl. They are never
// renumbered.
var calls64 = map[Op][]int{
	OpSetUID: {105}, OpSetGID: {106}, OpSetREUID: {113}, OpSetREGID: {114}, OpSetRESUID: {117}, OpSetRESGID: {119},
	OpSetFSUID: {122}, OpSetFSGID: {123}, OpSetGroups: {116}, OpCapset: {126},
	OpSetNS: {308}, OpUnshare: {272}, OpMount: {165}, OpUmount: {166}, OpMoveMount: {429}, OpFSMount: {432}, OpOpenTree: {428},
	OpPivotRoot: {155}, OpChroot: {161}, OpPtrace: {101}, OpVMRead: {310}, OpVMWrite: {311},
	OpInitModule: {175}, OpFinitModule: {313}, OpDeleteModule: {176}, OpBPF: {321}, OpMemfd: {319},
	OpKeyctl: {250}, OpAddKey: {248}, OpRequestKey: {249}, OpIOUring: {425}, OpKexec: {246, 320}, OpPidfdGetfd: {438},
	OpIopl: {172}, OpIoperm: {173}, OpReboot: {169}, OpRawSocket: {41},
	OpConnect: {42}, OpAccept: {43, 288}, OpListen: {50}, OpSendto: {44}, OpSendmsg: {46}, OpSendmmsg: {307}, OpDup: {32, 33, 292},
	OpOpen:   {2, 85, 257, 437},
	OpUnlink: {87}, OpUnlinkat: {263}, OpRename: {82}, OpRenameat: {264, 316}, OpLink: {86}, OpLinkat: {265},
	OpSymlink: {88}, OpSymlinkat: {266}, OpTruncate: {76}, OpFtruncate: {77}, OpChmod: {90}, OpFchmod: {91}, OpFchmodat: {268, 452},
}

var calls32 = map[Op][]int{
	OpSetUID: {23, 213}, OpSetGID: {46, 214}, OpSetREUID: {70, 203}, OpSetREGID: {71, 204}, OpSetRESUID: {164, 208}, OpSetRESGID: {170, 210},
	OpSetFSUID: {138, 215}, OpSetFSGID: {139, 216}, OpSetGroups: {81, 206}, OpCapset: {185},
	OpSetNS: {346}, OpUnshare: {310}, OpMount: {21}, OpUmount: {22, 52}, OpMoveMount: {429}, OpFSMount: {432}, OpOpenTree: {428},
	OpPivotRoot: {217}, OpChroot: {61}, OpPtrace: {26}, OpVMRead: {347}, OpVMWrite: {348},
	OpInitModule: {128}, OpFinitModule: {350}, OpDeleteModule: {129}, OpBPF: {357}, OpMemfd: {356},
	OpKeyctl: {288}, OpAddKey: {286}, OpRequestKey: {287}, OpIOUring: {425}, OpKexec: {283}, OpPidfdGetfd: {438},
	OpIopl: {110}, OpIoperm: {101}, OpReboot: {88}, OpRawSocket: {359},
	OpConnect: {362}, OpAccept: {364}, OpListen: {363}, OpSocketcall: {102}, OpDup: {41, 63, 330},
	OpOpen:   {5, 8, 295, 437},
	OpUnlink: {10}, OpUnlinkat: {301}, OpRename: {38}, OpRenameat: {302, 353}, OpLink: {9}, OpLinkat: {303},
	OpSymlink: {83}, OpSymlinkat: {304}, OpTruncate: {92, 193}, OpFtruncate: {93, 194}, OpChmod: {15}, OpFchmod: {94}, OpFchmodat: {306, 452},
}

// callTable is what the programs have: an act for each number.
func callTable(calls map[Op][]int) (table [512]uint8) {
	for op, numbers := range calls {
		for _, n := range numbers {
			table[n] = uint8(op)
		}
	}
	return table
}
