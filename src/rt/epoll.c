// SPDX-License-Identifier: MIT
//
// The backend on a real kernel: CLOCK_MONOTONIC and epoll; its sockets are in sock.c.
//
// One epoll instance a worker. A descriptor is registered once, for both sides, edge-triggered. The event carries the
// struct's address and the low 16 bits of its generation, so an event fetched before a close is dropped:
//
//   bits 63…48   generation      bits 47…0   struct tare_fd *
//
// (User addresses fit in 48 bits unless a mapping asks for more.) A wake of one that sleeps in epoll is an eventfd,
// level-triggered, read when seen.
//
// Threads: poll and fd_add by the owner; rescue by other workers; the rest from any.
#include "rt/rt_int.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("pollers");

enum { EVENTS_MAX = 128, GENERATION_SHIFT = 48 };

// AWAKE <-> FUTEX, EPOLL: the owner sleeps there. WOKEN: a wake is due, or on its way.
enum { AWAKE, WOKEN, FUTEX, EPOLL };

struct rt_poller {
	int epoll_fd, wake_fd;
	bool no_pwait2;          // an old kernel: milliseconds
	atomic_int fds;          // registered, besides wake_fd
	_Atomic(uint32_t) sleep; // AWAKE …
};

static int poller_new(struct rt_poller **ret)
{
	struct rt_poller *p = tare_alloc_zeroed(&heap_tag, 1, sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	int rc;
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll_fd < 0) {
		rc = -errno;
		goto free_poller;
	}
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake_fd < 0) {
		rc = -errno;
		goto close_epoll;
	}
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &event) < 0) {
		rc = -errno;
		goto close_wake;
	}
	*ret = p;
	return 0;

close_wake:
	close(p->wake_fd);
close_epoll:
	close(p->epoll_fd);
free_poller:
	tare_free(p);
	return rc;
}

static void poller_free(struct rt_poller *p)
{
	if (p == NULL)
		return;
	close(p->wake_fd);
	close(p->epoll_fd);
	tare_free(p);
}

static int wait_events(struct rt_poller *p, struct epoll_event *events, int64_t deadline_ns)
{
	if (deadline_ns == 0) {
		if (atomic_load_explicit(&p->fds, memory_order_relaxed) == 0)
			return 0; // only a wake could be found, and the caller is awake
		return epoll_wait(p->epoll_fd, events, EVENTS_MAX, 0);
	}
	if (deadline_ns == TARE_NEVER)
		return epoll_wait(p->epoll_fd, events, EVENTS_MAX, -1);
	int64_t left_ns = TARE_MAX(deadline_ns - tare_clock_ns(), INT64_C(0));
	if (left_ns == 0)
		return epoll_wait(p->epoll_fd, events, EVENTS_MAX, 0);
	if (!p->no_pwait2) {
		struct timespec left = {.tv_sec = left_ns / TARE_NS_PER_S, .tv_nsec = left_ns % TARE_NS_PER_S};
		int n = epoll_pwait2(p->epoll_fd, events, EVENTS_MAX, &left, NULL);
		if (n >= 0 || (errno != ENOSYS && errno != EPERM)) // a filter from before it may say EPERM
			return n;
		p->no_pwait2 = true;
	}
	int64_t ms = (left_ns + TARE_NS_PER_MS - 1) / TARE_NS_PER_MS;
	return epoll_wait(p->epoll_fd, events, EVENTS_MAX, (int)TARE_MIN(ms, (int64_t)60000));
}

static void deliver(const struct epoll_event *event)
{
	uint64_t address = event->data.u64 & ((UINT64_C(1) << GENERATION_SHIFT) - 1);
	struct tare_fd *fd = (struct tare_fd *)(uintptr_t)address;
	uint16_t generation = (uint16_t)atomic_load_explicit(&fd->generation, memory_order_acquire);
	if (generation != (uint16_t)(event->data.u64 >> GENERATION_SHIFT))
		return;
	// A socket in error is ready both ways: the try that follows gets the error.
	bool failed = (event->events & (EPOLLERR | EPOLLHUP)) != 0;
	if (failed || (event->events & EPOLLRDHUP) != 0)
		atomic_store_explicit(&fd->hangup, true, memory_order_relaxed);
	if (failed || (event->events & EPOLLOUT) != 0)
		rt_fd_event(fd, TARE_WRITE);
	if (failed || (event->events & (EPOLLIN | EPOLLRDHUP)) != 0)
		rt_fd_event(fd, TARE_READ);
}

// Who has no descriptor to watch sleeps on a futex: it is woken sooner than out of epoll.
static int sleep_until(struct rt_poller *p, struct epoll_event *events, int64_t deadline_ns)
{
	bool watches = atomic_load_explicit(&p->fds, memory_order_relaxed) > 0;
	uint32_t awake = AWAKE;
	int n = 0;
	if (!atomic_compare_exchange_strong(&p->sleep, &awake, watches ? EPOLL : FUTEX))
		n = wait_events(p, events, 0);
	else if (watches)
		n = wait_events(p, events, deadline_ns);
	else
		rt_futex_wait(&p->sleep, FUTEX, deadline_ns);
	atomic_store(&p->sleep, AWAKE);
	return n;
}

static unsigned poll(struct rt_poller *p, int64_t deadline_ns)
{
	struct epoll_event events[EVENTS_MAX];
	int n = deadline_ns == 0 ? wait_events(p, events, 0) : sleep_until(p, events, deadline_ns);
	rt_sleep_end(rt_self());
	unsigned delivered = 0;
	for (int i = 0; i < n; i++) { // EINTR: none
		if (events[i].data.u64 == 0) {
			uint64_t count;
			(void)!read(p->wake_fd, &count, sizeof count);
			continue;
		}
		deliver(&events[i]);
		delivered++;
	}
	return delivered;
}

// Every event is given to one of those who wait, so this and the owner's poll never deliver one twice. A wake's is
// level- triggered and stays.
static unsigned rescue(struct rt_poller *p)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(p->epoll_fd, events, EVENTS_MAX, 0);
	unsigned delivered = 0;
	for (int i = 0; i < n; i++) {
		if (events[i].data.u64 == 0)
			continue;
		deliver(&events[i]);
		delivered++;
	}
	return delivered;
}

static int ready_fd(struct rt_poller *p)
{
	return p->epoll_fd;
}

static void wake(struct rt_poller *p)
{
	uint32_t was = atomic_exchange(&p->sleep, WOKEN);
	if (was == FUTEX)
		rt_futex_wake(&p->sleep);
	else if (was == EPOLL)
		rt_eventfd_raise(p->wake_fd);
}

static int fd_add(struct rt_poller *p, struct tare_fd *fd)
{
	uint64_t generation = (uint16_t)atomic_load_explicit(&fd->generation, memory_order_relaxed);
	struct epoll_event event = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	    .data.u64 = (uint64_t)(uintptr_t)fd | generation << GENERATION_SHIFT,
	};
	struct rt_worker *w = rt_self();
	if (w != NULL)
		tare_bump(&w->calls[RT_CALL_REGISTER], 1);
	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd->fd, &event) < 0)
		return -errno;
	atomic_fetch_add_explicit(&p->fds, 1, memory_order_relaxed);
	return 0;
}

static void fd_close(struct rt_poller *p, struct tare_fd *fd)
{
	close(fd->fd); // the last descriptor of a file: that takes it out of the epoll set
	atomic_fetch_sub_explicit(&p->fds, 1, memory_order_relaxed);
}

const struct rt_backend rt_backend_epoll = {
    .name = "epoll",
    .now_ns = tare_clock_ns,
    .poller_new = poller_new,
    .poller_free = poller_free,
    .poll = poll,
    .wake = wake,
    .rescue = rescue,
    .ready_fd = ready_fd,
    .fd_add = fd_add,
    .fd_close = fd_close,
    .recv = rt_sock_recv,
    .send = rt_sock_send,
    .sendv = rt_sock_sendv,
    .accept = rt_sock_accept,
    .listen = rt_sock_listen,
    .dial = rt_sock_dial,
    .dial_result = rt_sock_dial_result,
    .pair = rt_sock_pair,
    .shutdown = rt_sock_shutdown,
    .turn_away = rt_sock_turn_away,
    .dismiss = rt_sock_dismiss,
};
