// SPDX-License-Identifier: MIT
// A line on the terminal for work that may take long: none for the first half second, then one a quarter of a second.
// Threads: one at a time.
#include "cmd/cmd.h"

#include <stdio.h>
#include <unistd.h>

#define FIRST_NS (500 * TARE_NS_PER_MS)
#define EACH_NS (250 * TARE_NS_PER_MS)

void cmd_progress_begin(struct cmd_progress *progress, const char *what)
{
	*progress =
	    (struct cmd_progress){.what = what, .start_ns = tare_clock_ns(), .terminal = isatty(STDERR_FILENO) == 1};
}

void cmd_progress_show(struct cmd_progress *progress, uint64_t done, uint64_t total)
{
	int64_t now_ns = tare_clock_ns();
	if (!progress->terminal || now_ns - progress->start_ns < FIRST_NS || now_ns - progress->shown_ns < EACH_NS)
		return;
	progress->shown_ns = now_ns;
	progress->shown = true;
	double share = (double)done / (double)total;
	double left_s = (double)(now_ns - progress->start_ns) / 1e9 * (1 - share) / share;
	fprintf(stderr, "\r%s %3.0f %%, %.0f s left \033[K", progress->what, 100 * share, left_s);
}

void cmd_progress_end(const struct cmd_progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r\033[K");
}
