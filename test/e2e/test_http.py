"""The HTTP/1.1 server as a hostile, a clumsy and a slow client see it.

Goal: each malformed request has its status, a problem document and a closed connection; framing is never guessed; what is
well-formed is answered however its bytes arrive; limits and timeouts bite, and are counted.
Method: raw bytes over loopback against `tare svc`; Python's http.client as a second reader of the answers.
"""
import http.client
import json
import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

GOOD = tare.lookup_request(1)


def request(target="/lookup?key=1", headers="Host: t\r\n", method="GET", version="HTTP/1.1"):
    return f"{method} {target} {version}\r\n{headers}\r\n".encode()


# What it is, its bytes, its status.
MALFORMED = [
    ("both lengths", request(headers="Host: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
    ("lengths that differ", request(headers="Host: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n") + b"abcd", 400),
    ("a list of lengths", request(headers="Host: t\r\nContent-Length: 3, 3\r\n") + b"abc", 400),
    ("a signed length", request(headers="Host: t\r\nContent-Length: +3\r\n") + b"abc", 400),
    ("a hexadecimal length", request(headers="Host: t\r\nContent-Length: 0x3\r\n") + b"abc", 400),
    ("an empty length", request(headers="Host: t\r\nContent-Length: \r\n"), 400),
    ("an overflowing length", request(headers="Host: t\r\nContent-Length: 99999999999999999999\r\n"), 400),
    ("a length over the limit", request(headers="Host: t\r\nContent-Length: 2000000\r\n"), 413),
    ("a bare line feed", b"GET /healthz HTTP/1.1\nHost: t\n\n", 400),
    ("a bare carriage return", b"GET /healthz HTTP/1.1\r\nHost: t\rX: y\r\n\r\n", 400),
    ("a folded header", request(headers="Host: t\r\nX: a\r\n b\r\n"), 400),
    ("a space before the colon", request(headers="Host: t\r\nX : a\r\n"), 400),
    ("a header without a colon", request(headers="Host: t\r\nnonsense\r\n"), 400),
    ("a header without a name", request(headers="Host: t\r\n: a\r\n"), 400),
    ("a control byte in a value", request(headers="Host: t\r\nX: a\x01b\r\n"), 400),
    ("no Host", request(headers=""), 400),
    ("two Hosts", request(headers="Host: a\r\nHost: b\r\n"), 400),
    ("a malformed Host", request(headers="Host: a b\r\n"), 400),
    ("a fragment in the target", request("/lookup#x"), 400),
    ("two spaces in the request line", b"GET  / HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    ("no version", b"GET /\r\nHost: t\r\n\r\n", 400),
    ("HTTP/0.9's successor too far", request(version="HTTP/2.0"), 505),
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("an unknown method", request(method="BREW"), 501),
    ("an unknown coding", request(headers="Host: t\r\nTransfer-Encoding: gzip, chunked\r\n"), 501),
    ("chunked that is not last", request(headers="Host: t\r\nTransfer-Encoding: chunked, gzip\r\n"), 400),
    ("chunked in HTTP/1.0", request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n", version="HTTP/1.0"), 400),
    ("a malformed chunk size", request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n") + b"xyz\r\n", 400),
    ("a chunk longer than it says", request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n") + b"3\r\nabcdef\r\n0\r\n\r\n", 400),
    ("a target over the limit", request("/" + "a" * 5000), 414),
    ("a head over the limit", request(headers="Host: t\r\nX: " + "a" * 9000 + "\r\n"), 431),
    ("headers over the limit", request(headers="Host: t\r\n" + "X: a\r\n" * 101), 431),
    ("an unknown expectation", request(headers="Host: t\r\nExpect: coffee\r\n"), 417),
]


def at_end(client):
    """Whether the server has closed: the answers before it are read."""
    try:
        return client.answer() is None
    except ConnectionResetError:
        return True


class Malformed(unittest.TestCase):
    def test_each_class_has_its_status_a_problem_and_an_end(self):
        with tare.Server() as server:
            for what, data, status in MALFORMED:
                with self.subTest(what), tare.Client(server.port) as client:
                    client.send(data + GOOD)  # what stands behind a bad request is not served
                    got, head, body = client.answer()
                    self.assertEqual(got, status)
                    self.assertIn(b"content-type: application/problem+json", head.lower())
                    self.assertIn(b"connection: close", head.lower())
                    problem = json.loads(body)
                    self.assertEqual(problem["status"], status)
                    self.assertTrue(problem["detail"])
                    self.assertTrue(at_end(client))
            metrics = server.metrics()
            refused = sum(value for name, value in metrics.items() if name.startswith("http_errors_total") and '"request"' in name
                          and 'public' in name)
            self.assertEqual(refused, len(MALFORMED))

    def test_answers_before_a_bad_request_are_given(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            client.send(GOOD * 3 + b"bad\r\n\r\n" + GOOD)
            self.assertEqual([client.answer()[0] for _ in range(4)], [200, 200, 200, 400])
            self.assertTrue(at_end(client))


class Framing(unittest.TestCase):
    def test_a_request_may_arrive_in_any_pieces(self):
        body = b"5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
        counted = request(headers="Host: t\r\nContent-Length: 4\r\n") + b"abcd"
        chunked = request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n") + body
        step = 9 if tare.SANITIZED else 3
        with tare.Server() as server, tare.Client(server.port) as client:
            for data in (GOOD, counted, chunked):
                for cut in range(1, len(data), step):
                    client.send(data[:cut])
                    client.send(data[cut:])
                    self.assertEqual(client.answer()[0], 200)
            for byte in GOOD + counted + chunked:
                client.send(bytes([byte]))
            self.assertEqual([client.answer()[0] for _ in range(3)], [200, 200, 200])

    def test_bodies_larger_than_the_buffer_do_not_shift_what_follows(self):
        for size in (16 * 1024 - 100, 16 * 1024, 100_000, 1024 * 1024):
            with self.subTest(size), tare.Server() as server, tare.Client(server.port) as client:
                client.send(request(headers=f"Host: t\r\nContent-Length: {size}\r\n") + b"x" * size + GOOD)
                self.assertEqual([client.answer()[0], client.answer()[0]], [200, 200])
                chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [b"y" * 999] * (size // 999))
                client.send(request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n") + chunks + b"0\r\n\r\n" + GOOD)
                self.assertEqual([client.answer()[0], client.answer()[0]], [200, 200])

    def test_a_chunked_body_past_the_limit_is_413(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            client.send(request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n"))
            try:
                for _ in range(40):
                    client.send(b"8000\r\n" + b"z" * 0x8000 + b"\r\n")
            except OSError:
                pass  # it has answered and stopped reading
            self.assertEqual(client.answer()[0], 413)

    def test_expect_is_answered_before_the_body(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            client.send(request(headers="Host: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"))
            self.assertEqual(client.socket.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.send(b"abc" + GOOD)
            self.assertEqual([client.answer()[0], client.answer()[0]], [200, 200])

    def test_a_thousand_pipelined_requests_are_answered_in_order(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            wanted = []
            data = b""
            for i in range(1000):
                kind = i % 5
                data += (tare.lookup_request(i) if kind < 2 else request("/nowhere") if kind == 2 else
                         request("/lookup?key=x") if kind == 3 else request("/lookup", method="POST"))
                wanted.append((200, i) if kind < 2 else ({2: 404, 3: 400, 4: 405}[kind], None))
            client.send(data)
            for status, key in wanted:
                got, _, body = client.answer()
                self.assertEqual(got, status)
                if key is not None:
                    self.assertEqual(json.loads(body)["id"], key)

    def test_long_answers_in_a_pipeline_stay_whole(self):
        with tare.Server() as server, tare.Client(server.admin_port) as client:
            client.send((request("/metrics") + request("/healthz")) * 50)
            for _ in range(50):
                self.assertIn(b"# TYPE http_requests_total counter", client.answer()[2])
                self.assertEqual(client.answer()[2], b"ok\n")


class Semantics(unittest.TestCase):
    def test_keep_alive_follows_version_and_connection(self):
        rows = [("HTTP/1.1", "", True), ("HTTP/1.1", "Connection: close\r\n", False), ("HTTP/1.0", "", False),
                ("HTTP/1.0", "Connection: keep-alive\r\n", True), ("HTTP/1.1", "Connection: x, CLOSE\r\n", False)]
        with tare.Server() as server:
            for version, header, stays in rows:
                with self.subTest((version, header)), tare.Client(server.port) as client:
                    client.send(request(headers="Host: t\r\n" + header, version=version) * 2)
                    self.assertEqual(client.answer()[0], 200)
                    self.assertEqual(client.answer() is not None, stays)

    def test_head_is_get_without_its_body(self):
        with tare.Server() as server:
            answers = []
            for method in ("GET", "HEAD"):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=tare.PATIENCE_S)
                connection.request(method, "/lookup?key=5")
                response = connection.getresponse()
                answers.append((response.status, response.getheader("Content-Length"), response.getheader("Content-Type")))
                body = response.read()
                connection.close()
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(body, b"")

    def test_methods_are_told(self):
        with tare.Server() as server:
            for method, target, status in (("POST", "/lookup", 405), ("OPTIONS", "/lookup", 204), ("OPTIONS", "*", 204),
                                           ("DELETE", "/nowhere", 404)):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=tare.PATIENCE_S)
                connection.request(method, target)
                response = connection.getresponse()
                self.assertEqual(response.status, status, (method, target))
                if status != 404:
                    self.assertIn("GET", response.getheader("Allow"))
                response.read()
                connection.close()

    def test_a_client_that_has_said_all_still_hears_its_answer(self):
        with tare.Server() as server, tare.Client(server.port) as client:
            client.send(GOOD * 2)
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual([client.answer()[0], client.answer()[0]], [200, 200])
            self.assertIsNone(client.answer())


class Patience(unittest.TestCase):
    def test_slow_heads_and_bodies_are_408(self):
        with tare.Server("--head-timeout=50ms", "--body-timeout=50ms") as server:
            for data in (b"GET /lookup?k", request(headers="Host: t\r\nContent-Length: 5\r\n") + b"ab",
                         request(headers="Host: t\r\nTransfer-Encoding: chunked\r\n") + b"5\r\nab"):
                with tare.Client(server.port) as client:
                    client.send(data)
                    self.assertEqual(client.answer()[0], 408)
                    self.assertTrue(at_end(client))

    def test_a_client_that_never_reads_is_let_go(self):
        with tare.Server("--write-timeout=50ms") as server:
            with tare.Client(server.admin_port) as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.socket.setblocking(False)
                try:
                    for _ in range(100000):
                        client.socket.send(request("/metrics"))
                except OSError:
                    pass  # it stopped reading, or has let us go
                tare.eventually(lambda: any(value > 0 for name, value in server.metrics().items()
                                            if name.startswith("http_errors_total") and '"io"' in name), "the write is given up")

    def test_resets_harm_nobody(self):
        with tare.Server() as server, tare.Client(server.port) as other:
            for data in (b"", b"GET /lo", GOOD, GOOD * 50):
                client = tare.Client(server.port)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                client.send(data)
                client.close()
                self.assertEqual(other.lookup(1)[0], 200)


class Limits(unittest.TestCase):
    def test_an_address_has_its_share_and_gets_it_back(self):
        with tare.Server("--max-connections-per-address=2") as server:
            for _ in range(3):
                with tare.Client(server.port, "127.0.0.2") as one:
                    self.assertEqual(tare.eventually(lambda: one.lookup(1), "a share is given back")[0], 200)
                    with tare.Client(server.port, "127.0.0.2") as two:
                        self.assertEqual(two.lookup(1)[0], 200)
                        with tare.Client(server.port, "127.0.0.2") as three:
                            self.assertEqual(three.answer()[0], 503)
                        with tare.Client(server.port, "127.0.0.3") as stranger:
                            self.assertEqual(stranger.lookup(1)[0], 200)
                tare.eventually(lambda: all(value == 0 for name, value in server.metrics().items()
                                            if name.startswith("http_connections{") and "public" in name), "all are closed")
            self.assertEqual([value for name, value in server.metrics().items()
                              if name.startswith("http_connections_refused_total") and "address" in name and "public" in name], [3])


if __name__ == "__main__":
    unittest.main()
