/* What all programs share: maps, constants, the header, how a record is sent. */
#pragma once
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "record.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define IPPROTO_UDP 17
#define SOCK_RAW 3
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define OVERLAYFS_MAGIC 0x794c7630
#define AT_FDCWD -100
#define TS_COMPAT 2

/* Set before loading. */
const volatile __u32 self_tgid = 0;     /* the agent: not observed */
const volatile __u32 cgroup_v1 = 0;     /* containers are told apart by the v1 memory hierarchy */
const volatile __u32 wake_bytes = 65536;/* unread bytes at which the reader is woken; it polls anyway */
const volatile __u32 room[K_MAX] = {};  /* unread bytes above which a kind is refused: files leave room for execs */
const volatile __u8 ops64[512] = {}, ops32[512] = {};           /* system call number -> op */

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } events SEC(".maps");
struct tally { __u64 sent, lost; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, K_MAX); __type(key, __u32); __type(value, struct tally); } tallies SEC(".maps");
struct losses { __u64 of[K_MAX]; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, __u64); __type(value, struct losses); } cgroup_losses SEC(".maps");

/* Working memory, one for each program that may interrupt another on a CPU. */
enum { AREA_SCHED, AREA_SYS, AREA_ITER, AREA_FUNC, AREA_MAX };
struct watch_key { __u32 bits; char path[124]; };
struct area {
	char front[256]; /* the fixed part of a record ends where its strings begin */
	char data[DATA_MAX + 2048];
	char path[4096 + PATH_CAP];
	struct watch_key key;
	char tail[64];
	__u64 dentry, mnt, root; /* where the walk is */
	__u32 pos, steps, tail_pos[2], flags, which;
	__u64 args[6]; /* of the system call */
};
#define RECORD(s, type) ((struct type *)((s)->data - sizeof(struct type)))
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, AREA_MAX); __type(key, __u32); __type(value, struct area); } areas SEC(".maps");

/* G(p, a, b) is p->a->b. With BTF it is loads that the JIT does inline, without
 * it is a helper call each. */
#ifdef USE_BTF
#define CURRENT() ((struct task_struct *)bpf_get_current_task_btf())
#define TRACEPOINT(n) SEC("tp_btf/" n)
#define G1(p, a) ((p)->a)
#define G2(p, a, b) ((p)->a->b)
#define G3(p, a, b, c) ((p)->a->b->c)
#define G4(p, a, b, c, d) ((p)->a->b->c->d)
#define GSEL(_1, _2, _3, _4, N, ...) N
#define G(p, ...) GSEL(__VA_ARGS__, G4, G3, G2, G1)(p, __VA_ARGS__)
#else
#define CURRENT() ((struct task_struct *)bpf_get_current_task())
#define TRACEPOINT(n) SEC("raw_tp/" n)
#define G(p, ...) BPF_CORE_READ(p, __VA_ARGS__)
#endif

static __always_inline struct area *area(__u32 which)
{
	__u32 key = which;
	struct area *s = bpf_map_lookup_elem(&areas, &key);
	if (s) s->which = which;
	return s;
}
static __always_inline __u32 current_tgid(void) { return bpf_get_current_pid_tgid() >> 32; }

static __noinline void lose(__u64 cgroup, __u32 kind)
{
	struct losses *l = bpf_map_lookup_elem(&cgroup_losses, &cgroup);
	if (!l) {
		struct losses none = {};
		bpf_map_update_elem(&cgroup_losses, &cgroup, &none, BPF_NOEXIST);
		l = bpf_map_lookup_elem(&cgroup_losses, &cgroup);
		if (!l) return;
	}
	if (kind < K_MAX) __sync_fetch_and_add(&l->of[kind], 1);
}

/* send hands one record to the ring unless its kind has to leave the room to
 * dearer ones. The reader polls; it is woken only when unread bytes pass the
 * mark, and not again for each record above it: a wake-up costs more than the
 * rest of a program. */
static __always_inline void send(struct hdr *h, __u32 kind, __u64 len)
{
	__u64 unread = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	__u32 key = kind; /* kind itself stays a number the verifier knows */
	struct tally *t = bpf_map_lookup_elem(&tallies, &key);
	if (!t) return;
	h->len = len;
	__u64 flags = unread - wake_bytes < 16384 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (unread <= room[kind] && bpf_ringbuf_output(&events, h, len, flags) == 0) {
		t->sent++;
		return;
	}
	t->lost++;
	lose(h->cgroup, kind);
}

static __always_inline struct cgroup *cgroup_of(struct task_struct *t)
{
	struct css_set *set = BPF_CORE_READ(t, cgroups);
	if (cgroup_v1) {
		struct cgroup_subsys_state *css = NULL;
		int i = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
		bpf_core_read(&css, sizeof(css), &set->subsys[i & 15]);
		if (css) return BPF_CORE_READ(css, cgroup);
	}
	return BPF_CORE_READ(set, dfl_cgrp);
}

static __always_inline void fill(struct hdr *h, struct task_struct *t, __u16 kind, __u16 op, __u32 flags)
{
	h->time = bpf_ktime_get_boot_ns();
	h->start = G(t, group_leader, start_boottime);
	if (cgroup_v1) h->cgroup = BPF_CORE_READ(cgroup_of(t), kn, id);
	else h->cgroup = G(t, cgroups, dfl_cgrp, kn, id);
	h->pid = G(t, tgid);
	h->tid = G(t, pid);
	const struct cred *c = G(t, cred);
	h->uid = G(c, uid.val);
	h->gid = G(c, gid.val);
	h->kind = kind;
	h->op = op;
	h->flags = flags;
	h->pad = 0;
	bpf_probe_read_kernel(h->comm, sizeof(h->comm), &t->comm);
}

struct spaces { __u32 nspid, pidns, mntns, netns, userns; };
static __always_inline void namespaces(struct spaces *s, struct task_struct *t)
{
	__builtin_memset(s, 0, sizeof(*s));
	struct nsproxy *n = G(t, nsproxy);
	if (n) {
		s->mntns = G(n, mnt_ns, ns.inum);
		s->netns = G(n, net_ns, ns.inum);
	}
	s->userns = G(t, cred, user_ns, ns.inum);
	/* By probe_read: before 6.2 no variable offset on a BTF pointer. numbers[] is indexed by hand, it is flexible since 6.6. */
	struct pid *p = BPF_CORE_READ(t, group_leader, thread_pid);
	if (!p) return;
	__u32 level = BPF_CORE_READ(p, level);
	struct upid up = {};
	bpf_probe_read_kernel(&up, sizeof(up), (void *)p + bpf_core_field_offset(struct pid, numbers) + (level & 31) * bpf_core_type_size(struct upid));
	s->nspid = up.nr;
	s->pidns = BPF_CORE_READ(up.ns, ns.inum);
}

/* ---- paths ---- */

/* One step towards the root of the mount namespace. All state is in map memory
 * and the step is a function of its own: so the verifier sees equal registers
 * at every turn of the loop and does not try all ways through it. */
static __noinline int walk_step(struct area *s)
{
	struct dentry *d = (void *)s->dentry;
	struct mount *m = (void *)s->mnt;
	if (s->dentry == s->root) {
		struct mount *up = BPF_CORE_READ(m, mnt_parent);
		if (up == m || !up) return 1;
		s->dentry = (__u64)BPF_CORE_READ(m, mnt_mountpoint);
		s->mnt = (__u64)up;
		s->root = (__u64)BPF_CORE_READ(up, mnt.mnt_root);
		return 0;
	}
	struct dentry *parent = BPF_CORE_READ(d, d_parent);
	if (!parent || (parent == d && s->pos != 4095)) return 1; /* a pseudo file is its own parent: its name is all there is */
	struct qstr name = {};
	bpf_core_read(&name, sizeof(name), &d->d_name);
	__u32 len = name.len & 255, pos = s->pos;
	if (pos < len + 1) return 1;
	pos -= len;
	bpf_probe_read_kernel(&s->path[pos & 4095], len, name.name);
	s->tail_pos[s->steps & 1] = s->steps < 2 ? pos : s->tail_pos[s->steps & 1];
	s->steps++;
	pos--;
	s->path[pos & 4095] = '/';
	s->pos = pos;
	s->dentry = (__u64)parent;
	return parent == d;
}

/* A function that is not static is verified once, not at each call; to work on
 * 5.10 it takes numbers only, so it finds the area by its number. */
__noinline int walk_area(__u32 which)
{
	struct area *s = area(which);
	if (!s) return 0;
	for (int i = 0; i < 40; i++)
		if (walk_step(s)) break;
	if (s->pos == 4095) {
		s->pos = 4094;
		s->path[4094] = '/';
	}
	return 0;
}

/* walk leaves the path in s->path from the returned offset to 4094. */
static __always_inline __u32 walk(struct area *s, struct dentry *d, struct vfsmount *vm)
{
	s->path[4095] = 0;
	s->pos = 4095;
	s->steps = 0;
	s->tail_pos[0] = s->tail_pos[1] = 0;
	s->dentry = (__u64)d;
	s->mnt = (__u64)vm - bpf_core_field_offset(struct mount, mnt);
	s->root = (__u64)BPF_CORE_READ(vm, mnt_root);
	walk_area(s->which);
	return s->pos & 4095;
}

/* put_walked copies the walked path to data[off] and returns its length; the end of a long one. */
static __always_inline __u32 put_walked(struct area *s, __u32 off)
{
	__u32 pos = s->pos & 4095, len = 4095 - pos;
	if (len > PATH_CAP - 1) {
		pos += len - (PATH_CAP - 1);
		len = PATH_CAP - 1;
		s->flags |= F_PATH_CUT;
	}
	bpf_probe_read_kernel(&s->data[off & (DATA_MAX - 1)], len & (PATH_CAP - 1), &s->path[pos & 4095]);
	return len;
}
static __always_inline __u32 put_path(struct area *s, __u32 off, struct path *p)
{
	struct dentry *d = BPF_CORE_READ(p, dentry);
	struct vfsmount *v = BPF_CORE_READ(p, mnt);
	if (!d || !v) return 0;
	walk(s, d, v);
	return put_walked(s, off);
}

static __always_inline struct file *fd_file(struct task_struct *t, int fd)
{
	struct fdtable *table = BPF_CORE_READ(t, files, fdt);
	if (!table || fd < 0 || (__u32)fd >= BPF_CORE_READ(table, max_fds)) return NULL;
	struct file **all = BPF_CORE_READ(table, fd), *f = NULL;
	bpf_probe_read_kernel(&f, sizeof(f), &all[fd]);
	return f;
}
static __always_inline int is_socket(struct file *f) { return (BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT) == S_IFSOCK; }

/* An overlay's inode is followed by the dentry in its upper layer: struct
 * ovl_inode, whose types are in no BTF where overlayfs is a module. */
static __always_inline __u32 layer(struct inode *in, __u64 magic)
{
	if (magic != OVERLAYFS_MAGIC) return 0;
	struct dentry *upper = NULL;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)in + bpf_core_type_size(struct inode));
	return F_OVERLAY | (upper && BPF_CORE_READ(upper, d_inode) ? F_UPPER : 0);
}
