// SPDX-License-Identifier: MIT
//
// The report of an overflowed stack: a fault in the guard below the running task's stack names the task, the size of
// its stack and where it was, then the process ends by the signal as it would have.
//
// Any other fault goes to the handler that was there before (a sanitizer's, the program's). Everything here is
// async-signal-safe but backtrace_symbols_fd's first call, which rt_crash_init makes in advance.
// The one place where the library writes to standard error: there is no caller left to tell.
#include "rt/rt_int.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIGNAL_STACK_BYTES = 64 * 1024, GUARD_BYTES = 4096 };

static struct sigaction previous;

static void say(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
}

static void say_number(uint64_t n)
{
	char digits[21];
	digits[tare_format_u64(digits, n)] = '\0';
	say(digits);
}

static void report(const struct tare_task *task, const ucontext_t *context)
{
	say("tare: task '");
	say(task->name);
	say("' (id ");
	say_number(task->id);
	say(") overflowed its stack of ");
	say_number(task->stack.bytes);
	say(" bytes; give a task that you spawn more with tare_task_options.stack_bytes, and the first task and a "
	    "server's handlers with tare_rt_options.stack_bytes, or use less. It was here (names need -rdynamic):\n");
	uintptr_t frames[RT_FRAMES_MAX];
	int count = rt_backtrace_own(&task->stack, context, frames);
	backtrace_symbols_fd((void **)frames, count, STDERR_FILENO);
	if (count == RT_FRAMES_MAX)
		say("... (more frames)\n");
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
	struct rt_worker *w = rt_self();
	const struct tare_task *task = w != NULL ? w->current : NULL;
	if (task != NULL && task->stack.base != NULL) {
		uintptr_t fault = (uintptr_t)info->si_addr, base = (uintptr_t)task->stack.base;
		if (fault < base && fault >= base - GUARD_BYTES) {
			report(task, context);
			signal(signal_number, SIG_DFL); // the fault comes again and ends the process
			return;
		}
	}
	if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != NULL) {
		previous.sa_sigaction(signal_number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(signal_number);
	} else {
		signal(signal_number, SIG_DFL);
	}
}

int rt_crash_init(void)
{
	void *frame;
	(void)backtrace(&frame, 1); // loads what it needs now, not in the handler
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigemptyset(&action.sa_mask);
	return sigaction(SIGSEGV, &action, &previous) < 0 ? -errno : 0;
}

void rt_crash_done(void)
{
	sigaction(SIGSEGV, &previous, NULL);
}

int rt_crash_worker_init(struct rt_worker *worker)
{
	stack_t old;
	if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE) == 0)
		return 0; // a sanitizer's, large enough
	void *map =
	    mmap(NULL, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	stack_t stack = {.ss_sp = map, .ss_size = SIGNAL_STACK_BYTES};
	if (sigaltstack(&stack, NULL) < 0) {
		int rc = -errno;
		munmap(map, SIGNAL_STACK_BYTES);
		return rc;
	}
	worker->signal_stack = map;
	return 0;
}

void rt_crash_worker_done(struct rt_worker *worker)
{
	if (worker->signal_stack == NULL)
		return;
	stack_t off = {.ss_flags = SS_DISABLE};
	sigaltstack(&off, NULL);
	munmap(worker->signal_stack, SIGNAL_STACK_BYTES);
	worker->signal_stack = NULL;
}
