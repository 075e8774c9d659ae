"""TCP segments of some addresses, as they pass a namespace, and resets that are put on its wires.

Both go around the packet filter: segments are heard by a packet socket, to which the kernel shows the headers of
those of the addresses in question only; a reset is no packet of the namespace's own, so it leaves by a packet socket.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from lab.flow import TCP, Reset, Segment
from lab.kernel.sockets import enlarge

_BUFFER_BYTES = 64 * 1024 * 1024
_ETH_P_ALL, _ETH_P_IP = 3, 0x0800  # linux/if_ether.h
_SO_ATTACH_FILTER = 26
_BURST = 4096  # segments that are read at one go
_HEADERS = 128  # bytes of a packet that are shown: IPv4 and TCP, each with all its options
#: With more addresses a filter would be too long for its jumps; segments of all addresses are then shown.
_MOST_ADDRESSES = 100
_ACK, _RST = 0x10, 0x04
#: The hardware address of both ends of every wire, as ``rtnl`` makes them.
_HARDWARE_ADDRESS = bytes.fromhex("123456789abc")


class Segments:
    """What passes the namespace that this was opened in, in whichever direction."""

    def __init__(self, addresses: Iterable[str]) -> None:
        # With another number the kernel shows only what is received.
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        self.socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
        enlarge(self.socket, _BUFFER_BYTES)
        self.watch(addresses)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(_HEADERS)  # what was there before the filter

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def watch(self, addresses: Iterable[str]) -> None:
        """Show segments from and to these addresses."""
        _filter(self.socket, sorted(int(IPv4Address(address)) for address in set(addresses)))

    def read(self) -> list[Segment]:
        """Return the segments that have passed since the last call, at most a burst."""
        found = []
        for _ in range(_BURST):
            try:
                packet = self.socket.recv(_HEADERS)
            except BlockingIOError:
                break
            head = (packet[0] & 15) * 4
            if len(packet) < head + 20:
                continue
            source, destination = struct.unpack_from("!II", packet, 12)
            source_port, destination_port, _, acknowledged, _, flags = struct.unpack_from("!HHIIBB", packet, head)
            known = acknowledged if flags & _ACK and not flags & _RST else None
            found.append(Segment(source, source_port, destination, destination_port, known))
        return found


def _filter(opened: socket.socket, addresses: list[int]) -> None:
    """Show TCP segments of some addresses, without their data."""
    load_half, load_byte, load, equal, any_bit, done = 0x28, 0x30, 0x20, 0x15, 0x45, 0x06
    checks: list[tuple[int, int]] = []  # where an address is, and which it may be
    if len(addresses) <= _MOST_ADDRESSES:
        checks = [(at, address) for at in (12, 16) for address in addresses]
    program = [
        (load_byte, 0, 0, 0),
        (0x54, 0, 0, 0xF0),  # A &= k: the version
        (equal, 1, 0, 0x40),
        (done, 0, 0, 0),
        (load_byte, 0, 0, 9),
        (equal, 1, 0, TCP),
        (done, 0, 0, 0),
        (load_half, 0, 0, 6),
        (any_bit, 0, 1, 0x1FFF),  # a fragment that is not the first
        (done, 0, 0, 0),
    ]
    for at, address in checks:
        program += [(load, 0, 0, at), (equal, 0, 1, address), (done, 0, 0, _HEADERS)]
    program.append((done, 0, 0, 0 if checks else _HEADERS))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))


class Wires:
    """Two wires of the namespace that this was opened in: one leads to some prefixes, the other to all else."""

    def __init__(self, inner: str, outer: str, inside: Iterable[str]) -> None:
        self._inside = [IPv4Network(prefix) for prefix in inside]
        self._inner, self._outer = (_bound(interface) for interface in (inner, outer))

    def close(self) -> None:
        """Close the sockets."""
        self._inner.close()
        self._outer.close()

    def send(self, reset: Reset) -> None:
        """Put a reset on the wire that leads to its receiver."""
        receiver = IPv4Address(reset.destination)
        wire = self._inner if any(receiver in prefix for prefix in self._inside) else self._outer
        wire.send(packet(reset))

    def send_in(self, reset: Reset) -> None:
        """Put a reset on the inner wire: its receiver is inside, whatever its address."""
        self._inner.send(packet(reset))


def _bound(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.bind((interface, 0))  # nothing is received
    return opened


def packet(reset: Reset) -> bytes:
    """Return a frame with a reset; both checksums are in it (RFC 1071)."""
    source, source_port, destination, destination_port, sequence, acknowledged = reset
    head = bytearray(struct.pack("!BBHHHBBHII", 0x45, 0, 40, 0, 0x4000, 64, TCP, 0, source, destination))
    struct.pack_into("!H", head, 10, _checksum(head))
    ports = source_port, destination_port
    body = bytearray(struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, _RST | _ACK, 0, 0, 0))
    struct.pack_into("!H", body, 16, _checksum(struct.pack("!IIHH", source, destination, TCP, len(body)) + body))
    return _HARDWARE_ADDRESS * 2 + struct.pack("!H", _ETH_P_IP) + head + body


def _checksum(data: bytes | bytearray) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
