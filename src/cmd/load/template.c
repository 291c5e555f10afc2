// SPDX-License-Identifier: MIT
// Requests from a URL with placeholders: cut once into pieces, rendered into a buffer without a heap call.
#include "cmd/load/load.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

enum { PLACEHOLDER_SHOWN = 40 };

static int add_piece(struct load_template *t, enum load_piece_kind kind, size_t from, size_t len)
{
	if (t->piece_count == LOAD_PIECES_MAX)
		return -E2BIG;
	t->pieces[t->piece_count].kind = kind;
	t->pieces[t->piece_count].from = from;
	t->pieces[t->piece_count++].len = len;
	t->bytes_max += kind == LOAD_TEXT ? len : 20;
	return 0;
}

// Cuts t->text at its placeholders. Only the target's (up to path_end) count: a header may hold a brace.
static int cut(struct load_template *t, size_t path_end, size_t len, struct tare_error *err)
{
	static const struct {
		const char *text;
		enum load_piece_kind kind;
	} known[] = {{"{zipf}", LOAD_ZIPF}, {"{uniform}", LOAD_UNIFORM}, {"{seq}", LOAD_SEQ}};
	size_t from = 0;
	for (size_t i = 0; i < path_end; i++) {
		if (t->text[i] != '{')
			continue;
		size_t k = 0;
		while (k < TARE_ARRAY_LEN(known) && strncmp(t->text + i, known[k].text, strlen(known[k].text)) != 0)
			k++;
		if (k == TARE_ARRAY_LEN(known)) {
			const char *close = memchr(t->text + i, '}', path_end - i);
			size_t shown = close != NULL ? (size_t)(close - t->text) + 1 - i : path_end - i;
			return tare_error_set(err, -EINVAL,
					      "URL: unknown placeholder '%.*s'; there are {zipf}, {uniform} and {seq}",
					      (int)TARE_MIN(shown, (size_t)PLACEHOLDER_SHOWN), t->text + i);
		}
		size_t skip = strlen(known[k].text);
		if (add_piece(t, LOAD_TEXT, from, i - from) < 0 || add_piece(t, known[k].kind, 0, 0) < 0)
			return tare_error_set(err, -EINVAL, "URL: too many placeholders");
		from = i + skip;
		i = from - 1;
	}
	return add_piece(t, LOAD_TEXT, from, len - from);
}

// --header: one field that the server can read and that framing does not depend on.
static int check_header(const char *line, struct tare_error *err)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static const char *const taken[] = {"Host", "Content-Length", "Transfer-Encoding"};
	if (line[0] == '\0')
		return 0;
	size_t len = strspn(line, token);
	if (len == 0 || line[len] != ':')
		return tare_error_set(err, -EINVAL, "--header '%.200s': must be a header's name, a colon and its value",
				      line);
	for (size_t i = 0; i < TARE_ARRAY_LEN(taken); i++)
		if (len == strlen(taken[i]) && strncasecmp(line, taken[i], len) == 0)
			return tare_error_set(err, -EINVAL, "--header '%.200s': %s", line,
					      i == 0 ? "Host follows from the URL" : "requests have no body");
	for (const char *p = line + len; *p != '\0'; p++)
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return tare_error_set(err, -EINVAL, "--header '%.*s': one line, without control characters",
					      (int)TARE_MIN(len, (size_t)200), line);
	return 0;
}

int load_template_init(struct load_template *t, const struct load_options *o, struct tare_error *err)
{
	static const char scheme[] = "http://";
	*t = (struct load_template){.keys = o->keys, .head = strcmp(o->method_text, "HEAD") == 0};
	if (strncmp(o->url, scheme, sizeof scheme - 1) != 0)
		return tare_error_set(err, -EINVAL, "URL '%s': must begin with http://", o->url);
	const char *host = o->url + sizeof scheme - 1;
	size_t host_len = strcspn(host, "/?");
	const char *path = host + host_len;
	char *authority = t->authority;
	if (host_len == 0 || host_len >= sizeof t->authority - 4)
		return tare_error_set(err, -EINVAL, "URL '%s': has no host, or too long a one", o->url);
	memcpy(authority, host, host_len);
	authority[host_len] = '\0';
	const char *colon = strrchr(authority, ':');
	if (colon == NULL || strchr(colon, ']') != NULL)
		strcpy(authority + host_len, ":80");
	if (tare_resolve_check(authority, NULL) < 0 || strncmp(authority, "unix:", 5) == 0)
		return tare_error_set(
		    err, -EINVAL,
		    "URL '%s': the host must be a name or a numeric address, with a port up to 65535 or "
		    "none",
		    o->url);
	t->named = tare_addr_parse(&t->addr, authority, NULL) < 0;
	int rc = check_header(o->header, err);
	if (rc < 0)
		return rc;
	for (const char *p = path; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return tare_error_set(err, -EINVAL,
					      "URL '%s': bytes past printable ASCII must be percent-encoded", o->url);
	const char *slash = *path == '/' ? "" : "/";
	int begin = snprintf(t->text, sizeof t->text, "%s %s%s", o->method_text, slash, path);
	bool has_header = o->header[0] != '\0';
	int len = begin < 0 || begin >= (int)sizeof t->text
		      ? begin
		      : begin + snprintf(t->text + begin, sizeof t->text - (size_t)begin,
					 " HTTP/1.1\r\nHost: %.*s\r\n%s%s\r\n", (int)host_len, host, o->header,
					 has_header ? "\r\n" : "");
	if (len < 0 || len >= (int)sizeof t->text)
		return tare_error_set(err, -EINVAL, "the request is longer than %d bytes", LOAD_REQUEST_BYTES_MAX);
	if (tare_zipf_init(&t->zipf, o->keys, o->zipf_s) < 0)
		return tare_error_set(err, -EINVAL, "--keys and --zipf-s don't make a Zipf distribution");
	rc = cut(t, (size_t)begin, (size_t)len, err);
	return rc < 0 ? rc : 0;
}

size_t load_template_render(const struct load_template *t, struct tare_rng *rng, uint64_t *seq, uint64_t stride,
			    char *out)
{
	char *p = out;
	for (size_t i = 0; i < t->piece_count; i++) {
		uint64_t key = 0;
		switch (t->pieces[i].kind) {
		case LOAD_TEXT:
			memcpy(p, t->text + t->pieces[i].from, t->pieces[i].len);
			p += t->pieces[i].len;
			continue;
		case LOAD_ZIPF:
			key = tare_zipf_next(&t->zipf, rng) - 1;
			break;
		case LOAD_UNIFORM:
			key = tare_rng_below(rng, t->keys);
			break;
		case LOAD_SEQ:
			key = *seq % t->keys;
			*seq += stride;
			break;
		}
		char digits[20];
		size_t len = tare_format_u64(digits, key);
		memcpy(p, digits, len);
		p += len;
	}
	return (size_t)(p - out);
}
