// SPDX-License-Identifier: MIT
//
// Goal: what our parser accepts, Node's llhttp accepts too and reads the same: method, target, version, fields,
// framing, body and keep-alive. Where the two part on purpose, the file and the reason are in one table below.
//
// Method: llhttp (Debian's node-llhttp ships its C sources; the Makefile builds them in strict mode for this program
// alone) reads each message of fuzz/corpus/http, then seeded mutations of them. A difference that isn't listed fails,
// and so does a listed one that no longer is one.
//
// Run from the repository's root; TARE_CORPUS names another folder.
#include "test.h"

#include "../../../fuzz/http_check.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

// Both name their methods' constants alike; here only llhttp's functions and flags are wanted.
#define HTTP_DELETE LLHTTP_DELETE
#define HTTP_GET LLHTTP_GET
#define HTTP_HEAD LLHTTP_HEAD
#define HTTP_POST LLHTTP_POST
#define HTTP_PUT LLHTTP_PUT
#define HTTP_CONNECT LLHTTP_CONNECT
#define HTTP_OPTIONS LLHTTP_OPTIONS
#define HTTP_TRACE LLHTTP_TRACE
#define HTTP_PATCH LLHTTP_PATCH
#include <llhttp.h>

#define MESSAGE_MAX 8192

enum verdict { REFUSED, PARTIAL, ACCEPTED };

// A message as either parser reads it. Bytes are copied, so that both can be compared.
struct reading {
	enum verdict verdict;
	char why[96]; // for REFUSED
	char method[40], target[MESSAGE_MAX], body[MESSAGE_MAX];
	char names[CHECK_HEADERS][512], values[CHECK_HEADERS][1024];
	size_t target_len, body_len, names_len[CHECK_HEADERS], values_len[CHECK_HEADERS];
	unsigned header_count, minor;
	bool chunked, has_length, keep_alive;
	uint64_t length;
};

static const struct http_limits limits = {
    .head_bytes_max = 4096, .target_bytes_max = 2048, .headers_max = CHECK_HEADERS, .body_bytes_max = UINT64_MAX};

// ---- ours ---------------------------------------------------------------------------------------------------------

static void put(char *to, size_t cap, size_t *ret_len, struct tare_str from)
{
	assert_true(from.len < cap);
	memcpy(to, from.ptr, from.len);
	to[from.len] = '\0';
	*ret_len = from.len;
}

// The body behind the head; the message ends at *ret_end.
static enum verdict read_our_body(struct reading *reading, const struct http_head *head, const char *buf, size_t len,
				  size_t *ret_end)
{
	const char *rest = buf + head->head_bytes;
	size_t there = len - head->head_bytes;
	if (head->chunked) {
		struct checked_body body;
		check_decode(&body, rest, there, TARE_MAX(there, 1), &limits);
		put(reading->body, sizeof reading->body, &reading->body_len,
		    (struct tare_str){body.data, body.data_len});
		free(body.data);
		*ret_end = head->head_bytes + body.used;
		snprintf(reading->why, sizeof reading->why, "%s", http_rule_name(body.rule));
		return body.rc < 0 ? REFUSED : body.rc == 0 ? PARTIAL : ACCEPTED;
	}
	size_t body_len = TARE_MIN(there, head->content_length);
	put(reading->body, sizeof reading->body, &reading->body_len, (struct tare_str){rest, body_len});
	*ret_end = head->head_bytes + body_len;
	return body_len < head->content_length ? PARTIAL : ACCEPTED;
}

// The first message in buf.
static void read_ours(struct reading *reading, const char *buf, size_t len, size_t *ret_end)
{
	static struct checked_head checked;
	memset(reading, 0, sizeof *reading);
	check_parse(&checked, buf, len, &limits);
	const struct http_head *head = &checked.head;
	*ret_end = len;
	if (checked.rc <= 0) {
		reading->verdict = checked.rc == 0 ? PARTIAL : REFUSED;
		snprintf(reading->why, sizeof reading->why, "%s", http_rule_name(head->rule));
		return;
	}
	size_t unused;
	put(reading->method, sizeof reading->method, &unused, head->method_text);
	put(reading->target, sizeof reading->target, &reading->target_len, head->target);
	for (unsigned i = 0; i < head->header_count; i++) {
		put(reading->names[i], sizeof reading->names[i], &reading->names_len[i], head->headers[i].name);
		put(reading->values[i], sizeof reading->values[i], &reading->values_len[i], head->headers[i].value);
	}
	reading->header_count = head->header_count;
	reading->minor = head->minor;
	reading->chunked = head->chunked;
	reading->has_length = head->has_content_length;
	reading->length = head->content_length;
	reading->keep_alive = head->keep_alive;
	reading->verdict = read_our_body(reading, head, buf, len, ret_end);
}

// ---- llhttp's -----------------------------------------------------------------------------------------------------

static struct reading *reading_of(llhttp_t *parser)
{
	return parser->data;
}

// A span may come in several calls.
static int append(char *to, size_t cap, size_t *len, const char *at, size_t more)
{
	if (*len + more >= cap)
		return -1;
	memcpy(to + *len, at, more);
	*len += more;
	to[*len] = '\0';
	return 0;
}

static int on_method(llhttp_t *parser, const char *at, size_t len)
{
	struct reading *reading = reading_of(parser);
	size_t there = strlen(reading->method);
	return append(reading->method, sizeof reading->method, &there, at, len);
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	struct reading *reading = reading_of(parser);
	return append(reading->target, sizeof reading->target, &reading->target_len, at, len);
}

// Fields behind the head are trailers, which ours drops.
static bool in_trailers(llhttp_t *parser)
{
	return reading_of(parser)->verdict == PARTIAL;
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
	struct reading *reading = reading_of(parser);
	unsigned i = reading->header_count;
	if (in_trailers(parser))
		return 0;
	return i == CHECK_HEADERS ? -1 : append(reading->names[i], 512, &reading->names_len[i], at, len);
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
	struct reading *reading = reading_of(parser);
	unsigned i = reading->header_count;
	if (in_trailers(parser))
		return 0;
	return i == CHECK_HEADERS ? -1 : append(reading->values[i], 1024, &reading->values_len[i], at, len);
}

static int on_value_complete(llhttp_t *parser)
{
	struct reading *reading = reading_of(parser);
	if (in_trailers(parser))
		return 0;
	// llhttp leaves the whitespace behind a value in it.
	unsigned i = reading->header_count++;
	size_t *len = &reading->values_len[i];
	while (*len > 0 && (reading->values[i][*len - 1] == ' ' || reading->values[i][*len - 1] == '\t'))
		reading->values[i][--*len] = '\0';
	return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
	struct reading *reading = reading_of(parser);
	reading->minor = parser->http_minor;
	reading->chunked = (parser->flags & F_CHUNKED) != 0;
	reading->has_length = (parser->flags & F_CONTENT_LENGTH) != 0;
	reading->length = reading->has_length ? parser->content_length : 0;
	reading->keep_alive = llhttp_should_keep_alive(parser) != 0;
	reading->verdict = PARTIAL;
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct reading *reading = reading_of(parser);
	return append(reading->body, sizeof reading->body, &reading->body_len, at, len);
}

static int on_message_complete(llhttp_t *parser)
{
	reading_of(parser)->verdict = ACCEPTED;
	return HPE_PAUSED;
}

static void read_llhttp(struct reading *reading, const char *buf, size_t len)
{
	llhttp_settings_t settings;
	llhttp_t parser;
	llhttp_settings_init(&settings);
	settings.on_method = on_method;
	settings.on_url = on_url;
	settings.on_header_field = on_name;
	settings.on_header_value = on_value;
	settings.on_header_value_complete = on_value_complete;
	settings.on_headers_complete = on_headers_complete;
	settings.on_body = on_body;
	settings.on_message_complete = on_message_complete;
	llhttp_init(&parser, HTTP_REQUEST, &settings);
	memset(reading, 0, sizeof *reading);
	parser.data = reading;
	llhttp_errno_t code = llhttp_execute(&parser, buf, len);
	if (reading->verdict == ACCEPTED)
		return;
	reading->verdict = code == HPE_OK ? PARTIAL : REFUSED;
	snprintf(reading->why, sizeof reading->why, "%s %s", llhttp_errno_name(code),
		 parser.reason ? parser.reason : "");
}

// ---- both ---------------------------------------------------------------------------------------------------------

static bool same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

// NULL, or what the two read differently.
static const char *compare(const struct reading *a, const struct reading *b)
{
	if (a->verdict != b->verdict)
		return "the verdict";
	if (a->verdict != ACCEPTED)
		return NULL;
	if (strcmp(a->method, b->method) != 0)
		return "the method";
	if (!same_text(a->target, a->target_len, b->target, b->target_len))
		return "the target";
	if (a->minor != b->minor || a->keep_alive != b->keep_alive)
		return "the version or keep-alive";
	if (a->header_count != b->header_count)
		return "the number of fields";
	for (unsigned i = 0; i < a->header_count; i++)
		if (!same_text(a->names[i], a->names_len[i], b->names[i], b->names_len[i]) ||
		    !same_text(a->values[i], a->values_len[i], b->values[i], b->values_len[i]))
			return "a field";
	if (a->chunked != b->chunked || a->has_length != b->has_length || a->length != b->length)
		return "the framing";
	return same_text(a->body, a->body_len, b->body, b->body_len) ? NULL : "the body";
}

// What we refuse and llhttp accepts (bad-…), and what we accept and llhttp refuses (ok-…).
static const struct {
	const char *file, *reason;
} differences[] = {
    {"bad-chunk-end-lf", "a bare LF ends the body for llhttp; another reader waits for CR LF"},
    {"bad-chunk-extension-value", "RFC 9112 7.1.1: '=' is followed by a value"},
    {"bad-chunk-size-long", "our limit of 16 digits; llhttp takes any number of zeros"},
    {"bad-coding-empty",
     "an empty Transfer-Encoding means chunked to some and nothing to others; llhttp reads no body"},
    {"bad-coding-empty-element", "a list element must not be empty where it decides on the framing"},
    {"bad-coding-http10", "RFC 9112 6.1: Transfer-Encoding in HTTP/1.0 is faulty framing"},
    {"bad-coding-unknown",
     "RFC 9112 6.1: a coding that is not understood is answered with 501; llhttp leaves it to its caller"},
    {"bad-connect-no-port", "RFC 9110 9.3.6: CONNECT needs a port"},
    {"bad-connect-path", "RFC 9112 3.2.3: CONNECT takes the authority form only"},
    {"bad-connect-port", "RFC 9110 9.3.6: an invalid port is refused"},
    {"bad-empty-line-lf", "a bare LF is no line end for us"},
    {"bad-empty-lines", "our limit on empty lines before a request; llhttp has none"},
    {"bad-end-lf", "a bare LF is no line end for us"},
    {"bad-expect", "RFC 9110 10.1.1: an unknown expectation may be answered with 417"},
    {"bad-fold", "RFC 9112 5.2: obsolete folding is refused; llhttp joins the lines"},
    {"bad-host-encoded", "llhttp does not look into Host"},
    {"bad-host-ipv6", "llhttp does not look into Host"},
    {"bad-host-list", "llhttp does not look into Host; a comma is what two joined Host fields look like"},
    {"bad-host-missing", "RFC 9112 3.2: HTTP/1.1 without Host is refused"},
    {"bad-host-non-ascii", "llhttp does not look into Host"},
    {"bad-host-only-port", "llhttp does not look into Host"},
    {"bad-host-port", "llhttp does not look into Host"},
    {"bad-host-port-range", "llhttp does not look into Host"},
    {"bad-host-repeated", "RFC 9112 3.2: more than one Host is refused"},
    {"bad-host-slash", "llhttp does not look into Host"},
    {"bad-host-space", "llhttp does not look into Host"},
    {"bad-host-user", "llhttp does not look into Host"},
    {"bad-line-lf", "a bare LF is no line end for us"},
    {"bad-method-webdav", "llhttp knows WebDAV's methods; we answer 501"},
    {"bad-name-empty", "RFC 9110 5.1: a field name is a token, and a token is not empty"},
    {"bad-target-asterisk", "RFC 9112 3.2.4: the asterisk form belongs to OPTIONS"},
    {"bad-target-empty", "one space only; llhttp skips more"},
    {"bad-target-fragment", "RFC 9112 3.2: a target has no fragment"},
    {"bad-target-no-host", "RFC 9110 4.2.1: an http URI without a host is refused"},
    {"bad-target-scheme", "no scheme but http and https is served here"},
    {"bad-target-user", "RFC 9110 4.2.4: user information is refused"},
    {"bad-version-09", "RFC 9110 15.6.6: 505 for a major version that is not 1"},
    {"bad-version-2", "RFC 9110 15.6.6: 505 for a major version that is not 1"},
    {"bad-version-missing", "HTTP/0.9 is not spoken here; llhttp reads the line as such a request"},
    {"ok-chunked-extension-blank",
     "RFC 9112 7.1.1: a recipient must parse blanks around ';' and '='; llhttp refuses them"},
    {"ok-chunked-extension-escape", "RFC 9110 5.6.4: a quoted string may have escapes; llhttp refuses them"},
    {"ok-http12", "RFC 9110 2.5: a later minor version is read as 1.1; llhttp refuses it"},
};

static const char *reason_for(const char *file)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(differences); i++)
		if (strcmp(differences[i].file, file) == 0)
			return differences[i].reason;
	return NULL;
}

static struct reading ours, theirs;

static const char *corpus_dir(void)
{
	const char *dir = getenv("TARE_CORPUS");
	return dir != NULL ? dir : "fuzz/corpus/http";
}

static size_t load(const char *file, char *buf)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", corpus_dir(), file);
	FILE *stream = fopen(path, "rb");
	assert_non_null(stream);
	size_t len = fread(buf, 1, MESSAGE_MAX, stream);
	fclose(stream);
	assert_true(len < MESSAGE_MAX);
	return len;
}

// Sorted, so that a seed means the same everywhere.
static int list_corpus(struct dirent ***ret_entries)
{
	int count = scandir(corpus_dir(), ret_entries, NULL, alphasort);
	if (count < 0)
		print_error("%s: %s; run from the repository's root\n", corpus_dir(), strerror(errno));
	assert_true(count > 2);
	return count;
}

static void free_corpus(struct dirent **entries, int count)
{
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
}

TEST(the_corpus_is_read_alike)
{
	static char buf[MESSAGE_MAX];
	static const char *const verdicts[] = {"refused", "partial", "accepted"};
	struct dirent **entries;
	int count = list_corpus(&entries);
	unsigned accepted = 0, wrong = 0, listed = 0;
	for (int i = 0; i < count; i++) {
		const char *file = entries[i]->d_name;
		if (file[0] == '.')
			continue;
		size_t end, len = load(file, buf);
		read_ours(&ours, buf, len, &end);
		read_llhttp(&theirs, buf, ours.verdict == ACCEPTED ? end : len);
		const char *differs = compare(&ours, &theirs), *reason = reason_for(file);
		accepted += ours.verdict == ACCEPTED;
		listed += reason != NULL;
		if ((differs == NULL) == (reason == NULL))
			continue;
		wrong++;
		print_error("%s: %s; ours %s %s, llhttp %s %s\n", file,
			    differs != NULL ? differs : "no longer differs, but is listed", verdicts[ours.verdict],
			    ours.why, verdicts[theirs.verdict], theirs.why);
	}
	free_corpus(entries, count);
	assert_int_equal(wrong, 0);
	assert_int_equal(listed, TARE_ARRAY_LEN(differences));
	assert_true(accepted > 30);
}

// ---- mutations ----------------------------------------------------------------------------------------------------

#define ROUNDS 20000

// One small change: a byte replaced, removed, doubled, or one of the bytes that grammars are made of put in.
static size_t mutate(struct tare_rng *rng, char *buf, size_t len)
{
	static const char grammar[] = "\r\n \t:;,=\"\\%?#/*.0123456789abcdefxAF-+\0\x7f\x80";
	size_t at = tare_rng_below(rng, len);
	switch (tare_rng_below(rng, 4)) {
	case 0:
		buf[at] = (char)tare_rng_next(rng);
		return len;
	case 1:
		memmove(buf + at, buf + at + 1, len - at - 1);
		return len - 1;
	case 2:
		buf[at] = grammar[tare_rng_below(rng, sizeof grammar - 1)];
		return len;
	default:
		memmove(buf + at + 1, buf + at, len - at);
		buf[at] = grammar[tare_rng_below(rng, sizeof grammar - 1)];
		return len + 1;
	}
}

// The kinds of message that we accept and llhttp refuses: the file of the corpus that stands for the kind, llhttp's
// words, and what must stand in the message for the words to be about it.
static const struct {
	const char *file, *words, *one_of;
} kinds[] = {
    {"ok-http12", "HPE_INVALID_VERSION", "23456789"},
    {"ok-chunked-extension-blank", "HPE_INVALID_CHUNK_SIZE Invalid character in chunk size", " \t"},
    {"ok-chunked-extension-escape", "HPE_STRICT Invalid character in chunk extensions quoted value", "\\"},
};

static bool is_known_kind(const struct reading *mine, const struct reading *other, const char *buf, size_t len)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(kinds); i++) {
		if (strncmp(other->why, kinds[i].words, strlen(kinds[i].words)) != 0 ||
		    reason_for(kinds[i].file) == NULL)
			continue;
		const char *line_end = memmem(buf, len, " HTTP/1.", 8), *body = memmem(buf, len, "\r\n\r\n", 4);
		bool version = i == 0;
		assert_true(line_end != NULL && body != NULL);
		const char *p = version ? line_end + 8 : body, *end = version ? p + 1 : buf + len;
		for (; p != end; p++)
			if (strchr(kinds[i].one_of, *p) != NULL && *p != '\0')
				return version || mine->chunked;
	}
	return false;
}

TEST(mutations_that_we_accept_are_read_alike)
{
	static char buf[MESSAGE_MAX + 8];
	struct dirent **entries;
	int count = list_corpus(&entries);
	unsigned accepted = 0, wrong = 0;
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		const char *file = entries[tare_rng_below(&rng, (uint64_t)count)]->d_name;
		if (file[0] == '.')
			continue;
		size_t end, len = load(file, buf);
		for (uint64_t n = 1 + tare_rng_below(&rng, 3); n > 0 && len > 1; n--)
			len = mutate(&rng, buf, len);
		read_ours(&ours, buf, len, &end);
		if (ours.verdict != ACCEPTED)
			continue;
		accepted++;
		read_llhttp(&theirs, buf, end);
		const char *differs = compare(&ours, &theirs);
		if (differs == NULL || is_known_kind(&ours, &theirs, buf, end))
			continue;
		if (wrong++ < 10)
			print_error("round %u, from %s: %s; llhttp: %s\n%.*s\n", round, file, differs, theirs.why,
				    (int)end, buf);
	}
	free_corpus(entries, count);
	assert_int_equal(wrong, 0);
	assert_true(accepted > ROUNDS / 20);
}
