// SPDX-License-Identifier: MIT
// Tutorial, step 4: workers that share a queue of jobs, and one deadline for all of it. docs/tutorial/04-pool.md
// explains it piece by piece.
#include <tare/chan.h>
#include <tare/rt.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { WORKERS = 4, JOBS_MAX = 1000, LOOK_EVERY = 256 };

#define DURATION_NS_MAX (24 * 3600 * TARE_NS_PER_S)

// How many primes are there up to a number? A job belongs to one task at a time: whoever received it last.
struct job {
	const char *text;
	uint64_t limit, primes;
};

struct batch {
	struct job job[JOBS_MAX];
	size_t count;
	int64_t deadline_ns;
	struct tare_chan *todo, *done; // of struct job *
	struct tare_error err;
};

static struct batch batch;

static bool is_prime(uint64_t n)
{
	for (uint64_t d = 2; d * d <= n; d++)
		if (n % d == 0)
			return false;
	return n >= 2;
}

// Computes without ever waiting. So it asks by itself whether it shall go on, and lets others have a turn.
static int compute(struct job *job)
{
	job->primes = 0;
	for (uint64_t n = 0; n <= job->limit; n++) {
		if (n % LOOK_EVERY == 0) {
			int rc = tare_cancelled();
			if (rc < 0)
				return rc;
			tare_breathe(tare_now_ns());
		}
		job->primes += is_prime(n);
	}
	return 0;
}

// Takes jobs until there are no more (0), one fails, or the scope is cancelled.
static int worker(void *arg)
{
	(void)arg;
	for (;;) {
		struct job *job;
		int rc = tare_chan_recv(batch.todo, &job);
		if (rc == -EPIPE)
			return 0; // closed and empty
		if (rc == 0)
			rc = compute(job);
		if (rc == 0)
			rc = tare_chan_send(batch.done, &job);
		if (rc < 0)
			return rc;
	}
}

// Reads the jobs and hands them out. The first that is no number ends the batch: this task's result is negative, and
// the scope fails fast.
static int feeder(void *arg)
{
	(void)arg;
	int rc = 0;
	for (size_t i = 0; i < batch.count && rc == 0; i++) {
		struct job *job = &batch.job[i];
		rc = tare_parse_u64((struct tare_str){job->text, strlen(job->text)}, &job->limit);
		if (rc < 0)
			rc = tare_error_set(&batch.err, rc, "'%s' is not a number", job->text);
		else
			rc = tare_chan_send(batch.todo, &job);
	}
	tare_chan_close(batch.todo); // also on failure; the only sender closes
	return rc;
}

// Prints results as they come, until all are there. Runs in the scope's owner, whose waits the scope ends too.
static int collect(void)
{
	for (size_t i = 0; i < batch.count; i++) {
		struct job *job;
		int rc = tare_chan_recv(batch.done, &job);
		if (rc < 0)
			return rc;
		printf("%" PRIu64 ": %" PRIu64 " primes\n", job->limit, job->primes);
	}
	return 0;
}

static int run(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	int rc = tare_scope_open(&scope, batch.deadline_ns, TARE_SCOPE_FAIL_FAST);
	if (rc < 0)
		return rc;
	rc = tare_scope_go(&scope, feeder, NULL);
	for (int i = 0; i < WORKERS && rc == 0; i++)
		rc = tare_scope_go(&scope, worker, NULL);
	if (rc == 0)
		rc = collect();
	if (rc < 0)
		tare_scope_cancel(&scope);
	int result = tare_scope_join(&scope); // the first failure among the tasks: why the others were cancelled
	return result < 0 ? result : rc;
}

static int run_batch(void)
{
	int result = 0;
	int rc = tare_chan_new(&batch.todo, sizeof(struct job *), WORKERS);
	if (rc == 0)
		rc = tare_chan_new(&batch.done, sizeof(struct job *), WORKERS);
	if (rc == 0)
		rc = tare_run(NULL, run, NULL, &result, &batch.err);
	tare_chan_free(batch.todo);
	tare_chan_free(batch.done);
	return rc < 0 ? rc : result;
}

int main(int argc, char **argv)
{
	int64_t limit_ns;
	if (argc < 3 || argc > JOBS_MAX + 2 || tare_parse_duration(argv[1], &limit_ns) < 0 ||
	    limit_ns > DURATION_NS_MAX) {
		fprintf(stderr,
			"usage: pool DURATION NUMBER... (at most 24h and %d numbers; such as: pool 500ms 100000)\n",
			JOBS_MAX);
		return 2;
	}
	batch.deadline_ns = tare_now_ns() + limit_ns;
	batch.count = (size_t)argc - 2;
	for (size_t i = 0; i < batch.count; i++)
		batch.job[i].text = argv[i + 2];
	int rc = run_batch();
	if (rc == -ETIMEDOUT) {
		fprintf(stderr, "pool: not done within %s\n", argv[1]);
		return 1;
	}
	if (rc < 0) {
		fprintf(stderr, "pool: %s\n", batch.err.text[0] != '\0' ? batch.err.text : strerror(-rc));
		return 1;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
