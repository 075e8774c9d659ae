"""Bringing a network up and down, against the floor of what the kernel can do, and against Mininet.

    sudo .venv/bin/python -P benchmarks/up_down.py [--sizes 100 500 1000] [-o json]

``up`` and ``down`` are the whole commands, from the start of the process to its end. ``gone`` is ``down``
and the time until the kernel has let go of every namespace's devices. The floor (floor.c) is N times
unshare, a name, a veth into one router, addresses and routes. Mininet uses its Linux bridge, in a network
namespace of its own; its clock runs inside its process, so that its start is not counted.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from benchmarks import common

ROUNDS = {100: 7, 500: 5, 1000: 3}
MININET_UP = (100, 500)
MININET_DOWN = (100,)
SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Debian's mininet belongs to


class Gone:
    """Tells when the kernel has let go of every namespace dropped before; see floor.c."""

    def __init__(self, floor: Path) -> None:
        self.floor = floor

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([self.floor, "gone"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def wait(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "gone\n"

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def up_and_down(floor: Path, up: Callable[[], Any], down: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of bringing something up, taking it down, and being rid of it."""
    with Gone(floor) as sentinel:
        times = [time.monotonic()]
        up()
        times.append(time.monotonic())
        settle()
        times.append(time.monotonic())
        down()
        times.append(time.monotonic())
        sentinel.wait()
        times.append(time.monotonic())
    settle()
    return {"up": times[1] - times[0], "down": times[3] - times[2], "gone": times[4] - times[2]}


def settle() -> None:
    """Let what the kernel does in the background end, so that it is not counted for whoever is next."""
    time.sleep(0.5)


def without_mininet() -> str:
    """Return why Mininet cannot be measured; empty if it can."""
    if not Path("/usr/lib/python3/dist-packages/mininet").is_dir():
        return "the Debian package mininet is not installed"
    for tool, package in {"brctl": "bridge-utils", "ifconfig": "net-tools", "mnexec": "mininet"}.items():
        if not shutil.which(tool):
            return f"no {tool}, which its Linux bridge needs (Debian package {package})"
    return ""


def mininet(size: int) -> dict[str, float]:
    """Measure Mininet in a process and a network namespace of their own."""
    program = common.HERE / "mininet_yardstick.py"
    return json.loads(common.run("unshare", "--net", SYSTEM_PYTHON, program, size))


def measure(size: int, rounds: int, folder: Path, floor: Path, *, with_mininet: bool) -> dict[str, list[Any]]:
    name = f"bench-up{size}"
    file = common.topology(folder, name, size)

    def floor_with(*options: str) -> dict[str, float]:
        try:
            return up_and_down(
                floor, lambda: common.run(floor, "up", size, *options), lambda: common.run(floor, "down", size)
            )
        finally:
            common.run(floor, "down", size)

    things: dict[str, Callable[[], Any]] = {
        "lab": lambda: up_and_down(
            floor, lambda: common.run(common.LAB, "up", file), lambda: common.run(common.LAB, "down", name)
        ),
        "floor": floor_with,
        "lean floor": lambda: floor_with("links", "noipv6"),
    }
    if with_mininet and size in MININET_UP:
        things["mininet"] = lambda: mininet(size)
    with common.removed(name):
        return common.interleaved(rounds, things)


def judged(size: int, found: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Return the ratios; those with a goal say whether it is met."""

    def column(who: str, what: str) -> list[float]:
        return [one[what] for one in found[who]]

    ratios = {
        f"{what}: lab / {who}": {"ratio": common.ratio(column("lab", what), column(who, what))}
        for what in ("up", "gone")
        for who in ("floor", "lean floor")
    }
    if size == 1000:
        for what in ("up", "gone"):
            one = ratios[f"{what}: lab / floor"]
            ratios[f"{what}: lab / floor"] = common.goal(one["ratio"], 2, at_most=True)
    if "mininet" in found:
        faster = common.ratio(column("mininet", "up"), column("lab", "up"))
        ratios["up: mininet / lab"] = common.goal(faster, {100: 3, 500: 6}[size])
        if size in MININET_DOWN:
            ratios["gone: mininet / lab"] = common.goal(
                common.ratio(column("mininet", "gone"), column("lab", "gone")), 20
            )
    return ratios


def main() -> None:
    options = common.arguments(
        __doc__,
        sizes={"type": int, "nargs": "+", "default": [100, 500, 1000], "help": "numbers of VMs"},
        no_mininet={"action": "store_true", "help": "leave Mininet out"},
    )
    common.need_root()
    common.on_signals()
    reason = "--no-mininet" if options.no_mininet else without_mininet()
    if reason:
        common.say(f"Mininet is left out: {reason}")
    data: dict[str, Any] = {"mininet": reason or "measured", "sizes": {}}
    rows = []
    with common.workplace() as folder:
        floor = common.compiled("floor.c", folder)
        for size in options.sizes:
            rounds = options.rounds or ROUNDS.get(size, 5)
            common.say(f"{size} VMs, {rounds} rounds")
            found = measure(size, rounds, folder, floor, with_mininet=not reason)
            ratios = judged(size, found)
            data["sizes"][size] = {"seconds": found, "ratios": ratios}
            for who, times in found.items():
                cells = [
                    common.spread([t[what] for t in times]) if what in times[0] else ""
                    for what in ("up", "down", "gone")
                ]
                rows.append((str(size), who, *cells))
            for name, one in ratios.items():
                text = common.verdict(one) if "goal" in one else f"{one['ratio']:.2f}"
                rows.append((str(size), name, text, "", ""))
    common.report(options, ("VMs", "", "up, s", "down, s", "gone, s"), rows, data)


if __name__ == "__main__":
    main()
