"""What gateways, local networks and connections may not be: every refusal with its words and source."""

import pytest

from lab.azure import invariants, model, vpn_limits
from lab.topology import parse
from tests.unit.refusals import said

_TUNNELS_2015 = "(VNet to VNet connection, 2015-05-15, requirements)"

#: Two virtual networks and their gateways; the lines of what follows begin at 9.
PAIR = """\
name: a
virtual_networks:
  v1: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24, GatewaySubnet: 10.1.255.0/27}}
  v2: {address_space: [10.2.0.0/16], subnets: {s: 10.2.0.0/24, GatewaySubnet: 10.2.255.0/27}}
vpn_gateways: {v1: {routing: R1}, v2: {routing: dynamic}}
local_networks:
  s1: {address_space: [10.1.0.0/16], vpn_gateway: v1}
  s2: {address_space: [P2], vpn_gateway: v2}
connections:
  - {virtual_network: v1, local_network: s2, shared_key: A1b2C3D4}
"""


def pair(*, routing: str = "dynamic", prefix: str = "10.2.0.0/16", more: str = "") -> str:
    return PAIR.replace("R1", routing).replace("P2", prefix) + more


def test_a_pair_of_dynamic_gateways_is_fine() -> None:
    network = parse(pair(), "f")
    (connection,) = network.connections
    assert network.local_network("s2").vpn_gateway_address == network.vpn_gateways[1].address
    assert connection.shared_key == "A1b2C3D4"
    assert "A1b2C3D4" not in repr(network)


def test_a_network_with_tunnels_survives_json() -> None:
    network = parse(pair(), "f")
    assert model.decode(model.encode(network)) == network


def test_what_anybody_may_read_of_a_network_has_no_shared_key() -> None:
    network = parse(pair(), "f")
    assert b"A1b2C3D4" in model.encode(network)
    assert b"A1b2C3D4" not in model.encode(model.without_keys(network))


@pytest.mark.parametrize(
    ("prefix", "owner"),
    [
        ("10.1.0.0/16", "10.1.0.0/16"),  # equal
        ("10.0.0.0/8", "10.1.0.0/16"),  # containing
        ("10.1.128.0/24", "10.1.0.0/16"),  # contained
        ("10.0.0.0/15", "10.1.0.0/16"),  # partly shared with another network too
    ],
)
def test_a_site_may_not_overlap_its_virtual_network(prefix: str, owner: str) -> None:
    lines = said(pair(prefix=prefix))
    assert any(
        line == f'f:10: connections.0: {prefix} of "s2" overlaps {owner} of "v1"; address spaces of a virtual network '
        f"and its local networks must not overlap {_TUNNELS_2015}; choose ranges that are apart"
        for line in lines
    ), lines


@pytest.mark.parametrize("prefix", ["10.9.0.0/16", "10.8.0.0/14", "10.9.3.0/24"])
def test_two_sites_of_one_network_may_not_overlap(prefix: str) -> None:
    text = f"""\
name: a
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{GatewaySubnet: 10.1.255.0/29}}}}}}
local_networks:
  one: {{address_space: [10.9.0.0/16], vpn_gateway_address: 131.2.3.4}}
  two: {{address_space: ["{prefix}"], vpn_gateway_address: 131.4.5.6}}
connections: [{{virtual_network: v, local_network: one}}, {{virtual_network: v, local_network: two}}]
"""
    (line,) = said(text)
    assert line.startswith(f'f:6: connections.1: {prefix} of "two" overlaps 10.9.0.0/16 of "one"; ')


def test_two_networks_that_overlap_may_not_be_connected_whatever_the_site_says() -> None:
    text = pair(prefix="10.3.0.0/16").replace("v2: {address_space: [10.2.0.0/16]", "v2: {address_space: [10.0.0.0/8]")
    assert any('10.1.0.0/16 of "v1" overlaps 10.0.0.0/8 of "v2"' in line for line in said(text))


def test_static_routing_is_refused_between_virtual_networks_and_needs_a_basic_gateway() -> None:
    assert said(pair(routing="static")) == [
        (
            "f:5: vpn_gateways.v1.sku: static routing with Standard; only a Basic gateway is policy-based "
            "(vpn-gateway-table-gwtype-legacy-aggtput-include.md); use sku: Basic, or routing: dynamic"
        ),
        (
            'f:10: connections.0: the gateway of "v1" has static routing; tunnels between virtual networks need '
            f"dynamic routing on both sides {_TUNNELS_2015}; use vpn_gateways.v1.routing: dynamic; "
            "in a lab that runs, delete the gateway and create it again, with another address"
        ),
    ]


def test_a_second_connection_of_a_pair_is_refused() -> None:
    again = "  - {virtual_network: v1, local_network: s2}\n"
    assert said(pair(more=again)) == [
        (
            'f:11: connections.1: "v1" has a tunnel to 203.0.113.2 already, to "s2"; redundant tunnels between a pair '
            f"of networks are not supported {_TUNNELS_2015}; remove one of the two"
        )
    ]


SITES = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {GatewaySubnet: 10.1.255.0/27}}}
vpn_gateways: {v: {routing: dynamic}}
local_networks:
"""


def sites(names: list[str], *, address: str = "131.0.0.%d") -> str:
    """Return a network with a connection to each site, in that order; the first connection is on the last lines."""
    text = SITES + "".join(
        f"  {name}: {{address_space: [10.{n}.0.0/16], vpn_gateway_address: {address % n}}}\n"
        for n, name in enumerate(names, 2)
    )
    return text + "connections:\n" + "".join(f"  - {{virtual_network: v, local_network: {n}}}\n" for n in names)


def test_the_tunnel_too_many_is_the_last_of_the_file_whatever_it_is_called() -> None:
    names = [f"z{number}" for number in range(10)] + ["a"]
    (line,) = said(sites(names))
    assert line.startswith('f:27: connections.10: tunnel 11 of "v" (Standard), to "a"; ')


def test_of_two_tunnels_to_one_device_the_second_of_the_file_is_refused() -> None:
    text = sites(["z", "a"]).replace("131.0.0.3", "131.0.0.2")
    (line,) = said(text)
    assert line.startswith('f:9: connections.1: "v" has a tunnel to 131.0.0.2 already, to "z"; ')


def test_a_connection_that_is_wrong_is_found_at_its_line_behind_one_to_nowhere() -> None:
    text = sites(["nowhere", "z", "a"]).replace("  nowhere: ", "  n: ").replace("10.4.0.0/16", "10.1.0.0/24")
    lines = said(text)
    assert [line.split(" ")[:2] for line in lines] == [
        ["f:9:", "connections.0.local_network:"],
        ["f:11:", "connections.2:"],
    ]
    assert '10.1.0.0/24 of "a" overlaps 10.1.0.0/16 of "v"' in lines[1]


def test_the_order_of_connections_in_a_file_makes_no_other_network() -> None:
    one, other = sites(["z", "a"]), sites(["z", "a"]).split("connections:\n")
    turned = other[0] + "connections:\n" + "".join(reversed(other[1].splitlines(keepends=True)))
    assert turned != one
    assert parse(turned, "f") == parse(one, "f")


def test_a_gateway_needs_its_subnet_and_the_advice_is_one_that_fits() -> None:
    text = pair().replace("GatewaySubnet: 10.1.255.0/27", "Gateway: 10.1.255.0/27")
    assert said(text) == [
        (
            'f:5: vpn_gateways.v1: "v1" has no subnet "GatewaySubnet"; a gateway needs a subnet of that very name, /29 '
            "or larger (VNet to VNet connection, 2015-05-15, add a gateway subnet); add one to the network's "
            "subnets, such as GatewaySubnet: "
            "10.1.255.224/27"
        )
    ]


def many(count: int, sku: str) -> str:
    sites = ", ".join(
        f"s{i}: {{address_space: [172.16.{i}.0/24], vpn_gateway_address: 131.2.3.{i}}}" for i in range(count)
    )
    connections = ", ".join(f"{{virtual_network: v, local_network: s{i}}}" for i in range(count))
    return f"""\
name: a
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{GatewaySubnet: 10.1.255.0/29}}}}}}
vpn_gateways: {{v: {{routing: dynamic, sku: {sku}}}}}
local_networks: {{{sites}}}
connections: [{connections}]
"""


@pytest.mark.parametrize(("sku", "most"), [("Basic", 10), ("Standard", 10), ("HighPerformance", 30)])
def test_a_gateway_has_so_many_tunnels_and_no_more(sku: str, most: int) -> None:
    assert len(parse(many(most, sku), "f").connections) == most
    (line,) = said(many(most + 1, sku))
    assert f"connections.{most}: tunnel {most + 1} of" in line
    assert f"such a gateway has at most {most} (" in line


def test_a_static_gateway_has_one_tunnel() -> None:
    text = many(2, "Basic").replace("routing: dynamic", "routing: static")
    assert "such a gateway has at most 1 " in said(text)[0]
    assert parse(many(1, "Basic").replace("routing: dynamic", "routing: static"), "f")


@pytest.mark.parametrize("key", ['""', "a b", "x" * 129, "1234"], ids=["none", "space", "129", "a number"])
def test_a_key_is_refused_without_being_shown(key: str) -> None:
    (line,) = said(pair().replace("A1b2C3D4", key))
    assert line.startswith("f:10: connections.0.shared_key: a key of ")
    assert "1 to 128 letters and digits (vpn-gateway-vpn-faq.md, 2016-03-10)" in line
    assert key.strip('"') == "" or key not in line


@pytest.mark.parametrize("key", ["a", "x" * 128])
def test_the_shortest_and_the_longest_key_are_fine(key: str) -> None:
    assert parse(pair().replace("A1b2C3D4", key), "f").connections[0].shared_key == key


def test_a_local_network_has_one_address_of_a_device_which_may_be_a_placeholder() -> None:
    assert "local_networks.s2: no VPN device address; a local network has the address of its VPN device: " in said(
        pair().replace("s2: {address_space: [10.2.0.0/16], vpn_gateway: v2}", "s2: {address_space: [10.2.0.0/16]}")
    )[0]  # fmt: skip
    both = pair().replace("vpn_gateway: v2", "vpn_gateway: v2, vpn_gateway_address: 5.4.3.2")
    assert "both vpn_gateway and vpn_gateway_address" in said(both)[0]
    placeholder = parse(pair().replace("vpn_gateway: v2", "vpn_gateway_address: 5.4.3.2"), "f")
    assert str(placeholder.local_network("s2").vpn_gateway_address) == "5.4.3.2"


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("100.70.0.0/16", "tunnels connect virtual networks and sites, not VMs or services outside them"),
        ("169.254.0.0/16", "cannot be behind a tunnel"),
        ("131.2.0.0/16", "the device must be reachable without its tunnel"),
    ],
)
def test_some_addresses_cannot_be_behind_a_tunnel(prefix: str, words: str) -> None:
    text = f"name: a\nlocal_networks: {{s: {{address_space: [{prefix}], vpn_gateway_address: 131.2.3.4}}}}\n"
    assert words in said(text)[0]


def test_a_device_is_a_node_of_the_lab() -> None:
    text = """\
name: a
internet: {office: {address: 131.9.9.9}}
local_networks:
  OFFICE: {address_space: [192.168.0.0/24], vpn_gateway_address: 131.2.3.4, vpn_device: {private_ip_address: 10.0.0.1}}
  other: {address_space: [192.168.1.0/24], vpn_gateway: nowhere, vpn_device: {}}
"""
    lines = said(text)
    assert [line.split("; ")[0] for line in lines] == [
        'f:4: local_networks.OFFICE: "office" is also the name of another node',
        "f:4: local_networks.OFFICE.vpn_device.private_ip_address: 10.0.0.1 is outside the site's prefixes",
        'f:5: local_networks.other.vpn_gateway: no VPN gateway "nowhere"',
    ]


def test_a_location_never_changes_once_the_network_runs() -> None:
    before, after = parse(pair(), "f"), parse(pair().replace("v1: {addr", "v1: {location: China East, addr"), "f")
    (problem,) = vpn_limits.change_violations(before, after)
    assert 'location: "China East", and the network that runs is in "China North"; ' in str(problem)
    assert not list(vpn_limits.change_violations(before, before))


def test_the_rules_of_tunnels_are_part_of_those_of_networks() -> None:
    assert not list(invariants.violations(parse(pair(), "f")))
