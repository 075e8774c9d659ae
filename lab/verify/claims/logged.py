"""What Azure's logs hold of a load balancer: load-balancer-monitor-log.md (2015-12-11)."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from lab.azure.model import LoadBalancer, LoadBalancingRule, Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.exhaustion import ADDRESS_ONLY, exhausted
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.log_records import malformed, probe_records
from lab.verify.claims.kit.oracle import scaled
from lab.verify.experiment import Checked, Health, Logged, Members, ProbeLog, Run

_LOG = "load-balancer-monitor-log.md (2015-12-11)"
_EVERY_S = 60  # the log of probes
_RECORDS = 3
#: Where a lab's time runs so slowly that three records take longer, they are not waited for: no lab logs otherwise.
_LONGEST_S = 15
_PATIENCE_S = 10.0  # for a busy machine, beyond the documents' times
_PROBE_KEYS = ["publicIpAddress", "port", "totalDipCount", "dipDownCount", "healthPercentage"]


def _rules(network: Network, sku: str) -> list[tuple[LoadBalancer, LoadBalancingRule]]:
    return [
        (lb, rule)
        for lb in network.load_balancers
        for rule in lb.load_balancing_rules
        if lb.sku == sku and rule.probe is not None
    ]


def _at(lb: LoadBalancer, rule: LoadBalancingRule) -> tuple[str, str]:
    return str(lb.frontend(rule.frontend).address), str(rule.frontend_port)


def _log(network: Network, records: int) -> ProbeLog:
    return ProbeLog(records=records, deadline_s=2 * (records + 1) * scaled(network, _EVERY_S) + _PATIENCE_S)


def _new(logged: Logged) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the records that came while they were waited for, by address and port."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in probe_records(logged.text)[logged.before :]:
        properties = record["properties"]
        found.setdefault((properties["publicIpAddress"], properties["port"]), []).append(record)
    return found


@claim(
    "N-ML-1",
    _LOG,
    "Probes are logged every minute, for public load balancers of the Basic SKU; an alert only when it is raised.",
    facts=("the log of probes is written once a minute", "only Basic load balancers are logged"),
)
def basic_probes_are_logged_every_minute(network: Network) -> Iterator[Trial]:
    logged = {_at(*found) for found in _rules(network, "Basic")}
    unlogged = {_at(*found) for found in _rules(network, "Standard")} - logged
    sharing = {at: sum(_at(*found) == at for found in _rules(network, "Basic")) for at in logged}
    alone = sorted(at for at in logged if sharing[at] == 1)
    if not alone or scaled(network, _EVERY_S) * _RECORDS > _LONGEST_S:
        return
    every_s = scaled(network, _EVERY_S)
    events = Run(words=("events", "{lab}", "-o", "json"))

    def alerts(said: str) -> int:
        return sum(r.get("category") == "LoadBalancerAlertEvent" for r in json.loads(said)["records"])

    expected = f"a record every {every_s:g} s, a minute of the document, of Basic load balancers alone; no alert"
    stage = Stage((events, _log(network, _RECORDS), events))
    yield Trial(
        ", ".join(f"{a}:{p}" for a, p in alone),
        expected,
        (stage,),
        judge_by(partial(_recorded_every_minute, alone=alone, alerts=alerts, every_s=every_s, unlogged=unlogged)),
    )


def _recorded_every_minute(
    before: Checked,
    logs: Logged,
    after: Checked,
    *,
    alone: list[tuple[str, str]],
    alerts: Callable[[str], int],
    every_s: float,
    unlogged: set[tuple[str, str]],
) -> Finding:
    found = _new(logs)
    gaps = {at: _mean_gap_s(found.get(at, ())) for at in alone}
    shown = ", ".join(f"{at[0]}:{at[1]} every {gap:.2f} s" for at, gap in gaps.items() if gap)
    raised = alerts(after.said) - alerts(before.said)
    observed = f"{shown or 'no record'}; {raised} alerts meanwhile"
    silent = [f"{address}:{port}" for (address, port), gap in gaps.items() if gap is None]
    if silent:
        return Finding(observed, f"no records of {', '.join(silent)} came")
    wrong = [f"{at[0]}:{at[1]}" for at, gap in gaps.items() if gap and not every_s / 1.5 < gap < every_s * 1.5]
    if wrong:
        return Finding(observed, f"{', '.join(wrong)} is not logged every {every_s:g} s")
    if others := sorted(set(found) & unlogged):
        return Finding(observed, f"{others[0][0]} is logged, which is of a Standard load balancer")
    return Finding(observed, f"{raised} alerts were written that nothing raised" if raised else "")


def _mean_gap_s(records: Sequence[dict[str, Any]]) -> float | None:
    """Return the seconds between two records; None if there are not two."""
    times = [datetime.fromisoformat(record["time"][:26] + "+00:00").timestamp() for record in records]
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None


@claim(
    "N-ML-2",
    _LOG,
    "An alert of exhausted ports has its keys in the document's order, and the name of another operation.",
    profiles=ADDRESS_ONLY,
    facts=(
        "the keys are in the document's order",
        "the category is LoadBalancerAlertEvent",
        "the operation is LoadBalancerProbeHealthStatus",
        "the time has seven decimals",
        "the resource is in upper case",
        "the event is Resource Limits Hit",
        "its description is Ports exhausted",
        "it names the public address",
    ),
)
def alert_has_the_documents_keys(network: Network) -> Iterator[Trial]:
    yield from exhausted(network, lambda record: malformed(record, "LoadBalancerAlertEvent"))


@claim(
    "N-ML-3",
    _LOG,
    "A record of probes names the public address and port, how many instances there are, how many receive no "
    "traffic, and the healthy share in per cent with six decimals.",
    facts=(
        "publicIpAddress is as documented",
        "port is as documented",
        "totalDipCount is as documented",
        "dipDownCount is as documented",
        "healthPercentage is as documented",
        "the records are in a list of that name",
    ),
)
def record_names_address_and_share(network: Network) -> Iterator[Trial]:
    vms = {vm.name: vm for vm in network.virtual_machines}
    for lb, rule in _rules(network, "Basic"):
        probe = lb.probe(rule.probe or "")
        members = lb.pool(rule.backend_pool).members
        unanswered = [
            m for m in members if not any((s.port, s.protocol) == (probe.port, "tcp") for s in vms[m].services)
        ]
        if probe.protocol != "Tcp" or not 0 < len(unanswered) < len(members):
            continue
        total, down, at = len(members), len(unanswered), _at(lb, rule)
        wanted = {
            "publicIpAddress": at[0],
            "port": at[1],
            "totalDipCount": total,
            "dipDownCount": down,
            "healthPercentage": f"{100 * (total - down) / total:.6f}",
        }

        stage = Stage((Health(), _log(network, 1)))
        yield Trial(
            f"{lb.name}/{rule.name}",
            json.dumps(wanted),
            (stage,),
            judge_by(partial(_record_as_printed, wanted=wanted, at=at)),
        )


def _record_as_printed(_0: Members, logs: Logged, *, wanted: dict[str, object], at: tuple[str, str]) -> Finding:
    wrapper = list(json.loads(logs.text))
    if wrapper != ["records"]:
        return Finding("no record", f"the records are in {', '.join(wrapper)}")
    found = _new(logs).get(at, ())
    if not found:
        return Finding("no record", f"no record of {at[0]}:{at[1]} came")
    properties = found[-1]["properties"]
    observed = json.dumps(properties)
    if wrong := malformed(found[-1], "LoadBalancerProbeHealthStatus"):
        return Finding(observed, wrong)
    if list(properties) != _PROBE_KEYS:
        return Finding(observed, f"its properties are {', '.join(properties)}")
    differing = [key for key in _PROBE_KEYS if properties[key] != wanted[key]]
    return Finding(observed, f"its {differing[0]} is {properties[differing[0]]}" if differing else "")


CLAIMS = (
    basic_probes_are_logged_every_minute,
    alert_has_the_documents_keys,
    record_names_address_and_share,
)
