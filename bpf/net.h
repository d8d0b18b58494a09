/* Sockets. */
#pragma once
#include "core.h"

#define IPPROTO_TCP 6
#define PEER_AGAIN 60000000000ULL /* a datagram socket's peer is told again after a minute */

struct peer { __u64 sock; __u32 addr[4]; __u32 port, pid; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct peer); __type(value, __u64); } peers SEC(".maps");

static __always_inline struct sock *file_sock(struct file *f)
{
	struct socket *so = BPF_CORE_READ(f, private_data);
	return BPF_CORE_READ(so, sk);
}
static __always_inline int socket_ends(struct net_rec *r, struct sock *sk)
{
	r->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	r->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (r->family == AF_INET) {
		*(__u32 *)r->local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		*(__u32 *)r->peer = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		return 1;
	}
	if (r->family != AF_INET6) return 0;
	BPF_CORE_READ_INTO(&r->local, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&r->peer, sk, __sk_common.skc_v6_daddr);
	return 1;
}

/* asked notes the address the program gave: a cgroup program may have sent the socket elsewhere. */
static __always_inline void asked(struct net_rec *r, __u64 at)
{
	struct { __u16 family; __be16 port; __u32 v4; __u8 v6[16]; __u32 scope; } a = {};
	if (!at || bpf_probe_read_user(&a, 16, (void *)at)) return;
	if (a.family == AF_INET) *(__u32 *)r->asked = a.v4;
	else if (a.family != AF_INET6 || bpf_probe_read_user(&a, 28, (void *)at)) return;
	else __builtin_memcpy(r->asked, a.v6, 16);
	r->asked_port = bpf_ntohs(a.port);
}

/* unix_path takes the name from user memory; an abstract one is shown with a leading '@'. */
static __always_inline void unix_path(struct area *s, struct net_rec *r, __u64 at, __u64 len)
{
	if (len < 3 || len > 110) return;
	char *d = s->data;
	if (bpf_probe_read_user(d, 108, (void *)(at + 2)) && bpf_probe_read_user(d, (len - 2) & 127, (void *)(at + 2))) return;
	if (d[0] == 0) d[0] = '@';
	r->str_len = len - 2;
}

static __noinline int new_peer(struct net_rec *r, struct sock *sk, __u32 pid)
{
	struct peer k = { .sock = (__u64)sk, .pid = pid, .port = r->asked_port ? r->asked_port : r->peer_port };
	__builtin_memcpy(k.addr, r->asked_port ? r->asked : r->peer, 16);
	__u64 now = bpf_ktime_get_boot_ns(), *seen = bpf_map_lookup_elem(&peers, &k);
	if (seen && now - *seen < PEER_AGAIN) return 0;
	bpf_map_update_elem(&peers, &k, &now, BPF_ANY);
	return 1;
}
