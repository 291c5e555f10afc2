# SPDX-License-Identifier: MIT
"""The facts about a machine that a measured number is worth nothing without."""
import os
import platform
import shutil
import subprocess

from . import targets


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else None


def cpu_model():
    fields = {}
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("CPU part", platform.machine())
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name


def facts(client=None):
    go = targets.find_go()
    nginx = targets.find_nginx()
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": first_line(["systemd-detect-virt"]) if shutil.which("systemd-detect-virt") else None,
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2),
        "client": client.version() if client else None,
        "cc": first_line(["gcc", "--version"]),
        "go": first_line([go, "version"]) if go else None,
        "nginx": first_line([nginx, "-v"]) if nginx else None,
        "tare": first_line(["build/tare", "version"]),
        "commit": first_line(["git", "rev-parse", "--short", "HEAD"]),
    }
