// SPDX-License-Identifier: MIT
// GET /lookup?key=N&fmt=json|bin: the query, and one handler a path.
//
// The query is read in place: its slices point into the read buffer. What is wrong is answered with a problem that says
// what, and what to do. A parameter that is not known is refused too: `format=bin` must not be answered with JSON.
// Both paths read the query, find the record and refuse in the same way; they differ in how the document is made.
// Threads: any worker. A record of the collected heap is held by this task's stack, until the handler returns.
#include "cmd/svc/svc.h"

#include <errno.h>
#include <inttypes.h>

// ---- the query ----------------------------------------------------------------------------------------------------

enum { KEY_DIGITS_MAX = 20, ECHO_MAX = 40 };

// A part of what the client sent, short and printable, for an error's text.
struct echo {
	char text[ECHO_MAX + 4];
};

static const char *echo(struct echo *out, struct tare_str s)
{
	size_t len = TARE_MIN(s.len, (size_t)ECHO_MAX);
	for (size_t i = 0; i < len; i++)
		out->text[i] = s.ptr[i] >= ' ' && s.ptr[i] <= '~' ? s.ptr[i] : '?';
	memcpy(out->text + len, "...", 4);
	if (len == s.len)
		out->text[len] = '\0';
	return out->text;
}

int svc_key_parse(struct tare_str value, uint64_t *ret_key, struct tare_error *err)
{
	struct echo shown;
	if (value.len == 0)
		return tare_error_set(err, -EINVAL, "key is empty; give a decimal number, as in key=42");
	int rc = value.len > KEY_DIGITS_MAX ? -ERANGE : tare_parse_u64(value, ret_key);
	// What is not a number is called that, however long it is.
	for (size_t i = 0; i < value.len && rc == -ERANGE; i++)
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			rc = -EINVAL;
	if (rc == -ERANGE)
		return tare_error_set(err, -EINVAL, "key '%s' is too large; give a number of at most %" PRIu64,
				      echo(&shown, value), UINT64_MAX);
	if (rc < 0)
		return tare_error_set(err, -EINVAL, "key '%s' is not a decimal number; give digits only, as in key=42",
				      echo(&shown, value));
	return 0;
}

static int format_parse(struct tare_str value, enum svc_format *ret_format, struct tare_error *err)
{
	struct echo shown;
	if (tare_str_eq(value, TARE_STR("json")))
		*ret_format = SVC_JSON;
	else if (tare_str_eq(value, TARE_STR("bin")))
		*ret_format = SVC_BIN;
	else
		return tare_error_set(err, -EINVAL, "fmt '%s' is unknown; give fmt=json or fmt=bin",
				      echo(&shown, value));
	return 0;
}

// Takes the parameter before the next '&' off the query.
static struct tare_str parameter_next(struct tare_str *query, struct tare_str *ret_value)
{
	const char *end = memchr(query->ptr, '&', query->len);
	struct tare_str name = {query->ptr, end != NULL ? (size_t)(end - query->ptr) : query->len};
	size_t used = name.len + (end != NULL);
	query->ptr += used;
	query->len -= used;
	const char *equals = memchr(name.ptr, '=', name.len);
	*ret_value = (struct tare_str){"", 0};
	if (equals != NULL) {
		size_t name_len = (size_t)(equals - name.ptr);
		*ret_value = (struct tare_str){equals + 1, name.len - name_len - 1};
		name.len = name_len;
	}
	return name;
}

int svc_query_parse(struct tare_str query, struct svc_query *ret, struct tare_error *err)
{
	struct svc_query parsed = {.format = SVC_JSON};
	bool has_key = false, has_format = false;
	struct echo shown;
	while (query.len > 0) {
		struct tare_str value, name = parameter_next(&query, &value);
		bool *seen = tare_str_eq(name, TARE_STR("key"))   ? &has_key
			     : tare_str_eq(name, TARE_STR("fmt")) ? &has_format
								  : NULL;
		if (seen == NULL)
			return tare_error_set(err, -EINVAL,
					      "parameter '%s' is unknown; give key=N and, if you like, "
					      "fmt=json or fmt=bin",
					      echo(&shown, name));
		if (*seen)
			return tare_error_set(err, -EINVAL, "parameter '%s' is given twice; give it once",
					      echo(&shown, name));
		*seen = true;
		int rc = seen == &has_key ? svc_key_parse(value, &parsed.key, err)
					  : format_parse(value, &parsed.format, err);
		if (rc < 0)
			return rc;
	}
	if (!has_key)
		return tare_error_set(err, -EINVAL, "key is missing; ask for /lookup?key=N");
	*ret = parsed;
	return 0;
}

// ---- the handlers -------------------------------------------------------------------------------------------------

static const char *const content_types[] = {
    [SVC_JSON] = "application/json",
    [SVC_BIN] = "application/octet-stream",
};

void svc_key_problem(const struct svc *svc, struct tare_http_exchange *x, uint64_t key)
{
	tare_http_problem(x, 404, "key %" PRIu64 " is not in the index; its keys run from %" PRIu64 " to %" PRIu64, key,
			  svc->index_stats.key_min, svc->index_stats.key_max);
}

// False: the exchange was answered with a problem.
static bool find(struct svc *svc, struct tare_http_exchange *x, struct svc_query *query, struct tare_record_view *view)
{
	struct tare_error err;
	if (svc_query_parse(tare_http_query(x), query, &err) < 0) {
		tare_counter_add(&svc->refused, 1);
		tare_http_problem(x, 400, "%s", err.text);
		return false;
	}
	if (!tare_records_find(svc->records, query->key, view)) {
		tare_counter_add(&svc->misses, 1);
		svc_key_problem(svc, x, query->key);
		return false;
	}
	tare_counter_add(&svc->hits, 1);
	// The payload is copied last: it comes from memory while the head and the numbers are written.
	__builtin_prefetch(view->payload.ptr);
	__builtin_prefetch(view->payload.ptr + view->payload.len);
	return true;
}

void svc_lookup_opt(struct tare_http_exchange *x, void *arg)
{
	struct svc_query query;
	struct tare_record_view view;
	if (!find(arg, x, &query, &view))
		return;
	tare_http_start(x, 200, content_types[query.format]);
	size_t bytes_max = query.format == SVC_JSON ? svc_json_bytes_max(&view) : svc_bin_bytes(&view);
	char *out = tare_http_reserve(x, bytes_max);
	if (out == NULL)
		return;
	size_t len = bytes_max;
	if (query.format == SVC_JSON)
		len = svc_json_write(out, &view);
	else
		svc_bin_write(out, &view);
	TARE_DEBUG_ASSERT(len <= bytes_max);
	tare_http_commit(x, len);
}

// A document's way into the exchange.
struct answer {
	struct tare_http_exchange *x;
	enum svc_format format;
	bool started;
	size_t bytes;
};

static char *answer_reserve(void *arg, size_t bytes)
{
	struct answer *answer = arg;
	answer->started = true;
	tare_http_start(answer->x, 200, content_types[answer->format]);
	return tare_http_reserve(answer->x, bytes);
}

static void answer_commit(void *arg, size_t bytes)
{
	struct answer *answer = arg;
	answer->bytes = bytes;
	tare_http_commit(answer->x, bytes);
}

// 200, or how the answer was refused.
static unsigned naive_status(struct answer *answer, const struct svc *svc, int rc)
{
	if (rc == 0)
		return 200;
	if (rc == -ERANGE) {
		tare_http_problem(answer->x, 500,
				  "a number of this record is past what the naive path can print; serve it with "
				  "--path=opt");
		return 500;
	}
	if (answer->started) { // what has begun ends in 500, as where there is no room for it
		if (rc != -ENOBUFS)
			(void)tare_http_reserve(answer->x, SIZE_MAX / 2);
		return 500;
	}
	tare_http_problem(answer->x, 503,
			  svc->options.heap == SVC_HEAP_GC ? "the collected heap is full; try again later"
							   : "out of memory; try again later");
	return 503;
}

void svc_lookup_naive(struct tare_http_exchange *x, void *arg)
{
	const struct svc *svc = arg;
	unsigned fixes = svc->options.fixes;
	bool collected = svc->options.heap == SVC_HEAP_GC;
	struct svc_query query;
	struct tare_record_view view;
	if (!find(arg, x, &query, &view))
		return;
	struct answer answer = {.x = x, .format = query.format};
	const struct svc_sink sink = {answer_reserve, answer_commit, &answer};
	int rc;
	if (query.format == SVC_JSON)
		rc = collected ? svc_gc_json(fixes, &view, &sink) : svc_naive_json(fixes, &view, &sink);
	else
		rc = collected ? svc_gc_bin(fixes, &view, &sink) : svc_naive_bin(fixes, &view, &sink);
	unsigned status = naive_status(&answer, svc, rc);
	const struct svc_access access = {tare_now_coarse_ns(), query, status, answer.bytes};
	svc_access_note(fixes, collected, &access);
}
