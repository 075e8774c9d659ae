"""What must hold between the parts of a network, by the documents or because the lab could not play it.

Every rule that a file or a management operation may break is here, with its source.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from lab.azure import (
    cloud_services,
    internal_balancers,
    nat_gateways,
    outbound_rules,
    peerings,
    places,
    public_ips,
    vpn_limits,
)
from lab.azure.addresses import Overlaps, Points, Ranges, is_address, unusable
from lab.azure.model import (
    GATEWAY_SUBNET,
    PLATFORM_ADDRESS,
    PLATFORM_NETWORK,
    PUBLIC_RESOLVER,
    RESERVED_AT_START,
    TITLE,
    TITLE_WORDS,
    Expectation,
    InboundNatRule,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    NetworkInterface,
    SecurityGroup,
    Service,
    Subnet,
    interface_path,
    is_reachable_name,
)
from lab.azure.profile import Profile
from lab.azure.programs import Execution, Program
from lab.azure.security_groups import defaults
from lab.errors import Problem, did_you_mean
from lab.flow import Transport

_FRONTENDS = ("frontend_ip_configurations",)
#: Of a longer name only so many characters are printed.
_NAME_SHOWN = 80


def violations(network: Network) -> Iterator[Problem]:
    """Yield everything about a network that the documents or the lab do not allow."""
    yield from cloud_services.at_roles(network, _violations(network))


def _violations(network: Network) -> Iterator[Problem]:
    yield from _names(network)
    yield from _titles(network)
    yield from _address_spaces(network)
    yield from _machines(network)
    yield from _addresses(network)
    yield from _unusable_ranges(network)
    yield from _security_groups(network)
    for lb in network.load_balancers:
        yield from _load_balancer(network, lb)
        yield from outbound_rules.violations(network.profile, lb)
    yield from internal_balancers.violations(network)
    yield from nat_gateways.violations(network)
    yield from peerings.violations(network)
    yield from cloud_services.violations(network)
    yield from _rule_targets(network)
    yield from public_ips.violations(network)
    yield from vpn_limits.violations(network)
    for index, expectation in enumerate(network.expectations):
        yield from _expectation(network, index, expectation)


def file_violations(network: Network) -> Iterator[Problem]:
    """Yield what is not allowed about a network as a file describes it.

    That a guest's own addresses are of frontends is asked of a file alone: an operation that takes such an address
    from a frontend is not refused for what is inside a guest.
    """
    yield from violations(network)
    yield from _loopbacks(network)


def _names(network: Network) -> Iterator[Problem]:
    hosts = {h.name for h in network.internet}
    lowered = {name.lower(): name for name in sorted(hosts)}
    reserved = places.taken([*(n.name for n in network.virtual_networks), *(g.name for g in network.nat_gateways)])
    public = public_ips.names(network)
    for vm in network.virtual_machines:
        # Names are compared as DNS does: without regard to case.
        other = lowered.get(vm.name.lower())
        if other is not None:
            where = "internet" if other in hosts else "virtual_machines"
            yield Problem(
                path=("virtual_machines", vm.name),
                found=f'"{other}" is also under {where}',
                must="a node's name must be unique in the lab, whatever its case",
                advice="rename one of the two",
            )
        lowered.setdefault(vm.name.lower(), vm.name)
    devices = [s.name for s in network.local_networks if s.vpn_device]
    for name in devices:
        other = lowered.get(name.lower())
        if other is not None:
            yield Problem(
                path=("local_networks", name),
                found=f'"{other}" is also the name of another node',
                must="a node's name must be unique in the lab, whatever its case; a VPN device is named after its site",
                advice="rename one of the two",
            )
        lowered.setdefault(name.lower(), name)
    for section, names in (
        ("local_networks", devices),
        ("virtual_machines", [v.name for v in network.virtual_machines]),
        ("internet", hosts),
    ):
        for name in sorted(set(names)):
            if name.lower() in reserved:
                yield Problem(
                    path=(section, name),
                    found=f'"{name}" is a name that the lab or Linux uses for itself',
                    must="a node's name must be unique in the lab",
                    advice="rename it",
                )
            elif name.lower() in public:
                yield Problem(
                    path=(section, name),
                    found=f'"{name}" is a name that leads to {public[name.lower()]}',
                    must="a name leads to one address",
                    advice="rename it",
                )
            elif not is_reachable_name(name):
                yield Problem(
                    path=(section, name),
                    found=f'"{name}" is no name that a resolver asks for',
                    must="a node is found by its name: parts of letters, digits, dashes and underscores between single "
                    "dots, and never localhost",
                    advice="rename it",
                )


def _titles(network: Network) -> Iterator[Problem]:
    """Yield names that no resource can have, of what is no node; a file's own are looked at before."""
    vnets = [vnet for vnet in network.virtual_networks if vnet.name != PLATFORM_NETWORK]
    found: list[tuple[str, ...]] = [("virtual_networks", vnet.name) for vnet in vnets]
    found += [("virtual_networks", vnet.name, "subnets", subnet.name) for vnet in vnets for subnet in vnet.subnets]
    found += [("virtual_networks", vnet.name, "peerings", peering.name) for vnet in vnets for peering in vnet.peerings]
    found += [("local_networks", s.name) for s in network.local_networks]
    found += [("dns_servers", d.name) for d in network.dns_servers]
    for path in found:
        if not re.fullmatch(TITLE, path[-1]):
            more = "…" if len(path[-1]) > _NAME_SHOWN else ""
            name = path[-1][:_NAME_SHOWN]
            yield Problem(path=path[:-1], found=f'"{name}{more}"', must=TITLE_WORDS, advice="rename it")


def _overlapping(spaces: Sequence[tuple[tuple[str, ...], IPv4Network]], must: str) -> Iterator[Problem]:
    overlaps = Overlaps([prefix for _, prefix in spaces])
    for index, (path, prefix) in enumerate(spaces):
        for before in overlaps.before(index):
            other_path, other = spaces[before]
            yield Problem(
                path=path,
                found=f"{prefix} overlaps {other} ({'.'.join(other_path)})",
                must=must,
                advice="choose a range that is free",
            )


def _address_spaces(network: Network) -> Iterator[Problem]:
    defaults = Points((vnet.default_outbound_address, vnet.name) for vnet in network.virtual_networks)
    public = Points(network.public_addresses())
    for vnet in network.virtual_networks:
        path = ("virtual_networks", vnet.name)
        spaces = [((*path, "address_space", str(i)), prefix) for i, prefix in enumerate(vnet.address_space)]
        yield from _overlapping(spaces, "prefixes of one address space must not overlap")
        subnets = [((*path, "subnets", s.name), s.address_prefix) for s in vnet.subnets]
        yield from _overlapping(subnets, "subnets of one virtual network must not overlap")
        for where, prefix in spaces:
            for address, name in defaults.inside(prefix):
                # Chosen by the platform before this range was there.
                yield Problem(
                    path=where,
                    found=f'{prefix} holds {address}, the default outbound address of "{name}"',
                    must="a public address must be outside every virtual network",
                    advice="choose a private range, such as 10.1.0.0/16",
                )
            for address, owner in public.inside(prefix):
                yield Problem(
                    path=owner,
                    found=f'{address} is inside the address space {prefix} of "{vnet.name}"',
                    must="a public address must be outside every virtual network",
                    advice="change one of the two",
                )
        space = Ranges(vnet.address_space)
        for subnet in vnet.subnets:
            if not space.cover(subnet.address_prefix):
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
        path = ("virtual_machines", vm.name)
        for interface in vm.network_interfaces:
            yield from _interface(interface_path(vm.name, interface.name), interface, subnets[interface.subnet])
        for subnet, count in Counter(interface.subnet for interface in vm.network_interfaces).items():
            if count > 1:
                yield Problem(
                    path=(*path, "network_interfaces"),
                    found=f'{count} interfaces in subnet "{subnet}"',
                    must="the lab plays one interface of a VM in each subnet",
                    advice="place each in a subnet of its own",
                )
        yield from _services((*path, "services"), vm.services, vm.programs)
    for site in network.local_networks:
        if site.vpn_device:
            yield from _services(("local_networks", site.name, "vpn_device", "services"), site.vpn_device.services)
    for host in network.internet:
        yield from _services(("internet", host.name, "services"), host.services, host.programs)


def _interface(path: tuple[str, ...], interface: NetworkInterface, subnet: Subnet) -> Iterator[Problem]:
    if subnet.name == GATEWAY_SUBNET:
        yield Problem(
            path=(*path, "subnet"),
            found=f'VM in "{GATEWAY_SUBNET}"',
            must="the gateway subnet holds gateways only, no VM",
            advice="place the VM in another subnet",
        )
    address = interface.private_ip_address
    if address not in subnet.address_prefix:
        yield Problem(
            path=(*path, "private_ip_address"),
            found=f'{address} is outside subnet "{subnet.name}" ({subnet.address_prefix})',
            must="a VM's address must lie within its subnet",
            advice="change the address or the subnet, or leave the address out to have one allocated",
        )
    elif address not in _usable_range(subnet):
        yield Problem(
            path=(*path, "private_ip_address"),
            found=f"{address} is one of the five addresses Azure keeps in {subnet.address_prefix}",
            must=f"a VM's address is from {next(subnet.usable())} up, below the last",
            advice="choose another address, or leave it out to have one allocated",
        )


class _usable_range:  # noqa: N801 - used as a set
    def __init__(self, subnet: Subnet) -> None:
        self.first = int(subnet.address_prefix.network_address) + RESERVED_AT_START
        self.last = int(subnet.address_prefix.broadcast_address) - 1

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= int(address) <= self.last


def _services(
    path: tuple[str, ...], services: tuple[Service, ...], programs: tuple[Program, ...] = ()
) -> Iterator[Problem]:
    for name, count in Counter(program.name for program in programs).items():
        if count > 1:
            yield Problem(
                path=path,
                found=f'{count} programs named "{name}"',
                must="the name of a program is unique in its node",
                advice="name each otherwise, or give no names",
            )
    # A dns service takes its port on both transports.
    listening: list[Service | Program] = [*services, *(program for program in programs if program.port)]
    taken = Counter(
        (port, protocol)
        for service in listening
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
        (vm.virtual_network, i.private_ip_address, (*interface_path(vm.name, i.name), "private_ip_address"))
        for vm in network.virtual_machines
        for i in vm.network_interfaces
    ]
    private += [
        (frontend.virtual_network, frontend.address, ("load_balancers", lb.name, *_FRONTENDS, frontend.name))
        for lb, frontend in network.private_frontends()
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
        if address == PUBLIC_RESOLVER:
            yield _no_host(path, address, "it is the lab's own resolver outside")
        elif reason := unusable(address):
            yield _no_host(path, address, f"no host can have an address of {reason}")


def _no_host(path: tuple[str, ...], address: IPv4Address, why: str) -> Problem:
    return Problem(
        path=path,
        found=f"{address} is not an address of a public host",
        must=why,
        advice="choose another address, or leave it out to have one allocated",
    )


def _unusable_ranges(network: Network) -> Iterator[Problem]:
    """Yield the ranges and addresses that no resource can have, wherever a network has them but for public hosts."""
    for vnet in network.virtual_networks:
        path = ("virtual_networks", vnet.name)
        for index, prefix in enumerate(vnet.address_space):
            yield from _unusable((*path, "address_space", str(index)), prefix, "an address space")
        for index, server in enumerate(vnet.dns_servers):
            yield from _unusable((*path, "dns_servers", str(index)), server, "a DNS server")
    for dns in network.dns_servers:
        yield from _unusable(("dns_servers", dns.name), dns.address, "a DNS server")
    for site in network.local_networks:
        path = ("local_networks", site.name)
        for index, prefix in enumerate(site.address_space):
            yield from _unusable((*path, "address_space", str(index)), prefix, "behind a tunnel")
        # A device that the lab plays is a public host, and a gateway of a virtual network is told of at its own place.
        if site.vpn_device is None and site.vpn_gateway is None:
            yield from _unusable((*path, "vpn_gateway_address"), site.vpn_gateway_address, "a VPN device")


def _unusable(path: tuple[str, ...], value: IPv4Address | IPv4Network, use: str) -> Iterator[Problem]:
    # A network may name the platform's own resolver among its DNS servers.
    if (reason := unusable(value)) and not (value == PLATFORM_ADDRESS and use == "a DNS server"):
        verb = "overlaps" if isinstance(value, IPv4Network) else "is of"
        advice = "choose a private range, such as 10.1.0.0/16" if verb == "overlaps" else "choose another address"
        yield Problem(path=path, found=f"{value} {verb} {reason}", must=f"it cannot be {use}", advice=advice)


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
            must="the VMs of a load balancer must be in one virtual network (VNet to VNet connection, "
            "2015-05-15, What to know)",
            advice="make one load balancer for each virtual network",
        )
    yield from _unique_members(path, lb)
    yield from _pool_sizes(network, path, lb)
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


def _pool_sizes(network: Network, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield the pools that are too large for the table of SNAT ports."""
    profile = network.profile
    if profile.allocation(lb.sku) == "on demand" or network.overrides.snat_ports_per_vm:
        return
    for pool in lb.pools:
        if profile.ports_per_vm(len(pool.members)) is None:
            yield Problem(
                path=(*path, "backend_address_pools", pool.name),
                found=f"{len(pool.members):,} VMs",
                must=f"the table of SNAT ports ends at {profile.port_tiers[-1].pool_size:,} VMs "
                f"({profile.sources['port_tiers']})",
                advice="make the pool smaller, choose another profile, or set overrides.snat_ports_per_vm",
            )


def _probe_limits(profile: Profile, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    source = f"({profile.sources['probe_min_interval_s']})"
    for probe in lb.probes:
        where = (*path, "probes", probe.name)
        interval_s = profile.probe_interval_s if probe.interval_s is None else probe.interval_s
        if interval_s < profile.probe_min_interval_s:
            yield Problem(
                path=(*where, "interval_in_seconds"),
                found=f"{interval_s}",
                must=f"the shortest interval is {profile.probe_min_interval_s} s {source}",
                advice="use a longer interval; --time-scale makes a lab's clock run faster",
            )
        for key, given in (
            ("probe_threshold", probe.threshold is not None),
            ("no_healthy_backends_behavior", probe.all_probed_up),
        ):
            if given and profile.probe_threshold != "one":
                yield Problem(
                    path=(*where, key),
                    found=f"{key} in the revision {profile.name}",
                    must="probes have it in revisions from 2023-10 on (Load Balancer Probes, REST API, 2024-01-01)",
                    advice="remove it, or choose a later profile",
                )
        if probe.number_of_probes < profile.probe_min_count:
            yield Problem(
                path=(*where, "number_of_probes"),
                found=f"{probe.number_of_probes}",
                must=f"the smallest count is {profile.probe_min_count} {source}",
                advice="use a larger count",
            )
        if profile.probe_max_s is not None and interval_s * probe.number_of_probes > profile.probe_max_s:
            yield Problem(
                path=where,
                found=f"{interval_s} s x {probe.number_of_probes}",
                must=f"interval times count is at most {profile.probe_max_s} s ({profile.sources['probe_max_s']})",
                advice="shorten one of the two",
            )
        if probe.protocol == "Http" and probe.port in profile.probe_http_refused:
            refused = _list(sorted(profile.probe_http_refused))
            yield Problem(
                path=(*where, "port"),
                found=f"{probe.port}",
                must=f"an HTTP probe is not sent to port {refused} ({profile.sources['probe_http_refused']})",
                advice="choose another port, or a Tcp probe",
            )


def _named(lb: LoadBalancer) -> Iterator[tuple[str, LoadBalancingRule | InboundNatRule]]:
    """Yield the rules of a load balancer with the section that each is in."""
    for rule in lb.rules():
        yield "load_balancing_rules" if isinstance(rule, LoadBalancingRule) else "inbound_nat_rules", rule


def _rules(profile: Profile, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    ports: dict[tuple[str, Transport, int], str] = {}
    for section, rule in _named(lb):
        where = (*path, section, rule.name)
        port = (rule.frontend, rule.protocol, rule.frontend_port)
        if port in ports:
            yield Problem(
                path=(*where, "frontend_port"),
                found=f'{rule.frontend_port}/{rule.protocol} of "{rule.frontend}" is used by {ports[port]}',
                must="a frontend port has one rule",
                advice="choose another port or frontend",
            )
        ports.setdefault(port, f"{section}.{rule.name}")
        if isinstance(rule, LoadBalancingRule):
            yield from _rule_probe(profile, where, rule)
        yield from _rule_limits(profile, where, lb, rule)


def _rule_targets(network: Network) -> Iterator[Problem]:
    """Yield rules that end where another one does: with floating IP at the frontend's address, else at the VM's own."""
    targets: dict[tuple[str, Transport, int, bool], tuple[str, str]] = {}
    for lb in network.load_balancers:
        for section, rule in _named(lb):
            for member in () if rule.floating_ip else lb.targets(rule):
                # A public and an internal load balancer may lead to one port.
                target = (member, rule.protocol, rule.backend_port, lb.is_private(rule))
                other = targets.setdefault(target, (lb.name, f"{section}.{rule.name}"))
                if other != (lb.name, f"{section}.{rule.name}"):
                    name = other[1] if other[0] == lb.name else ".".join(other)
                    yield Problem(
                        path=("load_balancers", lb.name, section, rule.name, "backend_port"),
                        found=f"{member}:{rule.backend_port}/{rule.protocol} is also the target of {name}",
                        must="every rule needs its own port at the VM (load-balancer-multivip-overview.md, 2016-08-11)",
                        advice="choose another backend_port, or use enable_floating_ip",
                    )


def _loopbacks(network: Network) -> Iterator[Problem]:
    frontends = {frontend.address for lb in network.balancers for frontend in lb.frontends}
    for vm in network.virtual_machines:
        path = ("virtual_machines", vm.name, "loopback_addresses")
        for address, count in Counter(vm.loopback_addresses).items():
            if address not in frontends:
                yield Problem(
                    path=path,
                    found=f"{address} is no frontend's address",
                    must="a guest has a frontend's address on its loopback interface, for rules with floating IP "
                    "(load-balancer-multivip-overview.md, 2016-08-11)",
                    advice="use the address of a frontend, given under frontend_ip_configurations",
                )
            if count > 1:
                yield Problem(
                    path=path,
                    found=f"{address} is named {count} times",
                    must="a guest has an address once",
                    advice="remove the repetition",
                )


def _rule_probe(profile: Profile, where: tuple[str, ...], rule: LoadBalancingRule) -> Iterator[Problem]:
    if rule.probe is None and profile.probe_required:
        yield Problem(
            path=where,
            found="no probe",
            must="a load-balancing rule needs a probe that was defined first (Source IP of outbound flows, "
            "2018-12-11, test 2)",
            advice="define one under probes and name it: probe: NAME",
        )


def _rule_limits(
    profile: Profile, where: tuple[str, ...], lb: LoadBalancer, rule: LoadBalancingRule | InboundNatRule
) -> Iterator[Problem]:
    if rule.tcp_reset and lb.sku != "Standard":
        yield Problem(
            path=(*where, "enable_tcp_reset"),
            found=f"TCP reset of a {lb.sku} load balancer",
            must="only a Standard load balancer resets idle flows (load-balancer-tcp-reset.md, 2020-10-07)",
            advice="leave it out, or choose sku: Standard",
        )
    if rule.floating_ip and rule.backend_port != rule.frontend_port:
        yield Problem(
            path=(*where, "backend_port"),
            found=f"{rule.backend_port} instead of {rule.frontend_port}",
            must="with floating IP the destination stays what it is, its port too "
            "(load-balancer-multivip-overview.md, 2016-08-11)",
            advice=f"use {rule.frontend_port}",
        )
    low, high = profile.rule_idle_min
    if not low <= rule.idle_timeout_min <= high:
        yield Problem(
            path=(*where, "idle_timeout_in_minutes"),
            found=f"{rule.idle_timeout_min}",
            must=f"an idle timeout is {low} to {high} minutes ({profile.sources['rule_idle_min']})",
            advice=f"use a value from {low} to {high}",
        )


def _security_groups(network: Network) -> Iterator[Problem]:
    profile = network.profile
    source = f"({profile.sources['nsg_max_groups']})"
    if len(network.network_security_groups) > profile.nsg_max_groups:
        yield Problem(
            path=("network_security_groups",),
            found=f"{len(network.network_security_groups)} network security groups",
            must=f"a region has at most {profile.nsg_max_groups} {source}",
            advice="let subnets share a group",
        )
    for vnet in network.virtual_networks:
        for subnet in vnet.subnets:
            if subnet.name == GATEWAY_SUBNET and subnet.network_security_group is not None:
                yield Problem(
                    path=("virtual_networks", vnet.name, "subnets", subnet.name, "network_security_group"),
                    found=f'"{subnet.network_security_group}" on "{GATEWAY_SUBNET}"',
                    must="the gateway subnet has no network security group (virtual-networks-nsg.md, 2016-02-11)",
                    advice="remove it; put a group on the VMs' subnets",
                )
    for group in network.network_security_groups:
        yield from _security_rules(profile, group)


def _security_rules(profile: Profile, group: SecurityGroup) -> Iterator[Problem]:
    path = ("network_security_groups", group.name)
    if len(group.rules) > profile.nsg_max_rules:
        yield Problem(
            path=path,
            found=f"{len(group.rules)} rules",
            must=f"a group has at most {profile.nsg_max_rules} ({profile.sources['nsg_max_rules']})",
            advice="give some rules lists of prefixes or ports, or use two groups",
        )
    first, last = profile.nsg_priority
    default = defaults(profile)
    names = {rule.name.lower() for rule in default}
    priorities = {(rule.direction, rule.priority): rule.name for rule in default}
    for index, rule in enumerate(group.rules):
        where = (*path, str(index))
        if rule.name.lower() in names:
            yield Problem(
                path=(*where, "name"),
                found=f'a second rule "{rule.name}" in "{group.name}"',
                must="a rule's name is unique in its group, whatever its case, and none of the default rules'",
                advice="rename it",
            )
        names.add(rule.name.lower())
        other = priorities.setdefault((rule.direction, rule.priority), rule.name)
        if other != rule.name:
            yield Problem(
                path=(*where, "priority"),
                found=f'{rule.priority} is also the priority of "{other}", {rule.direction}',
                must="a priority is unique in its direction (virtual-networks-nsg.md, 2016-02-11)",
                advice="choose a priority that is free",
            )
        if not first <= rule.priority <= last:
            yield Problem(
                path=(*where, "priority"),
                found=f"{rule.priority}",
                must=f"a priority is {first} to {last} ({profile.sources['nsg_priority']})",
                advice=f"use a value from {first} to {last}; lower ones are asked first",
            )
        if rule.protocol not in profile.nsg_protocols:
            yield Problem(
                path=(*where, "protocol"),
                found=f'"{rule.protocol}"',
                must=f"a protocol is {_list(sorted(profile.nsg_protocols))} ({profile.sources['nsg_protocols']})",
                advice='only a rule for "*" matches ICMP in this revision',
            )
        if rule.protocol == "Icmp" and (rule.source_ports or rule.destination_ports):
            yield Problem(
                path=(*where, "protocol"),
                found="ports together with Icmp",
                must="ICMP has no ports (virtual-networks-nsg.md, 2016-02-11)",
                advice="leave the ports out",
            )


def _expectation(network: Network, index: int, expectation: Expectation | Execution) -> Iterator[Problem]:
    path = ("expect", str(index))
    nodes = {v.name for v in network.virtual_machines} | {h.name for h in network.internet}
    nodes |= {s.name for s in network.local_networks if s.vpn_device}
    if expectation.sender not in nodes:
        yield Problem(
            path=(*path, "from"),
            found=f'no node "{expectation.sender}"',
            must="from is the name of a VM or of a host under internet",
            advice=did_you_mean(expectation.sender, nodes),
        )
    if isinstance(expectation, Execution):
        return
    if expectation.outcome == "timeout" and (
        expectation.source_ip or expectation.source_port or expectation.answered_by
    ):
        yield Problem(
            path=path,
            found="outcome timeout together with a source or an answer",
            must="what is silent has neither",
            advice="write two expectations",
        )
    host = expectation.to.host
    if host not in nodes and not is_address(host):
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


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(i) for i in items)
