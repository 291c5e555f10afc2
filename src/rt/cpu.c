// SPDX-License-Identifier: MIT
//
// The CPU profile: where the runtime's threads spend their time.
//
// Each thread has a timer of its own CPU clock, which sends SIGPROF to that thread alone: one that sleeps is sent none,
// and the profile is of CPU time. The handler walks the frame pointers of what was interrupted, the running task's
// stack or the thread's own, and counts the stack in the thread's tally. The kernel looks at such timers at its ticks
// (100 to 1,000 a second); what it missed it says (si_overrun), so the sums hold at any rate.
//
// Invariants
//   1. A sampler is written by its thread's handler alone, while noter.busy is held; by others only when noter.on is
//      false and busy was seen false.
//   2. Samplers are never freed, so a signal that comes late finds one that is off, or one that is another thread's by
//      now: then it counts a sample more there, and the walk stays within the bounds it finds.
//   3. SIGPROF's default ends the process: the handler goes only after every timer is deleted and what was on its way
//      is thrown away (by ignoring the signal once), and only if it is still ours.
//
// A signal that the program sends or times itself goes on to the handler that was there before. A thread that blocks
// SIGPROF is not sampled.
// Threads: start, stop, and threads that come and go, under cpu.lock; handlers without it.
// Rejected: setitimer (one timer for all threads: the kernel picks who is interrupted), perf_event_open (often
// forbidden).
#include "rt/rt_int.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { SAMPLERS_MAX = 2 * TARE_SHARD_MAX, HZ_MAX = 1000 };

struct rt_cpu_sampler {
	struct rt_noter noter;
	const struct rt_worker *worker; // NULL: another thread
	uintptr_t low, high;            // of the thread's own stack
	timer_t timer;
	bool used, has_timer; // guarded by cpu.lock
};

static struct {
	pthread_mutex_t lock;
	struct tare_list threads; // that are no workers; guarded by lock
	bool on;                  // guarded by lock
	int64_t period_ns;        // fixed while on
	struct sigaction previous;
	struct rt_cpu_sampler samplers[SAMPLERS_MAX];
} cpu = {.lock = PTHREAD_MUTEX_INITIALIZER, .threads = {&cpu.threads, &cpu.threads}};

// ---- the handler --------------------------------------------------------------------------------------------------

static void take_sample(struct rt_cpu_sampler *s, const ucontext_t *context, int overrun)
{
	if (!rt_noter_enter(&s->noter))
		return;
	uintptr_t sp = rt_context_sp(context), high = 0, frames[RT_FRAMES_MAX];
	const struct tare_task *task = s->worker != NULL ? s->worker->current : NULL;
	uintptr_t base = task != NULL ? (uintptr_t)task->stack.base : 0;
	const char *label = NULL;
	if (base != 0 && sp >= base && sp < base + task->stack.bytes) {
		high = base + task->stack.bytes;
		label = task->name;
	} else if (sp >= s->low && sp < s->high) {
		high = s->high;
	}
	int count = rt_unwind(context, high, frames);
	double n = 1 + TARE_MAX(overrun, 0);
	rt_tally_add(&s->noter.tally, frames, count, 0, label, (double[2]){n, n * (double)cpu.period_ns});
	rt_noter_leave(&s->noter);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_value.sival_ptr, first = (uintptr_t)cpu.samplers;
	if (info->si_code == SI_TIMER && at >= first && at < (uintptr_t)(cpu.samplers + SAMPLERS_MAX))
		take_sample(info->si_value.sival_ptr, context, info->si_overrun);
	else if ((cpu.previous.sa_flags & SA_SIGINFO) != 0)
		cpu.previous.sa_sigaction(number, info, context);
	else if (cpu.previous.sa_handler != SIG_DFL && cpu.previous.sa_handler != SIG_IGN)
		cpu.previous.sa_handler(number);
}

static int handler_install(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	sigfillset(&action.sa_mask);
	return sigaction(SIGPROF, &action, &cpu.previous) < 0 ? -errno : 0;
}

// The program's own handler, if it has put one in our place, stays.
static void handler_remove(void)
{
	struct sigaction now, ignore = {.sa_handler = SIG_IGN};
	if (sigaction(SIGPROF, NULL, &now) < 0 || (now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != on_signal)
		return;
	bool fatal = (cpu.previous.sa_flags & SA_SIGINFO) == 0 && cpu.previous.sa_handler == SIG_DFL;
	if (fatal)
		sigaction(SIGPROF, &ignore, NULL);
	sigaction(SIGPROF, &cpu.previous, NULL);
}

// ---- samplers, under the lock -------------------------------------------------------------------------------------

static int stack_bounds(struct rt_cpu_sampler *s, pthread_t thread)
{
	pthread_attr_t attr;
	void *low;
	size_t bytes;
	int rc = -pthread_getattr_np(thread, &attr);
	if (rc < 0)
		return rc;
	rc = -pthread_attr_getstack(&attr, &low, &bytes);
	pthread_attr_destroy(&attr);
	if (rc == 0) {
		s->low = (uintptr_t)low;
		s->high = s->low + bytes;
	}
	return rc;
}

// The first tick comes at another moment for each, so that threads are not all looked at together.
static int timer_begin(struct rt_cpu_sampler *s, pthread_t thread, int tid)
{
	clockid_t clock;
	int rc = -pthread_getcpuclockid(thread, &clock);
	if (rc < 0)
		return rc;
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	event.sigev_value.sival_ptr = s;
	event.sigev_notify_thread_id = tid;
	if (timer_create(clock, &event, &s->timer) < 0)
		return -errno;
	s->has_timer = true;
	int64_t first_ns = 1 + cpu.period_ns * ((int64_t)(s - cpu.samplers) * 7 % 16) / 16;
	struct itimerspec spec = {
	    .it_interval = {cpu.period_ns / TARE_NS_PER_S, cpu.period_ns % TARE_NS_PER_S},
	    .it_value = {first_ns / TARE_NS_PER_S, first_ns % TARE_NS_PER_S},
	};
	return timer_settime(s->timer, 0, &spec, NULL) < 0 ? -errno : 0;
}

static void sampler_quiet(struct rt_cpu_sampler *s)
{
	if (s->has_timer)
		timer_delete(s->timer);
	s->has_timer = false;
	rt_noter_end(&s->noter);
}

static void sampler_done(struct rt_cpu_sampler *s)
{
	rt_tally_done(&s->noter.tally);
	s->used = false;
}

// ret, which may be NULL, is NULL when all are taken: that thread then is not sampled.
static int sampler_new(struct rt_cpu_sampler **ret, const struct rt_worker *worker, pthread_t thread, int tid)
{
	struct rt_cpu_sampler *s = cpu.samplers;
	while (s < cpu.samplers + SAMPLERS_MAX && s->used)
		s++;
	if (s == cpu.samplers + SAMPLERS_MAX)
		return 0;
	int rc = rt_tally_init(&s->noter.tally);
	if (rc < 0)
		return rc;
	s->used = true;
	s->worker = worker;
	rc = stack_bounds(s, thread);
	atomic_store(&s->noter.on, true);
	if (rc == 0)
		rc = timer_begin(s, thread, tid);
	if (rc < 0) {
		sampler_quiet(s);
		sampler_done(s);
	} else if (ret != NULL) {
		*ret = s;
	}
	return rc;
}

// ---- threads that are no workers ----------------------------------------------------------------------------------

void rt_cpu_thread_enter(struct rt_cpu_thread *thread)
{
	thread->thread = pthread_self();
	thread->tid = gettid();
	thread->sampler = NULL;
	pthread_mutex_lock(&cpu.lock);
	tare_list_push_back(&cpu.threads, &thread->link);
	if (cpu.on)
		(void)sampler_new(&thread->sampler, NULL, thread->thread, thread->tid); // else it is not sampled
	pthread_mutex_unlock(&cpu.lock);
}

// Its stacks stay for the profile.
void rt_cpu_thread_leave(struct rt_cpu_thread *thread)
{
	pthread_mutex_lock(&cpu.lock);
	tare_list_remove(&thread->link);
	if (thread->sampler != NULL)
		sampler_quiet(thread->sampler);
	pthread_mutex_unlock(&cpu.lock);
}

// ---- start and stop -----------------------------------------------------------------------------------------------

static int samplers_start(void)
{
	int rc = 0;
	for (int i = 0; i < rt.worker_count && rc == 0; i++) {
		struct rt_worker *w = &rt.workers[i];
		rc = sampler_new(NULL, w, w->thread, atomic_load_explicit(&w->tid, memory_order_relaxed));
	}
	for (struct tare_list *link = cpu.threads.next; link != &cpu.threads && rc == 0; link = link->next) {
		struct rt_cpu_thread *thread = TARE_CONTAINER_OF(link, struct rt_cpu_thread, link);
		rc = sampler_new(&thread->sampler, NULL, thread->thread, thread->tid);
	}
	return rc;
}

static void samplers_stop(void (*fn)(void *arg, const struct rt_tally *tally), void *arg)
{
	for (struct rt_cpu_sampler *s = cpu.samplers; s < cpu.samplers + SAMPLERS_MAX; s++)
		if (s->used)
			sampler_quiet(s);
	for (struct tare_list *link = cpu.threads.next; link != &cpu.threads; link = link->next)
		TARE_CONTAINER_OF(link, struct rt_cpu_thread, link)->sampler = NULL;
	handler_remove();
	for (struct rt_cpu_sampler *s = cpu.samplers; s < cpu.samplers + SAMPLERS_MAX; s++) {
		if (!s->used)
			continue;
		if (fn != NULL)
			fn(arg, &s->noter.tally);
		sampler_done(s);
	}
}

int rt_cpu_start(int hz, struct tare_error *err)
{
#ifdef TARE_SIM
	(void)samplers_start, (void)handler_install, (void)hz;
	return tare_error_set(err, -ENOTSUP, "a simulation has no CPU time to look at");
#else
	if (hz < 1 || hz > HZ_MAX)
		return tare_error_set(err, -EINVAL, "%d samples a second: must be between 1 and %d", hz, HZ_MAX);
	pthread_mutex_lock(&cpu.lock);
	cpu.period_ns = TARE_NS_PER_S / hz;
	rt_unwind_prepare();
	int rc = handler_install();
	if (rc == 0) {
		rc = samplers_start();
		cpu.on = rc == 0;
		if (rc < 0)
			samplers_stop(NULL, NULL);
	}
	pthread_mutex_unlock(&cpu.lock);
	return rc < 0 ? tare_error_set(err, rc, "can't set up the timers of a CPU profile: %s", strerror(-rc)) : 0;
#endif
}

void rt_cpu_stop(void (*fn)(void *arg, const struct rt_tally *tally), void *arg)
{
	pthread_mutex_lock(&cpu.lock);
	if (cpu.on)
		samplers_stop(fn, arg);
	cpu.on = false;
	pthread_mutex_unlock(&cpu.lock);
}
