# SPDX-License-Identifier: MIT
"""Signals, files and children leave nothing behind, whichever call fails on the way.

Method: test/fault/outside.c with the n-th call failed for each n (failing.py).
"""
import os
import unittest

import failing


@unittest.skipIf(failing.WHY_NOT, failing.WHY_NOT)
class Outside(failing.Calls, unittest.TestCase):
    SOURCE = "outside.c"
    FEWEST = 40
    MATTER = ("pthread_create", "pipe2", "posix_spawnp", "signalfd", "epoll_ctl", "calloc")

    def arguments(self):
        return [os.path.join(self.folder, "file")]

    def test_without_a_thread_the_calls_are_made_all_the_same(self):
        with open(os.path.join(self.folder, "file"), "wb"):
            pass  # nothing of an earlier run
        failed, _, name = self.run_failing(1, only="pthread_create")
        self.assertEqual((failed, name), (1, "pthread_create"))
        with open(os.path.join(self.folder, "file"), encoding="ascii") as file:
            self.assertEqual(file.read(), "hello")


if __name__ == "__main__":
    unittest.main()
