"""Each claim about instance-level public IPs turns CONTRADICTED when the rule behind it is altered in the kernel.

One lab for all of them, but for fragments. Trials that change the lab have the rules of its edge written again, so what
is behind those is altered in the internet, which a change leaves alone.
"""

import sys

import msgspec
import pytest

from tests import rootlab
from tests.sabotage import Act, Command, Labs, assert_noticed, first, of

pytestmark = pytest.mark.root

_OWN, _MIRROR, _VIP, _PLAIN_VIP = "104.43.142.188", "104.43.142.189", "104.43.140.10", "104.43.140.20"
_NOBODYS = "104.43.142.200"
_PRIVATE, _MIRROR_PRIVATE = "100.74.118.91", "100.64.0.4"
_STRANGER = "198.51.100.20"
_UDP = ("-p", "udp")


class Sabotage(msgspec.Struct, frozen=True):
    """What is done where in a topology, and what must be said of it."""

    place: str
    command: Command
    reason: str
    topology: str = "instance-public-ip"


def _edge(*rule: str, reason: str) -> Sabotage:
    return Sabotage("lb._platform", first(*rule), reason)


def _outside(*rule: str, reason: str) -> Sabotage:
    return Sabotage("internet", first(*rule), reason)


def _seen_as(source: str, to: str) -> Sabotage:
    return _outside(
        "nat", "POSTROUTING", "-s", source, *_UDP, "-j", "SNAT", "--to-source", to, reason=f"seen from {to}"
    )


def _leaves_as(private: str, to: str, *which: str, reason: str) -> Sabotage:
    return _edge("nat", "POSTROUTING", "-s", private, *which, "-j", "SNAT", "--to-source", to, reason=reason)


def _all_seen_as(to: str, *, reason: str) -> Sabotage:
    """Have the partner's servers see one client: a node's own tables stay as they are while a lab is changed."""
    return Sabotage("partner", first("nat", "INPUT", "-p", "tcp", "-j", "SNAT", "--to-source", to), reason)


_NO_NAMES = ("filter", "INPUT", *_UDP, "--dport", "53", "-j", "REJECT")
_UNREACHED = _outside("mangle", "FORWARD", "-s", _STRANGER, *_UDP, "-j", "DROP", reason="does not lead to the VM")
_FORGET_FRAGMENTS = """
from pyroute2.nftables.main import NFTables
with NFTables(nfgen_family=2) as nft:
    nft.begin()
    nft.table("del", name="lab-fragments")
    nft.commit()
"""
SABOTAGES: dict[str, Sabotage] = {
    "S4-1": _edge(
        *("mangle", "PREROUTING", "-d", _OWN, "-p", "tcp", "--dport", "8080", "-j", "DROP"), reason=f"{_OWN}: no answer"
    ),
    "S4-2": _edge("mangle", "PREROUTING", "-d", _OWN, "-p", "esp", "-j", "DROP", reason="esp: 8 flows did not arrive"),
    "S4-3": _edge(*_NO_NAMES, reason="FTPService.cloudapp.net is no answer to FTPInstance"),
    "S4-4": _seen_as(_OWN, _NOBODYS),
    "S4-5": _seen_as(_PLAIN_VIP, _NOBODYS),
    "S4-7": _leaves_as(
        _PRIVATE, f"{_OWN}:1024-2047", "-p", "tcp", "--sport", "20", reason="the active transfer failed"
    ),
    "S4-8": _leaves_as(_MIRROR_PRIVATE, _OWN, reason=f"FTPMirror: seen from {_OWN}"),
    # These two make the VM anew, and with it the rules of its edge.
    "S4-9": _all_seen_as(_NOBODYS, reason="it is not seen from the address that is shown"),
    "S4-10": _all_seen_as(_NOBODYS, reason="the address shown is not the one that is seen"),
    "S4-11": _seen_as(_VIP, _OWN),
    "S4-12": _UNREACHED,
    "S4-13": _UNREACHED,
    "N-IL-1": _edge(*_NO_NAMES, reason="mirror.0.FTPService.cloudapp.net is no answer to FTPInstance"),
    "N-SN-14": _edge(
        *("mangle", "PREROUTING", "-s", _PRIVATE, "-p", "icmp", "-j", "DROP"), reason="icmp out: 4 flows did not arrive"
    ),
    # Behind this one is no rule of iptables.
    "N-SN-20": Sabotage(
        "lb.vnet1", (sys.executable, "-c", _FORGET_FRAGMENTS), "fragments left the virtual network", "fragments"
    ),
}
_BY_TOPOLOGY = sorted((sabotage.topology, claim) for claim, sabotage in SABOTAGES.items())


@pytest.mark.parametrize("claim", [of(*names) for names in _BY_TOPOLOGY])
def test_a_claim_about_public_ips_is_contradicted_when_what_is_behind_it_is_altered(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    name = labs.run(sabotage.topology)
    with labs.altered([Act(sabotage.place, sabotage.command)]):
        sabotaged = labs.judge(claim)
    # Linux translates a source as it did before, while any flow of that source is known.
    rootlab.must(name, sabotage.place, "conntrack", "-F")
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
