"""Names of what the lab makes for itself: places of its own, beside the nodes of the user.

A virtual network that the platform has for itself begins with an underscore, as no name of a user's does, and what is
shortened has a ``~`` (``plan.short``). A place of the lab's own is named after a network, and what else could have such
a name, a node, must not: see ``taken``.
"""

from collections.abc import Iterable
from typing import Literal

Kind = Literal["router", "lb", "gw", "nat"]

INTERNET = "internet"
_KINDS: tuple[Kind, ...] = ("router", "lb", "gw", "nat")
#: Interfaces that namespaces have, or are given when a module of the kernel is loaded, and words of Linux' settings.
_LINUX = frozenset(
    {
        *("lo", "all", "default", "bonding_masters", "teql0", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0"),
        *("ip6tnl0", "ip6gre0", "ip6_vti0"),
    }
)


#: Name that OpenDNS answers with the source of the query (Outbound connections, 2017-05-31).
MY_ADDRESS = "myip.opendns.com"


def place(kind: Kind, network: str) -> str:
    """Return the name of a place that a virtual network has."""
    return f"{kind}.{network}"


def taken(networks: Iterable[str]) -> frozenset[str]:
    """Return what no node can be called, in small letters: names of the lab's own places, and Linux' own names."""
    own = {place(kind, network).lower() for network in networks for kind in _KINDS}
    return _LINUX | own | {INTERNET, MY_ADDRESS}
