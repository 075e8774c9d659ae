"""A load balancer's frontend and port lead to a VM and port; who is down receives no new flows.

Owns the frontends' addresses and the translation of load-balancing rules and inbound NAT rules;
who is down is decided in ``health_probe``. The client's address is kept; where no rule listens
there is no answer. Rules with floating IP translate nothing: ``floating_ip`` has their way.

Members are picked by a hash of the flow with a fixed seed, never at random
(load-balancer-distribution-mode.md, 2016-10-24). A flow that was accepted stays where it is.
"""

from collections.abc import Iterator

from lab.azure.model import LoadBalancer, LoadBalancingRule, Network, VirtualMachine, VirtualNetwork
from lab.flow import PortRange
from lab.path import distribution, wiring
from lab.plan import CHAIN_MAX, DestinationNat, Item, Jump, Provenance, Rule, short

_RULE = "Source IP of outbound flows, 2018-12-11, test 2: load-balancing rule"
_NAT_RULE = "Source IP of outbound flows, 2018-12-11, test 1: inbound NAT rule"
#: The same of a cloud service, whose load balancer its endpoints make.
_SET = "Multiple VIPs, 2015-07-23: load-balanced set"
_ENDPOINT = "Multiple VIPs, 2015-07-23: endpoint"
_FRONTEND = "Multiple VIPs, 2015-07-23: the address belongs to the load balancer, to no VM"


def items(network: Network, down: frozenset[str]) -> Iterator[Item]:
    """Yield the frontends, rules and health checks of all load balancers."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    for vnet in network.virtual_networks:
        for lb in network.load_balancers_of(vnet):
            for frontend in lb.addressed():
                why = Provenance("load_balancer", f"{lb.name}/{frontend.name}", _FRONTEND)
                yield from wiring.public_address(vnet, frontend.address, why)
            yield from _inbound_nat_rules(network, vnet, lb, vms)
            for rule in lb.load_balancing_rules:
                if not rule.floating_ip and not lb.is_private(rule):
                    picked = distribution.members(vms, lb, rule, down)
                    yield from _load_balancing_rule(network, vnet, lb, rule, picked)


def _is_classic(network: Network, lb: LoadBalancer) -> bool:
    """Tell whether a load balancer is a cloud service's."""
    return network.cloud_service(lb.name) is not None


def _inbound_nat_rules(
    network: Network, vnet: VirtualNetwork, lb: LoadBalancer, vms: dict[str, VirtualMachine]
) -> Iterator[Item]:
    source = _ENDPOINT if _is_classic(network, lb) else _NAT_RULE
    for rule in lb.inbound_nat_rules:
        if rule.floating_ip or lb.is_private(rule):
            continue
        vm = vms[rule.virtual_machine]
        why = Provenance("load_balancer", f"{lb.name}/{rule.name} to {vm.name}", source)
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="nat",
            chain="PREROUTING",
            destination=f"{lb.frontend(rule.frontend).address}/32",
            protocol=rule.protocol,
            destination_ports=PortRange(rule.frontend_port, rule.frontend_port),
            target=DestinationNat(str(vm.private_ip_address), rule.backend_port),
            why=why,
        )


def _load_balancing_rule(
    network: Network,
    vnet: VirtualNetwork,
    lb: LoadBalancer,
    rule: LoadBalancingRule,
    picked: tuple[VirtualMachine, ...],
) -> Iterator[Item]:
    place = wiring.load_balancer(vnet)
    source = _SET if _is_classic(network, lb) else _RULE
    why = Provenance("load_balancer", f"{lb.name}/{rule.name}", source)
    # No name has a slash, so a-b/c and a/b-c stay apart, and both from the chains of other files.
    chain = short(f"{lb.name}/{rule.name}", CHAIN_MAX)
    yield Rule(
        place=place,
        table="nat",
        chain="PREROUTING",
        destination=f"{lb.frontend(rule.frontend).address}/32",
        protocol=rule.protocol,
        destination_ports=PortRange(rule.frontend_port, rule.frontend_port),
        target=Jump(chain),
        why=why,
    )
    if len(picked) > 1:
        yield Rule(place=place, table="nat", chain=chain, target=distribution.pick(rule, len(picked)), why=why)
    for number, vm in enumerate(picked, start=1):
        yield Rule(
            place=place,
            table="nat",
            chain=chain,
            protocol=rule.protocol,
            mark=number if len(picked) > 1 else None,
            target=DestinationNat(str(vm.private_ip_address), rule.backend_port),
            why=Provenance("load_balancer", f"{lb.name}/{rule.name} to {vm.name}", source),
        )
