"""Each claim about the Standard SKU turns CONTRADICTED when just what it states is altered at the edge.

Flows that it says are kept inside are let out, others leave by another address, or the kernel gives the ports out,
which knows nothing of the blocks that rules take.
"""

import msgspec
import pytest

from tests.sabotage import Act, Command, Labs, assert_noticed, first, of

pytestmark = pytest.mark.root

_EDGE = "lb.vnet1"
_PLATFORM = "192.0.2.254"  # the default address of the only virtual network


class Sabotage(msgspec.Struct, frozen=True):
    """What is done at the edge of a topology, and what must be said of it."""

    topology: str
    commands: tuple[Command, ...]
    reason: str


def _let_out(vm: str, protocol: str, to: str) -> tuple[Command, ...]:
    """Have the flows of a VM leave from an address, and nobody asked."""
    which = ("-s", f"@{vm}", "-p", protocol)
    return (
        first("mangle", "PREROUTING", *which, "-j", "ACCEPT"),
        first("filter", "FORWARD", *which, "-j", "ACCEPT"),
        first("nat", "POSTROUTING", *which, "-j", "SNAT", "--to-source", to),
    )


def _around(to: str, *which: str) -> tuple[Command, ...]:
    """Have flows leave from an address, and nobody asked."""
    return _unasked(*which), first("nat", "POSTROUTING", *which, "-j", "SNAT", "--to-source", to)


def _unasked(*which: str) -> Command:
    """Have the agent not asked for a port: the kernel's own rules decide."""
    return first("mangle", "PREROUTING", *which, "-j", "ACCEPT")


_RULES = "outbound-rules"
SABOTAGES: dict[str, Sabotage] = {
    "N-SN-16": Sabotage("standard", _let_out("stream", "udp", "40.117.227.1"), "stream: udp left from 40.117.227.1"),
    "N-SN-17": Sabotage("standard", _let_out("mate", "tcp", _PLATFORM), f"mate: tcp left from {_PLATFORM}"),
    "N-SN-21": Sabotage(
        "outbound-rules",
        (first("filter", "FORWARD", "-s", "@datagram", "-d", "198.51.100.30", "-p", "udp", "-j", "DROP"),),
        "0 flows were answered instead of 24",
    ),
    "N-OR-9": Sabotage("standard", _let_out("admin", "tcp", "40.117.227.4"), "admin: tcp left from 40.117.227.4"),
    "T-OR-1": Sabotage(_RULES, _around(_PLATFORM, "-s", "@web2", "-p", "tcp"), f"web2: tcp seen from {_PLATFORM}"),
    "T-OR-3": Sabotage(_RULES, (_unasked("-s", "@web1", "-p", "udp"),), "48 flows from 48 ports instead of 40"),
    "T-OR-9": Sabotage(_RULES, _around("40.117.227.2", "-s", "@many"), "seen from 40.117.227.2"),
    "T-OR-13": Sabotage(_RULES, _let_out("quiet", "tcp", "40.117.227.6"), "quiet: tcp left from 40.117.227.6"),
    "T-OR-14": Sabotage(_RULES, _let_out("stream", "udp", "40.117.227.4"), "stream: udp left from 40.117.227.4"),
    "T-OR-16": Sabotage(
        _RULES,
        (first("nat", "POSTROUTING", "-s", "@web3", "-j", "SNAT", "--to-source", "40.117.227.1"),),
        "web3: tcp seen from 40.117.227.1",
    ),
    "T-OR-19": Sabotage(_RULES, (_unasked("-s", "@web1", "-p", "udp"),), "ports [10"),
}


@pytest.mark.parametrize("claim", [of(sabotage.topology, claim) for claim, sabotage in SABOTAGES.items()])
def test_a_claim_about_the_standard_sku_is_contradicted_when_flows_are_let_out(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    labs.run(sabotage.topology)
    with labs.altered([Act(_EDGE, command) for command in sabotage.commands]):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
