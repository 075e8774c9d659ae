"""Which of a rule's VMs a new flow is led to: who may be, and what picks one of them.

Members are picked by a hash of the flow with a fixed seed, never at random
(load-balancer-distribution-mode.md, 2016-10-24).
"""

from collections.abc import Mapping

from lab.azure.model import Distribution, InboundNatRule, LoadBalancer, LoadBalancingRule, VirtualMachine
from lab.plan import HashMark

_HASHED: dict[Distribution, str] = {
    "Default": "src,sport,dst,dport,proto",
    "SourceIP": "src,dst",
    "SourceIPProtocol": "src,dst,proto",
}
#: Seed of the hash that picks a member: fixed, so that the same lab picks alike every time.
_HASH_SEED = 0x5EED001
#: HMARK mixes the protocol into the lowest bits of the hash and picks by the highest. Where the protocol is one of the
#: fields, it tells by the seed.
_UDP_SEED = 0x5EED011


def members(
    vms: Mapping[str, VirtualMachine],
    lb: LoadBalancer,
    rule: LoadBalancingRule | InboundNatRule,
    down: frozenset[str],
) -> tuple[VirtualMachine, ...]:
    """Return the VMs that a rule's new flows may be led to.

    Without a probe a member always counts as up (load-balancer-custom-probe-overview.md, 2023-10-10). A VM that is
    stopped keeps its place, and is found down as any VM that does not answer. Where all are down they are led to
    nevertheless if the probe says so (noHealthyBackendsBehavior).
    """
    probe = rule.probe if isinstance(rule, LoadBalancingRule) else None
    there = [vms[name] for name in lb.targets(rule) if vms[name].power_state != "Deallocated"]
    if probe and lb.probe(probe).all_probed_up and all(f"{lb.name}/{probe}/{vm.name}" in down for vm in there):
        return tuple(there)
    return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)


def pick(rule: LoadBalancingRule | InboundNatRule, count: int) -> HashMark:
    """Return what marks a flow of a rule with the number of its member, from 1."""
    distribution: Distribution = rule.load_distribution if isinstance(rule, LoadBalancingRule) else "Default"
    by_protocol = distribution != "SourceIP" and rule.protocol == "udp"
    return HashMark(_HASHED[distribution], count, _UDP_SEED if by_protocol else _HASH_SEED)
