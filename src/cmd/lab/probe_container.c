// SPDX-License-Identifier: MIT
// container: a process in a cgroup with a memory limit (version 2, memory.max), whose collected heap wants more than
// that: once without a limit of its own, and once with the one that `auto` reads from the cgroup.
//
// The heap's live part fits; with GOGC=200 the garbage beside it does not, and the kernel kills who holds it. With
// `auto` the heap is collected before that.
// The group is made below the root of the cgroup file system and removed again, and so are those of probes that were
// killed; nothing else there is changed. Where it can't be made the probe says why: texts.skipped.
// How far a process came stands in memory that it shares with the probe, so that it is known of one that was killed.
// Figures: limit_bytes; for plain and auto: WAY_killed (1 or 0), WAY_peak_bytes (of the group, where the kernel tells
// it), WAY_lived_ms and WAY_objects_per_second (from when the live heap stood until the end, or the kill),
// WAY_collections (of who lived).
#include "cmd/lab/probe.h"

#include <tare/limit.h>
#include <tare/rt.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 1000, GOGC = 200, MAIN_BYTES = 16 << 20, PATH_BYTES = 512 };
#define GROUP_NAME "tare-lab-%d" // of the process that made it

// What a child did, in memory that it shares with the probe.
struct lived {
	uint64_t objects, collections;
	int64_t ns;
	bool to_the_end;
};

struct container {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	char dir[PATH_BYTES]; // the group's
	uint64_t live_bytes, limit_bytes;
	int64_t want_ns;
	volatile struct lived *lived; // shared; the child's until it has ended
	bool auto_limit;              // of the child alone
};

// ---- the group ----------------------------------------------------------------------------------------------------

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[2 * PATH_BYTES];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, text, strlen(text));
	int rc = n < 0 ? -errno : 0;
	close(fd);
	return rc;
}

// "" where there is none.
static void read_file(const char *dir, const char *name, char *buf, size_t cap)
{
	char path[2 * PATH_BYTES];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (tare_proc_read(path, buf, cap) < 0)
		buf[0] = '\0';
}

// Where cgroups of version 2 are mounted. False: nowhere.
static bool find_mount(char *out, size_t cap)
{
	char line[1024], dir[PATH_BYTES], type[32];
	FILE *mounts = fopen("/proc/self/mounts", "re");
	bool found = false;
	while (mounts != NULL && !found && fgets(line, sizeof line, mounts) != NULL)
		found = sscanf(line, "%*s %511s %31s", dir, type) == 2 && strcmp(type, "cgroup2") == 0;
	if (mounts != NULL)
		fclose(mounts);
	if (found)
		snprintf(out, cap, "%s", dir);
	return found;
}

// A probe that was killed leaves its group, and nobody in it. One in use is not removed: it has processes.
static void remove_stale(const char *mount)
{
	char path[2 * PATH_BYTES];
	const struct dirent *entry;
	DIR *groups = opendir(mount);
	while (groups != NULL && (entry = readdir(groups)) != NULL) {
		int pid, end = 0;
		if (sscanf(entry->d_name, GROUP_NAME "%n", &pid, &end) != 1 || entry->d_name[end] != '\0' || pid <= 0)
			continue;
		if (kill(pid, 0) == 0 || errno != ESRCH)
			continue;
		snprintf(path, sizeof path, "%.400s/%s", mount, entry->d_name);
		(void)rmdir(path);
	}
	if (groups != NULL)
		closedir(groups);
}

// False: it can't be made, and the text says why.
static bool group_make(struct container *c)
{
	char mount[PATH_BYTES], controllers[512], limit[32];
	if (!find_mount(mount, sizeof mount)) {
		lab_probe_text(c->out, "skipped", "no cgroups of version 2 are mounted here");
		return false;
	}
	read_file(mount, "cgroup.subtree_control", controllers, sizeof controllers);
	if (strstr(controllers, "memory") == NULL) {
		lab_probe_text(c->out, "skipped",
			       "%s hands no memory controller on to its groups (cgroup.subtree_control)", mount);
		return false;
	}
	remove_stale(mount);
	snprintf(c->dir, sizeof c->dir, "%.400s/" GROUP_NAME, mount, (int)getpid());
	if (mkdir(c->dir, 0755) < 0) {
		lab_probe_text(c->out, "skipped", "%s: %s", c->dir, strerror(errno));
		return false;
	}
	snprintf(limit, sizeof limit, "%" PRIu64, c->limit_bytes);
	int rc = write_file(c->dir, "memory.max", limit);
	(void)write_file(c->dir, "memory.swap.max", "0"); // a kernel without swap has no such file
	if (rc < 0) {
		lab_probe_text(c->out, "skipped", "%s/memory.max: %s", c->dir, strerror(-rc));
		rmdir(c->dir);
	}
	return rc == 0;
}

// ---- the child ----------------------------------------------------------------------------------------------------

static struct lab_probe_node *live; // a root
static struct tare_gc_root root;

static int live_in_it(void *arg)
{
	struct container *c = arg;
	struct tare_gc_options options = {.percent = GOGC, .limit_bytes = TARE_GC_NO_LIMIT};
	struct tare_gc_stats stats;
	if (c->auto_limit && tare_limit_parse(&options.limit_bytes, "auto", c->err) < 0)
		return -EINVAL;
	if (tare_gc_open(&options, c->err) < 0)
		return -ENOMEM;
	tare_gc_root_add(&root, &live, 1);
	tare_gc_store(&live, lab_probe_grow(c->live_bytes / sizeof(struct lab_probe_node)));
	for (int64_t since_ns = tare_now_ns(); c->lived->ns < c->want_ns; c->lived->ns = tare_now_ns() - since_ns) {
		for (int i = 0; i < BATCH; i++) {
			struct lab_probe_node *volatile node = tare_gc_new(&lab_probe_node_type);
			if (node == NULL)
				return -ENOMEM;
		}
		c->lived->objects += BATCH;
	}
	tare_gc_stats_read(&stats);
	c->lived->collections = stats.cycles;
	c->lived->to_the_end = true;
	tare_gc_close();
	return 0;
}

TARE_NORETURN static void child(struct container *c)
{
	char pid[32];
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	if (write_file(c->dir, "cgroup.procs", pid) < 0)
		_exit(2);
	_exit(lab_probe_in_task(2, live_in_it, c, c->err) < 0 ? 3 : 0);
}

static void put_lived(const struct container *c, const char *name, bool killed)
{
	char peak[64];
	uint64_t peak_bytes;
	const struct lived lived = *c->lived;
	lab_probe_figure(c->out, killed, "%s_killed", name);
	lab_probe_figure(c->out, (double)lived.ns / 1e6, "%s_lived_ms", name);
	if (lived.ns > 0) // it may have been killed before that
		lab_probe_figure(c->out, (double)lived.objects / ((double)lived.ns / 1e9), "%s_objects_per_second",
				 name);
	if (lived.to_the_end)
		lab_probe_figure(c->out, (double)lived.collections, "%s_collections", name);
	read_file(c->dir, "memory.peak", peak, sizeof peak);
	if (sscanf(peak, "%" SCNu64, &peak_bytes) == 1)
		lab_probe_figure(c->out, (double)peak_bytes, "%s_peak_bytes", name);
}

static int run_child(struct container *c, const char *name, bool auto_limit)
{
	int status = 0;
	c->auto_limit = auto_limit;
	*c->lived = (struct lived){0};
	pid_t pid = lab_probe_fork();
	if (pid == 0)
		child(c);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return tare_error_set(c->err, -errno, "no child: %s", strerror(errno));
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (!killed && !c->lived->to_the_end)
		return tare_error_set(c->err, -EIO, "%s: the process in the group ended with status %d", name, status);
	put_lived(c, name, killed);
	return 0;
}

static int run(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	static const struct {
		const char *name;
		bool auto_limit;
	} ways[] = {{"auto", true}, {"plain", false}};
	uint64_t live_bytes = lab_probe_value(args, "live");
	struct container c = {.args = args,
			      .out = out,
			      .err = err,
			      .live_bytes = live_bytes,
			      .limit_bytes = live_bytes / 2 * 3 + MAIN_BYTES,
			      .want_ns = (int64_t)lab_probe_value(args, "milliseconds") * TARE_NS_PER_MS};
	int rc = 0;
	void *shared = mmap(NULL, sizeof *c.lived, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return tare_error_set(err, -errno, "no shared memory: %s", strerror(errno));
	c.lived = shared;
	lab_probe_figure(out, (double)c.limit_bytes, "limit_bytes");
	for (size_t i = 0; i < TARE_ARRAY_LEN(ways) && rc == 0 && group_make(&c); i++) {
		rc = run_child(&c, ways[i].name, ways[i].auto_limit);
		rmdir(c.dir); // a group a child: its peak is that child's
	}
	munmap(shared, sizeof *c.lived);
	return rc;
}

const struct lab_probe lab_probe_container = {
    .name = "container",
    .about = "a heap in a cgroup with a memory limit, with `auto` and without",
    .run = run,
    .keys = {{"live", "heap; the limit is half as much again and 16M", true, 64 << 20, 32 << 20, 24 << 20,
	      UINT64_C(1) << 40},
	     {"milliseconds", "that each process lives", false, 3000, 300, 1, 600000}},
};
