// SPDX-License-Identifier: MIT
//
// malloc_count: LD_PRELOAD library that counts a process's heap calls, those of its libraries too.
//
//   LD_PRELOAD=/usr/local/lib/tare/malloc_count.so tare svc …     then /debug/allocs has "process_heap" as well
//
// The process reads the counts through tare_process_heap_read (<tare/heap.h>), which it looks up. TARE_MALLOC_COUNT
// names a file; it's made to hold struct counters and shared, so that others read it while the process runs and after
// it ended in whatever way. The file:
//
//   offset, each a u64 in native order; Python: struct.unpack("=12Q", file)
//        0  magic          0x544e554f434d4154 ("TAMCOUNT" in memory)
//        8  malloc_calls
//       16  calloc_calls
//       24  realloc_calls  a realloc of NULL too
//       32  aligned_calls  posix_memalign, aligned_alloc, memalign
//       40  free_calls     not those of NULL
//       48  alloc_bytes    asked for by malloc, calloc, realloc and the aligned ones
//       56  mmap_calls     the program's and its libraries'; not those that libc makes for itself
//       64  mmap_bytes
//       72  munmap_calls
//       80  munmap_bytes
//       88  started        1 once the file is mapped: the counts before it were added
//
// Invariants:
//   1. No heap call is missed or counted twice: those before this library's constructor are kept in `early`, and the
//      constructor runs before there's a second thread.
//   2. Nothing here allocates or calls dlsym (which may): the heap is reached by glibc's __libc_ names, mmap by
//      syscall.
//
// Threads: any; each count is one relaxed atomic add, and no order between counts is promised.
// A forked child counts into the same file; so does an executed one, which adds to what it finds.
// Rejected: dlsym(RTLD_NEXT) with a bootstrap arena (more code for the same answer on glibc); a count a thread, summed
// at exit (lost on _exit); valloc and pvalloc (obsolete, nobody's).
#include <tare/heap.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <malloc.h>

#define EXPORT __attribute__((visibility("default")))
#define MAGIC UINT64_C(0x544e554f434d4154)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *ptr);

struct counters {
	uint64_t magic;
	atomic_uint_fast64_t malloc_calls, calloc_calls, realloc_calls, aligned_calls, free_calls, alloc_bytes;
	atomic_uint_fast64_t mmap_calls, mmap_bytes, munmap_calls, munmap_bytes, started;
};
_Static_assert(sizeof(struct counters) == 96, "the layout that tests read");

static struct counters early;
static _Atomic(struct counters *) current = &early;

#define ADD(field, n)                                                                                                  \
	atomic_fetch_add_explicit(&atomic_load_explicit(&current, memory_order_acquire)->field, (n),                   \
				  memory_order_relaxed)

// A test that reads zeros because nothing was counted would pass: so no file is fatal.
static void die(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
	_exit(99);
}

__attribute__((constructor(101))) static void start(void)
{
	const char *path = getenv("TARE_MALLOC_COUNT");
	if (path == NULL)
		return;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct counters)) != 0)
		die("malloc_count: the file named by TARE_MALLOC_COUNT can't be opened or sized\n");
	long address = syscall(SYS_mmap, NULL, sizeof(struct counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
	close(fd);
	if (address == -1)
		die("malloc_count: the file named by TARE_MALLOC_COUNT can't be mapped\n");
	struct counters *shared = (struct counters *)address;
	shared->magic = MAGIC;
	// release: pairs with the acquire in ADD
	atomic_store_explicit(&current, shared, memory_order_release);
	atomic_uint_fast64_t *from = &early.malloc_calls, *to = &shared->malloc_calls;
	for (; from < &early.started; from++, to++)
		atomic_fetch_add(to, atomic_load(from));
	atomic_store(&shared->started, 1);
}

EXPORT void tare_process_heap_read(struct tare_process_heap *ret)
{
	const struct counters *c = atomic_load_explicit(&current, memory_order_acquire);
	*ret = (struct tare_process_heap){
	    .allocs = c->malloc_calls + c->calloc_calls + c->realloc_calls + c->aligned_calls,
	    .frees = c->free_calls,
	    .bytes_total = c->alloc_bytes,
	};
}

EXPORT void *malloc(size_t size)
{
	ADD(malloc_calls, 1);
	ADD(alloc_bytes, size);
	return __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
	size_t bytes;
	ADD(calloc_calls, 1);
	if (!__builtin_mul_overflow(count, size, &bytes))
		ADD(alloc_bytes, bytes);
	return __libc_calloc(count, size);
}

EXPORT void *realloc(void *ptr, size_t size)
{
	ADD(realloc_calls, 1);
	ADD(alloc_bytes, size);
	return __libc_realloc(ptr, size);
}

EXPORT void free(void *ptr)
{
	if (ptr != NULL)
		ADD(free_calls, 1);
	__libc_free(ptr);
}

static void *aligned(size_t alignment, size_t size)
{
	ADD(aligned_calls, 1);
	ADD(alloc_bytes, size);
	return __libc_memalign(alignment, size);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	return aligned(alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return aligned(alignment, size);
}

EXPORT int posix_memalign(void **ret_ptr, size_t alignment, size_t size)
{
	if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0)
		return EINVAL;
	int saved = errno;
	void *ptr = aligned(alignment, size);
	if (ptr == NULL) {
		errno = saved;
		return ENOMEM;
	}
	*ret_ptr = ptr;
	return 0;
}

EXPORT void *mmap(void *address, size_t len, int prot, int flags, int fd, off_t offset)
{
	ADD(mmap_calls, 1);
	ADD(mmap_bytes, len);
	return (void *)syscall(SYS_mmap, address, len, prot, flags, fd, offset);
}

EXPORT int munmap(void *address, size_t len)
{
	ADD(munmap_calls, 1);
	ADD(munmap_bytes, len);
	return (int)syscall(SYS_munmap, address, len);
}
