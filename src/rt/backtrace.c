// SPDX-License-Identifier: MIT
//
// Backtraces of tasks, by frame pointers: a few loads, also in a signal handler, and nothing to prepare. (The CPU
// profile wants more and reads unwinding tables: unwind.c.) A frame must lie in the task's stack, above the last. Code
// that keeps no frame pointers (a library's) is passed over or ends the walk; a compiler may leave them out of a
// function that calls nothing, and then that function's caller is missing.
//
// Two ways to read a stack. One's own, from a signal handler on top of it: plainly. Another task's, which may run, end
// and lose its stack at any moment: through process_vm_readv, which fails where a plain read would fault; what it gives
// may then be of two moments, but every address is only ever looked up, never followed outside the stack. A task that
// is stopped and in the caller's hands is read plainly too.
#include "rt/rt_int.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WINDOW_WORDS = 128 };

// A copy of a piece of another task's stack.
struct window {
	uintptr_t begin, end;
	uintptr_t words[WINDOW_WORDS];
};

typedef bool read_fn(struct window *window, const struct rt_stack *stack, uintptr_t address, uintptr_t ret[2]);

__attribute__((no_sanitize("address"))) uintptr_t rt_stack_word(uintptr_t address)
{
	return *(const volatile uintptr_t *)address;
}

static bool read_own(struct window *window, const struct rt_stack *stack, uintptr_t address, uintptr_t ret[2])
{
	(void)window, (void)stack;
	ret[0] = rt_stack_word(address);
	ret[1] = rt_stack_word(address + sizeof ret[0]);
	return true;
}

static bool copy_in(struct window *window, const struct rt_stack *stack, uintptr_t address)
{
	uintptr_t top = (uintptr_t)stack->base + stack->bytes;
	size_t bytes = TARE_MIN(sizeof window->words, (size_t)(top - address));
	struct iovec here = {window->words, bytes}, there = {(void *)address, bytes};
	// The system call itself: a sanitizer's wrapper would check memory that is not ours to look at.
	if (syscall(SYS_process_vm_readv, (long)getpid(), &here, 1L, &there, 1L, 0L) != (long)bytes)
		return false;
	window->begin = address;
	window->end = address + bytes;
	return true;
}

static bool read_other(struct window *window, const struct rt_stack *stack, uintptr_t address, uintptr_t ret[2])
{
	bool inside = address >= window->begin && address + 2 * sizeof *ret <= window->end;
	if (!inside && !copy_in(window, stack, address))
		return false;
	const uintptr_t *words = &window->words[(address - window->begin) / sizeof *words];
	ret[0] = words[0];
	ret[1] = words[1];
	return true;
}

static int walk(const struct rt_stack *stack, uintptr_t pc, uintptr_t frame, read_fn *read, struct window *window,
		uintptr_t *ret)
{
	int count = 0;
	uintptr_t low = (uintptr_t)stack->base, high = low + stack->bytes, words[2];
	ret[count++] = pc;
	while (count < RT_FRAMES_MAX && frame >= low && frame + sizeof words <= high && frame % sizeof *words == 0) {
		if (!read(window, stack, frame, words) || words[1] == 0)
			break;
		ret[count++] = words[1];
		low = frame + 1; // stacks grow down: a caller's frame is higher
		frame = words[0];
	}
	return count;
}

#if defined(__x86_64__)
#define CONTEXT_PC(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RIP])
#define CONTEXT_SP(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RSP])
#define CONTEXT_FRAME(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RBP])
#elif defined(__aarch64__)
#define CONTEXT_PC(context) ((uintptr_t)(context)->uc_mcontext.pc)
#define CONTEXT_SP(context) ((uintptr_t)(context)->uc_mcontext.sp)
#define CONTEXT_FRAME(context) ((uintptr_t)(context)->uc_mcontext.regs[29])
#endif

uintptr_t rt_context_sp(const ucontext_t *context)
{
	return CONTEXT_SP(context);
}

int rt_backtrace_own(const struct rt_stack *stack, const ucontext_t *context, uintptr_t ret[RT_FRAMES_MAX])
{
	return walk(stack, CONTEXT_PC(context), CONTEXT_FRAME(context), read_own, NULL, ret);
}

#ifndef __x86_64__ // unwind.c has it there: elsewhere libraries keep frame pointers too
void rt_unwind_prepare(void) {}

int rt_unwind(const ucontext_t *context, uintptr_t high, uintptr_t ret[RT_FRAMES_MAX])
{
	uintptr_t sp = CONTEXT_SP(context);
	struct rt_stack live = {(char *)sp, high > sp ? high - sp : 0};
	return walk(&live, CONTEXT_PC(context), CONTEXT_FRAME(context), read_own, NULL, ret);
}
#endif

// Where switch_*.S keeps them, in words from the saved stack pointer.
#if defined(__x86_64__)
enum { FRAME_AT = 5, PC_AT = 6 };
#elif defined(__aarch64__)
enum { FRAME_AT = 10, PC_AT = 11 };
#endif
_Static_assert(PC_AT == FRAME_AT + 1, "they are read together");

static bool switch_frame_inside(const struct rt_stack *stack, uintptr_t at)
{
	uintptr_t low = (uintptr_t)stack->base;
	return low != 0 && at >= low && at + (PC_AT + 1) * sizeof at <= low + stack->bytes && at % sizeof at == 0;
}

int rt_backtrace_held(const struct rt_stack *stack, const void *sp, uintptr_t ret[RT_FRAMES_MAX])
{
	uintptr_t at = (uintptr_t)sp, words[2];
	if (!switch_frame_inside(stack, at) || !read_own(NULL, stack, at + FRAME_AT * sizeof at, words))
		return 0;
	return walk(stack, words[1], words[0], read_own, NULL, ret);
}

int rt_backtrace_stopped(const struct rt_stack *stack, const void *sp, uintptr_t ret[RT_FRAMES_MAX])
{
	struct window window = {.begin = 0, .end = 0};
	uintptr_t at = (uintptr_t)sp, words[2];
	if (!switch_frame_inside(stack, at) || !read_other(&window, stack, at + FRAME_AT * sizeof at, words))
		return 0;
	return walk(stack, words[1], words[0], read_other, &window, ret);
}
