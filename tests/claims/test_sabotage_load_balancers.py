"""Each claim about load balancers turns CONTRADICTED when the rule behind it is altered in the kernel.

One lab for all of them, which ``lab up`` gives its rules back each time. What a change of the lab would give back as
well, while a claim is judged, is altered where the change does not come to: at the router, or in the guest.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests import rootlab

pytestmark = pytest.mark.root

_LAB = "sab-balancer"
_EDGE, _ROUTER = "lb.vnet1", "router.vnet1"

Command = tuple[str, ...]


class Sabotage(msgspec.Struct, frozen=True):
    """What is done where, what must be said of it, and what undoes it beside ``lab up``. ``@vm``: a VM's address."""

    reason: str
    command: Command
    place: str = _EDGE
    undo: Command = ()


def _first(table: str, chain: str, *rule: str) -> Command:
    return ("iptables-legacy", "-t", table, "-I", chain, *rule)


def _lead(to: str, *which: str) -> Command:
    """Have the edge lead flows to one VM, whatever the rules say."""
    return _first("nat", "PREROUTING", "1", *which, "-j", "DNAT", "--to-destination", to)


_BY_FLOW = ("-j", "HMARK", "--hmark-tuple", "src,sport,dst,dport,proto", "--hmark-mod", "3", "--hmark-offset", "1")
_AS_GUEST = ("POSTROUTING", "-s", "65.52.0.4", "-j", "SNAT", "--to-source", "@sql1")
_LATER = "203.0.113.1/32"  # what the dynamic frontend is given

SABOTAGES: dict[str, Sabotage] = {
    "N-DM-1": Sabotage("not spread: ", _first("nat", "lb-web/alternative", "1", "-p", "tcp", "-j", "DNAT",
                                              "--to-destination", "@web1:8080")),
    # After the rule's own hash of two fields, another one of five.
    "N-DM-2": Sabotage("went to several VMs",
                       _first("nat", "lb-web/control", "2", *_BY_FLOW, "--hmark-rnd", "0x5eed001")),
    "N-DM-3": Sabotage("have TCP and UDP at different VMs", _lead("@web1:5000", "-p", "udp", "-d", "65.52.0.3",
                                                                  "--dport", "5000")),
    "N-DM-4": Sabotage("flows did not arrive", _first("filter", "FORWARD", "1", "-d", "@web2", "-p", "tcp", "--dport",
                                                      "8080", "-j", "DROP"), _ROUTER),
    "N-DM-6": Sabotage("VMs saw 65.52.0.1", _first("nat", "POSTROUTING", "1", "-p", "tcp", "-d", "@web1", "-j",
                                                   "SNAT", "--to-source", "65.52.0.1")),
    "N-IT-1": Sabotage("flows outlived 4 minutes",
                       ("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_established=600")),
    "N-IT-4": Sabotage("the server got 0 resets instead of one",
                       _first("filter", "FORWARD", "1", "-d", "@app1", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j",
                              "DROP"), _ROUTER),
    "N-MV-1": Sabotage("65.52.0.2 udp 80 leads to a VM without a rule",
                       _lead("@web1:80", "-p", "udp", "-d", "65.52.0.2", "--dport", "80")),
    "N-MV-2": Sabotage("lb-web/second ended at port 80 instead of 81",
                       _lead("@web1:80", "-p", "tcp", "-d", "65.52.0.2", "--dport", "80")),
    # The VM is given its own address for a destination, as without floating IP.
    "N-MV-4": Sabotage("instead of 65.52.0.4:1433",
                       _first("nat", "PREROUTING", "1", "-p", "tcp", "-d", "65.52.0.4", "-j", "DNAT",
                              "--to-destination", "@sql1"), _ROUTER),
    "N-MV-5": Sabotage("flows bound to the frontend's address left", _first("nat", *_AS_GUEST), "sql1",
                       ("iptables-legacy", "-t", "nat", "-D", *_AS_GUEST)),
    "N-MV-6": Sabotage("with no rule 4 flows came in",
                       ("ip", "route", "add", _LATER, "via", "169.254.2.2", "dev", _EDGE, "onlink"), "internet",
                       ("ip", "route", "flush", _LATER)),
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sabotage")
    text = (rootlab.TOPOLOGIES / "load-balancer.lab.yaml").read_text()
    with rootlab.running(folder, text.replace("\nname: load-balancer", f"\nname: {_LAB}")):
        yield folder / f"{_LAB}.lab.yaml"


def _judge(file: Path, claim: str) -> dict[str, str]:
    done = rootlab.run("verify", file, "--claim", claim, "-o", "json")
    assert done.stdout, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    return result


def _spelled_out(word: str) -> str:
    """Return a word of a command with the address of the VM that it names."""
    if not word.startswith("@"):
        return word
    node, colon, rest = word[1:].partition(":")
    return json.loads(rootlab.ok("show", _LAB, node, "-o", "json"))["address"] + colon + rest


@pytest.mark.parametrize("claim", SABOTAGES)
def test_a_claim_about_load_balancers_is_contradicted_when_its_rule_is_altered(file: Path, claim: str):
    sabotage = SABOTAGES[claim]
    try:
        rootlab.must(_LAB, sabotage.place, *map(_spelled_out, sabotage.command))
        sabotaged = _judge(file, claim)
    finally:
        if sabotage.undo:
            rootlab.inside(_LAB, sabotage.place, *map(_spelled_out, sabotage.undo))
        rootlab.ok("up", file)
    assert (sabotaged["verdict"], sabotage.reason in sabotaged["reason"]) == ("CONTRADICTED", True), sabotaged
    healed = _judge(file, claim)
    assert healed["verdict"] == "HOLDS", healed
