// SPDX-License-Identifier: MIT
//
// How long a wake-up takes that crosses CPUs: of a task by a task, and of a thread by the kernel, the floor below it.
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAKE_GAP_NS (50 * TARE_NS_PER_US)

struct wakes {
	struct tare_chan *chan;
	double *took;
};

static void spin_for(int64_t ns)
{
	for (int64_t start_ns = tare_clock_ns(); tare_clock_ns() - start_ns < ns;)
		;
}

static int wake_receiver(void *arg)
{
	struct wakes *wakes = arg;
	int64_t sent_ns;
	for (double *next = wakes->took; tare_chan_recv(wakes->chan, &sent_ns) == 0;)
		*next++ = (double)(tare_clock_ns() - sent_ns);
	return 0;
}

static int waker(void *arg)
{
	struct wakes *wakes = arg;
	for (uint64_t i = 0; i < sizes.samples; i++) {
		spin_for(WAKE_GAP_NS);
		int64_t now_ns = tare_clock_ns();
		must(tare_chan_send(wakes->chan, &now_ns), "send");
	}
	tare_chan_close(wakes->chan);
	return 0;
}

// The waker never blocks, so the other worker has to take the task over; by then it has been idle for most of the gap.
static int wake_measure(const char *name, const struct tare_task_options *waking, const struct tare_task_options *woken)
{
	struct wakes wakes = {.chan = chan_new(8, 0), .took = must_calloc(sizes.samples, sizeof(double))};
	struct tare_task *sender, *receiver;
	must(tare_spawn(&receiver, woken, wake_receiver, &wakes), "spawn");
	must(tare_spawn(&sender, waking, waker, &wakes), "spawn");
	tare_join(sender);
	tare_join(receiver);
	print_latencies(name, wakes.took, sizes.samples);
	tare_chan_free(wakes.chan);
	free(wakes.took);
	return 0;
}

int bench_wake_parked(void *arg)
{
	return wake_measure(arg, NULL, NULL);
}

// Both are pinned: a waker that once had to wait would go on where it was woken, and keep the other from its worker.
int bench_wake_pinned(void *arg)
{
	struct tare_task_options here = {.name = "waker", .pinned = true, .worker = 0};
	struct tare_task_options there = {.name = "woken", .pinned = true, .worker = 1};
	return wake_measure(arg, &here, &there);
}

// A thread that sleeps in the kernel, and how it is woken there.
struct sleeper {
	_Atomic(uint32_t) turn; // of the sample that is on; the futex
	_Atomic(int64_t) sent_ns;
	int eventfd, epoll;
	double *took;
	void (*wait)(struct sleeper *sleeper, uint32_t turn);
	void (*wake)(struct sleeper *sleeper, uint32_t turn);
};

static void futex_wait(struct sleeper *sleeper, uint32_t turn)
{
	while (atomic_load(&sleeper->turn) < turn)
		syscall(SYS_futex, &sleeper->turn, FUTEX_WAIT_PRIVATE, turn - 1, NULL, NULL, 0);
}

static void futex_wake(struct sleeper *sleeper, uint32_t turn)
{
	atomic_store(&sleeper->turn, turn);
	syscall(SYS_futex, &sleeper->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void eventfd_wait(struct sleeper *sleeper, uint32_t turn)
{
	(void)turn;
	struct epoll_event event;
	uint64_t value;
	while (epoll_wait(sleeper->epoll, &event, 1, -1) != 1)
		;
	if (read(sleeper->eventfd, &value, sizeof value) != sizeof value)
		die("the eventfd's read", -errno);
}

static void eventfd_wake(struct sleeper *sleeper, uint32_t turn)
{
	(void)turn;
	if (write(sleeper->eventfd, &(uint64_t){1}, sizeof(uint64_t)) != sizeof(uint64_t))
		die("the eventfd's write", -errno);
}

static void pin_to_nth_cpu(int nth)
{
	cpu_set_t allowed, one;
	must(-pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed), "the CPUs that may be used");
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && nth-- == 0) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			must(-pthread_setaffinity_np(pthread_self(), sizeof one, &one), "pinning to a CPU");
			return;
		}
	die("two CPUs are needed", -ENODEV);
}

static void *sleeper_main(void *arg)
{
	struct sleeper *sleeper = arg;
	pin_to_nth_cpu(1);
	for (uint32_t turn = 1; turn <= sizes.samples; turn++) {
		sleeper->wait(sleeper, turn);
		sleeper->took[turn - 1] = (double)(tare_clock_ns() - atomic_load(&sleeper->sent_ns));
	}
	return NULL;
}

// This thread's affinity stays as it was: the waker is a thread of its own.
static void *waker_main(void *arg)
{
	struct sleeper *sleeper = arg;
	pin_to_nth_cpu(0);
	for (uint32_t turn = 1; turn <= sizes.samples; turn++) {
		spin_for(WAKE_GAP_NS);
		atomic_store(&sleeper->sent_ns, tare_clock_ns());
		sleeper->wake(sleeper, turn);
	}
	return NULL;
}

static void kernel_wakes(const char *name, struct sleeper *sleeper)
{
	pthread_t threads[2];
	sleeper->took = must_calloc(sizes.samples, sizeof(double));
	must(-pthread_create(&threads[0], NULL, sleeper_main, sleeper), "a thread");
	must(-pthread_create(&threads[1], NULL, waker_main, sleeper), "a thread");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	print_latencies(name, sleeper->took, sizes.samples);
	free(sleeper->took);
}

int bench_futex_wake(void *arg)
{
	struct sleeper sleeper = {.wait = futex_wait, .wake = futex_wake};
	kernel_wakes(arg, &sleeper);
	return 0;
}

int bench_eventfd_wake(void *arg)
{
	struct sleeper sleeper = {.wait = eventfd_wait, .wake = eventfd_wake};
	// Counted: a sleeper that was kept from running for a whole gap still reads one a turn.
	sleeper.eventfd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
	sleeper.epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	if (sleeper.eventfd < 0 || sleeper.epoll < 0 ||
	    epoll_ctl(sleeper.epoll, EPOLL_CTL_ADD, sleeper.eventfd, &event) != 0)
		die("an eventfd in an epoll", -errno);
	kernel_wakes(arg, &sleeper);
	close(sleeper.epoll);
	close(sleeper.eventfd);
	return 0;
}
