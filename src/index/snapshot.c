// SPDX-License-Identifier: MIT
// Generates a snapshot into a file. output.c says what becomes of the file when something fails.
//
// Threads: no state.
#include "index/index_int.h"

struct snapshot {
	const struct index_plan *plan;
	const struct tare_gen_options *options;
};

static int fill(void *arg, const struct index_sink *sink, struct tare_error *err)
{
	const struct snapshot *snapshot = arg;
	return index_generate(snapshot->plan, snapshot->options, sink, err);
}

int tare_snapshot_write(const char *path, const struct tare_gen_options *options, struct tare_error *err)
{
	struct index_plan plan;
	int rc = index_plan_make(options, &plan, err);
	if (rc < 0)
		return rc;
	return index_write(path, plan.file_bytes, fill, &(struct snapshot){&plan, options}, err);
}
