"""`lab explain --send` names the hop that was altered, for each sabotage of the claims that one flow shows.

The sabotages are those of tests/claims. Those of one topology that do not touch each other's flows are done at once,
and their flows are sent together. What no single flow shows is listed with the reason; every sabotage is in one list.
"""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.predict import explain, observed
from lab.predict.forecast import Service
from lab.runtime import lifecycle, operate
from lab.verify.probe import Prober
from tests import rootlab
from tests.claims.test_sabotage import REFUSALS
from tests.sabotage import Act, Command, Labs, acts, altered_programs, spelled_out, undone

pytestmark = pytest.mark.root

_CLAIMS = Path(__file__).parents[1] / "claims"
_EDGE, _INTERNET, _ROUTER = "edge of vnet1", "internet", "vnet1"
#: What does not come within half a second does not come: these labs are small, and nothing else is sent in them.
_IMPATIENT = """\
import sys
if "lab.verify.probe" in sys.orig_argv:
    import lab.verify.probe.packets as p
    p.ARRIVAL_S = 0.5
"""


class Shown(msgspec.Struct, frozen=True):
    """A sabotage that a flow shows: the claim, the flow FROM TO[:PORT/PROTOCOL], and the hop that is to be named."""

    claim: str
    sender: str
    to: str
    hop: str
    source_port: int | None = None


def _shown(hop: str, *rows: str) -> list[Shown]:
    """Return rows CLAIM[,CLAIM…] FROM TO [SOURCE-PORT] that name one hop."""
    found = []
    for row in rows:
        claims, sender, to, *port = row.split()
        found += [Shown(claim, sender, to, hop, int(port[0]) if port else None) for claim in claims.split(",")]
    return found


#: By topology, in turns: what is done at once in one turn touches no flow of another.
SHOWN: dict[str, list[list[Shown]]] = {
    "source-ip": [
        [
            *_shown(
                _EDGE,
                "S1-1 own lbvm:80",
                "S1-2 poolonly lbvm:80",
                "S1-3 test2vm lbvm:80",
                "S1-4 ruleonly lbvm:80",
                "S1-6 unhealthy lbvm:80",
                "S1-7 client 40.125.161.57:80",
            ),
            *_shown(_INTERNET, "S1-8 alone client:80"),
        ]
    ],
    "outbound": [
        [
            *_shown(
                _EDGE,
                "S2-2 web1 partner:80",
                "S2-3 alone partner:80",
                "S2-4 alone partner:9000/udp",
                "S2-11 web2 partner:80",
                "S2-12 own partner:80 40001",
                "S2-13 balanced partner:9000/udp 40001",
                "S2-17 many partner:80",
                "LAB-1 web1 partner/icmp",
            )
        ],
    ],
    "outbound-rules": [
        [
            *_shown(
                _EDGE,
                "N-SN-21 datagram other:443/udp",
                "T-OR-1 web2 api:443",
                "T-OR-9 many api:443/udp 40001",
                "T-OR-13 quiet api:443",
                "T-OR-14 stream api:443/udp",
                "T-OR-16 web3 api:443",
            )
        ],
    ],
    "nsg": [
        [
            *_shown(
                _ROUTER,
                "N-NS-6 client 65.52.0.10:50002",
                "N-NS-8 web2 sql1/icmp",
                "N-NS-9 web1 168.63.129.16:53/udp",
                "N-NS-11 client 65.52.0.11:80",
            )
        ],
        [*_shown(_ROUTER, "S2-15,N-NS-1,N-NS-2,N-NS-3,N-NS-4 client web1:3389")],
    ],
    "vnet-to-vnet": [
        [*_shown("VNet1", "S3-2,S3-6,S3-13,S3-18,S3-19,S3-22,S3-23,S3-24 vm1 vm2:80")],
        [*_shown("VNet1", "S3-12 vm1 vm2:81/udp"), *_shown("vm1", "S3-21 vm1 vm2:80")],
        [*_shown("VNet1", "S3-1 vm1 vm2:80", "S3-15 vm1 dns2:53/udp")],
        [*_shown("VNet2", "S3-17 vm1 vm2:80")],
    ],
    "nat-gateway": [
        [
            *_shown("natgw", "T-NG-1 ruled api:443/udp", "T-NG-18 own api/icmp"),
            *_shown(_EDGE, "T-NG-2 api 104.43.142.188:80"),
        ]
    ],
    "internal": [
        [
            *_shown("private of ilb", "T-IL-2,T-IL-3 peer 10.1.1.100:8080"),
            *_shown("private of all-ports", "T-IL-8 peer 10.1.0.200:5001/udp"),
            *_shown(_EDGE, "T-IL-4 web1 api:443"),
        ]
    ],
    "load-balancer": [
        [
            *_shown(_EDGE, "N-MV-1 client 65.52.0.2:80/udp", "N-MV-2 client 65.52.0.2:80"),
            *_shown(_ROUTER, "N-DM-4 web1 web2:8080", "N-MV-4 client 65.52.0.4:1433"),
        ]
    ],
    "instance-public-ip": [
        [
            *_shown(
                "edge of _platform",
                "S4-1 client 104.43.142.188:8080",
                "S4-7 FTPInstance partner:80 20",
                "S4-8 FTPMirror partner:80",
                "N-SN-14 FTPInstance partner/icmp",
            ),
            *_shown(
                _INTERNET,
                "S4-4 FTPInstance partner:9000/udp",
                "S4-5 plain partner:9000/udp",
                "S4-12,S4-13 partner 104.43.142.188:9001/udp",
            ),
        ]
    ],
    "health-probes": [
        [
            *_shown(_ROUTER, "N-HP-7 half1 basic2:7000", "N-HP-12 half1 basic1:8080"),
            *_shown(_INTERNET, "N-HP-8 client 40.83.190.158:81"),
            *_shown(_EDGE, "N-HP-11 basic1 far:80"),
        ]
    ],
    "multivip": [
        [*_shown(_EDGE, "S0-2 client 191.238.74.13:443", "S0-3 client 203.0.113.6:1433")],
        [*_shown(_EDGE, "N-AC-1,N-AC-2,N-AC-4 client 203.0.113.2:80")],
        [*_shown(_INTERNET, "S0-4,S0-9,S0-13,S0-15,N-AC-3,N-RI-1,N-RI-3 client 191.238.74.13:80")],
    ],
}


def _all(reason: str, claims: str) -> dict[str, str]:
    return dict.fromkeys(claims.split(), reason)


#: What one flow does not show, and why.
UNSEEN: dict[str, str] = {
    **_all("how many ports there are, and which is next: a flow takes one that it may have", """
        S2-5 S2-7 S2-8 N-ML-2 N-ML-5 S2-18 N-SN-1 N-SN-2 N-SN-3 N-SN-4 N-SN-7 N-SN-8 N-SN-10 N-SN-11 N-SN-12 N-SN-19
        T-OR-3 T-OR-6 T-OR-19 T-NG-4 T-NG-5 T-NG-6 T-NG-7"""),
    **_all("ports beyond a VM's range, as S2-4 shows, in a topology of its own", """
        S2-6 S2-19 N-SN-5 N-SN-6 N-SN-9"""),
    **_all("another address, as S1-2, S1-3 and S2-12 show, in a topology of its own", """
        S2-10 S2-14 N-SN-13 N-SN-15 N-SN-22"""),
    **_all("how long a flow lives, and what ends it", """
        S2-9 N-SN-18 N-IT-1 N-IT-4 T-OR-15 T-NG-8 T-NG-9 T-NG-11 N-HP-9 N-HP-10"""),
    **_all("the answer to a flow: its first packet arrives as predicted", "S2-1 N-NS-5 T-NG-12 N-DM-5 N-AC-5"),
    **_all("names: what a server answers", "S0-11 S4-3 N-IL-1 N-DN-1 N-DN-3"),
    **_all("which member is chosen: each may be", "S0-14 S2-16 N-DM-1 N-DM-2 N-DM-3 N-DM-6 T-IL-1 N-HP-14"),
    **_all("probes: what is predicted follows what they find", """
        N-HP-1 N-HP-2 N-HP-3 N-HP-4 N-HP-6 N-HP-13 N-ML-1 N-ML-3"""),
    **_all("a VM without a way out that is let out, as T-OR-13 and T-OR-14 show, in a topology of its own", """
        N-SN-16 N-SN-17 N-OR-9 T-DO-2 T-DO-3"""),
    **_all("a member of a lab of its own that comes up late; N-DM-4 shows the same rule", "N-HP-15"),
    **_all("fragments, ESP, sizes, bandwidth: a flow is told by its first, small packet of TCP, UDP or ICMP", """
        N-SN-20 T-NG-19 S4-2 N-GW-4 S3-11"""),
    **_all("a source that the guest chooses, on an address of its own", "N-MV-5 N-GW-9 S3-16"),
    **_all("the claim changes the lab first, and what is altered is there only then", "N-MV-6 S4-11 N-NS-10 T-OR-20"),
    **_all("behind the last wire, in the server's own kernel", "S4-9 S4-10"),
    **_all("endpoints that S0-2 and S0-3 show, with the same rules", "S0-1 N-HP-5"),
    **_all("a gateway of another topology that loses inner packets, as S3-2 and S3-12 show", """
        S3-3 S3-7 N-GW-2 N-GW-3 N-GW-5 N-GW-7 N-GW-8 N-GW-10 N-GW-13 N-GW-14 N-NC-2 N-NC-3 N-DN-2"""),
    **_all("a rule of a router between networks, as S3-17 shows, in a topology of its own", """
        T-PE-1 T-PE-3 T-PE-5 T-PE-6 T-PE-8 T-PE-11 T-PE-12"""),
    **_all("routes that are put before those of a router, in a topology of its own", "T-UR-4 T-UR-12 T-UR-14 T-UR-15"),
    **_all("what a command says, or refuses", """
        S0-5 S0-6 S0-7 S0-8 S0-10 S0-12 N-CS-1 N-RI-2 N-RI-4 N-IT-2"""),
    **dict.fromkeys(REFUSALS, "what is refused: no rule of a kernel is behind it"),
}  # fmt: skip


def _sabotages() -> dict[str, Any]:
    """Return every sabotage of the claims' tests, by claim."""
    found: dict[str, Any] = {}
    for file in sorted(_CLAIMS.glob("test_sabotage*.py")):
        module = importlib.import_module(f"tests.claims.{file.stem}")
        found |= {claim: getattr(module, "TOGETHER", {}).get(what, what) for claim, what in module.SABOTAGES.items()}
    return found


SABOTAGES = _sabotages()


def _acts(claim: str) -> list[Act]:
    """Return what is done for a claim, whichever form its test has."""
    known = SABOTAGES[claim]
    if hasattr(known, "acts"):
        return list(known.acts)
    commands = known.commands if hasattr(known, "commands") else (known.command,)
    return acts(getattr(known, "place", "lb.vnet1"), *commands)


def _turns() -> Iterator[tuple[str, int, Shown]]:
    for topology, turns in SHOWN.items():
        for number, turn in enumerate(turns):
            yield from ((topology, number, one) for one in turn)


def test_every_sabotage_is_shown_by_a_flow_or_it_is_said_why_not() -> None:
    shown = [one.claim for _, _, one in _turns()]
    assert len(shown) == len(set(shown))
    assert set(shown) & set(UNSEEN) == set()
    assert set(shown) | set(UNSEEN) == set(SABOTAGES) | set(REFUSALS)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prober]:
    with altered_programs(tmp_path_factory.mktemp("impatient"), _IMPATIENT) as prober:
        yield prober


def _explained(lab: str, one: Shown) -> explain.Explanation:
    host, _, service = one.to.partition("/icmp")[0].partition(":")
    port, _, protocol = service.partition("/")
    wanted = Service("icmp") if one.to.endswith("/icmp") else Service("udp" if protocol else "tcp", int(port))
    network = operate.network_of(lab)
    down = lifecycle.down_now(network)
    return explain.explain(network, one.sender, host, wanted, source_port=one.source_port, down=down)


def _undone(command: Command) -> Command:
    return tuple("-D" if word == "-A" else word for word in command) if "-A" in command else undone(command)


@pytest.mark.parametrize("topology", SHOWN)
def test_the_hop_that_was_altered_is_named(topology: str, tmp_path: Path, impatient: Prober) -> None:
    labs = Labs(tmp_path, impatient)
    wrong: list[str] = []
    try:
        lab = labs.run(topology)
        network = operate.network_of(lab)
        for turn in SHOWN[topology]:
            flows = [_explained(lab, one) for one in turn]
            before = observed.send_all(network, flows, impatient)
            for one, compared in zip(turn, before, strict=True):
                assert compared.blamed == "", one
            done = dict.fromkeys((act.place, spelled_out(lab, act.command)) for one in turn for act in _acts(one.claim))
            with ExitStack() as stack:
                for place, command in done:
                    rootlab.must(lab, place, *command)
                    stack.callback(rootlab.inside, lab, place, *_undone(command))
                for place in {place for place, _ in done}:
                    rootlab.inside(lab, place, "conntrack", "-F")  # a known flow is translated as before
                altered = observed.send_all(network, flows, impatient)
            wrong += [
                f"{one}: blamed: {c.blamed or 'nothing'}"
                for one, c in zip(turn, altered, strict=True)
                if f"hop {one.hop} (" not in c.blamed
            ]
    finally:
        labs.stop()
    assert wrong == []
