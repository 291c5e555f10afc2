// SPDX-License-Identifier: MIT
// The naive path's access lines: the latest of them are kept, as services do that write them somewhere, and shown
// nowhere; a debugger or a core has them.
//
// As everyday code does it a line is printed twice, once for its length and once into a string of that length, which a
// ring holds until it comes round; on the collected heap the ring is a root. Mended (SVC_FIX_LOG) it is put together
// digit by digit in the ring itself: a ring a worker, so that nobody waits and two lines never mix.
//
// Threads: any task notes. The strings' ring is shared: a place in it is taken by a counter, and who puts a line there
// frees, or forgets, the one that it finds. A worker's ring is its own: between tare_worker and the last byte nothing
// blocks. Outside the runtime there is one thread (tests).
// Ownership: strings are the ring's, until svc_access_done or the collected heap's end.
#include "cmd/svc/svc.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/rt.h>

#include <inttypes.h>
#include <stdio.h>

enum { LINES = 256, RINGS = TARE_SHARD_MAX };

#define LINE_FORMAT "%" PRId64 ".%06" PRId64 " GET /lookup key=%" PRIu64 " fmt=%s %u %zu"

static struct tare_tag heap_tag = TARE_TAG("naive path");
static const struct tare_str format_names[] = {[SVC_JSON] = {"json", 4}, [SVC_BIN] = {"bin", 3}};

// Strings of malloc's and of the collected heap's; the last `next` was given out.
static _Atomic(char *) strings[LINES];
static char *collected_strings[LINES];
static atomic_uint strings_next, collected_next;
static struct tare_gc_root collected_root;

static struct ring {
	unsigned count;
	struct {
		size_t len;
		char text[SVC_ACCESS_BYTES];
	} lines[LINES];
} rings[RINGS];

static struct ring *own_ring(void)
{
	return &rings[tare_worker() + 1]; // 0: no worker's
}

// ---- a line -------------------------------------------------------------------------------------------------------

#define PUT(out, literal) (memcpy(out, "" literal, sizeof(literal) - 1), (out) + sizeof(literal) - 1)

size_t svc_access_write(char out[SVC_ACCESS_BYTES], const struct svc_access *access)
{
	const struct tare_str format = format_names[access->query.format];
	uint64_t micros = (uint64_t)(access->now_ns / TARE_NS_PER_US % 1000000);
	char *p = out;
	p += tare_format_i64(p, access->now_ns / TARE_NS_PER_S);
	*p = '.';
	for (int i = 6; i > 0; i--, micros /= 10)
		p[i] = (char)('0' + micros % 10);
	p = PUT(p + 7, " GET /lookup key=");
	p += tare_format_u64(p, access->query.key);
	p = PUT(p, " fmt=");
	memcpy(p, format.ptr, format.len);
	p += format.len;
	*p++ = ' ';
	p += tare_format_u64(p, access->status);
	*p++ = ' ';
	p += tare_format_u64(p, access->bytes);
	return (size_t)(p - out);
}

// printf's words of it; NULL, 0: the length alone.
static int line_print(char *out, size_t cap, const struct svc_access *access)
{
	return snprintf(out, cap, LINE_FORMAT, access->now_ns / TARE_NS_PER_S,
			access->now_ns / TARE_NS_PER_US % 1000000, access->query.key,
			format_names[access->query.format].ptr, access->status, access->bytes);
}

char *svc_access_print(const struct svc_access *access)
{
	size_t bytes = (size_t)line_print(NULL, 0, access) + 1;
	char *line = tare_alloc(&heap_tag, bytes);
	if (line != NULL)
		(void)line_print(line, bytes, access);
	return line;
}

// ---- the latest ---------------------------------------------------------------------------------------------------

static void note_collected(const struct svc_access *access)
{
	size_t bytes = (size_t)line_print(NULL, 0, access) + 1;
	char *line = tare_gc_new_noscan(bytes);
	if (line == NULL)
		return;
	(void)line_print(line, bytes, access);
	unsigned at = atomic_fetch_add_explicit(&collected_next, 1, memory_order_relaxed) % LINES;
	tare_gc_store(&collected_strings[at], line);
}

static void note_string(const struct svc_access *access)
{
	char *line = svc_access_print(access);
	if (line == NULL)
		return;
	unsigned at = atomic_fetch_add_explicit(&strings_next, 1, memory_order_relaxed) % LINES;
	// Pairs with itself: who frees a line comes after who wrote it.
	tare_free(atomic_exchange_explicit(&strings[at], line, memory_order_acq_rel));
}

void svc_access_note(unsigned fixes, bool collected, const struct svc_access *access)
{
	if ((fixes & SVC_FIX_LOG) != 0) {
		struct ring *ring = own_ring();
		unsigned at = ring->count++ % LINES;
		ring->lines[at].len = svc_access_write(ring->lines[at].text, access);
	} else if (collected) {
		note_collected(access);
	} else {
		note_string(access);
	}
}

size_t svc_access_last(unsigned fixes, bool collected, char out[SVC_ACCESS_BYTES])
{
	if ((fixes & SVC_FIX_LOG) != 0) {
		const struct ring *ring = own_ring();
		unsigned at = (ring->count - 1) % LINES;
		memcpy(out, ring->lines[at].text, ring->lines[at].len);
		return ring->lines[at].len;
	}
	unsigned next = atomic_load_explicit(collected ? &collected_next : &strings_next, memory_order_relaxed);
	const char *line = collected ? collected_strings[(next - 1) % LINES]
				     : atomic_load_explicit(&strings[(next - 1) % LINES], memory_order_acquire);
	return line != NULL ? (size_t)snprintf(out, SVC_ACCESS_BYTES, "%s", line) : 0;
}

// ---- beginning and end --------------------------------------------------------------------------------------------

void svc_access_open(void)
{
	tare_gc_root_add(&collected_root, collected_strings, LINES);
}

void svc_access_done(void)
{
	memset(collected_strings, 0, sizeof collected_strings); // the heap that had them is closed
	for (size_t i = 0; i < LINES; i++)
		tare_free(atomic_exchange_explicit(&strings[i], NULL, memory_order_acq_rel));
}
