// SPDX-License-Identifier: MIT
//
// What the runtime costs: switches, tasks, channels, mutexes, wake-ups, and the small programs that runtimes are
// compared by. One JSON line a figure; the names and the methods are those of bench/peers/go/prims.
//
//   rt [--samples N] [--ring N] [--whispers N] [--primes N] [--sleepers N] [--sleep SECONDS] NAME...
//
// NAME "all": every one.
//
// Figures in "ns" are medians of repetitions within the process. Besides what both have there are the floors that ours
// stands on: `switch`, the bare change of stacks, and `futex_wake` and `eventfd_wake`, what the kernel takes to wake a
// thread on another CPU, each pinned to its own. `wake_pinned` is wake_parked with each task pinned to a worker of its
// own. Programs that answer wrongly end the process with 1.
//
// Rejected: a loop around each program until some time has passed. Skynet's second run finds its stacks warm, the first
// does not, and a median of three shows the former to both sides alike.
#include "bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

struct sizes sizes = {
    .samples = 10000, .ring_hops = 5000000, .whispers = 100000, .primes = 1000, .sleepers = 1000000, .sleep_s = 10};

// fn gets the name. Without workers it runs outside the runtime.
static const struct bench {
	const char *name;
	int workers;
	tare_task_fn *fn;
} benches[] = {
    {"switch", 0, bench_switch},
    {"yield", 1, bench_yield},
    {"spawn_join", 1, bench_spawn_join},
    {"chan_unbuffered_roundtrip", 1, bench_chan_unbuffered},
    {"chan_buffered_pair", 1, bench_chan_buffered},
    {"mutex_pair", 1, bench_mutex},
    {"block", 1, bench_block},
    {"futex_wake", 0, bench_futex_wake},
    {"eventfd_wake", 0, bench_eventfd_wake},
    {"wake_parked", 2, bench_wake_parked},
    {"wake_pinned", 2, bench_wake_pinned},
    {"skynet", 1, bench_skynet},
    {"skynet_2", 2, bench_skynet},
    {"thread_ring", 1, bench_ring},
    {"whispers", 1, bench_whispers},
    {"sieve", 1, bench_sieve},
    {"sleepers", 1, bench_sleepers},
    {"spawn_many", 2, bench_spawn_many},
    {"yield_many", 2, bench_yield_many},
    {"ping_pong", 2, bench_ping_pong},
    {"chained_spawn", 2, bench_chained_spawn},
};

static void run(const struct bench *bench)
{
	struct tare_rt_options options = {.workers = bench->workers};
	struct tare_error err = {.text = ""};
	char name[64];
	int result;
	snprintf(name, sizeof name, "%s", bench->name);
	if (bench->workers == 0) {
		bench->fn(name);
	} else if (tare_run(&options, bench->fn, name, &result, &err) < 0) {
		fprintf(stderr, "rt: %s: %s\n", bench->name, err.text);
		exit(1);
	}
	fflush(stdout);
}

static void run_named(const char *name)
{
	bool found = false;
	for (size_t i = 0; i < TARE_ARRAY_LEN(benches); i++)
		if (strcmp(name, "all") == 0 || strcmp(name, benches[i].name) == 0) {
			run(&benches[i]);
			found = true;
		}
	if (!found) {
		fprintf(stderr, "rt: there is no '%s'\n", name);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static const struct option flags[] = {{"samples", required_argument, NULL, 0},
					      {"ring", required_argument, NULL, 1},
					      {"whispers", required_argument, NULL, 2},
					      {"primes", required_argument, NULL, 3},
					      {"sleepers", required_argument, NULL, 4},
					      {"sleep", required_argument, NULL, 5},
					      {0}};
	uint64_t *const values[] = {&sizes.samples, &sizes.ring_hops, &sizes.whispers,
				    &sizes.primes,  &sizes.sleepers,  &sizes.sleep_s};
	for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
		struct tare_str text = {optarg, optarg != NULL ? strlen(optarg) : 0};
		if (flag == '?' || tare_parse_u64(text, values[flag]) < 0 || *values[flag] == 0) {
			fprintf(stderr, "usage: rt [--samples N] [--ring N] [--whispers N] [--primes N] [--sleepers N] "
					"[--sleep SECONDS] NAME...\n");
			return 2;
		}
	}
	for (int i = optind; i < argc; i++)
		run_named(argv[i]);
	return 0;
}
