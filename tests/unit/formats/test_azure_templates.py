"""Templates as people write them: scale sets, NAT rules of both kinds, nested scopes, loops, symbolic names."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from lab.azure import profile
from lab.azure.model import Network
from lab.formats import azure_files, azure_topology
from lab.predict.outbound import Outbound
from lab.topology.imported import playable

FOLDER = Path(__file__).parents[2] / "fixtures" / "azure" / "templates"
#: The way out of each VM.
WAYS: dict[str, dict[str, str]] = {
    "child-in-parent": {"vm": "default outbound"},
    "condition": {"vm": "default outbound"},
    "lambda": {"vm-n0": "default outbound", "vm-n1": "default outbound"},
    "lb-children": {"vm0": "none", "vm1": "none"},
    "natgw-child-subnet": {"vm": "NAT gateway"},
    "nested-inner-output": {"vm": "default outbound"},
    "nested-outer": dict.fromkeys(("vm0", "vm1", "vm2"), "default outbound"),
    "nic-nat-v2": dict.fromkeys(("vm0", "vm1", "vm2"), "none"),
    "property-copy": {"vm": "default outbound"},
    "symbolic": {"vm": "default outbound"},
    "vmss-nat-pool": dict.fromkeys(("vmss_0", "vmss_1", "vmss_2"), "load balancer"),
    "vmss-nat-v2": dict.fromkeys(("vmss_0", "vmss_1", "vmss_2"), "load balancer"),
}


def _template(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def _imported(template: object) -> tuple[Network, str]:
    read = azure_files.read([(Path("a.json"), json.dumps(template))])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1])
    text, network, now = playable(made, "case.lab.yaml")
    assert topology.parse(text, "case.lab.yaml") == network
    return network, "\n".join(f"{'warning' if one.warning else 'note'}: {one}" for one in now.left)


def test_every_template_has_its_answer() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == WAYS.keys()


@pytest.mark.parametrize("name", WAYS)
def test_the_way_out_of_every_vm_is_that_of_the_template(name: str) -> None:
    network, left = _imported(_template(name))
    assert "warning" not in left, left
    assert {way.vm: way.kind for way in Outbound(network).all()} == WAYS[name]


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("vmss-nat-pool", {50000: "vmss_0", 50001: "vmss_1", 50002: "vmss_2"}),
        ("vmss-nat-v2", {500: "vmss_0", 501: "vmss_1", 502: "vmss_2"}),
        ("nic-nat-v2", {500: "vm0", 501: "vm1", 502: "vm2"}),
        ("lb-children", {5000: "vm0", 5001: "vm1"}),
    ],
)
def test_nat_rules_of_either_kind_lead_to_each_vm(name: str, ports: dict[int, str]) -> None:
    (balancer,) = _imported(_template(name))[0].load_balancers
    assert {rule.frontend_port: rule.virtual_machine for rule in balancer.inbound_nat_rules} == ports


def test_a_range_of_a_nat_rule_that_is_too_short_is_told() -> None:
    template = _template("nic-nat-v2")
    (balancer,) = (one for one in template["resources"] if one["type"].endswith("/loadBalancers"))
    balancer["properties"]["inboundNatRules"][0]["properties"]["frontendPortRangeEnd"] = 501
    network, left = _imported(template)
    assert [rule.frontend_port for rule in network.load_balancers[0].inbound_nat_rules] == [500, 501]
    assert "3 members: only 2 have a port of its range" in left


def test_loops_around_a_nested_template_are_those_of_its_scope() -> None:
    """The loop of a deployment counts in a template of its scope, and in none with a scope of its own."""
    template = _template("nested-outer")
    deployment = template["resources"][1]["properties"]
    inside = deployment["template"]["resources"][0]
    inside["copy"] = {"name": "more", "count": "[add(copyIndex('loop'), 1)]"}
    inside["name"] = "[concat('nic', copyIndex('loop'), '-', copyIndex())]"
    del deployment["template"]["resources"][1]
    read = azure_files.read([(Path("a.json"), json.dumps(template))])
    names = sorted(one.name for one in read.resources if one.type.endswith("/networkinterfaces"))
    assert names == ["nic0-0", "nic1-0", "nic1-1", "nic2-0", "nic2-1", "nic2-2"]
    deployment["expressionEvaluationOptions"] = {"scope": "inner"}
    with pytest.raises(Exception, match="copyIndex\\(\\) outside its loop"):
        azure_files.read([(Path("a.json"), json.dumps(template))])
