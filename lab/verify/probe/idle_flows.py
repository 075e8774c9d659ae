"""Flows without traffic, and what their two ends are told when that has lasted too long."""

import contextlib
import errno
import selectors
import socket
import struct
import time
from typing import Literal, TypeAlias

from lab.kernel.sockets import enlarge
from lab.plan import NODE_INTERFACE
from lab.verify import experiment as ex
from lab.verify.probe.packets import inside

_ETH_P_ALL = 3  # linux/if_ether.h: what is sent, too
_OUTGOING = 4  # linux/if_packet.h
_ANSWER_S = 3.0
#: After the reset that is waited for, or instead of it: how long the others are listened to.
_QUIET_S = 0.5
_BUFFER_BYTES = 16 * 1024 * 1024
_HELLO = b"?\n"
_RST, _ACK = 0x04, 0x10

_Kind = Literal["udp", "half closed", "tcp"]
_End = Literal["client", "server"]
#: The client's own port by the protocol and the port that the server sees.
_Translated: TypeAlias = dict[tuple[int, int], int]


class _Ear:
    """What passes one end of the flows, and what is told there; a flow is known by its client's own port."""

    def __init__(self, lab: str, node: str, end: _End) -> None:
        self.end: _End = end
        with inside(lab, node):
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            self.socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
            enlarge(self.socket, _BUFFER_BYTES)
            self.socket.bind((NODE_INTERFACE, _ETH_P_ALL))
        self.expected: dict[int, int] = {}  # what this end acknowledged last
        self.last: dict[int, float] = {}
        self.told: dict[int, list[ex.Told]] = {}
        self.translated: _Translated = {}

    def read(self, ports: dict[int, _Kind]) -> None:
        """Read what has passed."""
        while True:
            try:
                packet, address = self.socket.recvfrom(256)
            except BlockingIOError:
                return
            now = time.monotonic()
            if packet[0] >> 4 == 4:
                self._note(packet, now, ports, sent=address[2] == _OUTGOING)

    def _note(self, packet: bytes, now: float, ports: dict[int, _Kind], *, sent: bool) -> None:
        head, protocol = (packet[0] & 15) * 4, packet[9]
        if protocol == socket.IPPROTO_ICMP and not sent and len(packet) >= head + 8 + 24:
            quoted = packet[head + 8 :]
            flow = self._flow(quoted, (quoted[0] & 15) * 4, ports)
            if flow is not None:
                self._tell(flow, f"ICMP {packet[head]}/{packet[head + 1]}", now, believed=True)
            return
        if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            return
        flow = self._flow(packet, head, ports)
        if flow is None:
            return
        if protocol == socket.IPPROTO_TCP:
            sequence, acknowledged, _, flags = struct.unpack_from("!IIBB", packet, head + 4)
            if flags & _RST and not sent:
                self._tell(flow, "RST", now, believed=sequence == self.expected.get(flow))
                return
            if sent and flags & _ACK:
                self.expected[flow] = acknowledged
        self.last[flow] = now

    def _flow(self, packet: bytes, at: int, ports: dict[int, _Kind]) -> int | None:
        """Return which flow a packet is of, whose ports are at a place in it."""
        seen = (self.translated.get((packet[9], port), port) for port in struct.unpack_from("!HH", packet, at))
        return next((port for port in seen if port in ports), None)

    def _tell(self, flow: int, what: str, now: float, *, believed: bool) -> None:
        seconds = round(now - self.last.get(flow, now), 3)
        self.told.setdefault(flow, []).append(ex.Told(self.end, what, seconds, believed))


def leave(lab: str, what: ex.IdleFlows) -> ex.Left:
    """Open the flows, wait, and tell what their ends were told."""
    with contextlib.ExitStack() as stack:
        servers = _servers(lab, what, stack)
        ears = (_Ear(lab, what.client, "client"), _Ear(lab, what.server, "server"))
        for ear in ears:
            stack.callback(ear.socket.close)
        ports: dict[int, _Kind] = {}
        clients: dict[_Kind, socket.socket] = {}
        answered: dict[_Kind, bool] = {}
        kinds: tuple[_Kind, ...] = ("udp", "half closed", "tcp")
        for kind in kinds:
            opened = stack.enter_context(_socket(lab, what.client, udp=kind == "udp"))
            opened.bind(("", 0))
            ports[opened.getsockname()[1]] = kind
            clients[kind] = opened
            known = ears[1].translated
            answered[kind] = _converse(opened, servers["udp" if kind == "udp" else "tcp"], what, stack, known)
            if kind == "half closed" and answered[kind]:
                opened.shutdown(socket.SHUT_WR)
        _listen(ears, ports, what.wait_s)
        return ex.Left(
            flows=tuple(
                ex.LeftFlow(
                    kind=kind,
                    answered=answered[kind],
                    told=tuple(told for ear in ears for told in ear.told.get(port, ())),
                    ended=kind != "udp" and _was_reset(clients[kind]),
                )
                for port, kind in ports.items()
            )
        )


def _socket(lab: str, node: str, *, udp: bool) -> socket.socket:
    with inside(lab, node):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    opened.settimeout(_ANSWER_S)
    return opened


def _servers(lab: str, what: ex.IdleFlows, stack: contextlib.ExitStack) -> dict[str, socket.socket]:
    servers = {}
    for kind in ("tcp", "udp"):
        servers[kind] = stack.enter_context(_socket(lab, what.server, udp=kind == "udp"))
        servers[kind].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        servers[kind].bind(("", what.server_port))
    servers["tcp"].listen()
    return servers


def _converse(
    opened: socket.socket,
    server: socket.socket,
    what: ex.IdleFlows,
    stack: contextlib.ExitStack,
    translated: _Translated,
) -> bool:
    """Let each side say something; note what the server sees the client as, tell whether this heard the server."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        opened.connect((what.address, what.port))
        opened.send(_HELLO)
        if server.type == socket.SOCK_DGRAM:
            _, client = server.recvfrom(16)
            server.sendto(_HELLO, client)
            translated[socket.IPPROTO_UDP, client[1]] = opened.getsockname()[1]
        else:
            accepted, client = server.accept()
            translated[socket.IPPROTO_TCP, client[1]] = opened.getsockname()[1]
            stack.enter_context(accepted)
            for end in (opened, accepted):
                # Closed, it is gone: its port may soon be that of another flow.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.settimeout(_ANSWER_S)
            accepted.recv(16)
            accepted.send(_HELLO)
        return opened.recv(16) == _HELLO
    return False


def _listen(ears: tuple[_Ear, ...], ports: dict[int, _Kind], wait_s: float) -> None:
    """Listen until both ends of the last flow were told, and a little longer; or until the time is over."""
    last = next(port for port, kind in ports.items() if kind == "tcp")
    end = time.monotonic() + wait_s
    ended = False
    with selectors.DefaultSelector() as selector:
        for ear in ears:
            selector.register(ear.socket, selectors.EVENT_READ, ear)
        while (left := end - time.monotonic()) > 0:
            selector.select(left)
            for ear in ears:
                ear.read(ports)
            if not ended and all(last in ear.told for ear in ears):
                ended, end = True, min(end, time.monotonic() + _QUIET_S)


def _was_reset(opened: socket.socket) -> bool:
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
