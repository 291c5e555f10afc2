# SPDX-License-Identifier: MIT
"""The runtime's figures: what is wanted of each, rounds of both programs, medians, verdicts and the table.

A round runs each bench as a process of its own, ours and Go's one after the other, whose turn it is to be first
alternating. A ratio is the median of each round's own ratio.
"""
import json
from dataclasses import dataclass
from statistics import median
from typing import Optional, Tuple

from . import procs

LIMIT_S = 60  # a process, beside what it is asked to sleep
GIB = 1 << 30


@dataclass
class Wanted:
    """What is wanted of one figure; what is None is not asked."""
    figure: str
    ns_max: Optional[float] = None
    go_max: Optional[float] = None  # ours / Go's
    versus: Optional[Tuple[str, float]] = None  # another figure of ours, and ours / that one
    bytes_max: Optional[float] = None  # for each operation: resident memory and page tables
    answer: bool = False  # the program's, checked against what it must be


@dataclass
class Bench:
    """One bench of both programs (or of ours alone) and its figures."""
    name: str
    figures: Tuple[Wanted, ...]
    ours_alone: bool = False
    rounds_max: Optional[int] = None
    cpus: int = 1


BENCHES = (
    Bench("switch", (Wanted("switch", 4),), ours_alone=True),
    Bench("yield", (Wanted("yield", 12, 1 / 4),)),
    Bench("spawn_join", (Wanted("spawn_join", 45, 1 / 4),)),
    Bench("chan_unbuffered_roundtrip", (Wanted("chan_unbuffered_roundtrip", 50, 1 / 4),)),
    Bench("chan_buffered_pair", (Wanted("chan_buffered_pair", 12, 1 / 3),)),
    Bench("mutex_pair", (Wanted("mutex_pair", 8, 1),)),
    Bench("futex_wake", (Wanted("futex_wake_p50"), Wanted("futex_wake_p99")), ours_alone=True, cpus=2),
    Bench("eventfd_wake", (Wanted("eventfd_wake_p50"), Wanted("eventfd_wake_p99")), ours_alone=True, cpus=2),
    Bench("wake_parked", (Wanted("wake_parked_p50", None, 1, ("futex_wake_p50", 1.3)), Wanted("wake_parked_p99")), cpus=2),
    Bench("wake_pinned", (Wanted("wake_pinned_p50"), Wanted("wake_pinned_p99")), ours_alone=True, cpus=2),
    Bench("skynet", (Wanted("skynet", None, 1 / 2, answer=True),)),
    Bench("skynet_2", (Wanted("skynet_2", None, 1 / 2, answer=True),), cpus=2),
    Bench("thread_ring", (Wanted("thread_ring", answer=True),)),
    Bench("whispers", (Wanted("whispers", answer=True),)),
    Bench("sieve", (Wanted("sieve", answer=True),)),
    Bench("spawn_many", (Wanted("spawn_many"),), cpus=2),
    Bench("yield_many", (Wanted("yield_many"),), cpus=2),
    Bench("ping_pong", (Wanted("ping_pong"),), cpus=2),
    Bench("chained_spawn", (Wanted("chained_spawn"),), cpus=2),
    # It says more about memory than about time, and takes ten seconds a side: once.
    Bench("sleepers", (Wanted("sleepers", None, 1, bytes_max=5 * GIB / 1e6),), rounds_max=1),
)
NAMES = [bench.name for bench in BENCHES]


@dataclass
class Sizes:
    """How large the programs are."""
    samples: int = 10_000
    ring: int = 5_000_000
    whispers: int = 100_000
    primes: int = 1_000
    sleepers: int = 1_000_000
    sleep: int = 10

    def arguments(self, dashes):
        pairs = vars(self).items()
        suffix = {"--": "", "-": "s"}[dashes]  # Go's is a duration
        return [text for name, value in pairs for text in (dashes + name, f"{value}{suffix if name == 'sleep' else ''}")]

    def answers(self):
        return {"skynet": 499_999_500_000, "skynet_2": 499_999_500_000, "thread_ring": self.ring % 503 + 1,
                "whispers": self.whispers + 1, "sieve": nth_prime(self.primes)}


def nth_prime(n):
    primes = []
    number = 1
    while len(primes) < n:
        number += 1
        for prime in primes:
            if prime * prime > number:
                primes.append(number)
                break
            if number % prime == 0:
                break
        else:
            primes.append(number)
    return primes[-1]


def take(program, bench, sizes, dashes):
    """One process: {figure: what it printed}."""
    out = procs.output_of([program] + sizes.arguments(dashes) + [bench.name], LIMIT_S + 3 * sizes.sleep)
    lines = [json.loads(line) for line in out.splitlines()]
    if not lines:
        raise procs.CommandError("it printed no figure")
    return {line["name"]: line for line in lines}


class Run:
    """The figures of all rounds, [(round, figure, side)] = a line; and what failed, by bench."""

    def __init__(self, ours, go, sizes):
        self.programs = {"ours": (ours, "--"), "go": (go, "-")}
        self.sizes = sizes
        self.lines = {}
        self.failed = {}

    def round(self, number, benches, progress):
        for bench in benches:
            if bench.name in self.failed or number >= (bench.rounds_max or number + 1):
                continue
            sides = ["ours"] if bench.ours_alone or self.programs["go"][0] is None else ["ours", "go"]
            for side in sides if number % 2 == 0 else sides[::-1]:
                print(f"round {number + 1} {bench.name} {side}", file=progress, flush=True)
                program, dashes = self.programs[side]
                try:
                    for figure, line in take(program, bench, self.sizes, dashes).items():
                        self.lines[number, figure, side] = line
                except (procs.CommandError, OSError, ValueError, KeyError) as error:
                    self.failed[bench.name] = f"{side}: {error}"
                    break

    def values(self, figure, side, key="ns"):
        """{round: value}"""
        return {number: line[key] for (number, name, of), line in self.lines.items()
                if (name, of) == (figure, side) and key in line}

    def ratio(self, above, below):
        shared = [above[number] / below[number] for number in above if below.get(number, 0) > 0]
        return median(shared) if shared else None


def missed(wanted, run, row, answers):
    """The figures that are not what is wanted, in words; [] when the target is reached."""
    found = []
    if wanted.ns_max is not None and row["ours"] > wanted.ns_max:
        found.append(f"{row['ours']:.1f} ns for {wanted.ns_max:g}")
    if wanted.go_max is not None:
        if row["ratio"] is None:
            found.append("no Go to compare with")
        elif row["ratio"] > wanted.go_max:
            found.append(f"{row['ratio']:.2f} of Go's for {wanted.go_max:.2f}")
    if wanted.versus is not None:
        base, most = wanted.versus
        ratio = run.ratio(run.values(wanted.figure, "ours"), run.values(base, "ours"))
        if ratio is None:
            found.append(f"no {base} to compare with")
        elif ratio > most:
            found.append(f"{ratio:.2f} of {base} for {most:g}")
    if wanted.bytes_max is not None and row["bytes"] > wanted.bytes_max:
        found.append(f"{row['bytes']:.0f} bytes each for {wanted.bytes_max:.0f}")
    for side in ("ours", "go") if wanted.answer else ():
        wrong = set(run.values(wanted.figure, side, "answer").values()) - {answers[wanted.figure]}
        if wrong:
            found.append(f"{side} answered {', '.join(map(str, sorted(wrong)))} for {answers[wanted.figure]}")
    return found


def memory(run, figure, side):
    """Resident memory and page tables of each operation."""
    resident, tables = (run.values(figure, side, key) for key in ("rss_bytes", "page_table_bytes"))
    operations = run.values(figure, side, "ops")
    each = [(resident[number] + tables[number]) / operations[number] for number in resident]
    return median(each) if each else None


def target_text(wanted):
    parts = [f"{wanted.ns_max:g} ns"] if wanted.ns_max is not None else []
    parts += [f"{wanted.go_max:.2f} of Go's"] if wanted.go_max is not None else []
    parts += [f"{wanted.versus[1]:g} of {wanted.versus[0]}"] if wanted.versus is not None else []
    parts += [f"{wanted.bytes_max:.0f} B each"] if wanted.bytes_max is not None else []
    parts += ["the answer"] if wanted.answer else []
    return ", ".join(parts)


def rows(run, benches):
    answers = run.sizes.answers()
    found = []
    for bench in benches:
        for wanted in bench.figures:
            ours, go = run.values(wanted.figure, "ours"), run.values(wanted.figure, "go")
            if not ours or bench.name in run.failed:
                continue
            row = {"name": wanted.figure, "ours": median(ours.values()), "min": min(ours.values()),
                   "max": max(ours.values()), "go": median(go.values()) if go else None, "ratio": run.ratio(ours, go),
                   "bytes": memory(run, wanted.figure, "ours"), "go_bytes": memory(run, wanted.figure, "go"),
                   "target": target_text(wanted)}
            short = missed(wanted, run, row, answers)
            row["verdict"] = ("; ".join(short) if short else "reached") if row["target"] else ""
            found.append(row)
    return found


def table(found):
    def number(value, digits=1):
        return "-" if value is None else f"{value:,.{digits}f}"

    lines = [["figure", "ours ns", "min..max", "Go ns", "ratio", "target", "verdict"]]
    for row in found:
        lines.append([row["name"], number(row["ours"]), f"{number(row['min'])}..{number(row['max'])}", number(row["go"]),
                      number(row["ratio"], 2), row["target"], row["verdict"]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) if 0 < i < 5 else cell.ljust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)
