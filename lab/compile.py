"""A network becomes a plan: which rule wins over which, on one screen.

    VM --- router --- load balancer (1:1 | LB SNAT | default SNAT) --- internet --- host
              |\\--- NAT gateway -----------------------------------------'
              \\--- gateway ================ IPsec ================ gateway --- router --- VM

``RULES`` is the precedence. Each rule file yields its items in turn, and rules of one chain
keep the order they were yielded in: a packet is taken by the first rule that matches it.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from lab import plan
from lab.azure.model import Network
from lab.errors import LabError
from lab.path import (
    cloud_service,
    floating_ip,
    health_probe,
    idle_timeout,
    instance_public_ip,
    internal_load_balancer,
    load_balancer,
    nat_gateway,
    outbound_idle,
    outbound_snat,
    peering,
    security_group,
    vpn_gateway,
    wiring,
)
from lab.plan import Item, Plan

#: The members of pools that receive no new flows: ``HealthCheck.key`` of each.
Down = frozenset[str]

RULES: tuple[tuple[Callable[[Network, Down], Iterable[Item]], str], ...] = (
    (wiring.items, "who is connected to whom; everything below needs it"),
    (
        peering.items,
        "what may pass between networks is asked of every packet; security groups let the flows pass that they know",
    ),
    (security_group.items, "at the VM's wire: after a load balancer's translation inwards, before it outwards"),
    (
        vpn_gateway.items,
        "what is behind a tunnel never comes to the load balancer (VNet to VNet connection, 2015-05-15)",
    ),
    (cloud_service.items, "who may use an endpoint is asked of every new flow, before anything below takes it"),
    (
        nat_gateway.items,
        "what leaves a subnet with a NAT gateway never comes to the load balancer (NAT gateway resource, 2022-02-25)",
    ),
    (
        instance_public_ip.items,
        "a VM's own address beats every load balancer (Outbound connections, 2017-05-31: used whether balanced or not)",
    ),
    (load_balancer.items, "frontends to VMs; their addresses are no VM's own, so nothing above competes"),
    (internal_load_balancer.items, "private frontends, at the router: nothing of them is known at the edge"),
    (floating_ip.items, "frontends that VMs have themselves: beside the rules that translate, which they never meet"),
    (idle_timeout.items, "how long flows of rules live; nothing is decided by it"),
    (health_probe.items, "who of the VMs behind a frontend is asked for its health; no rule of the packet filter"),
    (outbound_idle.items, "how long flows live that no rule above names; nothing is decided by it"),
    (
        outbound_snat.items,
        "a linked frontend beats the platform's address (Outbound connections, 2017-05-31, load-balanced VM)",
    ),
)


def compile(network: Network, down: Down = frozenset()) -> Plan:  # noqa: A001 - the word of the field
    """Return the plan of a network in which the members ``down`` receive no new flows.

    The same arguments always give the same plan.

    Raises:
        LabError: two rules claim one thing; a mistake of ours, never of the file's.

    """
    items = [item for rule, _ in RULES for item in rule(network, down)]
    made = plan.make(network.name, items)
    _check(made)
    return made


def _check(made: Plan) -> None:  # noqa: PLR0912 - one for each kind
    unique: list[tuple[str, ...]] = []
    places = set(made.places())
    for item in made.items:
        if item.place not in places:
            raise LabError(f"plan: {item} at {item.place}; every item's place must be in the plan; report this")
        match item:
            case plan.Namespace():
                unique.append(("namespace", item.place))
            case plan.VethPair():
                unique += [
                    ("interface", item.place, item.interface),
                    ("interface", item.peer_place, item.peer_interface),
                ]
            case plan.Address():
                unique.append(("address", item.place, item.address))
            case plan.Route():
                unique.append(("route", item.place, item.destination, str(item.table)))
            case plan.RoutingRule():
                unique.append(("routing rule", item.place, str(item)))
            case plan.Timeout():
                unique.append(("timeout", item.place, item.name))
            case plan.Rule(target=plan.Jump(chain=chain)) if item.table in ("nat", "mangle") and "nsg-" not in chain:
                unique.append(("chain", item.place, item.table, chain))
            case plan.Server():
                unique.append(("server", item.place, item.address, str(item.port), item.protocol))
            case plan.IkeDaemon():
                unique.append(("charon", item.place))
            case plan.Tunnel():
                unique.append(("tunnel", item.place, item.name))
            case _:
                pass
    for what, count in Counter(unique).items():
        if count > 1:
            raise LabError(f"plan: {' '.join(what)} is made {count} times; two rules claim it; report this")
