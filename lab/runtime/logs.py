"""The logs of a running lab: of its servers, of sshd, charon and ftp, of its agent, and of own programs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from lab.kernel.state import StateDir, existing

_LOOK_S = 0.1
_ACCESS = "access"
#: What the parts of a log file's name say, behind the node's.
_KINDS = {"auth": "sshd", "ftp": "ftp", "charon": "charon"}


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A file of lines; ``node`` empty: of several nodes, or of none."""

    node: str
    source: str
    file: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.node} {self.source}".strip()


def logs(lab: str, node: str | None = None, *, last: int | None = None) -> tuple[Log, ...]:
    """Return the logs of a lab with their last lines, in the order of nodes.

    Raises:
        UsageError: there is no such lab.

    """
    folder, _ = existing(lab)
    read = (msgspec.structs.replace(log, lines=_last(_lines(log, node), last)) for log in _files(folder, node))
    return tuple(log for log in read if log.lines)


def follow(lab: str, node: str | None, say: Callable[[Log, str], None]) -> None:
    """Say each line that is written from now on, until the lab is removed."""
    folder, _ = existing(lab)
    places = {log.file: Path(log.file).stat().st_size for log in _files(folder, node)}
    while folder.record_file.exists():
        for log in _files(folder, node):
            for line in _new(log, places):
                if _concerns(log, line, node):
                    say(log, line)
        time.sleep(_LOOK_S)


def _new(log: Log, places: dict[str, int]) -> Iterator[str]:
    """Yield the whole lines that a log has behind what was read of it."""
    try:
        with Path(log.file).open("rb") as file:
            size = file.seek(0, 2)
            at = places.get(log.file, 0)
            file.seek(at if at <= size else 0)  # shorter than it was: a new file of that name
            data = file.read()
            begun = file.tell() - len(data)
    except FileNotFoundError:
        return
    whole = data[: data.rfind(b"\n") + 1]
    places[log.file] = begun + len(whole)
    yield from whole.decode(errors="replace").splitlines()


def _files(folder: StateDir, node: str | None) -> list[Log]:
    nodes = sorted(folder.plan().places(), key=len, reverse=True)
    found = []
    for file in sorted(folder.log.glob("*.log*")):
        name = file.name.removesuffix(".1").removesuffix(".log")
        if name in ("agent", _ACCESS):
            log = Log(node="", source=name, file=str(file))
        else:
            name = name.removesuffix(".program")
            owner = next((place for place in nodes if name.startswith(f"{place}.")), "")
            rest = name.removeprefix(f"{owner}.")
            log = Log(node=owner, source=_KINDS.get(rest, rest), file=str(file))
        if node in (None, log.node) or log.source == _ACCESS:
            found.append(log)
    # What is older comes first.
    return sorted(found, key=lambda log: (log.node, log.source, not log.file.endswith(".1")))


def _lines(log: Log, node: str | None) -> tuple[str, ...]:
    try:
        text = Path(log.file).read_text(errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(line for line in text.splitlines() if _concerns(log, line, node))


def _concerns(log: Log, line: str, node: str | None) -> bool:
    return log.source != _ACCESS or node is None or f'"node":"{node}"' in line


def _last(lines: tuple[str, ...], number: int | None) -> tuple[str, ...]:
    return lines if number is None else lines[max(0, len(lines) - number) :]
