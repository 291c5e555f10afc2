// SPDX-License-Identifier: MIT
// Tutorial, step 1: the runtime, tasks, and how they end. docs/tutorial/01-hello.md explains it piece by piece.
#include <tare/rt.h>
#include <tare/sync.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { NAMES_MAX = 64 };

struct names {
	int count;
	char **name;
	struct tare_wg farewells; // started and not yet said
};

// A task. Its result goes to whoever joins it; a negative errno means that it failed.
static int greet(void *arg)
{
	const char *name = arg;
	if (name[0] == '\0')
		return -EINVAL;
	printf("hello, %s, from task %" PRIu64 " on worker %d\n", name, tare_task_id(tare_self()), tare_worker());
	return (int)strlen(name);
}

// A task that nobody joins. It says itself that it is done.
static int farewell(void *arg)
{
	struct names *names = arg;
	(void)tare_sleep(10 * TARE_NS_PER_MS); // blocks the task alone; in no scope, so it can't be cancelled
	puts("goodbye");
	tare_wg_done(&names->farewells);
	return 0;
}

// Starts a task a name and adds up what they return. All that were started are joined, also when one failed.
static int greet_all(struct names *names)
{
	struct tare_task *tasks[NAMES_MAX];
	int started = 0, letters = 0, rc = 0;
	while (started < names->count && rc == 0) {
		rc = tare_spawn(&tasks[started], NULL, greet, names->name[started]);
		started += rc == 0;
	}
	for (int i = 0; i < started; i++) {
		int result = tare_join(tasks[i]);
		letters += result > 0 ? result : 0;
		rc = result < 0 && rc == 0 ? result : rc;
	}
	return rc < 0 ? rc : letters;
}

// The first task: the program runs until it returns.
static int first(void *arg)
{
	struct names *names = arg;
	tare_wg_add(&names->farewells, 1);
	int rc = tare_go(farewell, names);
	if (rc < 0) {
		tare_wg_done(&names->farewells);
		return rc;
	}
	int letters = greet_all(names);
	tare_wg_wait(&names->farewells); // it has our names: wait, also when the greetings failed
	return letters;
}

int main(int argc, char **argv)
{
	struct names names = {.count = argc - 1, .name = argv + 1};
	struct tare_error err = {""};
	int letters = 0;
	if (names.count < 1 || names.count > NAMES_MAX) {
		fprintf(stderr, "usage: hello NAME... (at most %d)\n", NAMES_MAX);
		return 2;
	}
	int rc = tare_run(NULL, first, &names, &letters, &err);
	if (rc < 0) { // the runtime did not start
		fprintf(stderr, "hello: %s\n", err.text);
		return 1;
	}
	if (letters < 0) { // the first task failed
		fprintf(stderr, "hello: %s\n", strerror(-letters));
		return 1;
	}
	printf("%d letters\n", letters);
	return fflush(stdout) == 0 ? 0 : 1;
}
