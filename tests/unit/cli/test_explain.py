"""lab/cli/explain.py: what the commands print, without a lab."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.errors import UsageError
from tests.rootlab import TOPOLOGIES

SOURCE_IP, NSG, FLOATING = (str(TOPOLOGIES / f"{n}.lab.yaml") for n in ("source-ip", "nsg", "load-balancer"))


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == exit_code, done.output + str(done.exception)
    return done.stdout


def test_outbound_names_the_address_and_the_reason_in_80_columns() -> None:
    lines = run("outbound", SOURCE_IP).splitlines()
    assert lines[0].split() == ["VM", "SEEN", "FROM", "PORTS", "WHY"]
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines if line.startswith("test2vm")] == ["40.125.161.55"]
    assert [line.partition("default: ")[2] for line in lines if line.startswith("poolonly")] == [
        "pool pool has no rule"
    ]


def test_outbound_as_csv_and_json_has_every_vm() -> None:
    rows = list(csv.DictReader(io.StringIO(run("outbound", SOURCE_IP, "-o", "csv"))))
    found = json.loads(run("outbound", SOURCE_IP, "-o", "json"))["outbound"]
    assert [row["vm"] for row in rows] == [way["vm"] for way in found]
    assert {row["vm"]: row["address"] for row in rows} == {w["vm"]: w["addresses"][0]["address"] for w in found}


def test_outbound_plays_another_revision_of_a_file() -> None:
    assert "40.125.161.58" in run("outbound", SOURCE_IP, "--profile", "2016-10")
    assert "40.125.161.58" not in run("outbound", SOURCE_IP)


def test_explain_tells_the_way_and_why_not_otherwise_in_80_columns() -> None:
    lines = run("explain", SOURCE_IP, "poolonly", "lbvm:22").splitlines()
    assert lines[0] == "poolonly to lbvm, 22/tcp: allowed"
    assert max(map(len, lines)) <= 80
    assert {"Why not otherwise:", "What would change it:"} <= {*lines}
    assert "membership alone binds nothing" in " ".join(line.strip() for line in lines)


def test_explain_has_the_keys_of_network_watcher() -> None:
    found = json.loads(run("explain", SOURCE_IP, "test2vm", "lbvm:22", "-o", "json"))
    assert found["connectionStatus"] == "Reachable"
    assert (found["access"], found["ruleName"], found["nextHopType"]) == ("Allow", None, "Internet")
    hops = found["hops"]
    assert [hop["nextHopIds"] for hop in hops[:-1]] == [[hop["id"]] for hop in hops[1:]]
    assert [hop["previousHopIds"] for hop in hops[1:]] == [[hop["id"]] for hop in hops[:-1]]
    assert hops[-1]["packet"]["sources"] == [{"address": "40.125.161.55", "firstPort": 1025, "lastPort": 2048}]


def test_explain_names_the_rule_that_denies_as_ip_flow_verify_does() -> None:
    found = json.loads(run("explain", str(TOPOLOGIES / "nsg.lab.yaml"), "client", "web1:3389", "-o", "json"))
    assert (found["connectionStatus"], found["access"]) == ("Unreachable", "Deny")
    issues = [issue for hop in found["hops"] for issue in hop["issues"]]
    assert [issue["type"] for issue in issues] == ["NetworkSecurityRule"]
    assert found["ruleName"].endswith("/" + issues[0]["context"][0]["value"])


def test_explain_lists_every_group_that_was_asked_with_the_rule_that_matched() -> None:
    found = json.loads(run("explain", NSG, "web1", "sql1:1433", "-o", "json"))["evaluatedNetworkSecurityGroups"]
    asked = [(g["networkSecurityGroup"], g["appliedTo"], g["direction"], g["matchedRule"]["ruleName"]) for g in found]
    assert asked == [
        ("NSG-FrontEnd", "web1", "Outbound", "defaultSecurityRules/AllowVnetOutBound"),
        ("NSG-BackEnd", "sql1", "Inbound", "securityRules/sql-rule"),
        ("NSG-Sql", "sql1", "Inbound", "defaultSecurityRules/AllowVnetInBound"),
    ]
    assert {g["matchedRule"]["action"] for g in found} == {"Allow"}


_SILENT = "does not have 65.52.0.5 on a loopback interface and does not answer"


@pytest.mark.parametrize(
    ("file", "sender", "to", "said"),
    [
        (NSG, "client", "web1:3389", "denied by rule no-other-internet of NSG-FrontEnd, inbound at web1"),
        (NSG, "free", "app1:22", "allowed by rule AllowVnetInBound of NSG-App, inbound at app1"),
        (NSG, "free", "client:22", "allowed"),
        (NSG, "client", "65.52.0.10:81", "no way: no rule leads anywhere from 65.52.0.10, 81/tcp"),
        (NSG, "client", "sql1/icmp", "no way: sql1 has no address that client can reach"),
        (NSG, "client", "65.52.0.11:80", "denied by rule DenyAllInbound of (Standard SKU), inbound at shut"),
        (FLOATING, "client", "65.52.0.4:1433", "allowed"),
        (FLOATING, "client", "65.52.0.5:1433", f"allowed, and not answered: sql1 {_SILENT}; sql2 {_SILENT}"),
    ],
)
def test_the_first_line_of_explain_is_the_answer_and_what_decides(file: str, sender: str, to: str, said: str) -> None:
    answer = json.loads(run("explain", file, sender, to, "-o", "json"))["answer"][0]
    assert answer.partition(": ")[2] == said


def test_explain_takes_the_name_of_a_load_balancer_and_the_internet() -> None:
    assert run("explain", SOURCE_IP, "internet", "lb-lbrule").startswith("internet to 40.125.161.56, 80/tcp: allowed")


def test_explain_says_what_is_not_there() -> None:
    assert 'no node "test3vm"; did you mean "test2vm"?' in failing("explain", SOURCE_IP, "test3vm", "lbvm")
    assert "it cannot be sent" in failing("explain", SOURCE_IP, "test2vm", "lbvm", "--send")
    assert "its own address" in failing("explain", SOURCE_IP, "test2vm", "10.1.0.4")
    assert "its own address" in failing("explain", FLOATING, "sql1", "65.52.0.4:80")
    assert '"80/sctp" is no service; it must be PORT/tcp, PORT/udp or icmp' in failing(
        "explain", NSG, "client", "web1:80/sctp"
    )
    assert '"0" is no service' in failing("explain", NSG, "client", "web1:0")
    assert "with a PORT of 1-65535; use one such as" in failing("explain", NSG, "client", "web1:99999")


def failing(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, UsageError), done.output
    return str(done.exception)


def test_whatif_tells_each_difference_with_its_reason_in_80_columns() -> None:
    lines = run("whatif", SOURCE_IP, "--to-profile", "2016-10").splitlines()
    assert "poolonly to outside: source address: 192.0.2.254 -> 40.125.161.58" in lines
    assert max(map(len, lines)) <= 80


def test_whatif_moves_load_balancers_to_another_sku() -> None:
    outbound = str(TOPOLOGIES / "outbound.lab.yaml")
    found = json.loads(run("whatif", outbound, "--profile", "2019-05", "--to-sku", "Standard", "-o", "json"))["changes"]
    assert {c["what"] for c in found} == {"source address", "SNAT ports", "reachability"}
    assert {c["after"]["value"] for c in found if c["to"] == "lb1/public"} == {"denied"}


def test_whatif_says_that_nothing_changes_and_takes_files_only() -> None:
    assert run("whatif", SOURCE_IP, SOURCE_IP) == "nothing changes for any flow\n"
    assert "no topology file" in failing("whatif", "source-ip")
