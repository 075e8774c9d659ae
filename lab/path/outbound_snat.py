"""A VM without an address of its own leaves through a shared one: a frontend, or the platform's choice.

Owns the source translation of every VM that ``instance_public_ip`` has not taken, which ports each
VM may use, and the platform's default address. TCP and UDP only: nothing else is carried, and nothing
leaves with a private source. What links a VM to a frontend, and which VMs have no default address, so
that nothing of them leaves: ``azure.outbound``.

The first packet of each flow is kept back until the agent has given it a port (``snat_ports`` decides).
Only a flow to a public address of its own virtual network is the kernel's to translate, by one rule for
each VM: its destination is translated as well, which its first packet does not show.

While a cloud service is being redeployed its VMs may count twice (classic page, 2018-07-13), so that each has the
ports of a larger pool: ``Profile.redeploying_counts_twice``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import groupby
from math import ceil
from typing import Literal

import msgspec

from lab.azure.model import (
    PLATFORM_ADDRESS,
    Frontend,
    LoadBalancer,
    Network,
    VirtualMachine,
    VirtualNetwork,
    natural,
)
from lab.azure.outbound import linked_frontends, picked, place, without_default
from lab.flow import Transport
from lab.path import outbound_idle, wiring
from lab.plan import (
    CHAIN_MAX,
    CtTarget,
    DropFragments,
    Item,
    Jump,
    Provenance,
    Queue,
    Rule,
    SnatPolicy,
    SnatPool,
    SnatRange,
    SourceNat,
    Sysctl,
    Terminal,
    short,
)
from lab.plan import interface_to as to

_DEFAULT = "Outbound connections, 2017-05-31: standalone VM"
_LINKED = "Source IP of outbound flows, 2018-12-11; Outbound connections, 2017-05-31: load-balanced VM"
_NO_WAY = "load-balancer-outbound-connections.md (2019-05-02): Standard SKU"
_PROTOCOLS: tuple[Transport, ...] = ("tcp", "udp")
#: More VMs than this are found through one chain for each /28, so that a packet meets few rules.
_FLAT = 16
_GROUP = 28
#: Ports of outbound rules are given in multiples of so many (load-balancer-outbound-rules-overview.md, 2018-09-24).
_BLOCK = 8
#: The platform looks at alerts every five minutes (load-balancer-monitor-log.md, 2015-12-11).
_ALERT_S = 300


def ranges(network: Network) -> dict[str, tuple[SnatRange, ...]]:
    """Return the ports that each VM without an address of its own may use: of its frontends, or of the default address.

    Preallocated ranges are disjoint, as large as the profile says for the number of VMs that are linked to the
    frontend, or that are reported to be (``Overrides.snat_ports_per_vm`` replaces it), and smaller where there are
    too few ports for all. A VM that has no way out is left out.
    """
    own = {vm.name for vm in network.virtual_machines if vm.instance_public_ip or vm.released_public_ip}
    own |= {vm.name for vm in network.virtual_machines if network.nat_gateway_of(vm.virtual_network, vm.subnet)}
    vms = sorted({vm.name for vm in network.virtual_machines} - own, key=natural)
    if any(network.profile.protocol_counts(lb.sku) for lb in network.balancers):
        found = _merged(_of_frontends(network, vms, "tcp"), _of_frontends(network, vms, "udp"))
    else:
        found = _of_frontends(network, vms, None)
    left = set(vms) - found.keys() - without_default(network)
    for vnet in network.virtual_networks:
        found |= _default_ranges(network, vnet, [vm for vm in network.vms_of(vnet) if vm.name in left])
    return found


def _of_frontends(network: Network, vms: list[str], protocol: Transport | None) -> dict[str, tuple[SnatRange, ...]]:
    """Return the ports of frontends that VMs may use for flows of a protocol, or of any."""
    every = linked_frontends(network, protocol)
    linked: dict[IPv4Address, list[str]] = {}
    for vm in vms:
        for _, frontend in every.get(vm, []):
            linked.setdefault(frontend.address, []).append(vm)
    index = {address: {vm: number for number, vm in enumerate(of_it)} for address, of_it in linked.items()}
    chosen = _chosen(network, protocol)
    found: dict[str, tuple[SnatRange, ...]] = {}
    for vm in vms:
        candidates = _candidates(network, vm, every.get(vm, []))
        by_table = [(lb, frontend) for lb, frontend in candidates if (vm, str(frontend.address)) not in chosen]
        given = [
            _share(network, lb, frontend.address, index[frontend.address][vm], linked[frontend.address])
            for lb, frontend in by_table
        ]
        given = _capped(network, by_table[0][0], given) if given else []
        given += [ports for _, f in candidates if (ports := chosen.get((vm, str(f.address))))]
        if candidates:
            found[vm] = tuple(sorted(given, key=lambda ports: IPv4Address(ports.address)))
    return found


def _chosen(network: Network, protocol: Transport | None) -> dict[tuple[str, str], SnatRange]:
    """Return the ports, by VM and address, of the outbound rules that say how many each VM has.

    A rule's number is of all its addresses together (outbound-rules.md, 2024-04-11: addresses times 64,000, divided by
    the VMs), so that each address has a part of it, in whole blocks. Ports that rules take are beside the number.
    """
    found: dict[tuple[str, str], SnatRange] = {}
    first = network.profile.snat_first_port
    for lb in network.balancers:
        taken = _taken(network, [lb]) if lb.outbound_rules else set()
        for rule in (r for r in lb.outbound_rules if r.ports and protocol in r.protocols):
            blocks, over = divmod(rule.ports // _BLOCK, len(rule.frontends))
            for number, name in enumerate(rule.frontends):
                address, size = lb.frontend(name).address, _BLOCK * (blocks + (number < over))
                kept = sorted(block for at, block in taken if at == address and block >= first)
                for turn, vm in enumerate(lb.pool(rule.backend_pool).members):
                    begin, end = _nth(first, turn * size, kept), _nth(first, (turn + 1) * size - 1, kept)
                    found[vm, str(address)] = SnatRange(str(address), begin, end)
    return found


def _nth(first: int, number: int, taken: list[int]) -> int:
    """Return the port with this number, from 0, of those that are in no block that was taken."""
    port = first + number
    for block in taken:
        port += _BLOCK if block <= port else 0
    return port


def _taken(network: Network, balancers: Sequence[LoadBalancer]) -> set[tuple[IPv4Address, int]]:
    """Return the addresses and first ports of the aligned blocks that rules take from what SNAT may use."""
    size = network.profile.rule_block
    if not size:
        return set()
    return {
        (lb.frontend(rule.frontend).address, rule.frontend_port // size * size)
        for lb in balancers
        for rule in lb.rules()
        if not lb.is_private(rule)
    }


def _merged(
    tcp: dict[str, tuple[SnatRange, ...]], udp: dict[str, tuple[SnatRange, ...]]
) -> dict[str, tuple[SnatRange, ...]]:
    """Return each VM's ranges of both protocols: one for both where these have the same ports."""
    found = {}
    for vm in {**tcp, **udp}:
        of_tcp, of_udp = tcp.get(vm, ()), udp.get(vm, ())
        if of_tcp == of_udp:
            found[vm] = of_tcp
            continue
        both = [share for share in of_tcp if share in of_udp]
        alone = [msgspec.structs.replace(share, protocol="tcp") for share in of_tcp if share not in both]
        alone += [msgspec.structs.replace(share, protocol="udp") for share in of_udp if share not in both]
        found[vm] = tuple(sorted((*both, *alone), key=lambda share: (IPv4Address(share.address), share.protocol)))
    return found


def fewer(network: Network) -> int | None:
    """Return the fewest ports that a VM has of an address, if these are fewer than the topology's override says."""
    fewest = min((len(share) for given in ranges(network).values() for share in given), default=0)
    return fewest if fewest < (network.overrides.snat_ports_per_vm or 0) else None


def _candidates(
    network: Network, vm: str, linked: list[tuple[LoadBalancer, Frontend]]
) -> list[tuple[LoadBalancer, Frontend]]:
    """Return those of a VM's frontends that its flows may take."""
    found = list(linked)
    for lb in network.balancers:
        # By name: a cloud service's is made anew each time.
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
        # What has a NAT gateway does not come here.
        here = [vm for vm in everyone if _is_shared(vm) and not network.nat_gateway_of(vnet.name, vm.subnet)]
        yield _inside(vnet, PLATFORM_ADDRESS)
        yield from _shut(vnet, [(vm, given.get(vm.name, ())) for vm in here])
        yield from _queue_first_packets(network, vnet)
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
        yield from _hairpin_snat(vnet, [(vm, given[vm.name]) for vm in vms if given[vm.name] != (everybody,)])
        for prefix in vnet.address_space:
            # VMs without ports of their own, with one rule for all.
            yield from _translation(vnet, "POSTROUTING", str(prefix), everybody, _default_why(vnet))
        yield from _allow_snat_protocols(vnet)
        yield from _drop_fragments(network, vnet)


def _default_why(vnet: VirtualNetwork) -> Provenance:
    return Provenance("outbound_snat", f"default address of {vnet.name}", _DEFAULT)


def _why(vnet: VirtualNetwork, vm: VirtualMachine, given: tuple[SnatRange, ...]) -> Provenance:
    if given[0].address == str(vnet.default_outbound_address):
        return _default_why(vnet)
    return Provenance("outbound_snat", vm.name, _LINKED)


def _timers(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield the idle timeout, and that a flow is not picked up in its middle after it."""
    profile, scale = network.profile, network.overrides.time_scale
    idle, longest = outbound_idle.default_s(network), outbound_idle.longest_s(network, vnet)
    why = Provenance("outbound_snat", f"idle flows of {vnet.name}", profile.sources["idle_timeout_s"])
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
    timers = dict.fromkeys((f"tcp_timeout_{state}" for state in states), longest)
    timers |= {"udp_timeout": idle, "udp_timeout_stream": idle}
    for timer, value in timers.items():
        yield Sysctl(place=place, key=f"net.netfilter.nf_conntrack_{timer}", value=value, why=why)
    yield Sysctl(place=place, key="net.netfilter.nf_conntrack_tcp_loose", value=0, why=why)
    # The agent keeps the time of closed flows; the kernel must only not forget them before.
    closed = Provenance("outbound_snat", f"closed flows of {vnet.name}", profile.sources["fin_s"])
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
        target=CtTarget(),
        why=Provenance("outbound_snat", "what comes in has no port that the agent keeps"),
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
        idle_s=outbound_idle.default_s(network),
        kernel_s=outbound_idle.longest_s(network, vnet) if outbound_idle.differs(network, vnet) else 0,
        tcp_idle=outbound_idle.by_address(network, vnet),
        alert_s=_ALERT_S / scale,
        blocks=tuple(_blocks(network, vnet)),
        resources=_resources(network, vnet),
        why=Provenance("outbound_snat", f"SNAT ports of {vnet.name}", profile.sources["tcp_reuse"]),
    )


def _resources(network: Network, vnet: VirtualNetwork) -> tuple[tuple[str, str], ...]:
    """Return the resource identifier, as logs print it, of what each address that SNAT uses belongs to."""
    return (
        *(
            (str(frontend.address), wiring.resource_id(network, vnet, "loadBalancers", lb.name))
            for lb in network.load_balancers_of(vnet)
            for frontend in lb.frontends
            if not frontend.private
        ),
        (str(vnet.default_outbound_address), wiring.resource_id(network, vnet, "virtualNetworks", vnet.name)),
    )


def _blocks(network: Network, vnet: VirtualNetwork) -> Iterator[SnatRange]:
    """Yield the aligned blocks of ports that rules take from what SNAT may use."""
    for address, first in sorted(_taken(network, network.load_balancers_of(vnet))):
        yield SnatRange(str(address), first, first + network.profile.rule_block - 1)


def _queue_first_packets(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what keeps the first packet of a flow back until it has been given a port."""
    place, inside = wiring.load_balancer(vnet), to(wiring.router(vnet))
    public = [f.address for lb in network.load_balancers_of(vnet) for f in lb.addressed()]
    public += [vm.instance_public_ip.address for vm in network.vms_of(vnet) if vm.instance_public_ip]
    for address in (vnet.default_outbound_address, *public):
        yield _inside(vnet, address)
    for protocol in _PROTOCOLS:
        yield Rule(
            place=place,
            table="mangle",
            chain="PREROUTING",
            in_interface=inside,
            protocol=protocol,
            ctstate="NEW",
            ctstatus="!CONFIRMED",
            target=Queue(0),
            why=Provenance("outbound_snat", f"SNAT ports of {vnet.name}", network.profile.sources["tcp_reuse"]),
        )


def _inside(vnet: VirtualNetwork, address: IPv4Address) -> Rule:
    """Return what lets flows to an address of a virtual network by, for which no port is asked."""
    return Rule(
        place=wiring.load_balancer(vnet),
        table="mangle",
        chain="PREROUTING",
        destination=f"{address}/32",
        target=Terminal("ACCEPT"),
        why=Provenance("outbound_snat", f"within {vnet.name}: the kernel translates both ends", _LINKED),
    )


def _hairpin_snat(vnet: VirtualNetwork, vms: list[tuple[VirtualMachine, tuple[SnatRange, ...]]]) -> Iterator[Item]:
    """Yield the translation of flows that come back into their own virtual network."""

    def of_vm(chain: str, vm: VirtualMachine, given: tuple[SnatRange, ...]) -> Iterator[Item]:
        for protocol in _PROTOCOLS:
            ports = next((share for share in given if share.serves(protocol)), None)
            if ports is not None:
                source = f"{vm.private_ip_address}/32"
                yield _translated(vnet, chain, source, ports, protocol, _why(vnet, vm, (ports,)))

    yield from _by_source(vnet, "nat", "POSTROUTING", "snat", vms, of_vm)


def _shut(vnet: VirtualNetwork, vms: list[tuple[VirtualMachine, tuple[SnatRange, ...]]]) -> Iterator[Item]:
    """Yield what keeps the flows of VMs inside that have no way out for their protocol.

    Those to a public address of their own virtual network are kept as well: before a rule leads them to a VM, and
    before the kernel translates both ends.
    """

    def of_vm(chain: str, vm: VirtualMachine, given: tuple[SnatRange, ...]) -> Iterator[Item]:
        for protocol in _PROTOCOLS:
            if not any(share.serves(protocol) for share in given):
                yield Rule(
                    place=wiring.load_balancer(vnet),
                    table="mangle",
                    chain=chain,
                    source=f"{vm.private_ip_address}/32",
                    in_interface=to(wiring.router(vnet)),
                    protocol=protocol,
                    ctstate="NEW",
                    target=Terminal("DROP"),
                    why=Provenance("outbound_snat", f"{vm.name} has no way out for {protocol}", _NO_WAY),
                )

    shut = [(vm, given) for vm, given in vms if not all(any(s.serves(p) for s in given) for p in _PROTOCOLS)]
    yield from _by_source(vnet, "mangle", "PREROUTING", "shut", shut, of_vm)


def _is_shared(vm: VirtualMachine) -> bool:
    """Tell whether a VM that runs has no address of its own."""
    return not (vm.instance_public_ip or vm.released_public_ip) and vm.power_state != "Deallocated"


def _by_source(
    vnet: VirtualNetwork,
    table: Literal["nat", "mangle"],
    chain: str,
    name: str,
    vms: list[tuple[VirtualMachine, tuple[SnatRange, ...]]],
    of_vm: Callable[[str, VirtualMachine, tuple[SnatRange, ...]], Iterator[Item]],
) -> Iterator[Item]:
    """Yield rules for VMs; those of many are found through one chain for each /28."""
    if len(vms) <= _FLAT:
        for vm, given in vms:
            yield from of_vm(chain, vm, given)
        return

    def group(entry: tuple[VirtualMachine, tuple[SnatRange, ...]]) -> IPv4Network:
        return IPv4Network((entry[0].private_ip_address, _GROUP), strict=False)

    place = wiring.load_balancer(vnet)
    for prefix, members in groupby(sorted(vms, key=group), key=group):
        own = short(f"{name}-{prefix.network_address}", CHAIN_MAX)
        why = Provenance("outbound_snat", f"VMs of {prefix}", _LINKED)
        yield Rule(place=place, table=table, chain=chain, source=str(prefix), target=Jump(own), why=why)
        for vm, given in members:
            yield from of_vm(own, vm, given)


def _translation(vnet: VirtualNetwork, chain: str, source: str, ports: SnatRange, why: Provenance) -> Iterator[Item]:
    for protocol in _PROTOCOLS:
        yield _translated(vnet, chain, source, ports, protocol, why)


def _translated(
    vnet: VirtualNetwork, chain: str, source: str, ports: SnatRange, protocol: Transport, why: Provenance
) -> Rule:
    return Rule(
        place=wiring.load_balancer(vnet),
        table="nat",
        chain=chain,
        source=source,
        protocol=protocol,
        target=SourceNat(ports.address, f"{ports.first}-{ports.last}"),
        why=why,
    )


def _allow_snat_protocols(vnet: VirtualNetwork) -> Iterator[Item]:
    why = Provenance(
        "outbound_snat", f"what SNAT carries out of {vnet.name}", "load-balancer-outbound-connections.md (2018-07)"
    )
    for protocol in _PROTOCOLS:
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="filter",
            chain="FORWARD",
            in_interface=to(wiring.router(vnet)),
            protocol=protocol,
            ctstate="NEW",
            target=Terminal("ACCEPT"),
            why=why,
        )


def _drop_fragments(network: Network, vnet: VirtualNetwork) -> Iterator[Item]:
    """Yield what loses fragments: only an address of a VM's own carries them, in revisions that say so."""
    profile = network.profile
    if profile.fragments_need_own_address:
        own = [vm.private_ip_address for vm in network.vms_of(vnet) if vm.instance_public_ip]
        yield DropFragments(
            place=wiring.load_balancer(vnet),
            sources=tuple(map(str, vnet.address_space)),
            exempt=tuple(f"{address}/32" for address in own),
            why=Provenance("outbound_snat", f"fragments of {vnet.name}", profile.sources["fragments_need_own_address"]),
        )
