// SPDX-License-Identifier: MIT
// packing: the order of a struct's fields, and offsets in place of pointers: its size, what so many of them take of the
// collected heap, and what marking them takes; each as an object of its own, and all in one array.
// layouts: the service's records as a map of objects, as one block, and outside the heap: what a collection costs.
//
// The structs of packing:
//   mispacked   fields as they come to mind: each bool in a hole of eight bytes (96 bytes)
//   reordered   the same fields, the widest first (88)
//   packed      the library's own record: an offset and a dictionary's number in place of two slices (64)
// The first two have two pointers each, to texts that all share, so that marking is of the structs; the third has none.
// Figures of packing: FORM_bytes; then for `objects` and for `array`: FORM_objects_heap_bytes,
// FORM_objects_each_bytes (a record's share), FORM_objects_mark_ms, and so on. Figures of layouts: LAYOUT_mark_ms,
// LAYOUT_collect_ms (of the wall), LAYOUT_pause_p99_us, LAYOUT_pause_max_us, LAYOUT_heap_bytes, LAYOUT_objects;
// records.
#include "cmd/lab/probe.h"

#include <tare/gc.h>
#include <tare/index.h>
#include <tare/records.h>
#include <tare/rt.h>

#include <errno.h>
#include <jansson.h>

enum { COLLECTIONS = 5 };

// ---- packing ------------------------------------------------------------------------------------------------------

struct reordered {
	struct tare_str category, payload;
	uint64_t id;
	int64_t bid_micros, budget_micros, spend_micros;
	uint64_t impressions, clicks;
	bool hot, active;
};
_Static_assert(sizeof(struct reordered) == 88, "the order is the best one");

static const uint32_t mispacked_pointers[] = {offsetof(struct tare_record_mispacked, category.ptr),
					      offsetof(struct tare_record_mispacked, payload.ptr)};
static const uint32_t reordered_pointers[] = {offsetof(struct reordered, category.ptr),
					      offsetof(struct reordered, payload.ptr)};
static const uint32_t first_word[] = {0};
static struct tare_gc_type mispacked_type = TARE_GC_TYPE(struct tare_record_mispacked, mispacked_pointers);
static struct tare_gc_type reordered_type = TARE_GC_TYPE(struct reordered, reordered_pointers);
static struct tare_gc_type pointer_type = TARE_GC_TYPE(void *, first_word);

struct form {
	const char *name;
	struct tare_gc_type *type; // NULL: without pointers
	size_t bytes;
};
static const struct form forms[] = {{"mispacked", &mispacked_type, sizeof(struct tare_record_mispacked)},
				    {"reordered", &reordered_type, sizeof(struct reordered)},
				    {"packed", NULL, sizeof(struct tare_record)}};

struct packing {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	char *texts[2];
};

// The two texts of a struct that points to them.
static void point(const struct packing *packing, const struct form *form, char *object)
{
	if (form->type == NULL)
		return;
	for (size_t i = 0; i < 2; i++)
		tare_gc_store(object + form->type->pointers[i], packing->texts[i]);
}

static void *make_objects(const struct packing *packing, const struct form *form, uint64_t count)
{
	void **table = tare_gc_new_array(&pointer_type, count);
	for (uint64_t i = 0; i < count && table != NULL; i++) {
		void *object = form->type != NULL ? tare_gc_new(form->type) : tare_gc_new_noscan(form->bytes);
		if (object == NULL)
			return NULL;
		point(packing, form, object);
		tare_gc_store(&table[i], object);
	}
	return table;
}

static void *make_array(const struct packing *packing, const struct form *form, uint64_t count)
{
	char *array =
	    form->type != NULL ? tare_gc_new_array(form->type, count) : tare_gc_new_noscan(count * form->bytes);
	for (uint64_t i = 0; i < count && array != NULL; i++)
		point(packing, form, array + i * form->bytes);
	return array;
}

struct forming {
	const struct packing *packing;
	const struct form *form;
	bool array;
};

__attribute__((noinline)) static int measure_form(const struct forming *forming)
{
	const struct packing *packing = forming->packing;
	const struct form *form = forming->form;
	const char *way = forming->array ? "array" : "objects";
	uint64_t count = lab_probe_value(packing->args, "records");
	struct tare_gc_stats before, after;
	struct tare_gc_pin pin;
	tare_gc_collect();
	tare_gc_stats_read(&before);
	void *made = forming->array ? make_array(packing, form, count) : make_objects(packing, form, count);
	if (made == NULL)
		return tare_error_set(packing->err, -ENOMEM, "the collected heap is full; give fewer records");
	tare_gc_pin(&pin, made);
	made = NULL;
	double mark_ns = lab_probe_mark_ns(COLLECTIONS);
	tare_gc_stats_read(&after);
	double bytes = (double)(after.marked_bytes - before.marked_bytes);
	if (!forming->array) // the table is the same for all, and in none
		bytes -= (double)count * (double)sizeof(void *);
	lab_probe_figure(packing->out, bytes, "%s_%s_heap_bytes", form->name, way);
	lab_probe_figure(packing->out, bytes / (double)count, "%s_%s_each_bytes", form->name, way);
	lab_probe_figure(packing->out, mark_ns / 1e6, "%s_%s_mark_ms", form->name, way);
	tare_gc_unpin(&pin);
	return 0;
}

// The stack may have been the last form's: what it still holds there would be looked at, and seem to be live.
__attribute__((noinline)) static void wipe_stack(void)
{
	char below[32 << 10];
	memset(below, 0, sizeof below);
	lab_probe_keep(below);
}

// A task of its own, so that nothing of the last form is on a stack when this one is measured.
static int form_task(void *arg)
{
	wipe_stack();
	return measure_form(arg);
}

static int measure_packing(void *arg)
{
	struct packing *packing = arg;
	struct tare_gc_root root;
	int rc = tare_gc_open(NULL, packing->err);
	if (rc < 0)
		return rc;
	tare_gc_root_add(&root, packing->texts, TARE_ARRAY_LEN(packing->texts));
	for (size_t i = 0; i < TARE_ARRAY_LEN(packing->texts) && rc == 0; i++) {
		tare_gc_store(&packing->texts[i], tare_gc_new_noscan(32));
		rc = packing->texts[i] != NULL ? 0 : tare_error_set(packing->err, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < TARE_ARRAY_LEN(forms) && rc == 0; i++) {
		lab_probe_figure(packing->out, (double)forms[i].bytes, "%s_bytes", forms[i].name);
		for (int array = 0; array < 2 && rc == 0; array++) {
			struct forming forming = {packing, &forms[i], array != 0};
			struct tare_task *task;
			rc = tare_spawn(&task, NULL, form_task, &forming);
			if (rc == 0)
				rc = tare_join(task);
		}
	}
	tare_gc_close();
	return rc;
}

static int run_packing(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct packing packing = {.args = args, .out = out, .err = err};
	return lab_probe_in_task((int)lab_probe_value(args, "workers"), measure_packing, &packing, err);
}

const struct lab_probe lab_probe_packing = {
    .name = "packing",
    .about = "a struct's fields reordered, and offsets for pointers: size, heap and marking",
    .run = run_packing,
    .keys = {{"records", "of each struct", false, 1000000, 20000, 1, 100000000},
	     {"workers", "threads", false, 2, 2, 1, 64}},
};

// ---- layouts ------------------------------------------------------------------------------------------------------

struct layouts {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	struct tare_records *records; // freed when the heap is closed
};

static const char *const layout_names[] = {
    [TARE_LAYOUT_MAP] = "map", [TARE_LAYOUT_FLAT] = "flat", [TARE_LAYOUT_OFFHEAP] = "offheap"};

static int lay_out(struct layouts *layouts, enum tare_layout layout)
{
	struct tare_index *index;
	const struct tare_gen_options gen = {.size = lab_probe_value(layouts->args, "size"), .seed = 1};
	const struct tare_records_options options = {.layout = layout, .collected = true, .intern = true};
	int rc = tare_index_build(&index, &gen, layouts->err);
	if (rc < 0)
		return rc;
	struct tare_index_stats stats;
	tare_index_stats_get(index, &stats);
	lab_probe_figure(layouts->out, (double)stats.records, "records");
	return tare_records_new(&layouts->records, index, &options, layouts->err);
}

static void measure_layout(struct layouts *layouts, enum tare_layout layout)
{
	const char *name = layout_names[layout];
	struct tare_gc_stats gc;
	struct tare_records_stats records;
	double wall_ns[COLLECTIONS], mark_ns[COLLECTIONS];
	for (int i = 0; i < COLLECTIONS; i++) {
		int64_t since_ns = tare_now_ns();
		mark_ns[i] = lab_probe_mark_ns(1);
		wall_ns[i] = (double)(tare_now_ns() - since_ns);
	}
	tare_gc_stats_read(&gc);
	tare_records_stats_get(layouts->records, &records);
	lab_probe_figure(layouts->out, lab_probe_median(mark_ns, COLLECTIONS) / 1e6, "%s_mark_ms", name);
	lab_probe_figure(layouts->out, lab_probe_median(wall_ns, COLLECTIONS) / 1e6, "%s_collect_ms", name);
	lab_probe_figure(layouts->out, (double)gc.pause_p99_ns / 1e3, "%s_pause_p99_us", name);
	lab_probe_figure(layouts->out, (double)gc.pause_max_ns / 1e3, "%s_pause_max_us", name);
	lab_probe_figure(layouts->out, (double)gc.marked_bytes, "%s_heap_bytes", name);
	lab_probe_figure(layouts->out, (double)records.heap_objects, "%s_objects", name);
}

static int measure_layouts(void *arg)
{
	struct layouts *layouts = arg;
	int rc = 0;
	for (enum tare_layout layout = TARE_LAYOUT_MAP; layout <= TARE_LAYOUT_OFFHEAP && rc == 0; layout++) {
		rc = tare_gc_open(NULL, layouts->err);
		if (rc < 0)
			break;
		rc = lay_out(layouts, layout);
		if (rc == 0)
			measure_layout(layouts, layout);
		tare_gc_close();
		tare_records_free(layouts->records);
		layouts->records = NULL;
	}
	return rc;
}

static int run_layouts(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct layouts layouts = {.args = args, .out = out, .err = err};
	return lab_probe_in_task((int)lab_probe_value(args, "workers"), measure_layouts, &layouts, err);
}

const struct lab_probe lab_probe_layouts = {
    .name = "layouts",
    .about = "records as a map of objects, one block, or off the heap: what collecting takes",
    .run = run_layouts,
    .keys = {{"size", "of the records", true, 256 << 20, 4 << 20, 1 << 20, UINT64_C(1) << 40},
	     {"workers", "threads", false, 2, 2, 1, 64}},
};
