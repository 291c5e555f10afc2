// SPDX-License-Identifier: MIT
// Goal: the list of tasks names each one with its state, what it waits for, who started it and where it is; it holds up
// while tasks come and go; and a run that can never go on ends with -EDEADLK and that list, while one that can is left
// alone. Method: tasks are parked at known places; the text is read. A deadlock happens in a child process, where no
// thread of the test program's is in the way.
#include "child.h"
#include "in_task.h"

#include <tare/chan.h>
#include <tare/fd.h>
#include <tare/mem.h>
#include <tare/sync.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct page {
	char text[64 * 1024];
	size_t len;
};

static int page_write(void *arg, const char *ptr, size_t len)
{
	struct page *page = arg;
	size_t n = TARE_MIN(len, sizeof page->text - 1 - page->len);
	memcpy(page->text + page->len, ptr, n);
	page->len += n;
	page->text[page->len] = '\0';
	return 0;
}

static const char *tasks_text(uint64_t tasks_max)
{
	static struct page page;
	page.len = 0;
	struct tare_text text = {.write = page_write, .arg = &page};
	tare_tasks_write(&text, tasks_max);
	CHECK(text.rc == 0);
	return page.text;
}

// The part of the text that is about the task of that name.
static const char *about(const char *text, const char *name)
{
	static char part[8192];
	char head[64];
	snprintf(head, sizeof head, "\"%s\":", name);
	const char *begin = strstr(text, head);
	if (begin == NULL)
		return "";
	const char *end = strstr(begin, "\n\n");
	snprintf(part, sizeof part, "%.*s", end != NULL ? (int)(end - begin) : (int)strlen(begin), begin);
	return part;
}

static bool has(const char *text, const char *what)
{
	if (strstr(text, what) != NULL)
		return true;
	fprintf(stderr, "no '%s' in: %s\n", what, text);
	return false;
}

// ---- the list -----------------------------------------------------------------------------------------------------

static struct tare_mutex mutex;
static struct tare_event over;
static atomic_int there; // tasks about to park

TARE_NOIPA static void stand_in_line(void)
{
	atomic_fetch_add(&there, 1);
	tare_mutex_lock(&mutex);
	tare_mutex_unlock(&mutex);
}

static int in_line(void *arg)
{
	(void)arg;
	stand_in_line();
	return 0;
}

static int for_event(void *arg)
{
	(void)arg;
	atomic_fetch_add(&there, 1);
	tare_event_wait(&over);
	return 0;
}

static int asleep(void *arg)
{
	(void)arg;
	atomic_fetch_add(&there, 1);
	return tare_sleep(TARE_NS_PER_MS / 10);
}

static uint64_t parked_for(const char *name)
{
	struct tare_task_counts counts;
	tare_task_counts_read(&counts);
	for (unsigned i = 0; tare_reason_name(i) != NULL; i++)
		if (strcmp(tare_reason_name(i), name) == 0)
			return counts.parked[i];
	return 0;
}

TARE_NOIPA static void start_them(struct tare_task *tasks[2])
{
	CHECK(tare_spawn(&tasks[0], &(struct tare_task_options){.name = "queuer"}, in_line, NULL) == 0);
	CHECK(tare_spawn(&tasks[1], &(struct tare_task_options){.name = "listener"}, for_event, NULL) == 0);
}

static int list_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[2];
	atomic_store(&there, 0);
	over = (struct tare_event){0};
	mutex = (struct tare_mutex){0};
	tare_mutex_lock(&mutex);
	start_them(tasks);
	while (parked_for("mutex") != 1 || parked_for("event") != 1)
		tare_yield();
	const char *text = tasks_text(UINT64_MAX);
	CHECK(has(text, "3 tasks on 2 workers: 1 running, 0 runnable, 2 parked (1 mutex, 1 event), 0 done\n"));
	CHECK(has(about(text, "main"), "running on worker "));
	const char *queuer = about(text, "queuer");
	CHECK(has(queuer, "parked: mutex, for "));
	CHECK(has(queuer, " s; started by start_them+0x"));
	CHECK(has(queuer, "    tare_mutex_lock"));
	CHECK(has(queuer, "    stand_in_line+0x"));
	CHECK(has(queuer, "(test_dump+0x"));
	CHECK(strstr(queuer, "    rt_") == NULL); // how every task parks and begins
	CHECK(has(about(text, "listener"), "parked: event, for "));
	CHECK(has(tasks_text(1), "... and 2 tasks more\n"));
	tare_mutex_unlock(&mutex);
	tare_event_wake(&over);
	CHECK(tare_join(tasks[0]) == 0 && tare_join(tasks[1]) == 0);
	CHECK(has(tasks_text(UINT64_MAX), "1 tasks on 2 workers: 1 running, 0 runnable, 0 parked, 0 done\n"));
	return 0;
}

TEST(each_task_is_listed_with_what_it_waits_for_and_where)
{
	run_in_task(2, list_main);
}

static int dump_into_pipe(void *arg)
{
	(void)arg;
	int ends[2];
	char text[4096];
	CHECK(pipe(ends) == 0);
	CHECK(tare_dump_tasks(ends[1]) == 0);
	ssize_t n = read(ends[0], text, sizeof text - 1);
	text[TARE_MAX(n, (ssize_t)0)] = '\0';
	CHECK(has(text, "\"main\": running"));
	close(ends[0]);
	close(ends[1]);
	CHECK(tare_dump_tasks(ends[1]) == -EBADF);
	return 0;
}

TEST(the_list_can_be_written_to_a_descriptor)
{
	if (SIMULATED)
		skip();
	run_in_task(1, dump_into_pipe);
}

static int at_once(void *arg)
{
	(void)arg;
	tare_yield();
	return 0;
}

static atomic_bool enough;

static int churn(void *arg)
{
	(void)arg;
	static const size_t sizes[] = {0, 64 * 1024};
	for (unsigned i = 0; !atomic_load(&enough); i++) {
		struct tare_task *task;
		// Stacks of a size of their own go when their task does.
		struct tare_task_options options = {.name = "mayfly", .stack_bytes = sizes[i % 2]};
		if (tare_spawn(&task, &options, i % 3 == 0 ? asleep : at_once, NULL) < 0)
			continue;
		CHECK(tare_join(task) == 0);
	}
	return 0;
}

static int churn_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[4];
	atomic_store(&enough, false);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_spawn(&tasks[i], NULL, churn, NULL) == 0);
	for (int i = 0; i < SCALED(2000); i++) {
		CHECK(strstr(tasks_text(UINT64_MAX), "\"main\": running") != NULL);
		tare_yield();
	}
	atomic_store(&enough, true);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_join(tasks[i]) == 0);
	return 0;
}

TEST(the_list_holds_up_while_tasks_come_and_go)
{
	run_in_task(3, churn_main);
}

static int stats_main(void *arg)
{
	(void)arg;
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	CHECK(stats.stacks_live == 1 && stats.stacks_cached == 0);
	struct tare_task *task;
	CHECK(tare_spawn(&task, NULL, asleep, NULL) == 0);
	CHECK(tare_join(task) == 0);
	tare_rt_stats_read(&stats);
	CHECK(stats.stacks_live == 1 && stats.stacks_cached == 1 && stats.stacks_made == 2);
	return 0;
}

TEST(stacks_are_counted_by_where_they_are)
{
	run_in_task(1, stats_main);
}

// ---- deadlock -----------------------------------------------------------------------------------------------------

#ifndef TARE_SIM
// A hook of the program's own for reports: by it the child's own standard error is left alone.
static void to_stdout(void *arg, const char *text, size_t len)
{
	(void)!write(*(const int *)arg, text, len);
}

static int into = STDOUT_FILENO;

struct run {
	struct tare_rt_options options;
	tare_task_fn *fn;
};

// tare_run's result, positive.
static int run_for_result(void *arg)
{
	const struct run *run = arg;
	struct tare_error err = {""};
	int result = 0, rc = tare_run(&run->options, run->fn, NULL, &result, &err);
	if (rc < 0)
		return strstr(err.text, "deadlock") != NULL ? -rc : 1;
	return result != 0 || atomic_load(&check_failures) > 0;
}

// Runs fn as the first task in a child process, whose report is read; tare_run's result, positive.
static int run_reported(int workers, tare_task_fn *fn, bool hook, char *text, size_t cap)
{
	struct run run = {.options = {.workers = workers}, .fn = fn};
	if (hook) {
		run.options.report = to_stdout;
		run.options.report_arg = &into;
	}
	int status = run_child(run_for_result, &run, hook ? STDOUT_FILENO : STDERR_FILENO, text, cap);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

TARE_NOIPA static int wait_for_ever(void *arg)
{
	(void)arg;
	tare_event_wait(&over);
	return 1;
}

static int two_wait(void *arg)
{
	over = (struct tare_event){0};
	mutex = (struct tare_mutex){0};
	tare_mutex_lock(&mutex);
	CHECK(tare_go_with(&(struct tare_task_options){.name = "victim"}, in_line, NULL) == 0);
	CHECK(tare_sleep(TARE_NS_PER_MS) == 0);
	return wait_for_ever(arg);
}

static void check_deadlock(int workers, bool hook)
{
#ifdef TARE_TSAN
	skip(); // its thread in the background counts as one that could wake a task
#endif
	static char text[64 * 1024];
	assert_int_equal(run_reported(workers, two_wait, hook, text, sizeof text), EDEADLK);
	assert_true(has(text, "tare: deadlock: every task waits, and nothing is left that could wake one\n"));
	assert_true(has(text, "2 tasks on "));
	assert_true(has(about(text, "main"), "parked: event"));
	assert_true(has(about(text, "main"), "wait_for_ever+0x"));
	assert_true(has(about(text, "victim"), "parked: mutex"));
	assert_true(has(about(text, "victim"), "started by two_wait+0x"));
}

TEST(a_deadlock_ends_the_run_and_says_what_each_task_waits_for)
{
	check_deadlock(1, false);
	check_deadlock(3, false);
}

TEST(a_deadlock_is_told_to_the_programs_own_hook)
{
	check_deadlock(2, true);
}

// What may still wake somebody: the run ends by itself. Repeated, because a false alarm would be a matter of order.
static int pipe_ends[2];

static void *wake_late(void *arg)
{
	char byte;
	(void)!read(pipe_ends[0], &byte, 1);
	tare_event_wake(arg);
	return NULL;
}

static int woken_by_thread(void *arg)
{
	(void)arg;
	pthread_t thread;
	over = (struct tare_event){0};
	CHECK(pipe(pipe_ends) == 0);
	CHECK(pthread_create(&thread, NULL, wake_late, &over) == 0);
	CHECK(write(pipe_ends[1], "x", 1) == 1);
	tare_event_wait(&over);
	pthread_join(thread, NULL);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	return 0;
}

static int woken_by_timer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		struct tare_task *task;
		CHECK(tare_spawn(&task, NULL, asleep, NULL) == 0);
		CHECK(tare_join(task) == 0);
	}
	return 0;
}

static struct tare_fd read_end;

static int woken_by_descriptor(void *arg)
{
	(void)arg;
	int sockets[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) == 0);
	pid_t child = fork();
	if (child == 0) {
		char byte;
		(void)!read(sockets[1], &byte, 1);
		_exit(write(sockets[1], "x", 1) != 1);
	}
	CHECK(tare_fd_open(&read_end, sockets[0]) == 0);
	CHECK(tare_fd_wait(&read_end, TARE_READ, TARE_NEVER) == 0);
	tare_fd_close(&read_end);
	close(sockets[1]);
	return waitpid(child, NULL, 0) == child ? 0 : 1;
}

static int baton(void *arg)
{
	struct tare_chan **ends = arg;
	uint64_t value;
	while (tare_chan_recv(ends[0], &value) == 0 && value > 0) {
		value--;
		if (tare_chan_send(ends[1], &value) < 0)
			break;
	}
	tare_chan_close(ends[1]);
	return 0;
}

// Workers that all but fall asleep, over and over.
static int passed_on(void *arg)
{
	(void)arg;
	struct tare_chan *a, *b;
	CHECK(tare_chan_new(&a, sizeof(uint64_t), 0) == 0);
	CHECK(tare_chan_new(&b, sizeof(uint64_t), 0) == 0);
	struct tare_chan *one[] = {a, b}, *two[] = {b, a};
	struct tare_task *tasks[2];
	CHECK(tare_spawn(&tasks[0], &(struct tare_task_options){.pinned = true, .worker = 0}, baton, one) == 0);
	CHECK(tare_spawn(&tasks[1], &(struct tare_task_options){.pinned = true, .worker = 1}, baton, two) == 0);
	CHECK(tare_chan_send(a, &(uint64_t){SCALED(20000)}) == 0);
	CHECK(tare_join(tasks[0]) == 0 && tare_join(tasks[1]) == 0);
	tare_chan_free(a);
	tare_chan_free(b);
	return 0;
}

// The kernel's answer to who asks whether there are other threads; before it, the test's thread wakes the first task
// and ends: it is gone when threads are counted, but not what it queued.
static struct {
	pthread_t thread;
	atomic_bool waits, go;
	atomic_int tid;
} parting;

static void *wake_and_part(void *arg)
{
	atomic_store(&parting.tid, gettid());
	while (!atomic_load(&parting.go))
		sched_yield();
	tare_event_wake(arg);
	return NULL;
}

int stat(const char *restrict path, struct stat *restrict ret)
{
	if (strcmp(path, "/proc/self/task") == 0 && atomic_load(&parting.waits)) {
		char own[64];
		snprintf(own, sizeof own, "/proc/self/task/%d", atomic_load(&parting.tid));
		atomic_store(&parting.waits, false);
		atomic_store(&parting.go, true);
		pthread_join(parting.thread, NULL);
		while (access(own, F_OK) == 0)
			sched_yield();
	}
	return fstatat(AT_FDCWD, path, ret, 0);
}

static int woken_by_who_parts(void *arg)
{
	(void)arg;
	over = (struct tare_event){0};
	CHECK(pthread_create(&parting.thread, NULL, wake_and_part, &over) == 0);
	while (atomic_load(&parting.tid) == 0)
		sched_yield();
	atomic_store(&parting.waits, true);
	tare_event_wait(&over);
	CHECK(!atomic_load(&parting.waits)); // by whom this is about
	return 0;
}

TEST(what_can_still_go_on_is_no_deadlock)
{
	static char text[4096];
	tare_task_fn *const fns[] = {woken_by_thread, woken_by_timer, woken_by_descriptor, passed_on,
				     woken_by_who_parts};
	for (unsigned i = 0; i < TARE_ARRAY_LEN(fns); i++)
		for (int round = 0; round < 5; round++) {
			assert_int_equal(run_reported(2, fns[i], false, text, sizeof text), 0);
			assert_null(strstr(text, "deadlock"));
		}
}
#endif
