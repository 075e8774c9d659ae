"""Flows that stay open from one experiment to another, while the lab is changed between them."""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from lab.verify import experiment as ex
from lab.verify.probe.packets import inside

#: The flows of each ``Keep``, with what was answered; None in the place of one that was never open.
Kept = dict[tuple[str, ex.OpenFlows], list[socket.socket | None]]

_AT_ONCE = 64
_LINE = 65536


def keep(lab: str, what: ex.OpenFlows, kept: Kept) -> ex.Answers:
    """Open flows, and keep those that are answered."""
    _end(kept.pop((lab, what), ()))
    with inside(lab, what.client):
        kind = socket.SOCK_DGRAM if what.kind == "udp" else socket.SOCK_STREAM
        opened = [socket.socket(socket.AF_INET, kind) for _ in range(what.count)]

    def begin(one: socket.socket) -> ex.Answer:
        one.settimeout(what.timeout_s)
        return _tried(lambda: _begin(one, what))

    with ThreadPoolExecutor(min(_AT_ONCE, what.count)) as pool:
        answers = tuple(pool.map(begin, opened))
    there = [one if answer.outcome == "answered" else None for one, answer in zip(opened, answers, strict=True)]
    _end(one for one, held in zip(opened, there, strict=True) if held is None)
    kept[lab, what] = there
    return ex.Answers(answers=answers)


def resume(lab: str, what: ex.ReuseFlows, kept: Kept) -> ex.Answers:
    """Say something over the flows that were kept; one that was never open is not answered."""
    held = kept.pop((lab, what.kept), [])

    def talk(one: socket.socket | None) -> ex.Answer:
        if one is None:
            return ex.Answer("timeout")
        one.settimeout(what.timeout_s)
        return _tried(lambda: _talk(one))

    try:
        with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(held)))) as pool:
            return ex.Answers(answers=tuple(pool.map(talk, held)))
    finally:
        _end(held)


def _tried(conversation: Callable[[], bytes]) -> ex.Answer:
    try:
        return msgspec.convert({"outcome": "answered", **msgspec.json.decode(conversation())}, ex.Answer)
    except TimeoutError:
        return ex.Answer("timeout")
    except (ConnectionError, msgspec.DecodeError):  # a stream that ends has an empty line
        return ex.Answer("refused")


def _begin(opened: socket.socket, what: ex.OpenFlows) -> bytes:
    opened.connect((what.address, what.port))
    if what.kind == "tcp":
        return opened.recv(_LINE)  # the service speaks first
    return _talk(opened)


def _talk(opened: socket.socket) -> bytes:
    opened.send(b"who are you?\n")
    return opened.recv(_LINE)


def _end(sockets: Iterable[socket.socket | None]) -> None:
    """End flows at once: a TCP connection whose far end is silent would go on trying."""
    for opened in sockets:
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            opened.close()
