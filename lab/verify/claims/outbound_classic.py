"""Outbound connections (2017-05-31): outbound connections."""

from collections.abc import Iterator, Sequence
from typing import Any

from lab.azure.model import Network, VirtualMachine
from lab.verify.claims.claim import Claim, Stage, Trial
from lab.verify.claims.kit.held_flows import occupy
from lab.verify.claims.kit.judges import arrived, judge_by, pairs, pool_only, refused, send, sources, wrong_source
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
from lab.verify.experiment import Counted, Lookup, Protocol, Return, Returned, Track, Tracked

_OUTBOUND_2017 = "Outbound connections (2017-05-31)"
#: Revisions by which a VM's flows take any of its frontends. The document of 2017-05-31 calls each of several addresses
#: a candidate, and so does its page until 2018-02-05, from when on a Basic load balancer picks one at random for a VM,
#: and later ones have policies of their own: these are judged by N-SN-12. Topologies of the document play `seeds`.
_ANY_FRONTEND = ("seeds", "2016-10", "2017-05a", "2017-05b", "2017-09")
#: The seed leaves the number of SNAT ports unnamed; the table of 2017-09-28 gives a VM of a pool of up to 50 this many.
_PORTS_SMALL_POOL = 1024
_SHARING = 600  # flows of each of two VMs that share an address: more than half of the ports that one of them has
_ALL_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp")
_EPHEMERAL = range(1024, 65536)  # ports of a public address that SNAT uses


def _s2_1(network: Network) -> Iterator[Trial]:
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

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            back: Returned = observations[0]
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
            return observed, contradiction

        expected = f"seen from {way}; the answer reaches the VM, another host's packet to the same port does not"
        yield Trial("S2-1", vm.name, expected, (Stage((flow,)),), judge_by(check))


def _s2_2(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    if far is None:
        return
    for vm in some(network, by_the_table(network)):
        way = way_out(network, vm)
        sends = (send(network, vm, far, "tcp"), send(network, vm, far, "udp"))

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            observed = "; ".join(f"{p}: {arrived(a)}" for p, a in zip(("tcp", "udp"), observations, strict=True))
            wrong = [text for a in observations if (text := wrong_source(network, way, a))]
            return observed, "; ".join(wrong)

        balanced = "load balancer" if pooled(network, vm.name) else "no load balancer"
        own = "own address" if vm.instance_public_ip else "no address of its own"
        yield Trial("S2-2", f"{vm.name} ({balanced}, {own})", f"source {way}", (Stage(sends),), judge_by(check))


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


def _s2_3(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    own = frozenset(str(vm.instance_public_ip.address) for vm in network.virtual_machines if vm.instance_public_ip)
    for vm in of_kind(network, "default")[:1]:
        if far is None:
            continue
        way = way_out(network, vm)

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            arrivals, counted = observations
            observed = f"{arrived(arrivals)}; counted: {', '.join(counted.addresses) or 'none'}"
            contradiction = wrong_source(network, way, arrivals)
            if not contradiction and set(sources(arrivals)) & set(counted.addresses):
                contradiction = "the default address is counted as a public IP"
            if not contradiction and not own <= set(counted.addresses):
                contradiction = "public IPs of VMs' own are not counted either"
            return observed, contradiction

        stage = Stage((send(network, vm, far), Counted()))
        yield Trial("S2-3", vm.name, f"source {way}, not counted", (stage,), judge_by(check))
        for what, place in _ADDRESS_ASKED:
            known = f'unknown key "{_KEY}"'
            yield refused("S2-3", _asked(place), f"choosing the default address in {what}", known, allowed=_STANDALONE)
        five = "".join(line for line in _SIX.splitlines(keepends=True) if f"own{_OF_OWN + 1}" not in line)
        words = f"a subscription has at most {_OF_OWN} "
        yield refused("S2-3", _SIX, f"one public IP more than {_OF_OWN} beside a standalone VM", words, allowed=five)


def _s2_4(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in one_of_each(network):
        way = way_out(network, vm)
        if far is None or way.kind == "own":
            continue

        def check(observations: Sequence[Any]) -> tuple[str, str]:
            tracked: Tracked = observations[0]
            arrived = tracked.arrivals.seen[-1]
            ports = {(e.reply_address, e.reply_port) for e in tracked.after}
            seen = {(s.source, s.source_port) for s in arrived}
            observed = f"tracked after the first packet: {pairs(ports)}; at the far side: {pairs(seen)}"
            early = {e.source_port for e in tracked.before} & {*tracked.arrivals.source_ports}
            if early:
                return observed, f"flows from {sorted(early)} had a port before their first packet"
            if len(arrived) < tracked.arrivals.sent:
                return observed, "flows did not arrive"
            if ports != seen:
                return observed, "the port tracked is not the port seen"
            if len(seen) < tracked.arrivals.sent:
                return observed, "two flows to one destination share a port"
            outside = sorted(port for _, port in seen if port not in _EPHEMERAL)
            return observed, f"ports {outside} are not 1024-65535" if outside else ""

        opened = send(network, vm, far, "udp", 4)  # a refused TCP flow would be forgotten at once
        expected = "a port of 1024-65535 for each flow, taken when its first packet is sent"
        stage = Stage((Track(send=opened, network=vm.virtual_network),))
        yield Trial("S2-4", vm.name, expected, (stage,), judge_by(check))


def _s2_11(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    sharing: dict[frozenset[str], list[VirtualMachine]] = {}
    for vm in of_kind(network, "frontend"):
        sharing.setdefault(way_out(network, vm).addresses, []).append(vm)
    for addresses, vms in sharing.items():
        if far is None or len(vms) < 2:
            continue
        pair = vms[:2]
        way = WayOut("frontend", addresses)

        def check(observations: Sequence[Any], way: WayOut = way, pair: list[VirtualMachine] = pair) -> tuple[str, str]:
            flows = observations[len(pair) :]
            observed = "; ".join(f"{vm.name}: {arrived(a)}" for vm, a in zip(pair, flows, strict=True))
            wrong = next((text for a in flows if (text := wrong_source(network, way, a))), "")
            first, second = ({(s.source, s.source_port) for s in a.seen[-1]} for a in flows)
            if not wrong and first & second:
                wrong = f"both were seen from {pairs(first & second)}"
            return observed, wrong

        # To two ports of one host: a port that both VMs had would not even be ambiguous there.
        sends = tuple(send(network, vm, far, "udp", _SHARING, port=9000 + n) for n, vm in enumerate(pair))
        names = ", ".join(vm.name for vm in pair)
        # As many flows as there may be ports: those of earlier experiments must be forgotten first.
        stage = Stage((*(occupy(network, vm) for vm in pair), *sends))
        yield Trial("S2-11", names, f"both from {way}, no port twice", (stage,), judge_by(check))


def _s2_12(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in some(network, of_kind(network, "own")):
        if far is None:
            continue
        way = way_out(network, vm)

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            observed = "; ".join(f"{p}: {arrived(a)}" for p, a in zip(_ALL_PROTOCOLS, observations, strict=True))
            wrong = next((text for a in observations if (text := wrong_source(network, way, a))), "")
            changed = [
                f"{a.source_ports[s.number]} became {s.source_port}"
                for a in observations[:2]
                for s in a.seen[-1]
                if s.source_port != a.source_ports[s.number]
            ]
            return observed, wrong or (f"source port {changed[0]}" if changed else "")

        balanced = "behind a load balancer" if pooled(network, vm.name) else "without a load balancer"
        expected = f"source {way}, ports unchanged, ICMP too"
        stage = Stage(tuple(send(network, vm, far, protocol) for protocol in _ALL_PROTOCOLS))
        yield Trial("S2-12", f"{vm.name} {balanced}", expected, (stage,), judge_by(check))


def _s2_13(network: Network) -> Iterator[Trial]:
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

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        _, free, shared = observations
        observed = f"{own[0].name}: {arrived(free)}; {limited[0].name}: {arrived(shared)}"
        contradiction = wrong_source(network, way_out(network, own[0]), free)
        if not contradiction and len(shared.seen[-1]) > limit:
            contradiction = f"{limited[0].name} opened {len(shared.seen[-1])} flows with {limit} ports"
        if not contradiction and not shared.seen[-1]:
            contradiction = f"{limited[0].name} opened no flow"
        return observed, contradiction

    expected = f"{count} flows at once to one port of one host; a VM with {limit} SNAT ports opens no more than these"
    # The ports that flows of earlier experiments hold must be free again.
    stage = Stage((occupy(network, limited[0]), *sends))
    yield Trial("S2-13", own[0].name, expected, (stage,), judge_by(check))


def _s2_14(network: Network) -> Iterator[Trial]:
    resolvers = [h for h in network.internet if any(s.kind == "dns" for s in h.services)]
    for vm in some(network, speaking_freely(network)):
        if not resolvers:
            return
        far, way = resolvers[0], way_out(network, vm, "udp")
        if way.kind == "none":
            continue  # its load balancer translates no UDP, so no resolver outside answers it

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            arrivals, names = observations
            observed = f"nslookup: {', '.join(names.addresses) or 'no answer'}; {arrived(arrivals)}"
            if not names.addresses:
                return observed, "nslookup got no answer"
            wrong = [address for address in names.addresses if not matches(network, way, address)]
            if wrong:
                return observed, f"the answer is {', '.join(wrong)}"
            if way.kind != "frontend" and list(names.addresses) != sources(arrivals):
                return observed, "the answer is not the source that was seen"
            return observed, ""

        lookup = Lookup(client=vm.name, name="myip.opendns.com", server=far.name)
        expected = f"the answer is {way}"
        stage = Stage((send(network, vm, far, "udp", 1, port=53), lookup))
        yield Trial("S2-14", vm.name, expected, (stage,), judge_by(check))


def _s2_17(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm in some(network, of_kind(network, "frontend")):
        way = way_out(network, vm)
        if far is None or len(way.addresses) < 2:
            continue

        def check(observations: Sequence[Any], way: WayOut = way) -> tuple[str, str]:
            (arrivals,) = observations
            wrong = wrong_source(network, way, arrivals)
            never = sorted(way.addresses - {*sources(arrivals)})
            return arrived(arrivals), wrong or (f"no flow is seen from {', '.join(never)}" if never else "")

        # So many that none of a few candidates is left out by chance.
        stage = Stage((send(network, vm, far, "tcp", 200),))
        yield Trial("S2-17", vm.name, f"every flow from {way}, each of them seen", (stage,), judge_by(check))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "S2-1",
        "An outbound flow is given a public address, and its return traffic reaches the VM.",
        f"{_OUTBOUND_2017}, introduction",
        _s2_1,
        facts=(
            "the flow is given a public address",
            "its return traffic reaches the VM",
            "another host's packets do not",
        ),
    ),
    Claim(
        "S2-2",
        "Without load balancer and own address: default SNAT. With a load balancer only: its address. "
        "With an instance-level public IP: that address, load balancer or not.",
        f"{_OUTBOUND_2017}, table",
        _s2_2,
        facts=(
            "neither: default SNAT",
            "a load balancer only: its address",
            "an address of its own only: that address",
            "both: the address of its own",
        ),
    ),
    Claim(
        "S2-3",
        "The default address is chosen by the platform, cannot be configured and is not counted as a public IP.",
        f"{_OUTBOUND_2017}, standalone VM",
        _s2_3,
        facts=(
            "the platform chooses the address",
            "no file can choose it",
            "it is not listed as a public IP",
            "it does not count towards the limit of public IPs",
        ),
    ),
    Claim(
        "S2-4",
        "Ephemeral ports of the public address tell a VM's flows apart; each is taken when its flow is created.",
        f"{_OUTBOUND_2017}, standalone VM",
        _s2_4,
        facts=(
            "a port for each flow",
            "an ephemeral port of the public address",
            "taken when the flow is created",
        ),
    ),
    Claim(
        "S2-10",
        "Without a rule that links the public frontend and the pool, a load-balanced VM behaves as a standalone one.",
        f"{_OUTBOUND_2017}, load-balanced VM",
        lambda network: pool_only("S2-10", network),
        facts=(
            "a pool without a rule does not bind",
            "the source is that of a standalone VM",
        ),
    ),
    Claim(
        "S2-11",
        "A load-balanced VM's flows come from the frontend's address, whose ports the VMs of the pool share.",
        f"{_OUTBOUND_2017}, load-balanced VM",
        _s2_11,
        facts=(
            "the source is the frontend's address",
            "the VMs of the pool share its ports",
        ),
    ),
    Claim(
        "S2-12",
        "With an instance-level public IP no SNAT is used, balanced or not: all outbound flows use that address.",
        f"{_OUTBOUND_2017}, VM with an instance-level public IP",
        _s2_12,
        facts=(
            "all flows use the address",
            "no port is translated",
            "the load balancer does not matter",
            "other protocols than TCP and UDP, too",
        ),
    ),
    Claim(
        "S2-13",
        "An instance-level public IP lifts the limits of SNAT ports.",
        f"{_OUTBOUND_2017}, VM with an instance-level public IP",
        _s2_13,
        facts=(
            "with an address of its own there is no limit",
            "without one there is",
        ),
    ),
    Claim(
        "S2-14",
        "A lookup of myip.opendns.com at resolver1.opendns.com tells a VM its public source address.",
        f"{_OUTBOUND_2017}, discovering the public IP",
        _s2_14,
        facts=(
            "the answer is the address that the query came from",
            "the resolver's name is known",
        ),
    ),
    Claim(
        "S2-17",
        "With several public addresses on a load balancer, any of them is a candidate for outbound flows.",
        f"{_OUTBOUND_2017}, limitations",
        _s2_17,
        _ANY_FRONTEND,
        facts=(
            "each address is a candidate",
            "no other is",
        ),
    ),
)
