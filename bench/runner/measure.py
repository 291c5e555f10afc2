# SPDX-License-Identifier: MIT
"""Interleaved rounds: every target once a round and scenario, in an order that rotates from round to round."""
from dataclasses import asdict, dataclass
from typing import Optional

from . import clients, procs


@dataclass
class Sample:
    """One target, one scenario, one round. Times of CPU are microseconds a request."""
    target: str
    scenario: str
    round: int
    requests: int
    errors: int
    seconds: float
    rps: float
    cpu_us: float
    user_us: float
    system_us: float
    p50_us: Optional[float]
    p99_us: Optional[float]
    other_share: float  # of the time, how much the server's CPU did for others: it was disturbed

    def as_dict(self):
        return asdict(self)


def one(options, target, client, scenario, pipeline, number):
    client.run(target.url, target.paths, pipeline, options.warmup)
    pids = procs.tree(target.process.pid)
    before, busy = procs.CpuTime(pids), procs.cpu_busy_ns(options.server_cpu)
    load = client.run(target.url, target.paths, pipeline, options.seconds)
    total, user, system = procs.CpuTime(pids).since(before)
    others = procs.cpu_busy_ns(options.server_cpu) - busy - total
    if load.requests == 0:
        raise clients.ClientError(f"no request of {scenario} was answered ({load.errors} errors)")
    each = load.requests * 1e3
    p50, p99 = (None if value is None else value / 1e3 for value in (load.p50_ns, load.p99_ns))
    return Sample(target.name, scenario, number, load.requests, load.errors, load.seconds, load.requests / load.seconds,
                  total / each, user / each, system / each, p50, p99, max(0.0, others / (load.seconds * 1e9)))


def rounds(options, fleet, client, progress):
    samples = []
    for number in range(options.rounds):
        for scenario, pipeline in options.scenarios.items():
            running = fleet.running()
            turn = number % len(running) if running else 0
            for target in running[turn:] + running[:turn]:
                print(f"round {number + 1}/{options.rounds} {scenario:8} {target.name}", file=progress, flush=True)
                try:
                    samples.append(one(options, target, client, scenario, pipeline, number))
                except (clients.ClientError, OSError) as error:
                    fleet.fail(target, str(error))
    return samples
