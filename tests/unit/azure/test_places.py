"""Names of nodes: those that a resolver asks for, and none that the lab or Linux has for itself."""

import pytest

from lab.compile import compile as compiled
from lab.errors import TopologyError
from lab.topology import parse


def _refused(text: str) -> str:
    with pytest.raises(TopologyError) as caught:
        parse(text, "f")
    return str(caught.value)


_SECTIONS = {
    "internet": "internet: {%s: {address: 198.51.100.10}}",
    "virtual_machines": "virtual_machines: {%s: {}}",
    "local_networks": (
        "local_networks: {%s: {address_space: [10.9.0.0/16], vpn_gateway_address: 131.1.1.1, vpn_device: {}}}"
    ),
}


@pytest.mark.parametrize("section", _SECTIONS)
@pytest.mark.parametrize("name", ["localhost", "LocalHost", "a.localhost", "a..b", "dot.", "a.-b", "a.b."])
def test_a_node_that_cannot_be_found_by_its_name_is_refused(section: str, name: str) -> None:
    said = _refused(f"name: a\n{_SECTIONS[section] % name}")
    assert said.startswith(f'f:2: {section}.{name}: "{name}" is no name that a resolver asks for; a node is found by')


@pytest.mark.parametrize("section", _SECTIONS)
@pytest.mark.parametrize("name", ["lo", "all", "default", "Internet", "sit0", "tunl0", "lb.v", "LB.V", "router.v",
                                  "gw.v", "router._platform", "MyIP.opendns.com"])  # fmt: skip
def test_a_node_called_as_something_of_the_labs_or_linux_own_is_refused(section: str, name: str) -> None:
    network = "virtual_networks: {v: {address_space: [10.1.0.0/16]}}\n"
    if section != "virtual_machines":
        network += "virtual_machines: {alone: {}}\n"  # in the platform's own network
    assert f'"{name}" is a name that the lab or Linux uses for itself' in _refused(
        f"name: a\n{network}{_SECTIONS[section] % name}"
    )


@pytest.mark.parametrize(
    "name", ["shop.cloudapp.net", "SHOP.cloudapp.net", "vm.shop.cloudapp.net", "l.0.shop.cloudapp.net"]
)
def test_a_node_called_as_a_cloud_service_or_its_instance_is_refused(name: str) -> None:
    said = _refused(
        f"name: a\ninternet: {{{name}: {{address: 198.51.100.10}}}}\n"
        "cloud_services: {shop: {virtual_machines: [vm]}}\n"
        "virtual_machines: {vm: {instance_public_ip: {name: i, domain_name_label: l}}}\n"
    )
    assert f'f:2: internet.{name}: "{name}" is a name that leads to ' in said


def test_a_network_called_platform_is_one_like_any_other() -> None:
    network = parse(
        "name: a\nvirtual_networks: {platform: {address_space: [10.1.0.0/16], subnets: {platform: 10.1.0.0/24}}}\n"
        "virtual_machines: {a: {subnet: platform/platform}, alone: {}}\n",
        "f",
    )
    assert [v.name for v in network.virtual_networks] == ["platform", "_platform"]
    assert {vm.name: str(vm.private_ip_address) for vm in network.virtual_machines} == {
        "a": "10.1.0.4", "alone": "100.64.0.4",
    }  # fmt: skip
    assert {"router.platform", "router._platform"} <= {item.place for item in compiled(network).items}


@pytest.mark.parametrize("name", ["_platform", " a", "a ", "a/b", "a\\nb", "v" * 81])
def test_a_network_has_no_name_of_the_platforms(name: str) -> None:
    said = _refused(f'name: a\nvirtual_networks: {{"{name}": {{address_space: [10.1.0.0/16]}}}}')
    assert "a name begins with a letter or digit and has up to 80 letters" in said


def test_two_services_have_two_names_in_dns() -> None:
    assert 'f:2: cloud_services.shop: "Shop" is also under cloud_services; the name of a service is' in _refused(
        "name: a\ncloud_services: {Shop: {}, shop: {}}"
    )
