# SPDX-License-Identifier: MIT
"""The preload libraries count and fail exactly what they say, and the fault driver catches what it's there to catch.

Method: small C programs with known calls, compiled here, run with each library; then test/fault/sample.c, sound and
with one bug at a time, run by the driver.
"""
import os
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TARE_BUILD", os.path.join(ROOT, "build/release")))
COUNT = os.path.join(BUILD, "preload/malloc_count.so")
FAIL = os.path.join(BUILD, "preload/fail_nth.so")
sys.path.insert(0, os.path.join(ROOT, "test/fault"))
import driver  # noqa: E402

CALLS = r"""
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static void *volatile keep;
static void *thread(void *arg)
{
	for (int i = 0; i < 10000; i++) {
		void *volatile p = malloc(16);
		free(p);
	}
	return arg;
}
__attribute__((constructor)) static void before_main(void)
{
	free(keep = malloc(1000));
}
int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1;
	for (int i = 0; i < times; i++) {
		keep = malloc(10);
		keep = realloc(keep, 20);
		free(keep);
		free(keep = calloc(3, 10));
		void *p;
		if (posix_memalign(&p, 64, 100) == 0)
			free(keep = p);
		free(keep = aligned_alloc(64, 128));
		free(keep = memalign(32, 32));
		void *m = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m != MAP_FAILED)
			munmap(m, 8192);
	}
	free(NULL);
	if (posix_memalign((void **)&keep, 3, 10) != EINVAL)
		return 3;
	if (argc > 2) {
		pthread_t threads[4];
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, thread, NULL);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	_exit(0);
}
"""

FIRST_FAILURE = r"""
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static void *nothing(void *arg) { return arg; }
// Without stdio, which makes calls of its own.
static void tell(const char *name, int code)
{
	char line[64];
	write(2, line, snprintf(line, sizeof line, "%s %d\n", name, code));
}
int main(int argc, char **argv)
{
	void *volatile p = malloc(7);
	tell("malloc", p != NULL ? 0 : errno);
	errno = 0;
	int fd = open("/dev/zero", O_RDWR);
	tell("open", fd >= 0 ? 0 : errno);
	char c;
	tell("read", read(fd >= 0 ? fd : 0, &c, 1) >= 0 ? 0 : errno);
	tell("recv", recv(0, &c, 1, MSG_DONTWAIT) >= 0 ? 0 : errno);
	pthread_t t;
	tell("pthread_create", pthread_create(&t, NULL, nothing, NULL));
	tell("fcntl", fcntl(2, F_GETFD) >= 0 ? 0 : errno);
	if (argc > 1 && strcmp(argv[1], "abort") == 0)
		abort();
	_exit(0);
}
"""


def compile_c(folder, name, source):
    path = os.path.join(folder, name)
    if source.endswith(".c"):
        command, text = [source], None
    else:
        command, text = ["-x", "c", "-"], source
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-g", "-O1", "-fno-builtin", "-w", "-o",
                    path] + command + ["-pthread"], input=text, text=True, check=True)
    return path


class Preload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for library in (COUNT, FAIL):
            if not os.path.exists(library):
                raise AssertionError(f"{library} is not there: run 'make test-build'")
        cls.folder = tempfile.TemporaryDirectory(prefix="tare-preload-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.calls = compile_c(cls.folder.name, "calls", CALLS)
        cls.first_failure = compile_c(cls.folder.name, "first_failure", FIRST_FAILURE)

    def path(self, name):
        path = os.path.join(self.folder.name, self.id() + name)
        if os.path.exists(path):
            os.unlink(path)
        return path


class MallocCount(Preload):
    NAMES = ("magic malloc calloc realloc aligned free alloc_bytes mmap mmap_bytes munmap munmap_bytes started").split()

    def count(self, *args):
        path = self.path("count")
        subprocess.run([self.calls, *args], env={"LD_PRELOAD": COUNT, "TARE_MALLOC_COUNT": path}, check=True,
                       timeout=30)
        with open(path, "rb") as file:
            return dict(zip(self.NAMES, struct.unpack("=12Q", file.read())))

    def test_each_call_is_counted_once(self):
        once, more = self.count("1"), self.count("8")
        self.assertEqual(once["magic"], 0x544e554f434d4154)
        self.assertEqual(once["started"], 1)
        gained = {name: more[name] - once[name] for name in self.NAMES[1:-1]}
        self.assertEqual(gained, {"malloc": 7, "calloc": 7, "realloc": 7, "aligned": 21, "free": 35,
                                  "alloc_bytes": 7 * (10 + 20 + 30 + 100 + 128 + 32), "mmap": 7, "mmap_bytes": 7 * 8192,
                                  "munmap": 7, "munmap_bytes": 7 * 8192})

    def test_calls_before_main_are_counted(self):
        none = self.count("0")
        self.assertGreaterEqual(none["malloc"], 1)
        self.assertGreaterEqual(none["alloc_bytes"], 1000)

    def test_threads_lose_no_count(self):
        base, threads = self.count("0"), self.count("0", "threads")
        self.assertEqual(threads["malloc"] - base["malloc"], 40000)

    def test_no_file_is_fatal(self):
        done = subprocess.run([self.calls], env={"LD_PRELOAD": COUNT, "TARE_MALLOC_COUNT": "/nowhere/at/all"},
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (99, 1))


class FailNth(Preload):
    def run_failing(self, at, *args, **env):
        path = self.path("control")
        done = subprocess.run([self.first_failure, *args], capture_output=True, text=True, check=False, timeout=30,
                              stdin=subprocess.DEVNULL, env={"LD_PRELOAD": FAIL, "TARE_FAIL_AT": str(at),
                                                             "TARE_FAIL_COUNT_FILE": path, **env})
        with open(path, "rb") as file:
            _, at_seen, _, seen, failed, _, name, where = struct.unpack("=6Q32s208s", file.read())
        self.assertEqual(at_seen, at)
        codes = dict(line.split() for line in done.stderr.splitlines())
        return done.returncode, codes, seen, failed, name.split(b"\0")[0].decode(), where.split(b"\0")[0].decode()

    def test_counts_from_main_and_fails_none(self):
        code, codes, seen, failed, name, _ = self.run_failing(0, TARE_FAIL_ONLY="malloc,open,read,pthread_create,fcntl")
        self.assertEqual((code, seen, failed, name), (0, 5, 0, ""))
        self.assertEqual({codes[name] for name in ("malloc", "open", "read", "pthread_create", "fcntl")}, {"0"})

    def test_each_fails_with_its_errno(self):
        for at, (function, error) in enumerate([("malloc", 12), ("open", 24), ("read", 5), ("recv", 104),
                                                ("pthread_create", 11), ("fcntl", 24)], 1):
            with self.subTest(function=function):
                code, codes, _, failed, name, where = self.run_failing(
                    at, TARE_FAIL_ONLY="malloc,open,read,recv,pthread_create,fcntl")
                self.assertEqual((code, failed, name, codes[function]), (0, 1, function, str(error)))
                self.assertEqual(where, self.first_failure)

    def test_errno_can_be_forced(self):
        _, codes, _, _, _, _ = self.run_failing(1, TARE_FAIL_ONLY="open", TARE_FAIL_ERRNO="13")
        self.assertEqual(codes["open"], "13")

    def test_count_survives_abort(self):
        code, _, seen, failed, name, _ = self.run_failing(2, "abort", TARE_FAIL_ONLY="malloc,open")
        self.assertEqual((code, seen, failed, name), (-6, 2, 1, "open"))

    def test_armed_later_counts_nothing_until_then(self):
        _, _, seen, failed, _, _ = self.run_failing(1, TARE_FAIL_FROM="armed")
        self.assertEqual((seen, failed), (0, 0))

    def test_past_the_last_call_nothing_fails(self):
        _, _, seen, failed, _, _ = self.run_failing(1000)
        self.assertEqual(failed, 0)
        self.assertGreater(seen, 5)

    def test_a_mistyped_number_is_fatal(self):
        done = subprocess.run([self.first_failure], env={"LD_PRELOAD": FAIL, "TARE_FAIL_AT": "1x"}, capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 99)


class Driver(Preload):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sample = compile_c(cls.folder.name, "sample", os.path.join(ROOT, "test/fault/sample.c"))

    def setUp(self):
        limits = driver.RUN_SECONDS, driver.ANSWER_SECONDS
        driver.RUN_SECONDS, driver.ANSWER_SECONDS = 3, 1

        def restore():
            driver.RUN_SECONDS, driver.ANSWER_SECONDS = limits
        self.addCleanup(restore)

    def problems(self, scenario):
        outcomes, left_out = driver.drive(scenario)
        self.assertEqual((outcomes[0].problem, left_out), ("", 0))
        self.assertGreater(sum(outcome.reached for outcome in outcomes), 3)
        return [(outcome.where.split(",")[0], outcome.problem) for outcome in outcomes if outcome.problem]

    def write(self, bug):
        return self.problems(driver.WriteScenario(
            "write", FAIL, lambda out: [self.sample, "write", out, bug], "sample"))

    def serve(self, bug, armed):
        requests = [driver.Request("/"), driver.Request("/", new_connection=True, pipelined=3)]
        return self.problems(driver.ServiceScenario(
            "serve", FAIL, lambda port: [self.sample, "serve", str(port), bug], requests, armed, "sample"))

    def test_a_sound_program_passes(self):
        self.assertEqual(self.write("none"), [])
        self.assertEqual(self.serve("none", armed=False), [])
        self.assertEqual(self.serve("none", armed=True), [])

    def test_bugs_of_a_writer_are_caught(self):
        for bug, function, problem in [
                ("crash", "malloc", "crashes: killed by SIGSEGV"), ("hang", "fsync", "hangs"),
                ("half", "write", "leaves out.part behind"), ("mute", "malloc", "without exactly one line"),
                ("lost", "write", "not what it should be"), ("code", "open", "exit code 3")]:
            with self.subTest(bug=bug):
                found = self.write(bug)
                self.assertTrue(any(name == function and problem in text for name, text in found), found)

    def test_bugs_of_a_server_are_caught(self):
        # Counted from main, a single thread makes the same calls every time: the verdicts are exact.
        for bug, function, problem in [
                ("crash", "malloc", "no longer serves"), ("gone", "recv", "no longer serves"),
                ("stuck", "recv", "hangs"), ("deaf", "accept4", "hangs")]:
            with self.subTest(bug=bug):
                found = self.serve(bug, armed=False)
                self.assertTrue(any(name == function and problem in text for name, text in found), found)

    def test_bugs_are_caught_while_requests_are_made(self):
        # Counting starts within some call, and which one varies; so does the moment at which a dead server is noticed.
        for bug in ("crash", "gone"):
            with self.subTest(bug=bug):
                self.assertNotEqual(self.serve(bug, armed=True), [])


if __name__ == "__main__":
    unittest.main()
