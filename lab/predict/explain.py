"""The way of a flow's first packet, hop by hop: what it looks like there, what decides, and which document says so.

Whether it arrives is ``forecast``'s answer, the address it is seen with ``outbound``'s. Here both are told along the
way, in an order in which each hop can be held against a capture.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from lab.azure import peerings
from lab.azure.cloud_services import access_list
from lab.azure.model import (
    PLATFORM_ADDRESS,
    Direction,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
    VirtualNetwork,
)
from lab.azure.security_groups import STANDARD, Decision
from lab.flow import PortRange
from lab.predict import answer, documents, forecast, reaction
from lab.predict.forecast import EPHEMERAL, Forecast, Service
from lab.predict.outbound import Outbound, WayOut, rule_at
from lab.verify import experiment as ex

HopType = Literal[
    "Source",
    "VirtualNetwork",
    "VirtualNetworkPeering",
    "VirtualNetworkGateway",
    "NatGateway",
    "PublicLoadBalancer",
    "InternalLoadBalancer",
    "PublicIPAddress",
    "Internet",
    "Destination",
]
NextHopType = Literal["VnetLocal", "VNetPeering", "VirtualNetworkGateway", "Internet", "None"]
IssueType = Literal["NetworkSecurityRule", "Platform", "GuestFirewall"]
#: What stands for every address outside that the topology does not name.
INTERNET = answer.INTERNET
_DISTRIBUTIONS = {
    "Default": "by a hash of addresses, ports and protocol",
    "SourceIP": "by a hash of the two addresses",
    "SourceIPProtocol": "by a hash of the two addresses and the protocol",
}


class End(msgspec.Struct, frozen=True):
    """One end of a packet: an address, and the ports it may have there; None: it has none."""

    address: IPv4Address
    ports: PortRange | None
    kept: bool = False  # the port is the one that the sender has chosen

    def __str__(self) -> str:
        if self.ports is None:
            return str(self.address)
        one = self.ports.first == self.ports.last
        return f"{self.address}:{self.ports.first if one else f'{self.ports.first}-{self.ports.last}'}"

    def is_of(self, address: str, port: int, chosen: int | None = None) -> bool:
        """Tell whether what was seen is this end; ``chosen``: the port that the sender has chosen."""
        is_kept = not self.kept or chosen is None or port == chosen
        return str(self.address) == address and (self.ports is None or (port in self.ports and is_kept))


class Packet(msgspec.Struct, frozen=True):
    """What a packet looks like somewhere: one of the sources, and one of the destinations."""

    sources: tuple[End, ...]
    destinations: tuple[End, ...]
    protocol: str

    def __str__(self) -> str:
        either = (" or ".join(dict.fromkeys(map(str, ends))) or "?" for ends in (self.sources, self.destinations))
        return " -> ".join(either) + f" {self.protocol}"

    def is_like(self, seen: ex.Seen, chosen: int | None = None) -> bool:
        """Tell whether a packet that was seen looks like this; ``chosen``: the source port that its sender chose."""
        return any(end.is_of(seen.source, seen.source_port, chosen) for end in self.sources) and any(
            end.is_of(seen.destination, seen.destination_port) for end in self.destinations
        )


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What decides something at a hop, and the document behind it."""

    name: str
    says: str
    document: str
    stops: bool = False  # what it is for goes no further, on one way at least
    issue: IssueType = "Platform"
    decision: Decision | None = None


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """A place on the way: the packet as it comes there, and what decides where it goes next."""

    type: HopType
    name: str
    packet: Packet
    rules: tuple[Rule, ...] = ()
    next_hop_type: NextHopType = "None"
    watch: ex.Watch | None = None  # where its coming is seen; None: it comes from here, or no capture reads it


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A flow, explained."""

    predicted: Forecast
    hops: tuple[Hop, ...]
    way_out: WayOut | None  # of a VM that opens a flow to a public address
    answer: tuple[str, ...]
    not_otherwise: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def connection(self) -> reaction.Connection:
        """Whether it is answered."""
        return reaction.connection(self.predicted)


def with_internet(network: Network, *names: str) -> Network:
    """Return a network with a host that stands for the internet, if that is named and no node is called so."""
    if INTERNET not in names or network.host(INTERNET) or network.vm(INTERNET):
        return network
    taken = {address for address, _ in network.public_addresses()}
    named = [p for g in network.network_security_groups for r in g.rules for p in (*r.sources, *r.destinations)]
    candidates = (IPv4Address(f"{first}.{first}.{first}.{first}") for first in (8, 9, 4, 1, 12, 20, 52, 90))
    address = next(a for a in candidates if a not in taken and f"{a}/32" not in named)
    return msgspec.structs.replace(network, internet=(*network.internet, InternetHost(name=INTERNET, address=address)))


def explain(
    network: Network,
    sender: str,
    to: str,
    service: Service,
    *,
    source_port: int | None = None,
    down: frozenset[str] = frozenset(),
    broken: Mapping[frozenset[str], str] | None = None,
    outbound: Outbound | None = None,
) -> Explanation:
    """Explain a flow from a node to a node or an address; ``down`` and ``broken`` are ``forecast``'s.

    Raises:
        KeyError: no such node.

    """
    predicted = forecast.forecast(network, sender, to, service, source_port=source_port, down=down, broken=broken)
    walk = _Walk(network, predicted, down, broken or {}, outbound or Outbound(network))
    walk.go()
    told = answer.Answer(network, predicted, walk.way_out, walk.outbound)
    return Explanation(
        predicted=predicted,
        hops=tuple(walk.hops),
        way_out=walk.way_out,
        answer=tuple(told.lines(walk.sources)),
        not_otherwise=tuple(told.not_otherwise()),
        changes=tuple(dict.fromkeys(told.changes())),
    )


class _Walk:
    """The hops of one flow, gathered from its start."""

    def __init__(
        self,
        network: Network,
        predicted: Forecast,
        down: frozenset[str],
        broken: Mapping[frozenset[str], str],
        outbound: Outbound,
    ) -> None:
        self.network = network
        self.predicted = predicted
        self.down = down
        self.broken = broken
        self.outbound = outbound
        self.hops: list[Hop] = []
        self.way_out: WayOut | None = None
        port = predicted.source_port
        ports = None if predicted.service.protocol == "icmp" else PortRange(port, port) if port else EPHEMERAL
        self.sources: tuple[End, ...] = (End(predicted.source, ports, kept=True),)

    # --- the way -----------------------------------------------------------------------------

    def go(self) -> None:
        """Walk as far as the flow comes."""
        vm, host, destination = (
            self.network.vm(self.predicted.sender),
            self.network.host(self.predicted.sender),
            self.predicted.destination,
        )
        if destination is None or (vm is not None and vm.power_state != "Started"):
            self.add("Source", self.predicted.sender, destination or (), [self.obstacle()])
        elif self.predicted.source == destination:
            itself = Rule(name="loopback", says="its own address, which no wire sees", document=documents.INTERFACES)
            self.add("Source", self.predicted.sender, destination, [itself])
        elif vm is not None:
            self.from_vm(vm, destination)
        elif host is not None:
            self.add("Source", host.name, destination, [self.route("Internet", "0.0.0.0/0")], following="Internet")
            self.over_the_internet(destination, ex.Watch("host wire", host.name))

    def from_vm(self, vm: VirtualMachine, destination: IPv4Address) -> None:
        """Walk out of a VM."""
        vnet = self.network.virtual_network(vm.virtual_network)
        interface = vm.network_interfaces.index(vm.interface_with(self.predicted.source))
        wire = ex.Watch("VM wire", vm.name, vnet.name, interface)
        following, inside = self.following(vnet, destination)
        route = self.route(following, str(inside or "0.0.0.0/0"))
        self.add("Source", vm.name, destination, [route], following=following)
        rules = list(self.groups(vm, "Outbound"))
        if self.stopped(rules):
            self.add("VirtualNetwork", vnet.name, destination, rules, watch=wire)
        elif destination == PLATFORM_ADDRESS:
            says = "the platform's own address answers; what a VM asks of it is never filtered"
            rules = [Rule(name="platform", says=says, document=documents.PLATFORM)]
            self.add("VirtualNetwork", vnet.name, destination, rules, watch=wire)
            self.add("Destination", "platform", destination, watch=ex.Watch("edge inside", vnet.name))
        elif home := forecast.home_of_frontend(self.network, vm, destination):
            self.to_frontend(vnet, home, destination, rules, wire)
        elif inside is not None:
            self.to_private(vnet, destination, rules, wire, following)
        else:
            self.add("VirtualNetwork", vnet.name, destination, rules, watch=wire, following="Internet")
            self.to_public(vm, vnet, destination)

    def following(self, vnet: VirtualNetwork, destination: IPv4Address) -> tuple[NextHopType, IPv4Network | None]:
        """Return where a network's routes lead next, and the range that they have for it; None: all that is left."""
        ways: tuple[tuple[NextHopType, Iterable[IPv4Network]], ...] = (
            ("VnetLocal", vnet.address_space),
            ("VNetPeering", (p for link in peerings.links(self.network, vnet) for p in link.remote.address_space)),
            ("VirtualNetworkGateway", peerings.reached(self.network, vnet)),
        )
        found = ((kind, prefix) for kind, prefixes in ways for prefix in prefixes if destination in prefix)
        return next(found, ("Internet", None))

    def by_peering(self, vnet: VirtualNetwork, far: str, destination: IPv4Address) -> ex.Watch:
        """Walk through a peering; return where what comes out of it is seen."""
        link = peerings.link(self.network, vnet.name, far)
        assert link is not None
        watch = ex.Watch("peering inside", far, vnet.name)
        says = f"{link.own.name} of {vnet.name} and {link.theirs.name} of {far}: Connected"
        rule = Rule(name=link.own.name, says=says, document=documents.PEERING)
        if not link.is_open:
            rule = msgspec.structs.replace(self.obstacle(), document=documents.PEERING)
        seen = watch if link.own.allow_virtual_network_access else None
        self.add("VirtualNetworkPeering", link.own.name, destination, [rule], watch=seen, following="VNetPeering")
        return watch

    def to_private(
        self, vnet: VirtualNetwork, destination: IPv4Address, rules: list[Rule], wire: ex.Watch, following: NextHopType
    ) -> None:
        """Walk to a private address, through a tunnel if it is another network's."""
        targets = [
            (vm, destination, self.predicted.service.port)
            for vm in self.network.virtual_machines
            if any(i.private_ip_address == destination for i in vm.network_interfaces)
            and (following == "VnetLocal") == (vm.virtual_network == vnet.name)
        ]
        if not targets:
            self.add("VirtualNetwork", vnet.name, destination, [*rules, self.obstacle()], watch=wire)
        elif following == "VnetLocal":
            self.into(targets, wire, rules)
        else:
            self.add("VirtualNetwork", vnet.name, destination, rules, watch=wire, following=following)
            came = self.across(vnet, targets[0][0].virtual_network, destination)
            if came is not None:
                self.into(targets, came)

    def across(self, vnet: VirtualNetwork, far: str, destination: IPv4Address) -> ex.Watch | None:
        """Walk to another network, by peering or by tunnel; return where it is seen to come in, None: it does not."""
        if peerings.link(self.network, vnet.name, far) is not None:
            watch = self.by_peering(vnet, far, destination)
        else:
            watch = ex.Watch("gateway inside", far)
            if forecast.between(self.network, vnet.name, far, self.broken):
                self.add("VirtualNetworkGateway", vnet.name, destination, [self.obstacle()])
                return None
            for name, says in ((vnet.name, f"encrypted, to the gateway of {far}"), (far, "decrypted")):
                tunnel = Rule(name="tunnel", says=says, document=documents.TUNNELS)
                here = ex.Watch("gateway", name)
                self.add(
                    "VirtualNetworkGateway", name, destination, [tunnel], watch=here, following="VirtualNetworkGateway"
                )
        return None if self.stopped(list(self.hops[-1].rules)) else watch

    def to_frontend(
        self, vnet: VirtualNetwork, home: str, destination: IPv4Address, rules: list[Rule], wire: ex.Watch
    ) -> None:
        """Walk to a private frontend, through a tunnel if it is another network's, and on to a member."""
        if home != vnet.name:
            following = self.following(vnet, destination)[0]
            self.add("VirtualNetwork", vnet.name, destination, rules, watch=wire, following=following)
            came = self.across(vnet, home, destination)
            if came is None:
                return
            rules, wire = [], came
        rules = [*rules, *self.listening(destination, home)]
        name = reaction.frontend_at(self.network, home, destination)
        self.add("InternalLoadBalancer", name, destination, rules, watch=wire, following="VnetLocal")
        if not self.stopped(rules):
            self.into(forecast.behind(self.network, self.predicted.service, destination, self.down, home), None)

    def to_public(self, vm: VirtualMachine, vnet: VirtualNetwork, destination: IPv4Address) -> None:
        """Walk to a public address: what leaves is translated."""
        self.way_out = way_out = self.outbound.of(vm)
        protocol = self.predicted.service.protocol
        if way_out.kind == "NAT gateway":
            self.by_gateway(vm, vnet, destination, way_out)
            return
        watch = ex.Watch("edge inside", vnet.name)
        if not way_out.of(protocol) or (protocol == "icmp" and way_out.kind != "instance-level public IP"):
            lost = self.obstacle()
            if protocol != "icmp":
                lost = msgspec.structs.replace(lost, document=way_out.document)
            self.add("PublicLoadBalancer", f"edge of {vnet.name}", destination, [lost], watch=watch)
            return
        kind: HopType = "PublicLoadBalancer" if way_out.kind == "load balancer" else "PublicIPAddress"
        name = f"edge of {vnet.name}"
        after = tuple(
            End(s.address, s.ports or self.sources[0].ports, kept=s.ports is None) for s in way_out.of(protocol)
        )
        bound_by = list(dict.fromkeys(bound for supply in way_out.of(protocol) for bound in supply.bound_by))
        says = f"{', '.join(bound_by)}: the source becomes {' or '.join(map(str, after))}"
        rules = [Rule(name=bound_by[0], says=says, document=way_out.document)]
        home = forecast.home_of_address(self.network, destination)
        if home is not None and home.name == vnet.name:
            rules += self.listening(destination)
            self.add(kind, name, destination, rules, watch=watch)
            if not self.stopped(rules):
                self.sources = after
                targets = forecast.behind(self.network, self.predicted.service, destination, self.down)
                self.into(targets, ex.Watch("router", vnet.name))
            return
        self.add(kind, name, destination, rules, watch=watch, following="Internet")
        self.sources = after
        self.over_the_internet(destination, ex.Watch("public wire", vnet.name))

    def by_gateway(self, vm: VirtualMachine, vnet: VirtualNetwork, destination: IPv4Address, way_out: WayOut) -> None:
        """Walk out by the NAT gateway of a VM's subnet: beside the load balancer, whose addresses are outside too."""
        gateway = self.network.nat_gateway_of(vnet.name, vm.subnet)
        assert gateway is not None
        watch = ex.Watch("NAT gateway inside", gateway.name, vnet.name)
        if self.predicted.service.protocol == "icmp":
            lost = msgspec.structs.replace(self.obstacle(), document=way_out.document)
            self.add("NatGateway", gateway.name, destination, [lost], watch=watch)
            return
        after = tuple(End(supply.address, supply.ports) for supply in way_out.supplies)
        says = f"{way_out.reason}: the source becomes {' or '.join(map(str, after))}"
        rules = [Rule(name=way_out.reason, says=says, document=way_out.document)]
        self.add("NatGateway", gateway.name, destination, rules, watch=watch, following="Internet")
        self.sources = after
        self.over_the_internet(destination, ex.Watch("NAT gateway wire", gateway.name))

    def over_the_internet(self, destination: IPv4Address, watch: ex.Watch) -> None:
        """Walk to a public address from the internet."""
        host = next((h for h in self.network.internet if h.address == destination), None)
        if host is not None:
            self.add("Internet", "internet", destination, [self.route("Internet", str(destination))], watch=watch)
            self.add("Destination", host.name, destination, watch=ex.Watch("node", host.name))
            return
        home = forecast.home_of_address(self.network, destination)
        if home is None:
            self.add("Internet", "internet", destination, [self.obstacle()], watch=watch)
            return
        self.add("Internet", "internet", destination, [self.route("Internet", str(destination))], watch=watch)
        rules = list(self.listening(destination))
        own = any(
            vm.instance_public_ip and vm.instance_public_ip.address == destination for vm in self.network.vms_of(home)
        )
        kind: HopType = "PublicIPAddress" if own else "PublicLoadBalancer"
        self.add(kind, f"edge of {home.name}", destination, rules, watch=ex.Watch("edge", home.name))
        if not self.stopped(rules):
            targets = forecast.behind(self.network, self.predicted.service, destination, self.down)
            self.into(targets, ex.Watch("router", home.name))

    def into(
        self,
        targets: "tuple[tuple[VirtualMachine, IPv4Address, int], ...] | list[tuple[VirtualMachine, IPv4Address, int]]",
        watch: ex.Watch | None,
        before: list[Rule] | None = None,
    ) -> None:
        """Walk into the VMs that a flow may be led to: one router, and then any of them."""
        vnet = targets[0][0].virtual_network
        has_ports = self.predicted.service.protocol != "icmp"
        ends = {vm.name: End(at, PortRange(port, port) if has_ports else None) for vm, at, port in targets}
        rules = [*(before or []), *(rule for vm, _, _ in targets for rule in self.groups(vm, "Inbound"))]
        lets = {way.end for way in self.predicted.ways if way.access == "Allow"}
        arrive = [vm for vm, _, _ in targets if vm.name in lets]
        if not arrive and not self.stopped(rules):
            rules.append(self.obstacle())
        self.add("VirtualNetwork", vnet, tuple(ends.values()), rules, watch=watch, following="VnetLocal")
        for vm in arrive:
            interface = next(
                (n for n, i in enumerate(vm.network_interfaces) if i.private_ip_address == ends[vm.name].address), 0
            )
            silent = [w.obstacle for w in self.predicted.ways if w.end == vm.name and w.obstacle]
            guest = [
                Rule(name="guest", says=text, document=self.of_guest(vm), issue="GuestFirewall") for text in silent[:1]
            ]
            self.add("Destination", vm.name, (ends[vm.name],), guest, watch=ex.Watch("node", vm.name, vnet, interface))

    # --- what decides ------------------------------------------------------------------------

    def add(
        self,
        kind: HopType,
        name: str,
        to: "IPv4Address | tuple[End, ...]",
        rules: "list[Rule] | tuple[Rule, ...]" = (),
        *,
        watch: ex.Watch | None = None,
        following: NextHopType = "None",
    ) -> None:
        """Add a hop, where the packet comes with the source it has by now."""
        port = self.predicted.service.port
        ports = None if self.predicted.service.protocol == "icmp" else PortRange(port, port)
        destinations = (End(to, ports),) if isinstance(to, IPv4Address) else to
        packet = Packet(self.sources, destinations, self.predicted.service.protocol)
        hop = Hop(type=kind, name=name, packet=packet, rules=tuple(rules), next_hop_type=following, watch=watch)
        self.hops.append(hop)

    def route(self, following: NextHopType, prefix: str) -> Rule:
        """Return the system route that a flow takes."""
        return Rule(name="System Route", says=f"{prefix} to {following}", document=documents.INTERFACES)

    def of_guest(self, vm: VirtualMachine) -> str:
        """Return the document that says why a guest does not answer what arrives: floating IP, or its own packet."""
        return documents.HAIRPIN if vm.name == self.predicted.sender else documents.ENDPOINTS

    def obstacle(self) -> Rule:
        """Return what stops a flow that no group stops."""
        said = dict.fromkeys(way.obstacle for way in self.predicted.ways if way.obstacle)
        return Rule(name="no way", says="; ".join(said) or "no rule leads on", document=documents.OUTBOUND, stops=True)

    def stopped(self, rules: list[Rule]) -> bool:
        """Tell whether rules stop a flow on every way."""
        return any(rule.stops for rule in rules) and not any(way.access == "Allow" for way in self.predicted.ways)

    def groups(self, vm: VirtualMachine, direction: Direction) -> Iterator[Rule]:
        """Yield what the groups of a VM say of the flow."""
        found = dict.fromkeys(
            d for way in self.predicted.ways for d in way.decisions if (d.vm, d.direction) == (vm.name, direction)
        )
        document = self.network.profile.sources["nsg_priority"]
        for decision in found:
            group = "the Standard SKU" if decision.group == STANDARD else f"group {decision.group}"
            says = f"{decision.access} {direction.lower()} at {vm.name} by rule {decision.rule} of {group}"
            yield Rule(
                name=decision.rule,
                says=f"{says}, priority {decision.priority}",
                document=document,
                stops=decision.access == "Deny",
                issue="NetworkSecurityRule",
                decision=decision,
            )
        if not found:
            says = f"no security group is asked {direction.lower()} at {vm.name}: allowed"
            yield Rule(name="no group", says=says, document=document)

    def listening(self, address: IPv4Address, inside: str = "") -> Iterator[Rule]:
        """Yield what listens at a public address: an access list, and the rule that leads to a VM.

        ``inside``: at a private address of that virtual network.
        """
        service = self.predicted.service
        own = next(
            (
                v
                for v in self.network.virtual_machines
                if v.instance_public_ip and v.instance_public_ip.address == address
            ),
            None,
        )
        if own is not None:
            says = f"public IP of {own.name}: the destination becomes {own.private_ip_address}, the port stays"
            yield Rule(name=f"public IP of {own.name}", says=says, document=documents.OUTBOUND)
            return
        found = rule_at(self.network, address, service.protocol, service.port, inside)
        targets = forecast.behind(self.network, service, address, self.down, inside)
        if found is None or not targets:
            document = documents.INTERNAL if inside else documents.SOURCE_IP
            yield msgspec.structs.replace(self.obstacle(), document=document)
            return
        lb, rule = found
        yield from self.listed(lb, rule.frontend, service)
        names = [vm.name for vm, _, _ in targets]
        way = (
            f", {_DISTRIBUTIONS[rule.load_distribution]}"
            if isinstance(rule, LoadBalancingRule) and len(names) > 1
            else ""
        )
        kind = self.outbound.word(lb, "rule" if isinstance(rule, LoadBalancingRule) else "NAT rule")
        ends = ", ".join(f"{vm.name} ({at}:{port})" for vm, at, port in targets[:8]) + (", …" if len(names) > 8 else "")
        document = documents.ENDPOINTS if lb.name in self.outbound.classic else documents.SOURCE_IP
        document = documents.INTERNAL if inside else document
        yield Rule(name=rule.name, says=f"{kind} {rule.name} of {lb.name} leads to {ends}{way}", document=document)

    def listed(self, lb: LoadBalancer, frontend: str, service: Service) -> Iterator[Rule]:
        """Yield what the access list of an endpoint says."""
        cloud_service = self.network.cloud_service(lb.name)
        denied = [w.obstacle for w in self.predicted.ways if "access list" in w.obstacle]
        for endpoint in cloud_service.endpoints if cloud_service else ():
            there = (endpoint.virtual_ip, endpoint.protocol, endpoint.public_port)
            if cloud_service and there == (frontend, service.protocol, service.port):
                if access_list(cloud_service, endpoint):
                    says = denied[0] if denied else f"the access list of endpoint {endpoint.name} permits it"
                    name = f"ACL of {endpoint.name}"
                    yield Rule(name=name, says=says, document=documents.ACCESS_LISTS, stops=bool(denied))
                return
