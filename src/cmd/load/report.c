// SPDX-License-Identifier: MIT
// What a run came to: text for people, one JSON object for programs, .hgrm for plotters.
#include "cmd/load/load.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

const char *const load_error_names[LOAD_ERRORS] = {"connect", "timeout", "reset", "closed", "malformed", "other"};

static const struct {
	const char *name;
	double quantile;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}, {"max", 1}};

static uint64_t read_count(const atomic_ullong *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static uint64_t errors_of(const struct load_stats *stats)
{
	uint64_t errors = 0;
	for (int i = 0; i < LOAD_ERRORS; i++)
		errors += read_count(&stats->errors[i]);
	return errors;
}

static double rate_achieved(const struct load_report *r)
{
	return r->seconds > 0 ? (double)read_count(&r->total.answered) / r->seconds : 0;
}

// The generator, not the server, made a visible part of the tail: its own lateness at p99 is over a millisecond and
// over a tenth of the latency there. Of fewer than a hundred arrivals p99 is the single worst, which says nothing.
bool load_generator_limited(const struct load_report *r)
{
	if (r->run->options->closed || tare_hist_count(r->total.hist[LOAD_LATENESS]) < 100)
		return false;
	uint64_t late_ns = tare_hist_quantile(r->total.hist[LOAD_LATENESS], 0.99);
	uint64_t latency_ns = tare_hist_quantile(r->total.hist[LOAD_LATENCY], 0.99);
	return late_ns > 1000000 && late_ns * 10 > latency_ns;
}

// ---- notes --------------------------------------------------------------------------------------------------------

enum { NOTES_MAX = 6, NOTE_BYTES = 240 };

struct notes {
	char text[NOTES_MAX][NOTE_BYTES];
	int count;
};

static void TARE_PRINTF(2, 3) note(struct notes *notes, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (notes->count < NOTES_MAX)
		vsnprintf(notes->text[notes->count++], NOTE_BYTES, format, args);
	va_end(args);
}

static void notes_make(const struct load_report *r, struct notes *notes)
{
	const struct load_options *o = r->run->options;
	notes->count = 0;
	if (o->closed)
		note(notes,
		     "closed loop: a stalled server is asked less while it stalls, so these percentiles hide stalls");
	if (load_generator_limited(r))
		note(notes,
		     "generator-limited: the generator was late by %.2f ms at p99; lower --rate, add --threads, or "
		     "give it a CPU",
		     (double)tare_hist_quantile(r->total.hist[LOAD_LATENESS], 0.99) / 1e6);
	// Against what was due, not the rate: of 3 a second, half a second holds one or two.
	if (!o->closed && !r->interrupted && read_count(&r->total.queued_max) > 0 &&
	    (double)read_count(&r->total.answered) < 0.98 * (double)read_count(&r->total.due))
		note(notes,
		     "rate not reached: all %" PRIu64 " connections were busy and up to %" PRIu64 " arrivals waited",
		     o->connections, read_count(&r->total.queued_max));
	if (read_count(&r->total.unfinished) > 0)
		note(notes,
		     "%" PRIu64 " requests were still unanswered %.1f s after the end; they are in no percentile",
		     read_count(&r->total.unfinished), (double)o->drain_ns / 1e9);
	if (r->interrupted)
		note(notes, "interrupted: the run was shorter than asked for");
}

// ---- text ---------------------------------------------------------------------------------------------------------

static void print_time(double ns)
{
	if (ns < 1e3)
		printf("%8.0f ns", ns);
	else if (ns < 1e6)
		printf("%8.1f us", ns / 1e3);
	else if (ns < 1e9)
		printf("%8.2f ms", ns / 1e6);
	else
		printf("%8.2f s ", ns / 1e9);
}

static void print_row(const char *name, const struct tare_hist *hist)
{
	printf("  %-26s", name);
	for (size_t i = 0; i < TARE_ARRAY_LEN(quantiles); i++)
		print_time((double)tare_hist_quantile(hist, quantiles[i].quantile));
	printf("\n");
}

static void print_counts(const struct load_report *r)
{
	const struct load_stats *t = &r->total;
	printf("answered %" PRIu64 " in %.2f s, %.1f MB read;", read_count(&t->answered), r->seconds,
	       (double)read_count(&t->bytes) / 1e6);
	for (int status = 100; status < 600; status++)
		if (read_count(&t->status[status]) > 0)
			printf(" %d: %" PRIu64, status, read_count(&t->status[status]));
	printf("\n");
	if (errors_of(t) == 0)
		return;
	printf("errors %" PRIu64 ":", errors_of(t));
	for (int i = 0; i < LOAD_ERRORS; i++)
		if (read_count(&t->errors[i]) > 0)
			printf(" %s %" PRIu64, load_error_names[i], read_count(&t->errors[i]));
	printf("\n");
}

static int print_text(const struct load_report *r)
{
	const struct load_options *o = r->run->options;
	printf("%s, %s model, %" PRIu64 " connections, %" PRIu64 " threads", o->url, o->closed ? "closed" : "open",
	       o->connections, o->threads);
	if (o->pipeline > 1)
		printf(", %" PRIu64 " requests a write", o->pipeline);
	printf(", seed %" PRIu64 "\n", o->seed);
	if (o->closed)
		printf("rate %.0f/s (closed loop)\n", rate_achieved(r));
	else
		printf("rate %.0f/s of %.0f/s offered, %s arrivals\n", rate_achieved(r), o->rate,
		       o->arrivals == 1 ? "Poisson" : "constant");
	print_counts(r);
	printf("  %-26s%11s%11s%11s%11s%11s%11s\n", "", "p50", "p90", "p99", "p99.9", "p99.99", "max");
	if (!o->closed)
		print_row("latency (intended to done)", r->total.hist[LOAD_LATENCY]);
	print_row("service (sent to done)", r->total.hist[LOAD_SERVICE]);
	if (!o->closed) {
		print_row("queue (intended to sent)", r->total.hist[LOAD_QUEUE]);
		print_row("generator's lateness", r->total.hist[LOAD_LATENESS]);
	}
	struct notes notes;
	notes_make(r, &notes);
	for (int i = 0; i < notes.count; i++)
		printf("note: %s\n", notes.text[i]);
	return fflush(stdout) == 0 ? 0 : -EIO;
}

// ---- JSON ---------------------------------------------------------------------------------------------------------

static json_t *hist_json(const struct tare_hist *hist)
{
	json_t *object = json_object();
	for (size_t i = 0; i < TARE_ARRAY_LEN(quantiles); i++)
		json_object_set_new(object, quantiles[i].name,
				    json_integer((json_int_t)tare_hist_quantile(hist, quantiles[i].quantile)));
	json_object_set_new(object, "mean", json_real(tare_hist_mean(hist)));
	return object;
}

static json_t *counts_json(const struct load_stats *t, json_t **ret_errors)
{
	json_t *status = json_object();
	for (int i = 100; i < 600; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		if (read_count(&t->status[i]) > 0)
			json_object_set_new(status, name, json_integer((json_int_t)read_count(&t->status[i])));
	}
	*ret_errors = json_object();
	for (int i = 0; i < LOAD_ERRORS; i++)
		json_object_set_new(*ret_errors, load_error_names[i],
				    json_integer((json_int_t)read_count(&t->errors[i])));
	return status;
}

static int print_json(const struct load_report *r)
{
	const struct load_options *o = r->run->options;
	const struct load_stats *t = &r->total;
	struct notes notes;
	notes_make(r, &notes);
	json_t *notes_json = json_array(), *errors;
	for (int i = 0; i < notes.count; i++)
		json_array_append_new(notes_json, json_string(notes.text[i]));
	json_t *status = counts_json(t, &errors);
	json_t *report = json_pack(
	    "{s:s, s:s, s:f, s:f, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:b, "
	    "s:b, s:o}",
	    "mode", o->closed ? "closed" : "open", "url", o->url, "rate_offered", o->closed ? 0.0 : o->rate,
	    "rate_achieved", rate_achieved(r), "requests", (json_int_t)read_count(&t->answered), "errors",
	    (json_int_t)errors_of(t), "duration_s", r->seconds, "connections", (json_int_t)o->connections, "threads",
	    (json_int_t)o->threads, "pipeline", (json_int_t)o->pipeline, "seed", (json_int_t)o->seed, "bytes",
	    (json_int_t)read_count(&t->bytes), "latency_ns", hist_json(t->hist[LOAD_LATENCY]), "service_ns",
	    hist_json(t->hist[LOAD_SERVICE]), "queue_ns", hist_json(t->hist[LOAD_QUEUE]), "lateness_ns",
	    hist_json(t->hist[LOAD_LATENESS]), "status", status, "error_kinds", errors, "unfinished",
	    (json_int_t)read_count(&t->unfinished), "queued_max", (json_int_t)read_count(&t->queued_max),
	    "generator_limited", load_generator_limited(r), "interrupted", r->interrupted, "notes", notes_json);
	if (report == NULL)
		return -ENOMEM;
	int rc = json_dumpf(report, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10)) == 0 && putchar('\n') != EOF &&
			 fflush(stdout) == 0
		     ? 0
		     : -EIO;
	json_decref(report);
	return rc;
}

int load_report_print(const struct load_report *report)
{
	return report->run->options->json ? print_json(report) : print_text(report);
}

// ---- hgrm ---------------------------------------------------------------------------------------------------------

static int write_file(void *arg, const char *ptr, size_t len)
{
	return fwrite(ptr, 1, len, arg) == len ? 0 : -EIO;
}

int load_report_hgrm(const struct load_report *report, FILE *file)
{
	struct tare_text text = {.write = write_file, .arg = file};
	tare_hist_write_hgrm(report->total.hist[LOAD_LATENCY], &text, 1e6); // milliseconds, as the plotters expect
	return fclose(file) == 0 ? text.rc : -errno;
}
