// SPDX-License-Identifier: MIT
// The context switch on aarch64 (AAPCS64). See rt_int.h for its contract.
//
// A stopped context is 160 bytes from its saved stack pointer upwards:
//   x19 x20  x21 x22  x23 x24  x25 x26  x27 x28  x29 x30  d8 d9  d10 d11  d12 d13  d14 d15
	.text

	.globl rt_switch
	.hidden rt_switch
	.type rt_switch, %function
	.p2align 4
rt_switch:
	.cfi_startproc
	sub sp, sp, #160
	.cfi_adjust_cfa_offset 160
	stp x19, x20, [sp, #0]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	stp d8, d9, [sp, #96]
	stp d10, d11, [sp, #112]
	stp d12, d13, [sp, #128]
	stp d14, d15, [sp, #144]
	mov x9, sp
	str x9, [x0]
	mov sp, x1
	ldp x19, x20, [sp, #0]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	ldp d8, d9, [sp, #96]
	ldp d10, d11, [sp, #112]
	ldp d12, d13, [sp, #128]
	ldp d14, d15, [sp, #144]
	add sp, sp, #160
	.cfi_adjust_cfa_offset -160
	mov x9, x30
	br x9
	.cfi_endproc
	.size rt_switch, .-rt_switch

// x19 holds the argument, x20 the function. A zero frame pointer and an undefined return address end every backtrace
// here.
	.globl rt_context_entry
	.hidden rt_context_entry
	.type rt_context_entry, %function
	.p2align 4
rt_context_entry:
	.cfi_startproc
	.cfi_undefined x30
	mov x29, #0
	mov x30, #0
	mov x0, x19
	blr x20
	brk #0
	.cfi_endproc
	.size rt_context_entry, .-rt_context_entry

	.section .note.GNU-stack, "", %progbits
