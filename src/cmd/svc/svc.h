// SPDX-License-Identifier: MIT
// What the files of `tare svc` share: its options, its state, and the parts of a lookup that need no server to be
// tested.
//
// Lifetime: struct svc is cmd_svc's, set up before the first request and unchanged while requests run, but for its
// atomics and counters.
#ifndef TARE_CMD_SVC_H
#define TARE_CMD_SVC_H

#include "cmd/cmd.h"

#include <tare/base.h>
#include <tare/http.h>
#include <tare/index.h>
#include <tare/records.h>
#include <tare/rt.h>
#include <tare/stat.h>
#include <tare/sync.h>

#include <errno.h>
#include <string.h>

// ---- options ------------------------------------------------------------------------------------------------------

enum svc_path { SVC_PATH_NAIVE, SVC_PATH_OPT };
enum svc_io { SVC_IO_EPOLL, SVC_IO_URING };
enum svc_heap { SVC_HEAP_MALLOC, SVC_HEAP_GC };

// What /metrics has of the collected heap.
enum svc_gc_metric {
	SVC_GC_CYCLES,
	SVC_GC_HEAP,
	SVC_GC_LIVE,
	SVC_GC_GOAL,
	SVC_GC_MAPPED,
	SVC_GC_RELEASED,
	SVC_GC_MADE,
	SVC_GC_OBJECTS,
	SVC_GC_ASSIST,
	SVC_GC_BACKGROUND,
	SVC_GC_IDLE,
	SVC_GC_SWEEP,
	SVC_GC_PAUSE,
	SVC_GC_LIMITING,
	SVC_GC_METRICS
};

enum { SVC_OPTIONS_MAX = 40 };

// Types are those that cmd_option writes.
struct svc_options {
	const char *listen, *admin;
	bool admin_allow_remote, port_fallback;
	const char *memory_limit;    // as tare_limit_parse reads it
	uint64_t memory_limit_bytes; // 0: none
	uint64_t heap_profile_rate;  // bytes; 0: off
	const char *index;
	uint64_t index_size; // 0: not given
	uint64_t seed;
	int path, pool, io, heap, layout, intern; // positions in their choices; layout: an enum tare_layout
	const char *naive_fix;                    // a list of svc_fix's names
	unsigned fixes;                           // what it says
	int gc_limiter;                           // 0: off
	const char *gogc;                         // a percentage, or "off"
	int gc_percent;                           // what it says, as tare_gc_open takes it
	uint64_t gc_min_bytes, gc_max_bytes;
	bool gc_trace;
	uint64_t workers; // 0: one a permitted CPU
	uint64_t connections_max, connections_per_address_max, head_bytes_max, headers_max, target_bytes_max;
	uint64_t body_bytes_max, answer_bytes_max, pipeline_max, backlog;
	int64_t head_timeout_ns, body_timeout_ns, idle_timeout_ns, write_timeout_ns, drain_timeout_ns;
	bool json, trace_one;

	// The one table behind --help, the environment, /debug/allocs and tare_info; its values point into this struct.
	struct cmd_option table[SVC_OPTIONS_MAX];
	size_t table_count;
	size_t knob_count; // the table's first that are knobs; what follows says how to report, not how to serve
};

void svc_options_init(struct svc_options *options);
// cmd_parse, then what no single value can say: an index that is missing, given twice, or of a size that none has.
// -1: go on; otherwise an exit code.
TARE_MUST_USE int svc_options_parse(struct svc_options *options, int argc, char **argv);
void svc_options_limits(const struct svc_options *options, struct tare_http_limits *ret);
const char *svc_path_name(const struct svc_options *options);
const char *svc_heap_name(const struct svc_options *options);
const char *svc_layout_name(const struct svc_options *options);
// Every knob: {"path":"opt","max-connections":65536,…}; times in seconds.
void svc_knobs_write_json(const struct svc_options *options, struct tare_text *text);
// Every knob and the version as labels, `path="opt",…`. -E2BIG.
TARE_MUST_USE int svc_knobs_write_labels(const struct svc_options *options, char *out, size_t cap);
// A text as a JSON string with its quotes.
void svc_json_write_string(struct tare_text *text, const char *string);

// ---- one lookup ---------------------------------------------------------------------------------------------------

enum svc_format { SVC_JSON, SVC_BIN };

struct svc_query {
	uint64_t key;
	enum svc_format format;
};

// Reads "key=N&fmt=json|bin". -EINVAL with what is wrong and what to do, fit for a problem's detail.
TARE_MUST_USE int svc_key_parse(struct tare_str value, uint64_t *ret_key, struct tare_error *err); // its key's
TARE_MUST_USE int svc_query_parse(struct tare_str query, struct svc_query *ret, struct tare_error *err);

static inline size_t svc_base64_len(size_t len)
{
	return (len + 2) / 3 * 4;
}
// Standard alphabet, padded. Writes svc_base64_len(len) bytes.
void svc_base64_write(char *out, const void *data, size_t len);
// The other way, strictly: only what svc_base64_write writes. out: of text.len / 4 * 3 bytes. -EINVAL.
TARE_MUST_USE int svc_base64_read(struct tare_str text, char *out, size_t *ret_len);
// A JSON string's inside, of at most SVC_ESCAPED_BYTES_MAX bytes a byte; what was written.
enum { SVC_ESCAPED_BYTES_MAX = 6 };
size_t svc_string_write(char *out, struct tare_str s);

// An upper bound of what svc_json_write writes; it writes nothing past it.
size_t svc_json_bytes_max(const struct tare_record_view *view);
size_t svc_json_write(char *out, const struct tare_record_view *view);
size_t svc_bin_bytes(const struct tare_record_view *view);
void svc_bin_write(char *out, const struct tare_record_view *view);

// A document's fields but its payload, a member of its own after them; and that member with the payload's text given.
size_t svc_json_payload_bytes(const struct tare_record_view *view); // of what svc_json_write_payload writes, exactly
size_t svc_json_write_payload(char *out, const struct tare_record_view *view); // ,"payload":"…"}
size_t svc_json_write_text(char *out, const struct tare_record_view *view, struct tare_str payload);

// ---- the naive path -----------------------------------------------------------------------------------------------

// What everyday code does there and need not, each mended by itself (--naive-fix). With all of them it calls the heap
// as often as the other path: never.
enum svc_fix {
	SVC_FIX_COPY = 1,   // the record is not copied into a struct with texts of its own
	SVC_FIX_BASE64 = 2, // the payload's text goes into the document, not into a string first
	SVC_FIX_TREE = 4,   // fields are written one by one: no tree of values
	SVC_FIX_TEXT = 8,   // the document is written into the answer's buffer, not into a string that is copied there
	SVC_FIX_LOG = 16,   // the access line is put together in place, not by printf into a string of its own
	SVC_FIX_ALL = 31,
};
// Reads "copy,tree", "none", "all". -EINVAL with what is wrong.
TARE_MUST_USE int svc_fixes_parse(unsigned *ret, const char *text, struct tare_error *err);

// Where a document goes. Room is asked for once, when nothing but writing is left to do.
struct svc_sink {
	char *(*reserve)(void *arg, size_t bytes); // NULL: there is none
	void (*commit)(void *arg, size_t bytes);   // that were written of it
	void *arg;
};

// Copies what is there already. -ENOBUFS.
TARE_MUST_USE static inline int svc_sink_put(const struct svc_sink *sink, const char *data, size_t len)
{
	char *out = sink->reserve(sink->arg, len);
	if (out == NULL)
		return -ENOBUFS;
	memcpy(out, data, len);
	sink->commit(sink->arg, len);
	return 0;
}

// A record with texts of its own, on either heap: what the copy is.
struct svc_ad {
	struct tare_record record;
	struct tare_str category, payload;
};

// The same documents as everyday code makes them: every step that is not mended allocates.
// -ENOMEM, also when the category is not UTF-8; -ERANGE when a number is past what jansson can hold (INT64_MAX);
// -ENOBUFS: the sink has no room. Nothing was committed then.
TARE_MUST_USE int svc_naive_json(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink);
TARE_MUST_USE int svc_naive_bin(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink);
// jansson's memory then comes from tare_alloc, so that it is counted. Once, before any thread uses jansson.
void svc_naive_setup(void);

// The same on the collected heap. In a task. -ENOMEM: it is full; -ENOBUFS.
TARE_MUST_USE int svc_gc_json(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink);
TARE_MUST_USE int svc_gc_bin(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink);

// ---- the access line ----------------------------------------------------------------------------------------------

enum { SVC_ACCESS_BYTES = 128 };

struct svc_access {
	int64_t now_ns;
	struct svc_query query;
	unsigned status;
	size_t bytes; // of the document
};
// "123.456789 GET /lookup key=42 fmt=json 200 318" into out; what was written. No heap call, no format to be read.
size_t svc_access_write(char out[SVC_ACCESS_BYTES], const struct svc_access *access);
// The same as everyday code has it: a string of its own, tare_free's. NULL: out of memory.
char *svc_access_print(const struct svc_access *access);
// Keeps the request's line among the latest; on the collected heap or malloc's, unless the fixes have SVC_FIX_LOG. A
// line that there is no memory for is lost. From any task.
void svc_access_note(unsigned fixes, bool collected, const struct svc_access *access);
// The line noted last in that way by this thread or, where lines are strings, by any; its length, 0: none was. For
// tests.
size_t svc_access_last(unsigned fixes, bool collected, char out[SVC_ACCESS_BYTES]);
// The lines on the collected heap, while that is open; done also frees malloc's.
void svc_access_open(void);
void svc_access_done(void);

// ---- one update ---------------------------------------------------------------------------------------------------

// A record that was sent, with what it points into. Not moved while it is used.
struct svc_document {
	struct tare_record record;
	struct tare_record_view view; // of record, tree and payload
	bool has_id;
	struct json_t *tree;
	char *payload;
};
// Reads the record of this key: a whole one, as svc_json_write writes it. -EINVAL with what is wrong and what to do,
// fit for a problem's detail; -ENOMEM. On success *ret is for svc_document_done.
TARE_MUST_USE int svc_document_read(struct svc_document *ret, uint64_t key, struct tare_str body,
				    struct tare_error *err);
void svc_document_done(struct svc_document *document);

// ---- the service --------------------------------------------------------------------------------------------------

struct svc {
	struct svc_options options; // not moved after svc_options_init
	struct tare_index *index;   // until its records are laid out
	struct tare_index_stats index_stats;
	struct tare_records *records;
	struct tare_mutex updates; // one update at a time
	bool gc_open;              // the collected heap, from before the first request to after the last
	struct tare_hist *phases;  // what /debug/allocs reads of it, one at a time
	struct tare_mutex phases_mutex;
	int64_t load_ns;
	struct tare_addr listen_addr, admin_addr; // with the ports that were bound, once serving
	bool admin_on;
	struct tare_http_server *server, *admin; // admin: NULL when off
	struct tare_registry *registry;
	struct tare_counter hits, misses, refused; // lookups by result
	struct tare_counter updates_done, updates_refused;
	// Set when everything is registered; until then /metrics, /debug/allocs and /healthz answer 503.
	bool listening, admin_listening; // the first task's
	atomic_bool draining;            // relaxed: it only turns /healthz
	char info_labels[4096];
	// Of /metrics: counted once a reading, for all of its lines; two readings at once may mix theirs. Running,
	// runnable, done, and parked for each reason.
	_Atomic(double) gc_values[SVC_GC_METRICS];
	atomic_ullong task_counts[3 + TARE_REASONS_MAX];
	char reason_labels[TARE_REASONS_MAX][32];
};

tare_http_handler svc_lookup_opt, svc_lookup_naive;                            // arg: struct svc
tare_http_handler svc_record_put;                                              // update.c; arg: struct svc
tare_http_handler svc_healthz, svc_metrics, svc_debug_allocs, svc_debug_tasks; // arg: struct svc
tare_http_handler svc_pprof, svc_pprof_symbol;                                 // profiles.c; arg: struct svc

TARE_MUST_USE int svc_metrics_register(struct svc *svc);
// A metric that is a field, of 64 bits, of a struct.
struct svc_field {
	const char *name, *help;
	size_t offset;
	bool counter;
};
// The field of such a struct whose offset is arg.
static inline double svc_field_read(const void *of, const void *arg)
{
	uint64_t value;
	memcpy(&value, (const char *)of + (uintptr_t)arg, sizeof value);
	return (double)value;
}
// Each with rows of its own; fn gets the field's offset as its arg.
TARE_MUST_USE int svc_rows_register(struct tare_registry *registry, const struct svc_field *fields, size_t count,
				    void (*fn)(void *arg, struct tare_rows *rows));
// Opens the collected heap, if there is to be one (in a task, then), and lays out svc->index, if that isn't done; says
// what is wrong. An exit code.
TARE_MUST_USE int svc_records_lay_out(struct svc *svc);
// Closes the collected heap, when nobody looks up any more. svc->records is freed after the runtime has returned.
void svc_records_close(struct svc *svc);
// 404 for a key that no record has.
void svc_key_problem(const struct svc *svc, struct tare_http_exchange *x, uint64_t key);
void svc_collector_write(struct svc *svc, struct tare_text *text);   // members of /debug/allocs
void svc_types_write(const struct svc *svc, struct tare_text *text); // a member of it, where it is asked for
// The query's parameter, or what stands in *value when it is not given. False: it is none, and is answered already.
TARE_MUST_USE bool svc_query_number(struct tare_http_exchange *x, const char *name, uint64_t low, uint64_t high,
				    uint64_t *value);
void svc_arenas_write(struct tare_text *text); // a JSON array
TARE_MUST_USE int svc_arenas_register(struct tare_registry *registry);

// ---- tracing one request ------------------------------------------------------------------------------------------

extern const char *const svc_steps[TARE_STEP_RESET + 1]; // by enum tare_http_step; [0] is NULL

// Serves on a free loopback port, asks itself once, prints the nine steps. In a task. An exit code.
int svc_trace_one(struct svc *svc);

enum { SVC_ROUTES_MAX = 10 };
// Fills routes and returns how many: lookups, what operators read, and what they change, as asked for. /healthz is
// always there.
size_t svc_routes(struct svc *svc, bool lookup, bool debug, bool update, struct tare_http_route routes[SVC_ROUTES_MAX]);

#endif
