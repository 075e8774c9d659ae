"""What network security groups say of a flow, in Azure's words and without any kernel's.

A group is its user's rules and six default rules, asked by priority; the first that matches a flow decides. A flow
into a VM is asked of the subnet's group and then of the VM's, a flow out of it the other way round, and both must
allow it (virtual-networks-nsg.md, 2016-02-11). A flow is described as its VM sees it: the client's own address, and
the VM's own address and port, never a load balancer's. Only the first packet of a flow is asked about.
"""

from collections.abc import Iterator
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise, product
from typing import Literal, TypeAlias

import msgspec

from lab.azure import peerings
from lab.azure.model import (
    PLATFORM_ADDRESS,
    Access,
    Direction,
    Network,
    NetworkInterface,
    SecurityGroup,
    SecurityRule,
    Tag,
    VirtualMachine,
    VirtualNetwork,
)
from lab.azure.profile import Profile
from lab.flow import PortRange

Protocol = Literal["tcp", "udp", "icmp", "other"]
_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp", "other")
_VNET: tuple[Tag, ...] = ("VirtualNetwork",)
_HIGHEST = 2**32 - 1
#: What guards a VM of a Standard load balancer or public IP that has no group: the inbound default rules, so named.
STANDARD = "(Standard SKU)"


def defaults(profile: Profile) -> tuple[SecurityRule, ...]:
    """Return the rules that every group ends with; none can be removed; any rule of the user's overrides them."""
    names = iter(profile.nsg_default_names)

    def rule(priority: int, **rest: object) -> SecurityRule:
        return SecurityRule(name=next(names), priority=priority, protocol="*", **rest)  # type: ignore[arg-type]

    return (
        rule(65000, direction="Inbound", access="Allow", sources=_VNET, destinations=_VNET),
        rule(65001, direction="Inbound", access="Allow", sources=("AzureLoadBalancer",)),
        rule(65500, direction="Inbound", access="Deny"),
        rule(65000, direction="Outbound", access="Allow", sources=_VNET, destinations=_VNET),
        rule(65001, direction="Outbound", access="Allow", destinations=("Internet",)),
        rule(65500, direction="Outbound", access="Deny"),
    )


def ordered(group: SecurityGroup, profile: Profile) -> tuple[SecurityRule, ...]:
    """Return all rules of a group as they are asked: by direction, then by priority, the default rules among them."""
    return tuple(sorted((*group.rules, *defaults(profile)), key=lambda rule: (rule.direction, rule.priority)))


# --- who is asked -----------------------------------------------------------------------------


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one group in one direction, where a flow meets them; the last matches everything."""

    group: str
    on: Literal["subnet", "VM", "SKU"]
    direction: Direction
    rules: tuple[SecurityRule, ...]


# --- what matches -----------------------------------------------------------------------------

#: Numbers from the first to the last, both included.
Interval: TypeAlias = tuple[int, int]
#: A set of flows: protocol, source, source port, destination and destination port, an interval of each.
Box: TypeAlias = tuple[Interval, Interval, Interval, Interval, Interval]
_ALL_PORTS = (0, 65535)


def spaces(network: Network, vnet: VirtualNetwork) -> tuple[IPv4Network, ...]:
    """Return what the tag VirtualNetwork stands for: the network's own space, and what is connected to it."""
    sites = {c.local_network for c in network.connections if c.virtual_network == vnet.name}
    connected = {prefix for site in network.local_networks if site.name in sites for prefix in site.address_space}
    connected.update(peerings.tagged(network, vnet))
    return (*vnet.address_space, *sorted(connected))


def prefixes(network: Network, vnet: VirtualNetwork, address: str) -> tuple[IPv4Network, ...]:
    """Return what an address or tag of a rule stands for, as prefixes, lowest first."""
    return tuple(net for first, last in _addresses(spaces(network, vnet), (address,)) for net in _summary(first, last))


def _summary(first: int, last: int) -> Iterator[IPv4Network]:
    while first <= last:
        size = min(first & -first or 2**32, 1 << (last - first + 1).bit_length() - 1)
        yield IPv4Network((first, 33 - size.bit_length()))
        first += size


def _addresses(virtual_network: tuple[IPv4Network, ...], addresses: tuple[str, ...]) -> tuple[Interval, ...]:
    """Return the addresses that a rule names, as disjoint intervals; no name stands for all."""
    found: list[Interval] = []
    inside = sorted(_ends(prefix) for prefix in virtual_network)
    for address in addresses or ("0.0.0.0/0",):
        match address:
            case "VirtualNetwork":
                found += inside
            case "AzureLoadBalancer":
                found.append((int(PLATFORM_ADDRESS), int(PLATFORM_ADDRESS)))
            case "Internet":
                # Everything outside, but for the platform's own address: its probes are not the internet's.
                taken = sorted([(-1, -1), *inside, (int(PLATFORM_ADDRESS),) * 2, (_HIGHEST + 1,) * 2])
                found += [(a[1] + 1, b[0] - 1) for a, b in pairwise(taken) if a[1] + 1 <= b[0] - 1]
            case _:
                found.append(_ends(IPv4Network(address)))
    return _merged(found)


def _ends(prefix: IPv4Network) -> Interval:
    return int(prefix.network_address), int(prefix.broadcast_address)


def _merged(intervals: list[Interval]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def merged_ports(ports: tuple[PortRange, ...]) -> tuple[PortRange, ...]:
    """Return the same ports in as few ranges as there can be, lowest first."""
    return tuple(PortRange(*ends) for ends in _merged([(r.first, r.last) for r in ports]))


def boxes(network: Network, vnet: VirtualNetwork, rule: SecurityRule) -> tuple[Box, ...]:
    """Return the flows that a rule matches.

    ``*`` is every protocol; together with ports it is TCP and UDP, since nothing else has any.
    """
    inside = spaces(network, vnet)
    has_ports = bool(rule.source_ports or rule.destination_ports)
    protocols = {"Tcp": (0, 0), "Udp": (1, 1), "Icmp": (2, 2), "*": (0, 1) if has_ports else (0, 3)}
    sources, destinations = (_addresses(inside, addresses) for addresses in (rule.sources, rule.destinations))
    source_ports, destination_ports = (
        _merged([(r.first, r.last) for r in ports] or [_ALL_PORTS])
        for ports in (rule.source_ports, rule.destination_ports)
    )
    return tuple(product((protocols[rule.protocol],), sources, source_ports, destinations, destination_ports))


# --- what is decided --------------------------------------------------------------------------


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The first packet of a flow, as the VM that is asked about sees it. Ports of ICMP are 0."""

    protocol: Protocol
    source: IPv4Address
    destination: IPv4Address
    source_port: int = 0
    destination_port: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What one group says of a flow at one VM, and which of its rules."""

    vm: str
    direction: Direction
    group: str
    rule: str
    priority: int
    access: Access


def _matches(of_rule: tuple[Box, ...], packet: Packet) -> bool:
    protocol, port = _PROTOCOLS.index(packet.protocol), packet.destination_port
    # Ports tell most rules apart, so they are looked at first.
    near = (box for box in of_rule if box[4][0] <= port <= box[4][1] and box[0][0] <= protocol <= box[0][1])
    point = (int(packet.source), packet.source_port, int(packet.destination))
    return any(all(low <= x <= high for x, (low, high) in zip(point, box[1:4], strict=True)) for box in near)


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is in force at a VM: where, what its addresses stand for, and the rules that leave it nothing."""

    interface: str  # empty: the only one of the VM
    direction: Direction
    group: str
    on: Literal["subnet", "VM", "SKU"]
    rule: SecurityRule
    expanded_sources: tuple[str, ...]
    expanded_destinations: tuple[str, ...]
    shadowed_by: tuple[str, ...]


class Groups:
    """The groups of one network; what each of their rules matches is worked out once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._rules: dict[tuple[str, Direction], tuple[SecurityRule, ...]] = {}
        self._matches: dict[tuple[str, str, Direction], list[tuple[SecurityRule, tuple[Box, ...]]]] = {}

    def filters(
        self, vm: VirtualMachine, direction: Direction, interface: NetworkInterface | None = None
    ) -> tuple[Filter, ...]:
        """Return what a VM's flows are asked of, in order; nothing for a VM that no group guards.

        ``interface`` None: the primary one. Without a group, a VM of a Standard load balancer or with a Standard public
        IP is closed to the internet (load-balancer-standard-overview.md, 2017-09-28).
        """
        primary = vm.network_interfaces[0]
        interface = interface or primary
        subnets = self.network.virtual_network(vm.virtual_network).subnets
        on_subnet = next(subnet.network_security_group for subnet in subnets if subnet.name == interface.subnet)
        places: list[tuple[Literal["subnet", "VM"], str | None]] = [
            ("subnet", on_subnet),
            ("VM", interface.network_security_group),
        ]
        found = [
            Filter(group=name, on=on, direction=direction, rules=self._of(name, direction))
            for on, name in (places if direction == "Inbound" else reversed(places))
            if name is not None
        ]
        if not found and direction == "Inbound" and interface == primary and self._is_closed(vm):
            rules = self._of(STANDARD, direction)
            found.append(Filter(group=STANDARD, on="SKU", direction="Inbound", rules=rules))
        return tuple(found)

    def _of(self, name: str, direction: Direction) -> tuple[SecurityRule, ...]:
        """Return the rules of a group in one direction; what the SKU puts there has the default rules only."""
        if (name, direction) not in self._rules:
            group = self.network.security_group(name) or SecurityGroup(name=name)
            rules = ordered(group, self.network.profile)
            self._rules[name, direction] = tuple(rule for rule in rules if rule.direction == direction)
        return self._rules[name, direction]

    @cached_property
    def _standard(self) -> frozenset[str]:
        """The VMs of Standard load balancers."""
        found = (lb.virtual_machines() for lb in self.network.balancers if lb.sku == "Standard")
        return frozenset(name for names in found for name in names)

    def _is_closed(self, vm: VirtualMachine) -> bool:
        required = self.network.profile.nsg_required_standard
        own = vm.instance_public_ip is not None and vm.instance_public_ip.sku == "Standard"
        return required and (own or vm.name in self._standard)

    def matches(self, vnet: VirtualNetwork, asked: Filter) -> list[tuple[SecurityRule, tuple[Box, ...]]]:
        """Return the rules of a filter, each with the flows it matches in a virtual network."""
        key = (vnet.name, asked.group, asked.direction)
        if key not in self._matches:
            self._matches[key] = [(rule, boxes(self.network, vnet, rule)) for rule in asked.rules]
        return self._matches[key]

    def decisions(self, vm: VirtualMachine, direction: Direction, packet: Packet) -> tuple[Decision, ...]:
        """Return what a VM's groups say of a flow, in order; the first denial is the last word. Empty: none is asked.

        What a VM asks of its host, such as names, is never filtered; what the host asks of it, as the revision says.
        """
        host = packet.destination if direction == "Outbound" else packet.source
        if host == PLATFORM_ADDRESS and (direction == "Outbound" or not self.network.profile.nsg_filters_platform):
            return ()
        vnet = self.network.virtual_network(vm.virtual_network)
        interface = vm.interface_with(packet.source if direction == "Outbound" else packet.destination)
        found: list[Decision] = []
        for asked in self.filters(vm, direction, interface):
            rule = next(rule for rule, matched in self.matches(vnet, asked) if _matches(matched, packet))
            found.append(
                Decision(
                    vm=vm.name,
                    direction=direction,
                    group=asked.group,
                    rule=rule.name,
                    priority=rule.priority,
                    access=rule.access,
                )
            )
            if rule.access == "Deny":
                break
        return tuple(found)

    def effective(self, vm: VirtualMachine) -> tuple[Effective, ...]:
        """Return all rules in force at a VM, in the order they are asked, inbound first."""
        vnet = self.network.virtual_network(vm.virtual_network)

        def expanded(addresses: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(str(p) for a in addresses or ("0.0.0.0/0",) for p in prefixes(self.network, vnet, a))

        found = []
        directions: tuple[Direction, ...] = ("Inbound", "Outbound")
        every = ((i.name, f) for i in vm.network_interfaces for d in directions for f in self.filters(vm, d, i))
        for interface, asked in every:
            earlier: list[tuple[str, Box, tuple[Box, ...]]] = []
            for rule, own in self.matches(vnet, asked):
                found.append(
                    Effective(
                        interface=interface,
                        direction=asked.direction,
                        group=asked.group,
                        on=asked.on,
                        rule=rule,
                        expanded_sources=expanded(rule.sources),
                        expanded_destinations=expanded(rule.destinations),
                        shadowed_by=_shadowing(own, earlier),
                    )
                )
                earlier.append((rule.name, _hull(own), own))
        return tuple(found)


# --- what is left to a rule -------------------------------------------------------------------

#: A remainder in more pieces than this is taken for something: the rule is then not called shadowed.
_PIECES = 256


def _shadowing(own: tuple[Box, ...], earlier: list[tuple[str, Box, tuple[Box, ...]]]) -> tuple[str, ...]:
    """Return the names of earlier rules that together match all of a rule's flows; empty if some are left to it.

    ``earlier``: names, the smallest box around all of a rule's, and these.
    """
    left, whole = list(own), _hull(own)
    names = []
    for name, hull, theirs in earlier:
        if not _meet(whole, hull):
            continue
        before = left
        for box in theirs:
            left = [piece for part in left for piece in _without(part, box)]
        if left != before:
            names.append(name)
        if not left:
            return tuple(names)
        if len(left) > _PIECES:
            break
    return ()


def _hull(of_rule: tuple[Box, ...]) -> Box:
    """Return the smallest box around those of a rule; they come in order on each axis."""
    a, b, c, d, e = ((low[0], high[1]) for low, high in zip(of_rule[0], of_rule[-1], strict=True))
    return a, b, c, d, e


def _meet(box: Box, other: Box) -> bool:
    # From the last axis, the port, which tells most rules apart.
    return all(a[0] <= b[1] and b[0] <= a[1] for a, b in zip(box[::-1], other[::-1], strict=True))


def _without(box: Box, taken: Box) -> Iterator[Box]:
    """Yield what is left of a box when another is taken out of it, as disjoint boxes."""
    if not _meet(box, taken):
        yield box
        return
    rest = box
    for axis, ((low, high), (first, last)) in enumerate(zip(box, taken, strict=True)):
        for piece in ((low, first - 1), (last + 1, high)):
            if piece[0] <= piece[1]:
                yield _with(rest, axis, piece)
        rest = _with(rest, axis, (max(low, first), min(high, last)))


def _with(box: Box, axis: int, interval: Interval) -> Box:
    a, b, c, d, e = (interval if index == axis else old for index, old in enumerate(box))
    return a, b, c, d, e
