# SPDX-License-Identifier: MIT
"""Goal: what the documents tell people to type works.

Method: takes the `tare` commands out of the pages, from blocks and from the text, and looks each option up in that command's
--help; then does what the blocks of README.md and docs/ say, page by page, in a folder where build/tare is the program under
test. A server listens on free ports there, and what asks ports 8080 and 8081 asks those; a load lasts a fraction of a second.
The pages' C programs are compiled with every warning and run.
"""

import glob
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import tare

PAGES = sorted([os.path.join(tare.ROOT, name) for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")] +
               glob.glob(tare.ROOT + "/docs/*.md") + glob.glob(tare.ROOT + "/docs/tutorial/*.md"))
COMMANDS = ("gen", "loadindex", "svc", "load", "layout", "schema", "lab")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def lines_of(block):
    """What is typed: continued lines are one, and a transcript's prompt is not part of it."""
    return [line.removeprefix("$ ").strip() for line in block.replace("\\\n", " ").splitlines()]


def words_of(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def calls_in(line):
    """The calls of `tare COMMAND` in a line for a shell: ([word…] after tare, …)."""
    calls, call = [], None
    words = words_of(line)
    for before, word in zip([""] + words, words):
        if before in ("tare", "build/tare") and word in COMMANDS:
            call = [word]
            calls.append(call)
        elif re.fullmatch(r"[;&|()<>]+", word):
            call = None
        elif call is not None:
            call.append(word)
    return calls


def calls_of(page):
    text = read(page)
    lines = [line for _, block in BLOCK.findall(text) for line in lines_of(block)]
    lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    return [call for line in lines if re.search(r"(^|[ /])tare (%s)\b" % "|".join(COMMANDS), line) for call in calls_in(line)]


class Commands(unittest.TestCase):
    def test_each_option_in_the_documents_is_in_help(self):
        known = {name: set(re.findall(r"^  --([a-z0-9-]+)", tare.run(name, "--help").stdout, re.M)) for name in COMMANDS}
        seen = 0
        for page in PAGES:
            for command, *words in calls_of(page):
                for word in words:
                    if word.startswith("--") and word != "--help":
                        name = word[2:].split("=")[0]
                        seen += 1
                        self.assertIn(name, known[command], f"{page}: tare {command} {' '.join(words)}")
        self.assertGreater(seen, 15, "the pages' commands were not found")

    def test_calls_are_found_in_lines_for_a_shell(self):
        for line, calls in (("A=b build/tare svc --index x # serves", [["svc", "--index", "x"]]),
                            ("for l in a b; do build/tare loadindex --layout $l x; done", [["loadindex", "--layout", "$l", "x"]]),
                            ("tare layout ./program 'queue_*' | head", [["layout", "./program", "queue_*"]]),
                            ("tare load 'http://h/?a=b&c=d'", [["load", "http://h/?a=b&c=d"]]),
                            ("make -s build/release/tare", [])):
            self.assertEqual(calls_in(line), calls)


@unittest.skipUnless(os.path.basename(tare.BUILD) == "release", "the pages speak of a release build")
class Typed(unittest.TestCase):
    """What blocks of commands say, done in order."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        os.mkdir(self.folder + "/build")
        os.symlink(tare.PROGRAM, self.folder + "/build/tare")
        self.bash("build/tare gen --size 1M --out build/records.tare")  # what a page before this one made

    def bash(self, line, **variables):
        done = subprocess.run(["bash", "-euc", line], cwd=self.folder, env=tare.environment(variables), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=tare.PATIENCE_S)
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}{done.stderr}")
        return done.stdout

    def serve(self, line):
        """A server as the line starts it, but for its ports; it stays until the test ends."""
        words = words_of(line)
        at = words.index("build/tare")
        env = dict(word.split("=", 1) for word in words[:at])
        args = words[at + 2:]
        if "--index" in args:
            at = args.index("--index")
            args[at:at + 2] = ["--index=" + os.path.join(self.folder, args[at + 1])]
        return self.enterContext(tare.Server(*args, env=env))

    def there(self, text, server):
        return text.replace("127.0.0.1:8080", "127.0.0.1:%d" % server.port).replace("127.0.0.1:8081",
                                                                                 "127.0.0.1:%d" % server.admin_port)

    def type(self, page):
        """Does the page's blocks for a shell; how many lines. What needs another tool, or is an example's name, is passed over."""
        typed, server = 0, None
        for line in (line for kind, block in BLOCK.findall(read(page)) if kind in ("sh", "") for line in lines_of(block)):
            calls = calls_in(line)
            if "build/tare" not in line and not line.startswith("curl "):
                continue
            if line.startswith("curl ") and not shutil.which("curl"):
                typed += 1  # not everybody has it
                continue
            if calls and calls[0][0] == "svc" and "--trace-one" not in calls[0]:
                server = self.serve(line)
            elif line.startswith("curl ") or (calls and calls[0][0] == "load"):
                if "127.0.0.1:808" not in line:
                    continue  # of another program, which has a test of its own
                server = server or self.enterContext(tare.Server())
                self.bash(self.there(line.replace("curl ", "curl -fsS ").replace("--duration 10s", "--duration 200ms"), server))
            else:
                self.bash(line)
            typed += 1
        return typed

    def test_the_commands_of_the_pages_run(self):
        for name, fewest in (("README.md", 10), ("docs/layout.md", 3), ("docs/limit.md", 4), ("docs/profiles.md", 1), ("docs/records.md", 7)):
            with self.subTest(name):
                self.assertGreaterEqual(self.type(os.path.join(tare.ROOT, name)), fewest)

    def compile(self, page, program):
        """The program that the page shows."""
        sources = [block for kind, block in BLOCK.findall(read(os.path.join(tare.ROOT, page))) if kind == "c" and "int main(" in block]
        self.assertEqual(len(sources), 1, page)
        source = self.folder + "/program.c"
        with open(source, "w", encoding="utf-8") as file:
            file.write(sources[0])
        tare.compile_program(source, os.path.join(self.folder, program))

    def test_the_page_on_names_dials_by_a_file_of_hosts(self):
        self.compile("docs/names.md", "dial")
        page = [line for _, block in BLOCK.findall(read(tare.ROOT + "/docs/names.md")) for line in lines_of(block)]
        hosts = next(line for line in page if line.startswith("echo "))
        dial = next(line for line in page if line.startswith("CARES_HOSTS="))
        with tare.Server() as server:
            self.assertIn("records.test:8080", dial)
            name = "records.test:%d" % server.port
            self.assertEqual(self.bash(f"{hosts}\n{dial.replace('records.test:8080', name)}"), f"connected to {name}\n")

    def test_the_page_on_the_limit_has_a_program_that_gives_its_cache_up(self):
        self.compile("docs/limit.md", "program")
        self.assertEqual(self.bash("./program 32MiB"), "the cache is gone; times at the limit: 1\n")


if __name__ == "__main__":
    unittest.main()
