"""Members of pools: carries probes to them and results to the decider, and carries out and logs what follows.

What a result means, and which flows end, is decided in ``deciders/health``. Probes are sent from the platform's
address at the load balancer to the member's own address. A TCP probe opens a connection and closes it as it was
opened, with a FIN of each side; an HTTP probe reads the status of the answer.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import h11
import msgspec

from lab.agent import logs
from lab.deciders.health import Ending, Health, Result, endings
from lab.flow import TCP, UDP, Flow
from lab.kernel import flows
from lab.kernel.state import MemberHealth, replace
from lab.plan import NO_WHY, Backends, HealthCheck

Inside = Callable[[str], contextlib.AbstractContextManager[None]]

#: However fast a lab's time runs: no member is asked more often, no more members are asked in a second, and an
#: answer, which takes a millisecond within a lab, is awaited for so long.
_SHORTEST_S, _EACH_S, _ANSWER_S = 0.1, 0.001, 0.5
#: A timer that comes later than this was kept waiting by ourselves, and so may an answer have been: it is given
#: some more time, and not for ever.
_LATE_S, _MORE_S, _MOST = 0.05, 0.25, 8
#: How long a member may take to close a connection after we have.
_CLOSE_S = 2.0
#: The log is cut to its newer half when it is larger; bytes.
_LOG_BYTES = 8 * 1024 * 1024


class Members:
    """What is known of the members of all pools of a lab; ``told`` is called when that, or a reason, changes.

    ``changed`` is called when members come or go: rules must follow, and then ``follow`` must be called.
    ``unserved`` is called with the frontends' ports that have lost their last healthy member.
    """

    def __init__(
        self,
        lab: str,
        log: Path,
        inside: Inside,
        told: Callable[[], None],
        changed: Callable[[], None],
        unserved: Callable[[list[Backends]], None] | None = None,
    ) -> None:
        self.health: dict[str, Health] = {}
        self._lab = lab
        self._log_file = log
        self._inside = inside
        self._told = told
        self._changed = changed
        self._unserved = unserved
        self._probing: dict[HealthCheck, asyncio.Task[None]] = {}
        self._backends: tuple[Backends, ...] = ()
        self._followed: dict[str, bool] = {}  # the members that flows were ended for, as they were then
        self._newest: dict[str, int] = {}  # the number of the last probe that was answered, or not
        self._logging: asyncio.Task[None] | None = None
        self._log_s = 0.0

    def change(self, checks: Iterable[HealthCheck], backends: Iterable[Backends]) -> None:
        """Ask these members from now on. Of those that were asked before all is kept that is known."""
        wanted = {msgspec.structs.replace(check, why=NO_WHY) for check in checks}
        for check in self._probing.keys() - wanted:
            self._probing.pop(check).cancel()
        keys = {check.key for check in wanted}
        self.health = {key: state for key, state in self.health.items() if key in keys}
        self._followed = {key: up for key, up in self._followed.items() if key in keys}
        pace_s = max(_SHORTEST_S, len(wanted) * _EACH_S)
        for check in sorted(wanted - self._probing.keys(), key=lambda check: check.key):
            self.health.setdefault(check.key, Health(since_s=time.time()))
            self._newest.pop(check.key, None)
            self._probing[check] = _start(self._probe(check, max(check.interval_s, pace_s)))
        self._backends = tuple(backends)
        log_s = min((item.log_s for item in self._backends if item.log_s), default=0.0)
        if log_s != self._log_s:
            self._log_s = log_s
            if self._logging is not None:
                self._logging.cancel()
            self._logging = _start(self._keep_log(log_s)) if log_s else None

    def remember(self, health: Mapping[str, MemberHealth]) -> None:
        """Begin with what was known of members before, which the lab's rules and flows follow."""
        self.health = {
            key: Health(up=h.up, judged=h.judged, taken_out=h.judged and not h.up, since_s=h.since, reason=h.reason)
            for key, h in health.items()
        }
        self._followed = {key: h.up for key, h in health.items() if h.applied and h.judged}

    def known(self) -> dict[str, bool]:
        """Return whether each member is up."""
        return {key: state.up for key, state in self.health.items()}

    def follow(self, known: Mapping[str, bool]) -> None:
        """End the flows that end now that the rules follow what was known."""
        judged = {key: up for key, up in known.items() if (state := self.health.get(key)) and state.judged}
        over: dict[str, list[Ending]] = {}
        for ending in endings(self._backends, self._followed, judged):
            over.setdefault(ending.place, []).append(ending)
        lost = _without_any(self._backends, self._followed, judged)
        if lost and self._unserved is not None:
            self._unserved(lost)
        self._followed = judged
        for place, found in over.items():
            with self._inside(place):
                table = flows.Table(closing_from=flows.TCP_TIME_WAIT)
            with contextlib.closing(table):
                table.forget(_among(table.entries(marks=any(ending.mark for ending in found)), found))

    # --- probes -------------------------------------------------------------------------------

    async def _probe(self, check: HealthCheck, interval_s: float) -> None:
        """Ask a member again and again; an answer that is still awaited does not delay the next probe."""
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        asking: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = _start(self._ask(check, number))
                asking.add(task)
                task.add_done_callback(asking.discard)
                number += 1
                due = max(due + interval_s, loop.time())
                await asyncio.sleep(due - loop.time())
                if asking and loop.time() > due + _LATE_S:
                    # We were kept waiting, and answers that came meanwhile are not judged yet: they come first.
                    await asyncio.wait(asking, timeout=_LATE_S)
        finally:
            for task in asking:
                task.cancel()

    async def _ask(self, check: HealthCheck, number: int) -> None:
        """Send one probe, and judge what comes of it."""
        with self._inside(check.place):
            opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with opened:
            result = await _in_time(_converse(opened, check), max(check.timeout_s, _ANSWER_S))
            self._judge(check, number, result or Result("silence", f"{_where(check)}: no answer"))
            if result is not None and result.kind == "success":
                await _close(opened)

    def _judge(self, check: HealthCheck, number: int, result: Result) -> None:
        if number < self._newest.get(check.key, 0):
            return  # a later probe was answered already
        self._newest[check.key] = number
        before = self.health[check.key]
        after = self.health[check.key] = before.after(result, check, time.time())
        if (after.up, after.judged, after.reason) != (before.up, before.judged, before.reason):
            self._told()
        if (after.up, after.judged) != (before.up, before.judged):
            self._changed()

    # --- the log ------------------------------------------------------------------------------

    async def _keep_log(self, every_s: float) -> None:
        """Write the state of all that is logged, again and again."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + every_s, loop.time())
            await asyncio.sleep(due - loop.time())
            with contextlib.suppress(OSError):  # a full disk: the next record is tried again
                self._log(time.time())

    def _log(self, now_s: float) -> None:
        lines = []
        for item in self._backends:
            if item.log_s:
                down = [m.node for m in item.members if m.check in self.health and not self.health[m.check].up]
                lines.append(msgspec.json.encode(logs.probe_record(self._lab, item, down, now_s)) + b"\n")
        with self._log_file.open("ab") as log:
            log.write(b"".join(lines))
            size = log.tell()
        if size > _LOG_BYTES:
            newer = self._log_file.read_bytes()[size // 2 :]
            replace(self._log_file, newer[newer.index(b"\n") + 1 :])


def _without_any(backends: Iterable[Backends], before: Mapping[str, bool], after: Mapping[str, bool]) -> list[Backends]:
    """Return the frontends' ports whose last healthy member has gone down."""
    return [
        item
        for item in backends
        if item.members
        and all(after.get(member.check) is False for member in item.members)
        and any(before.get(member.check, True) for member in item.members)
    ]


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    task.add_done_callback(_raise)
    return task


def _raise(task: asyncio.Task[None]) -> None:
    """Raise the error of a task that is not awaited."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": f"members: {error!r}", "exception": error})


def _among(entries: Iterable[flows.Entry], found: Iterable[Ending]) -> list[Flow]:
    """Return the flows of a connection table that end."""
    wanted = {
        (
            UDP if e.protocol == "udp" else TCP,
            int(IPv4Address(e.address)),
            e.port,
            None if e.member is None else int(IPv4Address(e.member)),
            e.mark,
        )
        for e in found
    }
    return [
        entry.flow
        for entry in entries
        for flow in (entry.flow,)
        # Port 0: of every port.
        for to in [(flow.protocol, flow.destination, port) for port in (flow.destination_port, 0)]
        if not wanted.isdisjoint(((*to, None, 0), (*to, entry.answerer, 0), (*to, None, entry.mark)))
    ]


# --- one conversation -------------------------------------------------------------------------


def _where(check: HealthCheck) -> str:
    return f"{check.protocol} {check.address}:{check.port}" + (check.request_path if check.protocol == "Http" else "")


async def _in_time(conversation: Coroutine[Any, Any, Result], timeout_s: float) -> Result | None:
    """Return what came of a conversation, None if nothing came in time."""
    loop = asyncio.get_running_loop()
    talk = asyncio.create_task(conversation)
    due = loop.time() + timeout_s
    try:
        for _ in range(_MOST):
            done, _ = await asyncio.wait({talk}, timeout=max(0.0, due - loop.time()))
            if done:
                return talk.result()
            if loop.time() - due < _LATE_S:
                return None
            due = loop.time() + _MORE_S
        return None
    finally:
        if not talk.done():
            talk.cancel()
            await asyncio.wait({talk})  # it lets go of the socket, which is closed after this


async def _converse(opened: socket.socket, check: HealthCheck) -> Result:
    loop = asyncio.get_running_loop()
    where = _where(check)
    try:
        opened.bind((check.source, 0))
        await loop.sock_connect(opened, (check.address, check.port))
        if check.protocol == "Tcp":
            return Result("success")
        status = await _http_status(opened, check)
    except (ConnectionRefusedError, ConnectionResetError) as error:
        return Result("wrong answer", f"{where}: {_words(error)}")
    except h11.RemoteProtocolError as error:
        return Result("wrong answer", f"{where}: {error}")
    except OSError as error:
        return Result("silence", f"{where}: {_words(error)}")
    return Result("success") if status == 200 else Result("wrong answer", f"{where}: status {status}")


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _http_status(opened: socket.socket, check: HealthCheck) -> int:
    loop = asyncio.get_running_loop()
    connection = h11.Connection(h11.CLIENT)
    host = f"{check.address}:{check.port}"
    request = h11.Request(method="GET", target=check.request_path, headers=[("Host", host), ("Connection", "close")])
    await loop.sock_sendall(opened, (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await loop.sock_recv(opened, 65536))
        elif isinstance(event, h11.Response):
            return event.status_code
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("closed before the response")


async def _close(opened: socket.socket) -> None:
    """Close a connection with a FIN, and read until the other side's own: else the kernel would reset it."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        opened.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_CLOSE_S):
            while await loop.sock_recv(opened, 65536):
                pass
