// SPDX-License-Identifier: MIT
// Goal: a child is started as asked, spoken with, waited for, and gone afterwards whatever happened: no zombie, no
// descriptor left. Method: small shell programs; descriptors and zombies of this process are counted after each test.
// (A simulation has no children: it says so.)
#include "in_task.h"

#include <tare/child.h>

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef TARE_SIM
static int refused_main(void *arg)
{
	(void)arg;
	static const char *const argv[] = {"true", NULL};
	struct tare_child *child;
	CHECK(tare_child_start(&child, &(struct tare_child_options){.argv = argv}, NULL) == -ENOSYS);
	return 0;
}

TEST(a_simulation_has_no_children)
{
	run_in_task(1, refused_main);
}
#else
// What whoever started this left open would be counted, and handed on.
__attribute__((constructor)) static void close_inherited(void)
{
	(void)close_range(3, ~0U, 0);
}

static int count_fds(void)
{
	int count = 0;
	DIR *dir = opendir("/proc/self/fd");
	CHECK(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static bool no_child_left(void)
{
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void run_clean(int workers, tare_task_fn *fn)
{
	int before = count_fds();
	run_in_task(workers, fn);
	assert_int_equal(count_fds(), before);
	assert_true(no_child_left());
}

static void run_clean_all(tare_task_fn *fn)
{
	run_clean(1, fn);
	run_clean(3, fn);
}

// `sh -c script` with all three as pipes, or none.
static struct tare_child *shell(const char *script, int how)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct tare_child *child = NULL;
	struct tare_error err = {""};
	int rc = tare_child_start(&child, &(struct tare_child_options){.argv = argv, .stdio = {how, how, how}}, &err);
	if (rc < 0)
		fprintf(stderr, "%s\n", err.text);
	CHECK(rc == 0);
	return child;
}

static bool reads(struct tare_child *child, int which, const char *wanted)
{
	char got[512];
	size_t len = 0;
	ssize_t n;
	while ((n = tare_child_read(child, which, got + len, sizeof got - 1 - len, TARE_NEVER)) > 0)
		len += (size_t)n;
	got[len] = '\0';
	if (n != 0 || strcmp(got, wanted) != 0)
		fprintf(stderr, "read %zd, \"%s\", not \"%s\"\n", n, got, wanted);
	return n == 0 && strcmp(got, wanted) == 0;
}

// ---- ends ---------------------------------------------------------------------------------------------------------

static int ends_main(void *arg)
{
	(void)arg;
	int status = -1000;
	struct tare_child *child = shell("exit 7", TARE_CHILD_INHERIT);
	CHECK(tare_child_pid(child) > 0);
	CHECK(tare_child_wait_until(child, TARE_NEVER, &status) == 0 && status == 7);
	status = -1000;
	CHECK(tare_child_wait_until(child, TARE_NEVER, &status) == 0 && status == 7); // and again
	CHECK(tare_child_kill(child, SIGTERM) == -ESRCH);
	tare_child_free(child);

	child = shell("kill -9 $$", TARE_CHILD_NULL);
	CHECK(tare_child_wait_until(child, TARE_NEVER, &status) == 0 && status == -SIGKILL);
	tare_child_free(child);

	child = shell("exec sleep 100", TARE_CHILD_NULL);
	CHECK(tare_child_wait_until(child, tare_now_ns() + TARE_NS_PER_MS, &status) == -ETIMEDOUT);
	CHECK(tare_child_kill(child, 12345) == -EINVAL);
	CHECK(tare_child_kill(child, SIGTERM) == 0);
	CHECK(tare_child_wait_until(child, TARE_NEVER, &status) == 0 && status == -SIGTERM);
	tare_child_free(child);
	tare_child_free(NULL);
	return 0;
}

TEST(a_child_s_end_is_told_by_code_or_signal)
{
	run_clean_all(ends_main);
}

static int cancel_main(void *arg)
{
	(void)arg;
	struct tare_child *child = shell("exec sleep 100", TARE_CHILD_PIPE);
	struct tare_scope scope;
	char byte;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	tare_scope_cancel(&scope);
	CHECK(tare_child_wait_until(child, TARE_NEVER, NULL) == -ECANCELED);
	CHECK(tare_child_read(child, TARE_CHILD_OUT, &byte, 1, TARE_NEVER) == -ECANCELED);
	tare_child_free(child); // kills and reaps in a cancelled scope, too
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(no_child_left());
	return 0;
}

TEST(a_cancelled_wait_leaves_a_child_that_free_ends)
{
	run_clean_all(cancel_main);
}

static int abandon_main(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		CHECK(shell("exec sleep 100", TARE_CHILD_PIPE) != NULL);
	return 0;
}

TEST(children_still_there_when_the_runtime_ends_are_ended)
{
	run_clean_all(abandon_main);
}

static int stolen_main(void *arg)
{
	(void)arg;
	struct tare_child *child = shell("exit 0", TARE_CHILD_NULL);
	CHECK(waitpid(tare_child_pid(child), NULL, 0) == tare_child_pid(child));
	CHECK(tare_child_wait_until(child, TARE_NEVER, NULL) == -ECHILD);
	tare_child_free(child);
	return 0;
}

TEST(a_status_that_somebody_else_took_is_told)
{
	run_clean(1, stolen_main);
}

// ---- pipes --------------------------------------------------------------------------------------------------------

enum { BULK = 1 << 20 };

static int feed(void *arg)
{
	static char bulk[BULK];
	memset(bulk, 'x', sizeof bulk);
	CHECK(tare_child_write(arg, bulk, sizeof bulk, TARE_NEVER) == 0);
	tare_child_close(arg, TARE_CHILD_IN);
	return 0;
}

static int bulk_main(void *arg)
{
	(void)arg;
	static char got[65536];
	struct tare_child *child = shell("cat; echo done >&2", TARE_CHILD_PIPE);
	struct tare_task *feeder;
	size_t total = 0;
	ssize_t n;
	int status = -1;
	CHECK(tare_spawn(&feeder, NULL, feed, child) == 0);
	while ((n = tare_child_read(child, TARE_CHILD_OUT, got, sizeof got, TARE_NEVER)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			total += got[i] == 'x';
	}
	CHECK(n == 0 && total == BULK);
	CHECK(reads(child, TARE_CHILD_ERR, "done\n"));
	CHECK(tare_join(feeder) == 0);
	CHECK(tare_child_wait_until(child, TARE_NEVER, &status) == 0 && status == 0);
	CHECK(tare_child_write(child, "x", 1, TARE_NEVER) == -EBADF); // closed
	tare_child_free(child);
	return 0;
}

TEST(what_goes_through_a_child_comes_back_whole)
{
	run_clean_all(bulk_main);
}

static int deaf_main(void *arg)
{
	(void)arg;
	struct tare_child *child = shell("exit 0", TARE_CHILD_PIPE);
	CHECK(tare_child_wait_until(child, TARE_NEVER, NULL) == 0);
	CHECK(tare_child_write(child, "x", 1, TARE_NEVER) == -EPIPE); // and no SIGPIPE ends this
	tare_child_free(child);
	child = shell("exec sleep 100", TARE_CHILD_PIPE);
	static const char block[1 << 17];
	CHECK(tare_child_write(child, block, sizeof block, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
	CHECK(tare_child_read(child, TARE_CHILD_IN, (char[1]){0}, 1, TARE_NEVER) == -EBADF);
	tare_child_free(child);
	child = shell("exit 0", TARE_CHILD_INHERIT);
	CHECK(tare_child_read(child, TARE_CHILD_OUT, (char[1]){0}, 1, TARE_NEVER) == -EBADF);
	tare_child_close(child, TARE_CHILD_OUT);
	tare_child_free(child);
	return 0;
}

TEST(writing_to_a_child_that_reads_no_more_is_an_error_and_no_signal)
{
	run_clean_all(deaf_main);
}

// ---- how it starts ------------------------------------------------------------------------------------------------

static int options_main(void *arg)
{
	(void)arg;
	const char *const argv[] = {"/bin/sh", "-c", "echo \"$0|$1|$A|$HOME|$(pwd -P)\"; cat", "a b", "", NULL};
	const char *const env[] = {"A=b c", "PATH=/usr/bin:/bin", NULL};
	const struct tare_child_options options = {
	    .argv = argv, .env = env, .dir = "/", .stdio = {TARE_CHILD_NULL, TARE_CHILD_PIPE, TARE_CHILD_INHERIT}};
	struct tare_child *child;
	CHECK(tare_child_start(&child, &options, NULL) == 0);
	CHECK(reads(child, TARE_CHILD_OUT, "a b||b c||/\n"));
	tare_child_free(child);
	return 0;
}

TEST(arguments_environment_and_folder_are_as_asked)
{
	run_clean_all(options_main);
}

static int state_main(void *arg)
{
	(void)arg;
	// Descriptors 0, 1, 2 and the listing's own; no signal blocked or ignored (but 32 and 33, which glibc keeps for
	// itself).
	struct tare_child *child = shell("ls /proc/self/fd | wc -l", TARE_CHILD_PIPE);
	struct tare_child *other =
	    shell("grep -cE 'SigBlk:.0{16}|SigIgn:.0{7}[01][08]0{7}' /proc/self/status", TARE_CHILD_PIPE);
	CHECK(reads(child, TARE_CHILD_OUT, "4\n"));
	CHECK(reads(other, TARE_CHILD_OUT, "2\n"));
	tare_child_free(child);
	tare_child_free(other);
	return 0;
}

TEST(a_child_has_its_three_descriptors_and_no_signal_blocked)
{
	sigset_t term, before;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, &before);
	void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
	run_clean_all(state_main);
	signal(SIGPIPE, pipe_before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int missing_main(void *arg)
{
	(void)arg;
	const char *const argv[] = {"no-such-program", NULL};
	const char *const none[] = {NULL};
	struct tare_child_options options = {.argv = argv, .stdio = {1, 1, 1}};
	struct tare_error err = {""};
	struct tare_child *child;
	CHECK(tare_child_start(&child, &options, &err) == -ENOENT);
	CHECK(strcmp(err.text, "can't start no-such-program: No such file or directory") == 0);
	CHECK(no_child_left());
	options.argv = none;
	CHECK(tare_child_start(&child, &options, &err) == -EINVAL);
	options = (struct tare_child_options){.argv = argv, .stdio = {3}};
	CHECK(tare_child_start(&child, &options, &err) == -EINVAL);
	return 0;
}

TEST(a_program_that_is_not_there_is_told_and_leaves_nothing)
{
	run_clean_all(missing_main);
}

// ---- too few descriptors ------------------------------------------------------------------------------------------

static int scarce_main(void *arg)
{
	(void)arg;
	const char *const argv[] = {"true", NULL};
	const struct tare_child_options options = {.argv = argv, .stdio = {1, 1, 1}};
	struct rlimit before;
	int used = count_fds() - 3, failed = 0, rc = -1; // less ., .. and the listing's own
	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	for (int spare = 0; spare < 12 && rc != 0; spare++) {
		struct rlimit limit = {.rlim_cur = (rlim_t)(used + spare), .rlim_max = before.rlim_max};
		struct tare_child *child;
		CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
		rc = tare_child_start(&child, &options, NULL);
		CHECK(rc == 0 || rc == -EMFILE);
		CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
		if (rc == 0)
			tare_child_free(child);
		failed += rc < 0;
		CHECK(no_child_left() && count_fds() == used + 3);
	}
	CHECK(rc == 0 && failed >= 6); // three pipes are six, the pidfd comes last
	return 0;
}

TEST(whichever_descriptor_is_lacking_nothing_stays_behind)
{
	run_clean(1, scarce_main);
}

// ---- many ---------------------------------------------------------------------------------------------------------

static int echo_task(void *arg)
{
	char script[32], wanted[16];
	int status = -1, i = (int)(intptr_t)arg;
	snprintf(script, sizeof script, "echo %d; exit %d", i, i);
	snprintf(wanted, sizeof wanted, "%d\n", i);
	struct tare_child *child = shell(script, TARE_CHILD_PIPE);
	if (i % 3 != 0)
		CHECK(reads(child, TARE_CHILD_OUT, wanted));
	if (i % 4 != 0)
		CHECK(tare_child_wait_until(child, TARE_NEVER, &status) == 0 && (status == i || status == -SIGPIPE));
	tare_child_free(child);
	return 0;
}

static int many_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (intptr_t i = 0; i < 40; i++)
		CHECK(tare_scope_go(&scope, echo_task, (void *)i) == 0);
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(no_child_left());
	return 0;
}

TEST(many_children_at_once_keep_apart)
{
	run_clean_all(many_main);
}
#endif
