# SPDX-License-Identifier: MIT
"""What a program says on standard error beside what it was asked: on a machine that is busy with others a task may be late."""
import re

REPORT = re.compile(r"^tare: task \d+ .* has run for \d+ ms .*\n(?:    .*\n)*", re.MULTILINE)


def without_late_tasks(text):
    """The text without the watchdog's reports."""
    return REPORT.sub("", text)
