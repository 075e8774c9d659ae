"""Many flows from one node at once, opened at a rate and held: real sockets, as a program in the node would use.

A flow is *opened* when its server has answered: with the line of a ``tcp``, ``udp`` or ``http`` service of
the lab, which names the client as the far side saw it, or by the handshake alone where the server is not ours.
It has *failed* if nothing came in time, or if it was refused.
"""

import contextlib
import errno
import json
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

Kind = Literal["tcp", "udp", "http", "connect"]
Outcome = Literal["answered", "refused", "timeout"]
#: How a flow is ended: as programs do, or with a reset.
Ending = Literal["fin", "rst"]

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, no time
_LINE = 65536
_HELLO: dict[Kind, bytes] = {"tcp": b"", "udp": b"?\n", "http": b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n", "connect": b""}


class Target(msgspec.Struct, frozen=True):
    """A server: its address, port, and how it is spoken to."""

    address: str
    port: int
    kind: Kind

    @property
    def transport(self) -> int:
        """The kind of socket that it takes."""
        return socket.SOCK_DGRAM if self.kind == "udp" else socket.SOCK_STREAM


class Result(msgspec.Struct, frozen=True):
    """How one flow was opened, or spoken over: what came of it, after how long, and what the far side saw."""

    outcome: Outcome
    seconds: float
    address: str = ""
    port: int = 0
    began: float = 0.0  # by time.monotonic
    again: bool = False  # it was open, and was spoken over


class _Patience:
    """When flows that are not answered are given up: after a time of their own, or once no answer is awaited."""

    def __init__(self, timeout_s: float, awaited: int | None, silence_s: float) -> None:
        self._timeout_s, self._silence_s = timeout_s, silence_s
        self._awaited = awaited
        self._heard = time.monotonic()

    def hear(self, results: Iterable[Result]) -> None:
        """Note flows that came to something."""
        for result in results:
            self._heard = time.monotonic()
            if self._awaited is not None:
                self._awaited -= result.outcome == "answered"

    def over(self) -> float:
        """Return the moment before which flows that are given up now were begun."""
        now = time.monotonic()
        quiet = now - self._silence_s
        if self._awaited is not None and self._awaited <= 0 and self._heard <= quiet:
            return quiet
        return now - self._timeout_s


class Flow:
    """One flow: a socket that is open, and what is awaited on it."""

    __slots__ = ("began", "connecting", "heard", "opened", "socket", "target")

    def __init__(self, opened: socket.socket, target: Target) -> None:
        self.socket = opened
        self.target = target
        self.connecting = False
        self.opened = False
        self.began = 0.0
        self.heard = b""  # of an answer that is not complete


Opener = Callable[[int], socket.socket]


class Client:
    """Flows of one node. ``opener`` returns a new socket of a kind, in the node's namespace."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.flows: list[Flow] = []
        self._selector = selectors.EpollSelector()

    def close(self) -> None:
        """End all flows that are still there with a reset."""
        self.end(len(self.flows), "rst")
        self._selector.close()

    def open(
        self,
        targets: Sequence[Target],
        count: int,
        *,
        timeout_s: float,
        rate: float = 0.0,
        keepalive_s: int = 0,
        awaited: int | None = None,
        silence_s: float = 0.0,
        hold_s: float = 0.0,
    ) -> list[Result]:
        """Open flows to targets in turn, ``rate`` of them in a second (0: as fast as they go), and hold those opened.

        ``keepalive_s``: have the kernel ask for a sign of life over TCP after so many seconds of silence. ``awaited``:
        so many are meant to be answered; once they are, the others are given up after ``silence_s`` without a word.
        ``hold_s``: speak over each flow again so long after it was opened, whether others are still awaited or not.
        """
        begin = time.monotonic()
        patience = _Patience(timeout_s, awaited, silence_s)
        results: list[Result] = []
        waiting: dict[Flow, None] = {}
        resting: deque[tuple[float, Flow]] = deque()  # until when
        started = 0
        while started < count or waiting or resting:
            now = time.monotonic()
            while started < count and now >= begin + (started / rate if rate else 0):
                flow = Flow(self._opener(targets[started % len(targets)].transport), targets[started % len(targets)])
                started += 1
                if keepalive_s:
                    _keep_alive(flow.socket, keepalive_s)
                if (failure := self._begin(flow)) is None:
                    waiting[flow] = None
                else:
                    results.append(failure)
                if started % 64 == 0:
                    break  # look at answers in between
            while resting and resting[0][0] <= now:
                _, flow = resting.popleft()
                if flow.target.kind != "connect":
                    results += self._speak(flow, waiting)
            next_start = begin + started / rate if rate and started < count else now + (0 if started < count else 0.1)
            next_word = min(next_start, resting[0][0]) if resting else next_start
            held = len(self.flows)
            results += self._answers(waiting, max(0.0, next_word - time.monotonic()), patience)
            if hold_s:
                resting.extend((time.monotonic() + hold_s, flow) for flow in self.flows[held:])
        return results

    def talk(
        self, *, timeout_s: float, first: int | None = None, lost: int | None = None, silence_s: float = 0.0
    ) -> list[Result]:
        """Say something over the ``first`` so many flows that are held, or all, and return what came back.

        ``lost``: so many are meant to be silent, and given up after ``silence_s`` without a word from the others.
        """
        flows = self.flows[:first]
        patience = _Patience(timeout_s, None if lost is None else len(flows) - lost, silence_s)
        results: list[Result] = []
        waiting: dict[Flow, None] = {}
        for flow in flows:
            results += self._speak(flow, waiting)
        while waiting:
            results += self._answers(waiting, 0.1, patience)
        return results

    def end(self, count: int, how: Ending) -> None:
        """End the flows that were opened first."""
        ended, self.flows = self.flows[:count], self.flows[count:]
        for flow in ended:
            if how == "rst" and flow.target.kind != "udp":
                flow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            flow.socket.close()

    # --- one flow -------------------------------------------------------------------------------

    def _begin(self, flow: Flow) -> Result | None:
        flow.began = time.monotonic()
        flow.socket.setblocking(False)
        number = flow.socket.connect_ex((flow.target.address, flow.target.port))
        if number not in (0, errno.EINPROGRESS):
            flow.socket.close()
            return Result("refused", 0.0)
        flow.connecting = number != 0
        if flow.connecting:
            self._selector.register(flow.socket, selectors.EVENT_WRITE, flow)
        else:
            flow.socket.send(_HELLO[flow.target.kind])
            self._selector.register(flow.socket, selectors.EVENT_READ, flow)
        return None

    def _speak(self, flow: Flow, waiting: dict[Flow, None]) -> Iterable[Result]:
        """Say something over a flow that is open, and have its answer awaited; return that it is refused if it is."""
        flow.began = time.monotonic()
        try:
            flow.socket.send(_HELLO[flow.target.kind] or b"?\n")
        except OSError:
            return [Result("refused", 0.0, again=True)]
        self._selector.register(flow.socket, selectors.EVENT_READ, flow)
        waiting[flow] = None
        return []

    def _answers(self, waiting: dict[Flow, None], wait_s: float, patience: _Patience) -> Iterable[Result]:
        """Return the flows that were answered, refused or given up; they are awaited no longer."""
        results = []
        for key, _ in self._selector.select(wait_s):
            result = self._answer(key.data)
            if result is not None:
                results.append(self._finish(key.data, result))
                del waiting[key.data]
        patience.hear(results)
        over = patience.over()
        for flow in list(waiting):
            if flow.began > over:
                break  # begun in this order
            results.append(self._finish(flow, Result("timeout", time.monotonic() - flow.began)))
            del waiting[flow]
        return results

    def _answer(self, flow: Flow) -> Result | None:
        """Return what came of a flow on whose socket something has happened, None if more is to come."""
        seconds = time.monotonic() - flow.began
        try:
            if flow.connecting:
                return self._connected(flow, seconds)
            said = flow.socket.recv(_LINE)
        except OSError:
            said = b""
        if not said:
            return Result("refused", seconds)
        flow.heard += said
        if flow.target.kind == "http" and not flow.heard.endswith(b"}\n"):
            return None
        said, flow.heard = flow.heard, b""
        return Result("answered", seconds, *_sighting(said))

    def _connected(self, flow: Flow, seconds: float) -> Result | None:
        number = flow.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            return Result("timeout" if number == errno.ETIMEDOUT else "refused", seconds)
        flow.connecting = False
        if flow.target.kind == "connect":
            return Result("answered", seconds)
        if hello := _HELLO[flow.target.kind]:
            flow.socket.send(hello)
        self._selector.modify(flow.socket, selectors.EVENT_READ, flow)
        return None

    def _finish(self, flow: Flow, result: Result) -> Result:
        self._selector.unregister(flow.socket)
        result = msgspec.structs.replace(result, began=flow.began, again=flow.opened)
        if result.outcome == "answered" and not flow.opened:
            flow.opened = True
            self.flows.append(flow)
        elif not flow.opened:
            flow.socket.close()
        return result


def _sighting(said: bytes) -> tuple[str, int]:
    """Return the client's address and port as a server of the lab names them; nothing from any other server."""
    body = said.rpartition(b"\r\n\r\n")[2]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        seen = json.loads(body.splitlines()[0] if body else b"")
        return str(seen["client_address"]), int(seen["client_port"])
    return "", 0


def _keep_alive(opened: socket.socket, seconds: int) -> None:
    if opened.type == socket.SOCK_STREAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)


# --- the command ------------------------------------------------------------------------------


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a load came to. Times are milliseconds from a flow's beginning to its first answer."""

    sender: str
    to: str
    flows: int
    opened: int
    refused: int
    timed_out: int
    alive: int | None  # of those opened, after they were held; None: they were not held
    seconds: float  # until the last flow was opened or given up
    latency_ms: dict[str, float]
    source_addresses: tuple[str, ...]
    source_ports: tuple[int, ...]  # as the far side saw them


def run(
    sender: str, target: Target, to: str, flows: int, *, hold_s: float, rate: float, timeout_s: float, ending: Ending
) -> Report:
    """Open flows from the namespace that this process is in, hold each, see which are still alive, and end them."""
    client = Client(lambda kind: socket.socket(socket.AF_INET, kind))
    began = time.monotonic()
    results = client.open([target], flows, timeout_s=timeout_s, rate=rate, hold_s=hold_s)
    client.end(len(client.flows), ending)
    first = [result for result in results if not result.again]
    alive = sum(result.outcome == "answered" for result in results if result.again)
    seconds = max(began, *(result.began + result.seconds for result in first)) - began
    opened = sorted((r for r in first if r.outcome == "answered"), key=lambda r: r.seconds)
    outcomes = [result.outcome for result in first]
    return Report(
        sender=sender,
        to=to,
        flows=flows,
        opened=len(opened),
        refused=outcomes.count("refused"),
        timed_out=outcomes.count("timeout"),
        alive=alive if hold_s > 0 and target.kind != "connect" else None,
        seconds=round(seconds, 3),
        latency_ms={name: round(opened[int(part * (len(opened) - 1))].seconds * 1000, 2) for name, part in _PARTS}
        if opened
        else {},
        source_addresses=tuple(sorted({r.address for r in opened if r.address})),
        source_ports=tuple(sorted({r.port for r in opened if r.port})),
    )


_PARTS = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
