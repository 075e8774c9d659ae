"""The records that the documents' logs hold, as JSON objects with the documents' keys in their order.

What is the lab's own in a record is under the key ``lab``.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from lab.deciders.snat_ports import Alert
from lab.plan import Backends

_ALERT_CATEGORY = "LoadBalancerAlertEvent"
_PROBE_CATEGORY = "LoadBalancerProbeHealthStatus"
#: Printed so for alerts too (load-balancer-monitor-log.md, 2015-12-11 and later).
_OPERATION = "LoadBalancerProbeHealthStatus"
#: load-balancer-health-event-logs.md (2024-05-21): type, severity, description.
_HEALTH_EVENTS = {
    "exhausted": ("SnatPortExhaustion", "Critical", "The backend instance has no SNAT ports left on the frontend."),
    "high usage": ("HighSnatPortUsage", "Warning", "The backend instance uses more than 75% of its SNAT ports."),
    "no backends": ("NoHealthyBackends", "Critical", "No backend instance of the frontend answers its probe."),
}


def system_id(lab: str) -> str:
    """Return the GUID that a lab's records carry: always the same for a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{lab}.lab"))


def records(lab: str, alert: Alert, resource: str, when_s: float) -> list[dict[str, Any]]:
    """Return the records of an alert; the time is in seconds since the epoch.

    Exhausted ports are told of in the form of 2015 (load-balancer-monitor-log.md) and in that of 2024
    (load-balancer-health-event-logs.md), high usage in the latter, which alone knows it.
    """
    time = timestamp(when_s)
    own = {
        "virtualMachine": alert.node,
        "protocol": alert.protocol,
        "portsInUse": alert.in_use,
        "portsAllocated": alert.allocated,
    }
    health = _health_event(alert.kind, alert.address, resource, time, own)
    if alert.kind != "exhausted":
        return [health]
    return [
        {
            "time": time,
            "systemId": system_id(lab),
            "category": _ALERT_CATEGORY,
            "resourceId": resource,
            "operationName": _OPERATION,
            "properties": {
                "eventName": "Resource Limits Hit",
                "eventDescription": "Ports exhausted",
                "eventProperties": {"public ip address": alert.address},
            },
            "lab": own,
        },
        health,
    ]


def unserved_record(backends: Backends, when_s: float) -> dict[str, Any]:
    """Return the record of a frontend's port without any healthy member."""
    own = {"port": backends.port, "protocol": backends.protocol}
    return _health_event("no backends", backends.address, backends.resource, timestamp(when_s), own)


def _health_event(event: str, address: str, resource: str, time: str, own: dict[str, Any]) -> dict[str, Any]:
    """Return a record in the form of 2024."""
    kind, severity, description = _HEALTH_EVENTS[event]
    return {
        "TimeGenerated": time,
        "HealthEventType": kind,
        "Severity": severity,
        "FrontendIP": address,
        "Description": description,
        "LoadBalancerResourceId": resource,
        "operationName": "LoadBalancerHealthEvent",
        "lab": own,
    }


def probe_record(lab: str, backends: Backends, down: Sequence[str], when_s: float) -> dict[str, Any]:
    """Return the record of the probes of a frontend's port (load-balancer-monitor-log.md, 2015-12-11).

    ``dipDownCount`` are the instances that receive no traffic; the percentage has six decimals.
    """
    total = len(backends.members)
    healthy = 100 * (total - len(down)) / total if total else 0.0
    return {
        "time": timestamp(when_s),
        "systemId": system_id(lab),
        "category": _PROBE_CATEGORY,
        "resourceId": backends.resource,
        "operationName": _OPERATION,
        "properties": {
            "publicIpAddress": backends.address,
            "port": str(backends.port),
            "totalDipCount": total,
            "dipDownCount": len(down),
            "healthPercentage": msgspec.Raw(f"{healthy:.6f}".encode()),
        },
        "lab": {"protocol": backends.protocol, "down": list(down)},
    }


def timestamp(when_s: float) -> str:
    """Return a time as logs print it: ISO 8601, seven decimals, UTC."""
    moment = datetime.fromtimestamp(int(when_s), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(when_s * 10_000_000) % 10_000_000:07d}Z"
