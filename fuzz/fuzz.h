// SPDX-License-Identifier: MIT
// What every harness has: its entry, blocks that end where the input ends, recipes, and a main for compilers without
// libFuzzer.
//
// A harness is one source with LLVMFuzzerTestOneInput. With -DFUZZ_REPLAY it is a program that runs the files it is
// given; so this is included once a program. An invariant that does not hold aborts, which libFuzzer and the shell both
// notice.
#ifndef FUZZ_H
#define FUZZ_H

#include <tare/base.h>

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_hold(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

// A copy in a block of exactly its length, so that a read behind it is seen; at a cache line. For free. NULL: no
// memory.
static inline void *fuzz_copy(const void *data, size_t len)
{
	void *block = NULL;
	if (posix_memalign(&block, TARE_CACHE_LINE, TARE_MAX(len, (size_t)1)) != 0)
		return NULL;
	if (len > 0)
		memcpy(block, data, len);
	return block;
}

// What a recipe for a file may ask for: true checksums after its patches, and another length. Of a file of len bytes in
// a block with room for UINT16_MAX more.
enum { FUZZ_SEAL = 1, FUZZ_CUT = 2, FUZZ_GROW = 4 };

static inline size_t fuzz_length(unsigned flags, size_t len, const uint8_t change[2])
{
	uint16_t bytes;
	memcpy(&bytes, change, sizeof bytes);
	if ((flags & FUZZ_CUT) != 0)
		return len - TARE_MIN(len, (size_t)bytes);
	return (flags & FUZZ_GROW) != 0 ? len + bytes : len;
}

#ifdef FUZZ_REPLAY
static void fuzz_replay(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		perror(path);
		exit(1);
	}
	size_t size = fread(data, 1, sizeof data, file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		fuzz_replay(argv[i]);
	printf("%d files, every invariant held\n", argc - 1);
	return 0;
}
#endif

#endif
