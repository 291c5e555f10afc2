// SPDX-License-Identifier: MIT
// Taking things out of the processor's caches, one kind at a time.
//
//   data    variables, the first MiB of the program's and of each library's, and what the row's evict names leave every
//           cache; what else was used, such as constants, the heap and the stack, leaves the first two by a walk over
//           twice their size
//   code    the instructions of the program and of its libraries leave every cache
//   branch  what was predicted is overwritten: a run of tens of thousands of other branches, half of them taken. It has
//           to be code itself, so the first instruction cache goes with it, but what was there is then in the second
//
// The translations of addresses (TLB) go with none of them but as the walk over the data replaces them.
// Threads: one. Rejected: wbinvd (privileged), a walk over the last cache (100 MiB of it on servers: 10 ms a sample).
#include "measure/npa_int.h"

#include <errno.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SEGMENTS_MAX = 128, WALK_MIN = 1 << 20, WALK_MAX = 16 << 20, BRANCHES = 24576 };

struct segment {
	const char *begin;
	size_t bytes;
};

static struct {
	struct segment code[SEGMENTS_MAX], data[SEGMENTS_MAX];
	size_t code_count, data_count;
	char *walk;
	size_t walk_bytes;
	void (*branches)(uint64_t seed); // NULL: there are none for this processor
	uint64_t seed;
} cold;

// ---- flushing -----------------------------------------------------------------------------------------------------

void tare_npa_flush(const void *ptr, size_t bytes)
{
	const char *at = (const char *)((uintptr_t)ptr & ~(uintptr_t)(TARE_CACHE_LINE - 1));
	for (const char *end = (const char *)ptr + bytes; at < end; at += TARE_CACHE_LINE) {
#if defined(__x86_64__)
		_mm_clflush(at);
#elif defined(__aarch64__)
		__asm__ volatile("dc civac, %0" : : "r"(at) : "memory");
#endif
	}
#if defined(__x86_64__)
	_mm_mfence();
#elif defined(__aarch64__)
	__asm__ volatile("dsb ish" : : : "memory");
#endif
}

// The first object is the program; only its own variables are a row's.
static int add_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	bool *first = arg;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type != PT_LOAD || (header->p_flags & PF_R) == 0)
			continue;
		struct segment s = {(const char *)(info->dlpi_addr + header->p_vaddr), header->p_memsz};
		if ((header->p_flags & PF_X) != 0 && cold.code_count < SEGMENTS_MAX)
			cold.code[cold.code_count++] = s;
		else if ((header->p_flags & PF_W) != 0 && *first && cold.data_count < SEGMENTS_MAX)
			cold.data[cold.data_count++] = s;
	}
	*first = false;
	return 0;
}

// ---- branches -----------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
// A function of BRANCHES times: rotate the argument, and jump over nothing where the bit is set.
static void *branches_write(char *code)
{
	static const unsigned char unit[] = {0x48, 0xd1, 0xcf, 0x72, 0x01, 0x90}; // ror rdi, 1; jc +1; nop
	char *at = code;
	for (int i = 0; i < BRANCHES; i++, at += sizeof unit)
		memcpy(at, unit, sizeof unit);
	*at = (char)0xc3; // ret
	return code;
}

static int branches_init(void)
{
	size_t bytes = BRANCHES * 6 + 1;
	char *code = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return -ENOMEM;
	void *fn = branches_write(code);
	if (mprotect(code, bytes, PROT_READ | PROT_EXEC) < 0) {
		(void)munmap(code, bytes);
		return 0; // a hardened kernel: this kind is left out
	}
	memcpy(&cold.branches, &fn, sizeof fn);
	return 0;
}
#else
static int branches_init(void)
{
	return 0;
}
#endif

int measure_cold_init(void)
{
	bool first = true;
	if (cold.walk != NULL)
		return 0;
	long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
	cold.walk_bytes = TARE_MIN(TARE_MAX(2 * (size_t)TARE_MAX(l2, 0), (size_t)WALK_MIN), (size_t)WALK_MAX);
	void *walk =
	    mmap(NULL, cold.walk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (walk == MAP_FAILED)
		return -ENOMEM;
	cold.walk = walk;
	(void)dl_iterate_phdr(add_segments, &first);
	return branches_init();
}

bool measure_cold_has(enum npa_cold kind)
{
	return cold.walk != NULL && (kind != NPA_COLD_BRANCH || cold.branches != NULL);
}

static void evict_data(const struct tare_npa_row *row)
{
	if (row->evict != NULL)
		row->evict();
	for (size_t i = 0; i < cold.data_count; i++) {
		// Not the walk's own samples: they are megabytes, and nobody's in a row.
		size_t bytes = TARE_MIN(cold.data[i].bytes, (size_t)WALK_MIN);
		tare_npa_flush(cold.data[i].begin, bytes);
	}
	for (size_t at = 0; at < cold.walk_bytes; at += TARE_CACHE_LINE)
		cold.walk[at]++;
}

void measure_evict(enum npa_cold kind, const struct tare_npa_row *row)
{
	if (kind == NPA_COLD_BRANCH || kind == NPA_COLD_ALL)
		if (cold.branches != NULL)
			cold.branches(cold.seed = cold.seed * 6364136223846793005u + 1442695040888963407u);
	if (kind == NPA_COLD_DATA || kind == NPA_COLD_ALL)
		evict_data(row);
	if (kind == NPA_COLD_CODE || kind == NPA_COLD_ALL)
		for (size_t i = 0; i < cold.code_count; i++)
			tare_npa_flush(cold.code[i].begin, cold.code[i].bytes);
}
