# SPDX-License-Identifier: MIT
"""`tare svc --layout --heap` and PUT /record from outside.

Method: the default service says what every layout on every heap must answer, byte for byte. Updates are made under load, of
records whose every part follows from a version, so that a torn or freed one shows; memory is what the service says of itself.
"""
import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

LAYOUTS = ("map", "flat", "offheap")
HEAPS = ("malloc", "gc")


def put(server, key, body, port=None, query=None):
    """(status, answer) of PUT /record; body: a dict, or bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port or server.admin_port, timeout=tare.PATIENCE_S)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("PUT", "/record?" + (query if query is not None else f"key={key}"), data)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def version_of(key, version):
    """A record, every part of which says which version of which record it is."""
    payload = bytes((key * 7 + version + i) % 256 for i in range(version * 370 % 3000))
    return {"id": key, "bid_micros": version, "budget_micros": version * 3 + key, "spend_micros": -version,
            "impressions": version * 5, "clicks": version + 1, "hot": version % 2 == 0, "active": version % 3 == 0,
            "category": f"version-{version % 11}", "payload": base64.b64encode(payload).decode()}


class Answers(unittest.TestCase):
    def ask_all(self, server):
        """Every kind of answer: hits in both formats, misses, refusals."""
        step = max(1, server.records // 200)
        queries = [f"key={key}{more}" for key in [*range(0, server.records, step), server.records - 1]
                   for more in ("", "&fmt=bin")]
        queries += [f"key={server.records}", "key=18446744073709551615", "key=x", "", "key=1&fmt=xml"]
        with tare.Client(server.port) as client:
            answers = []
            for query in queries:
                client.send(f"GET /lookup?{query} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
                status, _, body = client.answer()
                answers.append((query, status, body))
        return answers

    def test_every_layout_on_every_heap_answers_the_same_bytes(self):
        with tare.Server() as server:
            want = self.ask_all(server)
        for heap in HEAPS:
            for layout in LAYOUTS:
                for path in ("opt", "naive"):
                    with self.subTest(heap=heap, layout=layout, path=path), \
                            tare.Server(f"--heap={heap}", f"--layout={layout}", f"--path={path}", "--gc-min-heap=64K" if
                                        heap == "gc" else "--intern=off") as server:
                        self.assertEqual((server.ready["layout"], server.ready["heap"]), (layout, heap))
                        self.assertEqual(self.ask_all(server), want)
                        allocs = server.allocs()
                        self.assertEqual(allocs["layout"]["name"], layout)
                        self.assertEqual(allocs["knobs"]["heap"], heap)
                        hits = sum(status == 200 for _, status, _ in want)
                        self.assertEqual(allocs["lookups"], {"hits": hits, "misses": 2, "refused": 3})
                        metrics = server.metrics()
                        self.assertEqual(metrics["tare_index_records"], server.records)
                        self.assertEqual(metrics['tare_lookups_total{result="hit"}'], hits)

    def test_every_fix_of_the_naive_path_answers_the_same_bytes(self):
        with tare.Server() as server:
            want = self.ask_all(server)
        for heap in HEAPS:
            for fixes in ("copy", "base64", "tree", "text", "log", "copy,tree", "base64,text,log", "all"):
                with self.subTest(heap=heap, fixes=fixes), \
                        tare.Server(f"--heap={heap}", "--path=naive", f"--naive-fix={fixes}") as server:
                    self.assertEqual(self.ask_all(server), want)
                    self.assertEqual(server.allocs()["knobs"]["naive-fix"], fixes)

    def test_a_snapshot_is_laid_out_alike(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "snapshot")
            made = tare.run("gen", "--size", "1M", "--seed", "7", "--out", path)
            self.assertEqual(made.returncode, 0, made.stderr)
            with tare.Server(f"--index={path}") as server:
                want = self.ask_all(server)
                self.assertTrue(server.allocs()["index"]["mapped"])
            for heap in HEAPS:
                for layout in LAYOUTS[:2]:
                    with tare.Server(f"--index={path}", f"--heap={heap}", f"--layout={layout}") as server:
                        self.assertEqual(self.ask_all(server), want)
                        self.assertFalse(server.allocs()["index"]["mapped"])
                        with open(f"/proc/{server.pid}/maps") as maps:  # nothing of the file is left
                            self.assertNotIn(path, maps.read())

    def test_the_collector_is_told_under_its_names(self):
        with tare.Server("--heap=gc", "--layout=map", "--gogc=50", "--gc-min-heap=256K", "--path=naive") as server:
            with tare.Client(server.port) as client:
                batch = b"".join(tare.lookup_request(key) for key in range(16))
                client.stream(batch, 100)
                before = server.allocs()
                client.stream(batch, 300)
            after = tare.eventually(lambda: (now := server.allocs())["gc_cycles"] > before["gc_cycles"] and now,
                                    "garbage is collected")
            self.assertEqual(after["collector"], "concurrent")
            self.assertGreater(after["total_alloc"], before["total_alloc"] + 300 * 16 * 1000)
            self.assertGreater(after["next_gc"], 0)
            self.assertGreater(after["gc"]["marked_bytes"], 0)
            self.assertGreater(after["live_heap"], after["layout"]["heap_bytes"])
            self.assertLess(after["live_heap"], 64 << 20)
            # Two phases a collection, each in one bucket of seconds.
            self.assertEqual(after["pauses"]["count"], sum(bucket[2] for bucket in after["pauses"]["buckets"]))
            self.assertIn(after["pauses"]["count"] - 2 * after["gc_cycles"], (-2, 0, 2))  # one may end between the two
            for lower, upper, count in after["pauses"]["buckets"]:
                self.assertTrue(lower < upper and count > 0, after["pauses"])
            self.assertGreaterEqual(max(bucket[1] for bucket in after["pauses"]["buckets"]) * 1.02e3, after["pause_p99_ms"])
            self.assertGreater(after["gc"]["pause_seconds"], 0)
            told = server.metrics()
            self.assertGreaterEqual(told["tare_gc_cycles_total"], after["gc_cycles"])
            self.assertGreater(told["tare_gc_heap_goal_bytes"], 0)
            self.assertGreater(told["tare_gc_pauses_seconds_count"], told["tare_gc_cycles_total"])
            classes = ("assist", "background", "idle", "sweep", "pause")
            spent = [told[f'tare_gc_cpu_seconds_total{{class="{c}"}}'] for c in classes]
            self.assertEqual(len(spent), sum(name.startswith("tare_gc_cpu_seconds_total{") for name in told))
            self.assertGreater(spent[-1], 0)
            self.assertGreater(sum(spent), after["gc_cpu_seconds"] * 0.999)  # which has all of them, and was read before
        with tare.Server() as server:
            self.assertEqual(server.allocs()["collector"], "none")

    def test_it_collects_when_its_profile_is_asked_for_with_gc(self):
        with tare.Server("--heap=gc", "--layout=map", "--gogc=off") as server:
            before = server.allocs()  # one collection was when the records were laid out
            self.assertEqual(before["gc_cycles"], 1)
            self.assertGreaterEqual(before["gc"]["marked_bytes"], before["layout"]["heap_bytes"])
            self.assertEqual(server.ask("/debug/pprof/heap?gc=1", server.admin_port)[0], 200)
            self.assertEqual(server.allocs()["gc_cycles"], 2)
            self.assertEqual(server.ask("/debug/pprof/heap?gc=0", server.admin_port)[0], 200)
            self.assertEqual(server.allocs()["gc_cycles"], 2)
            self.assertEqual(server.ask("/debug/pprof/heap?gc=2", server.admin_port)[0], 400)


class Refusals(unittest.TestCase):
    def refused(self, code, *args, env=None):
        done = tare.run("svc", "--index-size=1M", "--listen=127.0.0.1:0", "--admin=off", *args, env=env)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        return done.stderr

    def types(self, server):
        """{type: (objects, bytes)} of what is on the collected heap."""
        status, _, body = server.ask("/debug/allocs?types=1", server.admin_port)
        self.assertEqual(status, 200, body)
        return {row["type"]: (row["objects"], row["bytes"]) for row in json.loads(body)["gc_types"]}

    def test_what_the_collected_heap_holds_is_told_by_type(self):
        with tare.Server("--heap=gc", "--layout=map", "--gogc=off") as server:
            self.assertNotIn("gc_types", server.allocs())  # it looks through the whole heap
            types, allocs = self.types(server), server.allocs()
            count, size = types["struct object"]
            self.assertGreaterEqual(count, server.records)
            self.assertLess(count, server.records + 1000)  # counted ahead: up to 8 KiB of them a worker
            self.assertEqual(size, count * 80)
            self.assertGreaterEqual(types["(no pointers)"][0], server.records)  # payloads
            self.assertEqual(types["void *"][0], 2)  # the map's pointers and the dictionary's
            total = sum(size for _, size in types.values())
            self.assertAlmostEqual(total, allocs["gc"]["heap_bytes"], delta=total / 50)
            self.assertEqual([*types.values()], sorted(types.values(), key=lambda row: -row[1]))
            for wrong in ("2", "x", ""):
                self.assertEqual(server.ask(f"/debug/allocs?types={wrong}", server.admin_port)[0], 400)
            self.assertNotIn("gc_types", json.loads(server.ask("/debug/allocs?types=0", server.admin_port)[2]))
        with tare.Server() as server:
            self.assertEqual(self.types(server), {})

    def test_knobs_that_are_none(self):
        self.assertIn("give map, flat or offheap", self.refused(2, "--layout=tree"))
        self.assertIn("give malloc or gc", self.refused(2, "--heap=go"))
        self.assertIn("GOGC", self.refused(2, env={"GOGC": "-5"}))
        self.assertIn("TARE_LAYOUT in the environment", self.refused(2, env={"TARE_LAYOUT": "tree"}))

    def test_a_heap_that_is_too_small(self):
        for layout in LAYOUTS[:2]:
            said = self.refused(1, "--heap=gc", f"--layout={layout}", "--gc-max-heap=1M", "--index-size=4M")
            self.assertRegex(said, rf"^tare svc: --layout={layout}: the collected heap has no room for more than \d+ of "
                                   r"\d+ records; .*--gc-max-heap")

    def test_a_signal_while_records_are_laid_out_ends_it(self):
        if tare.SANITIZED:
            self.skipTest("making the records takes too long")
        process = subprocess.Popen([tare.PROGRAM, "svc", "--index-size=200M", "--heap=gc", "--layout=map", "--listen=127.0.0.1:0",
                                    "--admin=off"], env=tare.environment(), text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            # The workers' threads are there when the first task lays out the records.
            tare.eventually(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, "the runtime has started")
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=tare.PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        if process.returncode == 0:
            self.skipTest("it was quicker than the signal")
        self.assertEqual((process.returncode, out), (1, ""), errors)
        self.assertIn("interrupted by a signal while the records were laid out", errors)


class Updates(unittest.TestCase):
    def test_a_record_is_replaced_in_every_layout(self):
        for layout in LAYOUTS:
            for path in ("opt", "naive"):
                with tare.Server("--heap=gc", f"--layout={layout}", f"--path={path}") as server:
                    neighbour = server.ask("/lookup?key=4")[2]
                    for version in (1, 2, 300):
                        self.assertEqual(put(server, 3, version_of(3, version)), (204, b""))
                        status, _, body = server.ask("/lookup?key=3")
                        self.assertEqual((status, json.loads(body)), (200, version_of(3, version)))
                    self.assertEqual(server.ask("/lookup?key=4")[2], neighbour)
                    # What a lookup gives may be put as it is.
                    self.assertEqual(put(server, 3, server.ask("/lookup?key=4")[2].replace(b'"id":4', b'"id":3'))[0], 204)
                    self.assertEqual(server.ask("/lookup?key=3")[2].replace(b'"id":3', b'"id":4'), neighbour)
                    self.assertEqual(server.allocs()["updates"], {"done": 4, "refused": 0})
                    self.assertEqual(server.allocs()["layout"]["replaced"], 4)
                    self.assertEqual(server.metrics()['tare_updates_total{result="done"}'], 4)

    def refused(self, server, status, text, key=3, body=None, query=None):
        got, answer = put(server, key, version_of(3, 1) if body is None else body, query=query)
        self.assertEqual(got, status, answer)
        self.assertIn(text, json.loads(answer)["detail"])

    def test_what_is_wrong_is_said(self):
        with tare.Server("--heap=gc", "--layout=map", "--max-body-bytes=64K", "--max-answer-bytes=16K") as server:
            before = server.ask("/lookup?key=3")[2]
            record = version_of(3, 1)
            self.refused(server, 400, "key is missing; say PUT /record?key=N", query="")
            self.refused(server, 400, "is not a decimal number", query="key=x")
            self.refused(server, 400, "there is more than a key", query="key=3&fmt=json")
            self.refused(server, 400, "there is more than a key", query="key=3&kye=3")
            self.refused(server, 404, "is not in the index", key=server.records, body={**record, "id": server.records})
            self.refused(server, 400, "the key is 4", key=4)
            self.refused(server, 400, "the body is empty", body=b"")
            self.refused(server, 400, "not JSON", body=b"{\"id\":")
            self.refused(server, 400, "nothing nested", body=b"[" * 60000)
            self.refused(server, 400, "field 'hot' is missing", body={k: v for k, v in record.items() if k != "hot"})
            self.refused(server, 400, "field 'colour' is unknown", body={**record, "colour": 1})
            self.refused(server, 400, "field 'clicks' should not be negative", body={**record, "clicks": -1})
            self.refused(server, 400, "not base64", body={**record, "payload": "=="})
            self.refused(server, 400, "category should be 1 to 64 bytes", body={**record, "category": "ca\"t"})
            self.refused(server, 400, "--max-answer-bytes", body={**record, "payload": "AAAA" * 5000})
            self.assertEqual(put(server, 3, b"x" * 70000)[0], 413)
            self.assertEqual(server.ask("/lookup?key=3")[2], before)
            self.assertEqual(server.allocs()["updates"], {"done": 0, "refused": 15})

    def test_only_the_admin_address_takes_updates(self):
        with tare.Server("--heap=gc") as server:
            self.assertEqual(put(server, 3, version_of(3, 1), port=server.port)[0], 404)
            status, headers, _ = server.ask("/record?key=3", server.admin_port)
            self.assertEqual((status, headers["Allow"]), (405, "PUT, OPTIONS"))
            self.assertNotEqual(json.loads(server.ask("/lookup?key=3")[2]), version_of(3, 1))

    def test_on_mallocs_heap_updates_are_refused(self):
        for layout in LAYOUTS:
            with tare.Server(f"--layout={layout}") as server:
                self.refused(server, 501, "start the service with --heap=gc")
                self.assertEqual(server.allocs()["updates"], {"done": 0, "refused": 1})

    KEYS = range(0, 12)

    def update(self, server, versions, rounds):
        """A writer: one connection, versions in order."""
        connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=tare.PATIENCE_S)
        for round_ in range(rounds):
            for key in self.KEYS:
                versions[key] += 1
                connection.request("PUT", f"/record?key={key}", json.dumps(version_of(key, versions[key])))
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 204, (answer.status, body)
        connection.close()

    def read(self, server, versions, over, failures, finds):
        seen = dict.fromkeys(self.KEYS, 0)
        try:
            with tare.Client(server.port) as client:
                while not over.is_set():
                    client.send(b"".join(tare.lookup_request(key) for key in self.KEYS))
                    for key in self.KEYS:
                        status, _, body = client.answer()
                        record = json.loads(body)
                        version = record["bid_micros"]
                        assert status == 200 and record == version_of(key, version), record
                        assert seen[key] <= version <= versions[key], (seen[key], version, versions[key])
                        seen[key] = version
                        finds.append(1)
        except Exception as error:  # noqa: BLE001: told by the test
            failures.append(repr(error))

    def test_readers_see_whole_records_and_memory_stays_flat(self):
        rounds = 40 if tare.SANITIZED else 120
        for layout in LAYOUTS:
            with self.subTest(layout=layout), tare.Server("--heap=gc", f"--layout={layout}", "--path=naive", "--gogc=50",
                                                          "--gc-min-heap=256K", "--workers=2") as server:
                versions, failures, finds, over = dict.fromkeys(self.KEYS, 0), [], [], threading.Event()
                self.update(server, versions, 1)
                readers = [threading.Thread(target=self.read, args=(server, versions, over, failures, finds)) for _ in range(3)]
                for reader in readers:
                    reader.start()
                self.update(server, versions, rounds // 2)
                before = server.allocs()
                self.update(server, versions, rounds)
                after = server.allocs()
                over.set()
                for reader in readers:
                    reader.join(tare.PATIENCE_S)
                self.assertEqual(failures, [])
                self.assertGreater(len(finds), 0)
                self.assertGreater(after["gc_cycles"], before["gc_cycles"])
                self.assertEqual(after["updates"]["done"], (1 + rounds // 2 + rounds) * len(self.KEYS))
                self.assertLess(after["gc"]["mapped_bytes"], 64 << 20)
                self.settle(server, after["layout"]["heap_bytes"] * 1.2 + (512 << 10))

    def settle(self, server, most):
        """What was replaced, some megabytes, is collected: a cycle that not much is made beside counts what is live."""
        def live():
            with tare.Client(server.port) as client:
                client.stream(b"".join(tare.lookup_request(key) for key in range(16)), 20)
            return server.allocs()["gc"]["marked_bytes"] < most
        tare.eventually(live, f"no more than {most:.0f} bytes are live")


if __name__ == "__main__":
    unittest.main()
