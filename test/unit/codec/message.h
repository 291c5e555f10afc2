// SPDX-License-Identifier: MIT
// What the codec's tests share: messages of any schema behind one face, and bytes that end right before a guard page.
#ifndef TARE_TEST_MESSAGE_H
#define TARE_TEST_MESSAGE_H

#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tare/codec.h>

enum { MESSAGE_MAX = 8192, TEXT_MAX = 65536 };

// A schema's functions; view and in are storage for its structs.
struct message_type {
	const struct tare_codec_schema *schema;
	int (*verify)(void *view, const void *buf, size_t len, struct tare_error *err);
	void (*read)(void *in, const void *view);
	ssize_t (*encode)(const void *in, void *buf, size_t cap, struct tare_error *err);
};

union message_view {
	struct tare_codec_view view; // every generated view begins with it
	unsigned char bytes[MESSAGE_MAX];
};

#define MESSAGE_TYPE(name)                                                                                             \
	static int name##_do_verify(void *view, const void *buf, size_t len, struct tare_error *err)                   \
	{                                                                                                              \
		_Static_assert(sizeof(struct name##_view) <= MESSAGE_MAX, "raise MESSAGE_MAX");                        \
		return name##_verify(view, buf, len, err);                                                             \
	}                                                                                                              \
	static void name##_do_read(void *in, const void *view)                                                         \
	{                                                                                                              \
		_Static_assert(sizeof(struct name) <= MESSAGE_MAX, "raise MESSAGE_MAX");                               \
		name##_read(in, view);                                                                                 \
	}                                                                                                              \
	static ssize_t name##_do_encode(const void *in, void *buf, size_t cap, struct tare_error *err)                 \
	{                                                                                                              \
		return name##_encode(in, buf, cap, err);                                                               \
	}                                                                                                              \
	static const struct message_type name##_type = {&name##_schema, name##_do_verify, name##_do_read,              \
							name##_do_encode}

// ---- guard pages --------------------------------------------------------------------------------------------------

// Room for MESSAGE_MAX bytes, with nothing readable behind.
static unsigned char *guard_end(void)
{
	static unsigned char *end;
	if (end == NULL) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		unsigned char *base =
		    mmap(NULL, MESSAGE_MAX + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(base, MAP_FAILED);
		end = base + (MESSAGE_MAX + page) / page * page;
		assert_int_equal(mprotect(end, page, PROT_NONE), 0);
	}
	return end;
}

// The bytes, right before the guard page.
static inline unsigned char *guarded(const void *bytes, size_t len)
{
	unsigned char *at = guard_end() - len;
	assert_true(len <= MESSAGE_MAX);
	if (len > 0)
		memcpy(at, bytes, len);
	return at;
}

// ---- what holds of every message ----------------------------------------------------------------------------------

static inline ssize_t from_json(const struct message_type *type, void *buf, size_t cap, const char *text)
{
	struct tare_error err = {.text = ""};
	ssize_t n = tare_codec_json_read(type->schema, buf, cap, text, strlen(text), NULL, &err);
	if (n < 0)
		print_error("%s\n", err.text);
	return n;
}

// JSON says the same message again, or that it can't.
static void check_json(const struct message_type *type, const struct tare_codec_view *view)
{
	static char text[TEXT_MAX];
	static unsigned char again[MESSAGE_MAX];
	struct tare_error err = {.text = ""};
	ssize_t n = tare_codec_json_write(view, text, sizeof text, &err);
	if (n == -EDOM)
		return;
	assert_in_range(n, 2, sizeof text);
	assert_int_equal(tare_codec_json_check(text, (size_t)n, NULL, &err), 0);
	if (view->version != type->schema->version)
		return;
	ssize_t bytes = tare_codec_json_read(type->schema, again, sizeof again, text, (size_t)n, NULL, &err);
	if (bytes < 0)
		print_error("%s\n", err.text);
	assert_int_equal(bytes, view->total_bytes);
	assert_memory_equal(again, view->base, view->total_bytes);
}

// Verifies bytes that may be anything, in both ways, which must agree. Accepted: what is there is read, and encodes to
// the same bytes. Refused: the error names a byte. json: what is accepted goes through JSON, too.
static inline bool check_bytes(const struct message_type *type, const unsigned char *bytes, size_t len, bool json)
{
	static unsigned char again[MESSAGE_MAX], local[MESSAGE_MAX];
	static char lines[TEXT_MAX];
	static union message_view view, in;
	struct tare_codec_view other;
	struct tare_error err = {.text = ""}, other_err = {.text = ""};
	int rc = type->verify(&view, bytes, len, &err);
	int other_rc = tare_codec_verify(type->schema, &other, local, bytes, len, &other_err);
	assert_int_equal(rc, other_rc);
	assert_string_equal(err.text, other_err.text);
	if (rc < 0) {
		assert_int_equal(rc, -EBADMSG);
		assert_int_equal(strncmp(err.text, "byte ", 5), 0);
		assert_true((size_t)atol(err.text + 5) <= len);
		return false;
	}
	assert_int_equal(view.view.total_bytes, len);
	type->read(&in, &view);
	if (view.view.version == type->schema->version) {
		assert_int_equal(type->encode(&in, again, sizeof again, &err), len);
		assert_memory_equal(again, bytes, len);
	}
	if (json) {
		assert_true(tare_codec_print(&view.view, lines, sizeof lines) > 0);
		check_json(type, &view.view);
	}
	return true;
}

// Every truncation, as it is and with a head that says so.
static inline void check_truncations(const struct message_type *type, const unsigned char *bytes, size_t len)
{
	for (size_t cut = 0; cut < len; cut++) {
		unsigned char *at = guarded(bytes, cut);
		assert_false(check_bytes(type, at, cut, false));
		uint32_t total = (uint32_t)cut;
		if (cut >= 12) {
			memcpy(at + 8, &total, sizeof total);
			assert_false(check_bytes(type, at, cut, false));
		}
	}
}

// Every value of every byte; those that are a bit away through JSON.
static inline void check_changes(const struct message_type *type, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		for (unsigned flip = 1; flip < 256; flip++) {
			unsigned char *at = guarded(bytes, len);
			at[i] ^= (unsigned char)flip;
			(void)check_bytes(type, at, len, (flip & (flip - 1)) == 0);
		}
}

#endif
