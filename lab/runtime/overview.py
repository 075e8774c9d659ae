"""A running lab at a glance, cheap enough to look at each second: what is large is read again only when it changed."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lab.deciders.snat_ports import Usage
from lab.kernel import apply
from lab.kernel.state import existing
from lab.plan import Namespace
from lab.runtime import snat_usage

_EVENTS = 8
_Held = TypeVar("_Held")


class PortRow(msgspec.Struct, frozen=True, kw_only=True):
    """SNAT ports of a VM, at one address and for one protocol."""

    vm: str
    address: str
    protocol: str
    allocated: int
    flows: int
    fullest: int
    peak: int
    refused: int


class Down(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a pool that is down."""

    member: str
    since: float
    reason: str


class TunnelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tunnel of a gateway."""

    network: str
    site: str
    state: str
    reason: str
    ingress: int
    egress: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What is worth a look."""

    lab: str
    state: str
    profile: str
    time_scale: int
    vms: int
    stopped: int
    hosts: int
    flows: int  # that hold a SNAT port
    refused: int
    given: int
    ports: tuple[PortRow, ...]  # the fullest first; a VM that never used one is not there
    members: int
    down: tuple[Down, ...]
    tunnels: tuple[TunnelRow, ...]
    events: tuple[dict[str, Any], ...]  # the last records, oldest first


class Cache:
    """What files hold, read again only if a file is another one than the last time."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int], Any]] = {}

    def get(self, file: Path, read: Callable[[], _Held]) -> _Held | None:
        """Return what ``read`` makes of a file; None if there is none."""
        try:
            found = file.stat()
        except FileNotFoundError:
            return None
        now = (found.st_mtime_ns, found.st_size)
        if file not in self._read or self._read[file][0] != now:
            self._read[file] = (now, read())
        held: _Held = self._read[file][1]
        return held


class Watcher:
    """Looks at one lab again and again."""

    def __init__(self, lab: str) -> None:
        self._lab = lab
        self._cache = Cache()

    def look(self) -> Overview:
        """Return how the lab is now.

        Raises:
            UsageError: there is no such lab.
            InconclusiveError: its agent does not answer.

        """
        folder, record = existing(self._lab)
        used = snat_usage.usage(self._lab)
        roles = self._cache.get(folder.plan_file, lambda: [item.role for item in folder.plan().of(Namespace)]) or []
        health = self._cache.get(folder.health_file, folder.health) or {}
        gateways = self._cache.get(folder.gateways_file, folder.tunnels) or {}
        events = self._cache.get(folder.events_file, lambda: tuple(deque(snat_usage.events(self._lab), maxlen=_EVENTS)))
        return Overview(
            lab=self._lab,
            state=apply.agent_trouble(record) or record.state,
            profile=record.profile,
            time_scale=record.time_scale,
            vms=roles.count("vm"),
            stopped=len(record.absent),
            hosts=roles.count("host"),
            flows=sum(one.flows for one in used),
            refused=sum(one.refused for one in used),
            given=sum(one.given for one in used),
            ports=_rows(used),
            members=len(health),
            down=tuple(
                Down(member=key, since=member.since, reason=member.reason)
                for key, member in sorted(health.items())
                if not member.up
            ),
            tunnels=tuple(
                TunnelRow(
                    network=place, site=site, state=one.state, reason=one.reason, ingress=one.ingress, egress=one.egress
                )
                for place, gateway in gateways.items()
                for site, one in gateway.tunnels.items()
            ),
            events=events or (),
        )


def _rows(used: Sequence[Usage]) -> tuple[PortRow, ...]:
    rows = [
        PortRow(
            vm=one.node, address=one.address, protocol=one.protocol, allocated=one.allocated, flows=one.flows,
            fullest=one.fullest, peak=one.peak, refused=one.refused,
        )
        for one in used
        if one.given or one.refused
    ]  # fmt: skip
    return tuple(
        sorted(rows, key=lambda row: (-row.fullest / max(row.allocated, 1), row.vm, row.address, row.protocol))
    )


def ago(since: float, now: float | None = None) -> str:
    """Say how long ago a moment was."""
    seconds = max(0, int((now if now is not None else time.time()) - since))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
