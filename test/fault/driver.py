# SPDX-License-Identifier: MIT
"""Fails the n-th call that can fail, for every n, and judges how the program took it.

A Scenario runs a program once with the n-th call failed (test/preload/fail_nth.c) and says what was wrong, if anything:
a crash, a hang, an exit code other than 0 and 1, a failure not told in one line, a half or a lost file, a server that
no longer serves. drive() goes through all n of a scenario, two at a time, until the run no longer reaches n.
"""
import concurrent.futures
import contextlib
import http.client
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from late import without_late_tasks  # noqa: E402

RUN_SECONDS = 10     # a run that takes longer hangs
ANSWER_SECONDS = 5   # a connection that is neither answered nor closed by then hangs
UNREACHED_ENDS = 3   # so many runs that did not reach their n end a scenario: threads make the last few vary


class Control:
    """The control block that fail_nth.c shares; its head has the layout."""
    SIZE = 288
    AT, ARMED, SEEN, FAILED, OFFSET = 8, 16, 24, 32, 40

    def __init__(self, path):
        self.path = path
        with open(path, "w+b") as file:
            file.truncate(self.SIZE)
            self.map = mmap.mmap(file.fileno(), self.SIZE)

    def get(self, offset):
        return struct.unpack_from("=Q", self.map, offset)[0]

    def set(self, offset, value):
        struct.pack_into("=Q", self.map, offset, value)

    def text(self, offset, size):
        return self.map[offset:offset + size].split(b"\0")[0].decode(errors="replace")

    def where(self):
        """'malloc, called in gen_write at gen.c:81', as far as the debug information tells."""
        name, path, offset = self.text(48, 32), self.text(80, 208), self.get(self.OFFSET)
        place = f"{os.path.basename(path)}+{offset:#x}"
        if shutil.which("addr2line") and path:
            found = subprocess.run(["addr2line", "-s", "-f", "-p", "-e", path, f"{offset - 1:#x}"], check=False,
                                   capture_output=True, text=True).stdout.strip()
            place = found if found and "??" not in found else place
        return f"{name}, called in {place}"


@dataclass
class Outcome:
    n: int
    reached: bool
    seen: int
    problem: str = ""   # empty: the program took it well
    where: str = ""
    stderr: str = ""


class Wrong(Exception):
    """What a run did wrong."""


class Program:
    """One run of a program with the n-th call failed. As a context manager it ends the process, whatever happened."""
    alive = set()

    def __init__(self, preload, folder, command, n, counted_from="main"):
        self.control = Control(os.path.join(folder, "control"))
        self.files = [open(os.path.join(folder, name), "w+b") for name in ("stdout", "stderr")]
        environment = {**os.environ, "LC_ALL": "C", "LD_PRELOAD": preload, "TARE_FAIL_AT": str(n),
                       "TARE_FAIL_FROM": counted_from, "TARE_FAIL_COUNT_FILE": self.control.path}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.files[0], stderr=self.files[1],
                                        env=environment, start_new_session=True)
        self.deadline = time.monotonic() + RUN_SECONDS
        Program.alive.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.wait()
        Program.alive.discard(self)
        for file in self.files:
            file.close()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def output(self, which):
        size = os.fstat(self.files[which].fileno()).st_size
        return os.pread(self.files[which].fileno(), size, 0).decode(errors="replace")

    def end(self):
        """Waits for the end and returns the exit code, 0 or 1; else Wrong."""
        try:
            code = self.process.wait(max(0.1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise Wrong(f"hangs: it had not ended after {RUN_SECONDS} s") from error
        if code < 0:
            raise Wrong(f"crashes: killed by {signal.Signals(-code).name}")
        if code not in (0, 1):
            raise Wrong(f"ends with exit code {code}")
        return code

    def told_in_one_line(self, prefix):
        lines = without_late_tasks(self.output(1)).splitlines()
        if len(lines) != 1 or not lines[0].startswith(prefix):
            raise Wrong(f"fails without exactly one line that starts with '{prefix}' on standard error")


class Scenario:
    """What is run and what must hold. Subclasses give attempt(); `name` is what --scenario takes."""
    counted_from = "main"

    def __init__(self, name, preload, prefix="tare "):
        self.name = name
        self.preload = preload
        self.prefix = prefix
        self.reference = None   # what the run without a failure gave

    def attempt(self, program, folder, n):
        raise NotImplementedError

    def command(self, folder):
        raise NotImplementedError

    def run(self, n):
        with tempfile.TemporaryDirectory(prefix="tare-fault-") as top:
            folder = os.path.join(top, "work")
            os.mkdir(folder)
            with Program(self.preload, top, self.command(folder), n, self.counted_from) as program:
                problem = ""
                try:
                    self.attempt(program, folder, n)
                except Wrong as wrong:
                    problem = str(wrong)
                control = program.control
                reached = bool(control.get(control.FAILED))
                return Outcome(n, reached, control.get(control.SEEN), problem, control.where() if reached else "",
                               program.output(1) if problem else "")


class WriteScenario(Scenario):
    """A program that writes one file: there is all of it, or nothing and a message."""

    def __init__(self, name, preload, build_command, prefix="tare "):
        super().__init__(name, preload, prefix)
        self.build_command = build_command

    def command(self, folder):
        return self.build_command(os.path.join(folder, "out"))

    def attempt(self, program, folder, n):
        code = program.end()
        files = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                files[name] = file.read()
        if n == 0:
            if code != 0 or list(files) != ["out"]:
                raise Wrong(f"without any failure: exit code {code}, files {sorted(files)}")
            self.reference = files["out"]
            return
        left = sorted(set(files) - {"out"})
        if left:
            raise Wrong(f"leaves {', '.join(left)} behind")
        if "out" in files and files["out"] != self.reference:
            raise Wrong(f"leaves a file that is not what it should be, with exit code {code}")
        if code == 0 and "out" not in files:
            raise Wrong("loses the file: exit code 0 and there is none")
        if code == 1:
            program.told_in_one_line(self.prefix)


class ReportScenario(Scenario):
    """A program that prints a report: its essence (extract(stdout)) is right, or there's a message."""

    def __init__(self, name, preload, command, extract, prefix="tare "):
        super().__init__(name, preload, prefix)
        self.fixed_command = command
        self.extract = extract

    def command(self, folder):
        return self.fixed_command

    def attempt(self, program, folder, n):
        code = program.end()
        if code == 1 and n != 0:
            program.told_in_one_line(self.prefix)
            return
        if code != 0:
            raise Wrong(f"without any failure: exit code {code}")
        try:
            essence = self.extract(program.output(0))
        except (ValueError, KeyError, TypeError) as error:
            raise Wrong(f"loses its report: exit code 0, and standard output is not it ({error!r})") from error
        if n == 0:
            self.reference = essence
        elif essence != self.reference:
            raise Wrong(f"reports {essence!r} where {self.reference!r} is right, with exit code 0")


@dataclass(frozen=True)
class Request:
    """`method path` on the connection before, or a new one; stable: its body is the same every time."""
    path: str
    stable: bool = True
    new_connection: bool = False
    pipelined: int = 1


class ServiceScenario(Scenario):
    """A server. At start-up (armed=False): it serves, or ends with a message. While requests are made (armed=True): one
    connection may be lost, get a 503, or be told that there is no memory for its answer; after it new connections are served,
    and SIGTERM ends it with exit code 0.
    """

    def __init__(self, name, preload, build_command, requests, armed, prefix="tare "):
        super().__init__(name, preload, prefix)
        self.build_command = build_command
        self.requests = requests
        self.armed = armed
        self.counted_from = "armed" if armed else "main"
        self.reference = {}
        self.local = threading.local()

    def command(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.local.port = probe.getsockname()[1]
        return self.build_command(self.local.port)

    def attempt(self, program, folder, n):
        first = self.connect(program, self.local.port)
        # A server whose second listener fails takes connections for a moment, and never says where it serves.
        if first is None or not self.announced(program):
            if program.end() == 0 or n == 0:
                raise Wrong("ends before it serves, without a failure")
            program.told_in_one_line(self.prefix)
            return
        control = program.control
        if self.armed:
            first.close()
            first = None
        control.set(control.ARMED, 1)
        self.exchange(first, n)
        control.set(control.ARMED, 0)
        self.serves(n)
        control.set(control.ARMED, 0 if self.armed else 1)
        program.process.send_signal(signal.SIGTERM)
        if program.end() == 1:
            if self.armed or not control.get(control.FAILED):
                raise Wrong("ends with exit code 1 after SIGTERM")
            program.told_in_one_line(self.prefix)
        if os.listdir(folder):
            raise Wrong(f"leaves {', '.join(os.listdir(folder))} behind")

    def announced(self, program):
        """Whether the server says where it serves, which it does once all of it does; False: it ended before."""
        while os.path.getsize(program.files[0].name) == 0:
            if program.process.poll() is not None:
                return False
            if time.monotonic() > program.deadline:
                raise Wrong("hangs before it says where it serves")
            time.sleep(0.002)
        return True

    def connect(self, program, port):
        """The first connection that the server takes; None: it ended before."""
        while time.monotonic() < program.deadline:
            with contextlib.suppress(OSError):
                return self.open(port)
            if program.process.poll() is not None:
                return None
            time.sleep(0.002)
        raise Wrong(f"hangs: it took no connection within {RUN_SECONDS} s")

    def open(self, port):
        return socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)

    def exchange(self, connection, n):
        """All requests. With a failure one connection may be lost, or one answer be a 503."""
        harmed = []
        try:
            for request in self.requests:
                if connection is not None and request.new_connection:
                    connection.close()
                    connection = None
                try:
                    connection = connection or self.open(self.local.port)
                    self.ask(connection, request, n)
                except socket.timeout as error:
                    raise Wrong(f"hangs: GET {request.path} was neither answered nor closed") from error
                except (OSError, http.client.HTTPException) as error:
                    harmed.append(f"GET {request.path}: {error!r}")
                    if connection is not None:
                        connection.close()
                    connection = None
        finally:
            if connection is not None:
                connection.close()
        if len(harmed) > (1 if n != 0 else 0):
            raise Wrong("harms more than one connection: " + "; ".join(harmed))

    def ask(self, connection, request, n):
        line = f"GET {request.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        connection.sendall(line * request.pipelined)
        # One file for all answers: each response would read ahead into the next one's bytes with a file of its own.
        with connection.makefile("rb") as stream:
            for _ in range(request.pipelined):
                self.judge(request, n, *read_response(stream))

    def judge(self, request, n, status, body):
        got = (status, body if request.stable else None)
        if n == 0:
            if request == self.requests[0] and status != 200:
                raise Wrong(f"without any failure: answers {status} {body[:60]!r} to GET {request.path}")
            self.reference.setdefault(request, got)
        if got == self.reference.get(request):
            return
        # A large answer has no room: the server says so and closes.
        if status == 503 or (status == 500 and b"its memory" in body):
            raise http.client.HTTPException(str(status))
        raise Wrong(f"answers {status} {body[:60]!r} to GET {request.path} where {self.reference.get(request)} is "
                    "right")

    def serves(self, n):
        """New connections are answered, all of them."""
        for _ in range(2):
            try:
                with self.open(self.local.port) as connection:
                    self.ask(connection, self.requests[0], n)
            except (OSError, http.client.HTTPException) as error:
                raise Wrong(f"no longer serves: GET {self.requests[0].path} on a new connection: {error!r}") from error


def read_response(stream):
    """(status, body) of a response with a Content-Length. OSError or HTTPException where the connection ends before."""
    line = stream.readline()
    if not line.startswith(b"HTTP/1."):
        raise ConnectionResetError("closed before the answer" if not line else f"not HTTP: {line[:40]!r}")
    status, length = int(line.split()[1]), None
    while True:
        header = stream.readline()
        if not header.endswith(b"\n"):
            raise ConnectionResetError("closed within the head of the answer")
        if header == b"\r\n":
            break
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if length is None:
        raise Wrong(f"answers {status} without a Content-Length")
    body = stream.read(length)
    if len(body) < length:
        raise ConnectionResetError("closed within the body of the answer")
    return status, body


# ---- all n of a scenario --------------------------------------------------------------------------------------------


def choose(count, limit, first, last):
    """The n to run. Past the limit: the first half of them all, then evenly spread ones."""
    end = count + count // 5 + UNREACHED_ENDS + 1
    numbers = list(range(first, min(end, last) + 1 if last else end + 1))
    if len(numbers) <= limit:
        return numbers, 0
    head, rest = numbers[:limit // 2], numbers[limit // 2:]
    step = len(rest) / (limit - len(head))
    chosen = head + [rest[int(i * step)] for i in range(limit - len(head))]
    return chosen, len(numbers) - len(chosen)


def drive(scenario, first=1, last=0, limit=1000, jobs=2, progress=lambda done, total: None):
    """Runs a scenario for every n. Returns (outcomes, n not run because of the limit); the first outcome is of n = 0,
    the run without a failure, and if that one has a problem it's the only one.
    """
    outcomes = [scenario.run(0)]
    if outcomes[0].problem:
        return outcomes, 0
    if outcomes[0].seen == 0:
        outcomes[0].problem = "nothing was counted: is the preload library in effect?"
        return outcomes, 0
    numbers, left_out = choose(outcomes[0].seen, limit, first, last)
    unreached = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = set()
        try:
            for n in numbers:
                running.add(pool.submit(scenario.run, n))
                if len(running) >= jobs:
                    unreached += collect(running, outcomes, progress, len(numbers))
                if unreached >= UNREACHED_ENDS:
                    break
            while running:
                collect(running, outcomes, progress, len(numbers))
        except BaseException:
            for program in list(Program.alive):
                program.kill()
            raise
    return outcomes, left_out


def collect(running, outcomes, progress, total):
    """Takes the finished runs; the number of them that did not reach their n."""
    done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
    running -= done
    outcomes += [future.result() for future in done]
    progress(len(outcomes) - 1, total)
    return sum(not future.result().reached for future in done)
