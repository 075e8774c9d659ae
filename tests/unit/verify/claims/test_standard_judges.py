"""The judges of claims about the Standard SKU, by what a lab would let be seen: written down, not computed."""

from collections.abc import Callable

import msgspec
import pytest

from lab.azure.model import Network
from lab.azure.profile import Profile
from lab.path import outbound_snat
from lab.topology import load
from lab.verify import experiment as ex
from lab.verify.verdict import Judgement
from tests.rootlab import TOPOLOGIES
from tests.unit.verify.claims import pretend

_PLATFORM = pretend.DEFAULT
#: What each VM's flows are seen with in the bundled topology, TCP and UDP; "": nothing leaves.
_SEEN = {
    "stream": ("40.117.227.1", ""),
    "datagram": ("", "40.117.227.2"),
    "both": ("40.117.227.3", "40.117.227.3"),
    "pooled": ("", ""),
    "mate": ("", ""),
    "admin": ("", ""),
    "basic": ("40.117.227.11", "40.117.227.11"),
    "alone": (_PLATFORM, _PLATFORM),
}
WORLDS = ("N-SN-16", "N-SN-17", "N-OR-9")


def world() -> Network:
    return load(TOPOLOGIES / "standard.lab.yaml")


def judged(claim: str, seen: dict[str, tuple[str, str]], control: bool = True) -> list[Judgement]:
    """Return the judgements of a claim in a lab where each VM's flows are seen with these addresses."""

    def arrivals(what: ex.Experiment) -> ex.Observation:
        if isinstance(what, ex.HoldFlows):
            return ex.Occupied(steps=())
        assert isinstance(what, ex.Send)
        source = seen[what.sender][what.protocol == "udp"]
        came = tuple(ex.Seen(n, source, 1024 + n, what.destination, 80) for n in range(what.count if source else 0))
        ports = tuple(range(40000, 40000 + what.count))
        return ex.Arrivals(
            sent=what.count, source_ports=ports, control=control, seen=(came,) * 2, strays=(), seconds=0.1
        )

    trials = pretend.trials_of(claim, world())
    return [trial.judge([arrivals(e) for stage in trial.stages for e in stage.experiments]) for trial in trials]


@pytest.mark.parametrize("claim", WORLDS)
def test_a_claim_holds_where_flows_leave_as_the_documents_say(claim: str) -> None:
    found = judged(claim, _SEEN)
    assert found
    assert {j.verdict for j in found} == {"HOLDS"}, found


@pytest.mark.parametrize(
    ("claim", "vm", "seen", "reason"),
    [
        ("N-SN-16", "stream", ("40.117.227.1", "40.117.227.1"), "stream: udp left from 40.117.227.1"),
        ("N-SN-16", "stream", ("40.117.227.1", _PLATFORM), f"stream: udp left from {_PLATFORM}"),
        ("N-SN-16", "stream", ("", ""), "stream: tcp 4 flows did not arrive"),
        ("N-SN-16", "datagram", ("40.117.227.2", "40.117.227.2"), "datagram: tcp left from 40.117.227.2"),
        ("N-SN-16", "both", ("40.117.227.3", ""), "both: udp 4 flows did not arrive"),
        ("N-SN-16", "basic", ("40.117.227.11", ""), "basic: udp 4 flows did not arrive"),
        ("N-SN-17", "pooled", (_PLATFORM, ""), f"pooled: tcp left from {_PLATFORM}"),
        ("N-SN-17", "mate", ("", _PLATFORM), f"mate: udp left from {_PLATFORM}"),
        ("N-SN-17", "alone", ("", ""), "alone: tcp 4 flows did not arrive"),
        ("N-OR-9", "admin", ("40.117.227.4", ""), "admin: tcp left from 40.117.227.4"),
        ("N-OR-9", "admin", (_PLATFORM, _PLATFORM), f"admin: tcp left from {_PLATFORM}"),
    ],
)
def test_a_claim_is_contradicted_where_they_leave_otherwise(
    claim: str, vm: str, seen: tuple[str, str], reason: str
) -> None:
    found = [j for j in judged(claim, {**_SEEN, vm: seen}) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert reason in {j.reason for j in found}


@pytest.mark.parametrize("claim", WORLDS)
def test_silence_proves_nothing_without_a_control_packet(claim: str) -> None:
    assert {j.verdict for j in judged(claim, _SEEN, control=False)} == {"INCONCLUSIVE"}


@pytest.mark.parametrize(
    ("change", "claim", "reason"),
    [
        (lambda p: msgspec.structs.replace(p, standard_protocols="both"), "N-SN-16", "datagram: tcp left"),
        (lambda p: msgspec.structs.replace(p, standard_default="always"), "N-SN-17", "pooled"),
        (lambda p: msgspec.structs.replace(p, standard_default="without a rule"), "N-SN-17", "mate"),
    ],
    ids=["protocols", "default", "set"],
)
def test_a_cell_that_is_altered_changes_what_is_compiled(
    change: Callable[[Profile], Profile], claim: str, reason: str
) -> None:
    """What a lab with another cell lets be seen, by its own ranges, contradicts the claim."""

    altered = msgspec.structs.replace(world(), profile=change(world().profile))
    given = outbound_snat.ranges(altered)

    def address(vm: str, protocol: str) -> str:
        return next((r.address for r in given.get(vm, ()) if r.serves(protocol)), "")

    seen = {vm: (address(vm, "tcp"), address(vm, "udp")) for vm in _SEEN}
    found = [j for j in judged(claim, seen) if j.verdict != "HOLDS"]
    assert {j.verdict for j in found} == {"CONTRADICTED"}
    assert any(reason in j.reason for j in found)
