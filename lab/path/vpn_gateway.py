"""What is for a local network's prefixes takes the tunnel, untranslated; everything else leaves as without it.

Owns the gateways and VPN devices: their namespaces, wires and public addresses, the routes to connected
prefixes, what may pass a gateway, and the daemons and tunnels. Also what a tunnel's state follows from.

A gateway forwards between its router and its tunnels only. Nothing else has a way to its public wire, where IKE and
ESP pass and nothing more: what finds its tunnel down is lost, and leaves by no other way (VNet to VNet connection,
2015-05-15).

What is led into a tunnel is what is for its site's prefixes. What a route-based tunnel takes is anything, a
policy-based one each pair of prefixes of both sides. Networks meet across a third one's gateway where they list each
other (vpn-gateway-vpn-faq.md: statically defined spaces only).
"""

import math
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from lab.azure import ike, places
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
    REBUILDS,
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
            for prefix in site.address_space:
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
    for prefix in vnet.address_space:
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
    own = tuple(map(str, vnet.address_space))
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
        remote = tuple(map(str, vnet.address_space))
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


# --- the state of a tunnel ----------------------------------------------------------------------

State = Literal["Connecting", "Connected", "NotConnected"]
#: As the messages of the documents spell the states (Get-AzureVnetConnection).
_SPELT: dict[State, str] = {"Connecting": "Connecting", "Connected": "Connected", "NotConnected": "Not Connected"}
#: Number of the event that a change of state is (Get-AzureVnetConnection shows it for one to Connected).
_EVENT = 23401
#: Seconds between attempts at a tunnel that is down: short at first, since most peers are just starting.
_RETRY_S = (0.5, 1.0, 2.0, 4.0)
#: How old what a daemon said may be to be why a tunnel is gone: it says so, and then takes it down; seconds.
_SAID_S = 1.0
#: The side with the higher address leaves the first attempt to the other for so long: two at once undo each other.
_YIELD_S = 0.4


class Connectivity(msgspec.Struct, frozen=True):
    """What a gateway knows of one tunnel. Times in seconds since the epoch."""

    state: State = "Connecting"
    reason: str = "not tried yet"
    established: float | None = None
    event: int = 0
    message: str = ""
    changed: float = 0.0
    attempts: int = 0
    next_attempt: float = 0.0
    said: str = ""  # what the daemon said last while the tunnel was connected
    said_at: float = 0.0

    def after(self, site: str, state: State, reason: str, now: float) -> "Connectivity":
        """Return what is known after a state was seen."""
        if state == self.state:
            return msgspec.structs.replace(self, reason=reason)
        message = (
            f"The connectivity state for the local network site '{site}' changed from "
            f"{_SPELT[self.state]} to {_SPELT[state]}."
        )
        up = state == "Connected"
        return msgspec.structs.replace(
            self,
            state=state,
            reason=reason,
            established=now if up else self.established,
            event=_EVENT,
            message=message,
            changed=now,
            attempts=0 if up else self.attempts,
            next_attempt=now if up else self.next_attempt,
        )

    @classmethod
    def remembered(
        cls, state: str, reason: str, established: float | None, event: int, message: str, changed: float
    ) -> "Connectivity":
        """Return what an agent before this one has written of a tunnel."""
        known: State = "Connected" if state == "Connected" else "NotConnected"
        return cls(known, reason, established, event, message, changed)

    def heard(self, site: str, words: str, now: float) -> "Connectivity":
        """Return what is known after the daemon said why something failed.

        A tunnel that is connected stays so until it is seen to be gone: of two attempts at once, one is given up
        when the other has long succeeded.
        """
        if self.state == "Connected":
            return msgspec.structs.replace(self, said=words, said_at=now)
        return self.after(site, "NotConnected", words, now)

    def gone(self, site: str, now: float) -> "Connectivity":
        """Return what is known after a tunnel that was connected was seen to be gone."""
        words = self.said if self.said and now - self.said_at <= _SAID_S else "the tunnel is down"
        return self.after(site, "NotConnected", words, now)

    def attempted(self, now: float) -> "Connectivity":
        """Return what is known after an attempt at the tunnel was begun."""
        wait = _RETRY_S[min(self.attempts, len(_RETRY_S) - 1)]
        return msgspec.structs.replace(self, attempts=self.attempts + 1, next_attempt=now + wait)

    def resting(self, site: str, reason: str, now: float) -> "Connectivity":
        """Return what is known of a tunnel that is down because it carried nothing: it is not attempted."""
        return msgspec.structs.replace(self.after(site, "NotConnected", reason, now), next_attempt=math.inf)

    @property
    def rests(self) -> bool:
        """Whether the tunnel waits for something to carry."""
        return self.state != "Connected" and self.next_attempt == math.inf

    def afresh(self, *, first: bool, now: float) -> "Connectivity":
        """Return what is known when everything may be different now; ``first``: this side makes the first attempt."""
        return msgspec.structs.replace(self, attempts=0, next_attempt=now if first else now + _YIELD_S)


def begins(tunnel: Tunnel, address: str) -> bool:
    """Tell whether this side of a tunnel makes the first attempt: that with the lower address."""
    return IPv4Address(address) < IPv4Address(tunnel.peer)


def is_idle(tunnel: Tunnel, silent_s: float) -> bool:
    """Tell whether a tunnel that has carried nothing for so many seconds is to be dropped."""
    return 0 < tunnel.idle_s <= silent_s


def was_idle(tunnel: Tunnel, silent_s: float) -> bool:
    """Tell whether a tunnel that is gone was dropped by its peer for silence, whose clock is not quite ours.

    If it was something else, nothing is lost either: what comes next rebuilds it.
    """
    return 0 < tunnel.idle_s <= 2 * silent_s


def idleness(tunnel: Tunnel) -> str:
    """Return why a tunnel that was dropped for silence is down."""
    return f"dropped after {tunnel.idle_s:g} s without a packet; {REBUILDS}"


def impossible(tunnel: Tunnel, address: str, facing: Tunnel | None) -> str:
    """Return why a tunnel must not even be attempted, "" if it may; ``facing`` is the peer's own end of it.

    A range must be the peer's exactly (VNet to VNet connection, 2015-05-15, add a local network). Route-based ends
    negotiate none; of ranges that
    differ, IKE lets policy-based ones settle for what they have in common. Both would call that connected. What
    policy-based ends have nothing of in common is for IKE to refuse.
    """
    if tunnel.peer == address:
        return f"the VPN device address {address} is this gateway's own: addresses are mixed up"
    if facing is None or (_agree(tunnel, facing) and _agree(facing, tunnel)):
        return ""
    if tunnel.version == 1 and not _meet(tunnel, facing):
        return ""
    return (
        f"ranges differ: here it is {_list(tunnel.local)} to {_list(tunnel.remote)}, and at the peer "
        f"{_list(facing.local)} to {_list(facing.remote)}; ranges must be the same on both sides"
    )


def _agree(tunnel: Tunnel, facing: Tunnel) -> bool:
    """Tell whether a side has just the ranges that the other expects: its own, and of those it passes on, any."""
    own = set(tunnel.local)
    return own <= set(facing.remote) <= own | set(tunnel.transit)


def _meet(tunnel: Tunnel, facing: Tunnel) -> bool:
    return all(
        any(IPv4Network(one).overlaps(IPv4Network(other)) for one in ours for other in theirs)
        for ours, theirs in ((tunnel.local, facing.remote), (tunnel.remote, facing.local))
    )


def reason(said: str, tunnel: Tunnel) -> str:
    """Return in words why a tunnel is down, by a line that its daemon said; "" if the line is about nothing."""
    ours = f"{_list(tunnel.local)} and {_list(tunnel.remote)}"
    for sign, words in (
        ("received AUTHENTICATION_FAILED", "AUTHENTICATION_FAILED: the peer refuses our shared key"),
        ("but MAC mismatched", "AUTHENTICATION_FAILED: the peer's shared key is not ours"),
        ("decryption failed", "AUTHENTICATION_FAILED: what the peer says cannot be read with our shared key"),
        ("received TS_UNACCEPTABLE", f"TS_UNACCEPTABLE: the peer does not have {ours} as its own ranges"),
        ("unacceptable", f"TS_UNACCEPTABLE: the peer asks for other ranges than {ours}"),
        ("received NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN: the peer knows no connection from this address"),
        ("giving up after", f"no answer from {tunnel.peer}"),
    ):
        if sign in said:
            return words
    return ""


def _list(prefixes: Sequence[str]) -> str:
    return ", ".join(sorted(prefixes))
