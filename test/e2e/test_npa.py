# SPDX-License-Identifier: MIT
"""Goal: `tare npa` measures a user's rows in the ten lines that docs/npa.md promises, counts exactly, refuses what measures
nothing, and its gate fails on a slowdown of 2 % and on nothing else.

Method: programs of rows are compiled as the build compiles its own, once as they are and once with 2 % more work; a baseline is
taken of one and the other is held to it. Nothing is said of times but that they are there. Instructions are valgrind's: those
tests are passed over where there is none.
"""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

ROWS = """
#include <tare/npa.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef STEPS
#define STEPS 500
#endif
TARE_NPA(work, "Half a thousand steps.", 100000)
{
	uint64_t x = 1;
	for (uint64_t k = TARE_NPA_HIDE((uint64_t)STEPS); k > 0; k--)
		x = TARE_NPA_HIDE(x * 3);
	TARE_NPA_KEEP(x);
}
TARE_NPA(small, "One addition.", 100)
{
	TARE_NPA_KEEP(TARE_NPA_HIDE(i) + 1);
}
TARE_NPA(asks, "Two system calls.", 100000, .group = "kernel")
{
	TARE_NPA_KEEP(syscall(SYS_getppid));
	TARE_NPA_KEEP(syscall(SYS_getppid));
}
#ifdef NOTHING
TARE_NPA(nothing, "Nobody uses it.", 100)
{
	(void)(i * 3);
}
#endif
#ifdef RACE
TARE_NPA(races, "Its instructions depend on the moment.", 100, .not_counted = true)
{
	TARE_NPA_KEEP(TARE_NPA_HIDE(i) + 1);
}
#endif
#ifdef CRASH
static void crash(void)
{
	abort();
}
TARE_NPA(crashes, "Never.", 100, .prepare = crash)
{
	TARE_NPA_KEEP(TARE_NPA_HIDE(i) + 1);
}
#endif
int main(int argc, char **argv)
{
#ifdef CHATTY
	printf("hello\\n");
	fflush(stdout);
#endif
	return tare_npa_main(argc, argv);
}
"""
COUNTS = ["--measure", "count"]


@unittest.skipUnless(os.path.basename(tare.BUILD) == "release", "rows are measured as they are released")
class NpaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.programs = {}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def program(self, name="plain", *defines):
        """The rows compiled with these macros; each once."""
        path = os.path.join(self.folder, name)
        if name not in self.programs:
            with open(path + ".c", "w", encoding="utf-8") as file:
                file.write("".join(f"#define {define}\n" for define in defines) + ROWS)
            tare.compile_program(path + ".c", path)
            self.programs[name] = path
        return path

    def npa(self, *args, code=0):
        done = tare.run("npa", *args)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done

    def report(self, *args):
        report = json.loads(self.npa("--json", *args).stdout)
        return report, {row["row"]: row for row in report["rows"]}

    def baseline(self):
        path = os.path.join(self.folder, self.id() + ".json")
        self.npa("--baseline", path, self.program())
        return path

    @contextlib.contextmanager
    def changed(self, base):
        """The baseline, to be changed in place."""
        with open(base, encoding="utf-8") as file:
            report = json.load(file)
        yield report
        with open(base, "w", encoding="utf-8") as file:
            json.dump(report, file)

    # ---- measuring ----

    def test_the_guides_ten_lines_are_measured(self):
        with open(tare.ROOT + "/docs/npa.md", encoding="utf-8") as file:
            source = re.search(r"```c\n(.*?)```", file.read(), re.S)[1]
        self.assertLessEqual(len(source.strip().splitlines()), 16)
        path = os.path.join(self.folder, "guide")
        with open(path + ".c", "w", encoding="utf-8") as file:
            file.write(source)
        tare.compile_program(path + ".c", path)
        _, rows = self.report("--quick", "--measure", "time", path)
        self.assertEqual(1, len(rows))
        row = next(iter(rows.values()))
        self.assertLessEqual(row["low"], row["mean"])
        self.assertLessEqual(row["p50"], row["p99"])

    def test_the_table_has_every_row_its_group_and_what_it_buys(self):
        text = self.npa("--quick", "--measure", "time", self.program()).stdout
        for words in ("work ", "small ", "asks ", "\nkernel\n", "Half a thousand steps.", "noise of this run", "hardware counters",
                      "timer p50"):
            self.assertIn(words, text)

    def test_system_calls_are_counted_exactly(self):
        _, rows = self.report(*COUNTS, self.program())
        self.assertEqual({"work": 0, "small": 0, "asks": 2}, {name: row["syscalls"] for name, row in rows.items()})

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_instructions_are_the_same_in_each_run_and_grow_with_the_work(self):
        first, again, more = (self.report(*COUNTS, self.program(*which))[1] for which in
                              (("plain",), ("plain",), ("more", "STEPS 511")))
        for name, row in first.items():
            self.assertEqual(row["instructions"], again[name]["instructions"])
        self.assertGreater(first["work"]["instructions"], 999)
        self.assertAlmostEqual(511 / 500, more["work"]["instructions"] / first["work"]["instructions"], places=2)

    def test_rows_are_chosen_by_their_names_and_groups(self):
        self.assertEqual(["asks"], list(self.report("--rows", "kernel", *COUNTS, self.program())[1]))
        self.assertEqual({"work", "small"}, set(self.report("--rows", "w*", "--rows", "small", *COUNTS, self.program())[1]))
        self.assertIn("has no such rows", self.npa("--rows", "other", self.program(), code=1).stderr)

    def test_a_row_that_was_optimised_away_is_refused_and_named(self):
        error = self.npa(*COUNTS, self.program("nothing", "NOTHING"), code=1).stderr
        self.assertRegex(error, r"row nothing \(nothing\.c:\d+\) does nothing: .*TARE_NPA_HIDE")

    def test_programs_that_crash_chat_or_are_none_are_told(self):
        self.assertIn("died of signal 6", self.npa("--quick", "--measure", "time", self.program("crash", "CRASH"), code=1).stderr)
        self.assertIn("said 'hello', which is no row", self.npa(*COUNTS, self.program("chatty", "CHATTY"), code=1).stderr)
        self.assertIn("No such file", self.npa("/nowhere/at/all", code=1).stderr)

    def test_the_page_stands_alone_in_light_and_dark(self):
        path = os.path.join(self.folder, "page.html")
        self.npa("--quick", "--measure", "time", "--html", path, self.program())
        with open(path, encoding="utf-8") as file:
            page = file.read()
        self.assertIn("prefers-color-scheme:dark", page)
        self.assertEqual(2, page.count("<svg "))
        for name in ("work", "small", "asks"):
            self.assertIn(f">{name}</text>", page)
        self.assertNotRegex(page, r"https?://|<script|@import|url\(")

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_the_tool_holds_to_rows_whose_outcome_is_known(self):
        lines = self.npa("--self-test", *COUNTS).stdout.splitlines()
        self.assertEqual(4, len([line for line in lines if line.startswith("ok ")]), lines)

    # ---- the gate ----

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_the_gate_passes_what_is_the_same(self):
        self.assertIn("3 rows, 0 failed", self.npa("--check", self.baseline(), self.program()).stdout)

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_the_gate_fails_on_two_per_cent_more_and_one_instruction_of_a_few(self):
        base = self.baseline()
        out = self.npa("--check", base, self.program("more", "STEPS 511"), code=1).stdout
        self.assertRegex(out, r"FAIL work: \d+\.\d instructions, \d+\.\d in the baseline \(\+2\.\d %\)")
        self.assertIn("3 rows, 1 failed", out)
        with self.changed(base) as report:
            next(row for row in report["rows"] if row["row"] == "small")["instructions"] -= 1
        self.assertIn("FAIL small:", self.npa("--check", base, self.program(), code=1).stdout)

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_a_dearer_row_needs_a_reason_in_the_baseline(self):
        base, dearer = self.baseline(), self.program("more", "STEPS 511")
        self.assertIn("say why with --reason", self.npa("--baseline", base, dearer, code=1).stderr)
        self.assertIn("FAIL work", self.npa("--check", base, dearer, code=1).stdout)  # it was left as it was
        self.npa("--baseline", base, "--reason", "Steps are checked now.", dearer)
        self.npa("--check", base, dearer)
        self.npa("--baseline", base, dearer)  # the reason outlives another writing
        self.npa("--check", base, dearer)
        with self.changed(base) as report:
            self.assertEqual("Steps are checked now.", report["rows"][0]["reason"])
            report["rows"][0]["reason"] = ""
        self.assertIn("no reason is given", self.npa("--check", base, dearer, code=1).stdout)

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_a_baseline_of_another_compiler_or_of_other_rows_is_not_passed(self):
        base = self.baseline()
        with open(base, encoding="utf-8") as file:
            report = json.load(file)
        for change, said in ((lambda r: r.update(compiler="gcc 11"), "was counted with compiler gcc 11"),
                             (lambda r: r.update(libc="2.99"), "was counted with libc 2.99"),
                             (lambda r: r["rows"].pop(0), "FAIL work: is not in the baseline"),
                             (lambda r: r["rows"].append({"row": "gone", "instructions": 1}), "FAIL gone: is in the baseline alone")):
            changed = json.loads(json.dumps(report))
            change(changed)
            with open(base, "w", encoding="utf-8") as file:
                json.dump(changed, file)
            done = self.npa("--check", base, self.program(), code=1)
            self.assertIn(said, done.stdout + done.stderr)

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_a_row_that_is_not_counted_is_in_no_baseline_and_passes_without(self):
        base = os.path.join(self.folder, "race.json")
        self.npa("--baseline", base, self.program("race", "RACE"))
        with open(base, encoding="utf-8") as file:
            self.assertEqual(["work", "small", "asks"], [row["row"] for row in json.load(file)["rows"]])
        self.assertIn("4 rows, 0 failed", self.npa("--check", base, self.program("race", "RACE")).stdout)

    def test_one_more_system_call_fails_the_gate(self):
        base = self.baseline()
        with self.changed(base) as report:
            report["rows"][2]["syscalls"] -= 1
        self.assertIn("FAIL asks: 2.00 system calls, 1.00 in the baseline", self.npa("--check", base, self.program(), code=1).stdout)

    def test_one_more_system_call_needs_a_reason(self):
        base = self.baseline()
        with self.changed(base) as report:
            report["rows"][2]["syscalls"] -= 1
        self.assertIn("dearer", self.npa("--baseline", base, self.program(), code=1).stderr)
        self.npa("--baseline", base, "--reason", "It asks twice.", self.program())
        self.npa("--baseline", base, self.program())  # the reason outlives another writing
        self.npa("--check", base, self.program())
        with self.changed(base) as report:
            self.assertEqual("It asks twice.", report["rows"][2]["reason"])

    def test_a_row_does_not_leave_the_gate_by_saying_that_it_is_not_counted(self):
        base = self.baseline()
        with self.changed(base) as report:
            report["rows"].append({"row": "races", "instructions": 1.0, "syscalls": 0.0})
        self.assertIn("says now that it can't be", self.npa("--check", base, self.program("race", "RACE"), code=1).stdout)

    def test_two_reports_are_compared_by_interval_noise_and_count(self):
        def write(name, work=10.0, **change):
            row = {"row": "work", "mean": 100.0, "low": 99.0, "high": 101.0, "instructions": 1000.0, **change}
            path = os.path.join(self.folder, name)
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"compiler": "c", "libc": "l", "arch": "a", "mode": "m", "noise": {"share": 0.03, "work": work, "floor": 0.5}, "rows": [row]}, file)
            return path

        before = write("before.json")
        self.npa("--compare", before, before)
        self.npa("--compare", before, write("noise.json", mean=105.0, low=104.0, high=106.0))  # within twice the noise
        self.npa("--compare", before, write("wide.json", mean=110.0, low=100.0, high=120.0))  # the intervals meet
        self.assertIn("slower", self.npa("--compare", before, write("slow.json", mean=110.0, low=109.0, high=111.0), code=1).stdout)
        self.assertIn("faster", self.npa("--compare", before, write("fast.json", mean=90.0, low=89.0, high=91.0)).stdout)
        steady = write("steady.json", work=12.0, mean=120.0, low=119.0, high=121.0)  # all took a fifth longer
        self.assertNotIn("slower", self.npa("--compare", before, steady).stdout)
        self.assertNotIn("slower", self.npa("--compare", before, write("held.json", work=8.0)).stdout)  # only the pace is another
        nothing = write("nothing.json", mean=0.0, low=-0.1, high=0.1)
        self.assertIn("slower", self.npa("--compare", nothing, before, code=1).stdout)
        self.npa("--compare", nothing, write("little.json", mean=0.4, low=0.39, high=0.41))  # less than an empty operation was found to take
        self.assertIn("more instructions", self.npa("--compare", before, write("more.json", instructions=1021.0), code=1).stdout)
        self.npa("--compare", before, write("two.json", instructions=1019.0))

    def test_options_that_exclude_each_other_are_refused(self):
        for args in (["--compare", "one.json"], ["--check", "a", "--baseline", "b"], ["--reason", "x"], ["one", "two"],
                     ["--check", "a", "--measure", "time"], ["--self-test", "--rows", "x"]):
            self.npa(*args, code=2)

    # ---- Tare's own ----

    def test_the_committed_baseline_has_every_row_and_a_reason_for_what_it_raised(self):
        with open(tare.ROOT + "/bench/npa/baseline.json", encoding="utf-8") as file:
            rows = {row["row"]: row for row in json.load(file)["rows"]}
        program = subprocess.run([tare.BUILD + "/bench/npa", "list"], capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in program.stdout.splitlines()]
        listed = [line["row"] for line in lines if not line.get("hidden") and not line.get("not_counted")]
        self.assertEqual(sorted(listed + ["lookup_json", "lookup_bin"]), sorted(rows))
        for row in rows.values():
            self.assertTrue("was" not in row or row["reason"], row)


if __name__ == "__main__":
    unittest.main()
