"""Netlink messages, framed: attributes, headers, and the kernel's answer to one message."""

import os
import socket
import struct
from collections.abc import Iterator

NETFILTER = 12
REQUEST, ACK = 0x1, 0x4
NESTED = 0x8000
_DUMP, _ERROR, _DONE = 0x300, 2, 3
_DUMP_BYTES = 256 * 1024


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


def dump(opened: socket.socket, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Ask for all that the kernel has of a kind; yield the type and body of each answer.

    Raises:
        OSError: the kernel refuses.

    """
    opened.send(message(kind, _DUMP, body))
    while True:
        data, at = opened.recv(_DUMP_BYTES), 0
        while at < len(data):
            length, found, _, _, _ = struct.unpack_from("=IHHII", data, at)
            if found == _ERROR:
                number = -struct.unpack_from("=i", data, at + 16)[0]
                raise OSError(number, os.strerror(number))
            if found == _DONE:
                return
            yield found, data[at + 16 : at + length]
            at += (length + 3) & ~3
