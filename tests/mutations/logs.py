"""Mutations of what is claimed of what the logs hold of a load balancer."""

from tests.mutations import Mutation

_WIRING = "lab/path/wiring.py"
_PROBES = "lab/path/health_probe.py"
_LOGS = "lab/agent/logs.py"

MUTATIONS = (
    Mutation(
        "N-ML-1", "the log of probes is written once a minute", "health-probes", _PROBES, "_LOG_S = 60", "_LOG_S = 120"
    ),
    Mutation(
        "N-ML-1",
        "only Basic load balancers are logged",
        "health-probes",
        _PROBES,
        'logged = lb.sku == "Basic" and rule',
        "logged = rule",
    ),
    Mutation(
        "N-ML-2",
        "the keys are in the document's order",
        "snat-exhaustion",
        _LOGS,
        ('"systemId": system_id(lab),\n            "category": _ALERT_CATEGORY,'),
        ('"category": _ALERT_CATEGORY,\n            "systemId": system_id(lab),'),
    ),
    Mutation(
        "N-ML-2",
        "the category is LoadBalancerAlertEvent",
        "snat-exhaustion",
        _LOGS,
        '_ALERT_CATEGORY = "LoadBalancerAlertEvent"',
        '_ALERT_CATEGORY = "LoadBalancerAlertEvents"',
    ),
    Mutation(
        "N-ML-2",
        "the operation is LoadBalancerProbeHealthStatus",
        "snat-exhaustion",
        _LOGS,
        '_OPERATION = "LoadBalancerProbeHealthStatus"',
        '_OPERATION = "LoadBalancerAlertEvent"',
    ),
    Mutation(
        "N-ML-2",
        "the time has seven decimals",
        "snat-exhaustion",
        _LOGS,
        "int(when_s * 10_000_000) % 10_000_000:07d}Z",
        "int(when_s * 1_000_000) % 1_000_000:06d}Z",
    ),
    Mutation(
        "N-ML-2",
        "the resource is in upper case",
        "snat-exhaustion",
        _WIRING,
        'return f"{start}/{kind}/{name}".upper()',
        'return f"{start}/{kind}/{name}"',
    ),
    Mutation(
        "N-ML-2",
        "the event is Resource Limits Hit",
        "snat-exhaustion",
        _LOGS,
        '"eventName": "Resource Limits Hit"',
        '"eventName": "Resource limits hit"',
    ),
    Mutation(
        "N-ML-2",
        "its description is Ports exhausted",
        "snat-exhaustion",
        _LOGS,
        '"eventDescription": "Ports exhausted"',
        '"eventDescription": "Port exhausted"',
    ),
    Mutation(
        "N-ML-2",
        "it names the public address",
        "snat-exhaustion",
        _LOGS,
        '{"public ip address": alert.address}',
        '{"publicIpAddress": alert.address}',
    ),
    Mutation(
        "N-ML-3",
        "publicIpAddress is as documented",
        "health-probes",
        _LOGS,
        '"publicIpAddress": backends.address',
        '"publicIpAddress": backends.members[0].address if backends.members else ""',
    ),
    Mutation(
        "N-ML-3", "port is as documented", "health-probes", _LOGS, '"port": str(backends.port)', '"port": backends.port'
    ),
    Mutation(
        "N-ML-3",
        "totalDipCount is as documented",
        "health-probes",
        _LOGS,
        '"totalDipCount": total',
        '"totalDipCount": total - len(down)',
    ),
    Mutation(
        "N-ML-3",
        "dipDownCount is as documented",
        "health-probes",
        _LOGS,
        '"dipDownCount": len(down)',
        '"dipDownCount": 0 * len(down)',
    ),
    Mutation("N-ML-3", "healthPercentage is as documented", "health-probes", _LOGS, "{healthy:.6f}", "{healthy:.2f}"),
    Mutation(
        "N-ML-3",
        "the records are in a list of that name",
        "health-probes",
        "lab/cli/ports.py",
        'print_json({"records": list(snat_usage.events(name, probes=probes))})',
        'print_json({"Records": list(snat_usage.events(name, probes=probes))})',
    ),
)
