// SPDX-License-Identifier: MIT
// Goal: a call that blocks holds neither its worker nor another call; its limit, its order and its end hold; a thread
// that can't be had harms nobody. Method: jobs that wait for each other or for tasks; thread creation that fails at the
// n-th time, for each n: in the kernel's builds pthread_create is ours, in a simulation it asks us.
#include "in_task.h"

#include <tare/block.h>
#include <tare/sync.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

// ---- thread creation that fails -----------------------------------------------------------------------------------

// So many creations go well, then so many fail.
static atomic_int good_left, bad_left, refused;

static bool refuse(void)
{
	if (atomic_load(&bad_left) == 0)
		return false;
	if (atomic_fetch_sub(&good_left, 1) > 0)
		return false;
	if (atomic_fetch_sub(&bad_left, 1) <= 0)
		return false;
	atomic_fetch_add(&refused, 1);
	return true;
}

static void refuse_after(int good, int bad)
{
	atomic_store(&bad_left, 0);
	atomic_store(&good_left, good);
	atomic_store(&refused, 0);
	atomic_store(&bad_left, bad);
}

#ifdef TARE_SIM
__attribute__((constructor)) static void refuse_in_simulation(void)
{
	rt_sim_thread_refused = refuse;
}
#else
int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	__typeof__(&pthread_create) next = (__typeof__(&pthread_create))dlsym(RTLD_NEXT, "pthread_create");
	return refuse() ? EAGAIN : next(ret_thread, attr, fn, arg);
}
#endif

// ---- one call -----------------------------------------------------------------------------------------------------

struct visit {
	int result;
	bool ran, in_task;
	int worker;
};

static int visit(void *arg)
{
	struct visit *v = arg;
	v->ran = true;
	v->in_task = tare_self() != NULL;
	v->worker = tare_worker();
	return v->result;
}

static int one_main(void *arg)
{
	(void)arg;
	for (int i = -1; i < 2; i++) {
		struct visit v = {.result = i, .in_task = true};
		CHECK(tare_block(visit, &v) == i);
		CHECK(v.ran && !v.in_task && v.worker == -1);
	}
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	CHECK(stats.spare_threads == 1); // one caller at a time needs no second one
	return 0;
}

TEST(a_call_runs_on_a_thread_that_is_no_worker_and_gives_its_result)
{
	run_in_task(1, one_main);
	run_in_task(3, one_main);
}

TEST(outside_the_runtime_it_is_a_plain_call)
{
	struct visit v = {.result = 7};
	assert_int_equal(tare_block(visit, &v), 7);
	assert_true(v.ran);
}

// ---- while it blocks ----------------------------------------------------------------------------------------------

static struct tare_event begun, go_on;

static int wait_for_task(void *arg)
{
	(void)arg;
	tare_event_wake(&begun);
	tare_event_wait(&go_on);
	return 3;
}

static int release(void *arg)
{
	(void)arg;
	tare_event_wait(&begun);
	tare_event_wake(&go_on);
	return 0;
}

static int beside_main(void *arg)
{
	(void)arg;
	struct tare_task *other;
	CHECK(tare_spawn(&other, NULL, release, NULL) == 0);
	CHECK(tare_block(wait_for_task, NULL) == 3);
	CHECK(tare_join(other) == 0);
	return 0;
}

TEST(a_worker_runs_its_other_tasks_while_a_call_blocks)
{
	run_in_task(1, beside_main);
	run_in_task(2, beside_main);
}

static int cancel_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	struct tare_task *other;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	CHECK(tare_spawn(&other, NULL, release, NULL) == 0);
	tare_scope_cancel(&scope);
	CHECK(tare_block(wait_for_task, NULL) == 3); // its storage is the caller's: it is waited for
	CHECK(tare_join(other) == 0);
	CHECK(tare_scope_join(&scope) == 0);
	return 0;
}

TEST(a_cancelled_scope_does_not_end_a_call)
{
	run_in_task(1, cancel_main);
	run_in_task(2, cancel_main);
}

// A thread that looks again and again lets others run.
static void thread_pause(void)
{
	if (SIMULATED)
		tare_cpu_relax();
	else
		usleep(100);
}

// ---- many ---------------------------------------------------------------------------------------------------------

enum { MEETING = 6 };
static atomic_int present;

static int meet(void *arg)
{
	(void)arg;
	atomic_fetch_add(&present, 1);
	while (atomic_load(&present) % MEETING != 0)
		thread_pause();
	return 0;
}

static int meet_task(void *arg)
{
	return tare_block(meet, arg);
}

static int meet_main(void *arg)
{
	(void)arg;
	for (int round = 0; round < 5; round++) {
		struct tare_scope scope;
		atomic_store(&present, 0);
		CHECK(tare_sleep(round * 700) == 0);
		CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
		for (int i = 0; i < MEETING; i++)
			CHECK(tare_scope_go(&scope, meet_task, NULL) == 0);
		CHECK(tare_scope_join(&scope) == 0);
		CHECK(atomic_load(&present) == MEETING);
	}
	return 0;
}

TEST(calls_up_to_the_limit_may_wait_for_each_other)
{
	struct tare_rt_options one = {.workers = 1, .seed = 1, .spare_threads_max = MEETING};
	struct tare_rt_options three = {.workers = 3, .seed = 1, .spare_threads_max = MEETING};
	run_with(&one, meet_main, NULL);
	run_with(&three, meet_main, NULL);
	one.spare_idle_ns = three.spare_idle_ns = 2000; // also while threads end
	run_with(&one, meet_main, NULL);
	run_with(&three, meet_main, NULL);
}

static atomic_int inside, most_inside, next_turn;

static int take_turn(void *arg)
{
	int now_inside = atomic_fetch_add(&inside, 1) + 1;
	if (now_inside > atomic_load(&most_inside))
		atomic_store(&most_inside, now_inside);
	int turn = atomic_fetch_add(&next_turn, 1);
	atomic_fetch_sub(&inside, 1);
	return turn - (int)(intptr_t)arg;
}

static int take_turn_task(void *arg)
{
	CHECK(tare_block(take_turn, arg) == 0);
	return 0;
}

static int order_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	atomic_store(&inside, 0);
	atomic_store(&most_inside, 0);
	atomic_store(&next_turn, 0);
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	struct tare_task_options pinned = {.scope = &scope, .pinned = true, .worker = 0};
	for (intptr_t i = 0; i < 20; i++)
		CHECK(tare_go_with(&pinned, take_turn_task, (void *)i) == 0); // one worker: they call in this order
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(atomic_load(&next_turn) == 20 && atomic_load(&most_inside) == 1);
	return 0;
}

TEST(past_the_limit_calls_are_served_first_come_first_served)
{
	run_with(&(struct tare_rt_options){.workers = 1, .seed = 1, .spare_threads_max = 1}, order_main, NULL);
	run_with(&(struct tare_rt_options){.workers = 2, .seed = 1, .spare_threads_max = 1}, order_main, NULL);
}

static atomic_int served;

static int serve(void *arg)
{
	(void)arg;
	int now_inside = atomic_fetch_add(&inside, 1) + 1;
	CHECK(now_inside <= 3);
	atomic_fetch_add(&served, 1);
	atomic_fetch_sub(&inside, 1);
	return 5;
}

static int call_often(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(300); round++) {
		CHECK(tare_block(serve, NULL) == 5);
		if (round % 8 == 7)
			CHECK(tare_sleep(round % 3 * 20000) == 0); // now and then a thread has been idle for long
	}
	return 0;
}

static int churn_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	int tasks = SIMULATED ? 4 : 12;
	atomic_store(&inside, 0);
	atomic_store(&served, 0);
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < tasks; i++)
		CHECK(tare_scope_go(&scope, call_often, NULL) == 0);
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(atomic_load(&served) == tasks * SCALED(300));
	struct tare_rt_stats stats;
	do {
		CHECK(tare_sleep(TARE_NS_PER_MS) == 0);
		tare_rt_stats_read(&stats);
	} while (stats.spare_threads > 0);
	CHECK(tare_block(serve, NULL) == 5);
	return 0;
}

TEST(threads_that_end_for_idleness_leave_no_call_behind)
{
	const struct tare_rt_options one = {.workers = 1, .seed = 1, .spare_threads_max = 3, .spare_idle_ns = 20000};
	const struct tare_rt_options four = {.workers = 4, .seed = 1, .spare_threads_max = 3, .spare_idle_ns = 20000};
	run_with(&one, churn_main, NULL);
	run_with(&four, churn_main, NULL);
}

// ---- no thread ----------------------------------------------------------------------------------------------------

static atomic_int ran;

static int add_one(void *arg)
{
	atomic_fetch_add(&ran, 1);
	return (int)(intptr_t)arg;
}

static int add_task(void *arg)
{
	CHECK(tare_block(add_one, arg) == (int)(intptr_t)arg);
	return 0;
}

static int starve_main(void *arg)
{
	enum { CALLS = 5 };
	int bad = *(const int *)arg;
	for (int good = 0; good <= CALLS; good++) {
		struct tare_scope scope;
		struct tare_rt_stats stats;
		refuse_after(good, bad);
		atomic_store(&ran, 0);
		CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
		for (intptr_t i = 0; i < CALLS; i++)
			CHECK(tare_scope_go(&scope, add_task, (void *)i) == 0);
		CHECK(tare_scope_join(&scope) == 0);
		CHECK(atomic_load(&ran) == CALLS);
		CHECK(good > 0 || atomic_load(&refused) > 0);
		refuse_after(0, 0);
		do { // the next round needs new ones
			CHECK(tare_sleep(TARE_NS_PER_MS) == 0);
			tare_rt_stats_read(&stats);
		} while (stats.spare_threads > 0);
	}
	return 0;
}

TEST(whichever_thread_can_not_be_started_every_call_is_made_once)
{
	static int bads[] = {1, 2, 1000};
	for (unsigned i = 0; i < TARE_ARRAY_LEN(bads); i++) {
		run_with(&(struct tare_rt_options){.workers = 1, .seed = 1, .spare_idle_ns = 20000}, starve_main,
			 &bads[i]);
		run_with(&(struct tare_rt_options){.workers = 3, .seed = 1, .spare_idle_ns = 20000}, starve_main,
			 &bads[i]);
	}
}

static int inline_main(void *arg)
{
	(void)arg;
	struct visit v = {.result = 9};
	refuse_after(0, 1000);
	CHECK(tare_block(visit, &v) == 9);
	CHECK(v.ran && v.in_task);
	refuse_after(0, 0);
	CHECK(tare_block(visit, &v) == 9);
	CHECK(!v.in_task);
	return 0;
}

TEST(without_any_thread_the_call_is_made_in_place)
{
	run_in_task(1, inline_main);
}

// ---- the end ------------------------------------------------------------------------------------------------------

static atomic_int entered, ended;
static atomic_bool main_over;

static int outlive(void *arg)
{
	atomic_fetch_add(&entered, 1);
	tare_event_wake(&begun);
	while (!atomic_load(&main_over))
		thread_pause();
	atomic_fetch_add((atomic_int *)arg, 1);
	return 0;
}

static int outlive_task(void *arg)
{
	int rc = tare_block(outlive, arg);
	CHECK(rc == 0);
	return rc;
}

static int leave_main(void *arg)
{
	(void)arg;
	memset(&begun, 0, sizeof begun);
	atomic_store(&main_over, false);
	CHECK(tare_go(outlive_task, &ended) == 0);
	CHECK(tare_go(outlive_task, &ended) == 0); // maybe still queued then: dropped with its task
	tare_event_wait(&begun);
	atomic_store(&main_over, true);
	return 0;
}

TEST(a_call_under_way_when_the_runtime_ends_is_waited_for)
{
	for (int workers = 1; workers <= 2; workers++) {
		atomic_store(&entered, 0);
		atomic_store(&ended, 0);
		run_with(&(struct tare_rt_options){.workers = workers, .seed = 1, .spare_threads_max = 1}, leave_main,
			 NULL);
		assert_int_equal(atomic_load(&entered), atomic_load(&ended));
	}
}

// ---- files --------------------------------------------------------------------------------------------------------

static char path[] = "/tmp/tare-test-block-XXXXXX";

static int file_main(void *arg)
{
	(void)arg;
	char text[16] = "";
	int fd = tare_file_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	CHECK(tare_file_write(fd, "hello world", 11) == 11);
	CHECK(tare_file_pwrite(fd, "W", 1, 6) == 1);
	CHECK(tare_file_write(fd, "!", 1) == 1);
	CHECK(tare_file_fsync(fd) == 0);
	CHECK(tare_file_pread(fd, text, 5, 6) == 5 && memcmp(text, "World", 5) == 0);
	CHECK(tare_file_read(fd, text, 5) == 0); // the end
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK(tare_file_read(fd, text, sizeof text) == 12 && memcmp(text, "hello World!", 12) == 0);
	CHECK(tare_file_write(fd, "", 0) == 0);
	CHECK(tare_file_close(fd) == 0);
	CHECK(tare_file_close(fd) == -EBADF);
	CHECK(tare_file_read(-1, text, 1) == -EBADF);
	CHECK(tare_file_pread(-1, text, 1, 0) == -EBADF);
	CHECK(tare_file_write(-1, text, 1) == -EBADF);
	CHECK(tare_file_pwrite(-1, text, 1, 0) == -EBADF);
	CHECK(tare_file_fsync(-1) == -EBADF);
	CHECK(tare_file_open("/nowhere/at/all", O_RDONLY, 0) == -ENOENT);
	return 0;
}

TEST(files_are_written_and_read_without_the_worker)
{
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	run_in_task(1, file_main);
	run_in_task(2, file_main);
	unlink(path);
}

static int full_main(void *arg)
{
	(void)arg;
	static char block[4096];
	int fd = tare_file_open("/dev/full", O_WRONLY, 0);
	CHECK(fd >= 0);
	CHECK(tare_file_write(fd, block, sizeof block) == -ENOSPC);
	CHECK(tare_file_close(fd) == 0);
	return 0;
}

TEST(a_full_device_is_told)
{
	run_in_task(1, full_main);
}
