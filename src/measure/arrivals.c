// SPDX-License-Identifier: MIT
// Intended send times. See measure.h.
#include <tare/measure.h>

#include <math.h>

void tare_arrivals_init(struct tare_arrivals *arrivals, int64_t begin_ns, double rate, bool poisson, uint64_t seed)
{
	TARE_ASSERT(rate > 0);
	*arrivals = (struct tare_arrivals){.begin_ns = begin_ns, .interval_ns = 1e9 / rate, .poisson = poisson};
	tare_rng_init(&arrivals->rng, seed);
}

int64_t tare_arrivals_next(struct tare_arrivals *arrivals)
{
	arrivals->count++;
	if (arrivals->poisson)
		arrivals->offset_ns += -log(tare_rng_unit(&arrivals->rng)) * arrivals->interval_ns;
	else
		arrivals->offset_ns = (double)arrivals->count * arrivals->interval_ns;
	return arrivals->begin_ns + (int64_t)(arrivals->offset_ns + 0.5);
}
