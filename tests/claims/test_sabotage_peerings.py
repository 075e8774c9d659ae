"""Each claim about peerings on packets turns CONTRADICTED when the routers do otherwise."""

from pathlib import Path

import pytest

from tests.sabotage import Act, Labs, altered_programs, assert_noticed, first, of

pytestmark = pytest.mark.root

_HERE = "peerings"
#: Routes and a way through the filter of a peer, for what a router would not lead there. No wire of a router's is new.
_BEYOND = (
    Act("router.spoke1", ("ip", "route", "add", "10.2.0.0/16", "dev", "router.hub")),
    Act("router.spoke2", ("ip", "route", "add", "10.1.0.0/16", "dev", "router.hub")),
    *(Act(f"router.{spoke}", first("filter", "FORWARD", "-i", "router.hub", "-j", "ACCEPT")) for spoke in
      ("spoke1", "spoke2")),
)  # fmt: skip
_ANY, _DROP = ("-j", "ACCEPT"), ("-j", "DROP")
SABOTAGES: dict[str, tuple[tuple[Act, ...], str]] = {
    "T-PE-1": (
        (Act("router.spoke1", first("raw", "PREROUTING", "-i", "router.hub", *_DROP)),),
        "two halves do not carry every flow",
    ),
    "T-PE-3": (_BEYOND, "two peers of a network reach each other"),
    "T-PE-5": (
        (Act("router.closed", first("filter", "FORWARD", *_ANY)),),
        "flows pass although access is off",
    ),
    "T-PE-8": (
        (Act("router.hub", first("raw", "PREROUTING", "-s", "10.11.0.0/24", *_DROP)),),
        "flows between subnets of peers were not answered",
    ),
    "T-PE-12": (
        tuple(
            Act(f"lb.{vnet}", ("iptables-legacy", "-I", "INPUT", "1", "-p", "udp", "--dport", "53", "-j", "REJECT"))
            for vnet in ("hub", "spoke1", "spoke2")
        ),
        "",
    ),
    "T-PE-11": (
        (Act("router.hub", ("iptables-legacy", "-t", "raw", "-I", "PREROUTING", "1", "-d", "10.0.1.100", *_ANY)),),
        "another region reaches the Basic one",
    ),
}

#: What the tool's own programs do otherwise, where no rule of the kernel is behind a claim.
PROGRAMS = {
    "T-PE-2": (
        "import lab.azure.peerings\nlab.azure.peerings.state = lambda *_: 'Connected'\n",
        "the other half is not Disconnected",
    ),
}


@pytest.mark.parametrize("claim", [of(_HERE, claim) for claim in SABOTAGES])
def test_a_claim_about_peerings_is_contradicted_when_the_routers_do_otherwise(labs: Labs, claim: str):
    acts, reason = SABOTAGES[claim]
    labs.run(_HERE)
    with labs.altered(acts):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), reason)


@pytest.mark.parametrize("claim", [of(_HERE, claim) for claim in PROGRAMS])
def test_a_claim_about_peerings_is_contradicted_when_the_programs_do_otherwise(labs: Labs, claim: str, tmp_path: Path):
    code, reason = PROGRAMS[claim]
    labs.run(_HERE)
    with altered_programs(tmp_path, code) as without_it:
        sabotaged = labs.judge(claim, without_it)
    assert_noticed(sabotaged, labs.judge(claim), reason)
