"""The template of a network: it is imported as the same network, holds no secret, and tells what it cannot hold."""

import json
import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab import topology
from lab.azure.model import PLATFORM_NETWORK, Network, Overrides, VirtualMachine, natural
from lab.formats import azure_files, azure_topology
from lab.formats.azure_template import exported
from lab.predict.outbound import Outbound
from lab.topology.imported import playable
from tests import worlds

FILES = sorted(topology.BUNDLED.glob("*.lab.yaml"))
NETWORKS = {file.name: topology.load(file) for file in FILES}
MODERN = {name: network for name, network in NETWORKS.items() if not network.cloud_services}


def _imported(text: str) -> tuple[Network, list[str]]:
    read = azure_files.read([(Path("template.json"), text)])
    made = azure_topology.imported(read.resources, read.name, read.profile)
    _, network, now = playable(made, "template.lab.yaml")
    return network, [str(line) for line in now.left if line.warning] + list(read.notes)


def _said(network: Network) -> Network:
    """Return a network whose subnets all say whether they have the default way out, as those of a template do."""
    new = network.profile.default_outbound_access
    vnets = [
        msgspec.structs.replace(
            vnet,
            subnets=tuple(
                msgspec.structs.replace(s, default_outbound_access=new) if s.default_outbound_access is None else s
                for s in vnet.subnets
            ),
        )
        for vnet in network.virtual_networks
    ]
    return msgspec.structs.replace(network, virtual_networks=tuple(vnets))


@pytest.mark.parametrize("name", MODERN)
def test_the_import_of_an_export_answers_about_the_way_out_as_the_topology_does(name: str) -> None:
    network = msgspec.structs.replace(_said(MODERN[name]), overrides=Overrides())
    back, warnings = _imported(exported(MODERN[name]).text)
    assert warnings == []
    wanted = [
        way
        for way in Outbound(network).all()
        if network.virtual_network(network.vm(way.vm).virtual_network).name != PLATFORM_NETWORK  # type: ignore[union-attr]
    ]
    assert [msgspec.to_builtins(way, enc_hook=str) for way in Outbound(back).all()] == [
        msgspec.to_builtins(way, enc_hook=str) for way in wanted
    ]


def _plain(network: Network) -> dict[str, Any]:
    """Return what a template can hold of a network."""
    machines = [vm for vm in network.virtual_machines if vm.virtual_network != PLATFORM_NETWORK]
    return {
        "name": network.name,
        "profile": network.profile.name,
        "virtual_networks": [
            (
                *(v.name, v.location, v.address_space, v.dns_servers, v.peerings),
                [
                    (*(s.name, s.address_prefix, s.network_security_group, s.nat_gateway), s.default_outbound_access)
                    for s in v.subnets
                ],
            )
            for v in network.virtual_networks
            if v.name != PLATFORM_NETWORK
        ],
        "virtual_machines": [_machine(vm) for vm in machines],
        "load_balancers": network.load_balancers,
        "nat_gateways": network.nat_gateways,
        "vpn_gateways": [msgspec.structs.replace(g, shaped=False) for g in network.vpn_gateways],
        "local_networks": [(n.name, n.address_space, n.vpn_gateway_address) for n in network.local_networks],
        "connections": [(c.virtual_network, c.local_network) for c in network.connections],
        "groups": [
            (g.name, sorted(g.rules, key=lambda r: (r.direction, r.priority))) for g in network.network_security_groups
        ],
    }


def _machine(vm: VirtualMachine) -> VirtualMachine:
    own = vm.instance_public_ip
    return msgspec.structs.replace(
        vm,
        services=(),
        programs=(),
        size="",
        loopback_addresses=(),
        instance_public_ip=msgspec.structs.replace(own, domain_name_label=None) if own else None,
    )


@pytest.mark.parametrize("name", MODERN)
def test_the_import_of_an_export_is_the_same_network(name: str) -> None:
    back, _ = _imported(exported(MODERN[name]).text)
    assert _plain(back) == _plain(_said(MODERN[name]))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_reference_is_to_a_resource_of_the_template_that_it_waits_for(name: str) -> None:
    text = exported(NETWORKS[name]).text
    assert exported(topology.load(topology.BUNDLED / name)).text == text
    template = json.loads(text)
    there = {f"[resourceId('{one['type']}', '{one['name']}')]" for one in template["resources"]}
    assert len(there) == len(template["resources"])
    for one in template["resources"]:
        assert set(one.get("dependsOn", ())) <= there, one["name"]
        for kind, names in re.findall(r"resourceId\('([^']*)', ((?:'[^']*'(?:, )?)+)\)", json.dumps(one["properties"])):
            parent = "/".join(kind.split("/")[:2])
            first = names.split(", ")[0]
            reference = f"[resourceId('{parent}', {first})]"
            own = f"[resourceId('{one['type']}', '{one['name']}')]"
            assert reference in (*one.get("dependsOn", ()), own), (one["name"], reference)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_template_cannot_hold_is_told_one_line_each(name: str) -> None:
    network = NETWORKS[name]
    left = exported(network).left
    text = "\n".join(left)
    assert len(set(left)) == len(left)
    assert [f"internet.{host.name}:" in text for host in network.internet] == [True] * len(network.internet)
    assert [f"cloud_services.{s.name}:" in text for s in network.cloud_services] == [True] * len(network.cloud_services)
    assert sum(line.startswith("expect.") for line in left) == len(network.expectations)
    for vm in network.virtual_machines:
        own = f"virtual_machines.{vm.name}"
        assert (f"{own}.services:" in text or f"{own}: a VM of no virtual network" in text) == (
            bool(vm.services or vm.programs) or vm.virtual_network == PLATFORM_NETWORK
        )


def test_no_shared_key_is_in_a_template_and_equal_keys_are_one_parameter() -> None:
    network = NETWORKS["vnet-to-vnet.lab.yaml"]
    keys = {c.shared_key for c in network.connections if c.shared_key}
    assert keys
    made = exported(network)
    assert not [key for key in keys if key in made.text + "".join(made.left)]
    template = json.loads(made.text)
    secure = {name for name, one in template["parameters"].items() if one["type"] == "securestring"}
    assert secure == {"adminPassword", *(f"sharedKey{n}" for n in range(1, len(keys) + 1))}
    assert not any("defaultValue" in template["parameters"][name] for name in secure)


def test_names_that_azure_does_not_allow_are_changed_and_told() -> None:
    network = worlds.network(
        """
virtual_networks: {v one: {address_space: [10.0.0.0/16], subnets: {Back end: 10.0.0.0/24, Back-end: 10.0.1.0/24}}}
virtual_machines: {a: {subnet: v one/Back end}, b: {subnet: v one/Back-end}}
"""
    )
    made = exported(network)
    back, warnings = _imported(made.text)
    assert warnings == []
    assert [s.name for s in back.virtual_networks[0].subnets] == ["Back-end", "Back-end-2"]
    assert [(vm.subnet, vm.private_ip_address) for vm in back.virtual_machines] == [
        ("Back-end", IPv4Address("10.0.0.4")),
        ("Back-end-2", IPv4Address("10.0.1.4")),
    ]
    changed = [line.partition(":")[0] for line in made.left if '"Back-end' in line or "v-one" in line]
    assert changed == ['subnets "Back end"', 'subnets "Back-end"', 'virtualNetworks "v one"']
    assert sorted(vm.name for vm in back.virtual_machines) == sorted(["a", "b"], key=natural)
