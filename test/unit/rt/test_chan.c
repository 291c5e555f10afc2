// SPDX-License-Identifier: MIT
// Goal: channels and select as Go defines them: order, exactly-once delivery, closing, fairness, no lost wake-up.
// Method: the programs of Go's own channel tests (their names in comments), on one and on several workers; plain data
// beside each value, so that ThreadSanitizer sees a missing happens-before. Some are also run from plain threads.
#include "in_task.h"

#include <tare/chan.h>
#include <tare/sync.h>

#include <stdlib.h>

static struct tare_chan *chan_new(size_t elem_bytes, size_t capacity)
{
	struct tare_chan *chan = NULL;
	CHECK(tare_chan_new(&chan, elem_bytes, capacity) == 0);
	return chan;
}

static void on_workers(tare_task_fn *fn)
{
	run_in_task(1, fn);
	run_in_task(2, fn);
	run_in_task(4, fn);
}

// ---- TestChan -----------------------------------------------------------------------------------------------------

struct job {
	struct tare_chan *chan, *also;
	long n, sum;
	int who;
	struct tare_wg *wg;
};

static int block_recv(void *arg)
{
	struct job *job = arg;
	uint64_t value = 7;
	CHECK(tare_chan_recv(job->chan, &value) == -EPIPE);
	CHECK(value == 7); // outputs are written on success alone
	return 0;
}

static int closing_main(void *arg)
{
	(void)arg;
	for (size_t capacity = 0; capacity < 200; capacity += capacity < 10 ? 1 : 47) {
		struct tare_chan *chan = chan_new(sizeof(uint64_t), capacity);
		uint64_t value = 1;
		CHECK(tare_chan_try_recv(chan, &value) == -EAGAIN);
		struct tare_task *waiting[3];
		struct job job = {.chan = chan};
		for (int i = 0; i < 3; i++)
			CHECK(tare_spawn(&waiting[i], NULL, block_recv, &job) == 0);
		tare_yield();
		tare_chan_close(chan);
		for (int i = 0; i < 3; i++)
			(void)tare_join(waiting[i]);
		CHECK(tare_chan_recv(chan, &value) == -EPIPE);
		CHECK(tare_chan_send(chan, &value) == -EPIPE);
		CHECK(tare_chan_try_send(chan, &value) == -EPIPE);
		tare_chan_free(chan);
	}
	return 0;
}

TEST(closing_wakes_receivers)
{
	on_workers(closing_main);
}

static int block_send(void *arg)
{
	struct job *job = arg;
	uint64_t value = 1;
	return tare_chan_send(job->chan, &value);
}

static int closing_senders_main(void *arg)
{
	(void)arg;
	struct tare_chan *chan = chan_new(sizeof(uint64_t), 1);
	uint64_t value = 41;
	CHECK(tare_chan_send(chan, &value) == 0);
	struct tare_task *task;
	struct job job = {.chan = chan};
	CHECK(tare_spawn(&task, NULL, block_send, &job) == 0);
	tare_yield();
	tare_chan_close(chan);
	CHECK(tare_join(task) == -EPIPE);
	value = 0;
	CHECK(tare_chan_recv(chan, &value) == 0 && value == 41); // what was buffered is still there
	CHECK(tare_chan_recv(chan, &value) == -EPIPE);
	tare_chan_free(chan);
	return 0;
}

TEST(closing_fails_senders_and_keeps_what_is_buffered)
{
	run_in_task(1, closing_senders_main);
}

static int send_row(void *arg)
{
	struct job *job = arg;
	for (uint64_t i = 0; i < (uint64_t)job->n; i++)
		CHECK(tare_chan_send(job->chan, &i) == 0);
	return 0;
}

static int fifo_main(void *arg)
{
	(void)arg;
	for (size_t capacity = 0; capacity < 200; capacity += capacity < 4 ? 1 : 65) {
		struct tare_chan *chan = chan_new(sizeof(uint64_t), capacity);
		struct job job = {.chan = chan, .n = SCALED(1000)};
		struct tare_task *task;
		CHECK(tare_spawn(&task, NULL, send_row, &job) == 0);
		for (uint64_t i = 0; i < (uint64_t)job.n; i++) {
			uint64_t value;
			CHECK(tare_chan_recv(chan, &value) == 0 && value == i);
		}
		(void)tare_join(task);
		tare_chan_free(chan);
	}
	return 0;
}

TEST(values_of_one_sender_arrive_in_order)
{
	on_workers(fifo_main);
}

static int recv_counting(void *arg)
{
	struct job *job = arg;
	unsigned char *seen = calloc((size_t)job->n, 1);
	for (long i = 0; i < job->n; i++) {
		uint64_t value = UINT64_MAX;
		CHECK(tare_chan_recv(job->chan, &value) == 0 && value < (uint64_t)job->n);
		if (value < (uint64_t)job->n)
			seen[value]++;
	}
	CHECK(tare_chan_send(job->also, &seen) == 0);
	return 0;
}

static int four_by_four_main(void *arg)
{
	(void)arg;
	for (size_t capacity = 0; capacity < 200; capacity += capacity < 3 ? 1 : 49) {
		long n = SCALED(1000);
		struct tare_chan *chan = chan_new(sizeof(uint64_t), capacity);
		struct tare_chan *results = chan_new(sizeof(unsigned char *), 0);
		struct job job = {.chan = chan, .also = results, .n = n};
		struct tare_scope scope;
		CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
		for (int i = 0; i < 4; i++) {
			CHECK(tare_scope_go(&scope, send_row, &job) == 0);
			CHECK(tare_scope_go(&scope, recv_counting, &job) == 0);
		}
		unsigned char *all[4];
		for (int i = 0; i < 4; i++)
			CHECK(tare_chan_recv(results, &all[i]) == 0);
		for (long value = 0; value < n; value++)
			CHECK(all[0][value] + all[1][value] + all[2][value] + all[3][value] == 4);
		for (int i = 0; i < 4; i++)
			free(all[i]);
		CHECK(tare_scope_join(&scope) == 0);
		tare_chan_free(chan);
		tare_chan_free(results);
	}
	return 0;
}

TEST(each_value_of_four_senders_arrives_four_times)
{
	on_workers(four_by_four_main);
}

static int sizes_main(void *arg)
{
	(void)arg;
	struct big {
		char bytes[1000];
	};
	struct tare_chan *chan = chan_new(sizeof(struct big), 3), *empty = chan_new(0, 2);
	struct big in, out;
	for (int round = 0; round < 10; round++) {
		memset(&in, round, sizeof in);
		CHECK(tare_chan_send(chan, &in) == 0 && tare_chan_send(chan, &in) == 0);
		CHECK(tare_chan_len(chan) == 2 && tare_chan_capacity(chan) == 3);
		CHECK(tare_chan_recv(chan, NULL) == 0); // dropped
		CHECK(tare_chan_recv(chan, &out) == 0 && memcmp(&in, &out, sizeof in) == 0);
	}
	CHECK(tare_chan_send(empty, NULL) == 0 && tare_chan_send(empty, NULL) == 0);
	CHECK(tare_chan_try_send(empty, NULL) == -EAGAIN);
	CHECK(tare_chan_recv(empty, NULL) == 0 && tare_chan_recv(empty, NULL) == 0);
	CHECK(tare_chan_try_recv(empty, NULL) == -EAGAIN);
	struct tare_chan *none;
	CHECK(tare_chan_new(&none, SIZE_MAX / 2, 3) == -EINVAL);
	tare_chan_free(chan);
	tare_chan_free(empty);
	tare_chan_free(NULL);
	return 0;
}

TEST(any_element_size)
{
	run_in_task(1, sizes_main);
}

// ---- deadlines ----------------------------------------------------------------------------------------------------

static int late_main(void *arg)
{
	(void)arg;
	struct tare_chan *chan = chan_new(sizeof(uint64_t), 1);
	uint64_t value = 3;
	CHECK(tare_chan_recv_until(chan, &value, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT && value == 3);
	CHECK(tare_chan_recv_until(chan, &value, 1) == -ETIMEDOUT);
	CHECK(tare_chan_send_until(chan, &value, tare_now_ns() + TARE_NS_PER_MS) == 0);
	CHECK(tare_chan_send_until(chan, &value, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
	CHECK(tare_chan_len(chan) == 1);
	struct tare_case two[] = {{.chan = chan, .send = &value}, {.chan = NULL, .recv = &value}};
	CHECK(tare_select_until(two, 2, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
	CHECK(tare_chan_recv_until(chan, &value, 1) == 0); // a deadline in the past does not refuse what is there
	CHECK(tare_select_until(two, 2, 1) == 0 && two[0].rc == 0);
	CHECK(tare_select_until(NULL, 0, tare_now_ns() + 1000) == -ETIMEDOUT);
	tare_chan_free(chan);
	return 0;
}

TEST(deadlines)
{
	run_in_task(1, late_main);
	run_in_task(2, late_main);
}

static int send_slowly(void *arg)
{
	struct job *job = arg;
	for (uint64_t i = 0; i < (uint64_t)job->n; i++)
		while (tare_chan_send_until(job->chan, &i, tare_now_ns() + 2000) == -ETIMEDOUT)
			continue;
	return 0;
}

// Deadlines race with the other side: each value still arrives once, in order.
static int late_race_main(void *arg)
{
	(void)arg;
	struct tare_chan *chan = chan_new(sizeof(uint64_t), 0);
	struct job job = {.chan = chan, .n = SCALED(5000)};
	struct tare_task *task;
	CHECK(tare_spawn(&task, NULL, send_slowly, &job) == 0);
	for (uint64_t i = 0; i < (uint64_t)job.n; i++) {
		uint64_t value = 0;
		int rc;
		while ((rc = tare_chan_recv_until(chan, &value, tare_now_ns() + 1500)) == -ETIMEDOUT)
			continue;
		CHECK(rc == 0 && value == i);
	}
	(void)tare_join(task);
	tare_chan_free(chan);
	return 0;
}

TEST(deadlines_lose_and_double_nothing)
{
	on_workers(late_race_main);
}

// ---- select -------------------------------------------------------------------------------------------------------

// TestNonblockRecvRace: the value is there, so never "default".
static int nonblock_recv(void *arg)
{
	struct job *job = arg;
	uint64_t value;
	CHECK(tare_chan_try_recv(job->chan, &value) == 0);
	return 0;
}

static int nonblock_main(void *arg)
{
	(void)arg;
	for (long i = SCALED(10000); i > 0; i--) {
		struct tare_chan *chan = chan_new(sizeof(uint64_t), 1);
		uint64_t value = 1;
		CHECK(tare_chan_send(chan, &value) == 0);
		struct tare_task *task;
		struct job job = {.chan = chan};
		CHECK(tare_spawn(&task, NULL, nonblock_recv, &job) == 0);
		tare_chan_close(chan);
		(void)tare_join(task);
		tare_chan_free(chan);
	}
	return 0;
}

TEST(a_try_finds_what_is_there)
{
	on_workers(nonblock_main);
}

static int select_either(void *arg)
{
	struct job *job = arg;
	uint64_t value;
	struct tare_case cases[] = {{.chan = job->chan, .recv = &value}, {.chan = job->also, .recv = &value}};
	CHECK(tare_try_select(cases, 2) >= 0);
	return 0;
}

static void drain(struct tare_chan *chan)
{
	while (tare_chan_try_recv(chan, NULL) == 0)
		continue;
}

// TestNonblockSelectRace: c1 gets a value, then c2 is closed or filled before c1 is drained; one is ready at any time.
static int nonblock_select_main(void *arg)
{
	(void)arg;
	struct tare_chan *one = chan_new(sizeof(uint64_t), 1), *two = chan_new(sizeof(uint64_t), 1);
	uint64_t value = 1;
	for (long i = SCALED(100000); i > 0; i--) {
		struct job job = {.chan = one, .also = two};
		struct tare_task *task;
		CHECK(tare_chan_send(one, &value) == 0);
		CHECK(tare_spawn(&task, NULL, select_either, &job) == 0);
		CHECK(tare_chan_send(two, &value) == 0);
		drain(one);
		(void)tare_join(task);
		drain(two);
		drain(one);
	}
	tare_chan_free(one);
	tare_chan_free(two);
	return 0;
}

TEST(a_try_select_finds_what_is_there)
{
	on_workers(nonblock_select_main);
}

// TestSelfSelect: a select that could send to itself doesn't.
static int self_select(void *arg)
{
	struct job *job = arg;
	for (long i = 0; i < job->n; i++) {
		uint64_t mine = (uint64_t)job->who, got = UINT64_MAX;
		struct tare_case cases[] = {{.chan = job->chan, .send = &mine}, {.chan = job->chan, .recv = &got}};
		bool flip = i % 2 == 0;
		struct tare_case flipped[] = {cases[1], cases[0]};
		struct tare_case *used = flip ? flipped : cases;
		int taken = tare_select(used, 2);
		CHECK(taken >= 0 && used[taken].rc == 0);
		if (used[taken].send == NULL && tare_chan_capacity(job->chan) == 0)
			CHECK(got != mine);
	}
	return 0;
}

static int self_select_main(void *arg)
{
	(void)arg;
	for (size_t capacity = 0; capacity <= 10; capacity += 10) {
		struct tare_chan *chan = chan_new(sizeof(uint64_t), capacity);
		struct tare_task *tasks[2];
		struct job jobs[2];
		for (int i = 0; i < 2; i++) {
			jobs[i] = (struct job){.chan = chan, .who = i, .n = SCALED(1000)};
			CHECK(tare_spawn(&tasks[i], NULL, self_select, &jobs[i]) == 0);
		}
		for (int i = 0; i < 2; i++)
			(void)tare_join(tasks[i]);
		tare_chan_free(chan);
	}
	return 0;
}

TEST(a_select_does_not_meet_itself)
{
	on_workers(self_select_main);
}

// TestSelectStress: four senders by plain sends, four receivers by plain receives, and one of each that selects.
struct stress {
	struct tare_chan *chans[4];
	long n;
};

struct stress_job {
	struct stress *stress;
	int which; // the channel; -1: all, by select
	bool send;
};

static int stress_task(void *arg)
{
	struct stress_job *job = arg;
	struct stress *s = job->stress;
	uint64_t value = 1;
	if (job->which >= 0) {
		for (long i = 0; i < s->n; i++)
			CHECK((job->send ? tare_chan_send(s->chans[job->which], &value)
					 : tare_chan_recv(s->chans[job->which], &value)) == 0);
		return 0;
	}
	long left[4] = {s->n, s->n, s->n, s->n};
	for (long i = 0; i < 4 * s->n; i++) {
		struct tare_case cases[4];
		for (int k = 0; k < 4; k++)
			cases[k] = (struct tare_case){.chan = left[k] > 0 ? s->chans[k] : NULL,
						      .send = job->send ? &value : NULL,
						      .recv = job->send ? NULL : &value};
		int taken = tare_select(cases, 4);
		CHECK(taken >= 0 && taken < 4 && cases[taken].rc == 0);
		left[taken]--;
	}
	return 0;
}

static int select_stress_main(void *arg)
{
	(void)arg;
	static const size_t capacities[4] = {0, 0, 2, 3};
	struct stress s = {.n = SCALED(20000)};
	struct stress_job jobs[10];
	struct tare_task *tasks[10];
	for (int i = 0; i < 4; i++)
		s.chans[i] = chan_new(sizeof(uint64_t), capacities[i]);
	for (int i = 0; i < 10; i++) {
		jobs[i] = (struct stress_job){.stress = &s, .which = i < 8 ? i / 2 : -1, .send = i % 2 == 0};
		CHECK(tare_spawn(&tasks[i], NULL, stress_task, &jobs[i]) == 0);
	}
	for (int i = 0; i < 10; i++)
		(void)tare_join(tasks[i]);
	for (int i = 0; i < 4; i++) {
		CHECK(tare_chan_len(s.chans[i]) == 0);
		tare_chan_free(s.chans[i]);
	}
	return 0;
}

TEST(select_under_stress)
{
	on_workers(select_stress_main);
}

static int recv_bits(void *arg)
{
	struct job *job = arg;
	long ones = 0;
	for (long i = 0; i < job->n; i++) {
		uint64_t bit;
		CHECK(tare_chan_recv(job->chan, &bit) == 0);
		ones += (long)bit;
	}
	job->sum = ones;
	return 0;
}

// TestPseudoRandomSend: a select that can send either of two values sends both often.
static int fair_main(void *arg)
{
	(void)arg;
	for (size_t capacity = 0; capacity < 100; capacity += 33) {
		struct tare_chan *chan = chan_new(sizeof(uint64_t), capacity);
		struct job job = {.chan = chan, .n = SCALED(1000) + 100};
		struct tare_task *task;
		CHECK(tare_spawn(&task, NULL, recv_bits, &job) == 0);
		uint64_t zero = 0, one = 1;
		for (long i = 0; i < job.n; i++) {
			struct tare_case cases[] = {{.chan = chan, .send = &zero}, {.chan = chan, .send = &one}};
			CHECK(tare_select(cases, 2) >= 0);
		}
		(void)tare_join(task);
		CHECK(job.sum > job.n / 10 && job.sum < job.n - job.n / 10);
		tare_chan_free(chan);
	}
	return 0;
}

TEST(select_is_fair)
{
	on_workers(fair_main);
}

static int send_bits(void *arg)
{
	struct job *job = arg;
	uint64_t zero = 0, one = 1;
	for (long i = 0; i < job->n; i++) {
		struct tare_case cases[] = {{.chan = job->chan, .send = &zero}, {.chan = job->chan, .send = &one}};
		CHECK(tare_select(cases, 2) >= 0);
	}
	return 0;
}

// On one worker, where the select has always parked by the time that somebody receives.
static int fair_parked_main(void *arg)
{
	struct tare_chan *chan = chan_new(sizeof(uint64_t), 0);
	struct job job = {.chan = chan, .n = 300};
	struct tare_task *task;
	long ones = 0;
	(void)arg;
	CHECK(tare_spawn(&task, NULL, send_bits, &job) == 0);
	for (long i = 0; i < job.n; i++) {
		uint64_t bit;
		tare_yield();
		CHECK(tare_chan_recv(chan, &bit) == 0);
		ones += (long)bit;
	}
	(void)tare_join(task);
	CHECK(ones > job.n / 10 && ones < job.n - job.n / 10);
	tare_chan_free(chan);
	return 0;
}

TEST(a_select_that_waits_is_fair_too)
{
	run_in_task(1, fair_parked_main);
}

static int consume(void *arg)
{
	struct job *job = arg;
	uint64_t value;
	int rc;
	while ((rc = tare_chan_recv(job->chan, &value)) == 0) {
		if (value % 7 == 0)
			tare_yield();
		CHECK(tare_chan_send(job->also, &value) == 0);
	}
	CHECK(rc == -EPIPE);
	tare_wg_done(job->wg);
	return 0;
}

static int produce(void *arg)
{
	struct job *job = arg;
	for (uint64_t i = 0; i < (uint64_t)job->n; i++)
		CHECK(tare_chan_send(job->chan, &i) == 0);
	tare_chan_close(job->chan);
	tare_wg_wait(job->wg);
	tare_chan_close(job->also);
	return 0;
}

// TestMultiConsumer: 23 workers between two channels.
static int multi_consumer_main(void *arg)
{
	(void)arg;
	struct tare_chan *in = chan_new(sizeof(uint64_t), 69), *out = chan_new(sizeof(uint64_t), 69);
	struct tare_wg wg = {0};
	struct job job = {.chan = in, .also = out, .n = SCALED(271828), .wg = &wg};
	tare_wg_add(&wg, 23);
	struct tare_scope scope;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < 23; i++)
		CHECK(tare_scope_go(&scope, consume, &job) == 0);
	CHECK(tare_scope_go(&scope, produce, &job) == 0);
	uint64_t value, sum = 0, count = 0;
	while (tare_chan_recv(out, &value) == 0) {
		sum += value;
		count++;
	}
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(count == (uint64_t)job.n && sum == count * (count - 1) / 2);
	tare_chan_free(in);
	tare_chan_free(out);
	return 0;
}

TEST(many_consumers)
{
	on_workers(multi_consumer_main);
}

// TestSelectDuplicateChannel: a channel that stands in a select twice is left whole when another case is served.
static int duplicate_waits(void *arg)
{
	struct job *job = arg;
	uint64_t value = 0;
	struct tare_case cases[] = {{.chan = job->chan, .recv = &value},
				    {.chan = job->chan, .recv = &value},
				    {.chan = job->also, .recv = &value}};
	CHECK(tare_select(cases, 3) == 2);
	return 0;
}

static int duplicate_main(void *arg)
{
	(void)arg;
	struct tare_chan *twice = chan_new(sizeof(uint64_t), 0), *other = chan_new(sizeof(uint64_t), 0);
	struct job job = {.chan = twice, .also = other}, waits = {.chan = twice, .n = 1};
	struct tare_task *selects, *receives;
	CHECK(tare_spawn(&selects, NULL, duplicate_waits, &job) == 0);
	tare_yield();
	CHECK(tare_spawn(&receives, NULL, recv_bits, &waits) == 0); // behind the select in the queue
	tare_yield();
	uint64_t value = 1;
	CHECK(tare_chan_send(other, &value) == 0);
	CHECK(tare_chan_send(twice, &value) == 0);
	(void)tare_join(selects);
	(void)tare_join(receives);
	tare_chan_free(twice);
	tare_chan_free(other);
	return 0;
}

TEST(a_channel_twice_in_a_select)
{
	run_in_task(1, duplicate_main);
}

static int too_many_main(void *arg)
{
	(void)arg;
	static struct tare_case cases[TARE_SELECT_MAX + 1];
	CHECK(tare_try_select(cases, TARE_SELECT_MAX + 1) == -E2BIG);
	CHECK(tare_try_select(cases, TARE_SELECT_MAX) == -EAGAIN);
	return 0;
}

TEST(select_has_a_limit)
{
	run_in_task(1, too_many_main);
}

// ---- programs -----------------------------------------------------------------------------------------------------

static int generate(void *arg)
{
	struct tare_chan *out = arg;
	for (uint64_t i = 2; tare_chan_send(out, &i) == 0; i++)
		continue;
	return 0;
}

struct filter {
	struct tare_chan *in, *out;
	uint64_t prime;
};

static int filter(void *arg)
{
	struct filter *f = arg;
	uint64_t value;
	while (tare_chan_recv(f->in, &value) == 0)
		if (value % f->prime != 0 && tare_chan_send(f->out, &value) != 0)
			break;
	tare_chan_close(f->in);
	return 0;
}

static int sieve_main(void *arg)
{
	(void)arg;
	enum { PRIMES = 25 };
	static const uint64_t expected[PRIMES] = {2,  3,  5,  7,  11, 13, 17, 19, 23, 29, 31, 37, 41,
						  43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97};
	struct tare_chan *chans[PRIMES + 1];
	struct filter filters[PRIMES];
	struct tare_task *tasks[PRIMES + 1];
	chans[0] = chan_new(sizeof(uint64_t), 0);
	CHECK(tare_spawn(&tasks[PRIMES], NULL, generate, chans[0]) == 0);
	for (int i = 0; i < PRIMES; i++) {
		uint64_t prime = 0;
		CHECK(tare_chan_recv(chans[i], &prime) == 0 && prime == expected[i]);
		chans[i + 1] = chan_new(sizeof(uint64_t), 0);
		filters[i] = (struct filter){chans[i], chans[i + 1], prime};
		CHECK(tare_spawn(&tasks[i], NULL, filter, &filters[i]) == 0);
	}
	// From the far end each filter finds its way out closed, and closes its way in.
	tare_chan_close(chans[PRIMES]);
	for (int i = PRIMES; i >= 0; i--)
		(void)tare_join(tasks[i]);
	for (int i = 0; i <= PRIMES; i++)
		tare_chan_free(chans[i]);
	return 0;
}

TEST(prime_sieve)
{
	on_workers(sieve_main);
}

// ---- plain threads ------------------------------------------------------------------------------------------------

static void *thread_doubles(void *arg)
{
	struct job *job = arg;
	uint64_t value;
	while (tare_chan_recv(job->chan, &value) == 0) {
		value *= 2;
		struct tare_case cases[] = {{.chan = job->also, .send = &value}};
		int taken = value % 3 == 0 ? tare_select(cases, 1) : tare_chan_send(job->also, &value);
		if (taken != 0)
			fprintf(stderr, "a plain thread's send failed: %d\n", taken);
	}
	uint64_t late;
	if (tare_chan_recv_until(job->also, &late, tare_now_ns() + 1000) != -ETIMEDOUT)
		fprintf(stderr, "a plain thread's deadline did not pass\n");
	tare_wg_done(job->wg);
	return NULL;
}

static int thread_main(void *arg)
{
	(void)arg;
	struct tare_chan *there = chan_new(sizeof(uint64_t), 0), *back = chan_new(sizeof(uint64_t), 1);
	struct tare_wg wg = {0};
	struct job job = {.chan = there, .also = back, .wg = &wg};
	struct test_thread thread;
	tare_wg_add(&wg, 1);
	thread_start(&thread, thread_doubles, &job);
	for (uint64_t i = 0; i < (uint64_t)SCALED(2000); i++) {
		uint64_t value = 0;
		CHECK(tare_chan_send(there, &i) == 0);
		CHECK(tare_chan_recv(back, &value) == 0 && value == 2 * i);
	}
	tare_chan_close(there);
	tare_wg_wait(&wg);
	thread_join(&thread);
	tare_chan_free(there);
	tare_chan_free(back);
	return 0;
}

TEST(threads_and_tasks_meet)
{
	on_workers(thread_main);
}
