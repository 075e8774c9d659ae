"""A Terraform state is the network that it holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.azure import profile
from lab.azure.model import Network
from lab.azure.outbound import links
from lab.formats import azure_files, azure_topology
from lab.predict.outbound import Outbound
from lab.topology.imported import playable
from tests.fuzz import azure as fuzz

ROOT = "/subscriptions/1/resourceGroups/rg/providers"
NETWORK = f"{ROOT}/Microsoft.Network"
SUBNET, GROUP = f"{NETWORK}/virtualNetworks/v/subnets/s", f"{NETWORK}/networkSecurityGroups/g"
BALANCER = f"{NETWORK}/loadBalancers/lb"
POOL, PROBE = f"{BALANCER}/backendAddressPools/pool", f"{BALANCER}/probes/p"
_SUBNET = {
    "virtual_network_name": "v",
    "default_outbound_access_enabled": True,
    "delegation": [],
    "private_link_service_network_policies_enabled": True,
    "private_endpoint_network_policies": "Disabled",
    "service_endpoints": None,
}
RULE_PORTS = {"source_port_range": "*", "destination_port_range": "80"}


def _one(kind: str, id_: str, mode: str = "managed", **values: Any) -> dict[str, Any]:
    own = {"id": id_, "name": id_.rpartition("/")[2], "resource_group_name": "rg"}
    return {"address": f"{kind}.x", "mode": mode, "type": kind, "values": {**own, **values}}


def _nic(name: str) -> dict[str, Any]:
    part = {"name": "c", "subnet_id": SUBNET, "private_ip_address": f"10.0.0.{ord(name[-1])}", "primary": True}
    part |= {"private_ip_address_allocation": "Dynamic", "private_ip_address_version": "IPv4"}
    return _one(
        "azurerm_network_interface",
        f"{NETWORK}/networkInterfaces/{name}",
        ip_configuration=[part],
        private_ip_address="10.0.0.9",
        mac_address="00",
        dns_servers=[],
    )


def _vm(name: str) -> dict[str, Any]:
    ids = [f"{NETWORK}/networkInterfaces/nic-{name}"]
    secret = {"admin_password": "Pa55word!", "custom_data": "c2VjcmV0"}
    id_ = f"{ROOT}/Microsoft.Compute/virtualMachines/{name}"
    return _one("azurerm_linux_virtual_machine", id_, network_interface_ids=ids, size="Standard_B1s", **secret)


def _state() -> dict[str, Any]:
    rule = {"name": "web", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp", **RULE_PORTS}
    rule |= {"source_address_prefix": "Internet", "destination_address_prefix": "*"}
    frontend = {
        "name": "front",
        "public_ip_address_id": f"{NETWORK}/publicIPAddresses/pip",
        "load_balancer_rules": ["x"],
    }
    frontend |= {"private_ip_address_allocation": "Dynamic", "outbound_rules": ["y"], "inbound_nat_rules": []}
    of = {"loadbalancer_id": BALANCER}
    root = [
        _one("azurerm_virtual_network", f"{NETWORK}/virtualNetworks/v", address_space=["10.0.0.0/16"], location="weu"),
        _one("azurerm_subnet", SUBNET, address_prefixes=["10.0.0.0/24"], **_SUBNET),
        _one("azurerm_network_security_group", GROUP, security_rule=[rule]),
        _one(
            "azurerm_subnet_network_security_group_association",
            SUBNET,
            subnet_id=SUBNET,
            network_security_group_id=GROUP,
        ),
        _one("azurerm_public_ip", f"{NETWORK}/publicIPAddresses/pip", ip_address="40.1.2.3", sku="Standard"),
        _one("azurerm_lb", BALANCER, sku="Standard", frontend_ip_configuration=[frontend]),
        _one("azurerm_lb_backend_address_pool", POOL, **of),
        _one("azurerm_lb_probe", PROBE, protocol="Tcp", port=80, interval_in_seconds=5, number_of_probes=2, **of),
        _one(
            "azurerm_lb_rule",
            f"{BALANCER}/loadBalancingRules/web",
            protocol="Tcp",
            frontend_port=80,
            backend_port=8080,
            frontend_ip_configuration_name="front",
            frontend_ip_configuration_id=f"{BALANCER}/frontendIPConfigurations/front",
            backend_address_pool_ids=[POOL],
            probe_id=PROBE,
            disable_outbound_snat=True,
            **of,
        ),
        _one(
            "azurerm_lb_outbound_rule",
            f"{BALANCER}/outboundRules/out",
            protocol="All",
            backend_address_pool_id=POOL,
            allocated_outbound_ports=1024,
            frontend_ip_configuration=[{"name": "front", "id": "x"}],
            **of,
        ),
        {"address": "random_password.p", "mode": "managed", "type": "random_password", "values": {"result": "Hidden1"}},
        _one("azurerm_subnet", f"{SUBNET}x", mode="data", address_prefixes=["10.9.0.0/24"]),
    ]
    below: list[dict[str, Any]] = []
    for name in "ab":
        nic = f"{NETWORK}/networkInterfaces/nic-{name}"
        member = {"network_interface_id": nic, "ip_configuration_name": "c", "backend_address_pool_id": POOL}
        below += [_nic(f"nic-{name}"), _vm(name)]
        below.append(_one("azurerm_network_interface_backend_address_pool_association", f"{nic}|{POOL}", **member))
    modules = [{"address": "module.vms", "resources": below}]
    values = {"root_module": {"resources": root, "child_modules": modules}}
    return {"format_version": "1.0", "terraform_version": "1.9.0", "values": values}


def _imported(data: dict[str, Any]) -> tuple[str, Network, str]:
    read = azure_files.read([(Path("state.json"), json.dumps(data))])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1])
    text, network, now = playable(made, "case.lab.yaml")
    return text, network, "\n".join(f"{'warning' if one.warning else 'note'}: {one}" for one in now.left)


def test_a_state_is_the_network_that_it_holds() -> None:
    _, network, left = _imported(_state())
    assert [vm.name for vm in network.virtual_machines] == ["a", "b"]
    assert [str(vm.private_ip_address) for vm in network.virtual_machines] == ["10.0.0.97", "10.0.0.98"]
    balancer = network.load_balancers[0]
    rule = balancer.load_balancing_rules[0]
    assert (rule.frontend_port, rule.backend_port, rule.disable_outbound_snat) == (80, 8080, True)
    assert [str(one.address) for one in balancer.frontends] == ["40.1.2.3"]
    assert len(balancer.outbound_rules) == 1
    assert links(network, "a")
    assert network.virtual_networks[0].subnets[0].network_security_group == "g"
    assert [one.name for one in network.network_security_groups[0].rules] == ["web"]
    assert "warning" not in left, left


def test_a_nat_gateway_of_a_state_has_the_addresses_and_prefixes_that_are_associated_with_it() -> None:
    nat, prefix = f"{NETWORK}/natGateways/nat", f"{NETWORK}/publicIPPrefixes/prefix"
    ip = f"{NETWORK}/publicIPAddresses/nat-ip"
    data = _state()
    data["values"]["root_module"]["resources"] += [
        _one("azurerm_nat_gateway", nat, sku_name="Standard", idle_timeout_in_minutes=20),
        _one("azurerm_public_ip", ip, ip_address="40.9.9.9", sku="Standard"),
        _one("azurerm_public_ip_prefix", prefix, ip_prefix="40.9.9.12/31", prefix_length=31),
        _one(
            "azurerm_nat_gateway_public_ip_association",
            f"{nat}|{ip}",
            nat_gateway_id=nat,
            public_ip_address_id=ip.upper(),
        ),
        _one(
            "azurerm_nat_gateway_public_ip_prefix_association",
            f"{nat}|{prefix}",
            nat_gateway_id=nat,
            public_ip_prefix_id=prefix,
        ),
        _one("azurerm_subnet_nat_gateway_association", SUBNET, subnet_id=SUBNET, nat_gateway_id=nat),
    ]
    _, network, left = _imported(data)
    assert "warning" not in left, left
    (gateway,) = network.nat_gateways
    assert [str(a) for a in gateway.addresses] == ["40.9.9.9", "40.9.9.12", "40.9.9.13"]
    assert gateway.idle_timeout_min == 20
    assert {way.kind for way in Outbound(network).all()} == {"NAT gateway"}


def test_an_internal_load_balancer_of_a_state_has_its_private_frontend() -> None:
    data = _state()
    resources = data["values"]["root_module"]["resources"]
    resources[5]["values"]["frontend_ip_configuration"] = [
        {"name": "front", "subnet_id": SUBNET, "private_ip_address": "10.0.0.99", "public_ip_address_id": ""}
    ]
    resources[8]["values"] |= {"protocol": "All", "frontend_port": 0, "backend_port": 0}
    del resources[9]
    _, network, left = _imported(data)
    assert "warning" not in left, left
    (frontend,) = network.load_balancers[0].frontends
    assert (str(frontend.address), frontend.subnet) == ("10.0.0.99", "s")
    assert {rule.ports for rule in network.load_balancers[0].load_balancing_rules} == {None}


def test_a_rule_of_application_security_groups_is_not_one_of_all_addresses() -> None:
    data = _state()
    rule = data["values"]["root_module"]["resources"][2]["values"]["security_rule"][0]
    rule |= {"source_address_prefix": "", "source_application_security_group_ids": ["/subscriptions/1/x"]}
    _, network, left = _imported(data)
    assert network.network_security_groups[0].rules == ()
    assert "warning" in left


def test_secrets_of_a_state_are_nowhere_and_each_resource_is_told() -> None:
    text, _, left = _imported(_state())
    for secret in ("Pa55word!", "c2VjcmV0", "Hidden1"):
        assert secret not in text + left
    assert "random_password" in left


@pytest.mark.parametrize("gone", ["azurerm_lb", "azurerm_network_interface", "azurerm_subnet"])
def test_what_an_association_changes_and_is_not_there_is_told(gone: str) -> None:
    data = _state()
    for module in (data["values"]["root_module"], *data["values"]["root_module"]["child_modules"]):
        module["resources"] = [one for one in module["resources"] if one["type"] != gone]
    assert "way out may be wrong" in _imported(data)[2]


def test_broken_states_are_imported_or_refused() -> None:
    for number in range(300):
        text = json.dumps(fuzz.changed(_state(), number))
        assert fuzz.fault([(Path("state.json"), text.encode("utf-8", "surrogatepass"))], probes=False) is None, number
