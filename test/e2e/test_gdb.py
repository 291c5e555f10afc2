# SPDX-License-Identifier: MIT
"""tools/gdb/tare.py lists the tasks of a live process, shows where each stands, goes to one and comes back.

Method: gdb attaches to a server, runs the commands and lets it go; the server must serve as before. Skipped where there is no
gdb, or where it may not attach.
"""
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "gdb", "tare.py")


@unittest.skipUnless(shutil.which("gdb"), "there is no gdb")
class Gdb(unittest.TestCase):
    def gdb(self, server, *commands):
        """What each command printed."""
        args = ["gdb", "-nx", "-batch", "-p", str(server.pid), "-ex", f"source {SCRIPT}"]
        for command in commands:
            args += ["-ex", "echo \\n==", "-ex", command]
        done = subprocess.run(args, capture_output=True, text=True, timeout=tare.PATIENCE_S * 4,
                              env={**os.environ, "DEBUGINFOD_URLS": ""})
        if "Operation not permitted" in done.stderr or "Python" in done.stderr and "not supported" in done.stderr:
            self.skipTest("gdb may not attach, or has no Python")
        parts = done.stdout.split("\n==")[1:]
        self.assertEqual(len(parts), len(commands), done.stdout + done.stderr)
        return parts

    def test_tasks_are_listed_shown_and_gone_to(self):
        with tare.Server("--workers=2") as server, tare.Client(server.port) as client:
            self.assertEqual(client.lookup(1)[0], 200)
            listed, = self.gdb(server, "tare tasks")
            self.assertRegex(listed, r'task \d+ "main": parked: event; started by ')
            self.assertRegex(listed, r'task \d+ "signals": parked: chan_recv; started by signals_watch\n')
            self.assertEqual(listed.count('"accept": parked: read'), 4)
            main = re.search(r'task (\d+) "main"', listed).group(1)
            before, shown, gone, inside, back, after, every = self.gdb(
                server, "bt 1", f"tare bt {main}", f"tare task {main}", "bt", "tare back", "bt 1", "tare bt all")
            self.assertRegex(shown, r"tare_event_wait .*\n(.*\n)?#\d+ .* serve \(arg=")
            self.assertIn("rt_context_entry", shown)
            self.assertIn('"main": parked', gone)
            self.assertIn("serve (arg=", inside)
            self.assertEqual(before, after)
            self.assertEqual(every.count("accept_task (arg="), 4)
            self.assertIn("signals_task", every)
            # Left while it is elsewhere: it goes on as itself all the same.
            self.gdb(server, f"tare task {main}")
            self.assertEqual(client.lookup(2)[0], 200)

    def test_what_can_not_be_is_said(self):
        with tare.Server("--workers=1") as server:
            wrong = ["tare bt 12345", "tare bt x", "tare back"]
            for command in wrong:
                done = subprocess.run(["gdb", "-nx", "-batch", "-p", str(server.pid), "-ex", f"source {SCRIPT}", "-ex", command],
                                      capture_output=True, text=True, timeout=tare.PATIENCE_S * 4)
                if "Operation not permitted" in done.stderr:
                    self.skipTest("gdb may not attach")
                self.assertRegex(done.stderr, r"tare: (there is no task 12345|give a task's number|no task was gone to)")
            self.assertEqual(server.ask("/healthz")[0], 200)


if __name__ == "__main__":
    unittest.main()
