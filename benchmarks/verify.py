"""``lab verify``: processor and clock seconds, of one small topology and of all, and what side by side saves.

    sudo .venv/bin/python -P benchmarks/verify.py [-o json] [--only NAME] [--rounds N]

Processor seconds are those of the command and of all processes that it waited for: workers, probers, commands. The
agents of labs are not among them: they end with their lab, not with the command. ``at once`` is the sum of the seconds
of all claims in the run, divided by its clock seconds: how many topologies were judged at any moment.
"""

import json
import resource
import subprocess
import time
from typing import Any

from benchmarks import common

#: Of all bundled topologies on two processors, and of one small one.
GOALS = {"all": {"cpu": 90.0, "clock": 60.0}, "source-ip": {"cpu": 3.0, "clock": 3.0}}


def measure(*words: str) -> dict[str, Any]:
    """Return what a run of ``lab verify`` costs, and how it ended."""
    command = [str(common.PYTHON), "-P", "-m", "lab", "verify", "-o", "json", *words]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    clock, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    report = json.loads(done.stdout)
    return {
        "cpu": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
        "clock": clock,
        "at_once": sum(result["seconds"] for result in report["results"]) / clock,
        "summary": report["summary"],
    }


def main() -> None:
    options = common.arguments(__doc__, only={"help": "only this: all, or the name of a bundled topology"})
    common.need_root()
    names = [options.only] if options.only else ["source-ip", "all"]
    things = {
        name: lambda name=name: measure(
            *([] if name == "all" else [str(common.CHECKOUT / "topologies" / f"{name}.lab.yaml")])
        )
        for name in names
    }
    found = common.interleaved(options.rounds or 1, things)
    rows = []
    data: dict[str, Any] = {}
    for name, runs in found.items():
        goals = {
            kind: common.goal(common.median([run[kind] for run in runs]), limit, at_most=True)
            for kind, limit in GOALS.get(name, {}).items()
        }
        data[name] = {"runs": runs, "goals": goals}
        judged = runs[-1]["summary"]
        rows.append(
            (
                name,
                common.spread([run["cpu"] for run in runs]),
                common.spread([run["clock"] for run in runs]),
                common.spread([run["at_once"] for run in runs]),
                f"{judged['holds']} of {sum(judged.values())}",
                ", ".join(f"{kind} {one['goal']} {'met' if one['met'] else 'MISSED'}" for kind, one in goals.items()),
            )
        )
    common.report(options, ("", "CPU s", "clock s", "at once", "hold", "goals"), rows, data)


if __name__ == "__main__":
    main()
