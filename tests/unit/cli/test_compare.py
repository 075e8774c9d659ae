"""`lab compare`: what Azure said, in the shapes that its command line prints, beside what the documents say."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lab.predict.compared import ids_of
from tests import shapes
from tests.fuzz import azure as fuzz
from tests.unit.conftest import Run

ROOT = "/subscriptions/1/resourceGroups/rg/providers"
NETWORK = f"{ROOT}/Microsoft.Network"


def _route(prefix: str, following: str, source: str = "Default", **more: Any) -> dict[str, Any]:
    return {
        "addressPrefix": [prefix],
        "disableBgpRoutePropagation": False,
        "hasBgpOverride": False,
        "name": None,
        "nextHopIpAddress": [],
        "nextHopType": following,
        "source": source,
        "state": "Active",
        **more,
    }


ROUTES: dict[str, Any] = {
    "nextLink": None,
    "value": [
        _route("192.168.0.0/16", "VnetLocal"),
        _route("0.0.0.0/0", "Internet"),
        _route("10.0.0.0/8", "None"),
        _route("100.64.0.0/10", "None"),
    ],
}


def _rule(name: str, priority: int, direction: str, access: str, **more: Any) -> dict[str, Any]:
    return {
        "access": access,
        "destinationAddressPrefix": "0.0.0.0/0",
        "destinationAddressPrefixes": ["0.0.0.0/0", "0.0.0.0/0"],
        "destinationPortRange": "0-65535",
        "destinationPortRanges": ["0-65535"],
        "direction": direction,
        "expandedDestinationAddressPrefix": None,
        "expandedSourceAddressPrefix": None,
        "name": name,
        "priority": priority,
        "protocol": "All",
        "sourceAddressPrefix": "0.0.0.0/0",
        "sourceAddressPrefixes": ["0.0.0.0/0", "0.0.0.0/0"],
        "sourcePortRange": "0-65535",
        "sourcePortRanges": ["0-65535"],
        **more,
    }


_IN = {"sourceAddressPrefix": "VirtualNetwork", "sourceAddressPrefixes": ["VirtualNetwork"]}
_OUT = {"destinationAddressPrefix": "VirtualNetwork", "destinationAddressPrefixes": ["VirtualNetwork"]}
_SQL = [
    _rule("securityRules/no-web", 100, "Inbound", "Deny", protocol="Tcp", **_IN)
    | {"destinationPortRange": "80-80", "destinationPortRanges": ["80-80"]},
    _rule("securityRules/no-apps", 100, "Outbound", "Deny")
    | {"destinationAddressPrefix": "192.168.3.0/24", "destinationAddressPrefixes": ["192.168.3.0/24"]},
    _rule("defaultSecurityRules/AllowVnetInBound", 65000, "Inbound", "Allow", **_IN, **_OUT),
    _rule("defaultSecurityRules/AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow")
    | {"sourceAddressPrefix": "AzureLoadBalancer", "sourceAddressPrefixes": ["AzureLoadBalancer"]},
    _rule("defaultSecurityRules/DenyAllInBound", 65500, "Inbound", "Deny"),
    _rule("defaultSecurityRules/AllowVnetOutBound", 65000, "Outbound", "Allow", **_IN, **_OUT),
    _rule("defaultSecurityRules/AllowInternetOutBound", 65001, "Outbound", "Allow")
    | {"destinationAddressPrefix": "Internet", "destinationAddressPrefixes": ["Internet"]},
    _rule("defaultSecurityRules/DenyAllOutBound", 65500, "Outbound", "Deny"),
]
RULES: dict[str, Any] = {
    "nextLink": None,
    "value": [
        {
            "association": {
                "networkInterface": {"id": f"{NETWORK}/networkInterfaces/SQL1-nic", "resourceGroup": "rg"},
                "networkManager": None,
                "subnet": None,
            },
            "effectiveSecurityRules": _SQL,
            "networkSecurityGroup": {"id": f"{NETWORK}/networkSecurityGroups/NSG-Sql", "resourceGroup": "rg"},
            "tagMap": None,
        }
    ],
}
CONNECTION: dict[str, Any] = {
    "avgLatencyInMs": 1,
    "connectionStatus": "Reachable",
    "hops": [
        {
            "address": "192.168.1.4",
            "id": "a",
            "issues": [],
            "nextHopIds": ["b"],
            "resourceId": f"{NETWORK}/networkInterfaces/x/ipConfigurations/ipconfig1",
            "type": "Source",
        },
        {"address": "192.168.2.4", "id": "b", "issues": [], "nextHopIds": [], "resourceId": "", "type": "VnetLocal"},
    ],
    "maxLatencyInMs": 3,
    "probesFailed": 0,
    "probesSent": 100,
}


def _stored(name: str, data: object) -> str:
    Path(name).write_text(json.dumps(data))
    return name


def _compared(lab: Run, *words: str, status: int = 0, topology: str = "nsg.lab.yaml") -> dict[str, Any]:
    done = lab("compare", topology, *words, "-o", "json")
    assert done.status == status, done.err
    assert shapes.misfits(["compare", topology], done.out) == []
    return dict(json.loads(done.out))


def test_routes_in_force_are_the_system_routes(lab: Run) -> None:
    found = _compared(lab, _stored("r.json", ROUTES), "--vm", "web1")
    assert [(row["what"], row["azure"], row["document"], row["differs"]) for row in found["comparisons"]] == [
        ("route 192.168.0.0/16", "VnetLocal", "VnetLocal", False),
        ("route 0.0.0.0/0", "Internet", "Internet", False),
    ]
    assert found["not_compared"] == ["web1: Azure's own routes to nowhere: 10.0.0.0/8, 100.64.0.0/10"]


def test_a_route_of_the_users_that_a_topology_does_not_have_differs_and_comes_first(lab: Run) -> None:
    routes = copy.deepcopy(ROUTES)
    routes["value"].append(_route("192.168.2.0/24", "VirtualAppliance", "User", nextHopIpAddress=["192.168.3.9"]))
    routes["value"].append(_route("10.9.0.0/16", "VNetPeering"))
    routes["value"][1] = _route("0.0.0.0/0", "Internet", state="Invalid")
    found = _compared(lab, _stored("r.json", routes), "--vm", "web1", status=1)
    assert [(row["what"], row["azure"], row["document"]) for row in found["comparisons"] if row["differs"]] == [
        ("route 192.168.2.0/24", "VirtualAppliance 192.168.3.9", "VnetLocal"),
        ("route 10.9.0.0/16", "VNetPeering", "Internet"),
        ("route 0.0.0.0/0", "none", "Internet"),
    ]
    assert found["summary"] == {"differ": 3, "same": 1}
    done = lab("compare", "nsg.lab.yaml", "r.json", "--vm", "web1")
    assert done.out.startswith(
        "DIFFERS  web1: route 192.168.2.0/24\n           Azure:    VirtualAppliance 192.168.3.9\n"
    )
    assert "           document: VnetLocal\n           lab:      not sent\n" in done.out
    assert done.out.endswith("3 of 4 lines differ\n")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "Azure says VirtualAppliance 192.168.3.9, the documents VnetLocal" in done.err


def test_rules_in_force_are_those_of_the_group(lab: Run) -> None:
    """The VM is known by the name of its interface in the answer."""
    found = _compared(lab, _stored("g.json", RULES))
    assert len(found["comparisons"]) == 8
    assert {row["vm"] for row in found["comparisons"]} == {"sql1"}
    assert found["comparisons"][0]["what"] == "rule no-web of NSG-Sql, Inbound 100"
    assert found["comparisons"][0]["azure"] == "Deny tcp, virtualnetwork -> any port 80"


@pytest.mark.parametrize(
    ("change", "azure", "document"),
    [
        ({"access": "Allow"}, "Allow tcp, virtualnetwork -> any port 80", "Deny tcp, virtualnetwork -> any port 80"),
        ({"destinationPortRanges": ["80-81"]}, "Deny tcp, virtualnetwork -> any port 80-81", "Deny tcp, "),
        ({"protocol": "Udp"}, "Deny udp, ", "Deny tcp, "),
        ({"sourceAddressPrefixes": ["10.0.0.0/8"]}, "Deny tcp, 10.0.0.0/8 -> any port 80", "Deny tcp, "),
    ],
)
def test_a_rule_that_decides_otherwise_differs(lab: Run, change: dict[str, Any], azure: str, document: str) -> None:
    rules = copy.deepcopy(RULES)
    rules["value"][0]["effectiveSecurityRules"][0] |= change
    found = _compared(lab, _stored("g.json", rules), status=1)
    first = found["comparisons"][0]
    assert first["differs"]
    assert first["azure"].startswith(azure)
    assert first["document"].startswith(document)
    assert found["summary"] == {"differ": 1, "same": 7}


def test_a_rule_or_a_group_that_only_one_side_has_differs(lab: Run) -> None:
    rules = copy.deepcopy(RULES)
    del rules["value"][0]["effectiveSecurityRules"][0]
    (first,) = [row for row in _compared(lab, _stored("g.json", rules), status=1)["comparisons"] if row["differs"]]
    assert (first["what"], first["azure"]) == (
        "rule no-web of NSG-Sql, Inbound 100",
        "none",
    )
    rules["value"][0]["association"] = {
        "networkInterface": None,
        "subnet": {"id": f"{NETWORK}/virtualNetworks/vnet1/subnets/Apps"},
    }
    (row,) = _compared(lab, _stored("g.json", rules), status=1)["comparisons"]
    assert (row["what"], row["azure"], row["document"]) == ("security group at the subnet", "nsg-sql", "none")


@pytest.mark.parametrize(
    ("azure", "port", "document", "differs"),
    [
        ("Reachable", "1433", "Reachable", False),
        ("Unreachable", "1433", "Reachable", True),
        ("Unreachable", "3389", "Unreachable", False),
        ("Connected", "1433", "Reachable", False),
    ],
)
def test_a_connection_is_explained(lab: Run, azure: str, port: str, document: str, differs: bool) -> None:
    """Both ends are known by their addresses in the answer, the port by an option."""
    answer = {**CONNECTION, "connectionStatus": azure}
    if port == "3389":
        context = [{"key": "ruleName", "value": "UserRule_no-other-front"}]
        answer = copy.deepcopy(answer)
        answer["hops"][1]["issues"] = [{"type": "NetworkSecurityRule", "origin": "Inbound", "context": context}]
    words = (_stored("c.json", answer), "--remote", f"192.168.2.4:{port}")
    found = _compared(lab, *words, status=int(differs))
    first = found["comparisons"][0]
    assert (first["vm"], first["document"], first["differs"]) == ("web1", document, differs)
    if port == "3389":
        assert found["comparisons"][1]["what"].endswith("stopped by")
        assert (found["comparisons"][1]["azure"], found["comparisons"][1]["differs"]) == ("no-other-front", False)


def test_a_connection_to_an_address_outside_needs_no_host_of_the_topology(lab: Run) -> None:
    answer = {**CONNECTION, "connectionStatus": "Unreachable"}
    context = [{"ruleName": "deny-internet"}]
    issue = {"type": "NetworkSecurityRule", "origin": "Outbound", "context": context}
    answer["hops"] = [{**CONNECTION["hops"][0], "issues": [issue]}, {"address": "20.1.2.3", "type": "Internet"}]
    found = _compared(lab, _stored("c.json", answer))
    assert [row["differs"] for row in found["comparisons"]] == [False, False]


@pytest.mark.parametrize(
    ("answer", "words", "document", "differs"),
    [
        (
            {"access": "Deny", "ruleName": "securityRules/deny-internet"},
            ("--remote", "13.107.21.200:80"),
            "Deny: deny-internet",
            False,
        ),
        (
            {"access": "Allow", "ruleName": "defaultSecurityRules/AllowInternetOutBound"},
            ("--remote", "13.107.21.200:80"),
            "Deny: deny-internet",
            True,
        ),
        (
            {"access": "Allow", "ruleName": "UserRule_web-rule"},
            ("--direction", "Inbound", "--local-port", "80", "--remote", "client"),
            "Allow: web-rule",
            False,
        ),
        (
            {"access": "Deny", "ruleName": "defaultSecurityRules/DenyAllInBound"},
            ("--direction", "Inbound", "--local-port", "81", "--remote", "198.51.100.10"),
            "Deny: no-other-internet",
            True,
        ),
    ],
)
def test_an_ip_flow_is_judged_by_the_groups(
    lab: Run, answer: dict[str, str], words: tuple[str, ...], document: str, differs: bool
) -> None:
    found = _compared(lab, _stored("f.json", answer), "--vm", "web1", *words, status=int(differs))
    (row,) = found["comparisons"]
    assert (row["document"], row["differs"]) == (document, differs)


@pytest.mark.parametrize(
    ("vm", "remote", "azure", "document"),
    [
        ("vm1", "vm2", "VirtualNetworkGateway", "VirtualNetworkGateway"),
        ("vm1", "10.1.0.77", "VnetLocal", "VnetLocal"),
        ("vm1", "8.8.8.8", "Internet", "Internet"),
        ("vm1", "10.77.0.1", "None", "None"),
        ("vm1", "8.8.8.8", "VirtualAppliance", "Internet"),
    ],
)
def test_a_next_hop_is_that_of_the_system_routes(lab: Run, vm: str, remote: str, azure: str, document: str) -> None:
    answer = {"nextHopIpAddress": None, "nextHopType": azure, "routeTableId": "System Route"}
    words = (_stored("n.json", answer), "--vm", vm, "--remote", remote)
    found = _compared(lab, *words, status=int(azure != document), topology="vnet-to-vnet.lab.yaml")
    assert [row["document"] for row in found["comparisons"]] == [document]


@pytest.mark.parametrize("azure", ["VNetPeering", "VNetGlobalPeering", "VirtualNetworkPeering"])
def test_a_route_to_a_peer_has_the_words_of_either_command(lab: Run, azure: str) -> None:
    prefixes = {"10.0.0.0/16": azure, "10.1.0.0/16": "VnetLocal", "10.11.0.0/24": "VnetLocal", "0.0.0.0/0": "Internet"}
    routes = {"value": [_route(prefix, following) for prefix, following in prefixes.items()]}
    found = _compared(lab, _stored("r.json", routes), "--vm", "app1", topology="peerings.lab.yaml")
    assert found["summary"] == {"differ": 0, "same": 4}
    answer = _stored("n.json", {"nextHopType": azure})
    words = (answer, "--vm", "app1", "--remote", "10.0.0.4")
    assert _compared(lab, *words, topology="peerings.lab.yaml")["comparisons"][0]["document"] == "VNetPeering"


def test_a_file_may_hold_questions_with_their_answers(lab: Run) -> None:
    target = f"{ROOT}/Microsoft.Compute/virtualMachines/WEB1"
    flow = {
        "targetResourceId": target,
        "direction": "Inbound",
        "protocol": "TCP",
        "localIPAddress": "192.168.1.4",
        "localPort": "80",
        "remoteIPAddress": "198.51.100.10",
        "remotePort": "60000",
    }
    hop = {"targetResourceId": target, "sourceIPAddress": "192.168.1.4", "destinationIPAddress": "192.168.2.4"}
    source = {"source": {"resourceId": target}, "destination": {"address": "192.168.2.4", "port": 1433}}
    pairs = [
        {"request": flow, "response": {"access": "Allow", "ruleName": "securityRules/web-rule"}},
        {"request": hop, "response": {"nextHopType": "VnetLocal", "routeTableId": "System Route"}},
        {"request": source, "response": {"connectionStatus": "Reachable", "hops": []}},
    ]
    found = _compared(lab, _stored("all.json", pairs))
    assert [(row["kind"], row["differs"]) for row in found["comparisons"]] == [
        ("ip flow", False),
        ("next hop", False),
        ("connectivity", False),
    ]


def test_vms_of_an_imported_topology_are_known_by_their_ids(lab: Run) -> None:
    text = f"""name: mine
virtual_machines:
  # {ROOT}/Microsoft.Compute/virtualMachines/1-büro
  # {NETWORK}/networkInterfaces/Odd
  n-1-b-ro: {{}}
  "b":
    # not an id
    services: []
load_balancers:
  # {NETWORK}/loadBalancers/x
  lb: {{}}
"""
    assert ids_of(text) == {
        f"{ROOT}/microsoft.compute/virtualmachines/1-büro".lower(): "n-1-b-ro",
        f"{NETWORK}/networkinterfaces/odd".lower(): "n-1-b-ro",
    }
    rules = json.dumps(RULES).replace("SQL1-nic", "nic-of-the-database")
    Path("g.json").write_text(rules)
    topology = Path(__file__).parents[3] / "topologies" / "nsg.lab.yaml"
    above = f"  # {NETWORK}/networkInterfaces/nic-of-the-database\n  sql1:"
    Path("mine.lab.yaml").write_text(topology.read_text().replace("  sql1:", above))
    assert lab("compare", "nsg.lab.yaml", "g.json").status == 2
    assert lab("compare", "mine.lab.yaml", "g.json").status == 0


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        (ROUTES, (), "give --vm"),
        (ROUTES, ("--vm", "web9"), 'no VM "web9"; did you mean'),
        ({"nextHopType": "Internet"}, ("--vm", "web1"), "give --remote"),
        ({"access": "Allow", "ruleName": ""}, ("--vm", "web1", "--remote", "client"), "give --remote ADDRESS:PORT"),
        (
            {"access": "Allow", "ruleName": ""},
            ("--vm", "web1", "--remote", "client", "--direction", "Inbound"),
            "give --local-port",
        ),
        ({"nextHopType": "Internet"}, ("--vm", "web1", "--remote", "nowhere"), "give --remote"),
        ({"value": []}, (), "az network watcher test-connectivity"),
        ({"value": [{"nextHopType": "x"}]}, (), "JSON of another kind"),
        ([], (), "JSON of another kind"),
        (3, (), "JSON of another kind"),
        (ROUTES, ("--vm", "web1", "--send"), "a topology file; flows are sent in a running lab"),
    ],
)
def test_what_cannot_be_compared_ends_with_2_and_says_what_is_needed(
    lab: Run, data: object, words: tuple[str, ...], said: str
) -> None:
    done = lab("compare", "nsg.lab.yaml", _stored("x.json", data), *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert done.err.count(";") >= 2 or "did you mean" in done.err


def test_broken_answers_are_compared_or_refused(lab: Run) -> None:
    answers = [ROUTES, RULES, CONNECTION, {"access": "Allow", "ruleName": "x"}, {"nextHopType": "Internet"}]
    words = ("--vm", "web1", "--remote", "client:80")
    for number in range(300):
        broken = fuzz.changed(copy.deepcopy(answers[number % len(answers)]), number)
        Path("x.json").write_text(json.dumps(broken), errors="replace")
        done = lab("compare", "nsg.lab.yaml", "x.json", *words)
        assert done.status in (0, 1, 2), number
        assert "Traceback" not in done.err, number


def test_faults_of_all_files_are_told_at_once(lab: Run) -> None:
    Path("a.json").write_text("{")
    done = lab("compare", "nsg.lab.yaml", "a.json", _stored("b.json", {}), _stored("c.json", ROUTES), "--vm", "web1")
    assert done.status == 2
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["a.json", "b.json"]
    assert lab("compare", "nsg.lab.yaml", "missing.json").status == 2
