// SPDX-License-Identifier: MIT
// Tare's own rows: what its abstractions cost, and what they stand beside. `tare npa` runs this program.
//
// The rows stand in the other files of this folder, a group each; nothing but their constructors leads to them.
#include "rows.h"

#include <tare/rt.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct tare_index *rows_index_made;
struct tare_record_view rows_view;
uint64_t rows_keys[ROWS_KEYS], rows_absent_keys[ROWS_KEYS];
char rows_out[1 << 16];

void rows_die(const char *what, int rc)
{
	fprintf(stderr, "npa: %s: %s\n", what, strerror(-rc));
	exit(1);
}

struct call {
	void (*fn)(void *arg);
	void *arg;
};

static int run_call(void *arg)
{
	struct call *call = arg;
	call->fn(call->arg);
	return 0;
}

void rows_in_task(void (*fn)(void *arg), void *arg)
{
	struct call call = {fn, arg};
	// A row keeps its worker for long: nobody is to be told.
	struct tare_rt_options options = {.workers = 1, .seed = 1, .watchdog_ns = -1};
	struct tare_error err;
	if (tare_run(&options, run_call, &call, NULL, &err) < 0) {
		fprintf(stderr, "npa: %s\n", err.text);
		exit(1);
	}
}

void rows_index(void)
{
	struct tare_gen_options options = {.size = 1 << 20, .seed = 1};
	struct tare_index_stats stats;
	struct tare_error err;
	struct tare_rng rng;
	if (rows_index_made != NULL)
		return;
	if (tare_index_build(&rows_index_made, &options, &err) < 0) {
		fprintf(stderr, "npa: %s\n", err.text);
		exit(1);
	}
	tare_index_stats_get(rows_index_made, &stats);
	tare_rng_init(&rng, 1);
	for (int i = 0; i < ROWS_KEYS; i++) {
		rows_keys[i] = tare_rng_below(&rng, stats.records);
		rows_absent_keys[i] = stats.records + tare_rng_below(&rng, UINT64_C(1) << 40);
	}
	const struct tare_record *record = tare_index_find(rows_index_made, 42);
	rows_view = (struct tare_record_view){record, tare_index_category(rows_index_made, record),
					      tare_index_payload(rows_index_made, record)};
}

static void *nothing(void *arg)
{
	return arg;
}

// libc takes shorter ways in its heap and its system calls until a process begins its first thread, and never again. A
// service has threads; and no row shall depend on which others ran before it.
static void be_threaded(void)
{
	pthread_t thread;
	must(-pthread_create(&thread, NULL, nothing, NULL), "a thread");
	(void)pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	be_threaded();
	return tare_npa_main(argc, argv);
}
