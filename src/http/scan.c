// SPDX-License-Identifier: MIT
//
// http: the byte classes and the plain scanners. Tables and pure functions; thread-safe.
// What the classes hold is said in scan.h; test_scan.c derives the table anew from the RFC's words and compares.
#include "http/scan.h"

#define T HTTP_CLASS_TOKEN
#define V HTTP_CLASS_VALUE
#define U HTTP_CLASS_TARGET
#define H HTTP_CLASS_HOST

const uint8_t http_classes[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | U | H,
    ['"'] = V | U,
    ['#'] = T | V,
    ['$'] = T | V | U | H,
    ['%'] = T | V | U,
    ['&' ... '\''] = T | V | U | H,
    ['(' ... ')'] = V | U | H,
    ['*' ... '+'] = T | V | U | H,
    [','] = V | U,
    ['-' ... '.'] = T | V | U | H,
    ['/'] = V | U,
    ['0' ... '9'] = T | V | U | H,
    [':'] = V | U,
    [';'] = V | U | H,
    ['<'] = V | U,
    ['='] = V | U | H,
    ['>' ... '@'] = V | U,
    ['A' ... 'Z'] = T | V | U | H,
    ['[' ... ']'] = V | U,
    ['^'] = T | V | U,
    ['_'] = T | V | U | H,
    ['`'] = T | V | U,
    ['a' ... 'z'] = T | V | U | H,
    ['{'] = V | U,
    ['|'] = T | V | U,
    ['}'] = V | U,
    ['~'] = T | V | U | H,
    [0x80 ... 0xff] = V,
};

static inline const char *scan(unsigned class, const char *p, const char *end)
{
	while (p != end && (http_classes[(unsigned char)*p] & class) != 0)
		p++;
	return p;
}

const char *http_scan_token_plain(__attribute__((unused)) const char *begin, const char *p, const char *end)
{
	return scan(HTTP_CLASS_TOKEN, p, end);
}

const char *http_scan_value_plain(__attribute__((unused)) const char *begin, const char *p, const char *end)
{
	return scan(HTTP_CLASS_VALUE, p, end);
}

const char *http_scan_target_plain(__attribute__((unused)) const char *begin, const char *p, const char *end)
{
	return scan(HTTP_CLASS_TARGET, p, end);
}
