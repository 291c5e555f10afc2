// SPDX-License-Identifier: MIT
// The rows of a program, and what it answers to `tare npa`, a JSON object a line on standard output:
//
//   list                                     its rows
//   time ROUNDS CALLS COLDS LIMIT_NS NAME…   the machine; then what each of these rows takes; then the noise
//   count NAME…                              runs rows between marks and answers nothing: who counts, watches from
//                                            outside
//   once NAME N                              runs N operations, for whatever tool one likes
//
// What is wrong is a line {"error":…} and exit code 1: `tare npa` tells it to a person.
//
// A mark is a call of measure_mark, whose system call fails and does nothing: Callgrind sees the function, a tracer the
// call. Each row has 1 + 4 * NPA_REPEATS of them: warm-up, mark; then, so often, N operations, mark, 2N, mark, and both
// of the twin.
//
// Threads: one. Rejected: a section of the linker's for the rows (a linker that drops what nobody refers to drops it),
// rows as a shared library that `tare` loads (libtare.a's code is not position independent as such a library needs it,
// and rows that crash would take the report with them).
#include "measure/npa_int.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { NPA_REPEATS = 3, COUNT_DEFAULT = 256, FLOOR_TRIES = 3, FLOOR_EVERY = 4, FLOORS_MAX = 512, MARK = 0x4e504100 };

static struct tare_npa_row *rows; // by file and line

// ---- rows ---------------------------------------------------------------------------------------------------------

static int compare_rows(const struct tare_npa_row *a, const struct tare_npa_row *b)
{
	int files = strcmp(a->file, b->file);
	return files != 0 ? files : a->line - b->line;
}

void tare_npa_register(struct tare_npa_row *row)
{
	struct tare_npa_row **at = &rows;
	while (*at != NULL && compare_rows(*at, row) <= 0)
		at = &(*at)->next;
	row->next = *at;
	*at = row;
}

static struct tare_npa_row *find(const char *name)
{
	struct tare_npa_row *row = rows;
	while (row != NULL && strcmp(row->name, name) != 0)
		row = row->next;
	return row;
}

// Whether body and twin are the same instructions: then the compiler has left the operation out. They are alike up to
// and with the return; code that does something differs from a loop around nothing well before.
static bool body_is_twin(const struct tare_npa_row *row)
{
	enum { CODE_MAX = 256 };
	const unsigned char *body, *twin;
	memcpy(&body, &row->body, sizeof body);
	memcpy(&twin, &row->twin, sizeof twin);
	for (size_t i = 0; i < CODE_MAX && body[i] == twin[i]; i++) {
#if defined(__aarch64__)
		static const unsigned char ret[] = {0xc0, 0x03, 0x5f, 0xd6};
		if (i % 4 == 3 && memcmp(body + i - 3, ret, sizeof ret) == 0)
			return true;
#else
		if (body[i] == 0xc3)
			return true;
#endif
	}
	return false;
}

static unsigned per(const struct tare_npa_row *row)
{
	return row->per != 0 ? row->per : 1;
}

static uint64_t count_of(const struct tare_npa_row *row)
{
	return row->count != 0 ? row->count : COUNT_DEFAULT;
}

// ---- answers ------------------------------------------------------------------------------------------------------

struct answers {
	char buf[1 << 16];
	size_t len;
};

static int flush(struct answers *a)
{
	for (size_t at = 0; at < a->len;) {
		ssize_t n = write(STDOUT_FILENO, a->buf + at, a->len - at);
		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	a->len = 0;
	return 0;
}

static int append(void *arg, const char *ptr, size_t len)
{
	struct answers *a = arg;
	while (len > 0) {
		size_t n = TARE_MIN(len, sizeof a->buf - a->len);
		memcpy(a->buf + a->len, ptr, n);
		a->len += n;
		ptr += n;
		len -= n;
		int rc = a->len == sizeof a->buf ? flush(a) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct answers answers;
static struct tare_text out = {append, &answers, 0};

// Ends a line; false when nobody reads any more.
static bool line(void)
{
	tare_text_put(&out, "}\n", 2);
	if (out.rc == 0)
		out.rc = flush(&answers);
	return out.rc == 0;
}

static int fail(const char *what, const char *name)
{
	tare_text_printf(&out, "{\"error\":");
	struct tare_error err;
	(void)tare_error_set(&err, 0, "%s%s", what, name);
	measure_json_string(&out, err.text);
	(void)line();
	return 1;
}

// A figure, or null where there is none.
static void number(const char *name, double value)
{
	if (value == NPA_NONE || !isfinite(value))
		tare_text_printf(&out, ",\"%s\":null", name);
	else
		tare_text_printf(&out, ",\"%s\":%.4f", name, value);
}

static void text(const char *name, const char *value)
{
	tare_text_printf(&out, ",\"%s\":", name);
	measure_json_string(&out, value);
}

// ---- list ---------------------------------------------------------------------------------------------------------

// What is wrong with the rows that the compiler could not see; 0 or an exit code.
static int check_rows(void)
{
	for (struct tare_npa_row *row = rows; row != NULL; row = row->next) {
		if (find(row->name) != row)
			return fail("two rows have one name: ", row->name);
		if (!(row->budget_ns > 0))
			return fail("a row's budget is not above 0 ns: ", row->name);
	}
	return 0;
}

static void write_row(const struct tare_npa_row *row)
{
	const char *file = strrchr(row->file, '/');
	file = file != NULL ? file + 1 : row->file;
	char group[64];
	size_t len = TARE_MIN(strcspn(file, "."), sizeof group - 1);
	memcpy(group, file, len);
	group[len] = '\0';
	tare_text_printf(&out, "{\"row\":\"%s\",\"line\":%d,\"per\":%u,\"count\":%" PRIu64, row->name, row->line,
			 per(row), count_of(row));
	text("why", row->why);
	text("group", row->group != NULL ? row->group : group);
	text("file", file);
	text("compiler", row->compiler);
	text("libc", gnu_get_libc_version());
#if defined(__x86_64__)
	text("arch", "x86_64");
#else
	text("arch", "aarch64");
#endif
	number("budget", row->budget_ns);
	tare_text_printf(&out, ",\"not_counted\":%s,\"hidden\":%s,\"empty\":%s", row->not_counted ? "true" : "false",
			 row->hidden ? "true" : "false", body_is_twin(row) ? "true" : "false");
}

static int list(void)
{
	for (struct tare_npa_row *row = rows; row != NULL; row = row->next) {
		write_row(row);
		if (!line())
			return 1;
	}
	return 0;
}

// ---- time ---------------------------------------------------------------------------------------------------------

static struct noise {
	double floor_ns; // the largest mean of an operation that is nothing
	double works[FLOORS_MAX];
	size_t count;
} noise;

// Asks the same work again, over the whole run: what it says now and what it said before differ by the machine's moods.
static void look_at_noise(const struct npa_effort *effort)
{
	struct npa_times times;
	if (noise.count == FLOORS_MAX)
		return;
	measure_mean(&measure_work_row, effort, &times);
	noise.works[noise.count++] = times.mean;
	measure_mean(&measure_empty_row, effort, &times);
	noise.floor_ns = fmax(noise.floor_ns, fabs(times.mean));
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void write_noise(void)
{
	qsort(noise.works, noise.count, sizeof noise.works[0], compare_doubles);
	double low = noise.works[0], middle = noise.works[noise.count / 2], high = noise.works[noise.count - 1];
	tare_text_printf(&out, "{\"noise\":%zu", noise.count);
	number("floor", noise.floor_ns);
	number("work", middle);
	number("share", fmax(high - middle, middle - low) / middle);
	(void)line();
}

static void write_times(const struct tare_npa_row *row, const struct npa_times *t)
{
	static const char *const colds[] = {"cold_data", "cold_code", "cold_branch", "cold"};
	double k = per(row);
	tare_text_printf(&out, "{\"row\":\"%s\",\"batch\":%" PRIu64 ",\"rounds\":%u,\"calls\":%u", row->name, t->batch,
			 t->rounds, t->calls);
	number("mean", t->mean / k);
	number("low", t->low / k);
	number("high", t->high / k);
	number("p50", t->calls > 0 ? t->p50 / k : NPA_NONE);
	number("p99", t->calls > 0 ? t->p99 / k : NPA_NONE);
	number("batch_p99", t->calls > 0 ? t->batch_p99 / k : NPA_NONE);
	number("timer", t->timer);
	number("jitter", t->jitter);
	// What is told of single calls: whether they can be told from the timer's own ups and downs.
	tare_text_printf(&out, ",\"resolved\":%s", t->calls > 0 && t->p50 >= 3 * t->jitter ? "true" : "false");
	for (enum npa_cold kind = 0; kind < NPA_COLDS; kind++)
		number(colds[kind], t->cold[kind] == NPA_NONE ? NPA_NONE : t->cold[kind] / k);
	(void)line();
}

struct job {
	const struct tare_npa_row *row;
	const struct npa_effort *effort;
	struct npa_times times;
};

static void time_job(void *arg)
{
	struct job *job = arg;
	measure_row(job->row, job->effort, &job->times);
}

// The row where it wants to run.
static void run_row(struct tare_npa_row *row, void (*fn)(void *arg), void *arg)
{
	if (row->prepare != NULL)
		row->prepare();
	if (row->within != NULL)
		row->within(fn, arg);
	else
		fn(arg);
	if (row->finish != NULL)
		row->finish();
}

static bool pin(void)
{
	cpu_set_t one;
	int cpu = sched_getcpu();
	if (cpu < 0)
		return false;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	return sched_setaffinity(0, sizeof one, &one) == 0;
}

static int time_rows(char **numbers, int count, char **names)
{
	uint64_t values[4];
	for (int i = 0; i < 4; i++)
		if (tare_parse_u64((struct tare_str){numbers[i], strlen(numbers[i])}, &values[i]) < 0)
			return fail("not a number: ", numbers[i]);
	struct npa_effort effort = {(unsigned)values[0], (unsigned)values[1], (unsigned)values[2], (int64_t)values[3]};
	if (measure_cold_init() < 0)
		return fail("out of memory for what is walked over to evict data", "");
	tare_text_printf(&out, "{\"machine\":true,");
	measure_machine_write(&out); // before the pinning: it tells the CPUs allowed
	tare_text_printf(&out, ",\"pinned\":%s", pin() ? "true" : "false");
	struct npa_times empty;
	measure_row(&measure_empty_row, &effort, &empty);
	number("timer_p50", empty.timer);
	number("timer_p99", empty.calls > 0 ? empty.timer + empty.jitter : NPA_NONE);
	if (!line())
		return 1;
	for (int i = 0; i < FLOOR_TRIES; i++)
		look_at_noise(&effort);
	for (int i = 0; i < count; i++) {
		struct tare_npa_row *row = find(names[i]);
		if (row == NULL)
			return fail("there is no row: ", names[i]);
		struct job job = {.row = row, .effort = &effort};
		run_row(row, time_job, &job);
		write_times(row, &job.times);
		if (out.rc < 0)
			return 1;
		if (i % FLOOR_EVERY == 0)
			look_at_noise(&effort);
	}
	write_noise();
	return out.rc < 0;
}

// ---- count --------------------------------------------------------------------------------------------------------

void measure_mark(void);

TARE_NOIPA void measure_mark(void)
{
	(void)prctl(MARK, 0, 0, 0, 0); // -EINVAL
}

// N and 2N operations of body and twin, a mark behind each.
static void count_job(void *arg)
{
	const struct tare_npa_row *row = arg;
	uint64_t n = count_of(row);
	row->body(0, n); // what is made at the first call is made now
	row->twin(0, n);
	measure_mark();
	// One loop, so that the same few instructions stand around each batch.
	for (int i = 0; i < 4 * NPA_REPEATS; i++) {
		void (*fn)(uint64_t first, uint64_t n) = i % 4 < 2 ? row->body : row->twin;
		fn(0, i % 2 == 0 ? n : 2 * n);
		measure_mark();
	}
}

static int count_rows(int count, char **names)
{
	(void)prctl(PR_GET_DUMPABLE, 0, 0, 0, 0); // so that the first mark does not look the function up
	for (int i = 0; i < count; i++) {
		struct tare_npa_row *row = find(names[i]);
		if (row == NULL)
			return fail("there is no row: ", names[i]);
		run_row(row, count_job, row);
	}
	return 0;
}

struct once {
	const struct tare_npa_row *row;
	uint64_t n;
};

static void once_job(void *arg)
{
	struct once *once = arg;
	once->row->body(0, once->n);
}

static int run_once(const char *name, const char *n)
{
	struct tare_npa_row *row = find(name);
	struct once once = {.row = row};
	if (row == NULL)
		return fail("there is no row: ", name);
	if (tare_parse_u64((struct tare_str){n, strlen(n)}, &once.n) < 0)
		return fail("not a number: ", n);
	run_row(row, once_job, &once);
	return 0;
}

// ---- main ---------------------------------------------------------------------------------------------------------

int tare_npa_main(int argc, char **argv)
{
	int rc = check_rows();
	if (rc != 0)
		return rc;
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "list") == 0 && argc == 2)
		return list();
	if (strcmp(what, "time") == 0 && argc >= 6)
		return time_rows(argv + 2, argc - 6, argv + 6);
	if (strcmp(what, "count") == 0)
		return count_rows(argc - 2, argv + 2);
	if (strcmp(what, "once") == 0 && argc == 4)
		return run_once(argv[2], argv[3]);
	return fail("this program holds rows; measure them with: tare npa ", argv[0]);
}
