# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: the program under test, a server that starts and stops, and small HTTP clients.

The build folder is $TARE_BUILD (build/release). Options of the program that the caller's environment may hold are removed,
but for TARE_IO: tools/test runs some of the tests once more with it.
A server is a context manager: however a test ends, the server is gone, and what it said is shown when it ended otherwise
than it should. Nothing waits by sleeping: a start is the line that the server prints, an end is its exit, and what a server
reports of itself is asked for again until it holds or the patience is over.
"""
import http.client
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from late import without_late_tasks  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TARE_BUILD", os.path.join(ROOT, "build/release")))
PROGRAM = os.path.join(BUILD, "tare")
MALLOC_COUNT = os.path.join(BUILD, "preload/malloc_count.so")
SANITIZED = os.path.basename(BUILD) in ("asan", "tsan", "hard")
PATIENCE_S = 60 if SANITIZED else 20


def environment(extra=None):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TARE_") or name == "TARE_IO"}
    env.update(extra or {})
    return env


def run(*args, env=None, **options):
    """Runs `tare ARGS` to its end; the CompletedProcess with texts."""
    done = subprocess.run([PROGRAM, *args], env=environment(env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE_S, **options)
    done.stderr = without_late_tasks(done.stderr)
    return done


def compile_program(source, program):
    """Compiles a C program as the build compiles its own, every warning an error, and links it with the build's library."""
    printed = ["print-CC", "print-CPPFLAGS", "print-CFLAGS", "print-LDFLAGS", "print-LDLIBS"]
    argv = ["make", "-s", "--no-print-directory", "MODE=" + os.path.basename(BUILD), *printed]
    flags = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    compiler, cpp, c, ld, libs = flags[:5]
    command = " ".join([compiler, cpp, c, "-Werror", ld, "-o", program, source, BUILD + "/libtare.a", libs])
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def eventually(check, what):
    """Asks until check() is true; its value."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"within {PATIENCE_S} s it did not come to this: {what}")
        time.sleep(0.01)


class Server:
    """`tare svc` on free ports. `ready` is what it said when it served; `stop` ends it and checks how it ended."""

    def __init__(self, *args, env=None, nofile=None):
        args = list(args)
        for name, value in (("--listen", "127.0.0.1:0"), ("--admin", "127.0.0.1:0"), ("--index-size", "1M")):
            if not any(arg.split("=")[0] == name for arg in args) and \
                    not (name == "--index-size" and any(arg.startswith("--index=") for arg in args)):
                args.append(f"{name}={value}")
        self.args = [PROGRAM, "svc", "--json", *args]
        self.env = environment(env)
        self.nofile = nofile
        self.process = None
        self.code = None
        self.errors = ""

    def __enter__(self):
        self.stderr = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.args, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.stderr, text=True, preexec_fn=self._child)
        try:
            self._wait_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if self.code is None and kind is None:
                self.stop()
        finally:
            self._end()
            if kind is not None and self.errors:
                print(f"standard error of {' '.join(self.args)}:\n{self.errors}")

    def _child(self):
        if self.nofile is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, self.nofile))

    def _wait_ready(self):
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            self._end()
            raise AssertionError(f"the server did not start (exit code {self.code}): {self.errors}")
        self.ready = json.loads(line)
        self.port = int(self.ready["url"].rsplit(":", 1)[1])
        self.admin_port = self.ready["admin_url"] and int(self.ready["admin_url"].rsplit(":", 1)[1])
        self.records = self.ready["records"]
        self.pid = self.process.pid

    def _end(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.code = self.process.wait()
        self.process.stdout.close()
        self.process = None
        self.stderr.seek(0)
        self.errors = self.stderr.read()
        self.stderr.close()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        """Waits for the end; the exit code. What it wrote to standard error is in `errors`."""
        self.process.wait(PATIENCE_S)
        self._end()
        return self.code

    def stop(self):
        self.signal()
        code = self.wait()
        if code != 0:
            raise AssertionError(f"the server ended with {code}: {self.errors}")

    # ---- asking -----------------------------------------------------------------------------------------------------

    def ask(self, target, port=None, method="GET"):
        """(status, headers, body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def allocs(self):
        status, _, body = self.ask("/debug/allocs", self.admin_port)
        assert status == 200, (status, body)
        return json.loads(body)

    def metrics(self):
        """{'name{labels}': value}"""
        status, _, body = self.ask("/metrics", self.admin_port)
        assert status == 200, (status, body)
        lines = [line for line in body.decode().splitlines() if line and not line.startswith("#")]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


# ---- clients ----------------------------------------------------------------------------------------------------------


def lookup_request(key, more=""):
    return f"GET /lookup?key={key} HTTP/1.1\r\nHost: t\r\n{more}\r\n".encode()


class Client:
    """A raw connection: sends what it is given, and reads answers one by one from its buffer."""

    def __init__(self, port, source=None):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(1 << 20)
        self.buffer += data
        return bool(data)

    def answer(self):
        """(status, head, body), or None where the connection ended between answers. One that is cut short raises."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                if self.buffer:
                    raise AssertionError(f"an answer was cut short: {self.buffer[:200]!r}")
                return None
        head, rest = self.buffer.split(b"\r\n\r\n", 1)
        length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        assert len(length) == 1, head
        while len(rest) < length[0]:
            if not self._more():
                raise AssertionError(f"an answer was cut short: {self.buffer[:200]!r}")
            rest = self.buffer.split(b"\r\n\r\n", 1)[1]
        self.buffer = rest[length[0]:]
        return int(head.split(b" ", 2)[1]), head, rest[:length[0]]

    def lookup(self, key):
        self.send(lookup_request(key))
        return self.answer()

    def stream(self, batch, count):
        """Sends the batch count times, each when the one before is answered. Answers to equal batches are equally long."""
        requests = batch.count(b"\r\n\r\n")
        self.send(batch)
        answers = [self.answer() for _ in range(requests)]
        assert all(answer and answer[0] == 200 for answer in answers), answers
        size = sum(len(head) + 4 + len(body) for _, head, body in answers)
        scratch = bytearray(size)
        for _ in range(count - 1):
            self.socket.sendall(batch)
            got = 0
            while got < size:
                n = self.socket.recv_into(memoryview(scratch)[got:])
                assert n > 0, "the connection ended"
                got += n
        assert scratch.count(b"HTTP/1.1 200 ") == requests, bytes(scratch[:200])
        assert all(body in scratch for _, _, body in answers)


# ---- reading a process ------------------------------------------------------------------------------------------------


def private_bytes(pid):
    """Memory that the process has for itself alone: resident, and not shared with a file."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        fields = [line.split() for line in file]
    return 1024 * sum(int(field[1]) for field in fields if field[0] in ("Private_Dirty:", "Swap:"))


class MallocCount:
    """The counters of src/base/preload/malloc_count.c, read while the process runs."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="tare-malloc-")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def env(self):
        return {"LD_PRELOAD": MALLOC_COUNT, "TARE_MALLOC_COUNT": self.file.name}

    def allocations(self):
        with open(self.file.name, "rb") as file:
            magic, *counts = struct.unpack("=12Q", file.read(96))
        assert magic == 0x544E554F434D4154 and counts[10] == 1, "the library did not start to count"
        return sum(counts[:4])
