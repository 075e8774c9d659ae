"""Links, addresses and routes, over rtnetlink.

pyroute2 encodes each *shape* of message once; what differs from one message to the next is
patched into the bytes. Messages go out in batches with one acknowledgement each, through
sockets that were opened inside the namespace they speak for. Nothing is looked up by name
while a lab is built: interface numbers are given out here.
"""

import errno
import os
import socket
import struct
from functools import cache

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from lab.errors import KernelError
from lab.plan import Address, Item, RateLimit, Route, RoutingRule, VethPair

_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x100, 0x200, 0x400
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTM_NEWRULE, _RTM_DELRULE = 32, 33
_NLMSG_ERROR = 2
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_IFF_UP, _IFF_NOARP = 1, 0x80
_RTN_UNICAST = 1
#: Kinds of routes that lead out of no interface.
_TYPES = {"blackhole": 6, "throw": 9}
_RTPROT_STATIC, _RT_TABLE_MAIN, _RT_TABLE_UNSPEC = 4, 254, 0
_FR_ACT_TO_TBL = 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_RTNH_F_ONLINK = 4

#: The hardware address of both ends of every wire: the one that Azure's hosts answer every ARP request with.
#: With it at both ends no ARP is needed, and none is sent: the machine's one table of neighbours, which
#: all namespaces share and which holds 1,024 entries, sets no limit to the size of a lab.
_HARDWARE_ADDRESS = "12:34:56:78:9a:bc"

LOOPBACK = 1  # interface number of lo in every namespace
#: Bytes of messages per batch: well below the default send buffer (net.core.wmem_default).
_BATCH = 32 * 1024

# Values that stand for what is patched, chosen to appear nowhere else in a message.
_MARK_INDEX, _MARK_PEER_INDEX, _MARK_FD = 0x7EADBEE1, 0x7EADBEE2, 0x7EADBEE3
_MARK_NAME, _MARK_PEER_NAME = "NAME-OF-THIS-ND", "NAME-OF-PEER-ND"
_MARK_ADDRESS, _MARK_VIA = "222.173.190.239", "222.173.190.238"
_MARK_TABLE, _MARK_MARK, _MARK_MASK, _MARK_PRIORITY = 0x7EADBEE4, 0x7EADBEE5, 0x7EADBEE6, 0x7EADBEE7


def _word(number: int) -> bytes:
    return struct.pack("=I", number)


def _name(text: str) -> bytes:
    return text.encode().ljust(len(_MARK_NAME), b"\0")


class _Template:
    """An encoded message with named gaps."""

    def __init__(self, message: object, kind: int, flags: int, **marks: bytes) -> None:
        message["header"]["type"] = kind  # type: ignore[index]
        message["header"]["flags"] = _NLM_F_REQUEST | flags  # type: ignore[index]
        message.encode()  # type: ignore[attr-defined]
        self.data = bytes(message.data)  # type: ignore[attr-defined]
        self.gaps = {name: (self.data.index(mark), len(mark)) for name, mark in marks.items()}

    def fill(self, **values: bytes) -> bytearray:
        data = bytearray(self.data)
        for name, value in values.items():
            start, length = self.gaps[name]
            data[start : start + length] = value
        return data


@cache
def _new_wire() -> _Template:
    message = ifinfmsg()
    message["index"] = _MARK_INDEX
    message["flags"] = message["change"] = _IFF_UP | _IFF_NOARP
    peer = {
        "index": _MARK_PEER_INDEX,
        # The peer cannot be raised here: the kernel refuses before the pair is joined.
        "attrs": [
            ["IFLA_IFNAME", _MARK_PEER_NAME],
            ["IFLA_ADDRESS", _HARDWARE_ADDRESS],
            ["IFLA_NET_NS_FD", _MARK_FD],
        ],
    }
    info = [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", peer]]}]]
    message["attrs"] = [
        ["IFLA_IFNAME", _MARK_NAME],
        ["IFLA_ADDRESS", _HARDWARE_ADDRESS],
        ["IFLA_LINKINFO", {"attrs": info}],
    ]
    return _Template(
        message,
        _RTM_NEWLINK,
        _NLM_F_CREATE | _NLM_F_EXCL,
        index=_word(_MARK_INDEX),
        peer_index=_word(_MARK_PEER_INDEX),
        name=_MARK_NAME.encode(),
        peer_name=_MARK_PEER_NAME.encode(),
        peer_namespace=_word(_MARK_FD),
    )


@cache
def _link(kind: int) -> _Template:
    message = ifinfmsg()
    message["index"] = _MARK_INDEX
    message["flags"] = message["change"] = _IFF_UP | _IFF_NOARP
    return _Template(message, kind, 0, index=_word(_MARK_INDEX))


@cache
def _address(kind: int) -> _Template:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET
    message["prefixlen"] = 32
    message["index"] = _MARK_INDEX
    message["attrs"] = [["IFA_LOCAL", _MARK_ADDRESS]]
    flags = _NLM_F_CREATE | _NLM_F_REPLACE if kind == _RTM_NEWADDR else 0
    return _Template(message, kind, flags, index=_word(_MARK_INDEX), address=socket.inet_aton(_MARK_ADDRESS))


@cache
def _route(kind: int, prefix_length: int, form: str, *, own_table: bool) -> _Template:
    """Return a route message; ``form`` is ``via``, ``dev``, ``blackhole`` or ``throw``."""
    message = rtmsg()
    message["family"] = socket.AF_INET
    message["dst_len"] = prefix_length
    message["table"] = _RT_TABLE_UNSPEC if own_table else _RT_TABLE_MAIN
    message["proto"] = _RTPROT_STATIC
    message["type"] = _TYPES.get(form, _RTN_UNICAST)
    message["scope"] = _SCOPE_LINK if form == "dev" else _SCOPE_UNIVERSE
    marks: dict[str, bytes] = {}
    attributes: list[list[object]] = []
    if prefix_length:
        attributes.append(["RTA_DST", _MARK_ADDRESS])
        marks["destination"] = socket.inet_aton(_MARK_ADDRESS)
    if form == "via":
        message["flags"] = _RTNH_F_ONLINK
        attributes.append(["RTA_GATEWAY", _MARK_VIA])
        marks["via"] = socket.inet_aton(_MARK_VIA)
    if form not in _TYPES:
        attributes.append(["RTA_OIF", _MARK_INDEX])
        marks["index"] = _word(_MARK_INDEX)
    if own_table:
        attributes.append(["RTA_TABLE", _MARK_TABLE])
        marks["table"] = _word(_MARK_TABLE)
    message["attrs"] = attributes
    flags = _NLM_F_CREATE | _NLM_F_REPLACE if kind == _RTM_NEWROUTE else 0
    return _Template(message, kind, flags, **marks)


@cache
def _rule(kind: int, source_length: int, interface: str, *, specific: bool) -> _Template:
    message = fibmsg()
    message["family"] = socket.AF_INET
    message["table"] = _RT_TABLE_UNSPEC
    message["action"] = _FR_ACT_TO_TBL
    message["attrs"] = [
        ["FRA_PRIORITY", _MARK_PRIORITY],
        ["FRA_FWMARK", _MARK_MARK],
        ["FRA_FWMASK", _MARK_MASK],
        ["FRA_TABLE", _MARK_TABLE],
    ]
    marks = {"mark": _MARK_MARK, "mask": _MARK_MASK, "table": _MARK_TABLE, "priority": _MARK_PRIORITY}
    if source_length:
        message["src_len"] = source_length
        message["attrs"].append(["FRA_SRC", _MARK_ADDRESS])
    if interface:
        message["attrs"].append(["FRA_IIFNAME", interface])
    if specific:
        message["attrs"].append(["FRA_SUPPRESS_PREFIXLEN", 0])
    flags = _NLM_F_CREATE | _NLM_F_EXCL if kind == _RTM_NEWRULE else 0
    gaps = {name: _word(mark) for name, mark in marks.items()}
    if source_length:
        gaps["source"] = socket.inet_aton(_MARK_ADDRESS)
    return _Template(message, kind, flags, **gaps)


class Link:
    """The rtnetlink socket of one namespace, and the interface numbers in it.

    Made by a process that is inside the namespace; usable from anywhere afterwards.
    """

    def __init__(self, place: str, interfaces: dict[str, int] | None = None) -> None:
        self.place = place
        self.interfaces = {"lo": LOOPBACK} if interfaces is None else interfaces
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._pending: list[tuple[Item | str, bytearray, tuple[int, ...]]] = []
        self._size = 0

    def close(self) -> None:
        """Close the socket; what is pending is lost."""
        self._socket.close()

    def _next_interface(self, name: str) -> int:
        number = max(self.interfaces.values()) + 1
        self.interfaces[name] = number
        return number

    def _queue(self, item: Item | str, message: bytearray, tolerated: tuple[int, ...] = ()) -> None:
        self._pending.append((item, message, tolerated))
        self._size += len(message)
        if self._size >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what is queued and wait until the kernel has done it.

        Raises:
            KernelError: the kernel refused an item; the ones before it are done.

        """
        if not self._pending:
            return
        pending, self._pending, self._size = self._pending, [], 0
        for number, (_, message, _) in enumerate(pending):
            struct.pack_into("=I", message, 8, number)
        flags = struct.unpack_from("=H", pending[-1][1], 6)[0]
        struct.pack_into("=H", pending[-1][1], 6, flags | _NLM_F_ACK)
        self._socket.send(b"".join(message for _, message, _ in pending))
        while True:
            data = self._socket.recv(65536)
            offset = 0
            while offset < len(data):
                length, kind, _, number, _ = struct.unpack_from("=IHHII", data, offset)
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data, offset + 16)[0]
                    item, _, tolerated = pending[number]
                    if code and code not in tolerated:
                        reason = f"{errno.errorcode.get(code, code)}, {os.strerror(code)}"
                        raise KernelError(
                            f"{self.place}: {item}: the kernel answered {reason}; the step must succeed; "
                            "run `lab doctor`, then `lab down` and `lab up` again"
                        )
                    if number == len(pending) - 1:
                        return
                offset += (length + 3) & ~3

    # --- what can be asked for ---------------------------------------------------------------

    def raise_interface(self, name: str) -> None:
        """Bring an interface up."""
        self._queue(f"{name} up", _link(_RTM_NEWLINK).fill(index=_word(self.interfaces[name])))

    def add_wire(self, wire: VethPair, peer: "Link", peer_namespace: int) -> None:
        """Make a veth pair from here to the namespace of ``peer``, this end up."""
        message = _new_wire().fill(
            index=_word(self._next_interface(wire.interface)),
            peer_index=_word(peer._next_interface(wire.peer_interface)),  # noqa: SLF001 - the same class
            name=_name(wire.interface),
            peer_name=_name(wire.peer_interface),
            peer_namespace=_word(peer_namespace),
        )
        self._queue(wire, message)

    def remove_interface(self, name: str) -> None:
        """Remove an end of a veth pair, and the other with it; one that is gone is fine."""
        if name in self.interfaces:
            index = self.interfaces.pop(name)
            self._queue(f"remove {name}", _link(_RTM_DELLINK).fill(index=_word(index)), (errno.ENODEV,))

    def add(self, item: Address | Route | RoutingRule) -> None:
        """Make an address, a route or a routing rule, or change what is there into it."""
        if isinstance(item, Address):
            self._queue(item, self._address_message(_RTM_NEWADDR, item))
        elif isinstance(item, RoutingRule):
            self._queue(item, self._rule_message(_RTM_NEWRULE, item), (errno.EEXIST,))
        else:
            self._queue(item, self._route_message(_RTM_NEWROUTE, item))

    def remove(self, item: Address | Route | RoutingRule) -> None:
        """Remove an address, a route or a routing rule; what is gone, with its interface or before it, is fine."""
        if isinstance(item, RoutingRule):
            self._queue(item, self._rule_message(_RTM_DELRULE, item), (errno.ENOENT,))
            return
        if item.interface is not None and item.interface not in self.interfaces:
            return
        if isinstance(item, Address):
            gone = (errno.EADDRNOTAVAIL, errno.ENODEV)
            self._queue(item, self._address_message(_RTM_DELADDR, item), gone)
        else:
            gone = (errno.ESRCH, errno.ENODEV)
            self._queue(item, self._route_message(_RTM_DELROUTE, item), gone)

    def _address_message(self, kind: int, item: Address) -> bytearray:
        index = _word(self.interfaces[item.interface])
        return _address(kind).fill(index=index, address=socket.inet_aton(item.address))

    def _route_message(self, kind: int, item: Route) -> bytearray:
        prefix, length = item.destination.split("/")
        nowhere = "throw" if item.back else "blackhole"
        form = nowhere if item.interface is None else "via" if item.via else "dev"
        values = {}
        if int(length):
            values["destination"] = socket.inet_aton(prefix)
        if item.interface is not None:
            values["index"] = _word(self.interfaces[item.interface])
        if item.via:
            values["via"] = socket.inet_aton(item.via)
        if item.table is not None:
            values["table"] = _word(item.table)
        return _route(kind, int(length), form, own_table=item.table is not None).fill(**values)

    def _rule_message(self, kind: int, item: RoutingRule) -> bytearray:
        values = {"mark": item.mark, "mask": item.mask, "table": item.table, "priority": item.priority}
        gaps = {name: _word(value) for name, value in values.items()}
        prefix, _, length = (item.source or "0.0.0.0/0").partition("/")
        if int(length):
            gaps["source"] = socket.inet_aton(prefix)
        return _rule(kind, int(length), item.in_interface or "", specific=item.specific).fill(**gaps)


def interfaces_here() -> dict[str, int]:
    """Return the interfaces of the namespace this thread is in, with their numbers."""
    return {name: number for number, name in socket.if_nameindex()}


def shape_here(item: RateLimit) -> None:
    """Limit what an interface sends, in the namespace this process is in: a token bucket of 5 ms."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - takes a while to load

    rate = item.mbit_s * 1_000_000 // 8  # bytes per second
    with IPRoute() as route:
        index = interfaces_here()[item.interface]
        route.tc("replace", "tbf", index, rate=rate, burst=max(rate // 200, 10_000), latency="50ms")


def unshape_here(item: RateLimit) -> None:
    """Let an interface send as it can; one that is gone or has no limit is fine."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - takes a while to load
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    index = interfaces_here().get(item.interface)
    with IPRoute() as route:
        try:
            if index is not None:
                route.tc("del", "tbf", index)
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.EINVAL):
                raise
