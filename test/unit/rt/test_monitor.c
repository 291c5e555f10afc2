// SPDX-License-Identifier: MIT
// Goal: a task that keeps its worker to itself is reported with its name and the place where it is; what it holds up
// (sockets, idle descriptors, timers, queued tasks) goes on beside it; and a program that uses the monitor's signal
// itself does not notice. Method: the hog computes until what it would hold up has happened, so that without the
// monitor the test would never end.
#include "in_task.h"

#include <tare/fd.h>
#include <tare/sync.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TARE_SIM
enum { ECHOES = 300 };

static atomic_bool over;
static atomic_int hogging;

TARE_NOIPA static bool is_over(void)
{
	return atomic_load(&over);
}

TARE_NOIPA static void compute(void)
{
	atomic_fetch_add(&hogging, 1);
	while (!is_over())
		continue;
}

static int hog(void *arg)
{
	(void)arg;
	compute();
	return 0;
}

static struct tare_task *spawn_on(int worker, const char *name, tare_task_fn *fn, void *arg)
{
	struct tare_task *task = NULL;
	CHECK(tare_spawn(&task, &(struct tare_task_options){.name = name, .pinned = true, .worker = worker}, fn, arg) ==
	      0);
	return task;
}

static tare_task_fn *pinned_fn;

static int pinned_main(void *arg)
{
	(void)arg;
	atomic_store(&over, false);
	atomic_store(&hogging, 0);
	return tare_join(spawn_on(0, "pinned", pinned_fn, NULL));
}

static void say_nothing(void *arg, const char *text, size_t len)
{
	(void)arg, (void)text, (void)len;
}

// fn stays on worker 0; the hog will be on worker 1.
static void run_beside(tare_task_fn *fn)
{
	pinned_fn = fn;
	run_with(&(struct tare_rt_options){.workers = 2, .seed = 1, .report = say_nothing}, pinned_main, NULL);
}

static void await_hog(void)
{
	while (atomic_load(&hogging) == 0)
		tare_yield();
}

// ---- what is held up ----------------------------------------------------------------------------------------------

static struct tare_fd server_end;
static int sockets[2];

static int open_here(void *arg)
{
	(void)arg;
	return tare_fd_open(&server_end, sockets[0]);
}

static int echo(void *arg)
{
	(void)arg;
	char byte;
	for (;;) {
		ssize_t n = tare_fd_recv(&server_end, &byte, 1);
		if (n == -EAGAIN) {
			CHECK(tare_fd_wait(&server_end, TARE_READ, TARE_NEVER) == 0);
			continue;
		}
		if (n <= 0)
			break;
		CHECK(tare_fd_send(&server_end, &byte, 1) == 1);
	}
	tare_fd_close(&server_end);
	return 0;
}

static void *client(void *arg)
{
	char byte = 'x';
	for (int i = 0; i < ECHOES; i++) {
		CHECK(send(sockets[1], &byte, 1, 0) == 1);
		CHECK(recv(sockets[1], &byte, 1, 0) == 1);
	}
	atomic_store(&over, true);
	close(sockets[1]);
	return arg;
}

static void open_sockets_on(int worker)
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
	CHECK(fcntl(sockets[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK(tare_join(spawn_on(worker, "open", open_here, NULL)) == 0);
}

static int echo_beside_hog(void *arg)
{
	(void)arg;
	open_sockets_on(1);
	struct tare_task *hogging_task = spawn_on(1, "hog", hog, NULL), *echo_task;
	await_hog();
	CHECK(tare_spawn(&echo_task, NULL, echo, NULL) == 0);
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, client, NULL) == 0);
	CHECK(tare_join(echo_task) == 0);
	CHECK(tare_join(hogging_task) == 0);
	pthread_join(thread, NULL);
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	CHECK(stats.rescues > 0);
	return 0;
}

TEST(sockets_of_a_worker_that_computes_are_answered_by_the_others)
{
	run_beside(echo_beside_hog);
}

// ---- in order -----------------------------------------------------------------------------------------------------

enum { STREAM_BYTES = 8000000, STREAM_RESCUES = 20, AWAY_NS = 3000000, BACK_NS = 1500000, CHUNK_MAX = 20000 };

static atomic_bool enough;

// Away for a while, back for a moment: what comes is taken by others and by the worker itself in turn.
static int in_and_out(void *arg)
{
	(void)arg;
	while (!is_over()) {
		for (int64_t until_ns = tare_now_ns() + AWAY_NS; tare_now_ns() < until_ns;)
			continue;
		for (int64_t until_ns = tare_now_ns() + BACK_NS; tare_now_ns() < until_ns;)
			tare_yield(); // polls all the while, beside those who don't know yet
	}
	return 0;
}

static void *stream_writer(void *arg)
{
	static uint8_t chunk[CHUNK_MAX];
	uint8_t next = 0;
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	while (!atomic_load(&enough)) {
		size_t len = 1 + tare_rng_below(&rng, CHUNK_MAX);
		for (size_t i = 0; i < len; i++)
			chunk[i] = next, next = (uint8_t)((next + 1) % 251);
		for (size_t sent = 0; sent < len;) {
			ssize_t n = send(sockets[1], chunk + sent, len - sent, 0);
			CHECK(n > 0);
			sent += (size_t)TARE_MAX(n, (ssize_t)0);
		}
	}
	close(sockets[1]);
	return arg;
}

static int stream_reader(void *arg)
{
	(void)arg;
	static uint8_t buf[CHUNK_MAX];
	uint8_t next = 0;
	uint64_t total = 0;
	for (;;) {
		ssize_t n = tare_fd_recv(&server_end, buf, 1 + total % sizeof buf);
		if (n == -EAGAIN) {
			CHECK(tare_fd_wait(&server_end, TARE_READ, TARE_NEVER) == 0);
			continue;
		}
		if (n <= 0)
			break;
		bool right = true;
		for (ssize_t i = 0; i < n; i++, next = (uint8_t)((next + 1) % 251))
			right &= buf[i] == next;
		CHECK(right);
		total += (uint64_t)n;
		struct tare_rt_stats stats;
		tare_rt_stats_read(&stats);
		if (total >= (uint64_t)SCALED(STREAM_BYTES) && stats.rescues >= STREAM_RESCUES)
			atomic_store(&enough, true);
	}
	atomic_store(&over, true);
	tare_fd_close(&server_end);
	return 0;
}

static int stream_beside_hog(void *arg)
{
	(void)arg;
	atomic_store(&enough, false);
	open_sockets_on(1);
	struct tare_task *hogging_task = spawn_on(1, "in and out", in_and_out, NULL);
	struct tare_task *reader = spawn_on(0, "reader", stream_reader, NULL);
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, stream_writer, NULL) == 0);
	CHECK(tare_join(reader) == 0);
	CHECK(tare_join(hogging_task) == 0);
	pthread_join(thread, NULL);
	return 0;
}

TEST(what_is_received_while_the_worker_comes_and_goes_is_whole_and_in_order)
{
	pinned_fn = stream_beside_hog;
	run_with(&(struct tare_rt_options){.workers = 2, .watchdog_ns = TARE_NS_PER_MS, .report = say_nothing},
		 pinned_main, NULL);
}

static struct tare_fd closed_end;
static atomic_int tries;

// Closing what is still armed enters the ring; with it comes the first byte, which lies there until the worker polls.
static int leave_one_unseen(void *arg)
{
	(void)arg;
	int other[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, other) == 0);
	CHECK(tare_fd_open(&closed_end, other[0]) == 0);
	tare_fd_settle(&closed_end);
	CHECK(send(sockets[1], "1", 1, 0) == 1);
	tare_fd_close(&closed_end);
	CHECK(send(sockets[1], "2", 1, 0) == 1);
	atomic_fetch_add(&hogging, 1);
	while (atomic_load(&tries) < 2)
		continue;
	close(other[1]);
	return 0;
}

static int unseen_beside_hog(void *arg)
{
	(void)arg;
	atomic_store(&tries, 0);
	open_sockets_on(1);
	struct tare_task *task = spawn_on(1, "hog", leave_one_unseen, NULL);
	await_hog();
	for (char wanted = '1'; wanted <= '2';) {
		char byte;
		ssize_t n = tare_fd_recv(&server_end, &byte, 1);
		atomic_fetch_add(&tries, 1);
		if (n == -EAGAIN) {
			CHECK(tare_fd_wait(&server_end, TARE_READ, TARE_NEVER) == 0);
			continue;
		}
		CHECK(n == 1 && byte == wanted);
		wanted++;
	}
	CHECK(tare_join(task) == 0);
	tare_fd_close(&server_end);
	close(sockets[1]);
	return 0;
}

TEST(what_was_received_before_a_worker_got_stuck_comes_before_what_is_received_meanwhile)
{
	run_beside(unseen_beside_hog);
}

enum { ROOM_BYTES = 3000000 };

static void *drain_slowly(void *arg)
{
	static char buf[4096];
	for (ssize_t total = 0; total < ROOM_BYTES;) {
		ssize_t n = recv(sockets[1], buf, sizeof buf, 0);
		CHECK(n > 0);
		total += TARE_MAX(n, (ssize_t)1);
	}
	atomic_store(&over, true);
	return arg;
}

static int send_beside_hog(void *arg)
{
	(void)arg;
	static char bytes[ROOM_BYTES];
	open_sockets_on(1);
	struct tare_task *task = spawn_on(1, "hog", hog, NULL);
	await_hog();
	size_t sent = 0;
	pthread_t thread;
	bool draining = false;
	while (sent < sizeof bytes) {
		ssize_t n = tare_fd_send(&server_end, bytes + sent, sizeof bytes - sent);
		CHECK(n > 0 || n == -EAGAIN);
		sent += (size_t)TARE_MAX(n, (ssize_t)0);
		if (n != -EAGAIN)
			continue;
		if (!draining)
			CHECK(pthread_create(&thread, NULL, drain_slowly, NULL) == 0);
		draining = true;
		CHECK(tare_fd_wait(&server_end, TARE_WRITE, TARE_NEVER) == 0);
	}
	CHECK(draining);
	CHECK(tare_join(task) == 0);
	pthread_join(thread, NULL);
	tare_fd_close(&server_end);
	close(sockets[1]);
	return 0;
}

TEST(who_waits_for_room_at_a_stuck_worker_is_told_of_it)
{
	run_beside(send_beside_hog);
}

static atomic_int called_on;

static int say_over(void *arg)
{
	(void)arg;
	atomic_store(&over, true);
	return 0;
}

static void on_ready(struct tare_fd *fd)
{
	(void)fd;
	atomic_store(&called_on, tare_worker());
	CHECK(tare_self() == NULL);
	CHECK(tare_go(say_over, NULL) == 0);
}

static int idle_beside_hog(void *arg)
{
	(void)arg;
	open_sockets_on(1);
	CHECK(tare_fd_idle(&server_end, on_ready));
	struct tare_task *task = spawn_on(1, "hog", hog, NULL);
	await_hog();
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	CHECK(tare_join(task) == 0);
	CHECK(atomic_load(&called_on) == 0);
	tare_fd_close(&server_end);
	close(sockets[1]);
	return 0;
}

TEST(an_idle_descriptors_callback_runs_on_a_worker_that_is_not_stuck)
{
	run_beside(idle_beside_hog);
}

static struct tare_timer timer;

static int64_t on_time(struct tare_timer *fired)
{
	CHECK(fired == &timer);
	atomic_store(&called_on, tare_worker());
	atomic_store(&over, true);
	return 0;
}

// The timer is of the worker that the hog has.
static int start_timer_then_hog(void *arg)
{
	timer = (struct tare_timer){0};
	CHECK(tare_timer_start(&timer, tare_now_ns(), on_time) == 0);
	return hog(arg);
}

static int timer_beside_hog(void *arg)
{
	(void)arg;
	CHECK(tare_join(spawn_on(1, "hog", start_timer_then_hog, NULL)) == 0);
	CHECK(atomic_load(&called_on) == 0);
	return 0;
}

TEST(timers_of_a_worker_that_computes_are_run_by_the_others)
{
	run_beside(timer_beside_hog);
}

static int idle_then_hog(void *arg)
{
	CHECK(tare_sleep(300 * TARE_NS_PER_MS) == 0); // long for a monitor that looks each millisecond
	return timer_beside_hog(arg);
}

TEST(a_monitor_that_dozed_off_is_roused)
{
	pinned_fn = idle_then_hog;
	run_with(&(struct tare_rt_options){.workers = 2, .watchdog_ns = TARE_NS_PER_MS, .report = say_nothing},
		 pinned_main, NULL);
}

static int yield_until_hog(void *arg)
{
	while (atomic_load(&hogging) == 0)
		tare_yield();
	return say_over(arg);
}

static int queue_then_hog(void *arg)
{
	for (int i = 0; i < 3; i++)
		CHECK(tare_go(yield_until_hog, NULL) == 0);
	tare_yield();
	return hog(arg);
}

static int queue_beside_hog(void *arg)
{
	(void)arg;
	return tare_join(spawn_on(1, "hog", queue_then_hog, NULL));
}

TEST(what_is_queued_behind_a_task_that_computes_is_stolen)
{
	run_beside(queue_beside_hog);
}

static int lent_on, lent_then_on;

static int say_where(void *arg)
{
	(void)arg;
	lent_on = tare_worker();
	atomic_store(&over, true);
	while (tare_worker() == lent_on)
		tare_yield();
	lent_then_on = tare_worker();
	return 0;
}

static int stay(void *arg)
{
	(void)arg;
	CHECK(tare_worker() == 1 && is_over());
	return 0;
}

static int lend_beside_hog(void *arg)
{
	(void)arg;
	struct tare_task *task = spawn_on(1, "hog", hog, NULL), *lent, *others[2];
	struct tare_task_options options = {.name = "lent", .pinned = true, .worker = 1, .lendable = true};
	await_hog();
	others[0] = spawn_on(1, "stays", stay, NULL);
	CHECK(tare_spawn(&lent, &options, say_where, NULL) == 0);
	others[1] = spawn_on(1, "stays", stay, NULL);
	CHECK(tare_join(lent) == 0 && tare_join(others[0]) == 0 && tare_join(others[1]) == 0);
	CHECK(tare_join(task) == 0);
	CHECK(lent_on == 0 && lent_then_on == 1);
	return 0;
}

TEST(a_pinned_task_that_may_be_lent_runs_elsewhere_while_its_worker_computes_and_goes_back)
{
	run_beside(lend_beside_hog);
}

// ---- what is reported ---------------------------------------------------------------------------------------------

static char said[16384];
static size_t said_len;
static int wake_by[2];

// From the monitor's thread; a test reads it when the runtime has returned.
static void on_report(void *arg, const char *text, size_t len)
{
	(void)arg;
	size_t n = TARE_MIN(len, sizeof said - 1 - said_len);
	memcpy(said + said_len, text, n);
	said_len += n;
	said[said_len] = '\0';
	atomic_store(&over, true);
	if (wake_by[1] > 0)
		CHECK(write(wake_by[1], "x", 1) == 1);
}

static int slow_main(void *arg)
{
	(void)arg;
	struct tare_task *task = spawn_on(0, "number cruncher", hog, NULL);
	CHECK(tare_join(task) == 0);
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	CHECK(stats.tasks_slow > 0);
	return 0;
}

static void run_reported(int workers, tare_task_fn *fn)
{
	struct tare_rt_options options = {.workers = workers, .seed = 1, .report = on_report};
	said_len = 0;
	said[0] = '\0';
	atomic_store(&over, false);
	run_with(&options, fn, NULL);
}

static bool was_said(const char *what)
{
	if (strstr(said, what) != NULL)
		return true;
	fprintf(stderr, "no '%s' in: %s\n", what, said);
	return false;
}

TEST(a_slow_task_is_reported_by_name_and_place)
{
	run_reported(1, slow_main);
	assert_true(was_said("tare: task "));
	assert_true(was_said("\"number cruncher\" has run for "));
	assert_true(was_said("on worker 0 without blocking or yielding (reported from 25 ms)\n"));
#ifndef TARE_TSAN // it puts signals off until the thread calls something
	assert_true(was_said("    hog+0x"));
	assert_null(strstr(said, "rt_task_main"));
#endif
}

static int block(void *arg)
{
	(void)arg;
	char byte;
	return read(wake_by[0], &byte, 1) == 1 ? 0 : 1; // whole: no signal cuts it short
}

static int block_main(void *arg)
{
	(void)arg;
	return tare_join(spawn_on(0, "blocker", block, NULL));
}

TEST(a_task_that_blocks_its_thread_is_reported_with_the_call_it_is_in)
{
	assert_int_equal(pipe(wake_by), 0);
	run_reported(1, block_main);
	close(wake_by[0]);
	close(wake_by[1]);
	wake_by[1] = 0;
	assert_true(was_said("\"blocker\" has run for "));
	assert_true(was_said("it blocks its thread in a call of the kernel: "));
	assert_true(was_said("read"));
}

static unsigned threads_now(void)
{
	DIR *folder = opendir("/proc/self/task");
	CHECK(folder != NULL);
	unsigned count = 0;
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count;
}

static int count_threads(void *arg)
{
	*(unsigned *)arg = threads_now();
	return 0;
}

TEST(there_is_no_monitor_when_it_is_not_wanted)
{
	unsigned with = 0, without = 0;
	run_with(&(struct tare_rt_options){.workers = 1}, count_threads, &with);
	run_with(&(struct tare_rt_options){.workers = 1, .watchdog_ns = -1}, count_threads, &without);
	assert_int_equal(with, without + 1);
}

// ---- the signal ---------------------------------------------------------------------------------------------------

static atomic_int urgent;

static void on_urgent(int number)
{
	(void)number;
	atomic_fetch_add(&urgent, 1);
}

static int raise_urgent(void *arg)
{
	(void)arg;
	return raise(SIGURG);
}

static int slow_and_urgent(void *arg)
{
	CHECK(raise_urgent(arg) == 0);
	return slow_main(arg);
}

static int install_urgent(void *arg)
{
	signal(SIGURG, on_urgent);
	return slow_and_urgent(arg);
}

TEST(a_program_that_uses_the_signal_gets_its_own_and_no_other)
{
	atomic_store(&urgent, 0);
	signal(SIGURG, on_urgent);
	run_reported(1, slow_and_urgent);
	assert_int_equal(atomic_load(&urgent), 1);
	assert_int_equal(raise(SIGURG), 0);
	assert_int_equal(atomic_load(&urgent), 2);
	// A handler that comes while the runtime runs: it is left in its place, and slow tasks are reported without
	// one.
	signal(SIGURG, SIG_DFL);
	run_reported(1, install_urgent);
	assert_int_equal(atomic_load(&urgent), 3);
	assert_true(was_said("\"number cruncher\" has run for "));
	assert_true(signal(SIGURG, SIG_DFL) == on_urgent);
}
#else
static int nothing_slow(void *arg)
{
	(void)arg;
	CHECK(tare_sleep(TARE_NS_PER_S) == 0);
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	CHECK(stats.tasks_slow == 0 && stats.rescues == 0);
	return 0;
}

// Its clock jumps, and it has one thread.
TEST(a_simulation_has_no_monitor)
{
	run_in_task(2, nothing_slow);
}
#endif
