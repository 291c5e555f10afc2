// SPDX-License-Identifier: MIT
// Goal: JSON is read by RFC 8259 and nothing else, within limits, and errors name the byte; numbers keep every digit.
//
// Method: the classes of JSONTestSuite's cases, written anew: y_ must be accepted, n_ refused, and of the i_ cases,
// which the RFC leaves open, each has the answer that docs/codec.md gives. Floats are drawn and compared with what the
// C library reads.
#include "message.h"

#include <math.h>
#include <stdio.h>

#include "codec/schema/bid_request.tare.h"
#include "schema/shape_3.tare.h"
#include "schema/small.tare.h"
#include "shapes.h"

MESSAGE_TYPE(shape_3);

struct text {
	const char *text;
	size_t len;
};
#define T(literal)                                                                                                     \
	{                                                                                                              \
		"" literal, sizeof(literal) - 1                                                                        \
	}

// The text ends right before the guard page.
static int check(struct text t, struct tare_error *err)
{
	return tare_codec_json_check((const char *)guarded(t.text, t.len), t.len, NULL, err);
}

TEST(what_the_rfc_allows_is_accepted)
{
	static const struct text good[] = {
	    T("[]"), T("{}"), T("[[]   ]"), T("[\"\"]"), T("[\"a\"]"), T("[false]"), T("[null, 1, \"1\", {}]"),
	    T("[null]"), T("[1\n]"), T(" [1]"), T("[1,null,null,null,2]"), T("[2] "), T("\t[]\r\n"), T("[ 4]"),
	    T("[true]"),
	    // numbers
	    T("[123e65]"), T("[0e+1]"), T("[0e1]"), T("[20e1]"), T("[-0]"), T("[-123]"), T("[-1]"), T("[1E22]"),
	    T("[1E-2]"), T("[1E+2]"), T("[123e45]"), T("[123.456e78]"), T("[1e-2]"), T("[1e+2]"), T("[123]"),
	    T("[123.456789]"), T("[0.0]"),
	    T("[-0.0000000000000000000000000000000000000000000000000000000000000000000000000000001]"), T("0"),
	    T("-0.1e-7"),
	    // objects
	    T("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"), T("{\"a\":\"b\"}"), T("{\"a\":{}}"), T("{\"\":0}"),
	    T("{\"foo\\u0000bar\": 42}"), T("{ \"min\": -1.0e+28, \"max\": 1.0e+28 }"), T("{\n\"a\": \"b\"\n}"),
	    T("{\"a\":[]}"), T("{\"title\":\"\\u041f\\u043e\\u043b\" }"),
	    // strings
	    T("[\"\\u0060\\u012a\\u12AB\"]"), T("[\"\\uD801\\udc37\"]"), T("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"),
	    T("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"), T("[\"\\\\u0000\"]"), T("[\"\\\"\"]"), T("[\"a/*b*/c/*d//e\"]"),
	    T("[\"\\\\a\"]"), T("[\"\\\\n\"]"), T("[\"\\u0012\"]"), T("[\"\\uFFFF\"]"), T("[ \"asd\"]"),
	    T("[\"\\uDBFF\\uDFFF\"]"), T("[\"new\\u00A0line\"]"), T("[\"\xf4\x8f\xbf\xbf\"]"), T("[\"\xef\xbf\xbf\"]"),
	    T("[\"\\u0000\"]"), T("[\"\\u002c\"]"), T("[\"\xcf\x80\"]"), T("[\"\xf0\x9b\xbf\xbf\"]"), T("\" \""),
	    T("\"\""), T("[\"\xe2\x80\xa8\"]"), T("[\"\xe2\x80\xa9\"]"), T("[\"\\u0821\"]"), T("[\"\\u005C\"]"),
	    T("[\"\x7f\"]"), T("[\"\xe2\x8d\x82\xe3\x88\xb4\xe2\x8d\x82\"]"),
	    // lonely values
	    T("false"), T("42"), T("-0.1"), T("null"), T("\"asd\""), T("true"), T("[\"a\",[[{\"b\":[{}]}]],\"c\"]")};
	struct tare_error err = {.text = ""};
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++)
		if (check(good[i], &err) < 0)
			fail_msg("%.*s: %s", (int)good[i].len, good[i].text, err.text);
}

TEST(what_the_rfc_forbids_is_refused)
{
	static const struct text bad[] = {
	    T(""), T(" "), T("[1 true]"), T("[a\xe5]"), T("[\"\": 1]"), T("[\"\"],"), T("[,1]"), T("[1,,2]"),
	    T("[\"x\",,]"), T("[\"x\"]]"), T("[\"\",]"), T("[\"x\""), T("[x"), T("[3[4]]"), T("[\xff]"), T("[1:2]"),
	    T("[,]"), T("[-]"), T("[   , \"\"]"), T("[\"a\",\n4\n,1,"), T("[1,]"), T("[1,,]"), T("[\"\va\"\\f]"),
	    T("[*]"), T("[\"\""), T("[1,"), T("[1,\n1\n,1"), T("[{}"), T("[fals]"), T("[nul]"), T("[tru]"), T("[1\0]"),
	    T("123\0"), T("[True]"),
	    // numbers
	    T("[++1234]"), T("[+1]"), T("[+Inf]"), T("[-01]"), T("[-1.0.]"), T("[-2.]"), T("[-NaN]"), T("[.-1]"),
	    T("[.2e-3]"), T("[0.1.2]"), T("[0.3e+]"), T("[0.3e]"), T("[0.e1]"), T("[0_1]"), T("[0E+]"), T("[0E]"),
	    T("[0e+]"), T("[0e]"), T("[1.0e+]"), T("[1.0e-]"), T("[1.0e]"), T("[1 000.0]"), T("[1eE2]"), T("[2.e+3]"),
	    T("[2.e-3]"), T("[2.e3]"), T("[9.e+]"), T("[Inf]"), T("[NaN]"), T("[\xef\xbc\x91]"), T("[1+2]"), T("[0x1]"),
	    T("[0x42]"), T("[Infinity]"), T("[0e+-1]"), T("[-123.123foo]"), T("[123\xe5]"), T("[1e1\xe5]"),
	    T("[0\xe5]"), T("[-Infinity]"), T("[-foo]"), T("[- 1]"), T("[-012]"), T("[-.123]"), T("[-1x]"), T("[1ea]"),
	    T("[1.]"), T("[.123]"), T("[1.2a-3]"), T("[1.8011670033376514H-308]"), T("[012]"), T("-"), T("1 2"),
	    T("0x"), T("[1e-]"), T("2."),
	    // objects
	    T("[\"x\", truth]"), T("{[: \"x\"}"), T("{\"x\", null}"), T("{\"x\"::\"b\"}"), T("{\xf0\x9f\x87\xa8}"),
	    T("{\"a\":\"a\" 123}"), T("{key: 'value'}"), T("{\"\xb9\":\"0\",}"), T("{\"a\" b}"), T("{:\"b\"}"),
	    T("{\"a\" \"b\"}"), T("{\"a\":"), T("{\"a\""), T("{1:1}"), T("{9999E9999:1}"), T("{null:null,null:null}"),
	    T("{\"id\":0,,,,,}"), T("{'a':0}"), T("{\"id\":0,}"), T("{\"a\":\"b\"}/**/"), T("{\"a\":\"b\"}/**//"),
	    T("{\"a\":\"b\"}//"), T("{\"a\":\"b\"}/"), T("{\"a\":\"b\",,\"c\":\"d\"}"), T("{a: \"b\"}"),
	    T("{\"a\":\"a"), T("{\"a\":\"b\"}#"), T("{ \"foo\" : \"bar\", \"a\" }"), T("{,}"), T("{\"a\":1]"), T("[1}"),
	    T("{\"a\":1,\"b\"}"),
	    // strings
	    T("[\"\\uD800\\\"]"), T("[\"\\uD800\\u\"]"), T("[\"\\uD800\\u1\"]"), T("[\"\\uD800\\u1x\"]"),
	    T("[\xc3\xa9]"), T("[\"\\x00\"]"), T("[\"\\\\\\\"]"), T("[\"\\\t\"]"), T("[\"\\\xf0\x9f\x8c\x80\"]"),
	    T("[\"\\\"]"), T("[\"\\u00A\"]"), T("[\"\\uD834\\uDd\"]"), T("[\"\\uD800\\uD800\\x\"]"), T("[\"\\u\xe5\"]"),
	    T("[\"\\a\"]"), T("[\"\\uqqqq\"]"), T("[\"\\\xe5\"]"), T("[\\u0020\"asd\"]"), T("[\\n]"), T("\""),
	    T("['single quote']"), T("abc"), T("[\"\\"), T("[\"a\0a\"]"), T("[\"new\nline\"]"), T("[\"\t\"]"),
	    T("\"\\UA66D\""), T("\"\"x"), T("[\"\\'\"]"), T("[\"\x1f\"]"), T("\"\\\0\""),
	    // structure
	    T("<.>"), T("[<null>]"), T("[1]x"), T("[1]]"), T("[\"asd]"), T("aa\xc3\xa5"), T("[True]"), T("1]"),
	    T("{\"x\": true,"), T("[][]"), T("]"), T("\xef\xbb\xbf{}"), T("\xef\xbb"), T("\xe5"), T("["), T("[1\0"),
	    T("2@"), T("{}}"), T("{\"\":"), T("{\"a\":/*comment*/\"b\"}"), T("{\"a\": true} \"x\""), T("['"), T("[,"),
	    T("[{"), T("[\"a"), T("[\"a\""), T("{"), T("{]"), T("{,"), T("{["), T("{\"a"), T("{'a'"),
	    T("[\"\\{[\"\\{[\"\\{"), T("\xe9"), T("*"), T("{\"a\":\"b\"}#{}"), T("[\\u000A\"\"]"), T("[1"),
	    T("[ false, nul"), T("[ true, fals"), T("[ false, tru"), T("{\"asd\":\"asd\""), T("\xc3\xa5"),
	    T("[\xe2\x81\xa0]"), T("[\f]"), T("\f[]"), T("\xc2\xa0[]"), T("[\v]")};
	struct tare_error err = {.text = ""};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		int rc = check(bad[i], &err);
		if (rc != -EBADMSG || strncmp(err.text, "byte ", 5) != 0 || (size_t)atol(err.text + 5) > bad[i].len)
			fail_msg("%zu %.*s: %d %s", i, (int)bad[i].len, bad[i].text, rc, err.text);
	}
}

// Texts are looked at eight bytes at a time, so each byte has to be seen in each place.
TEST(every_byte_in_every_place_of_a_string_is_allowed_or_not)
{
	struct tare_error err = {.text = ""};
	for (size_t place = 2; place < 26; place++)
		for (int c = 0; c < 256; c++) {
			char text[] = "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaa\"]";
			text[place] = (char)c;
			int rc = check((struct text){text, sizeof text - 1}, &err);
			bool good = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
			assert_int_equal(rc, good ? 0 : -EBADMSG);
			if (!good)
				assert_in_range(atol(err.text + 5), place, place + 1);
		}
}

// The RFC leaves these to the reader.
TEST(what_the_rfc_leaves_open_is_decided)
{
	static const struct text refused[] = {T("[\"\\uDADA\"]"),
					      T("[\"\\uD888\\u1234\"]"),
					      T("[\"\\uD800\\n\"]"),
					      T("[\"\\uDd1ea\"]"),
					      T("[\"\\uD800\\uD800\\n\"]"),
					      T("[\"\\ud800\"]"),
					      T("[\"\\ud800abc\"]"),
					      T("[\"\\uDd1e\\uD834\"]"),
					      T("[\"\\uDFAA\"]"),
					      T("[\"\xff\"]"),
					      T("[\"\xed\xa0\x80\"]"),
					      T("[\"\xc0\xaf\"]"),
					      T("[\"\xfc\x83\xbf\xbf\xbf\xbf\"]"),
					      T("[\"\xe0\xff\"]"),
					      T("[\"\x81\"]"),
					      T("[\"\xf4\xbf\xbf\xbf\"]"),
					      T("[\"\xf0\x80\x80\x80\"]"),
					      T("[\"\xe6\x97\xa5\xd1\x88\xfa\"]"),
					      T("[\"\xc3\"]"),
					      T("\xef\xbb\xbf[]"),
					      T("[\0\"\0\xe9\0\"\0]\0"),
					      T("\xff\xfe[\0\"\0"),
					      T("[\"\xe0\x9f\xbf\"]"),
					      T("[\"\xed\xbf\xbf\"]")};
	static const struct text accepted[] = {T("[0."
						 "4e0066999999999999999999999999999999999999999999999999999999999999999"
						 "9999999999999999999999999999969999999006]"),
					       T("[-1e+9999]"),
					       T("[1.5e+9999]"),
					       T("[-123123e100000]"),
					       T("[123e-10000000]"),
					       T("[100000000000000000000]"),
					       T("[-237462374673276894279832749832423479823246327846]"),
					       T("{\"a\":1,\"a\":2}")};
	struct tare_error err = {.text = ""};
	for (size_t i = 0; i < TARE_ARRAY_LEN(refused); i++)
		if (check(refused[i], &err) != -EBADMSG)
			fail_msg("refused %zu %.*s", i, (int)refused[i].len, refused[i].text);
	for (size_t i = 0; i < TARE_ARRAY_LEN(accepted); i++)
		if (check(accepted[i], &err) != 0)
			fail_msg("%.*s: %s", (int)accepted[i].len, accepted[i].text, err.text);
}

TEST(depth_and_size_have_limits)
{
	static char text[2100];
	struct tare_error err = {.text = ""};
	struct tare_codec_limits limits = {.depth_max = 5};
	assert_int_equal(tare_codec_json_check("[[{\"a\":[[1]]}]]", 15, &limits, &err), 0);
	assert_int_equal(tare_codec_json_check("[[{\"a\":[[[]]]}]]", 16, &limits, &err), -EMSGSIZE);
	assert_string_equal(err.text, "byte 9: deeper than the limit of 5");
	for (unsigned depth = 1020; depth < 1030; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		limits.depth_max = 5000;
		int rc = tare_codec_json_check((const char *)guarded(text, 2 * depth), 2 * depth, &limits, &err);
		assert_int_equal(rc, depth <= 1024 ? 0 : -EMSGSIZE);
		rc = tare_codec_json_check(text, 2 * depth, NULL, &err);
		assert_int_equal(rc, -EMSGSIZE);
	}
	memset(text, ' ', sizeof text);
	text[0] = '1';
	limits = (struct tare_codec_limits){.text_bytes_max = 100};
	assert_int_equal(tare_codec_json_check(text, 100, &limits, &err), 0);
	assert_int_equal(tare_codec_json_check(text, 101, &limits, &err), -EMSGSIZE);
	memset(text, '1', sizeof text);
	assert_int_equal(tare_codec_json_check(text, 1024, NULL, &err), 0);
	assert_int_equal(tare_codec_json_check(text, 1025, NULL, &err), -EMSGSIZE);
}

static void refuse(const char *text, const char *why)
{
	static unsigned char buf[MESSAGE_MAX];
	struct tare_error err = {.text = ""};
	ssize_t rc =
	    shape_3_json_read(buf, sizeof buf, (const char *)guarded(text, strlen(text)), strlen(text), NULL, &err);
	if (rc != -EBADMSG || strstr(err.text, why) == NULL)
		fail_msg("%s: %zd %s", text, rc, err.text);
}

TEST(json_that_is_no_message_is_refused)
{
	refuse("[]", "byte 0: shape_3 takes an object");
	refuse("{\"a_u8\":1,\"a_u8\":1}", "byte 10: key 'a_u8' is there twice");
	refuse("{\"a_u8\":1,\"a\\u005fu8\":1}", "byte 10: key 'a_u8' is there twice");
	refuse("{\"pair\":{\"to\":{\"x\":1,\"x\":2}}}", "key 'x' is there twice");
	refuse("{\"pairs\":[{\"to\":{\"x\":1,\"y\":1,\"x\":2}}]}", "key 'x' is there twice");
	refuse("{\"words\":[],\"words\":[]}", "key 'words' is there twice");
	refuse("{\"nothing\":1}", "byte 1: shape_3 has no key 'nothing'");
	refuse("{\"a_u8\":256}", "byte 8: 256 does not fit into a_u8");
	refuse("{\"a_u8\":-1}", "-1 does not fit into a_u8");
	refuse("{\"a_i8\":128}", "128 does not fit into a_i8");
	refuse("{\"a_i8\":-129}", "-129 does not fit into a_i8");
	refuse("{\"a_u64\":18446744073709551616}", "does not fit into a_u64");
	refuse("{\"a_i64\":-9223372036854775809}", "does not fit into a_i64");
	refuse("{\"a_u8\":1.0}", "a_u8 takes whole numbers");
	refuse("{\"a_u8\":1e0}", "a_u8 takes whole numbers");
	refuse("{\"a_u8\":\"1\"}", "where there should be a number");
	refuse("{\"a_u8\":null}", "where there should be a number");
	refuse("{\"a_f32\":1e39}", "1e39 does not fit into a_f32");
	refuse("{\"a_f64\":-1e309}", "-1e309 does not fit into a_f64");
	refuse("{\"yes\":1}", "where there should be true or false");
	refuse("{\"colour\":\"pink\"}", "colour has no 'pink'");
	refuse("{\"colour\":1}", "where there should be a string");
	refuse("{\"numbers\":[1,2]}", "numbers takes 3 elements");
	refuse("{\"numbers\":[1,2,3,4]}", "numbers takes 3 elements");
	refuse("{\"numbers\":[]}", "where there should be a number");
	refuse("{\"name\":5}", "where there should be a string");
	refuse("{\"name\":\"\xff\"}", "not UTF-8");
	refuse("{\"raw\":\"AAE\"}", "not base64");
	refuse("{\"raw\":\"AAF=\"}", "bits behind the last byte");
	refuse("{\"raw\":\"A===\"}", "not base64");
	refuse("{\"raw\":\"AA==AAAA\"}", "not base64: padding within");
	refuse("{\"raw\":\"AA A\"}", "not base64");
	refuse("{\"pairs\":{}}", "pairs takes an array");
	refuse("{\"pairs\":[5]}", "pair takes an object");
	refuse("{\"pairs\":[{},]}", "byte 13: ']' where there should be a value");
	refuse("{\"thing\":{}}", "where there should be a string");
	refuse("{\"thing\":{\"point\":{},\"plain\":{}}}", "thing takes one variant");
	refuse("{\"thing\":{\"pony\":{}}}", "thing has no 'pony'");
	refuse("{\"thing\":[]}", "thing takes an object");
	refuse("{\"a_u8\":1,}", "where there should be a string");
	refuse("{\"a_u8\":1 \"a_u16\":1}", "',' or '}' is missing");
	refuse("{\"a_u8\":1}{}", "where there should be the end");
	refuse("{\"a_u8\" 1}", "':' is missing");
	refuse("{\"name\":\"abc\"", "',' or '}' is missing");
}

TEST(keys_come_in_any_order_and_unknown_ones_are_passed_over_where_that_is_asked_for)
{
	static unsigned char buf[MESSAGE_MAX], other[MESSAGE_MAX];
	struct tare_codec_limits limits = {.skip_unknown = true};
	struct tare_error err = {.text = ""};
	static const char one[] =
	    " { \"last\" : \"z\" , \"words\" : [ 1 , 2 ] , \"name\" : \"n\" , \"thing\" : null } ";
	static const char two[] =
	    "{\"x\":[{\"name\":[1,\"]\"]}],\"name\":\"n\",\"words\":[1,2],\"y\":\"}\",\"last\":\"z\",\"raw\":\"\"}";
	ssize_t n = shape_3_json_read(buf, sizeof buf, one, strlen(one), NULL, &err);
	assert_string_equal(err.text, "");
	ssize_t m = shape_3_json_read(other, sizeof other, two, strlen(two), &limits, &err);
	assert_string_equal(err.text, "");
	assert_int_equal(n, m);
	assert_memory_equal(buf, other, (size_t)n);
	assert_int_equal(shape_3_json_read(other, sizeof other, two, strlen(two), NULL, &err), -EBADMSG);
}

TEST(every_cut_of_a_text_is_refused)
{
	static unsigned char buf[MESSAGE_MAX];
	const char *text = shape_texts[2];
	struct tare_error err;
	for (size_t cut = 0; cut < strlen(text); cut++)
		assert_int_equal(shape_3_json_read(buf, sizeof buf, (const char *)guarded(text, cut), cut, NULL, &err),
				 -EBADMSG);
}

TEST(every_change_of_a_text_is_refused_or_a_valid_message)
{
	static unsigned char buf[MESSAGE_MAX];
	const char *text = shape_texts[2];
	size_t len = strlen(text);
	struct tare_error err;
	for (size_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			char *at = (char *)guarded(text, len);
			at[i] = (char)(at[i] ^ (1 << bit));
			ssize_t n = shape_3_json_read(buf, sizeof buf, at, len, NULL, &err);
			if (n >= 0)
				assert_true(check_bytes(&shape_3_type, buf, (size_t)n, true));
		}
}

// ---- floats -------------------------------------------------------------------------------------------------------

// What a double's JSON text is, through a message.
static void write_f64(double value, char *text, size_t cap)
{
	static unsigned char buf[MESSAGE_MAX];
	static char json[TEXT_MAX];
	struct shape_3 in;
	struct shape_3_view view;
	shape_3_init(&in);
	in.a_f64 = value;
	ssize_t n = shape_3_encode(&in, buf, sizeof buf, NULL);
	assert_int_equal(shape_3_verify(&view, buf, (size_t)n, NULL), 0);
	n = shape_3_json_write(&view, json, sizeof json - 1, NULL);
	assert_true(n > 0);
	json[n] = '\0';
	const char *begin = strstr(json, "\"a_f64\":") + 8;
	snprintf(text, cap, "%.*s", (int)strcspn(begin, ","), begin);
	n = shape_3_json_read(buf, sizeof buf, json, (size_t)n, NULL, NULL);
	assert_int_equal(shape_3_verify(&view, buf, (size_t)n, NULL), 0);
	double again = shape_3_a_f64(&view);
	assert_memory_equal(&again, &value, sizeof value);
}

TEST(a_double_is_written_with_the_fewest_digits_and_read_exactly)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {{0, "0"},
		     {-0.0, "-0"},
		     {1, "1"},
		     {-1, "-1"},
		     {0.1, "0.1"},
		     {0.3, "0.3"},
		     {1.5, "1.5"},
		     {0.001, "0.001"},
		     {123456789, "123456789"},
		     {1e21, "1e+21"},
		     {5e-324, "5e-324"},
		     {1.7976931348623157e308, "1.7976931348623157e+308"},
		     {9007199254740992, "9007199254740992"},
		     {0.1 + 0.2, "0.30000000000000004"},
		     {2.2250738585072011e-308, "2.225073858507201e-308"},
		     {13.405, "13.405"},
		     {99999999.999999, "99999999.999999"},
		     {1e9, "1e+09"},
		     {0.000123, "0.000123"}};
	char text[64];
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		write_f64(cases[i].value, text, sizeof text);
		assert_string_equal(text, cases[i].text);
	}
	uint64_t random = 1;
	for (int i = 0; i < 3000; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
		uint64_t bits = random ^ random >> 29;
		double value;
		memcpy(&value, &bits, sizeof value);
		if (i % 2 == 0) // of a size that messages have
			value = (double)(int64_t)(bits >> 34) / (double[]){1, 10, 100, 1e4, 1e7}[bits % 5];
		if (!isfinite(value))
			continue;
		write_f64(value, text, sizeof text);
		assert_true(strtod(text, NULL) == value);
		// No shorter text reads back the same.
		size_t digits = 0, significant = 0;
		for (const char *p = text; *p != '\0' && *p != 'e'; p++)
			if (*p >= '0' && *p <= '9' && (digits > 0 || *p != '0')) {
				digits++;
				significant = *p != '0' ? digits : significant;
			}
		char shorter[64];
		if (significant > 1) {
			snprintf(shorter, sizeof shorter, "%.*e", (int)significant - 2, value);
			assert_true(strtod(shorter, NULL) != value);
		}
	}
}

TEST(a_number_is_read_as_the_c_library_reads_it)
{
	static unsigned char buf[MESSAGE_MAX];
	char json[256], number[96];
	struct shape_3_view view;
	uint64_t random = 3;
	for (int i = 0; i < 20000; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
		unsigned digits = 1 + (unsigned)(random >> 60), exponent = (unsigned)(random >> 50) % 30;
		uint64_t mantissa =
		    (random >> 8) %
		    (uint64_t[]){10, 1000, 16777217, 99999999, 1U << 31, 9007199254740994}[random >> 40 & 3];
		snprintf(number, sizeof number, "%s%llu.%0*llue%d", random & 128 ? "-" : "",
			 (unsigned long long)mantissa, (int)digits, (unsigned long long)(random >> 20) % 1000,
			 (int)exponent - 15);
		int len = snprintf(json, sizeof json, "{\"a_f32\":%s,\"a_f64\":%s}", number, number);
		ssize_t n = shape_3_json_read(buf, sizeof buf, json, (size_t)len, NULL, NULL);
		assert_int_equal(shape_3_verify(&view, buf, (size_t)n, NULL), 0);
		assert_true(shape_3_a_f64(&view) == strtod(number, NULL));
		assert_true(shape_3_a_f32(&view) == strtof(number, NULL));
	}
}

TEST(every_float_of_a_range_is_written_so_that_it_reads_back)
{
	static unsigned char buf[MESSAGE_MAX], again[MESSAGE_MAX];
	static char json[TEXT_MAX];
	struct shape_3 in;
	struct shape_3_view view;
	shape_3_init(&in);
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t bits = i * 0x10624dU;
		memcpy(&in.a_f32, &bits, sizeof bits);
		if (!isfinite(in.a_f32))
			continue;
		ssize_t n = shape_3_encode(&in, buf, sizeof buf, NULL);
		assert_int_equal(shape_3_verify(&view, buf, (size_t)n, NULL), 0);
		ssize_t len = shape_3_json_write(&view, json, sizeof json, NULL);
		assert_int_equal(shape_3_json_read(again, sizeof again, json, (size_t)len, NULL, NULL), n);
		assert_memory_equal(buf, again, (size_t)n);
	}
}

TEST(what_is_not_finite_is_printed_and_not_written_as_json)
{
	static unsigned char buf[MESSAGE_MAX];
	static char text[TEXT_MAX];
	struct shape_3 in;
	struct shape_3_view view;
	struct tare_error err = {.text = ""};
	shape_3_init(&in);
	in.a_f64 = (double)NAN;
	in.a_f32 = -INFINITY;
	ssize_t n = shape_3_encode(&in, buf, sizeof buf, NULL);
	assert_int_equal(shape_3_verify(&view, buf, (size_t)n, NULL), 0);
	assert_int_equal(shape_3_json_write(&view, text, sizeof text, &err), -EDOM);
	assert_string_equal(err.text, "a_f32 is not a finite number, which JSON can't say");
	n = shape_3_print(&view, text, sizeof text);
	assert_non_null(memmem(text, (size_t)n, "a_f32: -inf\n", 12));
	assert_non_null(memmem(text, (size_t)n, "a_f64: nan\n", 11));
}
