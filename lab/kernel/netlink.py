"""Netlink messages, framed: attributes, headers, and the kernel's answer to one message."""

import socket
import struct
from collections.abc import Iterator

NETFILTER = 12
REQUEST, ACK = 0x1, 0x4
NESTED = 0x8000


def attribute(kind: int, data: bytes) -> bytes:
    """Return an attribute, with its padding."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, begin and end of each attribute."""
    while begin + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, begin)
        if length < 4:
            return
        yield kind & 0x3FFF, begin + 4, begin + length
        begin += (length + 3) & ~3


def message(kind: int, flags: int, body: bytes, number: int = 0) -> bytes:
    """Return a message with its header; an answer to it carries its number."""
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST | flags, number, 0) + body


def of_netfilter(kind: int, flags: int, body: bytes, number: int = 0) -> bytes:
    """Return a message with the headers of netlink and nfnetlink."""
    return message(kind, flags, struct.pack("=BBH", socket.AF_INET, 0, 0) + body, number)


def ask(opened: socket.socket, asked: bytes) -> int:
    """Send a message that asks for an answer; return the number of the error, 0 for none."""
    opened.send(asked)
    return -int(struct.unpack_from("=i", opened.recv(4096), 16)[0])
