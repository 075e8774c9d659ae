"""What the documents say of one VM, restated by hand: its way out, and what it may be seen with."""

from ipaddress import IPv4Address

import msgspec

from lab.flow import NOT_PUBLIC
from lab.model import InternetHost, LoadBalancer, LoadBalancingRule, Network, VirtualMachine


class WayOut(msgspec.Struct, frozen=True):
    """A VM's way out by the decision table of seed 002, and the addresses it may be seen with.

    A default address is the platform's choice: it is none of the addresses of the file.
    """

    kind: str  # own, frontend, default
    addresses: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.kind == "default":
            return "an address of the platform's choice, none of the topology's"
        return " or ".join(sorted(self.addresses))


def way_out(network: Network, vm: VirtualMachine) -> WayOut:
    """Return the way out of a VM (seed 002, table; seed 001 for what links a VM to a frontend)."""
    if vm.instance_public_ip:
        return WayOut("own", frozenset({str(vm.instance_public_ip.address)}))
    linked = {str(lb.frontend(name).address) for lb in network.load_balancers for name in linking(lb, vm.name)}
    return WayOut("frontend", frozenset(linked)) if linked else WayOut("default")


def linking(lb: LoadBalancer, vm: str) -> set[str]:
    """Return the names of the frontends that a rule links a VM to."""
    names = {rule.frontend for rule in lb.load_balancing_rules if vm in lb.pool(rule.backend_pool).members}
    if lb.sku == "Basic":  # Standard: inbound NAT rules alone give no way out (outbound-rules, 2018-09-24)
        names |= {rule.frontend for rule in lb.inbound_nat_rules if rule.virtual_machine == vm}
    return names


def declared(network: Network) -> frozenset[str]:
    """Return every public address of the file."""
    return frozenset(str(address) for address, _ in network.public_addresses())


def matches(network: Network, way: WayOut, address: str) -> bool:
    """Tell whether an address may be the source of flows that take a way out."""
    if way.kind != "default":
        return address in way.addresses
    inside = any(IPv4Address(address) in prefix for prefix in NOT_PUBLIC)
    return address not in declared(network) and not inside


def pooled(network: Network, vm: str) -> list[LoadBalancer]:
    """Return the load balancers that have a VM in a pool."""
    return [lb for lb in network.load_balancers if any(vm in pool.members for pool in lb.pools)]


def of_kind(network: Network, kind: str) -> list[VirtualMachine]:
    """Return the VMs with one kind of way out."""
    return [vm for vm in network.virtual_machines if way_out(network, vm).kind == kind]


def far_host(network: Network) -> InternetHost | None:
    """Return the outside host that flows are sent to: the first that is no name server."""
    hosts = [h for h in network.internet if not any(s.kind == "dns" for s in h.services)]
    return hosts[0] if hosts else None


def far_client(network: Network) -> InternetHost | None:
    """Return the outside host that plays the client: the last that is no name server."""
    hosts = [h for h in network.internet if not any(s.kind == "dns" for s in h.services)]
    return hosts[-1] if hosts else None


def one_of_each(network: Network) -> list[VirtualMachine]:
    """Return one VM for each way out that the network has."""
    return [group[0] for kind in ("own", "frontend", "default") if (group := of_kind(network, kind))]


def rules_to(network: Network, vm: VirtualMachine) -> list[tuple[LoadBalancer, LoadBalancingRule]]:
    """Return the load-balancing rules whose pool a VM is in."""
    return [
        (lb, rule)
        for lb in network.load_balancers
        for rule in lb.load_balancing_rules
        if vm.name in lb.pool(rule.backend_pool).members
    ]
