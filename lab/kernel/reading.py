"""What a namespace has of links, addresses, routes and routing rules, read over rtnetlink, with what takes each away.

The numbers are those of linux/rtnetlink.h, linux/if_link.h, linux/fib_rules.h and linux/pkt_sched.h.
"""

import socket
import struct
from collections.abc import Iterator

import msgspec

from lab.kernel import netlink

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_GETADDR, _DELADDR = 22, 21
_GETROUTE, _DELROUTE = 26, 25
_GETRULE, _NEWRULE, _DELRULE = 34, 32, 33
_CREATE = 0x400  # NLM_F_CREATE
_GETQDISC = 38
_IFLA_IFNAME, _IFLA_LINK, _IFF_UP = 3, 5, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_ROUTE_TYPES = {1: "", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
_BY_KERNEL = 2  # RTPROT_KERNEL
_MAIN, _OF_MACHINE = 254, 255  # RT_TABLE_MAIN, RT_TABLE_LOCAL
_FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK = 2, 3, 6, 10
_FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_FWMASK = 14, 15, 16
_LAST = 32767  # the rule of a table that nothing is in; a namespace can do without
_FRA_TO_TABLE = 1  # FR_ACT_TO_TBL
_NO_LENGTH = 0xFFFFFFFF
_TCA_KIND, _TCA_OPTIONS, _TCA_TBF_PARMS, _TBF_RATE_AT = 1, 2, 1, 8


class Link(msgspec.Struct, frozen=True):
    """An interface, and the number of its other end."""

    number: int
    peer: int
    up: bool


class Undo(msgspec.Struct, frozen=True):
    """The message that undoes what was done by hand."""

    kind: int
    body: bytes


class Address(msgspec.Struct, frozen=True):
    """An address of an interface."""

    interface: str
    address: str
    length: int

    def __str__(self) -> str:
        return f"address {self.address}/{self.length} on {self.interface}"


class Route(msgspec.Struct, frozen=True):
    """A route; ``table`` None: the main one."""

    destination: str
    interface: str | None
    via: str | None
    table: int | None
    kind: str  # "" or what becomes of packets
    metric: int

    def __str__(self) -> str:
        words = [f"route {self.destination}", self.kind]
        words += [f"via {self.via}"] if self.via else []
        words += [f"dev {self.interface}"] if self.interface else []
        words += [f"table {self.table}"] if self.table is not None else []
        words += [f"metric {self.metric}"] if self.metric else []
        return " ".join(word for word in words if word)


class Rule(msgspec.Struct, frozen=True):
    """A routing rule."""

    priority: int
    table: int
    mark: int
    mask: int
    source: str | None
    in_interface: str | None
    specific: bool

    def __str__(self) -> str:
        words = [f"routing rule priority {self.priority}"]
        words += [f"fwmark {self.mark:#x}/{self.mask:#x}"] if self.mask else []
        words += [f"from {self.source}"] if self.source else []
        words += [f"iif {self.in_interface}"] if self.in_interface else []
        return " ".join([*words, f"table {self.table}"])


#: The rules that every namespace begins with, and needs: the addresses of the machine, then the main table.
BUILT_IN = (Rule(0, _OF_MACHINE, 0, 0, None, None, False), Rule(32766, _MAIN, 0, 0, None, None, False))


class Seen(msgspec.Struct):
    """What the namespace has that this process is in."""

    links: dict[str, Link]
    addresses: dict[Address, Undo]
    routes: dict[Route, Undo]
    rules: dict[Rule, Undo]

    def without(self, interface: str) -> Undo:
        """Return what takes an interface away."""
        return Undo(_DELLINK, struct.pack("=BxHiII", 0, 0, self.links[interface].number, 0, 0))


def see_here() -> Seen:
    """Read the namespace this process is in."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as opened:
        links = dict(_links(opened))
        names = {link.number: name for name, link in links.items()}
        return Seen(links, dict(_addresses(opened, names)), dict(_routes(opened, names)), dict(_rules(opened)))


def built_in(rule: Rule) -> Undo:
    """Return what makes a rule again that every namespace begins with."""
    body = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, rule.table, 0, 0, _FRA_TO_TABLE, 0)
    return Undo(_NEWRULE, body + netlink.attribute(_FRA_PRIORITY, struct.pack("=I", rule.priority)))


def undo_here(undo: Undo) -> int:
    """Undo what was done in the namespace this process is in; return the number of the error, 0 for none."""
    flags = netlink.ACK | (_CREATE if undo.kind == _NEWRULE else 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as opened:
        return netlink.ask(opened, netlink.message(undo.kind, flags, undo.body))


def rates_here() -> dict[str, int]:
    """Return how many bytes a second interfaces may send that have a limit, in the namespace this process is in."""
    found = {}
    names = dict(socket.if_nameindex())
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as opened:
        for _, body in netlink.dump(opened, _GETQDISC, bytes(20)):
            number = struct.unpack_from("=i", body, 4)[0]
            values = _values(body, 20)
            if values.get(_TCA_KIND) == b"tbf\0" and number in names:
                limit = _values(values[_TCA_OPTIONS], 0).get(_TCA_TBF_PARMS, b"")
                found[names[number]] = struct.unpack_from("=I", limit, _TBF_RATE_AT)[0]
    return found


def _values(body: bytes, begin: int) -> dict[int, bytes]:
    return {kind: body[first:last] for kind, first, last in netlink.attributes(body, begin, len(body))}


def _number(data: bytes | None, otherwise: int = 0) -> int:
    return otherwise if data is None else int(struct.unpack_from("=I", data)[0])


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def _links(opened: socket.socket) -> Iterator[tuple[str, Link]]:
    for _, body in netlink.dump(opened, _GETLINK, bytes(16)):
        number, flags = struct.unpack_from("=iI", body, 4)
        values = _values(body, 16)
        yield _text(values[_IFLA_IFNAME]), Link(number, _number(values.get(_IFLA_LINK)), bool(flags & _IFF_UP))


def _addresses(opened: socket.socket, names: dict[int, str]) -> Iterator[tuple[Address, Undo]]:
    for _, body in netlink.dump(opened, _GETADDR, struct.pack("=BxxxI", socket.AF_INET, 0)):
        length, number = body[1], _number(body[4:8])
        values = _values(body, 8)
        own = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))
        if own is not None and number in names:
            yield Address(names[number], socket.inet_ntoa(own), length), Undo(_DELADDR, body)


def _routes(opened: socket.socket, names: dict[int, str]) -> Iterator[tuple[Route, Undo]]:
    for _, body in netlink.dump(opened, _GETROUTE, struct.pack("=B11x", socket.AF_INET)):
        _, length, _, _, table, protocol, _, kind = struct.unpack_from("=8B", body)
        values = _values(body, 12)
        table = _number(values.get(_RTA_TABLE), table)
        if protocol == _BY_KERNEL or table == _OF_MACHINE or kind not in _ROUTE_TYPES:
            continue
        via = values.get(_RTA_GATEWAY)
        # The kernel tells of a blackhole on no interface, and some versions name lo.
        interface = names.get(_number(values.get(_RTA_OIF))) if kind == _RTN_UNICAST else None
        route = Route(
            f"{socket.inet_ntoa(values.get(_RTA_DST, bytes(4)))}/{length}",
            interface,
            None if via is None else socket.inet_ntoa(via),
            None if table == _MAIN else table,
            _ROUTE_TYPES[kind],
            _number(values.get(_RTA_PRIORITY)),
        )
        yield route, Undo(_DELROUTE, body)


def _rules(opened: socket.socket) -> Iterator[tuple[Rule, Undo]]:
    for _, body in netlink.dump(opened, _GETRULE, struct.pack("=B11x", socket.AF_INET)):
        values = _values(body, 12)
        priority = _number(values.get(_FRA_PRIORITY))
        if priority == _LAST:
            continue
        source = values.get(_FRA_SRC)
        name = values.get(_FRA_IIFNAME)
        rule = Rule(
            priority,
            _number(values.get(_FRA_TABLE), body[4]),
            _number(values.get(_FRA_FWMARK)),
            _number(values.get(_FRA_FWMASK)),
            None if source is None else f"{socket.inet_ntoa(source)}/{body[2]}",
            None if name is None else _text(name),
            _number(values.get(_FRA_SUPPRESS_PREFIXLEN), _NO_LENGTH) != _NO_LENGTH,
        )
        yield rule, Undo(_DELRULE, body)
