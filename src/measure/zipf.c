// SPDX-License-Identifier: MIT
// Zipf-distributed ranks by rejection-inversion: W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates
// from monotone discrete distributions", ACM TOMACS 6(3), 1996. The names are the paper's: h is the density's hat, H
// its integral.
#include <tare/measure.h>

#include <errno.h>
#include <math.h>

// (e^x - 1) / x and ln(1 + x) / x, whole at 0: what makes s = 1 no special case.
static double expm1_over(double x)
{
	return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2 * (1 + x / 3);
}

static double log1p_over(double x)
{
	return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * (0.5 - x / 3);
}

static double hat(const struct tare_zipf *zipf, double x)
{
	return exp(-zipf->s * log(x));
}

static double integral(const struct tare_zipf *zipf, double x)
{
	double log_x = log(x);
	return expm1_over((1 - zipf->s) * log_x) * log_x;
}

static double integral_inverse(const struct tare_zipf *zipf, double x)
{
	double t = x * (1 - zipf->s);
	return exp(log1p_over(fmax(t, -1)) * x); // below -1 by rounding alone
}

int tare_zipf_init(struct tare_zipf *zipf, uint64_t n, double s)
{
	if (n < 1 || n > TARE_ZIPF_N_MAX || !(s > 0) || !isfinite(s))
		return -EINVAL;
	*zipf = (struct tare_zipf){.n = n, .s = s};
	zipf->integral_first = integral(zipf, 1.5) - 1;
	zipf->integral_last = integral(zipf, (double)n + 0.5);
	zipf->squeeze = 2 - integral_inverse(zipf, integral(zipf, 2.5) - hat(zipf, 2));
	return 0;
}

uint64_t tare_zipf_next(const struct tare_zipf *zipf, struct tare_rng *rng)
{
	for (;;) {
		double u = zipf->integral_last + tare_rng_unit(rng) * (zipf->integral_first - zipf->integral_last);
		double x = integral_inverse(zipf, u);
		double rank = floor(fmin(fmax(x + 0.5, 1), (double)zipf->n));
		if (rank - x <= zipf->squeeze || u >= integral(zipf, rank + 0.5) - hat(zipf, rank))
			return (uint64_t)rank;
	}
}
