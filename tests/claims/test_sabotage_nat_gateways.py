"""Each claim about NAT gateways and private subnets turns CONTRADICTED when what it states is altered in the kernel.

The kernel gives ports out where the agent gives them, or another address is given; timers are longer or shorter.
"""

import sys

import msgspec
import pytest

from tests.claims.test_sabotage_public_ip import _FORGET_FRAGMENTS
from tests.sabotage import Act, Command, Labs, assert_noticed, first, of

pytestmark = pytest.mark.root

_PLATFORM = "192.0.2.254"  # the default address of the only virtual network


class Sabotage(msgspec.Struct, frozen=True):
    """What is done at a place of a topology, and what must be said of it."""

    topology: str
    place: str
    commands: tuple[Command, ...]
    reason: str


def _given(to: str, *which: str) -> tuple[Command, ...]:
    """Let the kernel translate flows, without the agent."""
    return (
        first("mangle", "PREROUTING", *which, "-j", "ACCEPT"),
        first("nat", "POSTROUTING", *which, "-j", "SNAT", "--to-source", to),
    )


def _let_out(to: str, *which: str) -> tuple[Command, ...]:
    """Let flows leave that have no way out."""
    return (*_given(to, *which), first("filter", "FORWARD", *which, "-j", "ACCEPT"))


def _timer(name: str, seconds: int) -> Command:
    return ("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={seconds}")


def _reset_dropped() -> tuple[Command, ...]:
    """Take away the resets that the gateway sends."""
    return (first("filter", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"),)


_NAT, _TIMERS, _PRIVATE = "nat-gateway", "nat-timers", "private-subnets"
_TCP, _UDP = ("-p", "tcp"), ("-p", "udp")
SABOTAGES: dict[str, Sabotage] = {
    "T-NG-1": Sabotage(_NAT, "nat.natgw", _given("40.117.227.1", "-s", "@ruled", *_UDP), "ruled: udp "),
    "T-NG-2": Sabotage(
        _NAT, "lb.vnet1", (first("filter", "FORWARD", "-d", "@own", *_TCP, "-j", "DROP"),), "own did not answer"
    ),
    "T-NG-5": Sabotage(_NAT, "nat.natgw", _given("40.117.230.1:1024-8999", "-s", "@deep", *_UDP), "its ports are"),
    "T-NG-6": Sabotage(_NAT, "nat.single", _given("40.117.230.8", "-s", "@busy2", *_UDP), "the ports are in order"),
    "T-NG-7": Sabotage(
        _NAT, "nat.natgw", _given("40.117.230.1", "-s", "@deep", *_TCP), "none was seen from 40.117.230"
    ),
    "T-NG-8": Sabotage(
        _TIMERS, "nat.natgw", _given("40.117.230.1:1024-1031", "-s", "@plain", *_TCP), "ports were taken again after"
    ),
    "T-NG-9": Sabotage(_TIMERS, "nat.natgw", (_timer("tcp_timeout_established", 600),), "2 flows went on after"),
    "T-NG-11": Sabotage(_TIMERS, "nat.natgw", _reset_dropped(), "0 of 2 flows that were idle were reset"),
    "T-NG-12": Sabotage(
        _TIMERS, "nat.natgw", (first("filter", "FORWARD", "-d", "@plain", *_UDP, "-j", "DROP"),), "the answer did not"
    ),
    "T-NG-18": Sabotage(
        _NAT, "nat.natgw", _let_out("40.117.230.1", "-s", "@own", "-p", "icmp"), "left from 40.117.230.1"
    ),
    # After the others of this lab: its flows leave so many entries that the kernel would give their ports again.
    "T-NG-4": Sabotage(
        _NAT,
        "nat.single",
        (first("filter", "FORWARD", "-s", "@busy1", *_UDP, "--sport", "1024:1123", "-j", "DROP"),),
        "different ports for",
    ),
    "T-NG-19": Sabotage(_TIMERS, "nat.natgw", ((sys.executable, "-c", _FORGET_FRAGMENTS),), "left from"),
    "T-DO-2": Sabotage(
        _PRIVATE, "lb.vnet1", _let_out(_PLATFORM, "-s", "@unsaid", *_TCP), f"unsaid: tcp left from {_PLATFORM}"
    ),
    "N-SN-22": Sabotage(
        _PRIVATE,
        "lb.vnet1",
        (first("nat", "POSTROUTING", "-s", "@ends-by-own", "-j", "SNAT", "--to-source", _PLATFORM),),
        f"ends-by-own: tcp seen from {_PLATFORM}",
    ),
    "T-DO-3": Sabotage(
        _PRIVATE, "lb.vnet1", _let_out(_PLATFORM, "-s", "@private", *_UDP), f"private: udp left from {_PLATFORM}"
    ),
}


@pytest.mark.parametrize("claim", [of(sabotage.topology, claim) for claim, sabotage in SABOTAGES.items()])
def test_a_claim_about_nat_gateways_is_contradicted_when_the_kernel_does_otherwise(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    labs.run(sabotage.topology)
    with labs.altered([Act(sabotage.place, command) for command in sabotage.commands]):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
