// SPDX-License-Identifier: MIT
// /debug/pprof/: profiles for `go tool pprof`, under the paths that it and its users know.
//
//   profile, block, mutex   look for ?seconds=N from now on, then answer
//   task (goroutine)        as it is now
//   heap, allocs            since the process began; with gc=1 the heap is collected first, as Go's is
//   cmdline, symbol         what old viewers ask for
//
// One of a kind at a time; a second is answered 409. A client that leaves ends its profile; so does a drain, and then
// the answer holds what was seen until then. A profile is put together on a spare thread: names and lines take
// milliseconds, which a worker's other connections must not wait for.
// Threads: handlers on any worker. As open or closed to strangers as the other reports (svc.c).
#include "cmd/svc/svc.h"

#include <tare/block.h>
#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/profile.h>
#include <tare/rt.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("profiles");

enum { LOOK_MS = 100, SYMBOLS_MAX = 1024 };

struct page {
	const char *name, *what;
	enum tare_profile_kind kind;
	uint64_t seconds; // it looks for so long when it is not told; 0: it is of the moment
	atomic_bool busy;
};

static struct page pages[] = {
    {"profile", "CPU time of the workers and spare threads, by task and stack", TARE_PROFILE_CPU, 30, false},
    {"task", "all tasks, by what they do or wait for and their stack", TARE_PROFILE_TASKS, 0, false},
    {"goroutine", "the same", TARE_PROFILE_TASKS, 0, false},
    {"heap", "memory by who allocated it, from samples: live now, and ever", TARE_PROFILE_HEAP, 0, false},
    {"allocs", "the same, by what was ever allocated", TARE_PROFILE_ALLOCS, 0, false},
    {"block", "where tasks wait for each other, and how long", TARE_PROFILE_BLOCK, 10, false},
    {"mutex", "where tasks wait for locks", TARE_PROFILE_MUTEX, 10, false},
};

// ---- what is asked ------------------------------------------------------------------------------------------------

struct wish {
	uint64_t seconds, debug, gc;
	struct tare_profile_options options;
};

bool svc_query_number(struct tare_http_exchange *x, const char *name, uint64_t low, uint64_t high, uint64_t *value)
{
	struct tare_str text;
	if (!tare_http_query_get(tare_http_query(x), (struct tare_str){name, strlen(name)}, &text))
		return true;
	uint64_t got = 0;
	if (tare_parse_u64(text, &got) == 0 && got >= low && got <= high) {
		*value = got;
		return true;
	}
	tare_http_problem(x, 400, "%s must be a number from %" PRIu64 " to %" PRIu64, name, low, high);
	return false;
}

static bool read_wish(struct tare_http_exchange *x, const struct page *page, struct wish *ret)
{
	uint64_t hz = 0, rate_ns = 0, all = 0;
	*ret = (struct wish){.seconds = page->seconds};
	if (!svc_query_number(x, "debug", 0, 2, &ret->debug))
		return false;
	if (page->kind == TARE_PROFILE_HEAP && !svc_query_number(x, "gc", 0, 1, &ret->gc))
		return false;
	if (page->seconds > 0 && !svc_query_number(x, "seconds", 1, 300, &ret->seconds))
		return false;
	if (page->kind == TARE_PROFILE_CPU && !svc_query_number(x, "hz", 1, 1000, &hz))
		return false;
	if ((page->kind == TARE_PROFILE_BLOCK || page->kind == TARE_PROFILE_MUTEX) &&
	    (!svc_query_number(x, "rate", 1, TARE_NS_PER_S, &rate_ns) || !svc_query_number(x, "all", 0, 1, &all)))
		return false;
	ret->options = (struct tare_profile_options){.hz = (int)hz, .rate_ns = (int64_t)rate_ns, .all_waits = all != 0};
	return true;
}

// ---- what is answered ---------------------------------------------------------------------------------------------

// Text that a spare thread writes and the handler's task sends.
struct answer {
	const struct page *page;
	const struct wish *wish;
	char *ptr;
	size_t len, cap;
};

static int answer_write(void *arg, const char *ptr, size_t len)
{
	struct answer *a = arg;
	if (a->cap - a->len < len) {
		size_t cap = TARE_MAX(2 * a->cap, a->len + len + 4096);
		char *moved = tare_realloc(&heap_tag, a->ptr, cap);
		if (moved == NULL)
			return -ENOMEM;
		a->ptr = moved;
		a->cap = cap;
	}
	memcpy(a->ptr + a->len, ptr, len);
	a->len += len;
	return 0;
}

static int make_answer(void *arg)
{
	struct answer *a = arg;
	struct tare_text text = {.write = answer_write, .arg = a};
	if (a->page->kind == TARE_PROFILE_TASKS && a->wish->debug == 2) {
		tare_tasks_write(&text, UINT64_MAX);
		return text.rc;
	}
	struct tare_pprof *profile;
	int rc = a->page->seconds > 0 ? tare_profile_stop(a->page->kind, &profile)
				      : tare_profile_take(a->page->kind, &profile);
	if (rc < 0)
		return rc;
	rc = a->wish->debug > 0 ? tare_pprof_write_text(profile, &text) : tare_pprof_write(profile, &text);
	tare_pprof_free(profile);
	return rc;
}

static void put(struct tare_http_exchange *x, const struct answer *a, size_t len)
{
	if (len > 0)
		tare_http_write(x, a->ptr, len);
}

static void answer(struct tare_http_exchange *x, const struct page *page, const struct wish *wish)
{
	struct answer a = {.page = page, .wish = wish};
	int rc = tare_block(make_answer, &a);
	if (rc < 0) {
		tare_http_problem(x, 503, "the profile could not be put together: %s", strerror(-rc));
	} else {
		tare_http_start(x, 200, wish->debug > 0 ? "text/plain; charset=utf-8" : "application/octet-stream");
		tare_http_header(x, "X-Content-Type-Options", "nosniff");
		if (wish->debug == 0)
			tare_http_header(x, "Content-Disposition", "attachment; filename=\"profile\"");
		put(x, &a, a.len);
	}
	tare_free(a.ptr);
}

// ---- profiles that take time --------------------------------------------------------------------------------------

// 0 when the time is over or the service drains; -EPIPE when the client has left.
static int look_on(struct tare_http_exchange *x, const struct svc *svc, uint64_t seconds)
{
	int64_t until_ns = tare_time_after(tare_now_ns(), (int64_t)seconds * TARE_NS_PER_S);
	int rc = 0;
	for (int64_t now_ns; rc == 0 && (now_ns = tare_now_ns()) < until_ns;) {
		// The public server drains first, and the admin server's profiles must not hold that up.
		if (atomic_load_explicit(&svc->draining, memory_order_relaxed))
			return 0;
		rc = tare_http_wait(x, TARE_MIN(until_ns, now_ns + LOOK_MS * TARE_NS_PER_MS));
	}
	return rc == -ECANCELED ? 0 : rc;
}

static void profile(struct tare_http_exchange *x, const struct svc *svc, const struct page *page,
		    const struct wish *wish)
{
	struct tare_error err = {""};
	if (wish->gc == 1 && svc->gc_open)
		tare_gc_collect();
	int rc = page->seconds > 0 ? tare_profile_start(page->kind, &wish->options, &err) : 0;
	if (rc < 0) {
		tare_http_problem(x, rc == -EBUSY ? 409 : 503, "%s", err.text);
		return;
	}
	rc = page->seconds > 0 ? look_on(x, svc, wish->seconds) : 0;
	if (rc == 0) {
		answer(x, page, wish);
		return;
	}
	(void)tare_profile_stop(page->kind, NULL);
	tare_http_start(x, 204, NULL); // nobody is there to read it
}

// ---- the rest -----------------------------------------------------------------------------------------------------

static void write_index(struct tare_http_exchange *x)
{
	tare_http_start(x, 200, "text/html; charset=utf-8");
	tare_http_printf(x,
			 "<!doctype html>\n<title>/debug/pprof/</title>\n<h1>Profiles</h1>\n<p>For <code>go tool pprof "
			 "URL</code>; with <code>debug=1</code> as text.</p>\n<ul>\n");
	for (size_t i = 0; i < TARE_ARRAY_LEN(pages); i++)
		tare_http_printf(x, "<li><a href=\"%s?debug=1%s\">%s</a>: %s%s</li>\n", pages[i].name,
				 pages[i].seconds > 0 ? "&amp;seconds=5" : "", pages[i].name, pages[i].what,
				 pages[i].seconds > 0 ? ", for <code>seconds</code> from now" : "");
	tare_http_printf(x, "<li><a href=\"cmdline\">cmdline</a>: how the program was started</li>\n"
			    "<li><a href=\"symbol\">symbol</a>: names of addresses</li>\n</ul>\n");
}

static int read_cmdline(void *arg)
{
	struct answer *a = arg;
	char piece[512];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -errno : 0;
	for (ssize_t n = 1; rc == 0 && n > 0;) {
		n = read(fd, piece, sizeof piece);
		rc = n < 0 ? -errno : answer_write(a, piece, (size_t)n);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static void write_cmdline(struct tare_http_exchange *x)
{
	struct answer a = {.ptr = NULL};
	int rc = tare_block(read_cmdline, &a);
	if (rc < 0) {
		tare_http_problem(x, 503, "can't read /proc/self/cmdline: %s", strerror(-rc));
	} else {
		tare_http_start(x, 200, "text/plain; charset=utf-8");
		put(x, &a, a.len > 0 ? a.len - 1 : 0); // the words are parted by NULs, not ended
	}
	tare_free(a.ptr);
}

struct symbols {
	struct answer answer;
	uintptr_t addresses[SYMBOLS_MAX];
	size_t count;
};

static int name_symbols(void *arg)
{
	struct symbols *s = arg;
	struct tare_text text = {.write = answer_write, .arg = &s->answer};
	return tare_symbols_write(&text, s->addresses, s->count);
}

// Addresses in hexadecimal with a `+` between them, in the query or the body.
static void read_addresses(struct symbols *s, struct tare_str list)
{
	char word[24];
	for (size_t at = 0, len = 0; at <= list.len && s->count < SYMBOLS_MAX; at++) {
		bool ends = at == list.len || list.ptr[at] == '+';
		if (!ends && len + 1 < sizeof word)
			word[len++] = list.ptr[at];
		if (!ends)
			continue;
		word[len] = '\0';
		uintptr_t address = (uintptr_t)strtoull(word, NULL, 16);
		if (address != 0)
			s->addresses[s->count++] = address;
		len = 0;
	}
}

void svc_pprof_symbol(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	struct symbols *s = tare_alloc_zeroed(&heap_tag, 1, sizeof *s);
	if (s == NULL) {
		tare_http_problem(x, 503, "out of memory");
		return;
	}
	read_addresses(s, tare_http_method(x) == TARE_HTTP_POST ? tare_http_body(x) : tare_http_query(x));
	int rc = tare_block(name_symbols, s);
	if (rc < 0) {
		tare_http_problem(x, 503, "the symbols can't be read: %s", strerror(-rc));
	} else {
		tare_http_start(x, 200, "text/plain; charset=utf-8");
		tare_http_printf(x, "num_symbols: 1\n"); // that there are any: the count does not matter
		put(x, &s->answer, s->answer.len);
	}
	tare_free(s->answer.ptr);
	tare_free(s);
}

static struct page *page_of(struct tare_str name)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(pages); i++)
		if (name.len == strlen(pages[i].name) && memcmp(name.ptr, pages[i].name, name.len) == 0)
			return &pages[i];
	return NULL;
}

static void serve_page(struct tare_http_exchange *x, const struct svc *svc, struct page *page)
{
	struct wish wish;
	if (!read_wish(x, page, &wish))
		return;
	if (tare_http_method(x) == TARE_HTTP_HEAD) { // its length is not known before it was made
		tare_http_start(x, 200, "application/octet-stream");
		return;
	}
	if (atomic_exchange(&page->busy, true)) {
		tare_http_problem(x, 409, "somebody else is taking this profile; ask again when they have it");
		return;
	}
	profile(x, svc, page, &wish);
	atomic_store(&page->busy, false);
}

void svc_pprof(struct tare_http_exchange *x, void *arg)
{
	static const char root[] = "/debug/pprof";
	struct tare_str path = tare_http_path(x), name = {path.ptr + sizeof root, path.len - sizeof root};
	if (path.len == sizeof root - 1) {
		tare_http_start(x, 301, NULL);
		tare_http_header(x, "Location", "/debug/pprof/");
		return;
	}
	struct page *page = page_of(name);
	if (name.len == 0)
		write_index(x);
	else if (page != NULL)
		serve_page(x, arg, page);
	else if (name.len == strlen("cmdline") && memcmp(name.ptr, "cmdline", name.len) == 0)
		write_cmdline(x);
	else
		tare_http_problem(x, 404, "there is no such profile; /debug/pprof/ lists them");
}
