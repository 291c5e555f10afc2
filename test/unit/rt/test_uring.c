// SPDX-License-Identifier: MIT
// Goal: with io_uring, what completes late harms nobody, what is received is whole and bounded whoever reads, and where
// there is no io_uring the runtime says so and goes on. Method: socket pairs, as in test_fd.c, whose ends are written,
// left and closed while receives are under way; a child process in which a filter forbids io_uring.
#include "fd_pairs.h"

#include <tare/sync.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tare_rt_stats stats_seen;

static int note_stats(void *arg)
{
	(void)arg;
	tare_rt_stats_read(&stats_seen);
	return 0;
}

static void see_stats(enum tare_io io)
{
	run_with(&(struct tare_rt_options){.workers = 2, .io = io}, note_stats, NULL);
}

static void run_on_uring(int workers, tare_task_fn *fn)
{
	if (!SIMULATED)
		see_stats(TARE_IO_URING);
	if (SIMULATED || strcmp(stats_seen.io, "uring") != 0)
		skip(); // the kernel has none, or forbids it
	run_with(&(struct tare_rt_options){.workers = workers, .seed = 1, .io = TARE_IO_URING}, fn, NULL);
}

// ---- late completions ---------------------------------------------------------------------------------------------

static int send_one(void *arg)
{
	CHECK(tare_fd_send(&ends[0], arg, 1) == 1);
	return 0;
}

// Gives up its wait, by a deadline or because its scope is cancelled, and leaves its buffer behind on the stack. The
// byte, if it came before.
TARE_NOIPA static char give_up(long round)
{
	char buf[512];
	memset(buf, 'u', sizeof buf);
	ssize_t n = tare_fd_recv(&fds[0], buf, sizeof buf);
	if (n == 1)
		return buf[0];
	int rc = tare_fd_wait(&fds[0], TARE_READ, tare_now_ns() + round % 20 * 500);
	CHECK(n == -EAGAIN && (rc == 0 || rc == -ETIMEDOUT || rc == -ECANCELED));
	for (size_t i = 0; i < sizeof buf; i++)
		CHECK(buf[i] == 'u');
	return 0;
}

// The same place on the stack: a completion that still knew the buffer would write into this one.
TARE_NOIPA static void watch_the_place(void)
{
	char buf[512];
	memset(buf, 'w', sizeof buf);
	tare_fd_settle(&fds[0]);
	for (size_t i = 0; i < sizeof buf; i++)
		CHECK(*(volatile char *)&buf[i] == 'w');
}

static int late_main(void *arg)
{
	(void)arg;
	static const char letters[] = "abcdefgh";
	pair_open(0);
	for (long round = 0; round < SCALED(2000); round++) {
		struct tare_scope scope;
		struct tare_task *writer;
		CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
		CHECK(tare_spawn(&writer, NULL, send_one, (void *)(uintptr_t)&letters[round % 8]) == 0);
		if (round % 3 == 0)
			tare_scope_cancel(&scope);
		char byte = give_up(round);
		watch_the_place();
		(void)tare_scope_join(&scope);
		(void)tare_join(writer);
		CHECK((byte != 0 || recv_some(&fds[0], &byte, 1) == 1) && byte == letters[round % 8]);
	}
	pair_close(0);
	return 0;
}

TEST(a_completion_that_comes_late_never_writes_into_the_buffer_of_a_task_that_gave_up)
{
	run_on_uring(1, late_main);
	run_on_uring(4, late_main);
}

// Each round's storage was another connection's whose bytes and end are still on their way.
static int reuse(void *arg)
{
	int i = (int)(intptr_t)arg;
	for (long round = 0; round < SCALED(1000); round++) {
		char byte = (char)round, got = 0;
		pair_open(i);
		CHECK(tare_fd_send(&ends[i], &byte, 1) == 1);
		if (round % 3 != 0) {
			CHECK(recv_some(&fds[i], &got, 1) == 1);
			CHECK(got == byte);
		}
		if (round % 2 == 0)
			CHECK(tare_fd_send(&ends[i], "late", 4) == 4);
		if (round % 5 == 0)
			tare_yield(); // maybe to another worker: then the close is the owner's to carry out
		pair_close(i);
	}
	return 0;
}

static int reuse_main(void *arg)
{
	(void)arg;
	run_a_task_a_pair(reuse, 8);
	return 0;
}

TEST(a_connection_never_hears_what_was_sent_to_the_one_before_it)
{
	run_on_uring(1, reuse_main);
	run_on_uring(4, reuse_main);
}

// ---- bulk ---------------------------------------------------------------------------------------------------------

static char pattern_at(size_t at)
{
	return (char)(at * 7 + at / 251);
}

// Sends until total bytes are sent, or, with total 0, until the socket takes no more for good.
static size_t send_pattern(int i, size_t from, size_t total)
{
	char buf[3000];
	size_t sent = 0;
	for (int refused = 0; total == 0 ? refused < 8 : sent < total;) {
		size_t n = total == 0 ? sizeof buf : TARE_MIN(sizeof buf, total - sent);
		for (size_t k = 0; k < n; k++)
			buf[k] = pattern_at(from + sent + k);
		ssize_t rc = tare_fd_send(&ends[i], buf, n);
		CHECK(rc > 0 || rc == -EAGAIN);
		sent += rc > 0 ? (size_t)rc : 0;
		refused = rc > 0 ? 0 : refused + 1;
		if (rc == -EAGAIN && total == 0)
			tare_fd_settle(&fds[i]);
		else if (rc == -EAGAIN)
			CHECK(tare_fd_wait(&ends[i], TARE_WRITE, TARE_NEVER) == 0);
	}
	return sent;
}

static void recv_pattern(int i, size_t from, size_t total)
{
	char buf[20000];
	for (size_t got = 0, round = 0; got < total; round++) {
		size_t ask = round % 3 == 0 ? 100 : round % 3 == 1 ? 4096 : sizeof buf;
		ssize_t n = recv_some(&fds[i], buf, TARE_MIN(ask, total - got));
		CHECK(n > 0);
		if (n <= 0)
			return;
		bool same = true;
		for (size_t k = 0; k < (size_t)n; k++)
			same = same && buf[k] == pattern_at(from + got + k);
		CHECK(same);
		got += (size_t)n;
	}
}

static size_t prefilled[PAIRS];
enum { BULK_BYTES = 2 << 20 };

static int bulk_send(void *arg)
{
	int i = (int)(intptr_t)arg;
	(void)send_pattern(i, prefilled[i], SCALED(BULK_BYTES));
	return 0;
}

static int bulk_recv(void *arg)
{
	int i = (int)(intptr_t)arg;
	recv_pattern(i, 0, prefilled[i] + SCALED(BULK_BYTES));
	return 0;
}

static int bounded_main(void *arg)
{
	(void)arg;
	pair_open(0);
	prefilled[0] = send_pattern(0, 0, 0);
	// The kernel's room for a socket pair is some 200 KiB; the worker's buffers for all are 1 MiB.
	CHECK(prefilled[0] < 800 << 10);
	struct tare_task *sender;
	CHECK(tare_spawn(&sender, NULL, bulk_send, (void *)0) == 0);
	CHECK(bulk_recv((void *)0) == 0);
	(void)tare_join(sender);
	pair_close(0);
	return 0;
}

TEST(what_nobody_reads_is_held_back_and_arrives_whole)
{
	run_on_uring(1, bounded_main);
	run_on_uring(4, bounded_main);
}

static int flood_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[2 * PAIRS];
	for (int i = 0; i < PAIRS; i++)
		pair_open(i);
	for (int i = 1; i < PAIRS; i++)
		prefilled[i] = send_pattern(i, 0, 0);
	// The others hold all buffers: this one still hears.
	char byte;
	CHECK(tare_fd_send(&ends[0], "x", 1) == 1);
	CHECK(recv_some(&fds[0], &byte, 1) == 1 && byte == 'x');
	for (int i = 1; i < PAIRS; i++) {
		CHECK(tare_spawn(&tasks[2 * i], NULL, bulk_recv, (void *)(intptr_t)i) == 0);
		CHECK(tare_spawn(&tasks[2 * i + 1], NULL, bulk_send, (void *)(intptr_t)i) == 0);
	}
	for (int i = 2; i < 2 * PAIRS; i++)
		(void)tare_join(tasks[i]);
	for (int i = 0; i < PAIRS; i++)
		pair_close(i);
	return 0;
}

TEST(many_that_hold_all_buffers_keep_nobody_from_hearing)
{
	run_on_uring(1, flood_main);
	run_on_uring(4, flood_main);
}

// ---- settling, ends, dialling -------------------------------------------------------------------------------------

static int look_from_afar(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(2000); round++) {
		char byte;
		CHECK(tare_fd_send(&ends[0], "x", 1) == 1);
		tare_fd_settle(&fds[0]);
		CHECK(tare_fd_recv(&fds[0], &byte, 1) == 1);
	}
	return 0;
}

static int settle_main(void *arg)
{
	(void)arg;
	pair_open(0);
	for (int i = 0; i < tare_worker_count(); i++) {
		struct tare_task *task;
		CHECK(tare_spawn(&task, &(struct tare_task_options){.pinned = true, .worker = i}, look_from_afar,
				 NULL) == 0);
		(void)tare_join(task);
	}
	pair_close(0);
	return 0;
}

TEST(what_was_sent_before_settling_is_there_after_it)
{
	run_on_uring(1, settle_main);
	run_on_uring(3, settle_main);
}

static int end_main(void *arg)
{
	(void)arg;
	char buf[16];
	for (long round = 0; round < SCALED(500); round++) {
		pair_open(0);
		CHECK(tare_fd_send(&ends[0], "last", 4) == 4);
		if (round % 2 == 0)
			tare_fd_settle(&fds[0]);
		tare_fd_close(&ends[0]);
		CHECK(recv_some(&fds[0], buf, sizeof buf) == 4);
		CHECK(recv_some(&fds[0], buf, sizeof buf) == 0);
		CHECK(recv_some(&fds[0], buf, sizeof buf) == 0);
		CHECK(tare_fd_send(&fds[0], "x", 1) == -EPIPE);
		tare_fd_close(&fds[0]);
	}
	return 0;
}

TEST(the_end_of_a_stream_comes_behind_its_last_bytes_and_stays)
{
	run_on_uring(1, end_main);
	run_on_uring(2, end_main);
}

static int dial(struct tare_fd *fd, const struct sockaddr_in *addr)
{
	int os_fd = tare_fd_dial((const struct sockaddr *)addr, sizeof *addr);
	if (os_fd < 0)
		return os_fd;
	CHECK(tare_fd_open(fd, os_fd) == 0);
	int rc;
	while ((rc = tare_fd_dial_result(fd)) == -EINPROGRESS)
		CHECK(tare_fd_wait(fd, TARE_WRITE, TARE_NEVER) == 0);
	return rc;
}

static int dial_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(200); round++) {
		struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof addr;
		const char *step;
		int os_fd = tare_fd_listen((struct sockaddr *)&addr, &len, 8, false, &step);
		CHECK(os_fd >= 0 && tare_fd_open(&fds[0], os_fd) == 0);
		CHECK(dial(&fds[1], &addr) == 0);
		struct sockaddr_in peer;
		char byte;
		len = sizeof peer;
		while ((os_fd = tare_fd_accept(&fds[0], (struct sockaddr *)&peer, &len)) == -EAGAIN)
			CHECK(tare_fd_wait(&fds[0], TARE_READ, TARE_NEVER) == 0);
		CHECK(os_fd >= 0 && tare_fd_open(&fds[2], os_fd) == 0);
		CHECK(tare_fd_send(&fds[1], "x", 1) == 1);
		CHECK(recv_some(&fds[2], &byte, 1) == 1);
		tare_fd_close(&fds[0]);
		CHECK(dial(&fds[0], &addr) == -ECONNREFUSED); // closed means that nobody listens there
		for (int i = 0; i < 3; i++)
			tare_fd_close(&fds[i]);
	}
	return 0;
}

TEST(dialling_and_accepting_are_told_how_it_went)
{
	run_on_uring(1, dial_main);
}

static atomic_bool all_closed;

static int close_from_afar(void *arg)
{
	(void)arg;
	for (int i = 0; i < PAIRS; i++)
		pair_close(i);
	atomic_store(&all_closed, true);
	return 0;
}

static int leave_main(void *arg)
{
	(void)arg;
	for (int i = 0; i < PAIRS; i++)
		pair_open(i);
	atomic_store(&all_closed, false);
	CHECK(tare_go_with(&(struct tare_task_options){.pinned = true, .worker = 1 - tare_worker()}, close_from_afar,
			   NULL) == 0);
	while (!atomic_load(&all_closed)) // not waiting: the owner does not get to hear of the closes
		continue;
	return 0;
}

static int open_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

TEST(what_was_closed_last_is_closed_when_the_runtime_has_ended)
{
	for (int round = 0; round < 20; round++) {
		int before = open_fds();
		run_on_uring(2, leave_main);
		assert_int_equal(open_fds(), before);
	}
}

// ---- choosing -----------------------------------------------------------------------------------------------------

TEST(the_option_beats_the_environment_which_beats_the_default)
{
	if (SIMULATED)
		skip();
	const char *set = getenv("TARE_IO");
	see_stats(TARE_IO_URING);
	const char *uring = stats_seen.io; // or what it falls back to
	assert_true(stats_seen.io_fell_back == (strcmp(uring, "epoll") == 0));
	setenv("TARE_IO", "uring", 1);
	see_stats(TARE_IO_DEFAULT);
	assert_string_equal(stats_seen.io, uring);
	see_stats(TARE_IO_EPOLL);
	assert_string_equal(stats_seen.io, "epoll");
	assert_false(stats_seen.io_fell_back);
	setenv("TARE_IO", "epoll", 1);
	see_stats(TARE_IO_URING);
	assert_string_equal(stats_seen.io, uring);
	unsetenv("TARE_IO");
	see_stats(TARE_IO_DEFAULT);
	assert_string_equal(stats_seen.io, "epoll");
	if (set != NULL)
		setenv("TARE_IO", set, 1);
}

TEST(a_backend_that_does_not_exist_is_refused_by_its_name)
{
	if (SIMULATED)
		skip();
	struct tare_error err = {""};
	int result = 7;
	const char *set = getenv("TARE_IO");
	char kept[16] = "";
	snprintf(kept, sizeof kept, "%s", set != NULL ? set : "");
	setenv("TARE_IO", "nonsense", 1);
	assert_int_equal(tare_run(NULL, note_stats, NULL, &result, &err), -EINVAL);
	assert_string_equal(err.text, "TARE_IO in the environment: 'nonsense' is not allowed; give epoll or uring");
	assert_int_equal(tare_run(NULL, note_stats, NULL, &result, NULL), -EINVAL);
	assert_int_equal(result, 7);
	see_stats(TARE_IO_EPOLL); // an option is not held up by a variable that it beats
	assert_string_equal(stats_seen.io, "epoll");
	setenv("TARE_IO", "", 1);
	see_stats(TARE_IO_DEFAULT);
	assert_string_equal(stats_seen.io, "epoll");
	if (set != NULL)
		setenv("TARE_IO", kept, 1);
	else
		unsetenv("TARE_IO");
}

#ifndef TARE_SIM
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

// One system call says EPERM, as containers' filters have it.
static bool forbid(unsigned nr)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = TARE_ARRAY_LEN(code), .filter = code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int exchange(void *arg)
{
	(void)note_stats(arg);
	char byte;
	pair_open(0);
	CHECK(tare_fd_send(&ends[0], "x", 1) == 1);
	CHECK(recv_some(&fds[0], &byte, 1) == 1);
	pair_close(0);
	return 0;
}

static int run_without(unsigned nr)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct tare_error err;
		int result = -1;
		bool ran = forbid(nr) && tare_run(&(struct tare_rt_options){.workers = 2, .io = TARE_IO_URING},
						  exchange, NULL, &result, &err) == 0;
		ran = ran && result == 0 && atomic_load(&check_failures) == 0;
		_exit(ran && strcmp(stats_seen.io, "epoll") == 0 && stats_seen.io_fell_back ? 0 : 1);
	}
	int status = -1;
	waitpid(child, &status, 0);
	return status;
}
#endif

TEST(where_io_uring_is_forbidden_epoll_takes_its_place_and_says_so)
{
#ifdef TARE_SIM
	skip();
#else
	assert_int_equal(run_without(SYS_io_uring_setup), 0);
	assert_int_equal(run_without(SYS_io_uring_enter), 0);
	assert_int_equal(run_without(SYS_io_uring_register), 0);
#endif
}
