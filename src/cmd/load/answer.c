// SPDX-License-Identifier: MIT
// HTTP/1.x answers as they come, in as few instructions as framing takes: the generator shares the machine with the
// server.
//
// Strict where a mistake would make it lose count of answers (status line, lengths, chunk sizes), blind to the rest.
#include "cmd/load/load.h"

#include <errno.h>
#include <strings.h>

static bool name_is(const char *line, size_t len, const char *name, size_t name_len)
{
	return len >= name_len && strncasecmp(line, name, name_len) == 0;
}

// What framing needs of one header line.
static int take_field(struct load_answer *a, const char *line, size_t len)
{
	static const char length[] = "content-length:", coding[] = "transfer-encoding:", connection[] = "connection:";
	char first = (char)(line[0] | 0x20);
	if (first != 'c' && first != 't')
		return 0;
	if (name_is(line, len, length, sizeof length - 1)) {
		const char *p = line + sizeof length - 1, *end = line + len;
		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		if (tare_parse_u64((struct tare_str){p, (size_t)(end - p)}, &a->left) < 0)
			return -EBADMSG;
		a->state = ANSWER_COUNTED;
	} else if (name_is(line, len, coding, sizeof coding - 1)) {
		a->state = ANSWER_CHUNK_SIZE;
	} else if (name_is(line, len, connection, sizeof connection - 1)) {
		for (size_t i = sizeof connection - 1; i + 5 <= len; i++)
			a->close |= strncasecmp(line + i, "close", 5) == 0;
	}
	return 0;
}

// A whole head: [buf, buf + len) with its empty line. Sets the state that the body is read in.
static int take_head(struct load_answer *a, bool head_only, const char *buf, size_t len)
{
	if (len < 17 || memcmp(buf, "HTTP/1.", 7) != 0 || buf[8] != ' ')
		return -EBADMSG;
	unsigned hundreds = (unsigned)(buf[9] - '0'), tens = (unsigned)(buf[10] - '0'),
		 ones = (unsigned)(buf[11] - '0');
	if (hundreds < 1 || hundreds > 5 || tens > 9 || ones > 9)
		return -EBADMSG;
	a->status = (int)(hundreds * 100 + tens * 10 + ones);
	a->close = buf[7] == '0';
	a->state = ANSWER_TO_END;
	a->left = 0;
	const char *p = memchr(buf, '\n', len);
	for (const char *end = buf + len; p + 1 < end;) {
		const char *line = p + 1;
		p = memchr(line, '\n', (size_t)(end - line));
		if (p == NULL)
			return -EBADMSG;
		size_t line_len = (size_t)(p - line) - (p > line && p[-1] == '\r');
		if (line_len > 0 && take_field(a, line, line_len) < 0)
			return -EBADMSG;
	}
	if (head_only || a->status == 204 || a->status == 304 || a->status < 200) {
		a->state = ANSWER_COUNTED;
		a->left = 0;
	}
	a->close |= a->state == ANSWER_TO_END;
	return 0;
}

// A line that ends within the buffer: its length with the line feed, 0 when it is not whole.
static size_t line_len(const char *buf, size_t len)
{
	const char *end = memchr(buf, '\n', len);
	return end != NULL ? (size_t)(end - buf) + 1 : 0;
}

static int take_chunk_size(struct load_answer *a, const char *buf)
{
	uint64_t size = 0;
	size_t digits = strspn(buf, "0123456789abcdefABCDEF");
	if (digits == 0 || digits > 15)
		return -EBADMSG;
	for (size_t i = 0; i < digits; i++)
		size = size * 16 + (unsigned)(buf[i] <= '9' ? buf[i] - '0' : (buf[i] | 0x20) - 'a' + 10);
	a->state = size > 0 ? ANSWER_CHUNK : ANSWER_TRAILER;
	a->left = size + 2; // the CRLF behind the data
	return 0;
}

// One step: 1 whole, 0 go on, -EAGAIN more bytes, -EBADMSG.
static int step(struct load_answer *a, bool head_only, const char *buf, size_t len, size_t *ret_used)
{
	*ret_used = 0;
	switch (a->state) {
	case ANSWER_HEAD: {
		const char *end = memmem(buf, len, "\r\n\r\n", 4);
		if (end == NULL)
			return -EAGAIN;
		*ret_used = (size_t)(end - buf) + 4;
		int rc = take_head(a, head_only, buf, *ret_used);
		if (rc == 0 && a->status < 200)
			a->state = ANSWER_HEAD; // 100 Continue: the answer comes behind it
		else if (rc == 0 && a->state == ANSWER_COUNTED && a->left == 0)
			return 1;
		return rc;
	}
	case ANSWER_COUNTED:
	case ANSWER_CHUNK:
		*ret_used = (size_t)TARE_MIN((uint64_t)len, a->left);
		a->left -= *ret_used;
		if (a->left > 0)
			return -EAGAIN;
		if (a->state == ANSWER_COUNTED)
			return 1;
		a->state = ANSWER_CHUNK_SIZE;
		return 0;
	case ANSWER_CHUNK_SIZE:
	case ANSWER_TRAILER: {
		size_t line = line_len(buf, len);
		if (line == 0)
			return -EAGAIN;
		*ret_used = line;
		if (a->state == ANSWER_CHUNK_SIZE)
			return take_chunk_size(a, buf);
		return line <= 2 ? 1 : 0;
	}
	case ANSWER_TO_END:
		*ret_used = len;
		return -EAGAIN;
	}
	return -EBADMSG;
}

int load_answer_feed(struct load_answer *a, bool head_only, const char *buf, size_t len, size_t *ret_used)
{
	size_t at = 0;
	int rc = 0;
	while (rc == 0) {
		size_t used;
		rc = step(a, head_only, buf + at, len - at, &used);
		at += used;
	}
	*ret_used = at;
	if (rc == 1)
		a->state = ANSWER_HEAD;
	return rc == -EAGAIN ? 0 : rc;
}
