// SPDX-License-Identifier: MIT
//
// Children: posix_spawn on a spare thread, a pidfd in the poller for the end, pipes in the poller for the rest.
//
//   STARTING --spawn_job--> RUNNING --reap--> REAPED      (child->pid is 0, the process, the process)
//
// Invariants
//   1. A process is this child's until it is reaped, which happens here alone and once: until then its number is its
//      own, and kill and waitpid by number are safe for whoever reaps. Others signal by the pidfd.
//   2. Every child is in `children` from before its process exists until its handle is freed: whatever a task was doing
//      when the runtime ended, rt_children_stop finds the process.
//   3. A descriptor stands in os_fds until it is registered; then a struct tare_fd of rt.fds has it.
//
// Threads: a handle's calls come from tasks, spawn_job and reap_job run on spare threads while their task is parked.
// Rejected: SIGCHLD (one signal for all, lost among libraries); fork and exec (copies page tables; posix_spawn borrows
// them, but stops its thread until the exec, hence the spare thread).
#include <tare/block.h>
#include <tare/child.h>

#include "rt/rt_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("children");

enum { PIDFD = 3, FDS, STDIO = 3 };

struct tare_child {
	struct tare_list link;                    // of `children`
	const struct tare_child_options *options; // while it starts
	pid_t pid;                                // 0: there is none
	bool reaped;
	int status, rc;           // of the reaping
	int os_fds[FDS];          // ours, not yet registered; -1: none
	struct tare_fd *fds[FDS]; // registered; NULL: none
};

static struct tare_spin children_spin;
static struct tare_list children = {&children, &children}; // guarded by children_spin

// ---- starting, on a spare thread ----------------------------------------------------------------------------------

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

// A descriptor that will be copied to 0, 1 or 2 must not be one of them.
static int above_stdio(int *fd)
{
	if (*fd >= STDIO)
		return 0;
	int higher = fcntl(*fd, F_DUPFD_CLOEXEC, STDIO);
	if (higher < 0)
		return -errno;
	close(*fd);
	*fd = higher;
	return 0;
}

// A pipe for one of the three: ours goes into *ret_ours and does not block, the child's into *ret_theirs.
static int pipe_make(int which, int *ret_ours, int *ret_theirs)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	bool input = which == TARE_CHILD_IN;
	*ret_ours = ends[input];
	*ret_theirs = ends[!input];
	if (fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return above_stdio(ret_theirs);
}

static int actions_fill(posix_spawn_file_actions_t *actions, const struct tare_child_options *o, const int *theirs)
{
	int rc = 0;
	for (int i = 0; i < STDIO && rc == 0; i++) {
		if (o->stdio[i] == TARE_CHILD_PIPE)
			rc = posix_spawn_file_actions_adddup2(actions, theirs[i], i);
		else if (o->stdio[i] == TARE_CHILD_NULL)
			rc = posix_spawn_file_actions_addopen(actions, i, "/dev/null",
							      i == TARE_CHILD_IN ? O_RDONLY : O_WRONLY, 0);
	}
	if (rc == 0 && o->dir != NULL)
		rc = posix_spawn_file_actions_addchdir_np(actions, o->dir);
	return -rc;
}

static int attributes_fill(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int rc = posix_spawnattr_setsigmask(attributes, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(attributes, &all);
	if (rc == 0)
		rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	return -rc;
}

static int spawn(struct tare_child *child, const int *theirs)
{
	const struct tare_child_options *o = child->options;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc = -posix_spawn_file_actions_init(&actions);
	if (rc < 0)
		return rc;
	rc = -posix_spawnattr_init(&attributes);
	if (rc < 0)
		goto actions_destroy;
	rc = actions_fill(&actions, o, theirs);
	if (rc == 0)
		rc = attributes_fill(&attributes);
	// Neither the strings nor the arrays are written to: the prototype is older than const.
	char *const *argv = (char *const *)(uintptr_t)o->argv;
	char *const *env = o->env != NULL ? (char *const *)(uintptr_t)o->env : environ;
	pid_t pid = 0;
	if (rc == 0)
		rc = -posix_spawnp(&pid, argv[0], &actions, &attributes, argv, env);
	if (rc == 0)
		child->pid = pid;
	posix_spawnattr_destroy(&attributes);
actions_destroy:
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

// This and write_quietly are functions of their own, so that errno's address is not kept while the task waits.
TARE_NOIPA static void reap(struct tare_child *child, int flags)
{
	int status;
	pid_t pid;
	do
		pid = waitpid(child->pid, &status, flags);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return;
	child->rc = pid < 0 ? -errno : 0;
	if (pid > 0)
		child->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	child->reaped = true;
}

static int reap_job(void *arg)
{
	struct tare_child *child = arg;
	if (child->pid == 0 || child->reaped)
		return 0;
	(void)kill(child->pid, SIGKILL);
	reap(child, 0);
	return 0;
}

// What it leaves behind on failure is the handle's to clean up.
static int spawn_job(void *arg)
{
	struct tare_child *child = arg;
	int theirs[STDIO] = {-1, -1, -1}, rc = 0;
	for (int i = 0; i < STDIO && rc == 0; i++)
		if (child->options->stdio[i] == TARE_CHILD_PIPE)
			rc = pipe_make(i, &child->os_fds[i], &theirs[i]);
	if (rc == 0)
		rc = spawn(child, theirs);
	for (int i = 0; i < STDIO; i++)
		close_fd(&theirs[i]);
	if (rc == 0) {
		child->os_fds[PIDFD] = (int)syscall(SYS_pidfd_open, child->pid, 0); // close-on-exec
		rc = child->os_fds[PIDFD] < 0 ? -errno : 0;
	}
	return rc;
}

// ---- handles ------------------------------------------------------------------------------------------------------

static int options_check(const struct tare_child_options *o)
{
	if (o->argv == NULL || o->argv[0] == NULL)
		return -EINVAL;
	for (int i = 0; i < STDIO; i++)
		if (o->stdio[i] < TARE_CHILD_INHERIT || o->stdio[i] > TARE_CHILD_NULL)
			return -EINVAL;
	return 0;
}

static int fds_register(struct tare_child *child)
{
	int rc = 0;
	for (int i = 0; i < FDS && rc == 0; i++) {
		if (child->os_fds[i] < 0)
			continue;
		rc = rt_fd_new(&child->fds[i], child->os_fds[i]);
		child->os_fds[i] = -1;
	}
	return rc;
}

int tare_child_start(struct tare_child **ret, const struct tare_child_options *options, struct tare_error *err)
{
	TARE_ASSERT(tare_self() != NULL);
	int rc = options_check(options);
	if (rc < 0)
		return tare_error_set(err, rc, "a child needs a program and knows how its descriptors are to be");
#ifdef TARE_SIM
	(void)ret;
	return tare_error_set(err, -ENOSYS, "there are no children in a simulation");
#endif
	struct tare_child *child = tare_alloc_zeroed(&heap_tag, 1, sizeof *child);
	if (child == NULL)
		return tare_error_set(err, -ENOMEM, "can't start %s: out of memory", options->argv[0]);
	for (int i = 0; i < FDS; i++)
		child->os_fds[i] = -1;
	child->options = options;
	tare_spin_lock(&children_spin);
	tare_list_push_back(&children, &child->link);
	tare_spin_unlock(&children_spin);
	rc = tare_block(spawn_job, child);
	if (rc == 0)
		rc = fds_register(child);
	if (rc < 0) {
		tare_child_free(child);
		return tare_error_set(err, rc, "can't start %s: %s", options->argv[0], strerror(-rc));
	}
	child->options = NULL;
	*ret = child;
	return 0;
}

void tare_child_free(struct tare_child *child)
{
	if (child == NULL)
		return;
	for (int i = 0; i < STDIO; i++)
		tare_child_close(child, i);
	if (child->pid != 0 && !child->reaped)
		(void)tare_block(reap_job, child);
	rt_fd_free(child->fds[PIDFD]);
	for (int i = 0; i < FDS; i++)
		close_fd(&child->os_fds[i]);
	tare_spin_lock(&children_spin);
	tare_list_remove(&child->link);
	tare_spin_unlock(&children_spin);
	tare_free(child);
}

void rt_children_stop(void)
{
	struct tare_list *link;
	while ((link = tare_list_pop_front(&children)) != NULL) { // no other thread is left
		struct tare_child *child = TARE_CONTAINER_OF(link, struct tare_child, link);
		(void)reap_job(child);
		for (int i = 0; i < FDS; i++) {
			close_fd(&child->os_fds[i]);
			rt_fd_free(child->fds[i]);
		}
		tare_free(child);
	}
}

int tare_child_pid(const struct tare_child *child)
{
	return child->pid;
}

int tare_child_wait_until(struct tare_child *child, int64_t deadline_ns, int *ret_status)
{
	for (;;) {
		if (!child->reaped)
			reap(child, WNOHANG);
		if (child->reaped)
			break;
		int rc = tare_fd_wait(child->fds[PIDFD], TARE_READ, deadline_ns);
		if (rc < 0)
			return rc;
	}
	if (child->rc == 0 && ret_status != NULL)
		*ret_status = child->status;
	return child->rc;
}

int tare_child_kill(struct tare_child *child, int signal)
{
	return syscall(SYS_pidfd_send_signal, child->fds[PIDFD]->fd, signal, NULL, 0) < 0 ? -errno : 0;
}

// ---- pipes --------------------------------------------------------------------------------------------------------

ssize_t tare_child_read(struct tare_child *child, int which, void *buf, size_t len, int64_t deadline_ns)
{
	if ((which != TARE_CHILD_OUT && which != TARE_CHILD_ERR) || child->fds[which] == NULL)
		return -EBADF;
	for (;;) {
		ssize_t n = tare_fd_recv(child->fds[which], buf, len);
		if (n != -EAGAIN)
			return n;
		int rc = tare_fd_wait(child->fds[which], TARE_READ, deadline_ns);
		if (rc < 0)
			return rc;
	}
}

// A pipe has no MSG_NOSIGNAL: a SIGPIPE is held back, and taken where it is ours.
TARE_NOIPA static ssize_t write_quietly(int fd, const void *buf, size_t len)
{
	sigset_t pipe_alone, before, pending;
	sigemptyset(&pipe_alone);
	sigaddset(&pipe_alone, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &pipe_alone, &before);
	(void)sigpending(&pending);
	ssize_t n = write(fd, buf, len);
	if (n < 0)
		n = -errno;
	if (n == -EPIPE && sigismember(&pending, SIGPIPE) == 0) {
		const struct timespec no_time = {0};
		(void)sigtimedwait(&pipe_alone, NULL, &no_time);
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

int tare_child_write(struct tare_child *child, const void *buf, size_t len, int64_t deadline_ns)
{
	struct tare_fd *fd = child->fds[TARE_CHILD_IN];
	if (fd == NULL)
		return -EBADF;
	for (const char *from = buf; len > 0;) {
		ssize_t n = write_quietly(fd->fd, from, len);
		if (n >= 0) {
			from += n;
			len -= (size_t)n;
			continue;
		}
		int rc = n == -EAGAIN ? tare_fd_wait(fd, TARE_WRITE, deadline_ns) : n == -EINTR ? 0 : (int)n;
		if (rc < 0)
			return rc;
	}
	return 0;
}

void tare_child_close(struct tare_child *child, int which)
{
	TARE_ASSERT(which >= TARE_CHILD_IN && which <= TARE_CHILD_ERR);
	rt_fd_free(child->fds[which]);
	child->fds[which] = NULL;
}
