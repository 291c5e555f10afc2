// SPDX-License-Identifier: MIT
//
// The process_* metrics that every Prometheus client library has, read from the kernel at each scrape.
//
// Threads: any; nothing is kept but when the machine booted. Cost: a read of a small /proc file each (5–20 µs); without
// a count from the kernel (before Linux 6.2) open descriptors are counted entry by entry. No heap calls: /proc/self/fd
// is read with getdents64 and not with opendir, which allocates.
#include <tare/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// A field of /proc/self/stat by its number in proc(5), 3 or above: the name in field 2 may hold blanks and parentheses.
static double stat_field(int number)
{
	char buf[1024];
	if (tare_proc_read("/proc/self/stat", buf, sizeof buf) < 0)
		return NAN;
	const char *at = strrchr(buf, ')');
	for (int i = 2; at != NULL && i < number; i++) {
		at = strchr(at, ' ');
		at = at != NULL ? at + 1 : NULL;
	}
	return at != NULL ? strtod(at, NULL) : NAN;
}

static double cpu_seconds(void *arg)
{
	(void)arg;
	struct timespec ts;
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) < 0)
		return NAN;
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static double resident_bytes(void *arg)
{
	(void)arg;
	return stat_field(24) * (double)sysconf(_SC_PAGESIZE);
}

static double virtual_bytes(void *arg)
{
	(void)arg;
	return stat_field(23);
}

static double threads(void *arg)
{
	(void)arg;
	return stat_field(20);
}

static double open_fds(void *arg)
{
	(void)arg;
	int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return NAN;
	struct stat st;
	double count = fstat(fd, &st) == 0 ? (double)st.st_size : 0;
	if (count == 0) {
		alignas(struct dirent64) char buf[4096];
		for (ssize_t n; (n = getdents64(fd, buf, sizeof buf)) > 0;)
			for (ssize_t at = 0; at < n; at += ((struct dirent64 *)(void *)(buf + at))->d_reclen)
				count += ((struct dirent64 *)(void *)(buf + at))->d_name[0] != '.';
	}
	close(fd);
	return count - 1; // not the one that counted
}

static double max_fds(void *arg)
{
	(void)arg;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return NAN;
	return limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur;
}

// When the machine booted, in seconds since 1970, by the clock as it was at the first registration: found anew after
// the clock was set, it would move the process's start, and look like a restart.
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static double booted = NAN; // by boot_once

static void boot_read(void)
{
	struct timespec now, since_boot;
	if (clock_gettime(CLOCK_REALTIME, &now) == 0 && clock_gettime(CLOCK_BOOTTIME, &since_boot) == 0)
		booted = (double)(now.tv_sec - since_boot.tv_sec) + (double)(now.tv_nsec - since_boot.tv_nsec) * 1e-9;
}

// Seconds since 1970: the kernel tells clock ticks since it booted.
static double start_time(void *arg)
{
	(void)arg;
	double started = booted + stat_field(22) / (double)sysconf(_SC_CLK_TCK);
	return round(started * 100) / 100;
}

// Of all threads, those that ended too: "involuntary" is how often the kernel put one aside for another.
static void each_switch(void *arg, struct tare_rows *rows)
{
	(void)arg;
	struct rusage usage;
	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return;
	tare_rows_put(rows, "kind", "voluntary", (double)usage.ru_nvcsw);
	tare_rows_put(rows, "kind", "involuntary", (double)usage.ru_nivcsw);
}

int tare_registry_process(struct tare_registry *registry)
{
	(void)pthread_once(&boot_once, boot_read);
	int rc = tare_registry_rows(registry, "process_context_switches_total",
				    "Switches of the kernel between threads: waiting, and put aside for another.", true,
				    each_switch, NULL);
	if (rc < 0)
		return rc;
	rc = tare_registry_counter_fn(registry, "process_cpu_seconds_total", NULL,
				      "User and system CPU time spent, in seconds.", cpu_seconds, NULL);
	if (rc < 0)
		return rc;
	static const struct {
		const char *name, *help;
		double (*read)(void *arg);
	} gauges[] = {
	    {"process_resident_memory_bytes", "Resident memory size in bytes.", resident_bytes},
	    {"process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual_bytes},
	    {"process_open_fds", "Open file descriptors.", open_fds},
	    {"process_max_fds", "Most file descriptors that may be open.", max_fds},
	    {"process_start_time_seconds", "When the process started, in seconds since 1970.", start_time},
	    {"process_threads", "Threads of the operating system.", threads},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(gauges) && rc == 0; i++)
		rc = tare_registry_gauge(registry, gauges[i].name, NULL, gauges[i].help, gauges[i].read, NULL);
	return rc;
}
