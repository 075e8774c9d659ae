"""Captures: what tcpdump writes, read packet by packet, and pcapng files that name where each packet was seen.

Sources: draft-ietf-opsawg-pcap (2024-09), draft-ietf-opsawg-pcapng (2024-09); RFC 791, 793 and 768 for the headers.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any, BinaryIO, Literal

import msgspec
import pcapng
from pcapng import blocks

_HEADER = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")
_MAGIC_MICRO, _MAGIC_NANO = 0xA1B2C3D4, 0xA1B23C4D
_ETHERNET, _RAW = 1, 101
_PROTOCOLS: dict[int, Literal["icmp", "tcp", "udp"]] = {1: "icmp", 6: "tcp", 17: "udp"}
_SYN, _ACK = 0x02, 0x10


class Frame(msgspec.Struct, frozen=True):
    """A packet as it was on a wire; ``at_ns`` since the epoch, ``length`` of it before it was cut."""

    at_ns: int
    data: bytes
    length: int


class Headers(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a packet say; no ports for ICMP and for what is none of TCP and UDP."""

    source: str
    destination: str
    protocol: str
    source_port: int = 0
    destination_port: int = 0
    opens: bool = False  # the first packet of a TCP flow

    def __str__(self) -> str:
        """Return them as a line says them."""
        ports = (f":{self.source_port}", f":{self.destination_port}") if self.source_port else ("", "")
        return f"{self.source}{ports[0]} > {self.destination}{ports[1]} {self.protocol}{' SYN' if self.opens else ''}"

    def back(self) -> "Headers":
        """Return what the headers of an answer say."""
        return Headers(
            source=self.destination,
            destination=self.source,
            protocol=self.protocol,
            source_port=self.destination_port,
            destination_port=self.source_port,
        )


class Reader:
    """Reads a capture in the byte order of this machine as it is written, whatever pieces it comes in."""

    def __init__(self) -> None:
        self.link_type: int | None = None
        self._rest = b""
        self._unit_ns = 1000

    def feed(self, part: bytes) -> Iterator[Frame]:
        """Yield the packets that a further part completes.

        Raises:
            ValueError: it is no capture.

        """
        self._rest += part
        if self.link_type is None:
            if len(self._rest) < _HEADER.size:
                return
            magic, _, _, _, _, _, self.link_type = _HEADER.unpack_from(self._rest)
            if magic not in (_MAGIC_MICRO, _MAGIC_NANO):
                raise ValueError("no capture")
            self._unit_ns = 1000 if magic == _MAGIC_MICRO else 1
            self._rest = self._rest[_HEADER.size :]
        while len(self._rest) >= _RECORD.size:
            seconds, fraction, there, length = _RECORD.unpack_from(self._rest)
            if len(self._rest) < _RECORD.size + there:
                return
            data = self._rest[_RECORD.size : _RECORD.size + there]
            self._rest = self._rest[_RECORD.size + there :]
            yield Frame(seconds * 10**9 + fraction * self._unit_ns, data, length)


class Writer:
    """Writes a pcapng file: an interface for each place and device, packets with comments."""

    def __init__(self, stream: BinaryIO, program: str) -> None:
        self._section = blocks.SectionHeader(options={"shb_userappl": program})
        self._stream, self._writer = stream, pcapng.FileWriter(stream, self._section)
        self._interfaces: dict[str, int] = {}

    def write(self, interface: str, link_type: int, frame: Frame, comment: str = "") -> None:
        """Write a packet that was seen at an interface, which is named PLACE/DEVICE."""
        if interface not in self._interfaces:
            self._interfaces[interface] = len(self._interfaces)
            options = {"if_name": interface}
            self._add(blocks.InterfaceDescription, link_type=link_type, snaplen=0, options=options)
        at_us = frame.at_ns // 1000
        self._add(
            blocks.EnhancedPacket,
            interface_id=self._interfaces[interface],
            packet_data=frame.data,
            captured_len=len(frame.data),
            packet_len=frame.length,
            timestamp_high=at_us >> 32,
            timestamp_low=at_us & 0xFFFFFFFF,
            options={"opt_comment": comment} if comment else {},
        )
        self._stream.flush()

    def _add(self, kind: type, **fields: Any) -> None:
        self._writer.write_block(self._section.new_member(kind, **fields))


def headers(link_type: int, data: bytes) -> Headers | None:
    """Return the headers of an IPv4 packet; None if it is none, or is cut."""
    start = {_ETHERNET: 14, _RAW: 0}.get(link_type)
    if start is None or (link_type == _ETHERNET and data[12:14] != b"\x08\x00"):
        return None
    packet = data[start:]
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    inner = packet[(packet[0] & 15) * 4 :]
    source, destination = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
    protocol = _PROTOCOLS.get(packet[9], f"ip {packet[9]}")
    if protocol not in ("tcp", "udp") or int.from_bytes(packet[6:8]) & 0x1FFF or len(inner) < 4:
        return Headers(source=source, destination=destination, protocol=protocol)
    return Headers(
        source=source,
        destination=destination,
        protocol=protocol,
        source_port=int.from_bytes(inner[:2]),
        destination_port=int.from_bytes(inner[2:4]),
        opens=protocol == "tcp" and len(inner) > 13 and inner[13] & (_SYN | _ACK) == _SYN,
    )
