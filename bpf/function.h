/* Hooks on functions: they see io_uring too and cost other system calls
 * nothing, but need the BPF trampoline, which not every kernel has. */
#pragma once
#include "core.h"
#include "net.h"
#include "file.h"

static __always_inline int opened(struct file *f)
{
	struct area *s = area(AREA_FUNC);
	if (!s || current_tgid() == self_tgid) return 0;
	s->flags = 0;
	return on_open(s, CURRENT(), f, 0);
}

/* by_call: the function runs for a system call that the sensor tells at its
 * end, with its result and what was asked for. What is left is io_uring and
 * sends that open a connection (TCP fast open). */
static __always_inline int by_call(__u32 op)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(CURRENT());
	__u64 nr = BPF_CORE_READ(regs, orig_ax);
	if (nr >= 512) return 0;
	return ops64[nr] == op || ops32[nr] == op || ops32[nr] == OP_SOCKETCALL;
}
static __always_inline int tcp(struct sock *sk, __u32 op)
{
	struct area *s = area(AREA_FUNC);
	if (!s || !sk || by_call(op) || current_tgid() == self_tgid) return 0;
	struct net_rec *r = RECORD(s, net_rec);
	__builtin_memset(r, 0, sizeof(*r));
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->proto = IPPROTO_TCP;
	r->fd = -1;
	if (!socket_ends(r, sk)) return 0;
	fill(&r->h, CURRENT(), K_NET, op, 0);
	r->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	send(&r->h, K_NET, sizeof(*r));
	return 0;
}

SEC("lsm/file_open") int open_lsm(__u64 *ctx) { return opened((void *)ctx[0]); }
SEC("fentry/security_file_open") int open_fentry(__u64 *ctx) { return opened((void *)ctx[0]); }
SEC("fentry/tcp_connect") int connect_fentry(__u64 *ctx) { return tcp((void *)ctx[0], OP_CONNECT); }
/* inet_csk_accept lost two arguments in 6.10; user space picks by BTF */
SEC("fexit/inet_csk_accept") int accept_fexit4(__u64 *ctx) { return tcp((void *)ctx[4], OP_ACCEPT); }
SEC("fexit/inet_csk_accept") int accept_fexit2(__u64 *ctx) { return tcp((void *)ctx[2], OP_ACCEPT); }
