"""Goal: the README's example program works as it stands there.

Method: takes its C block out, compiles it with the build's own flags and every warning, runs it, and asks it for the page
that it says it serves.
"""

import os
import re
import subprocess
import tempfile
import unittest
import urllib.request

from tare import ROOT, compile_program


class Readme(unittest.TestCase):
    def build(self, folder):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            blocks = re.findall(r"^```c\n(.*?)^```$", f.read(), re.M | re.S)
        self.assertEqual(1, len(blocks), "the README has one program")
        source, program = folder + "/example.c", folder + "/example"
        with open(source, "w", encoding="utf-8") as f:
            f.write(blocks[0])
        compile_program(source, program)
        return program

    def test_the_tables_name_every_header_and_every_room(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            text = f.read()
        for header in os.listdir(os.path.join(ROOT, "include/tare")):
            self.assertTrue("| [tare/%s](include/tare/%s) |" % (header, header) in text, "the table of headers lacks " + header)
        for room in os.listdir(os.path.join(ROOT, "src")):
            self.assertTrue("| `src/%s/` |" % room in text, "the source tour lacks src/" + room)

    def test_the_packages_are_those_that_make_run_installs(self):
        with open(os.path.join(ROOT, "tools/deps"), encoding="utf-8") as f:
            needed = re.search(r"^need_run='(.*)'$", f.read(), re.M).group(1)
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            self.assertTrue("apt-get install make %s\n" % needed in f.read(), "the README's packages are not: make " + needed)

    def test_the_example_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen([self.build(folder)], stdout=subprocess.PIPE, text=True)
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            url = process.stdout.readline().strip()
            self.assertRegex(url, r"^http://127\.0\.0\.1:\d+/hello$")
            with urllib.request.urlopen(url, timeout=30) as answer:
                self.assertEqual(200, answer.status)
                self.assertRegex(answer.read().decode(), r"^hello from worker \d+\n$")


if __name__ == "__main__":
    unittest.main()
