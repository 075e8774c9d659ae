"""Gateways, their tunnels and names across them, by the documents around VNet to VNet connection.

2015-05-15 (2015 to 2024).
"""

import json
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import msgspec

from lab.azure.model import PLATFORM_ADDRESS, InternetHost, Network, VirtualMachine, VirtualNetwork
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import arrived, judge_by, send, sources
from lab.verify.claims.kit.oracle import WayOut, far_host, matches, way_out
from lab.verify.claims.kit.tunnels import (
    Pair,
    alone,
    between_networks,
    changed,
    connected,
    fits,
    never,
    not_across,
    pairs,
    said,
    states,
    with_connection,
    works,
)
from lab.verify.experiment import (
    SILENCE_S,
    Answers,
    Arrivals,
    Ask,
    Checked,
    Connection,
    Crossed,
    Gateway,
    Meter,
    Metered,
    Run,
    Segments,
    SegmentSize,
    Send,
    Tunnels,
    Watch,
)

_FAQ = "vpn-gateway-vpn-faq.md (2016-03-10)"
_DEVICES_2016 = "vpn-gateway-about-vpn-devices.md (2016-06-29)"
_DEVICES_2016_12 = "vpn-gateway-about-vpn-devices.md (2016-12-12)"
_DEVICES_2017 = "vpn-gateway-about-vpn-devices.md (2017-01)"

#: Fields that Get-AzureVnetConnection prints of each tunnel (prev-versions mt167479).
_FIELDS = {
    "ConnectivityState",
    "EgressBytesTransferred",
    "IngressBytesTransferred",
    "LastConnectionEstablished",
    "LastEventID",
    "LastEventMessage",
    "LastEventTimeStamp",
    "LocalNetworkSiteName",
    "OperationDescription",
    "OperationId",
    "OperationStatus",
}

#: What Set-AzureVNetGatewayKey prints of a key that was set, beside an Id and a RequestId.
_RESULT = {"Error": "", "HttpStatusCode": "OK", "Status": "Successful", "StatusCode": "OK"}
#: Seconds without a packet after which a policy-based tunnel is dropped.
_IDLE_S = 300
_ANY = "0.0.0.0/0"
#: An address that is in no range of any network or site.
_STRANGER = "192.168.99.99"
#: AES-256 and SHA-1, as the daemon calls them.
_CBC = "AES_CBC 256 HMAC_SHA1"
_SITES = """\
name: sites
virtual_networks: {{v: {{address_space: [10.20.0.0/16], subnets: {{{subnets}}}}}}}
vpn_gateways: {{v: {{routing: {routing}, sku: {sku}}}}}
local_networks: {{{sites}}}
connections: [{connections}]
{more}
"""
_SKU_TABLE = "vpn-gateway-table-gwtype-legacy-aggtput-include.md (2016-03)"
_CONNECTION = "Get-AzureVNetConnection, mt167479 (2015-07)"


def file_with(
    count: int, *, sku: str = "Standard", routing: str = "dynamic", key: str = "", space: str = "", **more: str
) -> str:
    """Return a topology with one gateway and so many sites; ``space`` for all of them, or one for each."""
    sites = (
        f"s{i}: {{address_space: [{space or f'172.16.{i}.0/24'}], vpn_gateway_address: 131.2.3.{i + 1}}}"
        for i in range(count)
    )
    keyed = f', shared_key: "{key}"' if key else ""
    return _SITES.format(
        subnets=more.get("subnets", "GatewaySubnet: 10.20.2.0/29"),
        routing=routing,
        sku=sku,
        sites=", ".join(sites),
        connections=", ".join(f"{{virtual_network: v, local_network: s{i}{keyed}}}" for i in range(count)),
        more=more.get("more", ""),
    )


@claim(
    "N-GW-1",
    _SKU_TABLE,
    "A gateway has 10 tunnels, HighPerformance 30, and 1 if it is policy-based, which Basic alone is.",
    facts=(
        "HighPerformance has 30 tunnels",
        "and no more",
        "Standard has 10",
        "Basic has 10",
        "a policy-based gateway has one",
        "Basic alone is policy-based",
    ),
)
def tunnels_of_each_sku(network: Network) -> Iterator[Trial]:
    if alone(network):
        yield fits(file_with(30, sku="HighPerformance"), "30 tunnels of a HighPerformance gateway")
        yield fits(file_with(31, sku="HighPerformance"), "a 31st tunnel", "at most 30")
        yield fits(file_with(11), "an 11th tunnel of a Standard gateway", "at most 10")
        yield fits(file_with(11, sku="Basic"), "an 11th tunnel of a Basic gateway", "at most 10")
        yield fits(file_with(2, sku="Basic", routing="static"), "a second policy-based tunnel", "at most 1 ")
        yield fits(file_with(1, routing="static"), "a Standard policy-based gateway", "only a Basic gateway")


@claim(
    "N-GW-2",
    _FAQ,
    "Static routing is IKEv1, dynamic routing IKEv2; keys are 1 to 128 letters and digits.",
    facts=(
        "dynamic routing is IKEv2",
        "static routing is IKEv1",
        "a key has 128 characters at most",
        "and one at least",
        "letters and digits alone",
    ),
)
def static_speaks_ikev1_and_dynamic_ikev2(network: Network) -> Iterator[Trial]:
    for kind, version in (("dynamic", 2), ("static", 1)):
        for pair in pairs(network):
            gateway = network.gateway(pair.network)
            if gateway is None or gateway.routing != kind:
                continue

            yield works(
                pair,
                f"{kind} routing speaks IKEv{version}",
                partial(_speaks_another_version, pair=pair, version=version),
            )
            break
    if alone(network):
        yield fits(file_with(1, key="k" * 128), "a key of 128 characters")
        yield fits(file_with(1, key="k" * 129), "a key of 129 characters", "1 to 128 letters and digits")
        empty = file_with(1, key="k").replace('"k"', '""')
        yield fits(empty, "an empty key", "1 to 128 letters and digits")
        yield fits(file_with(1, key="not-one"), "a key with a dash", "1 to 128 letters and digits")


def _speaks_another_version(shown: Gateway, *, pair: Pair, version: int) -> str:
    found = next(c for c in shown.connections if c.site == pair.site.name)
    return "" if found.version == version else f"it speaks IKEv{found.version}"


def _encrypted(network: Network, *, ike: str, ike_s: int, esp: str, esp_s: int) -> Iterator[Trial]:
    """Yield that a tunnel of a dynamic gateway is encrypted in one way, and renewed before its time; seconds."""
    scale = network.overrides.time_scale
    for pair in between_networks(network)[:1]:
        yield works(
            pair,
            f"IKE {ike}, group 2, within {ike_s} s; ESP {esp}, {esp_s} s",
            partial(_encrypted_otherwise, pair=pair, ike=ike, esp=esp, ike_s=ike_s, scale=scale, esp_s=esp_s),
        )


def _encrypted_otherwise(shown: Gateway, *, pair: Pair, ike: str, esp: str, ike_s: int, scale: int, esp_s: int) -> str:
    found = next(c for c in shown.connections if c.site == pair.site.name)
    if not found.ike.startswith(ike) or "MODP_1024" not in found.ike:
        return f"IKE uses {found.ike}"
    if not found.esp.startswith(esp):
        return f"ESP uses {found.esp}"
    if not 0.75 * ike_s / scale <= found.ike_rekey_s <= ike_s / scale:
        return f"IKE is renewed after {found.ike_rekey_s} s"
    if abs(found.esp_life_s - esp_s / scale) > 2:
        return f"ESP ends after {found.esp_life_s} s"
    return ""


@claim(
    "N-GW-3",
    _DEVICES_2016,
    "Dynamic gateways encrypt with AES-256 and SHA-1, group 2; 10,800 s and 3,600 s.",
    facts=(
        "IKE is AES-256, SHA-1, group 2",
        "for 10,800 s",
        "ESP is AES-256, SHA-1",
        "for 3,600 s",
    ),
)
def dynamic_gateways_encrypt_with_cbc(network: Network) -> Iterator[Trial]:
    if network.profile.name == "seeds" or network.profile.name < "2017":
        yield from _encrypted(network, ike=_CBC, ike_s=10800, esp=_CBC, esp_s=3600)


@claim(
    "N-GW-4",
    _DEVICES_2016_12,
    "TCP segments through a tunnel are clamped to 1,350 bytes.",
    facts=(
        "segments are clamped to 1,350 bytes",
        "and no smaller",
    ),
)
def segments_are_clamped(network: Network) -> Iterator[Trial]:
    for pair in between_networks(network)[:2]:
        # Whatever the two ends would agree on between themselves is larger.
        connect = Segments(client=pair.near.node, address=str(pair.far.address), port=80)

        yield Trial(pair.near.node, "segments of 1,350 bytes", (Stage((connect,)),), judge_by(_clamped))


def _clamped(seen: SegmentSize) -> Finding:
    observed = f"segments of {seen.size} bytes" if seen.size else "no connection"
    return Finding(observed, "" if seen.size == 1350 else "they are not clamped to 1350 bytes")


@claim(
    "N-GW-5",
    _DEVICES_2017,
    "From 2017 on dynamic gateways prefer AES-256-GCM; 28,800 s and 27,000 s.",
    facts=(
        "IKE is AES-256, SHA-1, group 2",
        "for 28,800 s",
        "ESP is AES-256-GCM",
        "for 27,000 s",
    ),
)
def dynamic_gateways_prefer_gcm(network: Network) -> Iterator[Trial]:
    if network.profile.name != "seeds" and network.profile.name >= "2017":
        yield from _encrypted(network, ike=_CBC, ike_s=28800, esp="AES_GCM_16 256", esp_s=27000)


@claim(
    "N-GW-6",
    _FAQ,
    "A gateway subnet is called GatewaySubnet, is /29 or larger, and has no VM in it.",
    facts=(
        "its name",
        "it is /29 or larger",
        "no VM is in it",
    ),
)
def gateway_subnet_has_a_name_and_size(network: Network) -> Iterator[Trial]:
    if alone(network):
        named = file_with(1, subnets="Gateway: 10.20.2.0/29")
        yield fits(named, "a gateway subnet of another name", 'has no subnet "GatewaySubnet"')
        yield fits(file_with(1, subnets="GatewaySubnet: 10.20.2.0/30"), "a gateway subnet /30", "is /29 or larger")
        inside = file_with(1, more="virtual_machines: {vm: {subnet: v/GatewaySubnet}}")
        yield fits(inside, "a VM in the gateway subnet", "holds gateways only, no VM")


@claim(
    "N-GW-7",
    _FAQ,
    "A policy-based tunnel is dropped after 5 minutes of silence and rebuilt by traffic; a route-based one stays.",
    facts=(
        "a policy-based tunnel is dropped after 5 minutes",
        "and no sooner",
        "a route-based one stays",
        "traffic rebuilds it",
    ),
)
def policy_based_tunnel_rests(network: Network) -> Iterator[Trial]:
    scaled = _IDLE_S / network.overrides.time_scale
    for pair in pairs(network):
        other = next((p for p in pairs(network) if not p.policy_based and p.network != pair.network), None)
        if not pair.policy_based or other is None:
            continue
        there = Tunnels(network=other.network)
        dropped = Tunnels(network=pair.network, wanted="NotConnected", silence_s=scaled)
        rebuilt = Tunnels(network=pair.network, wanted="Connected")

        stage = Stage((other.there, there, pair.there, dropped, there, pair.there, rebuilt))
        expected = f"dropped after {scaled:g} s of silence and rebuilt by the next packet; {other.network}: kept"
        yield Trial(
            pair.network,
            expected,
            (stage,),
            judge_by(partial(_one_rests_and_one_stays, pair=pair, other=other, scaled=scaled)),
        )


def _one_rests_and_one_stays(
    crossed: Answers,
    before: Gateway,
    answers: Answers,
    gone: Gateway,
    after: Gateway,
    again: Answers,
    back: Gateway,
    *,
    pair: Pair,
    other: Pair,
    scaled: float,
) -> Finding:
    observed = (
        f"{pair.network}: {states(gone, pair.site.name)} after {gone.waited_s:.1f} s, then "
        f"{again.answers[0].outcome} and {states(back, pair.site.name)}; "
        f"{other.network}: {states(after, other.site.name)}"
    )
    if contradiction := other.reached(crossed) or pair.reached(answers):
        return Finding(observed, contradiction)
    found = _of(gone, pair)
    if found.state != "NotConnected" or "without a packet" not in found.reason:
        return Finding(observed, "a policy-based tunnel is not dropped")
    if gone.waited_s < 0.3 * scaled:
        return Finding(observed, f"a policy-based tunnel is dropped long before {scaled:g} s")
    one, two = _of(before, other), _of(after, other)
    if two.state != "Connected" or two.established != one.established:
        return Finding(observed, "a route-based tunnel is dropped, too")
    return Finding(observed, pair.reached(again) or connected(back, pair.site.name))


def _of(shown: Gateway, pair: Pair) -> Connection:
    return next(c for c in shown.connections if c.site == pair.site.name)


@claim(
    "N-GW-8",
    _FAQ,
    "Only what is for a local network's ranges takes the tunnel, untranslated; all else leaves as before.",
    facts=(
        "what is for the local network takes the tunnel",
        "what is for others leaves as before",
        "what finds its tunnel down leaves by no other way",
    ),
)
def only_listed_ranges_take_the_tunnel(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for pair in alone(network):
        vm = network.vm(pair.near.node)
        if far is None or vm is None:
            continue
        yield _both_ways(network, pair, vm, far)
        down = changed(network, connections=tuple(_disconnected(network)))
        yield _no_other_way(pair, vm, far, down)


def _both_ways(network: Network, pair: Pair, vm: VirtualMachine, far: InternetHost) -> Trial:
    way: WayOut = way_out(network, vm)

    expected = f"untranslated across the tunnel, from {way} outside"
    return Trial(
        vm.name,
        expected,
        (Stage((pair.crossing("tcp"), send(network, vm, far))),),
        judge_by(partial(_listed_crosses_and_others_leave, network=network, pair=pair, way=way)),
    )


def _listed_crosses_and_others_leave(
    crossed: Crossed, outside: Arrivals, *, network: Network, pair: Pair, way: WayOut
) -> Finding:
    observed = f"across: {said(crossed)}; outside: {arrived(outside)}"
    if contradiction := not_across(network, pair, crossed):
        return Finding(observed, contradiction)
    wrong = [source for source in sources(outside) if not matches(network, way, source)]
    if len(outside.seen[-1]) < outside.sent:
        return Finding(observed, "flows to the outside did not arrive")
    return Finding(observed, f"the outside sees {', '.join(wrong)}" if wrong else "")


def _no_other_way(pair: Pair, vm: VirtualMachine, far: InternetHost, down: Network) -> Trial:
    """Return a trial that what is for a tunnel that is down leaves by no other way.

    The capture of the public wire must see a flow to the outside, sent after them: that is the control.
    """
    public = Watch("public wire", vm.virtual_network)
    lost = Send(
        sender=vm.name,
        private=str(pair.near.address),
        destination=str(pair.far.address),
        protocol="udp",
        count=4,
        watches=(public, Watch("gateway wire", vm.virtual_network)),
        lost=4,
        controlled=False,
    )
    control = Send(
        sender=vm.name,
        private=str(pair.near.address),
        destination=str(far.address),
        protocol="udp",
        watches=(public, Watch("node", far.name)),
    )

    stage = Stage((Tunnels(network=pair.network, wanted="NotConnected"), lost, control), down)
    return Trial(
        f"{vm.name}, tunnel down",
        "nothing leaves in its stead",
        (stage,),
        judge_by(partial(_nothing_leaves_instead, pair=pair)),
    )


def _nothing_leaves_instead(shown: Gateway, gone: Arrivals, outside: Arrivals, *, pair: Pair) -> Finding:
    state = next(c.state for c in shown.connections if c.site == pair.site.name)
    wires = zip(("public wire", "gateway's wire"), gone.seen, strict=True)
    left = [f"{len(seen)} on the {wire}" for wire, seen in wires if seen]
    observed = f"{state}; {', '.join(left) or 'nothing'} left; outside: {arrived(outside)}"
    if not outside.seen[0]:
        return Finding(observed, "flows to the outside did not arrive")
    return Finding(observed, f"flows for the tunnel left: {', '.join(left)}" if left or state != "NotConnected" else "")


def _disconnected(network: Network) -> Iterator[Any]:
    for pair in alone(network):
        yield from (
            c
            for c in with_connection(network, pair, connect=False).connections
            if (c.virtual_network, c.local_network) == (pair.network, pair.site.name)
        )


@claim(
    "N-GW-9",
    _FAQ,
    "Selectors of route-based tunnels are any to any; policy-based ones have each pair of ranges.",
    facts=(
        "route-based selectors are any to any",
        "policy-based ones are each pair of ranges",
    ),
)
def selectors_of_tunnels(network: Network) -> Iterator[Trial]:
    tried = set()
    for pair in pairs(network):
        vnet = network.vnet(pair.network)
        if pair.site.vpn_device is None or pair.policy_based in tried or vnet is None:
            continue
        tried.add(pair.policy_based)

        kind = "each pair of ranges" if pair.policy_based else f"{_ANY} to {_ANY}"
        carried = "nothing but these is carried" if pair.policy_based else "whatever the source is carried"
        # What the site sends first wakes a tunnel that rests.
        wake = Ask(client=pair.far.node, address=str(pair.near.address), port=80, kind="http")
        stage = Stage((
            wake,
            Tunnels(network=pair.network, wanted="Connected"),
            _sent_by_site(pair, _STRANGER, arrives=not pair.policy_based),
            _sent_by_site(pair, str(pair.far.address), arrives=True),
        ))  # fmt: skip
        yield Trial(
            f"{pair.network} to {pair.site.name}",
            f"{kind}; {carried}",
            (stage,),
            judge_by(partial(_selectors_seen, pair=pair, vnet=vnet)),
        )


def _selectors_seen(
    _0: Answers, shown: Gateway, strange: Arrivals, known: Arrivals, *, pair: Pair, vnet: VirtualNetwork
) -> Finding:
    found = _of(shown, pair)
    sides = (", ".join(found.local), ", ".join(found.remote))
    observed = (
        f"{sides[0]} to {sides[1]}; from {_STRANGER}: {len(strange.seen[0])} of {strange.sent}, "
        f"from {pair.far.address}: {len(known.seen[0])} of {known.sent}"
    )
    wanted = {_ANY}, {_ANY}
    if pair.policy_based:
        wanted = set(map(str, vnet.address_space)), set(map(str, pair.site.address_space))
    if (set(found.local), set(found.remote)) != wanted:
        return Finding(observed, f"the gateway and {pair.site.name} agreed on {sides[0]} to {sides[1]}")
    if len(known.seen[0]) < known.sent:
        return Finding(observed, f"what {pair.site.name} sends is not carried")
    if pair.policy_based:
        return Finding(observed, "a source outside the ranges is carried" if strange.seen[0] else "")
    return Finding(observed, "" if len(strange.seen[0]) == strange.sent else "a source outside the ranges is lost")


def _sent_by_site(pair: Pair, source: str, *, arrives: bool) -> Send:
    """Return datagrams from a site's device, watched where the gateway sends on what came out of the tunnel."""
    return Send(
        sender=pair.far.node,
        private=source,
        destination=str(pair.near.address),
        protocol="udp",
        count=4,
        watches=(Watch("gateway inside", pair.network),),
        lost=0 if arrives else 4,
        controlled=False,
        untranslated=True,
    )


@claim(
    "N-GW-10",
    _FAQ,
    "Networks meet across a third one's gateway if, and only if, their ranges are listed there.",
    facts=("networks whose ranges are listed meet",),
)
def networks_meet_across_a_third(network: Network) -> Iterator[Trial]:
    for first in between_networks(network):
        for second in between_networks(network):
            hub = first.far_network
            listed = set(first.site.address_space) & _space(network, second.network)
            if second.far_network != hub or first.network >= second.network or hub == first.network:
                continue
            across = Pair(first.network, first.near, first.site, second.near, second.network)
            back = set(second.site.address_space) & _space(network, first.network)
            yield _transit(across, listed=bool(listed and back))


def _space(network: Network, name: str) -> set[Any]:
    vnet = network.vnet(name)
    return set(vnet.address_space) if vnet else set()


def _transit(across: Pair, *, listed: bool) -> Trial:
    ask = across.there if listed else _briefly(across)
    hub = Ask(client=across.near.node, address=str(PLATFORM_ADDRESS), port=53, kind="connect")

    what = "which lists its range" if listed else "which does not list its range"
    expected = "answered" if listed else "silence"
    subject = f"{across.near.node} to {across.far.node}, {what}"
    return Trial(
        subject, expected, (Stage((ask, hub)),), judge_by(partial(_met_across_the_hub, across=across, listed=listed))
    )


def _met_across_the_hub(answers: Answers, control: Answers, *, across: Pair, listed: bool) -> Finding:
    outcome = answers.answers[0].outcome
    if control.answers[0].outcome != "answered":
        return Finding(outcome, f"{across.near.node} is not heard by its resolver either")
    if listed:
        return Finding(outcome, across.reached(answers))
    return Finding(
        outcome, f"{across.far.node} is reached, though its range is not listed" if outcome == "answered" else ""
    )


def _briefly(pair: Pair) -> Ask:
    return Ask(client=pair.near.node, address=str(pair.far.address), port=80, kind="http", timeout_s=SILENCE_S)


@claim(
    "N-GW-11",
    "vpn-gateway-multi-site.md (2020-09-03)",
    "Ranges of the sites of one network must be apart.",
    facts=("ranges of two sites of one network",),
)
def ranges_of_sites_are_apart(network: Network) -> Iterator[Trial]:
    if alone(network):
        yield fits(file_with(2, space="10.2.3.0/24"), "two sites with one range", "must not overlap")


@claim(
    "N-GW-12",
    "virtual-networks-configure-vnet-to-vnet-connection.md (2016-08-22), "
    "vpn-gateway-howto-vnet-vnet-portal-classic.md (2023-10-06)",
    "A site needs a placeholder; a static gateway is recreated, without its address; what setting a key answers.",
    facts=(
        "a site has an address, which may be a placeholder",
        "what setting a key answers",
        "a gateway that is there is not created again",
        "its address is lost",
        "it has the other routing then",
    ),
)
def placeholder_and_recreated_gateway(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        words = ("gateway", "key", "set", "{lab}", pair.network, pair.site.name, "--key", "AnotherKey2")
        as_json, as_text = Run(words=(*words, "-o", "json")), Run(words=words)

        expected = "Error, HttpStatusCode OK, Id, Status Successful, RequestId, StatusCode OK"
        # A network of its own makes the lab, and the key, be changed back after the trial.
        stage = Stage((as_json, as_text), changed(network))
        yield Trial("a key that is set", expected, (stage,), judge_by(_answer_of_setting_a_key))
        empty = file_with(1).replace(", vpn_gateway_address: 131.2.3.1", "")
        yield fits(empty, "a local network without a placeholder", "which may be a placeholder")
    for pair in pairs(network):
        if pair.policy_based:
            yield _recreated(pair, network)


def _answer_of_setting_a_key(done: Checked, text: Checked) -> Finding:
    observed = f"exit {done.status}: {' '.join(done.said.split())}"
    try:
        said = json.loads(done.said)
    except ValueError:
        return Finding(observed, "it is no JSON")
    if not isinstance(said, dict):
        return Finding(observed, "it is no object")
    wrong = {field: said.get(field) for field, value in _RESULT.items() if said.get(field) != value}
    missing = {"Id", "RequestId"} - {field for field, value in said.items() if value}
    if wrong or missing:
        return Finding(observed, f"not as it must be: {', '.join(sorted({*wrong, *missing}))}")
    fields = [line.split(":")[0].strip() for line in text.said.splitlines()]
    return Finding(observed, "" if fields == list(said) else f"as text it has the fields {', '.join(fields)}")


def _recreated(pair: Pair, network: Network) -> Trial:
    """Return a trial that a static gateway becomes a dynamic one only by being deleted, and loses its address."""
    shown = Tunnels(network=pair.network)
    create = Run(words=("gateway", "create", "{lab}", pair.network, "--routing", "dynamic"))
    delete = Run(words=("gateway", "delete", "{lab}", pair.network))
    built = Tunnels(network=pair.network, wanted="Connected")

    # At the fastest pace that a lab has, a gateway is built in 4 s.
    quick = changed(network, overrides=msgspec.structs.replace(network.overrides, time_scale=240))
    stage = Stage((shown, create, delete, create, built), quick)
    expected = "refused while it is there; then DynamicRouting, with another address"
    return Trial(
        f"{pair.network}, from static to dynamic", expected, (stage,), judge_by(_recreated_with_another_address)
    )


def _recreated_with_another_address(
    before: Gateway, refused: Checked, deleted: Checked, created: Checked, after: Gateway
) -> Finding:
    observed = (
        f"{before.kind} {before.address}; create: exit {refused.status}; delete: exit {deleted.status}; "
        f"create: exit {created.status}; {after.kind} {after.address}"
    )
    if refused.status != 2 or "HTTP 409" not in refused.said:
        return Finding(observed, "a gateway that is there may be created again")
    if deleted.status or created.status or after.kind != "DynamicRouting":
        return Finding(observed, f"it is not recreated: {deleted.said} {created.said}".strip())
    if after.address == before.address:
        return Finding(observed, "it has kept its address")
    return Finding(observed, "" if after.address else "it is not built")


@claim(
    "N-GW-13",
    _CONNECTION,
    "A connection shows its state, last event and bytes, which count what is inside the tunnel.",
    facts=(
        "its fields",
        "the number of the event",
        "the words of the event",
        "bytes that go out",
        "bytes that come in",
    ),
)
def connection_shows_state_and_bytes(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        back = next(p for p in alone(network) if p.network == pair.far_network)
        flows = pair.crossing("udp", 50).send
        meter = Meter(
            send=flows,
            network=pair.network,
            site=pair.site.name,
            far_network=back.network,
            far_site=back.site.name,
        )

        stage = Stage((Tunnels(network=pair.network, wanted="Connected"), meter))
        yield Trial(
            pair.network,
            "the documents' fields, and bytes counted",
            (stage,),
            judge_by(partial(_bytes_counted, pair=pair)),
        )


def _bytes_counted(shown: Gateway, counted: Metered, *, pair: Pair) -> Finding:
    rose: Metered = counted
    observed = f"{rose.sent} inner bytes; egress rose by {rose.egress}, ingress of the peer by {rose.ingress}"
    found = next(c for c in shown.connections if c.site == pair.site.name)
    if missing := _FIELDS - set(shown.fields):
        return Finding(observed, f"not shown: {', '.join(sorted(missing))}")
    wanted = f"for the local network site '{pair.site.name}' changed from "
    if found.event != 23401 or wanted not in found.message or not found.message.endswith("to Connected."):
        return Finding(observed, f"event {found.event}: {found.message}")
    wrong = (rose.egress, rose.ingress) != (rose.sent, rose.sent)
    return Finding(observed, "the counters do not count inner bytes" if wrong else "")


@claim(
    "N-GW-14",
    "Get-AzureVNetGateway, jj154109 (2015-07)",
    "A gateway shows its type, state and address; its connections can be disconnected.",
    facts=(
        "its type",
        "its state",
        "its address",
        "a connection can be disconnected",
    ),
)
def gateway_shows_type_and_state(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        gateway = network.gateway(pair.network)
        assert gateway is not None

        yield works(
            pair, f"DynamicRouting, Provisioned, {gateway.address}", partial(_shown_otherwise, address=gateway.address)
        )
        after = with_connection(network, pair, connect=False)
        yield never(pair, "disconnected", after, "disconnected by its owner")


def _shown_otherwise(shown: Gateway, *, address: IPv4Address) -> str:
    seen = (shown.kind, shown.state, shown.address)
    return "" if seen == ("DynamicRouting", "Provisioned", str(address)) else f"it shows {', '.join(seen)}"


CLAIMS = (
    tunnels_of_each_sku,
    static_speaks_ikev1_and_dynamic_ikev2,
    dynamic_gateways_encrypt_with_cbc,
    segments_are_clamped,
    dynamic_gateways_prefer_gcm,
    gateway_subnet_has_a_name_and_size,
    policy_based_tunnel_rests,
    only_listed_ranges_take_the_tunnel,
    selectors_of_tunnels,
    networks_meet_across_a_third,
    ranges_of_sites_are_apart,
    placeholder_and_recreated_gateway,
    connection_shows_state_and_bytes,
    gateway_shows_type_and_state,
)
