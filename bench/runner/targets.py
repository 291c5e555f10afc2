# SPDX-License-Identifier: MIT
"""The servers: how each is built, started, checked and stopped. A Fleet holds all of a run and leaves none behind."""
import base64
import glob
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

from . import procs

PEERS = "bench/peers"
OUT = "build/peers"
GO_LEAST = (1, 26)  # as in go.mod
KEYS_SAMPLED = 1024  # different requests that a client goes through
START_SECONDS = 60
PAYLOAD_LENGTHS = 64  # of a snapshot's payloads, the shortest and those that follow it
FIELDS = {"id": int, "bid_micros": int, "budget_micros": int, "spend_micros": int, "impressions": int, "clicks": int,
          "hot": bool, "active": bool, "category": str, "payload": str}


class Skipped(Exception):
    """A tool that isn't on this machine."""


class Failed(Exception):
    """A target that should have worked."""


class Paths(list):
    """The request targets a client goes through; for a client that knows templates: one, over the keys [0, keys)."""

    def __init__(self, paths, template, keys=1):
        super().__init__(paths)
        self.template = template
        self.keys = keys


def find_go():
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def find_nginx():
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def written(file):
    """What a child has written to a file so far; the offset, which it shares, stays where it is."""
    return os.pread(file.fileno(), 65536, 0)


def build(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def out_of_date(output, sources):
    return not os.path.exists(output) or any(os.path.getmtime(source) > os.path.getmtime(output) for source in sources)


def build_go(name):
    go = find_go()
    if go is None:
        raise Skipped("go is not installed")
    version = re.match(r"go version go(\d+)\.(\d+)", build([go, "version"]))
    if version and tuple(map(int, version.groups())) < GO_LEAST:
        raise Skipped(f"go {'.'.join(version.groups())} is installed, and the peers need {'.'.join(map(str, GO_LEAST))}")
    output = os.path.abspath(f"{OUT}/{name}")
    script = f"{PEERS}/go/build"
    if out_of_date(output, [*glob.glob(f"{PEERS}/go/*/*"), f"{PEERS}/go/go.mod", script]):
        build([script, name, output], env={**os.environ, "GO": go})
    return output


class Target:
    """One server. After start(): process, url, paths."""
    name = ""

    def __init__(self, fleet):
        self.fleet = fleet
        self.paths = Paths(["/"], "/")
        self.process = None
        self.url = None
        self.stdout = self.stderr = None  # files, so that a server which writes much is never held up

    def prepare(self):
        """Builds what is needed and returns the command. Skipped or Failed."""
        raise NotImplementedError

    def start(self, cpu):
        command = self.prepare()
        self.stdout, self.stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.stdout, stderr=self.stderr,
                                        preexec_fn=procs.child_setup(cpu))
        port = self.wait_ready()
        self.url = f"http://127.0.0.1:{port}"
        try:
            self.check(port)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the check of its answer failed: {error!r}{self.complaint()}") from error

    def wait_ready(self):
        """The port in the line that the server prints when it listens."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = re.search(rb"127\.0\.0\.1:(\d+)\s", written(self.stdout))
            if found:
                return int(found.group(1))
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode} before it listened{self.complaint()}")
            time.sleep(0.01)
        raise Failed(f"did not say within {START_SECONDS} s where it listens{self.complaint()}")

    def complaint(self):
        text = written(self.stderr).decode(errors="replace").strip()
        return f"; its standard error:\n{text}" if text else "; it wrote nothing to standard error"

    def get(self, port, path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def check(self, port):
        status, body = self.get(port, "/")
        if (status, body) != (200, b"42"):
            raise Failed(f"answered {status} {body[:60]!r} where 200 b'42' is right")

    def stop(self):
        if self.process is not None:
            procs.stop(self.process)
            self.stdout.close()
            self.stderr.close()
            self.process = None


class Epoll42(Target):
    name = "epoll42"

    def prepare(self):
        output, source = f"{OUT}/epoll42", f"{PEERS}/epoll42.c"
        if out_of_date(output, [source]):
            build([os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", output, source])
        return [output, "0"]


class GoNet42(Target):
    name = "go-net42"

    def prepare(self):
        return [build_go("net42")]


class Nginx(Target):
    name = "nginx"

    def prepare(self):
        nginx = find_nginx()
        if nginx is None:
            raise Skipped("nginx is not installed")
        self.port = free_port()
        prefix = os.path.abspath(f"{OUT}/nginx")
        os.makedirs(prefix, exist_ok=True)
        with open(f"{PEERS}/nginx/nginx.conf.in", encoding="utf-8") as template:
            text = template.read().replace("@PREFIX@", prefix).replace("@PORT@", str(self.port))
        with open(f"{prefix}/nginx.conf", "w", encoding="utf-8") as conf:
            conf.write(text)
        return [nginx, "-p", prefix, "-e", "stderr", "-c", f"{prefix}/nginx.conf"]

    def wait_ready(self):
        """nginx prints nothing: it is ready when it takes a connection."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode} before it listened{self.complaint()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self.port
            except OSError:
                time.sleep(0.01)
        raise Failed(f"took no connection within {START_SECONDS} s{self.complaint()}")


class Lookup(Target):
    """What the two lookup services share: the keys, and what a right answer is."""
    query = ""

    def use_keys(self, count, first):
        stride = max(1, count // KEYS_SAMPLED)
        keys = range(first, first + min(count, KEYS_SAMPLED) * stride, stride)
        # A fixed shuffle: neighbours in key order would be neighbours in memory.
        order = sorted(keys, key=lambda key: (key * 2654435761) % 2**32)
        self.paths = Paths([f"/lookup?key={key}{self.query}" for key in order],
                           f"/lookup?key={{zipf}}{self.query}", first + count)

    def check(self, port):
        for path in self.paths[:8]:
            key = int(re.search(r"key=(\d+)", path).group(1))
            status, body = self.get(port, path)
            if status != 200:
                raise Failed(f"answered {status} {body[:80]!r} to {path}")
            try:
                record = json.loads(body)
                base64.b64decode(record["payload"], validate=True)
            except (ValueError, KeyError, TypeError) as error:
                raise Failed(f"{path}: not the JSON of a record ({error!r}): {body[:80]!r}") from error
            wrong = [name for name, kind in FIELDS.items() if type(record.get(name)) is not kind]
            if wrong or record["id"] != key:
                raise Failed(f"{path}: id {record['id']}, fields missing or of a wrong type: {wrong or 'none'}")


class GoLookup(Lookup):
    name = "go-lookup"

    def prepare(self):
        program = build_go("lookup")
        shape = self.fleet.index_shape()
        self.use_keys(shape["records"], shape["first"])
        shortest = max(0, round(shape["payload_mean"] - (PAYLOAD_LENGTHS - 1) / 2))
        return [program, "-records", str(shape["records"]), "-first", str(shape["first"]), "-seed", "1",
                "-payload-min", str(shortest), "-payload-max", str(shortest + PAYLOAD_LENGTHS - 1)]


class GoSvc(Lookup):
    """`tare svc`'s twin, on the same snapshot."""
    name = "go-svc"
    server = "nethttp"
    query = "&fmt=json"

    def prepare(self):
        program = build_go("svc")
        if not os.access("build/tare", os.X_OK):
            raise Skipped("build/tare is not built, and its snapshot is what go-svc serves")
        shape = self.fleet.index_shape()
        self.use_keys(shape["records"], shape["first"])
        return [program, "--index", self.fleet.snapshot(), "--listen", "127.0.0.1:0", "--admin", "off", "--workers", "1",
                "--path=opt", f"--server={self.server}"]


class GoRaw(GoSvc):
    name = "go-raw"
    server = "raw"


class TareLookup(Lookup):
    name = "tare"
    path = "opt"
    query = "&fmt=json"

    def prepare(self):
        if not os.access("build/tare", os.X_OK):
            raise Skipped("build/tare is not built")
        shape = self.fleet.index_shape()
        self.use_keys(shape["records"], shape["first"])
        return ["build/tare", "svc", "--index", self.fleet.snapshot(), "--listen", "127.0.0.1:0", "--admin", "off",
                "--workers", "1", f"--path={self.path}"]


class TareNaive(TareLookup):
    name = "tare-naive"
    path = "naive"


KINDS = [Epoll42, TareLookup, TareNaive, Nginx, GoNet42, GoLookup, GoSvc, GoRaw]
NAMES = [kind.name for kind in KINDS]


class Fleet:
    """All servers of a run. As a context manager it stops every one of them, however the run ends."""

    def __init__(self, options, progress):
        self.options = options
        self.progress = progress
        self.targets = []
        self.skipped = {}
        self.failed = {}
        self._shape = None

    def __enter__(self):
        os.makedirs(OUT, exist_ok=True)
        return self

    def __exit__(self, *_):
        for target in self.targets:
            target.stop()

    def start(self, kinds=None):
        for kind in kinds or KINDS:
            if self.options.only and kind.name not in self.options.only:
                continue
            target = kind(self)
            self.targets.append(target)
            try:
                target.start(self.options.server_cpu)
            except Skipped as reason:
                self.skipped[kind.name] = str(reason)
                print(f"skipped {kind.name}: {reason}", file=self.progress)
            except (Failed, OSError) as reason:
                self.fail(target, str(reason))

    def fail(self, target, reason):
        self.failed[target.name] = reason
        print(f"bench: {target.name}: {reason}", file=self.progress)
        target.stop()

    def running(self):
        return [target for target in self.targets if target.process is not None]

    def snapshot(self):
        """The snapshot's path; generated once for a size."""
        path = f"build/bench-{self.options.index_size}.snap"
        if out_of_date(path, ["build/tare"]):
            build(["build/tare", "gen", "--size", self.options.index_size, "--seed", "1", "--out", path])
        return path

    def index_shape(self):
        """How many records, from which key on, with payloads of how many bytes: the snapshot's where ours is built,
        else what 64 MiB hold.
        """
        if self._shape is None:
            self._shape = {"records": 460_352, "first": 0, "payload_mean": 63.5}
            if os.access("build/tare", os.X_OK):
                self._shape.update(self.snapshot_shape())
        return self._shape

    def snapshot_shape(self):
        told = json.loads(build(["build/tare", "loadindex", "--json", self.snapshot()]))
        payloads = next(section["bytes"] for section in told["sections"] if section["name"] == "payloads")
        return {"records": told["records"], "first": told["key_min"], "payload_mean": payloads / told["records"]}
