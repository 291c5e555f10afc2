# SPDX-License-Identifier: MIT
"""What the tests share that run a program of test/fault/*.c with its n-th call failed, for each n (test/preload/fail_nth.c).

A test is `class X(failing.Calls, unittest.TestCase)` with what differs: the program, its arguments, the calls that must be among
those that fail. Nothing may stay behind, whichever fails; the program looks for itself, and says so by its exit code.
"""
import os
import shutil
import struct
import subprocess
import tempfile

from tare import BUILD, ROOT, compile_program

FAIL = os.path.join(BUILD, "preload/fail_nth.so")
UNREACHED_ENDS = 3  # threads and the network make the last few calls vary
WHY_NOT = None if os.path.basename(BUILD) == "release" else "sanitizers bring interposers of their own"


class Calls:
    SOURCE = None   # in test/fault
    FEWEST = None   # calls that the program makes at least; fewer would mean that it gave up early
    MATTER = ()     # functions whose first call is failed, each in a run of its own

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(FAIL):
            raise AssertionError(f"{FAIL} is not built, without which no call fails; `make test-build` builds it")
        cls.folder = tempfile.mkdtemp(prefix="tare-failing-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = os.path.join(cls.folder, "program")
        compile_program(os.path.join(ROOT, "test/fault", cls.SOURCE), cls.program)

    def arguments(self):
        return []

    def variables(self):
        return {}

    def run_failing(self, at, only=None):
        """Whether the n-th call was reached, how many there were, and which function it was."""
        control = os.path.join(self.folder, "control")
        with open(control, "wb"):
            pass  # each run begins with zeroes
        env = dict(os.environ, LD_PRELOAD=FAIL, TARE_FAIL_AT=str(at), TARE_FAIL_COUNT_FILE=control, **self.variables())
        if only:
            env["TARE_FAIL_ONLY"] = only
        try:
            done = subprocess.run([self.program, *self.arguments()], env=env, capture_output=True, text=True, timeout=30,
                                  stdin=subprocess.DEVNULL, check=False)
            code, text = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            code, text = None, "hangs"
        with open(control, "rb") as file:
            _, _, _, seen, failed, offset, name, where = struct.unpack("=6Q32s208s", file.read())
        name = name.split(b"\0")[0].decode()
        place = "%s+%#x" % (where.split(b"\0")[0].decode(), offset)
        self.assertEqual(code, 0, f"n={at} {name} at {place}: {text}")
        return failed, seen, name

    def test_whichever_call_fails_nothing_stays_behind(self):
        _, seen, _ = self.run_failing(0)
        self.assertGreater(seen, self.FEWEST)
        at, unreached = 1, 0
        while unreached < UNREACHED_ENDS:
            failed, _, _ = self.run_failing(at)
            unreached = 0 if failed else unreached + 1  # one run may take fewer turns than another
            at += 1
        self.assertGreater(at, self.FEWEST)

    def test_each_of_the_calls_that_matter_fails(self):
        # Threads make the order of all calls vary; that of one function's is the same.
        for name in self.MATTER:
            failed, _, which = self.run_failing(1, only=name)
            self.assertEqual((failed, which), (1, name))
