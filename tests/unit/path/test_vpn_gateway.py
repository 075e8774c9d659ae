"""lab/path/vpn_gateway.py: what a gateway is made of, and what may pass it."""

from pathlib import Path

import msgspec

from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.flow import PortRange
from lab.path import vpn_gateway
from lab.plan import Address, IkeDaemon, Namespace, Plan, RateLimit, Route, Rule, Tunnel
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
