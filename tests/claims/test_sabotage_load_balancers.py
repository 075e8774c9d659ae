"""Each claim about load balancers turns CONTRADICTED when the rule behind it is altered in the kernel.

One lab for all of them, which ``lab up`` gives its rules back each time. What a change of the lab would give back as
well, while a claim is judged, is altered where the change does not come to: at the router, or in the guest.
"""

import msgspec
import pytest

from tests.sabotage import Act, Command, Labs, assert_noticed, first

pytestmark = pytest.mark.root

_EDGE, _ROUTER = "lb.vnet1", "router.vnet1"


class Sabotage(msgspec.Struct, frozen=True):
    """What is done where, and what must be said of it."""

    reason: str
    command: Command
    place: str = _EDGE


def _lead(to: str, *which: str) -> Command:
    """Have the edge lead flows to one VM, whatever the rules say."""
    return first("nat", "PREROUTING", *which, "-j", "DNAT", "--to-destination", to)


_BY_FIVE_FIELDS = (
    *("iptables-legacy", "-t", "nat", "-I", "lb-web/control", "2", "-j", "HMARK"),
    *("--hmark-tuple", "src,sport,dst,dport,proto", "--hmark-mod", "3", "--hmark-offset", "1"),
    *("--hmark-rnd", "0x5eed001"),
)
_AS_GUEST = ("POSTROUTING", "-s", "65.52.0.4", "-j", "SNAT", "--to-source", "@sql1")
_LATER = "203.0.113.1/32"  # what the dynamic frontend is given

SABOTAGES: dict[str, Sabotage] = {
    "N-DM-1": Sabotage("not spread: ", first("nat", "lb-web/alternative", "-p", "tcp", "-j", "DNAT",
                                             "--to-destination", "@web1:8080")),
    # After the rule's own hash of two fields, another one of five.
    "N-DM-2": Sabotage("went to several VMs", _BY_FIVE_FIELDS),
    "N-DM-3": Sabotage("have TCP and UDP at different VMs", _lead("@web1:5000", "-p", "udp", "-d", "65.52.0.3",
                                                                  "--dport", "5000")),
    "N-DM-4": Sabotage("flows did not arrive", first("filter", "FORWARD", "-d", "@web2", "-p", "tcp", "--dport",
                                                     "8080", "-j", "DROP"), _ROUTER),
    "N-DM-6": Sabotage("VMs saw 65.52.0.1", first("nat", "POSTROUTING", "-p", "tcp", "-d", "@web1", "-j",
                                                  "SNAT", "--to-source", "65.52.0.1")),
    "N-IT-1": Sabotage("flows outlived 4 minutes",
                       ("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_established=600")),
    "N-IT-4": Sabotage("the server got 0 resets instead of one",
                       first("filter", "FORWARD", "-d", "@app1", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j",
                             "DROP"), _ROUTER),
    "N-MV-1": Sabotage("65.52.0.2 udp 80 leads to a VM without a rule",
                       _lead("@web1:80", "-p", "udp", "-d", "65.52.0.2", "--dport", "80")),
    "N-MV-2": Sabotage("lb-web/second ended at port 80 instead of 81",
                       _lead("@web1:80", "-p", "tcp", "-d", "65.52.0.2", "--dport", "80")),
    # The VM is given its own address for a destination, as without floating IP.
    "N-MV-4": Sabotage("instead of 65.52.0.4:1433",
                       first("nat", "PREROUTING", "-p", "tcp", "-d", "65.52.0.4", "-j", "DNAT",
                             "--to-destination", "@sql1"), _ROUTER),
    "N-MV-5": Sabotage("flows bound to the frontend's address left", first("nat", *_AS_GUEST), "sql1"),
    "N-MV-6": Sabotage("with no rule 4 flows came in",
                       ("ip", "route", "add", _LATER, "via", "169.254.2.2", "dev", _EDGE, "onlink"), "internet"),
}  # fmt: skip


@pytest.mark.parametrize("claim", SABOTAGES)
def test_a_claim_about_load_balancers_is_contradicted_when_its_rule_is_altered(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    labs.run("load-balancer")
    with labs.altered([Act(sabotage.place, sabotage.command)]):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
