"""How long TCP flows of outbound rules may be idle, and which of them are told at both ends that their time is over.

Owns the timeouts of flows that no rule names, and tells the timers of an edge. The agent enters outbound flows into the
connection table itself, and an entry of that kind takes no timeout object. So where a rule has another timeout than the
documents' default the edge's own timers are the longest one of its rules, and the agent ends what may be idle for less
(``deciders/idle_flows``). All other TCP flows of that edge have an object.

The timeout is one of TCP (load-balancer-tcp-reset.md, 2020-10-07): UDP keeps the default.
"""

from collections.abc import Iterator
from math import ceil

from lab.azure.model import Network, OutboundRule, VirtualNetwork
from lab.path import wiring
from lab.plan import CtTarget, IdleReset, Item, Provenance, Rule, Timeout
from lab.plan import interface_to as to

_SOURCE = "load-balancer-outbound-rules-overview.md (2018-09-24): outbound flow idle timeout"
_RESET = "load-balancer-tcp-reset.md (2020-10-07)"
#: The object of flows that have the documents' default: at most four characters.
_DEFAULT_NAME = "d"


def default_s(network: Network) -> int:
    """Return how long a flow may be idle by default, as the lab plays it."""
    return max(1, network.profile.idle_timeout_s // network.overrides.time_scale)


def _of(network: Network, rule: OutboundRule) -> int:
    nominal_s = rule.idle_timeout_min * 60
    if nominal_s == network.profile.idle_timeout_s:
        return default_s(network)
    return ceil(nominal_s / network.overrides.time_scale)  # the kernel counts whole ones


def _tcp_rules(network: Network, vnet: VirtualNetwork) -> Iterator[tuple[str, OutboundRule]]:
    """Yield the outbound rules for TCP with each of their addresses, which have no other such rule."""
    for lb in network.load_balancers_of(vnet):
        for rule in lb.outbound_rules:
            for name in rule.frontends if "tcp" in rule.protocols else ():
                yield str(lb.frontend(name).address), rule


def longest_s(network: Network, vnet: VirtualNetwork) -> int:
    """Return the timers of the edge: for as long as any of its outbound flows may be idle."""
    return max((_of(network, rule) for _, rule in _tcp_rules(network, vnet)), default=default_s(network))


def differs(network: Network, vnet: VirtualNetwork) -> bool:
    """Tell whether the timers of the edge are others than the documents' default."""
    return longest_s(network, vnet) != default_s(network)


def by_address(network: Network, vnet: VirtualNetwork) -> tuple[tuple[str, int], ...]:
    """Return how long flows from an address may be idle, where that is not the default."""
    found = {address: _of(network, rule) for address, rule in _tcp_rules(network, vnet)}
    return tuple(sorted((address, s) for address, s in found.items() if s != default_s(network)))


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield what all other flows of an edge have, and which flows are reset; after the timeouts of all other rules."""
    for vnet in network.virtual_networks:
        if network.vms_of(vnet):
            yield from _at_edge(network, vnet)


def _at_edge(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    place = wiring.load_balancer(vnet)
    if differs(network, vnet):
        nominal_s = network.profile.idle_timeout_s
        why = Provenance("outbound_idle", f"other flows of {vnet.name}", network.profile.sources["idle_timeout_s"])
        yield Timeout(place=place, name=_DEFAULT_NAME, seconds=default_s(network), nominal_s=nominal_s, why=why)
        yield Rule(
            place=place, table="raw", chain="PREROUTING", protocol="tcp", target=CtTarget(_DEFAULT_NAME), why=why
        )
    for address, rule in _tcp_rules(network, vnet):
        if rule.tcp_reset:
            yield IdleReset(
                place=place,
                address=address,
                port=0,
                idle_s=_of(network, rule),
                inside=tuple(str(prefix) for prefix in vnet.address_space),
                inner_interface=to(wiring.router(vnet)),
                outer_interface=to(wiring.INTERNET),
                outbound=True,
                why=Provenance("outbound_idle", f"outbound rule {rule.name}, {rule.idle_timeout_min} min", _RESET),
            )
