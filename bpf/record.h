/* The records as the ring carries them: little endian, naturally aligned, the
 * fixed part of the kind and then its strings. internal/sensor/record.go reads
 * them; a test there holds the sizes. */
#pragma once

#define DATA_MAX 8192 /* room for strings, a power of two */
#define ARGS_MAX 2048 /* bytes of argv kept */
#define PATH_CAP 1024 /* bytes of a path kept: its end */
#define DNS_MAX 512   /* bytes of a DNS message kept */

enum kind { K_FORK = 1, K_EXEC, K_EXIT, K_CRED, K_PRIV, K_NET, K_DNS, K_FILE, K_NAME, K_CGROUP, K_MAX };

/* What the acts are called. The sys_exit tables map a system call's number to
 * one of these, so that records do not depend on the architecture. */
enum op {
	OP_NONE,
	/* K_CRED */
	OP_SETUID, OP_SETGID, OP_SETREUID, OP_SETREGID, OP_SETRESUID, OP_SETRESGID, OP_SETFSUID, OP_SETFSGID, OP_SETGROUPS, OP_CAPSET,
	/* K_PRIV */
	OP_SETNS, OP_UNSHARE, OP_MOUNT, OP_UMOUNT, OP_MOVE_MOUNT, OP_FSMOUNT, OP_OPEN_TREE, OP_PIVOT_ROOT, OP_CHROOT, OP_PTRACE, OP_VM_READ, OP_VM_WRITE,
	OP_INIT_MODULE, OP_FINIT_MODULE, OP_DELETE_MODULE, OP_BPF, OP_MEMFD, OP_KEYCTL, OP_ADD_KEY, OP_REQUEST_KEY, OP_IO_URING,
	OP_KEXEC, OP_PIDFD_GETFD, OP_IOPL, OP_IOPERM, OP_REBOOT, OP_RAW_SOCKET,
	/* K_NET */
	OP_CONNECT, OP_ACCEPT, OP_LISTEN, OP_SENDTO, OP_SENDMSG, OP_SENDMMSG, OP_DUP, OP_SOCKET_AT_START, OP_SOCKETCALL,
	/* K_FILE */
	OP_OPEN,
	/* K_NAME */
	OP_UNLINK, OP_UNLINKAT, OP_RENAME, OP_RENAMEAT, OP_LINK, OP_LINKAT, OP_SYMLINK, OP_SYMLINKAT, OP_TRUNCATE, OP_FTRUNCATE, OP_CHMOD, OP_FCHMOD, OP_FCHMODAT,
	/* K_DNS */
	OP_DNS_QUERY, OP_DNS_ANSWER,
	OP_MAX
};

/* hdr.flags */
enum {
	F_MEMFD = 1,       /* exec: the program is a memfd */
	F_UNLINKED = 2,    /* exec: the program has no name any more */
	F_SETID = 4,       /* exec: set-uid or set-gid file */
	F_ARGS_CUT = 8,    /* exec: argv longer than ARGS_MAX */
	F_ARGS_FAULT = 16, /* exec: argv could not be read */
	F_TMPFS = 32,      /* exec: the program is on a tmpfs */
	F_UPPER = 64,      /* exec, file: in the upper layer of an overlay: not from the image */
	F_OVERLAY = 128,   /* exec, file: on an overlay */
	F_STDIN_SOCKET = 256, F_STDOUT_SOCKET = 512, F_STDERR_SOCKET = 1024,
	F_COMPAT = 2048,   /* made by a 32-bit system call */
	F_AT_START = 4096, /* found by the snapshot, not seen happening */
	F_PATH_CUT = 8192, /* a path longer than PATH_CAP: its end is kept */
};

/* values of the maps of watched paths */
enum { WATCH_READ = 1, WATCH_WRITE = 2, WATCH_NAME = 4, WATCH_IGNORE = 8 };

struct hdr { /* 72 bytes */
	__u64 time;  /* ns since boot, time asleep included */
	__u64 start; /* of the process, ns since boot */
	__u64 cgroup;
	__u32 len, pid, tid, uid, gid;
	__u16 kind, op;
	__u32 flags;
	char comm[16];
	__u32 pad;
};
struct fork_rec { struct hdr h; __u64 child_start; __u32 child, child_nspid, pidns, mntns, netns, userns; };
struct exec_rec {
	struct hdr h;
	__u64 parent_start, inode, cap_effective, cap_permitted;
	__u32 parent, nspid, pidns, mntns, netns, userns;
	__u32 dev, mode, nlink, generation;
	__u32 euid, egid, tty, args_total;
	__u16 exe_len, cwd_len, file_len, args_len, cgroup_len, cgroup_parent_len, pad[2];
};
struct exit_rec { struct hdr h; __u32 code, pad; };
struct cred_rec { struct hdr h; __s32 ret; __u32 args[3], euid, egid, suid, sgid; __u64 cap_effective, cap_permitted; };
struct priv_rec { struct hdr h; __s64 ret; __u64 args[5]; __u32 pidns, mntns, netns, userns; __u16 str_len, pad[3]; };
struct net_rec {
	struct hdr h;
	__s32 ret, fd;
	__u32 netns;
	__u16 family, proto, local_port, peer_port, asked_port, str_len;
	__u8 local[16], peer[16], asked[16];
};
struct dns_rec { struct hdr h; __u8 local[16], peer[16]; __u16 family, local_port, data_len, pad; };
struct file_rec { struct hdr h; __u64 inode; __u32 dev, generation, oflags; __u16 mode, path_len; };
struct name_rec { struct hdr h; __u32 arg; __u16 path_len, to_len; };
struct cgroup_rec { struct hdr h; __u64 id; __u32 path_len, pad; };

/* A test of internal/sensor compares these with what its decoder takes. */
_Static_assert(sizeof(struct hdr) == 72, "hdr");
_Static_assert(sizeof(struct fork_rec) == 104, "fork_rec");
_Static_assert(sizeof(struct exec_rec) == 176, "exec_rec");
_Static_assert(sizeof(struct exit_rec) == 80, "exit_rec");
_Static_assert(sizeof(struct cred_rec) == 120, "cred_rec");
_Static_assert(sizeof(struct priv_rec) == 144, "priv_rec");
_Static_assert(sizeof(struct net_rec) == 144, "net_rec");
_Static_assert(sizeof(struct dns_rec) == 112, "dns_rec");
_Static_assert(sizeof(struct file_rec) == 96, "file_rec");
_Static_assert(sizeof(struct name_rec) == 80, "name_rec");
_Static_assert(sizeof(struct cgroup_rec) == 88, "cgroup_rec");
_Static_assert(K_MAX == 11, "kinds");
_Static_assert(OP_MAX == 63, "acts");
