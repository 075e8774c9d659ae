"""Azure's own files become a topology: the quickstarts, the forms that Azure prints, what is left out, and faults."""

import copy
import json
import os
import time
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import topology
from lab.azure import profile
from lab.azure.model import Network
from lab.azure.outbound import has_default, links
from lab.errors import TopologyError
from lab.formats import arm, azure_files, azure_resources, azure_topology
from lab.formats.azure_topology import Imported
from lab.topology.imported import playable

FIXTURES = Path(__file__).parents[2] / "fixtures" / "arm"
INDEX: dict[str, dict[str, Any]] = {one["name"]: one for one in json.loads((FIXTURES / "index.json").read_text())}
PARTS = ("azuredeploy.json", "azuredeploy.parameters.json")
#: Words of a warning for each thing that the vocabulary lacks.
LACKS = {
    "route table (UDR)": "routetables",
    "IP forwarding (NVA)": "enableipforwarding",
    "IP-based backend pool": "members by address",
    "LB member of a multi-NIC VM": "the VM has its first interface only",
}


def _imported(texts: dict[str, str], *, probes: bool = False) -> tuple[str, Network, Imported, azure_resources.Read]:
    read = azure_files.read([(Path(name), text) for name, text in texts.items()])
    made = azure_topology.imported(read.resources, "case", profile.NAMES[-1], probes=probes)
    return *playable(made, "case.lab.yaml", azure_files.head("case")), read


def _case(name: str) -> dict[str, str]:
    return {part: (FIXTURES / name / part).read_text() for part in PARTS}


def _listed(*resources: dict[str, Any], probes: bool = False) -> tuple[str, Network, Imported, azure_resources.Read]:
    return _imported({"r.json": json.dumps({"data": resources})}, probes=probes)


def _ways(network: Network) -> Counter[str]:
    """Return how many VMs leave in each way."""
    ways: Counter[str] = Counter()
    for vm in network.virtual_machines:
        linked = links(network, vm.name)
        gateway = network.nat_gateway_of(vm.virtual_network, vm.subnet)
        if gateway is not None:
            ways[f"NAT gateway {gateway.name}"] += 1
        elif vm.instance_public_ip is not None:
            ways["own public IP"] += 1
        elif linked:
            ways["load balancer"] += 1
        else:
            ways["default" if has_default(network, vm.name) else "none"] += 1
    return ways


def _expected(index: dict[str, Any]) -> Counter[str]:
    ways: Counter[str] = Counter()
    for way, number in index["outbound_ways"].items():
        kind = "load balancer" if way.startswith(("LB frontend", "outbound rule")) else way
        ways["none" if kind.startswith("none") else kind] += number
    return ways


@pytest.mark.parametrize("name", INDEX)
def test_the_way_out_of_every_vm_is_that_of_the_template_or_is_warned_of(name: str) -> None:
    index = INDEX[name]
    text, network, made, _ = _imported(_case(name))
    assert len(network.virtual_machines) == index["virtual_machines"] + index["scale_set_instances"]
    warned = [line for line in made.left if line.warning and line.way_out]
    assert _ways(network) == _expected(index)
    for lack in index["missing"]:
        if lack in LACKS:
            assert LACKS[lack] in "\n".join(str(line) for line in made.left if line.warning), lack
    if index["expressible_today"] and index["virtual_machines"] and not index["other"]:
        assert not warned
    assert topology.parse(text, "case.lab.yaml") == network


@pytest.mark.parametrize("name", INDEX)
def test_every_resource_is_in_the_topology_or_in_the_list(name: str) -> None:
    text, _, made, read = _imported(_case(name))
    lines = "\n".join(map(str, made.left))
    ids = {line.strip().removeprefix("# ") for line in text.splitlines() if line.strip().startswith("# /")}
    for one in read.resources:
        assert one.id in ids or one.title in lines, one.title


@pytest.mark.parametrize("name", INDEX)
def test_twice_the_same_bytes_without_secrets_in_a_second(name: str) -> None:
    begun = time.process_time()
    text, _, made, _ = _imported(_case(name))
    assert time.process_time() - begun < 1
    assert _imported(_case(name))[0] == text
    for secret in ("GEN-PASSWORD", "secretKey", "GEN-SSH"):
        assert secret not in text + "\n".join(map(str, made.left))


def test_load_balancers_rules_and_groups_are_those_of_the_template() -> None:
    for name, index in INDEX.items():
        network = _imported(_case(name), probes=True)[1]
        kinds = ["internal" if f.private else "public" for lb in network.load_balancers for f in lb.frontends]
        assert sorted(kinds) == sorted(one.rpartition(" ")[2] for one in index["frontends"]), name
        assert sum(len(lb.outbound_rules) for lb in network.load_balancers) == len(index["outbound_rules"]), name
        rules = sum(len(group.rules) for group in network.network_security_groups)
        assert (len(network.network_security_groups), rules) == (index["security_groups"], index["security_rules"]), (
            name
        )


def test_an_interface_without_a_vm_has_one_if_asked() -> None:
    assert [vm.name for vm in _imported(_case("multivip"), probes=True)[1].virtual_machines] == ["networkInterface1"]
    assert "--probes" in str(_imported(_case("multivip"))[2].left)


# --- the forms that Azure prints ---

_ROOT = "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Network"
_VNET: dict[str, Any] = {
    "id": f"{_ROOT}/virtualNetworks/v",
    "name": "v",
    "type": "microsoft.network/virtualnetworks",
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}],
    },
}
_NIC: dict[str, Any] = {
    "id": f"{_ROOT}/networkInterfaces/n",
    "name": "n",
    "type": "Microsoft.Network/networkInterfaces",
    "properties": {
        "ipConfigurations": [
            {
                "name": "one",
                "properties": {
                    "privateIPAddress": "10.0.0.9",
                    "subnet": {"id": f"{_ROOT.lower()}/virtualnetworks/V/Subnets/S"},
                    "publicIPAddress": {"id": f"{_ROOT}/publicIPAddresses/P"},
                },
            }
        ]
    },
}
_IP: dict[str, Any] = {
    "id": f"{_ROOT}/publicIPAddresses/p",
    "name": "p",
    "type": "Microsoft.Network/publicIPAddresses",
    "sku": {"name": "Standard"},
    "properties": {"ipAddress": "20.1.2.3", "publicIPAllocationMethod": "Static"},
}
_VM: dict[str, Any] = {
    "id": "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/m",
    "name": "m",
    "type": "Microsoft.Compute/virtualMachines",
    "properties": {
        "networkProfile": {"networkInterfaces": [{"id": f"{_ROOT}/networkInterfaces/N"}]},
        "osProfile": {"adminPassword": "hunter2", "customData": "hunter2"},
    },
}
_ALL = (_VNET, _NIC, _IP, _VM)


def _flat(value: Any) -> Any:
    """Return a value as `az` prints it, in the spelling of its older versions."""
    if isinstance(value, list):
        return [_flat(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {key.replace("IP", "Ip"): _flat(part) for key, part in value.items() if key != "properties"}
    return made | (_flat(value["properties"]) if "properties" in value else {})


FORMS: dict[str, dict[str, Any]] = {
    "Resource Graph": {"r.json": {"count": 4, "data": _ALL}},
    "REST": {"r.json": {"value": _ALL, "nextLink": None}},
    "snapshot": {"r.json": {"predictedResources": _ALL, "diagnostics": []}},
    "list": {"r.json": list(_ALL)},
    "shown one by one": {f"{one['name']}.json": one for one in _ALL},
    "flattened": {"r.json": [_flat(one) for one in _ALL]},
    "without type": {"r.json": [{key: part for key, part in one.items() if key != "type"} for one in _ALL]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_network(form: str) -> None:
    text, network, made, _ = _imported({name: json.dumps(data) for name, data in FORMS[form].items()})
    (vm,) = network.virtual_machines
    assert (vm.name, str(vm.private_ip_address)) == ("m", "10.0.0.9")
    assert vm.instance_public_ip is not None
    assert (vm.instance_public_ip.address, vm.instance_public_ip.sku) == (IPv4Address("20.1.2.3"), "Standard")
    assert made.left == ()
    assert "hunter2" not in text


def test_what_is_in_none_of_the_files_is_named() -> None:
    _, network, made, _ = _listed(_VNET, _VM)
    assert network.virtual_machines == ()
    assert f"network interface {_ROOT.lower()}/networkinterfaces/n" in str(made.left[0])
    assert all(line.way_out for line in made.left)
    _, network, made, _ = _listed(_VNET, _NIC, _VM)
    assert len(network.virtual_machines) == 1
    assert f"publicIPAddress {_ROOT.lower()}/publicipaddresses/p" in "\n".join(map(str, made.left))


def test_an_unknown_value_is_told() -> None:
    nic = copy.deepcopy(_NIC)
    nic["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"]["id"] = "[format('{0}', 1)]"
    assert "publicipaddress.id: its value is not known" in str(_listed(_VNET, nic, _VM)[2].left[0])


def test_names_that_do_not_fit_are_mapped_and_told() -> None:
    vm = {**_VM, "name": "1 büro", "id": _VM["id"].removesuffix("m") + "1 büro"}
    _, network, made, _ = _listed(_VNET, _NIC, _IP, vm)
    assert [one.name for one in network.virtual_machines] == ["n-1-b-ro"]
    assert any('it is "n-1-b-ro" in the topology' in str(line) and not line.warning for line in made.left)
    _, network, _, _ = _listed(_VNET, _NIC, {**_VM, "name": "default", "id": _VM["id"].removesuffix("m") + "default"})
    assert [one.name for one in network.virtual_machines] == ["default-2"]


def test_what_the_lab_refuses_is_taken_out_and_told() -> None:
    """An address that is outside its subnet, and a subnet outside its network."""
    nic = json.loads(json.dumps(_NIC).replace("10.0.0.9", "10.9.9.9"))
    _, network, made, _ = _listed(_VNET, nic, _IP, _VM)
    assert [str(vm.private_ip_address) for vm in network.virtual_machines] == ["10.0.0.4"]
    assert "private_ip_address: 10.9.9.9" in str(made.left[0])
    vnet = json.loads(json.dumps(_VNET).replace("10.0.0.0/24", "10.9.0.0/24"))
    _, network, made, _ = _listed(vnet, _NIC, _IP, _VM)
    assert network.virtual_machines == ()
    assert any(_VM["id"] in line.place for line in made.left)


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ({"natGateway": {"id": f"{_ROOT}/natGateways/g"}}, "natgateway"),
        ({"routeTable": {"id": f"{_ROOT}/routeTables/g"}}, "routetable"),
        ({"somethingNew": {"a": 1}}, "somethingnew"),
    ],
)
def test_a_property_without_a_word_is_a_line(subnet: dict[str, Any], words: str) -> None:
    vnet = copy.deepcopy(_VNET)
    vnet["properties"]["subnets"][0]["properties"] |= subnet
    (line,) = _listed(vnet, _NIC, _IP, _VM)[2].left
    assert (words in str(line), line.warning) == (True, True)
    assert line.way_out == (words != "somethingnew")
    assert "r.json: data[0]: virtualnetworks v, subnet s" in str(line)


def test_a_service_tag_without_a_word_takes_the_rule_out() -> None:
    rule = {"direction": "Outbound", "access": "Deny", "protocol": "TCP", "priority": 100, "sourceAddressPrefix": "any"}
    rules = [
        {"name": name, "properties": {**rule, "priority": 100 + i, "destinationAddressPrefix": to}}
        for i, (name, to) in enumerate((("kept", "INTERNET"), ("gone", "Storage.WestEurope")))
    ]
    group = {"id": f"{_ROOT}/networkSecurityGroups/g", "properties": {"securityRules": rules}}
    _, network, made, _ = _listed(group)
    assert [one.name for one in network.network_security_groups[0].rules] == ["kept"]
    assert "rule gone" in str(made.left[0])
    assert made.left[0].way_out


# --- faults ---


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "line 1"),
        ("a.json", "[]", "no resource"),
        ("a.json", "{}", "another kind"),
        ("a.json", '{"terraform_version": "1.5"}', "JSON of Terraform"),
        ("a.json", '{"terraform_version": "1.5", "planned_values": {}}', "no resource"),
        ("main.tf", 'resource "azurerm_lb" "a" {}', "terraform show -json"),
        ("main.bicep", "param x string", "az bicep build --file main.bicep"),
        ("a.json", '[{"name": "x"}]', "no type and name"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_to_do(name: str, text: str, words: str) -> None:
    with pytest.raises(TopologyError) as told:
        _imported({name: text})
    assert words in str(told.value)
    assert str(told.value).startswith(name)
    assert str(told.value).count(";") >= 2


def test_every_fault_of_all_files_is_told_at_once() -> None:
    with pytest.raises(TopologyError) as told:
        _imported({"a.json": "{", "main.tf": "x", "b.json": "3"})
    assert [line.split(":")[0] for line in told.value.lines] == ["a.json", "main.tf", "b.json"]


def test_linked_templates_are_found_below_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    inner = {"resources": [{"type": "Microsoft.Network/virtualNetworks", "name": "v", **_VNET["properties"]}]}
    (tmp_path / "outside.json").write_text(json.dumps(inner))
    folder = tmp_path / "in"
    (folder / "nested").mkdir(parents=True)
    (folder / "nested" / "v.json").write_text(json.dumps(inner))

    def deployment(link: str) -> str:
        body = {"type": "Microsoft.Resources/deployments", "name": "d", "properties": {"templateLink": {"uri": link}}}
        vnet = {"type": "Microsoft.Network/virtualNetworks", "name": "w", "properties": _VNET["properties"]}
        return json.dumps({"contentVersion": "1", "resources": [body, vnet]})

    for link, number in (("https://x/y/nested/v.json?sas=hunter2", 2), ("../outside.json", 1)):
        read = azure_files.read([(folder / "azuredeploy.json", deployment(link))])
        assert len(read.resources) == number
        assert "hunter2" not in "".join(read.notes)


# --- mutated inputs ---

_WORDS = (
    "",
    "x",
    "[",
    "[parameters('x')]",
    "Microsoft.Network/x",
    "10.0.0.0/8",
    "*",
    "a/b/c",
    "\ud800",
    "\n# x: y",
    "é",
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70_000),
    st.sampled_from(_WORDS),
    st.just([]),
    st.just({}),
    st.just(10**30),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in children:
        found += _places(part, (*path, key))
    return found


_EVALUATED = {
    name: [
        {key: part for key, part in one.items() if key != "place"}
        for one in arm.deploy(
            arm.read_json(_case(name)[PARTS[0]]),
            {key: arm.get(one, "value") for key, one in json.loads(_case(name)[PARTS[1]])["parameters"].items()},
            wanted=azure_resources.is_read,
        ).resources
    ]
    for name in INDEX
}
_PLACES = {name: _places(value) for name, value in _EVALUATED.items()}
_TEMPLATES: dict[str, Any] = {name: arm.read_json(_case(name)[PARTS[0]]) for name in INDEX}
_TEMPLATE_PLACES = {name: _places(value) for name, value in _TEMPLATES.items()}


def _mutated(data: Any, where: tuple[Any, ...], value: Any, what: str) -> None:
    here = data
    try:
        for part in where[:-1]:
            here = here[part]
    except (KeyError, IndexError, TypeError):  # an earlier mutation took it away
        return
    if isinstance(here, list) and isinstance(where[-1], int) and where[-1] < len(here):
        if what == "twice":
            here.append(copy.deepcopy(here[where[-1]]))
        else:
            here[where[-1]] = value
    elif isinstance(here, dict) and where[-1] in here:
        if what == "gone":
            del here[where[-1]]
        else:
            here[where[-1]] = value


@settings(max_examples=10_000 if "LAB_RANDOM_EXAMPLES" in os.environ else 200, deadline=None)
@given(st.data())
def test_mutated_inputs_are_imported_or_refused(data: st.DataObject) -> None:
    """Whatever the input is: a topology that is right, or an error that says what is wrong."""
    name = data.draw(st.sampled_from(sorted(INDEX)))
    of_template = data.draw(st.booleans())
    places = (_TEMPLATE_PLACES if of_template else _PLACES)[name]
    made = copy.deepcopy((_TEMPLATES if of_template else _EVALUATED)[name])
    for _ in range(data.draw(st.integers(1, 4))):
        where, what = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(("set", "gone", "twice")))
        _mutated(made, where, data.draw(_VALUES), what)
    texts = {"a.json": json.dumps(made, default=str)}
    if of_template:
        texts["a.parameters.json"] = _case(name)[PARTS[1]]
    begun = time.process_time()
    try:
        text, network, _, _ = _imported(texts, probes=data.draw(st.booleans()))
    except TopologyError as error:
        told = error.lines
    else:
        told = ()
        assert topology.parse(text, "case.lab.yaml") == network
    assert [line for line in told if line.count(";") < 2] == []
    assert time.process_time() - begun < 2


# --- NAT gateways -----------------------------------------------------------------------------

_NETWORK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"


def _natted(gateway: dict[str, Any], *others: dict[str, Any]) -> tuple[Network, Imported]:
    """Return what comes of a VM in a subnet with a NAT gateway."""
    subnet = {"name": "s", "id": f"{_NETWORK}/virtualNetworks/v/subnets/s", "properties": {
        "addressPrefix": "10.0.0.0/24", "natGateway": {"id": f"{_NETWORK}/natGateways/nat"},
    }}  # fmt: skip
    listed = (
        {"type": "Microsoft.Network/natGateways", "name": "nat", "id": f"{_NETWORK}/natGateways/nat", **gateway},
        {"type": "Microsoft.Network/virtualNetworks", "name": "v", "id": f"{_NETWORK}/virtualNetworks/v",
         "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}},
        {"type": "Microsoft.Network/networkInterfaces", "name": "n", "id": f"{_NETWORK}/networkInterfaces/n",
         "properties": {"ipConfigurations": [{"name": "c", "properties": {"subnet": {"id": subnet["id"]}}}]}},
    )  # fmt: skip
    _, network, made, _ = _listed(*listed, *others, probes=True)
    return network, made


def _public(name: str, **properties: Any) -> dict[str, Any]:
    kind = "publicIPPrefixes" if "prefixLength" in properties or "ipPrefix" in properties else "publicIPAddresses"
    return {
        "type": f"Microsoft.Network/{kind}", "name": name, "id": f"{_NETWORK}/{kind}/{name}",
        "sku": {"name": "Standard"}, "properties": properties,
    }  # fmt: skip


def _reference(one: dict[str, Any]) -> dict[str, str]:
    return {"id": one["id"].upper()}  # ids compare without regard to case


def test_a_nat_gateway_has_the_addresses_prefixes_and_timeout_that_azure_printed() -> None:
    ip, prefix = _public("ip", ipAddress="40.1.1.1"), _public("p", ipPrefix="40.1.1.4/31", prefixLength=31)
    properties = {
        "publicIpAddresses": [_reference(ip)], "publicIpPrefixes": [_reference(prefix)], "idleTimeoutInMinutes": 30,
    }  # fmt: skip
    network, made = _natted({"sku": {"name": "Standard"}, "properties": properties}, ip, prefix)
    (gateway,) = network.nat_gateways
    assert ([*map(str, gateway.addresses)], gateway.idle_timeout_min) == (["40.1.1.1", "40.1.1.4", "40.1.1.5"], 30)
    assert network.nat_gateway_of("v", "s") == gateway
    assert [line for line in made.left if line.warning] == []


def test_a_prefix_that_azure_has_yet_to_choose_is_so_many_addresses() -> None:
    prefix = _public("p", prefixLength=30)
    network, made = _natted({"properties": {"publicIpPrefixes": [_reference(prefix)]}}, prefix)
    (gateway,) = network.nat_gateways
    assert len(gateway.addresses) == 4
    assert [line.found for line in made.left if "single addresses stand for it" in line.effect] == ["the prefix"]


@pytest.mark.parametrize(
    ("gateway", "said"),
    [
        ({"properties": {}}, "it has no address that is known"),
        ({"sku": {"name": "StandardV2"}, "properties": {}}, "only Standard is played"),
        ({"properties": {"publicIpPrefixes": [{"id": f"{_NETWORK}/publicIPPrefixes/gone"}]}}, "in none of the files"),
    ],
)
def test_a_nat_gateway_that_is_not_played_is_warned_of_as_a_way_out(gateway: dict[str, Any], said: str) -> None:
    network, made = _natted(gateway)
    assert network.nat_gateways == ()
    assert any(said in line.effect and line.way_out for line in made.left), made.left


def test_a_revision_without_nat_gateways_warns_of_them() -> None:
    ip = _public("ip", ipAddress="40.1.1.1")
    gateway = {"type": "Microsoft.Network/natGateways", "name": "nat", "id": f"{_NETWORK}/natGateways/nat",
               "properties": {"publicIpAddresses": [_reference(ip)]}}  # fmt: skip
    read = azure_files.read([(Path("r.json"), json.dumps({"data": [gateway, ip]}))])
    made = azure_topology.imported(read.resources, "case", "2018-12")
    _, network, now = playable(made, "case.lab.yaml")
    assert network.nat_gateways == ()
    assert any("NAT gateways are played from" in line.effect and line.way_out for line in now.left)
