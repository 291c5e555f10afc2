// SPDX-License-Identifier: MIT
// The context switch on x86-64 (System V ABI). See rt_int.h for its contract.
//
// A stopped context, from its saved stack pointer upwards:
//   r15 r14 r13 r12 rbx rbp  resume address
	.text

	.globl rt_switch
	.hidden rt_switch
	.type rt_switch, @function
	.p2align 4
rt_switch:
	.cfi_startproc
	pushq %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	.cfi_adjust_cfa_offset 40
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	.cfi_adjust_cfa_offset -48
	.cfi_same_value rbp
	popq %rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register rip, rcx
	jmpq *%rcx
	.cfi_endproc
	.size rt_switch, .-rt_switch

// r12 holds the argument, r13 the function. A zero frame pointer and an undefined return address end every backtrace
// here.
	.globl rt_context_entry
	.hidden rt_context_entry
	.type rt_context_entry, @function
	.p2align 4
rt_context_entry:
	.cfi_startproc
	.cfi_undefined rip
	xorl %ebp, %ebp
	movq %r12, %rdi
	call *%r13
	ud2
	.cfi_endproc
	.size rt_context_entry, .-rt_context_entry

	.section .note.GNU-stack, "", @progbits
