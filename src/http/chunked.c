// SPDX-License-Identifier: MIT
//
// http: the chunked request body (RFC 9112 7.1). The interface is in parse.h.
//
// The states, what each reads and where that leads (nowhere said: it stays), and the rule that any other byte breaks.
// read_size has SIZE, read_extension EXT_*, read_line_feed *_LF, read_trailer TRAILER_*, read_byte the rest.
//
//	SIZE             hex digit; ';': EXT_NAME_START; blank: SIZE_BLANK; CR: SIZE_LF         CHUNK_SIZE
//	SIZE_BLANK       blank; ';': EXT_NAME_START                                             CHUNK_SIZE
//	EXT_NAME_START   blank; token byte: EXT_NAME                                            CHUNK_EXTENSION
//	EXT_NAME         token byte; '=': EXT_VALUE_START; else as EXT_TOKEN's, to EXT_NAME_BLANK CHUNK_EXTENSION
//	EXT_NAME_BLANK   blank; '=': EXT_VALUE_START; ';': EXT_NAME_START                       CHUNK_EXTENSION
//	EXT_VALUE_START  blank; token byte: EXT_TOKEN; '"': EXT_QUOTED                          CHUNK_EXTENSION
//	EXT_TOKEN        token byte; ';': EXT_NAME_START; blank: EXT_BLANK; CR: SIZE_LF         CHUNK_EXTENSION
//	EXT_QUOTED       no control byte; '\': EXT_ESCAPED; '"': EXT_END                        CHUNK_EXTENSION
//	EXT_ESCAPED      no control byte: EXT_QUOTED                                            CHUNK_EXTENSION
//	EXT_END          ';': EXT_NAME_START; blank: EXT_BLANK; CR: SIZE_LF                     CHUNK_EXTENSION
//	EXT_BLANK        blank; ';': EXT_NAME_START                                             CHUNK_EXTENSION
//	SIZE_LF          LF: DATA, after a size of 0 TRAILER_START                              BARE_CR
//	DATA             the chunk's bytes, then DATA_CR                                        none
//	DATA_CR          CR: DATA_LF                                                            CHUNK_END
//	DATA_LF          LF: SIZE                                                               BARE_CR
//	TRAILER_START    token byte: TRAILER_NAME; CR: END_LF                                   a header line's
//	TRAILER_NAME     token byte; ':': TRAILER_VALUE                                         a header line's
//	TRAILER_VALUE    no control byte; CR: TRAILER_LF                                        VALUE_BYTE
//	TRAILER_LF       LF: TRAILER_START                                                      BARE_CR
//	END_LF           LF: DONE                                                               BARE_CR
//
// A LF in any state but *_LF and DATA breaks BARE_LF. Blanks behind a size pass only where an extension follows them: a
// size, a blank and CR LF is read as that size by some and refused by others.
//
// Thread-safe: the decoder is the caller's. Rejected: scanning ahead for line ends, because chunk heads are short.
#include "http/parse.h"
#include "http/scan.h"

enum state {
	SIZE,
	SIZE_BLANK,
	EXT_NAME_START,
	EXT_NAME,
	EXT_NAME_BLANK,
	EXT_VALUE_START,
	EXT_TOKEN,
	EXT_QUOTED,
	EXT_ESCAPED,
	EXT_END,
	EXT_BLANK,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_START,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
	DONE,
};

void http_chunked_init(struct http_chunked *chunked, const struct http_limits *limits)
{
	*chunked = (struct http_chunked){.body_bytes_max = limits->body_bytes_max,
					 .trailer_bytes_max = limits->head_bytes_max,
					 .trailers_max = limits->headers_max};
}

static enum http_rule go(struct http_chunked *chunked, enum state state)
{
	chunked->state = (uint8_t)state;
	return HTTP_RULE_NONE;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_value(char c)
{
	return (http_classes[(unsigned char)c] & HTTP_CLASS_VALUE) != 0;
}

// The size's last digit was read: it counts against the body's limit.
static enum http_rule size_known(struct http_chunked *chunked, enum state state)
{
	if (chunked->digits == 0)
		return HTTP_RULE_CHUNK_SIZE;
	if (chunked->left > chunked->body_bytes_max - chunked->body_bytes)
		return HTTP_RULE_BODY_LONG;
	chunked->body_bytes += chunked->left;
	return go(chunked, state);
}

static enum http_rule read_size(struct http_chunked *chunked, char c)
{
	unsigned digit = (unsigned char)c - (unsigned)'0';
	if (digit > 9) {
		digit = ((unsigned char)c | 0x20u) - (unsigned)'a';
		digit = digit < 6 ? digit + 10 : 16;
	}
	if (digit < 16) {
		if (chunked->digits == HTTP_CHUNK_SIZE_DIGITS_MAX)
			return HTTP_RULE_CHUNK_SIZE;
		chunked->digits++;
		chunked->left = chunked->left << 4 | digit;
		return HTTP_RULE_NONE;
	}
	if (c == ';')
		return size_known(chunked, EXT_NAME_START);
	if (c == '\r')
		return size_known(chunked, SIZE_LF);
	return is_blank(c) ? size_known(chunked, SIZE_BLANK) : HTTP_RULE_CHUNK_SIZE;
}

// What may stand behind a complete extension name or value.
static enum http_rule end_extension(struct http_chunked *chunked, char c, enum state blank)
{
	if (c == ';')
		return go(chunked, EXT_NAME_START);
	if (c == '\r' && chunked->state != EXT_BLANK && chunked->state != EXT_NAME_BLANK)
		return go(chunked, SIZE_LF);
	return is_blank(c) ? go(chunked, blank) : HTTP_RULE_CHUNK_EXTENSION;
}

static enum http_rule read_extension(struct http_chunked *chunked, char c)
{
	if (c != '\r' && ++chunked->extension_bytes > HTTP_CHUNK_EXTENSION_BYTES_MAX)
		return HTTP_RULE_CHUNK_EXTENSIONS_LONG;
	switch ((enum state)chunked->state) {
	case EXT_NAME_START:
		if (is_blank(c))
			return HTTP_RULE_NONE;
		return http_is_token(c) ? go(chunked, EXT_NAME) : HTTP_RULE_CHUNK_EXTENSION;
	case EXT_NAME:
		if (http_is_token(c))
			return HTTP_RULE_NONE;
		__attribute__((fallthrough));
	case EXT_NAME_BLANK:
		return c == '=' ? go(chunked, EXT_VALUE_START) : end_extension(chunked, c, EXT_NAME_BLANK);
	case EXT_VALUE_START:
		if (is_blank(c))
			return HTTP_RULE_NONE;
		if (c == '"')
			return go(chunked, EXT_QUOTED);
		return http_is_token(c) ? go(chunked, EXT_TOKEN) : HTTP_RULE_CHUNK_EXTENSION;
	case EXT_TOKEN:
		return http_is_token(c) ? HTTP_RULE_NONE : end_extension(chunked, c, EXT_BLANK);
	case EXT_QUOTED:
		if (c == '"')
			return go(chunked, EXT_END);
		if (c == '\\')
			return go(chunked, EXT_ESCAPED);
		return is_value(c) ? HTTP_RULE_NONE : HTTP_RULE_CHUNK_EXTENSION;
	case EXT_ESCAPED:
		return is_value(c) ? go(chunked, EXT_QUOTED) : HTTP_RULE_CHUNK_EXTENSION;
	default:
		return end_extension(chunked, c, EXT_BLANK);
	}
}

static enum http_rule read_trailer(struct http_chunked *chunked, char c)
{
	if (++chunked->trailer_bytes > chunked->trailer_bytes_max)
		return HTTP_RULE_TRAILER_LONG;
	switch ((enum state)chunked->state) {
	case TRAILER_START:
		if (c == '\r')
			return go(chunked, END_LF);
		if (is_blank(c))
			return HTTP_RULE_HEADER_FOLD;
		if (c == ':')
			return HTTP_RULE_NAME_EMPTY;
		if (http_is_token(c) && chunked->trailers++ == chunked->trailers_max)
			return HTTP_RULE_TRAILER_LONG;
		return http_is_token(c) ? go(chunked, TRAILER_NAME) : HTTP_RULE_NAME_BYTE;
	case TRAILER_NAME:
		if (c == ':')
			return go(chunked, TRAILER_VALUE);
		if (is_blank(c))
			return HTTP_RULE_NAME_SPACE;
		if (c == '\r')
			return HTTP_RULE_HEADER_COLON;
		return http_is_token(c) ? HTTP_RULE_NONE : HTTP_RULE_NAME_BYTE;
	default:
		if (c == '\r')
			return go(chunked, TRAILER_LF);
		return is_value(c) ? HTTP_RULE_NONE : HTTP_RULE_VALUE_BYTE;
	}
}

static enum http_rule read_line_feed(struct http_chunked *chunked, char c)
{
	if (c != '\n')
		return HTTP_RULE_BARE_CR;
	switch ((enum state)chunked->state) {
	case SIZE_LF:
		chunked->digits = 0;
		return go(chunked, chunked->left > 0 ? DATA : TRAILER_START);
	case DATA_LF:
		return go(chunked, SIZE);
	case TRAILER_LF:
		return go(chunked, TRAILER_START);
	default:
		return go(chunked, DONE);
	}
}

// One byte outside the chunks' data.
static enum http_rule read_byte(struct http_chunked *chunked, char c)
{
	switch ((enum state)chunked->state) {
	case SIZE_LF:
	case DATA_LF:
	case TRAILER_LF:
	case END_LF:
		return read_line_feed(chunked, c);
	case DATA_CR:
		return c == '\r' ? go(chunked, DATA_LF) : c == '\n' ? HTTP_RULE_BARE_LF : HTTP_RULE_CHUNK_END;
	default:
		break;
	}
	if (c == '\n')
		return HTTP_RULE_BARE_LF;
	if (chunked->state == SIZE)
		return read_size(chunked, c);
	if (chunked->state == SIZE_BLANK) {
		if (c == ';')
			return go(chunked, EXT_NAME_START);
		bool counted = is_blank(c) && ++chunked->extension_bytes <= HTTP_CHUNK_EXTENSION_BYTES_MAX;
		return counted ? HTTP_RULE_NONE : HTTP_RULE_CHUNK_SIZE;
	}
	return chunked->state < SIZE_LF ? read_extension(chunked, c) : read_trailer(chunked, c);
}

int http_chunked_next(struct http_chunked *chunked, const char *buf, size_t len, size_t *ret_used,
		      struct tare_str *ret_data)
{
	if (chunked->rule != HTTP_RULE_NONE)
		return -http_rule_status(chunked->rule);
	size_t i = 0;
	struct tare_str data = {buf, 0};
	while (i < len && chunked->state != DONE) {
		if (chunked->state == DATA) {
			data = (struct tare_str){buf + i, TARE_MIN(len - i, chunked->left)};
			chunked->left -= data.len;
			i += data.len;
			if (chunked->left == 0)
				go(chunked, DATA_CR);
			break;
		}
		chunked->rule = read_byte(chunked, buf[i++]);
		if (chunked->rule != HTTP_RULE_NONE)
			return -http_rule_status(chunked->rule);
	}
	*ret_used = i;
	*ret_data = data;
	return chunked->state == DONE;
}

int http_chunked_decode(struct http_chunked *chunked, char *buf, size_t len, size_t *ret_used, size_t *ret_data_len)
{
	size_t used = 0, data_len = 0;
	int rc;
	do {
		size_t step;
		struct tare_str data;
		rc = http_chunked_next(chunked, buf + used, len - used, &step, &data);
		if (rc < 0)
			return rc;
		if (data.len > 0)
			memmove(buf + data_len, data.ptr, data.len);
		data_len += data.len;
		used += step;
	} while (rc == 0 && used < len);
	*ret_used = used;
	*ret_data_len = data_len;
	return rc;
}
