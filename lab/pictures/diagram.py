"""What a picture of a network shows: boxes, cards and links, whatever language it is written in.

VMs that differ in name and address alone share a card, so that a picture of 300 VMs stays one that can be read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal

import msgspec

from lab.azure.model import (
    PLATFORM_NETWORK,
    InboundNatRule,
    LoadBalancingRule,
    Network,
    SecurityGroup,
    SecurityRule,
    Subnet,
    VirtualMachine,
    VirtualNetwork,
    natural,
)
from lab.azure.peerings import links, state
from lab.predict import routed
from lab.predict.outbound import WayOut

#: What a card or link stands for; a picture has a style for each.
Kind = Literal["vm", "host", "balancer", "gateway", "site", "group", "down", "rule", "tunnel", "peering", "broken"]

#: So many VMs that differ in name and address alone have a card each; more share one.
ALONE = 4
_LINES = 8  # of rules on one card
_LENGTH = 60  # of a line, in letters


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A resource: its name, and a few lines about it."""

    key: str
    kind: Kind
    title: str
    lines: tuple[str, ...] = ()


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A place that holds cards and boxes: the internet, a virtual network, a subnet."""

    key: str
    title: str
    cards: tuple[Card, ...] = ()
    boxes: tuple["Box", ...] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What leads from one card to another."""

    source: str
    target: str
    kind: Kind
    label: str = ""


class Diagram(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of a network."""

    title: str
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What a running lab knows beyond its file.

    ``down``: the pool members that a probe has taken out. ``tunnels``: the state of each, by virtual network and local
    network. ``ports``: SNAT ports in use and allocated, by VM.
    """

    down: frozenset[str] = frozenset()
    tunnels: Mapping[tuple[str, str], str] = {}
    ports: Mapping[str, tuple[int, int]] = {}


def diagram(network: Network, live: Live | None = None) -> Diagram:
    """Return the picture of a network; of a running lab with health, tunnels and SNAT ports in use."""
    return _Drawing(network, live or Live()).diagram()


class _Drawing:
    def __init__(self, network: Network, live: Live) -> None:
        self.network, self.live = network, live
        self.ways = {way.vm: way for way in routed.ways(network)}
        self.key_of: dict[str, str] = {}  # VM: the card that it is on

    def diagram(self) -> Diagram:
        inside = tuple(map(self.virtual_network, self.network.virtual_networks))
        outside = [Box(key="internet", title="Internet", cards=tuple(self.hosts()))] if self.network.internet else []
        balancers = Box(key="balancers", title="Load balancers", cards=tuple(self.balancers()))
        groups = Box(key="groups", title="Network security groups", cards=tuple(self.groups()))
        sites = Box(key="sites", title="Local networks", cards=tuple(self.sites()))
        boxes = [*outside, *(box for box in (balancers,) if box.cards), *inside]
        boxes += [box for box in (sites, groups) if box.cards]
        drawn = [*self.rules(), *self.tunnels(), *self.peerings()]
        return Diagram(title=self.network.name, boxes=tuple(boxes), links=tuple(drawn))

    # --- cards ---------------------------------------------------------------------------------

    def hosts(self) -> Iterator[Card]:
        for host in self.network.internet:
            lines = (str(host.address), *_wrapped(map(str, host.services)))
            yield Card(key=f"host {host.name}", kind="host", title=host.name, lines=lines)

    def balancers(self) -> Iterator[Card]:
        classic = {service.name for service in self.network.cloud_services}
        for lb in self.network.balancers:
            what = "cloud service" if lb.name in classic else f"{lb.sku} load balancer"
            frontends = [f"{f.name}: {f.address if lb.has_address(f) else 'no address'}" for f in lb.frontends]
            yield Card(key=f"lb {lb.name}", kind="balancer", title=lb.name, lines=(what, *_few(frontends)))

    def groups(self) -> Iterator[Card]:
        for group in self.network.network_security_groups:
            yield Card(key=f"nsg {group.name}", kind="group", title=group.name, lines=_few(_rules_of(group)))

    def sites(self) -> Iterator[Card]:
        ours = {gateway.address for gateway in self.network.vpn_gateways}
        for site in self.network.local_networks:
            if site.vpn_gateway_address not in ours:
                lines = (f"VPN device {site.vpn_gateway_address}", *map(str, site.address_space))
                yield Card(key=f"site {site.name}", kind="site", title=site.name, lines=lines)

    def virtual_network(self, vnet: VirtualNetwork) -> Box:
        title = "no virtual network" if vnet.name == PLATFORM_NETWORK else vnet.name
        space = "" if vnet.name == PLATFORM_NETWORK else "  " + ", ".join(map(str, vnet.address_space))
        gateway = self.network.gateway(vnet.name)
        cards = []
        if gateway is not None:
            lines = (str(gateway.address), f"{gateway.routing} routing, {gateway.sku}")
            cards.append(Card(key=f"gateway {vnet.name}", kind="gateway", title="VPN gateway", lines=lines))
        cards += self.nat_gateways(vnet)
        if vnet.peerings:
            halves = [f"{p.name}: {p.remote_virtual_network}, {state(self.network, vnet, p)}" for p in vnet.peerings]
            cards.append(Card(key=f"peerings {vnet.name}", kind="gateway", title="Peerings", lines=_few(halves)))
        subnets = tuple(box for box in (self.subnet(vnet, subnet) for subnet in vnet.subnets) if box is not None)
        return Box(key=f"vnet {vnet.name}", title=title + space, cards=tuple(cards), boxes=subnets)

    def nat_gateways(self, vnet: VirtualNetwork) -> Iterator[Card]:
        """Yield the NAT gateways of a virtual network's subnets; the titles of these name them."""
        used = {subnet.nat_gateway for subnet in vnet.subnets}
        for nat in self.network.nat_gateways:
            if nat.name in used:
                prefixes = map(str, (*nat.public_ip_addresses, *nat.public_ip_prefixes))
                yield Card(key=f"nat {nat.name}", kind="gateway", title=nat.name, lines=("NAT gateway", *prefixes))

    def subnet(self, vnet: VirtualNetwork, subnet: Subnet) -> Box | None:
        vms = [vm for vm in self.network.vms_of(vnet) if vm.subnet == subnet.name]
        if not vms and subnet.network_security_group is None and len(vnet.subnets) > 1:
            return None
        guard = f"  NSG {subnet.network_security_group}" if subnet.network_security_group else ""
        nat = f"  NAT gateway {subnet.nat_gateway}" if subnet.nat_gateway else ""
        title = "" if subnet.name == PLATFORM_NETWORK else f"{subnet.name}  {subnet.address_prefix}{guard}{nat}"
        return Box(key=f"subnet {vnet.name}/{subnet.name}", title=title, cards=tuple(self.machines(vms)))

    def machines(self, vms: Sequence[VirtualMachine]) -> Iterator[Card]:
        alike = sorted(vms, key=lambda vm: (self.traits(vm), natural(vm.name)))
        for _, same in groupby(alike, key=self.traits):
            members = list(same)
            sets = [members] if len(members) > ALONE else [[vm] for vm in members]
            for together in sets:
                key = f"vm {together[0].name}"
                self.key_of.update(dict.fromkeys((vm.name for vm in together), key))
                yield self.many(key, together) if len(together) > 1 else self.one(key, together[0])

    def traits(self, vm: VirtualMachine) -> tuple[str, ...]:
        """Return what two VMs that share a card have alike, as text that sorts."""
        led = sorted(
            f"{lb.name}/{r.name}" for lb in self.network.balancers for r in lb.rules() if vm.name in lb.targets(r)
        )
        way, state = self.ways[vm.name], "down" if vm.name in self.live.down else vm.power_state
        return (*led, way.kind, vm.network_security_group or "", state, *map(str, vm.services))

    def one(self, key: str, vm: VirtualMachine) -> Card:
        lines = [" ".join(str(i.private_ip_address) for i in vm.network_interfaces), *_seen(self.ways[vm.name], vm)]
        return Card(key=key, kind=self.kind(vm), title=vm.name, lines=(*lines, *self.common([vm])))

    def many(self, key: str, vms: Sequence[VirtualMachine]) -> Card:
        first, last = vms[0], vms[-1]
        addresses = sorted(vm.private_ip_address for vm in vms)
        seen = sorted({address for vm in vms for address in self.ways[vm.name].addresses})
        lines = [f"{len(vms)} VMs", f"{addresses[0]} to {addresses[-1]}"]
        if len(seen) == 1:
            lines.append(f"seen as {seen[0]}")
        elif seen:
            lines.append(f"seen as {len(seen)} addresses, {seen[0]} to {seen[-1]}")
        title = f"{first.name} … {last.name}"
        return Card(key=key, kind=self.kind(first), title=title, lines=(*lines, *self.common(vms)))

    def common(self, vms: Sequence[VirtualMachine]) -> Iterator[str]:
        """Yield the lines about what VMs of one card have alike, and the SNAT ports that they use together."""
        vm = vms[0]
        yield from _wrapped(map(str, vm.services))
        if vm.network_security_group:
            yield f"NSG {vm.network_security_group}"
        if vm.power_state != "Started":
            yield vm.power_state
        if vm.name in self.live.down:
            yield "down, by its probe"
        counts = [self.live.ports[one.name] for one in vms if one.name in self.live.ports]
        if counts:
            used, allocated = (sum(column) for column in zip(*counts, strict=True))
            yield f"{used:,} of {allocated:,} SNAT ports used"

    def kind(self, vm: VirtualMachine) -> Kind:
        return "down" if vm.name in self.live.down or vm.power_state != "Started" else "vm"

    # --- links ---------------------------------------------------------------------------------

    def rules(self) -> Iterator[Link]:
        """Yield a link from each load balancer to each card that its rules lead to; the rules are its label."""
        for lb in self.network.balancers:
            found: dict[str, list[str]] = {}
            for rule in lb.rules():
                for key in dict.fromkeys(self.key_of[name] for name in lb.targets(rule)):
                    found.setdefault(key, []).append(_rule(rule))
            for outward in lb.outbound_rules:
                for key in dict.fromkeys(self.key_of[name] for name in lb.pool(outward.backend_pool).members):
                    found.setdefault(key, []).append(f"{outward.name}: outbound")
            for key, labels in found.items():
                label = "\n".join(_few([*dict.fromkeys(labels)], 3))
                yield Link(source=f"lb {lb.name}", target=key, kind="rule", label=label)

    def tunnels(self) -> Iterator[Link]:
        seen = set()
        home = {gateway.address: f"gateway {gateway.virtual_network}" for gateway in self.network.vpn_gateways}
        for connection in self.network.connections:
            site = self.network.local_network(connection.local_network)
            ends = (
                f"gateway {connection.virtual_network}",
                home.get(site.vpn_gateway_address, f"site {site.name}"),
            )
            if self.network.gateway(connection.virtual_network) is None or frozenset(ends) in seen:
                continue
            seen.add(frozenset(ends))
            state = self.live.tunnels.get((connection.virtual_network, connection.local_network), "")
            broken = bool(state) and state != "Connected"
            label = f"IPsec\n{state}" if state else "IPsec"
            yield Link(source=ends[0], target=ends[1], kind="broken" if broken else "tunnel", label=label)

    def peerings(self) -> Iterator[Link]:
        """Yield a link for each peering that is connected."""
        for vnet in self.network.virtual_networks:
            for link in links(self.network, vnet):
                if vnet.name < link.remote.name:
                    label = "peering" if link.is_open else "peering\naccess is off"
                    ends = (f"peerings {vnet.name}", f"peerings {link.remote.name}")
                    yield Link(source=ends[0], target=ends[1], kind="peering", label=label)


def _seen(way: WayOut, vm: VirtualMachine) -> Iterator[str]:
    """Yield the addresses that a VM is seen with, and its own public IP where that is for what comes in alone."""
    for address in way.addresses:
        yield f"seen as {address}"
    own = vm.instance_public_ip
    if own is not None and own.address not in way.addresses:
        yield f"reached at {own.address}"


def _rule(rule: LoadBalancingRule | InboundNatRule) -> str:
    """Return a rule in a few words."""
    ports = f"{rule.protocol} {rule.frontend_port} → {rule.backend_port}" if rule.frontend_port else "all ports"
    probe = f", probe {rule.probe}" if isinstance(rule, LoadBalancingRule) and rule.probe else ""
    return _clipped(f"{rule.name}: {ports}{probe}")


def _rules_of(group: SecurityGroup) -> list[str]:
    ordered = sorted(group.rules, key=lambda rule: (rule.direction, rule.priority))
    return [_clipped(_security_rule(rule)) for rule in ordered]


def _security_rule(rule: SecurityRule) -> str:
    sources, targets = ",".join(rule.sources) or "any", ",".join(rule.destinations) or "any"
    ports = ",".join(map(str, rule.destination_ports)) or "any port"
    way = "in" if rule.direction == "Inbound" else "out"
    return f"{rule.priority} {way} {rule.access}: {sources} → {targets} {rule.protocol} {ports}"


def _clipped(text: str) -> str:
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def _few(lines: Sequence[str], most: int = _LINES) -> tuple[str, ...]:
    """Return so many lines at most, and how many are left out."""
    return tuple(lines) if len(lines) <= most else (*lines[: most - 1], f"and {len(lines) - most + 1} more")


def _wrapped(words: Iterable[str]) -> tuple[str, ...]:
    """Return words in lines of three at most."""
    every = list(words)
    return _few([", ".join(every[at : at + 3]) for at in range(0, len(every), 3)], 3)
