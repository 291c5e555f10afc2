// SPDX-License-Identifier: MIT
// What the machine is like, as far as figures depend on it: processor, clock, hypervisor, the CPUs that may be used,
// whether hardware counters can be had, and what runs beside us.
//
// Reads /proc and /sys; what can't be read is null or empty. Threads: any.
#include "measure/npa_int.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

void measure_json_string(struct tare_text *out, const char *text)
{
	tare_text_put(out, "\"", 1);
	for (const char *at = text; *at != '\0'; at++) {
		if (*at == '"' || *at == '\\')
			tare_text_printf(out, "\\%c", *at);
		else if ((unsigned char)*at < ' ')
			tare_text_printf(out, "\\u%04x", (unsigned char)*at);
		else
			tare_text_put(out, at, 1);
	}
	tare_text_put(out, "\"", 1);
}

// The bytes up to the first control character.
static void cut(char *text)
{
	text[strcspn(text, "\n\r\t")] = '\0';
}

static void cpu_model(char *out, size_t cap)
{
	char info[4096];
	snprintf(out, cap, "unknown");
	if (tare_proc_read("/proc/cpuinfo", info, sizeof info) < 0)
		return;
	const char *at = strstr(info, "model name");
	at = at != NULL ? strchr(at, ':') : NULL;
	if (at == NULL)
		return;
	snprintf(out, cap, "%.120s", at + 2);
	cut(out);
}

static bool invariant_clock(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d;
	return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
#else
	return true; // the generic timer of the architecture is
#endif
}

// NULL: none that says so.
static bool under_hypervisor(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d;
	return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & 1u << 31) != 0;
#else
	return false;
#endif
}

// 0, or why cycles can't be counted.
static int counters(void)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
				       .size = sizeof attr,
				       .config = PERF_COUNT_HW_CPU_CYCLES,
				       .exclude_kernel = 1,
				       .exclude_hv = 1};
	long fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

void measure_machine_write(struct tare_text *out)
{
	char model[128], source[64] = "", load[64] = "";
	cpu_set_t allowed;
	cpu_model(model, sizeof model);
	if (tare_proc_read("/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof source) <
	    0)
		source[0] = '\0';
	if (tare_proc_read("/proc/loadavg", load, sizeof load) < 0)
		load[0] = '\0';
	cut(source);
	CPU_ZERO(&allowed);
	int cpus = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
	int missing = counters();
	tare_text_printf(out, "\"cpu\":");
	measure_json_string(out, model);
	tare_text_printf(out, ",\"clock_source\":");
	measure_json_string(out, source);
	tare_text_printf(out,
			 ",\"invariant_clock\":%s,\"hypervisor\":%s,\"cpus\":%ld,\"cpus_allowed\":%d,\"load\":%.2f,"
			 "\"ns_per_tick\":%.6f,\"counters\":",
			 invariant_clock() ? "true" : "false", under_hypervisor() ? "true" : "false",
			 sysconf(_SC_NPROCESSORS_ONLN), cpus, strtod(load, NULL), measure_ns_per_tick());
	measure_json_string(out, missing == 0 ? "" : strerrordesc_np(missing));
	tare_text_printf(out, ",\"libc\":");
	measure_json_string(out, gnu_get_libc_version());
}
