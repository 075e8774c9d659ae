"""CPU seconds of the commands that make nothing, and what they do not load.

    .venv/bin/python -P benchmarks/startup.py [-o json]

``lab --help``, and ``lab check`` and ``lab plan`` of each bundled topology; ``scripts/lab`` against
``.venv/bin/python -P -m lab``, which it ends in. CPU seconds are those of the process and its children.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import common

GOAL_S = 0.3
UNWANTED = ("scapy", "iptc")
DIRECT = (str(common.PYTHON), "-P", "-m", "lab")
SCRIPT = (str(common.LAB),)


def cost(words: Sequence[str]) -> tuple[float, float]:
    """Return the CPU and the clock seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    common.run(*words)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, seconds


def loaded(words: Sequence[str]) -> set[str]:
    """Return the top-level modules that a command of ours imports."""
    program = (str(common.PYTHON), "-X", "importtime", *DIRECT[1:], *words)
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def main() -> None:
    options = common.arguments(__doc__)
    rounds = options.rounds or 9
    files = sorted((common.CHECKOUT / "topologies").glob("*.lab.yaml"))
    commands = [("--help",), *((verb, str(file)) for file in files for verb in ("check", "plan"))]
    data: dict[str, Any] = {"goal_cpu_s": GOAL_S, "commands": {}}
    rows = []
    for words in commands:
        things: dict[str, Callable[[], tuple[float, float]]] = {
            "python -m lab": lambda words=words: cost((*DIRECT, *words)),
            "scripts/lab": lambda words=words: cost((*SCRIPT, *words)),
        }
        found = common.interleaved(rounds, things)
        shown = " ".join(word.rpartition("/")[2] for word in words)
        cpu = {who: [one[0] for one in all_of] for who, all_of in found.items()}
        worst = common.goal(common.median(cpu["scripts/lab"]), GOAL_S, at_most=True)
        unwanted = sorted(loaded(words) & set(UNWANTED))
        overhead = common.median(
            [b[1] - a[1] for a, b in zip(found["python -m lab"], found["scripts/lab"], strict=True)]
        )
        data["commands"][shown] = {
            "cpu_and_clock_s": found,
            "cpu": worst,
            "imports_unwanted": unwanted,
            "script_overhead_s": overhead,
        }
        rows.append(
            (
                f"lab {shown}",
                *(common.spread(all_of) for all_of in cpu.values()),
                f"{overhead * 1000:.0f} ms",
                f"<= {GOAL_S} {'met' if worst['met'] else 'MISSED'}",
                " ".join(unwanted) or f"neither {' nor '.join(UNWANTED)}",
            )
        )
    header = ("", "python -m lab, CPU s", "scripts/lab, CPU s", "script adds", "goal", "imports")
    common.report(options, header, rows, data)
    sys.exit(any(one["imports_unwanted"] for one in data["commands"].values()))


if __name__ == "__main__":
    main()
