"""``lab explain`` and ``lab outbound`` of a file with 1,000 VMs: processor seconds, the start of Python included.

    .venv/bin/python -P benchmarks/predict.py [-o json] [--rounds N]

The bundled `snat-tiers` has 1,000 VMs in one pool. Needs no root.
"""

import resource
import subprocess
from typing import Any

from benchmarks import common

_FILE = common.CHECKOUT / "topologies" / "snat-tiers.lab.yaml"
COMMANDS = {
    "check": (("check", _FILE), None),
    "explain": (("explain", _FILE, "vm0500", "internet"), 0.5),
    "outbound": (("outbound", _FILE), 1.0),
}


def cpu(*words: object) -> float:
    """Return the processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(common.PYTHON), "-P", "-m", "lab", *map(str, words)]
    subprocess.run(command, capture_output=True, check=True, cwd=common.CHECKOUT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    options = common.arguments(__doc__)
    things = {name: lambda words=words: cpu(*words) for name, (words, _) in COMMANDS.items()}
    found = common.interleaved(options.rounds or 5, things)
    rows, data = [], {}
    for name, seconds in found.items():
        limit = COMMANDS[name][1]
        goal: dict[str, Any] | None = common.goal(common.median(seconds), limit, at_most=True) if limit else None
        told = f"{goal['goal']} {'met' if goal['met'] else 'MISSED'}" if goal else ""
        rows.append((name, common.spread(seconds), told))
        data[name] = {"seconds": seconds, "goal": goal}
    common.report(options, ("", "CPU s", "goal"), rows, data)


if __name__ == "__main__":
    main()
