"""What dead labs have left: found by the marks that all things of a lab carry, where no record tells of them.

A lab is dead if a killed command left it half made or half removed, if its record cannot be read, or if it has none.
The marks are: a namespace is called ``lab.NAME.PLACE`` and has IPv6 off, as every namespace of a lab; a process runs
one of our programs for a lab, and sees the same /run; a file lies under /run/lab. Nothing else is touched.
"""

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from lab.errors import BrokenRecordError, LabLocked
from lab.kernel import daemons, netns, state
from lab.kernel.daemons import Process
from lab.kernel.state import LabState, StateDir
from lab.plan import namespace

_PROGRAMS = (b"lab.agent", b"lab.kernel.keeper")


class Remains(msgspec.Struct, frozen=True):
    """What a dead lab has left."""

    lab: str
    why: str
    namespaces: tuple[str, ...]
    processes: tuple[Process, ...]
    files: tuple[str, ...]


def find() -> list[Remains]:
    """Return what dead labs have left, by their names."""
    spaces, running = _namespaces(), _processes()
    names = {*spaces, *running, *state.folders(), *_locks()}
    found = []
    for lab in sorted(names):
        why = _why_dead(lab)
        if why:
            files = (StateDir(lab).path, state.RUN / f".{lab}.lock", state.RUN / f".{lab}.busy")
            there = tuple(str(file) for file in files if file.exists())
            found.append(Remains(lab, why, tuple(spaces.get(lab, ())), tuple(running.get(lab, ())), there))
    return found


def _why_dead(lab: str) -> str:
    """Say why a lab is dead, "" if it is not, or if a command is at work on it."""
    if state.holder(lab) is not None:
        return ""
    try:
        record = StateDir(lab).read()
    except BrokenRecordError:
        return "its record cannot be read"
    if record is None:
        return "it has no record"
    if record.state in ("building", "removing"):
        return f"a command was killed while {record.state} it"
    return ""


def salvaged(folder: StateDir) -> LabState:
    """Return a record made of what carries the marks of a lab whose own record cannot be read or is gone."""
    return LabState(
        lab=folder.lab,
        state="removing",
        file="",
        profile="",
        time_scale=1,
        created=0.0,
        namespaces=namespaces_of(folder.lab),
    )


def namespaces_of(lab: str) -> tuple[str, ...]:
    """Return the namespaces that carry the mark of a lab."""
    return tuple(_namespaces(lab).get(lab, ()))


def end_processes(lab: str) -> None:
    """End the processes that carry the mark of a lab."""
    daemons.end_all(_processes().get(lab, ()))


def remove_lock(lab: str) -> None:
    """Remove the lock of a lab that is not there, unless a command holds it."""
    with contextlib.suppress(LabLocked), state.locked(lab, deadline_s=0.0):
        pass


def _namespaces(lab: str = "*") -> dict[str, list[str]]:
    """Return the namespaces that carry our mark, by lab."""
    names = [path.name for path in sorted(netns.RUN.glob(namespace(lab, "*"))) if netns.exists(path.name)]
    found: dict[str, list[str]] = {}
    for name in netns.in_child(_marked, names) if names else ():
        found.setdefault(name.split(".")[1], []).append(name)
    return found


def _marked(names: list[str]) -> list[str]:
    """Return the namespaces that have IPv6 off; all, where the kernel has none. Runs in a child."""
    found = []
    for name in names:
        netns.enter(name)
        try:
            off = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text().strip() == "1"
        except FileNotFoundError:
            off = True
        found += [name] * off
    return found


def _processes() -> dict[str, list[Process]]:
    """Return the processes that run our programs for labs in this /run."""
    ours, found = Path("/run").stat(), dict[str, list[Process]]()
    for lab, pid, entry in _commands():
        with contextlib.suppress(OSError):
            there = (entry / "root/run").stat()
            process = daemons.identify(pid)
            if process is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                found.setdefault(lab, []).append(process)
    return found


def _commands() -> Iterator[tuple[str, int, Path]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                for program, lab in pairwise(words):
                    if program in _PROGRAMS and words[words.index(program) - 1] == b"-m":
                        yield lab.decode(errors="replace"), int(entry.name), entry


def _locks() -> set[str]:
    """Return the labs that a lock lies there for, and that have no folder."""
    names = {path.name.removesuffix(".lock")[1:] for path in state.RUN.glob(".*.lock")}
    return {name for name in names if not StateDir(name).path.exists()}
