// SPDX-License-Identifier: MIT
//
// Text in arenas: copies, formatted, growing, and the text that can be had when nothing else can.
//
// Formatting goes straight into the free part of the current block, so that text that fits there is formatted once.
// Threads: the arena's owner.
#include "mem/arena.h"

#include "mem/poison.h"

#include <errno.h>
#include <stdio.h>

enum { TEXT_BYTES_MIN = 64 };

char *tare_arena_copy(struct tare_arena *face, struct tare_str bytes)
{
	char *copy = bytes.len < SIZE_MAX ? tare_arena_alloc(face, bytes.len + 1) : NULL;
	if (copy == NULL)
		return NULL;
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	copy[bytes.len] = '\0';
	return copy;
}

char *tare_arena_strdup(struct tare_arena *face, const char *text)
{
	return tare_arena_copy(face, (struct tare_str){text, strlen(text)});
}

// ---- formatted ----------------------------------------------------------------------------------------------------

char *tare_arena_vprintf(struct tare_arena *face, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	char *at = face->at;
	size_t room = (size_t)(face->end - at);
	mem_unpoison(at, room);
	int len = vsnprintf(at, room, format, args);
	mem_poison(at, room);
	char *ptr = NULL;
	if (len < 0)
		TARE_CONTAINER_OF(face, struct arena, face)->error = -EINVAL;
	else
		ptr = tare_arena_alloc(face, (size_t)len + 1);
	if (ptr != NULL && ptr != at)
		(void)vsnprintf(ptr, (size_t)len + 1, format, again);
	va_end(again);
	return ptr;
}

char *tare_arena_printf(struct tare_arena *face, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *text = tare_arena_vprintf(face, format, args);
	va_end(args);
	return text;
}

char *tare_arena_report(struct tare_arena *face, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *text = tare_arena_vprintf(face, format, args);
	va_end(args);
	if (text != NULL)
		return text;
	struct arena *arena = TARE_CONTAINER_OF(face, struct arena, face);
	va_start(args, format);
	if (vsnprintf(arena->reserve, sizeof arena->reserve, format, args) < 0)
		arena->reserve[0] = '\0';
	va_end(args);
	return arena->reserve;
}

// ---- growing ------------------------------------------------------------------------------------------------------

// One byte more than there is stays for the NUL.
static int text_write(void *arg, const char *ptr, size_t len)
{
	struct tare_arena_text *text = arg;
	if (len >= text->cap - text->len) {
		size_t cap = TARE_MAX(TARE_MAX(2 * text->cap, text->len + len + 1), (size_t)TEXT_BYTES_MIN);
		char *grown = tare_arena_realloc(text->arena, text->ptr, text->cap, cap);
		if (grown == NULL)
			return tare_arena_error(text->arena);
		text->ptr = grown;
		text->cap = cap;
	}
	memcpy(text->ptr + text->len, ptr, len);
	text->len += len;
	return 0;
}

void tare_arena_text_init(struct tare_arena_text *text, struct tare_arena *face)
{
	*text = (struct tare_arena_text){.text = {.write = text_write, .arg = text}, .arena = face};
}

struct tare_str tare_arena_text_get(struct tare_arena_text *text)
{
	if (text->ptr == NULL && text->text.rc == 0)
		text->text.rc = text_write(text, "", 0);
	if (text->text.rc < 0)
		return (struct tare_str){NULL, 0};
	text->ptr[text->len] = '\0';
	return (struct tare_str){text->ptr, text->len};
}
