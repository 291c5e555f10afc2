# SPDX-License-Identifier: MIT
"""Lookups of names end well, and leave nothing behind, whichever call fails on the way.

Method: test/fault/names.c, built against the library, with the n-th call failed for each n (test/preload/fail_nth.c). It asks
a name server in this file, on loopback.
"""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TARE_BUILD", os.path.join(ROOT, "build/release")))
FAIL = os.path.join(BUILD, "preload/fail_nth.so")
UNREACHED_ENDS = 3  # the network makes the last few calls vary
FEWEST = 100  # calls that the program makes at least; fewer would mean that it gave up early
ZONE = {b"four.test": "192.0.2.4", b"inner.search.test": "192.0.2.7", b"big.test": "192.0.2.8", b"here.test": "127.0.0.1"}
A, TRUNCATED, NXDOMAIN = 1, 0x0200, 3


def answer(query, datagram):
    """Answers a query that is no worse than c-ares makes them."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]])
        at += 1 + query[at]
    name, kind, question = b".".join(labels), struct.unpack_from(">H", query, at + 1)[0], query[12:at + 5]
    flags, records = 0x8180, b""
    if name not in ZONE:
        flags |= NXDOMAIN
    elif datagram and name.startswith(b"big"):
        flags |= TRUNCATED
    elif kind == A:
        records = struct.pack(">HHHIH", 0xc00c, A, 1, 60, 4) + socket.inet_aton(ZONE[name])
    return query[:2] + struct.pack(">HHHHH", flags, 1, 1 if records else 0, 0, 0) + question + records


class NameServer:
    """UDP and TCP on one port, until closed."""

    def __init__(self):
        for _ in range(50):  # another program may have the port for the one of them
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.tcp = socket.socket()
            try:
                self.tcp.bind(self.udp.getsockname())
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen(64)
        self.text = "127.0.0.1:%d" % self.udp.getsockname()[1]
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def serve_udp(self):
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
                if not query:
                    return
                self.udp.sendto(answer(query, True), peer)
            except OSError:
                continue  # of one who is gone

    def serve_tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            try:
                with connection, connection.makefile("rwb", buffering=0) as stream:
                    while length := stream.read(2):
                        if length == b"\0\0":
                            return
                        out = answer(stream.read(struct.unpack(">H", length)[0]), False)
                        stream.write(struct.pack(">H", len(out)) + out)
            except (OSError, struct.error, IndexError):
                continue  # of one who left in the middle

    def close(self):
        address = self.udp.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", address)
        with socket.create_connection(address) as last:
            last.sendall(b"\0\0")
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()


@unittest.skipUnless(os.path.basename(BUILD) == "release", "sanitizers bring interposers of their own")
class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tare-dns-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = os.path.join(cls.folder, "names")
        subprocess.run(
            [os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
             "-I", os.path.join(ROOT, "include"), "-o", cls.program, os.path.join(ROOT, "test/fault/names.c"),
             os.path.join(BUILD, "libtare.a"), "-pthread", "-lm", "-luring", "-lcares", "-lz"], check=True)
        with open(os.path.join(cls.folder, "hosts"), "w", encoding="ascii") as file:
            file.write("192.0.2.1 filed.test\n")
        cls.server = NameServer()
        cls.addClassCleanup(cls.server.close)
        cls.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        cls.addClassCleanup(cls.listener.close)

    def run_failing(self, at, only=None):
        """Whether the n-th call was reached, and which function it was."""
        control = os.path.join(self.folder, "control")
        with open(control, "wb"):
            pass  # each run begins with zeroes
        env = dict(os.environ, LD_PRELOAD=FAIL, TARE_FAIL_AT=str(at), TARE_FAIL_COUNT_FILE=control, LOCALDOMAIN="search.test",
                   RES_OPTIONS="ndots:1", CARES_HOSTS=os.path.join(self.folder, "hosts"))
        if only:
            env["TARE_FAIL_ONLY"] = only
        try:
            done = subprocess.run([self.program, self.server.text, str(self.listener.getsockname()[1])], env=env,
                                  capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False)
            code, text = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            code, text = None, "hangs"
        with open(control, "rb") as file:
            _, _, _, seen, failed, offset, name, where = struct.unpack("=6Q32s208s", file.read())
        name = name.split(b"\0")[0].decode()
        place = "%s+%#x" % (where.split(b"\0")[0].decode(), offset)
        self.assertEqual(code, 0, f"n={at} {name} at {place}: {text}")
        return failed, seen, name

    def test_whichever_call_fails_nothing_stays_behind(self):
        _, seen, _ = self.run_failing(0)
        self.assertGreater(seen, FEWEST)
        at, unreached = 1, 0
        while unreached < UNREACHED_ENDS:
            failed, _, _ = self.run_failing(at)
            unreached = 0 if failed else unreached + 1
            at += 1
        self.assertGreater(at, FEWEST)

    def test_each_of_the_calls_that_matter_fails(self):
        for name in ("socket", "connect", "recvmsg", "sendmsg", "epoll_ctl", "malloc", "calloc", "pthread_create"):
            failed, _, which = self.run_failing(1, only=name)
            self.assertEqual((failed, which), (1, name))


if __name__ == "__main__":
    unittest.main()
