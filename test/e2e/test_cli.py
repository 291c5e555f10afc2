"""Goal: the program tells what it is and how it is used, and its man pages tell the same.

Method: asks it, and reads the pages' sources beside what --help prints.
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

COMMANDS = ["gen", "loadindex", "svc", "load", "layout", "schema", "lab"]
MODE = os.path.basename(tare.BUILD)


def page(name):
    with open(os.path.join(tare.ROOT, "docs/man", name), encoding="utf-8") as file:
        return file.read()


def make(*arguments, **env):
    clean = {name: value for name, value in os.environ.items() if name not in ("WERROR", "MODE")}
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=tare.ROOT, env=dict(clean, **env), check=True,
                          capture_output=True, text=True).stdout


class Program(unittest.TestCase):
    def test_version_names_a_mode_that_is_no_release(self):
        with open(os.path.join(tare.ROOT, "VERSION"), encoding="utf-8") as file:
            version = file.read().strip()
        done = tare.run("version")
        self.assertEqual((done.returncode, done.stdout), (0, f"tare {version}{'' if MODE == 'release' else f' ({MODE})'}\n"))

    def test_help_of_each_command(self):
        self.assertEqual(tare.run("help").stdout, tare.run("--help").stdout)
        for command in [*COMMANDS, "version"]:
            told = tare.run(command, "--help")
            self.assertEqual((told.returncode, told.stderr), (0, ""))
            self.assertIn(f"usage: tare {command}", told.stdout)
            self.assertEqual(tare.run("help", command).stdout, told.stdout)
            self.assertIn(f"  {command} ", tare.run("help").stdout)
        for arguments in (["nosuch"], ["svc", "load"]):
            done = tare.run("help", *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))

    def test_a_size_that_no_snapshot_has_is_bad_usage(self):
        with tempfile.TemporaryDirectory() as folder:
            for arguments, text in ((["--size", "1"], "--size 1: too small"), (["--size", "1000T"], "--size "),
                                    (["--records", "99999999999"], "--records")):
                done = tare.run("gen", *arguments, "--out", folder + "/x")
                self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
                self.assertIn(text, done.stderr)
            self.assertEqual(os.listdir(folder), [])


class Simulation(unittest.TestCase):
    def test_a_seed_that_is_no_number_is_bad_usage(self):
        for arguments in (["--seed", "abc"], ["--seed=-1"], ["--seeds", "many"], ["--seeds="], ["--sead", "1"]):
            done = subprocess.run([tare.ROOT + "/tools/sim", "/nowhere", *arguments], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)
            self.assertTrue(done.stderr.startswith("tools/sim: "), done.stderr)
            self.assertIn(arguments[0].split("=")[0], done.stderr)


class ManPages(unittest.TestCase):
    def test_every_option_stands_in_its_page_with_its_default(self):
        for command in COMMANDS:
            source = page(f"tare-{command}.1")
            # An option's item: from its .It, which may name several, to the next.
            items = {name: item for item in re.split(r"^\.It ", source, flags=re.M)[1:]
                     for name in re.findall(r"Fl -([a-z-]+)", item.split("\n")[0])}
            names = []
            for line in tare.run(command, "--help").stdout.splitlines():
                if match := re.match(r"  --([a-z-]+)", line):
                    names.append(match.group(1))
                default = re.search(r"\(default: ([^)]*)\)", line)
                if default and names and names[-1] != "help":
                    self.assertIn(names[-1], items, f"tare-{command}.1")
                    self.assertIn(default.group(1), items[names[-1]], f"tare-{command}.1: --{names[-1]}")
            for name in names:
                self.assertTrue(f"Fl -{name}" in source, f"tare-{command}.1: --{name}")
            self.assertLessEqual(set(items), set(names), f"tare-{command}.1 describes what there is not")

    def test_pages_name_the_commands_as_they_are_typed(self):
        for command in COMMANDS:
            source = page(f"tare-{command}.1")
            self.assertIn(f".Sh NAME\n.Nm tare-{command}\n", source)
            synopsis = re.search(r"^\.Sh SYNOPSIS\n(.*?)^\.Sh ", source, re.M | re.S).group(1)
            self.assertEqual(set(re.findall(r"^\.Nm (.*)$", synopsis, re.M)), {f"tare {command}"})
            self.assertIn(".Xr tare 1", source)


class Build(unittest.TestCase):
    def test_only_a_release_is_what_people_run(self):
        self.assertIn("build/tare\n", make("-n", "MODE=release", "all"))
        for mode in ("asan", "tsan", "cover", "debug", "sim"):
            self.assertNotRegex(make("-n", "-o", f"build/{mode}/tare", f"MODE={mode}", "all"), r"build/tare\n")

    def test_warnings_are_errors_only_when_asked(self):
        self.assertNotIn("-Werror", make("print-CFLAGS"))
        self.assertIn("-Werror", make("print-CFLAGS", "WERROR=1"))


if __name__ == "__main__":
    unittest.main()
