// SPDX-License-Identifier: MIT
// Goal: a scope outlives its tasks; a cancel or a deadline ends every wait in it that can be ended, reaches what is
// below and stops at a shield; nothing is lost or leaked when it races with a wake-up.
// Method: a table of every kind of wait; for the races, values counted on both sides.
#include "in_task.h"

#include <tare/chan.h>
#include <tare/fd.h>
#include <tare/sync.h>

static void open_scope(struct tare_scope *scope, int64_t deadline_ns, unsigned flags)
{
	CHECK(tare_scope_open(scope, deadline_ns, flags) == 0);
}

// ---- joining ------------------------------------------------------------------------------------------------------

static atomic_int ended;

static int end_later(void *arg)
{
	for (int i = 0; i < 5; i++)
		tare_yield();
	atomic_fetch_add(&ended, 1);
	return (int)(intptr_t)arg;
}

static int join_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(500); round++) {
		struct tare_scope scope;
		atomic_store(&ended, 0);
		open_scope(&scope, TARE_NEVER, 0);
		for (int i = 0; i < 8; i++)
			CHECK(tare_scope_go(&scope, end_later, NULL) == 0);
		CHECK(tare_scope_join(&scope) == 0);
		CHECK(atomic_load(&ended) == 8);
		memset(&scope, 0xa5, sizeof scope); // the owner's storage again
	}
	struct tare_scope scope;
	open_scope(&scope, TARE_NEVER, 0);
	CHECK(tare_scope_go(&scope, end_later, (void *)7) == 0);
	CHECK(tare_scope_go(&scope, end_later, (void *)-E2BIG) == 0);
	CHECK(tare_cancelled() == 0);
	CHECK(tare_scope_join(&scope) == -E2BIG);
	open_scope(&scope, TARE_NEVER, 0);
	CHECK(tare_scope_join(&scope) == 0); // nothing in it
	return 0;
}

TEST(tasks_end_before_their_scope_and_their_failure_is_its_result)
{
	run_in_task(1, join_main);
	run_in_task(3, join_main);
}

static int spawn_more(void *arg)
{
	struct tare_scope *scope = arg;
	for (int i = 0; i < 3; i++)
		CHECK(tare_scope_go(scope, end_later, NULL) == 0);
	return 0;
}

static int members_spawn_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	atomic_store(&ended, 0);
	open_scope(&scope, TARE_NEVER, 0);
	for (int i = 0; i < 4; i++)
		CHECK(tare_scope_go(&scope, spawn_more, &scope) == 0);
	CHECK(tare_scope_join(&scope) == 0 && atomic_load(&ended) == 12);
	struct tare_task *member;
	open_scope(&scope, TARE_NEVER, 0);
	CHECK(tare_spawn(&member, &(struct tare_task_options){.scope = &scope}, end_later, (void *)5) == 0);
	CHECK(tare_scope_join(&scope) == 0 && tare_join(member) == 5); // the handle may outlive the scope
	return 0;
}

TEST(a_member_may_start_members_and_be_joined)
{
	run_in_task(1, members_spawn_main);
	run_in_task(2, members_spawn_main);
}

// ---- cancelling each kind of wait ---------------------------------------------------------------------------------

static struct {
	struct tare_chan *empty, *full;
	struct tare_mutex mutex;
	struct tare_rwlock rwlock;
	struct tare_cond cond;
	struct tare_sem sem;
	struct tare_wg wg;
	struct tare_event event;
	struct tare_fd fd;
	struct tare_task *endless;
} held;

static int wait_sleep(int64_t deadline_ns)
{
	int rc = tare_sleep_until(TARE_MIN(deadline_ns, tare_now_ns() + 3600 * TARE_NS_PER_S));
	return rc == 0 ? -ETIMEDOUT : rc; // its own time has come
}

static int wait_send(int64_t deadline_ns)
{
	uint64_t value = 0;
	return tare_chan_send_until(held.full, &value, deadline_ns);
}

static int wait_recv(int64_t deadline_ns)
{
	return tare_chan_recv_until(held.empty, NULL, deadline_ns);
}

static int wait_select(int64_t deadline_ns)
{
	uint64_t value = 0;
	struct tare_case cases[] = {{.chan = held.full, .send = &value}, {.chan = held.empty}};
	return tare_select_until(cases, 2, deadline_ns);
}

static int wait_mutex(int64_t deadline_ns)
{
	return tare_mutex_lock_until(&held.mutex, deadline_ns);
}

static int wait_read(int64_t deadline_ns)
{
	return tare_rwlock_read_until(&held.rwlock, deadline_ns);
}

static int wait_write(int64_t deadline_ns)
{
	return tare_rwlock_write_until(&held.rwlock, deadline_ns);
}

static int wait_cond(int64_t deadline_ns)
{
	struct tare_mutex own = {0};
	tare_mutex_lock(&own);
	int rc = tare_cond_wait_until(&held.cond, &own, deadline_ns);
	CHECK(!tare_mutex_try_lock(&own)); // it has the mutex again
	tare_mutex_unlock(&own);
	return rc;
}

static int wait_sem(int64_t deadline_ns)
{
	return tare_sem_take_until(&held.sem, 2, deadline_ns);
}

static int wait_wg(int64_t deadline_ns)
{
	return tare_wg_wait_until(&held.wg, deadline_ns);
}

static int wait_event(int64_t deadline_ns)
{
	return tare_event_wait_until(&held.event, deadline_ns);
}

static int wait_fd(int64_t deadline_ns)
{
	return tare_fd_wait(&held.fd, TARE_READ, deadline_ns);
}

static int wait_join(int64_t deadline_ns)
{
	int result;
	return tare_join_until(held.endless, deadline_ns, &result);
}

static const struct {
	const char *name;
	int (*wait)(int64_t deadline_ns);
} waits[] = {{"sleep", wait_sleep}, {"send", wait_send}, {"recv", wait_recv},   {"select", wait_select},
	     {"mutex", wait_mutex}, {"read", wait_read}, {"write", wait_write}, {"cond", wait_cond},
	     {"sem", wait_sem},     {"wg", wait_wg},     {"event", wait_event}, {"fd", wait_fd},
	     {"join", wait_join}};
enum { WAITS = sizeof waits / sizeof waits[0] };

static int until_event(void *arg)
{
	tare_event_wait(arg);
	return 9;
}

struct waiting {
	int which, rc;
	int64_t deadline_ns;
	bool waits;
};

static int wait_in_task(void *arg)
{
	struct waiting *w = arg;
	w->waits = true;
	w->rc = waits[w->which].wait(w->deadline_ns);
	if (w->rc < 0)
		CHECK(waits[w->which].wait(1) == w->rc); // and from then on
	return 0;
}

static struct tare_event endless_ends;

static void hold(int os_fd)
{
	uint64_t value = 1;
	memset(&held, 0, sizeof held);
	memset(&endless_ends, 0, sizeof endless_ends);
	CHECK(tare_chan_new(&held.empty, sizeof value, 0) == 0 && tare_chan_new(&held.full, sizeof value, 1) == 0);
	CHECK(tare_chan_send(held.full, &value) == 0);
	tare_mutex_lock(&held.mutex);
	tare_rwlock_write(&held.rwlock);
	held.sem.units = 1;
	tare_wg_add(&held.wg, 1);
	CHECK(tare_fd_open(&held.fd, os_fd) == 0);
	CHECK(tare_spawn(&held.endless, NULL, until_event, &endless_ends) == 0);
}

// Nobody waits any more: each can be used as if nobody ever had.
static void let_go(void)
{
	tare_mutex_unlock(&held.mutex);
	CHECK(tare_mutex_try_lock(&held.mutex));
	tare_rwlock_write_done(&held.rwlock);
	CHECK(tare_rwlock_try_read(&held.rwlock) && !tare_rwlock_try_write(&held.rwlock));
	CHECK(held.cond.waiters.first == NULL);
	CHECK(tare_sem_try_take(&held.sem, 1));
	tare_wg_done(&held.wg);
	tare_wg_wait(&held.wg);
	tare_event_wake(&held.event);
	tare_event_wait(&held.event);
	tare_event_wake(&endless_ends);
	CHECK(tare_join(held.endless) == 9);
	CHECK(tare_chan_len(held.full) == 1 && tare_chan_try_recv(held.empty, NULL) == -EAGAIN);
	tare_chan_free(held.empty); // asserts that nobody waits
	tare_chan_free(held.full);
	tare_fd_close(&held.fd);
}

static void cancel_one(int which, bool timed, bool by_deadline)
{
	struct tare_scope scope;
	struct waiting w = {.which = which, .deadline_ns = timed ? tare_now_ns() + 3600 * TARE_NS_PER_S : TARE_NEVER};
	open_scope(&scope, by_deadline ? tare_now_ns() + TARE_NS_PER_MS : TARE_NEVER, 0);
	CHECK(tare_scope_go(&scope, wait_in_task, &w) == 0);
	while (!w.waits)
		tare_yield();
	for (int i = 0; i < 3; i++)
		tare_yield(); // with one worker: it is parked by now
	if (by_deadline)
		CHECK(tare_scope_join(&scope) == 0);
	else
		CHECK(tare_scope_close(&scope) == 0);
	if (w.rc != (by_deadline ? -ETIMEDOUT : -ECANCELED))
		fprintf(stderr, "%s%s: %d\n", waits[which].name, timed ? " with a deadline" : "", w.rc);
	CHECK(w.rc == (by_deadline ? -ETIMEDOUT : -ECANCELED));
	CHECK(tare_cancelled() == 0);
}

static int cancel_each_main(void *arg)
{
	(void)arg;
	int ends[2];
	CHECK(tare_fd_pair(ends) == 0);
	hold(ends[0]);
	for (int which = 0; which < WAITS; which++)
		for (int i = 0; i < 4; i++)
			cancel_one(which, i % 2 == 1, i / 2 == 1);
	let_go();
	tare_fd_dismiss(ends[1], NULL, 0);
	return 0;
}

TEST(each_kind_of_wait_can_be_cancelled)
{
	run_in_task(1, cancel_each_main);
}

// In the owner, of a scope that is cancelled already: no wait begins.
static int cancelled_before_main(void *arg)
{
	(void)arg;
	int ends[2];
	CHECK(tare_fd_pair(ends) == 0);
	hold(ends[0]);
	struct tare_scope scope;
	open_scope(&scope, TARE_NEVER, 0);
	tare_scope_cancel(&scope);
	CHECK(tare_cancelled() == -ECANCELED);
	for (int which = 0; which < WAITS; which++)
		CHECK(waits[which].wait(TARE_NEVER) == -ECANCELED);
	CHECK(tare_scope_go(&scope, end_later, NULL) == -ECANCELED);
	struct tare_task *task;
	CHECK(tare_spawn(&task, &(struct tare_task_options){.scope = &scope}, end_later, NULL) == -ECANCELED);
	CHECK(tare_spawn(&task, NULL, end_later, (void *)3) == 0);
	CHECK(tare_join(task) == 3); // cannot fail, so it waits
	struct tare_scope below, shielded;
	open_scope(&below, TARE_NEVER, 0);
	CHECK(tare_cancelled() == -ECANCELED);
	open_scope(&shielded, tare_now_ns() + TARE_NS_PER_MS, TARE_SCOPE_SHIELD);
	CHECK(tare_cancelled() == 0 && tare_sleep(1000) == 0);
	CHECK(tare_sleep(3600 * TARE_NS_PER_S) == -ETIMEDOUT); // its own deadline bounds it
	CHECK(tare_scope_join(&shielded) == 0);
	CHECK(tare_cancelled() == -ECANCELED);
	CHECK(tare_scope_join(&below) == 0);
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(tare_cancelled() == 0);
	let_go();
	tare_fd_dismiss(ends[1], NULL, 0);
	return 0;
}

TEST(in_a_cancelled_scope_no_wait_begins_but_behind_a_shield)
{
	run_in_task(1, cancelled_before_main);
	run_in_task(2, cancelled_before_main);
}

// ---- trees --------------------------------------------------------------------------------------------------------

struct tree {
	int depth, width;
	bool shield;
};

static atomic_int asleep, cancelled;

static int grow(void *arg)
{
	struct tree *tree = arg;
	struct tare_scope scope;
	struct tree below = {tree->depth - 1, tree->width, tree->shield};
	if (tree->depth == 0) {
		atomic_fetch_add(&asleep, 1);
		int rc = tare_sleep(3600 * TARE_NS_PER_S);
		if (rc == -ECANCELED)
			atomic_fetch_add(&cancelled, 1);
		return rc;
	}
	open_scope(&scope, TARE_NEVER, 0);
	for (int i = 0; i < tree->width; i++) {
		int rc = tare_scope_go(&scope, grow, &below);
		CHECK(rc == 0 || rc == -ECANCELED);
	}
	int rc = tare_scope_join(&scope);
	CHECK(rc == 0 || rc == -ECANCELED);
	return rc;
}

static int tree_main(void *arg)
{
	bool grown = arg != NULL; // cancel the whole tree, or one that still grows
	int width = SIMULATED ? 3 : 8;
	for (int round = 0; round < (SIMULATED ? 2 : 5); round++) {
		atomic_store(&asleep, 0);
		atomic_store(&cancelled, 0);
		struct tree tree = {.depth = 3, .width = width};
		struct tare_scope scope;
		open_scope(&scope, TARE_NEVER, 0);
		CHECK(tare_scope_go(&scope, grow, &tree) == 0);
		while (grown ? atomic_load(&asleep) < width * width * width : atomic_load(&asleep) < 5 * round)
			tare_yield();
		int rc = tare_scope_close(&scope);
		CHECK(rc == (atomic_load(&asleep) > 0 ? -ECANCELED : 0));
		CHECK(atomic_load(&cancelled) == atomic_load(&asleep));
	}
	return 0;
}

TEST(a_cancel_reaches_the_whole_tree)
{
	for (int workers = 1; workers <= 4; workers++)
		for (int grown = 0; grown < 2; grown++)
			run_with(&(struct tare_rt_options){.workers = workers, .seed = 1}, tree_main,
				 grown ? (void *)1 : NULL);
}

static int open_200(void *arg)
{
	unsigned depth = *(unsigned *)arg;
	struct tare_scope scope;
	int rc = tare_scope_open(&scope, TARE_NEVER, 0);
	if (depth == TARE_SCOPE_DEPTH_MAX) {
		CHECK(rc == -E2BIG);
		return 0;
	}
	CHECK(rc == 0);
	++*(unsigned *)arg;
	(void)open_200(arg);
	return tare_scope_join(&scope);
}

static int depth_main(void *arg)
{
	(void)arg;
	unsigned depth = 0;
	return open_200(&depth);
}

TEST(scopes_have_a_greatest_depth)
{
	run_in_task(1, depth_main);
}

static int sleep_long(void *arg)
{
	*(int *)arg = tare_sleep(3600 * TARE_NS_PER_S);
	return *(int *)arg;
}

static int fail_soon(void *arg)
{
	tare_yield();
	(void)arg;
	return -EPROTO;
}

static int fail_fast_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	int slept[3] = {1, 1, 1};
	open_scope(&scope, TARE_NEVER, TARE_SCOPE_FAIL_FAST);
	for (int i = 0; i < 3; i++)
		CHECK(tare_scope_go(&scope, sleep_long, &slept[i]) == 0);
	CHECK(tare_scope_go(&scope, fail_soon, NULL) == 0);
	int first = tare_scope_join(&scope);
	CHECK(first == -EPROTO);
	for (int i = 0; i < 3; i++)
		CHECK(slept[i] == -ECANCELED);
	return 0;
}

TEST(with_fail_fast_the_first_failure_ends_the_others_and_is_the_result)
{
	run_in_task(1, fail_fast_main);
	run_in_task(4, fail_fast_main);
}

static int inner_deadline(void *arg)
{
	int *rcs = arg;
	struct tare_scope inner;
	open_scope(&inner, tare_now_ns() + 3600 * TARE_NS_PER_S, 0);
	rcs[0] = tare_sleep(7200 * TARE_NS_PER_S);
	rcs[1] = tare_cancelled();
	(void)tare_scope_join(&inner);
	return 0;
}

static int deadline_main(void *arg)
{
	(void)arg;
	struct tare_scope outer;
	int rcs[2] = {0, 0}, rc = -ETIMEDOUT;
	open_scope(&outer, tare_now_ns() + 3600 * TARE_NS_PER_S, 0);
	CHECK(tare_sleep(1000) == 0); // shorter than what is left
	CHECK(tare_sleep_until(tare_now_ns()) == 0);
	CHECK(tare_scope_join(&outer) == 0);
	// On a busy machine the deadline may pass before the task is started: then one that is further off.
	for (int64_t ns = TARE_NS_PER_MS; rc == -ETIMEDOUT; ns *= 2) {
		open_scope(&outer, tare_now_ns() + ns, 0);
		rc = tare_scope_go(&outer, inner_deadline, rcs);
		CHECK(rc == 0 || rc == -ETIMEDOUT);
		CHECK(tare_scope_join(&outer) == 0);
	}
	CHECK(rcs[0] == -ETIMEDOUT && rcs[1] == -ETIMEDOUT);
	return 0;
}

TEST(a_deadline_is_inherited)
{
	run_in_task(1, deadline_main);
	run_in_task(2, deadline_main);
}

static void *cancel_from_thread(void *arg)
{
	tare_scope_cancel(arg);
	return NULL;
}

static int thread_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(100); round++) {
		struct tare_scope scope;
		int slept[2] = {1, 1};
		struct test_thread thread;
		open_scope(&scope, TARE_NEVER, 0);
		for (int i = 0; i < 2; i++)
			CHECK(tare_scope_go(&scope, sleep_long, &slept[i]) == 0);
		thread_start(&thread, cancel_from_thread, &scope);
		CHECK(tare_sleep(3600 * TARE_NS_PER_S) == -ECANCELED); // the owner's own
		thread_join(&thread);
		CHECK(tare_scope_join(&scope) == -ECANCELED && slept[0] == -ECANCELED && slept[1] == -ECANCELED);
	}
	return 0;
}

TEST(a_plain_thread_may_cancel)
{
	run_in_task(1, thread_main);
	run_in_task(2, thread_main);
}

// ---- races --------------------------------------------------------------------------------------------------------

struct flow {
	struct tare_chan *chan;
	atomic_long sent, received;
};

static int send_until_cancelled(void *arg)
{
	struct flow *flow = arg;
	uint64_t value = 1;
	int rc;
	for (unsigned i = 0;; i++) {
		rc = tare_chan_send_until(flow->chan, &value, i % 3 == 0 ? TARE_NEVER : tare_now_ns() + i % 7 * 1000);
		if (rc == 0)
			atomic_fetch_add(&flow->sent, 1);
		else if (tare_cancelled() != 0)
			return 0;
	}
}

static int recv_until_cancelled(void *arg)
{
	struct flow *flow = arg;
	struct tare_case cases[] = {{.chan = flow->chan}, {.chan = NULL}};
	for (unsigned i = 0;; i++) {
		int rc = i % 2 == 0 ? tare_chan_recv_until(flow->chan, NULL, tare_now_ns() + i % 5 * 1000)
				    : tare_select(cases, 2);
		if (rc == 0)
			atomic_fetch_add(&flow->received, 1);
		else if (tare_cancelled() != 0)
			return 0;
	}
}

static int race_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(200); round++) {
		struct flow flow = {.sent = 0};
		struct tare_scope senders, receivers;
		CHECK(tare_chan_new(&flow.chan, sizeof(uint64_t), (size_t)(round % 3)) == 0);
		open_scope(&receivers, TARE_NEVER, 0);
		open_scope(&senders, round % 2 == 0 ? TARE_NEVER : tare_now_ns() + round * 1000, 0);
		for (int i = 0; i < 3; i++) {
			CHECK(tare_scope_go(&receivers, recv_until_cancelled, &flow) == 0);
			int rc = tare_scope_go(&senders, send_until_cancelled, &flow);
			CHECK(rc == 0 || rc == -ETIMEDOUT);
		}
		(void)tare_sleep(round * 1000);
		CHECK(tare_scope_close(&senders) == 0);
		CHECK(tare_scope_close(&receivers) == 0);
		CHECK(atomic_load(&flow.sent) == atomic_load(&flow.received) + (long)tare_chan_len(flow.chan));
		tare_chan_free(flow.chan);
	}
	return 0;
}

TEST(a_cancel_that_races_with_wake_ups_and_deadlines_loses_and_doubles_nothing)
{
	run_in_task(1, race_main);
	run_in_task(2, race_main);
	run_in_task(4, race_main);
}

// ---- tasks that compute -------------------------------------------------------------------------------------------

static int compute_main(void *arg)
{
	(void)arg;
	struct tare_scope outer, inner;
	open_scope(&outer, tare_now_ns() + TARE_NS_PER_MS, 0);
	open_scope(&inner, TARE_NEVER, 0);
	while (tare_cancelled() == 0)
		continue; // it never gives the poller a turn, which would run the timer
	CHECK(tare_cancelled() == -ETIMEDOUT);
	CHECK(tare_scope_join(&inner) == 0 && tare_scope_join(&outer) == 0);
	return 0;
}

TEST(a_deadline_is_seen_by_a_task_that_computes)
{
	run_in_task(1, compute_main);
	run_in_task(2, compute_main);
}

static int deep_main(void *arg)
{
	(void)arg;
	static struct tare_scope scopes[TARE_SCOPE_DEPTH_MAX];
	for (int i = 0; i < TARE_SCOPE_DEPTH_MAX; i++)
		open_scope(&scopes[i], TARE_NEVER, i == TARE_SCOPE_DEPTH_MAX - 1 ? TARE_SCOPE_SHIELD : 0);
	tare_scope_cancel(&scopes[0]);
	CHECK(tare_cancelled() == 0); // behind the shield
	CHECK(tare_scope_join(&scopes[TARE_SCOPE_DEPTH_MAX - 1]) == 0);
	CHECK(tare_cancelled() == -ECANCELED);
	for (int i = TARE_SCOPE_DEPTH_MAX - 2; i >= 0; i--)
		CHECK(tare_scope_join(&scopes[i]) == 0);
	return 0;
}

TEST(a_cancel_of_deep_scopes_fits_the_smallest_stack)
{
	run_with(&(struct tare_rt_options){.workers = 1, .stack_bytes = 16384, .seed = 1}, deep_main, NULL);
}
