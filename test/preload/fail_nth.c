// SPDX-License-Identifier: MIT
//
// fail_nth: LD_PRELOAD library that makes the n-th of a process's calls that can fail, fail, once, as the system would.
//
//   TARE_FAIL_AT=N          fail the N-th counted call, from 1; 0 or absent fails none and counts all
//   TARE_FAIL_ONLY=a,b      count only these functions
//   TARE_FAIL_ERRNO=E       fail with this errno (a number) and not with the function's own
//   TARE_FAIL_FROM=main     count from main on (the default): the libraries' start-up is not the program's
//   TARE_FAIL_FROM=armed    count only while `armed` is set in the file below, by a driver that then makes requests
//   TARE_FAIL_COUNT_FILE=F  the control block as a shared file. A driver reads it however the process ended (exit,
//                           _exit, abort, a signal), and writes `armed` and `at` while it runs
//
// The control block, in native order; Python: struct.unpack("=6Q32s208s", file)
//
//   offset
//        0  magic   0x48544e4c49414654 ("TFAILNTH" in memory)
//        8  at      the N; may be written while not armed
//       16  armed   1: calls are counted. TARE_FAIL_FROM=main sets it
//       24  seen    calls counted so far
//       32  failed  1 once the N-th was failed
//       40  offset  the failed call's return address, less the base of the object it's in: for addr2line
//       48  name    the failed function, NUL-terminated
//       80  object  the path of the object that called it, NUL-terminated, cut to fit
//
// What is counted is the table below: allocations, and system calls by their libc function. Not: calls that libc makes
// for itself without its own public names (printf's write, pthread_create's mmap), calls whose failure nothing can be
// done about (close, munmap, free), and writes to descriptor 2, where the error is told.
//
// Invariants:
//   1. A call that isn't counted is passed on unchanged; so is every call before main and while not armed.
//   2. Nothing here allocates after the constructor, and the constructor's own calls aren't counted.
//   3. At most one call is failed in a control block's life: `seen` passes `at` once.
//
// Threads: any. The order of calls of several threads is the process's own, so N is only as repeatable as that is.
// Rejected: ptrace or seccomp (see no malloc, and slow a server a hundredfold); failing for ever from N on (a loop that
// rightly retries EINTR would never end).
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAGIC UINT64_C(0x48544e4c49414654)

struct control {
	uint64_t magic;
	atomic_uint_fast64_t at, armed, seen, failed;
	uint64_t offset;
	char name[32], object[208];
};
_Static_assert(sizeof(struct control) == 288, "the layout that drivers read");

// X(returned type, function, parameters, arguments, returned on failure, errno)
// The functions that return an error number, have a variable argument or are the heap's stand apart below.
#define CALLS(X)                                                                                                       \
	X(void *, mmap, (void *p, size_t len, int prot, int flags, int fd, off_t at), (p, len, prot, flags, fd, at),   \
	  MAP_FAILED, ENOMEM)                                                                                          \
	X(int, mprotect, (void *p, size_t len, int prot), (p, len, prot), -1, ENOMEM)                                  \
	X(int, madvise, (void *p, size_t len, int advice), (p, len, advice), -1, ENOMEM)                               \
	X(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EMFILE)                             \
	X(ssize_t, read, (int fd, void *buf, size_t len), (fd, buf, len), -1, EIO)                                     \
	X(ssize_t, pread, (int fd, void *buf, size_t len, off_t at), (fd, buf, len, at), -1, EIO)                      \
	X(ssize_t, pwrite, (int fd, const void *buf, size_t len, off_t at), (fd, buf, len, at), -1, ENOSPC)            \
	X(ssize_t, readv, (int fd, const struct iovec *iov, int count), (fd, iov, count), -1, EIO)                     \
	X(int, fsync, (int fd), (fd), -1, EIO)                                                                         \
	X(int, fdatasync, (int fd), (fd), -1, EIO)                                                                     \
	X(int, rename, (const char *from, const char *to), (from, to), -1, EACCES)                                     \
	X(int, linkat, (int fd, const char *from, int dir, const char *to, int flags), (fd, from, dir, to, flags), -1, \
	  EACCES)                                                                                                      \
	X(int, fstat, (int fd, struct stat *st), (fd, st), -1, EIO)                                                    \
	X(int, stat, (const char *path, struct stat *st), (path, st), -1, EACCES)                                      \
	X(int, ftruncate, (int fd, off_t len), (fd, len), -1, ENOSPC)                                                  \
	X(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)                     \
	X(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),                            \
	  (fd, level, name, value, len), -1, ENOMEM)                                                                   \
	X(int, getsockname, (int fd, __SOCKADDR_ARG address, socklen_t *len), (fd, address, len), -1, ENOBUFS)         \
	X(int, bind, (int fd, __CONST_SOCKADDR_ARG address, socklen_t len), (fd, address, len), -1, EADDRINUSE)        \
	X(int, listen, (int fd, int backlog), (fd, backlog), -1, EADDRINUSE)                                           \
	X(int, connect, (int fd, __CONST_SOCKADDR_ARG address, socklen_t len), (fd, address, len), -1, EADDRNOTAVAIL)  \
	X(int, accept, (int fd, __SOCKADDR_ARG address, socklen_t *len), (fd, address, len), -1, EMFILE)               \
	X(int, accept4, (int fd, __SOCKADDR_ARG address, socklen_t *len, int flags), (fd, address, len, flags), -1,    \
	  EMFILE)                                                                                                      \
	X(ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags), -1, ECONNRESET)            \
	X(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags), -1, ECONNRESET)                 \
	X(ssize_t, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags), -1, EPIPE)           \
	X(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags), -1, EPIPE)                \
	X(int, epoll_create1, (int flags), (flags), -1, EMFILE)                                                        \
	X(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *event), (ep, op, fd, event), -1, ENOMEM)        \
	X(int, epoll_wait, (int ep, struct epoll_event *events, int max, int ms), (ep, events, max, ms), -1, EINTR)    \
	X(int, epoll_pwait2,                                                                                           \
	  (int ep, struct epoll_event *events, int max, const struct timespec *wait, const sigset_t *mask),            \
	  (ep, events, max, wait, mask), -1, EINTR)                                                                    \
	X(int, pipe2, (int fds[2], int flags), (fds, flags), -1, EMFILE)                                               \
	X(int, eventfd, (unsigned value, int flags), (value, flags), -1, EMFILE)                                       \
	X(int, timerfd_create, (clockid_t clock, int flags), (clock, flags), -1, EMFILE)                               \
	X(int, signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags), -1, EMFILE)                     \
	X(ssize_t, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags), -1, EINTR)                   \
	X(int, sched_getaffinity, (pid_t pid, size_t size, cpu_set_t * set), (pid, size, set), -1, EINVAL)             \
	X(int, sigaltstack, (const stack_t *stack, stack_t *old), (stack, old), -1, ENOMEM)

// Those whose wrappers are written out.
#define OTHER_CALLS(X)                                                                                                 \
	X(open) X(openat) X(fcntl) X(write) X(writev) X(pthread_create) X(posix_fallocate) X(posix_spawnp)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct {
#define FIELD(type, function, ...) __typeof__(&function) function;
	CALLS(FIELD)
#undef FIELD
#define FIELD(function) __typeof__(&function) function;
	OTHER_CALLS(FIELD)
#undef FIELD
} real;

static struct control private_control;
// Set by the constructor, before there's a second thread; calls before it find a block that isn't armed.
static struct control *control = &private_control;
static const char *only;
static int forced_errno;
static bool from_main = true;

static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);
	for (const char *p = list; p != NULL && *p != '\0';) {
		size_t item = strcspn(p, ",");
		if (item == len && strncmp(p, name, len) == 0)
			return true;
		p += item + (p[item] == ',');
	}
	return false;
}

static void record(const char *name, const void *caller)
{
	Dl_info info;
	strncpy(control->name, name, sizeof control->name - 1);
	if (dladdr(caller, &info) != 0) {
		strncpy(control->object, info.dli_fname, sizeof control->object - 1);
		control->offset = (uint64_t)((const char *)caller - (const char *)info.dli_fbase);
	}
	atomic_store(&control->failed, 1);
}

// Counts the call. 0: let it through. Else the errno that it fails with.
static int fails(const char *name, int error, const void *caller)
{
	// acquire: pairs with the driver's write of `at` before `armed`
	if (atomic_load_explicit(&control->armed, memory_order_acquire) == 0)
		return 0;
	if (only != NULL && !listed(only, name))
		return 0;
	if (atomic_fetch_add(&control->seen, 1) + 1 != atomic_load(&control->at))
		return 0;
	record(name, caller);
	return forced_errno != 0 ? forced_errno : error;
}

#define FAILS(function, error) fails(#function, error, __builtin_return_address(0))
#define PASS(function) (real.function != NULL ? real.function : (resolve(), real.function))

static void resolve(void)
{
#define LOOK_UP(type, function, ...) real.function = (__typeof__(&function))dlsym(RTLD_NEXT, #function);
	CALLS(LOOK_UP)
#undef LOOK_UP
#define LOOK_UP(function) real.function = (__typeof__(&function))dlsym(RTLD_NEXT, #function);
	OTHER_CALLS(LOOK_UP)
#undef LOOK_UP
}

// ---- start --------------------------------------------------------------------------------------------------------

static void die(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
	_exit(99);
}

// A number or the end of the process: a mistyped N that fails nothing would look like a pass.
static uint64_t number(const char *variable)
{
	const char *text = getenv(variable);
	char *end = NULL;
	if (text == NULL)
		return 0;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
		die("fail_nth: TARE_FAIL_AT and TARE_FAIL_ERRNO take a decimal number\n");
	return value;
}

static void map_control(const char *path)
{
	int fd = real.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || real.ftruncate(fd, sizeof(struct control)) != 0)
		die("fail_nth: the file named by TARE_FAIL_COUNT_FILE can't be opened or sized\n");
	void *shared = real.mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		die("fail_nth: the file named by TARE_FAIL_COUNT_FILE can't be mapped\n");
	control = shared;
}

__attribute__((constructor(101))) static void start(void)
{
	resolve();
	const char *path = getenv("TARE_FAIL_COUNT_FILE"), *from = getenv("TARE_FAIL_FROM");
	uint64_t at = number("TARE_FAIL_AT");
	forced_errno = (int)number("TARE_FAIL_ERRNO");
	only = getenv("TARE_FAIL_ONLY");
	if (from != NULL && strcmp(from, "main") != 0 && strcmp(from, "armed") != 0)
		die("fail_nth: TARE_FAIL_FROM is neither main nor armed\n");
	from_main = from == NULL || strcmp(from, "main") == 0;
	if (path != NULL)
		map_control(path);
	control->magic = MAGIC;
	if (at != 0)
		atomic_store(&control->at, at);
}

static int (*program_main)(int, char **, char **);

static int counted_main(int argc, char **argv, char **envp)
{
	if (from_main)
		atomic_store(&control->armed, 1);
	return program_main(argc, argv, envp);
}

typedef int start_main_fn(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
			  void (*fini)(void), void (*rtld_fini)(void), void *stack_end);
EXPORT start_main_fn __libc_start_main;

EXPORT int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
			     void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
	start_main_fn *next = (start_main_fn *)dlsym(RTLD_NEXT, "__libc_start_main");
	program_main = main;
	return next(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}

// ---- the calls ----------------------------------------------------------------------------------------------------

#define WRAPPER(type, function, params, args, failure, error)                                                          \
	EXPORT type function params                                                                                    \
	{                                                                                                              \
		int code = FAILS(function, error);                                                                     \
		if (code == 0)                                                                                         \
			return PASS(function) args;                                                                    \
		errno = code;                                                                                          \
		return failure;                                                                                        \
	}
CALLS(WRAPPER)

#define HEAP_CALL(function, params, call)                                                                              \
	EXPORT void *function params                                                                                   \
	{                                                                                                              \
		int code = FAILS(function, ENOMEM);                                                                    \
		if (code == 0)                                                                                         \
			return call;                                                                                   \
		errno = code;                                                                                          \
		return NULL;                                                                                           \
	}
HEAP_CALL(malloc, (size_t size), __libc_malloc(size))
HEAP_CALL(calloc, (size_t count, size_t size), __libc_calloc(count, size))
HEAP_CALL(realloc, (void *ptr, size_t size), __libc_realloc(ptr, size))
HEAP_CALL(memalign, (size_t alignment, size_t size), __libc_memalign(alignment, size))
HEAP_CALL(aligned_alloc, (size_t alignment, size_t size), __libc_memalign(alignment, size))

EXPORT int posix_memalign(void **ret_ptr, size_t alignment, size_t size)
{
	int code = FAILS(posix_memalign, ENOMEM), saved = errno;
	if (code != 0)
		return code;
	if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0)
		return EINVAL;
	void *ptr = __libc_memalign(alignment, size);
	errno = saved;
	if (ptr == NULL)
		return ENOMEM;
	*ret_ptr = ptr;
	return 0;
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	int code = FAILS(open, EMFILE);
	if (code == 0)
		return PASS(open)(path, flags, mode);
	errno = code;
	return -1;
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	int code = FAILS(openat, EMFILE);
	if (code == 0)
		return PASS(openat)(dir, path, flags, mode);
	errno = code;
	return -1;
}

// Every command takes at most one argument no wider than a pointer; what one that takes none is given is ignored.
EXPORT int fcntl(int fd, int command, ...)
{
	va_list rest;
	va_start(rest, command);
	void *arg = va_arg(rest, void *);
	va_end(rest);
	int code = FAILS(fcntl, EMFILE);
	if (code == 0)
		return PASS(fcntl)(fd, command, arg);
	errno = code;
	return -1;
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	int code = fd == STDERR_FILENO ? 0 : FAILS(write, ENOSPC);
	if (code == 0)
		return PASS(write)(fd, buf, len);
	errno = code;
	return -1;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	int code = fd == STDERR_FILENO ? 0 : FAILS(writev, EPIPE);
	if (code == 0)
		return PASS(writev)(fd, iov, count);
	errno = code;
	return -1;
}

EXPORT int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int code = FAILS(pthread_create, EAGAIN);
	return code != 0 ? code : PASS(pthread_create)(ret_thread, attr, fn, arg);
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t len)
{
	int code = FAILS(posix_fallocate, ENOSPC);
	return code != 0 ? code : PASS(posix_fallocate)(fd, offset, len);
}

EXPORT int posix_spawnp(pid_t *ret_pid, const char *file, const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
	int code = FAILS(posix_spawnp, EAGAIN);
	return code != 0 ? code : PASS(posix_spawnp)(ret_pid, file, actions, attributes, argv, env);
}
