// SPDX-License-Identifier: MIT
//
// The small programs that runtimes are compared by. Each gives an answer, and a wrong one ends the process with 1.
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SKYNET_LEAVES = 1000000, RING_TASKS = 503 };
static const uint64_t skynet_answer = 499999500000;

struct node {
	struct tare_chan *out;
	uint64_t first, size;
};

// The children read their nodes on this task's stack before they send, and it receives from all of them.
static int skynet_node(void *arg)
{
	struct node node = *(struct node *)arg, children[10];
	if (node.size == 1) {
		send_u64(node.out, node.first);
		return 0;
	}
	struct tare_chan *chan = chan_new(8, 0);
	uint64_t sum = 0;
	for (uint64_t i = 0; i < 10; i++) {
		children[i] = (struct node){chan, node.first + i * (node.size / 10), node.size / 10};
		must(tare_go(skynet_node, &children[i]), "go");
	}
	for (int i = 0; i < 10; i++)
		sum += recv_u64(chan);
	tare_chan_free(chan);
	send_u64(node.out, sum);
	return 0;
}

static uint64_t skynet_program(void)
{
	struct node root = {chan_new(8, 0), 0, SKYNET_LEAVES};
	must(tare_go(skynet_node, &root), "go");
	uint64_t answer = recv_u64(root.out);
	tare_chan_free(root.out);
	return answer;
}

int bench_skynet(void *arg)
{
	measure_program(arg, SKYNET_LEAVES, skynet_answer, skynet_program);
	return 0;
}

struct link {
	struct tare_chan *in, *out, *answer;
	uint64_t number;
};

static int ring_task(void *arg)
{
	struct link *link = arg;
	uint64_t token;
	while (tare_chan_recv(link->in, &token) == 0) {
		if (token == 0) {
			send_u64(link->answer, link->number);
			break;
		}
		send_u64(link->out, token - 1);
	}
	return 0;
}

static uint64_t ring(uint64_t hops)
{
	struct link links[RING_TASKS];
	struct tare_task *tasks[RING_TASKS];
	struct tare_chan *answer = chan_new(8, 0);
	for (int i = 0; i < RING_TASKS; i++)
		links[i] = (struct link){.in = chan_new(8, 0), .answer = answer, .number = (uint64_t)i + 1};
	for (int i = 0; i < RING_TASKS; i++) {
		links[i].out = links[(i + 1) % RING_TASKS].in;
		must(tare_spawn(&tasks[i], NULL, ring_task, &links[i]), "spawn");
	}
	send_u64(links[0].in, hops);
	uint64_t last = recv_u64(answer);
	for (int i = 0; i < RING_TASKS; i++)
		tare_chan_close(links[i].in);
	for (int i = 0; i < RING_TASKS; i++)
		tare_join(tasks[i]);
	for (int i = 0; i < RING_TASKS; i++)
		tare_chan_free(links[i].in);
	tare_chan_free(answer);
	return last;
}

int bench_ring(void *arg)
{
	expect(arg, ring(1000), 498);
	uint64_t answer = sizes.ring_hops % RING_TASKS + 1;
	int64_t start_ns = tare_clock_ns();
	expect(arg, ring(sizes.ring_hops), answer);
	print_answer(arg, (double)(tare_clock_ns() - start_ns) / (double)sizes.ring_hops, sizes.ring_hops, answer);
	return 0;
}

struct whisper {
	struct tare_chan *left, *right;
};

static int whisper_task(void *arg)
{
	struct whisper *whisper = arg;
	send_u64(whisper->left, 1 + recv_u64(whisper->right));
	return 0;
}

static int whisper_first(void *arg)
{
	send_u64(arg, 1);
	return 0;
}

static uint64_t whispers_program(void)
{
	struct whisper *whispers = must_calloc(sizes.whispers, sizeof *whispers);
	struct tare_chan *leftmost = chan_new(8, 0), *left = leftmost;
	for (uint64_t i = 0; i < sizes.whispers; i++) {
		whispers[i] = (struct whisper){.left = left, .right = chan_new(8, 0)};
		must(tare_go(whisper_task, &whispers[i]), "go");
		left = whispers[i].right;
	}
	must(tare_go(whisper_first, left), "go");
	uint64_t answer = recv_u64(leftmost);
	for (uint64_t i = 0; i < sizes.whispers; i++)
		tare_chan_free(whispers[i].right);
	tare_chan_free(leftmost);
	free(whispers);
	return answer;
}

int bench_whispers(void *arg)
{
	measure_program(arg, sizes.whispers, sizes.whispers + 1, whispers_program);
	return 0;
}

struct filter {
	struct tare_chan *in, *out;
	uint64_t prime;
};

static int sieve_source(void *arg)
{
	for (uint64_t i = 2;; i++)
		send_u64(arg, i);
	return 0;
}

static int sieve_filter(void *arg)
{
	struct filter *filter = arg;
	for (;;) {
		uint64_t i = recv_u64(filter->in);
		if (i % filter->prime != 0)
			send_u64(filter->out, i);
	}
	return 0;
}

// As in "Go concurrency patterns": the tasks that are left over stay blocked, so it runs once in a runtime, and what
// they use is the process's until it ends.
int bench_sieve(void *arg)
{
	struct filter *filters = must_calloc(sizes.primes, sizeof *filters);
	struct tare_chan *in = chan_new(8, 0);
	int64_t start_ns = tare_clock_ns();
	must(tare_go(sieve_source, in), "go");
	uint64_t last = 0;
	for (uint64_t i = 0; i < sizes.primes; i++) {
		last = recv_u64(in);
		filters[i] = (struct filter){.in = in, .out = chan_new(8, 0), .prime = last};
		must(tare_go(sieve_filter, &filters[i]), "go");
		in = filters[i].out;
	}
	print_answer(arg, (double)(tare_clock_ns() - start_ns) / (double)sizes.primes, sizes.primes, last);
	return 0;
}

// A figure in kB of /proc/self/status, in bytes.
static uint64_t status_bytes(const char *key)
{
	char line[256];
	uint64_t kilobytes = 0;
	FILE *status = fopen("/proc/self/status", "re");
	if (status == NULL)
		die("/proc/self/status", -errno);
	while (fgets(line, sizeof line, status) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			kilobytes = strtoull(line + strlen(key), NULL, 10);
	fclose(status);
	return kilobytes * 1024;
}

static struct tare_wg sleepers_wg;

static int sleeper_task(void *arg)
{
	(void)arg;
	must(tare_sleep((int64_t)sizes.sleep_s * TARE_NS_PER_S), "sleep");
	tare_wg_done(&sleepers_wg);
	return 0;
}

int bench_sleepers(void *arg)
{
	uint64_t count = sizes.sleepers;
	int64_t start_ns = tare_clock_ns(), sleep_ns = (int64_t)sizes.sleep_s * TARE_NS_PER_S;
	for (uint64_t i = 0; i < count; i++) {
		tare_wg_add(&sleepers_wg, 1);
		must(tare_go(sleeper_task, NULL), "go");
	}
	tare_wg_wait(&sleepers_wg);
	int64_t elapsed_ns = tare_clock_ns() - start_ns;
	uint64_t rss = status_bytes("VmHWM:"), tables = status_bytes("VmPTE:");
	printf("{\"name\": \"%s\", \"ns\": %.2f, \"ops\": %" PRIu64 ", \"elapsed_ns\": %" PRId64
	       ", \"rss_bytes\": %" PRIu64 ", \"page_table_bytes\": %" PRIu64 "}\n",
	       (char *)arg, (double)(elapsed_ns - sleep_ns) / (double)count, count, elapsed_ns, rss, tables);
	printf("{\"name\": \"%s_memory\", \"bytes\": %" PRIu64 ", \"ops\": %" PRIu64 "}\n", (char *)arg,
	       (rss + tables) / count, count);
	return 0;
}
