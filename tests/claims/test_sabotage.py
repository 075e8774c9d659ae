"""Each claim turns CONTRADICTED when the rule behind it is altered in the kernel.

The lab runs as it should; one rule is changed by hand with another tool than the lab's own; the claim
is judged on the lab as it stands; then ``lab up`` must give the lab its rules back.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import claims
from tests import rootlab

pytestmark = pytest.mark.root

EDGE = "lb.vnet1"
_SNAT_FIRST = ("-t", "nat", "-I", "POSTROUTING", "1")
_PLATFORM = "192.0.2.254"  # the default address of the only virtual network

#: Claim: topology, place, and the rule that is put first there.
SABOTAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "S1-1": ("source-ip", EDGE, (*_SNAT_FIRST, "-s", "@own", "-j", "SNAT", "--to-source", _PLATFORM)),
    "S1-2": ("source-ip", EDGE, (*_SNAT_FIRST, "-s", "@poolonly", "-j", "SNAT", "--to-source", "40.125.161.58")),
    "S1-3": ("source-ip", EDGE, (*_SNAT_FIRST, "-s", "@test2vm", "-j", "SNAT", "--to-source", _PLATFORM)),
    "S1-4": ("source-ip", EDGE, (*_SNAT_FIRST, "-s", "@ruleonly", "-j", "SNAT", "--to-source", _PLATFORM)),
    "S1-6": ("source-ip", EDGE, (*_SNAT_FIRST, "-s", "@unhealthy", "-j", "SNAT", "--to-source", _PLATFORM)),
    "S1-7": (
        "source-ip",
        EDGE,
        ("-t", "nat", "-A", "lb-unhealthy/web", "-p", "tcp", "-j", "DNAT", "--to-destination", "@unhealthy:80"),
    ),
    # In the internet, whose tables a change of the lab does not touch: every source looks alike from there on.
    "S1-8": (
        "source-ip",
        "internet",
        (*_SNAT_FIRST, "-d", "198.51.100.10", "-p", "tcp", "-j", "SNAT", "--to-source", "40.125.161.56"),
    ),
    "S2-1": ("outbound", EDGE, ("-I", "FORWARD", "1", "-i", "internet", "-j", "DROP")),
    "S2-2": ("outbound", EDGE, (*_SNAT_FIRST, "-s", "@web1", "-j", "SNAT", "--to-source", _PLATFORM)),
    "S2-3": ("outbound", EDGE, (*_SNAT_FIRST, "-s", "@alone", "-j", "SNAT", "--to-source", "191.238.74.148")),
    "S2-4": (
        "outbound",
        EDGE,
        (*_SNAT_FIRST, "-s", "@alone", "-p", "udp", "-j", "SNAT", "--to-source", f"{_PLATFORM}:600-900"),
    ),
    "S2-10": ("source-ip", EDGE, (*_SNAT_FIRST, "-s", "@poolonly", "-j", "SNAT", "--to-source", "40.125.161.58")),
    "S2-11": ("outbound", EDGE, (*_SNAT_FIRST, "-s", "@web2", "-j", "SNAT", "--to-source", _PLATFORM)),
    "S2-12": (
        "outbound",
        EDGE,
        (*_SNAT_FIRST, "-s", "@own", "-p", "tcp", "-j", "SNAT", "--to-source", "104.43.142.188:1024-2047"),
    ),
    "S2-13": (
        "outbound",
        EDGE,
        (*_SNAT_FIRST, "-s", "@balanced", "-p", "udp", "-j", "SNAT", "--to-source", "104.43.142.189:1024-1535"),
    ),
    "S2-14": ("outbound", EDGE, (*_SNAT_FIRST, "-s", "@alone", "-j", "SNAT", "--to-source", "191.238.74.148")),
    "S2-17": ("outbound", EDGE, (*_SNAT_FIRST, "-s", "@many", "-j", "SNAT", "--to-source", _PLATFORM)),
    "LAB-1": ("outbound", EDGE, ("-I", "FORWARD", "1", "-j", "ACCEPT")),
}
#: Claims about a refusal: no kernel rule is behind them, but a check of ours.
REFUSALS = {"S1-5": ("source-ip", "invariants._rule_limits")}


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A bundled topology that runs under a name of the tests' own; its name in the folder, and its file."""
    folder = tmp_path_factory.mktemp("sabotage")
    text = (rootlab.TOPOLOGIES / f"{request.param}.lab.yaml").read_text()
    text = text.replace(f"\nname: {request.param}", f"\nname: sab-{request.param}", 1)
    with rootlab.running(folder, text) as name:
        yield request.param, folder / f"{name}.lab.yaml"


def _judge(file: Path, claim: str) -> dict[str, str]:
    done = rootlab.run("verify", file, "--claim", claim, "-o", "json")
    assert done.stdout, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert done.returncode == {"HOLDS": 0, "CONTRADICTED": 1}.get(result["verdict"], 3)
    return result


def _address(name: str, node: str) -> str:
    shown = json.loads(rootlab.ok("show", name, node, "-o", "json"))
    return shown["address"]


def test_every_claim_has_a_sabotage():
    assert {claim.id for claim in claims.CATALOGUE} == set(SABOTAGES) | set(REFUSALS)


@pytest.mark.parametrize(
    ("lab", "claim"), sorted((SABOTAGES[claim][0], claim) for claim in SABOTAGES), indirect=["lab"]
)
def test_a_claim_is_contradicted_when_its_rule_is_altered(lab: tuple[str, Path], claim: str):
    topology, place, rule = SABOTAGES[claim]
    file = lab[1]
    name = f"sab-{topology}"
    words = [
        _address(name, word[1:].split(":")[0]) + word[1:].partition(":")[1] + word.partition(":")[2]
        if word.startswith("@")
        else word
        for word in rule
    ]
    rootlab.must(name, place, "iptables-legacy", *words)
    try:
        sabotaged = _judge(file, claim)
    finally:
        if place == EDGE:
            rootlab.ok("up", file)
        else:
            rootlab.must(name, place, "iptables-legacy", "-t", "nat", "-F")
    healed = _judge(file, claim)
    assert (sabotaged["verdict"], healed["verdict"]) == ("CONTRADICTED", "HOLDS"), healed["reason"]
    assert sabotaged["reason"]


@pytest.mark.parametrize(("lab", "claim"), [(REFUSALS[claim][0], claim) for claim in REFUSALS], indirect=["lab"])
def test_a_refusal_is_contradicted_when_its_check_is_taken_away(
    lab: tuple[str, Path], claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, function = REFUSALS[claim]
    module, attribute = function.split(".")
    (tmp_path / "sitecustomize.py").write_text(f"import lab.{module}\nlab.{module}.{attribute} = lambda *_: iter(())\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{rootlab.CHECKOUT}")
    assert _judge(lab[1], claim)["verdict"] == "CONTRADICTED"
    monkeypatch.undo()
    assert _judge(lab[1], claim)["verdict"] == "HOLDS"
