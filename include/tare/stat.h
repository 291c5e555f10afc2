// SPDX-License-Identifier: MIT
//
// stat: sharded counters, HDR histograms, a registry of them, and their export as Prometheus text.
//
// Recording never blocks, never allocates, and costs a few nanoseconds: each thread adds to a shard of its own
// (tare_shard) with a relaxed atomic. Reading sums the shards; it may run at any time and sees each addition once,
// though not all shards at one instant.
#ifndef TARE_STAT_H
#define TARE_STAT_H

#include <tare/base.h>

// ---- counters -----------------------------------------------------------------------------------------------------

// Sums of signed additions, so that it serves as a counter and as a gauge. Zero-initialised storage is a valid counter.
// Shards are few and shared by hash: adding is a relaxed atomic add on a line that is almost always this thread's
// alone.
#define TARE_COUNTER_SHARDS 16
struct tare_counter {
	struct {
		alignas(TARE_CACHE_LINE) atomic_llong value;
	} shard[TARE_COUNTER_SHARDS];
};

static inline void tare_counter_add(struct tare_counter *counter, long long n)
{
	atomic_fetch_add_explicit(&counter->shard[tare_shard() % TARE_COUNTER_SHARDS].value, n, memory_order_relaxed);
}

// The sum of the shards; from any thread.
long long tare_counter_read(const struct tare_counter *counter);

// ---- histograms ---------------------------------------------------------------------------------------------------

// HDR layout: 3 significant digits is 2,048 linear sub-buckets a power of two; 2 digits is 256, 1 is 32.
// Values are non-negative integers (nanoseconds, as a rule) up to a highest trackable one; what is higher is recorded
// as that one and counted apart. A histogram has one writer at a time, or is read while a writer records
// (relaxed atomics): give each worker its own and merge them to read.
struct tare_hist;

// digits: 1 to 3. value_max >= 2 * 10^digits. -ENOMEM, -EINVAL. Free with tare_hist_free (NULL is fine).
TARE_MUST_USE int tare_hist_new(struct tare_hist **ret, int digits, uint64_t value_max);
void tare_hist_free(struct tare_hist *hist);
// What it takes of memory.
size_t tare_hist_bytes(const struct tare_hist *hist);
// Adds the value once, or n times. Never blocks or fails; by the histogram's one writer.
void tare_hist_record(struct tare_hist *hist, uint64_t value);
void tare_hist_record_n(struct tare_hist *hist, uint64_t value, uint64_t n);
// Adds other's counts to hist; both made with the same arguments (asserted).
void tare_hist_merge(struct tare_hist *hist, const struct tare_hist *other);
// By the writer: as new.
void tare_hist_reset(struct tare_hist *hist);
// Values recorded.
uint64_t tare_hist_count(const struct tare_hist *hist);
uint64_t tare_hist_clamped(const struct tare_hist *hist); // values above value_max
uint64_t tare_hist_min(const struct tare_hist *hist);     // 0 when empty; exact
uint64_t tare_hist_max(const struct tare_hist *hist);     // exact
double tare_hist_sum(const struct tare_hist *hist);       // exact to 2^53, to a part in 2^53 an addition beyond
double tare_hist_mean(const struct tare_hist *hist);      // of the values themselves, not of their buckets
double tare_hist_stddev(const struct tare_hist *hist);    // to the buckets' precision
// The value that quantile (0 … 1) of the counts are at or below: the highest value equivalent to its bucket, at most
// max.
uint64_t tare_hist_quantile(const struct tare_hist *hist, double quantile);
// Counts at or below value (to the bucket's precision).
uint64_t tare_hist_count_at_or_below(const struct tare_hist *hist, uint64_t value);

// ---- growing text -------------------------------------------------------------------------------------------------

// Text that somebody else stores: write is called with pieces in order and returns 0 or a negative errno, which is kept
// in rc and silences what follows.
struct tare_text {
	int (*write)(void *arg, const char *ptr, size_t len);
	void *arg;
	int rc;
};

// What one tare_text_printf may come to, its NUL included; more is -EMSGSIZE in rc.
#define TARE_TEXT_PIECE_BYTES 1024

// Appends; a failure of write, or of the format, shows in rc.
void tare_text_put(struct tare_text *text, const char *ptr, size_t len);
void tare_text_printf(struct tare_text *text, const char *format, ...) TARE_PRINTF(2, 3);

// HdrHistogram's percentile distribution ("Value Percentile TotalCount 1/(1-Percentile)"), values divided by unit:
// what the usual plotters read as .hgrm.
void tare_hist_write_hgrm(const struct tare_hist *hist, struct tare_text *text, double unit);

// ---- registry -----------------------------------------------------------------------------------------------------

// Metrics under their Prometheus names and help texts, in the order of registration. Register before serving; the
// registry keeps pointers: metric, name, help and labels must outlive it. Bad names, and one name registered with two
// kinds, are programmer errors (asserted): counters' names end in _total, and only theirs. Setting up is not
// thread-safe; writing is.
struct tare_registry;

// -ENOMEM, as all that register. Free with tare_registry_free (NULL is fine), which leaves the metrics alone.
TARE_MUST_USE int tare_registry_new(struct tare_registry **ret);
void tare_registry_free(struct tare_registry *registry);
// labels: `path="opt",code="200"` without braces, or NULL. One name may be registered again with other labels.
TARE_MUST_USE int tare_registry_counter(struct tare_registry *registry, const char *name, const char *labels,
					const char *help, const struct tare_counter *counter);
TARE_MUST_USE int tare_registry_gauge(struct tare_registry *registry, const char *name, const char *labels,
				      const char *help, double (*read)(void *arg), void *arg);
// As a counter, but read by a function.
TARE_MUST_USE int tare_registry_counter_fn(struct tare_registry *registry, const char *name, const char *labels,
					   const char *help, double (*read)(void *arg), void *arg);
// As a gauge or a counter whose rows come and go (pools, say): at each scrape `each` puts them, one label and a value
// each. It must not block. Labels' values are escaped here.
struct tare_rows;
TARE_MUST_USE int tare_registry_rows(struct tare_registry *registry, const char *name, const char *help, bool counter,
				     void (*each)(void *arg, struct tare_rows *rows), void *arg);
void tare_rows_put(struct tare_rows *rows, const char *label, const char *label_value, double value);
// A Prometheus histogram in base units: recorded values times scale (1e-9: nanoseconds to seconds), with log-spaced
// buckets between first and last (1-2-5 a decade). fill merges the current state into the scratch histogram it is
// given, under a lock: it must not block.
TARE_MUST_USE int tare_registry_hist(struct tare_registry *registry, const char *name, const char *labels,
				     const char *help, double scale, double first, double last,
				     void (*fill)(void *arg, struct tare_hist *into), void *arg, int digits,
				     uint64_t value_max);
// Prometheus text format 0.0.4: HELP and TYPE once a name. Allocates nothing per metric beyond what registration set
// aside.
void tare_registry_write(struct tare_registry *registry, struct tare_text *text);
// process_* : CPU seconds, resident and virtual bytes, open and max fds, start time, threads, context switches.
TARE_MUST_USE int tare_registry_process(struct tare_registry *registry);

#endif
