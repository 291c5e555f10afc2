// SPDX-License-Identifier: MIT
//
// What the runtime costs: switches, tasks, channels, mutexes, wake-ups, and the small programs that runtimes are
// compared by. One JSON line a figure; the names and the methods are those of bench/peers/go/prims.
//
//   rt [--samples N] [--ring N] [--whispers N] [--primes N] [--sleepers N] [--sleep SECONDS] NAME...   ("all": every one)
//
// Figures in "ns" are medians of repetitions within the process. Besides what both have there are the floors that ours
// stands on: `switch`, the bare change of stacks, and `futex_wake` and `eventfd_wake`, what the kernel takes to wake a
// thread on another CPU, each pinned to its own. `wake_pinned` is wake_parked with the woken task pinned to the other
// worker. Programs that answer wrongly end the process with 1.
//
// Rejected: a loop around each program until some time has passed. Skynet's second run finds its stacks warm, the first
// does not, and a median of three shows the former to both sides alike.
#include "rt/rt_int.h"
#include <tare/chan.h>
#include <tare/sync.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REPETITION_NS (20 * TARE_NS_PER_MS)
#define WAKE_GAP_NS (50 * TARE_NS_PER_US)

enum { REPETITIONS = 7, PROGRAM_RUNS = 3, BUFFERED_SLOTS = 64 };
enum { SKYNET_LEAVES = 1000000, RING_TASKS = 503 };
static const uint64_t skynet_answer = 499999500000;

static struct {
	uint64_t samples, ring_hops, whispers, primes, sleepers, sleep_s;
} sizes = {
    .samples = 10000, .ring_hops = 5000000, .whispers = 100000, .primes = 1000, .sleepers = 1000000, .sleep_s = 10};

// ---- measuring ----------------------------------------------------------------------------------------------------

TARE_NORETURN static void die(const char *what, int rc)
{
	fprintf(stderr, "rt: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void must(int rc, const char *what)
{
	if (TARE_UNLIKELY(rc < 0))
		die(what, rc);
}

static void expect(const char *name, uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	fprintf(stderr, "rt: %s gave %" PRIu64 " where %" PRIu64 " is right\n", name, got, want);
	exit(1);
}

static void *must_calloc(size_t count, size_t bytes)
{
	void *p = calloc(count, bytes);
	if (p == NULL)
		die("memory", -ENOMEM);
	return p;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double at_rank(double *values, size_t count, size_t rank)
{
	qsort(values, count, sizeof *values, compare_doubles);
	return values[rank];
}

static void print(const char *name, const char *suffix, double ns, uint64_t ops)
{
	printf("{\"name\": \"%s%s\", \"ns\": %.2f, \"ops\": %" PRIu64 "}\n", name, suffix, ns, ops);
}

static void print_answer(const char *name, double ns, uint64_t ops, uint64_t answer)
{
	printf("{\"name\": \"%s\", \"ns\": %.2f, \"ops\": %" PRIu64 ", \"answer\": %" PRIu64 "}\n", name, ns, ops,
	       answer);
}

static void print_latencies(const char *name, double *took, uint64_t count)
{
	print(name, "_p50", at_rank(took, count, count / 2), count);
	print(name, "_p99", took[count * 99 / 100], count);
}

// Times work(n), which does per_n * n operations, for an n that takes some 20 ms.
static void measure(const char *name, uint64_t per_n, void (*work)(uint64_t n))
{
	uint64_t n = 1;
	for (;; n *= 2) {
		int64_t start_ns = tare_clock_ns();
		work(n);
		if (tare_clock_ns() - start_ns >= REPETITION_NS)
			break;
	}
	double each[REPETITIONS];
	for (int i = 0; i < REPETITIONS; i++) {
		int64_t start_ns = tare_clock_ns();
		work(n);
		each[i] = (double)(tare_clock_ns() - start_ns) / (double)(n * per_n);
	}
	print(name, "", at_rank(each, REPETITIONS, REPETITIONS / 2), n * per_n);
}

// Times a whole program that does `ops` operations and must give `answer`.
static void measure_program(const char *name, uint64_t ops, uint64_t answer, uint64_t (*program)(void))
{
	double each[PROGRAM_RUNS];
	for (int i = 0; i < PROGRAM_RUNS; i++) {
		int64_t start_ns = tare_clock_ns();
		expect(name, program(), answer);
		each[i] = (double)(tare_clock_ns() - start_ns) / (double)ops;
	}
	print_answer(name, at_rank(each, PROGRAM_RUNS, PROGRAM_RUNS / 2), ops, answer);
}

static struct tare_chan *chan_new(size_t elem_bytes, size_t capacity)
{
	struct tare_chan *chan;
	must(tare_chan_new(&chan, elem_bytes, capacity), "a channel");
	return chan;
}

static void send_u64(struct tare_chan *chan, uint64_t value)
{
	must(tare_chan_send(chan, &value), "send");
}

static uint64_t recv_u64(struct tare_chan *chan)
{
	uint64_t value;
	must(tare_chan_recv(chan, &value), "receive");
	return value;
}

// ---- primitives ---------------------------------------------------------------------------------------------------

static void *switch_here, *switch_there;

static void switch_back(void *arg)
{
	(void)arg;
	for (;;)
		rt_switch(&switch_there, switch_here);
}

static void switch_work(uint64_t n)
{
	while (n-- > 0)
		rt_switch(&switch_here, switch_there);
}

// No worker and no runtime: two stacks, and the control that goes to and fro.
static int bench_switch(void *arg)
{
	static alignas(4096) char bytes[16 * 4096];
	struct rt_stack stack = {.base = bytes, .bytes = sizeof bytes};
	switch_there = rt_context_init(&stack, switch_back, NULL);
	measure(arg, 2, switch_work);
	return 0;
}

static int yield_task(void *arg)
{
	for (uint64_t n = *(uint64_t *)arg; n > 0; n--)
		tare_yield();
	return 0;
}

static void yield_work(uint64_t n)
{
	struct tare_task *other;
	must(tare_spawn(&other, NULL, yield_task, &n), "spawn");
	yield_task(&n);
	tare_join(other);
}

static int bench_yield(void *arg)
{
	measure(arg, 2, yield_work);
	return 0;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void spawn_join_work(uint64_t n)
{
	while (n-- > 0) {
		struct tare_task *task;
		must(tare_spawn(&task, NULL, nothing, NULL), "spawn");
		tare_join(task);
	}
}

static int bench_spawn_join(void *arg)
{
	measure(arg, 1, spawn_join_work);
	return 0;
}

struct echo {
	struct tare_chan *there, *back;
	uint64_t count;
};

static int echo_task(void *arg)
{
	struct echo *echo = arg;
	for (uint64_t n = echo->count; n > 0; n--)
		send_u64(echo->back, recv_u64(echo->there));
	return 0;
}

static void chan_unbuffered_work(uint64_t n)
{
	struct echo echo = {.there = chan_new(8, 0), .back = chan_new(8, 0), .count = n};
	struct tare_task *other;
	must(tare_spawn(&other, NULL, echo_task, &echo), "spawn");
	for (uint64_t i = 0; i < n; i++) {
		send_u64(echo.there, i);
		(void)recv_u64(echo.back);
	}
	tare_join(other);
	tare_chan_free(echo.there);
	tare_chan_free(echo.back);
}

static int bench_chan_unbuffered(void *arg)
{
	measure(arg, 1, chan_unbuffered_work);
	return 0;
}

static void chan_buffered_work(uint64_t n)
{
	struct tare_chan *chan = chan_new(8, BUFFERED_SLOTS);
	for (uint64_t i = 0; i < n; i++) {
		send_u64(chan, i);
		(void)recv_u64(chan);
	}
	tare_chan_free(chan);
}

static int bench_chan_buffered(void *arg)
{
	measure(arg, 1, chan_buffered_work);
	return 0;
}

static void mutex_work(uint64_t n)
{
	static struct tare_mutex mutex;
	while (n-- > 0) {
		tare_mutex_lock(&mutex);
		tare_mutex_unlock(&mutex);
	}
}

static int bench_mutex(void *arg)
{
	measure(arg, 1, mutex_work);
	return 0;
}

// ---- wake-ups -----------------------------------------------------------------------------------------------------

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

// The waker never blocks, so the other worker has to take the task over; by then it has been idle for most of the gap.
static int wake_measure(const char *name, const struct tare_task_options *options)
{
	struct wakes wakes = {.chan = chan_new(8, 0), .took = must_calloc(sizes.samples, sizeof(double))};
	struct tare_task *receiver;
	must(tare_spawn(&receiver, options, wake_receiver, &wakes), "spawn");
	for (uint64_t i = 0; i < sizes.samples; i++) {
		spin_for(WAKE_GAP_NS);
		int64_t now_ns = tare_clock_ns();
		must(tare_chan_send(wakes.chan, &now_ns), "send");
	}
	tare_chan_close(wakes.chan);
	tare_join(receiver);
	print_latencies(name, wakes.took, sizes.samples);
	tare_chan_free(wakes.chan);
	free(wakes.took);
	return 0;
}

static int bench_wake_parked(void *arg)
{
	return wake_measure(arg, NULL);
}

static int bench_wake_pinned(void *arg)
{
	struct tare_task_options other = {.name = "woken", .pinned = true, .worker = 1 - tare_worker()};
	return wake_measure(arg, &other);
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

static int bench_futex_wake(void *arg)
{
	struct sleeper sleeper = {.wait = futex_wait, .wake = futex_wake};
	kernel_wakes(arg, &sleeper);
	return 0;
}

static int bench_eventfd_wake(void *arg)
{
	struct sleeper sleeper = {.wait = eventfd_wait, .wake = eventfd_wake};
	sleeper.eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
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

// ---- small programs -----------------------------------------------------------------------------------------------

struct node {
	struct tare_chan *out;
	uint64_t first, size;
};

// The children read their nodes on this task's stack before they send, and it receives from all of them.
static int skynet_node(void *arg)
{
	struct node node = *(struct node *)arg, children[10];
	if (node.size == 1) {
		send_u64(node.out, node.first);
		return 0;
	}
	struct tare_chan *chan = chan_new(8, 0);
	uint64_t sum = 0;
	for (uint64_t i = 0; i < 10; i++) {
		children[i] = (struct node){chan, node.first + i * (node.size / 10), node.size / 10};
		must(tare_go(skynet_node, &children[i]), "go");
	}
	for (int i = 0; i < 10; i++)
		sum += recv_u64(chan);
	tare_chan_free(chan);
	send_u64(node.out, sum);
	return 0;
}

static uint64_t skynet_program(void)
{
	struct node root = {chan_new(8, 0), 0, SKYNET_LEAVES};
	must(tare_go(skynet_node, &root), "go");
	uint64_t answer = recv_u64(root.out);
	tare_chan_free(root.out);
	return answer;
}

static int bench_skynet(void *arg)
{
	measure_program(arg, SKYNET_LEAVES, skynet_answer, skynet_program);
	return 0;
}

struct link {
	struct tare_chan *in, *out, *answer;
	uint64_t number;
};

static int ring_task(void *arg)
{
	struct link *link = arg;
	uint64_t token;
	while (tare_chan_recv(link->in, &token) == 0) {
		if (token == 0) {
			send_u64(link->answer, link->number);
			break;
		}
		send_u64(link->out, token - 1);
	}
	return 0;
}

static uint64_t ring(uint64_t hops)
{
	struct link links[RING_TASKS];
	struct tare_task *tasks[RING_TASKS];
	struct tare_chan *answer = chan_new(8, 0);
	for (int i = 0; i < RING_TASKS; i++)
		links[i] = (struct link){.in = chan_new(8, 0), .answer = answer, .number = (uint64_t)i + 1};
	for (int i = 0; i < RING_TASKS; i++) {
		links[i].out = links[(i + 1) % RING_TASKS].in;
		must(tare_spawn(&tasks[i], NULL, ring_task, &links[i]), "spawn");
	}
	send_u64(links[0].in, hops);
	uint64_t last = recv_u64(answer);
	for (int i = 0; i < RING_TASKS; i++)
		tare_chan_close(links[i].in);
	for (int i = 0; i < RING_TASKS; i++)
		tare_join(tasks[i]);
	for (int i = 0; i < RING_TASKS; i++)
		tare_chan_free(links[i].in);
	tare_chan_free(answer);
	return last;
}

static int bench_ring(void *arg)
{
	expect(arg, ring(1000), 498);
	uint64_t answer = sizes.ring_hops % RING_TASKS + 1;
	int64_t start_ns = tare_clock_ns();
	expect(arg, ring(sizes.ring_hops), answer);
	print_answer(arg, (double)(tare_clock_ns() - start_ns) / (double)sizes.ring_hops, sizes.ring_hops, answer);
	return 0;
}

struct whisper {
	struct tare_chan *left, *right;
};

static int whisper_task(void *arg)
{
	struct whisper *whisper = arg;
	send_u64(whisper->left, 1 + recv_u64(whisper->right));
	return 0;
}

static int whisper_first(void *arg)
{
	send_u64(arg, 1);
	return 0;
}

static uint64_t whispers_program(void)
{
	struct whisper *whispers = must_calloc(sizes.whispers, sizeof *whispers);
	struct tare_chan *leftmost = chan_new(8, 0), *left = leftmost;
	for (uint64_t i = 0; i < sizes.whispers; i++) {
		whispers[i] = (struct whisper){.left = left, .right = chan_new(8, 0)};
		must(tare_go(whisper_task, &whispers[i]), "go");
		left = whispers[i].right;
	}
	must(tare_go(whisper_first, left), "go");
	uint64_t answer = recv_u64(leftmost);
	for (uint64_t i = 0; i < sizes.whispers; i++)
		tare_chan_free(whispers[i].right);
	tare_chan_free(leftmost);
	free(whispers);
	return answer;
}

static int bench_whispers(void *arg)
{
	measure_program(arg, sizes.whispers, sizes.whispers + 1, whispers_program);
	return 0;
}

struct filter {
	struct tare_chan *in, *out;
	uint64_t prime;
};

static int sieve_source(void *arg)
{
	for (uint64_t i = 2;; i++)
		send_u64(arg, i);
	return 0;
}

static int sieve_filter(void *arg)
{
	struct filter *filter = arg;
	for (;;) {
		uint64_t i = recv_u64(filter->in);
		if (i % filter->prime != 0)
			send_u64(filter->out, i);
	}
	return 0;
}

// As in "Go concurrency patterns": the tasks that are left over stay blocked, so it runs once in a runtime, and what
// they use is the process's until it ends.
static int bench_sieve(void *arg)
{
	struct filter *filters = must_calloc(sizes.primes, sizeof *filters);
	struct tare_chan *in = chan_new(8, 0);
	int64_t start_ns = tare_clock_ns();
	must(tare_go(sieve_source, in), "go");
	uint64_t last = 0;
	for (uint64_t i = 0; i < sizes.primes; i++) {
		last = recv_u64(in);
		filters[i] = (struct filter){.in = in, .out = chan_new(8, 0), .prime = last};
		must(tare_go(sieve_filter, &filters[i]), "go");
		in = filters[i].out;
	}
	print_answer(arg, (double)(tare_clock_ns() - start_ns) / (double)sizes.primes, sizes.primes, last);
	return 0;
}

// A figure in kB of /proc/self/status, in bytes.
static uint64_t status_bytes(const char *key)
{
	char line[256];
	uint64_t kilobytes = 0;
	FILE *status = fopen("/proc/self/status", "re");
	if (status == NULL)
		die("/proc/self/status", -errno);
	while (fgets(line, sizeof line, status) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			kilobytes = strtoull(line + strlen(key), NULL, 10);
	fclose(status);
	return kilobytes * 1024;
}

static struct tare_wg sleepers_wg;

static int sleeper_task(void *arg)
{
	(void)arg;
	must(tare_sleep((int64_t)sizes.sleep_s * TARE_NS_PER_S), "sleep");
	tare_wg_done(&sleepers_wg);
	return 0;
}

static int bench_sleepers(void *arg)
{
	uint64_t count = sizes.sleepers;
	int64_t start_ns = tare_clock_ns(), sleep_ns = (int64_t)sizes.sleep_s * TARE_NS_PER_S;
	for (uint64_t i = 0; i < count; i++) {
		tare_wg_add(&sleepers_wg, 1);
		must(tare_go(sleeper_task, NULL), "go");
	}
	tare_wg_wait(&sleepers_wg);
	int64_t elapsed_ns = tare_clock_ns() - start_ns;
	uint64_t rss = status_bytes("VmHWM:"), tables = status_bytes("VmPTE:");
	printf("{\"name\": \"%s\", \"ns\": %.2f, \"ops\": %" PRIu64 ", \"elapsed_ns\": %" PRId64
	       ", \"rss_bytes\": %" PRIu64 ", \"page_table_bytes\": %" PRIu64 "}\n",
	       (char *)arg, (double)(elapsed_ns - sleep_ns) / (double)count, count, elapsed_ns, rss, tables);
	printf("{\"name\": \"%s_memory\", \"bytes\": %" PRIu64 ", \"ops\": %" PRIu64 "}\n", (char *)arg,
	       (rss + tables) / count, count);
	return 0;
}

// ---- the set of tokio's benches/rt_multi_threaded.rs --------------------------------------------------------------

enum { SPAWNED = 10000, YIELD_TASKS = 200, YIELDS = 1000, PINGS = 1000, CHAIN_LINKS = 1000 };

// What the tasks of one run share: the last one says so.
struct crowd {
	atomic_long left;
	struct tare_chan *done;
};

static int crowd_leave(void *arg)
{
	struct crowd *crowd = arg;
	if (atomic_fetch_sub(&crowd->left, 1) == 1)
		must(tare_chan_send(crowd->done, NULL), "send");
	return 0;
}

static void spawn_many_work(uint64_t n)
{
	struct crowd crowd = {.done = chan_new(0, 1)};
	for (; n > 0; n--) {
		atomic_store(&crowd.left, SPAWNED);
		for (int i = 0; i < SPAWNED; i++)
			must(tare_go(crowd_leave, &crowd), "go");
		must(tare_chan_recv(crowd.done, NULL), "receive");
	}
	tare_chan_free(crowd.done);
}

static int bench_spawn_many(void *arg)
{
	measure(arg, SPAWNED, spawn_many_work);
	return 0;
}

static int yield_many_task(void *arg)
{
	for (int i = 0; i < YIELDS; i++)
		tare_yield();
	must(tare_chan_send(arg, NULL), "send");
	return 0;
}

static void yield_many_work(uint64_t n)
{
	struct tare_chan *done = chan_new(0, YIELD_TASKS);
	for (; n > 0; n--) {
		for (int i = 0; i < YIELD_TASKS; i++)
			must(tare_go(yield_many_task, done), "go");
		for (int i = 0; i < YIELD_TASKS; i++)
			must(tare_chan_recv(done, NULL), "receive");
	}
	tare_chan_free(done);
}

static int bench_yield_many(void *arg)
{
	measure(arg, YIELD_TASKS * YIELDS, yield_many_work);
	return 0;
}

struct ping {
	struct tare_chan *there, *back;
};

static int pong_task(void *arg)
{
	struct ping ping = *(struct ping *)arg;
	must(tare_chan_recv(ping.there, NULL), "receive");
	must(tare_chan_send(ping.back, NULL), "send");
	return 0;
}

static int ping_task(void *arg)
{
	struct ping ping = {chan_new(0, 1), chan_new(0, 1)};
	must(tare_go(pong_task, &ping), "go");
	must(tare_chan_send(ping.there, NULL), "send");
	must(tare_chan_recv(ping.back, NULL), "receive");
	tare_chan_free(ping.there);
	tare_chan_free(ping.back);
	return crowd_leave(arg);
}

static int ping_source(void *arg)
{
	for (int i = 0; i < PINGS; i++)
		must(tare_go(ping_task, arg), "go");
	return 0;
}

static void ping_pong_work(uint64_t n)
{
	struct crowd crowd = {.done = chan_new(0, 1)};
	for (; n > 0; n--) {
		atomic_store(&crowd.left, PINGS);
		must(tare_go(ping_source, &crowd), "go");
		must(tare_chan_recv(crowd.done, NULL), "receive");
	}
	tare_chan_free(crowd.done);
}

static int bench_ping_pong(void *arg)
{
	measure(arg, PINGS, ping_pong_work);
	return 0;
}

static int chain_link(void *arg)
{
	struct crowd *crowd = arg;
	if (atomic_fetch_sub(&crowd->left, 1) == 0)
		must(tare_chan_send(crowd->done, NULL), "send");
	else
		must(tare_go(chain_link, crowd), "go");
	return 0;
}

static void chained_spawn_work(uint64_t n)
{
	struct crowd crowd = {.done = chan_new(0, 1)};
	for (; n > 0; n--) {
		atomic_store(&crowd.left, CHAIN_LINKS);
		must(tare_go(chain_link, &crowd), "go");
		must(tare_chan_recv(crowd.done, NULL), "receive");
	}
	tare_chan_free(crowd.done);
}

static int bench_chained_spawn(void *arg)
{
	measure(arg, CHAIN_LINKS, chained_spawn_work);
	return 0;
}

// ---- the table ----------------------------------------------------------------------------------------------------

// fn gets the name. Without workers it runs outside the runtime.
static const struct bench {
	const char *name;
	int workers;
	tare_task_fn *fn;
} benches[] = {
    {"switch", 0, bench_switch},
    {"yield", 1, bench_yield},
    {"spawn_join", 1, bench_spawn_join},
    {"chan_unbuffered_roundtrip", 1, bench_chan_unbuffered},
    {"chan_buffered_pair", 1, bench_chan_buffered},
    {"mutex_pair", 1, bench_mutex},
    {"futex_wake", 0, bench_futex_wake},
    {"eventfd_wake", 0, bench_eventfd_wake},
    {"wake_parked", 2, bench_wake_parked},
    {"wake_pinned", 2, bench_wake_pinned},
    {"skynet", 1, bench_skynet},
    {"skynet_2", 2, bench_skynet},
    {"thread_ring", 1, bench_ring},
    {"whispers", 1, bench_whispers},
    {"sieve", 1, bench_sieve},
    {"sleepers", 1, bench_sleepers},
    {"spawn_many", 2, bench_spawn_many},
    {"yield_many", 2, bench_yield_many},
    {"ping_pong", 2, bench_ping_pong},
    {"chained_spawn", 2, bench_chained_spawn},
};

static void run(const struct bench *bench)
{
	struct tare_rt_options options = {.workers = bench->workers};
	struct tare_error err = {.text = ""};
	char name[64];
	int result;
	snprintf(name, sizeof name, "%s", bench->name);
	if (bench->workers == 0) {
		bench->fn(name);
	} else if (tare_run(&options, bench->fn, name, &result, &err) < 0) {
		fprintf(stderr, "rt: %s: %s\n", bench->name, err.text);
		exit(1);
	}
	fflush(stdout);
}

static void run_named(const char *name)
{
	bool found = false;
	for (size_t i = 0; i < TARE_ARRAY_LEN(benches); i++)
		if (strcmp(name, "all") == 0 || strcmp(name, benches[i].name) == 0) {
			run(&benches[i]);
			found = true;
		}
	if (!found) {
		fprintf(stderr, "rt: there is no '%s'\n", name);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static const struct option flags[] = {{"samples", required_argument, NULL, 0},
					      {"ring", required_argument, NULL, 1},
					      {"whispers", required_argument, NULL, 2},
					      {"primes", required_argument, NULL, 3},
					      {"sleepers", required_argument, NULL, 4},
					      {"sleep", required_argument, NULL, 5},
					      {0}};
	uint64_t *const values[] = {&sizes.samples, &sizes.ring_hops, &sizes.whispers,
				    &sizes.primes,  &sizes.sleepers,  &sizes.sleep_s};
	for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
		struct tare_str text = {optarg, optarg != NULL ? strlen(optarg) : 0};
		if (flag == '?' || tare_parse_u64(text, values[flag]) < 0 || *values[flag] == 0) {
			fprintf(stderr, "usage: rt [--samples N] [--ring N] [--whispers N] [--primes N] [--sleepers N] "
					"[--sleep SECONDS] NAME...\n");
			return 2;
		}
	}
	for (int i = optind; i < argc; i++)
		run_named(argv[i]);
	return 0;
}
