// SPDX-License-Identifier: MIT
//
// The soak: tasks, scopes, channels, selects, threads and connections come and go for minutes, and nothing may pile up.
//
//   soak [--seconds N] [--seed N] [--workers N] [--memory 0]
//
// Time is cut into epochs of a second. In an epoch churners do rounds of work, all kinds at once; at its end they
// finish, and with nothing but this task left the accounts are read:
//   1. Tasks started are those we started, each of them ran, and all have ended.
//   2. Stacks taken have been given back, and so have the streams' structs.
//   3. As many descriptors are open as after the first epoch.
//   4. Resident memory stays what it was in the warm-up, the first quarter of the epochs; and its mean over the last
//      quarter is that of the second. (Not under sanitizers, which keep what is freed, and not with --memory 0, for an
//      emulator, whose own memory it would be.)
// A thread of its own watches that epochs end; one that takes HANG_S ends the process, and the churners that hang are
// named.
#include "soak.h"

#include "rt/rt_int.h"

#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
enum { PER_KIND = 2, HANG_S = 30, EPOCHS_MAX = 86400, WARM_MIN = 2 };

static const struct churn_kind kinds[] = {
    {"spawn", churn_spawn},   {"cancel", churn_cancel},   {"timeout", churn_timeout}, {"channels", churn_channels},
    {"select", churn_select}, {"threads", churn_threads}, {"pairs", churn_pairs},     {"tcp", churn_connections},
};
enum { KINDS = TARE_ARRAY_LEN(kinds), CHURNS = KINDS * PER_KIND };

static struct {
	uint64_t seconds, seed, workers, memory;
} options = {.seconds = 300, .seed = 1, .workers = 0, .memory = 1};

struct tare_pool *soak_streams;
static struct churn churns[CHURNS];
static atomic_bool over;           // the epoch's churners are to finish
static atomic_ullong epoch;        // how many have been accounted for
static atomic_ullong started, ran; // tasks
static uint64_t resident[EPOCHS_MAX];

// ---- what churners use --------------------------------------------------------------------------------------------

void soak_fail(const char *file, int line, const char *what, long got)
{
	fprintf(stderr, "%s:%d: failed: %s (%ld) in epoch %llu, seed %" PRIu64 "\n", file, line, what, got,
		atomic_load(&epoch), options.seed);
	abort();
}

bool soak_over(void)
{
	return atomic_load_explicit(&over, memory_order_relaxed);
}

static int run_task(void *arg)
{
	struct soak_task *task = arg;
	atomic_fetch_add_explicit(&ran, 1, memory_order_relaxed);
	return task->fn(task->arg);
}

int soak_go(struct tare_scope *scope, struct soak_task *task)
{
	int rc = tare_scope_go(scope, run_task, task);
	if (rc == 0)
		atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
	return rc;
}

struct tare_task *soak_spawn(const struct tare_task_options *task_options, struct soak_task *task)
{
	struct tare_task *handle;
	REQUIRE_EQ(tare_spawn(&handle, task_options, run_task, task), 0);
	atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
	return handle;
}

static int churn_task(void *arg)
{
	struct churn *churn = arg;
	atomic_store(&churn->busy, true);
	while (!soak_over()) {
		churn->kind->round(churn);
		tare_bump(&churn->rounds, 1);
	}
	atomic_store(&churn->busy, false);
	return 0;
}

// ---- the watchdog -------------------------------------------------------------------------------------------------

TARE_NORETURN static void hung(void)
{
	for (int i = 0; i < CHURNS; i++)
		if (atomic_load(&churns[i].busy))
			fprintf(stderr, "soak: %s does not end its round %llu\n", churns[i].kind->name,
				atomic_load(&churns[i].rounds));
	soak_fail(__FILE__, __LINE__, "an epoch that does not end; if no churner is named, tasks or stacks are missing",
		  HANG_S);
}

// A plain thread: it must get on when no worker does.
static void *watchdog(void *arg)
{
	(void)arg;
	unsigned long long last_epoch = 0;
	for (int64_t moved_ns = tare_clock_ns();;) {
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		if (atomic_load(&epoch) != last_epoch) {
			last_epoch = atomic_load(&epoch);
			moved_ns = tare_clock_ns();
		} else if (tare_clock_ns() - moved_ns > HANG_S * TARE_NS_PER_S) {
			hung();
		}
	}
	return NULL;
}

// ---- the accounts -------------------------------------------------------------------------------------------------

static uint64_t resident_bytes(void)
{
	unsigned long all = 0, pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	REQUIRE(statm != NULL);
	REQUIRE_EQ(fscanf(statm, "%lu %lu", &all, &pages), 2);
	fclose(statm);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int descriptors(void)
{
	int count = 0;
	DIR *dir = opendir("/proc/self/fd");
	REQUIRE(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

struct accounts {
	uint64_t started, ended, stacks_taken, stacks_given;
};

static struct accounts read_accounts(void)
{
	struct accounts sum = {.started = atomic_load(&rt.foreign_started), .ended = atomic_load(&rt.foreign_ended)};
	for (int i = 0; i < rt.worker_count; i++) {
		const struct rt_worker *w = &rt.workers[i];
		sum.started += atomic_load(&w->tasks_started);
		sum.ended += atomic_load(&w->tasks_ended);
		sum.stacks_taken += atomic_load(&w->stacks_taken);
		sum.stacks_given += atomic_load(&w->stacks_given);
	}
	return sum;
}

// Waits until everything but this task has ended, which is a moment after its joiner was told, and checks the sums.
static void settle(void)
{
	struct accounts sum;
	for (;;) {
		sum = read_accounts();
		if (sum.started == sum.ended + 1 && sum.stacks_taken == sum.stacks_given + 1)
			break;
		REQUIRE_EQ(tare_sleep(100 * TARE_NS_PER_US), 0); // the watchdog ends a wait that is in vain
	}
	REQUIRE_EQ(sum.started, atomic_load(&started) + 1); // this task is the runtime's
	REQUIRE_EQ(atomic_load(&ran), atomic_load(&started));
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	REQUIRE_EQ(stats.tasks_live, 1);
	struct tare_pool_stats pool;
	tare_pool_stats_read(soak_streams, &pool);
	REQUIRE_EQ(pool.live, 0);
}

#if defined(TARE_ASAN) || defined(TARE_TSAN)
static void check_memory(uint64_t at, uint64_t count)
{
	(void)at, (void)count;
}
#else
static uint64_t mean(uint64_t first, uint64_t end)
{
	uint64_t sum = 0;
	for (uint64_t i = first; i < end; i++)
		sum += resident[i];
	return sum / (end - first);
}

static void check_memory(uint64_t at, uint64_t count)
{
	static uint64_t warm_max;
	uint64_t warm = TARE_MAX(count / 4, (uint64_t)WARM_MIN), bytes = resident[at];
	if (at < warm) {
		warm_max = TARE_MAX(warm_max, bytes);
		return;
	}
	if (bytes > warm_max + warm_max / 4 + 8 * MIB)
		soak_fail(__FILE__, __LINE__, "resident MiB, more than in the warm-up", (long)(bytes / MIB));
	if (at + 1 < count || count < 4 * WARM_MIN)
		return;
	uint64_t before = mean(warm, 2 * warm), after = mean(count - warm, count);
	printf("resident memory: %.2f MiB in the second quarter, %.2f MiB in the last\n", (double)before / (double)MIB,
	       (double)after / (double)MIB);
	if (after > before + before / 20 + 2 * MIB)
		soak_fail(__FILE__, __LINE__, "resident MiB, grown since the second quarter", (long)(after / MIB));
}
#endif

static void report(uint64_t at, int fds)
{
	printf("epoch %" PRIu64 ": %.1f MiB, %d descriptors, %llu tasks; rounds:", at + 1,
	       (double)resident[at] / (double)MIB, fds, atomic_load(&started));
	for (int k = 0; k < KINDS; k++) {
		unsigned long long sum = 0;
		for (int i = 0; i < PER_KIND; i++)
			sum += atomic_load(&churns[k * PER_KIND + i].rounds);
		printf(" %s %llu", kinds[k].name, sum);
	}
	printf("\n");
	fflush(stdout);
}

// ---- epochs -------------------------------------------------------------------------------------------------------

static void run_epoch(void)
{
	struct tare_scope scope;
	struct soak_task tasks[CHURNS];
	atomic_store(&over, false);
	REQUIRE_EQ(tare_scope_open(&scope, TARE_NEVER, TARE_SCOPE_FAIL_FAST), 0);
	for (int i = 0; i < CHURNS; i++) {
		tasks[i] = (struct soak_task){churn_task, &churns[i]};
		REQUIRE_EQ(soak_go(&scope, &tasks[i]), 0);
	}
	REQUIRE_EQ(tare_sleep(TARE_NS_PER_S), 0);
	atomic_store(&over, true);
	REQUIRE_EQ(tare_scope_join(&scope), 0);
}

static int soak(void *arg)
{
	(void)arg;
	int fds = 0;
	for (uint64_t at = 0; at < options.seconds; at++) {
		run_epoch();
		settle();
		if (at == 0)
			fds = descriptors();
		REQUIRE_EQ(descriptors(), fds);
		resident[at] = resident_bytes();
		if (options.memory != 0)
			check_memory(at, options.seconds);
		if (at % 10 == 9 || at + 1 == options.seconds)
			report(at, fds);
		atomic_fetch_add(&epoch, 1);
	}
	for (int i = 0; i < CHURNS; i++)
		REQUIRE(atomic_load(&churns[i].rounds) > 0);
	return 0;
}

static void set_up(void)
{
	pthread_t thread;
	struct tare_pool_options pool = {.name = "streams", .object_bytes = sizeof(struct tare_stream), .stable = true};
	for (int i = 0; i < CHURNS; i++) {
		churns[i].kind = &kinds[i / PER_KIND];
		churns[i].idx = i % PER_KIND;
		tare_rng_init(&churns[i].rng, options.seed + (uint64_t)i);
	}
	REQUIRE_EQ(tare_pool_new(&soak_streams, &pool), 0);
	REQUIRE_EQ(pthread_create(&thread, NULL, watchdog, NULL), 0);
	pthread_detach(thread);
}

int main(int argc, char **argv)
{
	static const struct option flags[] = {{"seconds", required_argument, NULL, 0},
					      {"seed", required_argument, NULL, 1},
					      {"workers", required_argument, NULL, 2},
					      {"memory", required_argument, NULL, 3},
					      {0}};
	uint64_t *const values[] = {&options.seconds, &options.seed, &options.workers, &options.memory};
	bool good = true;
	for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;)
		good =
		    good && flag != '?' && tare_parse_u64((struct tare_str){optarg, strlen(optarg)}, values[flag]) == 0;
	if (!good || optind != argc || options.seconds < 1 || options.seconds > EPOCHS_MAX || options.workers > 128) {
		fprintf(stderr, "usage: soak [--seconds N] [--seed N] [--workers N] [--memory 0]\n");
		return 2;
	}
	set_up();
	struct tare_rt_options rt_options = {.workers = (int)options.workers, .seed = options.seed};
	struct tare_error err = {""};
	int result;
	if (tare_run(&rt_options, soak, NULL, &result, &err) < 0) {
		fprintf(stderr, "soak: %s\n", err.text);
		return 1;
	}
	printf("soak: %" PRIu64 " epochs, %llu tasks, all accounts agree\n", options.seconds, atomic_load(&started));
	return 0;
}
