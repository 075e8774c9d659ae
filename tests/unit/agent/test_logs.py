"""lab/agent/logs.py: the records of the documents' logs, key by key and in their order."""

import re
import uuid

import msgspec
import pytest

from lab.agent import logs
from lab.deciders.snat_ports import Alert
from lab.plan import Backend, Backends, Provenance

RESOURCE = "/SUBSCRIPTIONS/0/RESOURCEGROUPS/RG7/PROVIDERS/MICROSOFT.NETWORK/LOADBALANCERS/WWEBLB"
EXHAUSTED = Alert("exhausted", "web1", "40.117.227.32", "tcp", 1024, 1024)
HIGH = Alert("high usage", "web1", "40.117.227.32", "udp", 769, 1024)
BACKENDS = Backends(
    place="lb", why=Provenance("", ""), address="40.83.190.158", port=81, protocol="tcp",
    ends_tcp=True, resource=RESOURCE,
    log_s=60.0, members=(Backend("web1", "10.1.0.4", "lb/p/web1"), Backend("web2", "10.1.0.5", "lb/p/web2")),
)  # fmt: skip
WHEN_S = 1453516030.0  # 2016-01-23 02:27:10 UTC


def test_exhausted_ports_are_an_alert_in_the_words_of_2015() -> None:
    """N-ML-2 (load-balancer-monitor-log.md, 2015-12-11): also the operation's name, which is that of another log."""
    record = logs.records("shop", EXHAUSTED, RESOURCE, WHEN_S)[0]
    assert msgspec.json.encode(record).decode() == (
        '{"time":"2016-01-23T02:27:10.0000000Z",'
        f'"systemId":"{logs.system_id("shop")}",'
        '"category":"LoadBalancerAlertEvent",'
        f'"resourceId":"{RESOURCE}",'
        '"operationName":"LoadBalancerProbeHealthStatus",'
        '"properties":{"eventName":"Resource Limits Hit","eventDescription":"Ports exhausted",'
        '"eventProperties":{"public ip address":"40.117.227.32"}},'
        '"lab":{"virtualMachine":"web1","protocol":"tcp","portsInUse":1024,"portsAllocated":1024}}'
    )


def test_exhausted_ports_are_a_health_event_too() -> None:
    """N-ML-5 (load-balancer-health-event-logs.md, 2024-05-21)."""
    _, record = logs.records("shop", EXHAUSTED, RESOURCE, WHEN_S)
    assert [(key, record[key]) for key in record if key not in {"Description", "lab"}] == [
        ("TimeGenerated", "2016-01-23T02:27:10.0000000Z"),
        ("HealthEventType", "SnatPortExhaustion"),
        ("Severity", "Critical"),
        ("FrontendIP", "40.117.227.32"),
        ("LoadBalancerResourceId", RESOURCE),
        ("operationName", "LoadBalancerHealthEvent"),
    ]


def test_high_usage_is_a_health_event_and_no_alert() -> None:
    (record,) = logs.records("shop", HIGH, RESOURCE, WHEN_S)
    assert list(record) == [
        "TimeGenerated", "HealthEventType", "Severity", "FrontendIP", "Description", "LoadBalancerResourceId",
        "operationName", "lab",
    ]  # fmt: skip
    assert (record["HealthEventType"], record["Severity"]) == ("HighSnatPortUsage", "Warning")
    assert "75%" in record["Description"]
    assert record["lab"] == {"virtualMachine": "web1", "protocol": "udp", "portsInUse": 769, "portsAllocated": 1024}


def test_probes_are_recorded_in_the_words_of_2015() -> None:
    """N-ML-3 (load-balancer-monitor-log.md, 2015-12-11): the port is text, the percentage has six decimals."""
    record = logs.probe_record("shop", BACKENDS, ["web2"], WHEN_S)
    assert msgspec.json.encode(record).decode() == (
        '{"time":"2016-01-23T02:27:10.0000000Z",'
        f'"systemId":"{logs.system_id("shop")}",'
        '"category":"LoadBalancerProbeHealthStatus",'
        f'"resourceId":"{RESOURCE}",'
        '"operationName":"LoadBalancerProbeHealthStatus",'
        '"properties":{"publicIpAddress":"40.83.190.158","port":"81","totalDipCount":2,"dipDownCount":1,'
        '"healthPercentage":50.000000},'
        '"lab":{"protocol":"tcp","down":["web2"]}}'
    )


@pytest.mark.parametrize(("down", "text"), [([], "100.000000"), (["a"], "66.666667"), (["a", "b", "c"], "0.000000")])
def test_the_healthy_share_has_six_decimals(down: list[str], text: str) -> None:
    members = tuple(Backend(name, "10.1.0.4", name) for name in "abc")
    record = logs.probe_record("shop", msgspec.structs.replace(BACKENDS, members=members), down, WHEN_S)
    assert bytes(record["properties"]["healthPercentage"]).decode() == text


@pytest.mark.parametrize(
    ("when_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00.0000000Z"),
        (0.5, "1970-01-01T00:00:00.5000000Z"),
        (WHEN_S + 0.25, "2016-01-23T02:27:10.2500000Z"),
        (WHEN_S + 59.99, "2016-01-23T02:28:09.9900000Z"),
        (951782400.0, "2000-02-29T00:00:00.0000000Z"),
    ],
)
def test_a_time_has_seven_decimals_and_is_utc(when_s: float, text: str) -> None:
    # A float of that size knows less than a ten-millionth of a second.
    assert logs.timestamp(when_s)[:-3] == text[:-3]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", logs.timestamp(when_s))


def test_a_labs_system_id_is_a_guid_of_its_own_and_always_the_same() -> None:
    assert logs.system_id("shop") == logs.system_id("shop") == str(uuid.UUID(logs.system_id("shop")))
    assert logs.system_id("shop") != logs.system_id("shop2")
