"""Packets at several places of a running lab at once, by tcpdump in each."""

import heapq
import os
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from lab.errors import LabError, UsageError
from lab.formats.pcap import Frame, Reader
from lab.kernel import daemons, netns
from lab.plan import namespace

_START_S = 10.0  # until tcpdump listens
_PART = 1 << 16
#: Packets are put into the order of their times once they are so old: those of each place come by a pipe of its own.
_SETTLED_NS = 50_000_000


class Captured(msgspec.Struct, frozen=True):
    """A packet, where it was seen (PLACE/DEVICE), and the kind of its link as in a capture file."""

    at: str
    link_type: int
    frame: Frame


def devices(lab: str, places: Iterable[str]) -> list[tuple[str, str]]:
    """Return the network devices of places, but for their loopback."""
    found = []
    for place in places:
        with netns.visit(namespace(lab, place)):
            found += [(place, device) for _, device in socket.if_nameindex() if device != "lo"]
    return found


class Capture:
    """Captures that are running; ``packets`` yields what they see, in the order of their coming."""

    def __init__(self, running: dict[str, daemons.Piped]) -> None:
        self._running = running

    @property
    def places(self) -> tuple[str, ...]:
        """The places and devices that are captured at."""
        return tuple(self._running)

    def packets(self, seconds: float | None) -> Iterator[Captured]:
        """Yield packets in the order of their times until the time is over, or for ever."""
        waiting: list[tuple[int, int, Captured]] = []
        for number, packet in enumerate(self._as_read(seconds)):
            if packet is not None:
                heapq.heappush(waiting, (packet.frame.at_ns, number, packet))
            settled = time.time_ns() - _SETTLED_NS
            while waiting and waiting[0][0] < settled:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _as_read(self, seconds: float | None) -> Iterator[Captured | None]:
        """Yield packets as they are read, and None whenever the reader should look whether others have settled."""
        readers = {at: Reader() for at in self._running}
        end = None if seconds is None else time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for at, process in self._running.items():
                selector.register(process.output, selectors.EVENT_READ, at)
            while selector.get_map() and (end is None or time.monotonic() < end):
                for key, _ in selector.select(_SETTLED_NS / 1e9):
                    part = os.read(key.fd, _PART)
                    if not part:
                        selector.unregister(key.fd)
                    for frame in readers[key.data].feed(part):
                        yield Captured(key.data, readers[key.data].link_type or 0, frame)
                yield None


@contextmanager
def capturing(lab: str, places: Iterable[str], expression: Sequence[str]) -> Iterator[Capture]:
    """Capture at all devices of places what a filter expression of pcap-filter(7) lets through.

    Raises:
        UsageError: the expression is none.
        LabError: tcpdump is missing, or does not listen.

    """
    running: dict[str, daemons.Piped] = {}
    with ExitStack() as stack:
        for place, device in devices(lab, places):
            command = ["tcpdump", "-i", device, "-w", "-", "-U", "--immediate-mode", "-n", "--nano", *expression]
            process = daemons.Piped(command, lambda place=place: netns.enter(namespace(lab, place)))  # type: ignore[misc]
            stack.callback(process.end)
            running[f"{place}/{device}"] = process
        for process in running.values():
            _wait_listening(process, expression)
        yield Capture(running)


def _wait_listening(process: daemons.Piped, expression: Sequence[str]) -> None:
    """Wait until a tcpdump says that it listens."""
    said, end = b"", time.monotonic() + _START_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.errors, selectors.EVENT_READ)
        while b"listening on" not in said:
            ready = selector.select(max(0.0, end - time.monotonic()))
            part = os.read(process.errors, _PART) if ready else b""
            said += part
            if ready and not part:
                words = said.decode(errors="replace").strip().splitlines()[-1:]
                raise UsageError(
                    f'filter "{" ".join(expression)}": {"".join(words).removeprefix("tcpdump: ")}; '
                    "it must be a filter of tcpdump; see pcap-filter(7)"
                )
            if not ready:
                raise LabError(f"tcpdump does not listen after {_START_S:g} s: {said.decode(errors='replace')}")
