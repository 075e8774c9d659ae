"""Rules that change while the lab runs: floating IP, timeouts and resets come and go, and live flows stay."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kernel.state import StateDir
from tests import rootlab

pytestmark = pytest.mark.root

_TEXT = """\
name: rules
internet: {client: {address: 198.51.100.20}}
virtual_networks: {vnet1: {address_space: [10.1.0.0/16], subnets: {s: {address_prefix: 10.1.0.0/24, \
network_security_group: open}}}}
virtual_machines:
  sql1: {subnet: vnet1/s, services: [tcp:1433], loopback_addresses: [65.52.0.4]}
  sql2: {subnet: vnet1/s, services: [tcp:1433], loopback_addresses: [65.52.0.4]}
network_security_groups: {open: [{name: all, priority: 100, direction: Inbound, access: Allow}]}
load_balancers:
  lb:
    sku: Standard
    frontend_ip_configurations: {f: 65.52.0.4}
    backend_address_pools: {sql: [sql1, sql2]}
    probes: {alive: {port: 1433, interval_in_seconds: 60}}
    load_balancing_rules:
      sql: {frontend: f, backend_pool: sql, probe: alive, frontend_port: 1433, backend_port: 1433, RULE}
overrides: {time_scale: 60}
"""
_FLOATING = "enable_floating_ip: true"
_TALK = """
import socket, sys
opened = socket.create_connection(("65.52.0.4", 1433), 5)
opened.settimeout(20)
lines = opened.makefile("r")
print(lines.readline().strip(), flush=True)
for line in sys.stdin:
    try:
        if line != "listen\\n":
            opened.send(line.encode())
        print(lines.readline().strip() or "closed", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


def text(rule: str) -> str:
    return _TEXT.replace("RULE", rule)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    with rootlab.running(tmp_path, text(_FLOATING)):
        yield tmp_path / "rules.lab.yaml"


def change(file: Path, written: str) -> None:
    file.write_text(written)
    rootlab.ok("up", file)


def wait_up(*members: str) -> None:
    wanted = {f"lb/alive/{name}" for name in members}
    rootlab.wait_until(
        lambda: {k for k, m in StateDir("rules").health().items() if m.up and m.applied} == wanted,
        "members are up",
        lambda: StateDir("rules").health(),
    )


def test_a_flow_with_floating_ip_stays_with_its_vm_when_that_leaves_the_pool(file: Path):
    wait_up("sql1", "sql2")
    with rootlab.talking("rules", "client", _TALK) as said:
        first = said()
        node = "sql1" if '"sql1"' in first else "sql2"
        assert '"server_address": "65.52.0.4"' in first
        other = {"sql1": "sql2", "sql2": "sql1"}[node]
        change(file, text(_FLOATING).replace("[sql1, sql2]", f"[{other}]"))
        wait_up(other)
        with rootlab.talking("rules", "client", _TALK) as again:
            assert f'"{other}"' in again()
        assert said("hello") == first


_ASK = """
import socket, sys
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.connect(("65.52.0.4", 1434))
opened.settimeout(2)
for line in sys.stdin:
    opened.send(b"?")
    try:
        print(opened.recv(999).decode().strip(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


def test_a_udp_flow_with_floating_ip_moves_when_its_vm_goes_down(tmp_path: Path):
    udp = "      browser: {frontend: f, backend_pool: sql, probe: alive, frontend_port: 1434, backend_port: 1434, "
    both = text(_FLOATING).replace("overrides:", f"{udp}protocol: Udp, {_FLOATING}}}\noverrides:")
    both = both.replace("[tcp:1433]", "[tcp:1433, udp:1434]")
    with rootlab.running(tmp_path, both):
        wait_up("sql1", "sql2")
        with rootlab.talking("rules", "client", _ASK) as said:
            first = said("ask")
            node = "sql1" if '"sql1"' in first else "sql2"
            assert f'"{node}"' in first
            assert '"server_address": "65.52.0.4"' in first
            assert said("ask") == first
            other = {"sql1": "sql2", "sql2": "sql1"}[node]
            change(
                tmp_path / "rules.lab.yaml",
                both.replace(
                    f"{node}: {{subnet: vnet1/s, services: [tcp:1433, ", f"{node}: {{subnet: vnet1/s, services: ["
                ),
            )
            wait_up(other)
            rootlab.wait_until(lambda: f'"{other}"' in said("ask"), "the flow has moved", lambda: said("ask"))


def test_a_guest_without_the_frontends_address_is_said_to_be_silent_and_the_packet_is_seen_at_its_wire(file: Path):
    change(file, text(_FLOATING).replace(", loopback_addresses: [65.52.0.4]", ""))
    wait_up("sql1", "sql2")
    found = json.loads(rootlab.ok("explain", "rules", "client", "65.52.0.4:1433", "--send", "-o", "json"))
    silent = "does not have 65.52.0.4 on a loopback interface and does not answer"
    assert (
        found["answer"][0] == f"client to 65.52.0.4, 1433/tcp: allowed, and not answered: sql1 {silent}; sql2 {silent}"
    )
    seen = {hop["name"]: hop["observed"] for hop in found["hops"]}
    assert sorted(seen[vm].endswith("-> 65.52.0.4:1433") for vm in ("sql1", "sql2")) == [False, True]
    assert found["blamed"] is None


def test_what_a_rule_no_longer_asks_for_is_taken_away_and_comes_back(file: Path):
    before = rootlab.world("rules") + rules("router.vnet1") + rules("lb.vnet1")
    assert "fwmark" in before
    change(file, text("idle_timeout_in_minutes: 10"))
    between = rules("router.vnet1") + rules("lb.vnet1")
    assert "fwmark" not in between
    assert "--timeout 10" in rootlab.must("rules", "lb.vnet1", "iptables-legacy-save", "-t", "raw")
    change(file, text(_FLOATING))
    after = rootlab.world("rules") + rules("router.vnet1") + rules("lb.vnet1")
    rootlab.assert_same(before, after)


def rules(place: str) -> str:
    return rootlab.must("rules", place, "ip", "rule")


def test_what_was_undone_by_hand_is_done_again(file: Path):
    wait_up("sql1", "sql2")
    rootlab.must("rules", "router.vnet1", "ip", "rule", "flush")
    rootlab.must("rules", "router.vnet1", "ip", "rule", "add", "priority", "32766", "lookup", "main")
    rootlab.must("rules", "router.vnet1", "iptables-legacy", "-t", "raw", "-F")
    rootlab.ok("up", file)
    assert "fwmark" in rules("router.vnet1")
    assert "--timeout 4" in rootlab.must("rules", "router.vnet1", "iptables-legacy-save", "-t", "raw")
    with rootlab.talking("rules", "client", _TALK) as said:
        assert '"server_address": "65.52.0.4"' in said()


def test_an_agent_that_was_started_again_resets_the_flows_that_it_hears_of(file: Path):
    change(file, text(f"{_FLOATING}, enable_tcp_reset: true, idle_timeout_in_minutes: 5"))
    wait_up("sql1", "sql2")
    with rootlab.talking("rules", "client", _TALK) as said:
        first = said()
        rootlab.end_agent("rules")
        rootlab.ok("up", file)
        with rootlab.talking("rules", "client", _TALK) as anew:
            assert anew()
            assert anew("listen") == "ConnectionResetError"
        assert said("hello") != first  # its server went with the agent


_EVENTS = """
import socket, sys
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
events.bind((0, 1 | 2 | 4))
events.settimeout(0.5)
print("ready", flush=True)
for line in sys.stdin:
    found = 0
    try:
        while True:
            found += socket.inet_aton("198.51.100.10") in events.recv(65536)
    except TimeoutError:
        print(found, flush=True)
"""


def test_events_are_written_of_flows_that_leave_and_of_none_that_come_in(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("events")) as name:
        StateDir(name).wait_health(deadline_s=rootlab.DEADLINE_S)
        with rootlab.talking(name, "lb.vnet1", _EVENTS) as said:
            assert said() == "ready"
            assert rootlab.ask(name, "far", "http://40.1.2.3/")["node"] == "web"
            assert said("count") == "0"
            assert rootlab.ask(name, "web", "http://198.51.100.10/")["node"] == "far"
            assert int(said("count")) > 0
