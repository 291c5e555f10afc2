"""Goal: tools/run tells each failure in one line, and leaves nothing running, on a terminal and without one.

Method: runs it on a stand-in for the `tare` program, a shell script that behaves as the environment says.
"""

import os
import pty
import re
import signal
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

STAND_IN = r"""#!/bin/bash
echo "$*" >>"$STAND_IN_LOG"
case $1 in
gen)
	while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
	[ "$BEHAVE" = gen-fails ] && { echo 'tare gen: disk is full' >&2; exit 1; }
	echo data >"$out"
	;;
loadindex) printf '{\n  "file": "x",\n  "records": 524288\n}\n' ;;
svc)
	[ "$BEHAVE" = svc-fails ] && { echo 'tare svc: bad knob' >&2; exit 1; }
	port=8080
	if [ "$BEHAVE" = taken ]; then
		[[ "$*" = *--port-fallback* ]] || { echo 'tare svc: 127.0.0.1:8080 is taken' >&2; exit 1; }
		port=46639
		echo "tare svc: 127.0.0.1:8080 is taken; using 127.0.0.1:$port" >&2
	fi
	trap 'echo stopped >>"$STAND_IN_LOG"; exit 0' TERM
	[ "$BEHAVE" = svc-mute ] || echo "listening on http://127.0.0.1:$port (opt)"
	[ "$BEHAVE" = svc-dies ] && { echo 'tare svc: lost its index' >&2; exit 3; }
	# Ends by a signal alone: nobody writes to this pipe.
	exec 4<> <(:)
	while :; do read -r -t 1 -u 4 || true; done
	;;
load)
	[ "$BEHAVE" = load-fails ] && exit 1
	echo REPORT
	;;
esac
"""


class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = folder.name
        self.log = self.top + "/log"
        with open(self.top + "/tare", "w", encoding="utf-8") as f:
            f.write(STAND_IN)
        os.chmod(self.top + "/tare", 0o755)

    def environment(self, behave):
        ours = {"TARE": self.top + "/tare", "TARE_RUN_DIR": self.top + "/run", "STAND_IN_LOG": self.log, "BEHAVE": behave}
        return dict(os.environ, TARE_RUN_START_LIMIT="5", **ours)

    def run_it(self, behave="well"):
        argv = [os.path.join(ROOT, "tools/run")]
        env = self.environment(behave)
        return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def logged(self):
        with open(self.log, encoding="utf-8") as f:
            return f.read().splitlines()

    def assert_nothing_left(self):
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout if has_ps() else ""
        self.assertNotIn(self.top, listed)
        self.assertFalse(os.path.exists(self.top + "/run/svc.fifo"))

    def test_without_a_terminal(self):
        done = self.run_it()
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertIn("REPORT", done.stdout)
        wanted = "load --duration 10s --rate 5000 --connections 64 --keys 524288 http://127.0.0.1:8080/lookup?key={zipf}&fmt=json"
        self.assertIn(wanted, self.logged())
        self.assertEqual("stopped", self.logged()[-1])
        self.assert_nothing_left()

    def test_a_snapshot_is_made_once(self):
        self.assertIn("generating", self.run_it().stdout)
        self.assertIn("is there (--size 64M --seed 1)", self.run_it().stdout)
        os.environ["TARE_RUN_SEED"] = "2"
        self.addCleanup(os.environ.pop, "TARE_RUN_SEED")
        self.assertIn("generating", self.run_it().stdout)
        self.assertEqual(2, sum(line.startswith("gen ") for line in self.logged()))

    def test_a_taken_port(self):
        done = self.run_it("taken")
        self.assertEqual((0, "tare svc: 127.0.0.1:8080 is taken; using 127.0.0.1:46639\n"), (done.returncode, done.stderr))
        self.assertIn("REPORT", done.stdout)
        self.assertIn("http://127.0.0.1:46639/lookup", self.logged()[-2])

    def test_failures_are_one_line(self):
        for behave, message in (
            ("gen-fails", "the snapshot could not be generated"),
            ("svc-fails", "the server ended at its start: tare svc: bad knob"),
            ("svc-dies", "the server ended under load: tare svc: lost its index"),
            ("load-fails", "the load generator ended with exit code 1"),
            ("svc-mute", "the server did not say where it listens within 5 s"),
        ):
            with self.subTest(behave):
                done = self.run_it(behave)
                self.assertEqual(1, done.returncode)
                ours = [line for line in done.stderr.splitlines() if line.startswith("make run: ")]
                self.assertEqual(1, len(ours), done.stderr)
                self.assertIn(message, ours[0])
                self.assert_nothing_left()

    def test_on_a_terminal_it_stays_until_interrupted(self):
        pid, terminal = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background has it ignored, and hands that on
            os.execve(os.path.join(ROOT, "tools/run"), ["tools/run"], self.environment("well"))
        text = b""
        try:
            while b"Ctrl-C ends it." not in text:
                text += os.read(terminal, 4096)
            self.assertRegex(text.decode(), re.escape("The server stays up: http://127.0.0.1:8080/lookup"))
            os.write(terminal, b"\x03")
            while True:
                text += os.read(terminal, 4096)
        except OSError:
            pass  # EIO: the other side is gone
        finally:
            os.close(terminal)
            _, status = os.waitpid(pid, 0)
        self.assertEqual(0, os.waitstatus_to_exitcode(status), text.decode())
        self.assertEqual("stopped", self.logged()[-1])
        self.assert_nothing_left()

    def test_terminated_in_the_middle(self):
        process = subprocess.Popen(
            [os.path.join(ROOT, "tools/run")],
            env=self.environment("svc-mute"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.assertIn("snapshot", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertNotEqual(0, process.returncode)
        self.assert_nothing_left()


def has_ps():
    return subprocess.run(["sh", "-c", "command -v ps"], capture_output=True).returncode == 0


if __name__ == "__main__":
    unittest.main()
