"""VNet to VNet connection (2015-05-15): virtual networks joined by their gateways."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from lab.azure.model import InternetHost, Network, VirtualMachine
from lab.verify.claims import bandwidth
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import command, failed_command, let, operated, replay, things
from lab.verify.claims.kit.judges import arrived, judge_by, send
from lab.verify.claims.kit.oracle import far_host
from lab.verify.claims.kit.tunnels import (
    End,
    Pair,
    alone,
    between_networks,
    connected,
    crossed_anyway,
    fits,
    not_across,
    pairs,
    said,
    states,
    works,
)
from lab.verify.claims.netcfg import file_of, imported
from lab.verify.experiment import (
    Answers,
    Arrivals,
    Checked,
    Crossed,
    Gateway,
    Run,
    Send,
    Tunnels,
    Watch,
)

TUNNELS_2015 = "VNet to VNet connection (2015-05-15)"
#: Where VMs without a virtual network are numbered.
_PLATFORM = IPv4Network("100.64.0.0/10")
#: An image by the name that the classic gallery had for it.
IMAGE = "b39f27a8b8c64d52b05eac6a62ebad85__Ubuntu-14_04_2_LTS-amd64-server-20150706-en-us-30GB"
_REQUIREMENTS = f"{TUNNELS_2015}, requirements"


def _vnet(octet: int, more: str = "") -> str:
    subnets = f"{{s: 10.{octet}.0.0/24, GatewaySubnet: 10.{octet}.255.0/29}}"
    return f"{{address_space: [10.{octet}.0.0/16], subnets: {subnets}{more}}}"


def two(sites: str, connections: str, *, first: str = "dynamic", second: str = "dynamic") -> str:
    """Return a topology with two networks and their gateways."""
    return f"""\
name: refused
virtual_networks: {{v1: {_vnet(1)}, v2: {_vnet(2)}}}
vpn_gateways: {{v1: {{routing: {first}, sku: Basic}}, v2: {{routing: {second}, sku: Basic}}}}
local_networks: {{{sites}}}
connections: [{connections}]
"""


TO_2 = "s2: {address_space: [10.2.0.0/16], vpn_gateway: v2}"
C2 = "{virtual_network: v1, local_network: s2, shared_key: A1b2C3D4}"


@claim(
    "S3-1",
    f"{TUNNELS_2015}, introduction",
    "Virtual networks are connected through their gateways over IPsec/IKE.",
    facts=(
        "flows arrive with the VM's own address",
        "what is for the other network takes the tunnel",
        "the gateways speak IKE",
        "what is inside is encrypted",
    ),
)
def networks_are_connected_over_ipsec(network: Network) -> Iterator[Trial]:
    for pair in between_networks(network)[:2]:
        expected = "arrive with the VM's own address; between the gateways IKE and ESP only"
        stage = Stage((pair.crossing("tcp"), pair.crossing("udp")))
        yield Trial(
            f"{pair.near.node} to {pair.far.node}",
            expected,
            (stage,),
            judge_by(partial(_crossed_in_esp, pair=pair, network=network)),
        )


def _crossed_in_esp(*observations: Crossed, pair: Pair, network: Network) -> Finding:
    contradictions = [not_across(network, pair, crossed) for crossed in observations]
    return Finding("; ".join(said(crossed) for crossed in observations), next(filter(None, contradictions), ""))


@claim(
    "S3-2",
    _REQUIREMENTS,
    "Peers may be in the same or in other subscriptions and regions.",
    facts=(
        "peers may be in one region",
        "peers may be in other regions",
        "peers may be of one subscription",
        "peers may be of other subscriptions",
    ),
)
def peers_of_any_subscription_and_region(network: Network) -> Iterator[Trial]:
    found = alone(network)
    if not found:
        return
    combinations = [("A", "x"), ("A", "y"), ("B", "x"), ("B", "y")]  # of the peer; the first is A, x
    vnets = ", ".join(
        f"v{i}: {_vnet(i, f', location: {where}, subscription: {whose}')}"
        for i, (where, whose) in enumerate([("A", "x"), *combinations])
    )
    names = range(1, 5)
    sites = ", ".join(f"s{i}: {{address_space: [10.{i}.0.0/16], vpn_gateway: v{i}}}" for i in names)
    text = f"""\
name: anywhere
virtual_networks: {{{vnets}}}
vpn_gateways: {{{", ".join(f"v{i}: {{routing: dynamic}}" for i in range(5))}}}
local_networks: {{{sites}}}
connections: [{", ".join(f"{{virtual_network: v0, local_network: s{i}}}" for i in names)}]
"""
    yield fits(text, "peers of the same and of other regions and subscriptions")
    pair = found[0]
    near, far = network.vnet(pair.network), network.vnet(pair.far_network)
    assert near is not None
    assert far is not None
    where = f"connected, {near.location} to {far.location}"
    yield works(pair, where, lambda _: "")


@claim(
    "S3-3",
    f"{TUNNELS_2015}, introduction",
    "Tunnels to networks and to local sites may share one gateway.",
    facts=(
        "the gateway has tunnels to networks",
        "the gateway has tunnels to sites",
    ),
)
def tunnels_share_a_gateway(network: Network) -> Iterator[Trial]:
    vnets, sites = between_networks(network), [p for p in pairs(network) if p.site.vpn_device]
    for vnet in vnets:
        site = next((p for p in sites if p.network == vnet.network), None)
        if site is not None:
            expected = f"{vnet.site.name} and {site.site.name} connected, and both reached"
            stage = Stage((Tunnels(network=vnet.network, wanted="Connected"), vnet.there, site.there))
            yield Trial(vnet.network, expected, (stage,), judge_by(partial(_all_ends_reached, vnet=vnet, site=site)))
            return


def _all_ends_reached(shown: Gateway, first: Answers, second: Answers, *, vnet: Pair, site: Pair) -> Finding:
    both = [connected(shown, vnet.site.name), connected(shown, site.site.name)]
    contradiction = next(filter(None, [*both, vnet.reached(first), site.reached(second)]), "")
    return Finding(states(shown), contradiction)


@claim(
    "S3-4",
    _REQUIREMENTS,
    "Tunnels connect virtual networks only: no VM or cloud service outside one.",
    facts=(
        "no local network has addresses of VMs outside virtual networks",
        "a VM outside virtual networks reaches none through a gateway",
    ),
)
def tunnels_connect_virtual_networks_only(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        must = "not VMs or services outside them"
        for what, space in (("", "100.64.0.0/16"), (", among others", "100.0.0.0/8")):
            site = f"s2: {{address_space: [{space}], vpn_gateway: v2}}"
            text = two(site, C2) + "virtual_machines: {outside: {}}\n"
            yield fits(text, f"a tunnel to a VM without a virtual network{what}", must)
        yield _no_way_in(network, pair, must)


def _no_way_in(network: Network, pair: Pair, must: str) -> Trial:
    """Return a trial that a VM of no virtual network neither reaches what is behind a tunnel nor is reached."""
    outside, far = next(v for v in network.virtual_machines if v.private_ip_address in _PLATFORM), far_host(network)
    assert far is not None
    alone_ = End(outside.name, outside.private_ip_address)
    out = msgspec.structs.replace(pair, near=alone_).crossing("udp", arrives=False)
    into = msgspec.structs.replace(pair, far=alone_).crossing("udp", arrives=False)
    beyond = command("local-network", "set", pair.site.name, "--address-space", str(_PLATFORM))

    stage = operated(pair.there, out, into, send(network, outside, far, "udp", 4), beyond, pair.there)
    expected = "neither reaches the other, no ESP on the wires, and no local network with its range"
    return Trial(
        f"{outside.name}, which is in no virtual network",
        expected,
        (stage,),
        judge_by(partial(_stays_outside, outside=outside, pair=pair, far=far, must=must)),
    )


def _stays_outside(
    before: Answers,
    there: Crossed,
    here: Crossed,
    plain: Arrivals,
    refused: Checked,
    across: Answers,
    *,
    outside: VirtualMachine,
    pair: Pair,
    far: InternetHost,
    must: str,
) -> Finding:
    crossed = (there, here)
    sides = (f"{outside.name} to {pair.far.node}", f"{pair.near.node} to {outside.name}")
    observed = "; ".join(f"{side}: {said(one)}" for side, one in zip(sides, crossed, strict=True))
    observed += f"; {outside.name} to {far.name}: {arrived(plain)}; exit {refused.status}: {refused.said[:200]}"
    if contradiction := pair.reached(before) or pair.reached(across):
        return Finding(observed, contradiction)
    if not plain.seen[-1]:
        return Finding(observed, doubt=f"{outside.name} is heard nowhere")
    wrong = next((f"{s}: {w}" for s, o in zip(sides, crossed, strict=True) if (w := crossed_anyway(o))), "")
    return Finding(observed, wrong or let(refused, f"a tunnel to {_PLATFORM}", must))


@claim(
    "S3-5",
    _REQUIREMENTS,
    "It takes gateways with dynamic routing; static routing is not supported.",
    facts=(
        "the near gateway has dynamic routing",
        "the far gateway has dynamic routing",
    ),
)
def static_routing_is_not_supported(network: Network) -> Iterator[Trial]:
    if alone(network):
        must = "need dynamic routing on both sides"
        yield fits(two(TO_2, C2), "two dynamic gateways")
        for first, second, which in (("static", "dynamic", "near"), ("dynamic", "static", "far")):
            text = two(TO_2, C2, first=first, second=second)
            found = f'the gateway of "{"v1" if which == "near" else "v2"}" has static routing'
            yield fits(text, f"a static {which} gateway", found, must)


@claim(
    "S3-6",
    _REQUIREMENTS,
    "No VPN device is needed unless local sites are connected too.",
    facts=("a tunnel between networks needs no device",),
)
def no_vpn_device_is_needed(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        yield works(pair, "connected, and no device in the file", lambda _: "")


def _tunnels(networks: int, sites: int) -> str:
    """Return a topology with one gateway that has so many tunnels to other networks, and to local sites."""
    vnets = ", ".join(f"v{i}: {_vnet(i)}" for i in range(networks + 1))
    to_networks = [f"n{i}: {{address_space: [10.{i}.0.0/16], vpn_gateway: v{i}}}" for i in range(1, networks + 1)]
    to_sites = [f"s{i}: {{address_space: [172.16.{i}.0/24], vpn_gateway_address: 131.2.3.{i}}}" for i in range(sites)]
    names = [site.split(":")[0] for site in (*to_networks, *to_sites)]
    return f"""\
name: tunnels
virtual_networks: {{{vnets}}}
vpn_gateways: {{{", ".join(f"v{i}: {{routing: dynamic}}" for i in range(networks + 1))}}}
local_networks: {{{", ".join((*to_networks, *to_sites))}}}
connections: [{", ".join(f"{{virtual_network: v0, local_network: {name}}}" for name in names)}]
"""


@claim(
    "S3-7",
    _REQUIREMENTS,
    "A gateway has at most 10 tunnels, other networks and local sites together.",
    facts=(
        "ten tunnels come up",
        "an eleventh is refused",
        "tunnels to networks count",
        "tunnels to sites count",
    ),
)
def ten_tunnels_at_most(network: Network) -> Iterator[Trial]:
    by_network: dict[str, list[Any]] = {}
    for pair in pairs(network):
        by_network.setdefault(pair.network, []).append(pair)
    for name, found in by_network.items():
        if len(found) != 10:
            continue

        stage = Stage((Tunnels(network=name, wanted="Connected"), *(pair.there for pair in found)))
        yield Trial(
            name,
            "ten tunnels connected, all far ends reached",
            (stage,),
            judge_by(partial(_ten_connected, found=found)),
        )
        for networks, sites in ((10, 0), (0, 10), (5, 5)):
            what = f"{networks} networks and {sites} sites"
            yield fits(_tunnels(networks, sites), f"{what}, ten tunnels")
        for networks, sites in ((11, 0), (0, 11), (6, 5)):
            what = f"{networks} networks and {sites} sites"
            words = ('tunnel 11 of "v0"', "at most 10")
            yield fits(_tunnels(networks, sites), f"{what}, an eleventh tunnel", *words)


def _ten_connected(shown: Gateway, *answers: Answers, found: list[Any]) -> Finding:
    contradictions = [connected(shown, pair.site.name) for pair in found]
    contradictions += [pair.reached(answer) for pair, answer in zip(found, answers, strict=True)]
    return Finding(states(shown), next(filter(None, contradictions), ""))


@claim(
    "S3-8",
    _REQUIREMENTS,
    "Address spaces of networks and local sites must not overlap.",
    facts=(
        "equal ranges",
        "a range that contains the network's",
        "a range that the network's contains",
        "ranges of two local networks of one network",
        "ranges of two connected networks",
        "a configuration file with an overlap is rejected",
    ),
)
def spaces_must_not_overlap(network: Network) -> Iterator[Trial]:
    if not alone(network):
        return
    # One file with every shape: all problems of a file are reported at once.
    shapes = {"equal": "10.1.0.0/16", "containing": "10.0.0.0/8", "contained": "10.1.2.0/24", "partial": "10.0.0.0/15"}
    vnets = ", ".join(f"{shape}: {{address_space: [10.1.0.0/16]}}" for shape in shapes)
    sites = ", ".join(
        f's-{shape}: {{address_space: ["{prefix}"], vpn_gateway_address: 131.2.3.4}}'
        for shape, prefix in shapes.items()
    )
    connections = ", ".join(f"{{virtual_network: {shape}, local_network: s-{shape}}}" for shape in shapes)
    text = f"name: refused\nvirtual_networks: {{{vnets}}}\nlocal_networks: {{{sites}}}\nconnections: [{connections}]\n"
    words = [f'{prefix} of "s-{shape}" overlaps 10.1.0.0/16 of "{shape}"' for shape, prefix in shapes.items()]
    must = "address spaces of a virtual network and its local networks must not overlap"
    yield fits(text, f"sites with an overlap ({', '.join(shapes)})", *words, must)
    both = "{address_space: [10.9.0.0/16], vpn_gateway_address: 131.2.3.4}"
    other = "{address_space: [10.9.3.0/24], vpn_gateway_address: 131.4.5.6}"
    text = two(f"s2: {both}, s3: {other}", f"{C2}, {{virtual_network: v1, local_network: s3}}")
    yield fits(text, "two sites of one network with an overlap", '10.9.3.0/24 of "s3" overlaps 10.9.0.0/16')
    beyond = two(TO_2, C2).replace("[10.2.0.0/16], subnets", "[10.2.0.0/16, 10.1.128.0/17], subnets")
    yield fits(beyond, "a connected network with an overlap", '10.1.0.0/16 of "v1" overlaps 10.1.128.0/17', must)
    yield _upload(network, alone(network)[0], must)


def _upload(network: Network, pair: Pair, must: str) -> Trial:
    """Return a trial that a configuration file with an overlap is rejected as a whole, and what runs stays."""
    vnet, space = network.virtual_network(pair.network), str(pair.site.address_space[0])
    right = file_of(network)
    wrong = right.replace(
        f"<AddressPrefix>{space}</AddressPrefix></AddressSpace><VPN",
        f"<AddressPrefix>{next(vnet.address_space[0].subnets())}</AddressPrefix></AddressSpace><VPN",
    ).replace("<DnsServers>", '<DnsServers><DnsServer name="new" IPAddress="10.2.0.99"/>')
    exported = Run(words=("export", "netcfg", "{lab}"))

    shown = Tunnels(network=pair.network, wanted="Connected")
    stage = operated(exported, imported(wrong), exported, shown, pair.there)
    return Trial(
        "a file with an overlap",
        "rejected as a whole",
        (stage,),
        judge_by(partial(_rejected_whole, must=must, pair=pair)),
    )


def _rejected_whole(
    before: Checked, refused: Checked, after: Checked, shown: Gateway, answers: Answers, *, must: str, pair: Pair
) -> Finding:
    observed = f"exit {refused.status}: {refused.said[:200]}; then {states(shown)}"
    changed_ = "" if before.said == after.said else "the configuration is another one afterwards"
    contradiction = let(refused, "a file with an overlap", must) or changed_
    return Finding(observed, contradiction or connected(shown, pair.site.name) or pair.reached(answers))


@claim(
    "S3-9",
    _REQUIREMENTS,
    "Redundant tunnels between a pair of virtual networks are not supported.",
    facts=(
        "one connection to a local network",
        "one local network of a peer",
    ),
)
def redundant_tunnels_are_not_supported(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        must, other = "redundant tunnels between a pair", "{virtual_network: v1, local_network: t2, shared_key: Other1}"
        yield fits(two(TO_2, f"{C2}, {C2}"), "a second connection to a local network", must)
        again = "t2: {address_space: [172.16.0.0/16], vpn_gateway: v2}"
        text = two(f"{TO_2}, {again}", f"{C2}, {other}")
        yield fits(text, "a second local network of the same peer", must)
        named = TO_2.replace("vpn_gateway: v2", "vpn_gateway_address: 40.1.1.2")
        sites = f"{named}, {again.replace('vpn_gateway: v2', 'vpn_gateway_address: 40.1.1.2')}"
        yield fits(two(sites, f"{C2}, {other}"), "a second local network of the same device address", must)
        yield _second_tunnel(pair)


def _second_tunnel(pair: Pair) -> Trial:
    """Return a trial that the commands of a running lab make no second tunnel to a peer, and the first one stays."""
    address, prefix = str(pair.site.vpn_gateway_address), "172.31.0.0/16"
    add = command("local-network", "add", "again", "--address-space", prefix, "--address", address)
    connect = command("gateway", "connect", pair.network, "again")
    shown = Tunnels(network=pair.network, wanted="Connected")

    stage = operated(add, connect, shown, pair.there)
    return Trial(
        f"{pair.network} of a running lab",
        "refused, and one tunnel",
        (stage,),
        judge_by(partial(_second_refused, pair=pair)),
    )


def _second_refused(added: Checked, done: Checked, gateway: Gateway, answers: Answers, *, pair: Pair) -> Finding:
    observed = f"exit {done.status}: {done.said[:300]}; then {states(gateway)}"
    wrong = failed_command(added) or let(done, "a second tunnel", "redundant tunnels between a pair")
    if not wrong and [c.site for c in gateway.connections] != [pair.site.name]:
        wrong = "the gateway has another tunnel"
    return Finding(observed, wrong or connected(gateway, pair.site.name) or pair.reached(answers))


@claim(
    "S3-10",
    _REQUIREMENTS,
    "A cloud service or load balancer cannot span virtual networks, connected or not.",
    facts=(
        "a load balancer's pools",
        "a load balancer's inbound NAT rules",
        "a pool's members",
        "a cloud service",
    ),
)
def service_cannot_span_networks(network: Network) -> Iterator[Trial]:
    if not alone(network):
        return
    vms = f"{two(TO_2, C2)}virtual_machines: {{a: {{subnet: v1/s}}, b: {{subnet: v2/s}}}}\n"
    balancer = "frontend_ip_configurations: {f: 40.1.1.1}, backend_address_pools"
    rule = "inbound_nat_rules: {n: {frontend: f, virtual_machine: b, frontend_port: 80, backend_port: 80}}"
    one, must = "VMs of v1, v2", "must be in one virtual network"
    for what, text in (
        ("a pool across two networks", f"load_balancers: {{lb: {{{balancer}: {{p: [a, b]}}}}}}"),
        ("pools in two networks", f"load_balancers: {{lb: {{{balancer}: {{p: [a], q: [b]}}}}}}"),
        ("a rule to a VM of another network", f"load_balancers: {{lb: {{{balancer}: {{p: [a]}}, {rule}}}}}"),
    ):
        yield fits(f"{vms}{text}\n", what, one, must)
    end = "{{name: w, load_balanced_set: w, virtual_machine: {}, protocol: tcp, local_port: 80, public_port: 80}}"
    endpoints = f"endpoints: [{end.format('a')}, {end.format('b')}]"
    span = "a cloud service cannot span virtual networks"
    for what, more in (("a cloud service", ""), ("a load-balanced set", f", {endpoints}")):
        text = f"{vms}cloud_services: {{c: {{virtual_machines: [a, b]{more}}}}}\n"
        yield fits(text, f"{what} across two networks", one, span)
    apart = "cloud_services: {c: {virtual_machines: [a]}, d: {virtual_machines: [b]}}"
    yield fits(f"{vms}{apart}\n", "a cloud service in each network")
    yield _joins(alone(network)[0])


def _joins(pair: Pair) -> Trial:
    """Return a trial that no VM of one network is made in the service of another network's VMs."""
    made = (
        f"New-AzureVMConfig -Name {name} -InstanceSize Small -ImageName {IMAGE} | New-AzureVM -ServiceName apart "
        f"-VNetName {vnet}{location}"
        for name, vnet, location in (
            ("apart1", pair.network, ' -Location "China North"'),
            ("apart2", pair.far_network, ""),
        )
    )
    done = replay(*made)

    what = f"a VM of {pair.far_network} in a service of {pair.network}"
    return Trial(what, "refused", (operated(done),), judge_by(_not_joined))


def _not_joined(refused: Checked) -> Finding:
    wrong = let(refused, "a VM of another network", "a cloud service cannot span virtual networks")
    first = "" if "New-AzureVM" in refused.said else "the service of one network was not made either"
    return Finding(f"exit {refused.status}: {refused.said[-300:]}", wrong or first)


@claim(
    "S3-11",
    _REQUIREMENTS,
    "All tunnels of a virtual network share the bandwidth of its gateway.",
    facts=(
        "two tunnels have no more than the bandwidth",
        "its SKU's bandwidth",
        "one tunnel alone has all of it",
    ),
)
def tunnels_share_bandwidth(network: Network) -> Iterator[Trial]:
    yield from bandwidth.shared(network)


@claim(
    "S3-12",
    f"{TUNNELS_2015}, plan",
    "Each network defines the other as a local network with exactly its range.",
    facts=(
        "all of the other's range is led through the tunnel",
        "it is defined with just that range",
    ),
)
def range_of_a_site_is_exact(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:2]:
        far = network.vnet(pair.far_network)
        assert far is not None
        space = far.address_space[0]
        ends = (space.network_address + 1, space.broadcast_address - 1)
        around = (space.network_address - 1, space.broadcast_address + 1)
        # What is around it goes first: what is inside then shows that the capture would have seen it.
        flows = [_into(pair, address, arrives=False) for address in around]
        flows += [_into(pair, address, arrives=True) for address in ends]

        expected = f"{space} is led through the tunnel, the addresses around it are not"
        yield Trial(
            f"{pair.network} to {pair.site.name}",
            expected,
            (Stage(tuple(flows)),),
            judge_by(partial(_exactly_the_range, space=space, around=around, ends=ends)),
        )


def _exactly_the_range(
    *observations: Arrivals,
    space: IPv4Network,
    around: tuple[IPv4Address, IPv4Address],
    ends: tuple[IPv4Address, IPv4Address],
) -> Finding:
    outside, inside = observations[:2], observations[2:]
    came = [a for a, seen in zip((*around, *ends), observations, strict=True) if seen.seen[0]]
    observed = f"through the tunnel came what is for {', '.join(map(str, came)) or 'nobody'}"
    if not all(seen.seen[0] for seen in inside):
        return Finding(observed, f"not all of {space} is led through the tunnel")
    wrong = any(seen.seen[0] for seen in outside)
    return Finding(observed, f"more than {space} is led through the tunnel" if wrong else "")


def _into(pair: Pair, address: IPv4Address, *, arrives: bool) -> Send:
    """Return a datagram to an address, watched where the gateway at the other end sends it on."""
    return Send(
        sender=pair.near.node,
        private=str(pair.near.address),
        destination=str(address),
        protocol="udp",
        watches=(Watch("gateway inside", pair.far_network),),
        lost=0 if arrives else 1,
        controlled=False,
        untranslated=True,
    )


@claim(
    "S3-13",
    f"{TUNNELS_2015}, plan",
    "To each network, the other is just another VPN connection.",
    facts=(
        "a connection is listed by the local network's name",
        "the configuration file refers to it as to any",
        "both networks have it",
        "it is shown as one to a site is",
    ),
)
def peer_is_just_another_connection(network: Network) -> Iterator[Trial]:
    found = alone(network)
    for pair in found[:1]:
        back = next(p for p in found if (p.network, p.far_network) == (pair.far_network, pair.network))
        yield works(pair, f"{pair.network} lists {pair.site.name}", lambda _: "")
        yield works(back, f"{back.network} lists {back.site.name}", lambda _: "")
        yield _just_another(pair, back)
    by_network = {p.network: [q for q in pairs(network) if q.network == p.network] for p in between_networks(network)}
    for name, listed in by_network.items():
        if any(p.site.vpn_device for p in listed):
            yield _all_alike(name, listed)


_CONNECTION = "Get-AzureVNetConnection -VNetName {}"


def _just_another(pair: Pair, back: Pair) -> Trial:
    """Return a trial that each network is told of the other by a reference and a connection, as of any site."""
    said_ = replay(*(_CONNECTION.format(one.network) for one in (pair, back)))

    shown = [Tunnels(network=one.network, wanted="Connected") for one in (pair, back)]
    stage = Stage((*shown, said_, Run(words=("export", "netcfg", "{lab}"))))
    expected = f"{pair.site.name} and {back.site.name}, each a LocalNetworkSiteRef and a connection"
    return Trial(
        f"{pair.network} and {back.network}", expected, (stage,), judge_by(partial(_listed_alike, pair=pair, back=back))
    )


def _listed_alike(
    _0: Gateway, _1: Gateway, connections: Checked, exported: Checked, *, pair: Pair, back: Pair
) -> Finding:
    rows = [(f.get("LocalNetworkSiteName"), f.get("ConnectivityState")) for f in things(connections)]
    observed = f"{rows}; exit {exported.status}"
    if rows != [(one.site.name, "Connected") for one in (pair, back)]:
        return Finding(observed, f"Get-AzureVNetConnection prints {connections.said[:200]}")
    for one in (pair, back):
        start = exported.said.partition(f'<VirtualNetworkSite name="{one.network}"')[2]
        references = re.findall(
            r'<LocalNetworkSiteRef name="([^"]+)">\s*<Connection type="IPsec"', start.partition("</Virt")[0]
        )
        if references != [one.site.name]:
            return Finding(observed, f"the file has {references} for the connections of {one.network}")
    return Finding(observed)


def _all_alike(name: str, listed: Sequence[Pair]) -> Trial:
    """Return a trial that connections to networks and to sites are shown with the same fields."""
    done = replay(_CONNECTION.format(name))
    wanted = sorted(pair.site.name for pair in listed)

    stage = Stage((Tunnels(network=name, wanted="Connected"), done))
    return Trial(
        name,
        f"{len(wanted)} connections with the same fields",
        (stage,),
        judge_by(partial(_fields_alike, wanted=wanted)),
    )


def _fields_alike(_shown: Gateway, done: Checked, *, wanted: list[str]) -> Finding:
    fields = things(done)
    names = sorted(one.get("LocalNetworkSiteName", "") for one in fields)
    kinds = {tuple(one) for one in fields}
    observed = f"{', '.join(names)}: {len(kinds)} sets of fields"
    wrong = "" if names == wanted else "not all sites are listed"
    return Finding(observed, wrong or ("" if len(kinds) == 1 else "they have not the same fields"))


CLAIMS = (
    networks_are_connected_over_ipsec,
    peers_of_any_subscription_and_region,
    tunnels_share_a_gateway,
    tunnels_connect_virtual_networks_only,
    static_routing_is_not_supported,
    no_vpn_device_is_needed,
    ten_tunnels_at_most,
    spaces_must_not_overlap,
    redundant_tunnels_are_not_supported,
    service_cannot_span_networks,
    tunnels_share_bandwidth,
    range_of_a_site_is_exact,
    peer_is_just_another_connection,
)
