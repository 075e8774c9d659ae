"""Each claim about route tables on packets turns CONTRADICTED when routers and appliances do otherwise."""

import pytest

from tests.sabotage import Act, Labs, assert_noticed, first, of

pytestmark = pytest.mark.root

_HERE = "routes"
#: Routes are put beside the lab's own, in tables that are asked before.
_ASKED = ("ip", "rule", "add", "priority", "900", "iif")
SABOTAGES: dict[str, tuple[tuple[Act, ...], str]] = {
    "T-UR-4": (
        (
            Act("router.hub", ("ip", "route", "add", "10.0.2.9", "dev", "far9", "table", "77")),
            Act("router.hub", (*_ASKED, "near1", "to", "10.0.2.9", "table", "77")),
        ),
        "the longer route does not decide",
    ),
    "T-UR-12": (
        (
            Act("router.hub", ("ip", "route", "add", "198.51.100.99", "via", "169.254.1.2", "dev", "lb.hub", "onlink",
                               "table", "77")),
            Act("router.hub", (*_ASKED, "near1", "to", "198.51.100.99", "table", "77")),
        ),
        "a VM without IP forwarding passes packets on",
    ),
    "T-UR-14": (
        (
            Act("router.spoke1", ("ip", "route", "add", "198.51.100.20", "via", "169.254.1.2", "dev", "lb.spoke1",
                                  "onlink", "table", "77")),
            Act("router.spoke1", (*_ASKED, "app1", "to", "198.51.100.20", "table", "77")),
        ),
        "the appliance's address is not seen",
    ),
    "T-UR-15": (
        (
            Act("router.spoke1", ("ip", "route", "add", "198.51.100.20", "via", "169.254.1.2", "dev", "lb.spoke1",
                                  "onlink", "table", "77")),
            Act("router.spoke1", (*_ASKED, "own1", "to", "198.51.100.20", "table", "77")),
        ),
        "answers do not take the route to the appliance",
    ),
    "T-PE-6": (
        (Act("router.spoke2", first("raw", "PREROUTING", "-i", "router.hub", "-j", "DROP")),),
        "forwarded traffic is lost although it is allowed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("claim", [of(_HERE, claim) for claim in SABOTAGES])
def test_a_claim_about_route_tables_is_contradicted_when_routers_do_otherwise(labs: Labs, claim: str):
    acts, reason = SABOTAGES[claim]
    labs.run(_HERE)
    with labs.altered(acts):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), reason)
