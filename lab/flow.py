"""The words for packets that every stage shares: protocols, port ranges, destinations.

A flow is described from its initiator's side: *source* is who opened it.
"""

import re
from ipaddress import IPv4Network
from typing import Literal, NamedTuple, Self

import msgspec

Transport = Literal["tcp", "udp"]

#: What two flows must have different to be given one SNAT port: their destination address; address, port or
#: protocol of their destination; nothing would do (a port is one flow's alone, wherever that goes).
PortReuse = Literal["destination address", "destination", "nothing"]
#: Which of the free SNAT ports is taken next.
PortOrder = Literal["random", "lowest"]
#: Which FINs make a flow closed, for the release of its SNAT port.
FinClose = Literal["both", "either"]

#: Sources that must never be seen outside: private (RFC 1918), shared (RFC 6598), loopback, link-local, and
#: the platform's own. Documentation addresses (RFC 5737) stand for public ones in a lab.
NOT_PUBLIC = tuple(
    IPv4Network(prefix)
    for prefix in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",
    )
)


#: Numbers of transport protocols in an IP header (RFC 790).
TCP, UDP = 6, 17


class Flow(NamedTuple):
    """A flow in the direction in which it was opened: the protocol's number, and addresses as numbers."""

    protocol: int
    source: int
    source_port: int
    destination: int
    destination_port: int


class Segment(NamedTuple):
    """A TCP segment: addresses as numbers, and what it acknowledges (None: nothing)."""

    source: int
    source_port: int
    destination: int
    destination_port: int
    acknowledged: int | None


class Reset(NamedTuple):
    """A TCP reset, from one end of a flow to the other; ``sequence`` is what its receiver expects next."""

    source: int
    source_port: int
    destination: int
    destination_port: int
    sequence: int
    acknowledged: int


class PortRange(msgspec.Struct, frozen=True, order=True):
    """Ports ``first`` to ``last``, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``80`` or ``1024-65535``.

        Raises:
            ValueError: not ports from 1 to 65535, or the wrong way round.

        """
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text.strip())
        if not match:
            raise ValueError(f'"{text}" is not a port or a range of ports')
        first = int(match[1])
        last = int(match[2] or match[1])
        if not 1 <= first <= last <= 65535:
            raise ValueError(f'"{text}" is not within 1-65535, lower port first')
        return cls(first, last)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


class Destination(msgspec.Struct, frozen=True):
    """Where a flow goes: a node's name or an address, a port and a transport protocol."""

    host: str
    port: int
    protocol: Transport

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``lbvm:22/tcp``; the protocol may be left out and is then tcp.

        Raises:
            ValueError: the text has another form or the port is out of range.

        """
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*):([0-9]{1,5})(?:/(tcp|udp))?", text.strip())
        if not match:
            raise ValueError(f'"{text}" is not HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp')
        port = int(match[2])
        if not 1 <= port <= 65535:
            raise ValueError(f'"{text}": a port is from 1 to 65535')
        return cls(match[1], port, "udp" if match[3] == "udp" else "tcp")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.protocol}"
