"""Who connects to a port of a node, how the connection begins and how it ends, as the node's own interface sees it."""

import selectors
import socket
import struct
import time
from collections.abc import Iterator

from lab.flow import TCP
from lab.kernel.sockets import enlarge
from lab.kernel.state import StateDir
from lab.plan import NODE_INTERFACE, VethPair
from lab.verify import experiment as ex
from lab.verify.probe import packets
from lab.verify.probe.packets import Numbers, inside

_ALL = 0x0003  # ETH_P_ALL of linux/if_ether.h: what is sent is captured too
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_BYTES = 16 * 1024 * 1024
_IPV4 = 0x0800
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16  # flags of TCP (RFC 9293)
_TAIL_S = 0.1  # for the last packets of the last connection


class _Connection:
    """One connection, packet by packet."""

    def __init__(self, source: str, destination: str, began: float) -> None:
        self.source = source
        self.destination = destination
        self.began = began
        self.answer = ""
        self.ended: float | None = None
        self.how = ""
        self._fins = {True: 0, False: 0}  # sequence number that acknowledges a side's FIN; True: who began
        self._acknowledged: set[bool] = set()
        self._cut = False  # the node has reset it

    def add(self, *, mine: bool, flags: int, sequence: int, acknowledged: int, size: int, when: float) -> None:
        """Take a packet of who began (``mine``) or of the node."""
        if not mine and not self.answer:
            self.answer = "reset" if flags & _RST else "open" if flags & _SYN else ""
        elif not mine and flags & _RST:
            self._cut = True
        if mine and not self.ended and flags & (_RST | _FIN):
            self.ended, self.how = when, "reset" if flags & _RST else "fin"
        elif mine and flags & _RST:
            self.how = "reset"
        if flags & _FIN:
            self._fins[mine] = (sequence + size + 1) & 0xFFFFFFFF
        if flags & _ACK and self._fins[not mine] and acknowledged == self._fins[not mine]:
            self._acknowledged.add(not mine)

    @property
    def closed(self) -> bool:
        return self._acknowledged == {True, False}

    @property
    def over(self) -> bool:
        return self._cut or self.answer == "reset" or self.how == "reset" or self.closed

    def told(self) -> ex.ObservedConnection:
        return ex.ObservedConnection(
            source=self.source,
            destination=self.destination,
            began=self.began,
            answer=self.answer,  # type: ignore[arg-type]
            ended=self.ended,
            how=self.how,  # type: ignore[arg-type]
            closed=self.closed,
            cut=self._cut,
        )


class Capture:
    """The TCP connections to one port of a node, from now on."""

    def __init__(self, lab: str, node: str, port: int) -> None:
        with inside(lab, node):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            enlarge(self.socket, _BYTES)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.socket.bind((NODE_INTERFACE, _ALL))
        self.since = time.time()
        self._port = port
        self._live: dict[tuple[bytes, int, bytes], _Connection] = {}
        self.connections: list[_Connection] = []
        self.numbers: set[int] = set()

    def read(self) -> None:
        """Take what was captured."""
        for packet, when in self._packets():
            if packet[9] == TCP:
                self._take(packet, when)
            elif (number := packets.number_of(packet)) is not None:
                self.numbers.add(number)

    def _packets(self) -> Iterator[tuple[bytes, float]]:
        while True:
            try:
                packet, ancillary, _, address = self.socket.recvmsg(65536, 64)
            except BlockingIOError:
                return
            if address[1] != _IPV4 or len(packet) < 20:
                continue
            stamps = [struct.unpack("qq", data) for _, kind, data in ancillary if kind == _SO_TIMESTAMPNS]
            yield packet, stamps[0][0] + stamps[0][1] / 1e9 if stamps else time.time()

    def _take(self, packet: bytes, when: float) -> None:
        start = (packet[0] & 15) * 4
        source_port, port, sequence, acknowledged, head, flags = struct.unpack_from("!HHIIBB", packet, start)
        mine = port == self._port
        if not mine and source_port != self._port:
            return
        source, destination = packet[12:16], packet[16:20]
        of = (source, source_port, destination) if mine else (destination, port, source)
        if mine and flags & (_SYN | _ACK) == _SYN and (of not in self._live or self._live[of].over):
            began = _Connection(socket.inet_ntoa(source), socket.inet_ntoa(destination), when)
            self._live[of] = began
            self.connections.append(began)
        if of in self._live:
            size = struct.unpack_from("!H", packet, 2)[0] - start - (head >> 4) * 4
            self._live[of].add(
                mine=mine, flags=flags, sequence=sequence, acknowledged=acknowledged, size=size, when=when
            )

    def close(self) -> None:
        """End the capture."""
        self.socket.close()


Captures = dict[tuple[str, str, int], Capture]


def listen(lab: str, what: ex.Listen, captures: Captures) -> ex.Listening:
    """Begin a capture that goes on until it is heard."""
    old = captures.pop((lab, what.node, what.port), None)
    if old is not None:
        old.close()
    capture = captures[lab, what.node, what.port] = Capture(lab, what.node, what.port)
    return ex.Listening(since=capture.since)


def hear(lab: str, what: ex.CaptureConnections, captures: Captures, numbers: Numbers) -> ex.Heard:
    """Wait for connections, and tell of all that were captured."""
    capture = captures.pop((lab, what.node, what.port), None) or Capture(lab, what.node, what.port)
    number = numbers.take(1)
    try:
        _call(lab, what.node, number)
        end = time.monotonic() + what.deadline_s
        with selectors.DefaultSelector() as selector:
            selector.register(capture.socket, selectors.EVENT_READ)

            def enough() -> bool:
                over = sum(connection.over for connection in capture.connections)
                return over >= what.connections and number in capture.numbers

            capture.read()
            while not enough() and (left := end - time.monotonic()) > 0:
                selector.select(left)
                capture.read()
            selector.select(_TAIL_S)
            capture.read()
        knocks = sorted((connection.told() for connection in capture.connections), key=lambda knock: knock.began)
        return ex.Heard(control=number in capture.numbers, knocks=tuple(knocks))
    finally:
        capture.close()


def _call(lab: str, node: str, number: int) -> None:
    """Send a node a packet from the other end of its wire."""
    made = StateDir(lab).plan()
    place = next(wire.place for wire in made.of(VethPair) if wire.peer_place == node)
    with inside(lab, place):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.sendto(struct.pack("!HH", packets.MAGIC, number), (made.addresses()[node], packets.CONTROL_PORT))
