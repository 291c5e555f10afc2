// SPDX-License-Identifier: MIT
// Goal: answers are framed alike however their bytes are cut, and what can't be framed is refused.
// Method: streams of several answers, fed whole, byte by byte, and cut in two at every place.
#include "test.h"

#include "cmd/load/load.h"

#include <errno.h>

// Feeds text in pieces that end at cut (and then byte by byte for cut 0). Statuses of the answers found, or a negative
// errno.
static int feed(const char *text, size_t cut, bool head_only, int *statuses, int *closes)
{
	struct load_answer answer = {0};
	char buf[1024];
	size_t len = 0, total = strlen(text), sent = 0;
	int count = 0;
	while (sent < total) {
		size_t more = cut == 0 ? 1 : sent < cut ? cut - sent : total - sent;
		memcpy(buf + len, text + sent, more);
		len += more;
		sent += more;
		for (;;) {
			size_t used = 0;
			int rc = len > 0 ? load_answer_feed(&answer, head_only, buf, len, &used) : 0;
			if (rc < 0)
				return rc;
			len -= used;
			memmove(buf, buf + used, len);
			if (rc == 0)
				break;
			closes[count] = answer.close;
			statuses[count++] = answer.status;
		}
	}
	return answer.state == ANSWER_TO_END ? 100 + count : count;
}

static void check(const char *text, bool head_only, int want, const int *want_statuses)
{
	for (size_t cut = 0; cut <= strlen(text); cut++) {
		int statuses[16], closes[16];
		assert_int_equal(feed(text, cut, head_only, statuses, closes), want);
		for (int i = 0; i < want % 100 && want > 0; i++)
			assert_int_equal(statuses[i], want_statuses[i]);
	}
}

TEST(answers_are_framed_alike_however_they_are_cut)
{
	check("HTTP/1.1 200 OK\r\nContent-Length:          5\r\n\r\nhello"
	      "HTTP/1.1 404 Not Found\r\ncontent-length: 0  \r\nConnection: close\r\n\r\n"
	      "HTTP/1.1 204 No Content\r\n\r\n"
	      "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	      "chunked\r\n\r\n4;x=y\r\nabcd\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: v\r\n\r\n"
	      "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
	      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno",
	      false, 6, (const int[]){200, 404, 204, 200, 304, 500});
}

TEST(answers_to_head_have_no_body)
{
	check("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true, 2,
	      (const int[]){200, 200});
}

TEST(an_answer_without_length_goes_to_the_end)
{
	check("HTTP/1.0 200 OK\r\nServer: x\r\n\r\nsome bytes", false, 100, (const int[]){200});
}

TEST(the_end_of_the_connection_is_noticed)
{
	int statuses[4], closes[4];
	assert_int_equal(
	    feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, Close\r\n\r\n"
		 "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		 0, false, statuses, closes),
	    3);
	assert_true(closes[0] && closes[1] && !closes[2]);
}

TEST(what_is_no_answer_is_refused)
{
	static const char *const bad[] = {
	    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: 1 2\r\n\r\n",
	    "ICY 200 OK\r\nsome: header\r\nmore: headers\r\n\r\n",
	    "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		int statuses[4], closes[4];
		assert_int_equal(feed(bad[i], strlen(bad[i]), false, statuses, closes), -EBADMSG);
	}
}

// ---- templates ----------------------------------------------------------------------------------------------------

static int template_of(const char *url, struct load_template *ret, struct tare_error *err)
{
	struct load_options options = {
	    .url = url, .keys = 1000, .zipf_s = 1.1, .header = "X-A: {zipf}", .method_text = "GET"};
	return load_template_init(ret, &options, err);
}

TEST(a_template_is_rendered_with_its_keys)
{
	static struct load_template tmpl;
	struct tare_error err;
	struct tare_rng rng;
	char request[LOAD_REQUEST_BYTES_MAX + 64], want[256];
	uint64_t seq = 1;
	tare_rng_init(&rng, 1);
	assert_int_equal(template_of("http://127.0.0.1:8080/a?k={seq}&l={seq}", &tmpl, &err), 0);
	assert_int_equal(tare_addr_port(&tmpl.addr), 8080);
	for (uint64_t i = 0; i < 600; i++) {
		size_t len = load_template_render(&tmpl, &rng, &seq, 3, request);
		int want_len = snprintf(want, sizeof want,
					"GET /a?k=%d&l=%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-A: {zipf}\r\n\r\n",
					(int)((1 + 6 * i) % 1000), (int)((4 + 6 * i) % 1000));
		assert_int_equal(len, want_len);
		assert_memory_equal(request, want, len);
		assert_true(len <= tmpl.bytes_max);
	}
	assert_int_equal(template_of("http://localhost", &tmpl, &err), 0);
	assert_int_equal(tare_addr_port(&tmpl.addr), 80);
	assert_false(tmpl.named);
	assert_int_equal(template_of("http://example.org/x", &tmpl, &err), 0);
	assert_true(tmpl.named);
	assert_string_equal(tmpl.authority, "example.org:80");
	assert_int_equal(template_of("http://localhost", &tmpl, &err), 0);
	request[load_template_render(&tmpl, &rng, &seq, 1, request)] = '\0';
	assert_string_equal(request, "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: {zipf}\r\n\r\n");
}

TEST(a_bad_url_is_refused_with_what_is_wrong)
{
	static const char *const bad[][2] = {
	    {"https://127.0.0.1/", "http://"},
	    {"127.0.0.1:80/", "http://"},
	    {"http:///x", "host"},
	    {"http://127.0.0.1:99999/", "port"},
	    {"http://127.0.0.1/{zip}", "{zipf}"},
	    {"http://127.0.0.1/a b", "percent"},
	    {"http://exa(m)ple.org/", "a name or a numeric address"},
	    {"http://127.1/", "a name or a numeric address"},
	};
	static struct load_template tmpl;
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		struct tare_error err;
		assert_int_equal(template_of(bad[i][0], &tmpl, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i][1]));
	}
}
