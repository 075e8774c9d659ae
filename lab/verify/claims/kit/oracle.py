"""What the documents say of one VM, restated by hand: its way out, and what it may be seen with."""

from ipaddress import IPv4Address

import msgspec

from lab.azure.model import (
    Endpoint,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    NatGateway,
    Network,
    OutboundRule,
    VirtualMachine,
)
from lab.flow import NOT_PUBLIC, Transport
from lab.verify.experiment import Goal


class WayOut(msgspec.Struct, frozen=True):
    """A VM's way out by the decision table of Outbound connections, 2017-05-31, and the addresses it may be seen with.

    A default address is the platform's choice: it is none of the addresses of the file. A VM of a Standard load
    balancer may have none.
    """

    kind: str  # nat (a NAT gateway), own, rule (an outbound rule), frontend, default, none
    addresses: frozenset[str] = frozenset()
    gateway: str = ""  # its name

    def __str__(self) -> str:
        if self.kind == "default":
            return "an address of the platform's choice, none of the topology's"
        return " or ".join(sorted(self.addresses)) or "none: nothing leaves"


#: The ways out of the network that was asked about last: claims ask of each VM, many times.
_known: dict[int, tuple[Network, dict[tuple[VirtualMachine, Transport | None], WayOut]]] = {}


def way_out(network: Network, vm: VirtualMachine, protocol: Transport | None = None) -> WayOut:
    """Return the way out of a VM.

    Source: Outbound connections, 2017-05-31, table; for what links a VM to a frontend: Source IP of outbound flows,
    2018-12-11.

    ``protocol``: of flows of that protocol, which the rules of a Standard load balancer tell apart.
    """
    if id(network) not in _known:
        _known.clear()
        _known[id(network)] = (network, {})  # the network is kept, so that its number stays its own
    ways = _known[id(network)][1]
    if (vm, protocol) not in ways:
        ways[vm, protocol] = _way_out(network, vm, protocol)
    return ways[vm, protocol]


def _way_out(network: Network, vm: VirtualMachine, protocol: Transport | None) -> WayOut:
    gateway = nat_gateway(network, vm)
    if gateway is not None:
        singly = {str(address) for address in gateway.public_ip_addresses}
        return WayOut("nat", frozenset(singly | {str(a) for p in gateway.public_ip_prefixes for a in p}), gateway.name)
    if vm.instance_public_ip:
        return WayOut("own", frozenset({str(vm.instance_public_ip.address)}))
    linked, any_protocol = (_linked(network, vm.name, asked) for asked in (protocol, None))
    if linked:
        return WayOut("rule" if outbound_rules(network, vm.name) else "frontend", linked)
    shut = any_protocol or vm.name in without_default(network) or private(network, vm)
    return WayOut("none") if shut else WayOut("default")


def nat_gateway(network: Network, vm: VirtualMachine) -> NatGateway | None:
    """Return the NAT gateway of a VM's subnet, if it has an address; nothing goes before it (2022-02-25)."""
    for subnet in network.virtual_network(vm.virtual_network).subnets:
        for gateway in network.nat_gateways:
            if (subnet.name, gateway.name) == (vm.subnet, subnet.nat_gateway):
                return gateway if gateway.public_ip_addresses or gateway.public_ip_prefixes else None
    return None


def private(network: Network, vm: VirtualMachine) -> bool:
    """Tell whether a VM's subnet is private: it says so, or it is new after 2026-03-31 and says nothing."""
    subnets = network.virtual_network(vm.virtual_network).subnets
    said = next(s.default_outbound_access for s in subnets if s.name == vm.subnet)
    return not said if said is not None else "2026-04" <= network.profile.name < "3"


def _linked(network: Network, vm: str, protocol: Transport | None) -> frozenset[str]:
    """Return the addresses of the frontends that flows of a VM may be seen with."""
    named = ((lb, name) for lb in network.balancers for name in linking(lb, vm, of_standard(network), protocol))
    return frozenset(str(lb.frontend(name).address) for lb, name in named)


def outbound_rules(network: Network, vm: str) -> list[tuple[LoadBalancer, OutboundRule]]:
    """Return the outbound rules whose pool a VM is in."""
    found = ((lb, rule) for lb in network.load_balancers for rule in lb.outbound_rules)
    return [(lb, rule) for lb, rule in found if vm in lb.pool(rule.backend_pool).members]


def of_standard(network: Network) -> str:
    """Return the revision by which a Standard load balancer is played: the seeds know none, so the newest one then."""
    return "2018-12" if network.profile.name == "seeds" else network.profile.name


def linking(lb: LoadBalancer, vm: str, revision: str, protocol: Transport | None = None) -> set[str]:
    """Return the names of the frontends that a rule links a VM to, for flows of a protocol or of any.

    Of a Standard load balancer a rule translates its own protocol (outbound, 2018-03-21), and inbound NAT rules alone
    give no way out (outbound rules, 2018-09-24). ``revision``: ``of_standard``.
    """
    if revision == "2016-10" and any(vm in pool.members for pool in lb.pools):
        return {frontend.name for frontend in lb.frontends if not frontend.subnet}  # it asks for no rule
    names: set[str] = set()
    for rule in lb.rules():
        if lb.frontend(rule.frontend).subnet:
            continue  # a private address
        if lb.sku == "Standard" and rule in lb.inbound_nat_rules and revision >= "2018-12":
            continue
        if lb.sku == "Standard" and protocol not in (None, rule.protocol) and revision >= "2018-02":
            continue
        if isinstance(rule, LoadBalancingRule) and rule.disable_outbound_snat:
            continue
        if vm in lb.targets(rule):
            names.add(rule.frontend)
    for out in lb.outbound_rules:
        if vm in lb.pool(out.backend_pool).members and protocol in (None, *out.protocols):
            names |= set(out.frontends)
    return names


def without_default(network: Network) -> frozenset[str]:
    """Return the VMs that the platform gives no address, since they belong to a Standard load balancer.

    Until 2018-08-27 a pool without a rule was as no pool; from 2019-05-02 on a whole availability set follows.
    """
    revision = of_standard(network)
    standard = [lb for lb in network.balancers if lb.sku == "Standard"]
    # An internal one always took it away (standard overview, 2017-09-28).
    private = [lb for lb in standard if any(frontend.subnet for frontend in lb.frontends) and revision >= "2017-09"]
    internal = frozenset(vm for lb in private for vm in lb.virtual_machines())
    if revision < "2018-12":
        return internal
    if revision < "2019-05":
        return internal | frozenset(vm for lb in standard for rule in lb.rules() for vm in lb.targets(rule))
    theirs = {vm for lb in standard for vm in lb.virtual_machines()} | standard_owners(network)
    sets = {vm.availability_set for vm in network.virtual_machines if vm.name in theirs and vm.availability_set}
    return frozenset(theirs | {vm.name for vm in network.virtual_machines if vm.availability_set in sets})


def standard_owners(network: Network) -> set[str]:
    """Return the VMs with a Standard public IP."""
    return {
        vm.name for vm in network.virtual_machines if vm.instance_public_ip and vm.instance_public_ip.sku != "Basic"
    }


def open_to_all(network: Network) -> frozenset[str]:
    """Return the names of the VMs that no security group, access list, or load balancer's SKU closes to anybody."""
    grouped = {(n.name, s.name) for n in network.virtual_networks for s in n.subnets if s.network_security_group}
    closed = {name for lb in network.balancers if lb.sku == "Standard" for name in lb.virtual_machines()}
    closed |= standard_owners(network)
    lists = [(s, e) for s in network.cloud_services for e in s.endpoints if e.acl]
    closed |= {m.virtual_machine for s, e in lists for m in s.endpoints if m == e or _in_one_set(m, e)}
    return frozenset(
        vm.name
        for vm in network.virtual_machines
        if not vm.network_security_group and (vm.virtual_network, vm.subnet) not in grouped and vm.name not in closed
    )


def _in_one_set(one: Endpoint, other: Endpoint) -> bool:
    return one.load_balanced_set is not None and one.load_balanced_set == other.load_balanced_set


def declared(network: Network) -> frozenset[str]:
    """Return every public address of the file."""
    return frozenset(str(address) for address, _ in network.public_addresses())


def matches(network: Network, way: WayOut, address: str) -> bool:
    """Tell whether an address may be the source of flows that take a way out."""
    if way.kind != "default":
        return address in way.addresses
    inside = any(IPv4Address(address) in prefix for prefix in NOT_PUBLIC)
    return address not in declared(network) and not inside


def drops_fragments(network: Network) -> bool:
    """Tell whether the revision says that fragments leave by a VM's own address only (outbound, 2022-03-01)."""
    return network.profile.name >= "2022" and network.profile.name != "seeds"


def pooled(network: Network, vm: str) -> list[LoadBalancer]:
    """Return the load balancers that have a VM in a pool."""
    return [lb for lb in network.balancers if any(vm in pool.members for pool in lb.pools)]


def of_kind(network: Network, kind: str) -> list[VirtualMachine]:
    """Return the VMs with one kind of way out for all of their flows, which no security group narrows."""
    kinds: tuple[Transport, ...] = ("tcp", "udp")
    return [vm for vm in speaking_freely(network) if all(way_out(network, vm, p).kind == kind for p in kinds)]


def by_the_table(network: Network) -> list[VirtualMachine]:
    """Return the VMs that Outbound connections (2017-05-31) table is true of: all of their flows leave.

    And by one way.
    """
    known = {vm.name for kind in ("own", "frontend", "default") for vm in of_kind(network, kind)}
    return [vm for vm in network.virtual_machines if vm.name in known]


def speaking_freely(network: Network) -> list[VirtualMachine]:
    """Return the VMs that no rule of a security group keeps from speaking to the outside; default rules do not."""
    narrowed = {g.name for g in network.network_security_groups if any(r.direction == "Outbound" for r in g.rules)}
    subnets = {(n.name, s.name): s.network_security_group for n in network.virtual_networks for s in n.subnets}
    return [
        vm
        for vm in network.virtual_machines
        if not {vm.network_security_group, subnets[vm.virtual_network, vm.subnet]} & narrowed
    ]


#: How many of the VMs that no document tells apart are judged: the first ones and the last.
_ALIKE = 3


def some(network: Network, vms: list[VirtualMachine]) -> list[VirtualMachine]:
    """Return a few of each group of VMs with the same way out and the same load balancers, in their order."""
    groups: dict[tuple[object, ...], list[VirtualMachine]] = {}
    for vm in vms:
        names = tuple(lb.name for lb in pooled(network, vm.name))
        groups.setdefault((way_out(network, vm), vm.virtual_network, names), []).append(vm)
    chosen = {vm.name for group in groups.values() for vm in (*group[: _ALIKE - 1], group[-1])}
    return [vm for vm in vms if vm.name in chosen]


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
        for lb in network.balancers
        for rule in lb.load_balancing_rules
        if vm.name in lb.pool(rule.backend_pool).members
    ]


#: load-balancer-outbound-connections.md (2018-02-05): SNAT ports of each VM, by the size of its pool.
_TABLE = ((50, 1024), (100, 512), (200, 256), (400, 128), (800, 64), (1000, 32))


def ports_by_table(vms: int) -> int:
    """Return the SNAT ports of each VM of a pool of so many."""
    return next(ports for size, ports in _TABLE if vms <= size)


def ports_each(network: Network, vm: VirtualMachine) -> int | None:
    """Return the SNAT ports of a load-balanced VM on each of its frontends; None: as many as the address has."""
    if network.overrides.snat_ports_per_vm:
        return network.overrides.snat_ports_per_vm
    way = way_out(network, vm)
    skus = {lb.sku for lb in network.balancers if any(str(f.address) in way.addresses for f in lb.frontends)}
    revision = network.profile.name
    if revision in ("2016-10", "2017-05a") or (revision == "2017-09" and skus == {"Basic"}):
        return None
    sharing = [other for other in network.virtual_machines if way_out(network, other).addresses & way.addresses]
    pool = len(sharing)
    if revision == "2018-07-classic":
        # A cloud service that is being redeployed is reported twice; the table of that page ends at 400.
        twice = {name for service in network.cloud_services if service.redeploying for name in service.virtual_machines}
        pool = max(pool, min(400, pool + sum(other.name in twice for other in sharing)))
    return ports_by_table(pool)


def sole_frontend(network: Network) -> list[VirtualMachine]:
    """Return the VMs whose flows have one frontend to leave by."""
    return [vm for vm in of_kind(network, "frontend") if len(way_out(network, vm).addresses) == 1]


def with_stopped(network: Network, vm: VirtualMachine, count: int) -> Network:
    """Return the network with so many VMs more that are as one of it, and stopped: they count, and do nothing."""
    taken = {other.private_ip_address for other in network.virtual_machines}
    free = (address for n in range(1, 250) if (address := vm.private_ip_address + n) not in taken)
    more = tuple(
        msgspec.structs.replace(vm, name=f"more{n}", private_ip_address=next(free), power_state="Stopped", services=())
        for n in range(count)
    )
    return msgspec.structs.replace(network, virtual_machines=(*network.virtual_machines, *more))


def scaled(network: Network, seconds: float) -> float:
    """Return a length of time of the documents as the network plays it."""
    return seconds / network.overrides.time_scale


def goals(host: InternetHost) -> tuple[Goal, ...]:
    """Return the services of an outside host that name the source of a flow."""
    return tuple(Goal(str(host.address), s.port, s.kind) for s in host.services if s.kind in ("tcp", "udp"))
