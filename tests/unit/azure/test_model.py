"""lab/azure/model.py: allocation of addresses, and what a network says of itself."""

from ipaddress import IPv4Network

import pytest

from lab.azure import model
from lab.azure.model import Overrides, Service, Subnet
from tests import worlds

_SMALL = Subnet(name="s", address_prefix=IPv4Network("10.1.0.0/29"))


def test_azure_keeps_the_first_four_addresses_of_a_subnet_and_the_last() -> None:
    assert [str(a) for a in _SMALL.usable()] == ["10.1.0.4", "10.1.0.5", "10.1.0.6"]


def test_the_gateway_is_the_first_host_of_the_subnet() -> None:
    assert str(_SMALL.gateway) == "10.1.0.1"


def test_the_public_resolver_is_never_given_to_anything() -> None:
    assert model.PUBLIC_RESOLVER not in set(model.documentation_addresses())


def test_documentation_addresses_come_from_either_end() -> None:
    """RFC 5737: three networks of 254 hosts, less the resolver."""
    up, down = list(model.documentation_addresses()), list(model.documentation_addresses(descending=True))
    assert (str(up[0]), str(up[-1]), len(up)) == ("203.0.113.1", "192.0.2.254", 761)
    assert down == up[::-1]


def test_natural_order_counts_numbers_inside_names() -> None:
    assert sorted(["web10", "web2", "web", "Web1", "2a"], key=model.natural) == ["Web1", "web", "web2", "web10", "2a"]


@pytest.mark.parametrize(
    ("service", "text"),
    [
        (Service(kind="http", port=80, protocol="tcp"), "http:80"),
        (Service(kind="udp", port=9, protocol="udp"), "udp:9"),
        (Service(kind="dns", port=53, protocol="udp"), "dns:53/udp"),
    ],
)
def test_a_service_is_written_as_the_file_has_it(service: Service, text: str) -> None:
    assert str(service) == text


def test_overrides_are_named_only_where_they_depart_from_the_documents() -> None:
    assert str(Overrides()) == ""
    assert str(Overrides(snat_ports_per_vm=64, time_scale=60)) == "snat_ports_per_vm=64 time_scale=60"


def test_the_default_address_is_none_of_the_users_and_another_for_each_network() -> None:
    """Outbound connections, 2017-05-31, standalone VM: chosen by the platform, and not counted as a public IP."""
    network = worlds.two_networks()
    chosen = [vnet.default_outbound_address for vnet in network.virtual_networks]
    assert len(set(chosen)) == 2
    assert not set(chosen) & {address for address, _ in network.public_addresses()}


def test_every_address_given_or_allocated_is_known_by_its_place() -> None:
    assert {place: str(address) for place, address in worlds.nat_rule_only().addresses().items()} == {
        "internet.client.address": "198.51.100.30",
        "internet.far.address": "198.51.100.20",
        "load_balancers.lb1.frontend_ip_configurations.public": "40.1.1.1",
        "virtual_networks.vnet1.default_outbound_address": "192.0.2.254",
        "virtual_machines.vm.private_ip_address": "10.1.0.4",
    }


def test_every_public_address_of_the_file_is_known_with_its_place() -> None:
    found = {str(address): ".".join(path) for address, path in worlds.three_ways_out().public_addresses()}
    assert found == {
        "198.51.100.20": "internet.far.address",
        "208.67.222.222": "internet.resolver.address",
        "198.51.100.30": "internet.client.address",
        "104.43.142.188": "virtual_machines.own.instance_public_ip.address",
        "40.1.1.1": "load_balancers.lb1.frontend_ip_configurations.public",
    }


def test_a_load_balancer_belongs_to_the_network_of_its_vms() -> None:
    vnet = "{address_space: [10.%d.0.0/16], subnets: {s: 10.%d.0.0/24}}"
    network = worlds.network(
        f"virtual_networks: {{v1: {vnet % (1, 1)}, v2: {vnet % (2, 2)}}}\n"
        "virtual_machines: {a: {subnet: v1/s}, b: {subnet: v2/s}}\n"
        "load_balancers:\n"
        "  empty: {frontend_ip_configurations: {f: }}\n"
        "  lb: {frontend_ip_configurations: {f: }, backend_address_pools: {pool: [b]}}\n"
    )
    first, second = network.virtual_networks
    assert [lb.name for lb in network.load_balancers_of(first)] == ["empty"]
    assert [lb.name for lb in network.load_balancers_of(second)] == ["lb"]


def test_a_load_balancer_names_the_vms_of_its_pools_and_nat_rules() -> None:
    assert worlds.load_balanced(2).load_balancers[0].virtual_machines() == {"web1", "web2"}
    assert worlds.nat_rule_only().load_balancers[0].virtual_machines() == {"vm"}


def test_nodes_are_found_by_name_and_only_by_name() -> None:
    network = worlds.one_vm()
    assert (network.vm("vm"), network.host("far")) == (network.virtual_machines[0], network.internet[1])
    assert (network.vm("far"), network.host("vm")) == (None, None)


def test_networks_are_compared_by_content() -> None:
    assert worlds.three_ways_out() == worlds.three_ways_out()
    assert worlds.load_balanced(2) != worlds.load_balanced(3)


def test_a_network_survives_being_written_down() -> None:
    network = worlds.three_ways_out()
    assert model.decode(model.encode(network)) == network
