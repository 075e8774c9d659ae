"""A load balancer's frontend and port lead to a VM and port; who is down receives no new flows.

Owns the frontends' addresses, the translation of load-balancing rules and inbound NAT rules,
and the decision whether a member is healthy. The client's address is kept; where no rule
listens there is no answer.

Members are picked by a hash of the flow with a fixed seed, never at random
(load-balancer-distribution-mode.md, 2016-10-24). A flow that was accepted stays where it is.
"""

from collections.abc import Iterator

import msgspec

from lab.flow import PortRange
from lab.model import (
    PLATFORM_ADDRESS,
    Distribution,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
    VirtualNetwork,
)
from lab.path import wiring
from lab.plan import CHAIN_MAX, DestinationNat, HashMark, HealthCheck, Item, Jump, Rule, Why, short

_RULE = "seed 001, test 2: load-balancing rule"
_NAT_RULE = "seed 001, test 1: inbound NAT rule"
#: The same of a cloud service, whose load balancer its endpoints make.
_SET = "seed 000: load-balanced set"
_ENDPOINT = "seed 000: endpoint"
_FRONTEND = "seed 000: the address belongs to the load balancer, to no VM"
_HASHED: dict[Distribution, str] = {
    "Default": "src,sport,dst,dport,proto",
    "SourceIP": "src,dst",
    "SourceIPProtocol": "src,dst,proto",
}
#: Seed of the hash that picks a member: fixed, so that the same lab picks alike every time.
_HASH_SEED = 0x5EED001


def items(network: Network, down: frozenset[str]) -> Iterator[Item]:
    """Yield the frontends, rules and health checks of all load balancers."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    for vnet in network.virtual_networks:
        for lb in network.load_balancers_of(vnet):
            for frontend in lb.frontends:
                why = Why("load_balancer", f"{lb.name}/{frontend.name}", _FRONTEND)
                yield from wiring.public_address(vnet, frontend.address, why)
            yield from _inbound_nat_rules(network, vnet, lb, vms)
            for rule in lb.load_balancing_rules:
                yield from _load_balancing_rule(network, vnet, lb, rule, vms, down)
            yield from _health_checks(network, vnet, lb, vms)


def _is_classic(network: Network, lb: LoadBalancer) -> bool:
    """Tell whether a load balancer is a cloud service's."""
    return network.cloud_service(lb.name) is not None


def _inbound_nat_rules(
    network: Network, vnet: VirtualNetwork, lb: LoadBalancer, vms: dict[str, VirtualMachine]
) -> Iterator[Item]:
    source = _ENDPOINT if _is_classic(network, lb) else _NAT_RULE
    for rule in lb.inbound_nat_rules:
        vm = vms[rule.virtual_machine]
        why = Why("load_balancer", f"{lb.name}/{rule.name} to {vm.name}", source)
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
    vms: dict[str, VirtualMachine],
    down: frozenset[str],
) -> Iterator[Item]:
    place = wiring.load_balancer(vnet)
    source = _SET if _is_classic(network, lb) else _RULE
    why = Why("load_balancer", f"{lb.name}/{rule.name}", source)
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
    members = [vms[name] for name in lb.pool(rule.backend_pool).members if f"{lb.name}/{rule.probe}/{name}" not in down]
    if len(members) > 1:
        pick = HashMark(_HASHED[rule.load_distribution], len(members), _HASH_SEED)
        yield Rule(place=place, table="nat", chain=chain, target=pick, why=why)
    for number, vm in enumerate(members, start=1):
        yield Rule(
            place=place,
            table="nat",
            chain=chain,
            protocol=rule.protocol,
            mark=number if len(members) > 1 else None,
            target=DestinationNat(str(vm.private_ip_address), rule.backend_port),
            why=Why("load_balancer", f"{lb.name}/{rule.name} to {vm.name}", source),
        )


def _health_checks(
    network: Network, vnet: VirtualNetwork, lb: LoadBalancer, vms: dict[str, VirtualMachine]
) -> Iterator[Item]:
    source = _SET if _is_classic(network, lb) else _RULE
    used = {(rule.probe, member) for rule in lb.load_balancing_rules for member in lb.pool(rule.backend_pool).members}
    for probe in lb.probes:
        for name in sorted(member for probe_name, member in used if probe_name == probe.name):
            yield HealthCheck(
                place=wiring.load_balancer(vnet),
                load_balancer=lb.name,
                probe=probe.name,
                node=name,
                protocol=probe.protocol,
                source=str(PLATFORM_ADDRESS),
                address=str(vms[name].private_ip_address),
                port=probe.port,
                request_path=probe.request_path,
                interval_s=probe.interval_s / network.overrides.time_scale,
                number_of_probes=probe.number_of_probes,
                why=Why("load_balancer", f"{lb.name}/{probe.name} of {name}", source),
            )


# --- who is down ------------------------------------------------------------------------------


class Health(msgspec.Struct, frozen=True):
    """What a load balancer knows of one member.

    A member is down until its first probe succeeds; it goes down after ``number_of_probes``
    failures in a row, and comes back at its first success.
    """

    up: bool = False
    failures: int = 0
    judged: bool = False
    since_s: float = 0.0
    reason: str = "not probed yet"

    def after(self, result: str, number_of_probes: int, now_s: float) -> "Health":
        """Return the state after one probe; ``result`` is ``success`` or why it failed. Time in seconds."""
        if result == "success":
            since = self.since_s if self.up else now_s
            return Health(up=True, failures=0, judged=True, since_s=since, reason="answers its probe")
        failures = self.failures + 1
        up = self.up and failures < number_of_probes
        since = self.since_s if up == self.up and self.judged else now_s
        return Health(up=up, failures=failures, judged=True, since_s=since, reason=result)
