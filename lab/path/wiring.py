"""Who is connected to whom: namespaces, wires, addresses and routes, without any translation.

Owns every namespace, every wire, the private addresses and the addresses of outside hosts.
Public addresses of Azure resources belong to the rules that translate them.

Each end of a wire is named after the place at its other end. Addresses are all /32 and gateways
are reached on-link: a route for each VM and nothing to learn. Between the lab's own namespaces
the addresses are link-local (RFC 3927), the same on every wire.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from lab.azure import peerings, places, programs
from lab.azure.model import (
    PLATFORM_ADDRESS,
    PUBLIC_RESOLVER,
    Network,
    NetworkInterface,
    Service,
    VirtualMachine,
    VirtualNetwork,
)
from lab.flow import Transport
from lab.plan import (
    NODE_INTERFACE,
    Address,
    DnsRecord,
    Item,
    Namespace,
    Policy,
    Program,
    Provenance,
    Resolver,
    Route,
    Rule,
    Server,
    Sysctl,
    Terminal,
    VethPair,
)
from lab.plan import interface_to as to

INTERNET = places.INTERNET
EVERYWHERE = "0.0.0.0/0"

ROUTER_SIDE = "169.254.1.1"  # router's end of the wire to the load balancer
LOAD_BALANCER_SIDE = "169.254.1.2"
INTERNET_SIDE = "169.254.2.1"  # the internet's end of every wire
EDGE_SIDE = "169.254.2.2"  # a load balancer's end of the wire to the internet

_SPLIT = "the lab's shape"
_SECONDARY = "virtual-networks-multiple-nics.md (2016-02-02): a secondary interface has no default gateway"
_MUTE = "virtual-networks-faq.md (2019-02-12): neither a default gateway's ping nor tracert"
_PROBE_SOURCE = "load-balancer-custom-probe-overview.md (2016-10-24)"


def router(network: VirtualNetwork) -> str:
    """Return the place of a virtual network's router."""
    return places.place("router", network.name)


def load_balancer(network: VirtualNetwork) -> str:
    """Return the place where a virtual network's addresses are translated."""
    return places.place("lb", network.name)


def resource_id(network: Network, vnet: VirtualNetwork, kind: str, name: str) -> str:
    """Return the identifier of a resource as the documents' logs print it."""
    start = f"/subscriptions/{vnet.subscription}/resourceGroups/{network.name}/providers/Microsoft.Network"
    return f"{start}/{kind}/{name}".upper()


def wire(vm: str, number: int) -> str:
    """Return what the router calls a VM's interface of a number; 0 is the primary one. No node has such a name."""
    return f"{vm}~{number}" if number else vm


def public_address(network: VirtualNetwork, address: IPv4Address, why: Provenance) -> Iterator[Item]:
    """Yield what makes a public address lead to a virtual network's load balancer.

    It is routed there and blackholed, never owned: a Linux host answers for addresses it owns,
    and Azure is silent where no rule listens.
    """
    yield Route(
        place=INTERNET,
        destination=f"{address}/32",
        interface=to(load_balancer(network)),
        via=EDGE_SIDE,
        why=why,
    )
    yield Route(place=load_balancer(network), destination=f"{address}/32", why=why)


def public_views(network: Network) -> tuple[str, ...]:
    """Return the places whose resolvers know public names: outside, in every virtual network, and the user's own."""
    own = (
        vm.name
        for vnet in network.virtual_networks
        for vm in network.running(vnet)
        if any(service.kind == "dns" for service in vm.services)
    )
    return (INTERNET, *(load_balancer(vnet) for vnet in network.virtual_networks), *own)


def public_name(network: Network, name: str, address: IPv4Address, why: Provenance) -> Iterator[Item]:
    """Yield a name that everybody knows."""
    for view in public_views(network):
        yield DnsRecord(place=view, name=name, address=str(address), why=why)


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the namespaces, wires, addresses, routes, servers and names of a network."""
    yield from _internet(network)
    for vnet in network.virtual_networks:
        yield from _virtual_network(network, vnet)


def forwarder(place: str, why: Provenance, *, checks_source: bool, loosely: bool = False) -> Iterator[Item]:
    """Yield the sysctls of a place that passes packets on."""
    # A new namespace begins with the machine's own values, so each that matters is written.
    # rp_filter=1 drops what claims a source that is not routed back the way it came:
    # no VM can speak with another's address. 2 asks less,
    # and only of wires whose end has an address: those of VMs have none.
    values = {"ip_forward": 1, "conf.all.send_redirects": 0, "conf.default.send_redirects": 0}
    values |= {"conf.all.rp_filter": 2 if loosely else int(checks_source)}
    values |= {"conf.default.rp_filter": int(checks_source)}
    for key, value in values.items():
        yield Sysctl(place=place, key=f"net.ipv4.{key}", value=value, why=why)


def mute(place: str) -> Iterator[Item]:
    """Yield what makes a place that passes packets on answer neither ping nor traceroute.

    It still says that a packet is too large for the way: path MTU discovery, through a tunnel above all, needs it.
    """
    why = Provenance("wiring", f"{place} answers neither ping nor traceroute", _MUTE)
    needed = Rule(
        place=place,
        table="filter",
        chain="OUTPUT",
        protocol="icmp",
        icmp_type="fragmentation-needed",
        target=Terminal("ACCEPT"),
        why=Provenance("wiring", f"{place} says what is too large", "RFC 1191: path MTU discovery"),
    )
    yield needed
    yield msgspec.structs.replace(needed, icmp_type=None, target=Terminal("DROP"), why=why)


def service_items(place: str, node: str, address: IPv4Address, services: tuple[Service, ...]) -> Iterator[Item]:
    """Yield the servers of a node."""
    why = Provenance("wiring", node, "services of the topology")
    for service in services:
        protocols: tuple[Transport, ...] = ("udp", "tcp") if service.kind == "dns" else (service.protocol,)
        for protocol in protocols:
            yield Server(
                place=place,
                node=node,
                kind=service.kind,
                address=str(address),
                port=service.port,
                protocol=protocol,
                why=why,
            )


def program_items(node: str, own: tuple[programs.Program, ...]) -> Iterator[Item]:
    """Yield the programs of a user's own that run in a node."""
    why = Provenance("wiring", node, "services of the topology")
    for one in own:
        yield Program(
            place=node,
            name=one.name,
            command=one.command,
            port=one.port,
            protocol=one.protocol,
            environment=one.environment,
            folder=one.folder,
            ready_port=one.ready_port,
            ready_s=one.ready_s,
            restarts=one.restarts,
            why=why,
        )


def _resolver(place: str, address: IPv4Address, why: Provenance) -> Iterator[Item]:
    for protocol in ("udp", "tcp"):
        yield Server(
            place=place,
            node=place,
            kind="resolver",
            address=str(address),
            port=53,
            protocol=protocol,
            why=why,
        )


def _internet(network: Network) -> Iterator[Item]:
    why = Provenance("wiring", INTERNET, _SPLIT)
    yield Namespace(place=INTERNET, role="internet", why=why)
    yield from forwarder(INTERNET, why, checks_source=False)
    yield Address(place=INTERNET, interface="lo", address=INTERNET_SIDE, why=why)
    yield Address(place=INTERNET, interface="lo", address=str(PUBLIC_RESOLVER), why=why)
    # Its routers say nothing: they have no public address to say it from.
    mute = Provenance("wiring", "routers of the internet are silent", _SPLIT)
    yield Rule(place=INTERNET, table="filter", chain="OUTPUT", protocol="icmp", target=Terminal("DROP"), why=mute)
    # A packet to an address that no node has is lost without an answer, as on the Internet.
    yield Route(place=INTERNET, destination=EVERYWHERE, why=why)
    yield from _resolver(INTERNET, PUBLIC_RESOLVER, Provenance("wiring", "names of the outside hosts"))
    for host in network.internet:
        why = Provenance("wiring", f"internet host {host.name}")
        yield Namespace(place=host.name, role="host", why=why)
        yield VethPair(
            place=INTERNET,
            interface=to(host.name),
            peer_place=host.name,
            peer_interface=NODE_INTERFACE,
            why=why,
        )
        yield Address(place=host.name, interface=NODE_INTERFACE, address=str(host.address), why=why)
        yield Route(place=host.name, destination=EVERYWHERE, interface=NODE_INTERFACE, via=INTERNET_SIDE, why=why)
        yield Route(place=INTERNET, destination=f"{host.address}/32", interface=to(host.name), why=why)
        yield Resolver(place=host.name, servers=(str(PUBLIC_RESOLVER),), why=why)
        yield from service_items(host.name, host.name, host.address, host.services)
        yield from program_items(host.name, host.programs)
        yield from public_name(network, host.name, host.address, why)


def _virtual_network(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    inside, edge = router(vnet), load_balancer(vnet)
    why = Provenance("wiring", f"virtual network {vnet.name}", _SPLIT)
    yield Namespace(place=inside, role="router", why=why)
    yield Namespace(place=edge, role="load balancer", why=why)
    loosely = any(link.own.allow_forwarded_traffic for link in peerings.links(network, vnet))
    yield from forwarder(inside, why, checks_source=True, loosely=loosely)
    yield from forwarder(edge, why, checks_source=True)
    yield VethPair(place=inside, interface=to(edge), peer_place=edge, peer_interface=to(inside), why=why)
    yield VethPair(place=INTERNET, interface=to(edge), peer_place=edge, peer_interface=to(INTERNET), why=why)
    yield Address(place=inside, interface=to(edge), address=ROUTER_SIDE, why=why)
    yield Address(place=edge, interface=to(inside), address=LOAD_BALANCER_SIDE, why=why)
    yield Address(place=edge, interface=to(INTERNET), address=EDGE_SIDE, why=why)
    yield Route(place=inside, destination=EVERYWHERE, interface=to(edge), via=LOAD_BALANCER_SIDE, why=why)
    yield Route(place=edge, destination=EVERYWHERE, interface=to(INTERNET), via=INTERNET_SIDE, why=why)
    for prefix in vnet.address_space:
        # An address of the space that no VM has is lost inside; it must not leave by the default route.
        yield Route(place=inside, destination=str(prefix), why=why)
        yield Route(place=edge, destination=str(prefix), interface=to(inside), via=ROUTER_SIDE, why=why)
    for subnet in vnet.subnets:
        gateway = Provenance("wiring", f"subnet {vnet.name}/{subnet.name}")
        yield Address(place=inside, interface="lo", address=str(subnet.gateway), why=gateway)
    yield from _platform(vnet)
    yield from mute(inside)
    yield from mute(edge)
    servers = tuple(str(address) for address in vnet.dns_servers or (PLATFORM_ADDRESS,))
    for vm in network.running(vnet):
        why = Provenance("wiring", f"VM {vm.name}")
        address = str(vm.private_ip_address)
        yield Namespace(place=vm.name, role="vm", why=why)
        for number, interface in enumerate(vm.network_interfaces):
            yield from _interface(vnet, vm, number, interface)
            yield from service_items(vm.name, vm.name, interface.private_ip_address, vm.services)
        yield from program_items(vm.name, vm.programs)
        yield from _loopback(vm)
        yield Resolver(place=vm.name, servers=servers, why=why)
        yield DnsRecord(place=edge, name=vm.name, address=address, why=why)
        if any(service.kind == "dns" for service in vm.services):
            yield from _own_names(network, vm)


def _loopback(vm: VirtualMachine) -> Iterator[Item]:
    """Yield the frontends' addresses that a guest has itself, and its servers there."""
    why = Provenance("wiring", f"frontends on {vm.name}'s loopback", "load-balancer-multivip-overview.md (2016-08-11)")
    for address in vm.loopback_addresses:
        yield Address(place=vm.name, interface="lo", address=str(address), why=why)
        yield from service_items(vm.name, vm.name, address, vm.services)
    if vm.loopback_addresses:
        # A guest that tells others of such an address takes it from the load balancer.
        for key, value in (("arp_ignore", 1), ("arp_announce", 2)):
            yield Sysctl(place=vm.name, key=f"net.ipv4.conf.all.{key}", value=value, why=why)


def _interface(vnet: VirtualNetwork, vm: VirtualMachine, number: int, interface: NetworkInterface) -> Iterator[Item]:
    """Yield one of a VM's wires. The primary interface has the default gateway, a secondary one its subnet only.

    So what a secondary interface is sent from elsewhere is answered by way of the primary one, and lost: the router
    lets no wire carry another's address.
    """
    inside, name = router(vnet), to(wire(vm.name, number))
    subnet = next(subnet for subnet in vnet.subnets if subnet.name == interface.subnet)
    near, address = f"eth{number}", str(interface.private_ip_address)
    why = (
        Provenance("wiring", f"VM {vm.name}")
        if not number
        else Provenance("wiring", f"VM {vm.name}/{interface.name}", _SECONDARY)
    )
    reached = EVERYWHERE if not number else str(subnet.address_prefix)
    yield VethPair(place=inside, interface=name, peer_place=vm.name, peer_interface=near, why=why)
    yield Address(place=vm.name, interface=near, address=address, why=why)
    yield Route(place=vm.name, destination=reached, interface=near, via=str(subnet.gateway), why=why)
    yield Route(place=inside, destination=f"{address}/32", interface=name, why=why)


def _own_names(network: Network, vm: VirtualMachine) -> Iterator[Item]:
    """Yield what a name server of the user's own knows beside public names: all the user's VMs, wherever they are."""
    why = Provenance(
        "wiring",
        f"names that {vm.name} serves",
        "VNet to VNet connection, 2015-05-15: names across networks need a DNS server of your own",
    )
    for other in network.virtual_machines:
        yield DnsRecord(place=vm.name, name=other.name, address=str(other.private_ip_address), why=why)


def _platform(vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield the platform's own address: it answers names, sends probes, and says nothing to the outside."""
    edge = load_balancer(vnet)
    why = Provenance("wiring", f"the platform's address in {vnet.name}", _PROBE_SOURCE)
    yield Address(place=edge, interface="lo", address=str(PLATFORM_ADDRESS), why=why)
    yield from _resolver(edge, PLATFORM_ADDRESS, Provenance("wiring", f"names of {vnet.name} and of the outside hosts"))
    # The edge is no host: it neither hears nor says anything on the public wire, ICMP errors included.
    silent = Provenance("wiring", f"edge of {vnet.name}", "Azure is silent where no rule listens")
    yield Rule(
        place=edge, table="filter", chain="INPUT", in_interface=to(INTERNET), target=Terminal("DROP"), why=silent
    )
    yield Rule(
        place=edge, table="filter", chain="OUTPUT", out_interface=to(INTERNET), target=Terminal("DROP"), why=silent
    )
    # Nothing is forwarded but what a rule of another file accepts: no packet leaves untranslated.
    yield Policy(place=edge, table="filter", chain="FORWARD", verdict="DROP", why=silent)
    yield Rule(
        place=edge,
        table="filter",
        chain="FORWARD",
        ctstate="ESTABLISHED,RELATED,DNAT",
        target=Terminal("ACCEPT"),
        why=Provenance(
            "wiring", f"flows of {vnet.name} that a rule let begin or led inside, and the ICMP errors about them"
        ),
    )
