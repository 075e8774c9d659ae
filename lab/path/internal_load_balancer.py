"""A private frontend leads to VMs of its virtual network, at the router, and is known nowhere outside.

Owns the translation of rules at frontends of internal load balancers, and the time that their flows may be idle. The
client's address is kept, in the VM too, and answers come from the frontend: the router sees both ways of a flow
(components.md, 2020-06-04). Nothing leaves by such a frontend.

A member that is picked for its own flow is sent a packet from its own address, which no guest takes: the flow is lost
in silence (load-balancer-troubleshoot-backend-traffic.md, 2022-03-02). Any other member answers it. An HA-ports rule is
for all ports of TCP and UDP, each left as it is (load-balancer-ha-ports-overview.md, 2023-05-03).

Rules with floating IP translate nothing: ``floating_ip`` has their way.
"""

from collections.abc import Iterator

from lab.azure.model import InboundNatRule, LoadBalancer, LoadBalancingRule, Network, VirtualMachine, VirtualNetwork
from lab.path import distribution, wiring
from lab.plan import CHAIN_MAX, DestinationNat, Item, Jump, Provenance, Rule, Sysctl, short

_RULE = "components.md (2020-06-04): an internal load balancer"
_HA_PORTS = "load-balancer-ha-ports-overview.md (2023-05-03)"
_MIDDLE = "a flow that was forgotten is not picked up again (load-balancer-tcp-idle-timeout.md, 2016-10-24)"


def items(network: Network, down: frozenset[str]) -> Iterator[Item]:
    """Yield what leads from private frontends to VMs."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    for vnet in network.virtual_networks:
        rules = [(lb, r) for lb in network.load_balancers_of(vnet) for r in lb.rules() if lb.is_private(r)]
        if rules:
            yield from _timers(network, vnet)
        for lb, rule in rules:
            if not rule.floating_ip:
                yield from _rule(vnet, lb, rule, distribution.members(vms, lb, rule, down))


def _timers(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield that no flow is picked up in its middle, and how long UDP flows may be idle."""
    place, profile = wiring.router(vnet), network.profile
    why = Provenance("internal_load_balancer", f"flows of private frontends in {vnet.name}", _MIDDLE)
    yield Sysctl(place=place, key="net.netfilter.nf_conntrack_tcp_loose", value=0, why=why)
    idle = max(1, profile.idle_timeout_s // network.overrides.time_scale)
    why = Provenance("internal_load_balancer", f"idle UDP flows of {vnet.name}", profile.sources["idle_timeout_s"])
    for timer in ("udp_timeout", "udp_timeout_stream"):
        yield Sysctl(place=place, key=f"net.netfilter.nf_conntrack_{timer}", value=idle, why=why)


def _rule(
    vnet: VirtualNetwork,
    lb: LoadBalancer,
    rule: LoadBalancingRule | InboundNatRule,
    picked: tuple[VirtualMachine, ...],
) -> Iterator[Item]:
    place = wiring.router(vnet)
    source = _RULE if rule.ports else _HA_PORTS
    why = Provenance("internal_load_balancer", f"{lb.name}/{rule.name}", source)
    name = f"{lb.name}/{rule.name}" if rule.ports else f"{lb.name}/{rule.name}/{rule.protocol}"
    chain = short(name, CHAIN_MAX)
    yield Rule(
        place=place,
        table="nat",
        chain="PREROUTING",
        destination=f"{lb.frontend(rule.frontend).address}/32",
        protocol=rule.protocol,
        destination_ports=rule.ports,
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
            target=DestinationNat(str(vm.private_ip_address), rule.backend_port or None),
            why=Provenance("internal_load_balancer", f"{lb.name}/{rule.name} to {vm.name}", source),
        )
