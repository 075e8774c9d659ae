"""What no topology influences is judged once for each run of `lab verify`."""

from lab import topology
from lab.verify import claims
from tests.mutations import CHECKOUT


def _trials(name: str, judged: set[object]) -> dict[str, list[claims.Trial]]:
    network = topology.load(CHECKOUT / "topologies" / f"{name}.lab.yaml")
    found = dict(claims.trials(network, judged=judged))
    judged |= {claims.once(trial) for trials in found.values() for trial in trials} - {None}
    return found


def test_a_trial_of_a_file_alone_is_left_out_when_it_was_judged_with_an_earlier_topology():
    judged: set[object] = set()
    first, second = _trials("source-ip", judged), _trials("outbound", judged)
    assert [trial.subject for trial in first["S1-5"]] == [
        "a load-balancing rule without a probe",
        "a rule whose probe is not defined",
    ]
    assert "S1-5" not in second
    assert "S1-5" in _trials("outbound", set())


def test_a_trial_that_sends_packets_is_judged_with_every_topology():
    judged: set[object] = set()
    first, second = _trials("source-ip", judged), _trials("outbound", judged)
    assert {"S2-2", "S2-10"} <= first.keys()
    assert "S2-2" in second
