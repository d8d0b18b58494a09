/* What there was before the sensor: processes and their sockets. */
#pragma once
#include "process.h"
#include "net.h"

SEC("iter/task") int snapshot_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct area *s = area(AREA_ITER);
	if (!t || !s || t->pid != t->tgid || t->tgid == self_tgid) return 0;
	struct exec_rec *e = RECORD(s, exec_rec);
	struct mm_struct *mm = t->mm;
	__u32 off = describe(s, t, mm ? BPF_CORE_READ(mm, exe_file) : NULL, F_AT_START) & (DATA_MAX - 1);
	e->h.len = sizeof(*e) + off;
	bpf_seq_write(ctx->meta->seq, e, sizeof(*e) + off);
	return 0;
}

SEC("iter/task_file") int snapshot_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *f = ctx->file;
	struct area *s = area(AREA_ITER);
	if (!t || !f || !s || t->pid != t->tgid || t->tgid == self_tgid || !is_socket(f)) return 0;
	struct sock *sk = file_sock(f);
	struct net_rec *r = RECORD(s, net_rec);
	__builtin_memset(r, 0, sizeof(*r));
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->proto = BPF_CORE_READ(sk, sk_protocol);
	if (!socket_ends(r, sk)) return 0;
	fill(&r->h, t, K_NET, OP_SOCKET_AT_START, F_AT_START);
	r->fd = ctx->fd;
	r->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	r->h.len = sizeof(*r);
	bpf_seq_write(ctx->meta->seq, r, sizeof(*r));
	return 0;
}
