// SPDX-License-Identifier: MIT
//
// HdrHistogram's percentile distribution as text: five lines each time the distance to 100 % halves, until the last
// count is reached, then the line for 100 % and three lines of summary. The plotters of that family read it.
//
// Threads: as reading a histogram; while a writer records, lines may be from slightly different instants.
#include <tare/stat.h>
#include "stat/stat_int.h"

#include <math.h>

enum { TICKS_PER_HALF_DISTANCE = 5 };

// The level that follows level in 0 … 1.
static double next_level(double level)
{
	double half_distances = exp2(floor(log2(1 / (1 - level))) + 1);
	return level + 1 / (TICKS_PER_HALF_DISTANCE * half_distances);
}

static void write_lines(const struct tare_hist *hist, struct tare_text *text, double unit)
{
	uint64_t total = tare_hist_count(hist), max = tare_hist_max(hist), seen = 0;
	double level = 0;
	for (size_t i = 0; i < stat_hist_len(hist) && seen < total; i++) {
		uint64_t n = stat_hist_count_at(hist, i);
		if (n == 0)
			continue;
		seen += n;
		uint64_t highest = stat_hist_highest_at(hist, i);
		// The last bucket's levels end in the 100 % line, or they would never end.
		bool last = seen >= total;
		for (bool first = true; stat_quantile_rank(total, level) <= seen && (first || !last); first = false) {
			tare_text_printf(text, "%12.3f %2.12f %10llu %14.2f\n", (double)TARE_MIN(highest, max) / unit,
					 level, (unsigned long long)seen, 1 / (1 - level));
			level = next_level(level);
		}
	}
	if (total > 0)
		tare_text_printf(text, "%12.3f %2.12f %10llu            inf\n", (double)max / unit, 1.0,
				 (unsigned long long)total);
}

void tare_hist_write_hgrm(const struct tare_hist *hist, struct tare_text *text, double unit)
{
	static const char head[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
	tare_text_put(text, head, sizeof head - 1);
	write_lines(hist, text, unit);
	size_t half = (size_t)stat_hist_sub_buckets(hist) / 2;
	tare_text_printf(text, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", tare_hist_mean(hist) / unit,
			 tare_hist_stddev(hist) / unit);
	tare_text_printf(text, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)tare_hist_max(hist) / unit,
			 (unsigned long long)tare_hist_count(hist));
	tare_text_printf(text, "#[Buckets = %12zu, SubBuckets     = %12d]\n",
			 (stat_hist_len(hist) + half - 1) / half - 1, stat_hist_sub_buckets(hist));
}
