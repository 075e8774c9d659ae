"""What binds a VM to the addresses it leaves by, and what a lab chooses where the documents leave it open.

Both the rules of the path and predictions rely on these: a choice that only the lab makes has no second opinion.

A VM is linked to a frontend by a load-balancing rule whose pool it is in, or by an inbound NAT rule that names it,
never by a pool alone, and whatever the health of the VM (Source IP of outbound flows, 2018-12-11). The SKU and the
document revision may narrow or widen that: ``Profile.binding``. The rules of a Standard load balancer have only flows
of their own protocol translated, and its VMs, with those of their availability sets, have no default address. Outbound
rules link the VMs of their pool.
"""

from collections.abc import Sequence
from hashlib import sha256

from lab.azure.model import Frontend, InboundNatRule, LoadBalancer, LoadBalancingRule, Network, VirtualMachine
from lab.azure.profile import Binding, Tier
from lab.flow import Transport


def links(network: Network, vm: str, protocol: Transport | None = None) -> tuple[tuple[LoadBalancer, Frontend], ...]:
    """Return the frontends that a VM is linked to, by load balancer and frontend; for flows of one protocol, or any."""
    found: list[tuple[LoadBalancer, Frontend]] = []
    for lb in network.balancers:
        if vm in lb.virtual_machines():
            names = _frontends_of(network, lb, protocol).get(vm, ())
            found += [(lb, frontend) for frontend in lb.addressed() if frontend.name in names]
    return tuple(found)


def has_default(network: Network, vm: str) -> bool:
    """Tell whether a VM without an address of its own is given the platform's address."""
    return not links(network, vm) and vm not in without_default(network)


def linked_frontends(network: Network, protocol: Transport | None) -> dict[str, list[tuple[LoadBalancer, Frontend]]]:
    """Return the frontends that each VM is linked to, for flows of one protocol or any."""
    found: dict[str, list[tuple[LoadBalancer, Frontend]]] = {}
    for lb in network.balancers:
        addressed = lb.addressed()
        for vm, names in _frontends_of(network, lb, protocol).items():
            found.setdefault(vm, []).extend((lb, frontend) for frontend in addressed if frontend.name in names)
    return found


def _frontends_of(network: Network, lb: LoadBalancer, protocol: Transport | None) -> dict[str, set[str]]:
    """Return the names of a load balancer's frontends that VMs are linked to."""
    binding = network.profile.binding(lb.sku)
    named: dict[str, set[str]] = {}
    if "backend_pool" in binding:
        every = {frontend.name for frontend in lb.frontends}
        named = {member: set(every) for pool in lb.pools for member in pool.members}
    for rule in lb.rules():
        kind: Binding = "inbound_nat_rule" if isinstance(rule, InboundNatRule) else "load_balancing_rule"
        if lb.is_private(rule):
            continue
        if isinstance(rule, LoadBalancingRule) and rule.disable_outbound_snat:
            continue
        if kind in binding and (rule.protocol == protocol or not _counts(network, lb, protocol)):
            for vm in lb.targets(rule):
                named.setdefault(vm, set()).add(rule.frontend)
    for out in lb.outbound_rules:
        for vm in lb.pool(out.backend_pool).members if protocol in (None, *out.protocols) else ():
            named.setdefault(vm, set()).update(out.frontends)
    return named


def _counts(network: Network, lb: LoadBalancer, protocol: Transport | None) -> bool:
    """Tell whether a rule of another protocol links nothing for flows of this one."""
    return protocol is not None and network.profile.protocol_counts(lb.sku)


def without_default(network: Network) -> frozenset[str]:
    """Return the VMs that never have the platform's address: of private subnets, Standard load balancers and IPs.

    The VMs of an availability set behave as one that belongs to a Standard load balancer
    (load-balancer-outbound-connections.md, 2019-05-02).
    """
    return _private(network) | _of_standard(network)


def _private(network: Network) -> frozenset[str]:
    """Return the VMs of private subnets (default-outbound-access.md, 2025-12-03)."""
    new = network.profile.default_outbound_access
    shut = {
        (vnet.name, subnet.name)
        for vnet in network.virtual_networks
        for subnet in vnet.subnets
        if not (new if subnet.default_outbound_access is None else subnet.default_outbound_access)
    }
    return frozenset(vm.name for vm in network.virtual_machines if (vm.virtual_network, vm.subnet) in shut)


def _of_standard(network: Network) -> frozenset[str]:
    when = network.profile.standard_default
    standard = [lb for lb in network.balancers if lb.sku == "Standard"]
    owners = {vm.name for vm in network.virtual_machines if _is_standard(vm)}
    internal = frozenset[str]()
    if not network.profile.internal_standard_default:
        private = [lb for lb in standard if any(frontend.private for frontend in lb.frontends)]
        internal = frozenset(vm for lb in private for vm in lb.virtual_machines())
    if when == "always" or not (standard or owners):
        return internal
    if when == "without a rule":
        return internal.union(vm for lb in standard for rule in lb.rules() for vm in lb.targets(rule))
    theirs = owners.union(vm for lb in standard for vm in lb.virtual_machines())
    sets = {vm.availability_set for vm in network.virtual_machines if vm.name in theirs} - {None}
    return frozenset(theirs | {vm.name for vm in network.virtual_machines if vm.availability_set in sets})


def _is_standard(vm: VirtualMachine) -> bool:
    return vm.instance_public_ip is not None and vm.instance_public_ip.sku == "Standard"


def picked(vm: str, frontends: Sequence[Frontend]) -> Frontend:
    """Return the frontend that is picked for a VM at random, but the same every time: names hashed with the VM's."""
    return min(frontends, key=lambda frontend: sha256(f"{vm} {frontend.name}".encode()).digest())


def place(number: int, size: int, smallest: Tier) -> int:
    """Return where the ports of the VM with this number begin, of pools in which each VM has ``size``.

    The VMs of the smallest pools have a block each. VMs that a pool of the next tier adds are given the second
    half of those blocks, those of the tier after it the second half of each half: when a pool grows, every VM
    keeps the first half of what it had.
    """
    block, turn = number % smallest.pool_size, number // smallest.pool_size
    offset, part = 0, smallest.ports
    while part > size:
        part //= 2
        offset += part * (turn & 1)
        turn >>= 1
    return block * smallest.ports + offset
