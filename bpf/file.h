/* Files: which are worth telling is asked of maps that user space fills. */
#pragma once
#include "core.h"

#define O_ACCMODE 3

/* The longest prefix of the path decides; the last one or two components
 * ("authorized_keys", ".kube/config") can add to it. */
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 512); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct watch_key); __type(value, __u32); } watched SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 512); __type(key, char[64]); __type(value, __u32); } watched_tails SEC(".maps");

static __noinline __u32 watch_of(struct area *s, const char *path)
{
	s->key.bits = 124 * 8;
	if (bpf_probe_read_kernel_str(s->key.path, sizeof(s->key.path), path) < 0) return 0;
	__u32 *w = bpf_map_lookup_elem(&watched, &s->key);
	return w ? *w : 0;
}
static __noinline __u32 watch_of_tail(struct area *s, __u32 pos)
{
	__u32 len = 4095 - (pos & 4095);
	if (!pos || len > 63) return 0;
	__builtin_memset(s->tail, 0, sizeof(s->tail));
	bpf_probe_read_kernel(s->tail, len & 63, &s->path[pos & 4095]);
	__u32 *w = bpf_map_lookup_elem(&watched_tails, s->tail);
	return w ? *w : 0;
}

static __always_inline int on_open(struct area *s, struct task_struct *t, struct file *f, __u32 flags)
{
	struct inode *in = BPF_CORE_READ(f, f_inode);
	__u32 mode = BPF_CORE_READ(in, i_mode), type = mode & S_IFMT;
	if (type != S_IFREG && type != S_IFBLK && type != S_IFCHR) return 0;
	__u32 oflags = BPF_CORE_READ(f, f_flags), want = oflags & O_ACCMODE ? WATCH_WRITE : WATCH_READ;
	if (type != S_IFREG) want = WATCH_READ; /* devices only where they are named */
	__u32 pos = walk(s, BPF_CORE_READ(f, f_path.dentry), BPF_CORE_READ(f, f_path.mnt));
	__u32 w = watch_of(s, &s->path[pos & 4095]);
	if (w & WATCH_IGNORE) return 0;
	if (!(w & want)) w |= watch_of_tail(s, s->tail_pos[0]);
	if (!(w & want)) w |= watch_of_tail(s, s->tail_pos[1]);
	if (!(w & want)) return 0;
	struct file_rec *r = RECORD(s, file_rec);
	__u32 len = put_walked(s, 0) & (PATH_CAP - 1);
	fill(&r->h, t, K_FILE, OP_OPEN, flags | s->flags | layer(in, BPF_CORE_READ(in, i_sb, s_magic)));
	r->inode = BPF_CORE_READ(in, i_ino);
	r->dev = BPF_CORE_READ(in, i_sb, s_dev);
	r->generation = BPF_CORE_READ(in, i_generation);
	r->oflags = oflags;
	r->mode = mode;
	r->path_len = len;
	send(&r->h, K_FILE, sizeof(*r) + len);
	return 0;
}

/* climbs says whether a name has a ".." in it: what prefix it has then says nothing. */
__noinline int climbs(__u32 which, __u32 off)
{
	struct area *s = area(which);
	if (!s) return 0;
	for (__u32 i = 0; i < 250; i++) {
		char *p = &s->data[(off + i) & (DATA_MAX - 1)];
		if (!p[0]) return 0;
		if (p[0] == '.' && p[1] == '.') return 1;
	}
	return 0;
}

/* put_name_at puts a name given by a program, made absolute, with its NUL.
 * The directory's own path is the kernel's. */
__noinline int put_name_at(__u32 which, int dir, __u64 name, __u32 off)
{
	struct area *s = area(which);
	struct task_struct *t = CURRENT();
	if (!s) return 0;
	char first = 0;
	__u32 len = 0;
	off &= 4095;
	bpf_probe_read_user(&first, 1, (void *)name);
	if (first != '/') {
		struct path *p = NULL;
		if (dir == AT_FDCWD) {
			struct fs_struct *fs = BPF_CORE_READ(t, fs);
			if (fs) p = (struct path *)&fs->pwd;
		} else {
			struct file *f = fd_file(t, dir);
			if (f) p = (struct path *)&f->f_path;
		}
		if (p) len = put_path(s, off, p) & (PATH_CAP - 1);
		if (len != 1) {
			s->data[(off + len) & (DATA_MAX - 1)] = '/';
			len++;
		}
	}
	long n = bpf_probe_read_user_str(&s->data[(off + len) & (DATA_MAX - 1)], PATH_CAP, (void *)name);
	return len + (n > 0 ? n & (2 * PATH_CAP - 1) : 0);
}

static __always_inline __u32 put_fd_path(struct area *s, struct task_struct *t, int fd)
{
	struct file *f = fd_file(t, fd);
	if (!f || (BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT) != S_IFREG) return 0;
	__u32 len = put_path(s, 0, (struct path *)&f->f_path) & (PATH_CAP - 1);
	s->data[len] = 0;
	return len + 1;
}

__noinline int on_name(__u32 which, __u32 op, __u32 flags)
{
	struct area *s = area(which);
	struct task_struct *t = CURRENT();
	if (!s) return 0;
	__u64 *a = s->args;
	__u32 len = 0, to = 0, arg = 0, want = WATCH_NAME;
	switch (op) {
	case OP_UNLINK: len = put_name_at(which, AT_FDCWD, a[0], 0); break;
	case OP_UNLINKAT: len = put_name_at(which, a[0], a[1], 0); arg = a[2]; break;
	case OP_TRUNCATE: len = put_name_at(which, AT_FDCWD, a[0], 0); break;
	case OP_FTRUNCATE: len = put_fd_path(s, t, a[0]); break;
	case OP_CHMOD: len = put_name_at(which, AT_FDCWD, a[0], 0); arg = a[1]; break;
	case OP_FCHMODAT: len = put_name_at(which, a[0], a[1], 0); arg = a[2]; break;
	case OP_FCHMOD: len = put_fd_path(s, t, a[0]); arg = a[1]; break;
	}
	if (op == OP_CHMOD || op == OP_FCHMOD || op == OP_FCHMODAT) {
		if (!(arg & 06111)) return 0;
		want = WATCH_WRITE; /* made executable or set-uid: part of a drop */
	}
	__u64 from = a[0], dest = a[1];
	int from_dir = AT_FDCWD, dest_dir = AT_FDCWD;
	switch (op) {
	case OP_RENAMEAT: case OP_LINKAT: from_dir = a[0]; from = a[1]; dest_dir = a[2]; dest = a[3]; break;
	case OP_SYMLINKAT: dest_dir = a[1]; dest = a[2]; break;
	}
	if (op == OP_RENAME || op == OP_RENAMEAT || op == OP_LINK || op == OP_LINKAT || op == OP_SYMLINK || op == OP_SYMLINKAT) {
		len = put_name_at(which, from_dir, from, 0);
		if (len > 2 * PATH_CAP) return 0;
		to = put_name_at(which, dest_dir, dest, len);
	}
	if (!len || len > 2 * PATH_CAP || to > 2 * PATH_CAP) return 0;
	__u32 w = watch_of(s, s->data);
	if (to) w |= watch_of(s, &s->data[len & 4095]);
	if (!(w & want) && !climbs(which, 0) && !(to && climbs(which, len))) return 0;
	struct name_rec *r = RECORD(s, name_rec);
	fill(&r->h, t, K_NAME, op, flags | s->flags);
	r->arg = arg;
	r->path_len = len;
	r->to_len = to;
	send(&r->h, K_NAME, sizeof(*r) + ((len + to) & 8191));
	return 0;
}
