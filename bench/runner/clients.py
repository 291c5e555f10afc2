# SPDX-License-Identifier: MIT
"""The load clients: each runs once on its CPU and returns a Load. Closed loops: every connection waits for its answers.

A new client is a class with `version()` and `run(url, paths, pipeline, seconds)`.
"""
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Optional

from . import procs


class ClientError(Exception):
    pass


@dataclass
class Load:
    """What one run saw. Latencies are nanoseconds; with pipelining, wrk's are of a whole batch."""
    requests: int
    errors: int
    seconds: float
    p50_ns: Optional[float]
    p99_ns: Optional[float]


class Client:
    def __init__(self, options):
        self.cpu = options.client_cpu
        self.connections = options.connections

    def execute(self, command, seconds):
        """Standard output of a command that is to end within its seconds and some."""
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                  timeout=seconds + 30, preexec_fn=procs.child_setup(self.cpu))
        except subprocess.TimeoutExpired as error:
            raise ClientError(f"{command[0]} did not end within {seconds + 30:.0f} s") from error
        if done.returncode != 0:
            text = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise ClientError(f"{command[0]} ended with {done.returncode}: {text[-1] if text else 'no output'}")
        return done.stdout


# One request text a thread, made before the run. A script without request() keeps wrk's own constant request, which is
# cheapest; several paths or a pipeline cost it one table look-up a write.
WRK_SCRIPT = """
local paths = { %(paths)s }
local pipeline = %(pipeline)d
local texts, at = {}, 0
function init(args)
    for i = 1, #paths do
        local batch = {}
        for j = 0, pipeline - 1 do
            batch[#batch + 1] = wrk.format("GET", paths[(i + j - 1) %% #paths + 1])
        end
        texts[i] = table.concat(batch)
    end
end
if #paths > 1 or pipeline > 1 then
    function request()
        at = at %% #texts + 1
        return texts[at]
    end
end
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("WRK-RESULT requests=%%d errors=%%d duration_us=%%d p50_us=%%d p99_us=%%d\\n",
        summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration,
        latency:percentile(50), latency:percentile(99)))
end
"""


class Wrk(Client):
    def __init__(self, options):
        super().__init__(options)
        self.program = shutil.which("wrk")
        if self.program is None:
            raise ClientError("wrk is not installed: run 'apt-get install wrk' or give --client tare")

    def version(self):
        text = subprocess.run([self.program, "-v"], capture_output=True, text=True, check=False).stdout
        return " ".join(text.split()[:2])

    def run(self, url, paths, pipeline, seconds):
        # wrk takes whole seconds only: the duration is rounded up, never down.
        whole = max(1, int(seconds + 0.999))
        with tempfile.NamedTemporaryFile("w", suffix=".lua", encoding="utf-8") as script:
            script.write(WRK_SCRIPT % {"paths": ",".join(json.dumps(path) for path in paths), "pipeline": pipeline})
            script.flush()
            out = self.execute([self.program, "-t1", f"-c{self.connections}", f"-d{whole}s", "-s", script.name,
                                url + paths[0]], whole)
        found = re.search(r"WRK-RESULT requests=(\d+) errors=(\d+) duration_us=(\d+) p50_us=(\d+) p99_us=(\d+)", out)
        if found is None:
            raise ClientError("wrk printed no result: " + out.strip()[-200:])
        requests, errors, duration, p50, p99 = map(int, found.groups())
        # wrk takes a percentile's rank from more samples than it kept when it pipelines, and then finds 0: no answer.
        return Load(requests, errors, duration / 1e6, p50 * 1e3 or None, p99 * 1e3 or None)


class Tare(Client):
    """`tare load --closed --json`: one object with requests, errors, duration_s and latency_ns {p50, p99, …}.

    The contract with src/cmd/load is here and nowhere else: the flags in run(), the keys in understand().
    """

    def __init__(self, options):
        super().__init__(options)
        self.program = os.path.abspath("build/tare")
        if not os.access(self.program, os.X_OK):
            raise ClientError("build/tare is not there: run 'make' or give --client wrk")

    def version(self):
        return subprocess.run([self.program, "version"], capture_output=True, text=True, check=False).stdout.strip()

    def run(self, url, paths, pipeline, seconds):
        # No --warmup: the caller warms up by a run of its own, so that every request of this one is counted.
        command = [self.program, "load", "--closed", "--connections", str(self.connections),
                   "--pipeline", str(pipeline), "--duration", f"{int(seconds * 1000)}ms", "--warmup", "0ms",
                   "--threads", "1", "--keys", str(paths.keys), "--json", url + paths.template]
        return self.understand(self.execute(command, seconds))

    @staticmethod
    def understand(out):
        try:
            got = json.loads(out)
            errors = got["errors"]
            if isinstance(errors, dict):
                errors = sum(errors.values())
            return Load(got["requests"], errors, got["duration_s"], got["latency_ns"]["p50"], got["latency_ns"]["p99"])
        except (ValueError, KeyError, TypeError) as error:
            raise ClientError(f"tare load --json printed what is not understood ({error!r}): {out[:200]}") from error


CLIENTS = {"wrk": Wrk, "tare": Tare}
