"""A VM without an address of its own leaves through a shared one: a frontend, or the platform's choice.

Owns the source translation of every VM that ``instance_public_ip`` has not taken, what links a
VM to a frontend, each VM's range of SNAT ports, and the platform's default address. TCP and UDP
only: nothing else is carried, and nothing leaves with a private source.

A VM is linked to a frontend by a load-balancing rule whose pool it is in, or by an inbound NAT
rule that names it, never by a pool alone, and whatever the health of the VM (seed 001). The
SKU and the document revision may narrow that: ``Profile.binding``.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import groupby

import msgspec

from lab.flow import PortRange
from lab.model import Frontend, LoadBalancer, Network, VirtualMachine, VirtualNetwork, natural
from lab.path import wiring
from lab.plan import CHAIN_MAX, HashMark, Item, Jump, Rule, SourceNat, Sysctl, Verdict, Why, short
from lab.plan import interface_to as to

_DEFAULT = "seed 002: standalone VM"
_LINKED = "seed 001; seed 002: load-balanced VM"
_SEVERAL = "seed 002, Limitations: any of several addresses is a candidate"
_FIVE_TUPLE = "src,dst,sport,dport,proto"
#: Seed of the hash that picks a frontend: fixed, so that the same lab picks alike every time.
_HASH_SEED = 0x5EED002
#: More VMs than this are found through one chain for each /28, so that a packet meets few rules.
_FLAT = 16
_GROUP = 28


class Share(msgspec.Struct, frozen=True, order=True):
    """One VM's ports of one frontend's address."""

    frontend: IPv4Address
    ports: PortRange


def links(network: Network, vm: str) -> tuple[tuple[LoadBalancer, Frontend], ...]:
    """Return the frontends that a VM is linked to, by load balancer and frontend."""
    found = []
    for lb in network.load_balancers:
        binding = network.profile.binding(lb.sku)
        names: set[str] = set()
        if "load_balancing_rule" in binding:
            names |= {r.frontend for r in lb.load_balancing_rules if vm in lb.pool(r.backend_pool).members}
        if "inbound_nat_rule" in binding:
            names |= {r.frontend for r in lb.inbound_nat_rules if r.virtual_machine == vm}
        found += [(lb, frontend) for frontend in lb.frontends if frontend.name in names]
    return tuple(found)


def shares(network: Network) -> dict[str, tuple[Share, ...]]:
    """Return each linked VM's ports: disjoint ranges of each frontend, in the order of the VMs' names.

    The size of a range is the profile's for the number of VMs linked to the frontend
    (``Overrides.snat_ports_per_vm`` replaces it), and less where the frontend has too few ports
    for all. VMs with an address of their own use none.
    """
    profile = network.profile
    linked: dict[IPv4Address, list[str]] = {}
    for vm, frontends in _links_by_vm(network).items():
        for frontend in frontends:
            linked.setdefault(frontend, []).append(vm)
    found: dict[str, list[Share]] = {}
    room = profile.snat_last_port - profile.snat_first_port + 1
    for address, vms in linked.items():
        wanted = network.overrides.snat_ports_per_vm or profile.ports_per_vm(len(vms)) or 1
        size = max(1, min(wanted, room // len(vms)))
        for index, vm in enumerate(sorted(vms, key=natural)):
            first = profile.snat_first_port + index * size
            found.setdefault(vm, []).append(Share(address, PortRange(first, first + size - 1)))
    return {vm: tuple(sorted(parts)) for vm, parts in found.items()}


def _links_by_vm(network: Network) -> dict[str, list[IPv4Address]]:
    """Return what ``links`` says of all VMs without an address of their own, in one pass over the rules."""
    own = {vm.name for vm in network.virtual_machines if vm.instance_public_ip}
    found: dict[str, list[IPv4Address]] = {}
    named = [vm for lb in network.load_balancers for vm in lb.virtual_machines()]
    for vm in sorted(set(named) - own, key=natural):
        addresses = [frontend.address for _, frontend in links(network, vm)]
        if addresses:
            found[vm] = addresses
    return found


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the source translation of every virtual network's VMs; what is most specific first."""
    given = shares(network)
    for vnet in network.virtual_networks:
        vms = network.vms_of(vnet)
        if not vms:
            continue
        yield from _timers(network, vnet)
        yield from _linked(vnet, [(vm, given[vm.name]) for vm in vms if vm.name in given])
        yield from _default(network, vnet)
        yield from _carried(vnet)


def _timers(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield the idle timeout, and that a flow is not picked up in its middle after it."""
    seconds = max(1, network.profile.idle_timeout_s // network.overrides.time_scale)
    why = Why("outbound_snat", f"idle flows of {vnet.name}", network.profile.sources["idle_timeout_s"])
    place = wiring.load_balancer(vnet)
    for timer in ("tcp_timeout_established", "udp_timeout", "udp_timeout_stream"):
        yield Sysctl(place=place, key=f"net.netfilter.nf_conntrack_{timer}", value=seconds, why=why)
    yield Sysctl(place=place, key="net.netfilter.nf_conntrack_tcp_loose", value=0, why=why)


def _linked(vnet: VirtualNetwork, vms: list[tuple[VirtualMachine, tuple[Share, ...]]]) -> Iterator[Item]:
    place = wiring.load_balancer(vnet)
    if len(vms) <= _FLAT:
        for vm, parts in vms:
            yield from _translation(place, "POSTROUTING", vm, parts)
        return

    def group(entry: tuple[VirtualMachine, tuple[Share, ...]]) -> IPv4Network:
        return IPv4Network((entry[0].private_ip_address, _GROUP), strict=False)

    for prefix, members in groupby(sorted(vms, key=group), key=group):
        chain = short(f"snat-{prefix.network_address}", CHAIN_MAX)
        why = Why("outbound_snat", f"VMs of {prefix}", _LINKED)
        yield Rule(place=place, table="nat", chain="POSTROUTING", source=str(prefix), target=Jump(chain), why=why)
        for vm, parts in members:
            yield from _translation(place, chain, vm, parts)


def _translation(place: str, chain: str, vm: VirtualMachine, parts: tuple[Share, ...]) -> Iterator[Item]:
    source = f"{vm.private_ip_address}/32"
    why = Why("outbound_snat", vm.name, _LINKED)
    if len(parts) > 1:
        # One SNAT rule is one range: the hash of the flow picks the frontend.
        own = short(f"snat-{vm.name}", CHAIN_MAX)
        why = Why("outbound_snat", vm.name, _SEVERAL)
        yield Rule(place=place, table="nat", chain=chain, source=source, target=Jump(own), why=why)
        pick = HashMark(_FIVE_TUPLE, len(parts), _HASH_SEED)
        yield Rule(place=place, table="nat", chain=own, target=pick, why=why)
        chain, source = own, ""
    for number, part in enumerate(parts, start=1):
        for protocol in ("tcp", "udp"):
            yield Rule(
                place=place,
                table="nat",
                chain=chain,
                source=source or None,
                protocol=protocol,
                mark=number if len(parts) > 1 else None,
                target=SourceNat(str(part.frontend), str(part.ports)),
                why=why,
            )


def _default(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield the way out of every VM that nothing above took: an address of the platform's choice."""
    address = vnet.default_outbound_address
    why = Why("outbound_snat", f"default address of {vnet.name}", _DEFAULT)
    yield from wiring.public_address(vnet, address, why)
    ports = PortRange(network.profile.snat_first_port, network.profile.snat_last_port)
    for prefix in vnet.address_space:
        for protocol in ("tcp", "udp"):
            yield Rule(
                place=wiring.load_balancer(vnet),
                table="nat",
                chain="POSTROUTING",
                source=str(prefix),
                protocol=protocol,
                target=SourceNat(str(address), str(ports)),
                why=why,
            )


def _carried(vnet: VirtualNetwork) -> Iterator[Item]:
    why = Why(
        "outbound_snat", f"what SNAT carries out of {vnet.name}", "load-balancer-outbound-connections.md (2018-07)"
    )
    for protocol in ("tcp", "udp"):
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="filter",
            chain="FORWARD",
            in_interface=to(wiring.router(vnet)),
            protocol=protocol,
            ctstate="NEW",
            target=Verdict("ACCEPT"),
            why=why,
        )
