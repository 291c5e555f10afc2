# SPDX-License-Identifier: MIT
"""The Go service and probes of bench/peers/go, which the laboratory compares with.

Method: `tare svc` says what every path, layout, fix and server of the Go service must answer, byte for byte, from the same
snapshot. What it allocates is asked of itself. Skipped where there is no Go.
"""
import email.utils
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

sys.path.insert(0, os.path.join(tare.ROOT, "bench"))
from runner import targets  # noqa: E402

SERVERS = ("nethttp", "raw")
LAYOUTS = ("map", "flat", "offheap")
FIXES = ("none", "copy", "base64", "tree", "text", "log", "copy,base64", "copy,base64,tree", "copy,base64,tree,text", "all")
PIPELINE = 64
PROBES = ("boxing", "container", "generations", "layouts", "limit-spiral", "pacer", "packing", "pool-footguns", "pool-sizes",
          "regions", "release")

svc = probes = snapshot = None
folder = None


def setUpModule():
    global svc, probes, snapshot, folder
    os.chdir(tare.ROOT)
    os.makedirs(targets.OUT, exist_ok=True)
    try:
        svc, probes = targets.build_go("svc"), targets.build_go("probes")
    except targets.Skipped as reason:
        raise unittest.SkipTest(str(reason))
    folder = tempfile.TemporaryDirectory()
    snapshot = os.path.join(folder.name, "records.tare")
    made = tare.run("gen", "--size", "1M", "--seed", "7", "--out", snapshot)
    assert made.returncode == 0, made.stderr


def tearDownModule():
    if folder is not None:
        folder.cleanup()


class GoServer(tare.Server):
    def __init__(self, *args, **more):
        super().__init__(f"--index={snapshot}", *args, **more)
        self.args[:2] = [svc]


def start_and_fail(*args, env=None):
    """Of a service that can't start: (exit code, what it says)."""
    done = subprocess.run([svc, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", *args], env=tare.environment(env),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=tare.PATIENCE_S)
    return done.returncode, done.stderr


def header(head, name):
    found = re.search(rb"(?im)^" + name + rb":\s*(.*?)\s*$", head)
    return found and found.group(1)


class Answers(unittest.TestCase):
    def ask_all(self, server):
        """Hits in both formats, misses, refusals, other paths and methods."""
        step = max(1, server.records // 100)
        targets_ = [f"/lookup?key={key}{more}" for key in [*range(0, server.records, step), server.records - 1]
                    for more in ("", "&fmt=bin")]
        queries = [f"key={server.records}", "key=18446744073709551615", "key=18446744073709551616", "key=x", "", "key=", "key",
                   "key=1&fmt=xml", "key=1&key=2", "key=00005", "fmt=bin", "key=1&", "&key=1", "key=-1", "fmt=json&key=1",
                   "format=bin&key=1", "key=99999999999999999999999", "key=9999999999999999999999x", "a=%22b&key=1",
                   "k" * 100 + "=1", "key=12345678901234567890123456789012345678901234567890"]
        targets_ += [f"/lookup?{query}" for query in queries] + ["/lookup", "/nope", "/nope?x", "/a%20b", "/", "/healthz"]
        requests = [("GET", target) for target in targets_]
        requests += [("OPTIONS", "/lookup"), ("POST", "/lookup"), ("DELETE", "/healthz"), ("PUT", "/nope")]
        answers = []
        with tare.Client(server.port) as client:
            for method, target in requests:
                client.send(f"{method} {target} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
                if method == "OPTIONS":  # has no length
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        head += client.socket.recv(1)
                    status, body = int(head.split(b" ", 2)[1]), b""
                else:
                    status, head, body = client.answer()
                answers.append((method, target, status, header(head, b"content-type"), header(head, b"allow"), body))
        return answers

    def check(self, want, *args):
        with self.subTest(args=args), GoServer(*args) as server:
            self.assertEqual(self.ask_all(server), want)

    def test_every_server_path_layout_and_fix_answers_the_bytes_of_tare_svc(self):
        with tare.Server(f"--index={snapshot}") as server:
            want = self.ask_all(server)
        self.assertGreater(sum(answer[2] == 200 for answer in want), 100)
        for http in SERVERS:
            for layout in LAYOUTS:
                self.check(want, f"--server={http}", f"--layout={layout}", "--path=opt", "--intern=off")
            self.check(want, f"--server={http}", "--pool=off", "--gogc=50")
            for i, fixes in enumerate(FIXES):
                self.check(want, f"--server={http}", "--path=naive", f"--naive-fix={fixes}", f"--layout={LAYOUTS[i % 3]}")

    def test_a_HEAD_has_the_length_and_no_body(self):
        for http in SERVERS:
            with self.subTest(http), GoServer(f"--server={http}") as server:
                _, _, body = server.ask("/lookup?key=5")
                status, headers, none = server.ask("/lookup?key=5", method="HEAD")
                self.assertEqual((status, int(headers["Content-Length"]), none), (200, len(body), b""))


class Allocations(unittest.TestCase):
    def a_request(self, *args):
        """(allocations, bytes) a request, of many."""
        batch = b"".join(tare.lookup_request(key % 1000) for key in range(17, 17 + 7 * PIPELINE, 7))
        with GoServer("--gogc=off", *args) as server, tare.Client(server.port) as client:
            client.stream(batch, 10)
            # Counted when they are written, which is after they were heard.
            tare.eventually(lambda: server.allocs()["requests"] == 10 * PIPELINE, "all requests are counted")
            first, before = server.allocs(), server.allocs()  # a report's own are the difference of two
            client.stream(batch, 200)
            after = server.allocs()
            count = 200 * PIPELINE
            own = [before[name] - first[name] for name in ("heap_allocs", "total_alloc")]
            return [(after[name] - before[name] - mine) / count for name, mine in zip(("heap_allocs", "total_alloc"), own)]

    def test_the_opt_path_allocates_nothing_and_net_http_what_it_does(self):
        allocs, size = self.a_request("--server=raw", "--path=opt")
        self.assertLess(allocs, 0.05)
        self.assertLess(size, 16)
        allocs, size = self.a_request("--server=raw", "--path=opt", "--pool=off")
        self.assertGreater(allocs, 0.9)  # its buffer
        http, _ = self.a_request("--path=opt")
        self.assertLess(http, 20)
        mended, _ = self.a_request("--path=naive", "--naive-fix=all")
        self.assertAlmostEqual(mended, http, delta=0.3)

    def test_each_site_of_the_naive_path_costs_allocations_until_all_are_mended(self):
        costs = [self.a_request("--server=raw", "--path=naive", f"--naive-fix={fixes}")
                 for fixes in ("none", "copy", "copy,base64", "copy,base64,tree", "copy,base64,tree,text", "all")]
        for less, more in zip(costs[1:], costs):
            self.assertLess(less[0], more[0] - 0.5, costs)
        self.assertLess(costs[-1][0], 0.05)


class Raw(unittest.TestCase):
    """The loop over the connection: what net/http is trusted with elsewhere."""

    def ask(self, client, data):
        client.send(data)
        return client.answer()

    def test_requests_in_pieces_pipelined_and_with_bodies_are_answered_in_order(self):
        with GoServer("--server=raw") as server, tare.Client(server.port) as client:
            whole = [json.loads(server.ask(f"/lookup?key={key}")[2])["id"] for key in range(3)]
            data = b"".join(tare.lookup_request(key) for key in range(3)) * 40
            for at in range(0, len(data), 1000):
                client.send(data[at:at + 1000])
            self.assertEqual([json.loads(client.answer()[2])["id"] for _ in range(120)], whole * 40)
            long = tare.lookup_request(1, "X-Long: " + "x" * 6000 + "\r\n")
            self.assertEqual(self.ask(client, long)[0], 200)
            body = tare.lookup_request(2, "Content-Length: 10000\r\n") + b"x" * 10000 + tare.lookup_request(1)
            client.send(body)
            self.assertEqual([json.loads(client.answer()[2])["id"] for _ in range(2)], [2, 1])

    def test_bad_heads_are_refused_and_the_connection_ends(self):
        cases = [(b"GET /lookup?key=1 HTTP/2.0\r\nHost: t\r\n\r\n", 505), (b"GET /lookup?key=1\r\n\r\n", 400),
                 (b"G\xc4T / HTTP/1.1\r\nHost: t\r\n\r\n", 400), (b"GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", 400),
                 (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                 (b"GET / HTTP/1.1\r\nHost: t\r\nName : x\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: t\r\nX: a\nb\r\n\r\n", 400),
                 (b"GET / HTTP/1.1\r\nHost: t\r\n folded\r\n\r\n", 400),
                 (b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
                 (b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", 400),
                 (b"GET / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
                 (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431), (b"GET /" + b"x" * 10000, 431)]
        with GoServer("--server=raw") as server:
            for data, want in cases:
                with self.subTest(data[:60]), tare.Client(server.port) as client:
                    status, head, _ = self.ask(client, data)
                    self.assertEqual((status, header(head, b"connection")), (want, b"close"))
                    self.assertIsNone(client.answer())
            self.assertEqual(server.ask("/lookup?key=1")[0], 200)

    def test_answers_carry_the_time_of_day(self):
        with GoServer("--server=raw") as server, tare.Client(server.port) as client:
            def date():
                return email.utils.parsedate_to_datetime(header(client.lookup(1)[1], b"date").decode()).timestamp()

            first = date()
            self.assertAlmostEqual(first, time.time(), delta=tare.PATIENCE_S)
            tare.eventually(lambda: date() > first, "the next second")

    def test_close_and_HTTP_1_0_are_honoured(self):
        with GoServer("--server=raw") as server:
            for data in (tare.lookup_request(1, "Connection: x, Close\r\n"), b"GET /lookup?key=1 HTTP/1.0\r\n\r\n"):
                with tare.Client(server.port) as client:
                    self.assertEqual(header(self.ask(client, data)[1], b"connection"), b"close")
                    self.assertIsNone(client.answer())
            with tare.Client(server.port) as client:
                data = b"GET http://t/lookup?key=1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                self.assertEqual([self.ask(client, data)[0] for _ in range(2)], [200, 200])

    def test_a_head_that_is_late_is_answered_408_and_an_idle_connection_is_closed(self):
        with GoServer("--server=raw", "--head-timeout=20ms") as server, tare.Client(server.port) as client:
            self.assertEqual(self.ask(client, tare.lookup_request(1))[0], 200)
            self.assertEqual(self.ask(client, b"GET /lookup")[0], 408)
            self.assertIsNone(client.answer())
        with GoServer("--server=raw", "--idle-timeout=20ms") as server, tare.Client(server.port) as client:
            self.assertIsNone(client.answer())


class Life(unittest.TestCase):
    def test_SIGTERM_drains_with_idle_connections_open(self):
        for http in SERVERS:
            with self.subTest(http), GoServer(f"--server={http}") as server, tare.Client(server.port) as client, \
                    tare.Client(server.port) as silent:
                self.assertEqual(client.lookup(1)[0], 200)
                server.signal()
                self.assertIsNone(client.answer())
                silent.close()  # net/http gives a connection that never spoke five seconds
                self.assertEqual(server.wait(), 0, server.errors)
                self.assertIn("drained: 1 requests answered", server.errors)

    def test_what_it_can_not_do_is_said_and_the_exit_code_tells_usage_from_failure(self):
        index = f"--index={snapshot}"
        for args, says in ((["--index="], "give --index FILE"), ([index, "--path=fast"], "give one of naive, opt"),
                           ([index, "--nonsense=1"], "nonsense"), ([index, "extra"], "unexpected argument 'extra'"),
                           ([index, "--path=naive", "--naive-fix=copy,x"], "'x' is no site"),
                           ([index, "--naive-fix=copy"], "add --path=naive"), ([index, "--gogc=0"], "'0' is not a percentage"),
                           ([index, "--gomemlimit=auto"], "Go does not read the cgroup"),
                           ([index, "--gomemlimit=1.5G"], "write 512MiB"), ([index, "--admin=0.0.0.0:0"], "loopback"),
                           ([index, "--listen=nowhere"], "--listen"), ([index, "--workers=5000"], "too many")):
            with self.subTest(args):
                code, errors = start_and_fail(*args)
                self.assertEqual((code, errors.count("\n")), (2, 1), errors)
                self.assertIn(says, errors)
        done = subprocess.run([svc, "--version"], env=tare.environment(), capture_output=True, text=True, timeout=tare.PATIENCE_S)
        self.assertEqual((done.returncode, done.stdout.count("\n")), (0, 1), done.stderr)
        self.assertIn("go1.", done.stdout)
        code, errors = start_and_fail(index, env={"TARE_LAYOUT": "heap"})
        self.assertEqual(code, 2)
        self.assertIn("TARE_LAYOUT in the environment", errors)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            code, errors = start_and_fail(index, f"--listen=127.0.0.1:{taken.getsockname()[1]}")
            self.assertEqual(code, 1)
            self.assertIn("is taken", errors)

    def test_what_is_no_snapshot_is_refused_by_its_section(self):
        with open(snapshot, "rb") as file:
            good = file.read()

        def changed(at, data):
            return good[:at] + data + good[at + len(data):]

        records = int.from_bytes(good[64 + 40 + 16:64 + 40 + 24], "little")
        slots = int.from_bytes(good[64 + 80 + 16:64 + 80 + 24], "little")
        cases = [(b"", "header"), (b"x" * 5000, "header"), (good[:-1], "payloads"), (good + b"x", "header"),
                 (changed(8, b"\2"), "header"), (changed(12, b"\1\2\3\4"), "header"), (changed(40, b"\7"), "header"),
                 (changed(4096, b"\1"), "categories"), (changed(records + 62, b"\2"), "records"),
                 (changed(records + 60, b"\xff\xff"), "records"), (changed(records + 48, b"\xff" * 8), "records"),
                 (changed(slots, b"\xff" * 8 * 4), "slots")]
        path = os.path.join(folder.name, "bad.tare")
        for data, section in cases:
            with self.subTest(section=section, bytes=len(data)):
                with open(path, "wb") as file:
                    file.write(data)
                code, errors = start_and_fail(f"--index={path}")
                self.assertEqual(code, 1, errors)
                self.assertIn(f"section '{section}'", errors)
        code, errors = start_and_fail(f"--index={path}.missing")
        self.assertEqual(code, 1)
        self.assertIn("no such file", errors)


class Reports(unittest.TestCase):
    def test_allocs_metrics_and_profiles_tell_what_was_served(self):
        for http, fixes in zip(SERVERS, ("tree,log", "tree")):  # the access line put together, and formatted
            with self.subTest(http), GoServer(f"--server={http}", "--layout=map", "--gomemlimit=1GiB", "--path=naive",
                                              f"--naive-fix={fixes}") as server:
                for target in ("/lookup?key=1", "/lookup?key=1&fmt=bin", f"/lookup?key={server.records}", "/lookup"):
                    server.ask(target)
                allocs = server.allocs()
                self.assertEqual(allocs["lookups"], {"hits": 2, "misses": 1, "refused": 1})
                tare.eventually(lambda: server.allocs()["requests"] == 4, "all requests are counted")
                self.assertEqual(allocs["index"]["records"], server.records)
                self.assertEqual((allocs["knobs"]["naive-fix"], allocs["knobs"]["gomemlimit"]), (fixes, "1GiB"))
                for name in ("live_heap", "total_alloc", "gc_cycles", "next_gc", "heap_allocs", "rss_bytes", "cpu_seconds",
                             "gc_cpu_seconds", "pause_p99_ms", "pauses_max_ms"):
                    self.assertGreater(allocs[name], 0, name)
                self.assertGreaterEqual(allocs["pauses_max_ms"], allocs["pause_p99_ms"])
                self.assertTrue(0 < allocs["gc_cpu_fraction"] < 1)
                # The records are collected once before it listens; its cleanup may come a moment later.
                tare.eventually(lambda: server.allocs()["gc"]["last_mark_seconds"] > 0, "the last cycle's marking is known")
                self.assertEqual(allocs["pauses"]["count"], sum(bucket[2] for bucket in allocs["pauses"]["buckets"]))
                self.assertGreater(sum(bucket[2] for bucket in allocs["pauses"]["waits"]), 0)
                self.assertTrue(0 < allocs["gc"]["wait_p99_ms"] <= allocs["pauses_max_ms"])
                self.assertTrue(0 <= allocs["gc"]["idle_bytes"] < allocs["gc"]["mapped_bytes"])
                self.assertEqual((allocs["gc"]["percent"], allocs["gc"]["limit_bytes"]), (100, 1 << 30))
                self.assertIn("GOARCH", allocs["build"])
                metrics = server.metrics()
                self.assertEqual(metrics['tare_lookups_total{result="hit"}'], 2)
                self.assertEqual(metrics['http_requests_total{server="public",code="4xx"}'], 2)
                self.assertEqual(metrics['http_request_duration_seconds_count{server="public"}'], 4)
                self.assertEqual(metrics['http_request_duration_seconds_bucket{server="public",le="+Inf"}'], 4)
                self.assertGreater(metrics['http_request_duration_quantile_seconds{server="public",quantile="0.99"}'], 0)
                self.assertGreater(metrics["go_gc_heap_allocs_bytes_total"], 0)
                self.assertGreater(metrics["go_sched_pauses_total_gc_seconds_count"], 0)
                status, _, lines = server.ask("/debug/recent", server.admin_port)
                self.assertEqual((status, lines.count(b"\n")), (200, 2))
                self.assertRegex(lines, rb"(?m)^\d+\.\d{6} GET /lookup key=1 fmt=bin 200 \d+$")
                status, _, profile = server.ask("/debug/pprof/allocs", server.admin_port)
                self.assertEqual((status, profile[:2]), (200, b"\x1f\x8b"))
                self.assertEqual(server.ask("/debug/nothing", server.admin_port)[0], 404)


class Building(unittest.TestCase):
    def test_the_service_is_optimised_by_its_profile(self):
        told = subprocess.run([targets.find_go(), "version", "-m", svc], capture_output=True, text=True, check=True).stdout
        self.assertRegex(told, r"\sbuild\s+-pgo=default\.pgo\n")

    def test_the_same_source_gives_the_same_program(self):
        with tempfile.TemporaryDirectory() as elsewhere:
            source, output = os.path.join(elsewhere, "go"), os.path.join(elsewhere, "svc")
            shutil.copytree("bench/peers/go", source)
            more = {"GO": targets.find_go(), "GOFLAGS": "-ldflags=-s", "GOAMD64": "v1", "CGO_ENABLED": "0"}
            done = subprocess.run([os.path.join(source, "build"), "svc", "svc"], cwd=elsewhere, env={**os.environ, **more},
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(output, "rb") as there, open(svc, "rb") as here:
                self.assertTrue(there.read() == here.read())
        version = subprocess.run([svc, "--version"], capture_output=True, text=True, check=True).stdout
        self.assertIn("v2" if os.uname().machine == "x86_64" else "go", version)


class Updates(unittest.TestCase):
    RECORD = {"bid_micros": -5, "budget_micros": 7, "spend_micros": 0, "impressions": 2**63 - 1, "clicks": 0, "hot": True,
              "active": False, "category": "a new/one & <all>", "payload": "AAEC"}

    def put_all(self, server):
        """[(status, body of what isn't a field's refusal)], then what the records are."""
        good = self.RECORD
        bodies = [good, {"id": 3, **good}, {"id": 4, **good}, {**good, "more": 1}, {**good, "hot": 1}, {**good, "clicks": -1},
                  {**good, "clicks": 1.5}, {**good, "clicks": 2**63}, {**good, "payload": "AAE"}, {**good, "payload": "AB=="},
                  {**good, "payload": "AA\nEC"}, {**good, "payload": 1}, {**good, "category": None}, {**good, "category": ""},
                  {**good, "category": "x" * 65}, {**good, "category": "\u00e4"}, {**good, "category": 'a"'}, {**good, "bid_micros": "1"},
                  {**good, "bid_micros": [1]}, [], 1, {name: value for name, value in good.items() if name != "active"},
                  {("HOT" if name == "hot" else name): value for name, value in good.items()}]
        texts = [json.dumps(body).encode() for body in bodies]
        texts += [b"", b"{", texts[0] + b"x", texts[0].replace(b"}", b',"hot":true}'), b"\xff" + texts[0],
                  texts[0].replace(b"new", b"n\xffw")]
        requests = [("key=3", text) for text in texts]
        requests += [(query, texts[0]) for query in (f"key={server.records}", "key=x", "key=", "", "key=3&key=3", "id=3")]
        requests += [("key=5", texts[0].replace(b"AAEC", b"A" * 4000)), ("key=6", texts[0].replace(b"AAEC", b""))]
        told = []
        for query, text in requests:
            connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)
            try:
                connection.request("PUT", f"/record?{query}", text)
                answer = connection.getresponse()
                body = answer.read()
                told.append((query, text[:80], answer.status, body if answer.status != 400 else b""))
            finally:
                connection.close()
        return told + [server.ask(f"/lookup?key={key}{more}")[::2] for key in range(7) for more in ("", "&fmt=bin")]

    def test_a_record_is_replaced_and_refused_as_in_tare_svc_in_every_layout(self):
        with tare.Server(f"--index={snapshot}", "--heap=gc", "--layout=map") as server:
            want = self.put_all(server)
            updates = server.allocs()["updates"]
        self.assertEqual([answer[2] for answer in want[:3]], [204, 204, 400])
        for i, layout in enumerate(LAYOUTS):
            path = ("--path=naive", "--naive-fix=base64") if layout == "map" else ()  # encoding/json is given a payload as bytes
            with self.subTest(layout), GoServer(f"--layout={layout}", f"--server={SERVERS[i % 2]}", *path) as server:
                self.assertEqual(self.put_all(server), want)
                self.assertEqual(server.allocs()["updates"], updates)
                self.assertEqual(server.metrics()['tare_updates_total{result="done"}'], updates["done"])

    def put_keys(self, server, keys, version):
        body = json.dumps({**self.RECORD, "clicks": version}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)
        try:
            for key in keys:
                connection.request("PUT", f"/record?key={key}", body)
                answer = connection.getresponse()
                self.assertEqual((answer.status, answer.read()), (204, b""))
        finally:
            connection.close()

    def test_what_was_replaced_is_collected_in_layout_map(self):
        keys = range(500)
        with GoServer("--layout=map", "--intern=off") as server:
            def objects():
                self.assertEqual(server.ask("/debug/pprof/heap?gc=1", server.admin_port)[0], 200)
                return server.allocs()["gc"]["objects"]

            self.put_keys(server, range(1), 1)
            before = objects()
            for version in range(3):
                self.put_keys(server, keys, version)
            self.assertLess(objects(), before + 2 * len(keys))  # each record kept would be three objects more
            for key in keys[::100]:
                self.assertEqual(json.loads(server.ask(f"/lookup?key={key}")[2])["clicks"], 2)

    def test_lookups_find_one_version_or_the_other_while_records_are_put(self):
        for layout in LAYOUTS:
            with self.subTest(layout):
                self.put_beside_lookups(layout)

    def put_beside_lookups(self, layout):
        with GoServer(f"--layout={layout}", "--server=raw") as server, tare.Client(server.port) as client:
            stop = threading.Event()

            def put():
                version = 0
                while not stop.is_set():
                    version += 1
                    body = {**self.RECORD, "bid_micros": version, "clicks": version, "category": f"v{version}"}
                    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)
                    connection.request("PUT", f"/record?key={version % 8}", json.dumps(body).encode())
                    self.assertEqual(connection.getresponse().status, 204)
                    connection.close()

            putting = threading.Thread(target=put)
            putting.start()
            try:
                tare.eventually(lambda: server.allocs()["updates"]["done"] > 8, "every key was put")
                for _ in range(100):
                    client.send(b"".join(tare.lookup_request(key) for key in range(8)))
                    for _ in range(8):
                        record = json.loads(client.answer()[2])
                        self.assertEqual((record["clicks"], record["category"]), (record["bid_micros"], f"v{record['bid_micros']}"))
            finally:
                stop.set()
                putting.join()


class Probes(unittest.TestCase):
    def run_probe(self, *args):
        return subprocess.run([probes, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=tare.PATIENCE_S)

    def test_each_measures_something_and_says_what(self):
        for name in PROBES:
            with self.subTest(name):
                done = self.run_probe(name, "quick=1")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                told = json.loads(done.stdout)
                self.assertEqual(told["probe"], name)
                self.assertTrue(told["figures"] or "skipped" in told["texts"])
                self.assertTrue(all(isinstance(value, (int, float)) for value in told["figures"].values()))

    def test_what_is_sure_comes_out(self):
        boxing = json.loads(self.run_probe("boxing", "quick=1").stdout)["figures"]
        for name in ("string", "bytes", "format", "value"):
            boxed, typed = (("_boxed_allocs", "_typed_allocs") if name in ("format", "value") else
                            ("_copy_allocs", "_slice_allocs" if name == "string" else "_view_allocs"))
            self.assertGreater(boxing[name + boxed], 0.9)
            self.assertLess(boxing[name + typed], 0.1)
        self.assertAlmostEqual(boxing["value_boxed_allocs"], 10, delta=0.1)
        self.assertAlmostEqual(boxing["format_boxed_allocs"], 5, delta=0.1)  # as many as Tare's
        regions = json.loads(self.run_probe("regions", "quick=1").stdout)["figures"]
        self.assertLess(regions["region_heap_calls"], 1)
        self.assertAlmostEqual(regions["collected_heap_calls"], 20, delta=1)  # one object a part
        self.assertAlmostEqual(regions["collected_apart_heap_calls"], 40, delta=1)
        sizes = json.loads(self.run_probe("pool-sizes", "quick=1").stdout)["figures"]
        for own, pool, name in (("collected", "pool", "collected_wins"), ("collected", "pool_reset", "collected_wins_over_reset"),
                                ("collected_with_live", "pool_reset", "collected_with_live_wins_over_reset")):
            up_to = 0  # ends at the first size at which the heap does not win by more than 5 %
            for size in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
                if sizes[f"{pool}_{size}_ns"] <= sizes[f"{own}_{size}_ns"] * 1.05:
                    break
                up_to = size
            self.assertEqual(sizes[name + "_up_to_bytes"], up_to)
        spiral = json.loads(self.run_probe("limit-spiral", "quick=1").stdout)["figures"]
        self.assertEqual(spiral["p200_limiter_throughput_percent"], 100)
        generations = json.loads(self.run_probe("generations", "live=2M", "headroom=16M", "objects=100000").stdout)["figures"]
        self.assertAlmostEqual(generations["headroom2_heap_bytes"], 18 << 20, delta=1 << 20)  # no least heap of more than both
        packing = json.loads(self.run_probe("packing", "quick=1").stdout)["figures"]
        self.assertEqual([packing[f"{form}_bytes"] for form in ("mispacked", "reordered", "packed")], [104, 96, 64])
        footguns = json.loads(self.run_probe("pool-footguns").stdout)
        figures, texts = footguns["figures"], footguns["texts"]
        self.assertEqual((figures["missing_reset_corrupted"], figures["pool_reset_corrupted"]), (1, 0))
        self.assertEqual((figures["double_release_caught"], figures["wrong_pool_caught"]), (0, 1))
        self.assertIn("two owners", texts["double_release"])
        for name, text in texts.items():  # a text is of a case, and of what it came to
            if name != "build":
                began = "corrupted: " if figures[name + "_corrupted"] else "caught: " if figures[name + "_caught"] else "nothing was seen"
                self.assertTrue(text.startswith(began), (name, text))

    def test_what_is_compared_has_one_name_on_both_sides(self):
        compared = {"boxing": ("format_boxed_ns", "format_typed_ns", "value_boxed_allocs"),
                    "container": ("limit_bytes", "auto_killed", "auto_lived_ms", "auto_objects_per_second", "plain_killed", "plain_lived_ms"),
                    "generations": ("live_least_ns", "live_most_ns", "headroom_most_ns", "pool_ns"), "layouts": ("map_mark_ms",),
                    "limit-spiral": ("p101_limiter_throughput_percent", "p101_limiter_gc_percent"),
                    "pacer": ("trigger_mib_error_percent", "mark_cpu_ms_error_percent", "rounding_percent"),
                    "packing": ("mispacked_objects_mark_ms",),
                    "pool-sizes": ("collected_16_ns", "pool_16_ns", "collected_wins_over_reset_up_to_bytes",
                                   "collected_with_live_16_ns", "collected_with_live_wins_over_reset_up_to_bytes", "struct_pool_over_collected_percent"),
                    "regions": ("region_ns", "collected_ns", "collected_gc_ns"), "release": ("collected_after_bytes",)}
        for name, figures in compared.items():
            with self.subTest(name):
                ours = tare.run("lab", "--probe", name, "quick=1")
                self.assertEqual(ours.returncode, 0, ours.stderr)
                both = [json.loads(text) for text in (ours.stdout, self.run_probe(name, "quick=1").stdout)]
                if any("skipped" in told["texts"] for told in both):
                    continue
                self.assertEqual([[figure for figure in figures if figure not in told["figures"]] for told in both], [[], []])

    def test_both_sides_do_as_much_work(self):
        units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

        def keys(text):
            found, probe = {}, None
            for line in text.splitlines():
                named = re.match(r"  (\S+)", line)
                probe = named.group(1) if named else probe
                key = re.match(r"    (\w+)=(\d+)([KMG]?) ", line)
                if key:
                    found[probe, key.group(1)] = int(key.group(2)) * units[key.group(3)]
            return found

        ours, theirs = keys(tare.run("lab", "--probe", "help").stdout), keys(self.run_probe("help").stdout)
        self.assertEqual({key: theirs.get(key) for key in ours}, ours)

    def test_unknown_probes_and_keys_are_refused(self):
        for args, says in (([], "help"), (["none"], "'none'"), (["boxing", "x=1"], "'x=1'"), (["boxing", "milliseconds=x"], "x")):
            done = self.run_probe(*args)
            self.assertEqual(done.returncode, 1)
            self.assertIn(says, done.stderr)
        self.assertIn("pool-sizes", self.run_probe("help").stdout)


if __name__ == "__main__":
    unittest.main()
