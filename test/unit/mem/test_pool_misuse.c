// SPDX-License-Identifier: MIT
// Goal: each way to misuse a pool ends the process with a message that names the pool, the object and, where the build
// remembers it, who took and gave it. Method: a child process makes the mistake; its standard error is read.
#include "child.h"
#include "pool_fixture.h"

#include <stdlib.h>

#include <tare/mem.h>

// As src/mem/pool_int.h: builds that look for what costs more than a compare.
#if defined(TARE_DEBUG) || defined(TARE_HARD)
enum { CHECKED = true };
#else
enum { CHECKED = false };
#endif
#ifdef TARE_ASAN
enum { ASAN = true };
#else
enum { ASAN = false };
#endif

#ifdef TARE_TSAN
enum { TSAN = true };
#else
enum { TSAN = false };
#endif

struct request {
	uint64_t id;
	char body[200];
};

static void request_reset(struct request *request)
{
	request->id = 0;
}

TARE_POOL_TYPE(requests, struct request, request_reset);

static struct requests pool;
static struct tare_pool *plain, *other;

static struct tare_pool *pool_new(struct tare_pool_options options)
{
	struct tare_pool *made;
	if (tare_pool_new(&made, &options) < 0)
		exit(1);
	return made;
}

static void set_up(void)
{
	if (requests_new(&pool, &(struct tare_pool_options){.name = "requests"}) < 0)
		exit(1);
	plain = pool_new((struct tare_pool_options){.name = "buffers", .object_bytes = 4096});
	other =
	    pool_new((struct tare_pool_options){.name = "others", .object_bytes = 64, .limit = 1, .overflow = true});
}

static int make(void *arg)
{
	void (*const *mistake)(void) = arg;
	set_up();
	(*mistake)();
	return 0;
}

// It died, and said `words`. Where the build remembers, it said where the object was taken.
static void expect(void (*mistake)(void), const char *words)
{
	static char text[65536];
	int status = run_child(make, &mistake, STDERR_FILENO, text, sizeof text);
	if (strstr(text, words) == NULL)
		fprintf(stderr, "%s", text);
	assert_non_null(strstr(text, words));
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	if (CHECKED)
		assert_non_null(strstr(text, "test_pool_misuse+0x"));
}

// ---- in every build -----------------------------------------------------------------------------------------------

static void release_twice(void)
{
	struct request *request = requests_take(&pool);
	requests_give(&pool, request);
	requests_give(&pool, request);
}

TEST(a_second_release_is_found)
{
	expect(release_twice, "tare: pool 'requests': object 0x");
	expect(release_twice, "(number 0, 208 bytes) was released twice");
}

static void release_twice_with_others_between(void)
{
	void *objects[300];
	for (int i = 0; i < 300; i++)
		objects[i] = tare_pool_take(plain);
	for (int i = 0; i < 300; i++)
		tare_pool_give(plain, objects[i]);
	tare_pool_give(plain, objects[7]);
}

TEST(a_second_release_is_found_long_after_the_first)
{
	expect(release_twice_with_others_between, "pool 'buffers': object 0x");
	expect(release_twice_with_others_between, "was released twice");
}

static void release_to_the_wrong_pool(void)
{
	tare_pool_give(plain, requests_take(&pool));
}

static void release_to_the_wrong_pool_with_overflow(void)
{
	tare_pool_give(other, requests_take(&pool));
}

TEST(a_release_to_the_wrong_pool_names_both)
{
	expect(release_to_the_wrong_pool, "was released to it, but is of pool 'requests'");
	expect(release_to_the_wrong_pool, "tare: pool 'buffers': ");
	if (CHECKED) // elsewhere it looks like one of the heap's, which it is not either
		expect(release_to_the_wrong_pool_with_overflow, "was released to it, but is of pool 'requests'");
}

static void release_a_part(void)
{
	struct request *request = requests_take(&pool);
	tare_pool_give(pool.pool, request->body);
}

TEST(a_pointer_into_an_object_is_no_object)
{
	expect(release_a_part, "which is byte 8 of object 0x");
}

static void release_what_is_no_objects(void)
{
	static max_align_t nothing[4];
	tare_pool_give(plain, &nothing[2]);
}

static void release_what_is_no_objects_with_overflow(void)
{
	static max_align_t nothing[4];
	tare_pool_give(other, &nothing[2]);
}

TEST(what_is_no_pools_object_is_found)
{
	expect(release_what_is_no_objects, "is no pool's object");
	expect(release_what_is_no_objects_with_overflow, "tare: pool 'others': ");
}

static void release_an_overflow_twice(void)
{
	void *first = tare_pool_take(other), *second = tare_pool_take(other);
	tare_pool_give(other, second);
	tare_pool_give(other, second);
	tare_pool_give(other, first);
}

TEST(a_second_release_to_the_heap_is_found)
{
	if (ASAN || TSAN) // it is the sanitizer's to say
		skip();
	expect(release_an_overflow_twice, "released before");
}

// ---- where free objects are poisoned ------------------------------------------------------------------------------

static void write_and_take(void)
{
	struct request *request = requests_take(&pool);
	requests_give(&pool, request);
	*(volatile char *)&request->body[5] = 'x';
	struct request *volatile next = pool_taken_again(pool.pool, request);
	(void)next;
}

static void write_through_an_alias(void)
{
	char *buffer = tare_pool_take(plain);
	char *volatile word = buffer + 1000; // a slice that somebody keeps
	tare_pool_give(plain, buffer);
	word[3] = 'x';
	tare_pool_free(plain);
}

static void write_and_age(void)
{
	void *objects[300];
	for (int i = 0; i < 300; i++)
		objects[i] = tare_pool_take(plain);
	for (int i = 0; i < 300; i++)
		tare_pool_give(plain, objects[i]);
	for (int i = 0; i < 300; i++)
		*(volatile char *)objects[i] = 'x';
	for (int i = 0; i < 3; i++)
		(void)tare_pools_age();
}

TEST(a_write_after_the_release_is_found)
{
	if (!CHECKED)
		skip();
	// The sanitizer stops the write itself; the pool's part is said besides.
	expect(write_and_take, ASAN ? "use-after-poison" : "was written to after its release: byte 13 is 0x78");
	expect(write_and_take, "tare: pool 'requests': object 0x");
	expect(write_and_take, "released at");
	expect(write_through_an_alias, ASAN ? "use-after-poison" : "was written to after its release: byte 1003 is");
	expect(write_through_an_alias, "tare: pool 'buffers': object 0x");
	expect(write_and_age, "tare: pool 'buffers': object 0x");
}

static void read_late(void)
{
	struct request *request = requests_take(&pool);
	requests_give(&pool, request);
	if (*(volatile uint64_t *)&request->id == UINT64_C(0xdbdbdbdbdbdbdbdb)) {
		fprintf(stderr, "test_pool_misuse+0x: it read poison\n");
		exit(1);
	}
}

TEST(a_read_after_the_release_sees_poison)
{
	if (!CHECKED)
		skip();
	expect(read_late, ASAN ? "use-after-poison" : "it read poison");
}

// Or who still uses it would share it with its next owner, and nothing would be found.
TEST(what_was_released_last_rests_while_its_cache_has_others)
{
	if (!CHECKED)
		skip();
	void *objects[3];
	plain = pool_new((struct tare_pool_options){.name = "buffers", .object_bytes = 4096});
	for (size_t i = 0; i < TARE_ARRAY_LEN(objects); i++)
		objects[i] = tare_pool_take(plain);
	for (size_t i = 0; i < TARE_ARRAY_LEN(objects); i++)
		tare_pool_give(plain, objects[i]);
	void *next = tare_pool_take(plain);
	assert_ptr_not_equal(next, objects[TARE_ARRAY_LEN(objects) - 1]);
	tare_pool_give(plain, next);
	tare_pool_free(plain);
}

TEST(without_a_reset_nobody_finds_what_an_earlier_owner_left)
{
	if (!CHECKED)
		skip();
	set_up();
	unsigned char *buffer = tare_pool_take(plain);
	memset(buffer, 7, 4096);
	tare_pool_give(plain, buffer);
	unsigned char *again = pool_taken_again(plain, buffer);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(again[i], 0xdb);
	tare_pool_give(plain, again);
	struct request *request = requests_take(&pool); // with one it is as the reset left it
	request->id = 5;
	strcpy(request->body, "kept");
	requests_give(&pool, request);
	assert_ptr_equal(pool_taken_again(pool.pool, request), request);
	assert_int_equal(request->id, 0);
	assert_string_equal(request->body, "kept");
	requests_give(&pool, request);
	requests_free(&pool);
	tare_pool_free(plain);
	tare_pool_free(other);
}

static void run_over_the_end(void)
{
	struct request *request = requests_take(&pool);
	struct request *volatile next = requests_take(&pool);
	(void)next;
	((volatile char *)request)[sizeof *request] = 'x';
}

TEST(a_write_past_the_end_is_found_by_the_sanitizer)
{
	if (!ASAN)
		skip();
	expect(run_over_the_end, "use-after-poison");
	expect(run_over_the_end, "past its end was touched");
}
