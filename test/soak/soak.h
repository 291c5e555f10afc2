// SPDX-License-Identifier: MIT
//
// What the soak's files share: churners, and how a failure is reported.
#ifndef TEST_SOAK_H
#define TEST_SOAK_H

#include <tare/chan.h>
#include <tare/mem.h>
#include <tare/net.h>
#include <tare/rt.h>
#include <tare/sync.h>

// One task that does rounds of one kind of work until the epoch is over. A round is short and leaves nothing behind.
struct churn {
	const struct churn_kind *kind;
	int idx; // among those of its kind
	struct tare_rng rng;
	atomic_ullong rounds; // written by the churner alone; the watchdog looks on
	atomic_bool busy;     // likewise: it has not ended yet
};

struct churn_kind {
	const char *name;
	void (*round)(struct churn *churn);
};

// Whether the churners are to finish.
bool soak_over(void);

TARE_NORETURN void soak_fail(const char *file, int line, const char *what, long got);
#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (TARE_UNLIKELY(!(condition)))                                                                       \
			soak_fail(__FILE__, __LINE__, #condition, 0);                                                  \
	} while (0)
#define REQUIRE_EQ(got, want)                                                                                          \
	do {                                                                                                           \
		long got_ = (long)(got);                                                                               \
		if (TARE_UNLIKELY(got_ != (long)(want)))                                                               \
			soak_fail(__FILE__, __LINE__, #got " == " #want, got_);                                        \
	} while (0)

// Start a task and count it, so that the runtime's counters can be held against ours. 0, or why a cancelled scope
// refused.
struct soak_task {
	tare_task_fn *fn;
	void *arg;
};
// In the scope; NULL: in none, and then it must be joined through *ret.
int soak_go(struct tare_scope *scope, struct soak_task *task);
struct tare_task *soak_spawn(const struct tare_task_options *options, struct soak_task *task);

extern struct tare_pool *soak_streams; // of struct tare_stream: storage that stays while events may look at it

void churn_spawn(struct churn *churn);
void churn_cancel(struct churn *churn);
void churn_timeout(struct churn *churn);
void churn_channels(struct churn *churn);
void churn_select(struct churn *churn);
void churn_threads(struct churn *churn);
void churn_pairs(struct churn *churn);
void churn_connections(struct churn *churn);

#endif
