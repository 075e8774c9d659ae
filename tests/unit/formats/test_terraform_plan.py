"""A Terraform plan is the network that it will make: ids that are not known yet are joined by references."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lab.azure import profile
from lab.azure.model import Network
from lab.formats import azure_files, azure_topology
from lab.predict.outbound import Outbound
from lab.topology.imported import playable
from tests.fuzz import azure as fuzz

_RG = {"resource_group_name": "rg", "location": "westeurope"}


def _refers(*references: str) -> dict[str, Any]:
    return {"references": list(references)}


def _to(resource: str) -> dict[str, Any]:
    """Return an expression for the id of a resource, with the beginnings that Terraform writes behind it."""
    plain = resource.partition("[")[0]
    return _refers(f"{resource}.id", resource, *([plain] if plain != resource else []))


def _one(kind: str, name: str, index: int | str | None = None, module: str = "", /, **values: Any) -> dict[str, Any]:
    place = "" if index is None else f"[{json.dumps(index)}]"
    address = ".".join(filter(None, (module, f"{kind}.{name}{place}")))
    made = {"address": address, "mode": "managed", "type": kind, "name": name, "values": values}
    return made if index is None else {**made, "index": index}


def _said(kind: str, name: str, /, **expressions: Any) -> dict[str, Any]:
    return {"address": f"{kind}.{name}", "mode": "managed", "type": kind, "name": name, "expressions": expressions}


def _vm_module(key: str) -> dict[str, Any]:
    module = f'module.vm["{key}"]'
    return {
        "address": module,
        "resources": [
            _one(
                "azurerm_network_interface",
                "nic",
                None,
                module,
                name=f"nic-{key}",
                ip_configuration=[{"name": "c", "primary": None, "private_ip_address_allocation": "Dynamic"}],
                **_RG,
            ),
            _one(
                "azurerm_linux_virtual_machine",
                "vm",
                None,
                module,
                name=f"vm-{key}",
                size="Standard_B1s",
                admin_password="Pa55word!",
                **_RG,
            ),
            _one(
                "azurerm_network_interface_backend_address_pool_association",
                "p",
                None,
                module,
                ip_configuration_name="c",
            ),
        ],
    }


def _plan() -> dict[str, Any]:
    """Return the plan of two VMs of a module behind a load balancer, and of a subnet with a NAT gateway."""
    frontend = [{"name": "front", "subnet_id": None}]
    resources = [
        _one("azurerm_virtual_network", "hub", name="hub", address_space=["10.0.0.0/16"], **_RG),
        *(
            _one(
                "azurerm_subnet",
                "s",
                key,
                name=key,
                virtual_network_name="hub",
                address_prefixes=[f"10.0.{number}.0/24"],
                resource_group_name="rg",
                default_outbound_access_enabled=True,
            )
            for number, key in enumerate(("web", "db"))
        ),
        _one("azurerm_nat_gateway", "nat", name="nat", sku_name="Standard", idle_timeout_in_minutes=10, **_RG),
        *(_one("azurerm_public_ip", "nat", n, name=f"nat-{n}", sku="Standard", **_RG) for n in range(2)),
        *(_one("azurerm_nat_gateway_public_ip_association", "a", n) for n in range(2)),
        _one("azurerm_subnet_nat_gateway_association", "db"),
        _one("azurerm_public_ip", "lb", name="lb-ip", sku="Standard", ip_address="40.1.2.3", **_RG),
        _one("azurerm_lb", "lb", name="lb", sku="Standard", frontend_ip_configuration=frontend, **_RG),
        _one("azurerm_lb_backend_address_pool", "p", name="pool"),
        _one("azurerm_lb_probe", "p", name="alive", protocol="Tcp", port=80, interval_in_seconds=5),
        _one(
            "azurerm_lb_rule",
            "r",
            name="web",
            protocol="Tcp",
            frontend_port=80,
            backend_port=8080,
            frontend_ip_configuration_name="front",
            disable_outbound_snat=True,
        ),
        _one(
            "azurerm_lb_outbound_rule",
            "o",
            name="out",
            protocol="All",
            allocated_outbound_ports=1024,
            frontend_ip_configuration=[{"name": "front"}],
        ),
        _one("azurerm_network_security_group", "g", name="g", security_rule=[], **_RG),
        *(_one("azurerm_network_interface_security_group_association", "g", key) for key in "ab"),
        _one("azurerm_network_interface", "db", name="nic-db", ip_configuration=[{"name": "c"}], **_RG),
        _one("azurerm_linux_virtual_machine", "db", name="db", size="Standard_B1s", **_RG),
    ]
    lb = {"loadbalancer_id": _to("azurerm_lb.lb")}
    said = [
        _said("azurerm_virtual_network", "hub", name={"constant_value": "hub"}),
        _said("azurerm_subnet", "s", virtual_network_name=_refers("azurerm_virtual_network.hub.name")),
        _said(
            "azurerm_nat_gateway_public_ip_association",
            "a",
            nat_gateway_id=_to("azurerm_nat_gateway.nat"),
            public_ip_address_id=_refers("azurerm_public_ip.nat", "count.index"),
        ),
        _said(
            "azurerm_subnet_nat_gateway_association",
            "db",
            nat_gateway_id=_to("azurerm_nat_gateway.nat"),
            subnet_id=_to('azurerm_subnet.s["db"]'),
        ),
        _said("azurerm_lb", "lb", frontend_ip_configuration=[{"public_ip_address_id": _to("azurerm_public_ip.lb")}]),
        _said("azurerm_lb_backend_address_pool", "p", **lb),
        _said("azurerm_lb_probe", "p", **lb),
        _said(
            "azurerm_lb_rule",
            "r",
            backend_address_pool_ids=_to("azurerm_lb_backend_address_pool.p"),
            probe_id=_to("azurerm_lb_probe.p"),
            **lb,
        ),
        _said("azurerm_lb_outbound_rule", "o", backend_address_pool_id=_to("azurerm_lb_backend_address_pool.p"), **lb),
        _said(
            "azurerm_network_interface_security_group_association",
            "g",
            network_interface_id=_refers("module.vm", "each.key"),
            network_security_group_id=_to("azurerm_network_security_group.g"),
        ),
        _said("azurerm_network_interface", "db", ip_configuration=[{"subnet_id": _to('azurerm_subnet.s["db"]')}]),
        _said("azurerm_linux_virtual_machine", "db", network_interface_ids=_to("azurerm_network_interface.db")),
    ]
    inside = [
        _said(
            "azurerm_network_interface",
            "nic",
            ip_configuration=[
                {"name": {"constant_value": "c"}, "subnet_id": _refers('var.subnets["web"]', "var.subnets")}
            ],
        ),
        _said("azurerm_linux_virtual_machine", "vm", network_interface_ids=_to("azurerm_network_interface.nic")),
        _said(
            "azurerm_network_interface_backend_address_pool_association",
            "p",
            network_interface_id=_to("azurerm_network_interface.nic"),
            backend_address_pool_id=_refers("var.pool"),
        ),
    ]
    outputs = {
        "nic_id": {"expression": _to("azurerm_network_interface.nic")},
        "vm_id": {"expression": _to("azurerm_linux_virtual_machine.vm")},
    }
    call = {
        "source": "./vm",
        "expressions": {"subnets": _refers("azurerm_subnet.s"), "pool": _to("azurerm_lb_backend_address_pool.p")},
        "module": {"resources": inside, "outputs": outputs},
    }
    root = {"resources": resources, "child_modules": [_vm_module(key) for key in "ab"]}
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": root},
        "configuration": {"root_module": {"resources": said, "module_calls": {"vm": call}}},
    }


def _imported(data: dict[str, Any]) -> tuple[Network, str, str]:
    read = azure_files.read([(Path("plan.json"), json.dumps(data))])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1])
    text, network, now = playable(made, "case.lab.yaml")
    return network, "\n".join(f"{'warning' if one.warning else 'note'}: {one}" for one in now.left), text


def test_a_plan_is_the_network_that_it_will_make() -> None:
    network, left, text = _imported(_plan())
    assert "warning" not in left, left
    assert {vm.name: vm.subnet for vm in network.virtual_machines} == {"db": "db", "vm-a": "web", "vm-b": "web"}
    (balancer,) = network.load_balancers
    assert [str(one.address) for one in balancer.frontends] == ["40.1.2.3"]
    assert balancer.pools[0].members == ("vm-a", "vm-b")
    assert [(r.probe, r.backend_port) for r in balancer.load_balancing_rules] == [("alive", 8080)]
    assert [(r.ports, r.frontends) for r in balancer.outbound_rules] == [(1024, ("front",))]
    assert {vm.network_security_group for vm in network.virtual_machines if vm.subnet == "web"} == {"g"}
    (gateway,) = network.nat_gateways
    assert (len(gateway.addresses), gateway.idle_timeout_min) == (2, 10)
    ways = {way.vm: way.kind for way in Outbound(network).all()}
    assert ways == {"db": "NAT gateway", "vm-a": "load balancer", "vm-b": "load balancer"}
    assert "Pa55word!" not in text + left


def _with(data: dict[str, Any], address: str, key: str, expression: Any) -> dict[str, Any]:
    for one in data["configuration"]["root_module"]["resources"]:
        if one["address"] == address:
            one["expressions"][key] = expression
    return data


@pytest.mark.parametrize(
    ("address", "key", "expression"),
    [
        ("azurerm_subnet_nat_gateway_association.db", "subnet_id", _refers("local.db")),
        ("azurerm_subnet_nat_gateway_association.db", "subnet_id", _refers("azurerm_subnet.s", "each.value.subnet")),
        ("azurerm_subnet_nat_gateway_association.db", "nat_gateway_id", _refers("data.azurerm_nat_gateway.nat.id")),
        ("azurerm_lb.lb", "frontend_ip_configuration", [{"public_ip_address_id": _refers("local.ip")}]),
        ("azurerm_lb_outbound_rule.o", "loadbalancer_id", _refers("var.lb")),
    ],
)
def test_what_cannot_be_followed_is_told_as_a_way_out(address: str, key: str, expression: Any) -> None:
    _, left, _ = _imported(_with(_plan(), address, key, expression))
    assert "the way out may be wrong" in left


def test_an_unknown_place_of_a_dynamic_block_is_told() -> None:
    data = _plan()
    for one in data["configuration"]["root_module"]["resources"]:
        if one["address"] == "azurerm_network_interface.db":
            one["expressions"] = {}
    unknown = {"ip_configuration": [{"subnet_id": True}]}
    data["resource_changes"] = [{"address": "azurerm_network_interface.db", "change": {"after_unknown": unknown}}]
    network, left, _ = _imported(data)
    assert "subnet.id: its value is not known" in left
    assert [vm.name for vm in network.virtual_machines] == ["vm-a", "vm-b"]


def test_ids_that_a_plan_knows_are_kept_and_parts_find_them() -> None:
    data = _plan()
    known = "/subscriptions/7/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/hub"
    data["planned_values"]["root_module"]["resources"][0]["values"]["id"] = known
    _, left, text = _imported(data)
    assert "warning" not in left
    assert known in text


def test_a_name_that_is_made_later_is_that_of_the_configuration() -> None:
    data = _plan()
    for one in data["planned_values"]["root_module"]["resources"]:
        if one["address"] in ("azurerm_virtual_network.hub", 'azurerm_subnet.s["db"]', 'azurerm_subnet.s["web"]'):
            one["values"].pop("name")
            one["values"].pop("virtual_network_name", None)
    network, left, _ = _imported(data)
    assert "warning" not in left, left
    assert [subnet.name for subnet in network.virtual_networks[0].subnets] == ["s-db", "s-web"]


def test_a_scale_set_with_a_pool_of_nat_rules_is_its_vms() -> None:
    data = _plan()
    part = {"name": "c", "primary": True}
    one = {"name": "nic", "primary": True, "ip_configuration": [part]}
    resources = data["planned_values"]["root_module"]["resources"]
    resources.append(
        _one("azurerm_linux_virtual_machine_scale_set", "x", name="x", instances=2, network_interface=[one], **_RG)
    )
    ports = {"frontend_port_start": 50000, "frontend_port_end": 50010, "backend_port": 22, "protocol": "Tcp"}
    pool = _one("azurerm_lb_nat_pool", "n", name="ssh", frontend_ip_configuration_name="front", **ports)
    resources.append(pool)
    expressions = {
        "subnet_id": _to('azurerm_subnet.s["web"]'),
        "load_balancer_backend_address_pool_ids": _to("azurerm_lb_backend_address_pool.p"),
        "load_balancer_inbound_nat_rules_ids": _to("azurerm_lb_nat_pool.n"),
    }
    said = data["configuration"]["root_module"]["resources"]
    said.append(
        _said("azurerm_linux_virtual_machine_scale_set", "x", network_interface=[{"ip_configuration": [expressions]}])
    )
    said.append(_said("azurerm_lb_nat_pool", "n", loadbalancer_id=_to("azurerm_lb.lb")))
    network, left, _ = _imported(data)
    assert "warning" not in left, left
    (balancer,) = network.load_balancers
    assert balancer.pools[0].members == ("vm-a", "vm-b", "x_0", "x_1")
    assert [(r.virtual_machine, r.frontend_port) for r in balancer.inbound_nat_rules] == [
        ("x_0", 50000),
        ("x_1", 50001),
    ]


def test_references_that_lead_in_circles_end() -> None:
    data = _plan()
    call = data["configuration"]["root_module"]["module_calls"]["vm"]
    call["expressions"]["pool"] = _refers("module.vm.pool_id", "module.vm")
    call["module"]["outputs"]["pool_id"] = {"expression": _refers("var.pool")}
    _, left, _ = _imported(data)
    assert "the way out may be wrong" in left


def test_broken_plans_are_imported_or_refused() -> None:
    for number in range(300):
        text = json.dumps(fuzz.changed(copy.deepcopy(_plan()), number))
        assert fuzz.fault([(Path("plan.json"), text.encode("utf-8", "surrogatepass"))], probes=False) is None, number
