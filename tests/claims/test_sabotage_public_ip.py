"""Each claim about instance-level public IPs turns CONTRADICTED when the rule behind it is altered in the kernel.

One lab for all of them, but for fragments. Trials that change the lab have the rules of its edge written again, so what
is behind those is altered in the internet, which a change leaves alone.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests import rootlab

pytestmark = pytest.mark.root

_OWN, _MIRROR, _VIP, _PLAIN_VIP = "104.43.142.188", "104.43.142.189", "104.43.140.10", "104.43.140.20"
_DEFAULT, _NOBODYS = "192.0.2.254", "104.43.142.200"
_PRIVATE, _MIRROR_PRIVATE = "100.74.118.91", "100.64.0.4"
_STRANGER = "198.51.100.20"
_UDP = ("-p", "udp")


class Sabotage(msgspec.Struct, frozen=True):
    """A rule that is put first into a chain, and what must be said of it."""

    place: str
    rule: tuple[str, ...]  # table, chain and the rest
    reason: str


def _edge(*rule: str, reason: str) -> Sabotage:
    return Sabotage("lb.platform", rule, reason)


def _outside(*rule: str, reason: str) -> Sabotage:
    return Sabotage("internet", rule, reason)


def _seen_as(source: str, to: str) -> Sabotage:
    return _outside(
        "nat", "POSTROUTING", "-s", source, *_UDP, "-j", "SNAT", "--to-source", to, reason=f"seen from {to}"
    )


def _leaves_as(private: str, to: str, *which: str, reason: str) -> Sabotage:
    return _edge("nat", "POSTROUTING", "-s", private, *which, "-j", "SNAT", "--to-source", to, reason=reason)


_NO_NAMES = ("filter", "INPUT", *_UDP, "--dport", "53", "-j", "REJECT")
_UNREACHED = _outside("mangle", "FORWARD", "-s", _STRANGER, *_UDP, "-j", "DROP", reason="does not lead to the VM")
_RULES: dict[str, Sabotage] = {
    "S4-1": _edge(
        *("mangle", "PREROUTING", "-d", _OWN, "-p", "tcp", "--dport", "8080", "-j", "DROP"), reason=f"{_OWN}: no answer"
    ),
    "S4-2": _edge("mangle", "PREROUTING", "-d", _OWN, "-p", "esp", "-j", "DROP", reason="esp: 8 flows did not arrive"),
    "S4-3": _edge(*_NO_NAMES, reason="FTPService.cloudapp.net is no answer to FTPInstance"),
    "S4-4": _seen_as(_OWN, _NOBODYS),
    "S4-5": _seen_as(_PLAIN_VIP, _NOBODYS),
    "S4-6": _seen_as(_DEFAULT, _VIP),
    "S4-7": _leaves_as(
        _PRIVATE, f"{_OWN}:1024-2047", "-p", "tcp", "--sport", "20", reason="the active transfer failed"
    ),
    "S4-8": _leaves_as(_MIRROR_PRIVATE, _OWN, reason=f"FTPMirror: seen from {_OWN}"),
    "S4-9": _leaves_as(_PRIVATE, _MIRROR, reason=f"seen from {_MIRROR}"),
    "S4-10": _leaves_as(_PRIVATE, _MIRROR, reason="the address shown is not the one that is seen"),
    "S4-11": _seen_as(_VIP, _OWN),
    "S4-12": _UNREACHED,
    "S4-13": _UNREACHED,
    "N-IL-1": _edge(*_NO_NAMES, reason="mirror.0.FTPService.cloudapp.net is no answer to FTPInstance"),
    "N-SN-14": _edge(
        *("mangle", "PREROUTING", "-s", _PRIVATE, "-p", "icmp", "-j", "DROP"), reason="icmp out: 4 flows did not arrive"
    ),
}
#: Every claim of this file; behind the last is no rule of iptables, and it has a lab of its own.
SABOTAGES = (*_RULES, "N-SN-20")
_FORGET_FRAGMENTS = """
from pyroute2.nftables.main import NFTables
with NFTables(nfgen_family=2) as nft:
    nft.begin()
    nft.table("del", name="lab-fragments")
    nft.commit()
"""


def _file(folder: Path, name: str) -> tuple[str, Path]:
    """Write a bundled topology under a name of the tests' own; return the text and the file."""
    text = (rootlab.TOPOLOGIES / f"{name}.lab.yaml").read_text().replace(f"\nname: {name}", f"\nname: sab-{name[:14]}")
    file = folder / f"sab-{name[:14]}.lab.yaml"
    return text, file


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    text, file = _file(tmp_path_factory.mktemp("sabotage"), "instance-public-ip")
    with rootlab.running(file.parent, text) as name:
        yield name, file


def _verdicts(file: Path, *wanted: str) -> dict[str, dict[str, str]]:
    words = [word for claim in wanted for word in ("--claim", claim)]
    done = rootlab.run("verify", file, *words, "-o", "json")
    assert done.stdout, done.stderr
    return {result["id"]: result for result in json.loads(done.stdout)["results"]}


@pytest.mark.parametrize("claim", _RULES)
def test_a_claim_is_contradicted_when_its_rule_is_altered(lab: tuple[str, Path], claim: str):
    name, file = lab
    sabotage = _RULES[claim]
    table, chain, *rest = sabotage.rule
    command = ("iptables-legacy", "-t", table)
    rootlab.must(name, sabotage.place, *command, "-I", chain, "1", *rest)
    try:
        result = _verdicts(file, claim)[claim]
    finally:
        # What a trial has changed may have taken it away already.
        rootlab.inside(name, sabotage.place, *command, "-D", chain, *rest)
    assert result["verdict"] == "CONTRADICTED", result["observed"]
    assert sabotage.reason in result["reason"]


def test_all_of_them_hold_once_the_lab_is_healed(lab: tuple[str, Path]):
    name, file = lab
    # Linux translates a source as it did before, while any flow of that source is known.
    rootlab.must(name, "lb.platform", "conntrack", "-F")
    rootlab.ok("up", file)
    healed = _verdicts(file, *_RULES)
    assert {claim: result["reason"] for claim, result in healed.items()} == dict.fromkeys(_RULES, "")


def test_fragments_pass_when_nothing_drops_them_any_more(tmp_path: Path):
    text, file = _file(tmp_path, "fragments")
    with rootlab.running(tmp_path, text) as name:
        rootlab.must(name, "lb.vnet1", sys.executable, "-c", _FORGET_FRAGMENTS)
        altered = _verdicts(file, "N-SN-20")
        assert altered["N-SN-20"]["verdict"] == "CONTRADICTED"
        assert "fragments left the virtual network" in altered["N-SN-20"]["reason"]
        rootlab.ok("up", file)
        assert _verdicts(file, "N-SN-20")["N-SN-20"]["verdict"] == "HOLDS"
