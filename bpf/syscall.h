/* One program at the end of every system call: the arguments are still in the
 * registers, the result is known, and what a descriptor means is read from the
 * kernel's own tables, so that a path or an address cannot change under us.
 * Names of by-name calls (unlink, rename, mount) are what user memory holds at
 * that moment, joined with the directory they are relative to. */
#pragma once
#include "core.h"
#include "net.h"
#include "file.h"

struct call { /* a system call, the same whatever its calling convention */
	__u64 a[6];
	long ret;
	__u32 op, flags;
};

static __always_inline int on_cred(struct area *s, struct task_struct *t, struct call *c)
{
	struct cred_rec *r = RECORD(s, cred_rec);
	fill(&r->h, t, K_CRED, c->op, c->flags);
	r->ret = c->ret;
	r->args[0] = c->a[0];
	r->args[1] = c->a[1];
	r->args[2] = c->a[2];
	const struct cred *k = G(t, cred);
	r->euid = G(k, euid.val);
	r->egid = G(k, egid.val);
	r->suid = G(k, suid.val);
	r->sgid = G(k, sgid.val);
	bpf_core_read(&r->cap_effective, 8, &k->cap_effective);
	bpf_core_read(&r->cap_permitted, 8, &k->cap_permitted);
	send(&r->h, K_CRED, sizeof(*r));
	return 0;
}

/* dull says which calls of a frequent kind change nothing: a debugger's steps, map look-ups. */
static __always_inline int dull(struct call *c)
{
	if (c->op == OP_PTRACE) return !(c->a[0] == 4 || c->a[0] == 5 || c->a[0] == 13 || c->a[0] == 16 || c->a[0] == 0x4206 || c->a[0] == 0); /* POKE*, SETREGS, ATTACH, SEIZE, TRACEME */
	if (c->op == OP_BPF) return !(c->a[0] < 32 && (1u << c->a[0] & (1u << 5 | 1u << 8 | 1u << 17 | 1u << 28))); /* PROG_LOAD, PROG_ATTACH, RAW_TRACEPOINT_OPEN, LINK_CREATE */
	if (c->op == OP_RAW_SOCKET) return !(c->a[0] == AF_PACKET || ((c->a[0] == AF_INET || c->a[0] == AF_INET6) && (c->a[1] & 15) == SOCK_RAW));
	return 0;
}

static __always_inline __u32 put_user(struct area *s, __u32 off, __u64 at)
{
	long n = bpf_probe_read_user_str(&s->data[off & 2047], 512, (void *)at);
	if (n > 0) return n & 1023;
	s->data[off & 2047] = 0;
	return 1;
}

/* priv_strings puts the strings of a call, each with its NUL. */
static __always_inline __u32 priv_strings(struct area *s, struct task_struct *t, struct call *c)
{
	__u32 off = 0;
	switch (c->op) {
	case OP_MOUNT:
		off = put_user(s, 0, c->a[0]);
		off += put_user(s, off, c->a[1]);
		off += put_user(s, off, c->a[2]);
		return off;
	case OP_PIVOT_ROOT: case OP_ADD_KEY: case OP_REQUEST_KEY:
		off = put_user(s, 0, c->a[0]);
		off += put_user(s, off, c->a[1]);
		return off;
	case OP_MOVE_MOUNT:
		off = put_user(s, 0, c->a[1]);
		off += put_user(s, off, c->a[3]);
		return off;
	case OP_UMOUNT: case OP_CHROOT: case OP_DELETE_MODULE: case OP_MEMFD: return put_user(s, 0, c->a[0]);
	case OP_OPEN_TREE: return put_user(s, 0, c->a[1]);
	case OP_FINIT_MODULE: case OP_SETNS: {
		struct file *f = fd_file(t, c->a[0]);
		if (f) return put_path(s, 0, (struct path *)&f->f_path);
	}
	}
	return 0;
}

static __always_inline int on_priv(struct area *s, struct task_struct *t, struct call *c)
{
	if (dull(c)) return 0;
	struct priv_rec *r = RECORD(s, priv_rec);
	__u32 len = priv_strings(s, t, c) & 2047;
	fill(&r->h, t, K_PRIV, c->op, c->flags | s->flags);
	r->ret = c->ret;
	for (int i = 0; i < 5; i++) r->args[i] = c->a[i];
	struct spaces ns;
	namespaces(&ns, t);
	r->pidns = ns.pidns;
	r->mntns = ns.mntns;
	r->netns = ns.netns;
	r->userns = ns.userns;
	r->str_len = len;
	send(&r->h, K_PRIV, sizeof(*r) + len);
	return 0;
}

static __always_inline int on_net(struct area *s, struct task_struct *t, struct call *c)
{
	int fd = c->op == OP_ACCEPT || c->op == OP_DUP ? c->ret : (int)c->a[0];
	if (fd < 0 || (c->op == OP_DUP && fd > 2) || (c->op == OP_LISTEN && c->ret)) return 0;
	struct file *f = fd_file(t, fd);
	if (!f || !is_socket(f)) return 0;
	struct sock *sk = file_sock(f);
	if (!sk) return 0;
	struct net_rec *r = RECORD(s, net_rec);
	__builtin_memset(r, 0, sizeof(*r));
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->proto = BPF_CORE_READ(sk, sk_protocol);
	int sends = c->op >= OP_SENDTO && c->op <= OP_SENDMMSG;
	if (sends && (r->proto != IPPROTO_UDP || c->flags & F_COMPAT)) return 0;
	if (r->family == AF_UNIX) {
		if (c->op == OP_CONNECT) unix_path(s, r, c->a[1], c->a[2]);
		else if (c->op != OP_LISTEN && c->op != OP_DUP) return 0;
		if (r->str_len && watch_of(s, s->data) & WATCH_IGNORE) return 0;
	} else {
		if (!socket_ends(r, sk)) return 0;
		if (c->op == OP_CONNECT) asked(r, c->a[1]);
		else if (c->op == OP_SENDTO) asked(r, c->a[4]);
		else if (sends) {
			struct user_msghdr m = {}; /* struct mmsghdr begins with one */
			if (bpf_probe_read_user(&m, sizeof(m), (void *)c->a[1])) return 0;
			asked(r, (__u64)m.msg_name);
		}
		if (sends && !new_peer(r, sk, G(t, tgid))) return 0;
	}
	fill(&r->h, t, K_NET, c->op, c->flags);
	r->ret = c->ret;
	r->fd = fd;
	r->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	send(&r->h, K_NET, sizeof(*r) + (r->str_len & 127));
	return 0;
}

static __always_inline int dispatch(struct area *s, struct task_struct *t, struct call *c)
{
	s->flags = 0;
	if (c->op == OP_OPEN) {
		struct file *f = c->ret < 0 ? NULL : fd_file(t, c->ret);
		return f ? on_open(s, t, f, c->flags) : 0;
	}
	if (c->op >= OP_UNLINK && c->op <= OP_FCHMODAT) {
		if (c->ret) return 0;
		__builtin_memcpy(s->args, c->a, sizeof(s->args));
		return on_name(s->which, c->op, c->flags);
	}
	if (c->op >= OP_CONNECT && c->op <= OP_DUP) return on_net(s, t, c);
	if (c->op >= OP_SETUID && c->op <= OP_CAPSET) return on_cred(s, t, c);
	if (c->op >= OP_SETNS && c->op <= OP_RAW_SOCKET) return on_priv(s, t, c);
	return 0;
}

/* i386 programs reach sockets by one call that carries the others; its
 * arguments are in user memory. */
static __always_inline void socketcall(struct call *c)
{
	__u32 a[6] = {};
	__u32 which = c->a[0];
	c->op = which == 1 ? OP_RAW_SOCKET : which == 3 ? OP_CONNECT : which == 4 ? OP_LISTEN : which == 5 || which == 18 ? OP_ACCEPT : OP_NONE;
	if (bpf_probe_read_user(a, 12, (void *)c->a[1])) c->op = OP_NONE;
	for (int i = 0; i < 3; i++) c->a[i] = a[i];
}

#define REG(r) G(regs, r)
static __always_inline int on_sys_exit(struct pt_regs *regs, long ret)
{
	__u32 nr = REG(orig_ax);
	if (nr >= 512) return 0;
	/* Both tables first: most calls are none of ours in either. */
	__u32 op = ops64[nr], other = ops32[nr];
	if (!(op | other)) return 0;
	struct task_struct *t = CURRENT();
	struct thread_info *ti = &t->thread_info;
	struct call c = {};
	if (BPF_CORE_READ(ti, status) & TS_COMPAT) {
		op = other;
		c.flags = F_COMPAT;
		c.a[0] = (__u32)REG(bx); c.a[1] = (__u32)REG(cx); c.a[2] = (__u32)REG(dx); c.a[3] = (__u32)REG(si); c.a[4] = (__u32)REG(di); c.a[5] = (__u32)REG(bp);
	} else {
		c.a[0] = REG(di); c.a[1] = REG(si); c.a[2] = REG(dx); c.a[3] = REG(r10); c.a[4] = REG(r8); c.a[5] = REG(r9);
	}
	if (!op || current_tgid() == self_tgid) return 0;
	c.op = op;
	c.ret = ret;
	if (op == OP_SOCKETCALL) socketcall(&c);
	struct area *s = area(AREA_SYS);
	return s ? dispatch(s, t, &c) : 0;
}
TRACEPOINT("sys_exit") int on_syscall(__u64 *ctx) { return on_sys_exit((void *)ctx[0], (long)ctx[1]); }
