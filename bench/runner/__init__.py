# SPDX-License-Identifier: MIT
"""The parts of bench/run: targets (servers), clients (load), measure (rounds), report, machine (facts)."""
