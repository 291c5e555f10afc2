"""Goal: the tracepoints are in the program under the names and with the arguments that src/base/probe.h documents, and the scripts
of docs/bpftrace see with them what happens. Method: the notes of the file; the scripts on a running service where bpftrace may
run, their syntax where it may not.
"""

import os
import re
import shutil
import signal
import subprocess
import unittest

import tare

SCRIPTS = os.path.join(tare.ROOT, "docs/bpftrace")
# What each script must print about a service that was asked something.
SEEN = {
    "handler.bt": r"@us\[200\]:.*\n\[",
    "io.bt": r"@read_sizes:.*\n\[.*@write_sizes:.*\n\[",
    "parked.bt": r"@us\[\d+\]:.*\n\[",
    "wakeup.bt": r"@us:.*\n\[",
}


def notes():
    """{probe: number of arguments}"""
    text = subprocess.run(["readelf", "-n", tare.PROGRAM], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"Provider: tare\n\s+Name: (\w+)\n.*\n\s+Arguments: (.*)", text)
    return {name: len(arguments.split()) for name, arguments in found}


def documented():
    with open(os.path.join(tare.ROOT, "src/base/probe.h"), encoding="utf-8") as file:
        return {name: len(arguments.split(",")) for name, arguments in re.findall(r"^//   (\w+) +\((.*?)\)", file.read(), re.M)}


@unittest.skipUnless(os.path.exists("/usr/include/sys/sdt.h") or notes(), "built without sys/sdt.h")
class Probes(unittest.TestCase):
    def test_each_documented_probe_is_there_with_its_arguments(self):
        self.assertEqual(documented(), notes())

    def test_each_probe_is_used_by_a_script(self):
        used = set()
        for name in os.listdir(SCRIPTS):
            with open(os.path.join(SCRIPTS, name), encoding="utf-8") as file:
                used |= set(re.findall(r"usdt:\*:tare:(\w+)", file.read()))
        self.assertEqual(set(documented()), used)
        self.assertEqual(set(SEEN), set(os.listdir(SCRIPTS)))

    @unittest.skipUnless(shutil.which("bpftrace"), "no bpftrace")
    def test_the_scripts_see_a_service_at_work(self):
        with tare.Server() as server:
            for script, seen in SEEN.items():
                with self.subTest(script):
                    if self.runs():
                        tare.eventually(lambda: re.search(seen, self.watch(server, script), re.S), f"{script} prints {seen}")
                    else:
                        subprocess.run(["bpftrace", "-d", "-p", str(server.pid), f"{SCRIPTS}/{script}"], check=True,
                                       capture_output=True)

    def runs(self):
        done = subprocess.run(["bpftrace", "-e", "BEGIN { exit(); }"], capture_output=True)
        return done.returncode == 0

    def watch(self, server, script):
        """What the script says of some requests. It may take a moment to attach, and then misses them."""
        process = subprocess.Popen(["bpftrace", "-p", str(server.pid), f"{SCRIPTS}/{script}"], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        try:
            line = process.stdout.readline()
            while line and "Attaching" not in line:
                line = process.stdout.readline()
            for key in range(2000):
                server.ask(f"/lookup?key={key}")
        finally:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=tare.PATIENCE_S)
        return said


if __name__ == "__main__":
    unittest.main()
