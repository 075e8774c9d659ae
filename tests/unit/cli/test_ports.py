"""`lab ports` and `lab load`: what is said of SNAT ports, and what a request that cannot be done is answered with."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from lab.agent import logs
from lab.cli import cli
from lab.cli import ports as commands
from lab.cli.output import event_line
from lab.deciders.snat_ports import Alert, DestinationUsage, Usage
from lab.errors import InconclusiveError
from lab.plan import Backends, Provenance
from lab.runtime import snat_usage


def usage(node: str, protocol: str = "tcp", *, given: int, cooling: int = 0) -> Usage:
    return Usage(
        node=node, address="40.1.1.1", protocol=protocol, allocated=64, ports=given, flows=given, cooling=cooling,
        given=given, fullest=3, peak=3, refused=0, destinations=(DestinationUsage("198.51.100.20",
        80, given, 0, cooling),),
    )  # type: ignore[arg-type] # fmt: skip


def shown(monkeypatch: pytest.MonkeyPatch, used: list[Usage], *more: str) -> list[list[str]]:
    monkeypatch.setattr(commands, "need_root", lambda: None)
    monkeypatch.setattr(snat_usage, "usage", lambda _lab: used)
    done = CliRunner().invoke(cli, ["ports", "any", *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [line.split() for line in done.output.splitlines()]


def test_flows_that_cool_down_have_a_column_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [usage("web1", given=3, cooling=2), usage("web2", given=3)]
    rows = shown(monkeypatch, used)
    assert [dict(zip(rows[0], row, strict=True)).get("COOLING") for row in rows[1:]] == ["2", "0"]
    assert [row[5] for row in rows] == ["FLOWS", "3", "3"]
    assert "COOLING" not in shown(monkeypatch, used[1:])[0]
    by_destination = shown(monkeypatch, used, "--by", "destination")
    assert [row[4:] for row in by_destination] == [["FLOWS", "COOLING", "REFUSED"], ["3", "2", "0"], ["3", "0", "0"]]
    assert "COOLING" not in shown(monkeypatch, used[1:], "--by", "destination")[0]


@pytest.mark.parametrize("left_behind", [True, False])
def test_without_its_agent_nothing_is_known_of_ports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left_behind: bool
) -> None:
    at = tmp_path / "agent.sock"
    if left_behind:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(at))
    monkeypatch.setattr(commands, "need_root", lambda: None)
    monkeypatch.setattr(
        snat_usage, "ready", lambda _lab: (SimpleNamespace(agent_socket=at), SimpleNamespace(agent=None))
    )
    with pytest.raises(InconclusiveError) as refused:
        snat_usage.usage("any")
    assert refused.value.exit_code == 3
    assert str(refused.value) == (
        "any: the agent does not run, so which ports are in use is unknown; it must run to give them out; "
        "`lab up` starts it again, flows that have a port go on meanwhile"
    )


def test_an_agent_that_says_nothing_that_is_understood_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record, folder = SimpleNamespace(agent=None), SimpleNamespace(agent_socket=tmp_path / "agent.sock")
    monkeypatch.setattr(snat_usage, "ready", lambda _lab: (folder, record))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent.sock"))
        listening.listen()
        listening.settimeout(0)
        monkeypatch.setattr(snat_usage, "_ANSWER_S", 0.01)
        with pytest.raises(InconclusiveError, match="any: the agent does not answer: timed out, so which ports"):
            snat_usage.usage("any")


def test_a_vm_whose_ports_only_others_have_used_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = shown(monkeypatch, [usage("web1", given=3), usage("web1", "udp", given=0), usage("web2", given=0)])
    assert [row[0] for row in rows] == ["VM", "web1", "1"]
    assert " ".join(rows[-1]) == "1 VM never used one of up to 64 ports"


def test_each_kind_of_record_is_said_in_one_line() -> None:
    """A frontend without healthy members concerns a port, not the ports of a VM."""
    exhausted = Alert("exhausted", "web1", "40.1.1.1", "tcp", 64, 64)
    backends = Backends(
        place="agent",
        why=Provenance("", ""),
        address="40.1.1.1",
        port=80,
        protocol="tcp",
        members=(),
        ends_tcp=False,
        resource="/x",
        log_s=0,
    )
    made = [*logs.records("any", exhausted, "/subscriptions/x", 0.0), logs.unserved_record(backends, 0.0)]
    assert [event_line(record).partition("  40.1.1.1")[2].strip() for record in made] == [
        "Resource Limits Hit: Ports exhausted; 64 of 64 tcp ports of web1",
        "SnatPortExhaustion (Critical); 64 of 64 tcp ports of web1",
        "NoHealthyBackends (Critical); port 80/tcp",
    ]
