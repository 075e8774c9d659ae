"""What leaves a subnet with a NAT gateway for a public address: by one of the gateway's addresses, with a port of it.

Owns the way from the router to each gateway and from there to the internet, beside the load balancer; which ports are
given out, and how long flows may be idle. A gateway has a place of its own, so that its timers are its own. The ports
of all of its addresses are for all VMs of its subnets, as they come (nat-gateway-resource.md, 2023-07-10).

At the router what is for a private address goes as ever; of all else, what comes from a subnet with a gateway asks a
table of its own for the way. Flows that came in by the load balancer are marked when they come, and their answers go
back there: a gateway is for flows that begin inside.

A segment of a TCP flow that the gateway does not know is answered with a reset, to its sender alone, from whichever
side it comes. What would begin a flow from outside is lost in silence.
"""

from collections.abc import Iterator
from math import ceil

from lab.azure import places
from lab.azure.model import PLATFORM_ADDRESS, NatGateway, Network, Subnet, VirtualNetwork
from lab.flow import Transport
from lab.path import wiring
from lab.path.marks import CAME_IN
from lab.plan import (
    CtTarget,
    DropFragments,
    FlowMark,
    Item,
    Namespace,
    Policy,
    Provenance,
    Queue,
    Reset,
    Route,
    RoutingRule,
    Rule,
    SetMark,
    SnatPolicy,
    SnatPool,
    SnatRange,
    Sysctl,
    Terminal,
    VethPair,
)
from lab.plan import interface_to as to

_SOURCE = "nat-gateway-resource.md (2023-07-10)"
_FIRST = "nat-gateway-resource.md (2022-02-25): it supersedes load balancers and instance-level public IPs"
_RESETS = _SOURCE + ": TCP reset"
_PROTOCOLS: tuple[Transport, ...] = ("tcp", "udp")
_LAST_PORT = 65535
#: Of the routing rules, after those of flows with a mark of their own: answers, what is private, what has a gateway.
_ANSWERS, _PRIVATE, _GATEWAYS = 1300, 1400, 1500
_MAIN, _FIRST_TABLE = 254, 1 << 16
_ALERT_S = 300


def place(gateway: NatGateway) -> str:
    """Return the place where a gateway's flows are translated."""
    return places.place("nat", gateway.name)


def ranges(network: Network, gateway: NatGateway) -> tuple[SnatRange, ...]:
    """Return the ports that a flow of any VM of the gateway's subnets may be given."""
    first, wanted = network.profile.nat_first_port, network.overrides.nat_gateway_ports
    last = first + wanted - 1 if wanted else _LAST_PORT
    return tuple(SnatRange(str(address), first, last) for address in gateway.addresses)


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the gateways, and the way to them."""
    for vnet in network.virtual_networks:
        attached = [
            (subnet, gateway)
            for subnet in vnet.subnets
            if (gateway := network.nat_gateway_of(vnet.name, subnet.name)) is not None
        ]
        if not attached:
            continue
        yield from _at_router(vnet)
        for number, gateway in enumerate(dict.fromkeys(gateway for _, gateway in attached)):
            subnets = [subnet for subnet, theirs in attached if theirs == gateway]
            yield from _wires(vnet, gateway, subnets, _FIRST_TABLE + number)
            yield from _filter(vnet, gateway)
            yield from _timers(network, gateway)
            yield from _ports(network, vnet, gateway, subnets)


def _at_router(vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what tells answers to what came in by the load balancer, and what is private, from what is to leave."""
    inside, edge = wiring.router(vnet), to(wiring.load_balancer(vnet))
    why = Provenance("nat_gateway", f"answers to what came into {vnet.name}", f"{_SOURCE}: aware of flow direction")
    # The way back that a source is checked by is looked up as the answer will be.
    yield Sysctl(place=inside, key="net.ipv4.conf.all.src_valid_mark", value=1, why=why)
    restore = FlowMark("restore", CAME_IN)
    yield Rule(place=inside, table="mangle", chain="PREROUTING", target=restore, why=why)
    yield Rule(place=inside, table="mangle", chain="PREROUTING", in_interface=edge, target=SetMark(CAME_IN), why=why)
    yield Rule(
        place=inside,
        table="mangle",
        chain="PREROUTING",
        in_interface=edge,
        ctstate="NEW",
        target=FlowMark("save", CAME_IN),
        why=why,
    )
    yield RoutingRule(place=inside, mark=CAME_IN, mask=CAME_IN, table=_MAIN, priority=_ANSWERS, why=why)
    why = Provenance("nat_gateway", f"what is private in {vnet.name}", _SOURCE)
    yield RoutingRule(place=inside, table=_MAIN, priority=_PRIVATE, specific=True, why=why)
    yield Route(
        place=inside,
        destination=f"{PLATFORM_ADDRESS}/32",
        interface=edge,
        via=wiring.LOAD_BALANCER_SIDE,
        why=why,
    )


def _wires(vnet: VirtualNetwork, gateway: NatGateway, subnets: list[Subnet], table: int) -> Iterator[Item]:
    here, inside = place(gateway), wiring.router(vnet)
    why = Provenance("nat_gateway", gateway.name, _FIRST)
    yield Namespace(place=here, role="nat gateway", why=why)
    yield from wiring.forwarder(here, why, checks_source=True)
    yield from wiring.mute(here)
    yield VethPair(place=inside, interface=to(here), peer_place=here, peer_interface=to(inside), why=why)
    yield VethPair(
        place=wiring.INTERNET, interface=to(here), peer_place=here, peer_interface=to(wiring.INTERNET), why=why
    )
    yield Route(place=here, destination=wiring.EVERYWHERE, interface=to(wiring.INTERNET), why=why)
    for subnet in subnets:
        own = Provenance("nat_gateway", f"subnet {vnet.name}/{subnet.name} by {gateway.name}", _FIRST)
        prefix = str(subnet.address_prefix)
        yield Route(place=here, destination=prefix, interface=to(inside), why=own)
        yield RoutingRule(place=inside, source=prefix, table=table, priority=_GATEWAYS, why=own)
    yield Route(place=inside, destination=wiring.EVERYWHERE, interface=to(here), table=table, why=why)
    for address in gateway.addresses:
        owned = Provenance("nat_gateway", f"{gateway.name}, {address}", _SOURCE)
        yield Route(place=wiring.INTERNET, destination=f"{address}/32", interface=to(here), why=owned)
        # Nothing has the address: what no flow takes inside is reset or lost before it is sent on.
        yield Route(place=here, destination=f"{address}/32", interface=to(inside), why=owned)


def _filter(vnet: VirtualNetwork, gateway: NatGateway) -> Iterator[Item]:
    """Yield who may begin a flow, who is asked for its port, and what becomes of segments of none."""
    here, inner = place(gateway), to(wiring.router(vnet))

    def rule(entity: str, source: str, chain: str, target: Terminal | Reset | Queue, **match: str) -> Rule:
        table = "mangle" if chain == "PREROUTING" else "filter"
        why = Provenance("nat_gateway", f"{gateway.name}: {entity}", source)
        return Rule(place=here, table=table, chain=chain, target=target, why=why, **match)  # type: ignore[arg-type]

    silent = Provenance("nat_gateway", f"{gateway.name}: nothing begins outside", _SOURCE)
    yield Policy(place=here, table="filter", chain="FORWARD", verdict="DROP", why=silent)
    # The kernel translates only where a rule uses its table for it.
    yield Policy(place=here, table="nat", chain="POSTROUTING", verdict="ACCEPT", why=silent)
    known = Terminal("ACCEPT")
    yield rule("flows that it knows", _SOURCE, "FORWARD", known, ctstate="ESTABLISHED,RELATED")
    yield rule(
        "segments of flows that it does not know", _RESETS, "FORWARD", Reset(), protocol="tcp", ctstate="INVALID"
    )
    for protocol in _PROTOCOLS:
        yield rule(
            f"{protocol} of its subnets",
            f"{_SOURCE}: protocols",
            "FORWARD",
            known,
            in_interface=inner,
            protocol=protocol,
            ctstate="NEW",
        )
        yield rule(
            "SNAT ports",
            f"{_SOURCE}: SNAT ports",
            "PREROUTING",
            Queue(0),
            in_interface=inner,
            protocol=protocol,
            ctstate="NEW",
            ctstatus="!CONFIRMED",
        )
    why = Provenance("nat_gateway", f"{gateway.name}: fragments", f"{_SOURCE}: limitations")
    yield DropFragments(place=here, sources=("0.0.0.0/0",), exempt=(), why=why)


def _timers(network: Network, gateway: NatGateway) -> Iterator[Item]:
    """Yield how long flows may be idle or half open, and that none is picked up in its middle."""
    here, profile, scale = place(gateway), network.profile, network.overrides.time_scale
    idle, half_open = gateway.idle_timeout_min * 60, profile.nat_half_open_s
    seconds = dict.fromkeys(
        ("established", "fin_wait", "close_wait", "last_ack", "unacknowledged", "max_retrans"), float(idle)
    )
    seconds |= {"syn_sent": float(half_open), "syn_recv": float(half_open)}
    # The agent keeps the time of closed flows; the kernel must only not forget them before.
    seconds |= {"time_wait": profile.nat_fin_s + scale, "close": profile.nat_rst_s + scale}
    values = {f"tcp_timeout_{state}": max(1, ceil(time_s / scale)) for state, time_s in seconds.items()}
    values |= dict.fromkeys(("udp_timeout", "udp_timeout_stream"), max(1, profile.nat_udp_idle_s // scale))
    # A segment that comes late is no segment of an unknown flow.
    values |= {"tcp_loose": 0, "tcp_be_liberal": 1, "events": 1}
    why = Provenance("nat_gateway", f"{gateway.name}: timers", profile.sources["nat_half_open_s"])
    for key, value in values.items():
        yield Sysctl(place=here, key=f"net.netfilter.nf_conntrack_{key}", value=value, why=why)
    yield Rule(
        place=here,
        table="raw",
        chain="PREROUTING",
        in_interface=to(wiring.INTERNET),
        target=CtTarget(),
        why=Provenance("nat_gateway", f"{gateway.name}: what comes in has no port that the agent keeps"),
    )


def _ports(network: Network, vnet: VirtualNetwork, gateway: NatGateway, subnets: list[Subnet]) -> Iterator[Item]:
    """Yield the ports of the gateway's addresses: any for every VM, the same one again to other destinations."""
    profile, scale, here = network.profile, network.overrides.time_scale, place(gateway)
    resource = wiring.resource_id(network, vnet, "natGateways", gateway.name)
    yield SnatPolicy(
        place=here,
        router=wiring.router(vnet),
        tcp_reuse="destination",
        udp_reuse="destination",
        per_protocol=True,
        order="random",
        sequential=False,
        fin_close="both",
        fin_s=profile.nat_fin_s / scale,
        rst_s=profile.nat_rst_s / scale,
        idle_s=max(1, gateway.idle_timeout_min * 60 // scale),
        alert_s=_ALERT_S / scale,
        blocks=(),
        resources=tuple((str(address), resource) for address in gateway.addresses),
        udp_s=profile.nat_udp_s / scale,
        resent_by=to(here),
        why=Provenance("nat_gateway", f"SNAT ports of {gateway.name}", profile.sources["nat_fin_s"]),
    )
    names, given = {subnet.name for subnet in subnets}, ranges(network, gateway)
    for vm in network.vms_of(vnet):
        for interface in vm.network_interfaces:
            if interface.subnet in names and vm.power_state != "Deallocated":
                yield SnatPool(
                    place=here,
                    node=vm.name,
                    source=str(interface.private_ip_address),
                    ranges=given,
                    why=Provenance("nat_gateway", f"{vm.name} by {gateway.name}", f"{_SOURCE}: SNAT ports"),
                )
