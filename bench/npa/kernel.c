// SPDX-License-Identifier: MIT
// What the kernel costs before anything is done for us: calls, clocks, descriptors.
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int null_fd = -1, zero_fd = -1, event_fd = -1, poll_fd = -1;

static void fds_make(void)
{
	if (null_fd >= 0)
		return;
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	if (null_fd < 0 || zero_fd < 0 || event_fd < 0 || poll_fd < 0 ||
	    epoll_ctl(poll_fd, EPOLL_CTL_ADD, event_fd, &event) < 0)
		rows_die("descriptors", -errno);
}

TARE_NPA(call_getppid, "The least that a system call is: there and back.", 300)
{
	TARE_NPA_KEEP(syscall(SYS_getppid));
}

TARE_NPA(call_write, "write of 64 bytes that go nowhere.", 400, .prepare = fds_make)
{
	if (write(null_fd, rows_out, 64) != 64)
		rows_die("/dev/null", -errno);
}

TARE_NPA(call_read, "read of 64 bytes that come from nowhere.", 500, .prepare = fds_make)
{
	if (read(zero_fd, rows_out, 64) != 64)
		rows_die("/dev/zero", -errno);
}

TARE_NPA(call_epoll_wait, "Asking which descriptors are ready, where none is, without waiting.", 400,
	 .prepare = fds_make)
{
	struct epoll_event event;
	if (epoll_wait(poll_fd, &event, 1, 0) != 0)
		rows_die("epoll_wait", -errno);
}

TARE_NPA(call_eventfd_pair, "An eventfd, raised and taken back: how a sleeping worker is woken.", 900,
	 .prepare = fds_make)
{
	uint64_t value = 1;
	if (write(event_fd, &value, sizeof value) != sizeof value ||
	    read(event_fd, &value, sizeof value) != sizeof value)
		rows_die("eventfd", -errno);
}

TARE_NPA(call_mmap_pair, "A page mapped and unmapped, untouched.", 3000)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TARE_NPA_KEEP(page);
	(void)munmap(page, 4096);
}

TARE_NPA(clock_tsc, "The processor's own clock, without fences.", 25)
{
#if defined(__x86_64__)
	TARE_NPA_KEEP(__builtin_ia32_rdtsc());
#else
	uint64_t ticks;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	TARE_NPA_KEEP(ticks);
#endif
}

TARE_NPA(clock_monotonic, "Nanoseconds since some time, by tare_clock_ns: no system call where the kernel can help it.",
	 40)
{
	TARE_NPA_KEEP(tare_clock_ns());
}

TARE_NPA(clock_coarse, "The same as of the last tick of the kernel's, milliseconds ago.", 15)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	TARE_NPA_KEEP(ts.tv_nsec);
}
