# SPDX-License-Identifier: MIT
"""Goal: `tare lab` runs what its plan says, records what a run depends on, goes on where it was stopped, and leaves no process.

Method: stage 0, quick, without Go, which is six services of some seconds in all; what other pages do is `tare lab --quick`, a phase
of .ci/run. Services are found among the system's processes by the snapshot that they serve, which lies in the test's own folder.
"""
import glob
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

STAGE = ["lab", "--stage", "0", "--quick", "--go", "off"]
COUNTED = os.path.basename(tare.BUILD) not in ("asan", "tsan")  # those have heap calls of their own
RUNS = [name for name in ("tare-opt", "tare-opt-counted", "tare-gc-opt", "tare-gc-opt-counted", "tare-naive", "tare-gc-naive")
        if COUNTED or not name.endswith("counted")]
LIMIT_S = 8 * tare.PATIENCE_S
MEASURES = unittest.skipIf(os.path.basename(tare.BUILD) == "tsan", "what it measures is slow there, and itself has one thread")


def lab(out, *args, env=None):
    return subprocess.run([tare.PROGRAM, *STAGE, "--out", out, *args], env=tare.environment(env), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=LIMIT_S)


def load(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def processes_of(out):
    """Whose command line names the folder, but for the laboratory itself."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if out.encode() in b" ".join(words) and b"lab" not in words[1:2]:
            found.append(path)
    return found


def unmark(out):
    """The runs as if this machine had been calm: marked ones are repeated."""
    for name in RUNS:
        path = os.path.join(out, f"runs/stage-0.{name}.json")
        run = load(path)
        run.pop("noisy", None), run.pop("generator_limited", None)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(run, file)


@MEASURES
class Whole(unittest.TestCase):
    """One laboratory that ran to its end, looked at from several sides."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.out = os.path.join(folder.name, "out")
        # Knobs in the environment are not the plan's.
        cls.done = lab(cls.out, env={"TARE_PATH": "naive", "GOGC": "off"})
        assert cls.done.returncode == 0, cls.done.stderr
        cls.report = load(cls.out, "report.json")
        cls.page = cls.report["pages"][0]
        cls.runs = {name: load(cls.out, "runs", f"stage-0.{name}.json") for name in RUNS}

    def test_every_run_has_its_figures_and_what_they_depend_on(self):
        for name, run in self.runs.items():
            figures = run["figures"]
            for key in ("rate", "p50_us", "p99_us", "p999_us", "cpu_us_per_request", "allocs_per_request", "bytes_per_request",
                        "gc_cpu_share", "gc_cycles", "rss_bytes", "live_heap_bytes", "missed", "errors"):
                self.assertIn(key, figures, name)
            self.assertGreater(figures["cpu_us_per_request"], 0)
            self.assertGreater(figures["rss_bytes"], 1 << 20)
            self.assertGreaterEqual(len(run["windows"]), 2)
            self.assertEqual(run["knobs"]["path"], "naive" if name.endswith("naive") else "opt")
            # Percentiles of pauses are of the windows' own collections, and there are none without.
            self.assertEqual("pause_p99_us" in figures, figures["gc_cycles"] > 0, name)
            self.assertEqual(run["processes"], 1)
            self.assertEqual(run["knobs"]["gogc"], "100")
            self.assertEqual(run["seed"], 1)
            self.assertNotIn(self.out, json.dumps(run), "a file that others read names a folder of this machine")
            for key in ("commit", "compiler", "kernel", "processor", "cores", "memory_bytes", "made"):
                self.assertIn(key, run["machine"])

    @unittest.skipIf(tare.SANITIZED, "pools keep nothing in these builds")
    def test_the_optimised_path_makes_nothing_and_the_naive_one_does(self):
        self.assertLess(self.runs["tare-opt"]["figures"]["allocs_per_request"], 1)
        self.assertLess(self.runs["tare-gc-opt"]["figures"]["allocs_per_request"], 1)
        self.assertLess(self.runs["tare-opt-counted"]["figures"]["allocs_per_request"], 1)
        self.assertIn("process_heap", self.runs["tare-opt-counted"]["allocs"])
        self.assertNotIn("process_heap", self.runs["tare-opt"]["allocs"])
        for name in ("tare-naive", "tare-gc-naive"):
            self.assertGreater(self.runs[name]["figures"]["allocs_per_request"], 5)
            self.assertGreater(self.runs[name]["figures"]["bytes_per_request"], 500)

    def test_the_report_has_a_row_a_command_and_a_verdict_from_them(self):
        rows = {row["name"]: row for row in self.page["tables"][0]["rows"]}
        self.assertEqual(list(rows), RUNS)
        names = [column["name"] for column in self.page["tables"][0]["columns"]]
        for name, row in rows.items():
            self.assertEqual(row["run"], f"stage-0.{name}")
            shown = dict(zip(names, row["cells"]))
            self.assertAlmostEqual(shown["p99"], self.runs[name]["figures"]["p99_us"], delta=1)
        self.assertEqual(len(self.page["commands"]), 1 + len(RUNS))
        self.assertNotIn("bench/peers/go/build", self.page["commands"][0])  # Go is off
        for name, command in zip(RUNS, self.page["commands"][1:]):
            self.assertTrue(command.startswith(f"# stage-0.{name}\ntare lab --run stage-0.{name} --quick "), command)
            self.assertIn("\ntare gen ", command)
            self.assertIn("tare svc --index", command)
            self.assertIn("tare load --rate 500 --connections 8", command)
            self.assertEqual("LD_PRELOAD=" in command, name.endswith("counted"))
            self.assertIn(" --go off\n", command)
            self.assertEqual(subprocess.run(["bash", "-nc", command], check=False).returncode, 0, command)
        verdict = self.page["verdicts"][0]
        self.assertEqual(verdict["evidence"], "stage-0.tare-opt-counted" if COUNTED else "")
        self.assertIn("at 500 requests a second", verdict["point"] if COUNTED else "at 500 requests a second")
        self.assertIn(verdict["met"], (True, False) if COUNTED else (None,))
        self.assertIn(verdict, [{k: v for k, v in of.items() if k != "group"} for of in self.report["acceptance"]])
        # That figures can be made again is for whoever does so.
        self.assertIsNone(self.report["acceptance"][-1]["met"])
        # Of runs that this machine was too busy for there is none.
        compared = [self.runs["tare-gc-naive"], self.runs["tare-gc-opt"]]
        fit = not any(run.get("generator_limited") or run["figures"]["missed"] > 0.02 for run in compared)
        told = any("CPU a request" in text and "tare-gc-naive" in text for text in self.page["learnt"])
        self.assertEqual(told, fit, self.page["learnt"])

    def test_what_a_service_said_stands_beside_its_run(self):
        for name in RUNS:
            with open(os.path.join(self.out, f"runs/stage-0.{name}.metrics"), encoding="utf-8") as file:
                self.assertIn("\ntare_info{", file.read())
            with gzip.open(os.path.join(self.out, f"runs/stage-0.{name}.heap.pb.gz")) as file:
                self.assertIn(b"alloc_objects", file.read())
        with open(os.path.join(self.out, "runs/stage-0.tare-gc-naive.gctrace"), encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("gc ")]
        # The one after the records were laid out comes before the first window.
        self.assertGreater(len(lines), self.runs["tare-gc-naive"]["figures"]["trace_cycles"])

    def test_gos_runs_are_left_out_with_the_reason(self):
        left = [note for note in self.page["notes"] if "was left out" in note and "counted" not in note]
        self.assertEqual(len(left), 3)
        for note in left:
            self.assertRegex(note, r"^go-.*: --go off$")

    def test_the_findings_are_rendered_and_rendered_again(self):
        self.assertEqual(self.done.stdout.split(), [self.out + "/index.html", self.out + "/findings.md"])
        before = {}
        for name in ("index.html", "findings.md"):
            with open(os.path.join(self.out, name), encoding="utf-8") as file:
                before[name] = file.read()
            os.unlink(os.path.join(self.out, name))
        self.assertEqual(tare.run("lab", "--render", self.out).returncode, 0)
        for name, text in before.items():
            with open(os.path.join(self.out, name), encoding="utf-8") as file:
                self.assertEqual(file.read(), text)

    def test_snapshots_are_gone_and_so_are_the_services(self):
        self.assertEqual(glob.glob(self.out + "/data/*.snap"), [])
        self.assertEqual(processes_of(self.out), [])

    def test_what_stands_is_not_repeated_and_what_is_missing_is_made(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            shutil.copytree(self.out, out)
            unmark(out)
            kept = load(out, "runs/stage-0.tare-gc-naive.json")
            # The commands do not name OUT, so the copy's runs are as good.
            marked = os.path.join(out, "runs/stage-0.tare-opt.json")
            run = load(marked)
            run["figures"]["p99_us"] = 123456
            with open(marked, "w", encoding="utf-8") as file:
                json.dump(run, file)
            changed = os.path.join(out, "runs/stage-0.tare-naive.json")
            run = load(changed)
            run["hash"], run["figures"]["p99_us"] = "0" * 16, 123456
            with open(changed, "w", encoding="utf-8") as file:
                json.dump(run, file)
            os.unlink(os.path.join(out, "runs/stage-0.tare-gc-opt.json"))
            if COUNTED:  # else there is no run left for it
                noisy = os.path.join(out, "runs/stage-0.tare-opt-counted.json")
                run = load(noisy)
                run["noisy"], run["figures"]["p99_us"] = True, 123456
                with open(noisy, "w", encoding="utf-8") as file:
                    json.dump(run, file)
            done = lab(out)
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = {row["name"]: row["cells"] for row in load(out, "report.json")["pages"][0]["tables"][0]["rows"]}
            self.assertEqual(list(rows), RUNS)
            self.assertIn(123456, rows["tare-opt"])
            self.assertNotIn(123456, rows["tare-naive"])
            self.assertNotIn(123456, rows.get("tare-opt-counted", []))
            self.assertEqual(load(out, "runs/stage-0.tare-gc-naive.json"), kept)

    def test_one_run_is_made_again_as_the_report_says(self):
        command = self.page["commands"][1].split("\n")[1].split()
        self.assertEqual(command[:4], ["tare", "lab", "--run", "stage-0.tare-opt"])
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            command[command.index("--out") + 1] = out
            for _ in range(2):  # again means again, also where it stands
                done = subprocess.run([tare.PROGRAM, *command[1:]], env=tare.environment(), stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=LIMIT_S)
                self.assertEqual(done.returncode, 0, done.stderr)
                run = json.loads(done.stdout)
                self.assertEqual(run["name"], "stage-0.tare-opt")
                self.assertEqual(run["command"], self.runs["tare-opt"]["command"])
                self.assertGreater(run["figures"]["cpu_us_per_request"], 0)
                run = load(out, "runs/stage-0.tare-opt.json")
                run["figures"]["cpu_us_per_request"] = -1
                with open(os.path.join(out, "runs/stage-0.tare-opt.json"), "w", encoding="utf-8") as file:
                    json.dump(run, file)
            self.assertFalse(os.path.exists(out + "/report.json"))
            self.assertEqual(glob.glob(out + "/data/*.snap"), [])


@MEASURES
class Stopped(unittest.TestCase):
    def stop(self, number):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            process = subprocess.Popen([tare.PROGRAM, *STAGE, "--out", out], env=tare.environment(), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                first = os.path.join(out, "runs/stage-0.tare-opt.json")
                tare.eventually(lambda: os.path.exists(first) and processes_of(out), "a second service runs")
                process.send_signal(number)
                _, errors = process.communicate(timeout=LIMIT_S)
            finally:
                process.kill()
                process.communicate()
            tare.eventually(lambda: not processes_of(out), "its processes are gone")
            whole = [load(path)["name"] for path in glob.glob(out + "/runs/*.json")]
            self.assertIn("stage-0.tare-opt", whole)
            self.assertEqual(glob.glob(out + "/runs/*.part"), [])
            return process.returncode, errors

    def test_ctrl_c_ends_the_run_and_its_processes(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            code, errors = self.stop(number)
            self.assertEqual(code, 1)
            self.assertRegex(errors, r"^tare lab: stopped by a signal; the same command goes on from here, with \d+ MiB in .*/data\n$")

    def test_killed_it_leaves_no_process_either(self):
        self.assertEqual(self.stop(signal.SIGKILL)[0], -signal.SIGKILL)


@MEASURES
class Refused(unittest.TestCase):
    def test_a_folder_that_cannot_be_written_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "file")
            with open(path, "w", encoding="utf-8"):
                pass
            for out in (path, path + "/out", os.path.join(folder, "no", "such")):
                done = lab(out)
                self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1), done.stderr)
                self.assertTrue(done.stderr.startswith("tare lab: " + out), done.stderr)

    def test_a_folder_of_other_things_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "thesis.txt"), "w", encoding="utf-8"):
                pass
            done = lab(folder)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1), done.stderr)
            self.assertIn("something else", done.stderr)
            self.assertEqual(os.listdir(folder), ["thesis.txt"])

    def test_when_its_time_is_over_the_rest_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            done = lab(out, "--budget", "1s")
            self.assertEqual(done.returncode, 0, done.stderr)
            notes = load(out, "report.json")["pages"][0]["notes"]
            self.assertTrue(any("tare-gc-naive was left out: the laboratory's time was over" in note for note in notes), notes)

    def test_sizes_that_are_given_are_kept_and_the_file_fits_into_memory(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            done = subprocess.run([tare.PROGRAM, "lab", "--run", "experiment-4.tare-pool-footguns", "--half", "64M", "--go", "off",
                                   "--out", out], env=tare.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=LIMIT_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            machine = load(out, "machine.json")
            self.assertEqual(machine["half_bytes"], 64 << 20)
            self.assertLess(machine["full_bytes"], 0.6 * machine["memory_available_bytes"])  # read twice, between which it changes

    def test_options_that_make_no_sense_are_bad_usage(self):
        for args in (["--stage", "4"], ["--experiment", "11"], ["--experiment", "0"], ["--live", "much"], ["--live", "1K"],
                     ["--rate", "fast"], ["--rate", "0"], ["live=3"], ["--full", "1K"], ["--half", "1K"], ["--half", "most"], ["--run", "stage-0.nothing"],
                     ["--budget", "0s"], ["--compare", "a", "--render", "b"], ["--run", "stage-0.tare-opt", "--compare", "a"]):
            done = tare.run("lab", *args)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), (args, done.stderr))

    def test_a_service_of_gos_that_is_none_is_a_reason_and_no_failure(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            done = subprocess.run([tare.PROGRAM, "lab", "--stage", "0", "--quick", "--go", "/bin/false", "--out", out],
                                  env=tare.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            page = load(out, "report.json")["pages"][0]
            self.assertEqual([row["name"] for row in page["tables"][0]["rows"]], RUNS, page["notes"])
            self.assertEqual(3, len([note for note in page["notes"] if "was left out: the service did not start" in note]))

    def test_a_probe_prints_one_object(self):
        done = tare.run("lab", "--probe", "boxing", "quick=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["probe"], "boxing")


if __name__ == "__main__":
    unittest.main()
