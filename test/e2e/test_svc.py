# SPDX-License-Identifier: MIT
"""`tare svc` from outside: answers, refusals, knobs, ports, signals, descriptors and memory.

Method: real servers on free ports, asked over raw sockets where bytes matter. What an answer should be is computed apart:
the two paths are compared with each other and both with the binary format, and every key with the id it must give.
"""
import base64
import fcntl
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

FIELDS = ["id", "bid_micros", "budget_micros", "spend_micros", "impressions", "clicks", "hot", "active", "category",
          "payload"]
BIN_HEAD = struct.Struct("<IHHQqqqQQII")


def decode_bin(data):
    length, version, flags, *numbers, category_len, payload_len = BIN_HEAD.unpack_from(data)
    assert version == 1 and length == len(data) == BIN_HEAD.size + category_len + payload_len, data
    texts = data[BIN_HEAD.size:]
    return dict(zip(FIELDS, [*numbers, bool(flags & 1), bool(flags & 2), texts[:category_len].decode(),
                             base64.b64encode(texts[category_len:]).decode()]))


class Lookups(unittest.TestCase):
    def test_both_paths_and_formats_give_the_same_records(self):
        with tare.Server("--path=opt") as opt, tare.Server("--path=naive") as naive:
            self.assertEqual(opt.records, naive.records)
            step = max(1, opt.records // 300)
            with tare.Client(opt.port) as fast, tare.Client(naive.port) as slow:
                for key in [*range(0, opt.records, step), opt.records - 1]:
                    status, head, document = fast.lookup(key)
                    self.assertEqual(status, 200)
                    self.assertIn(b"Content-Type: application/json", head)
                    self.assertEqual(document, slow.lookup(key)[2])
                    record = json.loads(document)
                    self.assertEqual(list(record), FIELDS)
                    self.assertEqual(record["id"], key)
                    for client in (fast, slow):
                        status, head, data = client.lookup(f"{key}&fmt=bin")
                        self.assertEqual(status, 200)
                        self.assertIn(b"Content-Type: application/octet-stream", head)
                        self.assertEqual(decode_bin(data), record)

    def test_records_are_the_snapshots(self):
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "snapshot")
            made = tare.run("gen", "--size", "1M", "--seed", "7", "--out", path)
            self.assertEqual(made.returncode, 0, made.stderr)
            with tare.Server(f"--index={path}") as mapped, tare.Server("--index-size=1M", "--seed=7") as built, \
                    tare.Server("--index-size=1M", "--seed=8") as other:
                self.assertEqual(mapped.records, built.records)
                same = [mapped.ask(f"/lookup?key={key}")[2] == built.ask(f"/lookup?key={key}")[2] for key in range(20)]
                self.assertEqual(same, [True] * 20)
                same = [mapped.ask(f"/lookup?key={key}")[2] == other.ask(f"/lookup?key={key}")[2] for key in range(20)]
                self.assertIn(False, same)

    def test_head_gives_the_length_and_no_body(self):
        with tare.Server() as server:
            _, headers, body = server.ask("/lookup?key=3")
            status, head_headers, head_body = server.ask("/lookup?key=3", method="HEAD")
            self.assertEqual((status, head_body), (200, b""))
            self.assertEqual(head_headers["Content-Length"], str(len(body)))
            self.assertEqual(head_headers["Content-Type"], headers["Content-Type"])

    def test_pipelined_requests_are_answered_in_order(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            keys = [key % server.records for key in range(0, 999, 7)]
            client.send(b"".join(tare.lookup_request(key) for key in keys))
            self.assertEqual([json.loads(client.answer()[2])["id"] for _ in keys], keys)

    def test_a_client_that_floods_does_not_starve_the_others(self):
        # Short answers to many: neither end of the flood waits for the other, so the service never finds its socket empty.
        requests = b"HEAD /lookup?key=1 HTTP/1.1\r\nHost: t\r\n\r\n" * 300000
        over, answered = threading.Event(), threading.Event()

        def write(sock):
            while not over.is_set():
                sock.sendall(requests)

        def drain(sock):
            while sock.recv(1 << 20):
                answered.set()

        with tare.Server("--workers=1") as server, socket.create_connection(("127.0.0.1", server.port)) as flood:
            threads = [threading.Thread(target=work, args=(flood,)) for work in (write, drain)]
            for thread in threads:
                thread.start()
            self.assertTrue(answered.wait(60))
            with tare.Client(server.port) as client:
                for key in range(500):
                    self.assertEqual(client.lookup(key)[0], 200)
            self.assertEqual([thread.is_alive() for thread in threads], [True, True])
            over.set()
            threads[0].join()
            flood.shutdown(socket.SHUT_WR)
            threads[1].join()


class Refusals(unittest.TestCase):
    def problem(self, server, target, status, *texts, method="GET"):
        got, headers, body = server.ask(target, method=method)
        self.assertEqual(got, status, body)
        self.assertEqual(headers["Content-Type"].split(";")[0], "application/problem+json")
        document = json.loads(body)
        self.assertEqual(document["status"], status)
        for text in texts:
            self.assertIn(text, document["detail"])
        return headers

    def test_problems_say_what_and_what_to_do(self):
        for path in ("opt", "naive"):
            with tare.Server(f"--path={path}") as server:
                self.problem(server, "/lookup", 400, "key is missing", "/lookup?key=N")
                self.problem(server, "/lookup?key=", 400, "key is empty")
                self.problem(server, "/lookup?key=abc", 400, "'abc'", "digits only")
                self.problem(server, "/lookup?key=99999999999999999999", 400, "too large")
                self.problem(server, "/lookup?key=1&key=2", 400, "'key' is given twice")
                self.problem(server, "/lookup?key=1&fmt=xml", 400, "'xml'", "fmt=json or fmt=bin")
                self.problem(server, "/lookup?key=1&format=bin", 400, "'format' is unknown")
                self.problem(server, '/lookup?key="', 400, "'\"'")
                self.problem(server, f"/lookup?key={server.records}", 404, f"key {server.records} is not in the index",
                             f"from 0 to {server.records - 1}")
                self.problem(server, "/nothing", 404)
                headers = self.problem(server, "/lookup?key=1", 405, method="DELETE")
                self.assertIn("GET", headers["Allow"])
                self.assertEqual(server.allocs()["lookups"], {"hits": 0, "misses": 1, "refused": 8})

    def test_a_refused_lookup_keeps_the_connection(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            client.send(tare.lookup_request("x") + tare.lookup_request(1 << 60) + tare.lookup_request(2))
            self.assertEqual([client.answer()[0] for _ in range(3)], [400, 404, 200])


def lan_address():
    """An address of this machine that is not loopback, or None. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


class Operators(unittest.TestCase):
    DEBUG = ("/metrics", "/debug/allocs", "/debug/tasks")

    def test_tasks_are_listed_with_what_they_wait_for_and_where(self):
        with tare.Server("--workers=2") as server, tare.Client(server.port) as half:
            half.send(b"GET /lookup?key=1 HTTP/1.1\r\nHost: t")

            def listed():
                text = server.ask("/debug/tasks", server.admin_port)[2].decode()
                return "\"http\": parked: read" in text and "\"main\": parked: event" in text and text

            text = tare.eventually(listed, "the connection waits for the rest, and the first task for a signal")
            tasks = {entry.split(":")[0].split(" ", 2)[2]: entry for entry in text.split("\n\n")[1:] if entry}
            self.assertRegex(text, r"^\d+ tasks on 2 workers: \d+ running, ")
            self.assertIn("parked: event, for ", tasks['"main"'])
            self.assertRegex(tasks['"main"'], r"\n    (tare_)?event_wait[\w.]*\+0x\w+ \(tare\+0x\w+\)\n    serve[\w.]*\+0x")
            # One of the four may just be accepting the connection that asks.
            self.assertRegex(text, r"\"accept\": parked: read, for .*; started by ")
            self.assertEqual(text.count('"accept"'), 4)
            metrics = server.metrics()
            self.assertGreaterEqual(metrics['tare_rt_tasks_parked{reason="read"}'], 4)
            self.assertEqual(metrics['tare_rt_tasks_parked{reason="event"}'], 1)
            self.assertGreaterEqual(metrics['tare_rt_tasks_by_state{state="running"}'], 1)
            self.assertGreaterEqual(metrics["tare_rt_stacks_live"], 6)
            self.assertIn("tare_rt_tasks_slow_total", metrics)

    @unittest.skipUnless(shutil.which("promtool"), "no promtool")
    def test_the_metrics_please_promtool(self):
        with tare.Server("--gomemlimit=1GiB") as server:
            server.ask("/lookup?key=1")
            text = server.ask("/metrics", server.admin_port)[2]
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_the_runtimes_histograms_are_cumulative_and_add_up(self):
        with tare.Server("--workers=1") as server, tare.Client(server.port) as client:
            for _ in range(1000):
                client.lookup(1)
            metrics = server.metrics()
        for name, least in (("tare_rt_runnable_seconds", 1), ("tare_rt_poll_batch_events", 100)):
            buckets = [value for key, value in metrics.items() if key.startswith(name + "_bucket{")]
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], metrics[name + "_count"])
            self.assertGreaterEqual(buckets[-1], least)
            self.assertGreater(metrics[name + "_sum"], 0)
        self.assertEqual(metrics['tare_rt_poll_batch_events_bucket{le="1000"}'], metrics["tare_rt_poll_batch_events_count"])
        self.assertIn('tare_rt_runnable_seconds_bucket{le="1e-07"}', metrics)
        self.assertIn('tare_rt_runnable_seconds_bucket{le="10"}', metrics)

    def test_reports_name_the_path_and_every_knob(self):
        for path in ("opt", "naive"):
            with tare.Server(f"--path={path}", "--max-headers=33", "--idle-timeout=7s", "--workers=1") as server:
                for _ in range(5):
                    server.ask("/lookup?key=1")
                allocs = server.allocs()
                for name in ("live_heap", "total_alloc", "gc_cycles", "gc_cpu_fraction", "pause_p99_ms", "next_gc",
                             "heap_allocs", "heap_frees", "pauses_max_ms", "gc_cpu_seconds", "cpu_seconds", "rss_bytes"):
                    self.assertIsInstance(allocs[name], (int, float))
                self.assertGreater(allocs["cpu_seconds"], 0)
                self.assertGreater(allocs["rss_bytes"], 1 << 20)
                self.assertEqual((allocs["path"], allocs["collector"]), (path, "none"))
                self.assertEqual(allocs["lookups"]["hits"], 5)
                self.assertGreaterEqual(allocs["requests"], 5)
                self.assertEqual(allocs["workers"], 1)
                names = [pool["name"] for pool in allocs["pools"]]
                self.assertEqual(len(names), len(set(names)), names)
                self.assertLessEqual({"public_http_connections", "public_http_buffers", "admin_http_connections",
                                      "admin_http_buffers"}, set(names))
                for pool in allocs["pools"]:
                    self.assertEqual(list(pool), ["name", "hits", "misses", "overflows", "refusals", "live", "overflow_live",
                                                  "peak", "bytes", "limit", "advice"])
                    self.assertLessEqual(pool["live"], pool["peak"])
                    self.assertLessEqual(pool["peak"], pool["advice"])
                requests = next(arena for arena in allocs["arenas"] if arena["name"] == "http_request")
                self.assertGreaterEqual(requests["arenas"], 1)  # this report's own
                self.assertGreater(requests["used"], 0)
                self.assertEqual((requests["heap_allocs"], requests["refused_memory"]), (0, 0))
                self.assertEqual(allocs["knobs"]["max-headers"], 33)
                self.assertEqual(allocs["knobs"]["idle-timeout"], 7)
                self.assertEqual(allocs["knobs"]["path"], path)
                metrics = server.metrics()
                info = [name for name in metrics if name.startswith("tare_info{")]
                self.assertEqual(len(info), 1)
                for knob, value in allocs["knobs"].items():
                    text = {True: "true", False: "false", None: ""}.get(value, value) if not isinstance(value, int) \
                        or isinstance(value, bool) else value
                    self.assertIn(f'{knob.replace("-", "_")}="{text}"', info[0])
                self.assertEqual(metrics['tare_lookups_total{result="hit"}'], 5)
                self.assertEqual(metrics["tare_pools"], len(names))
                for name in names:
                    self.assertIn(f'tare_pool_live{{pool="{name}"}}', metrics)
                self.assertIn('tare_arenas{arena="http_request"}', metrics)
                self.assertGreaterEqual(metrics['tare_arena_resets_total{arena="http_request"}'], 1)
                self.assertEqual(metrics['tare_arena_refused_limit_total{arena="http_request"}'], 0)
                self.assertEqual(metrics["tare_index_records"], server.records)
                self.assertEqual(server.ready["path"], path)

    def test_debug_pages_are_on_loopback_and_admin(self):
        with tare.Server() as server:
            for port in (server.port, server.admin_port):
                self.assertEqual(server.ask("/healthz", port)[2], b"ok\n")
                for page in self.DEBUG:
                    self.assertEqual(server.ask(page, port)[0], 200)
            self.assertEqual(server.ask("/lookup?key=1", server.admin_port)[0], 404)

    def test_a_public_listener_that_others_reach_has_no_debug_pages(self):
        with tare.Server("--listen=0.0.0.0:0") as server:
            self.assertEqual(server.ask("/lookup?key=1")[0], 200)
            self.assertEqual(server.ask("/healthz")[0], 200)
            for page in self.DEBUG:
                self.assertEqual(server.ask(page)[0], 404)
                self.assertEqual(server.ask(page, server.admin_port)[0], 200)

    def test_an_admin_address_that_others_reach_must_be_meant(self):
        for address in ("0.0.0.0:0", ":0", lan_address() or "192.0.2.1:0"):
            address = address if ":" in address else address + ":0"
            done = tare.run("svc", "--index-size=1M", "--listen=127.0.0.1:0", f"--admin={address}")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("--admin-allow-remote", done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
        with tare.Server("--admin=0.0.0.0:0", "--admin-allow-remote") as server:
            self.assertEqual(server.ask("/metrics", server.admin_port)[0], 200)

    def test_admin_can_be_off(self):
        with tare.Server("--admin=off") as server:
            self.assertIsNone(server.ready["admin_url"])
            self.assertEqual(server.ask("/metrics")[0], 200)


class Knobs(unittest.TestCase):
    def test_what_is_not_there_has_no_option(self):
        done = tare.run("svc", "--index-size=1M", "--no-such-knob=1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("unknown option '--no-such-knob'", done.stderr)

    def test_gogc_alone_brings_no_collector(self):
        with tare.Server(env={"GOGC": "100"}) as server:
            self.assertEqual(server.ask("/lookup?key=1")[0], 200)
            self.assertEqual(server.allocs()["gc_cycles"], 0)

    def test_what_the_bounds_allow_is_taken(self):
        with tare.Server("--max-head-bytes=16K", "--max-headers=128", "--workers=3") as server:
            self.assertEqual((server.ask("/lookup?key=1")[0], server.ready["workers"]), (200, 3))
        for arg in ("--max-head-bytes=16385", "--max-headers=129", "--workers=127", "--workers=-3", "--index-size=1"):
            done = tare.run("svc", *(["--index-size=1M"] if "index" not in arg else []), arg)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arg)
            self.assertIn(arg.split("=")[0], done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_an_index_must_be_named_and_whole(self):
        self.assertEqual(tare.run("svc").returncode, 2)
        done = tare.run("svc", "--index=/nonexistent/file")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/file", done.stderr)
        done = tare.run("svc", f"--index={__file__}")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_environment_and_flags(self):
        with tare.Server(env={"TARE_PATH": "naive", "TARE_MAX_HEADERS": "9"}) as server:
            knobs = server.allocs()["knobs"]
            self.assertEqual((knobs["path"], knobs["max-headers"]), ("naive", 9))
        with tare.Server("--path=opt", env={"TARE_PATH": "naive"}) as server:
            self.assertEqual(server.allocs()["path"], "opt")

    def test_pool_off_serves_the_same(self):
        with tare.Server("--pool=off") as server:
            self.assertEqual(json.loads(server.ask("/lookup?key=1")[2])["id"], 1)
            self.assertEqual(server.allocs()["knobs"]["pool"], "off")

    def test_limits_reach_the_server(self):
        with tare.Server("--max-target-bytes=64", "--max-headers=4", "--max-head-bytes=512", "--max-body-bytes=10") as server:
            self.assertEqual(server.ask("/lookup?key=" + "1" * 64)[0], 414)
            for more, status in (("".join(f"H{n}: x\r\n" for n in range(9)), 431), ("H: " + "x" * 600 + "\r\n", 431)):
                with tare.Client(server.port) as client:
                    client.send(tare.lookup_request(1, more))
                    self.assertEqual(client.answer()[0], status)
            with tare.Client(server.port) as client:
                client.send(b"GET /lookup?key=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n")
                self.assertEqual(client.answer()[0], 413)

    def test_connection_limits_reach_the_server(self):
        with tare.Server("--max-connections=2") as server:
            # One after the other: each worker accepts on its own, so connections made at once may be taken in any order.
            with tare.Client(server.port) as one:
                self.assertEqual(one.lookup(1)[0], 200)
                with tare.Client(server.port) as two:
                    self.assertEqual(two.lookup(1)[0], 200)
                    with tare.Client(server.port) as three:
                        self.assertEqual(three.answer()[0], 503)
                    self.assertEqual([one.lookup(2)[0], two.lookup(2)[0]], [200, 200])

    def test_timeouts_reach_the_server(self):
        with tare.Server("--head-timeout=100ms", "--idle-timeout=100ms") as server:
            with tare.Client(server.port) as client:
                client.send(b"GET /lookup?key=1 HTTP/1.1\r\n")
                self.assertEqual(client.answer()[0], 408)
            with tare.Client(server.port) as client:
                self.assertEqual(client.lookup(1)[0], 200)
                self.assertIsNone(client.answer())


class Ports(unittest.TestCase):
    def setUp(self):
        self.other = socket.socket()
        self.addCleanup(self.other.close)

    def take(self, port=0):
        self.other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.other.bind(("127.0.0.1", port))
        self.other.listen()
        return self.other.getsockname()[1]

    def test_a_taken_port_that_was_asked_for_is_an_error(self):
        port = self.take()
        for flag in ("--listen", "--admin"):
            other = {"--listen": "--admin", "--admin": "--listen"}[flag]
            done = tare.run("svc", "--index-size=1M", f"{flag}=127.0.0.1:{port}", f"{other}=127.0.0.1:0")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"127.0.0.1:{port} is taken", done.stderr)
            self.assertIn(flag, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_with_port_fallback_another_is_used(self):
        port = self.take()
        with tare.Server(f"--listen=127.0.0.1:{port}", "--port-fallback") as server:
            self.assertNotEqual(server.port, port)
            self.assertEqual(server.ask("/healthz")[0], 200)
            server.stop()
            self.assertIn(f"127.0.0.1:{port} is taken; using 127.0.0.1:{server.port}\n", server.errors)

    def take_default(self):
        """Whoever else runs these tests now waits: their port would be gone while this server starts."""
        lock = open(os.path.join(tempfile.gettempdir(), "tare-test-port-8080.lock"), "w")
        self.addCleanup(lock.close)
        self.addCleanup(self.other.close)  # before the lock
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            self.take(8080)
        except OSError:
            pass  # somebody has it to stay, which serves as well

    def test_a_taken_default_port_is_an_error(self):
        self.take_default()
        done = tare.run("svc", "--index-size=1M", "--admin=off")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("127.0.0.1:8080 is taken", done.stderr)
        self.assertIn("--port-fallback", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_with_port_fallback_a_taken_default_is_replaced(self):
        self.take_default()
        process = subprocess.Popen([tare.PROGRAM, "svc", "--index-size=1M", "--port-fallback"], env=tare.environment(), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            first = process.stdout.readline()
            self.assertRegex(first, r"^listening on http://127\.0\.0\.1:\d+\n$")
            port = int(first.rsplit(":", 1)[1])
            self.assertNotEqual(port, 8080)
            process.send_signal(signal.SIGINT)
            process.wait(tare.PATIENCE_S)
            rest, errors = process.stdout.read(), process.stderr.read()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn(f"127.0.0.1:8080 is taken; using 127.0.0.1:{port}\n", errors)
        self.assertIn("path opt", rest)
        self.assertIn(f"pid {process.pid}", rest)
        self.assertRegex(rest, r"admin on http://127\.0\.0\.1:\d+ ")

    def test_addresses_are_told_right(self):
        with tare.Server("--listen=LOCALHOST:0") as server:
            self.assertRegex(server.ready["url"], r"^http://127\.0\.0\.1:\d+$")
        done = tare.run("svc", "--index-size=1M", "--listen=example.com:80")
        self.assertEqual(done.returncode, 2)
        self.assertIn("names are not resolved", done.stderr)
        self.assertIn("localhost", done.stderr)
        done = tare.run("svc", "--index-size=1M", "--admin=off", "--listen=192.0.2.1:9000")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("192.0.2.1:9000"), 1, done.stderr)
        self.assertIn("no such address", done.stderr)

    def test_two_servers_do_not_share_a_port(self):
        with tare.Server() as server:
            done = tare.run("svc", "--index-size=1M", f"--listen=127.0.0.1:{server.port}", "--admin=off")
            self.assertEqual(done.returncode, 1)
            self.assertIn("is taken", done.stderr)


class Load:
    """Threads that ask until they are told that the server is gone, and count what they sent and got."""

    BATCH = 8

    def __init__(self, server):
        self.server = server
        self.answered = 0
        self.lost = []
        self.lock = threading.Lock()
        self.busy = threading.Semaphore(0)

    def start(self, keepers, churners):
        self.threads = [threading.Thread(target=self.guard, args=(self.keep,)) for _ in range(keepers)]
        self.threads += [threading.Thread(target=self.guard, args=(self.churn,)) for _ in range(churners)]
        for thread in self.threads:
            thread.start()
        for _ in self.threads:  # each has had several answers
            assert self.busy.acquire(timeout=tare.PATIENCE_S)

    def join(self):
        for thread in self.threads:
            thread.join(tare.PATIENCE_S)
        assert not any(thread.is_alive() for thread in self.threads), "a client hangs"

    def guard(self, client):
        try:
            client()
        except Exception as error:  # noqa: BLE001: whatever it was, a request went lost
            with self.lock:
                self.lost.append(repr(error))
            self.busy.release()

    def count(self, n):
        with self.lock:
            self.answered += n

    def batch(self, client, size):
        """Answers of one batch. A batch is sent as one piece, so it is answered whole or not at all."""
        try:
            client.send(b"".join(tare.lookup_request(key) for key in range(size)))
            answers = [client.answer()]
        except (ConnectionResetError, BrokenPipeError):
            return 0  # it was closed while idle
        if answers[0] is None:
            return 0
        for _ in range(size - 1):
            answers.append(client.answer())
        assert None not in answers, f"a batch of {size} was answered with {len([a for a in answers if a])}"
        assert [json.loads(body)["id"] for _, _, body in answers] == list(range(size))
        self.count(size)
        return size

    def keep(self):
        with tare.Client(self.server.port) as client:
            rounds = 0
            while self.batch(client, self.BATCH):
                rounds += 1
                if rounds == 5:
                    self.busy.release()
            assert rounds >= 5

    def churn(self):
        rounds = 0
        while True:
            try:
                client = tare.Client(self.server.port)
            except ConnectionError:  # refused: not accepted
                assert rounds >= 5
                return
            with client:
                client.send(tare.lookup_request(1, "Connection: close\r\n"))
                answer = client.answer()
                assert answer is not None and answer[0] == 200, "a connection that was made got no answer"
                self.count(1)
            rounds += 1
            if rounds == 5:
                self.busy.release()


class Signals(unittest.TestCase):
    def test_sigquit_lists_the_tasks_and_serving_goes_on(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            for _ in range(2):
                self.assertEqual(client.lookup(1)[0], 200)
                server.signal(signal.SIGQUIT)
            # The signals come to one task in order: this one's comes after the list's.
            server.signal()
            self.assertEqual(server.wait(), 0, server.errors)
        self.assertIn(" tasks on ", server.errors)
        self.assertRegex(server.errors, r'"main": parked: event, for [^\n]*\n(    [^\n]*\n)*    (tare_)?event_wait[\w.]*\+0x')
        self.assertIn("drained: ", server.errors)

    def test_sigterm_under_load_loses_nothing(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with tare.Server() as server:
                load = Load(server)
                load.start(keepers=6, churners=2)
                server.signal(number)
                load.join()
                self.assertEqual(server.wait(), 0, server.errors)
                self.assertEqual(load.lost, [])
                self.assertIn(f"drained: {load.answered} requests answered\n", server.errors)

    def test_a_request_under_way_is_answered_and_health_says_draining(self):
        with tare.Server() as server, tare.Client(server.port) as slow, tare.Client(server.port) as idle:
            self.assertEqual(idle.lookup(1)[0], 200)
            self.assertEqual(slow.lookup(1)[0], 200)
            request = tare.lookup_request(5)
            slow.send(request[:20])
            tare.eventually(lambda: server.allocs()["connections"]["idle"] <= 1, "one connection is busy")
            health = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)
            health.connect()
            server.signal()
            self.assertIsNone(idle.answer())  # idle ones are closed
            health.request("GET", "/healthz")
            answer = health.getresponse()
            self.assertEqual(answer.status, 503)
            self.assertIn("draining", json.loads(answer.read())["detail"])
            health.close()
            slow.send(request[20:])
            status, head, body = slow.answer()
            self.assertEqual((status, json.loads(body)["id"]), (200, 5))
            self.assertIn(b"connection: close", head.lower())
            self.assertIsNone(slow.answer())
            self.assertEqual(server.wait(), 0, server.errors)

    def test_what_does_not_finish_is_cut_and_said(self):
        with tare.Server("--drain-timeout=200ms", "--head-timeout=60s") as server, tare.Client(server.port) as slow:
            slow.send(b"GET /lookup?key=1 HTTP/1.1\r\n")
            tare.eventually(lambda: server.allocs()["connections"]["live"] >= 1, "the connection is there")
            server.signal()
            self.assertEqual(server.wait(), 1)
            self.assertIn("--drain-timeout", server.errors)

    def test_a_second_signal_ends_at_once(self):
        with tare.Server("--drain-timeout=1h", "--head-timeout=1h") as server, tare.Client(server.port) as slow, \
                tare.Client(server.port) as idle:
            self.assertEqual(idle.lookup(1)[0], 200)
            slow.send(b"GET /lookup?key=1 HTTP/1.1\r\n")
            tare.eventually(lambda: server.allocs()["connections"]["live"] >= 2, "the connection is there")
            server.signal()
            self.assertIsNone(idle.answer())  # draining has begun
            server.signal()
            self.assertEqual(server.wait(), 1)
            self.assertIn("second signal", server.errors)


class Descriptors(unittest.TestCase):
    def test_when_they_run_out_old_connections_go_on_and_new_ones_wait(self):
        with tare.Server(nofile=48) as server:
            self.assertLess(len(os.listdir(f"/proc/{server.pid}/fd")), 40)
            old = tare.Client(server.port)
            self.assertEqual(old.lookup(1)[0], 200)
            admin = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)

            def refused():
                admin.request("GET", "/metrics")
                lines = admin.getresponse().read().decode().splitlines()
                return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                           if line.startswith("http_") and "refused" in line and "descriptor" in line)

            self.assertEqual(refused(), 0)
            new = [tare.Client(server.port) for _ in range(64)]
            for client in new:
                client.send(tare.lookup_request(2))
            tare.eventually(lambda: refused() > 0, "the metric counts a refusal")
            for key in range(50):
                self.assertEqual(json.loads(old.lookup(key)[2])["id"], key)
            # As those that are served leave, those that waited are served: each gets an answer, 200 or 503.
            statuses = []
            for client in new:
                statuses.append(client.answer()[0])
                client.close()
            self.assertLessEqual(set(statuses), {200, 503})
            self.assertIn(200, statuses)
            # The server hears of their leaving in its own time.
            tare.eventually(lambda: server.ask("/lookup?key=3")[0] == 200, "there is room again")
            old.close()
            admin.close()


class Memory(unittest.TestCase):
    REQUESTS = 10_000_000
    NAIVE_REQUESTS = 200_000
    PIPELINE = 16

    def drive(self, client, requests):
        batch = b"".join(tare.lookup_request(key * 37) for key in range(self.PIPELINE))
        client.stream(batch, requests // self.PIPELINE)

    def heap_of(self, path, requests, *args):
        """What so many steady-state requests allocated, as each instrument has it."""
        with tare.MallocCount() as count, \
                tare.Server(f"--path={path}", *args, "--heap-profile-rate=16K", env=count.env()) as server, \
                tare.Client(server.port) as client:
            admin = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)

            def get(path):
                admin.request("GET", path)
                return admin.getresponse().read()

            def allocs():
                return json.loads(get("/debug/allocs"))

            def profile():
                text = get("/debug/pprof/allocs?debug=1").decode()
                return int(re.search(r" (\d+) alloc_space", text).group(1)), "svc_lookup" in text

            self.drive(client, 50 * self.PIPELINE)
            profiled, _ = profile()
            allocs()
            before, libc_before = allocs(), count.allocations()
            self.drive(client, requests)
            libc_after = count.allocations()
            # The last batch is counted after its answers have left.
            after = tare.eventually(lambda: (now := allocs())["requests"] - before["requests"] >= requests and now, "all are counted")
            profiled_after, lookups_profiled = profile()
            admin.close()
        tagged = [sum(row["total_objects"] for row in state["heap_by_tag"]) for state in (before, after)]
        return {"counted": after["heap_allocs"] - before["heap_allocs"],
                "by tags": tagged[1] - tagged[0],
                "interposer": after["process_heap"]["allocs"] - before["process_heap"]["allocs"],
                "interposer's file": libc_after - libc_before,
                "bytes counted": after["total_alloc"] - before["total_alloc"],
                "bytes profiled": profiled_after - profiled,
                "lookups in the profile": lookups_profiled}

    @unittest.skipIf(tare.SANITIZED, "a sanitizer has an allocator of its own")
    def test_no_heap_allocation_in_ten_million_requests(self):
        opt, naive = self.heap_of("opt", self.REQUESTS), self.heap_of("naive", self.NAIVE_REQUESTS)
        mended = self.heap_of("naive", self.NAIVE_REQUESTS, "--naive-fix=all")
        for path, heap, requests in (("opt", opt, self.REQUESTS), ("naive", naive, self.NAIVE_REQUESTS)):
            print(f"\nheap allocations a request, {path}: {heap['counted'] / requests:.6f} counted, "
                  f"{heap['interposer'] / requests:.6f} by the interposer, over {requests} requests; bytes "
                  f"{heap['bytes counted'] / requests:.1f} counted, {heap['bytes profiled'] / requests:.1f} profiled")
        for instrument in ("counted", "by tags", "interposer", "interposer's file", "bytes counted"):
            self.assertEqual(0, opt[instrument], instrument)
            self.assertEqual(0, mended[instrument], instrument)
        self.assertFalse(opt["lookups in the profile"])
        self.assertTrue(naive["lookups in the profile"])
        self.assertGreater(naive["counted"], 10 * self.NAIVE_REQUESTS)
        self.assertEqual(naive["counted"], naive["by tags"])
        for instrument in ("interposer", "interposer's file"):
            self.assertAlmostEqual(1, naive[instrument] / naive["counted"], delta=0.02)
        self.assertAlmostEqual(1, naive["bytes profiled"] / naive["bytes counted"], delta=0.02)

    IDLE = 10_000

    @unittest.skipIf(tare.SANITIZED, "a sanitizer's shadow memory is not the server's")
    def test_an_idle_connection_costs_at_most_a_kibibyte(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < self.IDLE + 100:
            self.skipTest(f"{hard} file descriptors are too few for {self.IDLE} connections")
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        clients = []
        self.addCleanup(lambda: [client.close() for client in clients])
        with tare.Server(f"--max-connections={self.IDLE + 100}", "--idle-timeout=1h",
                         "--max-connections-per-address=0") as server:
            # Warm: what a server takes once is not a connection's.
            for _ in range(50):
                self.assertEqual(server.ask("/lookup?key=1")[0], 200)
            before = tare.private_bytes(server.pid)
            for i in range(self.IDLE):
                clients.append(tare.Client(server.port, f"127.0.0.{1 + i % 100}"))
                self.assertEqual(clients[-1].lookup(i % server.records)[0], 200)
            tare.eventually(lambda: server.allocs()["connections"]["idle"] >= self.IDLE, "all are idle")
            each = (tare.private_bytes(server.pid) - before) / self.IDLE
            print(f"\nan idle connection: {each:.0f} bytes of the server's memory")
            self.assertLessEqual(each, 1024)
            with tare.Client(server.port) as busy:
                for key in range(0, 2000):
                    self.assertEqual(json.loads(busy.lookup(key % server.records)[2])["id"], key % server.records)
            for client in clients[::500]:  # and those that sat there are served again
                self.assertEqual(client.lookup(1)[0], 200)
            while clients:
                clients.pop().close()
            tare.eventually(lambda: server.allocs()["connections"]["live"] <= 1, "all are gone")


class Start(unittest.TestCase):
    def test_the_json_line_tells_what_serves(self):
        with tare.Server("--workers=2") as server:
            ready = server.ready
            self.assertEqual(ready["pid"], server.pid)
            self.assertEqual((ready["path"], ready["workers"]), ("opt", 2))
            self.assertGreater(ready["records"], 1000)
            self.assertLessEqual(ready["index_bytes"], 1 << 20)
            self.assertGreater(ready["load_seconds"], 0)
            server.stop()
            self.assertEqual(server.errors, "drained: 0 requests answered\n")

    def test_the_descriptor_limit_is_raised(self):
        with tare.Server() as server:
            with open(f"/proc/{server.pid}/limits") as file:
                line = [line.split() for line in file if line.startswith("Max open files")][0]
            self.assertEqual(line[3], line[4])


if __name__ == "__main__":
    unittest.main()
