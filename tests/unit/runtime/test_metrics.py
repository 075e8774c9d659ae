"""Metrics: what the agent and the record say, under Azure Monitor's names; and who may ask for them."""

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from lab import cli
from lab.deciders.snat_ports import Usage
from lab.kernel.state import GatewayState, MemberHealth, TunnelState
from lab.runtime.metrics import Known, families

_USED = (
    Usage(
        node="web1", address="40.1.1.1", protocol="tcp", allocated=64, ports=9, flows=12, cooling=0, given=70,
        fullest=9, peak=64, refused=6, destinations=(),
    ),
    Usage(  # of a VM that never used one
        node="web2", address="40.1.1.1", protocol="tcp", allocated=64, ports=0, flows=0, cooling=0, given=0,
        fullest=0, peak=0, refused=0, destinations=(),
    ),
)  # fmt: skip


def _tunnel(state: str) -> TunnelState:
    said = {"state": state, "reason": "", "peer": "40.1.1.9", "ingress": 0, "egress": 0, "established": None}
    said |= {"event": 0, "message": "", "changed": 0.0, "version": 2, "local": [], "remote": []}
    return msgspec.convert(said | {"ike": "", "esp": "", "ike_rekey_s": 0, "esp_life_s": 0}, TunnelState)


def _lab() -> Known:
    up, down = (MemberHealth(up, judged=True, applied=True, since=0.0, reason="") for up in (True, False))
    gateway = GatewayState(
        kind="gateway", esp="kernel", address="40.1.1.8", ready_at=0.0, pid=1, starts=1, started=0.0,
        tunnels={"site1": _tunnel("Connected"), "site2": _tunnel("Connecting")},
    )  # fmt: skip
    return Known(
        addresses={"web1": "10.0.0.4", "web2": "10.0.0.5"},
        health={"lb1/alive/web1": up, "lb1/alive/web2": down},
        gateways={"vnet1": gateway},
    )


def _values() -> dict[tuple[str, str, str], float]:
    """Return each value by name, backend or site, and state, as a reader of the text finds it."""

    class Asked(Collector):
        def collect(self) -> Any:
            return families(_lab(), _USED)

    registry = CollectorRegistry()
    registry.register(Asked())
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            of = sample.labels.get("Backend") or sample.labels.get("LocalNetwork", "")
            found[sample.name, of, sample.labels.get("ConnectionState", "")] = sample.value
            assert sample.labels.get("BackendIPAddress", "10.0.0.4") in ("10.0.0.4", "10.0.0.5")
    return found


def test_every_value_has_the_name_that_azure_monitor_gives_it():
    assert _values() == {
        ("AllocatedSnatPorts", "web1", ""): 64,
        ("AllocatedSnatPorts", "web2", ""): 64,
        ("UsedSnatPorts", "web1", ""): 12,
        ("FullestSnatPorts", "web1", ""): 9,
        ("PeakSnatPorts", "web1", ""): 64,
        ("SnatConnectionCount_total", "web1", "Successful"): 70,
        ("SnatConnectionCount_total", "web1", "Failed"): 6,
        ("DipAvailability", "web1", ""): 100,
        ("DipAvailability", "web2", ""): 0,
        ("TunnelConnected", "site1", ""): 1,
        ("TunnelConnected", "site2", ""): 0,
    }


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9464", "192.0.2.1:80", "localhost:80", "127.0.0.1:x", "127.0.0.1:70000", "unix:"]
)
def test_only_this_machine_may_ask(address: str):
    done = CliRunner().invoke(cli.cli, ["metrics", "a", "--listen", address])
    assert done.exit_code == 2
    assert "it must be a loopback address and a port, or unix: and a path; use 127.0.0.1:9464" in " ".join(
        done.output.split()
    )
