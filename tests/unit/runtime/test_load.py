"""lab/runtime/load.py: real sockets over the loopback interface; the server is played by hand, so nothing waits."""

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from lab.runtime import load
from lab.runtime.load import Client, Kind, Result, Target

_LOOPBACK = "127.0.0.1"
_PATIENCE_S = 20.0  # never waited for: what is awaited comes, or is refused


def sighting(address: str, port: int) -> bytes:
    """Return the line in which a server of the lab names its client."""
    return json.dumps({"node": "far", "client_address": address, "client_port": port}).encode() + b"\n"


class Served:
    """A server of one kind, in the thread of the test: it does what it is there for when its client waits.

    ``mute``: how many flows it never answers, the first ones.
    """

    def __init__(self, kind: Kind, mute: int = 0) -> None:
        self.kind = kind
        self.mute = mute
        self.heard: list[bytes] = []
        self.accepted: list[socket.socket] = []
        transport = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET, transport)
        self.socket.bind((_LOOPBACK, 0))
        if kind != "udp":
            self.socket.listen(256)
        self.socket.setblocking(False)

    @property
    def target(self) -> Target:
        return Target(_LOOPBACK, self.socket.getsockname()[1], self.kind)

    def serve(self) -> None:
        """Answer what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                if self.kind == "udp":
                    said, peer = self.socket.recvfrom(1000)
                    self._answer(said, lambda line, peer=peer: self.socket.sendto(line, peer), peer)
                else:
                    opened, peer = self.socket.accept()
                    opened.setblocking(False)
                    self.accepted.append(opened)
                    if self.kind == "tcp":
                        self._answer(b"", opened.sendall, peer)
        for opened in self.accepted:
            with contextlib.suppress(OSError):
                if said := opened.recv(1000):
                    self._answer(said, opened.sendall, opened.getpeername())

    def _answer(self, said: bytes, send: Callable[[bytes], object], peer: tuple[str, int]) -> None:
        self.heard.append(said)
        if len(self.heard) > self.mute:
            line = sighting(*peer)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(line)}\r\n\r\n".encode() if self.kind == "http" else b""
            send(head + line)

    def close(self) -> None:
        for opened in (*self.accepted, self.socket):
            opened.close()


class Played:
    """A client whose servers answer whenever it looks for answers."""

    def __init__(self) -> None:
        self.opened: list[socket.socket] = []
        self.servers: list[Served] = []
        self.client = Client(self._socket)
        selector = self.client._selector
        select = selector.select

        def serving(timeout: float | None = None) -> list[object]:
            for server in self.servers:
                server.serve()
            return select(0.0 if timeout is None else min(timeout, 0.001))

        selector.select = serving

    def _socket(self, kind: int) -> socket.socket:
        self.opened.append(socket.socket(socket.AF_INET, kind))
        return self.opened[-1]

    def server(self, kind: Kind, mute: int = 0) -> Served:
        self.servers.append(Served(kind, mute))
        return self.servers[-1]


@pytest.fixture
def played() -> Iterator[Played]:
    made = Played()
    yield made
    made.client.close()
    for server in made.servers:
        server.close()
    assert all(opened.fileno() == -1 for opened in made.opened), "a socket was left open"


def outcomes(results: list[Result]) -> list[str]:
    return [result.outcome for result in results]


@pytest.mark.parametrize("kind", ["tcp", "udp", "http"])
def test_flows_that_are_answered_are_held_and_tell_the_source_that_the_server_saw(played: Played, kind: Kind) -> None:
    server = played.server(kind)
    results = played.client.open([server.target], 5, timeout_s=_PATIENCE_S)
    assert outcomes(results) == ["answered"] * 5
    assert {result.address for result in results} == {_LOOPBACK}
    ports = {flow.socket.getsockname()[1] for flow in played.client.flows}
    assert {result.port for result in results} == ports
    assert len(ports) == 5
    assert all(0 <= result.seconds < _PATIENCE_S for result in results)


def test_a_server_that_is_not_ours_is_answered_by_its_handshake_alone(played: Played) -> None:
    server = played.server("connect")
    (result,) = played.client.open([server.target], 1, timeout_s=_PATIENCE_S)
    assert (result.outcome, result.address, result.port) == ("answered", "", 0)
    assert server.heard == []


def test_flows_go_to_their_targets_in_turn(played: Played) -> None:
    servers = [played.server("udp") for _ in range(3)]
    played.client.open([server.target for server in servers], 8, timeout_s=_PATIENCE_S)
    assert [len(server.heard) for server in servers] == [3, 3, 2]


def test_more_flows_than_are_begun_at_once_are_all_opened(played: Played) -> None:
    server = played.server("tcp")
    results = played.client.open([server.target], 150, timeout_s=_PATIENCE_S)
    assert outcomes(results) == ["answered"] * 150
    assert len(played.client.flows) == 150


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_what_nobody_listens_on_refuses_and_is_not_held(played: Played, kind: Kind) -> None:
    server = Served(kind)
    target = server.target
    server.close()
    assert outcomes(played.client.open([target], 2, timeout_s=_PATIENCE_S)) == ["refused"] * 2
    assert played.client.flows == []


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_silence_is_a_timeout_after_the_time_that_was_given_and_is_not_held(played: Played, kind: Kind) -> None:
    server = played.server(kind, mute=2)
    results = played.client.open([server.target], 3, timeout_s=0.05)
    assert sorted(outcomes(results)) == ["answered", "timeout", "timeout"]
    assert [result.seconds >= 0.05 for result in results if result.outcome == "timeout"] == [True, True]
    assert len(played.client.flows) == 1


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_once_all_that_are_awaited_are_answered_the_others_are_given_up_sooner(played: Played, kind: Kind) -> None:
    server = played.server(kind, mute=2)
    results = played.client.open([server.target], 3, timeout_s=_PATIENCE_S, awaited=1, silence_s=0.05)
    assert sorted(outcomes(results)) == ["answered", "timeout", "timeout"]
    assert all(0.05 <= result.seconds < _PATIENCE_S for result in results if result.outcome == "timeout")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_silence_is_given_time_after_the_last_answer_and_none_while_one_is_awaited(played: Played, kind: Kind) -> None:
    server = played.server(kind, mute=2)
    results = played.client.open([server.target], 3, timeout_s=0.1, awaited=2, silence_s=0.0)
    assert all(result.seconds >= 0.1 for result in results if result.outcome == "timeout")
    played.client.open([played.server(kind, mute=1).target], 3, timeout_s=_PATIENCE_S, awaited=2, silence_s=0.05)
    assert len(played.client.flows) == 3


def test_a_result_tells_when_its_flow_began(played: Played) -> None:
    before = time.monotonic()
    results = played.client.open([played.server("tcp").target, played.server("udp").target], 4, timeout_s=_PATIENCE_S)
    assert all(before <= result.began <= result.began + result.seconds <= time.monotonic() for result in results)


def test_a_server_that_ends_the_flow_without_a_word_has_refused_it(played: Played) -> None:
    server = played.server("http")
    serve = server.serve

    def then_leave() -> None:
        serve()
        for opened in server.accepted:
            opened.close()

    server.serve = then_leave
    assert outcomes(played.client.open([server.target], 1, timeout_s=_PATIENCE_S)) == ["refused"]


def test_an_answer_that_comes_in_pieces_is_read_to_its_end(played: Played) -> None:
    server = played.server("http")
    pieces: list[bytes] = []

    def in_pieces(_said: bytes, _send: Callable[[bytes], object], peer: tuple[str, int]) -> None:
        pieces.extend((b"HTTP/1.1 200 OK\r\n\r\n", sighting(*peer)[:20], sighting(*peer)[20:]))

    server._answer = in_pieces
    serve = server.serve

    def one_piece() -> None:
        serve()
        if pieces:
            server.accepted[0].sendall(pieces.pop(0))

    server.serve = one_piece
    (result,) = played.client.open([server.target], 1, timeout_s=_PATIENCE_S)
    assert (result.outcome, result.address) == ("answered", _LOOPBACK)
    assert result.port == played.client.flows[0].socket.getsockname()[1]


def test_all_flows_that_are_held_are_spoken_over_or_the_first_ones(played: Played) -> None:
    tcp, udp = played.server("tcp"), played.server("udp")
    played.client.open([tcp.target, udp.target], 6, timeout_s=_PATIENCE_S)
    assert outcomes(played.client.talk(timeout_s=_PATIENCE_S)) == ["answered"] * 6
    heard = len(tcp.heard) + len(udp.heard)
    assert outcomes(played.client.talk(timeout_s=_PATIENCE_S, first=2)) == ["answered"] * 2
    assert len(tcp.heard) + len(udp.heard) == heard + 2
    assert len(played.client.flows) == 6


def test_a_flow_that_is_silent_when_it_is_spoken_over_is_still_held(played: Played) -> None:
    server = played.server("tcp")
    played.client.open([server.target], 2, timeout_s=_PATIENCE_S)
    server.mute = 100
    assert outcomes(played.client.talk(timeout_s=0.02)) == ["timeout"] * 2
    assert outcomes(played.client.talk(timeout_s=_PATIENCE_S, lost=2, silence_s=0.02)) == ["timeout"] * 2
    server.mute = 0
    assert outcomes(played.client.talk(timeout_s=_PATIENCE_S)) == ["answered"] * 2


def test_a_flow_that_the_server_has_ended_refuses(played: Played) -> None:
    server = played.server("tcp")
    played.client.open([server.target], 1, timeout_s=_PATIENCE_S)
    server.accepted.pop().close()
    assert outcomes(played.client.talk(timeout_s=_PATIENCE_S)) == ["refused"]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_flow_is_used_again_so_long_after_it_was_opened_while_others_are_awaited(played: Played, kind: Kind) -> None:
    server = played.server(kind, mute=1)
    results = played.client.open([server.target], 3, timeout_s=0.5, hold_s=0.05)
    opened = {r.began + r.seconds for r in results if r.outcome == "answered" and not r.again}
    (silent,) = (r for r in results if r.outcome == "timeout")
    again = [r for r in results if r.again]
    assert (len(opened), outcomes(again)) == (2, ["answered"] * 2)
    assert all(min(opened) + 0.05 <= r.began < silent.began + silent.seconds for r in again)
    assert len(played.client.flows) == 2


def test_a_flow_that_was_ended_while_it_was_held_is_refused(played: Played) -> None:
    server = played.server("tcp")
    serve = server.serve

    def then_leave() -> None:
        serve()
        for opened in server.accepted if server.heard else ():
            opened.close()

    server.serve = then_leave
    results = played.client.open([server.target], 1, timeout_s=_PATIENCE_S, hold_s=0.01)
    assert [(r.outcome, r.again) for r in results] == [("answered", False), ("refused", True)]


def test_what_says_nothing_is_only_held(played: Played) -> None:
    began = time.monotonic()
    results = played.client.open([played.server("connect").target], 1, timeout_s=_PATIENCE_S, hold_s=0.05)
    assert (outcomes(results), time.monotonic() - began >= 0.05) == (["answered"], True)


def test_flows_end_in_the_order_in_which_they_were_opened_as_a_program_closes_them_or_with_a_reset(
    played: Played,
) -> None:
    server = played.server("tcp")
    for _ in range(3):
        played.client.open([server.target], 1, timeout_s=_PATIENCE_S)
    played.client.end(1, "fin")
    played.client.end(1, "rst")
    assert [flow.socket.getpeername() for flow in played.client.flows] == [server.socket.getsockname()]
    ended, reset, alive = server.accepted
    assert ended.recv(10) == b""
    with pytest.raises(ConnectionResetError):
        reset.recv(10)
    with pytest.raises(BlockingIOError):
        alive.recv(10)


def test_flows_begin_at_the_rate_that_is_asked_for(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a hundredth of a second each time it is looked at."""
    now = [100.0]

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    monkeypatch.setattr(load.time, "monotonic", clock)
    server = played.server("udp")
    results = played.client.open([server.target], 5, timeout_s=_PATIENCE_S, rate=2.0)
    assert outcomes(results) == ["answered"] * 5
    assert sorted(round((flow.began - 100.0) * 2) / 2 for flow in played.client.flows) == [0.0, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(("seconds", "on"), [(0, 0), (7, 1)])
def test_the_kernel_asks_for_a_sign_of_life_if_it_is_told_to(played: Played, seconds: int, on: int) -> None:
    tcp, udp = played.server("tcp"), played.server("udp")
    played.client.open([tcp.target, udp.target], 2, timeout_s=_PATIENCE_S, keepalive_s=seconds)
    by_tcp = next(flow.socket for flow in played.client.flows if flow.target.kind == "tcp")
    assert by_tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
    if on:
        idle, every = (by_tcp.getsockopt(socket.IPPROTO_TCP, o) for o in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL))
        assert (idle, every) == (7, 7)


def test_a_reset_is_what_a_socket_without_time_to_linger_sends() -> None:
    assert struct.unpack("ii", load._RESET) == (1, 0)


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (sighting("40.1.1.1", 1025), ("40.1.1.1", 1025)),
        (b"HTTP/1.1 200 OK\r\nServer: lab\r\n\r\n" + sighting("40.1.1.1", 1025), ("40.1.1.1", 1025)),
        (sighting("40.1.1.1", 1025) + sighting("40.1.1.2", 1026), ("40.1.1.1", 1025)),
        (b"", ("", 0)),
        (b"\n", ("", 0)),
        (b"220 mail.example ESMTP\r\n", ("", 0)),
        (b"\xff\xfe\x00", ("", 0)),
        (b"[]\n", ("", 0)),
        (b"7\n", ("", 0)),
        (b"{}\n", ("", 0)),
        (b'{"client_address": "40.1.1.1"}\n', ("", 0)),
        (b'{"client_address": "40.1.1.1", "client_port": "x"}\n', ("", 0)),
        (b'{"client_address": "40.1.1.1", "client_port": null}\n', ("", 0)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ("", 0)),
    ],
)
def test_a_source_is_told_by_servers_of_the_lab_alone(said: bytes, seen: tuple[str, int]) -> None:
    assert load._sighting(said) == seen


def test_a_load_is_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Served("tcp", mute=1)
    made: list[Played] = []

    def client(opener: Callable[[int], socket.socket]) -> Client:
        made.append(Played())
        made[0].servers.append(server)
        made[0].client._opener = opener
        return made[0].client

    monkeypatch.setattr(load, "Client", client)
    report = load.run("web", server.target, "far:80/tcp", 4, hold_s=0.02, rate=0.0, timeout_s=0.1, ending="rst")
    server.close()
    made[0].client.close()
    assert (report.flows, report.opened, report.refused, report.timed_out, report.alive) == (4, 3, 0, 1, 3)
    assert report.source_addresses == (_LOOPBACK,)
    assert len(report.source_ports) == 3
    assert list(report.latency_ms) == ["p50", "p90", "p99", "max"]
    assert re.fullmatch(r"0\.\d+", str(report.seconds))
