"""Management operations on a running lab: applied as a difference, recorded, undone by `up`, lost by nobody."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import KernelError
from lab.kernel.state import StateDir
from lab.runtime import operate
from tests import rootlab

pytestmark = pytest.mark.root

GUARDED = """\
name: NAME
internet: {far: {address: 198.51.100.10, services: [http:80]}}
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets: {s: {address_prefix: 10.1.0.0/24, network_security_group: front}}
virtual_machines:
  web: {subnet: v/s, services: [http:80, tcp:7000], instance_public_ip: {name: ip, address: 104.43.142.188}}
network_security_groups:
  front:
    - {name: allow-http, priority: 100, direction: Inbound, access: Allow, protocol: Tcp,
       source_address_prefix: Internet, destination_port_ranges: [80, 7000]}
"""
_ADD = ("--priority", "90", "--access", "Deny")


def rules(lab: str) -> list[str]:
    listed = json.loads(rootlab.ok("nsg", "rule", "list", lab, "front", "-o", "json"))
    return [r["name"] for r in listed["network_security_groups"]["front"]]


def test_an_operation_is_recorded_and_up_makes_the_files_word_true_again(tmp_path: Path):
    with rootlab.running(tmp_path, GUARDED.replace("NAME", "managed")) as name:
        before, plan = rules(name), StateDir(name).plan()
        rootlab.ok("nsg", "rule", "add", name, "front", "more", "--priority", "200", "--destination-ports", "22,80-90")
        assert sorted(rules(name)) == sorted([*before, "more"])
        rootlab.ok("up", tmp_path / f"{name}.lab.yaml")
        assert (rules(name), StateDir(name).plan()) == (before, plan)


def test_what_is_refused_changes_nothing(tmp_path: Path):
    with rootlab.running(tmp_path, GUARDED.replace("NAME", "refused")) as name:
        folder = StateDir(name)
        before = (rootlab.world(name), folder.network_file.read_bytes(), folder.read())
        done = rootlab.run("nsg", "rule", "add", name, "front", "low", *_ADD)
        assert done.returncode == 2
        assert "90; a priority is 100 to 4096" in done.stderr
        done = rootlab.run("nsg", "rule", "add", name, "front", "low", "--priority", "200", "--source", "Moon")
        assert (done.returncode, "no such service tag" in done.stderr) == (2, True)
        assert (rootlab.world(name), folder.network_file.read_bytes(), folder.read()) == before


def test_two_operations_at_once_lose_none(tmp_path: Path):
    with rootlab.running(tmp_path, GUARDED.replace("NAME", "both")) as name:
        command = [sys.executable, "-P", "-m", "lab", "nsg", "rule", "add", name, "front"]
        started = [subprocess.Popen([*command, f"r{number}", "--priority", str(200 + number)]) for number in range(4)]
        assert [process.wait(60) for process in started] == [0] * 4
        assert {f"r{number}" for number in range(4)} <= set(rules(name))


def test_the_network_is_for_root_alone_and_a_lab_that_is_not_there_is_named(tmp_path: Path):
    with rootlab.running(tmp_path, GUARDED.replace("NAME", "secret")) as name:
        rootlab.ok("nsg", "rule", "add", name, "front", "more", "--priority", "200")
        assert StateDir(name).network_file.stat().st_mode & 0o777 == 0o600
        assert operate.network_of(name).name == name
    done = rootlab.run("nsg", "rule", "add", "nobody", "front", "more", "--priority", "200")
    assert (done.returncode, 'no lab "nobody"' in done.stderr) == (2, True)


def test_what_changes_no_rule_of_the_kernel_is_recorded_too(tmp_path: Path):
    with rootlab.running(tmp_path, GUARDED.replace("NAME", "spare") + "  spare: []\n") as name:
        plan = StateDir(name).plan()
        said = json.loads(rootlab.ok("nsg", "rule", "add", name, "spare", "more", "--priority", "200", "-o", "json"))
        assert (said["OperationDescription"], said["OperationStatus"]) == ("Set-AzureNetworkSecurityRule", "Succeeded")
        listed = json.loads(rootlab.ok("nsg", "rule", "list", name, "spare", "-o", "json"))
        assert listed["network_security_groups"]["spare"][0]["name"] == "more"
        assert StateDir(name).plan() == plan


def test_a_damaged_lab_is_not_changed(tmp_path: Path):
    with rootlab.running(tmp_path, GUARDED.replace("NAME", "damaged")) as name:
        subprocess.run(["ip", "netns", "del", f"lab.{name}.web"], check=True)
        before = StateDir(name).network_file.read_bytes()
        done = rootlab.run("nsg", "rule", "add", name, "front", "more", "--priority", "200")
        assert (done.returncode, "it does not run as a whole" in done.stderr) == (3, True)
        assert StateDir(name).network_file.read_bytes() == before


def test_a_change_that_the_kernel_refuses_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from lab.kernel import netfilter
    from lab.operations.security_rule import RemoveRule

    with rootlab.running(tmp_path, GUARDED.replace("NAME", "undone")) as name:
        before = (rootlab.world(name), StateDir(name).network_file.read_bytes(), StateDir(name).plan())
        write, failed = netfilter.write, []

        def fail_once(*arguments: object, **options: object) -> None:
            if not failed:
                failed.append(True)
                raise KernelError("refused for the test")
            write(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(netfilter, "write", fail_once)
        with pytest.raises(KernelError):
            operate.perform(name, RemoveRule("front", "allow-http"), lambda _text: None)
        assert (rootlab.world(name), StateDir(name).network_file.read_bytes(), StateDir(name).plan()) == before
