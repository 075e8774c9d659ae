"""Routes into tunnels, written while tunnels come and go: in a table of their own, which is asked before the main one.

In the main table what is for a tunnel is blackholed, so that it is lost while its tunnel is down. The way to the
internet is there too, which the kernel takes away with the wire and does not bring back. Messages are encoded by hand
here: there are three of them, and the agent, which writes them, would load pyroute2 for nothing else.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable

from lab.errors import KernelError
from lab.kernel import netns

#: strongSwan's own number, which other tools know; its daemons are told to use another one (see ``charon``).
TABLE = 220
_PRIORITY = 220

_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x100, 0x200, 0x400
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_NEWRULE = 24, 25, 32
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_FRA_PRIORITY, _FR_ACT_TO_TBL = 6, 1
_RTPROT_STATIC, _RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RTN_UNICAST = 4, 0, 253, 1
_RT_TABLE_MAIN, _RTNH_F_ONLINK = 254, 4

_ALL, _IPV4 = 0x0003, 0x0800  # ETH_P_ALL and ETH_P_IP of linux/if_ether.h


def lead(namespace: str, prefixes: Iterable[str], interface: str, source: str = "") -> None:
    """Lead what is for prefixes to an interface; programs of the place speak from ``source``.

    Raises:
        KernelError: there is no such interface, or the kernel refuses a route.

    """
    _write(namespace, _RTM_NEWROUTE, prefixes, interface, source)


def block(namespace: str, prefixes: Iterable[str], interface: str) -> None:
    """Take the ways of prefixes back; one that is gone, with its interface or before it, is fine.

    Raises:
        KernelError: the kernel refuses it.

    """
    _write(namespace, _RTM_DELROUTE, prefixes, interface, "")


def restore(namespace: str, interface: str, via: str) -> None:
    """Make the way to the internet again if it went with its wire; while that is down or gone there is none.

    Raises:
        KernelError: the kernel refuses it.

    """
    index, opened = _open(namespace, interface)
    with opened:
        if index is not None:
            fine = (errno.EEXIST, errno.ENETDOWN, errno.ENODEV)
            body = _default(index, via)
            _ask(opened, namespace, f"route default dev {interface}", _RTM_NEWROUTE, body, fine, _NLM_F_EXCL)


def _open(namespace: str, interface: str) -> tuple[int | None, socket.socket]:
    """Return the number of an interface, if it is there, and a socket that speaks to its kernel."""
    with netns.visit(namespace):
        index = {name: number for number, name in socket.if_nameindex()}.get(interface)
        return index, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def _write(namespace: str, kind: int, prefixes: Iterable[str], interface: str, source: str) -> None:
    index, opened = _open(namespace, interface)
    with opened:
        if index is None:
            if kind == _RTM_DELROUTE:
                return
            raise KernelError(f"{namespace}: no interface {interface}; it must be there while a tunnel is up")
        if kind == _RTM_NEWROUTE:
            _ask(opened, namespace, f"rule for table {TABLE}", _RTM_NEWRULE, _rule(), (errno.EEXIST,), _NLM_F_EXCL)
        for prefix in prefixes:
            gone = (errno.ESRCH,) if kind == _RTM_DELROUTE else ()
            _ask(opened, namespace, f"route {prefix} dev {interface}", kind, _route(prefix, index, source), gone)


def _ask(
    opened: socket.socket,
    namespace: str,
    what: str,
    kind: int,
    body: bytes,
    tolerated: tuple[int, ...],
    there: int = _NLM_F_REPLACE,
) -> None:
    """Do one step; ``there`` says what becomes of what is there already."""
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    if kind != _RTM_DELROUTE:
        flags |= _NLM_F_CREATE | there
    opened.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    code = -struct.unpack_from("=i", opened.recv(4096), 16)[0]
    if code and code not in tolerated:
        raise KernelError(f"{namespace}: {what}: the kernel answered {os.strerror(code)}; the step must succeed")


def _route(prefix: str, index: int, source: str) -> bytes:
    """Return struct rtmsg of linux/rtnetlink.h with its attributes."""
    address, _, length = prefix.partition("/")
    head = struct.pack(
        "=8BI", socket.AF_INET, int(length), 0, 0, TABLE, _RTPROT_STATIC, _RT_SCOPE_LINK, _RTN_UNICAST, 0
    )
    attributes = _attribute(_RTA_DST, socket.inet_aton(address)) + _attribute(_RTA_OIF, struct.pack("=I", index))
    return head + attributes + (_attribute(_RTA_PREFSRC, socket.inet_aton(source)) if source else b"")


def _default(index: int, via: str) -> bytes:
    """Return struct rtmsg of the default route."""
    head = struct.pack(
        "=8BI",
        *(socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_UNIVERSE, _RTN_UNICAST),
        _RTNH_F_ONLINK,
    )
    return head + _attribute(_RTA_GATEWAY, socket.inet_aton(via)) + _attribute(_RTA_OIF, struct.pack("=I", index))


def _rule() -> bytes:
    """Return struct fib_rule_hdr of linux/fib_rules.h with its priority."""
    head = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, TABLE, 0, 0, _FR_ACT_TO_TBL, 0)
    return head + _attribute(_FRA_PRIORITY, struct.pack("=I", _PRIORITY))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


class Listener:
    """Sees the packets of a place, on whichever of its interfaces."""

    def __init__(self, namespace: str) -> None:
        with netns.visit(namespace):
            # A socket that asks for IPv4 alone is shown what comes, and nothing that programs of the place send.
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.htons(_ALL)
            )

    def fileno(self) -> int:
        """Return the number of the socket, to wait for it."""
        return self._socket.fileno()

    def destinations(self) -> set[str]:
        """Return where the packets go that came by since it was asked last."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, address = self._socket.recvfrom(20)
                if len(packet) == 20 and address[1] == _IPV4:
                    found.add(socket.inet_ntoa(packet[16:20]))
        return found

    def close(self) -> None:
        """Close it."""
        self._socket.close()
