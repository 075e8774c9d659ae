"""Claims about outbound rules turn CONTRADICTED when just what they state is altered, beside the edge's own rules."""

import pytest

from tests.sabotage import Act, Labs, assert_noticed, first, of

pytestmark = pytest.mark.root

_TOPOLOGY, _ROUTER = "outbound-rules", "router.vnet1"
_RESET = ("-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")
#: Of each claim: what is done at the router, and what must be said of it.
SABOTAGES = {
    "T-OR-6": (
        first("filter", "FORWARD", "-s", "@table", "-p", "udp", "--sport", "20000:65535", "-j", "DROP"),
        " ports alone",
    ),
    "T-OR-20": (
        first("filter", "FORWARD", "-s", "@table", "-p", "udp", "-j", "DROP"),
        "4 flows did not leave by the rule",
    ),
    "T-OR-15": (first("filter", "FORWARD", "-d", "@table", *_RESET), "the client got 0 resets instead of one"),
}


@pytest.mark.parametrize("claim", [of(_TOPOLOGY, claim) for claim in SABOTAGES])
def test_a_claim_about_outbound_rules_is_contradicted_when_what_it_states_is_altered(labs: Labs, claim: str):
    command, reason = SABOTAGES[claim]
    labs.run(_TOPOLOGY)
    with labs.altered([Act(_ROUTER, command)]):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), reason)
