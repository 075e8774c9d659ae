"""Commands that are killed at a step: each effect on the machine, such as a mount, a message, a file or a signal.

A command runs in a process that is forked from the test's. Every function below is counted, in that process and in the
ones that it forks, and the process is killed with SIGKILL before the one of a number is done.
"""

import contextlib
import functools
import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import cli
from lab.kernel import daemons, fragments, netfilter, netns, rtnl, state, timeouts

#: Where the machine is altered: whose attribute, and its name. What ends or starts a process counts, too.
STEPS: tuple[tuple[Any, str], ...] = (
    (netns, "_call"),
    (netns, "_unmount"),
    (netns, "write_sysctl"),
    (netns, "make_folder"),
    (netns, "remove_seed"),
    (rtnl.Link, "flush"),
    (netfilter, "_commit"),
    (timeouts, "write_here"),
    (fragments, "write_here"),
    (state.StateDir, "write"),
    (state.StateDir, "remove"),
    (state, "replace"),
    (state, "note_removed"),
    (daemons, "start"),
    (daemons, "stop"),
    (daemons, "end_all"),
    (os, "kill"),
    (os, "link"),
    (os, "unlink"),
    (Path, "unlink"),
    (Path, "rmdir"),
)


def kill_at(number: int, *arguments: str | Path) -> int | None:
    """Run the command line, killed before step ``number``; return how many steps it took if it ended by itself."""
    shared = mmap.mmap(-1, 8)
    pid = os.fork()
    if pid == 0:
        _run(shared, number, [str(argument) for argument in arguments])
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, f"lab {arguments}: exit {os.WEXITSTATUS(status)}"
    return int.from_bytes(shared[:8], sys.byteorder)


def _run(shared: mmap.mmap, number: int, arguments: list[str]) -> None:
    main, kill = os.getpid(), os.kill

    def count() -> None:
        done = int.from_bytes(shared[:8], sys.byteorder)
        if done == number:
            kill(main, signal.SIGKILL)  # its children are killed with it
            kill(os.getpid(), signal.SIGKILL)
        shared[:8] = (done + 1).to_bytes(8, sys.byteorder)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def step(*words: Any, **options: Any) -> Any:
            count()
            return function(*words, **options)

        return step

    status = 1
    try:
        for owner, name in STEPS:
            step = counted(getattr(owner, name))
            for module in (owner, *_importers(getattr(owner, name), name)):
                setattr(module, name, step)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        sys.argv = ["lab", *arguments]
        cli.main()
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        os._exit(status)


def _importers(function: object, name: str) -> list[Any]:
    """Return the modules of the project that have imported a function by its name."""
    ours = (module for key, module in sys.modules.items() if key.startswith("lab."))
    return [module for module in ours if module is not None and vars(module).get(name) is function]


def machine(*ours: int) -> dict[str, Any]:
    """Return what a lab could leave on the machine, as data; ``ours``: processes of the test's own."""
    found: dict[str, Any] = {}
    for what in ("link", "addr", "route", "rule", "netns"):
        words = ["ip", "-j", "-d", what, "show"] if what != "netns" else ["ip", "-j", "netns", "list"]
        words += ["table", "all"] if what == "route" else []
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        found[what] = json.loads(done.stdout or "[]")
    found["filter"] = [
        line.split(" [")[0]
        for line in subprocess.run(
            ["iptables-legacy-save"], capture_output=True, text=True, check=False
        ).stdout.splitlines()
        if not line.startswith("#")
    ]
    found["sysctls"] = {
        str(file): file.read_text()
        for folder in ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "netfilter")
        for file in sorted(Path("/proc/sys/net", folder).rglob("*"))
        if file.is_file() and os.access(file, os.R_OK) and "count" not in file.name and "stable_secret" not in file.name
    }
    found["mounts"] = sorted(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found["files"] = sorted(str(path) for path in Path("/run").rglob("*") if path.name != ".removed")
    found["processes"] = sorted(_processes() - {*ours})
    return found


def _processes() -> set[int]:
    """Return the processes that see this /run."""
    here = Path("/run").stat()
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            there = (entry / "root/run").stat()
            ended = (entry / "stat").read_text().rpartition(") ")[2][0] == "Z"
            if entry.name.isdecimal() and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and not ended:
                found.add(int(entry.name))
    return found
