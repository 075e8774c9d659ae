"""`lab nsg` on a topology file: what is predicted, and what a bad request is answered with."""

import json

import pytest

from tests import rootlab

FILE = rootlab.TOPOLOGIES / "nsg.lab.yaml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nsg", "effective", FILE, "sql"], 'no VM "sql"; did you mean "sql1"?'),
        (["nsg", "matrix", FILE, "sql"], 'no node "sql"; did you mean "sql1"?'),
        (["nsg", "matrix", FILE, "--service", "http"], '"http" is no service'),
        (["nsg", "rule", "list", FILE, "NSG-Ap"], 'no network security group "NSG-Ap"; did you mean "NSG-App"?'),
        (["nsg", "matrix", FILE, "--send"], "flows are sent in a running lab; run `lab up`"),
        (["nsg", "rule", "list", "nobody"], 'no lab "nobody"'),
    ],
)
def test_a_request_that_names_nothing_is_refused_with_the_nearest(arguments: list[str], said: str) -> None:
    done = rootlab.run(*arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_effective_rules_are_listed_in_order_with_what_they_stand_for() -> None:
    found = json.loads(rootlab.ok("nsg", "effective", FILE, "sql1", "-o", "json"))
    assert [(r["group"], r["on"]) for r in found["rules"] if r["rule"]["priority"] == 65500] == [
        ("NSG-BackEnd", "subnet"), ("NSG-Sql", "VM"), ("NSG-Sql", "VM"), ("NSG-BackEnd", "subnet"),
    ]  # fmt: skip
    (web,) = [r for r in found["rules"] if r["rule"]["name"] == "no-web"]
    assert web["expanded_sources"] == ["192.168.0.0/16"]
    shadowed = {r["rule"]["name"]: r["shadowed_by"] for r in found["rules"] if r["shadowed_by"]}
    assert shadowed == {}
    assert "all is allowed" in rootlab.ok("nsg", "effective", FILE, "free")


def test_a_shadowed_rule_names_what_shadows_it() -> None:
    rows = rootlab.ok("nsg", "effective", FILE, "web1").splitlines()
    (row,) = [row for row in rows if "AllowInternetOutBound" in row]
    assert row.split()[-1] == "deny-internet"


def test_the_grid_of_a_file_is_predicted_only() -> None:
    rows = rootlab.ok("nsg", "matrix", FILE, "client", "--service", "80/tcp", "--service", "icmp").splitlines()
    found = {tuple(row.split()[:2]): row.split()[2:] for row in rows}
    assert found["FROM", "TO"] == ["80/tcp", "icmp"]
    assert found["client", "web1"] == ["allow", "deny"]
    assert found["client", "65.52.0.11"] == ["deny", "-"]
    assert all("client" in pair for pair in found if pair != ("FROM", "TO"))


def test_a_rule_with_several_faults_is_refused_with_all_of_them() -> None:
    words = ("--priority", "100", "--access", "Allowed", "--source", "Moon,10.0.0.1/8", "--destination-ports", "99999")
    done = rootlab.run("nsg", "rule", "add", "nsg", "g", "_r", *words)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        (
            'nsg rule add g _r: RULE: "_r"; a name begins with a letter or digit and has up to 80 letters, digits, '
            "dots, dashes, underscores and spaces, with no space at its end; correct it"
        ),
        "nsg rule add g _r: --access: \"Allowed\"; it must be 'Allow' or 'Deny'; did you mean \"Allow\"?",
        (
            'nsg rule add g _r: --source: "Moon"; no such service tag; known: AZURE_LOADBALANCER, AzureLoadBalancer, '
            "INTERNET, Internet, VIRTUAL_NETWORK, VirtualNetwork"
        ),
        'nsg rule add g _r: --source: "10.0.0.1/8"; has host bits set; the prefix is 10.0.0.0/8',
        'nsg rule add g _r: --destination-ports: "99999"; ports are within 0-65535, lower port first; correct it',
    ]
