"""Outbound connections (2017-05-31): outbound connections."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import occupy
from lab.verify.claims.kit.judges import (
    arrived,
    judge_by,
    of_type,
    pairs,
    pool_only,
    refused,
    send,
    sources,
    wrong_source,
)
from lab.verify.claims.kit.oracle import (
    WayOut,
    by_the_table,
    far_client,
    far_host,
    matches,
    of_kind,
    one_of_each,
    pooled,
    some,
    speaking_freely,
    way_out,
)
from lab.verify.experiment import (
    Arrivals,
    Counted,
    Lookup,
    Names,
    Observation,
    Occupied,
    Protocol,
    PublicAddresses,
    Return,
    Returned,
    Track,
    Tracked,
)

_OUTBOUND_2017 = "Outbound connections (2017-05-31)"
#: Revisions by which a VM's flows take any of its frontends; later ones have policies of their own (N-SN-12).
_ANY_FRONTEND = ("seeds", "2016-10", "2017-05a", "2017-05b", "2017-09")
#: The seed leaves the number of SNAT ports unnamed; the table of 2017-09-28 gives a VM of a pool of up to 50 this many.
_PORTS_SMALL_POOL = 1024
_SHARING = 600  # flows of each of two VMs that share an address: more than half of the ports that one of them has
_ALL_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp")
_EPHEMERAL = range(1024, 65536)  # ports of a public address that SNAT uses


@claim(
    "S2-1",
    f"{_OUTBOUND_2017}, introduction",
    "An outbound flow is given a public address, and its return traffic reaches the VM.",
    facts=(
        "the flow is given a public address",
        "its return traffic reaches the VM",
        "another host's packets do not",
    ),
)
def replies_reach_the_vm(network: Network) -> Iterator[Trial]:
    far, stranger = far_host(network), far_client(network)
    if far is None or stranger is None or far == stranger:
        return
    for vm in one_of_each(network):
        way = way_out(network, vm)
        if way.kind == "own":
            # Every port of its own address reaches it, a stranger's packet too: Instance level public IP, 2016-02-10.
            continue
        flow = Return(
            send=send(network, vm, far, "udp", 1),
            far=far.name,
            stranger=stranger.name,
            stranger_address=str(stranger.address),
        )

        expected = f"seen from {way}; the answer reaches the VM, another host's packet to the same port does not"
        yield Trial(
            vm.name, expected, (Stage((flow,)),), judge_by(partial(_replied_and_not_intruded, way=way, network=network))
        )


def _replied_and_not_intruded(back: Returned, *, way: WayOut, network: Network) -> Finding:
    observed = (
        f"seen from {back.source or 'nowhere'}:{back.source_port}; "
        f"the answer {'arrived' if back.answered else 'did not'}; "
        f"the stranger's packet {'arrived' if back.intruded else 'did not'}"
    )
    contradiction = ""
    if not back.source or not matches(network, way, back.source):
        contradiction = f"seen from {back.source or 'nowhere'}"
    elif not back.answered:
        contradiction = "the answer did not reach the VM"
    elif back.intruded:
        contradiction = "a stranger reached the VM through the flow's port"
    return Finding(observed, contradiction)


@claim(
    "S2-2",
    f"{_OUTBOUND_2017}, table",
    "Without load balancer and own address: default SNAT. With a load balancer only: its address. "
    "With an instance-level public IP: that address, load balancer or not.",
    facts=(
        "neither: default SNAT",
        "a load balancer only: its address",
        "an address of its own only: that address",
        "both: the address of its own",
    ),
)
def ways_out_of_the_table(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    if far is None:
        return
    for vm in some(network, by_the_table(network)):
        way = way_out(network, vm)
        sends = (send(network, vm, far, "tcp"), send(network, vm, far, "udp"))

        balanced = "load balancer" if pooled(network, vm.name) else "no load balancer"
        own = "own address" if vm.instance_public_ip else "no address of its own"
        yield Trial(
            f"{vm.name} ({balanced}, {own})",
            f"source {way}",
            (Stage(sends),),
            judge_by(partial(_left_by_the_table, way=way, network=network)),
        )


def _left_by_the_table(*observations: Arrivals, way: WayOut, network: Network) -> Finding:
    observed = "; ".join(f"{p}: {arrived(a)}" for p, a in zip(("tcp", "udp"), observations, strict=True))
    wrong = [text for a in observations if (text := wrong_source(network, way, a))]
    return Finding(observed, "; ".join(wrong))


_STANDALONE = """\
name: chosen
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: {address_prefix: 10.0.0.0/24}}}}
virtual_machines: {vm: {subnet: v/s}}
overrides: {time_scale: 1}
"""
#: Every place of a file where the default address could be asked for.
_ADDRESS_ASKED = (
    ("a VM", "{subnet: v/s}"),
    ("a virtual network", "{v: {address_space: [10.0.0.0/16]"),
    ("a subnet", "{address_prefix: 10.0.0.0/24"),
    ("the whole file", "name: chosen\n"),
    ("overrides", "time_scale: 1"),
)
_KEY = "default_outbound_address"
#: As many public IPs of VMs' own as a subscription may have (Instance level public IP, 2016-02-10, 2016-02-10), and a
#: VM without.
_OF_OWN = 5
_COUNTED = "".join(f"  own{n}: {{subnet: v/s, instance_public_ip: {{name: ip{n}}}}}\n" for n in range(1, _OF_OWN + 2))
_SIX = f"""\
name: counted
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines:
  alone: {{subnet: v/s}}
{_COUNTED}"""


def _asked(place: str) -> str:
    """Return a file that asks for a default address in a place."""
    line = f"{_KEY}: 192.0.2.77"
    if place.endswith("\n"):
        return _STANDALONE.replace(place, f"{place}{line}\n")
    inside = place.removesuffix("}")
    return _STANDALONE.replace(inside, f"{inside}, {line}", 1)


@claim(
    "S2-3",
    f"{_OUTBOUND_2017}, standalone VM",
    "The default address is chosen by the platform, cannot be configured and is not counted as a public IP.",
    facts=(
        "the platform chooses the address",
        "no file can choose it",
        "it is not listed as a public IP",
        "it does not count towards the limit of public IPs",
    ),
)
def platform_chooses_the_default_address(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    own = frozenset(str(vm.instance_public_ip.address) for vm in network.virtual_machines if vm.instance_public_ip)
    for vm in of_kind(network, "default")[:1]:
        if far is None:
            continue
        way = way_out(network, vm)

        stage = Stage((send(network, vm, far), Counted()))
        yield Trial(
            vm.name,
            f"source {way}, not counted",
            (stage,),
            judge_by(partial(_chosen_and_not_counted, way=way, network=network, own=own)),
        )
        for what, place in _ADDRESS_ASKED:
            known = f'unknown key "{_KEY}"'
            yield refused(_asked(place), f"choosing the default address in {what}", known, allowed=_STANDALONE)
        five = "".join(line for line in _SIX.splitlines(keepends=True) if f"own{_OF_OWN + 1}" not in line)
        words = f"a subscription has at most {_OF_OWN} "
        yield refused(_SIX, f"one public IP more than {_OF_OWN} beside a standalone VM", words, allowed=five)


def _chosen_and_not_counted(
    arrivals: Arrivals, counted: PublicAddresses, *, way: WayOut, network: Network, own: frozenset[str]
) -> Finding:
    observed = f"{arrived(arrivals)}; counted: {', '.join(counted.addresses) or 'none'}"
    contradiction = wrong_source(network, way, arrivals)
    if not contradiction and set(sources(arrivals)) & set(counted.addresses):
        contradiction = "the default address is counted as a public IP"
    if not contradiction and not own <= set(counted.addresses):
        contradiction = "public IPs of VMs' own are not counted either"
    return Finding(observed, contradiction)


@claim(
    "S2-4",
    f"{_OUTBOUND_2017}, standalone VM",
    "Ephemeral ports of the public address tell a VM's flows apart; each is taken when its flow is created.",
    facts=(
        "a port for each flow",
        "an ephemeral port of the public address",
        "taken when the flow is created",
    ),
)
def ephemeral_ports_tell_flows_apart(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in one_of_each(network):
        way = way_out(network, vm)
        if far is None or way.kind == "own":
            continue

        opened = send(network, vm, far, "udp", 4)  # a refused TCP flow would be forgotten at once
        expected = "a port of 1024-65535 for each flow, taken when its first packet is sent"
        stage = Stage((Track(send=opened, network=vm.virtual_network),))
        yield Trial(vm.name, expected, (stage,), judge_by(_a_port_for_each_flow))


def _a_port_for_each_flow(tracked: Tracked) -> Finding:
    arrived = tracked.arrivals.seen[-1]
    ports = {(e.reply_address, e.reply_port) for e in tracked.after}
    seen = {(s.source, s.source_port) for s in arrived}
    observed = f"tracked after the first packet: {pairs(ports)}; at the far side: {pairs(seen)}"
    early = {e.source_port for e in tracked.before} & {*tracked.arrivals.source_ports}
    if early:
        return Finding(observed, f"flows from {sorted(early)} had a port before their first packet")
    if len(arrived) < tracked.arrivals.sent:
        return Finding(observed, "flows did not arrive")
    if ports != seen:
        return Finding(observed, "the port tracked is not the port seen")
    if len(seen) < tracked.arrivals.sent:
        return Finding(observed, "two flows to one destination share a port")
    outside = sorted(port for _, port in seen if port not in _EPHEMERAL)
    return Finding(observed, f"ports {outside} are not 1024-65535" if outside else "")


@claim(
    "S2-11",
    f"{_OUTBOUND_2017}, load-balanced VM",
    "A load-balanced VM's flows come from the frontend's address, whose ports the VMs of the pool share.",
    facts=(
        "the source is the frontend's address",
        "the VMs of the pool share its ports",
    ),
)
def pool_shares_the_frontends_ports(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    sharing: dict[frozenset[str], list[VirtualMachine]] = {}
    for vm in of_kind(network, "frontend"):
        sharing.setdefault(way_out(network, vm).addresses, []).append(vm)
    for addresses, vms in sharing.items():
        if far is None or len(vms) < 2:
            continue
        pair = vms[:2]
        way = WayOut("frontend", addresses)

        # To two ports of one host: a port that both VMs had would not even be ambiguous there.
        sends = tuple(send(network, vm, far, "udp", _SHARING, port=9000 + n) for n, vm in enumerate(pair))
        names = ", ".join(vm.name for vm in pair)
        # As many flows as there may be ports: those of earlier experiments must be forgotten first.
        stage = Stage((*(occupy(network, vm) for vm in pair), *sends))
        yield Trial(
            names,
            f"both from {way}, no port twice",
            (stage,),
            judge_by(partial(_no_port_twice, way=way, pair=pair, network=network)),
        )


def _no_port_twice(*observations: Observation, way: WayOut, pair: list[VirtualMachine], network: Network) -> Finding:
    flows = of_type(observations, Arrivals)
    observed = "; ".join(f"{vm.name}: {arrived(a)}" for vm, a in zip(pair, flows, strict=True))
    wrong = next((text for a in flows if (text := wrong_source(network, way, a))), "")
    first, second = ({(s.source, s.source_port) for s in a.seen[-1]} for a in flows)
    if not wrong and first & second:
        wrong = f"both were seen from {pairs(first & second)}"
    return Finding(observed, wrong)


@claim(
    "S2-12",
    f"{_OUTBOUND_2017}, VM with an instance-level public IP",
    "With an instance-level public IP no SNAT is used, balanced or not: all outbound flows use that address.",
    facts=(
        "all flows use the address",
        "no port is translated",
        "the load balancer does not matter",
        "other protocols than TCP and UDP, too",
    ),
)
def own_address_needs_no_snat(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in some(network, of_kind(network, "own")):
        if far is None:
            continue
        way = way_out(network, vm)

        balanced = "behind a load balancer" if pooled(network, vm.name) else "without a load balancer"
        expected = f"source {way}, ports unchanged, ICMP too"
        stage = Stage(tuple(send(network, vm, far, protocol) for protocol in _ALL_PROTOCOLS))
        yield Trial(
            f"{vm.name} {balanced}", expected, (stage,), judge_by(partial(_ports_kept, way=way, network=network))
        )


def _ports_kept(*observations: Arrivals, way: WayOut, network: Network) -> Finding:
    observed = "; ".join(f"{p}: {arrived(a)}" for p, a in zip(_ALL_PROTOCOLS, observations, strict=True))
    wrong = next((text for a in observations if (text := wrong_source(network, way, a))), "")
    changed = [
        f"{a.source_ports[s.number]} became {s.source_port}"
        for a in observations[:2]
        for s in a.seen[-1]
        if s.source_port != a.source_ports[s.number]
    ]
    return Finding(observed, wrong or (f"source port {changed[0]}" if changed else ""))


@claim(
    "S2-13",
    f"{_OUTBOUND_2017}, VM with an instance-level public IP",
    "An instance-level public IP lifts the limits of SNAT ports.",
    facts=(
        "with an address of its own there is no limit",
        "without one there is",
    ),
)
def own_address_lifts_the_limits_of_ports(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    limit = network.overrides.snat_ports_per_vm or _PORTS_SMALL_POOL
    limited = [vm for vm in of_kind(network, "frontend") if len(way_out(network, vm).addresses) == 1]
    own = of_kind(network, "own")
    if far is None or not limited or not own:
        return
    count = 2 * limit
    sends = (
        send(network, own[0], far, "udp", count, beyond_ports=True),
        send(network, limited[0], far, "udp", count, beyond_ports=True, lost=count - limit),
    )

    expected = f"{count} flows at once to one port of one host; a VM with {limit} SNAT ports opens no more than these"
    # The ports that flows of earlier experiments hold must be free again.
    stage = Stage((occupy(network, limited[0]), *sends))
    yield Trial(
        own[0].name,
        expected,
        (stage,),
        judge_by(partial(_more_flows_than_ports, own=own, limited=limited, network=network, limit=limit)),
    )


def _more_flows_than_ports(
    _0: Occupied,
    free: Arrivals,
    shared: Arrivals,
    *,
    own: list[VirtualMachine],
    limited: list[VirtualMachine],
    network: Network,
    limit: int,
) -> Finding:
    observed = f"{own[0].name}: {arrived(free)}; {limited[0].name}: {arrived(shared)}"
    contradiction = wrong_source(network, way_out(network, own[0]), free)
    if not contradiction and len(shared.seen[-1]) > limit:
        contradiction = f"{limited[0].name} opened {len(shared.seen[-1])} flows with {limit} ports"
    if not contradiction and not shared.seen[-1]:
        contradiction = f"{limited[0].name} opened no flow"
    return Finding(observed, contradiction)


@claim(
    "S2-14",
    f"{_OUTBOUND_2017}, discovering the public IP",
    "A lookup of myip.opendns.com at resolver1.opendns.com tells a VM its public source address.",
    facts=(
        "the answer is the address that the query came from",
        "the resolver's name is known",
    ),
)
def lookup_tells_the_public_address(network: Network) -> Iterator[Trial]:
    resolvers = [h for h in network.internet if any(s.kind == "dns" for s in h.services)]
    for vm in some(network, speaking_freely(network)):
        if not resolvers:
            return
        far, way = resolvers[0], way_out(network, vm, "udp")
        if way.kind == "none":
            continue  # its load balancer translates no UDP, so no resolver outside answers it

        lookup = Lookup(client=vm.name, name="myip.opendns.com", server=far.name)
        expected = f"the answer is {way}"
        stage = Stage((send(network, vm, far, "udp", 1, port=53), lookup))
        yield Trial(vm.name, expected, (stage,), judge_by(partial(_looked_up_as_seen, way=way, network=network)))


def _looked_up_as_seen(arrivals: Arrivals, names: Names, *, way: WayOut, network: Network) -> Finding:
    observed = f"nslookup: {', '.join(names.addresses) or 'no answer'}; {arrived(arrivals)}"
    if not names.addresses:
        return Finding(observed, "nslookup got no answer")
    wrong = [address for address in names.addresses if not matches(network, way, address)]
    if wrong:
        return Finding(observed, f"the answer is {', '.join(wrong)}")
    if way.kind != "frontend" and list(names.addresses) != sources(arrivals):
        return Finding(observed, "the answer is not the source that was seen")
    return Finding(observed)


@claim(
    "S2-17",
    f"{_OUTBOUND_2017}, limitations",
    "With several public addresses on a load balancer, any of them is a candidate for outbound flows.",
    profiles=_ANY_FRONTEND,
    facts=(
        "each address is a candidate",
        "no other is",
    ),
)
def any_frontend_is_a_candidate(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in some(network, of_kind(network, "frontend")):
        way = way_out(network, vm)
        if far is None or len(way.addresses) < 2:
            continue

        # So many that none of a few candidates is left out by chance.
        stage = Stage((send(network, vm, far, "tcp", 200),))
        yield Trial(
            vm.name,
            f"every flow from {way}, each of them seen",
            (stage,),
            judge_by(partial(_from_any_frontend, way=way, network=network)),
        )


def _from_any_frontend(arrivals: Arrivals, *, way: WayOut, network: Network) -> Finding:
    wrong = wrong_source(network, way, arrivals)
    never = sorted(way.addresses - {*sources(arrivals)})
    return Finding(arrived(arrivals), wrong or (f"no flow is seen from {', '.join(never)}" if never else ""))


@claim(
    "S2-10",
    f"{_OUTBOUND_2017}, load-balanced VM",
    "Without a rule that links the public frontend and the pool, a load-balanced VM behaves as a standalone one.",
    facts=(
        "a pool without a rule does not bind",
        "the source is that of a standalone VM",
    ),
)
def unlinked_pool_is_as_standalone(network: Network) -> Iterator[Trial]:
    return pool_only(network)


CLAIMS = (
    replies_reach_the_vm,
    ways_out_of_the_table,
    platform_chooses_the_default_address,
    ephemeral_ports_tell_flows_apart,
    unlinked_pool_is_as_standalone,
    pool_shares_the_frontends_ports,
    own_address_needs_no_snat,
    own_address_lifts_the_limits_of_ports,
    lookup_tells_the_public_address,
    any_frontend_is_a_candidate,
)
