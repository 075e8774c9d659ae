"""Each claim about internal load balancers on packets turns CONTRADICTED when the router does otherwise."""

import pytest

from tests.claims.test_sabotage_nat_gateways import _PLATFORM, Sabotage, _let_out
from tests.sabotage import Act, Labs, assert_noticed, first, of

pytestmark = pytest.mark.root

_HERE, _ROUTER = "internal", "router.vnet1"
_NAT = ("nat", "POSTROUTING", "-p", "tcp", "-m", "conntrack", "--ctstate", "DNAT")
_MASKED = (first(*_NAT, "-j", "SNAT", "--to-source", "10.1.1.1"),)
SABOTAGES: dict[str, Sabotage] = {
    "T-IL-1": Sabotage(
        _HERE, _ROUTER, (first("raw", "PREROUTING", "-d", "10.1.1.9", "-j", "DROP"),), "not answered by all members"
    ),
    "T-IL-2": Sabotage(_HERE, _ROUTER, _MASKED, "members saw another address"),
    "T-IL-3": Sabotage(_HERE, _ROUTER, _MASKED, "it is not answered by just the others"),
    "T-IL-4": Sabotage(_HERE, "lb.vnet1", _let_out(_PLATFORM, "-s", "@web1", "-p", "tcp"), "web1: tcp left from"),
    "T-IL-8": Sabotage(
        _HERE,
        _ROUTER,
        (first("raw", "PREROUTING", "-d", "10.1.0.200", "-p", "udp", "-j", "DROP"),),
        "not every port is led to every member",
    ),
}


@pytest.mark.parametrize("claim", [of(sabotage.topology, claim) for claim, sabotage in SABOTAGES.items()])
def test_a_claim_about_internal_load_balancers_is_contradicted_when_the_router_does_otherwise(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    labs.run(sabotage.topology)
    with labs.altered([Act(sabotage.place, command) for command in sabotage.commands]):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
