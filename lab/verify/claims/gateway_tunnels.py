"""What tunnels carry: which ranges, how long they rest, and what is shown of them."""

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
from lab.verify.claims.kit.tunnel_files import file_with
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
    Send,
    Tunnels,
    Watch,
)

_FAQ = "vpn-gateway-vpn-faq.md (2016-03-10)"
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
_CONNECTION = "Get-AzureVNetConnection, mt167479 (2015-07)"


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
    policy_based_tunnel_rests,
    only_listed_ranges_take_the_tunnel,
    selectors_of_tunnels,
    networks_meet_across_a_third,
    ranges_of_sites_are_apart,
    placeholder_and_recreated_gateway,
    connection_shows_state_and_bytes,
    gateway_shows_type_and_state,
)
