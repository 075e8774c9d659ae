"""A VM without an address of its own leaves through a shared one: a frontend, or the platform's choice.

Owns the source translation of every VM that ``instance_public_ip`` has not taken, what links a
VM to a frontend, which ports each VM may use, and the platform's default address. TCP and UDP
only: nothing else is carried, and nothing leaves with a private source.

A VM is linked to a frontend by a load-balancing rule whose pool it is in, or by an inbound NAT
rule that names it, never by a pool alone, and whatever the health of the VM (seed 001). The
SKU and the document revision may narrow or widen that: ``Profile.binding``.

The first packet of each flow is kept back until the agent has given it a port (``snat_ports`` decides).
Only a flow to a public address of its own virtual network is the kernel's to translate, by one rule for
each VM: its destination is translated as well, which nobody knows when its first packet comes.

While a cloud service is being redeployed its VMs may count twice (classic page, 2018-07-13), so that each has the
ports of a larger pool: ``Profile.redeploying_counts_twice``.
"""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import groupby
from math import ceil

from lab.azure.model import (
    PLATFORM_ADDRESS,
    Frontend,
    InboundNatRule,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
    VirtualNetwork,
    natural,
)
from lab.azure.outbound import links, picked, place
from lab.path import wiring
from lab.plan import (
    CHAIN_MAX,
    DropFragments,
    Item,
    Jump,
    Queue,
    Rule,
    SnatPolicy,
    SnatPool,
    SnatRange,
    SourceNat,
    Sysctl,
    Tracking,
    Verdict,
    Why,
    short,
)
from lab.plan import interface_to as to

_DEFAULT = "seed 002: standalone VM"
_LINKED = "seed 001; seed 002: load-balanced VM"
#: More VMs than this are found through one chain for each /28, so that a packet meets few rules.
_FLAT = 16
_GROUP = 28
#: The platform looks at alerts every five minutes (load-balancer-monitor-log.md, 2015-12-11).
_ALERT_S = 300


def ranges(network: Network) -> dict[str, tuple[SnatRange, ...]]:
    """Return the ports that each VM without an address of its own may use: of its frontends, or of the default address.

    Preallocated ranges are disjoint, as large as the profile says for the number of VMs that are linked to the
    frontend, or that are reported to be (``Overrides.snat_ports_per_vm`` replaces it), and smaller where there are
    too few ports for all.
    """
    linked: dict[IPv4Address, list[str]] = {}
    of_vm: dict[str, list[tuple[LoadBalancer, Frontend]]] = {}
    own = {vm.name for vm in network.virtual_machines if vm.instance_public_ip or vm.released_public_ip}
    found: dict[str, tuple[SnatRange, ...]] = {}
    for vm in sorted({vm.name for vm in network.virtual_machines} - own, key=natural):
        every = links(network, vm)
        of_vm[vm] = _candidates(network, vm, every)
        for _, frontend in every:
            linked.setdefault(frontend.address, []).append(vm)
    index = {address: {vm: number for number, vm in enumerate(vms)} for address, vms in linked.items()}
    for vm, candidates in of_vm.items():
        given = [
            _share(network, lb, frontend.address, index[frontend.address][vm], linked[frontend.address])
            for lb, frontend in candidates
        ]
        if given:
            found[vm] = tuple(_capped(network, candidates[0][0], given))
    for vnet in network.virtual_networks:
        found |= _default_ranges(
            network, vnet, [vm for vm in network.vms_of(vnet) if vm.name in of_vm and vm.name not in found]
        )
    return found


def fewer(network: Network) -> int | None:
    """Return the fewest ports that a VM has of an address, if these are fewer than the topology's override says."""
    fewest = min((len(share) for given in ranges(network).values() for share in given), default=0)
    return fewest if fewest < (network.overrides.snat_ports_per_vm or 0) else None


def _candidates(
    network: Network, vm: str, linked: tuple[tuple[LoadBalancer, Frontend], ...]
) -> list[tuple[LoadBalancer, Frontend]]:
    """Return those of a VM's frontends that its flows may take."""
    found = list(linked)
    for lb in network.balancers:
        # By name: a cloud service's is made anew for whoever asks.
        ours = [entry for entry in found if entry[0].name == lb.name]
        if len(ours) > 1 and network.profile.frontends(lb.sku) == "one at random":
            kept = picked(vm, [frontend for _, frontend in ours])
            found = [entry for entry in found if entry[0].name != lb.name or entry[1] is kept]
    return sorted(found, key=lambda entry: entry[1].address)


def _share(network: Network, lb: LoadBalancer, address: IPv4Address, number: int, vms: list[str]) -> SnatRange:
    """Return the ports of a frontend for the VM with this number, of those that are linked to it."""
    profile, wanted = network.profile, network.overrides.snat_ports_per_vm
    first, last = profile.snat_first_port, profile.snat_last_port
    room = last - first + 1
    if wanted is None and profile.allocation(lb.sku) == "on demand":
        return SnatRange(str(address), first, last)
    if wanted is None and (size := profile.ports_per_vm(_reported(network, vms))) is not None:
        begin = first + place(number, size, profile.port_tiers[0])
        return SnatRange(str(address), begin, begin + size - 1)
    size = max(1, min(wanted or 1, room // len(vms)))
    begin = first + number * size
    return SnatRange(str(address), begin, begin + size - 1)


def _reported(network: Network, vms: list[str]) -> int:
    """Return how many VMs a pool is reported to have, which may be more than it has while a service is redeployed.

    The document says up to twice as many: no more than its table has ports for.
    """
    if not network.profile.redeploying_counts_twice:
        return len(vms)
    again = {vm for service in network.cloud_services if service.redeploying for vm in service.virtual_machines}
    most = network.profile.port_tiers[-1].pool_size
    return max(len(vms), min(len(vms) + sum(vm in again for vm in vms), most))


def _capped(network: Network, lb: LoadBalancer, given: list[SnatRange]) -> list[SnatRange]:
    """Return a VM's ranges of several frontends, none larger than lets the total stay within the cap."""
    if network.profile.frontends(lb.sku) != "capped" or len(given) < 2:
        return given
    most = network.profile.port_tiers[0].ports // len(given)
    return [SnatRange(r.address, r.first, min(r.last, r.first + most - 1)) for r in given]


def _default_ranges(
    network: Network, vnet: VirtualNetwork, vms: list[VirtualMachine]
) -> dict[str, tuple[SnatRange, ...]]:
    """Return the ports of the platform's address for VMs that have nothing else."""
    profile, address = network.profile, str(vnet.default_outbound_address)
    first, last = profile.snat_first_port, profile.snat_last_port
    wanted = network.overrides.snat_ports_per_vm
    if wanted is None and profile.default_allocation == "on demand":
        return {vm.name: (SnatRange(address, first, last),) for vm in vms}
    together = Counter(vm.availability_set for vm in network.virtual_machines if vm.availability_set)
    sizes = {
        vm.name: wanted or profile.ports_per_vm(together[vm.availability_set] if vm.availability_set else 1) or 1
        for vm in vms
    }
    room = last - first + 1
    if sum(sizes.values()) > room:
        sizes = {name: max(1, min(size, room // len(vms))) for name, size in sizes.items()}
    found: dict[str, tuple[SnatRange, ...]] = {}
    begin = first
    for name, size in sizes.items():
        found[name] = (SnatRange(address, begin, begin + size - 1),)
        begin += size
    return found


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield how every virtual network's VMs are translated; what is most specific first."""
    given = ranges(network)
    for vnet in network.virtual_networks:
        everyone = network.vms_of(vnet)
        if not everyone:
            continue
        # A VM that is deallocated has no port, but its place among the others, whose ports stay where they are.
        vms = [vm for vm in everyone if vm.name in given and vm.power_state != "Deallocated"]
        yield from _timers(network, vnet)
        yield from wiring.public_address(vnet, vnet.default_outbound_address, _default_why(vnet))
        yield from _asked(network, vnet)
        yield from _policy(network, vnet)
        for vm in vms:
            yield SnatPool(
                place=wiring.load_balancer(vnet),
                node=vm.name,
                source=str(vm.private_ip_address),
                ranges=given[vm.name],
                why=_why(vnet, vm, given[vm.name]),
            )
        everybody = SnatRange(
            str(vnet.default_outbound_address), network.profile.snat_first_port, network.profile.snat_last_port
        )
        yield from _within(vnet, [(vm, given[vm.name][0]) for vm in vms if given[vm.name][0] != everybody])
        for prefix in vnet.address_space:
            # Whoever has no ports of its own, with one rule for all.
            yield from _translation(vnet, "POSTROUTING", str(prefix), everybody, _default_why(vnet))
        yield from _carried(vnet)
        yield from _whole(network, vnet)


def _default_why(vnet: VirtualNetwork) -> Why:
    return Why("outbound_snat", f"default address of {vnet.name}", _DEFAULT)


def _why(vnet: VirtualNetwork, vm: VirtualMachine, given: tuple[SnatRange, ...]) -> Why:
    if given[0].address == str(vnet.default_outbound_address):
        return _default_why(vnet)
    return Why("outbound_snat", vm.name, _LINKED)


def _timers(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield the idle timeout, and that a flow is not picked up in its middle after it."""
    profile, scale = network.profile, network.overrides.time_scale
    idle = max(1, profile.idle_timeout_s // scale)
    why = Why("outbound_snat", f"idle flows of {vnet.name}", profile.sources["idle_timeout_s"])
    place = wiring.load_balancer(vnet)
    # The documents know one timeout for all flows that are not closed, half-open and half-closed ones too.
    states = (
        "established",
        "syn_sent",
        "syn_recv",
        "fin_wait",
        "close_wait",
        "last_ack",
        "unacknowledged",
        "max_retrans",
    )
    for timer in (*(f"tcp_timeout_{state}" for state in states), "udp_timeout", "udp_timeout_stream"):
        yield Sysctl(place=place, key=f"net.netfilter.nf_conntrack_{timer}", value=idle, why=why)
    yield Sysctl(place=place, key="net.netfilter.nf_conntrack_tcp_loose", value=0, why=why)
    # The agent keeps the time of closed flows; the kernel must only not forget them before.
    closed = Why("outbound_snat", f"closed flows of {vnet.name}", profile.sources["fin_s"])
    for state, seconds in (("time_wait", profile.fin_s), ("close", profile.rst_s)):
        value = max(idle, ceil(seconds / scale) + 1)
        yield Sysctl(place=place, key=f"net.netfilter.nf_conntrack_tcp_timeout_{state}", value=value, why=closed)
    # Events also for flows that begin while the agent is away; it need not hear of those that come in.
    yield Sysctl(place=place, key="net.netfilter.nf_conntrack_events", value=1, why=closed)
    yield Rule(
        place=place,
        table="raw",
        chain="PREROUTING",
        in_interface=to(wiring.INTERNET),
        target=Tracking(),
        why=Why("outbound_snat", "what comes in has no port that the agent keeps"),
    )


def _policy(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    profile, scale = network.profile, network.overrides.time_scale
    skus = {lb.sku for lb in network.load_balancers_of(vnet)}
    yield SnatPolicy(
        place=wiring.load_balancer(vnet),
        router=wiring.router(vnet),
        tcp_reuse=profile.tcp_reuse,
        udp_reuse=profile.udp_reuse,
        per_protocol=profile.port_per_protocol,
        order=profile.port_order,
        sequential=any(profile.frontends(sku) == "sequential" for sku in skus),
        fin_close=profile.fin_close,
        fin_s=profile.fin_s / scale,
        rst_s=profile.rst_s / scale,
        idle_s=max(1, profile.idle_timeout_s // scale),
        alert_s=_ALERT_S / scale,
        blocks=tuple(_blocks(network, vnet)),
        resources=_resources(network, vnet),
        why=Why("outbound_snat", f"SNAT ports of {vnet.name}", profile.sources["tcp_reuse"]),
    )


def _resources(network: Network, vnet: VirtualNetwork) -> tuple[tuple[str, str], ...]:
    """Return the resource identifier, as logs print it, of what each address that SNAT uses belongs to."""
    return (
        *(
            (str(frontend.address), wiring.resource_id(network, vnet, "loadBalancers", lb.name))
            for lb in network.load_balancers_of(vnet)
            for frontend in lb.frontends
        ),
        (str(vnet.default_outbound_address), wiring.resource_id(network, vnet, "virtualNetworks", vnet.name)),
    )


def _blocks(network: Network, vnet: VirtualNetwork) -> Iterator[SnatRange]:
    """Yield the aligned blocks of ports that rules take from what SNAT may use."""
    size = network.profile.rule_block
    if not size:
        return
    taken = {
        (lb.frontend(rule.frontend).address, rule.frontend_port // size * size)
        for lb in network.load_balancers_of(vnet)
        for rule in _rules(lb)
    }
    for address, first in sorted(taken):
        yield SnatRange(str(address), first, first + size - 1)


def _rules(lb: LoadBalancer) -> tuple[LoadBalancingRule | InboundNatRule, ...]:
    return (*lb.load_balancing_rules, *lb.inbound_nat_rules)


def _asked(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what keeps the first packet of a flow back until it has been given a port."""
    place, inside = wiring.load_balancer(vnet), to(wiring.router(vnet))
    own = Why("outbound_snat", f"within {vnet.name}: the kernel translates both ends", _LINKED)
    public = [f.address for lb in network.load_balancers_of(vnet) for f in lb.addressed()]
    public += [vm.instance_public_ip.address for vm in network.vms_of(vnet) if vm.instance_public_ip]
    for address in (PLATFORM_ADDRESS, vnet.default_outbound_address, *public):
        yield Rule(
            place=place,
            table="mangle",
            chain="PREROUTING",
            destination=f"{address}/32",
            target=Verdict("ACCEPT"),
            why=own,
        )
    for protocol in ("tcp", "udp"):
        yield Rule(
            place=place,
            table="mangle",
            chain="PREROUTING",
            in_interface=inside,
            protocol=protocol,
            ctstate="NEW",
            ctstatus="!CONFIRMED",
            target=Queue(0),
            why=Why("outbound_snat", f"SNAT ports of {vnet.name}", network.profile.sources["tcp_reuse"]),
        )


def _within(vnet: VirtualNetwork, vms: list[tuple[VirtualMachine, SnatRange]]) -> Iterator[Item]:
    """Yield the translation of flows that come back into their own virtual network."""
    place = wiring.load_balancer(vnet)

    def of_vm(chain: str, vm: VirtualMachine, ports: SnatRange) -> Iterator[Item]:
        return _translation(vnet, chain, f"{vm.private_ip_address}/32", ports, _why(vnet, vm, (ports,)))

    if len(vms) <= _FLAT:
        for vm, ports in vms:
            yield from of_vm("POSTROUTING", vm, ports)
        return

    def group(entry: tuple[VirtualMachine, SnatRange]) -> IPv4Network:
        return IPv4Network((entry[0].private_ip_address, _GROUP), strict=False)

    for prefix, members in groupby(sorted(vms, key=group), key=group):
        chain = short(f"snat-{prefix.network_address}", CHAIN_MAX)
        why = Why("outbound_snat", f"VMs of {prefix}", _LINKED)
        yield Rule(place=place, table="nat", chain="POSTROUTING", source=str(prefix), target=Jump(chain), why=why)
        for vm, ports in members:
            yield from of_vm(chain, vm, ports)


def _translation(vnet: VirtualNetwork, chain: str, source: str, ports: SnatRange, why: Why) -> Iterator[Item]:
    for protocol in ("tcp", "udp"):
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="nat",
            chain=chain,
            source=source,
            protocol=protocol,
            target=SourceNat(ports.address, f"{ports.first}-{ports.last}"),
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


def _whole(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what loses fragments: only an address of a VM's own carries them, in revisions that say so."""
    profile = network.profile
    if profile.fragments_need_own_address:
        own = [vm.private_ip_address for vm in network.vms_of(vnet) if vm.instance_public_ip]
        yield DropFragments(
            place=wiring.load_balancer(vnet),
            sources=tuple(map(str, vnet.address_space)),
            exempt=tuple(f"{address}/32" for address in own),
            why=Why("outbound_snat", f"fragments of {vnet.name}", profile.sources["fragments_need_own_address"]),
        )
