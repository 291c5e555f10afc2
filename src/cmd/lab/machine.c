// SPDX-License-Identifier: MIT
// What figures depend on, where Go's programs are, and files that are written whole.
#include "cmd/lab/lab.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define BUILD_NS (300 * TARE_NS_PER_S)
#define CGROUPS "/sys/fs/cgroup"

// `git describe --always --dirty` where and when it was built; "": not from a checkout.
#ifndef TARE_COMMIT
#define TARE_COMMIT ""
#endif

// The value of the first line "name : value" of a file of such lines, or "".
static void line_value(const char *path, const char *name, char *out, size_t cap)
{
	char line[512];
	FILE *file = fopen(path, "re");
	out[0] = '\0';
	while (file != NULL && out[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
		const char *colon = strchr(line, ':');
		if (colon == NULL || strncmp(line, name, strlen(name)) != 0)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		snprintf(out, cap, "%.*s", (int)strcspn(colon, "\n"), colon);
	}
	if (file != NULL)
		(void)fclose(file);
}

// The number in a file of a cgroup, or after a word of it. UINT64_MAX: there is none.
static uint64_t cgroup_number(const char *folder, const char *name, const char *word)
{
	char path[LAB_PATH * 2], text[8192];
	snprintf(path, sizeof path, CGROUPS "%s/%s", folder, name);
	if (tare_proc_read(path, text, sizeof text) <= 0)
		return UINT64_MAX;
	const char *at = word != NULL ? strstr(text, word) : text;
	if (at == NULL)
		return UINT64_MAX;
	at += word != NULL ? strlen(word) : 0;
	return *at < '0' || *at > '9' ? UINT64_MAX : strtoull(at, NULL, 10);
}

// What is left of a cgroup's limit, where pages of files that nobody used lately count as free.
static uint64_t cgroup_available(const char *folder)
{
	uint64_t max = cgroup_number(folder, "memory.max", NULL), used = cgroup_number(folder, "memory.current", NULL);
	uint64_t cached = cgroup_number(folder, "memory.stat", "\ninactive_file ");
	if (max == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	used -= cached == UINT64_MAX ? 0 : TARE_MIN(cached, used);
	return max - TARE_MIN(used, max);
}

// Of the system, and of this process's cgroup and those around it.
uint64_t lab_memory_available(void)
{
	char text[LAB_PATH], folder[LAB_PATH];
	line_value("/proc/meminfo", "MemAvailable", text, sizeof text);
	uint64_t available = strtoull(text, NULL, 10) * 1024;
	line_value("/proc/self/cgroup", "0:", text, sizeof text); // "0::/a/b", of which ":/a/b" is the value
	snprintf(folder, sizeof folder, "%s", text[0] == ':' ? text + 1 : "");
	for (char *slash; folder[0] == '/'; *slash = '\0') {
		available = TARE_MIN(available, cgroup_available(folder));
		slash = strrchr(folder, '/');
	}
	return TARE_MIN(available, cgroup_available(""));
}

// The folder that the program is in.
static void own_folder(const struct lab *lab, char *out, size_t cap)
{
	snprintf(out, cap, "%.*s", (int)(strrchr(lab->tare, '/') - lab->tare), lab->tare);
}

static void now_text(char *out, size_t cap)
{
	time_t now = time(NULL);
	struct tm tm;
	gmtime_r(&now, &tm);
	strftime(out, cap, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

// What the program itself says that it was built with, "go1.24.4 GOAMD64=v2", or the toolchain of it.
static void go_version(const struct lab *lab, char *out, size_t cap)
{
	const char *const asked[] = {lab->go_svc, "--version", NULL};
	const char *const argv[] = {"go", "version", "-m", lab->go_svc, NULL};
	struct lab_child child;
	struct tare_error err;
	char *text;
	out[0] = '\0';
	if (lab->go_svc[0] != '\0')
		lab_first_line(asked, out, cap);
	if (strncmp(out, "go", 2) == 0)
		return;
	out[0] = '\0';
	if (lab->go_svc[0] == '\0' || lab_child_start(&child, argv, -1, NULL, "/dev/null", &err) < 0 ||
	    lab_child_output(&child, "go version", tare_clock_ns() + 10 * TARE_NS_PER_S, &text, &err) < 0)
		return;
	const char *colon = strstr(text, ": "), *level = strstr(text, "GOAMD64=");
	if (colon != NULL)
		snprintf(out, cap, "%.*s%s%.*s%s", (int)strcspn(colon + 2, "\n"), colon + 2, level != NULL ? " " : "",
			 level != NULL ? (int)strcspn(level, "\n") : 0, level != NULL ? level : "",
			 strstr(text, "-pgo=") != NULL ? " -pgo" : "");
	free(text);
}

// "madvise" of "always [madvise] never": Tare's heap asks for large pages, Go's has those that it gets unasked.
static void large_pages(char *out, size_t cap)
{
	char text[64];
	if (tare_proc_read("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text) < 0)
		text[0] = '\0';
	const char *open = strchr(text, '[');
	snprintf(out, cap, "%.*s", open != NULL ? (int)strcspn(open + 1, "]") : 0, open != NULL ? open + 1 : "");
}

json_t *lab_machine(const struct lab *lab)
{
	static const char commit[] = TARE_COMMIT;
	char go[128], processor[256], date[32], load[64] = "", pages[16];
	struct utsname uts = {.release = ""};
	go_version(lab, go, sizeof go);
	line_value("/proc/cpuinfo", "model name", processor, sizeof processor);
	(void)uname(&uts);
	now_text(date, sizeof date);
	large_pages(pages, sizeof pages);
	if (tare_proc_read("/proc/loadavg", load, sizeof load) < 0)
		load[0] = '\0';
	load[strcspn(load, "\n")] = '\0';
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:s, s:s, s:i, s:i}", "commit",
			 commit, "tare", TARE_VERSION, "mode", TARE_MODE, "compiler", "gcc " __VERSION__, "go", go,
			 "kernel", uts.release, "architecture", uts.machine, "processor", processor, "cores",
			 tare_cpu_count(), "memory_bytes", (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE),
			 "memory_available_bytes", (json_int_t)lab_memory_available(), "transparent_hugepages", pages,
			 "load_average", load, "made", date, "cpu_of_service", lab->cpu_service, "cpu_of_generator",
			 lab->cpu_load);
}

// ---- files --------------------------------------------------------------------------------------------------------

int lab_json_write(const json_t *json, const char *path, struct tare_error *err)
{
	char part[LAB_PATH * 2];
	snprintf(part, sizeof part, "%s.part", path);
	if (json_dump_file(json, part, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) == 0 && rename(part, path) == 0)
		return 0;
	int rc = errno != 0 ? -errno : -EIO;
	(void)unlink(part);
	return tare_error_set(err, rc, "%s: %s", path, strerror(-rc));
}

// ---- Go -----------------------------------------------------------------------------------------------------------

// Where the source of Go's programs is, beside a build's folder or here. False: nowhere.
static bool go_source(const struct lab *lab, char *out, size_t cap)
{
	static const char *const from_program = "../../bench/peers/go";
	char folder[LAB_PATH / 2], main_go[LAB_PATH];
	own_folder(lab, folder, sizeof folder);
	snprintf(out, cap, "%s/%s", folder, from_program);
	snprintf(main_go, sizeof main_go, "%s/svc/main.go", out);
	if (access(main_go, R_OK) == 0)
		return true;
	snprintf(out, cap, "bench/peers/go");
	return access("bench/peers/go/svc/main.go", R_OK) == 0;
}

// Builds one of them into OUT/bin. "" in ret: it can't be built, and why says why.
static void go_build(struct lab *lab, const char *source, const char *name, char *ret)
{
	char script[LAB_PATH], target[LAB_PATH], log[LAB_PATH], *text;
	struct tare_error err = {""};
	struct lab_child child;
	char *out = realpath(lab->out, NULL);
	if (out == NULL)
		return;
	snprintf(target, sizeof target, "%s/bin/%s", out, name);
	snprintf(log, sizeof log, "%s/bin/%s.log", out, name);
	snprintf(script, sizeof script, "%s/build", source); // says how, for the benches too
	free(out);
	const char *const argv[] = {script, name, target, NULL};
	int rc = lab_child_start(&child, argv, -1, NULL, log, &err);
	if (rc == 0)
		rc = lab_child_output(&child, "go build", tare_clock_ns() + BUILD_NS, &text, &err);
	if (rc == 0) {
		free(text);
		memcpy(ret, target, sizeof target);
	} else if (lab->go_why[0] == '\0') {
		snprintf(lab->go_why, sizeof lab->go_why, "%.150s; %.80s says more", err.text, log);
	}
}

void lab_go_command(const struct lab *lab, bool probes, char *out, size_t cap)
{
	if (lab->go == NULL)
		snprintf(out, cap, LAB_GO_PLACE "%s", probes ? "probes" : "svc");
	else
		snprintf(out, cap, "%s", probes ? lab->go_probes : lab->go_svc);
}

void lab_go_find(struct lab *lab)
{
	char source[LAB_PATH - 16], version[128];
	const char *const go[] = {"go", "version", NULL};
	if (lab->go != NULL && strcmp(lab->go, "off") == 0) {
		snprintf(lab->go_why, sizeof lab->go_why, "--go off");
		return;
	}
	if (lab->go != NULL) {
		const char *slash = strrchr(lab->go, '/');
		snprintf(lab->go_svc, sizeof lab->go_svc, "%s%s", slash == NULL ? "./" : "", lab->go);
		snprintf(lab->go_probes, sizeof lab->go_probes, "%.*sprobes",
			 slash == NULL ? 0 : (int)(slash - lab->go + 1), lab->go);
		if (access(lab->go_probes, X_OK) < 0)
			lab->go_probes[0] = '\0';
		return;
	}
	lab_first_line(go, version, sizeof version);
	if (version[0] == '\0') {
		snprintf(lab->go_why, sizeof lab->go_why, "there is no Go toolchain, and --go names no program");
	} else if (!go_source(lab, source, sizeof source)) {
		snprintf(lab->go_why, sizeof lab->go_why,
			 "the source of Go's service, bench/peers/go/svc, is not here");
	} else {
		go_build(lab, source, "svc", lab->go_svc);
		snprintf(version, sizeof version, "%.100s/probes", source);
		if (lab->go_svc[0] != '\0' && access(version, R_OK) == 0)
			go_build(lab, source, "probes", lab->go_probes);
	}
}
