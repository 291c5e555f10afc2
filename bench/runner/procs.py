# SPDX-License-Identifier: MIT
"""Child processes that can't outlive the run, and what /proc tells about them."""
import ctypes
import os
import signal
import subprocess

PR_SET_PDEATHSIG = 1
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


def child_setup(cpu=None):
    """For preexec_fn: own session (Ctrl-C is the runner's to handle), one CPU or all, SIGTERM when the runner dies."""
    def setup():
        os.setsid()
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return setup


def stop(process):
    """Ends a process and the session it leads: first asked, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=5)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


class CommandError(Exception):
    """A command that failed or did not end; the text is for people."""


def output_of(command, seconds, cpu=None):
    """Standard output of a command that is to end within so many seconds; CommandError otherwise, and nothing is left."""
    name = os.path.basename(command[0])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=child_setup(cpu)) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{name} did not end within {seconds:.0f} s") from error
        finally:
            if process.poll() is None:
                stop(process)
    if process.returncode != 0:
        raise CommandError(f"{name} ended with {process.returncode}: {err.strip() or 'no complaint'}")
    return out


def tree(pid):
    """The process and its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(name))
    found, rest = [], [pid]
    while rest:
        one = rest.pop()
        found.append(one)
        rest += children.get(one, [])
    return found


class CpuTime:
    """CPU a process tree has used, nanoseconds.

    user and system: utime and stime of /proc/PID/stat, whole processes, ended threads included, in ticks of 10 ms.
    run: /proc/PID/task/*/schedstat, living threads only, but exact.
    """

    def __init__(self, pids):
        self.user = self.system = self.run = 0
        self.threads = set()
        for pid in pids:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
            self.user += int(fields[11]) * TICK_NS
            self.system += int(fields[12]) * TICK_NS
            for thread in os.listdir(f"/proc/{pid}/task"):
                self._add_thread(pid, thread)

    def _add_thread(self, pid, thread):
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as schedstat:
                self.run += int(schedstat.read().split()[0])
        except OSError:
            return  # it ended meanwhile, or the kernel keeps no schedstat: the ticks are what is left
        self.threads.add((pid, thread))

    def since(self, before):
        """(total, user, system) in ns. The exact total where no thread ended; the ticks say how it divides."""
        user, system = self.user - before.user, self.system - before.system
        total = user + system
        if self.threads and before.threads <= self.threads:
            total = self.run - before.run
        share = user / (user + system) if user + system > 0 else 0.0
        return total, total * share, total * (1 - share)


def cpu_busy_ns(cpu):
    """What a CPU has spent on anything but idling, stolen time included."""
    with open("/proc/stat", encoding="ascii") as stat:
        for line in stat:
            fields = line.split()
            if fields[0] == f"cpu{cpu}":
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
                return (user + nice + system + irq + softirq + steal) * TICK_NS
    return 0
