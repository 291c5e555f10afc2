// SPDX-License-Identifier: MIT
//
// Goal: every knob is read from flag and environment, reported with its value, and refused where it can't be honoured.
// Method: argument lists into the one table; what it says of itself is read back with jansson. Standard error is the
// refusals' place: it is captured, and compared.
#include "test.h"

#include "cmd/svc/svc.h"

#include <tare/gc.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

enum { ARGS_MAX = 8 };

static struct svc_options options;
static char said[2048]; // on standard error by the last `read_options`

// Runs svc_options_parse over "svc" and the arguments up to NULL, with standard error going to `said`.
static int read_options(const char *const *args)
{
	static char *argv[ARGS_MAX + 2]; // the options point into it until the next call
	int argc = 1;
	argv[0] = (char *)"svc";
	for (int i = 1; i < ARGS_MAX + 2; i++) {
		free(argv[i]);
		argv[i] = NULL;
	}
	for (; args[argc - 1] != NULL; argc++) {
		assert_true(argc <= ARGS_MAX);
		argv[argc] = strdup(args[argc - 1]);
	}
	FILE *capture = tmpfile();
	assert_non_null(capture);
	int saved = dup(STDERR_FILENO);
	assert_true(saved >= 0 && dup2(fileno(capture), STDERR_FILENO) >= 0);
	svc_options_init(&options);
	int rc = svc_options_parse(&options, argc, argv);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	rewind(capture);
	said[fread(said, 1, sizeof said - 1, capture)] = '\0';
	fclose(capture);
	return rc;
}

#define READ(...) read_options((const char *const[]){__VA_ARGS__, NULL})

static void clear_environment(void)
{
	svc_options_init(&options);
	for (size_t i = 0; i < options.table_count; i++)
		if (options.table[i].env != NULL)
			unsetenv(options.table[i].env);
}

// ---- refusals -----------------------------------------------------------------------------------------------------

TEST(layouts_heaps_and_gogc_are_read_and_refused)
{
	static const struct {
		const char *arg, *text;
	} cases[] = {
	    {"--layout=array", "tare svc: --layout: 'array' is not allowed; give map, flat or offheap\n"},
	    {"--heap=boehm", "tare svc: --heap: 'boehm' is not allowed; give malloc or gc\n"},
	    {"--intern=yes", "tare svc: --intern: 'yes' is not allowed; give off or on\n"},
	    {"--gogc=fast", "tare svc: --gogc (GOGC counts): 'fast' is not a percentage; give 1 to 1000000, or off\n"},
	    {"--gogc=0", "tare svc: --gogc (GOGC counts): '0' is not a percentage; give 1 to 1000000, or off\n"},
	    {"--gogc=1000001",
	     "tare svc: --gogc (GOGC counts): '1000001' is not a percentage; give 1 to 1000000, or off\n"},
	    {"--gc-min-heap=8M", "tare svc: --gc-min-heap, --gc-max-heap, --gc-limiter and --gc-trace are the "
				 "collected heap's; add --heap=gc\n"},
	    {"--gc-max-heap=8M", "tare svc: --gc-min-heap, --gc-max-heap, --gc-limiter and --gc-trace are the "
				 "collected heap's; add --heap=gc\n"},
	    {"--gc-limiter=off", "tare svc: --gc-min-heap, --gc-max-heap, --gc-limiter and --gc-trace are the "
				 "collected heap's; add --heap=gc\n"},
	    {"--gc-trace", "tare svc: --gc-min-heap, --gc-max-heap, --gc-limiter and --gc-trace are the collected "
			   "heap's; add --heap=gc\n"},
	    {"--gc-max-heap=1000K", "tare svc: --gc-max-heap is too small for a heap; give at least 1M, or 0 for no "
				    "bound of your own\n"},
	};
	clear_environment();
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		assert_int_equal(READ("--index-size=1M", cases[i].arg), CMD_USAGE);
		assert_string_equal(said, cases[i].text);
	}
	assert_int_equal(READ("--index-size=1M"), -1);
	assert_int_equal(options.heap, SVC_HEAP_MALLOC);
	assert_int_equal(options.layout, TARE_LAYOUT_OFFHEAP);
	assert_int_equal(options.gc_percent, 100);
	assert_int_equal(
	    READ("--index-size=1M", "--heap=gc", "--layout=map", "--gogc=off", "--gc-min-heap=8M", "--gc-max-heap=1G"),
	    -1);
	assert_int_equal(options.heap, SVC_HEAP_GC);
	assert_int_equal(options.layout, TARE_LAYOUT_MAP);
	assert_int_equal(options.gc_percent, TARE_GC_OFF);
	assert_int_equal(options.gc_min_bytes, 8 << 20);
	assert_int_equal(options.gc_max_bytes, 1 << 30);
}

TEST(fixes_are_of_the_naive_path_and_named)
{
	static const struct {
		const char *list;
		unsigned fixes;
	} cases[] = {{"none", 0},
		     {"all", SVC_FIX_ALL},
		     {"copy", SVC_FIX_COPY},
		     {"base64,log", SVC_FIX_BASE64 | SVC_FIX_LOG},
		     {"text,tree,text", SVC_FIX_TEXT | SVC_FIX_TREE},
		     {"copy,base64,tree,text,log", SVC_FIX_ALL}};
	clear_environment();
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		assert_int_equal(READ("--index-size=1M", "--path=naive", "--naive-fix", cases[i].list), -1);
		assert_int_equal(options.fixes, cases[i].fixes);
	}
	static const char *const wrong[] = {"", "copy,", ",copy", "trees", "copy tree", "ALL", "copy,,tree"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(wrong); i++) {
		assert_int_equal(READ("--index-size=1M", "--path=naive", "--naive-fix", wrong[i]), CMD_USAGE);
		assert_non_null(strstr(said, "is nothing to mend; give some of copy,base64,tree,text,log"));
	}
	assert_int_equal(READ("--index-size=1M", "--naive-fix=copy"), CMD_USAGE);
	assert_string_equal(said,
			    "tare svc: --naive-fix (TARE_NAIVE_FIX counts) mends the naive path; add --path=naive\n");
	setenv("TARE_NAIVE_FIX", "tree", 1);
	assert_int_equal(READ("--index-size=1M", "--path=naive"), -1);
	assert_int_equal(options.fixes, SVC_FIX_TREE);
	clear_environment();
}

TEST(gogc_of_the_environment_counts)
{
	clear_environment();
	setenv("GOGC", "50", 1);
	assert_int_equal(READ("--index-size=1M"), -1);
	assert_int_equal(options.gc_percent, 50);
	assert_int_equal(READ("--index-size=1M", "--gogc=200"), -1);
	assert_int_equal(options.gc_percent, 200);
	setenv("GOGC", "off", 1);
	assert_int_equal(READ("--index-size=1M"), -1);
	assert_int_equal(options.gc_percent, TARE_GC_OFF);
	unsetenv("GOGC");
}

TEST(the_environment_is_refused_alike)
{
	clear_environment();
	setenv("TARE_POOL", "maybe", 1);
	assert_int_equal(READ("--index-size=1M"), CMD_USAGE);
	assert_non_null(strstr(said, "TARE_POOL"));
	clear_environment();
	setenv("TARE_IO", "nonsense", 1);
	assert_int_equal(READ("--index-size=1M"), CMD_USAGE);
	assert_string_equal(said,
			    "tare svc: TARE_IO in the environment: 'nonsense' is not allowed; give epoll or uring\n");
	clear_environment();
}

TEST(one_index_must_be_named)
{
	clear_environment();
	assert_int_equal(READ("--path=opt"), CMD_USAGE);
	assert_non_null(strstr(said, "--index FILE"));
	assert_int_equal(READ("--index=a", "--index-size=1M"), CMD_USAGE);
	assert_non_null(strstr(said, "both --index and --index-size"));
	assert_int_equal(READ("--index=a"), -1);
	assert_int_equal(READ("--index-size=1M"), -1);
	assert_int_equal(READ("--index-size=1"), CMD_USAGE);
	assert_ptr_equal(strstr(said, "tare svc: --index-size 1: too small;"), said);
}

TEST(values_out_of_bounds_are_refused)
{
	static const char *const cases[] = {
	    "--workers=127",       "--max-pipeline=0", "--max-head-bytes=100", "--idle-timeout=0",
	    "--max-connections=0", "--backlog=0",      "--max-answer-bytes=1", "--path=fast",
	    "--pool=maybe",        "--seed=-1",        "--no-such-knob=1"};
	clear_environment();
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		assert_int_equal(READ("--index-size=1M", cases[i]), CMD_USAGE);
		assert_true(said[0] != '\0' && strchr(said, '\n') == said + strlen(said) - 1);
	}
}

// ---- values -------------------------------------------------------------------------------------------------------

TEST(defaults_are_the_servers)
{
	clear_environment();
	assert_int_equal(READ("--index-size=1M"), -1);
	assert_int_equal(options.path, SVC_PATH_OPT);
	assert_false(options.port_fallback);
	struct tare_http_limits want, got;
	tare_http_limits_default(&want);
	svc_options_limits(&options, &got);
	assert_int_equal(got.head_bytes_max, want.head_bytes_max);
	assert_int_equal(got.headers_max, want.headers_max);
	assert_int_equal(got.target_bytes_max, want.target_bytes_max);
	assert_int_equal(got.body_bytes_max, want.body_bytes_max);
	assert_int_equal(got.answer_bytes_max, want.answer_bytes_max);
	assert_int_equal(got.pipeline_max, want.pipeline_max);
	assert_int_equal(got.connections_max, want.connections_max);
	assert_int_equal(got.connections_per_address_max, want.connections_per_address_max);
	assert_int_equal(got.head_timeout_ns, want.head_timeout_ns);
	assert_int_equal(got.body_timeout_ns, want.body_timeout_ns);
	assert_int_equal(got.idle_timeout_ns, want.idle_timeout_ns);
	assert_int_equal(got.write_timeout_ns, want.write_timeout_ns);
	assert_int_equal(got.drain_timeout_ns, want.drain_timeout_ns);
	// The table's own bounds allow the defaults.
	for (size_t i = 0; i < options.table_count; i++) {
		const struct cmd_option *option = &options.table[i];
		if (option->type != CMD_U64 && option->type != CMD_SIZE)
			continue;
		uint64_t value = *(const uint64_t *)option->value;
		assert_true((value >= option->min && (option->max == 0 || value <= option->max)) ||
			    option->value == &options.index_size);
	}
}

// Every limit lands in the field that its name says: each gets a number of its own.
TEST(each_limit_reaches_its_own_field)
{
	static const struct {
		const char *name, *value;
		size_t offset, bytes;
		uint64_t want;
	} cases[] = {
#define FIELD(field) offsetof(struct tare_http_limits, field), sizeof(((struct tare_http_limits *)NULL)->field)
	    {"--max-connections=", "201", FIELD(connections_max), 201},
	    {"--max-connections-per-address=", "202", FIELD(connections_per_address_max), 202},
	    {"--max-head-bytes=", "2K", FIELD(head_bytes_max), 2048},
	    {"--max-headers=", "103", FIELD(headers_max), 103},
	    {"--max-target-bytes=", "1K", FIELD(target_bytes_max), 1024},
	    {"--max-body-bytes=", "3K", FIELD(body_bytes_max), 3072},
	    {"--max-answer-bytes=", "4K", FIELD(answer_bytes_max), 4096},
	    {"--max-pipeline=", "204", FIELD(pipeline_max), 204},
	    {"--head-timeout=", "205ms", FIELD(head_timeout_ns), 205000000},
	    {"--body-timeout=", "206ms", FIELD(body_timeout_ns), 206000000},
	    {"--idle-timeout=", "207ms", FIELD(idle_timeout_ns), 207000000},
	    {"--write-timeout=", "208ms", FIELD(write_timeout_ns), 208000000},
	    {"--drain-timeout=", "209ms", FIELD(drain_timeout_ns), 209000000},
#undef FIELD
	};
	clear_environment();
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		char arg[64];
		snprintf(arg, sizeof arg, "%s%s", cases[i].name, cases[i].value);
		assert_int_equal(READ("--index-size=1M", arg), -1);
		struct tare_http_limits limits;
		svc_options_limits(&options, &limits);
		uint64_t got = 0; // little-endian: the low bytes come first
		memcpy(&got, (const char *)&limits + cases[i].offset, cases[i].bytes);
		assert_int_equal(got, cases[i].want);
	}
}

// ---- reports ------------------------------------------------------------------------------------------------------

static char reported[8192];
static size_t reported_len;

static int report_write(void *arg, const char *ptr, size_t len)
{
	(void)arg;
	if (len >= sizeof reported - reported_len)
		return -E2BIG;
	memcpy(reported + reported_len, ptr, len);
	reported_len += len;
	reported[reported_len] = '\0';
	return 0;
}

static json_t *report_knobs(void)
{
	struct tare_text text = {report_write, NULL, 0};
	reported_len = 0;
	svc_knobs_write_json(&options, &text);
	assert_int_equal(text.rc, 0);
	json_error_t error;
	json_t *knobs = json_loads(reported, JSON_REJECT_DUPLICATES, &error);
	if (knobs == NULL)
		fail_msg("%s in %s", error.text, reported);
	return knobs;
}

TEST(every_knob_is_reported_as_json)
{
	clear_environment();
	assert_int_equal(READ("--index=a \"file\"\\\t", "--path=naive", "--head-timeout=250ms", "--max-body-bytes=2M"),
			 -1);
	json_t *knobs = report_knobs();
	assert_int_equal(json_object_size(knobs), options.knob_count);
	for (size_t i = 0; i < options.knob_count; i++)
		assert_non_null(json_object_get(knobs, options.table[i].name));
	assert_null(json_object_get(knobs, "trace-one"));
	assert_string_equal(json_string_value(json_object_get(knobs, "index")), "a \"file\"\\\t");
	assert_string_equal(json_string_value(json_object_get(knobs, "path")), "naive");
	assert_string_equal(json_string_value(json_object_get(knobs, "pool")), "on");
	assert_true(json_real_value(json_object_get(knobs, "head-timeout")) == 0.25);
	assert_int_equal(json_integer_value(json_object_get(knobs, "max-body-bytes")), 2 << 20);
	assert_true(json_is_false(json_object_get(knobs, "port-fallback")));
	json_decref(knobs);
	assert_int_equal(READ("--index-size=1M"), -1);
	knobs = report_knobs();
	assert_true(json_is_null(json_object_get(knobs, "index")));
	json_decref(knobs);
}

TEST(every_knob_is_a_label)
{
	char labels[4096];
	clear_environment();
	assert_int_equal(READ("--index=a \"b\" \\c", "--max-headers=77", "--port-fallback"), -1);
	assert_int_equal(svc_knobs_write_labels(&options, labels, sizeof labels), 0);
	assert_ptr_equal(strstr(labels, "version=\"" TARE_VERSION "\",listen=\"127.0.0.1:8080\","), labels);
	assert_non_null(strstr(labels, ",index=\"a \\\"b\\\" \\\\c\","));
	assert_non_null(strstr(labels, ",path=\"opt\",naive_fix=\"none\",pool=\"on\",heap=\"malloc\",layout="
				       "\"offheap\",intern=\"on\",gogc=\"100\","));
	assert_non_null(strstr(labels, ",max_headers=\"77\","));
	assert_non_null(strstr(labels, ",port_fallback=\"true\","));
	assert_null(strstr(labels, "null"));
	assert_null(strstr(labels, "trace_one"));
	// A buffer that is too small is an error, never a cut label.
	char small[64];
	assert_int_equal(svc_knobs_write_labels(&options, small, sizeof small), -E2BIG);
	assert_int_equal(READ("--index-size=1M"), -1);
	assert_int_equal(svc_knobs_write_labels(&options, labels, sizeof labels), 0);
	assert_non_null(strstr(labels, ",index=\"\","));
}
