"""monitor-load-balancer-reference.md: what metrics say, against what was sent."""

import json
from collections.abc import Iterator
from functools import partial

from lab.azure.model import Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import kept, occupy, of_protocol, several_goals
from lab.verify.claims.kit.judges import judge_by, outcomes
from lab.verify.claims.kit.oracle import ports_each, sole_frontend, way_out
from lab.verify.experiment import Answers, Checked, Occupied, OpenFlows, ReuseFlows, Run

_REFERENCE = "monitor-load-balancer-reference.md (2024-05-24)"
_KNOWN = ("seeds", "2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_MORE = 4  # flows beyond what there are ports for
_FEW_PORTS = 128
_SILENT_S = 1.0
_METRICS = Run(words=("metrics", "{lab}", "-o", "json"))


@claim(
    "N-ML-4",
    _REFERENCE,
    "Metrics tell, of each frontend, backend and protocol, how many SNAT ports are allocated and used, and how many "
    "SNAT connections succeeded and failed.",
    profiles=_KNOWN,
    facts=("ports allocated", "ports used", "connections that succeeded", "connections that failed"),
)
def metrics_count_ports_and_connections(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    found = [(vm, ports) for vm in sole_frontend(network) if (ports := ports_each(network, vm)) is not None]
    for vm, ports in [(vm, ports) for vm, ports in found if ports <= _FEW_PORTS][:1]:
        goals = of_protocol(hosts[0][1], "tcp")[:1] if hosts else ()
        if not goals or len(way_out(network, vm).addresses) != 1:
            continue
        (address,) = way_out(network, vm).addresses
        flows = OpenFlows(
            client=vm.name,
            address=goals[0].address,
            port=goals[0].port,
            kind="tcp",
            count=ports + _MORE,
            timeout_s=_SILENT_S,
        )
        # Ports that were used before, and are used no more, count as connections only.
        ended = occupy(network, vm, kept(network, goals, _MORE))
        stage = Stage((ended, occupy(network, vm), _METRICS, flows, _METRICS, ReuseFlows(kept=flows)))
        expected = f"{ports} ports allocated, {ports} used, {ports} connections successful and {_MORE} failed"
        dimensions = {
            "FrontendIPAddress": address,
            "BackendIPAddress": str(vm.private_ip_address),
            "ProtocolType": "Tcp",
        }
        yield Trial(vm.name, expected, (stage,), judge_by(partial(_counted, ports=ports, dimensions=dimensions)))


def _counted(
    _0: Occupied,
    _1: Occupied,
    before: Checked,
    opened: Answers,
    after: Checked,
    _2: Answers,
    *,
    ports: int,
    dimensions: dict[str, str],
) -> Finding:
    if before.status or after.status:
        return Finding(f"exit {before.status}, {after.status}: {after.said[:200]}", doubt="no metrics were printed")
    first, last = (_values(done.said, dimensions) for done in (before, after))
    found = {
        "allocated": last.get("AllocatedSnatPorts", 0.0),
        "used": last.get("UsedSnatPorts", 0.0),
        **{state: last.get(state, 0.0) - first.get(state, 0.0) for state in ("Successful", "Failed")},
    }
    observed = f"{outcomes(opened)}; " + ", ".join(f"{name} {value:g}" for name, value in found.items())
    answered = sum(a.outcome == "answered" for a in opened.answers)
    if answered != ports:
        return Finding(observed, doubt=f"{answered} flows were answered instead of {ports}")
    wanted = {"allocated": ports, "used": ports, "Successful": ports, "Failed": _MORE}
    wrong = [f"{name} is {found[name]:g} instead of {value}" for name, value in wanted.items() if found[name] != value]
    return Finding(observed, "; ".join(wrong))


def _values(said: str, dimensions: dict[str, str]) -> dict[str, float]:
    """Return the values about a frontend, backend and protocol, by metric; of connections by their state."""
    return {
        one["dimensions"].get("ConnectionState", one["name"]): one["value"]
        for one in json.loads(said)["metrics"]
        if dimensions.items() <= one["dimensions"].items()
    }


CLAIMS = (metrics_count_ports_and_connections,)
