"""Goal: a program outside the tree builds against what `make install` puts down, with pkg-config alone.

Method: installs into a temporary DESTDIR, compiles a small program with the flags of tare.pc, runs it, and looks at what
else was installed.
"""

import os
import re
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TARE_BUILD", os.path.join(ROOT, "build/release"))

PROGRAM = r"""
#include <tare/rt.h>
#include <stdio.h>

static int double_it(void *arg)
{
	tare_yield();
	return 2 * *(int *)arg;
}

int main(void)
{
	struct tare_rt_options options = {.workers = 1};
	struct tare_error err;
	int number = 21, result = 0;
	if (tare_run(&options, double_it, &number, &result, &err) < 0)
		return 1;
	printf("%d\n", result);
	return 0;
}
"""


@unittest.skipUnless(os.path.basename(BUILD) == "release", "what gets installed is the release build")
class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.prefix = cls.folder.name + "/opt/tare"
        argv = ["make", "-s", "install", "DESTDIR=" + cls.folder.name, "PREFIX=/opt/tare"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError("make install failed:\n" + done.stdout + done.stderr)
        with open(os.path.join(ROOT, "VERSION"), encoding="utf-8") as f:
            cls.version = f.read().strip()

    def pkg_config(self, *options):
        argv = ["pkg-config", *options, "tare"]
        env = dict(os.environ, PKG_CONFIG_PATH=self.prefix + "/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR=self.folder.name)
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout.split()

    def test_a_program_builds_and_runs(self):
        source, program = self.folder.name + "/program.c", self.folder.name + "/program"
        with open(source, "w", encoding="utf-8") as f:
            f.write(PROGRAM)
        argv = ["gcc", "-Wall", "-Wextra", "-Werror", *self.pkg_config("--cflags"), "-o", program, source]
        done = subprocess.run(argv + self.pkg_config("--libs"), cwd="/", capture_output=True, text=True)
        self.assertEqual(0, done.returncode, done.stderr)
        done = subprocess.run([program], capture_output=True, text=True, timeout=30)
        self.assertEqual((0, "42\n"), (done.returncode, done.stdout), done.stderr)

    def test_the_interposer_counts_for_the_process_that_asks(self):
        env = dict(os.environ, LD_PRELOAD=self.prefix + "/lib/tare/malloc_count.so")
        program = ("import ctypes; counts = (ctypes.c_uint64 * 3)(); "
                   "ctypes.CDLL(None).tare_process_heap_read(counts); print(*counts)")
        done = subprocess.run(["python3", "-c", program], env=env, check=True, capture_output=True, text=True)
        allocs, frees, allocated = map(int, done.stdout.split())
        self.assertTrue(allocs > frees > 100 and allocated > allocs, done.stdout)

    def test_each_public_header_compiles_by_itself(self):
        folder = self.prefix + "/include/tare"
        headers = sorted(os.listdir(folder))
        self.assertEqual(sorted(os.listdir(ROOT + "/include/tare")), headers)
        for header in headers:
            with self.subTest(header):
                argv = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c", "-"]
                text = "#include <tare/%s>\n" % header
                done = subprocess.run(argv + self.pkg_config("--cflags"), input=text, capture_output=True, text=True)
                self.assertEqual(0, done.returncode, done.stderr)

    def test_version_program_and_man_pages(self):
        self.assertEqual([self.version], self.pkg_config("--modversion"))
        done = subprocess.run([self.prefix + "/bin/tare", "version"], capture_output=True, text=True)
        self.assertEqual((0, "tare %s\n" % self.version), (done.returncode, done.stdout))
        pages = [name for name in os.listdir(ROOT + "/docs/man") if name.endswith(".1")]
        self.assertIn("tare.1", pages)
        self.assertEqual(sorted(pages), sorted(os.listdir(self.prefix + "/share/man/man1")))

    def test_the_headers_tell_the_version(self):
        text = "#include <tare/base.h>\nTARE_VERSION TARE_VERSION_MAJOR.TARE_VERSION_MINOR.TARE_VERSION_PATCH\n"
        argv = ["gcc", "-E", "-P", "-x", "c", "-"]
        done = subprocess.run(argv + self.pkg_config("--cflags"), input=text, check=True, capture_output=True, text=True)
        self.assertEqual('"%s" %s' % (self.version, self.version), re.sub(r" ?\. ?", ".", done.stdout.splitlines()[-1]))

    def test_the_headers_are_manual_pages_and_each_function_leads_to_one(self):
        folder = self.prefix + "/share/man/man3/"
        for header in os.listdir(ROOT + "/include/tare"):
            self.assertTrue(os.path.isfile(folder + "tare-%s.3" % header[: -len(".h")]), header)
        with open(folder + "tare_run.3", encoding="utf-8") as f:
            self.assertEqual(".so man3/tare-rt.3\n", f.read())


if __name__ == "__main__":
    unittest.main()
