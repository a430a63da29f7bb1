/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The socket behind a file descriptor of the running process, by its cookie. Reads the kernel's own structs, whose layout
 * comes from the kernel's BTF when the object is loaded.
 */
#ifndef MESHTAP_DESCRIPTOR_H
#define MESHTAP_DESCRIPTOR_H

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define FROM_KERNEL __attribute__((preserve_access_index))

struct file;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} FROM_KERNEL;

struct files_struct {
	struct fdtable *fdt;
} FROM_KERNEL;

struct task_struct {
	struct files_struct *files;
} FROM_KERNEL;

struct inode {
	unsigned short i_mode;
} FROM_KERNEL;

struct file {
	struct inode *f_inode;
	void *private_data;
} FROM_KERNEL;

typedef struct {
	__s64 counter;
} atomic64_t;

struct sock_common {
	atomic64_t skc_cookie;
} FROM_KERNEL;

struct sock {
	struct sock_common __sk_common;
} FROM_KERNEL;

struct socket {
	struct file *file;
	struct sock *sk;
} FROM_KERNEL;

#define FILE_TYPE 0170000
#define FILE_IS_SOCKET 0140000 /* S_IFSOCK */

/* 0 = there is none, or nobody has asked for its cookie yet. */
static __noinline __u64 cookie_of_fd(int fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = 0;
	struct socket *socket;

	if (fd < 0 || (__u32)fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file)
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & FILE_TYPE) != FILE_IS_SOCKET)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	if (BPF_CORE_READ(socket, file) != file)
		return 0;
	return BPF_CORE_READ(socket, sk, __sk_common.skc_cookie.counter);
}

#endif
