"""How long flows may be idle that a rule of the packet filter gives a timeout of its own (nfnetlink_cttimeout).

The target CT of the ``raw`` table names a timeout, which must be there before such a rule, and can go only after it.
linux/netfilter/nfnetlink_cttimeout.h names the numbers.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable

from lab.errors import KernelError, MachineError
from lab.flow import TCP
from lab.kernel import netlink
from lab.plan import Timeout

_NEW, _GET, _DELETE = 0x800, 0x801, 0x802
_CREATE, _REPLACE = 0x400, 0x100
_NAME, _LAYER_3, _LAYER_4, _DATA = 1, 2, 3, 4
#: All states of a TCP connection, closed ones too: none is remembered for longer than its rule says.
_STATES = range(1, 12)


def _name(item: Timeout) -> bytes:
    return netlink.attribute(_NAME, item.name.encode() + b"\0")


def _ask(opened: socket.socket, kind: int, flags: int, body: bytes) -> int:
    """Return the number of the error that the kernel answers with."""
    return netlink.ask(opened, netlink.of_netfilter(kind, netlink.ACK | flags, body))


def write_here(items: Iterable[Timeout]) -> None:
    """Make timeouts in the namespace this process is in, or give those that are there these times.

    Raises:
        MachineError: the kernel knows no timeouts.
        KernelError: it refuses one.

    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER) as opened:
        for item in items:
            times = b"".join(netlink.attribute(state, struct.pack("!I", item.seconds)) for state in _STATES)
            body = _name(item) + netlink.attribute(_LAYER_3, struct.pack("!H", socket.AF_INET))
            body += netlink.attribute(_LAYER_4, bytes([TCP])) + netlink.attribute(_DATA | netlink.NESTED, times)
            number = _ask(opened, _NEW, _CREATE | _REPLACE, body)
            if number in (errno.EINVAL, errno.EOPNOTSUPP):
                raise MachineError(
                    f"{item.place}: {item}: {os.strerror(number)}; the kernel must have timeouts of rules; "
                    "load them with `modprobe nfnetlink_cttimeout`"
                )
            if number:
                raise KernelError(
                    f"{item.place}: {item}: {os.strerror(number)}; the step must succeed; run `lab doctor`"
                )


def remove_here(items: Iterable[Timeout]) -> None:
    """Remove timeouts that no rule names any more; one that is gone is fine.

    Raises:
        KernelError: a rule names it still.

    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER) as opened:
        for item in items:
            number = _ask(opened, _DELETE, 0, _name(item))
            if number not in (0, errno.ENOENT):
                raise KernelError(f"{item.place}: {item}: {os.strerror(number)}; no rule may name it; run `lab doctor`")


def read_here() -> dict[str, int]:
    """Return the seconds of each timeout by its name, in the namespace this process is in; 0 if its states differ."""
    found = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER) as opened:
        for _, body in netlink.dump(opened, _GET, struct.pack("=BBH", socket.AF_INET, 0, 0)):
            values = {kind: body[begin:end] for kind, begin, end in netlink.attributes(body, 4, len(body))}
            times = values[_DATA]
            each = {
                struct.unpack("!I", times[begin:end])[0]
                for kind, begin, end in netlink.attributes(times, 0, len(times))
                if kind in _STATES
            }
            name = values[_NAME].split(b"\0", 1)[0].decode(errors="replace")
            found[name] = each.pop() if len(each) == 1 else 0
    return found
