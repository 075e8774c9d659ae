"""Whether a flow arrives, and which rule of which security group decides: a prediction, made without any kernel.

A flow is followed as the documents describe its way: out of its VM, translated at the edge, led to a VM by the rule
that listens there, into that VM. What groups say on the way is ``security_groups.decisions``; nothing here knows how
any of it is enforced, so what is predicted can be held against the wire.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import product
from typing import Literal, TypeAlias

import msgspec

from lab.azure import outbound, peerings
from lab.azure.cloud_services import access_list, permits
from lab.azure.model import (
    PLATFORM_ADDRESS,
    PLATFORM_NETWORK,
    AclRule,
    Direction,
    InternetHost,
    LoadBalancingRule,
    NatGateway,
    Network,
    VirtualMachine,
    VirtualNetwork,
    listeners,
)
from lab.azure.security_groups import Decision, Groups, Packet
from lab.flow import PortRange
from lab.verify import experiment as ex

Protocol = Literal["tcp", "udp", "icmp"]
#: Allowed or denied by groups; ``NoWay``: no rule leads there, whatever groups say; ``Depends``: on the frontend,
#: the port or the member of a pool that the flow is given.
Access = Literal["Allow", "Deny", "NoWay", "Depends"]
#: The source ports of a flow that takes any: above what servers listen on.
EPHEMERAL = PortRange(1024, 65535)


class Service(msgspec.Struct, frozen=True, order=True):
    """A protocol and a port; ICMP has none."""

    protocol: Protocol
    port: int = 0

    def __str__(self) -> str:
        return "icmp" if self.protocol == "icmp" else f"{self.port}/{self.protocol}"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way that a flow may take: what was asked, where it ends, and what stops it if no group does.

    With both an end and an obstacle it arrives there, and is not answered.
    """

    decisions: tuple[Decision, ...] = ()
    end: str | None = None  # the node it arrives at, if it is let; the virtual network if its platform answers
    obstacle: str = ""

    @property
    def access(self) -> Access:
        """What becomes of the flow."""
        if any(decision.access == "Deny" for decision in self.decisions):
            return "Deny"
        return "NoWay" if self.end is None else "Allow"


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What is predicted of a flow."""

    sender: str
    to: str
    service: Service
    source: IPv4Address  # as the sender sends it
    source_port: int | None
    destination: IPv4Address | None  # None: the sender has no address to send to
    ways: tuple[Way, ...]

    @property
    def access(self) -> Access:
        """What becomes of the flow, on whichever way."""
        found = {way.access for way in self.ways}
        return found.pop() if len(found) == 1 else "Depends"

    @property
    def decision(self) -> Decision | None:
        """The decision that was the last word; None if no group was asked, or it depends."""
        last = {way.decisions[-1] if way.decisions else None for way in self.ways}
        return last.pop() if len(last) == 1 else None


def forecast(
    network: Network,
    sender: str,
    to: str,
    service: Service,
    *,
    source_port: int | None = None,
    down: frozenset[str] = frozenset(),
    broken: Mapping[frozenset[str], str] | None = None,
    groups: Groups | None = None,
) -> Forecast:
    """Predict what becomes of a flow from a node to a node or an address.

    ``source_port`` None: any. ``down``: members of pools that receive no new flows (``HealthCheck.key``).
    ``broken``: why no tunnel carries anything between two virtual networks. ``groups``: those of the network, for
    callers that ask more than once.

    Raises:
        KeyError: no such node.

    """
    destination = address_of(network, sender, to)
    vm, host = network.vm(sender), network.host(sender)
    trace = _Trace(network, service, down, groups or Groups(network), broken or {})
    ways: Iterable[Way]
    if vm is not None:
        source = network.way_out(vm, destination or PLATFORM_ADDRESS).private_ip_address
        if destination in vm.loopback_addresses:
            source = destination  # as a guest speaks with itself
    elif host is not None:
        source = host.address
    else:
        raise KeyError(sender)
    if vm is not None and vm.power_state != "Started":
        ways = [_off(vm)]
    elif destination is None:
        ways = [Way(obstacle=f"{to} has no address that {sender} can reach")]
    elif source == destination:
        ways = [Way(end=sender)]
    elif vm is not None:
        ways = trace.from_vm(vm, source_port, destination)
    else:
        ways = trace.over_the_internet([(source, source_port)], destination, ())
    return Forecast(
        sender=sender,
        to=to,
        service=service,
        source=source,
        source_port=source_port,
        destination=destination,
        ways=tuple(dict.fromkeys(ways)),
    )


def address_of(network: Network, sender: str, to: str) -> IPv4Address | None:
    """Return the address that a node reaches another at, None if it has none for it.

    Raises:
        KeyError: it is neither a node nor an address.

    """
    host, vm, from_vm = network.host(to), network.vm(to), network.vm(sender)
    if host is not None:
        return host.address
    if vm is None:
        try:
            return IPv4Address(to)
        except ValueError:
            raise KeyError(to) from None
    if from_vm is not None and joined(network, from_vm, vm):
        return vm.private_ip_address
    return vm.instance_public_ip.address if vm.instance_public_ip else None


def kinds(network: Network, predicted: Forecast, down: frozenset[str]) -> frozenset[str]:
    """Return the kinds of the servers that a flow may come to, at the ports that rules lead it to."""
    if predicted.destination is None:
        return frozenset()
    service, ends = predicted.service, {way.end for way in predicted.ways}
    vm = network.vm(predicted.sender)
    inside = home_of_frontend(network, vm, predicted.destination) if vm is not None else ""
    behind = _Trace(network, service, down, Groups(network)).behind(predicted.destination, inside)
    ports = {vm.name: port for vm, _, port in behind}
    nodes: list[VirtualMachine | InternetHost] = [*network.virtual_machines, *network.internet]
    return frozenset(
        server.kind
        for node in nodes
        if node.name in ends
        for server in listeners(node)
        if (server.protocol, server.port) == (service.protocol, ports.get(node.name, service.port))
    )


def behind(
    network: Network, service: Service, address: IPv4Address, down: frozenset[str], inside: str = ""
) -> tuple[tuple[VirtualMachine, IPv4Address, int], ...]:
    """Return the VMs that a public address leads to, and the address and port that a packet has there.

    ``inside``: that a private frontend of that virtual network leads to.
    """
    return tuple(_Trace(network, service, down, Groups(network)).behind(address, inside))


def unprobed(network: Network, groups: Groups | None = None) -> dict[str, Decision]:
    """Return the members of pools whose probe a security group denies, by ``HealthCheck.key``: they go down."""
    groups = groups or Groups(network)
    vms, found = {vm.name: vm for vm in network.virtual_machines}, {}
    for lb in network.balancers:
        for rule in lb.load_balancing_rules:
            probe = next((probe for probe in lb.probes if probe.name == rule.probe), None)
            for name in lb.targets(rule) if probe is not None else ():
                vm = vms.get(name)
                if vm is None or probe is None:
                    continue
                packet = Packet(
                    protocol="tcp",
                    source=PLATFORM_ADDRESS,
                    source_port=EPHEMERAL.first,
                    destination=vm.private_ip_address,
                    destination_port=probe.port,
                )
                denials = [d for d in groups.decisions(vm, "Inbound", packet) if d.access == "Deny"]
                if denials:
                    found[f"{lb.name}/{probe.name}/{name}"] = denials[0]
    return found


def home_of_frontend(network: Network, vm: VirtualMachine, address: IPv4Address) -> str:
    """Return the virtual network of the private frontend that a VM reaches at an address, "" if there is none."""
    own = network.virtual_network(vm.virtual_network)
    for _, frontend in network.private_frontends():
        if frontend.address == address:
            there = network.virtual_network(frontend.virtual_network)
            if there == own or (routed(network, own, address) and routed(network, there, vm.private_ip_address)):
                return there.name
    return ""


def home_of_address(network: Network, address: IPv4Address) -> VirtualNetwork | None:
    """Return the virtual network that a public address is led to."""
    for vnet in network.virtual_networks:
        own = (vm.instance_public_ip for vm in network.vms_of(vnet))
        frontends = (f for lb in network.load_balancers_of(vnet) for f in lb.frontends if not f.private)
        if any(one is not None and one.address == address for one in (*own, *frontends)):
            return vnet
    return None


def joined(network: Network, one: VirtualMachine, other: VirtualMachine) -> bool:
    """Tell whether two VMs have a way to each other's private address: in one network, by peering or by tunnel."""
    if one.virtual_network == other.virtual_network:
        return True
    first, second = (network.virtual_network(vm.virtual_network) for vm in (one, other))
    return routed(network, first, other.private_ip_address) and routed(network, second, one.private_ip_address)


def routed(network: Network, vnet: VirtualNetwork, address: IPv4Address) -> bool:
    """Tell whether an address is one of a network's own, of a peer or of what is behind a gateway."""
    return any(address in prefix for prefix in (*vnet.address_space, *peerings.reached(network, vnet)))


def between(network: Network, one: str, other: str, broken: Mapping[frozenset[str], str]) -> str:
    """Say why nothing passes between two networks that have a way to each other, "" if nothing is known of it."""
    if (link := peerings.link(network, one, other)) is not None:
        return "" if link.is_open else f"the peering of {one} with {other} has access off"
    homes = [
        [name, *(link.remote.name for link in peerings.links(network, vnet) if link.lends_gateway)]
        for name in (one, other)
        if (vnet := network.vnet(name)) is not None
    ]
    pairs = (frozenset(pair) for pair in product(*homes))
    return next((broken[pair] for pair in pairs if pair in broken), "")


def _off(vm: VirtualMachine, before: tuple[Decision, ...] = ()) -> Way:
    return Way(decisions=before, obstacle=f"{vm.name} is {vm.power_state.lower()}")


def _has(vm: VirtualMachine, address: IPv4Address | None) -> bool:
    return any(interface.private_ip_address == address for interface in vm.network_interfaces)


def _number(vm: VirtualMachine, address: IPv4Address) -> int:
    """Return the number of the interface with an address, 0 if none has it."""
    return vm.network_interfaces.index(vm.interface_with(address))


#: Where a flow comes from at some point of its way: the address, and the port if it is known.
_Source: TypeAlias = tuple[IPv4Address, int | None]


class _Trace:
    """The ways of one kind of flow through a network."""

    def __init__(
        self,
        network: Network,
        service: Service,
        down: frozenset[str],
        groups: Groups,
        broken: Mapping[frozenset[str], str] | None = None,
    ) -> None:
        self.network = network
        self.service = service
        self.down = down
        self.groups = groups
        self.broken = broken or {}

    def from_vm(self, vm: VirtualMachine, source_port: int | None, destination: IPv4Address) -> Iterator[Way]:
        """Yield the ways of a flow that a VM opens."""
        vnet = self.network.virtual_network(vm.virtual_network)
        own: _Source = (self.network.way_out(vm, destination).private_ip_address, source_port)
        for out in self.asked(vm, "Outbound", own, destination, self.service.port):
            if any(decision.access == "Deny" for decision in out):
                yield Way(decisions=out)
            elif destination == PLATFORM_ADDRESS:
                yield Way(decisions=out, end=vnet.name)
            elif home := home_of_frontend(self.network, vm, destination):
                yield from self.to_frontend(vm, own, destination, home, out)
            elif routed(self.network, vnet, destination):
                yield from self.to_private(vm, own, destination, out)
            elif (gateway := self.network.nat_gateway_of(vm.virtual_network, vm.subnet)) is not None:
                yield from self.by_gateway(gateway, destination, out)
            elif vm.instance_public_ip is not None:
                seen: _Source = (vm.instance_public_ip.address, source_port)
                yield from self.over_the_internet([seen], destination, out, vm)
            elif self.service.protocol == "icmp":
                yield Way(decisions=out, obstacle="what leaves by a shared address is TCP or UDP")
            else:
                protocol = self.service.protocol
                linked = [frontend.address for _, frontend in outbound.links(self.network, vm.name, protocol)]
                if not linked and not outbound.has_default(self.network, vm.name):
                    yield Way(decisions=out, obstacle=f"{vm.name} has no way out for {protocol.upper()}")
                    return
                frontends = linked or [vnet.default_outbound_address]
                yield from self.over_the_internet([(address, None) for address in frontends], destination, out, vm)

    def by_gateway(self, gateway: NatGateway, destination: IPv4Address, before: tuple[Decision, ...]) -> Iterator[Way]:
        """Yield the ways by a NAT gateway, which is no part of the load balancer: what returns is from outside."""
        if self.service.protocol == "icmp":
            yield Way(decisions=before, obstacle=f"NAT gateway {gateway.name} carries TCP and UDP")
        else:
            yield from self.over_the_internet([(a, None) for a in gateway.addresses], destination, before)

    def to_private(
        self, vm: VirtualMachine, own: _Source, destination: IPv4Address, before: tuple[Decision, ...]
    ) -> Iterator[Way]:
        """Yield the ways of a flow to a VM's private address, through a tunnel if it is another network's."""
        vms = self.network.virtual_machines
        targets = [v for v in vms if _has(v, destination) and joined(self.network, vm, v)]
        if not targets:
            yield Way(decisions=before, obstacle=f"no VM has {destination}")
        for target in targets:
            if reason := between(self.network, vm.virtual_network, target.virtual_network, self.broken):
                yield Way(decisions=before, obstacle=reason)
            else:
                yield from self.into(target, own, destination, self.service.port, before)

    def to_frontend(
        self, vm: VirtualMachine, own: _Source, destination: IPv4Address, home: str, before: tuple[Decision, ...]
    ) -> Iterator[Way]:
        """Yield the ways of a flow to a private frontend: to each member, which sees the sender's own address."""
        targets = list(self.behind(destination, home))
        reason = between(self.network, vm.virtual_network, home, self.broken)
        reason = reason or self.other_region(vm.virtual_network, home, destination)
        if reason or not targets:
            yield Way(decisions=before, obstacle=reason or self.silence(destination, home))
            return
        for target, at, port in targets:
            for way in self.into(target, own, at, port, before):
                if target == vm and way.end and not way.obstacle:
                    silent = f"{vm.name} is led to itself, and takes no packet that has its own address as its source"
                    yield msgspec.structs.replace(way, obstacle=silent if way.access == "Allow" else "")
                else:
                    yield way

    def other_region(self, sender: str, home: str, address: IPv4Address) -> str:
        """Say that a Basic load balancer is not reached through a peering with another region, "" if it is no such."""
        if peerings.link(self.network, sender, home) is None:
            return ""
        one, other = self.network.virtual_network(sender), self.network.virtual_network(home)
        found = (lb for lb, f in self.network.private_frontends() if (f.address, f.virtual_network) == (address, home))
        if one.location == other.location or all(lb.sku != "Basic" for lb in found):
            return ""
        return f"a Basic load balancer is not reached from another region, {one.location}"

    def over_the_internet(
        self,
        sources: Sequence[_Source],
        destination: IPv4Address,
        before: tuple[Decision, ...],
        opener: VirtualMachine | None = None,
    ) -> Iterator[Way]:
        """Yield the ways of a flow to a public address, from each of the sources it may be seen with.

        ``opener``: the VM that opens it.
        """
        host = next((h for h in self.network.internet if h.address == destination), None)
        if host is not None:
            yield Way(decisions=before, end=host.name)
            return
        targets = list(self.behind(destination))
        if not targets:
            yield Way(decisions=before, obstacle=self.silence(destination))
        rules = self.access_list(destination)
        for vm, at, port in targets:
            near = opener is not None and opener.virtual_network == vm.virtual_network
            for source in sources:
                # An access list is asked before a VM of the same network is translated.
                client = opener.private_ip_address if opener is not None and near else source[0]
                if permits(rules, client):
                    yield from self.into(vm, source, at, port, before)
                else:
                    yield Way(decisions=before, obstacle=f"the access list of {destination}, {self.service}, denies it")

    def silence(self, address: IPv4Address, inside: str = "") -> str:
        """Say why nothing answers at a public address: no rule leads anywhere from it, or no member is up."""
        members = list(_Trace(self.network, self.service, frozenset(), self.groups).behind(address, inside))
        vnets = (v for v in self.network.virtual_networks if v.name != PLATFORM_NETWORK)
        homes = (v.name for v in vnets if any(address in space for space in v.address_space))
        home = "" if inside or members else next(homes, "")
        if home:
            return f"{address} is a private address of {home}, which is reached from there or through a tunnel"
        if not members:
            return f"no rule leads anywhere from {address}, {self.service}"
        denied = unprobed(self.network, self.groups)
        names = {vm.name for vm, _, _ in members}
        rules = [f"{d.rule} of {d.group} denies the probe of {d.vm}" for d in denied.values() if d.vm in names]
        because = f": {', '.join(dict.fromkeys(rules))}" if rules else ""
        return f"no member behind {address}, {self.service}, is up{because}"

    def access_list(self, address: IPv4Address) -> tuple[AclRule, ...]:
        """Return who may use the endpoint of a VIP's address; empty: everybody."""
        listens = (self.service.protocol, self.service.port)
        for service in self.network.cloud_services:
            names = {vip.name for vip in service.virtual_ips if vip.address == address}
            for endpoint in service.endpoints:
                if endpoint.virtual_ip in names and (endpoint.protocol, endpoint.public_port) == listens:
                    return access_list(service, endpoint)
        return ()

    def behind(self, address: IPv4Address, inside: str = "") -> Iterator[tuple[VirtualMachine, IPv4Address, int]]:
        """Yield the VMs that a public address leads to, and the address and port that a packet has there.

        ``inside``: that a private frontend of that virtual network leads to.
        """
        vms = {vm.name: vm for vm in self.network.virtual_machines}
        for vm in vms.values():
            if vm.instance_public_ip is not None and vm.instance_public_ip.address == address:
                yield vm, vm.private_ip_address, self.service.port
        for lb in self.network.balancers:
            frontends = {f.name for f in lb.frontends if (f.address, f.virtual_network) == (address, inside)}
            for rule in lb.rules():
                if rule.frontend in frontends and rule.listens(self.service.protocol, self.service.port):
                    probe = rule.probe if isinstance(rule, LoadBalancingRule) else None
                    balanced = isinstance(rule, LoadBalancingRule)
                    there = (vms[m] for m in lb.targets(rule))
                    there = (vm for vm in there if not balanced or vm.power_state != "Deallocated")
                    up = [vm for vm in there if f"{lb.name}/{probe}/{vm.name}" not in self.down]
                    for vm in up:
                        yield (
                            vm,
                            address if rule.floating_ip else vm.private_ip_address,
                            rule.backend_port or self.service.port,
                        )

    def into(
        self, vm: VirtualMachine, source: _Source, address: IPv4Address, port: int, before: tuple[Decision, ...]
    ) -> Iterator[Way]:
        """Yield the last part of a flow's way: to a VM, by an address and port of its own or of a frontend."""
        if vm.power_state != "Started":
            yield _off(vm, before)
            return
        translated = _has(vm, address)
        end: str | None = vm.name
        silent = ""
        if not translated and source[0] in self.network.floating().get(vm.name, ()):
            # The network knows the way to such an address, and takes nothing from it that comes another way.
            silent, end = f"{vm.name} is to have {source[0]} itself, so nothing from there is led to it", None
        elif not translated and address not in vm.loopback_addresses:
            silent = f"{vm.name} does not have {address} on a loopback interface and does not answer"
        elif source[0] in vm.loopback_addresses:
            silent = f"{vm.name} has {source[0]} on a loopback interface and drops what comes from there"
        for found in self.asked(vm, "Inbound", source, address, port):
            is_let = all(decision.access == "Allow" for decision in found)
            yield Way(decisions=(*before, *found), end=end, obstacle=silent if is_let else "")

    def asked(
        self, vm: VirtualMachine, direction: Direction, source: _Source, destination: IPv4Address, port: int
    ) -> Iterator[tuple[Decision, ...]]:
        """Yield what a VM's groups say of a flow: once, or once for each answer that its source port may make."""
        address, known = source
        has_ports = self.service.protocol != "icmp"
        ports = {(known or EPHEMERAL.first) if has_ports else 0}
        if known is None and has_ports:
            ours = vm.interface_with(address if direction == "Outbound" else destination)
            asked = self.groups.filters(vm, direction, ours)
            ranges = [r for f in asked for rule in f.rules for r in rule.source_ports]
            ports |= {p for r in ranges for p in (r.first, r.last + 1) if p in EPHEMERAL}
        packets = (
            Packet(
                protocol=self.service.protocol,
                source=address,
                source_port=theirs,
                destination=destination,
                destination_port=port if has_ports else 0,
            )
            for theirs in sorted(ports)
        )
        yield from dict.fromkeys(self.groups.decisions(vm, direction, packet) for packet in packets)


# --- the same flows, on the wire --------------------------------------------------------------


def flow_of(network: Network, predicted: Forecast) -> ex.Flow:
    """Return the experiment that shows whether a flow arrives; its destination must be known."""
    vm = network.vm(predicted.sender)
    if vm is not None:
        start = ex.Watch("VM wire", vm.name, vm.virtual_network, _number(vm, predicted.source))
    else:
        start = ex.Watch("host wire", predicted.sender)
    passes = [start]
    targets = {d.vm for way in predicted.ways for d in way.decisions if d.direction == "Inbound"}
    for name in targets:
        target = network.vm(name)
        inside = vm is not None and target is not None and _has(target, predicted.destination)
        if vm is not None and predicted.destination is not None:
            inside = inside or bool(home_of_frontend(network, vm, predicted.destination))
        if target is not None and not inside:
            passes.append(ex.Watch("router", target.virtual_network))
    return ex.Flow(
        sender=predicted.sender,
        private=str(predicted.source),
        source_port=predicted.source_port or 0,
        destination=str(predicted.destination),
        protocol=predicted.service.protocol,
        port=predicted.service.port,
        passes=tuple(dict.fromkeys(passes)),
        ends=tuple(_ends(network, predicted)),
        awaited=predicted.access == "Allow",
    )


def _ends(network: Network, predicted: Forecast) -> Iterator[ex.Watch]:
    """Yield everywhere that a flow could arrive, let or not."""
    sender = network.vm(predicted.sender)
    if predicted.destination == PLATFORM_ADDRESS and sender is not None:
        yield ex.Watch("edge inside", sender.virtual_network)
    for host in network.internet:
        if host.address == predicted.destination:
            yield ex.Watch("node", host.name)
    running = [vm for vm in network.virtual_machines if vm.power_state == "Started"]
    for vm in running:
        own = vm.instance_public_ip.address if vm.instance_public_ip else None
        near = sender is not None and joined(network, sender, vm)
        if predicted.destination is not None and (
            predicted.destination == own or (near and _has(vm, predicted.destination))
        ):
            yield ex.Watch("node", vm.name, vm.virtual_network, _number(vm, predicted.destination))
    for lb in network.balancers:
        if any(frontend.address == predicted.destination for frontend in lb.frontends):
            members = lb.virtual_machines()
            yield from (ex.Watch("node", vm.name, vm.virtual_network) for vm in running if vm.name in members)
