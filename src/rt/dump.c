// SPDX-License-Identifier: MIT
//
// What tasks there are and where they stand; and where the runtime's reports go.
//
// The list is read from the tasks' pool while they run; nothing stops for it and nothing is locked. Storage of tasks is
// type-stable, so a look at one is safe at any time; what may be torn:
//   - A task that parks, wakes or ends meanwhile is shown as it was at some moment of the look, or missing.
//   - Its backtrace is shown only if it seems not to have moved (same task, state and stack pointer before and after);
//     one that ran and parked again at the same depth may show frames of both moments.
//   - A running task's backtrace is left out: its stack changes under the reader.
// For the looks themselves plain volatile reads are used, out of ThreadSanitizer's sight: making every field atomic
// would slow down those who own them.
//
// Threads: any, while the runtime runs. Blocks for the files of symbols, and for the text's writer.
#include "rt/rt_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PEEK(field) (*(const volatile __typeof__(field) *)&(field))

static const char *const reason_names[RT_REASONS] = {
    [RT_YIELD] = "yield",
    [RT_SLEEP] = "sleep",
    [RT_JOIN] = "join",
    [RT_SCOPE] = "scope",
    [RT_MUTEX] = "mutex",
    [RT_RWLOCK] = "rwlock",
    [RT_COND] = "cond",
    [RT_SEM] = "sem",
    [RT_WG] = "wg",
    [RT_EVENT] = "event",
    [RT_READ] = "read",
    [RT_WRITE] = "write",
    [RT_CHAN_SEND] = "chan_send",
    [RT_CHAN_RECV] = "chan_recv",
    [RT_BLOCK] = "block",
    [RT_SELECT] = "select",
};
_Static_assert((int)RT_REASONS <= (int)TARE_REASONS_MAX, "struct tare_task_counts has room for each");

const char *tare_reason_name(unsigned reason)
{
	return reason < RT_REASONS ? reason_names[reason] : NULL;
}

// ---- a look at a task ---------------------------------------------------------------------------------------------

struct look {
	uint64_t id;
	const char *name;
	void *sp;
	uintptr_t started_at, fn;
	struct rt_stack stack;
	int64_t parked_ns;
	uint8_t state;
	unsigned reason;
	int worker; // that runs it; -1: none
};

TARE_NO_TSAN static void look_at(const struct tare_task *task, struct look *ret)
{
	ret->state = PEEK(task->state);
	ret->id = PEEK(task->id);
	ret->name = PEEK(task->name);
	ret->sp = PEEK(task->sp);
	ret->started_at = (uintptr_t)PEEK(task->started_at);
	ret->fn = (uintptr_t)PEEK(task->fn);
	ret->stack.base = PEEK(task->stack.base);
	ret->stack.bytes = PEEK(task->stack.bytes);
	ret->parked_ns = PEEK(task->parked_ns);
	ret->reason = PEEK(task->reason);
	ret->worker = -1;
	for (int i = 0; i < rt.worker_count; i++)
		if (PEEK(rt.workers[i].current) == task)
			ret->worker = i;
	// On its way into or out of a worker the state says less than the worker does.
	if (ret->worker >= 0 && ret->state != RT_FREE && ret->state != RT_DONE)
		ret->state = RT_RUNNING;
}

TARE_NO_TSAN struct tare_task *rt_worker_current(const struct rt_worker *worker)
{
	return __atomic_load_n(&worker->current, __ATOMIC_ACQUIRE);
}

TARE_NO_TSAN void rt_task_peek(const struct tare_task *task, uint64_t *ret_id, const char **ret_name)
{
	const char *name = PEEK(task->name);
	*ret_id = PEEK(task->id);
	*ret_name = name != NULL ? name : "?";
}

// ---- counts -------------------------------------------------------------------------------------------------------

static void count(struct tare_task_counts *counts, const struct look *look)
{
	if (look->state == RT_RUNNING)
		counts->running++;
	else if (look->state == RT_RUNNABLE)
		counts->runnable++;
	else if (look->state == RT_DONE)
		counts->done++;
	else if (look->state == RT_PARKED && look->reason < RT_REASONS)
		counts->parked[look->reason]++;
}

static bool count_one(void *arg, void *object)
{
	struct look look;
	look_at(object, &look);
	count(arg, &look);
	return true;
}

void tare_task_counts_read(struct tare_task_counts *ret)
{
	struct tare_task_counts counts = {.running = 0};
	if (rt.tasks != NULL)
		(void)tare_pool_each(rt.tasks, count_one, &counts);
	*ret = counts;
}

// ---- the list -----------------------------------------------------------------------------------------------------

struct list {
	struct tare_text *text;
	struct rt_symbols *symbols; // NULL: no memory, then addresses
	int64_t now_ns;
	uint64_t left, more; // how many may still be shown in full; how many were not
};

void rt_frames_write(struct tare_text *text, struct rt_symbols *symbols, const uintptr_t *frames, int count, bool exact)
{
	char symbol[RT_SYMBOL_BYTES];
	int first = 0, end = count;
	// How the runtime parks and starts tasks is left out. An address is what a call returns to.
	while (symbols != NULL && end > 1 && rt_symbol_is_own(symbols, frames[end - 1] - 1))
		end--;
	while (symbols != NULL && !exact && first < end - 1 && rt_symbol_is_own(symbols, frames[first] - 1))
		first++;
	for (int i = first; i < end; i++) {
		if (symbols != NULL)
			rt_symbol_format(symbols, frames[i], !exact || i > 0, symbol);
		else
			snprintf(symbol, sizeof symbol, "0x%" PRIxPTR, frames[i]);
		if (symbols != NULL && i > first && symbol[0] == '0')
			break; // in no code: what kept no frame pointers left something else there
		tare_text_printf(text, "    %s\n", symbol);
	}
	if (count == RT_FRAMES_MAX)
		tare_text_printf(text, "    ... (more frames)\n");
}

static void write_state(struct list *list, const struct look *look)
{
	int64_t ms = TARE_MAX(list->now_ns - look->parked_ns, INT64_C(0)) / TARE_NS_PER_MS;
	const char *reason = tare_reason_name(look->reason);
	if (look->state == RT_RUNNING)
		tare_text_printf(list->text, "running on worker %d", look->worker);
	else if (look->state == RT_RUNNABLE)
		tare_text_printf(list->text, look->stack.base != NULL ? "runnable" : "runnable, not yet begun");
	else if (look->state == RT_DONE)
		tare_text_printf(list->text, "done, not yet joined");
	else
		tare_text_printf(list->text, "parked: %s, for %" PRId64 ".%03" PRId64 " s",
				 reason != NULL ? reason : "?", ms / 1000, ms % 1000);
}

// Of a task that was seen stopped: its frames, 0 when it has moved since.
static int frames_of(const struct tare_task *task, const struct look *look, uintptr_t frames[RT_FRAMES_MAX])
{
	int count = rt_backtrace_stopped(&look->stack, look->sp, frames);
	struct look again;
	look_at(task, &again);
	return again.id == look->id && again.state == look->state && again.sp == look->sp ? count : 0;
}

static bool is_stopped(const struct look *look)
{
	return look->state == RT_PARKED || (look->state == RT_RUNNABLE && look->stack.base != NULL);
}

static void write_task(struct list *list, const struct tare_task *task, const struct look *look)
{
	uintptr_t frames[RT_FRAMES_MAX];
	bool stopped = is_stopped(look);
	int count = stopped ? frames_of(task, look, frames) : 0;
	tare_text_printf(list->text, "task %" PRIu64 " \"%.80s\": ", look->id, look->name != NULL ? look->name : "?");
	write_state(list, look);
	char symbol[RT_SYMBOL_BYTES];
	if (look->started_at != 0 && list->symbols != NULL) {
		rt_symbol_format(list->symbols, look->started_at, true, symbol);
		tare_text_printf(list->text, "; started by %s", symbol);
	}
	tare_text_printf(list->text, "\n");
	rt_frames_write(list->text, list->symbols, frames, count, false);
	if (stopped && count == 0)
		tare_text_printf(list->text, "    (it moved on, or its stack can't be read)\n");
	tare_text_printf(list->text, "\n");
}

static bool list_one(void *arg, void *object)
{
	struct list *list = arg;
	struct look look;
	look_at(object, &look);
	if (look.state == RT_FREE)
		return true;
	if (list->left == 0) {
		list->more++;
		return true;
	}
	list->left--;
	write_task(list, object, &look);
	return list->text->rc == 0;
}

static void write_counts(struct tare_text *text)
{
	struct tare_task_counts counts;
	tare_task_counts_read(&counts);
	uint64_t parked = 0;
	for (unsigned i = 0; i < RT_REASONS; i++)
		parked += counts.parked[i];
	tare_text_printf(
	    text, "%" PRIu64 " tasks on %d workers: %" PRIu64 " running, %" PRIu64 " runnable, %" PRIu64 " parked",
	    counts.running + counts.runnable + counts.done + parked, rt.worker_count, counts.running, counts.runnable,
	    parked);
	const char *between = " (";
	for (unsigned i = 0; i < RT_REASONS; i++) {
		if (counts.parked[i] == 0)
			continue;
		tare_text_printf(text, "%s%" PRIu64 " %s", between, counts.parked[i], reason_names[i]);
		between = ", ";
	}
	tare_text_printf(text, "%s, %" PRIu64 " done\n\n", parked > 0 ? ")" : "", counts.done);
}

void tare_tasks_write(struct tare_text *text, uint64_t tasks_max)
{
	if (rt.tasks == NULL)
		return;
	struct list list = {.text = text, .now_ns = tare_now_ns(), .left = tasks_max};
	if (rt_symbols_new(&list.symbols) < 0)
		list.symbols = NULL;
	write_counts(text);
	(void)tare_pool_each(rt.tasks, list_one, &list);
	if (list.more > 0)
		tare_text_printf(text, "... and %" PRIu64 " tasks more\n", list.more);
	rt_symbols_free(list.symbols);
}

// ---- for the profile ----------------------------------------------------------------------------------------------

struct each {
	void (*fn)(void *arg, const struct rt_task_seen *seen);
	void *arg;
};

static bool each_one(void *arg, void *object)
{
	const struct each *each = arg;
	struct look look;
	look_at(object, &look);
	if (look.state == RT_FREE)
		return true;
	uintptr_t frames[RT_FRAMES_MAX];
	int count = is_stopped(&look) ? frames_of(object, &look, frames) : 0;
	if (count == 0) // it runs, has yet to begin, or moved on: then what it was started with says most
		frames[0] = look.fn + 1;
	static const char *const states[] = {
	    [RT_RUNNABLE] = "runnable", [RT_RUNNING] = "running", [RT_PARKED] = "parked", [RT_DONE] = "done"};
	const char *state = look.state == RT_PARKED ? tare_reason_name(look.reason) : states[look.state];
	each->fn(each->arg, &(struct rt_task_seen){look.name, state, frames, TARE_MAX(count, 1)});
	return true;
}

void rt_tasks_each(void (*fn)(void *arg, const struct rt_task_seen *seen), void *arg)
{
	struct each each = {fn, arg};
	if (rt.tasks != NULL)
		(void)tare_pool_each(rt.tasks, each_one, &each);
}

// ---- where reports go ---------------------------------------------------------------------------------------------

static int write_all(int fd, const char *ptr, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, ptr, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		ptr += n;
		len -= (size_t)n;
	}
	return 0;
}

static int report_flush(struct rt_report *report)
{
	size_t len = report->len;
	report->len = 0;
	if (len == 0)
		return 0;
	if (report->fd >= 0)
		return write_all(report->fd, report->buf, len);
	if (rt.report != NULL)
		rt.report(rt.report_arg, report->buf, len);
	else
		(void)write_all(STDERR_FILENO, report->buf, len); // there is nobody to tell that it failed
	return 0;
}

static int report_write(void *arg, const char *ptr, size_t len)
{
	struct rt_report *report = arg;
	int rc = 0;
	while (len > 0 && rc == 0) {
		size_t n = TARE_MIN(len, sizeof report->buf - report->len);
		memcpy(report->buf + report->len, ptr, n);
		report->len += n;
		ptr += n;
		len -= n;
		if (report->len == sizeof report->buf)
			rc = report_flush(report);
	}
	return rc;
}

void rt_report_begin_fd(struct rt_report *report, int fd)
{
	report->text = (struct tare_text){.write = report_write, .arg = report};
	report->fd = fd;
	report->len = 0;
}

void rt_report_begin(struct rt_report *report)
{
	rt_report_begin_fd(report, -1);
}

int rt_report_end(struct rt_report *report)
{
	return report->text.rc < 0 ? report->text.rc : report_flush(report);
}

int tare_dump_tasks(int fd)
{
	struct rt_report report;
	rt_report_begin_fd(&report, fd);
	tare_tasks_write(&report.text, UINT64_MAX);
	return rt_report_end(&report);
}
