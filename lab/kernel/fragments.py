"""Fragments are lost before connection tracking puts them together again.

Tracking does that at priority -400 of the prerouting hook, and legacy tables begin at -300: no rule of theirs ever sees
a fragment. A chain of nf_tables may come before. It holds nothing else, and is written in one step over netlink.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from typing import Any

from lab.errors import KernelError
from lab.plan import DropFragments, Provenance

TABLE = "lab-fragments"
_CHAIN = "before-tracking"
_PRIORITY = -450  # NF_IP_PRI_RAW_BEFORE_DEFRAG, linux/netfilter_ipv4.h
_IPV4 = 2  # NFPROTO_IPV4
_NETWORK_HEADER = 1  # NFT_PAYLOAD_NETWORK_HEADER
_EQUAL = 0  # NFT_CMP_EQ
_GET_RULES, _RULE_TABLE = 0xA07, 1  # NFT_MSG_GETRULE of nf_tables, NFTA_RULE_TABLE
_DROP, _ACCEPT = 0, 1  # NF_DROP, NF_ACCEPT
#: Of the IPv4 header (RFC 791): more fragments follow, and the offset of this one; the source.
_FRAGMENT_AT, _FRAGMENT_MASK = 6, struct.pack("!H", 0x3FFF)
_SOURCE_AT = 12


def write_here(item: DropFragments | None) -> None:
    """Make fragments be lost in the namespace this process is in, or no longer.

    Raises:
        KernelError: the kernel refuses.

    """
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - takes a while to load
    from pyroute2.nftables.main import NFTables  # noqa: PLC0415

    try:
        with NFTables(nfgen_family=_IPV4) as nft:
            nft.begin()
            # What is added is there to be deleted; what is deleted was added or is added again: always one new table.
            nft.table("add", name=TABLE)
            nft.table("del", name=TABLE)
            if item is not None:
                nft.table("add", name=TABLE)
                chain = {"hook": "prerouting", "type": "filter", "priority": _PRIORITY, "policy": _ACCEPT}
                nft.chain("add", table=TABLE, name=_CHAIN, **chain)
                for expressions in _rules(item):
                    nft.rule("add", table=TABLE, chain=_CHAIN, expressions=expressions)
            nft.commit()
    except (NetlinkError, OSError) as error:
        raise KernelError(
            f"nf_tables: {error}; the kernel must have it where fragments are dropped; "
            "load the module nf_tables, or choose a profile before 2022-03"
        ) from None


def is_there(item: DropFragments) -> bool:
    """Tell whether the namespace this process is in has as many rules of ours as these fragments take."""
    from lab.kernel import netlink  # noqa: PLC0415 - few labs need it

    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER) as opened:
        bodies = [body for _, body in netlink.dump(opened, _GET_RULES, struct.pack("=BBH", socket.AF_INET, 0, 0))]
    name = netlink.attribute(_RULE_TABLE, TABLE.encode() + b"\0")
    return sum(name in body for body in bodies) == len(list(_rules(item)))


def _rules(item: DropFragments) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield the rules: what is whole passes, as do the fragments of those who may send them."""
    yield _compare(_FRAGMENT_AT, _FRAGMENT_MASK, bytes(2)), _verdict(_ACCEPT)
    for prefix in _prefixes(item.exempt):
        yield _from(prefix), _verdict(_ACCEPT)
    for prefix in _prefixes(item.sources):
        yield _from(prefix), _verdict(_DROP)


def _prefixes(texts: Iterable[str]) -> Iterator[IPv4Network]:
    return map(IPv4Network, texts)


def _from(prefix: IPv4Network) -> list[Any]:
    return _compare(_SOURCE_AT, prefix.netmask.packed, prefix.network_address.packed)


def _compare(at: int, mask: bytes, value: bytes) -> list[Any]:
    """Return what compares bytes of a packet's IPv4 header, seen through a mask."""
    from pyroute2.nftables.expressions import genex  # noqa: PLC0415

    def data(content: bytes) -> dict[str, Any]:
        return {"attrs": [("NFTA_DATA_VALUE", content)]}

    size = len(mask)
    return [
        genex("payload", {"dreg": 1, "base": _NETWORK_HEADER, "offset": at, "len": size}),
        genex("bitwise", {"sreg": 1, "dreg": 1, "len": size, "mask": data(mask), "xor": data(bytes(size))}),
        genex("cmp", {"sreg": 1, "op": _EQUAL, "data": data(value)}),
    ]


def _verdict(code: int) -> list[Any]:
    from pyroute2.nftables.expressions import verdict  # noqa: PLC0415

    made: list[Any] = verdict(code)
    return made


def try_out() -> None:
    """Drop fragments in a namespace that no other process uses.

    Raises:
        KernelError: the kernel refuses.

    """
    write_here(
        DropFragments(place="", why=Provenance("doctor", "trial"), sources=("10.0.0.0/8",), exempt=("10.0.0.1/32",))
    )
