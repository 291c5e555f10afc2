// SPDX-License-Identifier: MIT
//
// Profiles as files: what cpu.c, waits.c and dump.c saw, with names, lines and the files of the code.
//
// Threads: any; each kind has one profile at a time, which `states` decides. The rest is the caller's alone.
#include <tare/profile.h>

#include "rt/rt_int.h"

#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { HZ_DEFAULT = 100, RATE_DEFAULT_NS = 10000, KINDS = TARE_PROFILE_TASKS };
#define RATE_MAX_NS TARE_NS_PER_S

// Of stacks for which a tally had no room.
static const uintptr_t lost_frame = 1;

static struct state {
	atomic_int stage; // enum stage; who moved it off ON or IDLE owns the rest until it moves it on
	int64_t began_ns, since_ns, period;
} states[KINDS];
enum stage { IDLE, BUSY, ON };

// ---- a profile that is put together -------------------------------------------------------------------------------

struct build {
	struct tare_pprof *profile;
	struct rt_symbols *symbols;
	const char *kind_label; // of rt_stack_seen.kind: a wait's reason; NULL: it has none
	bool exact;             // a stack's first frame is where the code was, not where it returns to
	bool trim;              // leave out how the runtime parks and starts tasks, which is the same for all
	int rc;                 // of the first that failed
};

// Addresses within the calls.
static unsigned frames_of(struct build *b, const uintptr_t *frames, unsigned count, uintptr_t ret[RT_FRAMES_MAX])
{
	unsigned n = 0;
	for (unsigned i = 0; i < count; i++) {
		uintptr_t address = frames[i] - (b->exact && i == 0 ? 0 : 1);
		if (i > 0 && !rt_symbol_is_code(b->symbols, address))
			break; // what kept no frame pointers left something else there
		if (!b->trim || n > 0 || i + 1 == count || !rt_symbol_is_own(b->symbols, address))
			ret[n++] = address;
	}
	while (b->trim && n > 1 && rt_symbol_is_own(b->symbols, ret[n - 1]))
		n--;
	return n;
}

static void add(struct build *b, const uintptr_t *frames, unsigned count, const double *values,
		const struct tare_pprof_label labels[2])
{
	uintptr_t found[RT_FRAMES_MAX];
	if (b->rc == 0)
		b->rc = tare_pprof_add(b->profile, found, frames_of(b, frames, count, found), values, labels, 2);
}

static void add_tally(void *arg, const struct rt_tally *tally)
{
	struct build *b = arg;
	for (const struct rt_stack_seen *seen = NULL; (seen = rt_tally_next(tally, seen)) != NULL;) {
		const struct tare_pprof_label labels[2] = {
		    {"task", seen->label},
		    {b->kind_label, b->kind_label != NULL ? tare_reason_name(seen->kind) : NULL},
		};
		add(b, seen->frames, seen->count, seen->values, labels);
	}
	if (tally->lost[0] > 0 && b->rc == 0)
		b->rc = tare_pprof_add(b->profile, &lost_frame, 1, tally->lost, NULL, 0);
}

static void add_task(void *arg, const struct rt_task_seen *seen)
{
	const struct tare_pprof_label labels[2] = {{"task", seen->name}, {"state", seen->state}};
	add(arg, seen->frames, (unsigned)seen->count, (double[1]){1}, labels);
}

// ---- names --------------------------------------------------------------------------------------------------------

struct names {
	struct rt_symbols *symbols;
	struct rt_lines *lines;
	bool trim; // see struct build
};

// The runtime's own functions that were inlined where tasks wait go, as frames_of leaves out the others.
static unsigned drop_own(struct tare_pprof_line *lines, unsigned count)
{
	unsigned own = 0;
	while (own + 1 < count && strncmp(lines[own].function, "rt_", 3) == 0)
		own++;
	memmove(lines, lines + own, (count - own) * sizeof *lines);
	return count - own;
}

static unsigned names_at(void *arg, uintptr_t address, struct tare_pprof_line *ret)
{
	struct names *names = arg;
	if (address == lost_frame) {
		*ret = (struct tare_pprof_line){.function = "(stacks for which there was no room)"};
		return 1;
	}
	unsigned count = names->lines != NULL ? rt_lines_at(names->lines, address, ret) : 0;
	if (count > 0)
		return names->trim ? drop_own(ret, count) : count;
	const char *name = rt_symbol_name(names->symbols, address);
	if (name == NULL)
		return 0;
	*ret = (struct tare_pprof_line){.function = name};
	return 1;
}

// ---- mappings -----------------------------------------------------------------------------------------------------

enum { BUILD_ID_MAX = 32 };

// The note that the linker leaves in hexadecimal, or "".
static void build_id_of(const struct dl_phdr_info *info, char out[2 * BUILD_ID_MAX + 1])
{
	out[0] = '\0';
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		const char *at = (const char *)(info->dlpi_addr + header->p_vaddr), *end = at + header->p_memsz;
		while (header->p_type == PT_NOTE && (size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
			const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
			const char *name = at + sizeof *note;
			const char *id = name + (note->n_namesz + 3) / 4 * 4;
			at = id + (note->n_descsz + 3) / 4 * 4;
			if (at > end || note->n_type != NT_GNU_BUILD_ID || note->n_namesz != 4 ||
			    memcmp(name, "GNU", 4) != 0)
				continue;
			for (unsigned k = 0; k < TARE_MIN(note->n_descsz, (unsigned)BUILD_ID_MAX); k++)
				sprintf(out + 2 * (size_t)k, "%02x", (unsigned char)id[k]);
			return;
		}
	}
}

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct build *b = arg;
	char path[512], build_id[2 * BUILD_ID_MAX + 1];
	snprintf(path, sizeof path, "%s", info->dlpi_name != NULL ? info->dlpi_name : "");
	if (path[0] == '\0') {
		ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
		path[TARE_MAX(n, (ssize_t)0)] = '\0';
	}
	build_id_of(info, build_id);
	const uintptr_t page = 4096;
	for (unsigned i = 0; i < info->dlpi_phnum && b->rc == 0; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type != PT_LOAD || (header->p_flags & PF_X) == 0)
			continue;
		uintptr_t low = info->dlpi_addr + header->p_vaddr, high = low + header->p_memsz;
		b->rc = tare_pprof_mapping(b->profile, low & ~(page - 1), (high + page - 1) & ~(page - 1),
					   header->p_offset & ~(uint64_t)(page - 1), path, build_id);
	}
	return b->rc < 0;
}

// ---- begin and end ------------------------------------------------------------------------------------------------

static int build_begin(struct build *b, const struct tare_pprof_options *options)
{
	*b = (struct build){.kind_label = NULL};
	int rc = rt_symbols_new(&b->symbols);
	if (rc == 0)
		rc = tare_pprof_new(&b->profile, options);
	if (rc == 0)
		(void)dl_iterate_phdr(add_module, b);
	if (rc == 0)
		rc = b->rc;
	if (rc < 0) {
		tare_pprof_free(b->profile);
		rt_symbols_free(b->symbols);
	}
	return rc;
}

static int build_end(struct build *b, struct tare_pprof **ret)
{
	int rc = b->rc;
	struct names names = {b->symbols, rc == 0 ? rt_lines_new() : NULL, b->trim};
	if (rc == 0)
		rc = tare_pprof_resolve(b->profile, names_at, &names);
	rt_lines_free(names.lines);
	rt_symbols_free(b->symbols);
	if (rc < 0)
		tare_pprof_free(b->profile);
	else
		*ret = b->profile;
	return rc;
}

static int64_t wall_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * TARE_NS_PER_S + now.tv_nsec;
}

static struct tare_pprof_options options_of(enum tare_profile_kind kind)
{
	struct state *state = &states[kind];
	struct tare_pprof_options options = {
	    .name = kind == TARE_PROFILE_CPU     ? "cpu"
		    : kind == TARE_PROFILE_BLOCK ? "block"
						 : "mutex",
	    .types = {{"contentions", "count"}, {"delay", "nanoseconds"}},
	    .type_count = 2,
	    .shown = 1,
	    .period_type = {"contentions", "count"},
	    .period = 1,
	    .began_ns = state->began_ns,
	    .duration_ns = tare_clock_ns() - state->since_ns,
	};
	if (kind == TARE_PROFILE_CPU) {
		options.types[0] = (struct tare_pprof_type){"samples", "count"};
		options.types[1] = options.period_type = (struct tare_pprof_type){"cpu", "nanoseconds"};
		options.period = state->period;
	}
	return options;
}

// ---- the interface ------------------------------------------------------------------------------------------------

static int start_waits(enum tare_profile_kind kind, const struct tare_profile_options *o, struct tare_error *err)
{
	const uint32_t all = (UINT32_C(1) << RT_REASONS) - 1 - (UINT32_C(1) << RT_YIELD);
	const uint32_t others = UINT32_C(1) << RT_SLEEP | UINT32_C(1) << RT_READ | UINT32_C(1) << RT_WRITE;
	const uint32_t locks = UINT32_C(1) << RT_MUTEX | UINT32_C(1) << RT_RWLOCK;
	int64_t rate_ns = o->rate_ns != 0 ? o->rate_ns : RATE_DEFAULT_NS;
	if (rate_ns < 1 || rate_ns > RATE_MAX_NS)
		return tare_error_set(err, -EINVAL, "the rate must be between 1 ns and 1 s");
	int rc = kind == TARE_PROFILE_BLOCK ? rt_waits_start(0, rate_ns, o->all_waits ? all : all & ~others)
					    : rt_waits_start(1, rate_ns, locks);
	return rc < 0 ? tare_error_set(err, rc, "out of memory for a profile") : 0;
}

int tare_profile_start(enum tare_profile_kind kind, const struct tare_profile_options *options, struct tare_error *err)
{
	static const struct tare_profile_options defaults;
	const struct tare_profile_options *o = options != NULL ? options : &defaults;
	if ((unsigned)kind >= KINDS)
		return tare_error_set(err, -EINVAL, "this kind of profile is taken, not started");
	struct state *state = &states[kind];
	int stage = IDLE;
	if (!atomic_compare_exchange_strong(&state->stage, &stage, BUSY))
		return tare_error_set(err, -EBUSY, "a profile of this kind is under way");
	int hz = o->hz != 0 ? o->hz : HZ_DEFAULT;
	int rc = kind == TARE_PROFILE_CPU ? rt_cpu_start(hz, err) : start_waits(kind, o, err);
	state->began_ns = wall_ns();
	state->since_ns = tare_clock_ns();
	state->period = rc == 0 && kind == TARE_PROFILE_CPU ? TARE_NS_PER_S / hz : 1;
	atomic_store(&state->stage, rc == 0 ? ON : IDLE);
	return rc;
}

static void stop(enum tare_profile_kind kind, void (*fn)(void *arg, const struct rt_tally *tally), void *arg)
{
	if (kind == TARE_PROFILE_CPU)
		rt_cpu_stop(fn, arg);
	else
		rt_waits_end(kind == TARE_PROFILE_BLOCK ? 0 : 1, fn, arg);
}

int tare_profile_stop(enum tare_profile_kind kind, struct tare_pprof **ret)
{
	int stage = ON;
	if ((unsigned)kind >= KINDS || !atomic_compare_exchange_strong(&states[kind].stage, &stage, BUSY))
		return -EINVAL;
	struct build build;
	int rc = 0;
	if (ret != NULL) {
		struct tare_pprof_options options = options_of(kind);
		rc = build_begin(&build, &options);
	}
	if (ret == NULL || rc < 0) {
		stop(kind, NULL, NULL);
	} else {
		build.exact = kind == TARE_PROFILE_CPU;
		build.trim = !build.exact;
		build.kind_label = build.exact ? NULL : "reason";
		stop(kind, add_tally, &build);
	}
	atomic_store(&states[kind].stage, IDLE);
	return ret == NULL || rc < 0 ? rc : build_end(&build, ret);
}

static bool add_site(void *arg, const struct tare_heap_site *site)
{
	struct build *b = arg;
	const double *v = site->values;
	const double values[] = {
	    v[TARE_HEAP_ALLOCS],
	    v[TARE_HEAP_BYTES_ALLOCATED],
	    v[TARE_HEAP_ALLOCS] - v[TARE_HEAP_FREES],
	    v[TARE_HEAP_BYTES_ALLOCATED] - v[TARE_HEAP_BYTES_FREED],
	};
	add(b, site->frames, site->count, values, (const struct tare_pprof_label[2]){{"tag", site->tag}});
	return b->rc == 0;
}

static struct tare_pprof_options moment_options(enum tare_profile_kind kind)
{
	struct tare_pprof_options options = {
	    .name = kind == TARE_PROFILE_TASKS ? "task" : "heap",
	    .types = {{"tasks", "count"}},
	    .type_count = 1,
	    .period_type = {"tasks", "count"},
	    .period = 1,
	    .began_ns = wall_ns(),
	};
	if (kind == TARE_PROFILE_TASKS)
		return options;
	static const struct tare_pprof_type types[] = {
	    {"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"}, {"inuse_space", "bytes"}};
	memcpy(options.types, types, sizeof types);
	options.type_count = TARE_ARRAY_LEN(types);
	options.shown = kind == TARE_PROFILE_ALLOCS ? 1 : 3;
	options.period_type = (struct tare_pprof_type){"space", "bytes"};
	options.period = (int64_t)tare_heap_rate();
	return options;
}

int tare_profile_take(enum tare_profile_kind kind, struct tare_pprof **ret)
{
	if (kind != TARE_PROFILE_TASKS && kind != TARE_PROFILE_HEAP && kind != TARE_PROFILE_ALLOCS)
		return -EINVAL;
	const struct tare_pprof_options options = moment_options(kind);
	struct build build;
	int rc = build_begin(&build, &options);
	if (rc < 0)
		return rc;
	build.trim = kind == TARE_PROFILE_TASKS;
	if (kind == TARE_PROFILE_TASKS)
		rt_tasks_each(add_task, &build);
	else
		(void)tare_heap_sites_each(add_site, &build);
	return build_end(&build, ret);
}

int tare_profile_save(struct tare_pprof *profile, int fd)
{
	struct rt_report report;
	rt_report_begin_fd(&report, fd);
	int rc = tare_pprof_write(profile, &report.text);
	return rc < 0 ? rc : rt_report_end(&report);
}

int tare_symbols_write(struct tare_text *text, const uintptr_t *addresses, size_t count)
{
	struct rt_symbols *symbols;
	int rc = rt_symbols_new(&symbols);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		const char *name = rt_symbol_name(symbols, addresses[i]);
		if (name != NULL)
			tare_text_printf(text, "0x%" PRIxPTR " %.500s\n", addresses[i], name);
	}
	rt_symbols_free(symbols);
	return text->rc;
}

void rt_profiles_done(void)
{
	for (int kind = 0; kind < KINDS; kind++)
		(void)tare_profile_stop((enum tare_profile_kind)kind, NULL);
}
