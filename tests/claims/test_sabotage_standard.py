"""Each claim about the Standard SKU turns CONTRADICTED when the flows it says are kept inside are let out."""

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


SABOTAGES: dict[str, Sabotage] = {
    "N-SN-16": Sabotage("standard", _let_out("stream", "udp", "40.117.227.1"), "stream: udp left from 40.117.227.1"),
    "N-SN-17": Sabotage("standard", _let_out("mate", "tcp", _PLATFORM), f"mate: tcp left from {_PLATFORM}"),
    "N-OR-9": Sabotage("standard", _let_out("admin", "tcp", "40.117.227.4"), "admin: tcp left from 40.117.227.4"),
}


@pytest.mark.parametrize("claim", [of(sabotage.topology, claim) for claim, sabotage in SABOTAGES.items()])
def test_a_claim_about_the_standard_sku_is_contradicted_when_flows_are_let_out(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    labs.run(sabotage.topology)
    with labs.altered([Act(_EDGE, command) for command in sabotage.commands]):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
