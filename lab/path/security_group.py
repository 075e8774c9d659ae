"""Network security groups: which flows may begin at a VM's wire, in the router, out of the VM's reach.

Owns the packet filter of every router. A flow is asked about when it begins and never again: what follows its first
packet, the answers, and the ICMP errors about it pass first (virtual-networks-nsg.md, 2016-02-11: stateful). A packet
out of a VM's wire goes through the chains of the VM's group and then of its subnet's, a packet into it through those
of the subnet's and then of the VM's; a rule that allows returns from its chain, one that denies drops. The router is
behind the load balancer, so it sees the client's own address and the VM's own port.

A group has one chain for each direction, however many VMs it guards. Tags are marks: a packet is marked once with what
its addresses are, so that a tag costs one comparison however many prefixes it stands for. A router without a group
tracks nothing.

A packet in the middle of a flow whose beginning was not seen is no flow's first, and no tracked one's: it is judged
like any first packet, each on its own, and lets nothing back in.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal

import msgspec

from lab.azure import security_groups
from lab.azure.model import PLATFORM_ADDRESS, Direction, Network, SecurityRule, Subnet, VirtualNetwork
from lab.azure.security_groups import Filter, Groups
from lab.errors import LabError
from lab.path import wiring
from lab.path.marks import FROM_VNET, NOT_FROM_INTERNET, TO_VNET
from lab.plan import CHAIN_MAX, Item, Jump, Provenance, Rule, SetMark, Sysctl, Table, Target, Terminal, short
from lab.plan import interface_to as to

_GROUPS = "virtual-networks-nsg.md (2016-02-11)"
_HOST = "168.63.129.16 answers names; virtual-networks-nsg.md (2016-02-11)"
#: Where a router that leads private frontends to VMs asks what is let out.
_OUT = "nsg-outbound"
_WAYS: dict[Direction, str] = {"Inbound": "in", "Outbound": "out"}
_PLATFORM = f"{PLATFORM_ADDRESS}/32"


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the packet filter of each router that has something to guard."""
    directions: tuple[Direction, ...] = ("Outbound", "Inbound")
    groups = Groups(network)
    for vnet in network.virtual_networks:
        asked = {
            (direction, wiring.wire(vm.name, number)): groups.filters(vm, direction, interface)
            for direction in directions
            for vm in network.running(vnet)
            for number, interface in enumerate(vm.network_interfaces)
        }
        chains = {(f.direction, f.group): f.rules for found in asked.values() for f in found}
        if not chains:
            continue
        if len({_chain(*key) for key in chains}) < len(chains):
            raise LabError(f"plan: two security groups of {vnet.name} have one chain; a mistake of ours; report this")
        where = _where(network, vnet)
        yield from _before(network, vnet)
        yield from _outbound(
            vnet, {vm: found for (direction, vm), found in asked.items() if direction == "Outbound"}, where
        )
        yield from _inbound(network, vnet, {vm: f for (direction, vm), f in asked.items() if direction == "Inbound"})
        for (direction, group), rules in sorted(chains.items()):
            table = where[0] if direction == "Outbound" else "filter"
            for rule in rules:
                yield from _rule(vnet, table, _chain(direction, group), group, rule)


def _where(network: Network, vnet: VirtualNetwork) -> tuple[Table, str]:
    """Return the table and chain in which a router asks what VMs' packets are let out.

    Where it leads private frontends to VMs too, that is before it does: to a sender the destination is the frontend.
    """
    is_here = any(frontend.virtual_network == vnet.name for _, frontend in network.private_frontends())
    return ("mangle", _OUT) if is_here else ("filter", "FORWARD")


def _before(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what comes before all groups: flows that began, the host's own services, and the marks."""
    place, profile = wiring.router(vnet), network.profile
    begun = Provenance(
        "security_group", f"flows of {vnet.name} that were let begin, and the ICMP errors about them", _GROUPS
    )
    # A segment in the middle of an unknown flow must not make it a known one.
    yield Sysctl(place=place, key="net.netfilter.nf_conntrack_tcp_loose", value=0, why=begun)
    # Confirmed is what one packet was let through of; established would need an answer too.
    yield _forward(place, begun, Terminal("ACCEPT"), ctstatus="CONFIRMED")
    asks = Provenance("security_group", f"what VMs of {vnet.name} ask of their host", _HOST)
    yield _forward(place, asks, Terminal("ACCEPT"), destination=_PLATFORM)
    if not profile.nsg_filters_platform:
        asks = Provenance(
            "security_group", f"what the host asks of VMs of {vnet.name}", profile.sources["nsg_filters_platform"]
        )
        yield _forward(place, asks, Terminal("ACCEPT"), source=_PLATFORM)
    table, chain = where = _where(network, vnet)
    if table == "mangle":
        early = Provenance("security_group", f"what VMs of {vnet.name} send, before a frontend leads it on", _GROUPS)
        entry = _forward(place, early, Jump(chain))
        yield msgspec.structs.replace(entry, table=table, chain="PREROUTING")
        yield _at(where, place, begun, Terminal("RETURN"), ctstatus="CONFIRMED")
        yield _at(where, place, asks, Terminal("RETURN"), destination=_PLATFORM)
        yield from _tags(network, vnet, where)
    yield from _tags(network, vnet, ("filter", "FORWARD"))


def _tags(network: Network, vnet: VirtualNetwork, where: tuple[Table, str]) -> Iterator[Item]:
    """Yield what marks a packet with what its addresses are."""
    place = wiring.router(vnet)
    tags = Provenance("security_group", f"what the addresses of a packet are in {vnet.name}", _GROUPS)
    for prefix in security_groups.spaces(network, vnet):
        yield _at(where, place, tags, SetMark(FROM_VNET | NOT_FROM_INTERNET), source=str(prefix))
        yield _at(where, place, tags, SetMark(TO_VNET), destination=str(prefix))
    yield _at(where, place, tags, SetMark(NOT_FROM_INTERNET), source=_PLATFORM)


def _outbound(
    vnet: VirtualNetwork, asked: Mapping[str, tuple[Filter, ...]], where: tuple[Table, str]
) -> Iterator[Item]:
    """Yield the way out of VMs' interfaces: through their own groups, and then through their subnets'."""
    place = wiring.router(vnet)
    for vm, found in asked.items():
        for f in found:
            if f.on == "VM":
                why = Provenance("security_group", f"{f.group} on VM {vm}, outbound", _GROUPS)
                yield _at(where, place, why, Jump(_chain("Outbound", f.group)), in_interface=to(vm))
    for subnet, group in _subnets(vnet, asked):
        why = Provenance("security_group", f"{group} on subnet {subnet.name}, outbound", _GROUPS)
        yield _at(where, place, why, Jump(_chain("Outbound", group)), source=str(subnet.address_prefix))


def _inbound(network: Network, vnet: VirtualNetwork, asked: Mapping[str, tuple[Filter, ...]]) -> Iterator[Item]:
    """Yield the way into VMs: through their subnets' groups, and then through their own or what the SKU puts there."""
    place, floating = wiring.router(vnet), network.floating()
    for subnet, group in _subnets(vnet, asked):
        why = Provenance("security_group", f"{group} on subnet {subnet.name}, inbound", _GROUPS)
        yield _forward(place, why, Jump(_chain("Inbound", group)), destination=str(subnet.address_prefix))
        for guarded in network.running(vnet):
            # With floating IP the destination is the frontend's still; the VM is known by its wire.
            for address in floating.get(guarded.name, ()) if guarded.subnet == subnet.name else ():
                jump = Jump(_chain("Inbound", group))
                yield _forward(place, why, jump, out_interface=to(guarded.name), destination=f"{address}/32")
    source = {"VM": _GROUPS, "SKU": network.profile.sources["nsg_required_standard"]}
    for vm, found in asked.items():
        for f in found:
            if f.on != "subnet":
                why = Provenance("security_group", f"{f.group} on VM {vm}, inbound", source[f.on])
                yield _forward(place, why, Jump(_chain("Inbound", f.group)), out_interface=to(vm))


def _subnets(vnet: VirtualNetwork, asked: Mapping[str, tuple[Filter, ...]]) -> Iterator[tuple[Subnet, str]]:
    """Yield the subnets that have a group and VMs it guards.

    A subnet is known by its prefix: the router lets no wire carry another's address.
    """
    used = {f.group for found in asked.values() for f in found if f.on == "subnet"}
    for subnet in vnet.subnets:
        if subnet.network_security_group in used:
            yield subnet, subnet.network_security_group or ""


def _at(where: tuple[Table, str], place: str, why: Provenance, target: Target, **match: str) -> Rule:
    return msgspec.structs.replace(_forward(place, why, target, **match), table=where[0], chain=where[1])


def _forward(place: str, why: Provenance, target: Target, **match: str) -> Rule:
    return Rule(place=place, table="filter", chain="FORWARD", target=target, why=why, **match)  # type: ignore[arg-type]


def _chain(direction: Direction, group: str) -> str:
    # No group of a user's has a space or a slash in its name.
    return short(f"nsg-{_WAYS[direction]}/{group}".replace(" ", "-"), CHAIN_MAX)


# --- one rule of a group ----------------------------------------------------------------------


def _rule(vnet: VirtualNetwork, table: Table, chain: str, group: str, rule: SecurityRule) -> Iterator[Item]:
    """Yield a rule for each combination of what a security rule lists."""
    why = Provenance("security_group", f"{group}/{rule.name}, {rule.priority}", _GROUPS)
    source_ports = security_groups.merged_ports(rule.source_ports) or (None,)
    destination_ports = security_groups.merged_ports(rule.destination_ports) or (None,)
    has_ports = bool(rule.source_ports or rule.destination_ports)
    for protocol, source, theirs, destination, ours in product(
        _protocols(rule, has_ports=has_ports),
        rule.sources or (None,),
        source_ports,
        rule.destinations or (None,),
        destination_ports,
    ):
        bits = (_SOURCE_TAGS.get(source or "", _NO_TAG), _DESTINATION_TAGS.get(destination or "", _NO_TAG))
        value, mask = (first | second for first, second in zip(*bits, strict=True))
        yield Rule(
            place=wiring.router(vnet),
            table=table,
            chain=chain,
            source=_prefix(source),
            destination=_prefix(destination),
            protocol=protocol,
            source_ports=theirs,
            destination_ports=ours,
            mark=value if mask else None,
            mark_mask=mask or None,
            target=Terminal("RETURN" if rule.access == "Allow" else "DROP"),
            why=why,
        )


#: A tag as bits of the mark: their value, and which of them count.
_SOURCE_TAGS = {"VirtualNetwork": (FROM_VNET, FROM_VNET), "Internet": (0, NOT_FROM_INTERNET)}
_DESTINATION_TAGS = {"VirtualNetwork": (TO_VNET, TO_VNET), "Internet": (0, TO_VNET)}
_NO_TAG = (0, 0)


def _protocols(rule: SecurityRule, *, has_ports: bool) -> tuple[Literal["tcp", "udp", "icmp"] | None, ...]:
    """Return the protocols of a rule; ports make ``*`` TCP and UDP, since nothing else has any."""
    match rule.protocol:
        case "Tcp":
            return ("tcp",)
        case "Udp":
            return ("udp",)
        case "Icmp":
            return ("icmp",)
        case "*":
            return ("tcp", "udp") if has_ports else (None,)


def _prefix(address: str | None) -> str | None:
    """Return the prefix that a rule names; tags other than the platform's own are marks."""
    if address == "AzureLoadBalancer":
        return _PLATFORM
    return None if address in ("VirtualNetwork", "Internet") else address
