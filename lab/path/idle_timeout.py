"""How long a TCP flow of a rule may be idle, and whether its ends are told when that is over.

Owns the timeouts of rules: connection tracking forgets a flow after its rule's own time, and what comes afterwards is
the middle of an unknown flow, which is lost in silence (``outbound_snat`` has such segments not picked up).
The timeout of a rule is one of TCP flows (load-balancer-tcp-reset.md, 2020-10-07); all that is not closed may be idle
for that long, as ``outbound_snat`` has it for all other flows.
"""

from collections.abc import Iterator
from math import ceil

from lab.azure.model import InboundNatRule, LoadBalancer, LoadBalancingRule, Network, VirtualNetwork
from lab.path import outbound_idle, wiring
from lab.plan import CtTarget, IdleReset, Item, Provenance, Rule, Timeout
from lab.plan import interface_to as to

_TIMEOUT = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_RESET = "load-balancer-tcp-reset.md (2020-10-07)"


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the timeouts of all rules."""
    for vnet in network.virtual_networks:
        rules = [(lb, r) for lb in network.load_balancers_of(vnet) for r in lb.rules() if r.protocol == "tcp"]
        made: dict[tuple[str, str], Timeout] = {}
        for lb, rule in rules:
            for item in _of_rule(network, vnet, lb, rule):
                if isinstance(item, Timeout):
                    made.setdefault((item.place, item.name), item)
                else:
                    yield item
        yield from made.values()


def _of_rule(
    network: Network, vnet: VirtualNetwork, lb: LoadBalancer, rule: LoadBalancingRule | InboundNatRule
) -> Iterator[Item]:
    scale = network.overrides.time_scale
    nominal_s = rule.idle_timeout_min * 60
    seconds = ceil(nominal_s / scale)  # the kernel counts whole ones
    edge, inside = wiring.load_balancer(vnet), wiring.router(vnet)
    address = lb.frontend(rule.frontend).address
    # The edge's own timers are those of outbound flows; the router has none of ours.
    differs = nominal_s != network.profile.idle_timeout_s or outbound_idle.differs(network, vnet)
    name = str(rule.idle_timeout_min)
    # What is for a private frontend never comes to the edge.
    private = lb.is_private(rule)
    for place, own in ((edge, differs and not private), (inside, rule.floating_ip or private)):
        reported = rule.tcp_reset and place == edge and not private
        if not own and not reported:
            continue
        if own:
            named = Provenance("idle_timeout", f"rules of {rule.idle_timeout_min} min", _TIMEOUT)
            yield Timeout(place=place, name=name, seconds=seconds, nominal_s=nominal_s, why=named)
        yield Rule(
            place=place,
            table="raw",
            chain="PREROUTING",
            destination=f"{address}/32",
            protocol="tcp",
            destination_ports=rule.ports,
            target=CtTarget(name if own else "", reported=reported),
            why=Provenance("idle_timeout", f"{lb.name}/{rule.name}, {rule.idle_timeout_min} min", _TIMEOUT),
        )
    # HA ports have none (load-balancer-tcp-reset.md, 2020-10-07); of other private rules it is refused.
    if rule.tcp_reset and not private:
        yield IdleReset(
            place=edge,
            address=str(address),
            port=rule.frontend_port,
            idle_s=seconds,
            inside=tuple(str(prefix) for prefix in vnet.address_space),
            inner_interface=to(inside),
            outer_interface=to(wiring.INTERNET),
            why=Provenance("idle_timeout", f"{lb.name}/{rule.name}", _RESET),
        )
