# SPDX-License-Identifier: MIT
"""Signals, files and children leave nothing behind, whichever call fails on the way.

Method: test/fault/outside.c, built against the library, with the n-th call failed for each n (test/preload/fail_nth.c).
"""
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TARE_BUILD", os.path.join(ROOT, "build/release")))
FAIL = os.path.join(BUILD, "preload/fail_nth.so")
UNREACHED_ENDS = 3  # threads make the last few calls vary
FEWEST = 40  # calls that the program makes at least; fewer would mean that it gave up early


@unittest.skipUnless(os.path.basename(BUILD) == "release", "sanitizers bring interposers of their own")
class Outside(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tare-outside-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = os.path.join(cls.folder, "outside")
        subprocess.run(
            [os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
             "-I", os.path.join(ROOT, "include"), "-o", cls.program, os.path.join(ROOT, "test/fault/outside.c"),
             os.path.join(BUILD, "libtare.a"), "-pthread", "-lm", "-lxxhash", "-luring", "-lz"], check=True)

    def run_failing(self, at, only=None):
        """Whether the n-th call was reached, and which function it was."""
        control = os.path.join(self.folder, "control")
        with open(control, "wb"):
            pass  # each run begins with zeroes
        env = dict(os.environ, LD_PRELOAD=FAIL, TARE_FAIL_AT=str(at), TARE_FAIL_COUNT_FILE=control)
        if only:
            env["TARE_FAIL_ONLY"] = only
        try:
            done = subprocess.run([self.program, os.path.join(self.folder, "file")], env=env, capture_output=True,
                                  text=True, timeout=30, stdin=subprocess.DEVNULL, check=False)
            code, text = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            code, text = None, "hangs"
        with open(control, "rb") as file:
            _, _, _, seen, failed, _, name, _ = struct.unpack("=6Q32s208s", file.read())
        name = name.split(b"\0")[0].decode()
        self.assertEqual(code, 0, f"n={at} {name}: {text}")
        return failed, seen, name

    def test_whichever_call_fails_nothing_stays_behind(self):
        _, seen, _ = self.run_failing(0)
        self.assertGreater(seen, FEWEST)
        at, unreached = 1, 0
        while unreached < UNREACHED_ENDS:
            failed, _, _ = self.run_failing(at)
            unreached = 0 if failed else unreached + 1  # one run may take fewer turns than another
            at += 1
        self.assertGreater(at, FEWEST)

    def test_each_of_the_calls_that_matter_fails(self):
        # Threads make the order of all calls vary; that of one function's is the same.
        for name in ("pthread_create", "pipe2", "posix_spawnp", "signalfd", "epoll_ctl", "calloc"):
            failed, _, which = self.run_failing(1, only=name)
            self.assertEqual((failed, which), (1, name))

    def test_without_a_thread_the_calls_are_made_all_the_same(self):
        with open(os.path.join(self.folder, "file"), "wb"):
            pass  # nothing of an earlier run
        failed, _, name = self.run_failing(1, only="pthread_create")
        self.assertEqual((failed, name), (1, "pthread_create"))
        with open(os.path.join(self.folder, "file"), encoding="ascii") as file:
            self.assertEqual(file.read(), "hello")


if __name__ == "__main__":
    unittest.main()
