"""SNAT ports on a running lab: what is shown is what the kernel has, and what happens when nobody gives them out."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import netns
from lab.plan import namespace
from tests import rootlab

pytestmark = pytest.mark.root

EDGE = "lb.vnet1"
#: Two VMs with 32 ports each, in real time: no flow ends by itself while a test runs.
TEXT = """\
name: NAME
profile: PROFILE
internet:
  api: {address: 198.51.100.20, services: [tcp:443, tcp:8080, udp:53]}
  other: {address: 198.51.100.30, services: [tcp:443, udp:53]}
virtual_networks: {vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}}
virtual_machines:
  web1: {subnet: vnet1/front, services: [http:80]}
  web2: {subnet: vnet1/front, services: [http:80]}
load_balancers:
  lb1:
    frontend_ip_configurations: {public: 40.1.2.3}
    backend_address_pools: {pool: [web1, web2]}
    probes: {alive: {port: 80, interval_in_seconds: 5}}
    load_balancing_rules:
      http: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}
overrides: {snat_ports_per_vm: 32}
"""


def text(name: str, profile: str = "seeds") -> str:
    return TEXT.replace("NAME", name).replace("PROFILE", profile)


@contextlib.contextmanager
def loading(lab: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Have a load run beside the test; it is ended with it."""
    command = [sys.executable, "-P", "-m", "lab", "load", lab, *words, "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def used(lab: str, *vms: str) -> dict[tuple[str, str], dict[str, Any]]:
    shown = json.loads(rootlab.ok("ports", lab, *vms, "-o", "json"))["ports"]
    return {(entry["node"], entry["protocol"]): entry for entry in shown}


def tracked(lab: str) -> Counter[tuple[str, str, str]]:
    """Return how often another tool sees each source, protocol and translated port in the connection table."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in rootlab.must(lab, EDGE, "conntrack", "-L").splitlines():
        words = [word.partition("=") for word in line.split()]
        sources = [value for key, _, value in words if key == "src"]
        ports = [value for key, _, value in words if key == "dport"]
        if sources and sources[0].startswith("10.1.0."):
            found[sources[0], line.split()[0], ports[1]] += 1
    return found


def load(lab: str, *words: str) -> dict[str, Any]:
    done = rootlab.run("load", lab, *words, "-o", "json")
    found = json.loads(done.stdout)
    all_went_well = found["opened"] == found["flows"] and found["alive"] in (None, found["opened"])
    assert done.returncode == (0 if all_went_well else 3), done.stderr
    return found


def test_what_is_shown_is_what_the_kernel_has_to_the_last_port_under_load(tmp_path: Path):
    with (
        rootlab.running(tmp_path, text("ports-eq")) as lab,
        loading(lab, "web1", "api:443", "--flows", "20", "--hold", "600"),
        loading(lab, "web1", "other:443", "--flows", "32", "--hold", "600"),
        loading(lab, "web1", "api:53/udp", "--flows", "20", "--hold", "600"),
        loading(lab, "web2", "api:8080", "--flows", "9", "--hold", "600"),
    ):
        rootlab.wait_until(lambda: sum(u["flows"] for u in used(lab).values()) >= 73, "all flows", lambda: used(lab))
        shown, there = used(lab), tracked(lab)
        address = {vm: json.loads(rootlab.ok("show", lab, vm, "-o", "json"))["address"] for vm in ("web1", "web2")}
        for (vm, protocol), entry in shown.items():
            mine = {port: n for (source, p, port), n in there.items() if (source, p) == (address[vm], protocol)}
            assert (entry["flows"], entry["ports"]) == (sum(mine.values()), len(mine)), (vm, protocol)
        # To api 32 ports are shared by TCP and UDP; to the other host there are 32 more flows.
        assert shown["web1", "tcp"]["flows"] + shown["web1", "udp"]["flows"] == 64
        assert shown["web1", "tcp"]["refused"] + shown["web1", "udp"]["refused"] == 8
        assert shown["web2", "tcp"]["flows"] == 9


def test_a_load_from_outside_is_told_who_it_is_by_the_server_behind_a_rule(tmp_path: Path):
    with rootlab.running(tmp_path, text("load-in")) as lab:
        one = (lab, "api", "40.1.2.3:80", "--flows", "1", "--timeout", "0.3")
        rootlab.wait_until(lambda: load(*one)["opened"] == 1, "a flow")
        found = load(lab, "api", "40.1.2.3:80", "--flows", "3", "--hold", "0.1")
        assert (found["opened"], found["alive"], found["source_addresses"]) == (3, 3, ["198.51.100.20"])
        refused = rootlab.run("load", lab, "api", "web1:80")
        assert (refused.returncode, "web1 has no address that api can reach" in refused.stderr) == (2, True)


_ECHO = """
import socket
listening = socket.create_server(("198.51.100.20", 9999))
print("ready", flush=True)
connection, client = listening.accept()
while data := connection.recv(100):
    connection.sendall(b"%s:%d " % (client[0].encode(), client[1]) + data)
"""
_TALK = """
import socket, sys
flow = socket.create_connection(("198.51.100.20", 9999), timeout=5)
for line in sys.stdin:
    flow.sendall(line.encode())
    print(flow.recv(100).decode(), end="", flush=True)
"""


@contextlib.contextmanager
def program(lab: str, place: str, code: str) -> Iterator["subprocess.Popen[str]"]:
    """Have a program run in a place, that is none of the lab's own servers."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: netns.enter(namespace(lab, place)),  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_without_the_agent_new_flows_are_silent_live_ones_go_on_and_up_heals(tmp_path: Path):
    with rootlab.running(tmp_path, text("ports-dead")) as lab, program(lab, "api", _ECHO) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        with (
            program(lab, "web1", _TALK) as client,
            loading(lab, "web1", "api:53/udp", "--flows", "9", "--hold", "600"),
        ):
            first = says(client, "before")
            assert first.startswith("40.1.2.3:")
            rootlab.wait_until(lambda: used(lab)["web1", "udp"]["flows"] == 9, "flows open", lambda: used(lab))
            rootlab.end_agent(lab)
            assert says(client, "meanwhile") == first.replace("before", "meanwhile")
            silent = load(lab, "web1", "other:443", "--flows", "4", "--timeout", "1")
            assert (silent["opened"], silent["timed_out"]) == (0, 4)
            assert "SNAT ports for new flows are missing" in rootlab.ok("show", lab)
            refusal = rootlab.run("ports", lab)
            assert (refusal.returncode, refusal.stdout) == (3, "")
            assert "the agent does not run" in refusal.stderr
            rootlab.ok("up", tmp_path / f"{lab}.lab.yaml")
            # The flows were taken over with their ports, so none of these is given out again.
            shown = used(lab)
            assert (shown["web1", "tcp"]["flows"], shown["web1", "udp"]["flows"]) == (1, 9)
            again = load(lab, "web1", "api:8080", "--flows", "30", "--timeout", "3")
            assert (again["opened"], again["timed_out"]) == (22, 8)
            assert says(client, "after") == first.replace("before", "after")


def test_a_flow_that_is_open_goes_on_through_another_revision(tmp_path: Path):
    with (
        rootlab.running(tmp_path, text("ports-rev")) as lab,
        loading(lab, "web1", "api:443", "--flows", "32", "--hold", "5") as held,
    ):
        rootlab.wait_until(lambda: used(lab)["web1", "tcp"]["flows"] == 32, "flows open", lambda: used(lab))
        assert load(lab, "web1", "api:8080", "--flows", "1", "--timeout", "1")["timed_out"] == 1
        rootlab.ok("up", tmp_path / f"{lab}.lab.yaml", "--profile", "2018-02")
        # Unique for address, port and protocol now: another port of the same host has all 32 to itself.
        assert load(lab, "web1", "api:8080", "--flows", "32", "--timeout", "5")["opened"] == 32
        assert held.stdout is not None
        report = json.loads(held.stdout.read())
        assert (report["opened"], report["alive"]) == (32, 32)


def test_a_load_tells_what_became_of_its_flows(tmp_path: Path):
    with rootlab.running(tmp_path, text("ports-load")) as lab:
        report = load(lab, "web1", "api:443", "--flows", "40", "--timeout", "3")
        assert (report["opened"], report["timed_out"], report["refused"]) == (32, 8, 0)
        assert report["source_addresses"] == ["40.1.2.3"]
        assert report["source_ports"] == list(range(1025, 1057))
        assert set(report["latency_ms"]) == {"p50", "p90", "p99", "max"}
        refused = load(lab, "web2", "api:9", "--flows", "3")
        assert (refused["opened"], refused["refused"]) == (0, 3)
        slow = load(lab, "web2", "other:53/udp", "--flows", "10", "--rate", "20", "--hold", "0.5")
        assert (slow["opened"], slow["alive"]) == (10, 10)
        assert slow["seconds"] >= 0.45


def test_the_last_port_is_told_of_once_in_the_documents_form(tmp_path: Path):
    with rootlab.running(tmp_path, text("ports-log")) as lab:
        assert json.loads(rootlab.ok("events", lab, "-o", "json")) == {"records": []}
        for _ in range(2):
            load(lab, "web1", "api:443", "--flows", "40", "--timeout", "1")
        records = json.loads(rootlab.ok("events", lab, "-o", "json"))["records"]
        kinds = [record.get("HealthEventType") or record["properties"]["eventDescription"] for record in records]
        assert kinds == ["HighSnatPortUsage", "Ports exhausted", "SnatPortExhaustion"]
        lines = rootlab.ok("events", lab).splitlines()
        assert len(lines) == 3
        assert "40.1.2.3" in lines[1]
        assert "Resource Limits Hit: Ports exhausted; 32 of 32 tcp ports of web1" in lines[1]


def test_a_first_packet_in_fragments_arrives_whole(tmp_path: Path):
    with rootlab.running(tmp_path, text("ports-big")) as lab:
        code = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5);"
            "s.sendto(b'x' * 4000, ('198.51.100.20', 53)); print(s.recv(65536).decode())"
        )
        seen = json.loads(rootlab.must(lab, "web1", sys.executable, "-c", code))
        assert (seen["client_address"], seen["node"]) == ("40.1.2.3", "api")


def test_a_vm_reaches_its_own_frontend_from_a_port_of_its_own(tmp_path: Path):
    """Its destination is translated as well, so the kernel translates both, without anybody being asked."""
    with rootlab.running(tmp_path, text("ports-hair")) as lab:
        rootlab.wait_until(
            lambda: rootlab.inside(lab, "other", "curl", "-sS", "-m", "2", "http://40.1.2.3/").status == 0, "members up"
        )
        seen = rootlab.ask(lab, "web1", "http://40.1.2.3/")
        assert seen["client_address"] == "40.1.2.3"
        assert 1025 <= int(str(seen["client_port"])) <= 1056


def test_a_port_that_a_flow_of_another_revision_still_has_is_not_given_out_twice(tmp_path: Path):
    """Two flows shared a port under one revision; under the next, one of them is not known to the agent."""
    with (
        rootlab.running(tmp_path, text("ports-clash", "2018-02")) as lab,
        loading(lab, "web1", "api:443", "--flows", "32", "--hold", "600") as first,
        contextlib.ExitStack() as second,
    ):
        # Of two flows that share a port, the one that was first is known to the next revision.
        rootlab.wait_until(lambda: used(lab)["web1", "tcp"]["flows"] == 32, "flows open", lambda: used(lab))
        second.enter_context(loading(lab, "web1", "api:8080", "--flows", "32", "--hold", "600"))
        rootlab.wait_until(lambda: used(lab)["web1", "tcp"]["flows"] == 64, "flows open", lambda: used(lab))
        rootlab.ok("up", tmp_path / f"{lab}.lab.yaml", "--profile", "seeds")
        assert load(lab, "web1", "api:8080", "--flows", "1", "--timeout", "0.5")["opened"] == 0
        first.kill()  # its ports come back, but flows to port 8080 have them still
        rootlab.wait_until(lambda: used(lab)["web1", "tcp"]["flows"] <= 1, "ports given back", lambda: used(lab))
        assert load(lab, "web1", "api:443", "--flows", "4", "--timeout", "5")["opened"] == 4
        before = tracked(lab)
        assert load(lab, "web1", "api:8080", "--flows", "1", "--timeout", "0.5")["opened"] == 0
        assert set(before) <= set(tracked(lab))
        # The agent is not stuck on it.
        assert load(lab, "web1", "other:443", "--flows", "8", "--timeout", "5")["opened"] == 8
