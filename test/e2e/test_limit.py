"""Goal: a service with a memory limit answers 503 at it and lives, says so, and answers again as soon as there is room; in a
cgroup with a limit it is not killed. Method: clients that begin a request and never end it hold the server's buffers; they
come until memory is at its limit, and go.
"""

import json
import os
import resource
import socket
import tempfile
import unittest

import tare

MIB = 1 << 20
CGROUPS = "/sys/fs/cgroup"


class Hoard:
    """Clients that each hold a task, a stack and buffers of the server."""

    def __init__(self, server):
        self.server = server
        self.clients = []

    def grow(self, count):
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self.server.port), timeout=tare.PATIENCE_S)
            client.sendall(b"GET /lookup?key=1 HTTP/1.1\r\nHost:")
            self.clients.append(client)

    def go(self):
        for client in self.clients:
            client.close()
        self.clients = []


def server(limit):
    return tare.Server(f"--gomemlimit={limit}", "--head-timeout=1h", "--index-size=16M", "--max-connections=200000")


def memory(of):
    return json.loads(of.ask("/debug/allocs", of.admin_port)[2])["memory"]


@unittest.skipIf(tare.SANITIZED, "a sanitizer's shadow memory counts")
class Limit(unittest.TestCase):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 20000:
            self.skipTest(f"{hard} file descriptors are too few")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def at_the_limit(self, hoard, look):
        """What look() sees while memory is at its limit all the time: what is given back there may end it for a moment."""
        while True:
            while (before := memory(hoard.server))["pressure"] != "hard":
                self.assertLess(len(hoard.clients), 15000, before)
                hoard.grow(200)
            seen = look()
            after = memory(hoard.server)
            if after["pressure"] == "hard" and after["hard_entered"] == before["hard_entered"]:
                return seen

    def test_at_the_limit_requests_get_503_and_afterwards_200_again(self):
        with server("64MiB") as svc, tare.Client(svc.port) as early:
            hoard = Hoard(svc)
            self.assertEqual(0, svc.allocs()["stacks"]["trimmed_bytes"])
            self.assertEqual(200, svc.ask("/lookup?key=1")[0])
            self.assertEqual(200, early.lookup(1)[0])
            status, headers, _ = self.at_the_limit(hoard, lambda: svc.ask("/lookup?key=1"))
            self.assertEqual((503, "1"), (status, headers["Retry-After"]))
            status, headers, body = self.at_the_limit(hoard, lambda: (early.send(tare.lookup_request(1)), early.answer())[1])
            self.assertEqual(503, status)
            self.assertIn(b"\r\nretry-after: 1\r\n", headers.lower() + b"\r\n")
            self.assertEqual("memory is at its limit; try again later", json.loads(body)["detail"])
            # Whoever begins a request now is told, and holds nothing.
            self.assertIn(b" 503 ", self.at_the_limit(hoard, lambda: (hoard.grow(1), hoard.clients[-1].recv(100))[1]))
            # Operators are answered.
            self.assertEqual(200, svc.ask("/healthz", svc.admin_port)[0])
            metrics = self.at_the_limit(hoard, svc.metrics)
            self.assertEqual(1, metrics['tare_memory_pressure{state="hard"}'])
            self.assertEqual(64 * MIB, metrics["tare_memory_limit_bytes"])
            self.assertGreaterEqual(metrics['http_requests_shed_total{server="public"}'], 1)
            self.assertGreaterEqual(metrics['http_connections_refused_total{server="public",limit="memory"}'], 1)
            self.assertEqual(0, metrics['http_requests_shed_total{server="admin"}'])
            hoard.go()
            tare.eventually(lambda: svc.ask("/lookup?key=1")[0] == 200, "there is room again")
            tare.eventually(lambda: memory(svc)["pressure"] == "none", "memory is no longer near its limit")
            stacks = svc.allocs()["stacks"]
            self.assertGreater(stacks["trimmed_bytes"], 10 * MIB)
            self.assertGreater(stacks["made"], 500)
            self.assertEqual(200, early.lookup(1)[0])

    def test_a_limit_that_leaves_no_room_is_refused(self):
        with self.assertRaisesRegex(AssertionError, r"exit code 1\): tare svc: --gomemlimit=17MiB leaves no room: "
                                                    r"[0-9.]+ MiB are in use before the first request; give a larger "
                                                    r"limit, or a smaller index\n"):
            with server("17MiB"):
                pass

    def test_a_limit_that_is_none_is_bad_usage(self):
        for text in ("12MB", "", "0"):
            with self.subTest(text), self.assertRaisesRegex(AssertionError, rf"exit code 2\): tare svc: --gomemlimit .*'{text}'"):
                with server(text):
                    pass

    def test_in_a_cgroup_with_a_limit_the_service_is_never_killed(self):
        group, limit_file = self.cgroup()
        with server("115MiB") as svc:
            with open(group + "/cgroup.procs", "w") as file:
                file.write(str(svc.pid))
            with open(limit_file, "w") as file:
                file.write(str(128 * MIB))
            hoard = Hoard(svc)
            self.at_the_limit(hoard, lambda: hoard.grow(3000))
            self.assertEqual(200, svc.ask("/healthz", svc.admin_port)[0])
            self.assertEqual(503, self.at_the_limit(hoard, lambda: svc.ask("/lookup?key=1"))[0])
            hoard.go()
            tare.eventually(lambda: svc.ask("/lookup?key=1")[0] == 200, "there is room again")

    def cgroup(self):
        """A new one that limits memory: (its folder, the file of the limit)."""
        for root, name in ((CGROUPS, "memory.max"), (CGROUPS + "/memory", "memory.limit_in_bytes")):
            try:
                group = tempfile.mkdtemp(prefix="tare-test-", dir=root)
            except OSError:
                continue
            if os.path.exists(f"{group}/{name}"):
                self.addCleanup(lambda: tare.eventually(lambda: remove(group), f"{group} can be removed"))
                return group, f"{group}/{name}"
            os.rmdir(group)
        self.skipTest("this machine lets nobody make a cgroup that limits memory")
        return None


def remove(group):
    try:
        os.rmdir(group)
        return True
    except OSError:  # its last process has not quite gone
        return False


if __name__ == "__main__":
    unittest.main()
