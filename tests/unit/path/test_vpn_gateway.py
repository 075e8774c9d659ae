"""lab/path/vpn_gateway.py: what a gateway is made of, what may pass it, and the state of its tunnels."""

import math
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.flow import PortRange
from lab.path import vpn_gateway
from lab.path.vpn_gateway import Connectivity, begins, idleness, impossible, is_idle, reason, was_idle
from lab.plan import Address, IkeDaemon, Namespace, Plan, Provenance, RateLimit, Route, Rule, Tunnel
from lab.topology import load, parse

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def plan_of(name: str) -> Plan:
    return compile_network(load(TOPOLOGIES / f"{name}.lab.yaml"))


def tunnels(plan: Plan) -> dict[tuple[str, str], Tunnel]:
    return {(t.place, t.name): t for t in plan.of(Tunnel)}


def test_each_gateway_is_a_place_with_a_daemon_on_a_public_address_of_its_own() -> None:
    plan = plan_of("vnet-to-vnet")
    assert [p.place for p in plan.of(Namespace) if p.role == "gateway"] == ["gw.VNet1", "gw.VNet2"]
    owned = {(a.place, a.address) for a in plan.of(Address)}
    assert all((c.place, c.address) in owned for c in plan.of(IkeDaemon))


def test_a_router_leads_connected_prefixes_to_the_gateway_and_nothing_else_does() -> None:
    plan = plan_of("vnet-to-vnet")
    to_2 = [
        r for r in plan.of(Route) if r.destination == "10.2.0.0/16" and r.place.startswith(("router", "lb.", "gw."))
    ]
    found = {(r.place, r.interface) for r in to_2}
    assert ("router.VNet1", "gw.VNet1") in found
    assert ("gw.VNet1", None) in found, "without its tunnel it is lost, not sent on"
    assert not [r for r in to_2 if r.place == "lb.VNet1"]


def test_a_gateways_public_wire_passes_ike_and_esp_only() -> None:
    for chain, option in (("INPUT", "in_interface"), ("OUTPUT", "out_interface")):
        rules = [r for r in plan_of("vnet-to-vnet").of(Rule) if r.place == "gw.VNet1" and r.chain == chain]
        if chain == "OUTPUT":  # what a gateway says of ICMP is for its inner side: its own wire is closed before
            rules, inner = rules[:4], rules[4:]
            assert [(r.protocol, r.icmp_type, str(r.target)) for r in inner] == [
                ("icmp", "fragmentation-needed", "-j ACCEPT"), ("icmp", None, "-j DROP"),
            ]  # fmt: skip
        assert [(r.protocol, r.destination_ports, str(r.target)) for r in rules] == [
            ("udp", PortRange(500, 500), "-j ACCEPT"), ("udp", PortRange(4500, 4500), "-j ACCEPT"),
            ("esp", None, "-j ACCEPT"), (None, None, "-j DROP"),
        ]  # fmt: skip
        assert {getattr(r, option) for r in rules} == {"internet"}
    forward = [r for r in plan_of("vnet-to-vnet").of(Rule) if (r.place, r.chain) == ("gw.VNet1", "FORWARD")]
    assert "internet" not in {r.in_interface for r in forward} | {r.out_interface for r in forward}


def test_a_hub_offers_what_is_behind_its_other_tunnels_and_a_spoke_takes_what_it_lists() -> None:
    found = tunnels(plan_of("multi-site"))
    hub = found["gw.Hub", "to-spoke2"]
    assert hub.local == ("10.10.0.0/16",)
    assert {"10.30.0.0/16", "172.16.1.0/24"} <= set(hub.transit)
    assert "10.20.0.0/16" not in hub.transit
    assert found["gw.Spoke2", "to-hub-and-3"].remote == ("10.10.0.0/16", "10.30.0.0/16")
    assert found["gw.Branch", "site8"].version == 1
    assert found["gw.Branch", "site8"].transit == ()
    assert found["site1", "Hub"].local == ("172.16.1.0/24", "172.17.1.0/24")


def test_only_a_gateway_that_asks_for_it_is_shaped() -> None:
    assert [(s.place, s.mbit_s) for s in plan_of("multi-site").of(RateLimit)] == [("gw.Hub", 100)]


def test_no_plan_holds_a_key_and_both_ends_have_theirs() -> None:
    network = load(TOPOLOGIES / "multi-site.lab.yaml")
    keys = vpn_gateway.keys(network)
    assert keys["gw.Hub", "site3"] == keys["site3", "Hub"] == "Site3"
    assert keys["gw.Hub", "to-spoke2"] == keys["gw.Spoke2", "to-hub-and-3"] == "Key2"
    text = msgspec.json.encode(compile_network(network)).decode() + compile_network(network).text()
    assert not [key for key in set(keys.values()) if key and f'"{key}"' in text]
    assert "Key2" not in text


def test_without_a_gateway_what_is_connected_has_no_way_at_all() -> None:
    network: Network = parse(
        """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16]}}
local_networks: {s: {address_space: [10.9.0.0/16], vpn_gateway_address: 5.4.3.2}}
connections: [{virtual_network: v, local_network: s}]
""",
        "f",
    )
    (route,) = [r for r in compile_network(network).of(Route) if r.destination == "10.9.0.0/16"]
    assert (route.place, route.interface) == ("router.v", None)


# --- states -------------------------------------------------------------------------------------


def test_a_change_of_state_is_an_event_with_the_documents_words() -> None:
    up = Connectivity(changed=1.0).after("Site1", "Connected", "", 5.0)
    assert (up.state, up.event, up.established, up.changed) == ("Connected", 23401, 5.0, 5.0)
    assert (
        up.message == "The connectivity state for the local network site 'Site1' changed from Connecting to Connected."
    )
    down = up.after("Site1", "NotConnected", "no answer", 9.0)
    assert down.message.endswith("changed from Connected to Not Connected.")
    assert (down.established, down.changed, down.reason) == (5.0, 9.0, "no answer")


def test_the_same_state_again_is_no_event() -> None:
    up = Connectivity().after("s", "Connected", "", 5.0)
    assert up.after("s", "Connected", "", 9.0) == up


def test_a_tunnel_that_is_connected_stays_so_whatever_is_said_until_it_is_seen_to_be_gone() -> None:
    up = Connectivity().after("s", "Connected", "", 5.0)
    told = up.heard("s", "no answer from 203.0.113.2", 7.0)
    assert (told.state, told.established, told.reason) == ("Connected", 5.0, "")
    assert (told.gone("s", 7.1).state, told.gone("s", 7.1).reason) == ("NotConnected", "no answer from 203.0.113.2")
    assert told.gone("s", 60.0).reason == up.gone("s", 7.1).reason == "the tunnel is down"
    tried = Connectivity().heard("s", "no answer from 203.0.113.2", 7.0)
    assert (tried.state, tried.reason) == ("NotConnected", "no answer from 203.0.113.2")


def test_attempts_come_at_growing_intervals_and_at_once_when_all_may_be_different() -> None:
    known, waits, now = Connectivity(), [], 100.0
    for _ in range(5):
        known = known.attempted(now)
        waits.append(known.next_attempt - now)
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert known.afresh(first=True, now=now).next_attempt == now
    assert known.afresh(first=False, now=now).next_attempt == pytest.approx(now + 0.4)


def tunnel(
    local: str = "10.1.0.0/16",
    remote: str = "10.2.0.0/16",
    transit: str = "",
    peer: str = "203.0.113.2",
    version: Literal[1, 2] = 2,
    idle_s: float = 0.0,
) -> Tunnel:
    return Tunnel(
        place="gw", why=Provenance("", ""), name="s", peer=peer, version=version, idle_s=idle_s,
        ike=(), ike_lifetime_s=1, esp=(), esp_lifetime_s=1,
        local=tuple(local.split()), remote=tuple(remote.split()), transit=tuple(transit.split()),
    )  # fmt: skip


def test_the_side_with_the_lower_address_begins() -> None:
    assert begins(tunnel(peer="203.0.113.10"), "203.0.113.9")
    assert not begins(tunnel(peer="203.0.113.9"), "203.0.113.10")


BACK = tunnel("10.2.0.0/16", "10.1.0.0/16")


@pytest.mark.parametrize(
    ("ours", "back", "why"),
    [
        (tunnel(), BACK, ""),
        (tunnel(), None, ""),
        (tunnel(remote="10.9.0.0/16"), BACK, "ranges differ"),  # route-based: IKE would take anything
        (tunnel(remote="10.9.0.0/16", version=1), BACK, ""),  # policy-based, nothing in common: IKE refuses
        (tunnel(remote="10.2.0.0/17", version=1), BACK, "ranges differ"),
        (tunnel(remote="10.2.0.0/17"), BACK, "ranges differ"),
        (tunnel(remote="10.2.0.0/15"), BACK, "ranges differ"),
        (tunnel(remote="10.2.0.0/16 10.3.0.0/16"), BACK, "ranges differ"),  # which the peer does not pass on
        (tunnel(remote="10.2.0.0/16 10.3.0.0/16"), tunnel("10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"), ""),
        (tunnel(), tunnel("10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"), ""),  # which we do not ask for
        (tunnel(peer="203.0.113.1"), None, "addresses are mixed up"),
    ],
)
def test_ranges_must_be_the_same_on_both_sides(ours: Tunnel, back: Tunnel | None, why: str) -> None:
    found = impossible(ours, "203.0.113.1", back)
    assert why in found if why else not found


def test_route_based_tunnels_take_anything_policy_based_ones_each_pair_of_ranges() -> None:
    anything = (("0.0.0.0/0", "0.0.0.0/0"),)
    assert tunnel("10.1.0.0/16 10.3.0.0/16").selectors == anything
    each = tunnel("10.1.0.0/16 10.3.0.0/16", "10.2.0.0/16 10.4.0.0/16", version=1).selectors
    assert each == tuple((f"10.{ours}.0.0/16", f"10.{theirs}.0.0/16") for ours in (1, 3) for theirs in (2, 4))


def test_only_a_policy_based_tunnel_is_dropped_for_silence_and_it_is_not_attempted_then() -> None:
    kept, dropped = tunnel(), tunnel(version=1, idle_s=5.0)
    assert not is_idle(kept, 1e9)
    assert not was_idle(kept, 1e9)
    assert [is_idle(dropped, s) for s in (4.9, 5.0)] == [False, True]
    assert [was_idle(dropped, s) for s in (2.4, 2.5)] == [False, True]  # its peer's clock may be ahead
    up = Connectivity().after("s", "Connected", "", 5.0)
    down = up.resting("s", idleness(dropped), 10.0)
    assert (down.state, down.rests, down.next_attempt) == ("NotConnected", True, math.inf)
    assert down.reason == "dropped after 5 s without a packet; the next one rebuilds it"
    assert down.message.endswith("changed from Connected to Not Connected.")
    woken = down.afresh(first=True, now=20.0)
    assert (woken.rests, woken.next_attempt) == (False, 20.0)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("received AUTHENTICATION_FAILED notify error", "AUTHENTICATION_FAILED: the peer refuses our shared key"),
        (
            "tried 1 shared key for 'a' - 'b', but MAC mismatched",
            "AUTHENTICATION_FAILED: the peer's shared key is not ours",
        ),
        ("received TS_UNACCEPTABLE notify, no CHILD_SA built", "TS_UNACCEPTABLE: the peer does not have"),
        ("traffic selectors a === b unacceptable", "TS_UNACCEPTABLE: the peer asks for other ranges"),
        ("received NO_PROPOSAL_CHOSEN notify error", "NO_PROPOSAL_CHOSEN: "),
        ("giving up after 3 retransmits", "no answer from 203.0.113.2"),
        ("scheduling rekeying in 13838s", ""),
    ],
)
def test_a_daemons_reason_is_put_in_words(said: str, words: str) -> None:
    found = reason(said, tunnel())
    assert found.startswith(words) if words else not found
