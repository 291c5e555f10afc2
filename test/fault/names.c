// SPDX-License-Identifier: MIT
//
// names: a program that resolves names and says afterwards whether anything stayed behind. Run with one call failed
// after the other (test/e2e/test_dns.py): a lookup may fail, with a reason, but what is found is right, the program
// ends, and there is no descriptor too many.
//
//   names SERVER PORT     a name server, and what listens on 127.0.0.1. Exit code 0; 3 where something is wrong, which
//                         a line on standard error names
//
// One worker and no watchdog, so that the order of calls is nearly the same each time.
#include "fds.h"

#include <tare/dns.h>
#include <tare/rt.h>

#include <stdio.h>

static const char *const *arguments;
static bool wrong;

static void expect(struct tare_resolver *resolver, const char *text, int expected, const char *addr)
{
	struct tare_addr found[8];
	char shown[TARE_ADDR_TEXT_BYTES];
	struct tare_error err = {""};
	int rc = tare_resolve(resolver, text, found, 8, TARE_NEVER, &err);
	if (rc < 0 && err.text[0] != '\0')
		return; // a call failed, or it was to be
	for (int i = 0; i < rc; i++) {
		tare_addr_format(&found[i], shown);
		if (expected < 0 || strcmp(shown, addr) != 0) {
			fprintf(stderr, "names: %s is said to be %s\n", text, shown);
			wrong = true;
		}
	}
	if (rc <= 0) {
		fprintf(stderr, "names: %s: %d without a reason\n", text, rc);
		wrong = true;
	}
}

static int names(void *arg)
{
	static struct tare_stream stream;
	struct tare_resolver *resolver;
	struct tare_error err = {""};
	char text[64];
	(void)arg;
	const struct tare_resolver_options options = {
	    .servers = arguments[1], .try_ns = 100 * TARE_NS_PER_MS, .tries = 3};
	int rc = tare_resolver_new(&resolver, &options, &err);
	if (rc < 0)
		return 0;
	expect(resolver, "filed.test:1", 1, "192.0.2.1:1");
	expect(resolver, "four.test:2", 1, "192.0.2.4:2");
	expect(resolver, "inner:3", 1, "192.0.2.7:3");
	expect(resolver, "big.test:4", 1, "192.0.2.8:4");
	expect(resolver, "none.test:5", -1, "");
	snprintf(text, sizeof text, "here.test:%s", arguments[2]);
	if (tare_dial(&stream, resolver, text, tare_now_ns() + 2 * TARE_NS_PER_S, &err) == 0)
		tare_stream_close(&stream);
	else if (err.text[0] == '\0')
		wrong = true;
	tare_resolver_free(resolver);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	arguments = (const char *const *)argv;
	const struct tare_rt_options options = {.workers = 1, .seed = 1, .watchdog_ns = -1};
	int before = count_fds(), result = 0;
	(void)!tare_run(&options, names, NULL, &result, NULL);
	int fds = count_fds() - before;
	if (fds != 0)
		fprintf(stderr, "names: %d descriptors too many\n", fds);
	return fds != 0 || wrong ? 3 : 0;
}
