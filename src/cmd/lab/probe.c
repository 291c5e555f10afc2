// SPDX-License-Identifier: MIT
// The table of probes, their arguments, and what they share. See probe.h.
#include "cmd/lab/probe.h"

#include <tare/gc.h>
#include <tare/rt.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { NAME_BYTES = 96, REPETITIONS = 5, COLLECTIONS_MAX = 32 };

const struct lab_probe *const lab_probes[] = {
    &lab_probe_boxing,       &lab_probe_container, &lab_probe_generations, &lab_probe_layouts,
    &lab_probe_limit_spiral, &lab_probe_pacer,     &lab_probe_packing,     &lab_probe_pool_footguns,
    &lab_probe_pool_sizes,   &lab_probe_regions,   &lab_probe_release,
};
const size_t lab_probe_count = TARE_ARRAY_LEN(lab_probes);

const struct lab_probe *lab_probe_find(const char *name)
{
	for (size_t i = 0; i < lab_probe_count; i++)
		if (strcmp(lab_probes[i]->name, name) == 0)
			return lab_probes[i];
	return NULL;
}

const struct lab_probe_axes *lab_probe_axes(const char *probe_name, const char *series)
{
	const struct lab_probe *probe = lab_probe_find(probe_name);
	for (size_t i = 0; probe != NULL && i < LAB_PROBE_AXES_MAX && probe->axes[i].series != NULL; i++)
		if (strncmp(series, probe->axes[i].series, strlen(probe->axes[i].series)) == 0)
			return &probe->axes[i];
	return NULL;
}

// ---- arguments ----------------------------------------------------------------------------------------------------

static size_t key_count(const struct lab_probe *probe)
{
	size_t count = 0;
	while (count < LAB_PROBE_KEYS_MAX && probe->keys[count].name != NULL)
		count++;
	return count;
}

static void format_value(char *out, size_t cap, const struct lab_probe_key *key, uint64_t value)
{
	static const char units[] = "\0KMG";
	unsigned unit = 0;
	for (; key->size && unit < 3 && value != 0 && value % 1024 == 0; unit++)
		value /= 1024;
	snprintf(out, cap, "%" PRIu64 "%.1s", value, &units[unit]);
}

static int read_value(const struct lab_probe_key *key, const char *text, uint64_t *ret, struct tare_error *err)
{
	char least[32], most[32];
	uint64_t value = 0;
	int rc =
	    key->size ? tare_parse_size(text, &value) : tare_parse_u64((struct tare_str){text, strlen(text)}, &value);
	format_value(least, sizeof least, key, key->min);
	format_value(most, sizeof most, key, key->max);
	if (rc < 0 || value < key->min || value > key->max)
		return tare_error_set(err, -EINVAL, "%s=%.40s is not allowed; give a %s from %s to %s", key->name, text,
				      key->size ? "size" : "number", least, most);
	*ret = value;
	return 0;
}

// "live, cycles or quick"
static void format_names(const struct lab_probe *probe, char *out, size_t cap)
{
	size_t len = 0, count = key_count(probe);
	out[0] = '\0';
	for (size_t i = 0; i < count && len < cap; i++) {
		int n = snprintf(out + len, cap - len, "%s%s", probe->keys[i].name, i + 1 < count ? ", " : " or ");
		len += n < 0 ? 0 : (size_t)n;
	}
	if (len < cap)
		snprintf(out + len, cap - len, "quick");
}

// quick is looked for first, so that its place among the others does not matter.
static int read_quick(struct lab_probe_args *args, const char *const *texts, size_t count, struct tare_error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (strncmp(texts[i], "quick=", 6) != 0)
			continue;
		if (strcmp(texts[i] + 6, "0") != 0 && strcmp(texts[i] + 6, "1") != 0)
			return tare_error_set(err, -EINVAL, "%.40s is not allowed; give quick=0 or quick=1", texts[i]);
		args->quick = texts[i][6] == '1';
	}
	return 0;
}

int lab_probe_args_read(struct lab_probe_args *ret, const struct lab_probe *probe, const char *const *texts,
			size_t count, struct tare_error *err)
{
	struct lab_probe_args args = {.probe = probe};
	size_t keys = key_count(probe);
	int rc = read_quick(&args, texts, count, err);
	if (rc < 0)
		return rc;
	for (size_t k = 0; k < keys; k++)
		args.values[k] = args.quick ? probe->keys[k].quick : probe->keys[k].value;
	for (size_t i = 0; i < count; i++) {
		const char *equals = strchr(texts[i], '=');
		size_t len = equals != NULL ? (size_t)(equals - texts[i]) : strlen(texts[i]), k = 0;
		char names[128];
		if (equals != NULL && len == 5 && memcmp(texts[i], "quick", 5) == 0)
			continue;
		while (k < keys &&
		       (strlen(probe->keys[k].name) != len || memcmp(probe->keys[k].name, texts[i], len) != 0))
			k++;
		format_names(probe, names, sizeof names);
		if (equals == NULL || k == keys)
			return tare_error_set(err, -EINVAL, "'%.40s' is unknown; give KEY=VALUE, where KEY is %s",
					      texts[i], names);
		rc = read_value(&probe->keys[k], equals + 1, &args.values[k], err);
		if (rc < 0)
			return rc;
	}
	*ret = args;
	return 0;
}

uint64_t lab_probe_value(const struct lab_probe_args *args, const char *key)
{
	size_t k = 0;
	while (k < key_count(args->probe) && strcmp(args->probe->keys[k].name, key) != 0)
		k++;
	TARE_ASSERT(k < key_count(args->probe));
	return args->values[k];
}

// ---- results ------------------------------------------------------------------------------------------------------

// jansson takes the value, also where it has no memory; then a figure is missing, which who reads it will say.
void lab_probe_figure(json_t *out, double value, const char *name, ...)
{
	char text[NAME_BYTES];
	va_list args;
	va_start(args, name);
	vsnprintf(text, sizeof text, name, args);
	va_end(args);
	(void)json_object_set_new(json_object_get(out, "figures"), text, json_real(value));
}

void lab_probe_text(json_t *out, const char *name, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	(void)json_object_set_new(json_object_get(out, "texts"), name, json_string(text));
}

void lab_probe_point(json_t *out, const char *series, double x, double y)
{
	json_t *all = json_object_get(out, "series"), *points = json_object_get(all, series);
	if (points == NULL) {
		(void)json_object_set_new(all, series, json_array());
		points = json_object_get(all, series);
	}
	(void)json_array_append_new(points, json_pack("[ff]", x, y));
}

// ---- measuring ----------------------------------------------------------------------------------------------------

int lab_probe_in_task(int workers, int (*fn)(void *arg), void *arg, struct tare_error *err)
{
	int result = 0;
	const struct tare_rt_options options = {.workers = workers, .watchdog_ns = -1, .seed = 1};
	int rc = tare_run(&options, fn, arg, &result, err);
	return rc < 0 ? rc : result;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double lab_probe_median(double *values, size_t count)
{
	qsort(values, count, sizeof values[0], compare_doubles);
	return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int64_t lab_probe_cpu_ns(void)
{
	struct timespec used = {0};
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used); // there is no process without this clock
	return used.tv_sec * TARE_NS_PER_S + used.tv_nsec;
}

double lab_probe_time(void (*work)(void *arg, uint64_t n), void *arg, int64_t repetition_ns)
{
	double each[REPETITIONS];
	uint64_t n = 16;
	for (;; n *= 2) {
		int64_t began_ns = lab_probe_cpu_ns();
		work(arg, n);
		if (lab_probe_cpu_ns() - began_ns >= repetition_ns)
			break;
	}
	for (int i = 0; i < REPETITIONS; i++) {
		int64_t began_ns = lab_probe_cpu_ns();
		work(arg, n);
		each[i] = (double)(lab_probe_cpu_ns() - began_ns) / (double)n;
	}
	return lab_probe_median(each, REPETITIONS);
}

pid_t lab_probe_fork(void)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent) // it ended before that
			_exit(127);
	}
	return pid;
}

double lab_probe_resident(void)
{
	char buf[128];
	uint64_t pages = 0;
	if (tare_proc_read("/proc/self/statm", buf, sizeof buf) < 0 || sscanf(buf, "%*u %" SCNu64, &pages) != 1)
		return NAN;
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

double lab_probe_gc_seconds(const struct tare_gc_stats *stats)
{
	return (double)(stats->background_ns + stats->assist_ns + stats->idle_ns + stats->sweep_ns + stats->pause_ns) /
	       1e9;
}

double lab_probe_mark_ns(int collections)
{
	double each[COLLECTIONS_MAX];
	struct tare_gc_stats stats;
	TARE_ASSERT(collections >= 1 && collections <= COLLECTIONS_MAX);
	for (int i = 0; i < collections; i++) {
		tare_gc_collect();
		tare_gc_stats_read(&stats);
		each[i] = (double)stats.mark_ns;
	}
	return lab_probe_median(each, (size_t)collections);
}

static const uint32_t node_pointers[] = {offsetof(struct lab_probe_node, left), offsetof(struct lab_probe_node, right)};
struct tare_gc_type lab_probe_node_type = TARE_GC_TYPE(struct lab_probe_node, node_pointers);

struct lab_probe_node *lab_probe_grow(uint64_t nodes)
{
	struct lab_probe_node *node = nodes > 0 ? tare_gc_new(&lab_probe_node_type) : NULL;
	if (node == NULL)
		return NULL;
	tare_gc_store(&node->left, lab_probe_grow((nodes - 1) / 2));
	tare_gc_store(&node->right, lab_probe_grow(nodes - 1 - (nodes - 1) / 2));
	return node;
}

// ---- running ------------------------------------------------------------------------------------------------------

int lab_probe_run(const struct lab_probe_args *args, json_t **ret_out, struct tare_error *err)
{
	json_t *out = json_pack("{s:s, s:{}, s:{}, s:{}}", "probe", args->probe->name, "figures", "series", "texts");
	if (out == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory");
	lab_probe_text(out, "build", "%s", TARE_MODE);
	int rc = args->probe->run(args, out, err);
	if (rc < 0)
		json_decref(out);
	else
		*ret_out = out;
	return rc < 0 ? rc : 0;
}

static int list_probes(void)
{
	printf("usage: tare lab --probe NAME [KEY=VALUE]...\n\nEach takes quick=1 too: little work, to see that it "
	       "runs.\n");
	for (size_t i = 0; i < lab_probe_count; i++) {
		const struct lab_probe *probe = lab_probes[i];
		printf("\n  %-14s %s\n", probe->name, probe->about);
		for (size_t k = 0; k < key_count(probe); k++) {
			char value[32];
			format_value(value, sizeof value, &probe->keys[k], probe->keys[k].value);
			printf("    %s=%s  %s\n", probe->keys[k].name, value, probe->keys[k].help);
		}
	}
	return fflush(stdout) == 0 ? CMD_OK : cmd_fail("lab", "standard output: %s", strerror(errno));
}

int lab_probe_main(const char *name, const char *const *texts, size_t count)
{
	struct lab_probe_args args;
	struct tare_error err = {""};
	json_t *out = NULL;
	if (strcmp(name, "help") == 0)
		return list_probes();
	const struct lab_probe *probe = lab_probe_find(name);
	if (probe == NULL) {
		(void)cmd_fail("lab", "--probe: there is no '%.40s'; 'tare lab --probe help' lists them", name);
		return CMD_USAGE;
	}
	if (lab_probe_args_read(&args, probe, texts, count, &err) < 0) {
		(void)cmd_fail("lab", "--probe %s: %s", name, err.text);
		return CMD_USAGE;
	}
	int rc = lab_probe_run(&args, &out, &err);
	if (rc < 0)
		return cmd_fail("lab", "--probe %s: %s", name, err.text[0] != '\0' ? err.text : strerror(-rc));
	rc = json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(out);
	if (rc < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		return cmd_fail("lab", "standard output: %s", strerror(errno));
	return CMD_OK;
}
