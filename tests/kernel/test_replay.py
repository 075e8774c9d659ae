"""Seeds 000 and 004 replayed on running labs, their listings as they stand; what they do is seen outside."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.kernel.state import StateDir
from tests import rootlab
from tests.unit.cmdlets import test_instance_level_public_ip as seed_004
from tests.unit.cmdlets import test_multiple_vips as seed_000

pytestmark = pytest.mark.root

_SERVICE = """\
name: replay-000
internet: {client: {address: 198.51.100.10}}
cloud_services:
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {Vip1: {address: 191.238.74.148}, Vip2: {address: 191.238.74.13}}
virtual_machines:
  myVM1: {services: [http:8080, http:8181]}
  myVM2: {services: [http:8080, http:8181]}
overrides: {time_scale: 60}
"""
_EMPTY = """\
name: replay-004
internet: {client: {address: 198.51.100.10, services: [http:80]}}
"""


def replay(lab: str, script: str) -> subprocess.CompletedProcess[str]:
    """Have a script replayed that comes by standard input, as bytes with the document's line ends."""
    command = [sys.executable, "-P", "-m", "lab", "replay", lab, "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, timeout=60, check=False)


def played(lab: str, script: str) -> str:
    done = replay(lab, script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def answered_by(lab: str, url: str) -> tuple[object, object]:
    seen = rootlab.ask(lab, "client", url)
    return seen["node"], seen["server_port"]


def is_silent(lab: str, address: str, port: int) -> bool:
    """Tell whether nothing at all comes back: curl gives up, which is not what it says of a refusal."""
    return rootlab.inside(lab, "client", "curl", "-s", "-m1", f"http://{address}:{port}/").status == 28


def test_seed_000(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, _SERVICE) as lab:
        printed = played(lab, seed_000.ADD_VIP + seed_000.REMOVE_VIP + seed_000.ADD_VIP + seed_000.SHOW)
        assert printed.endswith("\n\n" + seed_000.vips("191.238.74.148", "", ""))
        assert is_silent(lab, "191.238.74.13", 80)
        # The endpoint, and the address that its VIP gets by it.
        done, shown = played(lab, seed_000.ADD_ENDPOINT + seed_000.SHOW).split("\n\n", 1)
        assert seed_000.is_done(done, "Update-AzureVM")
        assert shown == seed_000.vips("191.238.74.148", "191.238.74.13", "")
        assert answered_by(lab, "http://191.238.74.13/") == ("myVM1", 8080)
        assert is_silent(lab, "191.238.74.148", 80)
        # Its name is given twice in the document: the second time is refused, and changes nothing.
        before = StateDir(lab).network_file.read_bytes()
        refused = replay(lab, seed_000.ADD_SET)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("-:4:6: Update-AzureVM: endpoint add myVM1 myEndpoint: ")
        assert refused.stderr.endswith("\nnothing was changed\n")
        assert StateDir(lab).network_file.read_bytes() == before
        assert answered_by(lab, "http://191.238.74.13/") == ("myVM1", 8080)
        # The load-balanced set, first at one VIP, then at the other.
        assert seed_000.is_done(played(lab, seed_000.REMOVE_ENDPOINT + seed_000.ADD_SET), "Update-AzureVM", 3)
        both = {("myVM1", 8181), ("myVM2", 8181)}
        seen: set[tuple[object, object]] = set()

        def all_seen(url: str) -> bool:
            seen.add(answered_by(lab, url))
            return seen == both

        # The VIP gave its address back with its last endpoint, and has another one now.
        vip2 = played(lab, "(Get-AzureDeployment myService).VirtualIPs.Address").splitlines()[1]
        rootlab.wait_until(lambda: all_seen(f"http://{vip2}:81/"), "both members", lambda: seen)
        done, shown = played(lab, seed_000.MOVE_SET + seed_000.SHOW).split("\n\n", 1)
        assert seed_000.is_done(done, "Set-AzureLoadBalancedEndpoint")
        assert shown == seed_000.vips("191.238.74.148", "", "")
        seen.clear()
        rootlab.wait_until(lambda: all_seen("http://191.238.74.148:81/"), "both members", lambda: seen)
        assert is_silent(lab, vip2, 81)


def test_seed_004(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, _EMPTY) as lab:

        def own() -> str:
            (line,) = (each for each in played(lab, seed_004.SHOW).splitlines() if each.startswith("PublicIPAddress"))
            return line.partition(":")[2].strip()

        def seen_from() -> object:
            return rootlab.ask(lab, "FTPInstance", "http://198.51.100.10/")["client_address"]

        def refuses(address: str) -> bool:
            """Tell whether a port reaches the VM, where nobody listens, so that it says so."""
            return rootlab.inside(lab, "client", "curl", "-s", "-m5", f"http://{address}:12345/").status == 7

        done = replay(lab, seed_004.CREATE)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("-:3:83: the backtick makes New-AzureVMConfig a value of Where-Object, ")
        assert "MyP@ssw0rd" not in done.stdout + done.stderr
        first = own()
        assert seen_from() == first
        assert refuses(first)
        played(lab, seed_004.REMOVE)
        assert own() == ""
        assert seen_from() != first
        assert is_silent(lab, first, 12345)
        played(lab, seed_004.SET)
        assert seen_from() == own() != ""
        assert refuses(own())
        folder = StateDir(lab).path
        texts = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
        assert all(b"MyP@ssw0rd" not in text for text in texts)


def test_a_lab_that_is_not_there(tmp_path: Path) -> None:
    script = tmp_path / "a.ps1"
    script.write_text(seed_000.ADD_VIP)
    done = rootlab.run("replay", "nowhere", script)
    assert done.returncode == 2
    assert 'no lab "nowhere"' in done.stderr
