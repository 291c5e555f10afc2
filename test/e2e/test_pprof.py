# SPDX-License-Identifier: MIT
"""Profiles show what a program was built to do, by a decoder of profile.proto here and, where there is one, by `go tool pprof`;
and /debug/pprof/ of `tare svc` gives them, one of a kind at a time, to those who may ask.

Method: test/e2e/profiled.c says itself what its profile ought to show; a server is asked while it works.
"""
import collections
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

POINTS = 3  # percent points that a share may be off
POINTS_DISTURBED = 20  # of CPU time on a CPU that others want too: the kernel looks at its clock more rarely
UNDISTURBED = 0.9  # so much of the time the thread ran
CPU_S = 2
GO_PATIENCE_S = 150  # newer ones build the tool when it is first asked for


# ---- profile.proto ----------------------------------------------------------------------------------------------------


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """{field: [number or bytes]} of one message."""
    found, at = collections.defaultdict(list), 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 2:
            value, at = data[at:at + value], at + value
        found[tag >> 3].append(value)
    return found


def packed(chunks):
    numbers = []
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            value, at = varint(chunk, at)
            numbers.append(value)
    return numbers


class Profile:
    """types: [(type, unit)]; samples: [([names, innermost first], [values], {label: value})]; files, build_ids, lines."""

    def __init__(self, data):
        top = fields(gzip.decompress(data))
        texts = [text.decode() for text in top[6]]
        assert texts[0] == ""
        self.types = [(texts[f[1][0]], texts[f[2][0]]) for f in map(fields, top[1])]
        functions = {f[1][0]: (texts[f[2][0]], texts[f[4][0]] if f[4] else "") for f in map(fields, top[5])}
        mappings = list(map(fields, top[3]))
        self.files = [texts[f[5][0]] for f in mappings]
        self.build_ids = [texts[f[6][0]] if f[6] else "" for f in mappings]
        ids = {f[1][0] for f in mappings}
        self.lines, names = {}, {}
        for location in map(fields, top[4]):
            lines = [fields(line) for line in location[4]]
            names[location[1][0]] = [functions[line[1][0]][0] for line in lines]
            assert not location[2] or location[2][0] in ids
            for line in lines:
                name, file = functions[line[1][0]]
                self.lines.setdefault(name, set()).add((file, line[2][0] if line[2] else 0))
        self.samples = []
        for sample in map(fields, top[2]):
            stack = [name for number in packed(sample[1]) for name in names[number]]
            values = packed(sample[2])
            assert len(values) == len(self.types)
            labels = {texts[f[1][0]]: texts[f[2][0]] for f in map(fields, sample[3])}
            self.samples.append((stack, values, labels))

    def total(self, kind, function=None):
        index = [name for name, _ in self.types].index(kind)
        return sum(values[index] for stack, values, _ in self.samples if function is None or function in stack)


def go_top(test, path, *args):
    """`go tool pprof -top`: {function: share of the sum in percent}."""
    if shutil.which("go") is None:
        test.skipTest("there is no go here, and so no go tool pprof")
    with tempfile.TemporaryDirectory(prefix="tare-pprof-") as folder:  # where it keeps what it fetched
        done = subprocess.run(["go", "tool", "pprof", "-top", "-cum", "-nodefraction=0", *args, path],
                              env=dict(os.environ, PPROF_TMPDIR=folder), capture_output=True, text=True,
                              timeout=GO_PATIENCE_S, check=False)
    test.assertEqual(done.returncode, 0, done.stderr)
    rows = re.findall(r"^ +\S+ +\S+% +\S+% +\S+ +(\S+)% +(.+?)(?: \(.*)?$", done.stdout, re.M)
    return {name: float(share) for share, name in rows}


# ---- a program that knows its profile -----------------------------------------------------------------------------------


@unittest.skipIf(tare.SANITIZED, "a sanitizer's library needs its flags; test/unit has the same for it")
class Known(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tare-profiled-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = os.path.join(cls.folder, "profiled")
        flags = subprocess.run(["make", "-s", f"MODE={os.path.basename(tare.BUILD)}", "print-LDLIBS"], cwd=tare.ROOT,
                               capture_output=True, text=True, check=True).stdout.split()
        coverage = ["--coverage"] if os.path.basename(tare.BUILD) == "cover" else []
        subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-g", "-fno-omit-frame-pointer",
                        "-Wall", "-Wextra", "-Werror", "-I", os.path.join(tare.ROOT, "include"), "-o", cls.program,
                        os.path.join(tare.ROOT, "test/e2e/profiled.c"), os.path.join(tare.BUILD, "libtare.a"), *coverage,
                        "-pthread", *flags], check=True)

    def take(self, kind, count):
        """What the program says, and the paths of its profiles."""
        paths = [os.path.join(self.folder, f"{kind}{i}.pb.gz") for i in range(count)]
        done = subprocess.run([self.program, kind, *paths], capture_output=True, text=True, timeout=tare.PATIENCE_S,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), paths

    def decode(self, path):
        with open(path, "rb") as file:
            profile = Profile(file.read())
        self.assertIn(self.program, profile.files)
        self.assertRegex(profile.build_ids[profile.files.index(self.program)], r"^[0-9a-f]{16,}$")
        return profile

    def shares_hold(self, said, share_of, points=POINTS):
        for function, value in said.items():
            self.assertAlmostEqual(share_of(function), 100 * value / sum(said.values()), delta=points, msg=function)

    def test_cpu_time(self):
        for _ in range(3):
            said, (path,) = self.take("cpu", 1)
            undisturbed = sum(said.values()) - said["wall"] >= UNDISTURBED * said.pop("wall")
            if undisturbed:
                break
        points = POINTS if undisturbed else POINTS_DISTURBED
        profile = self.decode(path)
        cpu = profile.total("cpu")
        self.assertAlmostEqual(cpu / 1e9, CPU_S, delta=0.15 * CPU_S)
        self.shares_hold(said, lambda name: 100 * profile.total("cpu", name) / cpu, points)
        with open(os.path.join(tare.ROOT, "test/e2e/profiled.c"), encoding="utf-8") as file:
            wanted = 1 + file.read().split("\n").index("BURN(burn_seventy)")
        lines = {line for file, line in profile.lines["burn_seventy"] if file.endswith("profiled.c")}
        if profile.lines["burn_seventy"] != {("", 0)}:  # where libdw is
            self.assertEqual(lines, {wanted})
        self.assertTrue(all(labels["task"] == "main" for _, _, labels in profile.samples if "task" in labels))
        top = go_top(self, path)
        self.shares_hold(said, lambda name: top[name], points)

    def test_the_heap(self):
        said, paths = self.take("heap", 2)
        heap, allocs = map(self.decode, paths)
        for function, value in said.items():
            self.assertAlmostEqual(heap.total("inuse_space", function) / value, 1, delta=0.1, msg=function)
        self.shares_hold(said, lambda name: 100 * heap.total("inuse_space", name) / heap.total("inuse_space"))
        said["make_large"] *= 2  # every other one was freed
        self.shares_hold(said, lambda name: 100 * allocs.total("alloc_space", name) / allocs.total("alloc_space"))
        self.assertEqual({labels["tag"] for stack, _, labels in heap.samples if "make_large" in stack}, {"large"})
        top = go_top(self, paths[1], "-sample_index=alloc_space")
        self.shares_hold(said, lambda name: top[name])

    def test_waits(self):
        said, paths = self.take("block", 2)
        block, mutex = map(self.decode, paths)
        for function, ns in said.items():
            self.assertAlmostEqual(block.total("delay", function) / ns, 1, delta=0.15, msg=function)
        self.assertAlmostEqual(mutex.total("delay", "wait_for_lock") / said["wait_for_lock"], 1, delta=0.15)
        self.assertEqual(mutex.total("delay", "wait_for_message"), 0)
        self.assertEqual({labels["reason"] for stack, _, labels in block.samples if "wait_for_lock" in stack}, {"mutex"})
        self.assertFalse([stack for stack, _, _ in block.samples if stack[0].startswith("rt_")])
        top = go_top(self, paths[1])
        self.assertAlmostEqual(top["wait_for_lock"], 100, delta=POINTS)


# ---- the service --------------------------------------------------------------------------------------------------------


class Busy:
    """Asks the server for records while the block runs."""

    def __init__(self, server):
        self.server, self.over = server, threading.Event()

    def _ask(self):
        batch = b"".join(tare.lookup_request(key) for key in range(64))
        with tare.Client(self.server.port) as client:
            while not self.over.is_set():
                client.stream(batch, 20)

    def __enter__(self):
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Service(unittest.TestCase):
    def get(self, server, page, status=200, method="GET"):
        got, headers, body = server.ask("/debug/pprof" + page, server.admin_port, method)
        self.assertEqual(got, status, (page, body[:300]))
        return headers, body

    def profile(self, server, page):
        headers, body = self.get(server, page)
        self.assertEqual(headers["Content-Type"], "application/octet-stream")
        return Profile(body)

    def start_waiting(self, server, page, running=1):
        """A connection that has asked for a profile which then runs."""
        connection = socket.create_connection(("127.0.0.1", server.admin_port), tare.PATIENCE_S)
        connection.sendall(f"GET /debug/pprof/{page} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        self.wait_running(server, running)
        return connection

    def wait_running(self, server, count):
        def waiting(task):  # in a handler of profiles, for time to pass or its client to leave
            return b" tare_fd_wait" in task and b" svc_pprof+" in task

        tare.eventually(lambda: sum(map(waiting, self.get(server, "/task?debug=2")[1].split(b"\n\n"))) >= count, "profiles run")

    def test_the_index_names_what_there_is(self):
        with tare.Server() as server:
            _, index = self.get(server, "/")
            self.assertEqual(self.get(server, "", 301)[0]["Location"], "/debug/pprof/")
            links = re.findall(rb'href="([^"]+)"', index)
            self.assertEqual(sorted(link.split(b"?")[0].decode() for link in links),
                             sorted("profile task goroutine heap allocs block mutex cmdline symbol".split()))
            for link in links:
                page = "/" + link.decode().replace("&amp;", "&").replace("seconds=5", "seconds=1")
                self.assertTrue(self.get(server, page)[1], page)
            self.get(server, "/nothing", 404)

    def test_cpu_time_of_lookups(self):
        with tare.Server() as server, Busy(server):
            profile = self.profile(server, "/profile?seconds=2&hz=200")
        self.assertEqual(profile.types, [("samples", "count"), ("cpu", "nanoseconds")])
        self.assertGreater(profile.total("cpu"), 0)
        self.assertGreater(profile.total("cpu", "svc_lookup_opt"), 0)
        self.assertIn("http", {labels.get("task") for _, _, labels in profile.samples})

    def test_tasks_waits_and_memory(self):
        with tare.Server("--path=naive") as server, Busy(server):
            tasks = self.profile(server, "/task")
            self.assertGreater(tasks.total("tasks", "accept_task"), 0)
            self.assertEqual(self.profile(server, "/goroutine").types, [("tasks", "count")])
            waits = self.profile(server, "/block?seconds=1&all=1&rate=1")
            self.assertGreater(waits.total("contentions"), 0)
            self.assertIn("read", {labels["reason"] for _, _, labels in waits.samples})
            self.profile(server, "/mutex?seconds=1")
            heap = self.profile(server, "/heap")
            self.assertEqual([name for name, _ in heap.types], "alloc_objects alloc_space inuse_objects inuse_space".split())
            self.assertGreater(heap.total("alloc_space", "svc_lookup_naive"), 0)
            self.assertIn(b"alloc_space", self.get(server, "/allocs?debug=1")[1].splitlines()[0])

    def test_names_of_addresses(self):
        with tare.Server() as server:
            text = self.get(server, "/task?debug=1")[1].decode()
            address = re.search(r"#\t(0x[0-9a-f]+)\taccept_task\b", text).group(1)
            self.assertEqual(self.get(server, f"/symbol?{address}+0x1")[1].decode(),
                             f"num_symbols: 1\n{address} accept_task\n")
            self.assertIn(b"tare\0svc\0", self.get(server, "/cmdline")[1].replace(tare.PROGRAM.encode(), b"tare"))

    def test_what_is_asked_wrongly_is_refused(self):
        with tare.Server() as server:
            for page in ("/profile?seconds=0", "/profile?seconds=301", "/profile?seconds=x", "/profile?hz=1001&seconds=1",
                         "/block?seconds=-1", "/block?rate=0", "/mutex?seconds=1&rate=2000000000", "/heap?debug=3"):
                detail = json.loads(self.get(server, page, 400)[1])["detail"]
                self.assertRegex(detail, r"^\w+ must be a number from ")
            self.get(server, "/profile", 405, "POST")
            self.get(server, "/profile", 200, "HEAD")

    def test_one_of_a_kind_and_a_client_that_leaves(self):
        with tare.Server() as server:
            first = self.start_waiting(server, "profile?seconds=300")
            self.assertIn("profile", json.loads(self.get(server, "/profile?seconds=1", 409)[1])["detail"])
            self.get(server, "/block?seconds=1&debug=1")  # another kind
            first.close()
            tare.eventually(lambda: server.ask("/debug/pprof/profile?seconds=1", server.admin_port)[0] == 200,
                            "a profile whose client left is over")

    def test_a_drain_ends_profiles(self):
        with tare.Server() as server:
            connections = [self.start_waiting(server, f"{page}?seconds=300&debug=1", running)
                           for running, page in enumerate(("profile", "block"), 1)]
            server.stop()
            for connection in connections:
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
                connection.close()
                self.assertRegex(answer, rb"^HTTP/1.1 200 (?s:.*) profile: ")

    def test_a_request_behind_a_profile_is_answered(self):
        with tare.Server() as server, tare.Client(server.admin_port) as client:
            client.send(b"GET /debug/pprof/mutex?seconds=3 HTTP/1.1\r\nHost: t\r\n\r\n")
            self.wait_running(server, 1)
            client.send(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
            self.assertEqual([client.answer()[0], client.answer()[0]], [200, 200])

    def test_strangers_do_not_get_profiles(self):
        with tare.Server("--listen=0.0.0.0:0") as server:
            for page in ("/", "/profile?seconds=1", "/heap", "/symbol?0x1", "/cmdline"):
                self.assertEqual(server.ask("/debug/pprof" + page)[0], 404, page)
                self.get(server, page)
        with tare.Server() as server:
            self.assertEqual(server.ask("/debug/pprof/")[0], 200)  # loopback

    def test_go_reads_them_from_the_service(self):
        with tare.Server() as server, Busy(server):
            for page in ("profile?seconds=1", "heap", "allocs", "task", "block?seconds=1&all=1&rate=1", "mutex?seconds=1"):
                top = go_top(self, f"http://127.0.0.1:{server.admin_port}/debug/pprof/{page}")
                if page.startswith("profile"):
                    self.assertIn("svc_lookup_opt", top)
                if page == "task":
                    self.assertIn("accept_task", top)


if __name__ == "__main__":
    unittest.main()
