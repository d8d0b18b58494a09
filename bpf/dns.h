/* DNS at the root of the v2 hierarchy: the address hooks remember which process
 * a socket is of, the packet hooks see the message however it was sent, by
 * write() and io_uring too. */
#pragma once
#include "core.h"

struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u64); __type(value, struct hdr); } dns_sockets SEC(".maps");
struct dns_area { struct dns_rec r; char data[DNS_MAX]; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, struct dns_area); } dns_areas SEC(".maps");

static __always_inline int remember(struct bpf_sock_addr *c)
{
	if (c->user_port != bpf_htons(53)) return 1;
	if (current_tgid() == self_tgid) return 1;
	__u64 cookie = bpf_get_socket_cookie(c);
	struct hdr h = {};
	/* A cgroup program gets the task as a number in both builds. */
	struct task_struct *t = (void *)bpf_get_current_task();
	h.start = BPF_CORE_READ(t, group_leader, start_boottime);
	h.cgroup = BPF_CORE_READ(cgroup_of(t), kn, id);
	h.pid = BPF_CORE_READ(t, tgid);
	h.tid = BPF_CORE_READ(t, pid);
	h.uid = BPF_CORE_READ(t, cred, uid.val);
	h.gid = BPF_CORE_READ(t, cred, gid.val);
	bpf_probe_read_kernel(h.comm, sizeof(h.comm), &t->comm);
	bpf_map_update_elem(&dns_sockets, &cookie, &h, BPF_ANY);
	return 1;
}

static __always_inline int on_packet(struct __sk_buff *skb, __u32 op)
{
	__u8 first = 0, proto = 0;
	__u32 off = 40;
	struct udphdr u;
	if (bpf_skb_load_bytes(skb, 0, &first, 1)) return 1;
	int v4 = first >> 4 == 4;
	if (v4) off = (first & 15) * 4;
	if (bpf_skb_load_bytes(skb, v4 ? 9 : 6, &proto, 1) || proto != 17) return 1; /* IPv6 with extension headers is left out */
	if (bpf_skb_load_bytes(skb, off, &u, sizeof(u))) return 1;
	if ((op == OP_DNS_QUERY ? u.dest : u.source) != bpf_htons(53)) return 1;
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct hdr *owner = bpf_map_lookup_elem(&dns_sockets, &cookie);
	if (!owner) return 1;
	__u32 which = op == OP_DNS_ANSWER;
	struct dns_area *s = bpf_map_lookup_elem(&dns_areas, &which);
	if (!s) return 1;
	__builtin_memset(&s->r, 0, sizeof(s->r));
	__builtin_memcpy(&s->r.h, owner, sizeof(s->r.h));
	s->r.h.time = bpf_ktime_get_boot_ns();
	s->r.h.kind = K_DNS;
	s->r.h.op = op;
	s->r.family = v4 ? AF_INET : AF_INET6;
	__u32 local = v4 ? 12 : 8, peer = v4 ? 16 : 24;
	if (op == OP_DNS_ANSWER) { __u32 x = local; local = peer; peer = x; }
	if (v4) {
		bpf_skb_load_bytes(skb, local, s->r.local, 4);
		bpf_skb_load_bytes(skb, peer, s->r.peer, 4);
	} else {
		bpf_skb_load_bytes(skb, local, s->r.local, 16);
		bpf_skb_load_bytes(skb, peer, s->r.peer, 16);
	}
	s->r.local_port = bpf_ntohs(op == OP_DNS_QUERY ? u.source : u.dest);
	__u32 len = bpf_ntohs(u.len);
	if (len <= 8) return 1;
	len -= 9;
	if (len > DNS_MAX - 2) len = DNS_MAX - 2;
	asm volatile("" : "+r"(len)); /* or clang drops the mask, by which kernels before 6.12 know the bounds */
	len = (len & (DNS_MAX - 1)) + 1;
	if (bpf_skb_load_bytes(skb, off + 8, s->data, len)) return 1;
	s->r.data_len = len;
	send(&s->r.h, K_DNS, sizeof(s->r) + len);
	return 1;
}

SEC("cgroup/connect4") int dns_connect4(struct bpf_sock_addr *c) { return remember(c); }
SEC("cgroup/connect6") int dns_connect6(struct bpf_sock_addr *c) { return remember(c); }
SEC("cgroup/sendmsg4") int dns_sendmsg4(struct bpf_sock_addr *c) { return remember(c); }
SEC("cgroup/sendmsg6") int dns_sendmsg6(struct bpf_sock_addr *c) { return remember(c); }
SEC("cgroup_skb/egress") int dns_egress(struct __sk_buff *skb) { return on_packet(skb, OP_DNS_QUERY); }
SEC("cgroup_skb/ingress") int dns_ingress(struct __sk_buff *skb) { return on_packet(skb, OP_DNS_ANSWER); }
