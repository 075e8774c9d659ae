"""Each claim about health probes turns CONTRADICTED when what is behind it is altered by hand.

A member that comes or goes has the load balancer's tables written anew. So what must last through that is done in
the router, in a table that the lab leaves alone, in the internet, or in a VM.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from lab.kernel.state import StateDir
from tests.sabotage import Act, Labs, altered_programs, assert_noticed, first, of

pytestmark = pytest.mark.root

EDGE, ROUTER = "lb.vnet1", "router.vnet1"
_SEEDS, _LATER = "health-probes", "health-2026"
_BASIC, _STANDARD = "40.83.190.158", "40.83.190.159"
_PROBES = "168.63.129.16"


class Sabotage(msgspec.Struct, frozen=True):
    """What is done to a topology, and what must be said of it.

    ``up``, ``down``: a member that becomes so. ``never``: what the claim waits for does not come.
    """

    acts: tuple[Act, ...]
    reason: str
    topology: str = _SEEDS
    up: str = ""
    down: str = ""
    never: bool = False


def _rule(place: str, table: str, chain: str, rule: str) -> Act:
    return Act(place, first(table, chain, *rule.split()))


def _probes_answered_by(other: str, vm: str) -> Act:
    """Have another VM answer a VM's probes."""
    return _rule(
        ROUTER, "nat", "PREROUTING",
        f"-s {_PROBES} -d @{vm} -p tcp --dport 8080 -j DNAT --to-destination @{other}:8080",
    )  # fmt: skip


def _silent_after_two_packets(address: str) -> Act:
    """Have what comes from a frontend be lost but for the first packets of each flow: SYN-ACK and one answer."""
    return _rule(
        "internet", "mangle", "FORWARD",
        f"-s {address} -p tcp -m hashlimit --hashlimit-name two --hashlimit-mode srcip,srcport,dstip,dstport "
        "--hashlimit-above 1/hour --hashlimit-burst 2 -j DROP",
    )  # fmt: skip


SABOTAGES: dict[str, Sabotage] = {
    "N-HP-1": Sabotage(
        # After the groups, which let nobody else in.
        (_rule(ROUTER, "nat", "POSTROUTING", f"-s {_PROBES} -p tcp --dport 8080 -j SNAT --to-source 169.254.9.9"),),
        "probes come from 169.254.9.9",
    ),
    "N-HP-2": Sabotage(
        (_rule("web", "filter", "INPUT", "-p tcp --dport 80 -j REJECT --reject-with tcp-reset"),),
        "the probe of lb-web/ok/web (Http 10.1.0.7:80/: connection refused) fails",
        down="lb-web/ok/web",
        never=True,
    ),
    "N-HP-3": Sabotage(
        (
            _rule(
                "basic1", "filter", "INPUT",
                "-p tcp --dport 8080 --tcp-flags FIN FIN -j REJECT --reject-with tcp-reset",
            ),
        ),
        "probes are not opened and closed by both sides",
    ),
    "N-HP-4": Sabotage(
        (_probes_answered_by("half1", "basic1"),), "succeeds, although nothing listens there", never=True
    ),
    # Every second probe is lost on its way.
    "N-HP-6": Sabotage(
        (
            _rule(
                EDGE, "filter", "OUTPUT",
                "-d @basic1 -p tcp --dport 8080 --syn -m statistic --mode nth --every 2 --packet 0 -j DROP",
            ),
        ),
        "s instead of 0.166667 s",
        _LATER,
    ),
    # What is for the member that is up comes to the one that is down.
    "N-HP-7": Sabotage(
        (_rule(ROUTER, "nat", "PREROUTING", "-d @basic2 -p tcp --dport 7000 -j DNAT --to-destination @basic1:7000"),),
        "new flows went to basic1",
    ),
    "N-HP-8": Sabotage(
        (_rule("internet", "filter", "FORWARD", f"-d {_BASIC} -p tcp --dport 81 -j REJECT --reject-with tcp-reset"),),
        "a frontend whose members are all down is not silent: 3 refused",
    ),
    "N-HP-9": Sabotage((_silent_after_two_packets(_BASIC),), "TCP flows ended with their member's probe"),
    "N-HP-10": Sabotage((_silent_after_two_packets(_STANDARD),), "31 TCP flows ended"),
    "N-HP-11": Sabotage(
        (
            _rule(EDGE, "mangle", "PREROUTING", "-s @basic1 -j ACCEPT"),
            _rule(EDGE, "nat", "POSTROUTING", "-s @basic1 -j SNAT --to-source 192.0.2.254"),
        ),
        "while it is up: seen from 192.0.2.254",
    ),
    "N-HP-12": Sabotage(
        (
            Act("basic1", ("ip", "addr", "add", "10.1.1.99/32", "dev", "lo")),
            Act(ROUTER, ("ip", "route", "add", "10.1.1.99", "dev", "basic1")),
            _rule(ROUTER, "nat", "PREROUTING", "-d @basic1 -p tcp --dport 8080 -j DNAT --to-destination 10.1.1.99"),
        ),
        "probes are sent to 10.1.1.99",
    ),
    "N-HP-13": Sabotage(
        (_probes_answered_by("half1", "basic1"),), "the probe of lb-basic/alive/basic1 succeeds", never=True
    ),
    "N-HP-14": Sabotage(
        (_rule(EDGE, "nat", "lb-bare/stream", "-p tcp -j DNAT --to-destination @bare1:7000"),),
        "no new flow went to bare2",
        _LATER,
    ),
    "N-HP-15": Sabotage(
        (_rule(ROUTER, "filter", "FORWARD", "-d @later2 -p tcp --dport 7000 -j DROP"),), "no new flow went to", _LATER
    ),
    "N-ML-3": Sabotage((_probes_answered_by("half1", "half2"),), "its dipDownCount is 0", up="lb-half/alive/half2"),
    "N-ML-1": Sabotage((), "is not logged every 2 s"),  # by somebody who writes the log too
}  # fmt: skip


#: Members that are meant to be down.
_SICK = {
    _SEEDS: {"lb-half/alive/half2", "lb-web/created/web", "lb-web/error/web", "lb-web/silence/web"},
    _LATER: {"lb-half/alive/half2", "lb-web/created/web", "lb-web/silence/web"},
}


#: What does not come for a few seconds longer than it may take does not come: half a minute more is for busy machines.
_IMPATIENT = """\
import sys
if "lab.verify.probe" in sys.orig_argv:
    import lab.verify.probe.clients as c
    c._LATE_S = 5.0
"""


@contextmanager
def _another_writer(name: str, of: str) -> Iterator[None]:
    """Have somebody write a record of the log of probes again every tenth of a second, once there is one."""
    log, over = StateDir(name).probes_file, threading.Event()

    def write() -> None:
        while not over.wait(0.1):
            lines = log.read_bytes().splitlines() if log.exists() else []
            records = [json.loads(line) for line in lines if of.encode() in line]
            if records:
                now = time.time()
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 10_000_000):07d}Z"
                with log.open("ab") as file:
                    file.write(json.dumps({**records[-1], "time": stamp}).encode() + b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


_BY_TOPOLOGY = sorted((sabotage.topology, claim) for claim, sabotage in SABOTAGES.items())


@pytest.mark.parametrize("claim", [of(*names) for names in _BY_TOPOLOGY])
def test_a_claim_about_probes_is_contradicted_when_what_is_behind_it_is_altered(labs: Labs, claim: str, tmp_path: Path):
    sabotage = SABOTAGES[claim]
    name = labs.run(sabotage.topology)
    sick = _SICK[sabotage.topology]
    labs.wait_down(sick)
    with ExitStack() as stack:
        stack.enter_context(labs.altered(sabotage.acts))
        if claim == "N-ML-1":
            stack.enter_context(_another_writer(name, "40.83.190.160"))
        if sabotage.up or sabotage.down:
            labs.wait_down((sick | {sabotage.down}) - {sabotage.up, ""})
        prober = stack.enter_context(altered_programs(tmp_path, _IMPATIENT)) if sabotage.never else None
        sabotaged = labs.judge(claim, prober)
    labs.wait_down(sick)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)
