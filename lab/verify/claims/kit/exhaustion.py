"""Flows that use up a VM's SNAT ports, and the alert that tells of it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from lab.azure.model import Network, VirtualMachine
from lab.verify.claims.claim import Finding, Trial
from lab.verify.claims.kit.held_flows import (
    held_trial,
    kept,
    occupy,
    opened,
    several_goals,
    wrong_number,
)
from lab.verify.claims.kit.oracle import (
    WayOut,
    matches,
    of_kind,
    ports_each,
    scaled,
    sole_frontend,
    way_out,
)
from lab.verify.experiment import (
    Happened,
    Pause,
    ShowEvents,
)

#: Revisions that make a port unique for the destination's address alone.
ADDRESS_ONLY = ("seeds", "2016-10", "2017-05a", "2017-05b", "2017-09")
_ALERTS_S = 300  # load-balancer-monitor-log.md (2015-12-11): alerts are collected every five minutes
FEW_PORTS = 4


def limited(network: Network) -> list[tuple[VirtualMachine, int]]:
    """Return a load-balanced VM and a standalone one that have a number of SNAT ports of one address, and the numbers.

    The seed says the same of both. It leaves open how many ports a standalone VM has: that is judged where the topology
    says it.
    """
    found = ((vm, ports_each(network, vm)) for vm in sole_frontend(network))
    linked = next(((vm, ports) for vm, ports in found if ports is not None), None)
    limit = network.overrides.snat_ports_per_vm
    alone = [(vm, limit) for vm in of_kind(network, "default")[:1] if limit]
    return [*([linked] if linked else []), *alone]


#: Keys of an alert, in order (load-balancer-monitor-log.md, later revisions).
_ALERT_KEYS = ["time", "systemId", "category", "resourceId", "operationName", "properties"]
_ALERT = {
    "eventName": "Resource Limits Hit",
    "eventDescription": "Ports exhausted",
}


def _unlike(alert: dict[str, Any], address: str) -> str:
    """Return how a record differs from the documents' form, "" if it does not."""
    if [key for key in alert if key != "lab"] != _ALERT_KEYS:
        return f"the record has the keys {', '.join(alert)}"
    if alert["operationName"] != "LoadBalancerProbeHealthStatus":
        return f"its operationName is {alert['operationName']}"
    wanted = {**_ALERT, "eventProperties": {"public ip address": address}}
    return "" if alert["properties"] == wanted else "its properties are others"


def exhausted(network: Network, malformed: Callable[[dict[str, Any]], str]) -> Iterator[Trial]:
    """Yield a trial of the alert when ports are exhausted; ``malformed`` says what else is wrong with its record."""
    for vm, ports in limited(network)[:1]:
        yield from exhaustion_of(network, vm, ports, malformed)


def exhaustion_of(
    network: Network, vm: VirtualMachine, ports: int, malformed: Callable[[dict[str, Any]], str]
) -> Iterator[Trial]:
    """Yield the trial of a VM's ports; ``malformed`` returns what is wrong with a record."""
    hosts = several_goals(network)
    if not hosts:
        return
    (_, goals), way = hosts[0], way_out(network, vm)
    steps = (
        Pause(seconds=scaled(network, _ALERTS_S) + 0.1),  # whatever was told before is over
        ShowEvents(),
        kept(network, goals[:1], ports),
        ShowEvents(),
        kept(network, goals[:1], FEW_PORTS, lost=FEW_PORTS),
        ShowEvents(),
    )

    def alerts(happened: Happened) -> list[dict[str, Any]]:
        return [r for r in happened.records if r.get("category") == "LoadBalancerAlertEvent"]

    expected = f"one alert for {way}, when flow {ports + 1} meets silence"
    yield held_trial(
        vm.name,
        expected,
        occupy(network, vm, *steps),
        partial(_told_of_once, alerts=alerts, ports=ports, network=network, way=way, malformed=malformed),
    )


def _told_of_once(
    steps: Sequence[Happened],
    *,
    alerts: Callable[[Happened], list[dict[str, Any]]],
    ports: int,
    network: Network,
    way: WayOut,
    malformed: Callable[[dict[str, Any]], str],
) -> Finding:
    _, before, full, still, beyond, after = steps
    raised, new = alerts(still)[len(alerts(before)) :], alerts(after)[len(alerts(still)) :]
    observed = f"{opened(full)}: {len(raised)} alerts; {opened(beyond)}: {len(new)}"
    wrong = wrong_number(full, ports) or wrong_number(beyond, 0, FEW_PORTS)
    if not wrong and raised:
        wrong = "an alert was raised while there were ports left"
    if not wrong and len(new) != 1:
        wrong = f"{len(new)} alerts were raised instead of one"
    if wrong:
        return Finding(observed, wrong)
    seen = full.seen[0].address
    wrong = "" if matches(network, way, seen) else f"seen from {seen}"
    return Finding(f"{observed}; {new[0]['properties']}", wrong or _unlike(new[0], seen) or malformed(new[0]))
