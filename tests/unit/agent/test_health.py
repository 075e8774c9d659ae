"""lab/agent/health.py: one probe over real sockets of the loopback interface; the log; which entries of a table end."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.agent import health, servers
from lab.agent.health import Members
from lab.deciders.health import Ending, Health, Result
from lab.flow import TCP, UDP, Flow
from lab.kernel.flows import Entry
from lab.plan import Backend, Backends, HealthCheck, Provenance
from tests import rootlab

_NOWHERE = Provenance("", "")


def check(port: int, protocol: str = "Tcp", path: str = "/", **more: Any) -> HealthCheck:
    values: dict[str, Any] = {
        "place": "lb", "why": _NOWHERE, "load_balancer": "lb1", "probe": "p", "node": "a", "protocol": protocol,
        "source": "127.0.0.1", "address": "127.0.0.1", "port": port, "request_path": path, "interval_s": 0.1,
        "timeout_s": 0.5, "failures": 1, "successes": 1, "wrong_answer_counts": True,
    }  # fmt: skip
    return HealthCheck(**{**values, **more})


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def probed(handler: Any, protocol: str, path: str = "/") -> Result | None:
    """Return what comes of one probe of a server."""

    async def run() -> Result | None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as opened:
                return await health._in_time(health._converse(opened, check(port, protocol, path)), 0.5)

    return asyncio.run(run())


def reason(result: Result | None) -> tuple[str, str]:
    assert result is not None
    return result.kind, result.why.partition("127.0.0.1:")[2].lstrip("0123456789")


@pytest.mark.parametrize("protocol", ["Tcp", "Http"])
def test_a_server_that_answers_is_healthy(protocol: str) -> None:
    assert probed(servers.http("web"), protocol) == Result("success")


@pytest.mark.parametrize("status", [201, 301, 404, 503])
def test_any_status_but_200_is_a_wrong_answer(status: int) -> None:
    found = reason(probed(servers.http("web"), "Http", f"/status/{status}"))
    assert found == ("wrong answer", f"/status/{status}: status {status}")


def test_what_speaks_no_http_is_a_wrong_answer() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready to serve\r\n\r\n")
        await writer.drain()
        writer.close()

    kind, why = reason(probed(babble, "Http"))
    assert kind == "wrong answer"
    assert why.startswith("/: ")


def test_a_server_that_closes_without_an_answer_is_a_wrong_answer() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    kind, _ = reason(probed(hang_up, "Http"))
    assert kind == "wrong answer"


def test_a_server_that_is_silent_is_not_heard_in_time() -> None:
    assert probed(servers.http("web"), "Http", "/silence") is None


def test_a_port_that_nobody_listens_on_refuses() -> None:
    async def run() -> Result | None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as opened:
            return await health._in_time(health._converse(opened, check(free_port())), 0.5)

    assert reason(asyncio.run(run())) == ("wrong answer", ": connection refused")


def test_an_answer_that_we_ourselves_kept_waiting_counts() -> None:
    """The loop stands still for longer than the timeout while an answer is on its way."""

    async def run() -> Result | None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()

        async def converse() -> Result:
            return await answer

        loop.call_later(0.12, answer.set_result, Result("success"))
        loop.call_later(0.01, _stand_still, 0.3)
        return await health._in_time(converse(), 0.1)

    assert asyncio.run(run()) == Result("success")


def _stand_still(seconds: float) -> None:

    time.sleep(seconds)


# --- all of them ------------------------------------------------------------------------------


@contextlib.contextmanager
def here(_place: str) -> Iterator[None]:
    yield


def living(log: Path, work: Callable[[Members, list[str]], Coroutine[Any, Any, None]]) -> None:
    """Have members probed on the loopback interface for as long as some work takes."""

    async def run() -> None:
        happened: list[str] = []
        made = Members("w", log, here, lambda: happened.append("told"), lambda: happened.append("changed"))
        try:
            await work(made, happened)
        finally:
            made.change((), ())
            await asyncio.sleep(0)

    asyncio.run(run())


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(rootlab.DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)
    assert condition(), what


def test_a_probe_that_is_late_lets_the_answers_that_came_meanwhile_be_judged_first(tmp_path: Path) -> None:
    """The loop stands still for three intervals while the first one to be answered wrongly begins."""
    asked: list[bool] = []  # for each probe: whether the server was sick already
    sick = False

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (503 if sick else 200))
        writer.close()

    @contextlib.contextmanager
    def counted(_place: str) -> Iterator[None]:
        asked.append(sick)
        yield
        if sick and asked.count(True) == 1:
            _stand_still(0.35)

    async def run() -> int:
        nonlocal sick
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        one = check(server.sockets[0].getsockname()[1], "Http")
        taken: list[int] = []
        changed: Callable[[], None] = lambda: taken.append(asked.count(True))  # noqa: E731
        made = Members("w", tmp_path / "log", counted, lambda: None, changed)
        async with server:
            made.change([one], ())
            await until(lambda: made.known()[one.key], "it comes up")
            sick = True
            await until(lambda: not made.known()[one.key], "it goes down")
            made.change((), ())
        return taken[-1]

    assert asyncio.run(run()) == 1


def test_a_member_is_asked_again_and_again_and_what_is_known_survives_a_change(tmp_path: Path) -> None:
    async def work(made: Members, happened: list[str]) -> None:
        server = await asyncio.start_server(servers.tcp("a"), "127.0.0.1", 0)
        one = check(server.sockets[0].getsockname()[1])
        made.change([one], ())
        assert made.known() == {one.key: False}
        await until(lambda: made.known()[one.key], "it comes up")
        assert happened == ["told", "changed"]
        since = made.health[one.key].since_s
        made.change([msgspec.structs.replace(one, why=Provenance("another", "reason"))], ())
        assert made.health[one.key].since_s == since
        server.close()
        await server.wait_closed()
        await until(lambda: not made.known()[one.key], "it goes down")
        assert "connection refused" in made.health[one.key].reason
        made.change((), ())
        assert made.known() == {}

    living(tmp_path / "log", work)


def test_a_result_of_an_earlier_probe_than_the_last_one_is_old_news(tmp_path: Path) -> None:
    async def work(made: Members, _happened: list[str]) -> None:
        one = check(free_port())
        made.health[one.key] = Health()
        made._judge(one, 2, Result("success"))
        made._judge(one, 1, Result("silence", "too late"))
        assert made.known() == {one.key: True}

    living(tmp_path / "log", work)


def test_a_frontend_is_told_of_when_its_last_healthy_member_goes_down(tmp_path: Path) -> None:
    async def work(made: Members, _happened: list[str]) -> None:
        told: list[str] = []
        made._unserved = lambda lost: told.extend(item.address for item in lost)
        made.change((), [BACKENDS])
        made.health = {"lb/p/a": Health(up=True, judged=True), "lb/p/b": Health(judged=True)}
        made.follow(made.known())
        assert told == []
        made.health["lb/p/a"] = Health(judged=True)
        made.follow(made.known())
        made.follow(made.known())
        assert told == [BACKENDS.address]

    living(tmp_path / "log", work)


def test_the_log_has_a_record_for_each_frontends_port_and_keeps_its_newer_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "probes.jsonl"

    async def work(made: Members, _happened: list[str]) -> None:
        made.change((), [BACKENDS, msgspec.structs.replace(BACKENDS, port=82, log_s=0.0)])
        made.health = {"lb/p/a": Health(up=True), "lb/p/b": Health()}
        made._log(1.5)
        (record,) = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
        assert record["properties"]["port"] == "81"
        assert record["lab"]["down"] == ["b"]
        monkeypatch.setattr(health, "_LOG_BYTES", 4 * log.stat().st_size)
        for _ in range(4):
            made._log(2.5)
        lines = log.read_bytes().splitlines()
        assert 2 <= len(lines) <= 3
        assert {msgspec.json.decode(line)["time"][:21] for line in lines} == {"1970-01-01T00:00:02.5"}

    living(log, work)


def test_records_are_written_as_often_as_the_plan_says(tmp_path: Path) -> None:
    log = tmp_path / "probes.jsonl"

    async def work(made: Members, _happened: list[str]) -> None:
        made.change((), [msgspec.structs.replace(BACKENDS, log_s=0.02)])
        await until(lambda: log.exists() and len(log.read_bytes().splitlines()) > 2, "three records")
        made.change((), ())

    living(log, work)


BACKENDS = Backends(
    place="lb", why=_NOWHERE, address="40.1.1.1", port=81, protocol="tcp", ends_tcp=True, resource="/LB", log_s=60.0,
    members=(Backend("a", "10.1.0.4", "lb/p/a"), Backend("b", "10.1.0.5", "lb/p/b")),
)  # fmt: skip


def entry(protocol: int, to: str, port: int, answerer: str) -> Entry:
    flow = Flow(protocol, 1, 2000, int(IPv4Address(to)), port)
    return Entry(flow, 1, 2000, 0, int(IPv4Address(answerer)))


def test_just_the_flows_to_a_public_port_that_end_are_found_among_all() -> None:
    mine, others = entry(UDP, "40.1.1.1", 81, "10.1.0.4"), entry(UDP, "40.1.1.1", 81, "10.1.0.5")
    streams = entry(TCP, "40.1.1.1", 81, "10.1.0.4")
    elsewhere = [entry(TCP, "40.1.1.1", 82, "10.1.0.4"), entry(TCP, "40.1.1.2", 81, "10.1.0.4")]
    table = [mine, others, streams, *elsewhere]
    of_one = [Ending("lb", "udp", "40.1.1.1", 81, "10.1.0.4")]
    assert health._among(table, of_one) == [mine.flow]
    assert health._among(table, [Ending("lb", "tcp", "40.1.1.1", 81)]) == [streams.flow]
    assert health._among(table, []) == []
    marked = [entry(UDP, "40.1.1.1", 81, "40.1.1.1")._replace(mark=mark) for mark in (0, 7, 8)]
    assert health._among(marked, [Ending("lb", "udp", "40.1.1.1", 81, mark=7)]) == [marked[1].flow]
