// SPDX-License-Identifier: MIT
// Errors with a text, and asserts. Thread-safe: nothing is shared.
#include <tare/base.h>

#include <stdio.h>
#include <stdlib.h>

void tare_assert_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "tare: assertion failed at %s:%d: %s\n", file, line, condition);
	abort();
}

int tare_error_set(struct tare_error *err, int code, const char *format, ...)
{
	if (err == NULL)
		return code;
	va_list args;
	va_start(args, format);
	vsnprintf(err->text, sizeof err->text, format, args);
	va_end(args);
	return code;
}
