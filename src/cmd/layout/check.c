// SPDX-License-Identifier: MIT
// The rules that `tare layout --check` holds structs to.
//
//   NAME                            no holes
//   NAME<=256                       no holes, and at most 256 bytes
//   NAME<=256,holes<=8,padding<=4   at most so many bytes of each
//
// Read from the right, because names of C++ may hold commas and '<' themselves: conditions are taken off the end while
// they are ones. Padding is not limited unless a rule says so: most of it is there because sizes are multiples of
// alignments, and no order of members takes it away. Gaps that somebody asked for (alignas) are no holes.
// Pure. Threads: any.
#include "cmd/layout/layout.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>

static struct tare_str trim(struct tare_str s)
{
	while (s.len > 0 && isspace((unsigned char)s.ptr[0]))
		s = (struct tare_str){s.ptr + 1, s.len - 1};
	while (s.len > 0 && isspace((unsigned char)s.ptr[s.len - 1]))
		s.len--;
	return s;
}

// Takes "<=N" off the end of *s.
static bool take_limit(struct tare_str *s, uint64_t *ret)
{
	for (size_t i = s->len; i-- > 1;) {
		if (s->ptr[i - 1] != '<' || s->ptr[i] != '=')
			continue;
		struct tare_str number = trim((struct tare_str){s->ptr + i + 1, s->len - i - 1});
		if (tare_parse_u64(number, ret) < 0)
			return false;
		*s = trim((struct tare_str){s->ptr, i - 1});
		return true;
	}
	return false;
}

// Takes ",holes<=N" or ",padding<=N" off the end of *s.
static bool take_condition(struct tare_str *s, struct layout_rule *rule)
{
	for (size_t i = s->len; i-- > 0;) {
		if (s->ptr[i] != ',')
			continue;
		struct tare_str what = trim((struct tare_str){s->ptr + i + 1, s->len - i - 1});
		uint64_t limit;
		if (!take_limit(&what, &limit))
			return false;
		if (tare_str_eq(what, TARE_STR("holes")))
			rule->holes_max = limit;
		else if (tare_str_eq(what, TARE_STR("padding")))
			rule->padding_max = limit;
		else
			return false;
		*s = trim((struct tare_str){s->ptr, i});
		return true;
	}
	return false;
}

int layout_rule_parse(struct layout_rule *ret, const char *text, uint64_t holes_max, struct tare_error *err)
{
	*ret = (struct layout_rule){
	    .text = text, .size_max = UINT64_MAX, .holes_max = holes_max, .padding_max = UINT64_MAX};
	struct tare_str rest = trim((struct tare_str){text, strlen(text)});
	while (take_condition(&rest, ret))
		continue;
	(void)take_limit(&rest, &ret->size_max);
	// What no name holds was meant as a condition. A template's name may hold commas, between its brackets.
	bool odd = rest.len == 0 || memmem(rest.ptr, rest.len, "<=", 2) != NULL ||
		   (memchr(rest.ptr, ',', rest.len) != NULL && memchr(rest.ptr, '>', rest.len) == NULL);
	if (odd || rest.len >= sizeof ret->name)
		return tare_error_set(err, -EINVAL,
				      "'%.200s' is not a rule; write NAME, NAME<=BYTES or "
				      "NAME<=BYTES,holes<=BYTES,padding<=BYTES",
				      text);
	memcpy(ret->name, rest.ptr, rest.len);
	return 0;
}

bool layout_matches(const char *pattern, const char *name)
{
	static const char *const words[] = {"struct ", "class ", "union ", "typedef "};
	for (size_t i = 0; i < TARE_ARRAY_LEN(words); i++)
		if (strncmp(pattern, words[i], strlen(words[i])) == 0)
			pattern += strlen(words[i]);
	// As it is first: a template's name may look like a pattern.
	if (strcmp(pattern, name) == 0 || fnmatch(pattern, name, FNM_NOESCAPE) == 0)
		return true;
	if (strstr(pattern, "::") != NULL)
		return false;
	for (const char *at = strstr(name, "::"); at != NULL; at = strstr(at + 2, "::"))
		if (strcmp(pattern, at + 2) == 0 || fnmatch(pattern, at + 2, FNM_NOESCAPE) == 0)
			return true;
	return false;
}

bool layout_rule_kept(const struct layout_rule *rule, const struct layout *l, char *why, size_t cap)
{
	const struct {
		const char *what;
		uint64_t is, max;
	} limits[] = {
	    {"bytes", l->size, rule->size_max},
	    {"bytes of holes", l->hole_bytes, rule->holes_max},
	    {"bytes of padding", l->padding_bytes, rule->padding_max},
	};
	size_t len = 0;
	why[0] = '\0';
	for (size_t i = 0; i < TARE_ARRAY_LEN(limits) && len < cap; i++) {
		if (limits[i].is <= limits[i].max)
			continue;
		int n = snprintf(why + len, cap - len, "%s%" PRIu64 " %s, %" PRIu64 " allowed", len > 0 ? "; " : "",
				 limits[i].is, limits[i].what, limits[i].max);
		len += n < 0 ? 0 : (size_t)n;
	}
	return len == 0;
}
