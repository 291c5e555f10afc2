# SPDX-License-Identifier: MIT
"""Medians, ratios and the table. Losses are printed like wins."""
from statistics import median

FLOOR = "epoll42"
BASES = [("epoll42", "cpu_us"), ("go-lookup", "cpu_us"), ("nginx", "rps")]
DISTURBED = 0.05


def heading(facts, options):
    lines = [f"machine   {facts['cpu']}, {facts['cpus']} CPUs, kernel {facts['kernel']}"
             + (f", {facts['virtual']}" if facts["virtual"] else "") + f", load average {facts['load_average']}"]
    versions = [f"client {facts['client']}"] + [facts[key] for key in ("tare", "cc", "go", "nginx") if facts[key]]
    lines.append("versions  " + "; ".join(versions) + (f"; commit {facts['commit']}" if facts["commit"] else ""))
    lines.append(f"method    {options.rounds} interleaved rounds of {options.seconds:g} s, {options.connections} "
                 f"connections, server on CPU {options.server_cpu}, client on CPU {options.client_cpu}")
    return "\n".join(lines)


def ratios(samples, mine, base, key):
    """The median of each round's own ratio, so that a slow round counts for neither."""
    by_round = {sample.round: getattr(sample, key) for sample in samples if sample.target == base}
    pairs = [getattr(sample, key) / by_round[sample.round] for sample in mine if by_round.get(sample.round)]
    return round(median(pairs), 3) if pairs else None


def row(samples, name):
    mine = [sample for sample in samples if sample.target == name]
    result = {"target": name, "rounds": len(mine), "requests": sum(s.requests for s in mine),
              "errors": sum(s.errors for s in mine)}
    for key in ("cpu_us", "user_us", "system_us", "rps", "p50_us", "p99_us", "other_share"):
        known = [getattr(sample, key) for sample in mine if getattr(sample, key) is not None]
        result[key] = round(median(known), 4) if known else None
    result["cpu_us_min"] = round(min(sample.cpu_us for sample in mine), 4)
    result["cpu_us_max"] = round(max(sample.cpu_us for sample in mine), 4)
    for base, key in BASES:
        result[f"{key}_ratio_{base}"] = ratios(samples, mine, base, key)
    return result


def summarise(facts, options, fleet, samples):
    scenarios = {}
    for scenario in options.scenarios:
        of_it = [sample for sample in samples if sample.scenario == scenario]
        names = [target.name for target in fleet.targets if any(s.target == target.name for s in of_it)]
        scenarios[scenario] = [row(of_it, name) for name in names]
    return {"machine": facts, "rounds": options.rounds, "seconds": options.seconds,
            "connections": options.connections, "pipeline": options.pipeline, "scenarios": scenarios,
            "skipped": fleet.skipped, "failed": fleet.failed, "samples": [sample.as_dict() for sample in samples]}


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def table(rows):
    head = ["target", "CPU us/req", "user", "system", "min..max", "req/s", "p50 us", "p99 us", "errors"]
    head += ["CPU/epoll42", "CPU/go-lookup", "rps/nginx"]
    lines = [head]
    for one in rows:
        lines.append([one["target"], f"{one['cpu_us']:.3f}", f"{one['user_us']:.3f}", f"{one['system_us']:.3f}",
                      f"{one['cpu_us_min']:.2f}..{one['cpu_us_max']:.2f}", f"{one['rps']:,.0f}",
                      number(one["p50_us"], 0), number(one["p99_us"], 0), str(one["errors"])]
                     + [number(one[f"{key}_ratio_{base}"], 2) for base, key in BASES])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join([line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width
                                                             in zip(line[1:], widths[1:])]) for line in lines)


def text(result):
    parts = []
    for scenario, rows in result["scenarios"].items():
        what = "no pipelining" if scenario == "plain" else f"{result['pipeline']} pipelined requests a write"
        parts.append(f"\n{scenario}: {result['connections']} connections, {what}; medians of {result['rounds']} rounds")
        parts.append(table(rows) if rows else "nothing was measured")
    disturbed = sorted({one["target"] for rows in result["scenarios"].values() for one in rows
                        if one["other_share"] > DISTURBED})
    if disturbed:
        parts.append(f"\ndisturbed: the servers' CPU did other work for more than {DISTURBED:.0%} of the time while "
                     f"these were measured: {', '.join(disturbed)}")
    for name, reason in result["skipped"].items():
        parts.append(f"skipped   {name}: {reason}")
    for name, reason in result["failed"].items():
        parts.append(f"failed    {name}: {reason}")
    return "\n".join(parts)
