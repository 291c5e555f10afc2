// SPDX-License-Identifier: MIT
//
// Text handed on in pieces: no buffer of its own grows, whoever reads decides where it is stored.
//
// Threads: a tare_text belongs to one caller.
#include <tare/stat.h>

#include <errno.h>
#include <stdio.h>

void tare_text_put(struct tare_text *text, const char *ptr, size_t len)
{
	if (text->rc == 0 && len > 0)
		text->rc = text->write(text->arg, ptr, len);
}

void tare_text_printf(struct tare_text *text, const char *format, ...)
{
	if (text->rc != 0)
		return;
	char buf[TARE_TEXT_PIECE_BYTES];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(buf, sizeof buf, format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof buf)
		text->rc = -EMSGSIZE;
	else
		tare_text_put(text, buf, (size_t)len);
}
