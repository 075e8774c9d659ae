"""What is for a local network's prefixes takes the tunnel, untranslated; everything else leaves as without it.

Owns the gateways and VPN devices: their namespaces, wires and public addresses, the routes to connected
prefixes, what may pass a gateway, and the daemons and tunnels. What a tunnel's state
follows from is in ``deciders/tunnel``.

A gateway forwards between its router and its tunnels only. Nothing else has a way to its public wire, where IKE and
ESP pass and nothing more: what finds its tunnel down is lost, and leaves by no other way (VNet to VNet connection,
2015-05-15).

What is led into a tunnel is what is for its site's prefixes. What a route-based tunnel takes is anything, a
policy-based one each pair of prefixes of both sides. Networks meet across a third one's gateway where they list each
other (vpn-gateway-vpn-faq.md: statically defined spaces only).
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

import msgspec

from lab.azure import ike, peerings, places
from lab.azure.model import (
    GATEWAY_SUBNET,
    PUBLIC_RESOLVER,
    Connection,
    GatewaySku,
    LocalNetwork,
    Network,
    VirtualNetwork,
    VpnGateway,
)
from lab.flow import PortRange
from lab.path import wiring
from lab.plan import (
    NODE_INTERFACE,
    Address,
    ClampSegments,
    IkeDaemon,
    Item,
    Namespace,
    Policy,
    Provenance,
    RateLimit,
    Resolver,
    Route,
    Rule,
    Terminal,
    Tunnel,
    VethPair,
)
from lab.plan import interface_to as to

#: The interfaces that inner packets pass: the daemon's own, or one for each tunnel where the kernel encrypts.
INNER = "ipsec+"

_SEED = "VNet to VNet connection, 2015-05-15"
_SEGMENTS = "vpn-gateway-about-vpn-devices.md (2016-12-12): clamp MSS"
_SILENT = "Azure is silent where no rule listens"
#: The table that the kernel asks after the main one; its name is "default".
_LAST_TABLE = 253
#: A policy-based tunnel that is silent for so long is dropped; seconds (vpn-gateway-vpn-faq.md, 2016-03-10).
_IDLE_S = 300
#: Mbit/s of a gateway, shared by its tunnels (vpn-gateway-table-gwtype-legacy-aggtput-include.md).
_MBIT_S: dict[GatewaySku, int] = {"Basic": 100, "Standard": 100, "HighPerformance": 200}


def place(network: str) -> str:
    """Return the place of a virtual network's gateway."""
    return places.place("gw", network)


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield gateways, VPN devices, and the routes to what is behind their tunnels."""
    for vnet in network.virtual_networks:
        gateway = network.gateway(vnet.name)
        if gateway is not None:
            yield from _gateway(network, vnet, gateway)
        for site in network.sites_of(vnet.name):
            why = Provenance("vpn_gateway", f"{vnet.name} to {site.name}", f"{_SEED}: connect to a local network")
            for prefix in (p for p in site.address_space if not peerings.covers(network, vnet, p)):
                # Without a gateway there is no way yet, and there must be no other one.
                yield Route(
                    place=wiring.router(vnet),
                    destination=str(prefix),
                    interface=to(place(vnet.name)) if gateway else None,
                    via=_inside(vnet) if gateway else None,
                    why=why,
                )
    for site in network.local_networks:
        if site.vpn_device is not None:
            yield from _device(network, site)


def _inside(vnet: VirtualNetwork) -> str:
    """Return a gateway's own address in its subnet."""
    return str(next(next(s for s in vnet.subnets if s.name == GATEWAY_SUBNET).usable()))


def _gateway(network: Network, vnet: VirtualNetwork, gateway: VpnGateway) -> Iterator[Item]:
    here, router, why = (
        place(vnet.name),
        wiring.router(vnet),
        Provenance("vpn_gateway", f"gateway of {vnet.name}", _SEED),
    )
    inside = _inside(vnet)
    yield Namespace(place=here, role="gateway", why=why)
    # A route-based gateway asks no packet where it is from; one that is policy-based knows what may be behind a tunnel.
    yield from wiring.forwarder(here, why, checks_source=gateway.routing == "static")
    yield VethPair(place=router, interface=to(here), peer_place=here, peer_interface=to(router), why=why)
    yield Address(place=here, interface=to(router), address=inside, why=why)
    yield Route(place=router, destination=f"{inside}/32", interface=to(here), why=why)
    users = tuple(prefix for user in peerings.users(network, vnet) for prefix in user.address_space)
    for prefix in (*vnet.address_space, *users):
        yield Route(place=here, destination=str(prefix), interface=to(router), via=wiring.ROUTER_SIDE, why=why)
    yield from _public(here, gateway.address, why, wiring.INTERNET)
    yield from _passes(here, router, why)
    yield from wiring.mute(here)
    if gateway.shaped:
        shared = Provenance("vpn_gateway", f"bandwidth of {vnet.name}", f"{_SEED}: all tunnels share it")
        yield RateLimit(place=here, interface=to(wiring.INTERNET), mbit_s=_MBIT_S[gateway.sku], why=shared)
    kind = f"{gateway.routing.capitalize()}Routing {gateway.sku}"
    yield IkeDaemon(place=here, kind=kind, address=str(gateway.address), ready_at=gateway.ready_at, why=why)
    sites = network.sites_of(vnet.name)
    own = tuple(map(str, (*vnet.address_space, *users)))
    for connection in network.connections:
        if connection.virtual_network != vnet.name:
            continue
        site = network.local_network(connection.local_network)
        transit = tuple(str(p) for other in sites if other != site for p in other.address_space)
        tunnel = _tunnel(network, gateway, connection, here, site.name)
        dynamic = gateway.routing == "dynamic"
        yield msgspec.structs.replace(
            tunnel,
            peer=str(site.vpn_gateway_address),
            local=own,
            transit=transit if dynamic else (),
            remote=tuple(map(str, site.address_space)),
        )
        for prefix in site.address_space:
            yield Route(place=here, destination=str(prefix), why=tunnel.why)
    if gateway.routing == "static":
        yield from _anchors(here, own, [inside], why)


def _public(here: str, address: IPv4Address, why: Provenance, interface: str) -> Iterator[Item]:
    """Yield the wire to the internet, on which a gateway, unlike a load balancer, answers itself."""
    end = to(interface)
    yield VethPair(place=wiring.INTERNET, interface=to(here), peer_place=here, peer_interface=end, why=why)
    yield Address(place=here, interface=end, address=str(address), why=why)
    yield Route(place=here, destination=wiring.EVERYWHERE, interface=end, via=wiring.INTERNET_SIDE, why=why)
    # The daemon's own table (``charon``) is asked after this one. Without the wire it would lead what the daemon itself
    # sends into its tunnels, where that is encrypted and sent again, and so on.
    lost = Provenance("vpn_gateway", f"{here} without its public wire", "what a gateway sends takes no tunnel")
    yield Route(place=here, destination=wiring.EVERYWHERE, table=_LAST_TABLE, why=lost)
    yield Route(place=wiring.INTERNET, destination=f"{address}/32", interface=to(here), why=why)


def _passes(here: str, router: str, why: Provenance) -> Iterator[Item]:
    """Yield what may pass a gateway: IKE and ESP at its public wire, and inner packets to and from its tunnels."""
    silent = Provenance("vpn_gateway", f"public wire of {here}", _SILENT)
    outside = to(wiring.INTERNET)
    for chain in ("INPUT", "OUTPUT"):
        end = Rule(
            place=here,
            table="filter",
            chain=chain,
            in_interface=outside if chain == "INPUT" else None,
            out_interface=outside if chain == "OUTPUT" else None,
            target=Terminal("ACCEPT"),
            why=why,
        )
        for port in (500, 4500):
            yield msgspec.structs.replace(end, protocol="udp", destination_ports=PortRange(port, port))
        yield msgspec.structs.replace(end, protocol="esp")
        yield msgspec.structs.replace(end, target=Terminal("DROP"), why=silent)
    yield Policy(place=here, table="filter", chain="FORWARD", verdict="DROP", why=silent)
    for one, other in ((to(router), INNER), (INNER, to(router)), (INNER, INNER)):
        yield Rule(
            place=here,
            table="filter",
            chain="FORWARD",
            in_interface=one,
            out_interface=other,
            target=Terminal("ACCEPT"),
            why=why,
        )
    clamp = Provenance("vpn_gateway", f"segments through {here}", _SEGMENTS)
    yield Rule(
        place=here,
        table="mangle",
        chain="FORWARD",
        protocol="tcp",
        target=ClampSegments(ike.MAX_SEGMENT),
        why=clamp,
    )


def _anchors(here: str, prefixes: Sequence[str], owned: Sequence[str], why: Provenance) -> Iterator[Item]:
    """Yield an address inside each prefix that a daemon speaks for, for it sends from nowhere else.

    It is the prefix's first, which no VM ever has.
    """
    for prefix in prefixes:
        first, length = prefix.split("/")
        if first not in owned:
            anchor = Provenance(why.rule, f"{here} speaks for {first}/{length}", why.source)
            yield Address(place=here, interface="lo", address=first, why=anchor)


def _device(network: Network, site: LocalNetwork) -> Iterator[Item]:
    """Yield a site that is no virtual network: a VPN device that is its own host."""
    device = site.vpn_device
    assert device is not None
    why = Provenance("vpn_gateway", f"VPN device of {site.name}", f"{_SEED}: multi-site")
    yield Namespace(place=site.name, role="site", why=why)
    yield from _public(site.name, site.vpn_gateway_address, why, NODE_INTERFACE)
    yield Address(place=site.name, interface="lo", address=str(device.private_ip_address), why=why)
    yield Resolver(place=site.name, servers=(str(PUBLIC_RESOLVER),), why=why)
    yield from wiring.service_items(site.name, site.name, device.private_ip_address, device.services)
    yield IkeDaemon(
        place=site.name,
        kind="VPN device",
        address=str(site.vpn_gateway_address),
        ready_at=0.0,
        source=str(device.private_ip_address),
        why=why,
    )
    own = tuple(map(str, site.address_space))
    for prefix in site.address_space:
        if device.private_ip_address not in prefix:
            # The daemon speaks for this range too. Not from its first address: that is the gateway's (see _anchors).
            yield Address(place=site.name, interface="lo", address=str(prefix.network_address + 4), why=why)
    for connection in network.connections:
        gateway, vnet = network.gateway(connection.virtual_network), network.vnet(connection.virtual_network)
        if connection.local_network != site.name or gateway is None or vnet is None:
            continue
        tunnel = _tunnel(network, gateway, connection, site.name, vnet.name)
        users = peerings.users(network, vnet)
        remote = tuple(str(prefix) for one in (vnet, *users) for prefix in one.address_space)
        yield msgspec.structs.replace(tunnel, peer=str(gateway.address), local=own, remote=remote)
        for far in remote:
            yield Route(place=site.name, destination=far, why=tunnel.why)


def _tunnel(network: Network, gateway: VpnGateway, connection: Connection, here: str, name: str) -> Tunnel:
    """Return a tunnel without its ends: what both sides agree on."""
    suite = ike.suite(network.profile.name, dynamic=gateway.routing == "dynamic")
    scale = network.overrides.time_scale
    return Tunnel(
        place=here,
        name=name,
        peer="",
        version=suite.version,
        ike=suite.ike,
        ike_lifetime_s=suite.ike_lifetime_s // scale,
        esp=suite.esp,
        esp_lifetime_s=suite.esp_lifetime_s // scale,
        local=(),
        remote=(),
        idle_s=_IDLE_S / scale if gateway.routing == "static" else 0.0,
        connect=connection.connect,
        why=Provenance("vpn_gateway", f"{here} to {name}", suite.source),
    )


def keys(network: Network) -> dict[tuple[str, str], str | None]:
    """Return the shared key of each tunnel, by place and name; None where Azure generated one.

    A VPN device has the key of its connection. No plan holds a key: a plan is readable by all.
    """
    found = {}
    for connection in network.connections:
        vnet, site = connection.virtual_network, connection.local_network
        found[place(vnet), site] = connection.shared_key
        if network.local_network(site).vpn_device is not None:
            found[site, vnet] = connection.shared_key
    return found
