"""Public addresses that the platform chooses: the next one that nothing in a network has.

The one place where an address is chosen: for a file that is read and for every management operation.
"""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from lab.azure.addresses import Ranges
from lab.azure.model import Network, documentation_addresses
from lab.errors import UsageError


def candidates(taken: Collection[IPv4Address], private: Ranges, *, descending: bool = False) -> Iterator[IPv4Address]:
    """Yield the addresses that may be given out, the next one first.

    ``taken`` are addresses of something else, and ``private`` the ranges inside of which no address is public.
    """
    for address in documentation_addresses(descending=descending):
        if address not in taken and address not in private:
            yield address


def exhausted() -> str:
    """Return what is found, and what must hold, when no address is left."""
    count = len(list(documentation_addresses()))
    return f"no public address left; the lab has {count} of its own (RFC 5737)"


def free_address(
    network: Network,
    *,
    descending: bool = False,
    avoid: Iterable[IPv4Address | None] = (),
    spaces: Iterable[IPv4Network] = (),
) -> IPv4Address:
    """Return the address that the platform gives next: the lowest or highest that is free.

    ``avoid`` are addresses that are not given either, such as the one that the same resource gave back; ``spaces`` are
    ranges that the network is about to have.

    Raises:
        UsageError: there is none left.

    """
    taken = network.taken_addresses() | {address for address in avoid if address is not None}
    private = Ranges((*network.private_ranges(), *spaces))
    found = next(candidates(taken, private, descending=descending), None)
    if found is None:
        raise UsageError(f"{exhausted()}; free one")
    return found
