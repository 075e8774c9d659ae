"""Azure's words: the network a topology file describes, as frozen values.

One section per resource, in the order of the file. ``Network`` holds them by name;
``violations`` states what must hold between them. Nothing here knows how a packet is treated.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from lab.errors import Problem, did_you_mean
from lab.flow import Destination, PortRange, Transport
from lab.profile import Profile, Sku

ServiceKind = Literal["http", "https", "tcp", "udp", "dns", "ssh"]
ProbeProtocol = Literal["Tcp", "Http"]
Distribution = Literal["Default", "SourceIP", "SourceIPProtocol"]
Outcome = Literal["answered", "refused", "timeout"]

#: Source of every health probe, and the address of the resolver that Azure provides
#: (load-balancer-custom-probe-overview.md, 2016-10-24).
PLATFORM_ADDRESS = IPv4Address("168.63.129.16")
#: Azure keeps the first four addresses of a subnet (network, gateway, two for its DNS) and the last.
RESERVED_AT_START = 4
GATEWAY_SUBNET = "GatewaySubnet"
#: Addresses for documentation (RFC 5737): what public addresses are taken from when the file names none.
DOCUMENTATION_NETWORKS = tuple(IPv4Network(n) for n in ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"))
#: The resolver of the outside hosts; RFC 5737, never given to anything else.
PUBLIC_RESOLVER = IPv4Address("192.0.2.53")
#: A VM that names no subnet belongs to no virtual network; the platform numbers it from here
#: (seed 004 shows 100.74.118.91 for such a VM; RFC 6598).
PLATFORM_NETWORK = "platform"
PLATFORM_SPACE = IPv4Network("100.64.0.0/10")
#: Used between the lab's own namespaces (RFC 3927), so no topology may use it.
LINK_LOCAL = IPv4Network("169.254.0.0/16")


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value, compared by content."""


class Service(_Value):
    """A server that runs inside a node: ``kind:port[/udp]``."""

    kind: ServiceKind
    port: int
    protocol: Transport

    def __str__(self) -> str:
        return f"{self.kind}:{self.port}" + ("/udp" if self.protocol == "udp" and self.kind == "dns" else "")


class InternetHost(_Value):
    """A host outside Azure."""

    name: str
    address: IPv4Address
    services: tuple[Service, ...] = ()


class Subnet(_Value):
    """A range of a virtual network that VMs are placed in."""

    name: str
    address_prefix: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """The subnet's first host address, which the router answers for."""
        return self.address_prefix.network_address + 1

    def usable(self) -> Iterator[IPv4Address]:
        """Yield the addresses a VM may have, lowest first."""
        first = int(self.address_prefix.network_address) + RESERVED_AT_START
        for number in range(first, int(self.address_prefix.broadcast_address)):
            yield IPv4Address(number)


class VirtualNetwork(_Value):
    """A private address space with its subnets."""

    name: str
    location: str
    subscription: str
    address_space: tuple[IPv4Network, ...]
    subnets: tuple[Subnet, ...]
    dns_servers: tuple[IPv4Address, ...] = ()


class InstancePublicIp(_Value):
    """A public address of one VM's own (ILPIP)."""

    name: str
    address: IPv4Address
    domain_name_label: str | None = None


class VirtualMachine(_Value):
    """A virtual machine with one network interface."""

    name: str
    virtual_network: str
    subnet: str
    private_ip_address: IPv4Address
    services: tuple[Service, ...] = ()
    instance_public_ip: InstancePublicIp | None = None
    availability_set: str | None = None


class Frontend(_Value):
    """A public address of a load balancer."""

    name: str
    address: IPv4Address


class BackendPool(_Value):
    """The VMs a load-balancing rule may send to."""

    name: str
    members: tuple[str, ...]


class HealthProbe(_Value):
    """How a load balancer asks a VM whether it may receive new flows."""

    name: str
    protocol: ProbeProtocol
    port: int
    request_path: str
    interval_s: int
    number_of_probes: int


class LoadBalancingRule(_Value):
    """Frontend and port to a pool and port."""

    name: str
    frontend: str
    backend_pool: str
    probe: str | None
    protocol: Transport
    frontend_port: int
    backend_port: int
    load_distribution: Distribution
    idle_timeout_min: int


class InboundNatRule(_Value):
    """Frontend and port to one VM and port."""

    name: str
    frontend: str
    virtual_machine: str
    protocol: Transport
    frontend_port: int
    backend_port: int


class LoadBalancer(_Value):
    """A public load balancer of the Resource Manager model."""

    name: str
    sku: Sku
    frontends: tuple[Frontend, ...]
    pools: tuple[BackendPool, ...]
    probes: tuple[HealthProbe, ...]
    load_balancing_rules: tuple[LoadBalancingRule, ...]
    inbound_nat_rules: tuple[InboundNatRule, ...]

    def frontend(self, name: str) -> Frontend:
        """Return a frontend that is known to be there."""
        return next(f for f in self.frontends if f.name == name)

    def pool(self, name: str) -> BackendPool:
        """Return a pool that is known to be there."""
        return next(p for p in self.pools if p.name == name)

    def probe(self, name: str) -> HealthProbe:
        """Return a probe that is known to be there."""
        return next(p for p in self.probes if p.name == name)

    def virtual_machines(self) -> frozenset[str]:
        """Return every VM that a pool or an inbound NAT rule names."""
        pooled = {member for pool in self.pools for member in pool.members}
        return frozenset(pooled | {rule.virtual_machine for rule in self.inbound_nat_rules})


class Overrides(_Value):
    """Departures from the documents, for experiments; printed with every verdict."""

    snat_ports_per_vm: int | None = None
    time_scale: int = 1

    def __str__(self) -> str:
        parts = [f"snat_ports_per_vm={self.snat_ports_per_vm}"] if self.snat_ports_per_vm else []
        parts += [f"time_scale={self.time_scale}"] if self.time_scale != 1 else []
        return " ".join(parts)


class Expectation(_Value):
    """What a user says must be seen; judged by ``lab verify``."""

    sender: str
    to: Destination
    source_ip: IPv4Address | None = None
    source_port: PortRange | None = None
    answered_by: tuple[str, ...] = ()
    outcome: Outcome | None = None
    claim: str | None = None


class Network(_Value):
    """All of a topology: what is, and nothing about how it is built."""

    name: str
    profile: Profile
    internet: tuple[InternetHost, ...] = ()
    virtual_networks: tuple[VirtualNetwork, ...] = ()
    virtual_machines: tuple[VirtualMachine, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()
    overrides: Overrides = Overrides()
    expectations: tuple[Expectation, ...] = ()

    def host(self, name: str) -> InternetHost | None:
        """Return the outside host of that name."""
        return next((h for h in self.internet if h.name == name), None)

    def vm(self, name: str) -> VirtualMachine | None:
        """Return the virtual machine of that name."""
        return next((v for v in self.virtual_machines if v.name == name), None)

    def vms_of(self, network: VirtualNetwork) -> tuple[VirtualMachine, ...]:
        """Return the VMs of one virtual network, in the order of ``natural``."""
        return tuple(v for v in self.virtual_machines if v.virtual_network == network.name)

    def load_balancers_of(self, network: VirtualNetwork) -> tuple[LoadBalancer, ...]:
        """Return the load balancers whose VMs are in one virtual network.

        One that names no VM yet has its addresses at the first network.
        """
        home = {vm.name: vm.virtual_network for vm in self.virtual_machines}
        first = self.virtual_networks[0].name if self.virtual_networks else ""
        return tuple(
            lb
            for lb in self.load_balancers
            if next((home[vm] for vm in sorted(lb.virtual_machines()) if vm in home), first) == network.name
        )

    def default_snat_address(self, network: VirtualNetwork) -> IPv4Address:
        """Return the address the platform chose for the VMs of a network that have no other way out.

        It cannot be configured and is in no list of the user's public addresses (seed 002,
        "Standalone VM"). Here: documentation addresses from the top, one per virtual network.
        """
        taken = {address for address, _ in self.public_addresses()}
        free = (a for a in _documentation_addresses(descending=True) if a not in taken)
        names = [n.name for n in self.virtual_networks]
        return next(a for i, a in enumerate(free) if i == names.index(network.name))

    def public_addresses(self) -> Iterator[tuple[IPv4Address, tuple[str, ...]]]:
        """Yield every public address the file gives or lets be allocated, with its path in the file."""
        for host in self.internet:
            yield host.address, ("internet", host.name, "address")
        for vm in self.virtual_machines:
            if vm.instance_public_ip:
                yield vm.instance_public_ip.address, ("virtual_machines", vm.name, "instance_public_ip", "address")
        for lb in self.load_balancers:
            for frontend in lb.frontends:
                yield frontend.address, ("load_balancers", lb.name, "frontend_ip_configurations", frontend.name)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts ``web2`` before ``web10``."""
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p)


def _documentation_addresses(*, descending: bool = False) -> Iterator[IPv4Address]:
    networks = reversed(DOCUMENTATION_NETWORKS) if descending else iter(DOCUMENTATION_NETWORKS)
    for network in networks:
        hosts = list(network.hosts())
        yield from (a for a in (reversed(hosts) if descending else hosts) if a != PUBLIC_RESOLVER)


def allocate_private(
    subnet: Subnet, wanted: Mapping[str, IPv4Address | None]
) -> tuple[dict[str, IPv4Address], tuple[str, ...]]:
    """Give each VM of a subnet its address: the one it asks for, else the lowest that is free.

    VMs are served in the order of ``natural``, so the same file always gives the same addresses.
    Returns the addresses by VM, and the VMs for which the subnet has none left.
    """
    given = {name: address for name, address in wanted.items() if address is not None}
    taken = set(given.values())
    free = (a for a in subnet.usable() if a not in taken)
    left_over = []
    for name in sorted((n for n, a in wanted.items() if a is None), key=natural):
        address = next(free, None)
        if address is None:
            left_over.append(name)
        else:
            given[name] = address
    return given, tuple(left_over)


def allocate_public(taken: Iterable[IPv4Address]) -> Iterator[IPv4Address]:
    """Yield documentation addresses that are not taken, lowest first."""
    used = set(taken)
    return (a for a in _documentation_addresses() if a not in used)


# --- what must hold between the parts ---------------------------------------------------------


def violations(network: Network) -> Iterator[Problem]:
    """Yield everything about a network that the documents or the lab do not allow."""
    yield from _names(network)
    yield from _address_spaces(network)
    yield from _machines(network)
    yield from _addresses(network)
    for lb in network.load_balancers:
        yield from _load_balancer(network, lb)
    for index, expectation in enumerate(network.expectations):
        yield from _expectation(network, index, expectation)


def _names(network: Network) -> Iterator[Problem]:
    hosts = {h.name for h in network.internet}
    reserved = {"internet"} | {f"{kind}.{n.name}" for kind in ("router", "lb", "gw") for n in network.virtual_networks}
    for vm in network.virtual_machines:
        if vm.name in hosts:
            yield Problem(
                path=("virtual_machines", vm.name),
                found=f'"{vm.name}" is also a host under internet',
                must="a node's name must be unique in the lab",
                advice="rename one of the two",
            )
    for section, names in (("virtual_machines", [v.name for v in network.virtual_machines]), ("internet", hosts)):
        for name in sorted(set(names) & reserved):
            yield Problem(
                path=(section, name),
                found=f'"{name}" is the name of one of the lab\'s own namespaces',
                must="a node's name must be unique in the lab",
                advice="rename it",
            )


def _overlapping(spaces: list[tuple[tuple[str, ...], IPv4Network]], must: str) -> Iterator[Problem]:
    for index, (path, prefix) in enumerate(spaces):
        for other_path, other in spaces[:index]:
            if prefix.overlaps(other):
                yield Problem(
                    path=path,
                    found=f"{prefix} overlaps {other} ({'.'.join(other_path)})",
                    must=must,
                    advice="choose a range that is free",
                )


def _address_spaces(network: Network) -> Iterator[Problem]:
    for vnet in network.virtual_networks:
        path = ("virtual_networks", vnet.name)
        spaces = [((*path, "address_space", str(i)), prefix) for i, prefix in enumerate(vnet.address_space)]
        yield from _overlapping(spaces, "prefixes of one address space must not overlap")
        subnets = [((*path, "subnets", s.name), s.address_prefix) for s in vnet.subnets]
        yield from _overlapping(subnets, "subnets of one virtual network must not overlap")
        for where, prefix in spaces:
            if PLATFORM_ADDRESS in prefix:
                yield Problem(
                    path=where,
                    found=f"{prefix} contains {PLATFORM_ADDRESS}",
                    must="health probes come from that address, so no virtual network may contain it",
                    advice="choose a private range, such as 10.1.0.0/16",
                )
            if prefix.overlaps(LINK_LOCAL):
                yield Problem(
                    path=where,
                    found=f"{prefix} overlaps {LINK_LOCAL}",
                    must="link-local addresses cannot be an address space",
                    advice="choose a private range, such as 10.1.0.0/16",
                )
            for address, owner in network.public_addresses():
                if address in prefix:
                    yield Problem(
                        path=owner,
                        found=f'{address} is inside the address space {prefix} of "{vnet.name}"',
                        must="a public address must be outside every virtual network",
                        advice="change one of the two",
                    )
        for subnet in vnet.subnets:
            if not any(subnet.address_prefix.subnet_of(space) for space in vnet.address_space):
                yield Problem(
                    path=(*path, "subnets", subnet.name),
                    found=f"{subnet.address_prefix} is outside the address space {_list(vnet.address_space)}",
                    must="a subnet must lie within its virtual network",
                    advice="change the subnet or add its range to address_space",
                )
            if subnet.address_prefix.prefixlen > 29:
                yield Problem(
                    path=(*path, "subnets", subnet.name),
                    found=f"{subnet.address_prefix} has {subnet.address_prefix.num_addresses} addresses",
                    must="a subnet is /29 or larger, since Azure keeps five of its addresses",
                    advice="choose a shorter prefix",
                )


def _machines(network: Network) -> Iterator[Problem]:
    vnets = {n.name: n for n in network.virtual_networks}
    for vm in network.virtual_machines:
        subnets = {s.name: s for s in vnets[vm.virtual_network].subnets}
        subnet = subnets[vm.subnet]
        path = ("virtual_machines", vm.name)
        if vm.subnet == GATEWAY_SUBNET:
            yield Problem(
                path=(*path, "subnet"),
                found=f'VM in "{GATEWAY_SUBNET}"',
                must="the gateway subnet holds gateways only, no VM",
                advice="place the VM in another subnet",
            )
        if vm.private_ip_address not in subnet.address_prefix:
            yield Problem(
                path=(*path, "private_ip_address"),
                found=f'{vm.private_ip_address} is outside subnet "{vm.subnet}" ({subnet.address_prefix})',
                must="a VM's address must lie within its subnet",
                advice="change the address or the subnet, or leave the address out to have one allocated",
            )
        elif vm.private_ip_address not in _usable_range(subnet):
            yield Problem(
                path=(*path, "private_ip_address"),
                found=f"{vm.private_ip_address} is one of the five addresses Azure keeps in {subnet.address_prefix}",
                must=f"a VM's address is from {next(subnet.usable())} up, below the last",
                advice="choose another address, or leave it out to have one allocated",
            )
        yield from _services((*path, "services"), vm.services)
    for host in network.internet:
        yield from _services(("internet", host.name, "services"), host.services)


class _usable_range:  # noqa: N801 - used as a set
    def __init__(self, subnet: Subnet) -> None:
        self.first = int(subnet.address_prefix.network_address) + RESERVED_AT_START
        self.last = int(subnet.address_prefix.broadcast_address) - 1

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= int(address) <= self.last


def _services(path: tuple[str, ...], services: tuple[Service, ...]) -> Iterator[Problem]:
    # A dns service takes its port on both transports.
    taken = Counter(
        (port, protocol)
        for service in services
        for port, protocol in (
            [(service.port, "udp"), (service.port, "tcp")]
            if service.kind == "dns"
            else [(service.port, service.protocol)]
        )
    )
    for (port, protocol), count in taken.items():
        if count > 1:
            yield Problem(
                path=path,
                found=f"{count} services on {port}/{protocol}",
                must="one port has one service",
                advice="give each its own port",
            )


def _addresses(network: Network) -> Iterator[Problem]:
    seen: dict[IPv4Address, tuple[str, ...]] = {}
    private: list[tuple[object, IPv4Address, tuple[str, ...]]] = [
        (vm.virtual_network, vm.private_ip_address, ("virtual_machines", vm.name, "private_ip_address"))
        for vm in network.virtual_machines
    ]
    by_network: dict[tuple[object, IPv4Address], tuple[str, ...]] = {}
    for owner, address, path in private:
        if (owner, address) in by_network:
            yield _duplicate(address, path, by_network[owner, address])
        by_network.setdefault((owner, address), path)
    for address, path in network.public_addresses():
        if address in seen:
            yield _duplicate(address, path, seen[address])
        seen.setdefault(address, path)
        if address in (PLATFORM_ADDRESS, PUBLIC_RESOLVER) or not _is_host_address(address):
            yield Problem(
                path=path,
                found=f"{address} is not an address of a public host",
                must="loopback, link-local, multicast and the lab's own resolvers cannot be used",
                advice="choose another address, or leave it out to have one allocated",
            )


def _is_host_address(address: IPv4Address) -> bool:
    special = address.is_loopback or address.is_multicast or address.is_unspecified
    return not (special or address.is_link_local or address >= IPv4Address("240.0.0.0"))


def _duplicate(address: IPv4Address, path: tuple[str, ...], other: tuple[str, ...]) -> Problem:
    return Problem(
        path=path,
        found=f"{address} is also the address of {'.'.join(other)}",
        must="an address has one owner",
        advice="change one of the two, or leave it out to have one allocated",
    )


def _load_balancer(network: Network, lb: LoadBalancer) -> Iterator[Problem]:
    path = ("load_balancers", lb.name)
    vms = {v.name: v for v in network.virtual_machines}
    homes = sorted({vms[name].virtual_network for name in lb.virtual_machines() if name in vms})
    if len(homes) > 1:
        yield Problem(
            path=(*path, "backend_address_pools"),
            found=f"VMs of {_list(homes)}",
            must="the VMs of a load balancer must be in one virtual network (seed 003, What to know)",
            advice="make one load balancer for each virtual network",
        )
    yield from _unique_members(path, lb)
    yield from _probe_limits(network.profile, path, lb)
    yield from _rules(network.profile, path, lb)


def _unique_members(path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    for pool in lb.pools:
        for member, count in Counter(pool.members).items():
            if count > 1:
                yield Problem(
                    path=(*path, "backend_address_pools", pool.name),
                    found=f'"{member}" is named {count} times',
                    must="a VM is in a pool once",
                    advice="remove the repetition",
                )


def _probe_limits(profile: Profile, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    source = f"({profile.sources['probe_min_interval_s']})"
    for probe in lb.probes:
        where = (*path, "probes", probe.name)
        if probe.interval_s < profile.probe_min_interval_s:
            yield Problem(
                path=(*where, "interval_in_seconds"),
                found=f"{probe.interval_s}",
                must=f"the shortest interval is {profile.probe_min_interval_s} s {source}",
                advice="use a longer interval; --time-scale makes a lab's clock run faster",
            )
        if probe.number_of_probes < profile.probe_min_count:
            yield Problem(
                path=(*where, "number_of_probes"),
                found=f"{probe.number_of_probes}",
                must=f"the smallest count is {profile.probe_min_count} {source}",
                advice="use a larger count",
            )
        if probe.interval_s * probe.number_of_probes > profile.probe_max_s:
            yield Problem(
                path=where,
                found=f"{probe.interval_s} s x {probe.number_of_probes}",
                must=f"interval times count is at most {profile.probe_max_s} s {source}",
                advice="shorten one of the two",
            )


def _rules(profile: Profile, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    ports: dict[tuple[str, Transport, int], str] = {}
    targets: dict[tuple[str, Transport, int], str] = {}
    sections: tuple[tuple[str, tuple[LoadBalancingRule | InboundNatRule, ...]], ...] = (
        ("load_balancing_rules", lb.load_balancing_rules),
        ("inbound_nat_rules", lb.inbound_nat_rules),
    )
    for section, rules in sections:
        for rule in rules:
            where = (*path, section, rule.name)
            name = f"{section}.{rule.name}"
            port = (rule.frontend, rule.protocol, rule.frontend_port)
            if port in ports:
                yield Problem(
                    path=(*where, "frontend_port"),
                    found=f'{rule.frontend_port}/{rule.protocol} of "{rule.frontend}" is used by {ports[port]}',
                    must="a frontend port has one rule",
                    advice="choose another port or frontend",
                )
            ports.setdefault(port, name)
            if isinstance(rule, LoadBalancingRule):
                yield from _rule_limits(profile, where, rule)
                members = lb.pool(rule.backend_pool).members
            else:
                members = (rule.virtual_machine,)
            for member in members:
                target = (member, rule.protocol, rule.backend_port)
                if target in targets:
                    yield Problem(
                        path=(*where, "backend_port"),
                        found=f"{member}:{rule.backend_port}/{rule.protocol} is also the target of {targets[target]}",
                        must="every rule needs its own port at the VM (load-balancer-multivip-overview.md, 2016-08-11)",
                        advice="choose another backend_port",
                    )
                targets.setdefault(target, name)


def _rule_limits(profile: Profile, where: tuple[str, ...], rule: LoadBalancingRule) -> Iterator[Problem]:
    if rule.probe is None:
        yield Problem(
            path=where,
            found="no probe",
            must="a load-balancing rule needs a probe that was defined first (seed 001, test 2)",
            advice="define one under probes and name it: probe: NAME",
        )
    low, high = profile.rule_idle_min
    if not low <= rule.idle_timeout_min <= high:
        yield Problem(
            path=(*where, "idle_timeout_in_minutes"),
            found=f"{rule.idle_timeout_min}",
            must=f"an idle timeout is {low} to {high} minutes ({profile.sources['rule_idle_min']})",
            advice=f"use a value from {low} to {high}",
        )


def _expectation(network: Network, index: int, expectation: Expectation) -> Iterator[Problem]:
    path = ("expect", str(index))
    nodes = {v.name for v in network.virtual_machines} | {h.name for h in network.internet}
    if expectation.sender not in nodes:
        yield Problem(
            path=(*path, "from"),
            found=f'no node "{expectation.sender}"',
            must="from is the name of a VM or of a host under internet",
            advice=did_you_mean(expectation.sender, nodes),
        )
    host = expectation.to.host
    if host not in nodes and not _is_address(host):
        yield Problem(
            path=(*path, "to"),
            found=f'no node "{host}"',
            must="to is NODE:PORT/PROTOCOL or ADDRESS:PORT/PROTOCOL",
            advice=did_you_mean(host, nodes),
        )
    for name in expectation.answered_by:
        if name not in nodes:
            yield Problem(
                path=(*path, "answered_by"),
                found=f'no node "{name}"',
                must="answered_by names VMs or hosts under internet",
                advice=did_you_mean(name, nodes),
            )


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(i) for i in items)
