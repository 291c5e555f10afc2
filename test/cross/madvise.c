// SPDX-License-Identifier: MIT
//
// Loaded before programs that run under qemu-user, which takes any advice about memory and heeds hardly one: guard
// pages are refused here, as a kernel before 6.13 does, so that the runtime makes its guards in the other way.
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MADV_GUARD_INSTALL 102

__attribute__((visibility("default"))) int madvise(void *start, size_t bytes, int advice)
{
	if (advice != MADV_GUARD_INSTALL)
		return (int)syscall(SYS_madvise, start, bytes, advice);
	errno = EINVAL;
	return -1;
}
