# SPDX-License-Identifier: MIT
"""Tare's tasks in gdb, of a live process or a core:

  (gdb) source tools/gdb/tare.py
  (gdb) tare tasks          every task: id, name, what it does or waits for, who started it
  (gdb) tare bt 7           the backtrace of task 7
  (gdb) tare bt all         of every task that is not running
  (gdb) tare task 7         go to task 7: then bt, up, info locals … are its own
  (gdb) tare back           return to where the thread was; do so before the process runs on

A stopped task is shown by putting the registers that rt_switch saved into the selected thread's for the while; in a core, which
has no registers to write, `tare bt` follows the frame pointers instead and `tare task` is refused. The library has to be built
with -g. It reads struct tare_task, struct rt_worker and struct tare_pool (src/mem/pool_int.h) by their names.
"""

import gdb

# Where switch_*.S keeps what a stopped task needs, in words from its stack pointer; the size of it all.
LAYOUTS = {
    "i386:x86-64": ({"r15": 0, "r14": 1, "r13": 2, "r12": 3, "rbx": 4, "rbp": 5, "rip": 6}, 7, "rsp"),
    "aarch64": ({**{"x%d" % n: n - 19 for n in range(19, 31)}, "pc": 11}, 20, "sp"),
}
STATES = ["free", "runnable", "running", "parked", "done"]

saved = {}  # register: value, of the thread that stands in for a task


def value(expression):
    return gdb.parse_and_eval(expression)


def layout():
    name = gdb.selected_frame().architecture().name()
    if name not in LAYOUTS:
        raise gdb.GdbError("tare: no layout of a stopped task for %s" % name)
    return LAYOUTS[name]


def word(address):
    pointer = gdb.lookup_type("unsigned long").pointer()
    return int(gdb.Value(address).cast(pointer).dereference())


def objects(pool):
    """Every object that the pool ever made."""
    pool = pool.dereference()
    base, stride = int(pool["base"]), int(pool["stride"])
    for i in range(int(pool["made"])):
        yield base + i * stride


def tasks():
    rt = value("rt")
    if int(rt["tasks"]) == 0:
        raise gdb.GdbError("tare: no runtime runs")
    current = {int(rt["workers"][i]["current"]): i for i in range(int(rt["worker_count"]))}
    kind = gdb.lookup_type("struct tare_task").pointer()
    for address in objects(rt["tasks"]):
        task = gdb.Value(address).cast(kind).dereference()
        if int(task["state"]) != 0:
            yield task, current.get(address)


def find(text):
    try:
        number = int(text)
    except ValueError:
        raise gdb.GdbError("tare: give a task's number, as `tare tasks` prints it") from None
    for task, worker in tasks():
        if int(task["id"]) == number:
            return task, worker
    raise gdb.GdbError("tare: there is no task %d" % number)


def reason(task):
    names = gdb.lookup_type("enum rt_reason")
    for field in names.fields():
        if field.enumval == int(task["reason"]):
            return field.name.removeprefix("RT_").lower()
    return "?"


def describe(task, worker):
    state = STATES[int(task["state"])]
    if worker is not None:
        state = "running on worker %d" % worker
    elif state == "parked":
        state += ": " + reason(task)
    by = gdb.block_for_pc(int(task["started_at"]) - 1) if int(task["started_at"]) else None
    while by is not None and by.function is None:
        by = by.superblock
    started = "; started by %s" % by.function if by is not None else ""
    return 'task %d "%s": %s%s' % (int(task["id"]), task["name"].string(errors="replace"), state, started)


def stopped(task, worker):
    """The saved stack pointer of a task that is not running."""
    if worker is not None:
        raise gdb.GdbError("tare: it is running; see its thread, tare-worker-%d ('info threads')" % worker)
    if int(task["stack"]["base"]) == 0 or STATES[int(task["state"])] == "done":
        raise gdb.GdbError("tare: it has no stack: it has not begun, or has ended")
    return int(task["sp"])


def enter(sp):
    registers, words, stack_register = layout()
    frame = gdb.newest_frame()
    frame.select()
    if not saved:
        saved.update({name: int(frame.read_register(name)) for name in [*registers, stack_register]})
        saved["thread"] = gdb.selected_thread().num
    values = {name: word(sp + 8 * at) for name, at in registers.items()}
    values[stack_register] = sp + 8 * words
    for name, number in values.items():
        gdb.execute("set var $%s = %d" % (name, number), to_string=True)
    gdb.newest_frame().select()


def leave():
    if not saved:
        return
    gdb.execute("thread %d" % saved.pop("thread"), to_string=True)
    gdb.newest_frame().select()
    for name, number in saved.items():
        gdb.execute("set var $%s = %d" % (name, number), to_string=True)
    saved.clear()
    gdb.newest_frame().select()


def walk(sp):
    """By frame pointers, for a core."""
    registers, _, _ = layout()
    frame_at, pc_at = (registers["rbp"], registers["rip"]) if "rip" in registers else (registers["x29"], registers["pc"])
    pc, frame = word(sp + 8 * pc_at), word(sp + 8 * frame_at)
    for number in range(64):
        print("#%-2d %s" % (number, gdb.execute("info symbol %d" % pc, to_string=True).strip()))
        if frame == 0:
            return
        following, pc = word(frame), word(frame + 8)
        if pc == 0 or 0 < following <= frame:
            return
        frame = following


def live():
    return gdb.selected_inferior().pid != 0 and gdb.selected_thread() is not None and \
        "core" not in gdb.selected_inferior().connection.type


def backtrace(task, worker):
    sp = stopped(task, worker)
    if saved or not live():
        walk(sp)
        return
    try:
        enter(sp)
        gdb.execute("bt")
    finally:
        leave()


class Tare(gdb.Command):
    """Tare's tasks: tare tasks, tare bt N|all, tare task N, tare back."""

    def __init__(self):
        super().__init__("tare", gdb.COMMAND_STACK, prefix=True)


class Tasks(gdb.Command):
    """List every task."""

    def __init__(self):
        super().__init__("tare tasks", gdb.COMMAND_STACK)

    def invoke(self, _, from_tty):
        for task, worker in tasks():
            print(describe(task, worker))


class Backtrace(gdb.Command):
    """The backtrace of a task that is not running: tare bt N, or tare bt all."""

    def __init__(self):
        super().__init__("tare bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        chosen = list(tasks()) if argument.strip() == "all" else [find(argument)]
        for task, worker in chosen:
            print(describe(task, worker))
            try:
                backtrace(task, worker)
            except gdb.GdbError as e:
                if len(chosen) == 1:
                    raise
                print("    (%s)" % e)


class Task(gdb.Command):
    """Go to a task that is not running: tare task N. `tare back` returns."""

    def __init__(self):
        super().__init__("tare task", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        task, worker = find(argument)
        sp = stopped(task, worker)
        if not live():
            raise gdb.GdbError("tare: a core's registers can't be changed; `tare bt` shows the task")
        leave()
        enter(sp)
        print(describe(task, worker))
        gdb.execute("frame")


class Back(gdb.Command):
    """Return to where the thread was before `tare task`."""

    def __init__(self):
        super().__init__("tare back", gdb.COMMAND_STACK)

    def invoke(self, _, from_tty):
        if not saved:
            raise gdb.GdbError("tare: no task was gone to")
        leave()


# A process that is let go goes on as itself.
if hasattr(gdb.events, "gdb_exiting"):
    gdb.events.gdb_exiting.connect(lambda _: leave())

Tare()
Tasks()
Backtrace()
Task()
Back()
