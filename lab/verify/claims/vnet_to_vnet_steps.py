"""The steps of Configure a VNet to VNet connection (2015-05-15): networks, gateways, addresses, keys."""

import json
import re
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address

import msgspec

from lab.azure.model import PLATFORM_ADDRESS, Network, VirtualNetwork
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import command, failed_command, inside, let, operated, replay
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.tunnels import (
    Pair,
    alone,
    between_networks,
    changed,
    connected,
    fits,
    never,
    said,
    states,
    with_connection,
    with_site,
    works,
)
from lab.verify.claims.netcfg import file_of, imported
from lab.verify.claims.vnet_to_vnet import C2, IMAGE, TO_2, TUNNELS_2015, two
from lab.verify.experiment import Answers, Ask, Checked, Crossed, Gateway, Lookup, Names, Run, Tunnels

#: An address that nobody has; TestVNet's placeholder of a later revision.
_PLACEHOLDER = IPv4Address("5.4.3.2")
_STEPS = f"{TUNNELS_2015}, steps"


@claim(
    "S3-14",
    f"{TUNNELS_2015}, create",
    "The location of a virtual network cannot be changed after it was created.",
    facts=(
        "by a topology",
        "by a configuration file",
    ),
)
def location_cannot_be_changed(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        vnet = network.virtual_network(pair.network)
        space = [str(prefix) for prefix in vnet.address_space]
        moved = {vnet.name: {"location": f"not {vnet.location}", "address_space": space}}
        text = json.dumps({"name": network.name, "virtual_networks": moved})
        file = file_of(network).replace(f'name="{vnet.name}" Location="', f'name="{vnet.name}" Location="not ')
        ways = (
            Run(words=("plan", "{file}", "--diff"), text=text),
            imported(file),
            Run(words=("up", "{file}"), text=text),  # last: where it is not refused, it takes the VMs away
        )

        yield Trial(f"{vnet.name} moved", "refused, exit 2", (operated(*ways),), judge_by(_not_moved))


def _not_moved(*observations: Checked) -> Finding:
    observed = "; ".join(f"exit {one.status}: {one.said[:200]}" for one in observations)
    for one, what in zip(observations, ("lab plan", "a configuration file", "lab up"), strict=True):
        if wrong := let(one, f"a change of location by {what}", "location of a virtual network cannot be"):
            return Finding(observed, wrong)
    return Finding(observed)


@claim(
    "S3-15",
    f"{TUNNELS_2015}, create",
    "Names across virtual networks need a DNS server of one's own.",
    facts=(
        "the provided resolver does not know the other network's names",
        "a server of one's own does",
        "the network's servers are asked",
    ),
)
def names_need_a_server_of_ones_own(network: Network) -> Iterator[Trial]:
    servers = {v.private_ip_address: v for v in network.virtual_machines if any(s.kind == "dns" for s in v.services)}
    for pair in between_networks(network):
        vnet = network.vnet(pair.network)
        own = servers.get(vnet.dns_servers[0]) if vnet and vnet.dns_servers else None
        if own is None or own.virtual_network != pair.far_network:
            continue
        provided = Lookup(client=pair.near.node, name=pair.far.node, server=str(PLATFORM_ADDRESS))
        known = Lookup(client=pair.near.node, name=pair.near.node, server=str(PLATFORM_ADDRESS))
        across = Lookup(client=pair.near.node, name=pair.far.node)

        expected = f"the provided resolver does not know {pair.far.node}, {own.name} does, through the tunnel"
        yield Trial(
            pair.near.node,
            expected,
            (Stage((provided, known, across)),),
            judge_by(partial(_known_by_the_own_server, pair=pair)),
        )
        return


def _known_by_the_own_server(no: Names, control: Names, yes: Names, *, pair: Pair) -> Finding:
    observed = (
        f"provided: {_answer(no)} for {pair.far.node}, {_answer(control)} for {pair.near.node}; "
        f"own server: {_answer(yes)}"
    )
    if no.addresses:
        return Finding(observed, "the provided resolver knows a name of another network")
    if control.addresses != (str(pair.near.address),):
        return Finding(observed, "the provided resolver does not know a name of its own network")
    return Finding(observed, "" if yes.addresses == (str(pair.far.address),) else "the own server does not answer")


def _answer(names: Names) -> str:
    return ", ".join(names.addresses) or "no answer"


@claim(
    "S3-16",
    f"{TUNNELS_2015}, create",
    "VMs get their addresses from the address space of their network.",
    facts=("a VM's address is of its network's range",),
)
def vms_get_addresses_of_their_network(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:2]:
        vnet = network.vnet(pair.network)
        assert vnet is not None

        space = ", ".join(map(str, vnet.address_space))
        stage = Stage((pair.crossing("tcp"),))
        yield Trial(
            pair.near.node, f"an address of {space}", (stage,), judge_by(partial(_seen_from_its_space, vnet=vnet))
        )
    for pair in alone(network)[:1]:
        yield _given_one(network.virtual_network(pair.network))


def _seen_from_its_space(crossed: Crossed, *, vnet: VirtualNetwork) -> Finding:
    sources = {s.source for s in crossed.arrivals.seen[-1]}
    outside = [s for s in sources if not any(IPv4Address(s) in prefix for prefix in vnet.address_space)]
    contradiction = f"seen from {', '.join(outside)}" if outside else "" if sources else "nothing arrived"
    return Finding(said(crossed), contradiction)


def _given_one(vnet: VirtualNetwork) -> Trial:
    """Return a trial that a VM for which no address is asked gets one of its network's."""
    made = f"New-AzureVMConfig -Name dip -InstanceSize Small -ImageName {IMAGE} | New-AzureVM -ServiceName dip"
    where = f'-VNetName {vnet.name} -Location "{vnet.location}"'

    stage = operated(replay(f"{made} {where}"), inside("dip", "ip", "-4", "address"))
    expected = f"an address of {', '.join(map(str, vnet.address_space))}"
    return Trial(
        f"a new VM of {vnet.name}", expected, (stage,), judge_by(partial(_given_an_address_of_the_space, vnet=vnet))
    )


def _given_an_address_of_the_space(done: Checked, inner: Checked, *, vnet: VirtualNetwork) -> Finding:
    found = re.findall(r" inet (\d+\.\d+\.\d+\.\d+)/", inner.said)
    own = [address for address in found if not address.startswith("127.")]
    outside = [a for a in own if not any(IPv4Address(a) in prefix for prefix in vnet.address_space)]
    wrong = failed_command(done, inner) or ("" if own else "it has no address")
    return Finding(f"it has {', '.join(own)}", wrong or (f"{outside[0]} is not of its network" if outside else ""))


@claim(
    "S3-17",
    f"{TUNNELS_2015}, create",
    "After its creation, the status of a virtual network is Created.",
    facts=("its status is Created",),
)
def new_network_is_created(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        inside = [v for v in network.virtual_machines if v.virtual_network == pair.far_network]
        resolver = Ask(client=inside[0].name, address=str(PLATFORM_ADDRESS), port=53, kind="connect")

        stage = Stage((Run(words=("show", "{lab}", "-o", "json")), resolver))
        yield Trial(pair.far_network, "Created", (stage,), judge_by(partial(_shown_created, name=pair.far_network)))


def _shown_created(done: Checked, answers: Answers, *, name: str) -> Finding:
    shown = json.loads(done.said)["virtual_networks"] if done.status == 0 else {}
    observed = f"{name}: {shown.get(name)}; a VM of it: {answers.answers[0].outcome}"
    if shown.get(name) != "Created":
        return Finding(observed, "the status is not Created")
    return Finding(observed, "" if answers.answers[0].outcome == "answered" else "its VMs reach nothing")


@claim(
    "S3-18",
    _STEPS,
    "A local network needs a VPN device address, and a placeholder will do at first.",
    facts=(
        "a local network has a device address",
        "a placeholder will do",
        "with a placeholder there is no tunnel yet",
    ),
)
def placeholder_will_do_at_first(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        after = with_site(network, pair.site.name, vpn_gateway=None, vpn_gateway_address=_PLACEHOLDER)
        yield never(pair, f"placeholder {_PLACEHOLDER}", after, "no answer")
        text = two("s2: {address_space: [10.2.0.0/16]}", C2)
        yield fits(text, "a local network without a VPN device address", "which may be a placeholder")
        text = two(f"s2: {{address_space: [10.2.0.0/16], vpn_gateway_address: {_PLACEHOLDER}}}", C2)
        yield fits(text, "a placeholder")


@claim(
    "S3-19",
    _STEPS,
    "The range of a local network must be exactly that of the peer.",
    facts=(
        "a narrower range",
        "a wider range",
        "another range",
    ),
)
def range_must_be_the_peers(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        (prefix, *_) = pair.site.address_space
        narrower, other = next(prefix.subnets()), prefix.supernet(8).broadcast_address
        apart = type(prefix)((int(other) - 0xFFFF, 16))
        for what, space in (("narrower", narrower), ("wider", prefix.supernet()), ("another range", apart)):
            after = with_site(network, pair.site.name, address_space=(space,))
            yield never(pair, f"{what}, {space}", after)


@claim(
    "S3-20",
    _STEPS,
    "A gateway needs a gateway subnet in its virtual network.",
    facts=("a gateway without a gateway subnet is refused",),
)
def gateway_needs_a_gateway_subnet(network: Network) -> Iterator[Trial]:
    if alone(network):
        text = two(TO_2, C2).replace("GatewaySubnet: 10.1.255.0/29", "gateways: 10.1.255.0/29")
        yield fits(text, "a gateway without a gateway subnet", "a gateway needs a subnet of that very name")


#: How long a gateway is built, by the document about 15 minutes; and how many times faster it is tried.
_BUILT_S, _QUICK = 15 * 60, 120
_EARLY, _LATE_S = 0.9, 6.0  # of that time, and of real time, in which a machine may be busy with something else


@claim(
    "S3-21",
    _STEPS,
    "A gateway is Creating, without an address, then Connecting with it, then Connected.",
    facts=(
        "it is built for 15 minutes",
        "and no longer",
        "it is Creating at first",
        "it is Connecting then",
        "no address before it is built",
        "an address while it is Connecting",
        "two may be built at once",
    ),
)
def gateway_is_creating_then_connecting(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        placeholders = tuple(
            msgspec.structs.replace(site, vpn_gateway=None, vpn_gateway_address=_PLACEHOLDER)
            for site in network.local_networks
        )
        overrides = msgspec.structs.replace(network.overrides, time_scale=_QUICK)
        before = changed(network, overrides=overrides, local_networks=placeholders, vpn_gateways=())

        # Both are created at once; the first is looked at before the second is made, which takes time. Their peers are
        # placeholders: they wait for an answer, and get none.
        here, there = (
            command("gateway", "create", name, "--routing", "dynamic") for name in (pair.network, pair.far_network)
        )
        early = command("gateway", "show", pair.network, "-o", "json")
        stages = (
            operated(here, early, there, Tunnels(network=pair.network, wanted="NotConnected"), network=before),
            Stage((Tunnels(network=pair.network, wanted="Connected"), pair.there)),
        )
        expected = (
            f"Creating without an address for {_BUILT_S / _QUICK:g} s (15 minutes), Connecting with one, and "
            "Connected once the placeholders are replaced"
        )
        yield Trial(pair.network, expected, stages, judge_by(partial(_states_in_order, pair=pair)))


def _states_in_order(
    first: Checked, early: Checked, second: Checked, built: Gateway, after: Gateway, answers: Answers, *, pair: Pair
) -> Finding:
    stages = [f"{p.status} {p.address or 'without an address'}" for p in built.passed]
    observed = f"{', '.join(stages)}; then {after.status}, {after.address or 'no address'}"
    if wrong := failed_command(first, early, second) or _already_built(first, early):
        return Finding(observed, wrong)
    if built.passed[0].status != "Creating" and built.passed[0].at > first.began + _BUILT_S / _QUICK:
        return Finding(observed, doubt="it was looked at too late")
    wrong = _unlike_built([(p.status, p.address) for p in built.passed])
    wrong = wrong or _time_to_build(first, built)
    if not wrong and (after.status, after.state) != ("Connected", "Provisioned"):
        wrong = "it is not connected"
    return Finding(observed, wrong or ("" if after.address else "no address is shown") or pair.reached(answers))


def _unlike_built(passed: list[tuple[str, str]]) -> str:
    """Return what contradicts that a gateway was Creating without an address, then Connecting with one."""
    wanted = ("Creating", "Connecting", "NotConnected")
    states = tuple(status for status, _ in passed)
    if states != wanted:
        return f"it was {', '.join(states)} instead of {', '.join(wanted)}"
    blank = [not address for _, address in passed]
    return "" if blank == [True, False, False] else "its address is not shown just when it is built"


def _already_built(created: Checked, early: Checked) -> str:
    """Return what contradicts that a gateway was still being built soon after its creation."""
    status, took_s = json.loads(early.said)["gateways"][0]["Status"], early.ended - created.began
    return (
        "" if status == "Creating" or took_s > _EARLY * _BUILT_S / _QUICK else f"it was {status} after {took_s:.1f} s"
    )


def _time_to_build(created: Checked, built: Gateway) -> str:
    """Return what contradicts that a gateway took as long to build as the document says, "" if nothing does."""
    ready, wanted_s = built.passed[1].at, _BUILT_S / _QUICK
    if ready - created.began < _EARLY * wanted_s:
        return f"it was built after {ready - created.began:.1f} s instead of {wanted_s:g} s"
    late = ready - created.ended
    return f"it was not built {late:.1f} s after its creation" if late > wanted_s + _LATE_S else ""


@claim(
    "S3-22",
    _STEPS,
    "The gateways' real addresses replace the placeholders, and must not be mixed up.",
    facts=(
        "the real address takes the placeholder's place",
        "addresses that are mixed up never connect",
    ),
)
def real_addresses_replace_placeholders(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        here, there = network.gateway(pair.network), network.gateway(pair.far_network)
        own = next((s for s in network.local_networks if s.vpn_gateway == pair.network), None)
        if here is None or there is None or own is None:
            continue
        swapped = with_site(network, pair.site.name, vpn_gateway=here.virtual_network, vpn_gateway_address=here.address)
        swapped = with_site(swapped, own.name, vpn_gateway=there.virtual_network, vpn_gateway_address=there.address)
        yield never(pair, "addresses swapped", swapped)
        yield _replaced(network, pair, str(there.address))


def _replaced(network: Network, pair: Pair, real: str) -> Trial:
    """Return a trial that a tunnel comes up once the real address is set in the place of a placeholder."""
    before = with_site(network, pair.site.name, vpn_gateway=None, vpn_gateway_address=_PLACEHOLDER)
    shown = Tunnels(network=pair.network, wanted="Connected")

    given = command("local-network", "set", pair.site.name, "--address", real)
    stage = operated(Tunnels(network=pair.network, wanted="NotConnected"), given, shown, pair.there, network=before)
    return Trial(
        f"{pair.site.name}, {_PLACEHOLDER} replaced",
        f"connected to {real}",
        (stage,),
        judge_by(partial(_connected_to_the_real_address, pair=pair)),
    )


def _connected_to_the_real_address(
    down: Gateway, done: Checked, gateway: Gateway, answers: Answers, *, pair: Pair
) -> Finding:
    observed = f"{states(down)}; exit {done.status}; then {states(gateway)}"
    wrong = "" if down.status == "NotConnected" else f"with a placeholder it is {down.status}"
    return Finding(
        observed, wrong or failed_command(done) or connected(gateway, pair.site.name) or pair.reached(answers)
    )


@claim(
    "S3-23",
    f"{TUNNELS_2015}, connect",
    "Both sides must hold the same shared key.",
    facts=(
        "keys that differ never connect",
        "the listing sets the key of a side",
    ),
)
def both_sides_hold_one_key(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        after = with_connection(network, pair, shared_key="AnotherKey")
        yield never(pair, "another key on one side", after, "AUTHENTICATION_FAILED")
        yield _keys_set(pair, next(p for p in alone(network) if p.network == pair.far_network))


def _keys_set(pair: Pair, back: Pair) -> Trial:
    """Return a trial that the document's two lines set a key: with the first alone there is no tunnel."""
    line = "Set-AzureVNetGatewayKey -VNetName {} -LocalNetworkSiteName {} -SharedKey Another1"
    first, second = (replay(line.format(one.network, one.site.name)) for one in (pair, back))
    down, up = (Tunnels(network=pair.network, wanted=wanted) for wanted in ("NotConnected", "Connected"))

    stage = operated(first, down, second, up, pair.there)
    expected = "NotConnected (AUTHENTICATION_FAILED) with the first alone, Connected with both"
    return Trial(
        f"{pair.network} and {back.network}, by their listings",
        expected,
        (stage,),
        judge_by(partial(_one_key_on_both_sides, pair=pair)),
    )


def _one_key_on_both_sides(
    one: Checked, between: Gateway, other: Checked, after: Gateway, answers: Answers, *, pair: Pair
) -> Finding:
    observed = f"{states(between)}; then {states(after)}"
    wrong = failed_command(one, other)
    if not wrong and "AUTHENTICATION_FAILED" not in states(between):
        wrong = f"with a key at one side alone it is {between.status}"
    return Finding(observed, wrong or connected(after, pair.site.name) or pair.reached(answers))


@claim(
    "S3-24",
    f"{TUNNELS_2015}, connect",
    "Once the keys are set, the connection initialises and shows Connected.",
    facts=(
        "the far end answers",
        "it is shown as Connected",
    ),
)
def keys_make_a_connection(network: Network) -> Iterator[Trial]:
    for pair in between_networks(network):
        yield works(pair, f"Connected, and {pair.far.node} answers {pair.near.node}", lambda _: "")


CLAIMS = (
    location_cannot_be_changed,
    names_need_a_server_of_ones_own,
    vms_get_addresses_of_their_network,
    new_network_is_created,
    placeholder_will_do_at_first,
    range_must_be_the_peers,
    gateway_needs_a_gateway_subnet,
    gateway_is_creating_then_connecting,
    real_addresses_replace_placeholders,
    both_sides_hold_one_key,
    keys_make_a_connection,
)
