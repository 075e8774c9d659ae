"""Addresses and ranges: how their text is read, and which of them no resource can have.

Every address and range that a user writes, in whichever file or command, is read here. Python's own reading is more
generous: it takes 10.2.0.0 for 10.2.0.0/32, and 10.2.0.0/0.0.0.255 for 10.2.0.0/24.
"""

import re
from ipaddress import IPv4Address, IPv4Network

_DIGITS = re.compile(r"[0-9]+")
_PREFIX = re.compile(r"[0-9.]+/[0-9]{1,2}")

#: What hosts cannot have, with the reason.
_UNUSABLE = {
    IPv4Network("0.0.0.0/8"): '"this network", RFC 1122',
    IPv4Network("127.0.0.0/8"): "loopback, RFC 1122",
    IPv4Network("168.63.129.16/32"): "the platform's own address, from which health probes come",
    IPv4Network("169.254.0.0/16"): "link-local, RFC 3927",
    IPv4Network("224.0.0.0/4"): "multicast, RFC 5771",
    IPv4Network("240.0.0.0/4"): "reserved, RFC 1112",
}


def read_address(text: str) -> IPv4Address:
    """Return the address that a text is.

    Raises:
        ValueError: it is none; the message says what it must be.

    """
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError("not an IPv4 address, such as 10.1.0.4") from None


def is_address(text: str) -> bool:
    """Tell whether a text is an IPv4 address."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def read_prefix(text: str, *, host_bits: bool = False, example: str = "10.1.0.0/24") -> IPv4Network:
    """Return the range that a text is; ``host_bits``: they may be set, and are cleared.

    Raises:
        ValueError: it is none, or has no length; the message says what it must be.

    """
    if is_address(text):
        raise ValueError(f"a range needs its length, such as {text}/{_length(text)}; add it")
    try:
        found = IPv4Network(text, strict=False) if _PREFIX.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError(f"not an IPv4 prefix, such as {example}")
    if not host_bits and str(found.network_address) != text.partition("/")[0]:
        raise ValueError(f"has host bits set; the prefix is {found}")
    return found


def _length(text: str) -> int:
    """Return the shortest length that an address without a mask may have been meant with: of its zero octets."""
    octets = text.split(".")
    while octets and octets[-1] == "0":
        octets.pop()
    return 8 * max(1, len(octets))


def read_whole(text: str) -> int | None:
    """Return the number that a text is, in the digits 0 to 9 only; None if it is none."""
    return int(text) if _DIGITS.fullmatch(text) and len(text) <= 18 else None


def unusable(value: IPv4Address | IPv4Network) -> str:
    """Return why no resource can have an address, or a range that overlaps one; "" if one can."""
    wanted = value if isinstance(value, IPv4Network) else IPv4Network(value)
    return next((f"{range_} ({reason})" for range_, reason in _UNUSABLE.items() if wanted.overlaps(range_)), "")
