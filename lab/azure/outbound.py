"""What binds a VM to the addresses it leaves by, and what a lab chooses where the documents leave it open.

Both the rules of the path and predictions rely on these: a choice that is nobody's but the lab's has no second opinion.
"""

from collections.abc import Sequence
from hashlib import sha256

from lab.azure.model import Frontend, LoadBalancer, Network
from lab.azure.profile import Tier


def links(network: Network, vm: str) -> tuple[tuple[LoadBalancer, Frontend], ...]:
    """Return the frontends that a VM is linked to, by load balancer and frontend."""
    found = []
    for lb in network.balancers:
        binding = network.profile.binding(lb.sku)
        names: set[str] = set()
        if "backend_pool" in binding and any(vm in pool.members for pool in lb.pools):
            names |= {frontend.name for frontend in lb.frontends}
        if "load_balancing_rule" in binding:
            names |= {r.frontend for r in lb.load_balancing_rules if vm in lb.pool(r.backend_pool).members}
        if "inbound_nat_rule" in binding:
            names |= {r.frontend for r in lb.inbound_nat_rules if r.virtual_machine == vm}
        found += [(lb, frontend) for frontend in lb.addressed() if frontend.name in names]
    return tuple(found)


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
