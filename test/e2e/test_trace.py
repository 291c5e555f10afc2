# SPDX-License-Identifier: MIT
"""`tare svc --trace-one` prints the nine steps that ARCHITECTURE.md walks through, in its words, each with its time."""
import json
import os
import re
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402


def documented_steps():
    """The numbered list of the section "One request": [(number, title)]; its lines of comment are not titles."""
    with open(os.path.join(tare.ROOT, "ARCHITECTURE.md"), encoding="utf-8") as file:
        text = file.read()
    section = re.search(r"^## One request$(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
    return [(int(number), title) for number, title in re.findall(r"^(\d+)\. \**([^*\n]+?)\**\s*$", section, re.M)]


class Trace(unittest.TestCase):
    def trace(self, *args):
        done = tare.run("svc", "--trace-one", "--index-size", "1M", *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_the_steps_are_those_of_the_architecture(self):
        printed = re.findall(r"^(\d+)\. (.+?) +(\d+) ns$", self.trace(), re.M)
        self.assertEqual([(int(number), title) for number, title, _ in printed], documented_steps())
        self.assertEqual([int(number) for number, _, _ in printed], list(range(1, 10)))

    def test_a_request_costs_one_recv_and_one_send(self):
        for io in ("epoll", "uring"):
            told = json.loads(self.trace("--json", f"--io={io}"))
            self.assertEqual(told["bytes_written"], told["bytes"])
            self.assertTrue(40 < told["bytes_read"] < 80, told)
            self.assertTrue(all(0 <= n < 20 for n in told["calls"].values()), told)
            if io == "epoll":
                self.assertEqual((told["calls"]["recv"], told["calls"]["send"]), (1, 1), told)

    def test_each_path_is_named_and_traced(self):
        for path in ("opt", "naive"):
            told = json.loads(self.trace(f"--path={path}", "--json"))
            self.assertEqual((told["path"], told["status"]), (path, 200))
            self.assertEqual([step["step"] for step in told["steps"]], list(range(1, 10)))
            self.assertTrue(all(step["ns"] >= 0 for step in told["steps"]))
            self.assertEqual(sum(step["ns"] for step in told["steps"]), told["total_ns"])
            self.assertGreater(told["total_ns"], 0)


if __name__ == "__main__":
    unittest.main()
