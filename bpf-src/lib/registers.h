/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Arguments and results of functions by the calling convention of the target, not of the machine that compiles: offsets
 * in struct pt_regs (x86-64: arch/x86/include/asm/ptrace.h; arm64: user_pt_regs of uapi/asm/ptrace.h), in words.
 */
#ifndef MESHTAP_REGISTERS_H
#define MESHTAP_REGISTERS_H

#include <linux/types.h>

struct registers {
	__u64 word[21];
};

#if defined(__TARGET_ARCH_x86)
#define ARGUMENT_1(regs) ((regs)->word[14]) /* di */
#define ARGUMENT_2(regs) ((regs)->word[13]) /* si */
#define ARGUMENT_4(regs) ((regs)->word[11]) /* cx */
#define RESULT(regs) ((regs)->word[10])	    /* ax */
#elif defined(__TARGET_ARCH_arm64)
#define ARGUMENT_1(regs) ((regs)->word[0])
#define ARGUMENT_2(regs) ((regs)->word[1])
#define ARGUMENT_4(regs) ((regs)->word[3])
#define RESULT(regs) ((regs)->word[0])
#else
#error "which registers hold arguments on this architecture?"
#endif

#endif
