// SPDX-License-Identifier: MIT
//
// What the files of `tare load` share.
//
//   load.c       options, set-up, the run from probe to report
//   generator.c  one generator a worker: its pacer, its connections, its queue
//   conn.c       one connection's task: send, read the answer, record
//   answer.c     reads HTTP answers as they come
//   template.c   renders requests
//   report.c     text and JSON
//
// Everything of a generator (queue, idle list, connections, counts) is touched by tasks pinned to its worker alone, so
// nothing here needs a lock; the live display reads the atomics.
#ifndef TARE_CMD_LOAD_H
#define TARE_CMD_LOAD_H

#include "cmd/cmd.h"

#include <tare/dns.h>
#include <tare/measure.h>
#include <tare/net.h>
#include <tare/rt.h>
#include <tare/sync.h>
#include <tare/stat.h>

#include <stdio.h>

enum { LOAD_REQUEST_BYTES_MAX = 8192, LOAD_READ_BYTES = 16 * 1024, LOAD_PIPELINE_MAX = 256, LOAD_PIECES_MAX = 32 };

// ---- options ------------------------------------------------------------------------------------------------------

struct load_options {
	const char *url, *header, *method_text, *hgrm;
	double rate, zipf_s;
	int arrivals, method; // positions in their choices
	uint64_t connections, threads, pipeline, keys, seed;
	int64_t duration_ns, warmup_ns, timeout_ns, drain_ns;
	bool closed, json, live;
	bool rate_given, arrivals_given, drain_given;
};

// ---- requests (template.c) ----------------------------------------------------------------------------------------

enum load_piece_kind { LOAD_TEXT, LOAD_ZIPF, LOAD_UNIFORM, LOAD_SEQ };

struct load_template {
	struct tare_addr addr; // of a host that is a name: once it is resolved
	bool named;
	char authority[272];               // the URL's "host:port"
	char text[LOAD_REQUEST_BYTES_MAX]; // the request, with its placeholders cut out
	struct {
		enum load_piece_kind kind;
		size_t from, len; // LOAD_TEXT: of text
	} pieces[LOAD_PIECES_MAX];
	size_t piece_count;
	size_t bytes_max; // of one rendered request
	uint64_t keys;
	struct tare_zipf zipf;
	bool head; // HEAD: answers have no body
};

// Reads "http://HOST:PORT/path?key={zipf}". -EINVAL with a text.
TARE_MUST_USE int load_template_init(struct load_template *ret, const struct load_options *options,
				     struct tare_error *err);
// Writes one request at out (bytes_max of room). seq counts up by stride, so that generators don't repeat each other.
size_t load_template_render(const struct load_template *tmpl, struct tare_rng *rng, uint64_t *seq, uint64_t stride,
			    char *out);

// ---- answers (answer.c) -------------------------------------------------------------------------------------------

struct load_answer {
	enum { ANSWER_HEAD, ANSWER_COUNTED, ANSWER_CHUNK_SIZE, ANSWER_CHUNK, ANSWER_TRAILER, ANSWER_TO_END } state;
	uint64_t left;
	int status;
	bool close; // the connection ends after this answer
};

// Takes bytes of one answer from buf: 1 the answer is whole, 0 more is needed, -EBADMSG it is malformed. *ret_used
// bytes are done with; a head or chunk line that is not whole stays. The struct is ready for the next answer after a 1.
TARE_MUST_USE int load_answer_feed(struct load_answer *answer, bool head_only, const char *buf, size_t len,
				   size_t *ret_used);

// ---- counts -------------------------------------------------------------------------------------------------------

enum load_error {
	LOAD_ERROR_CONNECT,
	LOAD_ERROR_TIMEOUT,
	LOAD_ERROR_RESET,
	LOAD_ERROR_CLOSED,
	LOAD_ERROR_MALFORMED,
	LOAD_ERROR_OTHER,
	LOAD_ERRORS
};

extern const char *const load_error_names[LOAD_ERRORS];

enum load_measure { LOAD_LATENCY, LOAD_SERVICE, LOAD_QUEUE, LOAD_LATENESS, LOAD_MEASURES };

struct load_stats {
	struct tare_hist *hist[LOAD_MEASURES];
	// One writer, the generator's worker; the display reads.
	atomic_ullong due, answered, sent, errors[LOAD_ERRORS], bytes, reconnects, status[600];
	atomic_ullong queued_max, unfinished; // due: arrivals of the measured time, answered or not
};

// ---- generators ---------------------------------------------------------------------------------------------------

struct load_generator;

struct load_conn {
	struct tare_stream stream; // type-stable: the array outlives the runtime
	struct load_generator *generator;
	struct load_conn *idle_next;
	struct tare_event work;
	struct tare_task *task;
	int64_t intended_ns;
	bool open, has_work;
	struct load_answer answer;
	size_t len; // bytes in buf
	char *request, *buf;
};

struct load_run {
	const struct load_options *options;
	const struct load_template *tmpl;
	struct load_generator *generators;
	int64_t begin_ns, measure_ns, end_ns; // warm-up from begin, recorded after measure and up to end
	atomic_bool stop;                     // end early
};

// The first arrival is one interval after the beginning, so the one at the very end belongs to the run: at 100 a
// second, 100 in a second.
static inline bool load_in_window(const struct load_run *run, int64_t intended_ns)
{
	return intended_ns > run->measure_ns && intended_ns <= run->end_ns;
}

struct load_generator {
	struct load_run *run;
	int idx;
	struct load_conn *conns;
	size_t conn_count;
	struct load_conn *idle;
	int64_t *queue; // a ring of intended times that no connection was free for
	size_t queue_head, queue_len, queue_cap;
	struct tare_wg in_flight; // arrivals not yet answered
	bool closing;
	struct tare_rng rng;
	uint64_t seq;
	struct load_stats stats;
};

TARE_MUST_USE int load_generator_init(struct load_generator *generator, struct load_run *run, int idx,
				      size_t conn_count);
void load_generator_done(struct load_generator *generator);
// The generator's whole run; a task pinned to its worker. 0 or a negative errno.
int load_generator_task(void *generator);
// The earliest queued arrival, if there is one.
bool load_queue_pop(struct load_generator *generator, int64_t *ret_intended_ns);

// ---- connections (conn.c) -----------------------------------------------------------------------------------------

int load_conn_open_task(void *conn);
int load_conn_closed_task(void *conn);
// One request, one answer; its status. Of an error that came as a problem document, *ret_detail tells its detail;
// otherwise it is empty. Negative errno.
TARE_MUST_USE int load_probe(const struct load_options *options, const struct load_template *tmpl,
			     struct tare_error *ret_detail);

// ---- reports (report.c) -------------------------------------------------------------------------------------------

struct load_report {
	const struct load_run *run;
	struct load_stats total;
	double seconds; // measured
	bool interrupted;
};

int load_report_print(const struct load_report *report);
// Writes the distribution into the file and closes it. Negative errno.
TARE_MUST_USE int load_report_hgrm(const struct load_report *report, FILE *file);
bool load_generator_limited(const struct load_report *report);

#endif
