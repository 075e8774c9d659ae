"""Addresses and ranges: how their text is read, and which of them no resource can have.

Every address and range that a user writes, in whichever file or command, is read here. Python's own reading is more
generous: it takes 10.2.0.0 for 10.2.0.0/32, and 10.2.0.0/0.0.0.255 for 10.2.0.0/24.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Generic, TypeVar

_T = TypeVar("_T")

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


# --- many ranges ------------------------------------------------------------------------------
# Two ranges overlap only if one lies within the other. So sorted by their first address, those within a range stand
# in a row, and those around it are found by its 32 shorter lengths: no pair need be tried.


class Ranges:
    """Ranges that one address or range after another is looked for in."""

    def __init__(self, ranges: Iterable[IPv4Network]) -> None:
        self._outer: list[IPv4Network] = []  # those that lie in no other
        for one in sorted(set(ranges), key=lambda r: (int(r.network_address), r.prefixlen)):
            if not self._outer or int(one.network_address) > int(self._outer[-1].broadcast_address):
                self._outer.append(one)
        self._starts = [int(one.network_address) for one in self._outer]

    def _around(self, number: int) -> IPv4Network | None:
        position = bisect_right(self._starts, number) - 1
        found = self._outer[position] if position >= 0 else None
        return found if found is not None and number <= int(found.broadcast_address) else None

    def __contains__(self, address: IPv4Address) -> bool:
        return self._around(int(address)) is not None

    def cover(self, other: IPv4Network) -> bool:
        """Tell whether a range lies within one of these."""
        found = self._around(int(other.network_address))
        return found is not None and found.prefixlen <= other.prefixlen

    def overlapping(self, other: IPv4Network) -> IPv4Network | None:
        """Return the last of these that a range overlaps, None if there is none."""
        position = bisect_right(self._starts, int(other.broadcast_address)) - 1
        found = self._outer[position] if position >= 0 else None
        return found if found is not None and int(found.broadcast_address) >= int(other.network_address) else None


class Points(Generic[_T]):
    """Addresses with what has them, of which those within a range are asked for."""

    def __init__(self, points: Iterable[tuple[IPv4Address, _T]]) -> None:
        self._points = list(points)
        self._order = sorted(range(len(self._points)), key=lambda i: int(self._points[i][0]))
        self._numbers = [int(self._points[i][0]) for i in self._order]

    def inside(self, prefix: IPv4Network) -> Iterator[tuple[IPv4Address, _T]]:
        """Yield what lies within a range, in the order it was given in."""
        first = bisect_left(self._numbers, int(prefix.network_address))
        end = bisect_right(self._numbers, int(prefix.broadcast_address))
        for index in sorted(self._order[first:end]):
            yield self._points[index]


class Overlaps:
    """Ranges in an order, of which each is held against those before it."""

    def __init__(self, ranges: Sequence[IPv4Network]) -> None:
        self.ranges = ranges
        self._same: dict[tuple[int, int], list[int]] = {}
        for index, one in enumerate(ranges):
            self._same.setdefault((int(one.network_address), one.prefixlen), []).append(index)
        self._order = sorted(range(len(ranges)), key=lambda i: int(ranges[i].network_address))
        self._starts = [int(ranges[i].network_address) for i in self._order]

    def before(self, index: int) -> Iterator[int]:
        """Yield the positions of the ranges before one that overlap it, in their order."""
        one = self.ranges[index]
        start, length = int(one.network_address), one.prefixlen
        found: list[int] = []
        for shorter in range(length + 1):
            found += self._same.get((start >> (32 - shorter) << (32 - shorter), shorter), ())
        first = bisect_left(self._starts, start)
        end = bisect_right(self._starts, int(one.broadcast_address))
        found += [i for i in self._order[first:end] if self.ranges[i].prefixlen > length]
        yield from sorted(i for i in found if i < index)


def crossing(ours: Sequence[IPv4Network], theirs: Sequence[IPv4Network]) -> Iterator[tuple[IPv4Network, IPv4Network]]:
    """Yield each of our ranges with each of theirs that it overlaps."""
    both = Overlaps([*theirs, *ours])
    for index, one in enumerate(ours, start=len(theirs)):
        yield from ((one, theirs[other]) for other in both.before(index) if other < len(theirs))
