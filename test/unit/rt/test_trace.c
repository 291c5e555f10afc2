// SPDX-License-Identifier: MIT
// Goal: the scheduler's trace is JSON in which each worker's runs begin and end in turn and say why, also when the ring
// has gone round, when it is read while it is written, and when tracing goes off in between; off, nothing is added.
// Method: tasks that wait for one another; the text is read by a JSON parser.
#include "in_task.h"

#include <tare/chan.h>
#include <tare/sync.h>

#include <jansson.h>
#include <unistd.h>

enum { WORKERS = 2 };

struct page {
	char *text;
	size_t len, cap;
};

static int page_write(void *arg, const char *ptr, size_t len)
{
	struct page *page = arg;
	if (page->len + len + 1 > page->cap) {
		page->cap = 2 * (page->len + len + 1);
		page->text = realloc(page->text, page->cap);
	}
	memcpy(page->text + page->len, ptr, len);
	page->len += len;
	page->text[page->len] = '\0';
	return 0;
}

struct seen {
	int begins, ends, others;
	bool chan, yield, done; // why runs ended
};

static void check_event(const json_t *event, int open[WORKERS], double last[WORKERS], struct seen *seen)
{
	const char *kind = json_string_value(json_object_get(event, "ph"));
	json_int_t worker = json_integer_value(json_object_get(event, "tid"));
	if (kind != NULL && *kind == 'M')
		return; // the name of a track
	CHECK(kind != NULL && worker >= 0 && worker < WORKERS);
	if (kind == NULL || worker < 0 || worker >= WORKERS)
		return;
	double ts = json_number_value(json_object_get(event, "ts"));
	if (*kind == 'B' || *kind == 'E') {
		CHECK(ts >= last[worker]);
		last[worker] = ts;
		open[worker] += *kind == 'B' ? 1 : -1;
		CHECK(open[worker] == (*kind == 'B' ? 1 : 0));
	}
	seen->begins += *kind == 'B';
	seen->ends += *kind == 'E';
	seen->others += *kind == 'X' || *kind == 'i';
	const char *why = json_string_value(json_object_get(json_object_get(event, "args"), "why"));
	if (why == NULL)
		return;
	seen->chan |= strncmp(why, "chan_", 5) == 0;
	seen->yield |= strcmp(why, "yield") == 0;
	seen->done |= strcmp(why, "done") == 0;
}

static struct seen read_trace(void)
{
	struct page page = {0};
	struct tare_text text = {.write = page_write, .arg = &page};
	struct seen seen = {0};
	int open[WORKERS] = {0};
	double last[WORKERS] = {0};
	tare_trace_write(&text);
	CHECK(text.rc == 0);
	json_error_t err = {.text = ""};
	json_t *document = json_loadb(page.text, page.len, 0, &err);
	if (document == NULL)
		fprintf(stderr, "line %d: %s\n", err.line, err.text);
	const json_t *events = json_object_get(document, "traceEvents");
	CHECK(json_is_array(events));
	for (size_t i = 0; i < json_array_size(events); i++)
		check_event(json_array_get(events, i), open, last, &seen);
	json_decref(document);
	free(page.text);
	return seen;
}

static int echo(void *arg)
{
	struct tare_chan **ends = arg;
	uint64_t value;
	while (tare_chan_recv(ends[0], &value) == 0) {
		CHECK(tare_chan_send(ends[1], &value) == 0);
		if (value % 3 == 0)
			tare_yield();
	}
	return 0;
}

// So many values there and back; what reads the trace meanwhile is called every 500.
static void pass(uint64_t count, void (*meanwhile)(void))
{
	struct tare_chan *ends[2];
	struct tare_task *task;
	CHECK(tare_chan_new(&ends[0], sizeof count, 0) == 0);
	CHECK(tare_chan_new(&ends[1], sizeof count, 0) == 0);
	CHECK(tare_spawn(&task, &(struct tare_task_options){.name = "an \"echo\"\n"}, echo, ends) == 0);
	for (uint64_t i = 0, back; i < count; i++) {
		CHECK(tare_chan_send(ends[0], &i) == 0);
		CHECK(tare_chan_recv(ends[1], &back) == 0 && back == i);
		if (meanwhile != NULL && i % 500 == 0)
			meanwhile();
	}
	tare_chan_close(ends[0]);
	CHECK(tare_join(task) == 0);
	tare_chan_free(ends[0]);
	tare_chan_free(ends[1]);
}

static int whole_main(void *arg)
{
	(void)arg;
	CHECK(read_trace().begins == 0);
	pass(10, NULL);
	CHECK(read_trace().begins == 0); // off
	CHECK(tare_trace_start() == 0);
	pass(100, NULL);
	struct seen seen = read_trace();
	CHECK(seen.begins >= 100 && seen.begins - seen.ends <= WORKERS && seen.ends <= seen.begins);
	CHECK(seen.chan);
	CHECK(seen.yield);
	CHECK(seen.done);
	tare_trace_stop();
	tare_yield(); // the run that was under way is written yet
	int before = read_trace().begins;
	pass(10, NULL);
	CHECK(read_trace().begins == before);
	CHECK(tare_trace_start() == 0); // goes on where it was
	pass(10, NULL);
	CHECK(read_trace().begins > before);
	return 0;
}

TEST(runs_begin_and_end_in_turn_and_say_why)
{
	run_in_task(WORKERS, whole_main);
}

static void read_meanwhile(void)
{
	CHECK(read_trace().begins > 0);
}

static int round_main(void *arg)
{
	(void)arg;
	CHECK(tare_trace_start() == 0);
	pass(SCALED(50000), NULL);
	CHECK(read_trace().begins > 0);
	pass(SCALED(10000), read_meanwhile);
	return 0;
}

TEST(a_trace_that_has_gone_round_still_nests)
{
	run_in_task(WORKERS, round_main);
}

static atomic_bool enough;

static int busy(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough))
		tare_yield();
	return 0;
}

static int beside_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[3];
	atomic_store(&enough, false);
	CHECK(tare_trace_start() == 0);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_spawn(&tasks[i], NULL, busy, NULL) == 0);
	for (int i = 0; i < 1 + SCALED(10); i++) {
		(void)read_trace();
		tare_yield();
	}
	atomic_store(&enough, true);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_join(tasks[i]) == 0);
	return 0;
}

TEST(a_trace_can_be_read_while_it_is_written)
{
	run_in_task(WORKERS, beside_main);
}

static int dump_main(void *arg)
{
	(void)arg;
	int ends[2];
	char text[4096];
	CHECK(pipe(ends) == 0);
	CHECK(tare_trace_dump(ends[1]) == 0);
	ssize_t n = read(ends[0], text, sizeof text);
	json_t *document = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	CHECK(json_is_array(json_object_get(document, "traceEvents")));
	json_decref(document);
	close(ends[0]);
	close(ends[1]);
	CHECK(tare_trace_dump(ends[1]) == -EBADF);
	return 0;
}

TEST(a_trace_can_be_written_to_a_descriptor)
{
	if (SIMULATED)
		skip();
	run_in_task(1, dump_main);
}
