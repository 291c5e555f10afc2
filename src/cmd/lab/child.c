// SPDX-License-Identifier: MIT
// Processes that never outlive the laboratory: services, generators, probes.
//
// Each child leads a process group of its own, so that Ctrl-C on the terminal reaches the laboratory alone, which ends
// them in order; the kernel kills them where the laboratory is killed itself. All waiting is in slices of a tenth of a
// second, after each of which the interrupt is looked at: a signal that comes before a wait is then not lost.
// Threads: one.
#include "cmd/lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLICE_MS = 100, OUTPUT_MAX = 64 << 20 };

#define STOP_NS (10 * TARE_NS_PER_S)

volatile sig_atomic_t lab_interrupted;

static TARE_NORETURN void child_exec(const char *const argv[], int cpu, const char *extra, int err_fd, int out_fd,
				     pid_t parent)
{
	static const int defaults[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
	sigset_t none;
	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) // it ended before that
		_exit(127);
	for (size_t i = 0; i < TARE_ARRAY_LEN(defaults); i++)
		(void)signal(defaults[i], SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((size_t)cpu, &set);
		(void)sched_setaffinity(0, sizeof set, &set);
	}
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	(void)dup2(out_fd, STDOUT_FILENO);
	(void)dup2(err_fd, STDERR_FILENO);
	if (extra != NULL) {
		char *copy = strdup(extra);
		if (copy == NULL || putenv(copy) != 0) // the environment's from here on
			_exit(127);
	}
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

int lab_child_start(struct lab_child *child, const char *const argv[], int cpu, const char *extra, const char *err_path,
		    struct tare_error *err)
{
	int ends[2];
	*child = (struct lab_child){.out = -1};
	int err_fd = open(err_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (err_fd < 0)
		return tare_error_set(err, -errno, "%s: %s", err_path, strerror(errno));
	if (pipe2(ends, O_CLOEXEC) < 0) {
		int rc = -errno;
		close(err_fd);
		return tare_error_set(err, rc, "a pipe: %s", strerror(-rc));
	}
	fflush(NULL);
	pid_t self = getpid();
	pid_t pid = fork();
	if (pid == 0)
		child_exec(argv, cpu, extra, err_fd, ends[1], self);
	int rc = pid < 0 ? -errno : 0;
	close(err_fd);
	close(ends[1]);
	if (rc < 0) {
		close(ends[0]);
		return tare_error_set(err, rc, "a process: %s", strerror(-rc));
	}
	(void)setpgid(pid, pid); // so that it holds here too, whoever runs first
	child->pid = pid;
	child->out = ends[0];
	return 0;
}

// Until there is something to read. 0, -ETIMEDOUT, -EINTR.
static int readable(int fd, int64_t deadline_ns)
{
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		if (lab_interrupted != 0)
			return -EINTR;
		int n = poll(&pfd, 1, SLICE_MS);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (tare_clock_ns() > deadline_ns)
			return -ETIMEDOUT;
	}
}

int lab_child_line(struct lab_child *child, char *line, size_t cap, int64_t deadline_ns)
{
	size_t len = 0;
	for (;;) {
		char c;
		int rc = readable(child->out, deadline_ns);
		if (rc < 0)
			return rc;
		ssize_t n = read(child->out, &c, 1);
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		if (c == '\n')
			break;
		if (len + 1 < cap)
			line[len++] = c;
	}
	line[len] = '\0';
	return 0;
}

static int read_all(struct lab_child *child, int64_t deadline_ns, char **ret)
{
	size_t len = 0, cap = 1 << 16;
	char *text = malloc(cap);
	for (;;) {
		int rc = text == NULL ? -ENOMEM : readable(child->out, deadline_ns);
		ssize_t n = rc < 0 ? 0 : read(child->out, text + len, cap - 1 - len);
		if (rc == 0 && n < 0)
			rc = -errno;
		if (rc == 0 && n == 0)
			break;
		len += (size_t)n;
		if (rc == 0 && len > OUTPUT_MAX)
			rc = -E2BIG;
		if (rc < 0) {
			free(text);
			return rc;
		}
		if (cap - len < 4096) {
			char *more = realloc(text, cap *= 2);
			if (more == NULL)
				free(text);
			text = more;
		}
	}
	text[len] = '\0';
	*ret = text;
	return 0;
}

// How it ended; -ETIMEDOUT, and it runs on.
static int wait_end(struct lab_child *child, int64_t deadline_ns, int *ret_status)
{
	for (;;) {
		pid_t got = waitpid(child->pid, ret_status, WNOHANG);
		if (got == child->pid) {
			child->pid = 0;
			return 0;
		}
		if (got < 0 && errno != EINTR)
			return -errno;
		if (tare_clock_ns() > deadline_ns)
			return -ETIMEDOUT;
		(void)usleep(2000);
	}
}

static void child_close(struct lab_child *child)
{
	if (child->out >= 0)
		close(child->out);
	child->out = -1;
}

static void child_kill(struct lab_child *child)
{
	int status;
	if (child->pid == 0)
		return;
	(void)kill(-child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	child->pid = 0;
}

void lab_child_stop(struct lab_child *child)
{
	int status;
	if (child->pid != 0) {
		pid_t group = child->pid;
		(void)kill(child->pid, SIGTERM);
		if (wait_end(child, tare_clock_ns() + STOP_NS, &status) < 0)
			child_kill(child);
		(void)kill(-group, SIGKILL); // what it may have left behind
	}
	child_close(child);
}

int lab_child_output(struct lab_child *child, const char *what, int64_t deadline_ns, char **ret, struct tare_error *err)
{
	int status = 0;
	int rc = read_all(child, deadline_ns, ret);
	if (rc == 0) {
		rc = wait_end(child, deadline_ns, &status);
		if (rc < 0)
			free(*ret);
	}
	if (rc < 0) {
		child_kill(child);
		child_close(child);
		return tare_error_set(err, rc, "%s: %s", what, strerror(-rc));
	}
	child_close(child);
	if (WIFEXITED(status) &&
	    (WEXITSTATUS(status) == 0 || (child->may_fail && WEXITSTATUS(status) == EXIT_FAILURE && (*ret)[0] != '\0')))
		return 0;
	free(*ret);
	if (WIFSIGNALED(status))
		return tare_error_set(err, -EIO, "%s died of signal %d", what, WTERMSIG(status));
	return tare_error_set(err, -EIO, "%s ended with exit code %d", what, WEXITSTATUS(status));
}

int lab_sleep(int64_t ns)
{
	int64_t end_ns = tare_clock_ns() + ns;
	for (int64_t left_ns; (left_ns = end_ns - tare_clock_ns()) > 0;) {
		if (lab_interrupted != 0)
			return -EINTR;
		(void)usleep((useconds_t)(TARE_MIN(left_ns, SLICE_MS * TARE_NS_PER_MS) / 1000));
	}
	return 0;
}

void lab_first_line(const char *const argv[], char *out, size_t cap)
{
	struct lab_child child;
	out[0] = '\0';
	if (lab_child_start(&child, argv, -1, NULL, "/dev/null", NULL) < 0)
		return;
	if (lab_child_line(&child, out, cap, tare_clock_ns() + 10 * TARE_NS_PER_S) < 0)
		out[0] = '\0';
	lab_child_stop(&child);
}
