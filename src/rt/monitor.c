// SPDX-License-Identifier: MIT
//
// The monitor: one thread that watches the workers. A task that runs on and on is reported, and what its worker can't
// look after meanwhile is looked after by the others.
//
// It reads what workers count anyway: one that runs a task, and has switched no task in since the last look, is still
// in the same run. Two limits follow from how long the run has lasted:
//
//   a look or two (5 to 10 ms)   the worker is stuck: the monitor waits for its poller and timers and, when there is
//                                something, has another worker take the events (rt_rescue), or wakes one to steal
//   watchdog_ns                  the task is slow: counted, and reported once a run, at most once a second
//
// A slow task's backtrace is taken by its own thread: a handler of SIGURG walks the frame pointers and leaves the
// addresses here; names are found and text is written by this thread. SIGURG because it is ignored by default, so one
// that comes late or goes astray does nothing. Ours is told by its value; others go on to the handler that was there
// before. When the program installs a handler of its own later, or the thread sleeps in the kernel (a signal would cut
// its call short), none is sent: then the report says which function called the kernel.
//
// Invariants
//   1. A rescue runs on a worker, on its own stack: callbacks and wake-ups find there what they always do. Events are
//      given to it or to the owner, never to both, and the owner's wakes are left alone.
//   2. rt.rescue is set after a want_rescue and cleared before they are looked at, so none is forgotten.
//   3. It dozes only while all workers are idle: it says so, then looks once more; a worker leaves the idle list, then
//      looks whether it dozes (sched.c). Both with full fences.
//
// What nobody can rescue: tasks pinned to the stuck worker, unless they are lendable: those are moved to the helper's
// queue, and go back to their own when they next wait. With one worker there is nobody to help, with all of them
// stuck neither.
// A worker that is alone (<tare/base.h>) stays so: the monitor uses no primitive, not even tare_alloc, while it runs
// with one worker; a program's hook for reports may.
// Threads: this one; rt_rescue on workers. Cost: a wake-up each 5 ms while anything runs, none when all is idle.
// Rejected: preempting tasks (C code holds what a signal can't see), a poller for all workers (contended), signalling
// from a timer (every program would see EINTR).
#include "rt/rt_int.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("monitor");

#define LIMIT_DEFAULT_NS (25 * TARE_NS_PER_MS)
#define TICK_MIN_NS TARE_NS_PER_MS
#define TICK_MAX_NS (5 * TARE_NS_PER_MS)
#define RESCUE_PAUSE_NS TARE_NS_PER_MS
#define REPORT_PAUSE_NS TARE_NS_PER_S
#define SAMPLE_WAIT_NS TARE_NS_PER_S // a thread on a crowded CPU may not come sooner

enum { QUIET_TICKS = 100 };

// What the monitor knows of a worker.
struct watch {
	uint64_t switches;
	int64_t since_ns; // since when it runs the same task without a switch, as far as was seen
	bool stuck, slow;
	bool ready; // its poller has something
};

static struct {
	bool running; // written while no worker runs
	pthread_t thread;
	int wake_fd;
	int64_t limit_ns, tick_ns, reported_ns;
	struct watch *watches; // one a worker
	struct pollfd *polled; // one a worker, and one more
	atomic_bool stop, dozes;
	struct sigaction previous;
} monitor;

// A backtrace that the monitor asked for; one at a time.
enum { SAMPLE_NONE, SAMPLE_WANTED, SAMPLE_BUSY, SAMPLE_DONE };
static struct {
	atomic_int state;               // whoever moved it to BUSY, DONE or NONE owns the rest
	const struct rt_worker *worker; // who is asked; written before WANTED
	uint64_t switches;
	int count;
	uintptr_t frames[RT_FRAMES_MAX];
} sample;

// The report that waits for it.
static struct {
	const struct rt_worker *worker; // NULL: none
	uint64_t id, switches;
	const char *name;
	int64_t ran_ns, until_ns;
} asked;

unsigned rt_monitor_threads(void)
{
	return monitor.running ? 1 : 0;
}

// ---- rescue -------------------------------------------------------------------------------------------------------

void rt_rescue(struct rt_worker *w)
{
	if (!atomic_exchange(&rt.rescue, false))
		return;
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *other = &rt.workers[i];
		if (!atomic_exchange(&other->want_rescue, false) || other == w)
			continue;
		unsigned events = rt.backend->rescue(other->poller);
		tare_bump(&w->poll_events, events);
		if (events > 0)
			tare_hist_record(w->batches, events);
		tare_bump(&w->timers_fired, rt_timers_run(&other->timers, rt.backend->now_ns()));
		rt_lend(other, w);
		tare_bump(&w->rescues, 1);
	}
}

static void ask_for_rescue(struct rt_worker *stuck)
{
	atomic_store(&stuck->want_rescue, true);
	atomic_store(&rt.rescue, true);
	rt_wake_idle();
}

// Whether a rescue was asked for.
static bool help(struct rt_worker *w, struct watch *watch, int64_t now_ns)
{
	if (watch->ready || atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed) <= now_ns ||
	    rt_has_lendable(w)) {
		watch->ready = false;
		ask_for_rescue(w);
		return true;
	}
	// What waits in its queue may have been put there without waking anybody.
	if (atomic_load_explicit(&w->head, memory_order_relaxed) !=
		atomic_load_explicit(&w->tail, memory_order_relaxed) ||
	    atomic_load_explicit(&w->next, memory_order_relaxed) != NULL)
		rt_wake_idle();
	return false;
}

// ---- a slow task --------------------------------------------------------------------------------------------------

static void on_signal(int number, siginfo_t *info, void *context)
{
	if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &sample) {
		struct rt_worker *w = rt_self();
		int state = SAMPLE_WANTED;
		if (w == NULL || !atomic_compare_exchange_strong(&sample.state, &state, SAMPLE_BUSY))
			return;           // too late
		if (w != sample.worker) { // for an earlier report
			atomic_store(&sample.state, SAMPLE_WANTED);
			return;
		}
		const struct tare_task *task = w->current;
		sample.switches = atomic_load_explicit(&w->switches, memory_order_relaxed);
		sample.count = task != NULL ? rt_backtrace_own(&task->stack, context, sample.frames) : 0;
		atomic_store(&sample.state, SAMPLE_DONE);
	} else if ((monitor.previous.sa_flags & SA_SIGINFO) != 0) {
		monitor.previous.sa_sigaction(number, info, context);
	} else if (monitor.previous.sa_handler != SIG_DFL && monitor.previous.sa_handler != SIG_IGN) {
		monitor.previous.sa_handler(number);
	}
}

// A line of a file of /proc about the worker's thread. False: it can't be read.
static bool thread_file(const struct rt_worker *w, const char *name, char *out, size_t cap)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/%s", atomic_load_explicit(&w->tid, memory_order_relaxed), name);
	return tare_proc_read(path, out, cap) > 0;
}

// Whether the thread runs, or could: `12 (name) R …`.
static bool thread_runs(const struct rt_worker *w)
{
	char line[256];
	const char *name_end = thread_file(w, "stat", line, sizeof line) ? strrchr(line, ')') : NULL;
	return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'R';
}

// Asks the worker's thread where it is. False: it can't be asked.
static bool ask_for_sample(const struct rt_worker *w)
{
	struct sigaction now;
	if (sigaction(SIGURG, NULL, &now) < 0 || (now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != on_signal)
		return false;
	siginfo_t info = {.si_signo = SIGURG, .si_code = SI_QUEUE};
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = &sample;
	sample.worker = w;
	atomic_store(&sample.state, SAMPLE_WANTED);
	long tid = atomic_load_explicit(&w->tid, memory_order_relaxed);
	if (syscall(SYS_rt_tgsigqueueinfo, (long)getpid(), tid, (long)SIGURG, &info) == 0)
		return true;
	atomic_store(&sample.state, SAMPLE_NONE);
	return false;
}

// The last word of /proc's `syscall` is where the thread called the kernel.
static void write_blocked(struct tare_text *text, struct rt_symbols *symbols, const struct rt_worker *w)
{
	char line[256], symbol[RT_SYMBOL_BYTES];
	const char *last = thread_file(w, "syscall", line, sizeof line) ? strrchr(line, ' ') : NULL;
	uintptr_t pc = last != NULL ? (uintptr_t)strtoull(last + 1, NULL, 16) : 0;
	if (pc != 0 && symbols != NULL) {
		rt_symbol_format(symbols, pc, true, symbol);
		tare_text_printf(text, "    it blocks its thread in a call of the kernel: %s\n", symbol);
	} else {
		tare_text_printf(text, "    (where it is can't be told)\n");
	}
}

static void write_report(const struct rt_worker *w, bool blocked)
{
	struct rt_symbols *symbols;
	struct rt_report report;
	if (rt_symbols_new(&symbols) < 0)
		symbols = NULL;
	rt_report_begin(&report);
	tare_text_printf(&report.text,
			 "tare: task %" PRIu64 " \"%.80s\" has run for %" PRId64
			 " ms on worker %d without blocking or yielding (reported from %" PRId64 " ms)\n",
			 asked.id, asked.name, asked.ran_ns / TARE_NS_PER_MS, w->idx,
			 monitor.limit_ns / TARE_NS_PER_MS);
	if (blocked)
		write_blocked(&report.text, symbols, w);
	else if (atomic_load(&sample.state) == SAMPLE_DONE && sample.switches == asked.switches && sample.count > 0)
		rt_frames_write(&report.text, symbols, sample.frames, sample.count, true);
	else if (atomic_load_explicit(&w->switches, memory_order_relaxed) != asked.switches)
		tare_text_printf(&report.text, "    (it went on before it could say where it was)\n");
	else
		tare_text_printf(&report.text, "    (it did not say where it is)\n");
	(void)rt_report_end(&report);
	rt_symbols_free(symbols);
}

// Writes the report that is under way, if it can be.
static void report_finish(int64_t now_ns)
{
	if (asked.worker == NULL)
		return;
	bool over = atomic_load_explicit(&asked.worker->switches, memory_order_relaxed) != asked.switches;
	int state = SAMPLE_WANTED;
	if (atomic_load(&sample.state) != SAMPLE_DONE &&
	    ((!over && now_ns < asked.until_ns) || !atomic_compare_exchange_strong(&sample.state, &state, SAMPLE_NONE)))
		return;
	write_report(asked.worker, false);
	asked.worker = NULL;
	atomic_store(&sample.state, SAMPLE_NONE);
}

static void report_begin(const struct rt_worker *w, const struct tare_task *task, const struct watch *watch,
			 int64_t now_ns)
{
	asked.switches = watch->switches;
	asked.ran_ns = now_ns - watch->since_ns;
	asked.until_ns = now_ns + SAMPLE_WAIT_NS;
	rt_task_peek(task, &asked.id, &asked.name); // another's by now, at worst
	bool runs = thread_runs(w);
	if (runs && ask_for_sample(w))
		asked.worker = w;
	else
		write_report(w, !runs);
}

// ---- watching -----------------------------------------------------------------------------------------------------

// Whether the worker was idle, then and now.
static bool look_at(struct rt_worker *w, struct watch *watch, int64_t now_ns)
{
	// In this order: when the count is still the last look's, the task was running then.
	const struct tare_task *task = rt_worker_current(w);
	uint64_t switches = atomic_load_explicit(&w->switches, memory_order_relaxed);
	if (task == NULL || switches != watch->switches) {
		bool idle = task == NULL && switches == watch->switches;
		if (watch->stuck && rt.backend->at_ease != NULL)
			rt.backend->at_ease(w->poller);
		*watch = (struct watch){.switches = switches, .since_ns = now_ns};
		return idle;
	}
	int64_t ran_ns = now_ns - watch->since_ns;
	watch->stuck = ran_ns >= monitor.tick_ns;
	if (ran_ns < monitor.limit_ns || watch->slow)
		return false;
	watch->slow = true;
	atomic_fetch_add_explicit(&rt.slow, 1, memory_order_relaxed);
	if (asked.worker == NULL && (monitor.reported_ns == 0 || now_ns - monitor.reported_ns >= REPORT_PAUSE_NS)) {
		monitor.reported_ns = now_ns;
		report_begin(w, task, watch, now_ns);
	}
	return false;
}

// Waits for the time (TARE_NEVER: for ever), or a wake, or a stuck worker's poller.
static void wait_for(int64_t ns, bool pollers)
{
	nfds_t count = 0;
	monitor.polled[count++] = (struct pollfd){.fd = monitor.wake_fd, .events = POLLIN};
	for (int i = 0; pollers && i < rt.worker_count; i++)
		if (monitor.watches[i].stuck)
			monitor.polled[count++] =
			    (struct pollfd){.fd = rt.backend->ready_fd(rt.workers[i].poller), .events = POLLIN};
	struct timespec time = {.tv_sec = ns / TARE_NS_PER_S, .tv_nsec = ns % TARE_NS_PER_S};
	if (ppoll(monitor.polled, count, ns != TARE_NEVER ? &time : NULL, NULL) <= 0)
		return;
	uint64_t wakes;
	if (monitor.polled[0].revents != 0)
		(void)!read(monitor.wake_fd, &wakes, sizeof wakes);
	nfds_t at = 1;
	for (int i = 0; pollers && i < rt.worker_count; i++)
		if (monitor.watches[i].stuck)
			monitor.watches[i].ready = monitor.polled[at++].revents != 0;
}

// All workers but the stuck ones may help. Waits until there is something to look at again.
static void watch_stuck(int64_t now_ns)
{
	int64_t until_ns = now_ns + monitor.tick_ns;
	bool help_asked = false;
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *w = &rt.workers[i];
		if (!monitor.watches[i].stuck)
			continue;
		help_asked |= help(w, &monitor.watches[i], now_ns);
		int64_t first_ns = atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed);
		until_ns = TARE_MIN(until_ns, TARE_MAX(first_ns, now_ns));
	}
	// What was asked for is still there to be seen for a moment.
	if (help_asked)
		wait_for(RESCUE_PAUSE_NS, false);
	else
		wait_for(until_ns - now_ns, true);
}

static void doze(void)
{
	atomic_store(&monitor.dozes, true);
	if (atomic_load(&rt.idle_count) == rt.worker_count && !atomic_load(&monitor.stop)) // invariant 3
		wait_for(TARE_NEVER, false);
	atomic_store(&monitor.dozes, false);
}

static void *monitor_main(void *arg)
{
	(void)arg;
	(void)pthread_setname_np(pthread_self(), "tare-monitor");
	bool can_help = rt.worker_count > 1 && rt.backend->rescue != NULL;
	unsigned quiet_ticks = 0;
	while (!atomic_load(&monitor.stop)) {
		int64_t now_ns = tare_clock_ns();
		bool quiet = true, stuck = false;
		for (int i = 0; i < rt.worker_count; i++) {
			quiet &= look_at(&rt.workers[i], &monitor.watches[i], now_ns);
			stuck |= monitor.watches[i].stuck;
		}
		report_finish(now_ns);
		quiet_ticks = quiet ? quiet_ticks + 1 : 0;
		if (quiet_ticks == QUIET_TICKS / 2)
			rt.backend->wake(rt.workers[0].poller); // a thread that ended since may leave a deadlock
		if (quiet_ticks >= QUIET_TICKS) {
			doze();
			quiet_ticks = 0;
		} else if (stuck && can_help) {
			watch_stuck(now_ns);
		} else {
			wait_for(monitor.tick_ns, false);
		}
	}
	report_finish(TARE_NEVER);
	return NULL;
}

static void rouse(void)
{
	rt_eventfd_raise(monitor.wake_fd);
}

void rt_monitor_rouse(void)
{
#ifndef TARE_SIM
	if (TARE_UNLIKELY(atomic_load_explicit(&monitor.dozes, memory_order_relaxed)) &&
	    atomic_exchange(&monitor.dozes, false))
		rouse();
#endif
}

// ---- start and stop -----------------------------------------------------------------------------------------------

// With every signal blocked: the program's are for its own threads.
static int thread_start(void)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = -pthread_create(&monitor.thread, NULL, monitor_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void release(void)
{
	tare_free(monitor.watches);
	tare_free(monitor.polled);
	if (monitor.wake_fd >= 0)
		close(monitor.wake_fd);
}

static int handler_install(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	sigfillset(&action.sa_mask);
	return sigaction(SIGURG, &action, &monitor.previous) < 0 ? -errno : 0;
}

// The program's own handler, if it has put one in our place, stays.
static void handler_remove(void)
{
	struct sigaction now;
	if (sigaction(SIGURG, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_signal)
		sigaction(SIGURG, &monitor.previous, NULL);
}

int rt_monitor_start(void)
{
	monitor.running = false;
	atomic_store(&monitor.dozes, false);
	if (rt.watchdog_ns < 0)
		return 0;
	monitor.limit_ns = rt.watchdog_ns != 0 ? rt.watchdog_ns : LIMIT_DEFAULT_NS;
	monitor.tick_ns = TARE_MIN(TARE_MAX(monitor.limit_ns / 4, TICK_MIN_NS), TICK_MAX_NS);
	monitor.reported_ns = 0;
	asked.worker = NULL;
	atomic_store(&sample.state, SAMPLE_NONE);
	atomic_store(&monitor.stop, false);
	monitor.watches = tare_alloc_zeroed(&heap_tag, (size_t)rt.worker_count, sizeof *monitor.watches);
	monitor.polled = tare_alloc_zeroed(&heap_tag, (size_t)rt.worker_count + 1, sizeof *monitor.polled);
	monitor.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = monitor.wake_fd < 0 ? -errno : 0;
	if (monitor.watches == NULL || monitor.polled == NULL)
		rc = -ENOMEM;
	if (rc == 0)
		rc = handler_install();
	if (rc == 0) {
		monitor.running = true;
		rc = thread_start();
		if (rc < 0)
			handler_remove();
	}
	if (rc == 0)
		return 0;
	monitor.running = false;
	release();
	return rc;
}

void rt_monitor_stop(void)
{
	if (!monitor.running)
		return;
	atomic_store(&monitor.stop, true);
	rouse();
	pthread_join(monitor.thread, NULL);
	handler_remove();
	release();
	monitor.running = false;
}
