// SPDX-License-Identifier: MIT
// Goal: addresses read and written as text; what is wrong with one is said.
#include "test.h"

#include <tare/net.h>

#include <errno.h>

static void round_trip(const char *text, const char *expected, bool loopback)
{
	struct tare_addr addr;
	struct tare_error err = {""};
	char out[TARE_ADDR_TEXT_BYTES];
	assert_int_equal(tare_addr_parse(&addr, text, &err), 0);
	tare_addr_format(&addr, out);
	assert_string_equal(out, expected);
	assert_int_equal(tare_addr_is_loopback(&addr), loopback);
}

TEST(what_is_parsed_is_formatted_the_same)
{
	round_trip("127.0.0.1:8080", "127.0.0.1:8080", true);
	round_trip("localhost:80", "127.0.0.1:80", true);
	round_trip(":65535", "0.0.0.0:65535", false);
	round_trip("[::1]:9", "[::1]:9", true);
	round_trip("[2001:db8::5]:443", "[2001:db8::5]:443", false);
	round_trip("unix:/run/tare.sock", "unix:/run/tare.sock", true);
}

TEST(what_is_wrong_is_said)
{
	static const char *const wrong[][2] = {
	    {"127.0.0.1", "no port"},
	    {"127.0.0.1:", "not a number"},
	    {"127.0.0.1:65536", "not a number"},
	    {"127.0.0.1:-1", "not a number"},
	    {"127.0.0.1:8080x", "not a number"},
	    {"1.2.3:80", "not a numeric address"},
	    {"[::1:80", "not a numeric address"},
	    {"[::g]:80", "not an IPv6 address"},
	    {"unix:", "no path"},
	    {"example.com:80", "not a numeric"},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(wrong); i++) {
		struct tare_addr addr;
		struct tare_error err = {""};
		assert_int_equal(tare_addr_parse(&addr, wrong[i][0], &err), -EINVAL);
		assert_non_null(strstr(err.text, wrong[i][1]));
	}
	char path[300] = "unix:";
	memset(path + 5, 'p', 200);
	struct tare_addr addr;
	struct tare_error err = {""};
	assert_int_equal(tare_addr_parse(&addr, path, &err), -EINVAL);
	assert_non_null(strstr(err.text, "too long"));
}

TEST(a_port_can_be_changed)
{
	struct tare_addr addr;
	struct tare_error err;
	assert_int_equal(tare_addr_parse(&addr, "[::1]:5", &err), 0);
	tare_addr_set_port(&addr, 6);
	assert_int_equal(tare_addr_port(&addr), 6);
	assert_int_equal(tare_addr_parse(&addr, "unix:x", &err), 0);
	tare_addr_set_port(&addr, 6);
	assert_int_equal(tare_addr_port(&addr), 0);
}
