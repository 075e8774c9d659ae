"""Flows: scapy builds one packet of each kind, and what differs between flows is patched into its bytes.

They go out through a raw socket. Arrivals are captured by packet sockets that were opened where the flow
must arrive, and matched by a number that each flow carries where no translation touches it: in the
TCP sequence number, or in the first bytes of the payload. Only this file imports scapy.
"""

import contextlib
import importlib
import os
import random
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lab.flow import NOT_PUBLIC
from lab.kernel import netns
from lab.kernel.sockets import enlarge
from lab.plan import interface_to, namespace
from lab.verify import experiment as ex

MAGIC = 0x4C41  # "LA": the upper half of the number that flows carry
_IPV4 = 0x0800  # ETH_P_IP of linux/if_ether.h
_PACKET_OUTGOING = 4  # linux/if_packet.h
_RST = 4  # of the flags of TCP (RFC 9293)
_CAPTURE_BYTES = 64 * 1024 * 1024
BURST = 256  # flows sent before captures are read
#: For how long nothing of ours may come before it is taken for all there is: once all that must arrive has; once the
#: control packet came, but not all of them (a stalled machine may hold one back); and before the control packet came.
SILENCE_S, _QUIET_S, ARRIVAL_S = 0.2, 2.0, 3.0
CONTROL_PORT = 9  # discard (RFC 863)
_LARGE = 3000  # bytes of a datagram that needs three fragments on an Ethernet-sized wire
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "esp": 50}


class Numbers:
    """Numbers and ports that no earlier experiment of this process has used."""

    def __init__(self, seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311 - nothing secret
        self._number = chosen.randrange(0, 0x8000)
        self._port = chosen.randrange(20000, 30000)
        self._source = chosen.randrange(0, 10000)

    def take(self, count: int) -> int:
        """Return the first of ``count`` numbers, below 0x10000."""
        first = self._number
        self._number += count
        if self._number > 0xFFFF:
            first, self._number = 0, count
        return first

    def port(self) -> int:
        """Return a destination port."""
        self._port = 20000 + (self._port - 19999) % 10000
        return self._port

    def source_ports(self, count: int) -> tuple[int, ...]:
        """Return source ports above every VM's range of SNAT ports in small pools."""
        first = self._source
        self._source += count
        return tuple(32768 + (first + i) % 32000 for i in range(count))


def _where(watch: ex.Watch) -> tuple[str, str]:
    """Return the place and the interface of a watch."""
    edge, router = f"lb.{watch.name}", f"router.{watch.name}"
    wire = f"{watch.name}~{watch.interface}" if watch.interface else watch.name
    places = {
        "node": (watch.name, f"eth{watch.interface}"),
        "public wire": ("internet", interface_to(edge)),
        "edge": (edge, interface_to("internet")),
        "edge inside": (edge, interface_to(router)),
        "router": (router, interface_to(edge)),
        "gateway inside": (router, interface_to(f"gw.{watch.name}")),
        "peering inside": (router, interface_to(f"router.{watch.network}")),
        "gateway": (f"gw.{watch.name}", ""),  # any interface
        "gateway wire": ("internet", interface_to(f"gw.{watch.name}")),
        "NAT gateway inside": (f"nat.{watch.name}", interface_to(f"router.{watch.network}")),
        "NAT gateway wire": ("internet", interface_to(f"nat.{watch.name}")),
        "VM wire": (f"router.{watch.network}", interface_to(wire)),
        "host wire": ("internet", interface_to(watch.name)),
    }
    return places[watch.kind]


_INSIDE = tuple((int(net.network_address), int(net.broadcast_address)) for net in NOT_PUBLIC)


def _is_inside(source: bytes) -> bool:
    number = int.from_bytes(source, "big")
    return any(first <= number <= last for first, last in _INSIDE)


class Capture:
    """Packet sockets of several watches, read together."""

    def __init__(self, lab: str, watches: Sequence[ex.Watch]) -> None:
        self.sockets = []
        for watch in watches:
            place, interface = _where(watch)
            with inside(lab, place):
                every = 0 if interface else socket.htons(_IPV4)
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, every)
                enlarge(opened, _CAPTURE_BYTES)
                if interface:
                    opened.bind((interface, _IPV4))
            self.sockets.append(opened)

    def close(self) -> None:
        """Close the sockets."""
        for opened in self.sockets:
            opened.close()

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield incoming packets that are there now, with the number of their watch."""
        for number, opened in enumerate(self.sockets):
            while True:
                try:
                    packet, address = opened.recvfrom(65536)
                except BlockingIOError:
                    break
                if address[2] != _PACKET_OUTGOING:
                    yield number, packet


@contextlib.contextmanager
def inside(lab: str, place: str) -> Iterator[None]:
    """Put this thread in a place for as long as it takes to open a socket."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.enter(namespace(lab, place))
        yield
    finally:
        netns.enter_descriptor(home)
        os.close(home)


def number_of(packet: bytes) -> int | None:
    """Return the number that a packet of ours carries, None for any other packet."""
    start = (packet[0] & 15) * 4
    protocol = packet[9]
    if struct.unpack_from("!H", packet, 6)[0] & 0x1FFF:
        return None  # not the first fragment
    if protocol == 6 and len(packet) > start + 13 and packet[start + 13] & _RST:
        return None  # the kernel's own word on an answer that it did not ask for; its number is the next flow's
    if protocol == 6:
        at = start + 4
    elif protocol in (17, 1):
        at = start + 8
    elif protocol == 50:
        at = start  # the SPI
    else:
        return None
    if len(packet) < at + 4:
        return None
    magic, number = struct.unpack_from("!HH", packet, at)
    return number if magic == MAGIC else None


def seen_of(packet: bytes, number: int) -> ex.Seen:
    """Return a packet's addresses and ports."""
    start = (packet[0] & 15) * 4
    ports = struct.unpack_from("!HH", packet, start) if packet[9] in (6, 17) else (0, 0)
    return ex.Seen(number, socket.inet_ntoa(packet[12:16]), ports[0], socket.inet_ntoa(packet[16:20]), ports[1])


def load() -> None:
    """Import what building packets and reading connection tables needs; it takes a while."""
    for module in ("pyroute2", "scapy.layers.inet"):
        importlib.import_module(module)


class Template:
    """One packet, built by scapy, and the bytes that differ from flow to flow: source port, number, checksum.

    ICMP has the source port's number for its identifier, which tells flows apart as a port does.
    """

    def __init__(self, send: ex.Send, port: int) -> None:
        from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: PLC0415 - in this process only
        from scapy.packet import Raw  # noqa: PLC0415

        number = struct.pack("!HH", MAGIC, 0)
        size = _LARGE if send.form == "large" else 16
        payload = Raw(number.ljust(size, b"\0"))
        layers: dict[str, Any] = {
            "tcp": TCP(sport=0, dport=port, seq=MAGIC << 16, flags="S"),
            "udp": UDP(sport=0, dport=port) / payload,
            "icmp": ICMP(type=8, id=0) / payload,
            "esp": Raw(number.ljust(16, b"\0")),
        }
        layer = layers[send.protocol]
        if send.form == "middle":
            layer = TCP(sport=0, dport=port, seq=MAGIC << 16, ack=1, flags="PA") / payload
        head = IP(src=send.private, dst=send.destination, proto=_PROTOCOLS[send.protocol])
        self.data = bytes(head / layer)
        self.protocol = send.protocol
        self.port_at = {"tcp": 20, "udp": 20, "icmp": 24}.get(send.protocol)
        self.number_at = {"tcp": 26, "esp": 22}.get(send.protocol, 30)
        self.checksum_at = {"tcp": 36, "udp": 26, "icmp": 22, "esp": None}[send.protocol]
        base = 0 if self.checksum_at is None else struct.unpack_from("!H", self.data, self.checksum_at)[0]
        self.sum = ~base & 0xFFFF

    def packet(self, source_port: int, number: int) -> bytearray:
        """Return the packet of one flow; the checksum follows RFC 1624."""
        data = bytearray(self.data)
        total = self.sum + number
        if self.port_at is not None:
            struct.pack_into("!H", data, self.port_at, source_port)
            total += source_port
        struct.pack_into("!H", data, self.number_at, number)
        if self.checksum_at is not None:
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            struct.pack_into("!H", data, self.checksum_at, ~total & 0xFFFF or 0xFFFF)
        return data


def _fragments(packet: bytes) -> list[bytes]:
    from scapy.layers.inet import IP, fragment  # noqa: PLC0415

    return [bytes(part) for part in fragment(IP(bytes(packet)), fragsize=1400)]


def raw_socket(lab: str, place: str) -> socket.socket:
    """Return a socket that sends whole IP packets from a place."""
    with inside(lab, place):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def send(lab: str, what: ex.Send, numbers: Numbers) -> ex.Arrivals:
    """Send flows and watch for them until all have arrived at every watch, or the wires are quiet."""
    first, port = numbers.take(what.count + 1), what.port or numbers.port()
    if what.first_source_port is None:
        ports = numbers.source_ports(what.count)
    else:
        ports = tuple(range(what.first_source_port, what.first_source_port + what.count))
    template = Template(what, port)
    capture = Capture(lab, what.watches)
    private = socket.inet_aton(what.private)
    seen: list[dict[int, ex.Seen]] = [{} for _ in what.watches]
    strays: dict[str, None] = {}
    control = [False]
    last = began = time.monotonic()

    def read() -> bool:
        nonlocal last
        ours = False
        for watch, packet in capture.read():
            number = number_of(packet)
            if number == first + what.count:
                control[0] = ours = True
            elif number is not None and first <= number < first + what.count:
                seen[watch].setdefault(number - first, seen_of(packet, number - first))
                last, ours = time.monotonic(), True
            out = what.watches[watch].kind in ("public wire", "NAT gateway wire")
            if (packet[12:16] == private and not what.untranslated) or (out and _is_inside(packet[12:16])):
                strays[f"{_words(packet)} on {what.watches[watch]}"] = None
        return ours

    def patience() -> float:
        least = min((len(found) for found in seen), default=0)
        if not control[0]:
            return ARRIVAL_S
        if least < what.count - what.lost:
            return _QUIET_S
        return SILENCE_S if what.lost else 0.0

    sender = raw_socket(lab, what.sender)
    try:
        for start in range(0, what.count, BURST):
            for index in range(start, min(start + BURST, what.count)):
                data = template.packet(ports[index], first + index)
                for part in _fragments(bytes(data)) if what.form == "large" else (data,):
                    sender.sendto(part, (what.destination, 0))
            read()
        if what.controlled:
            _control(lab, what, first + what.count)
        else:
            control[0] = True
        wait(capture.sockets, read, patience)
    finally:
        sender.close()
        capture.close()
    return ex.Arrivals(
        sent=what.count,
        source_ports=ports,
        control=control[0],
        seen=tuple(tuple(found[n] for n in sorted(found)) for found in seen),
        strays=tuple(strays),
        seconds=last - began,
    )


def _control(lab: str, what: ex.Send, number: int) -> None:
    """Send a packet that no rule of Azure's concerns to where the flows must arrive: the capture must see it."""
    with inside(lab, "internet"):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.sendto(struct.pack("!HH", MAGIC, number), (what.destination, CONTROL_PORT))
    finally:
        opened.close()


def wait(sockets: Sequence[socket.socket], read: Callable[[], bool], patience: Callable[[], float]) -> None:
    """Read captures until nothing of ours has come for longer than patience goes, in seconds.

    ``read`` tells whether something of ours was there; patience may change with it.
    """
    with selectors.DefaultSelector() as selector:
        for opened in sockets:
            selector.register(opened, selectors.EVENT_READ)
        read()
        last = time.monotonic()
        while (left := last + patience() - time.monotonic()) > 0:
            selector.select(left)
            if read():
                last = time.monotonic()


def _words(packet: bytes) -> str:
    from scapy.layers.inet import IP  # noqa: PLC0415

    return str(IP(packet).summary())
