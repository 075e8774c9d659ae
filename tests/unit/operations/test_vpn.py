"""The steps of VNet to VNet connection, 2015-05-15 as functions from network to network."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.azure.model import Network, Subnet
from lab.operations import vpn
from lab.operations.base import Refused, changed
from lab.topology import parse

_SPACE = (IPv4Network("10.2.0.0/16"),)


def network() -> Network:
    return parse(
        """\
name: a
virtual_networks:
  v1: {address_space: [10.1.0.0/16], subnets: {GatewaySubnet: 10.1.255.0/27}}
  v2: {address_space: [10.2.0.0/16], subnets: {GatewaySubnet: 10.2.255.0/27}}
vpn_gateways: {v1: {routing: dynamic}}
local_networks: {s2: {address_space: [10.2.0.0/16], vpn_gateway_address: 5.4.3.2}}
connections: [{virtual_network: v1, local_network: s2, shared_key: A1b2C3D4}]
""",
        "f",
    )


def test_a_gateway_gets_an_address_that_nobody_has_and_is_ready_when_it_is_said() -> None:
    made = changed(network(), vpn.CreateGateway("v2", "dynamic", "Standard", 1000.0))
    new = made.gateway("v2")
    assert new is not None
    assert new.ready_at == 1000.0
    assert new.address not in {a for a, _ in network().public_addresses()}


def test_a_gateway_that_is_recreated_gets_another_address_each_time() -> None:
    made, addresses = network(), []
    for _ in range(3):
        gateway = made.gateway("v1")
        assert gateway is not None
        addresses.append(gateway.address)
        with pytest.raises(Refused, match=r"HTTP 409.*delete it first, and lose its address"):
            changed(made, vpn.CreateGateway("v1", "dynamic", "Standard", 0.0))
        made = changed(changed(made, vpn.DeleteGateway("v1")), vpn.CreateGateway("v1", "dynamic", "Standard", 0.0))
    assert len(set(addresses)) == len(addresses)


def test_a_site_that_gets_a_gateways_address_is_that_gateways() -> None:
    made = changed(network(), vpn.CreateGateway("v2", "dynamic", "Standard", 0.0))
    gateway = made.gateway("v2")
    assert gateway is not None
    made = changed(made, vpn.SetLocalNetwork("s2", address=gateway.address))
    assert made.local_network("s2").vpn_gateway == "v2"
    gone = changed(made, vpn.DeleteGateway("v2"))
    assert gone.local_network("s2").vpn_gateway is None
    assert gone.local_network("s2").vpn_gateway_address == gateway.address


def test_a_connection_is_made_ended_and_made_again_and_keeps_its_key() -> None:
    ended = changed(network(), vpn.Connect("v1", "s2", connect=False))
    assert [(c.connect, c.shared_key) for c in ended.connections] == [(False, "A1b2C3D4")]
    again = changed(ended, vpn.Connect("v1", "s2"))
    assert again == network()
    with_site = changed(network(), vpn.AddLocalNetwork("s3", (IPv4Network("10.3.0.0/16"),), IPv4Address("5.4.3.3")))
    first = changed(with_site, vpn.Connect("v2", "s3"))
    assert [c.shared_key for c in first.connections if c.virtual_network == "v2"] == [None]


def test_networks_and_subnets_are_added_in_their_order() -> None:
    made = changed(network(), vpn.AddNetwork("v10", "x", (IPv4Network("10.10.0.0/16"),)))
    made = changed(made, vpn.AddSubnet("v10", Subnet(name="s", address_prefix=IPv4Network("10.10.0.0/24"))))
    assert [v.name for v in made.virtual_networks] == ["v1", "v2", "v10"]
    assert len({v.default_outbound_address for v in made.virtual_networks}) == 3


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (vpn.CreateGateway("v1", "dynamic", "Standard", 0.0), "(HTTP 409)"),
        (vpn.CreateGateway("v", "dynamic", "Standard", 0.0), 'no virtual network "v"'),
        (vpn.DeleteGateway("v2"), 'no gateway of "v2" (NotProvisioned, HTTP 404)'),
        (vpn.SetKey("v1", "s2", ""), "a key of 0 characters, not shown here"),
        (vpn.SetKey("v1", "s2", "k" * 129), "a key of 129 characters, not shown here"),
        (vpn.SetKey("v2", "s2", "key"), 'no connection of "v2" to "s2"'),
        (vpn.Connect("v2", "s2", connect=False), 'no connection of "v2" to "s2"'),
        (vpn.Connect("v2", "s2"), 'overlaps 10.2.0.0/16 of "v2"'),
        (vpn.SetLocalNetwork("s2", address_space=(IPv4Network("10.1.0.0/24"),)), 'overlaps 10.1.0.0/16 of "v1"'),
        (vpn.SetLocalNetwork("s9"), 'no local network "s9"'),
        (vpn.AddLocalNetwork("s2", _SPACE, IPv4Address("5.4.3.3")), "is there already"),
        (vpn.AddNetwork("v1", "", _SPACE), "is there already"),
        (vpn.AddSubnet("v1", Subnet(name="GatewaySubnet", address_prefix=_SPACE[0])), "is there already"),
    ],
    ids=str,
)
def test_what_the_documents_do_not_allow_is_refused_in_words(operation: vpn.DeleteGateway, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        changed(network(), operation)
    assert reason in str(caught.value)


def test_a_key_is_in_no_text_of_its_operation() -> None:
    operation = vpn.SetKey("v1", "s2", "Secret9")
    assert "Secret9" not in f"{operation}{operation!r}"
    assert changed(network(), operation).connections[0].shared_key == "Secret9"
