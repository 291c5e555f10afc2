# SPDX-License-Identifier: MIT
"""Lookups of names end well, and leave nothing behind, whichever call fails on the way.

Method: test/fault/names.c with the n-th call failed for each n (failing.py). It asks a name server in this file, on loopback.
"""
import os
import socket
import struct
import threading
import unittest

import failing

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


@unittest.skipIf(failing.WHY_NOT, failing.WHY_NOT)
class Names(failing.Calls, unittest.TestCase):
    SOURCE = "names.c"
    FEWEST = 100
    MATTER = ("socket", "connect", "recvmsg", "sendmsg", "epoll_ctl", "malloc", "calloc", "pthread_create")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(os.path.join(cls.folder, "hosts"), "w", encoding="ascii") as file:
            file.write("192.0.2.1 filed.test\n")
        cls.server = NameServer()
        cls.addClassCleanup(cls.server.close)
        cls.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        cls.addClassCleanup(cls.listener.close)

    def arguments(self):
        return [self.server.text, str(self.listener.getsockname()[1])]

    def variables(self):
        return {"LOCALDOMAIN": "search.test", "RES_OPTIONS": "ndots:1", "CARES_HOSTS": os.path.join(self.folder, "hosts")}


if __name__ == "__main__":
    unittest.main()
