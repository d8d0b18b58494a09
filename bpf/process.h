/* fork, exec, exit, new cgroups, and the processes there were at the start. */
#pragma once
#include "core.h"

static __always_inline __u32 stdio_sockets(struct task_struct *t)
{
	__u32 flags = 0;
	for (int fd = 0; fd < 3; fd++) {
		struct file *f = fd_file(t, fd);
		if (f && is_socket(f)) flags |= F_STDIN_SOCKET << fd;
	}
	return flags;
}

/* program notes which file runs: a memfd has no link, lives on a tmpfs and is named so. */
static __always_inline __u32 program(struct exec_rec *e, struct file *f)
{
	struct inode *in = BPF_CORE_READ(f, f_inode);
	struct super_block *sb = BPF_CORE_READ(in, i_sb);
	__u64 magic = BPF_CORE_READ(sb, s_magic);
	e->inode = BPF_CORE_READ(in, i_ino);
	e->dev = BPF_CORE_READ(sb, s_dev);
	e->mode = BPF_CORE_READ(in, i_mode);
	e->nlink = BPF_CORE_READ(in, i_nlink);
	e->generation = BPF_CORE_READ(in, i_generation);
	__u32 flags = layer(in, magic);
	if (e->mode & 06000) flags |= F_SETID;
	if (magic == TMPFS_MAGIC) flags |= F_TMPFS;
	if (e->nlink) return flags;
	flags |= F_UNLINKED;
	if (magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC) {
		char n[8] = {};
		bpf_probe_read_kernel(n, 6, BPF_CORE_READ(f, f_path.dentry, d_name.name));
		if (n[0] == 'm' && n[1] == 'e' && n[2] == 'm' && n[3] == 'f' && n[4] == 'd' && n[5] == ':') flags |= F_MEMFD;
	}
	return flags;
}

static __always_inline __u32 put_args(struct area *s, __u32 off, struct mm_struct *mm)
{
	struct exec_rec *e = RECORD(s, exec_rec);
	__u64 from = BPF_CORE_READ(mm, arg_start), to = BPF_CORE_READ(mm, arg_end);
	__u32 len = to - from;
	e->args_total = len;
	if (len > ARGS_MAX - 1) {
		len = ARGS_MAX - 1;
		e->h.flags |= F_ARGS_CUT;
	}
	len &= ARGS_MAX - 1;
	if (bpf_probe_read_user(&s->data[off & (DATA_MAX - 1)], len, (void *)from)) {
		e->h.flags |= F_ARGS_FAULT;
		return 0;
	}
	return len;
}

static __always_inline __u32 put_name(struct area *s, __u32 off, struct kernfs_node *kn)
{
	long n = bpf_probe_read_kernel_str(&s->data[off & (DATA_MAX - 1)], 256, BPF_CORE_READ(kn, name));
	return n > 0 ? (n - 1) & 255 : 0;
}
static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	struct kernfs_node___615 *k = (void *)kn;
	if (bpf_core_field_exists(k->__parent)) return BPF_CORE_READ(k, __parent);
	return BPF_CORE_READ(kn, parent);
}

/* describe fills an exec record but for argv and the file name, and returns where strings go on. */
static __always_inline __u32 describe(struct area *s, struct task_struct *t, struct file *f, __u32 flags)
{
	struct exec_rec *e = RECORD(s, exec_rec);
	__builtin_memset(e, 0, sizeof(*e));
	s->flags = 0;
	fill(&e->h, t, K_EXEC, OP_NONE, flags);
	struct task_struct *parent = G(t, real_parent);
	e->parent = G(parent, tgid);
	e->parent_start = G(parent, group_leader, start_boottime);
	const struct cred *c = G(t, cred);
	e->euid = G(c, euid.val);
	e->egid = G(c, egid.val);
	bpf_core_read(&e->cap_effective, 8, &c->cap_effective); /* u32[2] before 6.3, u64 since: the same 8 bytes */
	bpf_core_read(&e->cap_permitted, 8, &c->cap_permitted);
	struct spaces ns;
	namespaces(&ns, t);
	e->nspid = ns.nspid;
	e->pidns = ns.pidns;
	e->mntns = ns.mntns;
	e->netns = ns.netns;
	e->userns = ns.userns;
	struct tty_struct *tty = BPF_CORE_READ(t, signal, tty);
	if (tty) e->tty = BPF_CORE_READ(tty, driver, major) << 8 | (BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index));
	e->h.flags |= stdio_sockets(t);
	__u32 off = 0;
	struct kernfs_node *kn = BPF_CORE_READ(cgroup_of(t), kn);
	e->cgroup_len = put_name(s, off, kn);
	off += e->cgroup_len;
	kn = kernfs_parent(kn);
	if (kn) {
		e->cgroup_parent_len = put_name(s, off, kn);
		off += e->cgroup_parent_len;
	}
	if (f) {
		e->h.flags |= program(e, f);
		e->exe_len = put_path(s, off, (struct path *)&f->f_path);
		off += e->exe_len;
	}
	struct fs_struct *fs = BPF_CORE_READ(t, fs);
	if (fs) {
		e->cwd_len = put_path(s, off, (struct path *)&fs->pwd);
		off += e->cwd_len;
	}
	e->h.flags |= s->flags;
	return off;
}

static __always_inline int on_exec(struct task_struct *t, struct linux_binprm *b)
{
	struct area *s = area(AREA_SCHED);
	if (!s || current_tgid() == self_tgid) return 0;
	struct exec_rec *e = RECORD(s, exec_rec);
	__u32 off = describe(s, t, BPF_CORE_READ(b, file), 0);
	long n = bpf_probe_read_kernel_str(&s->data[off & (DATA_MAX - 1)], PATH_CAP, BPF_CORE_READ(b, filename));
	if (n > 0) {
		e->file_len = (n - 1) & (PATH_CAP - 1);
		off += e->file_len;
	}
	struct mm_struct *mm = G(t, mm);
	if (mm) {
		e->args_len = put_args(s, off, mm);
		off += e->args_len;
	}
	send(&e->h, K_EXEC, sizeof(*e) + (off & (DATA_MAX - 1)));
	return 0;
}

static __always_inline int on_fork(struct task_struct *p, struct task_struct *c)
{
	__u32 child = G(c, tgid);
	if (G(c, pid) != child) return 0; /* a thread */
	if (G(p, tgid) == self_tgid) return 0;
	struct fork_rec r = {};
	fill(&r.h, p, K_FORK, OP_NONE, 0);
	r.child = child;
	r.child_start = G(c, start_boottime);
	struct spaces ns;
	namespaces(&ns, c);
	r.child_nspid = ns.nspid;
	r.pidns = ns.pidns;
	r.mntns = ns.mntns;
	r.netns = ns.netns;
	r.userns = ns.userns;
	send(&r.h, K_FORK, sizeof(r));
	return 0;
}

static __always_inline int on_exit(struct task_struct *t)
{
	if (current_tgid() == self_tgid) return 0;
	if (BPF_CORE_READ(t, signal, live.counter) != 0) return 0; /* the last thread, which need not be the leader */
	struct exit_rec r = {};
	fill(&r.h, t, K_EXIT, OP_NONE, 0);
	r.code = BPF_CORE_READ(t, exit_code);
	send(&r.h, K_EXIT, sizeof(r));
	return 0;
}

static __always_inline int on_cgroup(struct cgroup *c, const char *path)
{
	struct area *s = area(AREA_SCHED);
	if (!s) return 0;
	/* only the hierarchy by which containers are told apart */
	if (cgroup_v1) {
		int i = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
		if (!(BPF_CORE_READ(c, root, subsys_mask) >> (i & 15) & 1)) return 0;
	} else if (BPF_CORE_READ(c, root, hierarchy_id) != 0) return 0;
	struct cgroup_rec *r = RECORD(s, cgroup_rec);
	fill(&r->h, CURRENT(), K_CGROUP, OP_NONE, 0);
	r->id = BPF_CORE_READ(c, kn, id);
	r->pad = 0;
	long n = bpf_probe_read_kernel_str(s->data, PATH_CAP, path);
	r->path_len = n > 0 ? (n - 1) & (PATH_CAP - 1) : 0;
	send(&r->h, K_CGROUP, sizeof(*r) + r->path_len);
	return 0;
}

TRACEPOINT("sched_process_exec") int on_sched_exec(__u64 *ctx) { return on_exec((void *)ctx[0], (void *)ctx[2]); }
TRACEPOINT("sched_process_fork") int on_sched_fork(__u64 *ctx) { return on_fork((void *)ctx[0], (void *)ctx[1]); }
TRACEPOINT("sched_process_exit") int on_sched_exit(__u64 *ctx) { return on_exit((void *)ctx[0]); }
TRACEPOINT("cgroup_mkdir") int on_cgroup_mkdir(__u64 *ctx) { return on_cgroup((void *)ctx[0], (void *)ctx[1]); }
